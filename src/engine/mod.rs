//! The engine: what is due is begun, what is done is folded and counted. One thread owns it all.
//!
//! ```text
//!   commands ─▶ ┌────────────────────────────────────────────┐
//!   (reload,    │ Schedule ─▶ Budget ─▶ Learner ─▶ Driver      │ ─▶ metrics (atomics)
//!    members,   │     ▲ fixed              ▲          │        │
//!    /probe)    │     └ due times          └ judge ◀──┘        │
//!               └────────────────────────────────────────────┘
//! ```
//!
//! Invariants: no lock is taken on the way from a packet to its counter; nothing that comes out of a
//! sample moves a due time; a reload keeps everything of a series that did not change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::budget::Budget;
use crate::config::{Address, Config, Egress, Target};
use crate::detect::dpd::Survival;
use crate::detect::liveness::combine;
use crate::detect::{About, Bearing, Collector, Found, Input, Placed, Stage, Transition};
use crate::entropy::Draw;
use crate::export::metrics::{DpdMetrics, FlowAge, MemberInfo, Registry, SeriesKey, SeriesMetrics};
use crate::net::{Driver, FlowId, Happening, Tag, Waker};
use crate::probe::forms::Learner;
use crate::probe::{Charge, Flow, Form, Spec};
use crate::sample::{Carrier, Fault, Outcome, Reason, Report, Sample, SeriesId};
use crate::schedule::{Schedule, Slot};
use crate::store::{Feed, Snapshot};
use crate::time::{Clock, Timestamp};

pub mod flows;
pub mod members;
mod session;
pub mod survey;
mod told;

use flows::Flows;
use members::Members;
use session::Sessions;
use told::Told;

/// The longest sleep: commands and the sign of life wait no longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// From how many slots a second on wake-ups are gathered, and how long.
const GATHER_FROM: f64 = 200.0;
const TICK: Duration = Duration::from_millis(5);
/// The first rare form of a series runs within this time.
const FIRST_RARE: Duration = Duration::from_secs(60);
/// strongSwan keeps a half-open session for 30 s; a program just started may have left one.
const RESTART_HOLD: Duration = Duration::from_secs(35);
/// Sequence numbers of exchanges that were asked for by hand.
const BY_HAND: u64 = 1 << 63;
/// Marks those of exchanges on a fresh flow beside the kept one.
const FRESH: u64 = 1 << 62;

/// What the engine can be asked for, from other threads.
pub enum Command {
    /// Run this configuration from now on.
    Apply(Arc<Config>),
    /// A target's name has these addresses now.
    Resolved {
        /// The target.
        target: String,
        /// All its addresses.
        addresses: Vec<IpAddr>,
    },
    /// Run one exchange now, outside the series.
    Probe {
        /// The target.
        target: String,
        /// The probe's name.
        probe: String,
        /// At most this long.
        timeout: Duration,
        /// Takes the address and the report, or why nothing was sent.
        reply: Reply,
    },
    /// Clean up at the peers, and end.
    Stop,
}

/// How other threads reach the engine.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    waker: Waker,
    turned: Arc<AtomicU64>,
}

impl Handle {
    /// Sends a command; one sent to an engine that has ended is lost.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        self.waker.wake();
    }

    /// When the engine last finished a turn: its sign of life.
    pub fn turned(&self) -> Timestamp {
        Timestamp::from_nanos(self.turned.load(Ordering::Relaxed))
    }
}

struct Series {
    target: Arc<Target>,
    spec: Spec,
    member: u8,
    address: Option<IpAddr>,
    egress: Arc<Egress>,
    egress_name: String,
    flow: Option<FlowId>,
    learner: Learner,
    flows: Flows,
    /// The fresh flow of the slot that runs now.
    fresh: Option<FlowId>,
    metrics: Arc<SeriesMetrics>,
    /// Those of its profiles of dead peer detection, in their places.
    dpd: Arc<[DpdMetrics]>,
    seq: u64,
    /// Tells a rare form's appointment from one of the series that had this number before.
    incarnation: u64,
}

/// An appointment of a rare form.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Appointment {
    at: Timestamp,
    series: SeriesId,
    form: usize,
    incarnation: u64,
}

/// Takes the answer to [`Command::Probe`].
pub type Reply = Box<dyn FnOnce(Result<(IpAddr, Report), String>) + Send>;

