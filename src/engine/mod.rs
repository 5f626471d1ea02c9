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
//! With `engine_threads` some of its drivers run in threads of their own (`net::Pool`).
//!
//! Invariants: no lock is taken on the way from a packet to its counter (but one for all that a turn of a driver in
//! another thread brought); nothing that comes out of a sample moves a due time; a reload keeps everything of a
//! series that did not change.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::budget::Budget;
use crate::config::{Config, Egress, Target};
use crate::detect::{Found, Track};
use crate::export::metrics::{DpdMetrics, Registry, SeriesKey, SeriesMetrics};
use crate::journal::{Intake, Recorder};
use crate::net::{Fence, Happening, Line, Pool, Tag, Waker};
use crate::probe::forms::Learner;
use crate::probe::stun::lifetime::LIFETIME;
use crate::probe::{Flow, Spec};
use crate::sample::{Fault, Outcome, Report, SeriesId};
use crate::schedule::{Schedule, Slot};
use crate::store::{Feed, Snapshot};
use crate::time::{Clock, Timestamp};

mod by_hand;
mod case;
pub mod flows;
mod fold;
mod heed;
mod inside;
pub mod members;
mod nat;
mod pairs;
pub mod paths;
mod place;
mod rare;
mod session;
pub mod survey;
mod told;
pub mod trace;
mod unsent;
mod yardstick;

use flows::Flows;
use inside::Insides;
use members::Members;
use nat::Nats;
use pairs::Pairs;
use paths::Paths;
use rare::Appointments;
use session::Sessions;
use told::Told;
use unsent::Held;

/// The longest sleep: commands and the sign of life wait no longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// strongSwan keeps a half-open session for 30 s; a program just started may have left one.
const RESTART_HOLD: Duration = Duration::from_secs(35);
/// How long the answer to a ping may lie where little is to be done; its time is the kernel's all the same.
const PATIENCE: Duration = Duration::from_millis(500);
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

    /// When the engine and all its drivers had last finished a turn: their sign of life.
    pub fn turned(&self) -> Timestamp {
        Timestamp::from_nanos(self.turned.load(Ordering::Relaxed))
    }
}

struct Series {
    target: Arc<Target>,
    spec: Arc<Spec>,
    member: u8,
    address: Option<IpAddr>,
    egress: Arc<Egress>,
    flow: Option<Line>,
    learner: Learner,
    flows: Flows,
    /// The fresh flow of the slot that runs now.
    fresh: Option<Line>,
    /// The box whose findings were heard last.
    heard: Option<IpAddr>,
    metrics: Arc<SeriesMetrics>,
    /// Those of its profiles of dead peer detection, in their places.
    dpd: Arc<[DpdMetrics]>,
    seq: u64,
}

/// Takes the answer to [`Command::Probe`].
pub type Reply = Box<dyn FnOnce(Result<(IpAddr, Report), String>) + Send>;

/// The engine. Made on any thread, run on one.
pub struct Engine {
    driver: Pool,
    schedule: Schedule,
    budget: Budget,
    registry: Registry,
    config: Arc<Config>,
    members: BTreeMap<String, Members>,
    series: Vec<Option<Box<Series>>>,
    free: Vec<u32>,
    /// Numbers of series that have gone, of which something may still be under way.
    leaving: Vec<(Fence, u32)>,
    by_key: HashMap<Arc<SeriesKey>, SeriesId>,
    by_target: HashMap<String, Vec<SeriesId>>,
    rare: Appointments,
    commands: mpsc::Receiver<Command>,
    handle: Handle,
    told: Told,
    by_hand: HashMap<(SeriesId, u64), Reply>,
    collector: Intake,
    /// What the collector found; empty between samples.
    found: Vec<Found>,
    /// Takes what is to outlive this process.
    feed: Option<Feed>,
    /// When it was last given all that is known, and when it is next.
    saved: (Timestamp, Timestamp),
    asked: u64,
    sessions: Sessions,
    insides: Insides,
    pairs: Pairs,
    paths: Paths,
    held: Held,
    /// The same of the rare forms, by name.
    held_rare: BTreeMap<&'static str, Held>,
    nats: Nats,
    /// Slots that are due; empty between turns.
    due: Vec<Slot>,
}

