//! What one profile of dead peer detection makes of a series.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::families::{Family, Sink};

/// The metrics of one profile; clones share everything.
#[derive(Debug, Clone)]
pub struct DpdMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    profile: String,
    judged: AtomicBool,
    sure: AtomicU64,
    /// Bits of a double.
    expected: AtomicU64,
    /// Nanoseconds; [`u64::MAX`] is unknown.
    margin: AtomicU64,
}

impl DpdMetrics {
    pub(super) fn new(profile: &str) -> Self {
        Self(Arc::new(Inner {
            profile: profile.to_owned(),
            judged: AtomicBool::new(false),
            sure: AtomicU64::new(0),
            expected: AtomicU64::new(0f64.to_bits()),
            margin: AtomicU64::new(u64::MAX),
        }))
    }

    /// The name of the profile.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.0.profile
    }

    /// Says whether the probes are frequent enough to judge.
    pub fn set_judged(&self, judged: bool) {
        self.0.judged.store(judged, Relaxed);
        if !judged {
            self.0.margin.store(u64::MAX, Relaxed);
        }
    }

    /// Adds teardowns: sure ones, and those averaged over the phase. One thread writes.
    pub fn add(&self, sure: u64, expected: f64) {
        self.0.sure.fetch_add(sure, Relaxed);
        let before = f64::from_bits(self.0.expected.load(Relaxed));
        self.0.expected.store((before + expected).to_bits(), Relaxed);
    }

    /// Sets the silence left.
    pub fn set_margin(&self, margin: Duration) {
        self.0.margin.store(u64::try_from(margin.as_nanos()).unwrap_or(u64::MAX - 1), Relaxed);
    }

    /// Whether the probes are frequent enough to judge.
    #[must_use]
    pub fn judged(&self) -> bool {
        self.0.judged.load(Relaxed)
    }

    /// Outages that surely tore a session down.
    #[must_use]
    pub fn sure(&self) -> u64 {
        self.0.sure.load(Relaxed)
    }

    /// Teardowns averaged over the phase.
    #[must_use]
    pub fn expected(&self) -> f64 {
        f64::from_bits(self.0.expected.load(Relaxed))
    }

    /// The silence left; nothing before the first evidence.
    #[must_use]
    pub fn margin(&self) -> Option<Duration> {
        Some(self.0.margin.load(Relaxed)).filter(|nanos| *nanos != u64::MAX).map(Duration::from_nanos)
    }

    /// Gives what it has of a family. A profile without a verdict says so, and nothing else.
    pub(super) fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        let extra = [self.profile()];
        match family {
            Family::DpdJudged => out.flag(&extra, self.judged()),
            _ if !self.judged() => {}
            Family::DpdTimeouts => out.whole(&extra, self.sure()),
            Family::DpdExpected => out.number(&extra, self.expected()),
            Family::DpdMargin => {
                if let Some(margin) = self.margin() {
                    out.number(&extra, margin.as_secs_f64());
                }
            }
            _ => {}
        }
    }
}
