//! Whether a probe, and a target, is up: hysteresis over a span of time, not over a count.
//!
//! Faster probing must not mean faster false alarms: a burst of loss kills five samples of a fast probe
//! and one of a slow one, and is the same burst.
//! Invariant: a state changes only on evidence that spans [`Thresholds`], and never on a sample of ours.

use std::time::Duration;

use crate::sample::{Outcome, Sample};
use crate::time::Timestamp;
use crate::words;

words! {
    /// The state of a probe or a target.
    pub enum State {
        /// It serves.
        Up = "up",
        /// Some of it serves.
        Degraded = "degraded",
        /// It does not serve.
        Down = "down",
        /// Nothing is known.
        Unknown = "unknown",
    }
}

/// How long evidence must span to change a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// From the first to the last of an unbroken row of failures.
    pub down: Duration,
    /// From the first to the last of an unbroken row of successes.
    pub up: Duration,
}

impl Default for Thresholds {
    /// Five failures of a probe each 5 s: an outage of 25 s is told within 27 s.
    fn default() -> Self {
        Self { down: Duration::from_secs(20), up: Duration::from_secs(10) }
    }
}

/// The state of one series.
#[derive(Debug, Clone)]
pub struct Liveness {
    thresholds: Thresholds,
    state: State,
    since: Timestamp,
    /// The unbroken row of results: whether good, when its first and how many.
    row: Option<(bool, Timestamp, u32)>,
}

impl Liveness {
    /// Nothing is known, from `now` on.
    #[must_use]
    pub const fn new(thresholds: Thresholds, now: Timestamp) -> Self {
        Self { thresholds, state: State::Unknown, since: now, row: None }
    }

    /// The state and since when it holds.
    #[must_use]
    pub const fn state(&self) -> (State, Timestamp) {
        (self.state, self.since)
    }

    /// Takes a sample in; tells the new state if it changed.
    pub fn observe(&mut self, sample: &Sample) -> Option<State> {
        let at = sample.sent.unwrap_or(sample.due);
        self.fold(sample.report.outcome, at)
    }

    fn fold(&mut self, outcome: Outcome, at: Timestamp) -> Option<State> {
        let good = outcome.serving()?;
        let (first, count) = match self.row {
            Some((same, first, count)) if same == good => (first, count + 1),
            _ => (at, 1),
        };
        self.row = Some((good, first, count));
        let span = at.since(first);
        let next = match (self.state, good) {
            (State::Unknown, true) => State::Up,
            (State::Down, true) if span >= self.thresholds.up => State::Up,
            (State::Up | State::Unknown, false) if span >= self.thresholds.down && count > 1 => State::Down,
            _ => return None,
        };
        self.state = next;
        self.since = first;
        Some(next)
    }
}

/// The state of a target from the states of its series that tell (not ping or trace, if others do).
#[must_use]
pub fn combine(states: impl IntoIterator<Item = State>) -> State {
    let (mut up, mut down) = (false, false);
    for state in states {
        match state {
            State::Up => up = true,
            State::Down => down = true,
            State::Degraded => (up, down) = (true, true),
            State::Unknown => {}
        }
    }
    match (up, down) {
        (true, false) => State::Up,
        (true, true) => State::Degraded,
        (false, true) => State::Down,
        (false, false) => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::{Fault, Reason};

    const LOST: Outcome = Outcome::Lost(Reason::NoAnswer);

    fn play(liveness: &mut Liveness, step_ms: u64, outcomes: &[Outcome]) -> Vec<(u64, State)> {
        let mut changes = Vec::new();
        for (n, outcome) in outcomes.iter().enumerate() {
            let at = step_ms * n as u64;
            if let Some(state) = liveness.fold(*outcome, Timestamp::from_millis(at)) {
                changes.push((at, state));
            }
        }
        changes
    }

    #[test]
    fn five_failures_at_five_seconds_are_an_outage_that_began_with_the_first() {
        let mut liveness = Liveness::new(Thresholds::default(), Timestamp::ZERO);
        let changes = play(&mut liveness, 5000, &[Outcome::OK, LOST, LOST, LOST, LOST, LOST]);
        assert_eq!(changes, [(0, State::Up), (25_000, State::Down)]);
        assert_eq!(liveness.state(), (State::Down, Timestamp::from_secs(5)));
    }

    #[test]
    fn fast_probing_does_not_hurry_the_verdict() {
        let mut liveness = Liveness::new(Thresholds::default(), Timestamp::ZERO);
        let mut outcomes = vec![Outcome::OK];
        outcomes.extend([LOST; 199]);
        outcomes.push(Outcome::OK);
        assert_eq!(play(&mut liveness, 100, &outcomes), [(0, State::Up)]);
    }

    proptest! {
        #[test]
        fn our_own_faults_change_nothing(
            script in prop::collection::vec((any::<bool>(), 0usize..3), 1..60)
        ) {
            let mut plain = Liveness::new(Thresholds::default(), Timestamp::ZERO);
            let mut faulty = Liveness::new(Thresholds::default(), Timestamp::ZERO);
            for (n, (good, faults)) in script.into_iter().enumerate() {
                let at = Timestamp::from_secs(5 * n as u64);
                for _ in 0..faults {
                    faulty.fold(Outcome::Unsent(Fault::Stalled), at);
                }
                let outcome = if good { Outcome::OK } else { LOST };
                prop_assert_eq!(plain.fold(outcome, at), faulty.fold(outcome, at));
            }
        }
    }
}
