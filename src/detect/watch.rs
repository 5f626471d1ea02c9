//! All detectors of one series, in their order: what comes in is samples, what comes out is what changed.
//!
//! Two questions are asked of each sample. Did an authentic reply come? Loss, outages and flaps go by
//! that: a concentrator that refuses is reached. Does the service answer without refusing? The state
//! goes by that.
//! Invariants: a sample that is no evidence changes nothing; what comes out depends on differences of
//! times only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Order};
use super::flap::{Damping, Flap, Flapped, StateChange};
use super::jitter::Jitter;
use super::liveness::{Liveness, State, Thresholds};
use super::loss::{Loss, LossRun, LossWindow};
use crate::sample::Sample;
use crate::time::Timestamp;

/// What changed. Times are due times of the schedule: a state is dated back to the first sample that
/// speaks for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transition {
    /// Another state.
    State {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Since when.
        since: Timestamp,
    },
    /// No reply comes any more.
    OutageBegan {
        /// When the first probe without a reply was due.
        since: Timestamp,
    },
    /// Replies come again.
    OutageEnded {
        /// When the first probe without a reply was due.
        began: Timestamp,
        /// When the first probe with a reply after it was due.
        ended: Timestamp,
    },
    /// The service fell silent (`down`) or came back, if only for a moment: it counts as one flap.
    Flap {
        /// Which of the two.
        down: bool,
        /// Since when.
        since: Timestamp,
    },
    /// There were many flaps in a short time.
    FlappingBegan {
        /// How long until it counts as stable again, if nothing more happens.
        stable_in: Duration,
    },
    /// Flaps are long enough ago.
    FlappingEnded {
        /// Since when.
        at: Timestamp,
    },
    /// A window of loss is over.
    LossWindow(LossWindow),
    /// A row of losses is over.
    LossRun(LossRun),
}

/// The detectors of one series.
#[derive(Debug, Clone)]
pub struct Watch {
    order: Order,
    folds: Folds,
}

/// What folds evidence that is in order; all of a watch that is kept over a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Folds {
    loss: Loss,
    jitter: Jitter,
    serving: Liveness,
    reached: Liveness,
    flap: Flap,
    percent: StateChange,
    /// Since when much is lost, though it is up.
    degraded: Option<Timestamp>,
}

impl Watch {
    /// A pause this short breaks no row of results: a restart takes less.
    const SHORT: Duration = Duration::from_secs(60);
    /// Nor does one of so many intervals.
    const SHORT_INTERVALS: u32 = 3;

    /// Nothing is known, from `now` on, of a series with that interval and timeout.
    #[must_use]
    pub fn new(interval: Duration, timeout: Duration, damping: Damping, now: Timestamp) -> Self {
        let folds = Folds {
            loss: Loss::new(interval),
            jitter: Jitter::default(),
            serving: Liveness::new(Thresholds::OUTAGE, now),
            reached: Liveness::new(Thresholds::OUTAGE, now),
            flap: Flap::new(damping, now),
            percent: StateChange::default(),
            degraded: None,
        };
        Self { order: Order::new(interval, timeout), folds }
    }

    /// What is to be kept over a restart. Evidence that is held back is not: what it waits for will
    /// never be known.
    #[must_use]
    pub fn kept(&self) -> Folds {
        self.folds.clone()
    }

    /// Goes on from what was kept, after a pause: a hole in the evidence, and no more. The state, the
    /// outage and the penalty hold on; a row of results that had not yet made a state does so over a
    /// short pause only.
    pub fn resume(&mut self, kept: Folds, now: Timestamp) {
        // How long nothing may be known within a row of results.
        let short = self.order.interval().saturating_mul(Self::SHORT_INTERVALS).max(Self::SHORT);
        let long = kept.loss.last().is_none_or(|last| now.since(last) > short);
        let folds = &mut self.folds;
        folds.loss.resume(kept.loss);
        folds.jitter = kept.jitter;
        folds.serving.resume(kept.serving, long);
        folds.reached.resume(kept.reached, long);
        folds.flap.resume(kept.flap, long);
        folds.percent = kept.percent;
        folds.degraded = kept.degraded;
    }

    /// Takes a sample in, and appends what changed to `out`.
    pub fn observe(&mut self, sample: &Sample, out: &mut Vec<Transition>) {
        let Some(evidence) = Evidence::of(sample) else { return };
        let Self { order, folds, .. } = self;
        order.put(evidence, sample.done, |evidence| folds.fold(&evidence, out));
    }

