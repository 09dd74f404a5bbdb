//! Connecting: to whom, with which session, and what is said when it does not work.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rowcast::postgres::connect::{ConnectError, SessionOptions, Target};
use rowcast::postgres::error::Kind;
use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions};

use tokio_postgres::error::SqlState;

use crate::harness::{Database, cluster, options};

#[tokio::test]
async fn every_session_carries_the_limits_that_protect_the_server() {
    for (name, over_tcp, over_socket) in [
        ("tcp_user_timeout", "5000", "0"),
        ("tcp_keepalives_idle", "5", "0"),
        ("tcp_keepalives_interval", "1", "0"),
        ("tcp_keepalives_count", "3", "0"),
        ("statement_timeout", "5s", "5s"),
        ("idle_in_transaction_session_timeout", "5s", "5s"),
        ("jit", "off", "off"),
        ("application_name", "rowcast", "rowcast"),
    ] {
        let cluster = cluster().await;
        assert_eq!(show(&cluster.tcp_url("postgres"), name).await, over_tcp, "{name} over TCP");
        assert_eq!(show(&cluster.url("postgres"), name).await, over_socket, "{name} over a socket");
    }
}

#[tokio::test]
async fn what_the_connection_string_says_of_the_session_wins() {
    let url = cluster().await.url("postgres");
    let own = format!("{url}&application_name=mine&options=-c%20statement_timeout%3D7s");
    assert_eq!(show(&own, "statement_timeout").await, "7s");
    assert_eq!(show(&own, "application_name").await, "mine");
    let session = SessionOptions { application_name: "theirs".into(), statement_timeout: None };
    let client = target(&url).with_session(session).connect_spawned().await.unwrap();
    let row = client.query_one("select current_setting('statement_timeout')", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "0");
}

#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_is_passed_over() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let alone = format!("postgres://postgres@127.0.0.1:{port}/postgres?connect_timeout=1");
    let began = Instant::now();
    let error = target(&alone).connect().await.err().unwrap();
    assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Transient);
    let answering = cluster().await.port();
    let both =
        format!("host=127.0.0.1,127.0.0.1 port={port},{answering} user=postgres connect_timeout=1");
    assert_eq!(show(&both, "port").await, answering.to_string());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn of_several_servers_the_primary_is_taken() {
    let standby = standby().await;
    let primary = cluster().await;
    let hosts = format!(
        "host={},{} port={},{} user=postgres dbname=postgres",
        standby.folder().display(),
        primary.folder().display(),
        standby.port(),
        primary.port()
    );
    let primary_port = primary.port().to_string();
    assert_eq!(show(&hosts, "port").await, primary_port);
    assert_eq!(show(&format!("{hosts} target_session_attrs=primary"), "port").await, primary_port);
    let any = format!("{hosts} target_session_attrs=any");
    assert_eq!(show(&any, "port").await, standby.port().to_string());
    standby.stop().await;
}

#[tokio::test]
async fn a_standby_alone_is_refused_where_writes_are_needed() {
    let standby = standby().await;
    let url = format!("{}&target_session_attrs=read-write", standby.url("postgres"));
    let error = target(&url).connect().await.err().unwrap();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("connect to the primary"), "{error}");
    assert_eq!(show(&standby.url("postgres"), "port").await, standby.port().to_string());
    standby.stop().await;
}

#[tokio::test]
async fn a_role_whose_transactions_are_read_only_is_welcome_on_a_primary() {
    let db = Database::empty().await;
    let reader = db.role("reader");
    db.batch_execute(&format!("create role {reader} login")).await;
    db.batch_execute(&format!("alter role {reader} set default_transaction_read_only = on")).await;
    let url = format!("{}&target_session_attrs=read-write", db.url_as(&reader));
    assert_eq!(show(&url, "default_transaction_read_only").await, "on");
}

#[tokio::test]
async fn each_way_to_be_turned_away_says_what_to_mend() {
    let hba = "local all all trust\nhost all locked 127.0.0.1/32 scram-sha-256\n";
    let server = with_hba(hba).await;
    let admin = target(&server.url("postgres")).connect_spawned().await.unwrap();
    let roles = "create role locked login password 'right'; create database closed; \
                 revoke connect on database closed from public";
    for statement in roles.split(';') {
        admin.batch_execute(statement).await.unwrap();
    }
    let tcp = |login: &str, database: &str| {
        format!("postgres://{login}@127.0.0.1:{}/{database}", server.port())
    };
    for (url, kind, said) in [
        (tcp("locked:wrong-secret", "postgres"), Kind::Denied, "check the user and the password"),
        (tcp("locked", "postgres"), Kind::Transient, "password missing"),
        (tcp("stranger", "postgres"), Kind::Denied, "pg_hba.conf"),
        (tcp("locked:right", "nowhere"), Kind::Misconfigured, "create the database"),
        (tcp("locked:right", "closed"), Kind::Denied, "grant the right"),
        ("postgres://127.0.0.1:1/x".into(), Kind::Transient, "is the server running"),
        ("postgres:///x?host=/nowhere".into(), Kind::Transient, "is the server running"),
        ("postgres://no-such-host.invalid/x".into(), Kind::Transient, "no-such-host.invalid:5432"),
    ] {
        let error = target(&url).connect().await.err().unwrap();
        assert!(error.to_string().contains(said), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(error.kind(), kind, "{url}: {error}");
    }
    assert_eq!(show(&tcp("locked:right", "postgres"), "port").await, server.port().to_string());
    server.stop().await;
}

#[tokio::test]
async fn a_pool_survives_the_end_of_all_its_connections() {
    let db = Database::empty().await;
    let pool = target(db.url()).pool(2);
    let pid = async || -> i32 {
        let client = pool.get().await.unwrap();
        client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    let first = pid().await;
    assert_eq!(pid().await, first);
    let end = "select pg_terminate_backend(pid, 10000) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid()";
    db.client().await.query(end, &[]).await.unwrap();
    assert_ne!(pid().await, first);
}

#[tokio::test]
async fn nobody_waits_for_an_exhausted_pool_for_ever() {
    let db = Database::empty().await;
    let pool = target(&format!("{}&connect_timeout=1", db.url())).pool(1);
    let held = pool.get().await.unwrap();
    let began = Instant::now();
    assert!(pool.get().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(held);
    assert!(pool.get().await.is_ok());
}

#[tokio::test]
async fn a_pool_tells_why_it_has_no_connection() {
    let standby = standby().await;
    let url = format!("{}&target_session_attrs=primary", standby.url("postgres"));
    let error = target(&url).pool(1).get().await.err().unwrap();
    let deadpool_postgres::PoolError::Backend(error) = error else { panic!("{error}") };
    assert_eq!(error.code().map(SqlState::code), Some("25006"));
    standby.stop().await;
}

async fn show(url: &str, setting: &str) -> String {
    let client = match target(url).connect_spawned().await {
        Ok(client) => client,
        Err(error) => panic!("{error}"),
    };
    client.query_one("select current_setting($1)", &[&setting]).await.unwrap().get(0)
}

fn target(url: &str) -> Target {
    Target::parse(url).unwrap()
}

/// In recovery for ever, since no primary feeds it.
async fn standby() -> ScratchCluster {
    let files = vec![("standby.signal".to_owned(), String::new())];
    ScratchCluster::start(ScratchOptions { files, ..options() }).await.unwrap()
}

async fn with_hba(lines: &str) -> ScratchCluster {
    let files = vec![("pg_hba.conf".to_owned(), lines.to_owned())];
    ScratchCluster::start(ScratchOptions { files, ..options() }).await.unwrap()
}
