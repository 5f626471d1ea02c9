//! A session over time: what is sent when, and what an answer or its absence means.
//!
//! Invariant: one request of ours is outstanding at a time (RFC 7296 §2.3); each transmission of it is
//! bitwise the same (§2.1), so an answer is timed only if there was one transmission.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::initiator::{Opened, Opening, Proved, Proving};
use super::sa::{Place, Sa};
use super::{Note, Plan, Teardown};
use crate::entropy::Entropy;
use crate::time::Timestamp;
use crate::wire::ike::{
    Body, Delete, ExchangeType, Header, Message, NON_ESP_MARKER, Notify, NotifyType, Payload, PayloadType,
    ProtocolId, Spi, Version, flags, strip_marker,
};

/// How much later than asked for a wake-up must be to count as a stall of ours.
const STALL: Duration = Duration::from_millis(500);
/// How long a DELETE waits for its answer, each time it is sent.
const FAREWELL: [Duration; 2] = [Duration::from_millis(600), Duration::from_millis(600)];
/// How much longer a liveness check may be waited for when the session is to end.
const LAST_MOMENT: Duration = Duration::from_millis(300);
/// A NAT on the way forgets a mapping that is idle for longer (RFC 3948 §4).
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What a session wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send what was appended: one datagram. [`Session::sent`] or [`Session::failed`] is to follow.
    Send,
    /// Nothing until something comes, or until this time.
    Wait(Timestamp),
    /// Nothing more, ever.
    End,
}

/// Why a datagram was not the session's own; it changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It is of another SA.
    Token,
    /// It is no message, or not made with this SA's keys.
    Malformed,
    /// It has no place in the session now.
    Unexpected,
}

#[derive(Debug)]
enum State {
    Opening(Box<Opening>),
    Proving(Box<(Sa, Proving)>),
    Up(Box<Sa>),
    Closing(Box<Sa>),
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Prove,
    Liveness,
    Farewell,
}

/// A request of ours that is not answered yet.
#[derive(Debug)]
struct Request {
    kind: Kind,
    id: u32,
    bytes: Vec<u8>,
    /// How often it was sent.
    tries: usize,
    /// When it was sent first.
    first: Timestamp,
    /// When it is to be sent, or sent again.
    due: Timestamp,
    /// Whether the transmission that `due` ends is on its way.
    flying: bool,
}

/// What the driver is sending for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Nothing,
    Request,
    Other,
}

