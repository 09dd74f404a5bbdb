//! Roles that mean no good, against the SQL that runs as `rowcast_owner`. Each attack is first seen to succeed on the
//! naive version of what it attacks, so that its failure on ours means something.

mod locks;
mod names;
mod notifications;
mod owners;
mod path;

use tokio_postgres::Client;

use crate::harness::{Database, forget};

/// An application's role with a schema of its own, whose functions write down as whom they run.
struct Attacker {
    db: Database,
    role: String,
}

impl Attacker {
    async fn new() -> Self {
        let db = Database::migrated().await;
        let role = db.role("app");
        db.batch_execute(&format!(
            "create role {role} login; create schema evil authorization {role}; grant usage on schema evil to public"
        ))
        .await;
        let attacker = Self { db, role };
        attacker.run(NOTE).await;
        attacker
    }

    /// As the attacker; it succeeds.
    async fn run(&self, sql: &str) {
        let client = self.client().await;
        if let Err(error) = client.batch_execute(sql).await {
            panic!("{error:?} in: {sql}");
        }
    }

    /// As the superuser.
    async fn admin(&self, sql: &str) {
        self.db.batch_execute(sql).await;
    }

    async fn client(&self) -> Client {
        self.db.client_as(&self.role).await
    }

    /// What of the attacker's ran as somebody else, since it was asked last.
    async fn caught(&self) -> Vec<String> {
        let sql =
            "select distinct what || ' as ' || who from evil.caught where who <> $1 order by 1";
        let client = self.db.client().await;
        let rows = client.query(sql, &[&self.role]).await.unwrap();
        client.batch_execute("truncate evil.caught").await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn forget(&self) {
        forget(&self.db).await;
        self.caught().await;
    }
}

const NOTE: &str = "
    create table evil.caught (what text, who text);
    grant insert on evil.caught to public;
    create function evil.note(what text) returns void language plpgsql as $$
    begin
        insert into evil.caught values (what, current_user);
    end $$;";

/// Runs what must be refused with this code.
async fn refused(client: &Client, sql: &str, code: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().expect("the server refuses");
    assert_eq!(error.code().code(), code, "{sql}: {error}");
}
