//! The real sessions: one a target that has one configured, set up, kept, and set up again.
//!
//! ```text
//! pause ──budget──▶ run on a kept socket ──notes──▶ metrics
//!   ▲                 │
//!   └──── over ◀──────┘
//! ```
//!
//! Invariants: one session a target, with the member in slot 1 over the first egress: an identity is
//! good for one session. Setting one up is charged as a half-open session of its address. What is let
//! go of says DELETE first.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::members::Members;
use super::yardstick::Yardstick;
use crate::budget::Budget;
use crate::config::{Config, Egress};
use crate::detect::About;
use crate::detect::dpd::Verdict;
use crate::entropy::{Draw, Generator};
use crate::export::metrics::{Prediction, Registry, Seen, SessionKey, SessionMetrics};
use crate::net::{Driver, FlowId, Happening, Tag};
use crate::probe::{Charge, Event, Exchange, Flow, Form, Handled, Mismatch, Start, Step, Transport};
use crate::sample::{Fault, Outcome, Report, SeriesId};
use crate::session::{Action, Note, Plan, Reconnect, Rejected, Session, Teardown};
use crate::time::{Clock, Timestamp};

/// What setting a session up costs the concentrator.
pub(super) static FORM: Form =
    Form { name: "session", charges: &[Charge::HalfOpen], packets: 4, rare: false };

/// Marks the numbers of sessions among those of series.
const SESSION: u32 = 1 << 31;

/// How long a run is remembered after its end, for packets that come late.
const LINGER: Duration = Duration::from_secs(2);

/// How long each transmission waits when we sign in only once.
const ONCE: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// More than signing in once can take.
const LONGEST: Duration = Duration::from_secs(20);

/// All sessions.
pub(super) struct Sessions {
    /// By number; numbers are not used again, for a run that was let go of may still tell something.
    kept: BTreeMap<u32, Kept>,
    numbers: u32,
    told: mpsc::Receiver<(SeriesId, Note)>,
    tell: mpsc::Sender<(SeriesId, Note)>,
}

