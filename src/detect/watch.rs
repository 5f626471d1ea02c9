//! All detectors of one series, in their order: what comes in is samples, what comes out is what changed.
//!
//! Two questions are asked of each sample. Did an authentic reply come? Loss, outages and flaps go by
//! that: a concentrator that refuses is reached. Does the service answer without refusing? The state
//! goes by that.
//! Invariants: a sample that is no evidence changes nothing; what comes out depends on differences of
//! times only.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Order, Timing};
use super::flap::{Damped, Damping, Flap, Flapped, StateChange};
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

/// How a series is judged: nearly all alike, and so they share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Its timing.
    pub timing: Timing,
    /// What is an outage.
    pub outage: Thresholds,
    /// How its flaps are damped.
    pub damping: Damping,
}

/// The detectors of one series.
#[derive(Debug, Clone)]
pub struct Watch {
    rules: Arc<Rules>,
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
    degraded: Option<Box<Timestamp>>,
}

impl Watch {
    /// A pause this short breaks no row of results: a restart takes less.
    const SHORT: Duration = Duration::from_secs(60);
    /// Nor does one of so many intervals.
    const SHORT_INTERVALS: u32 = 3;

    /// Nothing is known, from `now` on, of a series with that interval and timeout.
    #[must_use]
    pub fn new(interval: Duration, timeout: Duration, damping: Damping, now: Timestamp) -> Self {
        let timing = Timing::new(interval, timeout);
        Self::by(Arc::new(Rules { timing, outage: Thresholds::OUTAGE, damping }), now)
    }

    /// Nothing is known, from `now` on, of a series that is judged by these rules.
    #[must_use]
    pub fn by(rules: Arc<Rules>, now: Timestamp) -> Self {
        let folds = Folds {
            loss: Loss::default(),
            jitter: Jitter::default(),
            serving: Liveness::new(now),
            reached: Liveness::new(now),
            flap: Flap::new(now),
            percent: StateChange::default(),
            degraded: None,
        };
        Self { rules, order: Order::default(), folds }
    }

    /// How it is judged.
    #[must_use]
    pub const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// How it was judged.
    #[must_use]
    pub fn into_rules(self) -> Arc<Rules> {
        self.rules
    }

    /// Is judged by these rules from now on; gives the ones before them back.
    pub fn set_rules(&mut self, rules: Arc<Rules>) -> Arc<Rules> {
        self.folds.flap.damp(&rules.damping);
        std::mem::replace(&mut self.rules, rules)
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
        let short = self.rules.timing.interval().saturating_mul(Self::SHORT_INTERVALS).max(Self::SHORT);
        let long = kept.loss.last().is_none_or(|last| now.since(last) > short);
        let Self { rules, folds, .. } = self;
        folds.loss = kept.loss;
        folds.jitter = kept.jitter;
        folds.serving.resume(kept.serving, long);
        folds.reached.resume(kept.reached, long);
        folds.flap.resume(kept.flap, long, &rules.damping);
        folds.percent = kept.percent;
        folds.degraded = kept.degraded;
    }

    /// Takes a sample in, and appends what changed to `out`.
    pub fn observe(&mut self, sample: &Sample, out: &mut Vec<Transition>) {
        let Some(evidence) = Evidence::of(sample) else { return };
        let Self { rules, order, folds } = self;
        order.put(rules.timing, evidence, sample.done, |evidence| folds.fold(rules, &evidence, out));
    }

    /// Reads a little of each part. The number says nothing.
    pub(super) fn fetch(&self) -> u64 {
        let Folds { loss, serving, reached, jitter, percent, .. } = &self.folds;
        let last = loss.last().map_or(0, Timestamp::as_nanos);
        let states = serving.state().1.as_nanos() ^ reached.state().1.as_nanos();
        let ends = percent.fetch() ^ jitter.seconds().map_or(0, f64::to_bits);
        last ^ states ^ ends
    }

    /// The state, and since when it holds.
    #[must_use]
    pub fn state(&self) -> (State, Timestamp) {
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
    pub fn flap(&self) -> Damped<'_> {
        Damped { flap: &self.folds.flap, damping: &self.rules.damping }
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
            && self.degraded.as_ref().is_none_or(|since| **since <= now)
    }

    fn state(&self) -> (State, Timestamp) {
        match (self.serving.state(), &self.degraded) {
            ((State::Up, _), Some(since)) => (State::Degraded, **since),
            (state, _) => state,
        }
    }

    fn fold(&mut self, rules: &Rules, evidence: &Evidence, out: &mut Vec<Transition>) {
        let Evidence { at, received, explicit, .. } = *evidence;
        let (from, _) = self.state();
        self.jitter.observe(evidence.form, evidence.rtt.filter(|_| evidence.serving));
        self.percent.observe(received);
        let (window, run) = self.loss.observe(rules.timing.interval(), received, at);
        out.extend(run.map(Transition::LossRun));
        out.extend(window.map(Transition::LossWindow));

        if self.serving.observe(&rules.outage, evidence.serving, explicit, at).is_some() {
            self.degraded = None;
        } else if let Some(window) = window {
            self.judge(&window);
        }
        let (to, since) = self.state();
        if from != to {
            out.push(Transition::State { from, to, since });
        }
        let (_, began) = self.reached.state();
        if let Some(before) = self.reached.observe(&rules.outage, received, explicit, at) {
            match (before, self.reached.state()) {
                (_, (State::Down, since)) => out.push(Transition::OutageBegan { since }),
                (State::Down, (_, ended)) => out.push(Transition::OutageEnded { began, ended }),
                _ => {}
            }
        }
        self.flap.observe(&rules.damping, received, explicit, at, |flapped| {
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
            self.degraded.get_or_insert_with(|| Box::new(began));
        } else if lost < sent.div_ceil(4) {
            self.degraded = None;
        }
    }
}

#[cfg(test)]
mod tests;
