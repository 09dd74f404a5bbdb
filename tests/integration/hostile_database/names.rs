//! Names and values that are written to break out of where they are put.

use tokio_postgres::Client;

use super::{Attacker, refused};
use crate::harness::{Database, forget, logged};

/// 63 bytes are the longest a name can be.
const NAMES: &[&str] = &[
    r#"we"ird'; t"#,
    "$capture$; select evil.note('broke out'); $capture$",
    "$text$",
    "$q$",
    "{new}",
    "{old}",
    "{limit}",
    "%s %1$s %I %L %%",
    "$1 $5",
    "new\nline\r\ttab",
    r"back\slash\",
    "--",
    "/* not",
    "*/",
    "new",
    "old",
    "first",
    "capture",
    "NULL",
    "xyz:{id}",
    "äöü€😀",
    "sixty-three-bytes-of-a-name-with-a-quote-at-its-very-end-xxxxx'",
];

#[tokio::test]
async fn names_of_any_kind_are_only_names() {
    let attacker = Attacker::new().await;
    for (n, name) in NAMES.iter().enumerate() {
        let capture = ["row", "statement"][n % 2];
        Odd { client: attacker.db.client().await, name, capture }
            .lives_and_changes(&attacker.db)
            .await;
    }
    assert_eq!(attacker.caught().await, Vec::<String>::new());
}

/// A table of this name in a schema of this name, with a column of each name.
struct Odd {
    client: Client,
    name: &'static str,
    capture: &'static str,
}

impl Odd {
    async fn lives_and_changes(&self, db: &Database) {
        self.create_and_watch().await;
        self.write(db).await;
        // The same when the table is not what it was.
        let drop = format!("alter table {0} drop column \"first\"", self.table());
        let rename = format!(
            "alter table {0} rename column \"old\" to {1}",
            self.table(),
            quoted("'\"}{new}%s")
        );
        self.run(&format!("{drop}; {rename}")).await;
        self.write(db).await;
        let drift = "select drift from rowcast.watches";
        let drift: String = self.client.query_one(drift, &[]).await.unwrap().get(0);
        assert!(drift.ends_with("run rowcast.watch again"), "{}: {drift}", self.name);
        self.call("select rowcast.unwatch($1::text::regclass)").await;
        self.run(&format!("drop schema {} cascade", quoted(self.name))).await;
    }

    async fn create_and_watch(&self) {
        let columns = NAMES
            .iter()
            .map(|name| format!(", {} text default 'x'", quoted(name)))
            .collect::<String>();
        self.run(&format!(
            "create schema {}; create table {} (id int primary key{columns})",
            quoted(self.name),
            self.table()
        ))
        .await;
        let watch = "select rowcast.watch($1::text::regclass, array['t', 't:{id}'], users => array['{äöü€😀}'], old => true, capture => ";
        self.call(&format!("{watch}'{}')", self.capture)).await;
    }

    async fn write(&self, db: &Database) {
        let table = self.table();
        let insert = format!(
            "insert into {table} (id) values (1), (2); update {table} set id = 3 where id = 1"
        );
        self.run(&format!("{insert}; update {table} set \"--\" = 'y'; delete from {table}")).await;
        assert_eq!(shapes(db).await, EXPECTED, "{} by {}", self.name, self.capture);
    }

    fn table(&self) -> String {
        format!("{0}.{0}", quoted(self.name))
    }

    async fn run(&self, sql: &str) {
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.name));
    }

    async fn call(&self, sql: &str) {
        self.client
            .execute(sql, &[&self.table()])
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.name));
    }
}

/// What happened, whole, and that each event has its row; then forgets it.
async fn shapes(db: &Database) -> Vec<String> {
    let sql = r#"select concat_ws(' ', op, channels[2], key::text, json_typeof("row"), json_typeof(old), case when truncated then 'truncated' end)
                   from rowcast.event order by op, channels[2], id"#;
    let rows = db.client().await.query(sql, &[]).await.unwrap();
    forget(db).await;
    rows.iter().map(|row| row.get(0)).collect()
}

const EXPECTED: &[&str] = &[
    r#"delete t:1 {"id":1} object"#,
    r#"delete t:2 {"id":2} object"#,
    r#"delete t:3 {"id":3} object"#,
    r#"insert t:1 {"id":1} object"#,
    r#"insert t:2 {"id":2} object"#,
    r#"insert t:3 {"id":3} object"#,
    r#"update t:2 {"id":2} object object"#,
    r#"update t:3 {"id":3} object object"#,
];

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[tokio::test]
async fn text_in_a_condition_is_only_text() {
    for text in ["{new}", "{old} {limit}", "%s %1$s", "$capture$", "$5", r"\"] {
        let db = Database::migrated().await;
        let client = db.client().await;
        client
            .batch_execute("create table t (id int primary key, v text, gone int)")
            .await
            .unwrap();
        let condition = format!("new.v = '{text}' or old.v = '{text}'");
        client
            .execute("select rowcast.watch('t', condition => $1)", &[&condition])
            .await
            .expect(text);
        for change in ["", "alter table t drop column gone"] {
            client.batch_execute(change).await.unwrap();
            for values in ["(1, $q$)", "(2, $q$), (3, $q$)"] {
                let values = values.replace("$q$", &format!("'{text}'"));
                client
                    .batch_execute(&format!(
                        "insert into t (id, v) values {values}, (4, 'other'); delete from t"
                    ))
                    .await
                    .expect(text);
            }
            let events = logged(&db).await;
            assert_eq!(events.len(), 6, "{text}, {change}: {events:?}");
            assert!(events.iter().all(|event| !event.contains("truncated")), "{events:?}");
            forget(&db).await;
        }
    }
}

