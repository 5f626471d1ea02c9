//! What the detectors know about one series, as metrics.
//!
//! Invariant: it follows the last sample that is evidence; time alone changes nothing.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use once_cell::race::OnceBox;

use super::families::{Family, Sink};
use super::histogram::{Bounds, Histogram};
use crate::detect::liveness::State;
use crate::detect::{Transition, Watch};
use crate::time::{Timestamp, WallTime};

/// Bounds of the share of losses in a window: one of twenty is 0.05, and all of them are above 0.99.
static LOSS_RATIO: LazyLock<Bounds> =
    LazyLock::new(|| Bounds::new(&[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.99]));
/// Bounds of rows of losses.
static LOSS_RUN: LazyLock<Bounds> =
    LazyLock::new(|| Bounds::new(&[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0]));
/// Bounds of outages, in seconds: where dead peer detection of one vendor or another gives up.
static OUTAGE: LazyLock<Bounds> = LazyLock::new(|| {
    Bounds::new(&[20.0, 30.0, 40.0, 60.0, 90.0, 120.0, 165.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0])
});

/// What the detectors know about one series. The engine writes, the web side reads.
#[derive(Debug)]
pub struct Detected {
    loss_ratio: Histogram,
    /// The state after hysteresis, and since when it holds, in nanoseconds.
    state: AtomicU8,
    since: AtomicU64,
    /// Bits of a double, not a number while it is unknown.
    jitter: AtomicU64,
    /// From the first loss on.
    trouble: OnceBox<Trouble>,
}

/// What most series never have.
#[derive(Debug)]
struct Trouble {
    loss_run: Histogram,
    outage: Histogram,
    flaps: AtomicU64,
    /// Bits of doubles.
    flap_penalty: AtomicU64,
    flap_percent: AtomicU64,
    /// Nanoseconds until it is stable again; [`u64::MAX`] if it is not flapping.
    stable_in: AtomicU64,
}

/// That of a series which never had any.
static NONE: LazyLock<Trouble> = LazyLock::new(Trouble::new);

impl Trouble {
    fn new() -> Self {
        Self {
            loss_run: Histogram::new(&LOSS_RUN),
            outage: Histogram::new(&OUTAGE),
            flaps: AtomicU64::new(0),
            flap_penalty: AtomicU64::new(0f64.to_bits()),
            flap_percent: AtomicU64::new(0f64.to_bits()),
            stable_in: AtomicU64::new(u64::MAX),
        }
    }
}

fn double(word: &AtomicU64) -> f64 {
    f64::from_bits(word.load(Relaxed))
}

impl Detected {
    pub(super) fn new() -> Self {
        Self {
            loss_ratio: Histogram::new(&LOSS_RATIO),
            state: AtomicU8::new(State::Unknown as u8),
            since: AtomicU64::new(0),
            jitter: AtomicU64::new(f64::NAN.to_bits()),
            trouble: OnceBox::new(),
        }
    }

    /// To read from.
    fn trouble(&self) -> &Trouble {
        self.trouble.get().unwrap_or(&NONE)
    }

    /// To write to.
    fn troubled(&self) -> &Trouble {
        self.trouble.get_or_init(|| Box::new(Trouble::new()))
    }

    /// Reads a little of all that a sample will change. The number says nothing.
    pub(super) fn fetch(&self) -> u64 {
        self.jitter.load(Relaxed)
    }

    /// Takes over what the detectors know at `at`.
    pub(super) fn watched(&self, watch: &Watch, at: Timestamp) {
        let (state, since) = watch.state();
        self.state.store(state as u8, Relaxed);
        self.since.store(since.as_nanos(), Relaxed);
        self.jitter.store(watch.jitter().unwrap_or(f64::NAN).to_bits(), Relaxed);
        let (penalty, percent) = (watch.flap().penalty(at), watch.percent_state_change());
        let stable_in = watch.flap().stable_in(at);
        if self.trouble.get().is_none() && penalty == 0.0 && percent == 0.0 && stable_in.is_none() {
            return;
        }
        let trouble = self.troubled();
        trouble.flap_penalty.store(penalty.to_bits(), Relaxed);
        trouble.flap_percent.store(percent.to_bits(), Relaxed);
        let nanos = |left: Duration| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX - 1);
        trouble.stable_in.store(stable_in.map_or(u64::MAX, nanos), Relaxed);
    }

    /// Counts what a detector told.
    pub(super) fn count(&self, transition: &Transition) {
        match *transition {
            Transition::LossWindow(window) => {
                // A plain number counts as that many seconds.
                self.loss_ratio.observe(Duration::from_secs(window.lost.into()) / window.sent.max(1));
            }
            Transition::LossRun(run) => {
                self.troubled().loss_run.observe(Duration::from_secs(run.length.into()))
            }
            Transition::OutageEnded { began, ended } => self.troubled().outage.observe(ended.since(began)),
            Transition::Flap { .. } => {
                self.troubled().flaps.fetch_add(1, Relaxed);
            }
            Transition::State { .. }
            | Transition::OutageBegan { .. }
            | Transition::FlappingBegan { .. }
            | Transition::FlappingEnded { .. } => {}
        }
    }

    /// The state after hysteresis, and since when it holds; nothing while it is unknown.
    pub fn state(&self) -> (State, Option<Timestamp>) {
        let state = State::ALL.get(usize::from(self.state.load(Relaxed))).copied().unwrap_or(State::Unknown);
        let since = Timestamp::from_nanos(self.since.load(Relaxed));
        (state, (state != State::Unknown).then_some(since))
    }

    /// The jitter in seconds; nothing before two answers in a row.
    pub fn jitter(&self) -> Option<f64> {
        Some(double(&self.jitter)).filter(|jitter| !jitter.is_nan())
    }

    /// The penalty for flaps.
    pub fn flap_penalty(&self) -> f64 {
        double(&self.trouble().flap_penalty)
    }

    /// How long until the series is stable again; nothing if it is not flapping.
    pub fn stable_in(&self) -> Option<Duration> {
        let stable_in = self.trouble().stable_in.load(Relaxed);
        (stable_in != u64::MAX).then(|| Duration::from_nanos(stable_in))
    }

    /// Gives what it has of a family.
    pub(super) fn collect<S: Sink>(&self, family: Family, created: WallTime, out: &mut S) {
        match family {
            Family::LossRatio => out.histogram(&[], &self.loss_ratio, created),
            Family::LossRun => out.histogram(&[], &self.trouble().loss_run, created),
            Family::Outage => out.histogram(&[], &self.trouble().outage, created),
            Family::Jitter => {
                if let Some(jitter) = self.jitter() {
                    out.number(&[], jitter);
                }
            }
            Family::Flaps => out.whole(&[], self.trouble().flaps.load(Relaxed)),
            Family::FlapPenalty => out.number(&[], self.flap_penalty()),
            Family::FlapPercent => out.number(&[], double(&self.trouble().flap_percent)),
            Family::Flapping => out.flag(&[], self.stable_in().is_some()),
            _ => {}
        }
    }
}
