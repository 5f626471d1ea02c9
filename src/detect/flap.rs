//! Flapping: damping after RFC 2439, sections 2.2 and 4, and beside it Nagios' percent of state changes.
//!
//! ```text
//!  penalty        /|             each time the service falls silent or comes back: +1000
//!  suppress ─ ─ /|/ |\ ─ ─ ─ ─   flapping begins
//!             /  |    `-._       halves every half-life
//!  reuse ─ ─ ─ ─ ─ ─ ─ ─ ─`-._   flapping ends
//! ```
//!
//! Time decides, not the count of probes, so that series of different intervals agree. At the defaults
//! three changes never reach `suppress`, four within ten minutes do, and 3000 is down to 750 after two
//! half-lives: 30 minutes.
//! Invariant: penalties depend on differences of times only; a change counts from when it began, not
//! from when there was evidence enough to tell.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::liveness::{Liveness, State, Thresholds};
use crate::time::Timestamp;

/// How flaps are damped. `reuse < suppress <= ceiling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Damping {
    /// After this long without a change half of the penalty is left.
    pub half_life: Duration,
    /// From this penalty on a series is flapping.
    pub suppress: u32,
    /// Below this penalty it is no longer.
    pub reuse: u32,
    /// No penalty is higher; so it takes at most `half_life · log2(ceiling / reuse)` to be stable again.
    pub ceiling: u32,
}

impl Default for Damping {
    /// The half-life and the reuse threshold that routers have, with the higher of the two thresholds
    /// in use; the ceiling makes an hour the longest (RFC 2439, section 4.2; RFC 7196).
    fn default() -> Self {
        Self { half_life: Duration::from_secs(900), suppress: 3000, reuse: 750, ceiling: 12_000 }
    }
}

/// What a flap detector tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flapped {
    /// The service fell silent (`down`) or came back: one flap.
    Change {
        /// Which of the two.
        down: bool,
        /// Since when.
        since: Timestamp,
    },
    /// The penalty reached `suppress`.
    Began {
        /// How long until it is stable again, if nothing more happens.
        stable_in: Duration,
    },
    /// The penalty fell below `reuse`.
    Ended {
        /// When it did.
        at: Timestamp,
    },
}

/// The flap detector of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Flap {
    changes: Liveness,
    /// When the penalty was what it is said to be.
    at: Timestamp,
    /// Nothing before the first change, and so for most.
    raised: Option<Box<Raised>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Raised {
    penalty: f64,
    /// Until when it is flapping.
    until: Option<Timestamp>,
}

/// What is kept of it over a restart: all, spelt out.
#[derive(Serialize, Deserialize)]
struct Kept {
    changes: Liveness,
    penalty: (f64, Timestamp),
    until: Option<Timestamp>,
}

impl From<Kept> for Flap {
    fn from(Kept { changes, penalty: (penalty, at), until }: Kept) -> Self {
        let raised = (penalty != 0.0 || until.is_some()).then(|| Box::new(Raised { penalty, until }));
        Self { changes, at, raised }
    }
}

impl From<Flap> for Kept {
    fn from(flap: Flap) -> Self {
        let Raised { penalty, until } = flap.raised();
        Self { changes: flap.changes, penalty: (penalty, flap.at), until }
    }
}

impl Flap {
    /// The penalty of one change.
    pub const CHANGE: u32 = 1000;
    /// No ceiling is above this.
    const HIGHEST: f64 = 1e6;

