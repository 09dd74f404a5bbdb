//! `rowcast explain` beside what a daemon does with the same user and channel.

use serde_json::{Value, json};

use crate::harness::{Database, World, rowcast};

const CONFIG: &str = r#"
    [[policy]]
    channel = "orders:{org_id}:*"
    allow = ["subscribe"]
    when = { role = ["staff"] }
    [[policy]]
    channel = "orders:open:*"
    allow = ["subscribe"]
    [[policy]]
    channel = "free"
    allow = ["subscribe"]
"#;

const TABLE: &str = "create table item (id int primary key, org text, owner text);
    select rowcast.watch('item', channels => array['orders:{org}:items'], users => array['{owner}'])";

struct Scene {
    world: World,
    url: String,
    file: tempfile::NamedTempFile,
}

impl Scene {
    async fn new(config: &str, sql: &str) -> Self {
        let db = Database::migrated().await;
        let role = db.role("daemon");
        db.batch_execute(&format!(
            "create role {role} login; select rowcast.grant_daemon('{role}'); {sql}"
        ))
        .await;
        let url = db.url_as(&role);
        let world = World::at(db, &url, config).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = "a secret of the tests, 32 bytes or more";
        let key = file.path().with_extension("key");
        std::fs::write(&key, secret).unwrap();
        std::fs::write(
            file.path(),
            format!("[auth]\nsecret_file = \"{}\"\n{config}", key.display()),
        )
        .unwrap();
        Self { world, url, file }
    }

    /// The answer, which is also the exit code.
    fn explain(&self, arguments: &[&str]) -> Value {
        let file = self.file.path().display().to_string();
        let outcome =
            rowcast(&self.url, &[&["explain", "--json", "--config", &file], arguments].concat());
        let answer: Value = serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
        assert_eq!(outcome.code, i32::from(answer["gets"] == false), "{outcome:?}");
        answer
    }

    #[track_caller]
    fn says(&self, arguments: &[&str], gets: bool, said: &str) {
        let answer = self.explain(arguments);
        assert_eq!(answer["gets"], gets, "{answer:#}");
        assert!(answer["sentence"].as_str().unwrap().contains(said), "{answer:#}");
    }

    /// Under which number the log has the insert of this row.
    async fn number(&self, row: &Value) -> i64 {
        let client = self.world.db.client().await;
        let find = "select id from rowcast.event where (key ->> 'id')::int8 = $1";
        client.query_one(find, &[&row.as_i64()]).await.unwrap().get(0)
    }

