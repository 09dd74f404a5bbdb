//! One connection's decisions: who it is, what it may ask, when it ends.
//!
//! In: [`Input`] and the time. Out: [`Effect`]s, in the order in which they are to happen. Invariant: pure; it asks
//! for a credential to be verified or a subscription to be judged, and never does so itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::channel::Pattern;
use super::close::CloseReason;
use super::message::{
    BadRequest, ClientMessage, ErrorCode, Reference, Refusal, Request, ServerMessage, Subscribe,
};
use super::policy::Verdict;
use super::principal::{Packed, Principal};
use super::rights::Version;

#[derive(Clone, Debug)]
pub struct Options {
    pub heartbeat: Duration,
    /// From the connection to the first `auth`, where no credential came with the request.
    pub auth_timeout: Duration,
    pub subscriptions: usize,
    pub max_message_bytes: usize,
    /// How long a token is still good after its end.
    pub leeway: Duration,
}

#[derive(Debug)]
pub enum Input {
    /// What the client sent.
    Request(Result<Request, BadRequest>),
    /// The answer to [`Effect::Verify`].
    Verified { reference: Option<Reference>, principal: Option<Principal> },
    /// The answer to [`Effect::Authorize`].
    Judged { reference: Option<Reference>, subscribe: Subscribe, verdict: Verdict, judged: Version },
    /// The answer to [`Effect::Review`].
    Reviewed { verdicts: Vec<(Pattern, Verdict)>, judged: Version },
    /// Rights of this user may have changed; whether the credential was revoked.
    RightsChanged { is_revoked: bool },
    /// The time [`Session::deadline`] named has come.
    Tick,
}

#[derive(Debug, PartialEq)]
pub enum Effect {
    Send(ServerMessage),
    Ping,
    /// Have the credential checked, and answer with [`Input::Verified`].
    Verify {
        reference: Option<Reference>,
        token: String,
    },
    /// From now on events for this user reach the connection.
    Identify(Option<Arc<str>>),
    /// Have the subscription judged, and answer with [`Input::Judged`].
    Authorize {
        reference: Option<Reference>,
        subscribe: Subscribe,
    },
    /// Have the subscriptions that are in force judged again, and answer with [`Input::Reviewed`].
    Review(Vec<Pattern>),
    /// Register, and answer `ok` in the same step.
    Subscribe {
        reference: Option<Reference>,
        subscribe: Subscribe,
        judged: Version,
    },
    /// What was held back since rights have changed may be delivered.
    GoOn(Version),
    Unsubscribe(Pattern),
    Close(CloseReason),
}

/// The time of the two clocks: one that never jumps, for intervals, and one that tokens are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    pub clock: SystemTime,
}

#[derive(Debug)]
pub struct Session {
    id: Box<str>,
    options: Arc<Options>,
    phase: Phase,
    subscriptions: HashSet<Pattern>,
    last_heard: Instant,
    next_ping: Instant,
    unreadable: Unreadable,
}

#[derive(Debug)]
enum Phase {
    /// Nobody yet; closed at this time.
    Waiting(Instant),
    Open(Open),
    Closed,
}

#[derive(Debug)]
struct Open {
    principal: Packed,
    /// When the client is told that its token ends, and when it ends.
    expiry: Option<Expiry>,
}

#[derive(Clone, Copy, Debug)]
struct Expiry {
    warn: Option<Instant>,
    end: Instant,
}

/// Frames that were no JSON object, in the current minute.
#[derive(Debug)]
struct Unreadable {
    since: Instant,
    count: u32,
}

impl Session {
    /// A connection whose request carried a credential has its principal from the start.
    pub fn new(
        id: Box<str>,
        options: Arc<Options>,
        principal: Option<Principal>,
        now: Now,
    ) -> (Self, Vec<Effect>) {
        let mut session = Self {
            id,
            phase: Phase::Waiting(now.instant + options.auth_timeout),
            subscriptions: HashSet::new(),
            last_heard: now.instant,
            next_ping: now.instant + options.heartbeat,
            unreadable: Unreadable { since: now.instant, count: 0 },
            options,
        };
        let mut effects = Vec::new();
        if let Some(principal) = principal {
            session.open(principal, now, &mut effects);
        }
        (session, effects)
    }