    /// No penalty, from `now` on.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { changes: Liveness::new(now), at: now, raised: None }
    }

    fn raised(&self) -> Raised {
        self.raised.as_deref().copied().unwrap_or_default()
    }

    /// Is damped so from now on; the penalty stays.
    pub fn damp(&mut self, damping: &Damping) {
        let at = self.at;
        if let Some(raised) = &mut self.raised
            && raised.until.is_some()
        {
            raised.until = Some(damping.calm_at(raised.penalty, at));
        }
    }

    /// Goes on from what was kept, damped as configured now.
    pub(super) fn resume(&mut self, kept: Self, long: bool, damping: &Damping) {
        self.changes.resume(kept.changes, long);
        (self.at, self.raised) = (kept.at, kept.raised);
        self.damp(damping);
    }

    /// Whether this can have been so at `now`.
    pub(super) fn plausible(&self, now: Timestamp) -> bool {
        let Raised { penalty, .. } = self.raised();
        self.changes.plausible(now) && self.at <= now && (0.0..=Self::HIGHEST).contains(&penalty)
    }

    /// The penalty at a time.
    #[must_use]
    pub fn penalty(&self, damping: &Damping, at: Timestamp) -> f64 {
        damping.left(self.raised().penalty, at.since(self.at))
    }

    /// How long until it is stable again, if nothing more happens; nothing if it is not flapping.
    #[must_use]
    pub fn stable_in(&self, at: Timestamp) -> Option<Duration> {
        self.raised().until.map(|until| until.since(at))
    }

    /// Takes in whether the probe due at `at` was answered, and if not, whether that was said.
    pub fn observe(
        &mut self,
        damping: &Damping,
        received: bool,
        explicit: bool,
        at: Timestamp,
        mut each: impl FnMut(Flapped),
    ) {
        let over = self.raised.as_mut().and_then(|raised| raised.until.take_if(|until| *until <= at));
        if let Some(until) = over {
            each(Flapped::Ended { at: until });
        }
        // What a series is found to be at first is no change.
        let before = self.changes.observe(&Thresholds::BLIP, received, explicit, at);
        if let Some(State::Up | State::Down) = before {
            let (state, since) = self.changes.state();
            let raised = self.raised.get_or_insert_default();
            let penalty = damping.left(raised.penalty, since.since(self.at)) + f64::from(Self::CHANGE);
            raised.penalty = penalty.min(f64::from(damping.ceiling));
            self.at = since.max(self.at);
            each(Flapped::Change { down: state == State::Down, since });
            let flapping = raised.until.is_some();
            if flapping || damping.left(raised.penalty, at.since(self.at)) >= f64::from(damping.suppress) {
                raised.until = Some(damping.calm_at(raised.penalty, self.at));
            }
            if let (false, Some(until)) = (flapping, raised.until) {
                each(Flapped::Began { stable_in: until.since(at) });
            }
        }
    }
}

impl Damping {
    /// What is left of a penalty after that long.
    fn left(&self, penalty: f64, after: Duration) -> f64 {
        if penalty > 0.0 { penalty * (-after.div_duration_f64(self.half_life())).exp2() } else { 0.0 }
    }

    fn half_life(&self) -> Duration {
        self.half_life.max(Duration::from_secs(1))
    }

    /// When so high a penalty is low enough, if nothing more happens.
    fn calm_at(&self, penalty: f64, at: Timestamp) -> Timestamp {
        let half_lives = (penalty / f64::from(self.reuse.max(1))).log2().max(0.0);
        at + Duration::try_from_secs_f64(half_lives * self.half_life().as_secs_f64()).unwrap_or(Duration::MAX)
    }
}

/// A flap detector, and how it is damped.
#[derive(Debug, Clone, Copy)]
pub struct Damped<'a> {
    pub(super) flap: &'a Flap,
    pub(super) damping: &'a Damping,
}

impl Damped<'_> {
    /// See [`Flap::penalty`].
    #[must_use]
    pub fn penalty(&self, at: Timestamp) -> f64 {
        self.flap.penalty(self.damping, at)
    }

    /// See [`Flap::stable_in`].
    #[must_use]
    pub fn stable_in(&self, at: Timestamp) -> Option<Duration> {
        self.flap.stable_in(at)
    }
}

/// Nagios' percent of state changes: the last 21 results, the newest changes weighing most.
///
/// Source: Nagios Core `base/flapping.c`: change x of 20 (1 the oldest) weighs
/// `(x - 1) · 0.5 / 19 + 0.75`; the percentage is `100 · sum / 20`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct StateChange {
    /// The newest result in the lowest bit; nothing before the first.
    results: Option<u32>,
}

impl StateChange {
    /// Results that count.
    pub const RESULTS: u32 = 21;

    /// Takes a result in. Before the first, all were like it.
    pub fn observe(&mut self, good: bool) {
        let before = self.results.unwrap_or(if good { u32::MAX } else { 0 });
        self.results = Some(before << 1 | u32::from(good));
    }

    /// Reads it. The number says nothing.
    pub(super) fn fetch(self) -> u64 {
        self.results.unwrap_or(0).into()
    }