    async fn end(self) {
        let _ = std::fs::remove_file(self.file.path().with_extension("key"));
        self.world.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_what_a_client_meets() {
    let scene = Scene::new(CONFIG, TABLE).await;
    for (claims, channel, said) in [
        (json!({"org_id": 9, "role": "staff"}), "orders:9:items", "policy 1"),
        (json!({"org_id": 9, "role": "guest"}), "orders:9:items", "policies have none"),
        (json!({"org_id": 8, "role": "staff"}), "orders:9:items", "policies have none"),
        (json!({}), "orders:open:items", "policy 2"),
        (json!({}), "orders:open:*", "policy 2"),
        (json!({}), "user:ana", "own channel"),
        (json!({}), "user:ben", "policies have none"),
        (json!({}), "rowcast:x", "belongs to the service"),
        (json!({}), "a b", "segments"),
    ] {
        let pairs: Vec<(&str, Value)> =
            claims.as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let token = scene.world.sign("ana", &pairs);
        let mut client =
            crate::harness::Client::connect(scene.world.daemon.address(), Some(&token)).await;
        client.next().await;
        let met = client.ask(json!({ "type": "subscribe", "channel": channel })).await;
        let may = met["type"] == "ok";
        let text = claims.to_string();
        for who in [&["--user", "ana", "--claims", &text][..], &["--token", &token]] {
            let answer = scene.explain(&[who, &["--channel", channel]].concat());
            let is_empty = answer["sentence"].as_str().unwrap().contains("sources are none");
            assert_eq!(answer["gets"] == true || is_empty, may, "{channel}: {met} {answer:#}");
            let steps = answer["steps"].to_string() + answer["sentence"].as_str().unwrap();
            assert!(steps.contains(said), "{channel}: {answer:#}");
        }
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_s_id_tells_whose_it_is() {
    let scene = Scene::new(CONFIG, TABLE).await;
    let mut ana = scene.world.subscriber("ana", &["orders:open:*"]).await;
    let inserts =
        "insert into item values (1, 'open', 'ana'), (2, 'open', 'ben'), (3, 'open', 'ana')";
    scene.world.sql(inserts).await;
    let changes = ana.changes(2).await;
    assert_eq!(changes[1]["row"]["id"], 3);
    scene.world.sql("insert into item values (4, 'open', 'ana')").await;
    for change in [&changes[0], &changes[1], &ana.changes(1).await[0]] {
        let id = change["id"].as_str().unwrap();
        let number = scene.number(&change["row"]["id"]).await;
        let answer =
            scene.explain(&["--user", "ana", "--channel", "orders:open:items", "--id", id]);
        assert!(answer.to_string().contains(&format!("number {number}: ")), "{answer:#}");
        scene.says(
            &["--user", "ana", "--channel", "orders:open:items", "--id", id],
            true,
            "this user among",
        );
        scene.says(
            &["--user", "ben", "--channel", "orders:open:items", "--id", id],
            false,
            "is for user ana only",
        );
        scene.says(
            &["--user", "ana", "--channel", "free", "--id", id],
            false,
            "went to orders:open:items",
        );
    }
    let id = changes[0]["id"].as_str().unwrap().to_owned();
    let on_items = |id: &str| {
        ["--user", "ana", "--channel", "orders:open:items", "--id"]
            .map(str::to_owned)
            .into_iter()
            .chain([id.to_owned()])
            .collect::<Vec<_>>()
    };
    let ask = |id: &str, gets, said: &str| {
        let arguments = on_items(id);
        scene.says(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), gets, said);
    };
    ask("AAAA", false, "not an event id");
    ask("n.5", true, "policy 2");
    scene
        .world
        .sql("update rowcast.floor set xid = pg_current_xact_id(); delete from rowcast.event")
        .await;
    ask(&id, false, "no longer in the log");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_checked_as_at_the_door() {
    let scene = Scene::new(CONFIG, TABLE).await;
    let token = scene.world.token("ana");
    let on = |token: &str| {
        vec![
            "--token".to_owned(),
            token.to_owned(),
            "--channel".to_owned(),
            "orders:open:items".to_owned(),
        ]
    };
    let says = |token: &str, more: &[&str], gets, said: &str| {
        let arguments = on(token);
        let arguments: Vec<&str> =
            arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        scene.says(&arguments, gets, said);
    };
    says(&token, &[], true, "policy 2");
    says(&token, &["--user", "ben"], false, "that of user ana");
    says(&scene.world.sign("ana", &[("exp", json!(5))]), &[], false, "expired");
    says("x.y.z", &[], false, "token is refused");
    scene.world.sql("select rowcast.revoke(user_id => 'ana')").await;
    says(&token, &[], false, "token was revoked");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_nothing_sends_to_is_told_and_a_silent_trigger_too() {
    let scene = Scene::new(CONFIG, TABLE).await;
    let ask = ["--user", "ana", "--channel", "orders:open:items"];
    scene.says(&ask, true, "policy 2");
    scene.says(&["--user", "ana", "--channel", "free"], false, "sources are none");
    scene.world.sql("select rowcast.emit('free', 'hello')").await;
    scene.says(&["--user", "ana", "--channel", "free"], true, "policy 3");
    scene.world.sql("alter table item disable trigger all").await;
    let answer = scene.explain(&ask);
    assert!(answer["gets"] == false && answer.to_string().contains("do not fire"), "{answer:#}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_s_function_is_asked_for_real() {
    let may = "create schema app; create function app.may(claims jsonb, channel text, action text) returns boolean language sql as
        $$ select case when channel like '%broken' then 1 / length(channel || '')::int * 0 = 1 / (length(channel) - length(channel)) else claims ->> 'sub' = 'ana' end $$;
        grant usage on schema app to public";
    let scene = Scene::new("[authorize]\nfunction = \"app.may\"", &format!("{TABLE}; {may}")).await;
    scene.says(&["--user", "ana", "--channel", "orders:open:items"], true, "app.may says yes");
    scene.says(&["--user", "ben", "--channel", "orders:open:items"], false, "says no");
    scene.says(&["--user", "ana", "--channel", "orders:broken"], false, "division by zero");
    scene.says(&["--user", "ben", "--channel", "user:ana"], false, "another user's");
    scene.world.sql("revoke usage on schema app from public").await;
    scene.says(&["--user", "ana", "--channel", "orders:open:items"], false, "may not execute");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_the_steps_and_one_sentence() {
    let scene = Scene::new(CONFIG, TABLE).await;
    let file = scene.file.path().display().to_string();
    let outcome = rowcast(
        &scene.url,
        &["explain", "--config", &file, "--user", "7", "--channel", "orders:open:items"],
    );
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.contains("· public.item"), "{}", outcome.stdout);
    let last = outcome.stdout.trim_end().lines().last().unwrap();
    assert_eq!(last, "User 7 gets orders:open:items: policy 2 (orders:open:*) allows it.");
    assert!(!outcome.stdout.contains('\x1b'));
    scene.end().await;
}

#[test]
fn a_question_that_is_none_is_wrong_usage() {
    for wrong in [
        &["explain", "--channel", "a"][..],
        &["explain", "--user", "7"],
        &["explain", "--user", "7", "--channel", "a", "--claims", "[]"],
        &["explain", "--user", "7", "--channel", "a", "--claims", "{}", "--token", "x"],
    ] {
        assert_eq!(rowcast("postgres://nowhere", wrong).code, 2, "{wrong:?}");
    }
}
