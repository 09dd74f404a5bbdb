//! Crowds that come back from before memory begins, and get what they would alone.

use rowcast::app::Daemon;
use rowcast::postgres::scratch::ScratchCluster;
use serde_json::{Value, json};
use tokio_postgres::Client as Session;

use crate::harness::{Client, Database, OPEN, World, options, until_true};
use crate::resume::{TABLE, id, rows, seen_one, world, write};

/// More than are read for one by one.
pub const CROWD: usize = 12;

/// Changes that the crowd has seen, each client another one.
const SEEN: usize = 40;

/// More than a node reads in advance when it starts, behind all that a crowd has seen and has missed.
const MANY: &str = "insert into secret select n, 'eve' from generate_series(100, 12000) n";

/// A log that reaches further back than a node that starts now remembers; of it, what was sent on `items`.
pub async fn long_log(world: &World) -> Vec<Value> {
    world.sql(TABLE).await;
    let mut witness = world.subscriber("ana", &["items"]).await;
    world.sql("insert into item select n from generate_series(1, 20) n").await;
    let mut changes = witness.changes(20).await;
    for row in 8..=20 {
        world.sql(&format!("update item set version = version + 1 where id in ({row}, 7)")).await;
        changes.extend(witness.changes(2).await);
    }
    world.sql("delete from item where id = 3; insert into item values (3)").await;
    changes.extend(witness.changes(2).await);
    world.sql(MANY).await;
    changes
}

/// What the client with this number has seen last.
pub fn place(client: usize) -> usize {
    client * 7 % SEEN
}

/// Welcomed, all of them, and subscribed to nothing.
pub async fn gather(world: &World, node: &Daemon, size: usize) -> Vec<Client> {
    let mut crowd = Vec::new();
    for number in 0..size {
        crowd.push(world.client_of(node, &format!("user{number}")).await);
    }
    crowd
}

pub async fn resume_all(crowd: &mut [Client], changes: &[Value]) {
    for (number, client) in crowd.iter_mut().enumerate() {
        let after = id(&changes[place(number)]);
        client.send(json!({ "type": "subscribe", "channel": "items", "after": after })).await;
    }
}

/// Makes who reads the whole log wait, and nobody else: nothing that is new is in this part of it.
pub async fn hold_reads(db: &Database) -> Session {
    let session = db.client().await;
    let lock = "begin; lock table rowcast.event_7 in access exclusive mode";
    session.batch_execute(lock).await.unwrap();
    session
}

pub async fn until_a_read_waits(db: &Database) {
    let session = db.client().await;
    let waits = "
        select exists (select from pg_locks
                        where relation = 'rowcast.event_7'::regclass
                          and mode = 'AccessShareLock'
                          and not granted
                          and database = (select oid from pg_database where datname = current_database()))";
    until_true(&session, "a read of the whole log waits", waits).await;
}

/// The next message that is not about how the service is.
pub async fn next(client: &mut Client) -> Value {
    client.skip_to(|message| message["type"] != "system").await
}

/// All that it missed, and nothing twice.
pub async fn expect_missed(client: &mut Client, missed: &[Value]) {
    let ok = next(client).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(missed.len())), "{ok}");
    assert_eq!(facts(&client.changes(missed.len()).await), facts(missed));
}

