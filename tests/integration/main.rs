//! Tests against a real PostgreSQL: one private server for the run, one database for each test.

#[path = "../bad_tokens/mod.rs"]
mod bad_tokens;
mod harness;
#[path = "../issuer/mod.rs"]
mod issuer;
#[path = "../key_pairs/mod.rs"]
mod key_pairs;

mod awkward_rows;
mod bench;
mod capture;
mod connect;
mod crash;
mod crowd;
mod crowd_outages;
mod delivery;
mod doctor;
mod explain;
mod fail_over;
mod grants;
mod hostile;
mod hostile_database;
mod install;
mod metrics;
mod outages;
mod privileges;
mod reload;
mod resume;
mod retention;
mod rights;
mod scratch;
mod slots;
mod tail;
mod tls;
mod tokens;
mod trigger_files;
mod wake_up;
mod watch;
mod watch_command;
mod wire;