/// One IKE SA from its first packet to its last.
pub struct Session {
    plan: Arc<Plan>,
    entropy: Box<dyn Entropy>,
    state: State,
    spi: Spi,
    request: Option<Request>,
    sending: Sending,
    replies: VecDeque<Vec<u8>>,
    notes: VecDeque<Note>,
    /// When the next liveness check is due.
    check: Timestamp,
    /// When the lifetime that the peer granted is over.
    expiry: Timestamp,
    since: Option<Timestamp>,
    last_sent: Timestamp,
    /// When we asked to be woken.
    promised: Timestamp,
    /// Whether this host has stalled or could not send since the peer was last heard.
    ours: bool,
    /// Why it is to end as soon as no request is outstanding.
    ending: Option<Teardown>,
    /// What an unprotected answer said; counts when nothing better comes.
    hint: Option<Teardown>,
    told: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("spi", &self.spi).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Session {
    /// A session with the gateway at `peer` (its port is [`Plan::PORT`]); `local` is our own end of the
    /// flow, if known. Nothing if no key can be drawn.
    pub fn new(
        plan: Arc<Plan>,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        mut entropy: Box<dyn Entropy>,
        now: Timestamp,
    ) -> Option<Self> {
        let opening = Opening::new(peer, local, &mut *entropy)?;
        let request = Request::new(Kind::Open, 0, opening.request().to_vec(), now);
        Some(Self {
            plan,
            entropy,
            spi: opening.spi(),
            state: State::Opening(Box::new(opening)),
            request: Some(request),
            sending: Sending::Nothing,
            replies: VecDeque::new(),
            notes: VecDeque::new(),
            check: Timestamp::FAR,
            expiry: Timestamp::FAR,
            since: None,
            last_sent: now,
            promised: Timestamp::FAR,
            ours: false,
            ending: None,
            hint: None,
            told: false,
        })
    }

    /// Whether the peer has proved itself, and the session is not being ended.
    pub const fn up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// The oldest note that was not taken yet.
    pub fn note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Ends the session politely; [`Self::poll`] is to be called then.
    pub fn stop(&mut self) {
        match self.state {
            State::Opening(_) | State::Proving(_) | State::Up(_) => {
                self.ending.get_or_insert(Teardown::LocalStop);
            }
            State::Closing(_) | State::Over => {}
        }
    }

    /// What it wants next. Bytes to send are appended to `out`, non-ESP marker included.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Action {
        if now >= self.promised + STALL {
            self.ours = true;
        }
        self.promised = Timestamp::FAR;
        if let Some(reply) = self.replies.pop_front() {
            return self.send(&reply, Sending::Other, out);
        }
        if self.ending.is_some() {
            match (&self.state, &mut self.request) {
                // Half open: nothing can be said to the peer yet.
                (State::Opening(_), request) => *request = None,
                // A check that is under way gets a moment; the peer must have its answer sent before it
                // takes the next request.
                (State::Up(_), Some(request)) if now >= request.due || request.tries == 0 => {
                    self.request = None;
                }
                (State::Up(_), Some(request)) => request.due = request.due.min(now + LAST_MOMENT),
                _ => {}
            }
        }
        // Each round changes the state or returns; there are four states to go through.
        for _ in 0..8 {
            if matches!(self.state, State::Over) {
                return Action::End;
            }
            if let Some(request) = &mut self.request {
                if now < request.due {
                    break;
                }
                let schedule = match request.kind {
                    Kind::Farewell => &FAREWELL[..],
                    _ => &self.plan.retransmit,
                };
                if request.flying {
                    request.flying = false;
                    if request.kind == Kind::Liveness {
                        self.notes.push_back(Note::Lost);
                    }
                }
                if request.tries >= schedule.len() || request.kind == Kind::Open && self.hint.is_some() {
                    self.give_up(now);
                    continue;
                }
                let bytes = std::mem::take(&mut request.bytes);
                let action = self.send(&bytes, Sending::Request, out);
                if let Some(request) = &mut self.request {
                    request.bytes = bytes;
                }
                return action;
            }
            if !self.begin(now) {
                break;
            }
        }
        if self.up() && now >= self.last_sent + KEEPALIVE {
            out.push(0xff); // RFC 3948 §2.3: no marker, never answered
            self.sending = Sending::Other;
            return Action::Send;
        }
        self.promised = self.wake();
        Action::Wait(self.promised)
    }

    fn send(&mut self, bytes: &[u8], what: Sending, out: &mut Vec<u8>) -> Action {
        out.extend(NON_ESP_MARKER);
        out.extend(bytes);
        self.sending = what;
        Action::Send
    }

    fn wake(&self) -> Timestamp {
        let request = self.request.as_ref().map_or(Timestamp::FAR, |request| request.due);
        if self.up() {
            let idle = if self.request.is_none() { self.check.min(self.expiry) } else { Timestamp::FAR };
            request.min(idle).min(self.last_sent + KEEPALIVE)
        } else {
            request
        }
    }

    /// Begins the next request if one is due; says whether anything changed.
    fn begin(&mut self, now: Timestamp) -> bool {
        if now >= self.expiry {
            self.ending.get_or_insert(Teardown::Expired);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Up(mut sa) => {
                if let Some(why) = self.ending {
                    self.farewell(sa, why, None, now);
                    true
                } else if now >= self.check {
                    let (id, bytes) = sa.request(ExchangeType::INFORMATIONAL, Vec::new(), &mut *self.entropy);
                    self.request = Some(Request::new(Kind::Liveness, id, bytes, now));
                    // Slots that an unanswered check took up are left out, not made up for.
                    while self.check <= now {
                        self.check = self.check + self.plan.interval.max(Duration::from_millis(1));
                    }
                    self.state = State::Up(sa);
                    self.notes.push_back(Note::Asked);
                    true
                } else {
                    self.state = State::Up(sa);
                    false
                }
            }
            // Nothing is outstanding and nothing is up: that is the end.
            State::Opening(_) | State::Proving(_) | State::Closing(_) | State::Over => {
                let why = self.ending.unwrap_or(Teardown::LocalFault);
                self.down(why, now);
                true
            }
        }
    }