impl Engine {
    /// An engine without targets, under `config`'s budget once that is applied.
    #[must_use]
    pub fn new(driver: impl Into<Pool>, registry: Registry) -> Self {
        let driver = driver.into();
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
            leaving: Vec::new(),
            by_key: HashMap::new(),
            by_target: HashMap::new(),
            rare: Appointments::default(),
            commands,
            handle,
            told: Told::default(),
            by_hand: HashMap::new(),
            collector: Intake::default(),
            found: Vec::new(),
            feed: None,
            saved: (Timestamp::ZERO, Timestamp::FAR),
            asked: 0,
            sessions: Sessions::new(),
            insides: Insides::default(),
            pairs: Pairs::default(),
            paths: Paths::default(),
            held: Held::default(),
            held_rare: BTreeMap::new(),
            nats: Nats::default(),
            due: Vec::new(),
        }
    }

    /// Has it write down what its detectors see.
    pub fn record(&mut self, recorder: Recorder) {
        self.collector.record(recorder);
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
        self.collector.resume(knowledge);
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
            self.begin_due(now, &mut happenings);
            self.run_rare(now, &mut happenings);
            self.run_trials(now, &mut happenings);
            self.sessions.compare(now);
            self.tick(now);
            self.look(&mut happenings);
            if now >= self.saved.1 {
                self.save(false);
            }
            self.sessions.begin(self.driver.own(), &mut self.budget, &mut happenings);
            self.insides.begin(self.driver.own(), &mut self.budget, &mut happenings);
            self.take(&mut happenings);
            let mut until = now + LONGEST_SLEEP;
            until = self.schedule.next_due().map_or(until, |due| until.min(due));
            until = until.min(self.rare.next()).min(self.sessions.next()).min(self.collector.deadline());
            until = until.min(self.insides.next()).min(self.nats.next()).min(self.saved.1);
            let hurry = !self.by_hand.is_empty();
            self.driver.set_patience(if hurry { Duration::ZERO } else { PATIENCE });
            self.driver.turn(until, &mut happenings)?;
            self.take(&mut happenings);
            self.handle.turned.store(self.driver.turned().as_nanos(), Ordering::Relaxed);
        }
    }

    /// Begins all slots that are due.
    fn begin_due(&mut self, now: Timestamp, out: &mut Vec<Happening>) {
        let mut due = std::mem::take(&mut self.due);
        let by = self.driver.due_by(now);
        due.extend(std::iter::from_fn(|| self.schedule.pop(by)));
        self.fetch(due.iter().map(|slot| slot.series));
        for slot in due.drain(..) {
            self.slot(slot, out);
        }
        self.due = due;
    }

    /// Has what these series keep come into the caches, side by side: of ten thousand series nothing is
    /// there, and one piece after the other would be waited for.
    fn fetch(&self, series: impl Iterator<Item = SeriesId>) {
        let mut sum = 0;
        for id in series {
            if let Some(series) = self.series.get(id.0 as usize).and_then(Option::as_deref) {
                let track = self.collector.track(id).map_or(0, Track::fetch);
                let flow = series.flow.map_or(0, |flow| self.driver.fetch(flow));
                sum ^= series.seq ^ series.learner.fetch() ^ series.metrics.fetch() ^ track ^ flow;
                sum ^= series.spec.timeout.as_secs() ^ series.dpd.len() as u64 ^ u64::from(series.member);
                sum ^= u64::from(series.flows.doubtful());
                sum ^= series.address.map_or(0, |address| self.budget.fetch(address));
            }
        }
        std::hint::black_box(sum);
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
        let Some(series) = self.series.get_mut(slot.series.0 as usize).and_then(Option::as_deref_mut) else {
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
            let kind = (Flow::Fresh, series.spec.port);
            let fresh = self.driver.open(address, kind, &series.spec, &series.egress);
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

    fn take(&mut self, happenings: &mut Vec<Happening>) {
        let mut more = Vec::new();
        self.fetch(happenings.iter().filter_map(|happening| match happening {
            Happening::Done { tag, .. } => Some(tag.series),
            _ => None,
        }));
        for happening in happenings.drain(..) {
            match happening {
                Happening::Done { tag, .. } if Sessions::owns(tag.series) => {
                    self.sessions.ended(tag, self.driver.own(), &mut self.budget);
                }
                Happening::Done { tag, report, .. } if Insides::owns(tag.series) => {
                    self.insides.done(tag, report, self.driver.own(), &mut self.budget, &mut more);
                }
                Happening::Done { tag, report, .. } if tag.form == &LIFETIME => {
                    self.trial_done(tag, &report, &mut more);
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

    fn with(&self, id: SeriesId, act: impl FnOnce(&Series)) {
        if let Some(series) = self.series.get(id.0 as usize).and_then(Option::as_deref) {
            act(series);
        }
    }

    /// Lets exchanges clean up at their peers for a while, and ends.
    fn stop(mut self) -> io::Result<()> {
        let mut happenings = Vec::new();
        // Before the clean-up: the file is written meanwhile.
        self.save(true);
        self.feed = None;
        self.sessions.stop(self.driver.own(), &mut happenings);
        self.nats.stop(self.driver.own(), &mut happenings);
        self.driver.finish();
        let deadline = self.driver.clock().now() + Duration::from_millis(1500);
        while self.driver.unfinished() > 0 && self.driver.clock().now() < deadline {
            self.driver.turn(deadline, &mut happenings)?;
            self.take(&mut happenings);
        }
        Ok(())
    }
}