    /// Anything that came from the client, a pong included, shows that it is there.
    pub const fn heard(&mut self, now: Now) {
        self.last_heard = now.instant;
    }

    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            _ if matches!(self.phase, Phase::Closed) => {}
            Input::Request(Ok(request)) => self.request(request, &mut effects),
            Input::Request(Err(bad)) => self.bad_request(bad, now, &mut effects),
            Input::Verified { reference, principal } => {
                self.verified(reference, principal, now, &mut effects);
            }
            Input::Judged { reference, subscribe, verdict, judged } => {
                self.judged(reference, subscribe, verdict, judged, &mut effects);
            }
            Input::Reviewed { verdicts, judged } => self.reviewed(verdicts, judged, &mut effects),
            Input::RightsChanged { is_revoked: true } => {
                self.close(CloseReason::Revoked, &mut effects);
            }
            Input::RightsChanged { is_revoked: false } => self.review(&mut effects),
            Input::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Instant {
        let beat = self.next_ping.min(self.silence_ends());
        match &self.phase {
            Phase::Waiting(until) => beat.min(*until),
            Phase::Open(Open { expiry: Some(expiry), .. }) => {
                beat.min(expiry.warn.unwrap_or(expiry.end))
            }
            Phase::Open(_) | Phase::Closed => beat,
        }
    }

    pub const fn principal(&self) -> Option<&Packed> {
        match &self.phase {
            Phase::Open(open) => Some(&open.principal),
            Phase::Waiting(_) | Phase::Closed => None,
        }
    }

    pub fn max_message_bytes(&self) -> usize {
        self.options.max_message_bytes
    }

    /// Whose share of messages this connection uses: its user's, or its own while nobody is known.
    pub fn sender(&self) -> &str {
        self.principal().and_then(|principal| principal.user.as_deref()).unwrap_or(&self.id)
    }

    fn request(&mut self, request: Request, effects: &mut Vec<Effect>) {
        let reference = request.reference;
        match request.body {
            ClientMessage::Ping => effects.push(send(ServerMessage::Pong { reference })),
            ClientMessage::Auth { token } => effects.push(Effect::Verify { reference, token }),
            _ if self.principal().is_none() => {
                let message = "send auth with a token first";
                effects.push(refuse(Refusal::new(reference, ErrorCode::Unauthorized, message)));
            }
            ClientMessage::Subscribe(subscribe) => self.subscribe(reference, subscribe, effects),
            ClientMessage::Unsubscribe { pattern } => {
                self.unsubscribe(reference, pattern, effects);
            }
        }
    }

    fn subscribe(
        &self,
        reference: Option<Reference>,
        subscribe: Subscribe,
        effects: &mut Vec<Effect>,
    ) {
        let limit = self.options.subscriptions;
        if self.subscriptions.len() >= limit && !self.subscriptions.contains(&subscribe.pattern) {
            let message = format!("a connection has at most {limit} subscriptions");
            let refusal = Refusal::new(reference, ErrorCode::TooManySubscriptions, message);
            effects.push(refuse(refusal.on(subscribe.pattern.to_string())));
        } else {
            effects.push(Effect::Authorize { reference, subscribe });
        }
    }

    fn judged(
        &mut self,
        reference: Option<Reference>,
        subscribe: Subscribe,
        verdict: Verdict,
        judged: Version,
        effects: &mut Vec<Effect>,
    ) {
        if verdict == Verdict::Allowed {
            self.subscriptions.insert(subscribe.pattern.clone());
            effects.push(Effect::Subscribe { reference, subscribe, judged });
        } else {
            self.refuse_channel(reference, subscribe.pattern, verdict, effects);
        }
    }