    /// The weighted share of changes, from 0 to 100.
    #[must_use]
    pub fn percent(self) -> f64 {
        let results = self.results.unwrap_or(0);
        let changes = (results ^ (results >> 1)) & ((1 << (Self::RESULTS - 1)) - 1);
        if changes == 0 {
            return 0.0;
        }
        let weight = |x: u32| f64::from(x - 1) * 0.5 / 19.0 + 0.75;
        let last = Self::RESULTS - 1;
        let sum: f64 = (0..last).filter(|bit| changes >> bit & 1 == 1).map(|bit| weight(last - bit)).sum();
        100.0 * sum / f64::from(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Probes each second; down in the given spans, which begin and end at changes.
    fn play(flap: &mut Flap, until: u64, down: &[(u64, u64)]) -> Vec<(u64, Flapped)> {
        let (mut seen, damping) = (Vec::new(), Damping::default());
        for at in 0..until {
            let received = !down.iter().any(|(from, to)| (*from..*to).contains(&at));
            flap.observe(&damping, received, false, secs(at), |flapped| seen.push((at, flapped)));
        }
        seen
    }

    fn flap() -> Flap {
        Flap::new(Timestamp::ZERO)
    }

    fn began(seen: &[(u64, Flapped)]) -> Vec<u64> {
        let began = |(at, flapped): &(u64, Flapped)| matches!(flapped, Flapped::Began { .. }).then_some(*at);
        seen.iter().filter_map(began).collect()
    }

    /// Two half-lives from 3000 to 750: 30 minutes at the defaults.
    #[test]
    fn the_vector_of_the_half_lives() {
        let damping = Damping::default();
        assert!((damping.left(3000.0, Duration::from_secs(1800)) - 750.0).abs() < 1e-9);
        assert_eq!(damping.calm_at(3000.0, secs(0)), secs(1800));
        assert!((damping.left(3000.0, Duration::from_secs(900)) - 1500.0).abs() < 1e-9);
    }

    #[test]
    fn three_changes_are_not_flapping_and_four_within_ten_minutes_are() {
        // The third change begins an outage that stays.
        assert_eq!(began(&play(&mut flap(), 3000, &[(100, 115), (130, 2000)])), [0_u64; 0]);
        assert_eq!(began(&play(&mut flap(), 3000, &[(100, 120), (680, 700)])), [710]);
        assert_eq!(began(&play(&mut flap(), 3000, &[(100, 120), (150, 170)])), [180]);
    }

    #[test]
    fn it_is_told_when_it_is_stable_again_and_then_it_is() {
        let mut flap = flap();
        let seen = play(&mut flap, 5000, &[(100, 120), (150, 170)]);
        let Some((at, Flapped::Began { stable_in })) = seen.get(4).copied() else { panic!("{seen:?}") };
        // 3905 at 170 s is down to 750 after 2.38 half-lives.
        assert!((stable_in.as_secs_f64() - (170.0 + 2.38 * 900.0 - 180.0)).abs() < 10.0, "{stable_in:?}");
        let Some((ended, Flapped::Ended { .. })) = seen.last().copied() else { panic!("{seen:?}") };
        assert_eq!(ended, at + stable_in.as_secs() + u64::from(stable_in.subsec_nanos() > 0));
        assert_eq!(seen.len(), 6);
        assert_eq!(flap.stable_in(secs(5000)), None);
    }

    #[test]
    fn the_penalty_has_a_ceiling_and_so_the_time_it_lasts() {
        let mut flap = flap();
        let down: Vec<_> = (0..100).map(|n| (100 + n * 60, 130 + n * 60)).collect();
        play(&mut flap, 6160, &down);
        assert!(flap.penalty(&Damping::default(), secs(6100)) <= 12_000.0);
        assert!(flap.stable_in(secs(6100)).unwrap() <= Duration::from_secs(3600));
    }

    #[test]
    fn the_first_state_is_no_change() {
        assert_eq!(play(&mut flap(), 60, &[]), []);
        assert_eq!(play(&mut flap(), 60, &[(0, 60)]), []);
    }

    /// Nagios Core, base/flapping.c, computed by hand: 6.25 for the newest change alone, 3.75 for the
    /// oldest, 100 for twenty; 20 % is crossed by the 4 newest or the 5 oldest, 30 % by 6 and by 8.
    #[test]
    fn nagios_vectors() {
        let percent = |changes: &dyn Fn(u32) -> bool| {
            let mut state = StateChange::default();
            let mut good = true;
            state.observe(good);
            for x in 1..=20 {
                good ^= changes(x);
                state.observe(good);
            }
            state.percent()
        };
        let near = |is: f64, should: f64| assert!((is - should).abs() < 5e-4, "{is} is not {should}");
        near(percent(&|_| false), 0.0);
        near(percent(&|x| x == 20), 6.25);
        near(percent(&|x| x == 1), 3.75);
        near(percent(&|_| true), 100.0);
        near(percent(&|x| x > 16), 24.211);
        near(percent(&|x| x <= 5), 20.066);
        near(percent(&|x| x > 14), 35.526);
        near(percent(&|x| x <= 8), 33.684);
    }
}
