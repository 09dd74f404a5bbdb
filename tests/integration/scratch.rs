//! The throw-away server goes away, however its owner ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rowcast::postgres::scratch::ScratchCluster;
use tokio_postgres::error::SqlState;

use crate::harness::{Database, options, until};

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = (Database::empty().await, Database::empty().await);
    one.batch_execute("create table only_here (id int)").await;
    let missing = other.client().await.batch_execute("select from only_here").await;
    assert_eq!(missing.unwrap_err().code(), Some(&SqlState::UNDEFINED_TABLE));
}

#[tokio::test]
async fn a_stopped_server_leaves_no_file_and_no_process() {
    let cluster = ScratchCluster::start(options()).await.unwrap();
    let (folder, process) = (cluster.folder().to_owned(), server_process(&cluster));
    assert!(runs(&process));
    cluster.stop().await;
    assert!(!folder.exists());
    until_gone(&folder, &process).await;
}

#[tokio::test]
async fn a_server_whose_owner_is_gone_leaves_no_file_and_no_process() {
    let cluster = ScratchCluster::start(options()).await.unwrap();
    let (folder, process) = (cluster.folder().to_owned(), server_process(&cluster));
    drop(cluster);
    until_gone(&folder, &process).await;
}

#[tokio::test]
async fn a_server_whose_owner_was_killed_leaves_no_file_and_no_process() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "scratch::owner_to_be_killed", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut told = lines.filter_map(|line| line.strip_prefix("owns ").map(ToOwned::to_owned));
    let (folder, process) = (told.next().unwrap(), told.next().unwrap());
    assert!(Path::new(&folder).exists() && runs(&process));
    owner.kill().unwrap();
    owner.wait().unwrap();
    until_gone(Path::new(&folder), &process).await;
}

#[tokio::test]
#[ignore = "another test starts it as a process of its own, and kills it"]
async fn owner_to_be_killed() {
    let cluster = ScratchCluster::start(options()).await.unwrap();
    println!("\nowns {}\nowns {}", cluster.folder().display(), server_process(&cluster));
    std::io::stdin().lines().next();
}

#[tokio::test]
async fn a_folder_without_a_server_is_refused_by_name() {
    let nowhere = std::env::temp_dir();
    let refused = ScratchCluster::start(rowcast::postgres::scratch::ScratchOptions {
        binaries: Some(nowhere.clone()),
        ..options()
    });
    let error = refused.await.err().expect("there is no server in it").to_string();
    assert!(error.starts_with(&nowhere.display().to_string()), "{error}");
}

fn server_process(cluster: &ScratchCluster) -> String {
    let file = std::fs::read_to_string(cluster.folder().join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

/// An ended process that nobody has asked after yet runs no more.
fn runs(process: &str) -> bool {
    let state = Command::new("ps").args(["-o", "state=", "-p", process]).output().unwrap();
    !matches!(state.stdout.first(), None | Some(b'Z'))
}

async fn until_gone(folder: &Path, process: &str) {
    let is_gone = async || (!folder.exists() && !runs(process)).then_some(());
    until("neither the folder nor the server is there", is_gone).await;
}
