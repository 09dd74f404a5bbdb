//! What the log holds, in lines that a test can write down.

use super::Database;

/// Every event of the log by id: `op {channels} [to {users}] [key …] [row …] [old …] [changed {…}] [truncated]`.
pub async fn logged(db: &Database) -> Vec<String> {
    let rows = db.client().await.query(LINES, &[]).await.expect("the superuser may read the log");
    rows.iter().map(|row| row.get(0)).collect()
}

/// The same from here on: what is there already is forgotten.
pub async fn forget(db: &Database) {
    db.batch_execute("truncate rowcast.event").await;
}

const LINES: &str = r#"
    select concat_ws(' ', op, channels::text, 'to ' || users::text, 'key ' || key::text, 'row ' || "row"::text,
                     'old ' || old::text, 'changed ' || changed::text, case when truncated then 'truncated' end,
                     case when parked then 'parked' end)
      from rowcast.event
     order by id"#;