/// What is the same wherever a change comes from.
pub fn facts(changes: &[Value]) -> Vec<[&Value; 3]> {
    changes.iter().map(|change| [&change["op"], &change["key"], &change["row"]]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_behind_memory_gets_everything_once_and_reads_the_log_no_more_often_than_a_few() {
    let mut options = options();
    let counting = ("shared_preload_libraries", "pg_stat_statements");
    options.settings.push((counting.0.to_owned(), counting.1.to_owned()));
    let cluster = ScratchCluster::start(options).await.expect("the server starts");
    let world = World::on(Database::alone(&cluster).await, OPEN).await;
    world.sql("create extension pg_stat_statements").await;
    world.sql(TABLE).await;
    let mut witness = world.subscriber("ana", &["items"]).await;
    let writers = [0, 1, 2, 3].map(async |number| write(world.db.client().await, number).await);
    futures_util::future::join_all(writers).await;
    world.sql("insert into item values (1)").await;
    let mut changes = Vec::new();
    while changes.last().is_none_or(|last: &Value| last["row"]["id"] != 1) {
        changes.push(witness.next().await);
    }
    // More than a node reads in advance when it starts.
    world.sql("insert into secret select n, 'eve' from generate_series(100, 12000) n").await;
    let node = world.another_node().await;
    let mut crowd = Vec::new();
    for number in 0..LARGE_CROWD {
        crowd.push(world.client_of(&node, &format!("user{number}")).await);
    }
    world.sql("select pg_stat_statements_reset()").await;

    let place = |client: usize| client * 7 % (changes.len() - 1);
    for (number, client) in crowd.iter_mut().enumerate() {
        let after = id(&changes[place(number)]);
        let channel = ["items", "item:*"][number % 2];
        client
            .send(json!({ "type": "subscribe", "ref": 1, "channel": channel, "after": after }))
            .await;
    }
    for (number, client) in crowd.iter_mut().enumerate() {
        let missed = &changes[place(number) + 1..];
        let ok = client.next().await;
        let (recovered, replayed) = (json!(true), json!(missed.len()));
        assert_eq!((&ok["recovered"], &ok["replayed"]), (&recovered, &replayed), "{ok}");
        let mut found = versions(&client.changes(missed.len()).await);
        let mut missed = versions(missed);
        found.sort_unstable();
        missed.sort_unstable();
        assert_eq!(found, missed, "client {number}");
    }
    let reads: i64 = world.db.client().await.query_one(READS, &[]).await.unwrap().get(0);
    assert!((1..=20).contains(&reads), "{reads} reads of the log for {LARGE_CROWD} clients");
    node.stop().await;
    world.daemon.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_open_for_longer_than_a_node_remembers_is_yet_to_come_for_a_crowd() {
    let world = world().await;
    let long = world.db.client().await;
    long.batch_execute("begin; insert into item values (100)").await.unwrap();
    // The node begins behind the first of these, and in front of the others.
    for from in [1_000, 10_000, 20_000] {
        let many = format!("select n, 'eve' from generate_series({from}, {from} + 5000) n");
        world.sql(&format!("insert into secret {many}")).await;
    }
    let after = seen_one(&world).await;
    let node = world.another_node().await;
    let mut crowd = Vec::new();
    for _ in 0..12 {
        crowd.push(world.client_of(&node, "ana").await);
    }
    let subscribe = json!({ "type": "subscribe", "ref": 1, "channel": "items", "after": after });
    for client in &mut crowd {
        client.send(subscribe.clone()).await;
    }
    for client in &mut crowd {
        let ok = client.next().await;
        assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(0)), "{ok}");
    }
    world.sql("insert into item values (2)").await;
    let mut last = String::new();
    for client in &mut crowd {
        let change = client.next().await;
        assert_eq!(change["row"]["id"], 2, "{change}");
        last = id(&change).to_owned();
    }
    long.batch_execute("commit").await.unwrap();
    for client in &mut crowd {
        assert_eq!(rows(&client.changes(1).await), [100]);
    }
    for daemon in [&world.daemon, &node] {
        let mut client = world.client_of(daemon, "ana").await;
        // Replayed, or live where the node has yet to read it.
        assert_eq!(client.resume("items", &last).await["recovered"], true);
        assert_eq!(rows(&client.changes(1).await), [100]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_newest_or_the_last_in_a_crowd_gets_what_it_would_alone() {
    let world = World::start().await;
    let changes = long_log(&world).await;
    let (first, later) = (id(&changes[2]), id(&changes[33]));
    let requests = [
        json!({ "channel": "items", "after": first }),
        json!({ "channel": "items", "after": first, "compact": true }),
        json!({ "channel": "item:*", "after": first, "compact": true }),
        json!({ "channel": "items", "after": later, "compact": true }),
        json!({ "channel": "items", "after": later, "compact": true, "history": 3 }),
        json!({ "channel": "items", "history": 12 }),
        json!({ "channel": "items", "history": 1000 }),
        json!({ "channel": "items", "after": "nonsense", "history": 5 }),
    ];
    let node = world.another_node().await;
    let mut alone = Vec::new();
    for request in &requests {
        let mut client = world.client_of(&node, "ana").await;
        subscribe(&mut client, request).await;
        alone.push(answer(&mut client).await);
    }
    assert_eq!(alone[1][0], json!([true, 18]), "one for each row");
    assert_eq!(alone[6][0], json!([true, changes.len()]));

    let node = world.another_node().await;
    let mut crowd = gather(&world, &node, 2 * requests.len()).await;
    let held = hold_reads(&world.db).await;
    for (client, request) in crowd.iter_mut().zip(requests.iter().cycle()) {
        subscribe(client, request).await;
    }
    until_a_read_waits(&world.db).await;
    held.batch_execute("commit").await.unwrap();
    for (client, alone) in crowd.iter_mut().zip(alone.iter().cycle()) {
        assert_eq!(&answer(client).await, alone);
    }
    world.sql("insert into item values (1000)").await;
    for client in &mut crowd {
        assert_eq!(next(client).await["row"]["id"], 1000);
    }
    node.stop().await;
    world.daemon.stop().await;
}

async fn subscribe(client: &mut Client, request: &Value) {
    let mut request = request.clone();
    request["type"] = json!("subscribe");
    client.send(request).await;
}

/// The answer and what follows it, but for what depends on where it comes from.
async fn answer(client: &mut Client) -> Vec<Value> {
    let ok = client.next().await;
    let mut answer = vec![json!([ok["recovered"], ok["replayed"]])];
    if ok["recovered"] == false {
        answer.push(client.next().await);
    }
    let changes = client.changes(ok["replayed"].as_u64().unwrap().try_into().unwrap()).await;
    answer.extend(changes.iter().map(|c| json!([c["channel"], c["op"], c["key"], c["row"]])));
    answer
}

const LARGE_CROWD: usize = 300;

/// What follows the log asks for the current snapshot, what replays it does not.
const READS: &str = "\
select coalesce(sum(calls), 0)::int8
  from pg_stat_statements
 where query like '%rowcast.event%'
   and query not like '%pg_current_snapshot()%'
   and query not like '%pg_stat_statements%'";

fn versions(changes: &[Value]) -> Vec<(i64, i64)> {
    let number = |value: &Value| value.as_i64().unwrap();
    let version =
        |change: &Value| (number(&change["row"]["id"]), number(&change["row"]["version"]));
    changes.iter().map(version).collect()
}