/// One session as it should be.
struct Kept {
    key: SessionKey,
    plan: Arc<Plan>,
    address: IpAddr,
    egress: Arc<Egress>,
    flow: FlowId,
    metrics: Arc<SessionMetrics>,
    /// Tells the run to end; nothing while none runs.
    stop: Option<Arc<AtomicBool>>,
    /// When to begin, if none runs.
    next: Timestamp,
    reconnect: Reconnect,
    /// How the last one ended.
    last: Option<(Teardown, Option<Timestamp>, Timestamp)>,
    yardstick: Yardstick,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let (tell, told) = mpsc::channel();
        Self { kept: BTreeMap::new(), numbers: 0, told, tell }
    }

    /// Whether a run of that number is a session's.
    pub(super) const fn owns(series: SeriesId) -> bool {
        series.0 & SESSION != 0
    }

    /// When the next one is to begin.
    pub(super) fn next(&self) -> Timestamp {
        let waiting = self.kept.values().filter(|kept| kept.stop.is_none());
        let begins = waiting.map(|kept| kept.next);
        let compares = self.kept.values().map(|kept| kept.yardstick.next());
        begins.chain(compares).min().unwrap_or(Timestamp::FAR)
    }

    /// What the session's own timers made of an outage, by the probes of its member and way out.
    pub(super) fn foretold(&mut self, about: &About, verdict: Verdict, now: Timestamp) {
        let same = |key: &SessionKey| {
            (&key.target, key.member, &key.egress) == (&about.target, about.member, &about.egress)
        };
        if let Some(kept) = self.kept.values_mut().find(|kept| same(&kept.key)) {
            kept.yardstick.foretold(verdict, now);
        }
    }

    /// Counts what can be compared by now.
    pub(super) fn compare(&mut self, now: Timestamp) {
        for kept in self.kept.values_mut() {
            while let Some((predicted, seen)) = kept.yardstick.settle(now) {
                kept.metrics.compared(predicted, seen);
                if matches!(
                    (predicted, seen),
                    (Prediction::Sure, Seen::Survived) | (Prediction::None, Seen::TornDown)
                ) {
                    let (target, predicted, seen) =
                        (kept.key.target.as_str(), predicted.as_str(), seen.as_str());
                    tracing::warn!(
                        target,
                        predicted,
                        seen,
                        "the session did not do what the probes foretold"
                    );
                }
            }
        }
    }

    /// Begins those that are due, as the budget allows.
    pub(super) fn begin(&mut self, driver: &mut Driver, budget: &mut Budget, out: &mut Vec<Happening>) {
        let now = driver.clock().now();
        for (number, kept) in &mut self.kept {
            if kept.stop.is_some() || kept.next > now {
                continue;
            }
            if let Err(held) = budget.draw(kept.address, &FORM, now) {
                kept.next = held.until + Duration::from_millis(driver.entropy().below(2000));
                continue;
            }
            let stop = Arc::new(AtomicBool::new(false));
            kept.stop = Some(Arc::clone(&stop));
            let series = SeriesId(*number | SESSION);
            let tag = Tag { series, seq: 0, due: kept.next, form: &FORM };
            let (plan, tell) = (Arc::clone(&kept.plan), self.tell.clone());
            let make = Run::maker(plan, stop, series, tell);
            driver.begin_with(kept.flow, tag, LINGER, make, out);
        }
    }

    /// A run of ours has ended: the next one is due after a pause.
    pub(super) fn ended(&mut self, tag: Tag, driver: &mut Driver, budget: &mut Budget) {
        self.listen(budget);
        let now = driver.clock().now();
        let Some(kept) = self.kept.get_mut(&(tag.series.0 & !SESSION)) else { return };
        kept.stop = None;
        // A run that could not even begin has told nothing.
        let (why, since, at) = kept.last.take().unwrap_or((Teardown::LocalFault, None, now));
        if matches!(why, Teardown::LivenessTimeout | Teardown::NoAnswer | Teardown::LocalFault) {
            driver.renew(kept.flow); // addresses, routes, or a NAT's mapping may have gone
        }
        let pause = kept.reconnect.pause(why, since, at);
        let jitter = u64::try_from(pause.as_nanos() / 8).unwrap_or(u64::MAX);
        kept.next = now + pause + Duration::from_nanos(driver.entropy().below(jitter));
    }

    /// Counts and logs what the sessions told.
    pub(super) fn listen(&mut self, budget: &mut Budget) {
        while let Ok((series, note)) = self.told.try_recv() {
            let Some(kept) = self.kept.get_mut(&(series.0 & !SESSION)) else { continue };
            kept.metrics.record(&note);
            kept.yardstick.heard(&note);
            let target = kept.key.target.as_str();
            match note {
                Note::Up { childless, .. } => {
                    budget.relax(kept.address, &FORM);
                    tracing::info!(target, childless, "the session is up: the gateway has proved itself");
                }
                Note::Down { at, why, since } => {
                    if why == Teardown::NoAnswer {
                        budget.back_off(kept.address, &FORM);
                    }
                    kept.last = Some((why, since, at));
                    let up = since.map(|since| at.since(since).as_secs());
                    tracing::warn!(target, reason = why.as_str(), up_seconds = up, "no session");
                }
                Note::Asked | Note::Alive(_) | Note::Lost => {}
            }
        }
    }

    /// Makes the sessions what configuration and members say; those that did not change go on.
    pub(super) fn rebuild<'a>(
        &mut self,
        config: &Config,
        members: impl Fn(&str) -> Option<&'a Members>,
        driver: &mut Driver,
        registry: &Registry,
        out: &mut Vec<Happening>,
    ) {
        let mut wanted = Vec::new();
        for target in &config.targets {
            let (Some(plan), Some(egress)) = (&target.session, target.egress.first()) else { continue };
            let key = SessionKey { target: target.name.clone(), member: 1, egress: egress.clone() };
            let address =
                members(&target.name).and_then(|members| members.iter().find(|(slot, _)| *slot == 1));
            let way = Arc::new(config.egress.get(egress).cloned().unwrap_or_default());
            wanted.push((key, Arc::clone(plan), address.map(|(_, address)| address), way));
        }
        let same = |kept: &Kept| {
            wanted.iter().any(|(key, plan, address, egress)| {
                (&kept.key, &kept.plan, Some(kept.address), &kept.egress) == (key, plan, *address, egress)
            })
        };
        let gone: Vec<u32> =
            self.kept.iter().filter(|(_, kept)| !same(kept)).map(|(number, _)| *number).collect();
        for kept in gone.iter().filter_map(|number| self.kept.remove(number)).collect::<Vec<_>>() {
            kept.release(driver, out);
        }
        for metrics in registry.all_sessions() {
            if !wanted.iter().any(|(key, ..)| key == metrics.key()) {
                registry.remove_session(metrics.key());
            }
        }
        for (key, plan, address, egress) in wanted {
            let metrics = registry.session(key.clone(), &config.buckets);
            if let Some(kept) = self.kept.values_mut().find(|kept| kept.key == key) {
                kept.metrics = metrics;
                continue;
            }
            let Some(address) = address else { continue };
            let flow = driver.open(address, Plan::PORT, Flow::PinnedUdp, Arc::clone(&egress));
            let next = driver.clock().now() + Duration::from_millis(driver.entropy().below(1000));
            let reconnect = Reconnect::default();
            let kept = Kept {
                key,
                plan,
                address,
                egress,
                flow,
                metrics,
                stop: None,
                next,
                reconnect,
                last: None,
                yardstick: Yardstick::default(),
            };
            self.numbers = (self.numbers + 1) & !SESSION;
            self.kept.insert(self.numbers, kept);
        }
    }

    /// Lets all of them take leave of their peers; the driver is to be turned for a while then.
    pub(super) fn stop(&mut self, driver: &mut Driver, out: &mut Vec<Happening>) {
        for kept in std::mem::take(&mut self.kept).into_values() {
            kept.release(driver, out);
        }
    }
}