/// The engine. Made on any thread, run on one.
pub struct Engine {
    driver: Driver,
    schedule: Schedule,
    budget: Budget,
    registry: Registry,
    config: Arc<Config>,
    members: BTreeMap<String, Members>,
    series: Vec<Option<Series>>,
    free: Vec<u32>,
    by_key: HashMap<SeriesKey, SeriesId>,
    by_target: HashMap<String, Vec<SeriesId>>,
    rare: BinaryHeap<Reverse<Appointment>>,
    incarnations: u64,
    commands: mpsc::Receiver<Command>,
    handle: Handle,
    told: Told,
    by_hand: HashMap<(SeriesId, u64), Reply>,
    collector: Collector,
    /// What the collector found; empty between samples.
    found: Vec<Found>,
    /// Takes what is to outlive this process.
    feed: Option<Feed>,
    /// When it was last given all that is known, and when it is next.
    saved: (Timestamp, Timestamp),
    asked: u64,
    sessions: Sessions,
}

impl Engine {
    /// An engine without targets, under `config`'s budget once that is applied.
    #[must_use]
    pub fn new(driver: Driver, registry: Registry) -> Self {
        let (sender, commands) = mpsc::channel();
        let turned = Arc::new(AtomicU64::new(0));
        let handle = Handle { commands: sender, waker: driver.waker(), turned };
        let hold = driver.clock().now() + RESTART_HOLD;
        let config = Arc::new(Config::empty());
        Self {
            driver,
            schedule: Schedule::new(),
            budget: Budget::new(config.budget.clone(), hold),
            registry,
            config,
            members: BTreeMap::new(),
            series: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_target: HashMap::new(),
            rare: BinaryHeap::new(),
            incarnations: 0,
            commands,
            handle,
            told: Told::default(),
            by_hand: HashMap::new(),
            collector: Collector::new(),
            found: Vec::new(),
            feed: None,
            saved: (Timestamp::ZERO, Timestamp::FAR),
            asked: 0,
            sessions: Sessions::new(),
        }
    }

    /// How other threads reach it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Hands there what is to outlive this process: all that is known now and then, and incidents as
    /// they begin, are judged, and are over.
    pub fn keep_in(&mut self, feed: Feed) {
        let now = self.driver.clock().now();
        self.saved = (now, feed.pause().map_or(Timestamp::FAR, |pause| now + pause));
        self.feed = Some(feed);
    }

    /// Goes on from what an earlier process knew. The clock must go on from there, too. Before the first
    /// configuration.
    pub fn resume(&mut self, kept: Snapshot) {
        let Snapshot { monotonic, knowledge, budget, .. } = kept;
        self.collector = Collector::resumed(knowledge);
        self.budget.resume(budget, monotonic);
    }

    /// Runs until it is told to stop. Blocking.
    ///
    /// # Errors
    /// When the kernel refuses to wait for events.
    pub fn run(mut self) -> io::Result<()> {
        let mut happenings = Vec::new();
        loop {
            while let Ok(command) = self.commands.try_recv() {
                if matches!(command, Command::Stop) {
                    return self.stop();
                }
                self.command(command, &mut happenings);
            }
            let now = self.driver.clock().now();
            while let Some(slot) = self.schedule.pop(now) {
                self.slot(slot, &mut happenings);
            }
            self.run_rare(now, &mut happenings);
            self.tick(now);
            if now >= self.saved.1 {
                self.save();
            }
            self.sessions.begin(&mut self.driver, &mut self.budget, &mut happenings);
            self.take(&mut happenings);
            let mut until = now + LONGEST_SLEEP;
            until = self.schedule.next_due().map_or(until, |due| until.min(due));
            until = self.rare.peek().map_or(until, |Reverse(next)| until.min(next.at));
            until = until.min(self.sessions.next()).min(self.collector.deadline()).min(self.saved.1);
            self.driver.turn(until, &mut happenings)?;
            self.take(&mut happenings);
            self.handle.turned.store(self.driver.clock().now().as_nanos(), Ordering::Relaxed);
        }
    }

