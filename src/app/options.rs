//! From the configuration to what each room is told.
//!
//! In: a [`Config`]. Out: options. Invariant: what nobody needs to configure is a constant here, with its reason.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::FAREWELL;
use crate::config::Config;
use crate::domain::session;
use crate::hub::HubOptions;
use crate::transport::accept::Limits;
use crate::transport::descriptors;
use crate::transport::gate::Rules;
use crate::transport::proxies::Proxies;

pub(super) fn hub_options(config: &Config) -> HubOptions {
    let queue_bytes = config.limits.queue_bytes_per_connection.as_usize();
    HubOptions {
        queue_bytes,
        queue_age: QUEUE_AGE,
        patience: PATIENCE,
        recent_bytes: RECENT_BYTES,
        shards: shards(config.server.shards),
    }
}

/// Half of the cores, unless somebody says how many: the other half is for reading requests, and for the database.
fn shards(configured: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if configured == 0 { (cores / 2).clamp(1, MOST_SHARDS) } else { configured }
}

pub(super) fn session_options(config: &Config) -> session::Options {
    session::Options {
        heartbeat: HEARTBEAT,
        auth_timeout: AUTH_TIMEOUT,
        subscriptions: config.limits.subscriptions_per_connection,
        max_message_bytes: config.limits.message_bytes.as_usize(),
        leeway: config.auth.leeway,
    }
}

pub(super) fn messages_per_minute(config: &Config) -> NonZeroU32 {
    NonZeroU32::new(config.limits.messages_per_minute).unwrap_or(NonZeroU32::MIN)
}

/// Raises the limit of file descriptors, and takes fewer connections where it is still too low.
pub(super) fn accept_limits(config: &Config) -> Limits {
    let limit = descriptors::raise_limit();
    let configured = config.limits.connections;
    let reserved = RESERVED + config.database.pool_size + FAREWELLS;
    let connections = descriptors::connections(configured, limit, reserved);
    if connections < configured {
        tracing::warn!(
            connections,
            configured,
            descriptors = limit,
            "fewer connections than limits.connections: raise the limit of file descriptors (LimitNOFILE, ulimit -n)"
        );
    }
    Limits { connections, farewells: FAREWELLS, header_timeout: HEADER_TIMEOUT, drain: FAREWELL }
}

/// How many a reload allows.
pub(super) fn connections(config: &Config) -> usize {
    accept_limits(config).connections
}

/// Out of what is reserved.
pub(super) fn private_limits(public: Limits) -> Limits {
    Limits { connections: 24, farewells: 4, ..public }
}

pub(super) fn rules(config: &Config) -> Rules {
    let proxies = Proxies::new(&config.server.trusted_proxies);
    let attempts = NonZeroU32::new(config.limits.connect_attempts_per_minute);
    Rules {
        // A proxy on this machine that nobody named would else be taken for a single client.
        exempt_loopback: proxies.is_empty() && config.server.listen.ip().is_loopback(),
        proxies,
        proxy_protocol: config.server.proxy_protocol,
        connections_per_address: config.limits.connections_per_address,
        attempts_per_minute: attempts.unwrap_or(NonZeroU32::MIN),
    }
}

/// About a hundred thousand events of a few hundred bytes: what a client misses that comes back within minutes.
/// A reader this far behind is better served by reading on at its own pace.
const QUEUE_AGE: Duration = Duration::from_secs(5);

/// Every shard gets every batch, so past some number they only do the same work.
const MOST_SHARDS: usize = 8;

/// A socket that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

const RECENT_BYTES: usize = 64 * 1024 * 1024;

/// Protocol section 3.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// Protocol section 2: a first message `auth` comes within this time.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);

/// OWASP and hyper's own default are 5 to 30 s; a head is one packet.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// File descriptors for health, LISTEN, the log and the runtime; with a pool of 8, 64 in all for what is no client.
const RESERVED: usize = 56;

/// Connections that are being told to come back: few enough that a flood costs next to nothing.
const FAREWELLS: usize = 64;