/// Signs in once, and out again: whether without a child, or why not. Blocking, for seconds.
///
/// # Errors
/// When the kernel refuses to wait for events.
pub(super) fn sign_in(
    driver: &mut Driver,
    plan: &Plan,
    address: IpAddr,
    egress: Arc<Egress>,
) -> io::Result<Result<bool, Teardown>> {
    let plan = Arc::new(Plan { retransmit: ONCE.to_vec(), ..plan.clone() });
    let flow = driver.open(address, Plan::PORT, Flow::PinnedUdp, egress);
    let (tell, told) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let tag = Tag { series: SeriesId(SESSION), seq: 0, due: driver.clock().now(), form: &FORM };
    let make = Run::maker(plan, Arc::clone(&stop), tag.series, tell);
    let mut out = Vec::new();
    driver.begin_with(flow, tag, LINGER, make, &mut out);
    let deadline = driver.clock().now() + LONGEST;
    let (mut result, mut over) = (Err(Teardown::LocalFault), false);
    while !over && driver.clock().now() < deadline {
        if out.is_empty() {
            driver.turn(deadline, &mut out)?;
        }
        over =
            out.drain(..).any(|it| matches!(it, Happening::Done { tag, .. } if Sessions::owns(tag.series)));
        for (_, note) in told.try_iter() {
            match note {
                Note::Up { childless, .. } => {
                    result = Ok(childless);
                    stop.store(true, Ordering::Relaxed);
                }
                Note::Down { why, .. } if result.is_err() => result = Err(why),
                _ => {}
            }
        }
        if stop.load(Ordering::Relaxed) && !over {
            driver.nudge(flow, &mut out);
        }
    }
    driver.close(flow, &mut out);
    Ok(result)
}

impl Kept {
    fn release(self, driver: &mut Driver, out: &mut Vec<Happening>) {
        if let Some(stop) = self.stop {
            stop.store(true, Ordering::Relaxed);
            driver.nudge(self.flow, out);
            if self.metrics.up() {
                let now = driver.clock().now();
                self.metrics.record(&Note::Down { at: now, why: Teardown::LocalStop, since: None });
            }
        }
        driver.close(self.flow, out);
    }
}

/// A session as the driver sees it: an exchange that takes long.
struct Run {
    /// Nothing if no key could be drawn.
    session: Option<Session>,
    peer: SocketAddr,
    stop: Arc<AtomicBool>,
    series: SeriesId,
    tell: mpsc::Sender<(SeriesId, Note)>,
    reported: bool,
}

impl Run {
    /// What the driver makes a run with.
    fn maker(
        plan: Arc<Plan>,
        stop: Arc<AtomicBool>,
        series: SeriesId,
        tell: mpsc::Sender<(SeriesId, Note)>,
    ) -> impl FnOnce(Start<'_>) -> Box<dyn Exchange> {
        move |start| {
            let peer = SocketAddr::new(start.peer, Plan::PORT);
            let entropy = Box::new(Generator::from_os());
            let session = Session::new(plan, peer, start.local, entropy, start.now);
            Box::new(Self { session, peer, stop, series, tell, reported: false })
        }
    }

    fn tell(&mut self) {
        while let Some(note) = self.session.as_mut().and_then(Session::note) {
            let _ = self.tell.send((self.series, note));
        }
    }
}

impl Exchange for Run {
    fn transport(&self) -> Transport {
        Transport::Udp { port: Plan::PORT, connected: true }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        let outcome = match &mut self.session {
            None => Outcome::Unsent(Fault::Internal),
            Some(session) => {
                if self.stop.load(Ordering::Relaxed) {
                    session.stop();
                }
                let action = session.poll(now, out);
                self.tell();
                match action {
                    Action::Send => return Step::Send,
                    Action::Wait(until) => return Step::Wait(until),
                    Action::End => Outcome::OK,
                }
            }
        };
        if std::mem::replace(&mut self.reported, true) {
            return Step::End;
        }
        Step::Report(Report::new(outcome))
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        let Some(session) = &mut self.session else { return Handled::NotMine(Mismatch::Unexpected) };
        let handled = match event {
            Event::Sent => {
                session.sent(at);
                Handled::Taken
            }
            Event::Received { from, bytes } if from.ip().to_canonical() == self.peer.ip().to_canonical() => {
                match session.received(bytes, at) {
                    Ok(()) => Handled::Taken,
                    Err(Rejected::Token) => Handled::NotMine(Mismatch::Token),
                    Err(Rejected::Malformed) => Handled::NotMine(Mismatch::Malformed),
                    Err(Rejected::Unexpected) => Handled::NotMine(Mismatch::Unexpected),
                }
            }
            Event::Received { .. } => Handled::NotMine(Mismatch::Source),
            Event::Failed(_) => {
                session.failed(at);
                Handled::Taken
            }
            // Anyone can forge one; only silence counts (RFC 7296 §2.4).
            Event::Icmp { .. } => Handled::Taken,
            Event::Connected | Event::Closed | Event::Reset => Handled::NotMine(Mismatch::Unexpected),
        };
        self.tell();
        handled
    }
}
