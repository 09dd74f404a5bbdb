//! Which servers of a connection string let us in.
//!
//! In: a target. Out: each server with what it is, or why it cannot be reached. Invariant: all are tried at once, each
//! within the target's timeout.

use futures_util::future::join_all;

use crate::postgres::connect::Target;
use crate::postgres::error::QueryError;
use crate::postgres::target::Server;

/// A server that the connection string names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    /// Whether it is a standby, or what is in the way.
    pub is_standby: Result<bool, String>,
}

pub async fn hosts(target: &Target) -> Vec<Host> {
    join_all(target.servers.iter().map(|server| look_at(target, server))).await
}

async fn look_at(target: &Target, server: &Server) -> Host {
    let mut alone = target.clone();
    alone.servers = vec![server.clone()];
    alone.needs_writable = false;
    let is_standby = match alone.connect_spawned().await {
        Ok(client) => match super::row(&client, IS_STANDBY, &[]).await {
            Ok(row) => row.try_get(0).map_err(|error| QueryError(error).to_string()),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    };
    Host { name: server.to_string(), is_standby }
}

const IS_STANDBY: &str = "select pg_is_in_recovery()";
