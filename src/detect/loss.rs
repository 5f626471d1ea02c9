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
#[serde(from = "Kept", into = "Kept")]
pub struct Loss {
    /// Nothing was sent in it before the first evidence.
    window: LossWindow,
    /// The evidence before this; far before the first ...
    last: Timestamp,
    /// ... and how many nanoseconds after its own predecessor it came.
    usual: u64,
    run: Option<Box<LossRun>>,
}

/// What is kept of them over a restart: all, spelt out.
#[derive(Serialize, Deserialize)]
struct Kept {
    window: Option<LossWindow>,
    run: Option<LossRun>,
    last: Option<(Timestamp, Duration)>,
}

impl From<Kept> for Loss {
    fn from(Kept { window, run, last }: Kept) -> Self {
        let (last, usual) = last.unwrap_or((Timestamp::FAR, Duration::ZERO));
        let window = window.unwrap_or(Self::NO_WINDOW);
        Self { window, last, usual: nanos(usual), run: run.map(Box::new) }
    }
}

impl From<Loss> for Kept {
    fn from(loss: Loss) -> Self {
        let last = loss.last().map(|last| (last, Duration::from_nanos(loss.usual)));
        Self { window: loss.window().copied(), run: loss.run.map(|run| *run), last }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Kept { window: None, run: None, last: None }.into()
    }
}

impl Loss {
    const SHORTEST: Duration = Duration::from_secs(15);
    const PROBES: u32 = 20;
    const NO_WINDOW: LossWindow = LossWindow { began: Timestamp::ZERO, sent: 0, lost: 0 };

    /// Whether this can have been so at `now`.
    pub(super) fn plausible(&self, now: Timestamp) -> bool {
        let window = self.window().is_none_or(|window| window.began <= now && window.lost <= window.sent);
        let last = self.last().is_none_or(|at| at <= now && self.usual <= now.as_nanos());
        window && last && self.run.as_ref().is_none_or(|run| run.began <= now)
    }

    /// When the last evidence was due.
    pub(super) fn last(&self) -> Option<Timestamp> {
        (self.last < Timestamp::FAR).then_some(self.last)
    }

    /// The window that is being filled.
    fn window(&self) -> Option<&LossWindow> {
        (self.window.sent > 0).then_some(&self.window)
    }

    /// How long a window is, of a series of that interval.
    #[must_use]
    pub fn length(interval: Duration) -> Duration {
        interval.saturating_mul(Self::PROBES).max(Self::SHORTEST)
    }

    /// Takes the fate of a probe of a series of that interval in; tells the window and the run that ended with
    /// it.
    pub fn observe(
        &mut self,
        interval: Duration,
        received: bool,
        at: Timestamp,
    ) -> (Option<LossWindow>, Option<LossRun>) {
        let window = self.count(interval, received, at);
        let (hole, gap) = match self.last() {
            // Probes that are held back come at a distance of their own, regularly; a hole is something else.
            Some(last) => {
                let (gap, usual) = (at.since(last), Duration::from_nanos(self.usual));
                (gap > usual.max(interval) * 3 / 2, gap)
            }
            None => (false, interval),
        };
        (self.last, self.usual) = (at, nanos(gap));
        let over = self.run.take_if(|_| received || hole).map(|run| *run);
        if !received {
            let run = self.run.get_or_insert_with(|| Box::new(LossRun { began: at, length: 0 }));
            run.length = run.length.saturating_add(1);
        }
        (window, over)
    }

    fn count(&mut self, interval: Duration, received: bool, at: Timestamp) -> Option<LossWindow> {
        let length = Self::length(interval);
        let over = self.window().filter(|window| at.since(window.began) >= length).copied();
        if let Some(over) = over {
            // Windows follow each other without gaps, whatever the first probe of one is.
            let nanos = length.as_nanos().max(1);
            let windows = at.since(over.began).as_nanos() / nanos;
            let began = over.began + Duration::from_nanos(u64::try_from(windows * nanos).unwrap_or(u64::MAX));
            self.window = LossWindow { began, ..Self::NO_WINDOW };
        } else if self.window.sent == 0 {
            self.window.began = at;
        }
        let window = &mut self.window;
        window.sent = window.sent.saturating_add(1);
        window.lost = window.lost.saturating_add(u32::from(!received));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_window_is_15_s_and_at_least_20_probes() {
        for (interval, window) in [(100, 15_000), (750, 15_000), (1000, 20_000), (5000, 100_000)] {
            assert_eq!(Loss::length(Duration::from_millis(interval)), Duration::from_millis(window));
        }
    }

    #[test]
    fn windows_follow_each_other_and_empty_ones_do_not_exist() {
        let mut loss = Loss::default();
        let mut windows = Vec::new();
        // Silence of our own from 30 s to 70 s.
        for at in (0..30).chain(70..90) {
            windows.extend(loss.observe(SECOND, !(10..15).contains(&at), secs(at)).0);
        }
        let window = |began, sent, lost| LossWindow { began: secs(began), sent, lost };
        assert_eq!(windows, [window(0, 20, 5), window(20, 10, 0), window(60, 10, 0)]);
        assert!((windows[0].ratio() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_run_is_told_once_with_its_length_and_never_across_a_hole() {
        let mut loss = Loss::default();
        let mut runs = Vec::new();
        let lost = |at: u64| matches!(at, 3..=5 | 8 | 12..=13);
        // The slots 14 to 19 are missing.
        for at in (0..14).chain(20..24) {
            runs.extend(loss.observe(SECOND, !(lost(at) || at == 20), secs(at)).1);
        }
        let run = |began, length| LossRun { began: secs(began), length };
        assert_eq!(runs, [run(3, 3), run(8, 1), run(12, 2), run(20, 1)]);
    }

    #[test]
    fn probes_that_are_held_back_regularly_make_one_run() {
        let mut loss = Loss::default();
        let mut runs = Vec::new();
        for n in 0..10 {
            runs.extend(loss.observe(5 * SECOND, !(3..7).contains(&n), secs(60 * n)).1);
        }
        assert_eq!(runs, [LossRun { began: secs(180), length: 4 }]);
    }
}
