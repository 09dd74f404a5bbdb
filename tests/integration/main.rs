//! Tests against a real PostgreSQL: one private server for the run, one database for each test.

mod harness;

mod install;
mod scratch;
mod watch_command;
