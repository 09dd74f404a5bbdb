//! Runs one connection: performs what `domain::session` decides.
//!
//! In: messages that a transport read, and the passing of time. Out: commands to the hub. Invariant: decisions are
//! made in `domain::session` only; here they are carried out, in their order.

mod seats;
mod share;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::access::{Access, Judgement, Rights, Verdict};
use crate::admission::Admission;
use crate::auth::Place;
use crate::domain::channel::Pattern;
use crate::domain::close::CloseReason;
use crate::domain::message::{ErrorCode, Refusal, ServerMessage};
use crate::domain::policy::Action;
use crate::domain::principal::{Packed, Principal};
use crate::domain::rights::Version;
use crate::domain::session::{Effect, Input, Now, Options, Session};
use crate::hub::{Hub, Past, Sink, Subscriber};
use crate::protocol::Wire;
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use crate::telemetry::refusals::Refused;
pub use seats::{Full, Seat, Seats, UserSeat, UserSeats};
pub use share::Share;

/// What every session of this node shares.
pub struct Services {
    pub hub: Hub,
    pub admission: Admission,
    pub access: Access,
    pub rights: Arc<Rights>,
    /// For connections that begin from now on.
    pub options: ArcSwap<Options>,
    pub share: ArcSwap<Share>,
    pub seats: UserSeats,
    pub observer: Observer,
}

impl Services {
    /// A seat among those of the user; `None` where there is no user to count.
    pub fn seat_of(&self, principal: Option<&Principal>) -> Result<Option<UserSeat>, Full> {
        let Some(user) = principal.and_then(|principal| principal.user.clone()) else {
            return Ok(None);
        };
        let seat = self.seats.take(Arc::clone(&user)).inspect_err(|_full| {
            tracing::debug!(%user, "connection over limits.connections_per_user refused");
            self.observer.note(&Notice::Refused(Refused::ConnectionsPerUser));
        });
        seat.map(Some)
    }
}

/// One connection, from the upgrade to the last byte.
pub struct Connection {
    services: Arc<Services>,
    wire: &'static dyn Wire,
    subscriber: Subscriber,
    session: Session,
    rights: watch::Receiver<Version>,
    /// Up to which change of rights this was judged.
    reviewed: Version,
    /// Messages in a row that were over the user's share.
    over_share: u32,
    /// Among those of the user, once there is one.
    seat: Option<UserSeat>,
    closed: bool,
}

impl Connection {
    /// `principal` is who the credential of the request named, if it carried one, and `seat` theirs. `None` when the
    /// hub is gone.
    pub async fn open(
        services: Arc<Services>,
        sink: Arc<dyn Sink>,
        wire: &'static dyn Wire,
        principal: Option<Principal>,
        seat: Option<UserSeat>,
    ) -> Option<Self> {
        let subscriber = services.hub.join(sink, wire).await?;
        let options = services.options.load_full();
        let mut rights = services.rights.follow();
        let reviewed = *rights.borrow_and_update();
        // Between the look at the credential and this one it may have been revoked.
        let is_revoked = principal.as_ref().is_some_and(|who| services.admission.is_revoked(who));
        let (session, effects) = Session::new(session_id(), options, principal, now());
        let mut connection = Self {
            services,
            wire,
            subscriber,
            session,
            rights,
            reviewed,
            over_share: 0,
            seat,
            closed: false,
        };
        connection.perform(effects).await;
        if is_revoked {
            connection.input(Input::RightsChanged { is_revoked }).await;
        }
        Some(connection)
    }

    /// Resolves when rights have changed, maybe those of this user.
    pub async fn rights_changed(&mut self) {
        if self.rights.changed().await.is_err() {
            // Nobody is left who could change them.
            std::future::pending::<()>().await;
        }
    }

    /// Has everything judged again, if the change concerns this user.
    pub async fn review_rights(&mut self) {
        let version = *self.rights.borrow_and_update();
        let since = std::mem::replace(&mut self.reviewed, version);
        let Some(principal) = self.session.principal() else { return };
        if self.services.rights.changed_since(principal.user.as_deref(), since) {
            let is_revoked = self.services.admission.is_revoked(&principal.unpack());
            self.input(Input::RightsChanged { is_revoked }).await;
        }
    }

    pub async fn text(&mut self, text: &str) {
        self.session.heard(now());
        match self.services.share.load().take(self.session.sender()) {
            Ok(()) => {
                self.over_share = 0;
                self.input(Input::Request(self.wire.decode(text))).await;
            }
            Err(wait) => self.refuse_share(wait).await,
        }
    }

    pub async fn ping(&mut self, payload: &[u8]) {
        self.session.heard(now());
        self.subscriber.send(self.wire.pong(payload)).await;
    }

