//! Tests against a real PostgreSQL: one private server for the run, one database for each test.

mod harness;

mod awkward_rows;
mod capture;
mod connect;
mod install;
mod privileges;
mod scratch;
mod tls;
mod trigger_files;
mod watch;
mod watch_command;
