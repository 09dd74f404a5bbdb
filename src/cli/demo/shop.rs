//! The sample tables of the demo, and statements that change them.
//!
//! In: a database with the schema `rowcast`. Out: the schema `demo`, watched, and one SQL statement at a time.
//! Invariant: a schema `demo` that somebody else made is never touched, and no table grows without bound.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::postgres::connect::Target;
use crate::postgres::error::explain;
use crate::postgres::pool::{Pool, PoolError};

pub const USERS: [&str; 2] = ["ana", "ben"];

pub struct Shop {
    pool: Pool,
    /// What a statement was chosen for is still so when it runs; only psql comes between.
    turn: Mutex<()>,
}

/// What may be done to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Insert,
    Update,
    Delete,
}

impl Op {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A statement that has run.
#[derive(Clone, Debug)]
pub struct Written {
    pub sql: String,
    pub op: Op,
    /// The order's.
    pub id: i32,
    pub began: Instant,
    pub took: Duration,
}

impl Shop {
    /// Makes the tables. What an earlier demo left behind is removed first.
    pub async fn open(target: &Target) -> Result<Self, ShopError> {
        let shop = Self { pool: target.pool(CONNECTIONS), turn: Mutex::new(()) };
        let client = shop.pool.get().await?;
        if let Some(row) = client.query_opt(WHOSE_SCHEMA, &[]).await? {
            if row.get::<_, Option<&str>>(0) != Some(COMMENT) {
                return Err(ShopError::Taken);
            }
            client.batch_execute(DROP).await?;
        }
        client.batch_execute(SCHEMA).await?;
        drop(client);
        Ok(shop)
    }

    /// Removes what [`Shop::open`] made.
    pub async fn clear(&self) -> Result<(), ShopError> {
        Ok(self.pool.get().await?.batch_execute(DROP).await?)
    }

    /// Hangs up, so that a server that stops has nobody to warn.
    pub fn close(&self) {
        self.pool.close();
    }

    /// One order of this user is made, takes its next step, or goes.
    pub async fn write(&self, op: Op, user: &str) -> Result<Written, ShopError> {
        let _turn = self.turn.lock().await;
        let sql = match op {
            Op::Insert => insert(user),
            Op::Update => self.update(user).await?,
            Op::Delete => self.delete(user).await?,
        };
        self.run(op, sql).await
    }

    /// The order with this id, whoever's it is.
    pub async fn write_to(&self, op: Op, id: i32) -> Result<Written, ShopError> {
        let _turn = self.turn.lock().await;
        let sql = match op {
            Op::Update => update(id, STEPS[1]),
            Op::Insert | Op::Delete => delete(id),
        };
        self.run(op, sql).await
    }

    /// What the page draws first, as JSON.
    pub async fn rows(&self, user: &str) -> Result<String, ShopError> {
        Ok(self.pool.get().await?.query_one(ROWS, &[&user]).await?.get(0))
    }

    pub async fn order_count(&self, user: &str) -> Result<i64, ShopError> {
        let count = "select count(*) from demo.orders where owner = $1";
        Ok(self.pool.get().await?.query_one(count, &[&user]).await?.get(0))
    }

    /// Whatever was inserted by hand, the newest orders stay.
    pub async fn trim(&self) -> Result<(), ShopError> {
        Ok(self.pool.get().await?.batch_execute(TRIM).await?)
    }

    /// An event that everybody who is subscribed to this channel may see.
    pub async fn announce(&self, channel: &str, event: &str) -> Result<(), ShopError> {
        let emit = "select rowcast.emit($1, $2)";
        self.pool.get().await?.execute(emit, &[&channel, &event]).await?;
        Ok(())
    }

    async fn update(&self, user: &str) -> Result<String, ShopError> {
        let client = self.pool.get().await?;
        let open = client.query_opt(OPEN_ORDER, &[&user]).await?.ok_or(ShopError::AllShipped)?;
        let status: &str = open.get(1);
        let step = STEPS.iter().position(|step| *step == status).unwrap_or(0);
        Ok(update(open.get(0), STEPS[(step + 1).min(STEPS.len() - 1)]))
    }

    async fn delete(&self, user: &str) -> Result<String, ShopError> {
        let client = self.pool.get().await?;
        let done = client.query_opt(DONE_ORDER, &[&user]).await?.ok_or(ShopError::NoOrder)?;
        Ok(delete(done.get(0)))
    }

