//! The service as systemd sees it: what the unit files say, and the program under a stand-in service manager.
//!
//! Where a real systemd runs, `units.rs` asks it what it thinks of the unit files; running the units needs a machine
//! that was booted by it.
#![cfg(target_os = "linux")]

#[path = "../ledger/checker.rs"]
#[allow(dead_code)]
mod checker;
#[path = "../ledger/client.rs"]
mod client;
mod container;
#[path = "../ledger/dice.rs"]
mod dice;
mod hang;
mod life;
mod node;
#[path = "../ledger/process.rs"]
mod process;
#[path = "../integration/harness/proxy.rs"]
#[allow(dead_code)]
mod proxy;
mod restart;
#[path = "../ledger/scene.rs"]
#[allow(dead_code)]
mod scene;
mod units;
mod visitor;
#[path = "../integration/harness/wait.rs"]
#[allow(dead_code)]
mod wait;
#[path = "../ledger/writers.rs"]
mod writers;
