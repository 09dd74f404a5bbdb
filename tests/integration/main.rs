//! Tests against a real PostgreSQL: one private server for the run, one database for each test.

mod harness;

mod awkward_rows;
mod capture;
mod install;
mod privileges;
mod scratch;
mod trigger_files;
mod watch;