    pub fn pong(&mut self) {
        self.session.heard(now());
    }

    /// When [`Connection::tick`] is due.
    pub fn deadline(&self) -> Instant {
        self.session.deadline()
    }

    pub async fn tick(&mut self) {
        self.input(Input::Tick).await;
    }

    /// Writes what is queued, then a close frame with this reason. Later calls change nothing.
    pub async fn close(&mut self, reason: CloseReason) {
        if !self.closed {
            self.closed = true;
            self.subscriber.close(reason).await;
        }
    }

    /// The longest message that this client may send.
    pub fn max_message_bytes(&self) -> usize {
        self.session.max_message_bytes()
    }

    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whoever goes on regardless is cut off, and comes back later.
    async fn refuse_share(&mut self, wait: Duration) {
        self.over_share += 1;
        if self.over_share > MAX_OVER_SHARE {
            return self.close(CloseReason::RateLimited).await;
        }
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        self.services.observer.note(&Notice::Refused(Refused::Messages));
        let message = "this user sends too many messages; wait before the next one";
        let refusal = Refusal::new(None, ErrorCode::RateLimited, message).retry_after(wait);
        self.send(&ServerMessage::Refused(refusal)).await;
    }

    async fn input(&mut self, input: Input) {
        let effects = self.session.handle(input, now());
        self.perform(effects).await;
    }

    /// An effect that asks a question puts what follows from the answer in its own place.
    async fn perform(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Some(answer) = self.perform_one(effect).await else { continue };
            for effect in self.session.handle(answer, now()).into_iter().rev() {
                effects.push_front(effect);
            }
        }
    }

    async fn perform_one(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Send(message) => {
                self.note_refusal(&message);
                self.send(&message).await;
            }
            Effect::Ping => self.subscriber.send(self.wire.ping()).await,
            Effect::Identify(user) => self.subscriber.identify(user).await,
            Effect::Subscribe { reference, subscribe, judged } => {
                let past = Past {
                    after: subscribe.after.map(Into::into),
                    history: subscribe.history,
                    compact: subscribe.compact,
                };
                self.subscriber.subscribe(subscribe.pattern, reference, past, judged).await;
            }
            Effect::Unsubscribe(pattern) => self.subscriber.unsubscribe(pattern).await,
            Effect::Close(reason) => self.close(reason).await,
            Effect::Verify { reference, token } => {
                let principal = self.verify(&token).await;
                if !self.sit_down(principal.as_ref()) {
                    self.close(CloseReason::RateLimited).await;
                    return None;
                }
                return Some(Input::Verified { reference, principal });
            }
            Effect::Authorize { reference, subscribe } => {
                let Judgement { verdicts, version } =
                    self.judge(vec![subscribe.pattern.clone()]).await;
                let verdict = verdicts.first().map_or(Verdict::Undecided, |(_, verdict)| *verdict);
                return Some(Input::Judged { reference, subscribe, verdict, judged: version });
            }
            Effect::Review(patterns) => {
                let Judgement { verdicts, version } = self.judge(patterns).await;
                return Some(Input::Reviewed { verdicts, judged: version });
            }
            Effect::GoOn(judged) => self.subscriber.go_on(judged).await,
        }
        None
    }

    async fn send(&self, message: &ServerMessage) {
        self.subscriber.send(self.wire.message(message)).await;
    }

    fn note_refusal(&self, message: &ServerMessage) {
        let ServerMessage::Refused(refusal) = message else { return };
        let refused = match refusal.code {
            ErrorCode::Forbidden => Refused::Forbidden,
            ErrorCode::TooManySubscriptions => Refused::Subscriptions,
            _ => return,
        };
        self.services.observer.note(&Notice::Refused(refused));
    }

    async fn verify(&self, credential: &str) -> Option<Principal> {
        let identified = self.services.admission.identify(credential, Place::Message).await;
        identified.inspect_err(|refusal| self.services.observer.note(&refusal.notice())).ok()
    }

    async fn judge(&self, patterns: Vec<Pattern>) -> Judgement {
        let principal = self.session.principal().map(Packed::unpack).unwrap_or_default();
        self.services.access.judge(&principal, patterns, Action::Subscribe).await
    }

    /// Whether the user has a seat, as of the first credential that names one.
    fn sit_down(&mut self, principal: Option<&Principal>) -> bool {
        if self.seat.is_none() {
            match self.services.seat_of(principal) {
                Ok(seat) => self.seat = seat,
                Err(Full) => return false,
            }
        }
        true
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), clock: SystemTime::now() }
}

fn session_id() -> Box<str> {
    use base64::Engine;
    let mut bytes = [0u8; 9];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's source of randomness never fails here");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes).into()
}

/// Messages over the share that are answered before the connection is closed.
const MAX_OVER_SHARE: u32 = 20;