    /// Takes leave of the peer, which is told of an error first if there is one.
    fn farewell(&mut self, mut sa: Box<Sa>, why: Teardown, error: Option<NotifyType>, now: Timestamp) {
        let error = error.map(|error| Notify::new(error, []).into());
        let delete = Payload::from(Delete::IKE_SA.body());
        let payloads = error.into_iter().chain([delete]).collect();
        let (id, bytes) = sa.request(ExchangeType::INFORMATIONAL, payloads, &mut *self.entropy);
        self.request = Some(Request::new(Kind::Farewell, id, bytes, now));
        self.state = State::Closing(sa);
        self.down(why, now);
    }

    /// Tells once that the session is down.
    fn down(&mut self, why: Teardown, at: Timestamp) {
        if !std::mem::replace(&mut self.told, true) {
            self.notes.push_back(Note::Down { at, why, since: self.since });
        }
    }

    /// No transmission of the request was answered.
    fn give_up(&mut self, now: Timestamp) {
        let Some(request) = self.request.take() else { return };
        let why = match request.kind {
            _ if self.ending.is_some() => self.ending.unwrap_or(Teardown::LocalStop),
            Kind::Farewell => Teardown::LocalStop,
            _ if self.ours => Teardown::LocalFault,
            Kind::Open | Kind::Prove => self.hint.unwrap_or(Teardown::NoAnswer),
            Kind::Liveness => Teardown::LivenessTimeout,
        };
        self.state = State::Over;
        self.down(why, now);
    }

    /// What the last [`Action::Send`] asked for left `at`.
    pub fn sent(&mut self, at: Timestamp) {
        self.last_sent = at;
        if std::mem::replace(&mut self.sending, Sending::Nothing) != Sending::Request {
            return;
        }
        let Some(request) = &mut self.request else { return };
        let schedule = match request.kind {
            Kind::Farewell => &FAREWELL[..],
            _ => &self.plan.retransmit,
        };
        if request.tries == 0 {
            request.first = at;
        }
        let wait = schedule.get(request.tries).or(schedule.last()).copied().unwrap_or(STALL);
        request.due = at + wait;
        request.flying = true;
        request.tries += 1;
    }

    /// What the last [`Action::Send`] asked for could not be sent. It counts as a transmission, so that
    /// the schedule goes on, but not as evidence.
    pub fn failed(&mut self, at: Timestamp) {
        self.ours = true;
        let last = self.last_sent;
        self.sent(at);
        self.last_sent = last.max(at);
        if let Some(request) = &mut self.request {
            request.flying = false;
        }
    }

    /// Takes a datagram that came from the peer `at`.
    ///
    /// # Errors
    /// Why it is not the session's own.
    pub fn received(&mut self, datagram: &[u8], at: Timestamp) -> Result<(), Rejected> {
        if datagram == [0xff] {
            return Ok(());
        }
        let bytes = strip_marker(datagram).ok_or(Rejected::Unexpected)?;
        let header = Header::decode(bytes).map_err(|_| Rejected::Malformed)?;
        if header.initiator != self.spi {
            return Err(Rejected::Token);
        }
        if header.exchange == ExchangeType::IKE_SA_INIT {
            return self.opened(&header, bytes, at);
        }
        let proving = matches!(self.state, State::Proving(_));
        let sa = match &mut self.state {
            State::Opening(_) | State::Over => return Err(Rejected::Unexpected),
            State::Proving(both) => &mut both.0,
            State::Up(sa) | State::Closing(sa) => &mut **sa,
        };
        match sa.place(&header) {
            Place::Answer(id) if self.request.as_ref().is_some_and(|request| request.id == id) => {
                let opened = sa.open(bytes).map_err(|_| Rejected::Malformed)?;
                self.ours = false;
                if let Some(message) = opened {
                    self.answered(&message, at);
                }
                Ok(())
            }
            Place::Request if !proving => {
                let opened = sa.open(bytes).map_err(|_| Rejected::Malformed)?;
                self.ours = false;
                if let Some(message) = opened {
                    self.asked(&message, at);
                }
                Ok(())
            }
            Place::Again => {
                sa.open(bytes).map_err(|_| Rejected::Malformed)?;
                let again = sa.answered();
                self.replies.extend(again);
                Ok(())
            }
            // Of no SA, out of its turn, or the answer to an earlier request, twice.
            Place::Nowhere | Place::Answer(_) | Place::Request => Err(Rejected::Unexpected),
        }
    }

