//! The demo's page in a real browser, on a real database.

mod chromium;
#[path = "../integration/harness/mod.rs"]
mod harness;

use std::net::TcpListener;

use chromium::{Chromium, Page};
use harness::{Database, Demo, psql};

/// Both sockets are up and the rows are drawn.
const LIVE: &str = "document.querySelector('#light').dataset.state === 'live'";

/// Dropped from the top down: the database goes last.
struct World {
    page: Page,
    _chromium: Chromium,
    demo: Demo,
    _db: Database,
}

impl World {
    async fn open(arguments: &[&str]) -> Self {
        let db = Database::empty().await;
        let demo = Demo::on(&db, arguments);
        let chromium = Chromium::start().await;
        let page = chromium.open(&demo.page).await;
        page.until(LIVE).await;
        Self { page, _chromium: chromium, demo, _db: db }
    }

    /// Runs a statement with psql, which knows nothing of us; answers with the id it returns.
    fn sql(&self, statement: &str) -> String {
        psql(&self.demo.url, statement).unwrap().trim().to_owned()
    }

    fn insert(&self, owner: &str) -> String {
        self.sql(&format!(
            "insert into demo.orders (customer, item, quantity, total, owner)
             values ('Zoë <b>&', 'Oat milk', 2, 4.80, '{owner}') returning id"
        ))
    }
}

/// The text of an order's row in somebody's panel; false where there is none, or where it is fading.
fn row(user: &str, id: &str) -> String {
    format!(
        "document.querySelector('[data-user={user}] tr[data-id=\"{id}\"]:not(.leaving)')?.textContent ?? false"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_with_psql_shows_at_its_owner_and_nowhere_else() {
    let world = World::open(&["--still"]).await;
    let page = &world.page;

    let anas = world.insert("ana");
    let text = page.until(&row("ana", &anas)).await;
    assert_eq!(text, format!("#{anas}Zoë <b>&2 × Oat milk4.80new"));

    world.sql(&format!("update demo.orders set status = 'shipped' where id = {anas}"));
    page.until(&format!("({}).endsWith?.('shipped')", row("ana", &anas))).await;

    // Behind ana's changes in the log, so that ben's panel has seen all it will see of them.
    let bens = world.insert("ben");
    page.until(&row("ben", &bens)).await;
    assert_eq!(page.eval(&row("ben", &anas)).await, false);
    assert_eq!(page.eval(&row("ana", &bens)).await, false);

    world.sql(&format!("delete from demo.orders where id = {anas}"));
    page.until(&format!("({}) === false", row("ana", &anas))).await;
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_shows_once_and_arrives_at_both() {
    let world = World::open(&["--still"]).await;
    world.sql("update demo.stock set on_hand = 17 where item = 'Oat milk'");

    let line = "document.querySelector('#stock [data-item=\"Oat milk\"]')";
    world.page.until(&format!("{line}.dataset.onHand === '17'")).await;
    let receivers =
        "document.querySelector('#events li .for').textContent.length === 'anaben'.length";
    world.page.until(receivers).await;
    assert_eq!(world.page.eval("document.querySelectorAll('#stock li').length").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buttons_write_plain_sql_whose_effect_is_seen_at_once() {
    let world = World::open(&["--still"]).await;
    let page = &world.page;
    let shown = "document.querySelector('#sql').textContent";
    let seen = "document.querySelector('#outcome').textContent.startsWith('On this page')";
    let press = async |op: &str| {
        page.eval(&format!("document.querySelector('button[value={op}]').click()")).await;
        page.until(&format!("{shown}.startsWith('{op} ') && {seen}")).await;
    };

    page.eval("document.querySelector('input[value=ben]').click()").await;
    press("insert").await;
    let id = world.sql("select id from demo.orders where owner = 'ben'");
    page.until(&format!("({}).endsWith?.('new')", row("ben", &id))).await;

    press("update").await;
    page.until(&format!("({}).endsWith?.('paid')", row("ben", &id))).await;

    press("delete").await;
    page.until(&format!("({}) === false", row("ben", &id))).await;
    assert_eq!(world.sql("select count(*) from demo.orders"), "0");
    assert_eq!(page.eval("document.querySelectorAll('[data-user=ana] tbody tr').length").await, 0);
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_demo_writes_keeps_coming_to_each_user_apart() {
    let world = World::open(&[]).await;
    world.page.until("Number(document.querySelector('#count').textContent) > 12").await;

    let ids = |user| {
        format!(
            "[...document.querySelectorAll('section[data-user={user}] tr[data-id]')].map((row) => row.dataset.id)"
        )
    };
    let both = format!("{}.filter((id) => {}.includes(id))", ids("ana"), ids("ben"));
    assert_eq!(world.page.eval(&both).await, serde_json::json!([]));
    assert_eq!(world.page.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_back_by_itself_when_the_daemon_does() {
    let address = free_address();
    let arguments = ["--still", "--listen", &address];
    let World { page, _chromium, demo, _db: db } = World::open(&arguments).await;
    demo.end("INT");
    page.until("document.querySelector('#light').dataset.state === 'reconnecting'").await;

    let demo = Demo::on(&db, &arguments);
    page.until(LIVE).await;

    let world = World { page, _chromium, demo, _db: db };
    let id = world.insert("ana");
    world.page.until(&row("ana", &id)).await;
}

/// Below the ports that the system gives to outgoing connections, of which there are some in the meantime.
fn free_address() -> String {
    let mut free = (20_000..32_000_u16)
        .map(|port| format!("127.0.0.1:{port}"))
        .filter(|address| TcpListener::bind(address).is_ok());
    free.next().expect("some port is free")
}