    async fn run(&self, op: Op, sql: String) -> Result<Written, ShopError> {
        let client = self.pool.get().await?;
        let began = Instant::now();
        let row = client.query_opt(&sql, &[]).await?.ok_or(ShopError::Gone)?;
        Ok(Written { op, id: row.get(0), began, took: began.elapsed(), sql })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    #[error(
        "this database has a schema \"demo\" of its own, which the demo would replace; give it another database"
    )]
    Taken,
    #[error("every order is shipped already; insert one first")]
    AllShipped,
    #[error("there is no order; insert one first")]
    NoOrder,
    #[error("somebody else deleted that order in the meantime; try again")]
    Gone,
    #[error("the database is out of reach")]
    Pool(#[from] PoolError),
    #[error("{}", explain(.0))]
    Postgres(#[from] tokio_postgres::Error),
}

// The statements are written out whole, because the page shows them. Every part of them is ours: names from the
// lists below, and numbers.

fn insert(user: &str) -> String {
    let (customer, (item, cents)) = (pick(&CUSTOMERS), pick(&ITEMS));
    let quantity = pick(&[1, 2, 3, 4]);
    let (whole, rest) = (quantity * cents / 100, quantity * cents % 100);
    format!(
        "insert into demo.orders (customer, item, quantity, total, owner)\n\
         values ('{customer}', '{item}', {quantity}, {whole}.{rest:02}, '{user}')\nreturning id;"
    )
}

fn update(id: i32, status: &str) -> String {
    format!(
        "update demo.orders\nset status = '{status}', updated_at = now()\nwhere id = {id}\nreturning id;"
    )
}

fn delete(id: i32) -> String {
    format!("delete from demo.orders\nwhere id = {id}\nreturning id;")
}

/// One of several, by chance.
pub(super) fn pick<T: Copy>(among: &[T]) -> T {
    let mut byte = [0];
    // Without randomness the demo is only duller.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    among[usize::from(byte[0]) % among.len()]
}

const CUSTOMERS: [&str; 8] = ["Noor", "Mika", "Sofia", "Ravi", "Elif", "Jonas", "Amara", "Théo"];

/// With prices in cents; each has its shelf in [`SCHEMA`].
const ITEMS: [(&str, u32); 6] = [
    ("Espresso beans", 1150),
    ("Filter beans", 1290),
    ("Oat milk", 240),
    ("Ceramic cup", 1400),
    ("Paper filters", 495),
    ("Hand grinder", 6900),
];

const STEPS: [&str; 4] = ["new", "paid", "packed", "shipped"];

/// One for the writer, one for the page, one to spare.
const CONNECTIONS: usize = 3;

const COMMENT: &str = "made by rowcast demo, and dropped by it";

const WHOSE_SCHEMA: &str = "\
    select obj_description(oid, 'pg_namespace') from pg_catalog.pg_namespace where nspname = 'demo'";

const DROP: &str = "set lock_timeout = '10s'; drop schema demo cascade; reset lock_timeout;";

const OPEN_ORDER: &str = "\
    select id, status from demo.orders where owner = $1 and status <> 'shipped' order by random() limit 1";

const DONE_ORDER: &str = "\
    select id from demo.orders where owner = $1 order by status <> 'shipped', id limit 1";

const TRIM: &str = "\
    delete from demo.orders
     where id in (select id
                    from (select id, row_number() over (partition by owner order by id desc) as n from demo.orders) o
                   where n > 12)";

const ROWS: &str = "\
    select json_build_object(
        'orders', (select coalesce(json_agg(o order by id), '[]')
                     from (select * from demo.orders where owner = $1 order by id desc limit 50) o),
        'stock', (select json_agg(json_build_object('item', item, 'on_hand', on_hand) order by place) from demo.stock))::text";

const SCHEMA: &str = include_str!("schema.sql");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_carries_the_mark_and_every_item_that_orders_name() {
        assert!(SCHEMA.contains(COMMENT));
        for (item, _) in ITEMS {
            assert!(SCHEMA.contains(&format!("'{item}'")), "{item}");
        }
    }

    #[test]
    fn a_total_is_the_price_times_the_quantity() {
        let prices = ITEMS.map(|(item, cents)| (format!("'{item}'"), cents));
        for _ in 0..100 {
            let sql = insert("ana");
            let values: Vec<&str> = sql
                .split_once("values (")
                .and_then(|(_, rest)| rest.split_once(')'))
                .map(|(values, _)| values.split(", ").collect())
                .unwrap();
            let (quantity, total) = (values[2].parse::<u32>().unwrap(), values[3].replace('.', ""));
            let cents = prices.iter().find(|(item, _)| item == values[1]).unwrap().1;
            assert_eq!(total.parse::<u32>().unwrap(), quantity * cents, "{sql}");
        }
    }
}