    /// An answer to `IKE_SA_INIT`, or what pretends to be one.
    fn opened(&mut self, header: &Header, bytes: &[u8], at: Timestamp) -> Result<(), Rejected> {
        let answer = header.version == Version::V2
            && header.flags & (flags::RESPONSE | flags::INITIATOR) == flags::RESPONSE
            && header.message_id == 0;
        let asked = self.request.as_ref().is_some_and(|request| request.tries > 0);
        let State::Opening(opening) = &mut self.state else {
            return if answer { Ok(()) } else { Err(Rejected::Unexpected) }; // a duplicate
        };
        if !answer || !asked {
            return Err(Rejected::Unexpected);
        }
        match opening.answer(bytes, &mut *self.entropy) {
            Opened::Hint(hint) => self.hint = Some(hint),
            Opened::Again => {
                self.hint = None;
                self.request = Some(Request::new(Kind::Open, 0, opening.request().to_vec(), at));
            }
            Opened::Keyed(mut both) => {
                let (sa, proving) = &mut *both;
                let Some(payloads) = proving.request(&self.plan, &mut *self.entropy) else {
                    return Err(Rejected::Unexpected);
                };
                let (id, bytes) = sa.request(ExchangeType::IKE_AUTH, payloads, &mut *self.entropy);
                self.hint = None;
                self.request = Some(Request::new(Kind::Prove, id, bytes, at));
                self.state = State::Proving(both);
            }
        }
        Ok(())
    }

    /// The authentic answer to the outstanding request.
    fn answered(&mut self, message: &Message, at: Timestamp) {
        let Some(request) = self.request.take() else { return };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Proving(both) if message.exchange == ExchangeType::IKE_AUTH => {
                let (sa, proving) = *both;
                match proving.judge(message, &self.plan) {
                    Proved::Good { lifetime } => {
                        self.since = Some(at);
                        self.check = at + self.plan.interval;
                        // Nine tenths of it: what is renewed too late is cut off.
                        let granted =
                            lifetime.map(|seconds| Duration::from_secs(u64::from(seconds)) / 10 * 9);
                        self.expiry = granted.map_or(Timestamp::FAR, |granted| at + granted);
                        self.notes.push_back(Note::Up { at, childless: proving.childless() });
                        self.state = State::Up(Box::new(sa));
                    }
                    Proved::Unverified => {
                        let error = Some(NotifyType::AUTHENTICATION_FAILED);
                        self.farewell(Box::new(sa), Teardown::PeerUnverified, error, at);
                    }
                    Proved::Over(why) => self.down(why, at),
                }
            }
            State::Up(sa) => {
                if request.kind == Kind::Liveness {
                    let rtt = (request.tries == 1).then(|| at.since(request.first));
                    self.notes.push_back(Note::Alive(rtt));
                }
                self.state = State::Up(sa);
            }
            State::Closing(_) | State::Over => {}
            State::Proving(_) | State::Opening(_) => self.down(Teardown::Refused, at),
        }
    }

    /// A new authentic request of the peer: it is answered, whatever it is.
    fn asked(&mut self, message: &Message, at: Timestamp) {
        let deletes = message.payloads.iter().any(|payload| match &payload.body {
            Body::Other { kind: PayloadType::DELETE, data } => {
                Delete::decode(data).is_ok_and(|delete| delete.protocol == ProtocolId::IKE)
            }
            _ => false,
        });
        let rekeys = message.exchange == ExchangeType::CREATE_CHILD_SA;
        let of_ike = message
            .proposals()
            .and_then(|proposals| proposals.first())
            .is_some_and(|proposal| proposal.protocol == ProtocolId::IKE);
        let answer =
            if rekeys { vec![Notify::new(NotifyType::NO_ADDITIONAL_SAS, []).into()] } else { vec![] };
        let (State::Up(sa) | State::Closing(sa)) = &mut self.state else { return };
        let reply = sa.answer(message, answer, &mut *self.entropy);
        self.replies.push_back(reply);
        if message.exchange == ExchangeType::INFORMATIONAL && deletes {
            self.request = None;
            self.state = State::Over;
            // A peer whose rekeying we refused may be quicker than we.
            self.down(self.ending.unwrap_or(Teardown::PeerDeleted), at);
        } else if rekeys && of_ike {
            self.ending.get_or_insert(Teardown::RekeyRefused);
        }
    }
}

impl Request {
    fn new(kind: Kind, id: u32, bytes: Vec<u8>, now: Timestamp) -> Self {
        Self { kind, id, bytes, tries: 0, first: now, due: now, flying: false }
    }
}
