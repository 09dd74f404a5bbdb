//! What every test stands on: a private server and a database of its own.
//!
//! ```ignore
//! let db = Database::migrated().await;         // schema rowcast installed by the real migrator
//! let client = db.client().await;              // as the superuser
//! db.batch_execute("create table …").await;
//! ```
//!
//! Roles belong to the whole server: `rowcast_owner` is shared by all databases, and a test that makes a role
//! gives it a name of its own ([`Database::role`]). The server is gone when the test process is.

#![allow(dead_code, reason = "not every test needs every part")]

mod cluster;
mod daemon;
mod database;
mod demo;
mod log;
mod output;
mod programs;
mod proxy;
mod said;
mod supervisor;
mod wait;

#[allow(unused_imports, reason = "as above")]
pub use cluster::{cluster, options};
#[allow(unused_imports, reason = "as above")]
pub use daemon::{Client, OPEN, SECRET, World};
pub use database::Database;
#[allow(unused_imports, reason = "as above")]
pub use demo::Demo;
#[allow(unused_imports, reason = "as above")]
pub use log::{forget, logged};
#[allow(unused_imports, reason = "as above")]
pub use output::Output;
#[allow(unused_imports, reason = "as above")]
pub use programs::{Outcome, psql, psql_file, rowcast};
#[allow(unused_imports, reason = "as above")]
pub use proxy::{Fault, Proxy};
#[allow(unused_imports, reason = "as above")]
pub use said::secret;
#[allow(unused_imports, reason = "as above")]
pub use supervisor::Supervisor;
#[allow(unused_imports, reason = "as above")]
pub use wait::{until, until_blocking, until_true};