    fn command(&mut self, command: Command, out: &mut Vec<Happening>) {
        match command {
            Command::Apply(config) => self.apply(config, out),
            Command::Resolved { target, addresses } => {
                if let Some(members) = self.members.get_mut(&target) {
                    members.resolve(&addresses);
                    self.rebuild(out);
                }
            }
            Command::Probe { target, probe, timeout, reply } => {
                self.probe(&target, &probe, timeout, reply, out)
            }
            Command::Stop => {}
        }
    }

    /// Begins what a slot asks for, or records why it could not.
    fn slot(&mut self, slot: Slot, out: &mut Vec<Happening>) {
        let now = self.driver.clock().now();
        self.registry.own().lag(now.since(slot.due));
        if slot.missed > 0 {
            self.registry.own().missed_slots(slot.missed);
        }
        let wall = self.driver.clock().wall();
        let Some(series) = self.series.get_mut(slot.series.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        series.seq = slot.seq;
        series.metrics.attempt(wall);
        let form = series.learner.form(slot.seq);
        let tag = Tag { series: slot.series, seq: slot.seq, due: slot.due, form };
        let trial = series.learner.trial();
        let unsent = |fault| Happening::Done {
            tag,
            sent: None,
            done: now,
            report: Report::new(Outcome::Unsent(fault)),
        };
        let (Some(address), Some(flow)) = (series.address, series.flow) else {
            out.push(unsent(Fault::Unresolved));
            return;
        };
        if self.budget.draw(address, form, now).is_err() {
            out.push(unsent(Fault::Budget));
        } else {
            self.driver.begin(flow, tag, &series.spec, out);
        }
        if series.flows.doubtful()
            && series.spec.kind.flow == Flow::PinnedUdp
            && series.fresh.is_none()
            && self.budget.draw(address, form, now).is_ok()
        {
            let fresh = self.driver.open(address, series.spec.port, Flow::Fresh, Arc::clone(&series.egress));
            series.fresh = Some(fresh);
            self.driver.begin(fresh, Tag { seq: tag.seq | FRESH, ..tag }, &series.spec, out);
        }
        // The gentle forms are silent: the one that opens state may tell a silent box from a dead one.
        if let Some(form) = trial
            && self.budget.draw(address, form, now).is_ok()
        {
            self.driver.begin(flow, Tag { form, ..tag }, &series.spec, out);
        }
    }

    fn run_rare(&mut self, now: Timestamp, out: &mut Vec<Happening>) {
        while self.rare.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(mut next)) = self.rare.pop() else { return };
            let Some(series) = self.series.get(next.series.0 as usize).and_then(Option::as_ref) else {
                continue;
            };
            if series.incarnation != next.incarnation {
                continue;
            }
            let forms = (series.spec.kind.forms)(&series.spec);
            let Some(form) = forms.get(next.form) else { continue };
            let jitter = Duration::from_millis(self.driver.entropy().below(5000));
            next.at = match (series.address, series.flow) {
                (Some(address), Some(flow)) => match self.budget.draw(address, form, now) {
                    Ok(()) => {
                        let tag = Tag { series: next.series, seq: series.seq, due: next.at, form };
                        self.driver.begin(flow, tag, &series.spec, out);
                        now + series.spec.full_interval
                    }
                    Err(held) => {
                        series.metrics.deferred();
                        held.until + jitter
                    }
                },
                _ => now + FIRST_RARE,
            };
            self.rare.push(Reverse(next));
        }
    }

    fn take(&mut self, happenings: &mut Vec<Happening>) {
        let mut more = Vec::new();
        for happening in happenings.drain(..) {
            match happening {
                Happening::Done { tag, .. } if Sessions::owns(tag.series) => {
                    self.sessions.ended(tag, &mut self.driver, &mut self.budget);
                }
                Happening::Done { tag, report, .. } if tag.seq & (BY_HAND | FRESH) == FRESH => {
                    self.fresh_done(tag, &report, &mut more);
                }
                Happening::Done { tag, sent, done, report } => self.done(tag, sent, done, report),
                Happening::Late(id) => self.with(id, |series| series.metrics.late()),
                Happening::Duplicate(id) => self.with(id, |series| series.metrics.duplicate()),
                Happening::Unmatched(why) => self.registry.own().unmatched(why),
                Happening::Overflow(packets) => self.registry.own().receive_overflow(packets),
                Happening::ClockFallback => self.registry.own().clock_fallback(),
            }
        }
        happenings.append(&mut more);
        self.sessions.listen(&mut self.budget);
    }

    /// Folds the result of a fresh flow: it tells about the kept one, and is not counted itself.
    fn fresh_done(&mut self, tag: Tag, report: &Report, out: &mut Vec<Happening>) {
        let Some(series) = self.series.get_mut(tag.series.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(fresh) = series.fresh.take() {
            self.driver.close(fresh, out);
        }
        let Some(received) = report.outcome.received() else { return };
        series.metrics.set_flow(FlowAge::Fresh, received);
        if series.flows.fresh(tag.seq & !FRESH, received)
            && let Some(flow) = series.flow
        {
            tracing::warn!(
                target = series.target.name,
                probe = series.spec.name,
                "the kept flow is dead and fresh ones are answered: a firewall or NAT on the way dropped it; \
                 going on with a new source port"
            );
            self.driver.renew(flow);
        }
    }

    fn with(&self, id: SeriesId, act: impl FnOnce(&Series)) {
        if let Some(series) = self.series.get(id.0 as usize).and_then(Option::as_ref) {
            act(series);
        }
    }

    /// Folds a result into everything that wants it.
    fn done(&mut self, tag: Tag, sent: Option<Timestamp>, done: Timestamp, mut report: Report) {
        let address = self.series.get(tag.series.0 as usize).and_then(Option::as_ref).and_then(|s| s.address);
        if let Some(address) = address {
            self.settle(address, tag.form, &report);
        }
        if tag.seq & BY_HAND != 0 {
            if let Some(reply) = self.by_hand.remove(&(tag.series, tag.seq)) {
                reply(
                    address.map(|address| (address, report)).ok_or_else(|| "the target has gone".to_owned()),
                );
            }
            return;
        }
        let Some(series) = self.series.get_mut(tag.series.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        report.outcome = series.learner.judge(tag.form, report.outcome);
        let beside = tag.form.rare && !series.learner.stateful();
        if beside {
            // Beside the recurring form only what was said counts: its silence may be a limit we met,
            // and its time has the peer's public-key work in it.
            if report.outcome.received() != Some(true) {
                return;
            }
            report.rtt = None;
            report.phases.clear();
        }
        let sample = Sample {
            series: tag.series,
            seq: tag.seq,
            form: tag.form.name,
            due: tag.due,
            sent,
            done,
            report,
        };
        series.metrics.record(&sample);
        let mut telling = true;
        if series.spec.kind.flow == Flow::PinnedUdp
            && !tag.form.rare
            && let Some(received) = sample.report.outcome.received()
        {
            series.metrics.set_flow(FlowAge::Pinned, received);
            telling &= series.flows.kept(tag.seq, received);
        }
        if let Some(findings) = &sample.report.findings {
            let (target, kind) = (&series.target.name, series.spec.kind.name);
            let news = self.told.hear(target, series.member, series.address, kind, &findings.details);
            if let Some(info) = news {
                self.registry.target_info(target, series.member, Some(info));
            }
        }
        if beside {
            return;
        }
        let bearing = if telling { Bearing::Target } else { Bearing::Flow };
        let evidence = sample.report.outcome.received().is_some();
        self.collector.take(Input::Sample(&sample, bearing), &mut self.found);
        if evidence {
            self.show(tag.series, sample.due, telling);
        }
        self.heed();
    }

    /// Hands over all that is known.
    fn save(&mut self) {
        let Some(feed) = &self.feed else { return };
        let Some(pause) = feed.pause() else { return };
        let (now, wall) = (self.driver.clock().now(), self.driver.clock().wall());
        feed.state(Snapshot::new(now, wall, self.collector.keep(now), self.budget.keep()));
        self.saved = (now, now + pause);
    }

    /// Tells the collector the time when it wants to know it.
    fn tick(&mut self, now: Timestamp) {
        if now < self.collector.deadline() {
            return;
        }
        let clock = self.driver.clock();
        let (now, wall) = (clock.now(), clock.wall());
        self.collector.take(Input::Tick { now, wall }, &mut self.found);
        self.heed();
    }

    /// Brings the metrics of a series up to what its detectors know.
    fn show(&self, id: SeriesId, at: Timestamp, watched: bool) {
        let Some(track) = self.collector.track(id) else { return };
        self.with(id, |series| {
            if watched {
                series.metrics.watched(track.watch(), at);
            }
            for ((_, survival), metrics) in track.dpd().zip(series.dpd.iter()) {
                if let Some(margin) = survival.and_then(Survival::margin_now) {
                    metrics.set_margin(margin);
                }
            }
        });
    }

    /// Acts on what the collector found.
    fn heed(&mut self) {
        for found in std::mem::take(&mut self.found) {
            match found {
                Found::Transition(id, transition) => {
                    self.with(id, |series| series.metrics.transition(&transition));
                    let series = self.series.get(id.0 as usize).and_then(Option::as_ref);
                    if let (Transition::State { .. }, Some(series)) = (transition, series) {
                        self.update_target(&series.target);
                    }
                }
                Found::Teardown { series, place, sure, expected } => self.with(series, |series| {
                    if let Some(metrics) = series.dpd.get(place) {
                        metrics.add(sure, expected);
                    }
                }),
                Found::Verdict { .. } => {}
                Found::Incident(stage, incident) => {
                    // One that was removed has no metrics any more.
                    if let (Stage::Decided, Some(cause)) = (stage, incident.cause)
                        && self.by_target.contains_key(&incident.target)
                    {
                        self.registry.target(&incident.target).incident(cause);
                    }
                    if let Some(feed) = &self.feed {
                        feed.incident(incident);
                        // What the next process would know is not to fall far behind the incident.
                        let soon = feed.pause().map_or(Timestamp::FAR, |pause| self.saved.0 + pause / 6);
                        self.saved.1 = self.saved.1.min(soon);
                    }
                }
            }
        }
    }

    /// Tells the budget how the peer took what was opened.
    fn settle(&mut self, address: IpAddr, form: &Form, report: &Report) {
        if form.stateless() {
            return;
        }
        let under_load = report.findings.as_ref().is_some_and(|findings| findings.under_load);
        match report.outcome {
            // A box that has enough of our handshakes falls silent. Tunnels and resets go on at their pace:
            // a dead box keeps no state of them, and its return is to be seen.
            Outcome::Lost(_) if !form.charges.contains(&Charge::HalfOpen) => {}
            Outcome::Lost(_) | Outcome::Refused(Reason::FullOrThrottled) => {
                self.budget.back_off(address, form)
            }
            Outcome::Unsent(_) => {}
            _ if under_load => self.budget.back_off(address, form),
            _ => self.budget.relax(address, form),
        }
    }

    fn update_target(&self, target: &Arc<Target>) {
        let ids = self.by_target.get(&target.name).map_or(&[][..], Vec::as_slice);
        let of_target = || ids.iter().filter_map(|id| Some((*id, self.series.get(id.0 as usize)?.as_ref()?)));
        // A ping may be filtered while every service is well: it tells only where nothing else does.
        let telling = |series: &Series| series.spec.kind.carrier != Carrier::Icmp;
        let any = of_target().any(|(_, series)| telling(series));
        let counted = of_target().filter(|(_, series)| !any || telling(series));
        let states = counted.filter_map(|(id, _)| Some(self.collector.track(id)?.watch().state().0));
        let state = combine(states);
        self.registry.target(&target.name).set_state(state);
    }

    fn probe(
        &mut self,
        target: &str,
        probe: &str,
        timeout: Duration,
        reply: Reply,
        out: &mut Vec<Happening>,
    ) {
        let now = self.driver.clock().now();
        let ids = self.by_target.get(target).map_or(&[][..], Vec::as_slice);
        let found = ids.iter().find_map(|id| {
            let series = self.series.get(id.0 as usize)?.as_ref()?;
            (series.spec.name == probe && series.address.is_some()).then_some((*id, series))
        });
        let Some((id, series)) = found else {
            return reply(Err("the target's name has not been resolved yet".to_owned()));
        };
        let (Some(address), Some(flow)) = (series.address, series.flow) else {
            return reply(Err("the target's name has not been resolved yet".to_owned()));
        };
        let form = series.learner.form(series.seq);
        if let Err(held) = self.budget.draw(address, form, now) {
            let wait = held.until.since(now).as_secs() + 1;
            return reply(Err(format!("the budget of {address} allows the next one in {wait} s")));
        }
        self.asked += 1;
        let tag = Tag { series: id, seq: BY_HAND | self.asked, due: now, form };
        let spec = Spec { timeout: series.spec.timeout.min(timeout), ..series.spec.clone() };
        self.by_hand.insert((id, tag.seq), reply);
        self.driver.begin(flow, tag, &spec, out);
    }

    /// Runs another configuration from now on; series that did not change go on as they are.
    fn apply(&mut self, config: Arc<Config>, out: &mut Vec<Happening>) {
        self.budget.set_limits(config.budget.clone());
        let mut members = BTreeMap::new();
        for target in &config.targets {
            let same = self.config.targets.iter().find(|old| {
                old.name == target.name
                    && old.addresses == target.addresses
                    && old.family == target.family
                    && old.max_members == target.max_members
            });
            let kept = same.and_then(|_| self.members.remove(&target.name));
            let known = kept.unwrap_or_else(|| {
                let mut fresh = Members::new(target.max_members);
                let literal: Vec<IpAddr> = target
                    .addresses
                    .iter()
                    .filter_map(|address| match address {
                        Address::Ip(ip) => Some(*ip),
                        Address::Name(_) => None,
                    })
                    .collect();
                fresh.resolve(&literal);
                fresh
            });
            members.insert(target.name.clone(), known);
        }
        let old = std::mem::replace(&mut self.config, config);
        let gone = old.targets.iter().filter(|old| !members.contains_key(&old.name));
        let gone: Vec<_> = gone.map(|target| target.name.clone()).collect();
        self.members = members;
        self.rebuild(out);
        for name in gone {
            self.by_target.remove(&name);
            self.told.forget(&name);
            self.registry.remove_target(&name);
        }
    }

    /// Makes the series what configuration and members say.
    fn rebuild(&mut self, out: &mut Vec<Happening>) {
        let config = Arc::clone(&self.config);
        let now = self.driver.clock().now();
        let mut wanted = HashSet::new();
        for target in &config.targets {
            let slots: Vec<_> =
                self.members.get(&target.name).map(|m| m.slots().collect()).unwrap_or_default();
            for (member, address) in slots {
                let info = MemberInfo { address, ..MemberInfo::default() };
                let known = self.registry.target(&target.name).members();
                if !known.iter().any(|(slot, old)| *slot == member && old.address == address) {
                    self.registry.target_info(&target.name, member, Some(info));
                }
                for egress in &target.egress {
                    for spec in &target.probes {
                        let key = SeriesKey {
                            target: target.name.clone(),
                            member,
                            probe: spec.name.clone(),
                            egress: egress.clone(),
                        };
                        wanted.insert(key.clone());
                        self.place(&key, target, spec, address, now, out);
                    }
                }
            }
        }
        let gone: Vec<_> = self.by_key.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
        for key in gone {
            self.remove(&key, out);
            self.registry.remove(&key);
        }
        let members = |name: &str| self.members.get(name);
        self.sessions.rebuild(&config, members, &mut self.driver, &self.registry, out);
        let used: HashSet<IpAddr> =
            self.series.iter().flatten().filter_map(|series| series.address).collect();
        self.budget.retain(|address| used.contains(address), now);
        let tick = if self.schedule.rate() >= GATHER_FROM { TICK } else { Duration::ZERO };
        self.driver.set_tick(tick);
        for target in &config.targets {
            self.update_target(target);
        }
    }

    /// Makes one series, unless it is there already just so.
    fn place(
        &mut self,
        key: &SeriesKey,
        target: &Arc<Target>,
        spec: &Spec,
        address: Option<IpAddr>,
        now: Timestamp,
        out: &mut Vec<Happening>,
    ) {
        let egress = Arc::new(self.config.egress.get(&key.egress).cloned().unwrap_or_default());
        let known =
            self.by_key.get(key).and_then(|id| self.series.get_mut(id.0 as usize)).and_then(Option::as_mut);
        if let Some(series) = known
            && series.spec == *spec
            && series.address == address
            && series.egress == egress
        {
            series.target = Arc::clone(target);
            series.metrics = self.registry.series(key.clone(), spec.kind, &self.config.buckets);
            if let Some(id) = self.by_key.get(key) {
                self.watch(*id, now);
            }
            return;
        }
        self.remove(key, out);
        let flow = address.map(|address| {
            let kind: Flow = spec.kind.flow;
            self.driver.open(address, spec.port, kind, Arc::clone(&egress))
        });
        self.incarnations += 1;
        let forms = (spec.kind.forms)(spec);
        let metrics = self.registry.series(key.clone(), spec.kind, &self.config.buckets);
        let series = Series {
            target: Arc::clone(target),
            spec: spec.clone(),
            member: key.member,
            address,
            egress,
            egress_name: key.egress.clone(),
            flow,
            learner: Learner::new(forms),
            flows: Flows::default(),
            fresh: None,
            metrics,
            dpd: Arc::new([]),
            seq: 0,
            incarnation: self.incarnations,
        };
        let id = SeriesId(insert(&mut self.series, &mut self.free, series));
        self.by_key.insert(key.clone(), id);
        self.by_target.entry(key.target.clone()).or_default().push(id);
        self.watch(id, now);
        self.schedule.add(id, spec.interval, now, self.driver.entropy());
        for (form, _) in forms.iter().enumerate().filter(|(_, form)| form.rare) {
            let first = spec.full_interval.min(FIRST_RARE);
            let nanos = u64::try_from(first.as_nanos()).unwrap_or(u64::MAX);
            let at = now + Duration::from_nanos(self.driver.entropy().below(nanos));
            self.rare.push(Reverse(Appointment { at, series: id, form, incarnation: self.incarnations }));
        }
    }

    /// Has the collector watch a series as configured now.
    fn watch(&mut self, id: SeriesId, now: Timestamp) {
        let Some(series) = self.series.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let Series { target, spec, .. } = &*series;
        let profiles = target.dpd.as_ref().filter(|dpd| dpd.from == spec.name);
        let placed = Placed {
            about: About {
                target: target.name.clone(),
                member: series.member,
                address: series.address,
                probe: spec.name.clone(),
                kind: spec.kind.name,
                egress: series.egress_name.clone(),
                carrier: spec.kind.carrier,
                port: spec.port,
                interval: spec.interval,
                timeout: spec.timeout,
            },
            damping: self.config.flap,
            profiles: profiles.map(|dpd| Arc::clone(&dpd.profiles)).unwrap_or_default(),
        };
        self.collector.take(Input::Place { series: id, placed: &placed, now }, &mut self.found);
        series.dpd = series.metrics.dpd(placed.profiles.iter().map(|profile| profile.name.as_str()));
        if let Some(track) = self.collector.track(id) {
            for ((_, survival), metrics) in track.dpd().zip(series.dpd.iter()) {
                metrics.set_judged(survival.is_some());
            }
        }
        self.show(id, now, true);
    }

    /// Ends a series; its metrics stay for whoever takes the key.
    fn remove(&mut self, key: &SeriesKey, out: &mut Vec<Happening>) {
        let Some(id) = self.by_key.remove(key) else { return };
        let now = self.driver.clock().now();
        self.collector.take(Input::Remove { series: id, now }, &mut self.found);
        self.schedule.remove(id);
        self.free.push(id.0);
        if let Some(ids) = self.by_target.get_mut(&key.target) {
            ids.retain(|other| *other != id);
        }
        if let Some(series) = self.series.get_mut(id.0 as usize).and_then(Option::take) {
            for flow in series.flow.into_iter().chain(series.fresh) {
                self.driver.close(flow, out);
            }
        }
    }

    /// Lets exchanges clean up at their peers for a while, and ends.
    fn stop(mut self) -> io::Result<()> {
        let mut happenings = Vec::new();
        // Before the clean-up: the file is written meanwhile.
        self.save();
        self.feed = None;
        self.sessions.stop(&mut self.driver, &mut happenings);
        let deadline = self.driver.clock().now() + Duration::from_millis(1500);
        while self.driver.unfinished() > 0 && self.driver.clock().now() < deadline {
            self.driver.turn(deadline, &mut happenings)?;
            self.take(&mut happenings);
        }
        Ok(())
    }
}

/// Puts a value into a free slot, or a new one, and tells which.
fn insert<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(index) = free.pop()
        && let Some(slot) = slots.get_mut(index as usize)
    {
        *slot = Some(value);
        return index;
    }
    slots.push(Some(value));
    u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
}
