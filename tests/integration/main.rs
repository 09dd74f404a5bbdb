//! Tests against a real PostgreSQL: one private server for the run, one database for each test.

mod harness;

mod awkward_rows;
mod capture;
mod connect;
mod crash;
mod delivery;
mod doctor;
mod explain;
mod hostile;
mod install;
mod outages;
mod privileges;
mod resume;
mod retention;
mod rights;
mod scratch;
mod tls;
mod trigger_files;
mod wake_up;
mod watch;
mod watch_command;
mod wire;
