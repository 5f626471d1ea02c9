//! Loss as it hurts: the share lost in each window of time, and how many were lost in a row.
//!
//! A percentage over a day hides what ends a call. The window is the one that Teams and its like are
//! judged by, 15 s, but holds 20 probes at the least: a share of fewer says nothing.
//! Invariants: a window in which nothing was sent does not exist; a run never reaches over a hole of
//! our own, so that a stall is never a burst.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Timestamp, nanos};

/// A window that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossWindow {
    /// When it began.
    pub began: Timestamp,
    /// Probes that are evidence; never zero.
    pub sent: u32,
    /// Those of them that no authentic reply came to.
    pub lost: u32,
}

impl LossWindow {
    /// The share that was lost, from 0 to 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent.max(1))
    }
}

/// A row of losses that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossRun {
    /// When the first of them was due.
    pub began: Timestamp,
    /// How many; never zero.
    pub length: u32,
}

/// The windows and runs of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loss {
    /// Nanoseconds.
    #[serde(skip)]
    interval: u64,
    window: Option<LossWindow>,
    run: Option<LossRun>,
    /// The evidence before this, and how long after its own predecessor it came.
    last: Option<(Timestamp, Duration)>,
}

impl Loss {
    const SHORTEST: Duration = Duration::from_secs(15);
    const PROBES: u32 = 20;

    /// For a series of that interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let interval = nanos(interval);
        Self { interval, window: None, run: None, last: None }
    }

    /// Goes on from what was kept.
    pub(super) fn resume(&mut self, kept: Self) {
        *self = Self { interval: self.interval, ..kept };
    }

    /// Whether this can have been so at `now`.
    pub(super) fn plausible(&self, now: Timestamp) -> bool {
        let window = self.window.is_none_or(|window| window.began <= now && window.lost <= window.sent);
        let last = self.last.is_none_or(|(at, gap)| at <= now && gap <= now.since(Timestamp::ZERO));
        window && last && self.run.is_none_or(|run| run.began <= now)
    }

    /// When the last evidence was due.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last.map(|(at, _)| at)
    }

    fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How long a window is.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.interval().saturating_mul(Self::PROBES).max(Self::SHORTEST)
    }

    /// Takes the fate of a probe in; tells the window and the run that ended with it.
    pub fn observe(&mut self, received: bool, at: Timestamp) -> (Option<LossWindow>, Option<LossRun>) {
        let window = self.count(received, at);
        let interval = self.interval();
        // Probes that are held back come at a distance of their own, regularly; a hole is something else.
        let hole = self.last.is_some_and(|(last, usual)| at.since(last) > usual.max(interval) * 3 / 2);
        let gap = self.last.map_or(interval, |(last, _)| at.since(last));
        self.last = Some((at, gap));
        let over = self.run.take_if(|_| received || hole);
        if !received {
            let run = self.run.get_or_insert(LossRun { began: at, length: 0 });
            run.length = run.length.saturating_add(1);
        }
        (window, over)
    }

    fn count(&mut self, received: bool, at: Timestamp) -> Option<LossWindow> {
        let length = self.window();
        let over = self.window.take_if(|window| at.since(window.began) >= length);
        let began = match over {
            // Windows follow each other without gaps, whatever the first probe of one is.
            Some(over) => {
                let nanos = length.as_nanos().max(1);
                let windows = at.since(over.began).as_nanos() / nanos;
                over.began + Duration::from_nanos(u64::try_from(windows * nanos).unwrap_or(u64::MAX))
            }
            None => at,
        };
        let window = self.window.get_or_insert(LossWindow { began, sent: 0, lost: 0 });
        window.sent = window.sent.saturating_add(1);
        window.lost = window.lost.saturating_add(u32::from(!received));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_window_is_15_s_and_at_least_20_probes() {
        for (interval, window) in [(100, 15_000), (750, 15_000), (1000, 20_000), (5000, 100_000)] {
            let loss = Loss::new(Duration::from_millis(interval));
            assert_eq!(loss.window(), Duration::from_millis(window));
        }
    }

    #[test]
    fn windows_follow_each_other_and_empty_ones_do_not_exist() {
        let mut loss = Loss::new(Duration::from_secs(1));
        let mut windows = Vec::new();
        // Silence of our own from 30 s to 70 s.
        for at in (0..30).chain(70..90) {
            windows.extend(loss.observe(!(10..15).contains(&at), secs(at)).0);
        }
        let window = |began, sent, lost| LossWindow { began: secs(began), sent, lost };
        assert_eq!(windows, [window(0, 20, 5), window(20, 10, 0), window(60, 10, 0)]);
        assert!((windows[0].ratio() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_run_is_told_once_with_its_length_and_never_across_a_hole() {
        let mut loss = Loss::new(Duration::from_secs(1));
        let mut runs = Vec::new();
        let lost = |at: u64| matches!(at, 3..=5 | 8 | 12..=13);
        // The slots 14 to 19 are missing.
        for at in (0..14).chain(20..24) {
            runs.extend(loss.observe(!(lost(at) || at == 20), secs(at)).1);
        }
        let run = |began, length| LossRun { began: secs(began), length };
        assert_eq!(runs, [run(3, 3), run(8, 1), run(12, 2), run(20, 1)]);
    }

    #[test]
    fn probes_that_are_held_back_regularly_make_one_run() {
        let mut loss = Loss::new(Duration::from_secs(5));
        let mut runs = Vec::new();
        for n in 0..10 {
            runs.extend(loss.observe(!(3..7).contains(&n), secs(60 * n)).1);
        }
        assert_eq!(runs, [LossRun { began: secs(180), length: 4 }]);
    }
}