    /// Reads a little of each part. The number says nothing.
    pub(super) fn fetch(&self) -> u64 {
        let Folds { loss, serving, reached, percent, degraded, .. } = &self.folds;
        let last = loss.last().map_or(0, Timestamp::as_nanos);
        let states = serving.state().1.as_nanos() ^ reached.state().1.as_nanos();
        let ends = percent.percent().to_bits() ^ degraded.map_or(0, Timestamp::as_nanos);
        last ^ states ^ ends
    }

    /// Tells outages by other thresholds from now on.
    pub fn set_outage(&mut self, outage: Thresholds) {
        self.folds.serving.set_thresholds(outage);
        self.folds.reached.set_thresholds(outage);
    }

    /// Damps flaps otherwise from now on.
    pub fn set_damping(&mut self, damping: Damping) {
        self.folds.flap.set_damping(damping);
    }

    /// The state, and since when it holds.
    #[must_use]
    pub const fn state(&self) -> (State, Timestamp) {
        self.folds.state()
    }

    /// Since when no reply has come, if that is an outage.
    #[must_use]
    pub fn outage(&self) -> Option<Timestamp> {
        let (state, since) = self.folds.reached.state();
        (state == State::Down).then_some(since)
    }

    /// The jitter in seconds; nothing before two answers in a row.
    #[must_use]
    pub const fn jitter(&self) -> Option<f64> {
        self.folds.jitter.seconds()
    }

    /// The flap detector: its penalty, and how long until the series is stable again.
    #[must_use]
    pub const fn flap(&self) -> &Flap {
        &self.folds.flap
    }

    /// Nagios' percent of state changes over the last 21 results.
    #[must_use]
    pub fn percent_state_change(&self) -> f64 {
        self.folds.percent.percent()
    }
}

impl Folds {
    /// A share of a window needs this many probes; its quarter and half are the thresholds.
    const DEGRADED_PROBES: u32 = 10;

    /// Whether this can have been so at `now`: what was kept comes from a file.
    #[must_use]
    pub fn plausible(&self, now: Timestamp) -> bool {
        self.loss.plausible(now)
            && self.jitter.plausible()
            && self.serving.plausible(now)
            && self.reached.plausible(now)
            && self.flap.plausible(now)
            && self.degraded.is_none_or(|since| since <= now)
    }

    const fn state(&self) -> (State, Timestamp) {
        match (self.serving.state(), self.degraded) {
            ((State::Up, _), Some(since)) => (State::Degraded, since),
            (state, _) => state,
        }
    }

    fn fold(&mut self, evidence: &Evidence, out: &mut Vec<Transition>) {
        let Evidence { at, received, explicit, .. } = *evidence;
        let (from, _) = self.state();
        self.jitter.observe(evidence.form, evidence.rtt.filter(|_| evidence.serving));
        self.percent.observe(received);
        let (window, run) = self.loss.observe(received, at);
        out.extend(run.map(Transition::LossRun));
        out.extend(window.map(Transition::LossWindow));

        if self.serving.observe(evidence.serving, explicit, at).is_some() {
            self.degraded = None;
        } else if let Some(window) = window {
            self.judge(&window);
        }
        let (to, since) = self.state();
        if from != to {
            out.push(Transition::State { from, to, since });
        }
        let (_, began) = self.reached.state();
        if let Some(before) = self.reached.observe(received, explicit, at) {
            match (before, self.reached.state()) {
                (_, (State::Down, since)) => out.push(Transition::OutageBegan { since }),
                (State::Down, (_, ended)) => out.push(Transition::OutageEnded { began, ended }),
                _ => {}
            }
        }
        self.flap.observe(received, explicit, at, |flapped| {
            out.push(match flapped {
                Flapped::Change { down, since } => Transition::Flap { down, since },
                Flapped::Began { stable_in } => Transition::FlappingBegan { stable_in },
                Flapped::Ended { at } => Transition::FlappingEnded { at },
            });
        });
    }

    /// Half of a window lost is degraded; less than a quarter is not. A window in which the state
    /// changed has told what it had to tell.
    fn judge(&mut self, window: &LossWindow) {
        let (_, since) = self.serving.state();
        let LossWindow { began, sent, lost } = *window;
        if began < since || sent < Self::DEGRADED_PROBES {
            return;
        }
        if lost >= sent.div_ceil(2) {
            self.degraded.get_or_insert(began);
        } else if lost < sent.div_ceil(4) {
            self.degraded = None;
        }
    }
}

#[cfg(test)]
mod tests;