    fn review(&self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Review(self.subscriptions.iter().cloned().collect()));
    }

    fn reviewed(
        &mut self,
        verdicts: Vec<(Pattern, Verdict)>,
        judged: Version,
        effects: &mut Vec<Effect>,
    ) {
        for (pattern, verdict) in verdicts {
            if verdict != Verdict::Allowed && self.subscriptions.contains(&pattern) {
                self.refuse_channel(None, pattern, verdict, effects);
            }
        }
        effects.push(Effect::GoOn(judged));
    }

    /// The same answer for a channel that exists and one that doesn't.
    fn refuse_channel(
        &mut self,
        reference: Option<Reference>,
        pattern: Pattern,
        verdict: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        let channel = pattern.to_string();
        let refusal = if verdict == Verdict::Undecided {
            let message =
                "whether this token may subscribe to this channel can't be told now; try again";
            Refusal::new(reference, ErrorCode::Unavailable, message).retry_after(UNDECIDED_RETRY_MS)
        } else {
            let message = "this token may not subscribe to this channel";
            Refusal::new(reference, ErrorCode::Forbidden, message)
        };
        let refusal = refusal.on(channel);
        if self.subscriptions.remove(&pattern) {
            effects.push(Effect::Unsubscribe(pattern));
        }
        effects.push(refuse(refusal));
    }

    fn unsubscribe(
        &mut self,
        reference: Option<Reference>,
        pattern: Pattern,
        effects: &mut Vec<Effect>,
    ) {
        if self.subscriptions.remove(&pattern) {
            effects.push(Effect::Unsubscribe(pattern.clone()));
            effects.push(send(ServerMessage::Unsubscribed { reference, pattern }));
        } else {
            let message = "this connection is not subscribed to this channel";
            let refusal = Refusal::new(reference, ErrorCode::NotSubscribed, message);
            effects.push(refuse(refusal.on(pattern.to_string())));
        }
    }

    fn bad_request(&mut self, bad: BadRequest, now: Now, effects: &mut Vec<Effect>) {
        effects.push(refuse(bad.refusal));
        if bad.unreadable && self.unreadable.one_more(now.instant) >= MAX_UNREADABLE {
            self.close(CloseReason::ProtocolErrors, effects);
        }
    }

    fn verified(
        &mut self,
        reference: Option<Reference>,
        principal: Option<Principal>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match (&self.phase, principal) {
            (Phase::Closed, _) => {}
            (_, None) => self.close(CloseReason::Unauthorized, effects),
            (Phase::Open(open), Some(new)) if open.is_another_user(&new) => {
                let message = "the token is another user's; open another connection for them";
                effects.push(refuse(Refusal::new(reference, ErrorCode::Unauthorized, message)));
            }
            (Phase::Open(_), Some(new)) => {
                self.identify(new, now, effects);
                self.authenticated(reference, effects);
                self.review(effects);
            }
            (Phase::Waiting(_), Some(new)) => {
                self.open(new, now, effects);
                self.authenticated(reference, effects);
            }
        }
    }

    fn open(&mut self, principal: Principal, now: Now, effects: &mut Vec<Effect>) {
        self.identify(principal, now, effects);
        effects.push(send(ServerMessage::Welcome {
            session: self.id.clone(),
            user: self.user(),
            heartbeat_ms: millis(self.options.heartbeat),
            max_message_bytes: self.options.max_message_bytes,
        }));
    }

    fn identify(&mut self, principal: Principal, now: Now, effects: &mut Vec<Effect>) {
        let principal = principal.pack();
        let expiry = self.expiry(&principal, now);
        effects.push(Effect::Identify(principal.user.clone()));
        self.phase = Phase::Open(Open { principal, expiry });
    }

    fn authenticated(&self, reference: Option<Reference>, effects: &mut Vec<Effect>) {
        effects.push(send(ServerMessage::Authenticated { reference, user: self.user() }));
    }

    fn user(&self) -> Option<Arc<str>> {
        self.principal().and_then(|principal| principal.user.clone())
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if now.instant >= self.silence_ends() {
            return self.close(CloseReason::NoHeartbeat, effects);
        }
        if self.has_ended(now.instant) {
            return self.close(CloseReason::Unauthorized, effects);
        }
        if let Some(left) = self.warning_due(now.instant) {
            effects.push(send(ServerMessage::TokenExpiring { in_ms: millis(left) }));
        }
        if now.instant >= self.next_ping {
            self.next_ping = now.instant + self.options.heartbeat;
            effects.push(Effect::Ping);
        }
    }

    fn has_ended(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Waiting(until) => now >= *until,
            Phase::Open(open) => open.expiry.is_some_and(|expiry| now >= expiry.end),
            Phase::Closed => false,
        }
    }

    fn warning_due(&mut self, now: Instant) -> Option<Duration> {
        let Phase::Open(Open { expiry: Some(expiry), .. }) = &mut self.phase else { return None };
        expiry.warn.take_if(|warn| now >= *warn)?;
        Some(expiry.end.saturating_duration_since(now))
    }

    fn expiry(&self, principal: &Packed, now: Now) -> Option<Expiry> {
        let left = principal.expires_at?.duration_since(now.clock).unwrap_or_default();
        let end = now.instant + left + self.options.leeway;
        Some(Expiry { warn: Some(now.instant + left.saturating_sub(EXPIRY_WARNING)), end })
    }

    fn close(&mut self, reason: CloseReason, effects: &mut Vec<Effect>) {
        self.phase = Phase::Closed;
        effects.push(Effect::Close(reason));
    }

    fn silence_ends(&self) -> Instant {
        self.last_heard + 2 * self.options.heartbeat
    }
}

impl Open {
    /// Somebody anonymous may still say who they are.
    fn is_another_user(&self, new: &Principal) -> bool {
        self.principal.user.is_some() && self.principal.user != new.user
    }
}

impl Unreadable {
    fn one_more(&mut self, now: Instant) -> u32 {
        if now.duration_since(self.since) >= Duration::from_secs(60) {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

const fn send(message: ServerMessage) -> Effect {
    Effect::Send(message)
}

const fn refuse(refusal: Refusal) -> Effect {
    Effect::Send(ServerMessage::Refused(refusal))
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Protocol section 3: ten in a minute end the connection.
const MAX_UNREADABLE: u32 = 10;

const UNDECIDED_RETRY_MS: u64 = 1_000;

/// Protocol section 2: `token_expiring` comes this long before the end.
const EXPIRY_WARNING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
