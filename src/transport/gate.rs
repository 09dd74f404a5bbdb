//! Who is let in, and how often: what one address may take.
//!
//! In: the address at the other end of a connection or, behind a proxy, of a request. Out: a seat, or a [`Refusal`]
//! that is counted. Invariant: a proxy that is trusted stands for many and is never counted itself; its clients are.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::HeaderMap;

use super::proxies::{Proxies, one_client};
use super::proxy_header::BadHeader;
use super::refusal::Refusal;
use crate::session::{Full, Seat, Seats, Share};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use crate::telemetry::refusals::Refused;

/// What an address may take, and which ones are believed.
#[derive(Clone, Debug)]
pub struct Rules {
    pub proxies: Proxies,
    /// Whether connections of the proxies begin with a PROXY header.
    pub proxy_protocol: bool,
    pub connections_per_address: usize,
    pub attempts_per_minute: NonZeroU32,
    /// Whether addresses of this machine are not counted.
    pub exempt_loopback: bool,
}

/// One for all that is served on an address.
pub struct Gate {
    rules: ArcSwap<Rules>,
    /// Of everybody together.
    crowd: Seats<()>,
    seats: Seats<IpAddr>,
    attempts: ArcSwap<Share<IpAddr>>,
    observer: Observer,
    /// The log hears of observer now and then, however many there are.
    warnings: DefaultDirectRateLimiter,
}

pub type AddressSeat = Seat<IpAddr>;

/// One of all the connections that there may be.
pub type Place = Seat<()>;

/// What is to happen with a new connection before anything of it is read.
#[derive(Debug)]
pub enum Entry {
    /// It is served.
    Open(Option<AddressSeat>),
    /// A PROXY header says first where it comes from.
    Header,
}

impl Gate {
    pub fn new(rules: Rules, observer: Observer) -> Self {
        let seats = Seats::new(rules.connections_per_address);
        let attempts = ArcSwap::from_pointee(Share::new(rules.attempts_per_minute));
        let warnings = RateLimiter::direct(Quota::per_minute(WARNINGS_PER_MINUTE));
        let crowd = Seats::new(usize::MAX);
        Self { rules: ArcSwap::from_pointee(rules), crowd, seats, attempts, observer, warnings }
    }

    /// So many in all, from the next connection on.
    pub fn set_connections(&self, most: usize) {
        self.crowd.set_most(most);
    }

    pub fn place(&self) -> Result<Place, Full> {
        self.crowd.take(())
    }

    /// From the next connection on.
    pub fn set_rules(&self, rules: Rules) {
        self.seats.set_most(rules.connections_per_address);
        if self.rules.load().attempts_per_minute != rules.attempts_per_minute {
            self.attempts.store(Arc::new(Share::new(rules.attempts_per_minute)));
        }
        self.rules.store(Arc::new(rules));
    }

    /// For an address that only the operator reaches: nobody is counted.
    pub fn of_all(observer: Observer) -> Self {
        let rules = Rules {
            proxies: Proxies::default(),
            proxy_protocol: false,
            connections_per_address: usize::MAX,
            attempts_per_minute: NonZeroU32::MAX,
            exempt_loopback: true,
        };
        Self::new(rules, observer)
    }

    /// A new connection.
    pub fn enter(&self, peer: SocketAddr) -> Result<Entry, Refusal> {
        match (self.rules.load().proxy_protocol, self.rules.load().proxies.trusts(peer.ip())) {
            (true, true) => Ok(Entry::Header),
            (true, false) => {
                Err(self.refuse(Refused::Forbidden, Refusal::forbidden(NO_PROXY), peer.ip()))
            }
            (false, _) => self.seat_of_peer(peer).map(Entry::Open),
        }
    }

    /// The seat of a connection from here, which a PROXY header may have said. `None` where nobody is counted.
    pub fn seat_of_peer(&self, peer: SocketAddr) -> Result<Option<AddressSeat>, Refusal> {
        let peer = peer.ip();
        if !self.counts(peer) {
            return Ok(None);
        }
        self.attempt(peer)?;
        self.seat(peer).map(Some)
    }

    /// A request that a proxy passed on is an attempt of its client; others were counted when they connected.
    pub fn request(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        self.behind_proxy(peer, headers).map_or(Ok(()), |client| self.attempt(client))
    }

    /// The seat of a WebSocket that a proxy passed on. `None` where it was counted already, or is not.
    pub fn upgrade(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Option<AddressSeat>, Refusal> {
        self.behind_proxy(peer, headers).map(|client| self.seat(client)).transpose()
    }

    /// How many addresses have a connection.
    pub fn addresses(&self) -> usize {
        self.seats.owners()
    }

    pub fn count(&self, refused: Refused) {
        self.observer.note(&Notice::Refused(refused));
    }

    /// Counts the refusal and tells the log.
    pub fn refuse(&self, what: Refused, refusal: Refusal, address: IpAddr) -> Refusal {
        let loud = self.warnings.check().is_ok();
        self.observer.note(&Notice::AddressRefused { what, address, loud });
        refusal
    }

    /// A proxy whose connection could not be understood.
    pub fn complain(&self, proxy: IpAddr, error: &BadHeader) {
        let is_bare_probe = matches!(error, BadHeader::Io(_));
        if !is_bare_probe && self.warnings.check().is_ok() {
            tracing::warn!(%proxy, %error, "connection of a proxy ended; server.proxy_protocol asks it to send the header");
        } else {
            tracing::debug!(%proxy, %error, "connection of a proxy ended");
        }
    }

    fn behind_proxy(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let client = self.rules.load().proxies.client(peer.ip(), headers);
        (self.rules.load().proxies.trusts(peer.ip()) && self.counts(client)).then_some(client)
    }

    fn counts(&self, address: IpAddr) -> bool {
        let exempt = self.rules.load().exempt_loopback && address.to_canonical().is_loopback();
        !exempt && !self.rules.load().proxies.trusts(address)
    }

    fn attempt(&self, address: IpAddr) -> Result<(), Refusal> {
        self.attempts.load().take(one_client(address)).map_err(|wait| {
            let refusal =
                Refusal::rate_limited("too many attempts to connect from this address", wait);
            self.refuse(Refused::Attempts, refusal, address)
        })
    }

    fn seat(&self, address: IpAddr) -> Result<AddressSeat, Refusal> {
        self.seats.take(one_client(address)).map_err(|_full| {
            let message = "too many connections from this address";
            let refusal = Refusal::rate_limited(message, COME_BACK);
            self.refuse(Refused::ConnectionsPerAddress, refusal, address)
        })
    }
}

/// Nobody knows when a seat is free again.
pub const COME_BACK: Duration = Duration::from_secs(5);

const NO_PROXY: &str = "only the proxies that server.trusted_proxies names may connect here";

const WARNINGS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6).expect("six is not zero");
