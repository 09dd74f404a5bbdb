//! rowcast and other servers in one run: the same events to as many subscribers, in turns.
//!
//! In: the servers that are installed. Out: a table of its own. Invariant: a server that is not installed is named
//! with how to get it, and is no failure.

mod contender;
mod field;
mod process;
mod publisher;
mod servers;
mod table;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::rig::{ITEM, Rig};
use crate::{Outcome, Run};
use contender::rss;
use field::Field;
use process::Process;
use servers::{Peer, Place};

pub const NAME: &str = "peers";

pub fn compare(run: &Run) -> Outcome<()> {
    eprintln!("== {NAME}: other servers beside the daemon, in turns");
    let installed = installed(run);
    if installed.is_empty() {
        eprintln!("   nobody to compare with");
        return Ok(());
    }
    let mut rig = Rig::new(run)?;
    let memory = memory(run, &mut rig, &installed)?;
    let mut field = Field::start(run, &rig, &installed)?;
    field.take_turns(run, &rig)?;
    table::show(run, &field.rows(&memory)?)
}

/// Says of the others how to get them.
fn installed(run: &Run) -> Vec<&'static Peer> {
    let (installed, missing): (Vec<_>, Vec<_>) =
        servers::ALL.iter().partition(|peer| servers::is_installed(peer, &packages(run), run));
    for peer in missing {
        eprintln!("   {} is not installed:  benches/peers/install {}", peer.name, peer.package);
    }
    installed
}

fn packages(run: &Run) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| run.root.join("target")).join("bench-peers")
}

fn place(run: &Run) -> Outcome<Place> {
    // Free a moment ago; nobody else takes ports here in between.
    let free = || TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port());
    let (root, installed, folder) = (run.root.clone(), packages(run), run.folder.clone());
    Ok(Place { root, installed, folder, port: free()?, control: free()? })
}

fn start(peer: &Peer, place: &Place) -> Outcome<Process> {
    let command = (peer.command)(place).ok_or("it is gone")?;
    Process::start(&command, &[place.port])
}

/// Memory of a connection in KiB, of rowcast and of each peer, each alone.
fn memory(run: &Run, rig: &mut Rig, peers: &[&'static Peer]) -> Outcome<Vec<f64>> {
    let clients = run.or(CLIENTS, 2000);
    let ours = grown(rig.daemon.pid(), clients, |count| rig.subscribers(count, ITEM.channel))?;
    rig.restart()?;
    let mut all = vec![ours];
    for peer in peers {
        let place = place(run)?;
        let process = start(peer, &place)?;
        all.push(grown(process.pid(), clients, |count| subscribers(peer, &place, count))?);
    }
    Ok(all)
}

/// What a server grows by with each client, apart from what the first ones make it take.
fn grown(pid: u32, clients: usize, subscribers: impl Fn(usize) -> Outcome<Load>) -> Outcome<f64> {
    settle(&mut subscribers(100)?)?;
    std::thread::sleep(SETTLE);
    let empty = rss(pid)?;
    settle(&mut subscribers(clients)?)?;
    Ok((rss(pid)? - empty) / clients as f64)
}

fn settle(load: &mut Load) -> Outcome<()> {
    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        load.pump(until.saturating_duration_since(Instant::now()))?;
    }
    Ok(())
}

fn subscribers(peer: &Peer, place: &Place, count: usize) -> Outcome<Load> {
    let mut load = Load::new()?;
    let address = SocketAddr::from(([127, 0, 0, 1], place.port));
    load.connect_peer(count, address, peer.path, peer.dialect)?;
    Ok(load)
}

/// For the memory.
const CLIENTS: usize = 10_000;
/// Pages that were for the handshakes go back by then.
const SETTLE: Duration = Duration::from_secs(2);