#[tokio::test]
async fn a_value_cannot_name_a_channel_of_somebody_else() {
    let db = Database::migrated().await;
    let client = db.client().await;
    client.batch_execute("create table t (id int, v text, w text, c char(5), primary key (id)); select rowcast.watch('t', array['t:{v}', 'o:{v}:{w}', 'u{c}', '{v}'])").await.unwrap();
    for value in [
        "a:b",
        "*",
        "a\nb",
        "a\n",
        "\n",
        "\u{1}",
        "a b",
        "",
        "ä",
        "é",
        "ａ",
        "a/b",
        "{id}",
        "rowcast",
        "rowcast:x",
        "'",
        "\u{200b}",
        &"x".repeat(201),
    ] {
        client.execute("insert into t values (1, $1, $1, 'x')", &[&value]).await.unwrap();
        let channels: Vec<String> = client
            .query_one("select array(select unnest(channels) order by 1) from rowcast.event", &[])
            .await
            .unwrap()
            .get(0);
        let expected: &[&str] = match value {
            "rowcast" => &["o:rowcast:rowcast", "t:rowcast"],
            _ => &[],
        };
        let others: Vec<_> = channels.iter().filter(|channel| !channel.starts_with('u')).collect();
        assert_eq!(others, expected, "{value:?}");
        client.batch_execute("delete from t; truncate rowcast.event").await.unwrap();
    }
    // The naive version puts the value in as it is.
    client
        .batch_execute(
            "create or replace function rowcast._template(target regclass, template text, alias text, is_channel boolean, strict boolean) returns text
             language sql set search_path = pg_catalog, pg_temp as $$ select format('(%L || %I.v)', split_part(template, '{', 1), alias) $$;
             select rowcast.watch('t', array['t:{v}']); insert into t values (1, 'a:b')",
        )
        .await
        .unwrap();
    assert_eq!(
        logged(&db).await,
        [r#"insert {t:a:b} key {"id":1} row {"id":1,"v":"a:b","w":null,"c":null}"#]
    );
}

#[tokio::test]
async fn settings_of_the_writer_are_short_text_and_nothing_else() {
    let attacker = Attacker::new().await;
    attacker.run("create table evil.t (id int primary key)").await;
    attacker
        .admin(&format!(
            "select rowcast.watch('evil.t', array['t']); select rowcast.grant_emit('{}')",
            attacker.role
        ))
        .await;
    let client = attacker.client().await;
    for text in [
        "x'; delete from rowcast.event; --",
        "new\nline",
        "\"",
        "{\"a\":1}",
        r"\u0000",
        "%s",
        &"é".repeat(1_000_000),
    ] {
        client.execute("select set_config('rowcast.user', $1, false), set_config('rowcast.origin', $1, false)", &[&text]).await.unwrap();
        client.batch_execute("insert into evil.t values (1), (2); delete from evil.t where id = 1; delete from evil.t; select rowcast.emit('t', 'hello')").await.unwrap();
        let expected: String = text.chars().take(200).collect();
        let rows = attacker
            .db
            .client()
            .await
            .query(r#"select distinct "user", origin from rowcast.event"#, &[])
            .await
            .unwrap();
        assert_eq!(rows.len(), 1, "{text:.20}");
        assert_eq!(
            (rows[0].get::<_, String>(0), rows[0].get::<_, String>(1)),
            (expected.clone(), expected)
        );
        forget(&attacker.db).await;
    } // The naive version keeps all of it, in every event.
    let admin = attacker.db.client().await;
    let emit = "select pg_get_functiondef('rowcast.emit'::regproc)";
    let emit: String = admin.query_one(emit, &[]).await.unwrap().get(0);
    admin.batch_execute(&emit.replace("left(", "concat(")).await.unwrap();
    client.batch_execute("select rowcast.emit('t', 'hello')").await.unwrap();
    let length = "select length(origin) from rowcast.event";
    assert!(admin.query_one(length, &[]).await.unwrap().get::<_, i32>(0) >= 1_000_000);
}

#[tokio::test]
async fn emit_takes_names_and_no_more_and_only_from_those_who_may() {
    let attacker = Attacker::new().await;
    let client = attacker.client().await;
    refused(&client, "select rowcast.emit('a', 'b')", "42501").await;
    attacker.admin(&format!("select rowcast.grant_emit('{}')", attacker.role)).await;
    for channel in [
        "a\n",
        "a:",
        ":a",
        "a::b",
        "*",
        "a:*",
        "",
        "a b",
        "rowcast",
        "rowcast:x",
        "ä",
        &"x".repeat(201),
    ] {
        let error =
            client.execute("select rowcast.emit($1, 'b')", &[&channel]).await.expect_err(channel);
        assert_eq!(error.code().unwrap().code(), "RC012", "{channel:?}");
    }
    for event in ["insert", "truncate", "", &"x".repeat(201)] {
        let error =
            client.execute("select rowcast.emit('a', $1)", &[&event]).await.expect_err(event);
        assert_eq!(error.code().unwrap().code(), "RC020", "{event:?}");
    }
    assert_eq!(logged(&attacker.db).await, Vec::<String>::new());
}
