//! Tests against a real PostgreSQL: one private server for the run, one database for each test.

mod harness;

mod install;
mod scratch;

mod delivery;
mod demo;
mod hostile;
mod wake_up;
mod wire;
