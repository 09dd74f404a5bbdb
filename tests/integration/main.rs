//! Tests against a real PostgreSQL: one private server for the run, one database for each test.

mod harness;

mod connect;
mod install;
mod scratch;
mod tls;
mod watch_command;
