//! Whether a probe, and a target, is up: hysteresis over a span of time, not over a count.
//!
//! Faster probing must not mean faster false alarms: a burst of loss kills five samples of a fast probe
//! and one of a slow one, and is the same burst. Nor must slower probing: two losses a minute apart are
//! chance, at 1 % fifty times a year. So a row of losses must be both long and many.
//! Invariant: a state changes only on evidence that spans [`Thresholds`], and never on a sample of ours.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// How much evidence changes a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// From the first to the last of an unbroken row of failures.
    pub down: Duration,
    /// How many of them, if they are silence; an explicit "no" is worth three.
    pub misses: u32,
    /// From the first to the last of an unbroken row of successes.
    pub up: Duration,
}

impl Thresholds {
    /// For a state that is shown and alarmed on. Five failures of a probe each 5 s: an outage of 25 s is
    /// told within 27 s. Five losses in a row are chance twice a year at 5 %, and never at 1 %.
    pub const OUTAGE: Self = Self { down: Duration::from_secs(20), misses: 5, up: Duration::from_secs(10) };
    /// For what only several in a row can raise an alarm: a flap.
    pub const BLIP: Self = Self { down: Duration::from_secs(10), misses: 3, up: Duration::from_secs(10) };
    /// What an explicit "no" is worth in misses: it is no chance, and two of them are enough.
    const EXPLICIT: u32 = 3;
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::OUTAGE
    }
}

/// An unbroken row of results.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Row {
    good: bool,
    first: Timestamp,
    last: Timestamp,
    weight: u32,
}

/// The state of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Liveness {
    state: State,
    since: Timestamp,
    /// What speaks against the state: nothing, nearly always. A row that agrees with it decides nothing.
    row: Option<Box<Row>>,
}

impl Liveness {
    /// Nothing is known, from `now` on.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { state: State::Unknown, since: now, row: None }
    }

    /// Goes on from what was kept. With a long pause between, a row that had not yet made a state is not
    /// carried over it.
    pub(super) fn resume(&mut self, kept: Self, long: bool) {
        *self = Self { row: kept.row.filter(|_| !long), ..kept };
    }

    /// Whether this can have been so at `now`.
    pub(super) fn plausible(&self, now: Timestamp) -> bool {
        let row = self.row.as_ref().is_none_or(|row| row.first <= row.last && row.last <= now);
        row && self.since <= now && self.state != State::Degraded
    }

    /// The state (up, down or unknown) and since when it holds.
    #[must_use]
    pub const fn state(&self) -> (State, Timestamp) {
        (self.state, self.since)
    }

    /// Takes in whether the probe due at `at` was good, and if not, whether that was said; tells the
    /// state before this if it changed.
    pub fn observe(
        &mut self,
        thresholds: &Thresholds,
        good: bool,
        explicit: bool,
        at: Timestamp,
    ) -> Option<State> {
        if matches!((self.state, good), (State::Up, true) | (State::Down, false)) {
            self.row = None;
            return None;
        }
        let weight = if explicit && !good { Thresholds::EXPLICIT } else { 1 };
        let new = Row { good, first: at, last: at, weight };
        let row = match &mut self.row {
            Some(row) if row.good == good => {
                // Two exchanges of one slot are one piece of evidence.
                if at > row.last {
                    row.last = at;
                    row.weight = row.weight.saturating_add(weight);
                }
                **row
            }
            row => **row.insert(Box::new(new)),
        };
        let span = row.last.since(row.first);
        let next = match (self.state, good) {
            (State::Unknown, true) => State::Up,
            (State::Down, true) if span >= thresholds.up => State::Up,
            (State::Up | State::Unknown, false)
                if span >= thresholds.down && row.weight >= thresholds.misses =>
            {
                State::Down
            }
            _ => return None,
        };
        let before = std::mem::replace(&mut self.state, next);
        self.since = row.first;
        self.row = None;
        Some(before)
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
    use super::*;

    /// Plays results: `o` good, `.` silence, `x` an explicit no, a space is a slot without evidence.
    fn play(liveness: &mut Liveness, step_ms: u64, results: &str) -> Vec<(u64, State)> {
        let mut changes = Vec::new();
        for (result, n) in results.chars().zip(0..) {
            let at = step_ms * n;
            if result != ' '
                && liveness
                    .observe(&Thresholds::OUTAGE, result == 'o', result == 'x', Timestamp::from_millis(at))
                    .is_some()
            {
                changes.push((at, liveness.state().0));
            }
        }
        changes
    }

    fn outage() -> Liveness {
        Liveness::new(Timestamp::ZERO)
    }

    #[test]
    fn five_failures_at_five_seconds_are_an_outage_that_began_with_the_first() {
        let mut liveness = outage();
        assert_eq!(play(&mut liveness, 5000, "o....."), [(0, State::Up), (25_000, State::Down)]);
        assert_eq!(liveness.state(), (State::Down, Timestamp::from_secs(5)));
    }

    #[test]
    fn fast_probing_does_not_hurry_the_verdict() {
        let results = format!("o{}o", ".".repeat(200));
        assert_eq!(play(&mut outage(), 100, &results), [(0, State::Up)]);
        let results = format!("o{}", ".".repeat(201));
        assert_eq!(play(&mut outage(), 100, &results), [(0, State::Up), (20_100, State::Down)]);
    }

    #[test]
    fn slow_probing_needs_five_losses_as_well_and_two_refusals() {
        assert_eq!(play(&mut outage(), 60_000, "o....o"), [(0, State::Up)]);
        assert_eq!(play(&mut outage(), 60_000, "o....."), [(0, State::Up), (300_000, State::Down)]);
        assert_eq!(play(&mut outage(), 60_000, "oxx"), [(0, State::Up), (120_000, State::Down)]);
    }

    #[test]
    fn up_again_takes_ten_good_seconds() {
        let mut liveness = outage();
        let changes = play(&mut liveness, 5000, ".....oo.ooo");
        assert_eq!(changes, [(20_000, State::Down), (50_000, State::Up)]);
        assert_eq!(liveness.state(), (State::Up, Timestamp::from_secs(40)));
    }

    #[test]
    fn two_exchanges_of_one_slot_are_one_piece_of_evidence() {
        let mut liveness = outage();
        for at in [0, 0, 60, 60, 120] {
            let told = liveness.observe(&Thresholds::OUTAGE, false, false, Timestamp::from_secs(at));
            assert_eq!(told, None);
        }
    }

    #[test]
    fn a_slot_without_evidence_is_neither_good_nor_bad() {
        assert_eq!(play(&mut outage(), 5000, "o.. ..  ."), [(0, State::Up), (40_000, State::Down)]);
    }
}
