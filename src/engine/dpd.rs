//! Feeds a series to the profiles of dead peer detection it stands for.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Dpd;
use crate::detect::dpd::{Feed, Profile, Survival};
use crate::export::metrics::{DpdMetrics, SeriesMetrics};
use crate::sample::Sample;

/// The profiles that one series feeds.
pub(super) struct Replay {
    feed: Feed,
    profiles: Arc<[Profile]>,
    /// Those that can be judged, with their places in `metrics`.
    survivals: Vec<(usize, Survival)>,
    metrics: Arc<[DpdMetrics]>,
}

impl Replay {
    /// For a series with a probe every `interval` whose answer may take `timeout`.
    pub fn new(dpd: &Dpd, interval: Duration, timeout: Duration, metrics: &SeriesMetrics) -> Self {
        let judge = |(place, profile)| Survival::new(profile, interval).ok().map(|one| (place, one));
        let survivals = dpd.profiles.iter().enumerate().filter_map(judge).collect();
        let profiles = Arc::clone(&dpd.profiles);
        let mut replay = Self { feed: Feed::new(timeout), profiles, survivals, metrics: Arc::new([]) };
        replay.count_in(metrics);
        replay
    }

    /// Counts in the metrics of this series from now on.
    pub fn count_in(&mut self, metrics: &SeriesMetrics) {
        self.metrics = metrics.dpd(self.profiles.iter().map(|profile| profile.name.as_str()));
        for (place, metrics) in self.metrics.iter().enumerate() {
            metrics.set_judged(self.survivals.iter().any(|(judged, _)| *judged == place));
        }
    }

    /// Whether it judges by these profiles.
    pub fn is_of(&self, dpd: &Dpd) -> bool {
        self.profiles == dpd.profiles
    }

    /// Takes a sample in.
    pub fn observe(&mut self, sample: &Sample) {
        let Self { feed, survivals, metrics, .. } = self;
        feed.push(sample, |at, received| {
            if received.is_none() {
                return;
            }
            for (place, survival) in &mut *survivals {
                let before = (survival.sure(), survival.expected());
                survival.observe(at, received);
                let Some(metrics) = metrics.get(*place) else { continue };
                if (survival.sure(), survival.expected()) != before {
                    metrics.add(survival.sure() - before.0, survival.expected() - before.1);
                }
                metrics.set_margin(survival.margin(at));
            }
        });
    }
}

/// What a series of this probe feeds, if it does: as it was, or made anew.
pub(super) fn replay(
    dpd: Option<&Dpd>,
    (probe, interval, timeout): (&str, Duration, Duration),
    metrics: &SeriesMetrics,
    before: Option<Replay>,
) -> Option<Replay> {
    let Some(dpd) = dpd.filter(|dpd| dpd.from == probe) else {
        let _ = metrics.dpd(std::iter::empty());
        return None;
    };
    match before.filter(|before| before.is_of(dpd)) {
        Some(mut before) => {
            before.count_in(metrics);
            Some(before)
        }
        None => Some(Replay::new(dpd, interval, timeout, metrics)),
    }
}
