//! Crowds that come back from before memory begins, while what they wait for goes wrong.

use std::net::SocketAddr;

use rowcast::app::Daemon;
use rowcast::postgres::scratch::ScratchCluster;
use serde_json::{Value, json};
use tokio_postgres::Client as Session;

use crate::harness::{Client, Database, Fault, OPEN, Proxy, World, cluster, options, until_true};
use crate::outages::{both, pair};
use crate::resume::{TABLE, id};

/// More than are read for one by one.
const CROWD: usize = 12;

/// Changes that the crowd has seen, each client another one.
const SEEN: usize = 40;

/// More than a node reads in advance when it starts, behind all that a crowd has seen and has missed.
const MANY: &str = "insert into secret select n, 'eve' from generate_series(100, 12000) n";

/// A log that reaches further back than a node that starts now remembers; of it, what was sent on `items`.
async fn long_log(world: &World) -> Vec<Value> {
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
fn place(client: usize) -> usize {
    client * 7 % SEEN
}

/// Welcomed, all of them, and subscribed to nothing.
async fn gather(world: &World, node: &Daemon, size: usize) -> Vec<Client> {
    let mut crowd = Vec::new();
    for number in 0..size {
        crowd.push(world.client_of(node, &format!("user{number}")).await);
    }
    crowd
}

async fn resume_all(crowd: &mut [Client], changes: &[Value]) {
    for (number, client) in crowd.iter_mut().enumerate() {
        let after = id(&changes[place(number)]);
        client.send(json!({ "type": "subscribe", "channel": "items", "after": after })).await;
    }
}

/// Makes who reads the whole log wait, and nobody else: nothing that is new is in this part of it.
async fn hold_reads(db: &Database) -> Session {
    let session = db.client().await;
    let lock = "begin; lock table rowcast.event_7 in access exclusive mode";
    session.batch_execute(lock).await.unwrap();
    session
}

async fn until_a_read_waits(db: &Database) {
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
async fn next(client: &mut Client) -> Value {
    client.skip_to(|message| message["type"] != "system").await
}

/// The past can't be had: the answer says so, and then why.
async fn expect_refused(client: &mut Client, reason: &str) {
    let ok = next(client).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(false), &json!(0)), "{ok}");
    assert_eq!(next(client).await, reset(reason));
}

fn reset(reason: &str) -> Value {
    json!({ "type": "reset", "channel": "items", "reason": reason })
}

/// All that it missed, and nothing twice.
async fn expect_missed(client: &mut Client, missed: &[Value]) {
    let ok = next(client).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(missed.len())), "{ok}");
    assert_eq!(facts(&client.changes(missed.len()).await), facts(missed));
}

/// What is the same wherever a change comes from.
fn facts(changes: &[Value]) -> Vec<[&Value; 3]> {
    changes.iter().map(|change| [&change["op"], &change["key"], &change["row"]]).collect()
}

fn behind(proxy: &Proxy, db: &Database, server: SocketAddr) -> (String, String) {
    let url = format!("postgres://postgres@{}/{}", proxy.address(), db.name());
    let direct = format!("postgres://postgres@{server}/{}", db.name());
    (url, format!("database.listen_url = \"{direct}\"\n{OPEN}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_read_that_breaks_off_or_goes_silent_is_told_and_comes_back_later() {
    tokio::join!(
        lose_read(Fault::Reset, CROWD),
        lose_read(Fault::Mute, CROWD),
        // Who comes alone is read for alone.
        lose_read(Fault::Mute, 1),
    );
}

async fn lose_read(fault: Fault, size: usize) {
    let world = World::start().await;
    let changes = long_log(&world).await;
    let server = SocketAddr::from(([127, 0, 0, 1], cluster().await.port()));
    let proxy = Proxy::to(server).await;
    let (url, settings) = behind(&proxy, &world.db, server);
    let node = Daemon::start(&World::config(&url, &settings), None).await.unwrap();
    let mut crowd = gather(&world, &node, size).await;
    let held = hold_reads(&world.db).await;
    resume_all(&mut crowd, &changes).await;
    until_a_read_waits(&world.db).await;
    proxy.set(fault);
    for client in &mut crowd {
        expect_refused(client, "unavailable").await;
    }
    held.batch_execute("commit").await.unwrap();
    proxy.set(Fault::None);
    // What was committed since the answer comes, and comes once.
    for row in [1000, 1001] {
        world.sql(&format!("insert into item values ({row})")).await;
        for client in &mut crowd {
            assert_eq!(next(client).await["row"]["id"], row, "{fault:?}");
        }
    }
    let mut witness = world.client("ana").await;
    witness.resume("items", id(changes.last().unwrap())).await;
    let changes = [changes, witness.changes(2).await].concat();
    let mut back = gather(&world, &node, size).await;
    resume_all(&mut back, &changes).await;
    for (number, client) in back.iter_mut().enumerate() {
        expect_missed(client, &changes[place(number) + 1..]).await;
    }
    node.stop().await;
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_waits_while_another_server_takes_over_is_told_once_to_start_over() {
    let (zombie, standby) = pair(false, "").await;
    // Nobody gives up before the other server is found.
    let url = format!("{}&options=-c%20statement_timeout%3D0", both(&zombie, &standby));
    let world = World::at(Database::at(zombie.url("postgres")), &url, OPEN).await;
    let changes = long_log(&world).await;
    let node = world.another_node().await;
    let mut crowd = gather(&world, &node, CROWD).await;
    let mut live = world.client_of(&node, "ana").await;
    live.subscribe("items").await;
    let held = hold_reads(&world.db).await;
    resume_all(&mut crowd, &changes).await;
    until_a_read_waits(&world.db).await;
    standby.promote().await.unwrap();
    for client in &mut crowd {
        expect_refused(client, "epoch").await;
    }
    assert_eq!(next(&mut live).await, reset("epoch"));
    held.batch_execute("commit").await.unwrap();
    let here = Database::at(standby.url("postgres"));
    here.batch_execute("insert into item values (1000)").await;
    for client in crowd.iter_mut().chain([&mut live]) {
        assert_eq!(next(client).await["row"]["id"], 1000);
    }
    node.stop().await;
    world.daemon.stop().await;
    zombie.stop().await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_crowd_that_waits_those_whose_past_is_pruned_meanwhile_are_told_once() {
    // A server of its own: on a shared one, transactions of other tests are older than what is pruned here.
    let cluster = ScratchCluster::start(options()).await.expect("the server starts");
    let world = World::on(Database::alone(&cluster).await, OPEN).await;
    let changes = long_log(&world).await;
    let node = world.another_node().await;
    let mut crowd = gather(&world, &node, CROWD).await;
    let held = hold_reads(&world.db).await;
    resume_all(&mut crowd, &changes).await;
    until_a_read_waits(&world.db).await;
    // All of the first transaction, and of the five behind it.
    let gone = 30;
    let prune = format!(
        "with gone as (delete from rowcast.event where id <= {gone} returning xid)
         update rowcast.floor set xid = (select (max(xid::text::int8) + 1)::text::xid8 from gone);
         commit"
    );
    held.batch_execute(&prune).await.unwrap();
    for (number, client) in crowd.iter_mut().enumerate() {
        if place(number) + 1 < gone {
            expect_refused(client, "pruned").await;
        } else {
            expect_missed(client, &changes[place(number) + 1..]).await;
        }
    }
    world.sql("insert into item values (1000)").await;
    for client in &mut crowd {
        assert_eq!(next(client).await["row"]["id"], 1000);
    }
    node.stop().await;
    world.daemon.stop().await;
    cluster.stop().await;
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
