//! Who may subscribe, as long as they may: the application's function, revocation, tickets.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, Database, World, secret};

const PAGE: &str = include_str!("../../docs/authorization.md");

const FUNCTION: &str = r#"
    [authorize]
    function = "app.may_listen"
"#;

/// The SQL of the page's example, with a role of this test's own in place of the daemon's.
fn example(db: &Database) -> String {
    let part = PAGE.split("## An example").nth(1).expect("the page has an example");
    let part = part.split("## Revoking").next().expect("which ends");
    let sql: String = part.split("```sql").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert!(sql.contains("grant execute on function app.may_listen"), "{sql}");
    sql.replace("to rowcast;", &format!("to {};", db.role("daemon")))
}

/// The page's example with a daemon that has just the rights the page gives it.
async fn workspaces() -> World {
    let db = Database::migrated().await;
    let role = db.role("daemon");
    db.batch_execute(&format!("create role {role} login; select rowcast.grant_daemon('{role}')"))
        .await;
    db.batch_execute(&example(&db)).await;
    db.batch_execute(
        "insert into app.workspace values (9, 'nine'), (10, 'ten');
         insert into app.member values (9, 'olga', 'owner'), (9, 'ada', 'admin'), (9, 'mia', 'member'), (10, 'mia', 'owner')",
    )
    .await;
    let url = db.url_as(&role);
    World::at(db, &url, FUNCTION).await
}

