//! PostgreSQL, as this service uses it.

pub mod event_log;
pub mod identity;
pub mod listener;
