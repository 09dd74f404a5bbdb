//! An application that writes in every way there is, and goes on through restarts of its database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::{Client, Error, NoTls};

use super::dice::Dice;

/// Versions come from one sequence, and who changes a row takes the next one behind its lock.
pub const SCHEMA: &str = "
    create sequence version;
    create table item (key int primary key, version bigint not null);
    create table secret (key int primary key, owner text not null, version bigint not null);
    create table early (n int);
    insert into item select n, 0 from generate_series(0, 11) n;
    insert into secret select n, 'user' || n % 4, 0 from generate_series(0, 11) n;
    select rowcast.watch('item', array['items', 'item:{key}']);
    select rowcast.watch('secret', array['secrets'], users => array['{owner}']);";

#[derive(Clone, Default)]
pub struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Writes until told to stop; a database that is away is waited for.
pub async fn writer(
    url: watch::Receiver<String>,
    (number, rest): (u64, Duration),
    mut dice: Dice,
    stop: watch::Receiver<bool>,
    complaints: Complaints,
) {
    while !*stop.borrow() {
        let here = url.borrow().clone();
        let Some(client) = connect(&here).await else { continue };
        while !*stop.borrow() && *url.borrow() == here {
            match transaction(&client, number, &mut dice).await {
                Ok(()) => tokio::time::sleep(rest.mul_f64(dice.fraction())).await,
                Err(error) if error.is_closed() || is_the_servers(&error) => break,
                Err(error) => complaints.0.lock().unwrap().push(format!("{error:?}")),
            }
        }
    }
}

/// One transaction that has written and stays open, replaced every few seconds.
pub async fn long_writer(
    url: watch::Receiver<String>,
    mut dice: Dice,
    stop: watch::Receiver<bool>,
) {
    let mut number = 0;
    while !*stop.borrow() {
        let here = url.borrow().clone();
        let Some(client) = connect(&here).await else { continue };
        number += 1;
        let begin = format!(
            "begin; insert into item values ({}, nextval('version'))",
            1_000_000 + number + i64::try_from(dice.roll(1000)).unwrap_or_default() * 1000
        );
        if client.batch_execute(&begin).await.is_err() {
            continue;
        }
        let mut stopped = stop.clone();
        let _ = tokio::time::timeout(dice.millis(1000, 6000), stopped.wait_for(|stop| *stop)).await;
        let _ = client.batch_execute("commit").await;
    }
}

async fn transaction(client: &Client, number: u64, dice: &mut Dice) -> Result<(), Error> {
    let own = 1000 * (number + 1) + dice.roll(20);
    let (hot, pause) = (dice.roll(12), dice.millis(0, 4).as_secs_f64());
    let next = "version = nextval('version')";
    let body = match dice.roll(8) {
        0 | 1 => format!("update item set {next} where key = {hot}"),
        2 => format!("update secret set {next} where key = {hot}"),
        3 => format!("insert into item values ({own}, nextval('version')) on conflict (key) do update set {next}"),
        4 => format!("delete from item where key = {own}"),
        5 => format!(
            "insert into item select {own} + 100 + n, nextval('version') from generate_series(1, 20) n on conflict (key) do nothing;
             delete from item where key between {own} + 101 and {own} + 110"
        ),
        6 => format!(
            "savepoint s; update item set {next} where key = {hot}; rollback to s;
             update secret set {next} where key = {hot}"
        ),
        _ => format!("update secret set owner = 'user' || {}, {next} where key = {hot}", dice.roll(4)),
    };
    let end = if dice.roll(10) == 0 { "rollback" } else { "commit" };
    let text = format!(
        "begin; insert into early values (1); select pg_sleep({pause}); {body}; select pg_sleep({pause}); {end}"
    );
    let result = client.batch_execute(&text).await;
    if result.is_err() {
        let _ = client.batch_execute("rollback").await;
    }
    if dice.roll(20) == 0 {
        tokio::time::sleep(dice.millis(5, 60)).await;
    }
    result
}

/// The database goes down or is not up yet, which is nobody's fault here.
fn is_the_servers(error: &Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "57P01" | "57P02" | "57P03" | "25006"))
}

pub async fn connect(url: &str) -> Option<Client> {
    let connecting = tokio_postgres::connect(url, NoTls);
    let Ok(Ok((client, connection))) =
        tokio::time::timeout(Duration::from_secs(5), connecting).await
    else {
        tokio::time::sleep(Duration::from_millis(10)).await;
        return None;
    };
    tokio::spawn(connection);
    Some(client)
}