async fn refused(client: &mut Client, channel: &str) -> Value {
    let answer = client.ask(json!({ "type": "subscribe", "channel": channel })).await;
    assert_eq!(answer["type"], "error", "{answer}");
    answer["code"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_page_lets_in_whom_it_says() {
    let world = workspaces().await;
    let mut olga = world.client("olga").await;
    olga.subscribe("workspace:9:documents").await;
    olga.subscribe("workspace:9:billing").await;
    olga.subscribe("workspace:9:*").await;
    olga.subscribe("user:olga").await;
    let mut mia = world.client("mia").await;
    mia.subscribe("workspace:9:documents").await;
    for channel in [
        "workspace:9:billing",
        "workspace:9:*",
        "workspace:11:documents",
        "workspace:no-such",
        "user:olga",
        "user:*",
        "rowcast:x",
    ] {
        assert_eq!(refused(&mut mia, channel).await, "forbidden", "{channel}");
    }
    world.sql("insert into app.document values (1, 9, 'plan')").await;
    assert_eq!(mia.changes(1).await[0]["row"]["title"], "plan");
    world.daemon.stop().await;
}

/// Each round removes a member and writes at once: what was written behind the removal must not come.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_removed_gets_nothing_that_was_committed_afterwards() {
    let world = workspaces().await;
    let writer = world.db.client().await;
    let mut olga = world.subscriber("olga", &["workspace:9:documents"]).await;
    let mut mia = world.subscriber("mia", &["workspace:10:documents"]).await;
    for round in 0..40 {
        let (before, after) = (2 * round, 2 * round + 1);
        mia.subscribe("workspace:9:documents").await;
        for sql in [
            format!("insert into app.document values ({before}, 9, 'before')"),
            "delete from app.member where workspace_id = 9 and user_id = 'mia'".to_owned(),
            format!("insert into app.document values ({after}, 9, 'after')"),
            format!("insert into app.document values ({}, 10, 'own')", 1000 + round),
        ] {
            writer.batch_execute(&sql).await.unwrap();
        }
        let mut seen = Vec::new();
        let forbidden = loop {
            let message = mia.next().await;
            if message["type"] == "error" {
                break message;
            }
            seen.push(message["row"]["id"].clone());
        };
        assert_eq!(forbidden["code"], "forbidden", "{forbidden}");
        assert_eq!(forbidden["channel"], "workspace:9:documents");
        // The other workspace's event comes; the one of before may have waited for the same verdict.
        let own = json!(1000 + round);
        if !seen.contains(&own) {
            seen.push(mia.changes(1).await[0]["row"]["id"].clone());
        }
        seen.retain(|id| *id != before);
        assert_eq!(seen, [own], "round {round}");
        let both = olga.changes(2).await;
        assert_eq!(both[1]["row"]["id"], after, "nobody else is cut off");
        assert_eq!(refused(&mut mia, "workspace:9:documents").await, "forbidden");
        writer.batch_execute("insert into app.member values (9, 'mia', 'member')").await.unwrap();
    }
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_an_event_while_everybody_is_judged_again() {
    let world = workspaces().await;
    // Each judgement is overtaken by the next change.
    let slow = "alter function app.may_listen rename to may_listen_at_once;
         create function app.may_listen(claims jsonb, channel text, action text) returns boolean
         language plpgsql security definer as
         $$ begin perform pg_sleep(0.005); return app.may_listen_at_once(claims, channel, action); end $$";
    world.sql(slow).await;
    let mut olga = world.subscriber("olga", &["workspace:9:documents"]).await;
    let writer = world.db.client().await;
    for id in 0..200 {
        let sql =
            format!("insert into app.document values ({id}, 9, ''); notify rowcast_authorize");
        for statement in sql.split(';') {
            writer.batch_execute(statement).await.unwrap();
        }
    }
    let ids: Vec<_> =
        olga.changes(200).await.iter().map(|change| change["row"]["id"].clone()).collect();
    assert_eq!(ids, (0..200).map(Value::from).collect::<Vec<_>>());
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_changed_while_nobody_listened_count_once_somebody_does() {
    let world = workspaces().await;
    let mut mia = world.subscriber("mia", &["workspace:9:documents"]).await;
    // The daemon's sessions are ended in the transaction that removes her.
    let end = "begin; delete from app.member where workspace_id = 9 and user_id = 'mia';
               select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid();
               commit; insert into app.document values (1, 9, 'after')";
    world.sql(end).await;
    let message = mia.skip_to(|m| m["type"] == "error" || m["type"] == "change").await;
    assert_eq!(message["code"], "forbidden", "{message}");
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_kept_until_they_are_too_old_or_somebody_says_so() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create schema app; create sequence app.asked;
         create table app.open (channel text);
         insert into app.open values ('a'), ('b');
         create function app.may_listen(claims jsonb, channel text, action text) returns boolean language sql as
         $$ select nextval('app.asked') > 0 and exists (select from app.open o where o.channel = $2) $$",
    )
    .await;
    let world = World::on(db, FUNCTION).await;
    let asked = async || -> i64 {
        let client = world.db.client().await;
        client.query_one("select last_value from app.asked", &[]).await.unwrap().get(0)
    };
    let token = world.token("ana");
    let mut one = Client::connect(world.daemon.address(), Some(&token)).await;
    let mut two = Client::connect(world.daemon.address(), Some(&token)).await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.next().await["type"], "welcome");
        client.subscribe("a").await;
    }
    assert_eq!(asked().await, 1, "the second answer was known");
    one.subscribe("b").await;
    world
        .sql("delete from app.open where channel = 'b'; notify rowcast_authorize, 'somebody-else'")
        .await;
    two.subscribe("b").await;
    assert_eq!(asked().await, 2, "somebody else's rights are not hers");
    world.sql("notify rowcast_authorize, 'ana'").await;
    for client in [&mut one, &mut two] {
        let message = client.next().await;
        assert_eq!((&message["code"], &message["channel"]), (&json!("forbidden"), &json!("b")));
    }
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_come_first_and_the_function_has_the_last_word() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create function may(claims jsonb, channel text, action text) returns boolean language sql as
         $$ select case channel when 'open:null' then null else channel <> 'open:shut' end $$",
    )
    .await;
    let settings = "policy = [{ channel = \"open:*\", allow = [\"subscribe\"] }]\n[authorize]\nfunction = \"may\"";
    let world = World::on(db, settings).await;
    let mut client = world.client("ana").await;
    client.subscribe("open:1").await;
    client.subscribe("user:ana").await;
    for channel in ["open:shut", "open:null", "other"] {
        assert_eq!(refused(&mut client, channel).await, "forbidden", "{channel}");
    }
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_be_asked_lets_nobody_in_and_is_found_once_it_can() {
    let world = World::with(FUNCTION).await;
    let mut client = world.client("ana").await;
    assert_eq!(refused(&mut client, "a").await, "unavailable");
    let create = |body: &str| {
        format!(
            "create or replace function app.may_listen(claims jsonb, channel text, action text) returns boolean language sql as $$ {body} $$"
        )
    };
    world.sql("create schema app").await;
    world.sql(&create("select 1/0 > 0")).await;
    assert_eq!(refused(&mut client, "a").await, "unavailable");
    world.sql(&create("select true")).await;
    client.subscribe("a").await;
    world.sql(&create("select 1/(select 0) > 0")).await;
    world.sql("notify rowcast_authorize").await;
    let ended = client.next().await;
    assert_eq!((&ended["code"], &ended["channel"]), (&json!("unavailable"), &json!("a")));
    assert!(ended["retry_after_ms"].as_u64() > Some(0), "{ended}");
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_user_is_cut_off_on_every_node_and_stays_out() {
    let world = World::start().await;
    let other = world.another_node().await;
    let old = world.token("ana");
    let mut here = world.subscriber("ana", &["a"]).await;
    let mut there = world.client_of(&other, "ana").await;
    let mut ben = world.subscriber("ben", &["a"]).await;
    world.sql("select rowcast.revoke(user_id => 'ana')").await;
    world.sql("select rowcast.emit('a', 'after', '1')").await;
    assert_eq!(here.close_code().await, 4503);
    assert_eq!(there.close_code().await, 4503);
    assert_eq!(ben.changes(1).await[0]["op"], "after");
    for node in [&world.daemon, &other] {
        assert!(refuses(node.address(), &old).await);
    }
    // A node that starts later knows it too.
    let third = world.another_node().await;
    assert!(refuses(third.address(), &old).await);
    assert!(!refuses(third.address(), &world.token("ben")).await);
    // What is issued in a later second counts.
    world.sql("update rowcast.revocation set at = at - interval '2 seconds'").await;
    let fourth = world.another_node().await;
    assert!(!refuses(fourth.address(), &world.token("ana")).await);
    for node in [other, third, fourth, world.daemon] {
        node.stop().await;
    }
}

async fn refuses(address: SocketAddr, token: &str) -> bool {
    let headers = [("authorization", format!("Bearer {token}"))];
    match Client::try_connect(address, "", &headers).await {
        Ok(_) => false,
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), 401);
            true
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_revoked_by_its_id_and_the_user_s_others_go_on() {
    let world = World::start().await;
    let (bad, good) =
        (world.sign("ana", &[("jti", json!("x"))]), world.sign("ana", &[("jti", json!("y"))]));
    let mut cut = Client::connect(world.daemon.address(), Some(&bad)).await;
    let mut stays = Client::connect(world.daemon.address(), Some(&good)).await;
    stays.next().await;
    stays.subscribe("a").await;
    let role = world.db.role("app");
    world.sql(&format!("create role {role} login; select rowcast.grant_revoke('{role}')")).await;
    let app = world.db.client_as(&role).await;
    app.batch_execute("select rowcast.revoke(jti => 'x')").await.unwrap();
    assert!(app.batch_execute("select * from rowcast.revocation").await.is_err());
    assert_eq!(cut.close_code().await, 4503);
    world.sql("select rowcast.emit('a', 'on', '1')").await;
    assert_eq!(stays.changes(1).await[0]["op"], "on");
    // In a message a revoked token ends the session like any other that is refused.
    stays.send(json!({ "type": "auth", "token": bad })).await;
    assert_eq!(stays.close_code().await, 4501);
    for nothing in ["rowcast.revoke()", "rowcast.revoke('', null)", "rowcast.revoke('a', 'b')"] {
        let refused = app.batch_execute(&format!("select {nothing}")).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "RC022", "{nothing}");
    }
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once_at_any_node() {
    let world =
        World::with(&format!("{}\n[auth]\nticket_life = \"1h\"", crate::harness::OPEN)).await;
    let other = world.another_node().await;
    let ticket = ticket(world.daemon.address(), &world.token("ana")).await;
    let query = format!("?token={ticket}");
    let mut client = Client::try_connect(other.address(), &query, &[]).await.unwrap();
    assert_eq!(client.next().await["user"], "ana");
    client.subscribe("user:ana").await;
    for node in [&world.daemon, &other] {
        assert!(Client::try_connect(node.address(), &query, &[]).await.is_err(), "it was used");
    }
    other.stop().await;
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_ticket_any_more_or_never_was_is_refused() {
    let world = World::start().await;
    let address = world.daemon.address();
    let old = ticket(address, &world.token("ana")).await;
    world.sql("update rowcast.ticket set expires_at = now()").await;
    assert!(refuses(address, &old).await);
    let revoked = ticket(address, &world.token("ana")).await;
    let mut witness = world.client("ana").await;
    world.sql("select rowcast.revoke(user_id => 'ana')").await;
    assert_eq!(witness.close_code().await, 4503, "by then it is known");
    assert!(refuses(address, &revoked).await);
    let fresh = ticket(address, &world.token("ben")).await;
    let mut forged = fresh.clone().into_bytes();
    forged[3] = if forged[3] == b'A' { b'B' } else { b'A' };
    assert!(refuses(address, &String::from_utf8(forged).unwrap()).await);
    // Neither a ticket nor nothing is exchanged for one.
    for credential in [format!("authorization: Bearer {fresh}\r\n"), String::new()] {
        let answer = post_tickets(address, &credential).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    assert!(!refuses(address, &fresh).await, "it was not used up by that");
    let kept: i64 = world
        .db
        .client()
        .await
        .query_one("select count(*) from rowcast.ticket where claims::text ~ 'ben'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(kept, 0);
    world.daemon.stop().await;
}

async fn ticket(address: SocketAddr, token: &str) -> String {
    let answer = post_tickets(address, &format!("authorization: Bearer {token}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("no-store"), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(body["expires_in_ms"].as_u64() > Some(0));
    let ticket = body["ticket"].as_str().unwrap().to_owned();
    secret(&ticket);
    ticket
}

async fn post_tickets(address: SocketAddr, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1/tickets HTTP/1.1\r\nhost: rowcast\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
