//! The metrics about ourselves.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use smallvec::SmallVec;

use super::families::{Family, Owner, Sink};
use super::histogram::{Bounds, Histogram};
use crate::probe::Mismatch;
use crate::time::WallTime;

/// Upper bounds of the schedule's lag, in seconds.
const LAG_BOUNDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The metrics about ourselves; plain counters that any thread may write.
#[derive(Debug)]
pub struct OwnMetrics {
    created: WallTime,
    lag: Histogram,
    missed: AtomicU64,
    overflow: AtomicU64,
    unmatched: Box<[AtomicU64]>,
    clock_fallback: AtomicU64,
    state_failures: AtomicU64,
    reload_ok: AtomicBool,
    reloaded: AtomicI64,
}

impl OwnMetrics {
    /// Everything at zero; the configuration counts as loaded at `started`.
    pub(super) fn new(started: WallTime) -> Self {
        Self {
            created: started,
            lag: Histogram::new(&Bounds::new(LAG_BOUNDS)),
            missed: AtomicU64::new(0),
            overflow: AtomicU64::new(0),
            unmatched: Mismatch::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            clock_fallback: AtomicU64::new(0),
            state_failures: AtomicU64::new(0),
            reload_ok: AtomicBool::new(true),
            reloaded: AtomicI64::new(started.as_unix_nanos()),
        }
    }

    /// Notes how much later than due an exchange was begun.
    pub fn lag(&self, lag: Duration) {
        self.lag.observe(lag);
    }

    /// Counts slots that could not be begun.
    pub fn missed_slots(&self, slots: u64) {
        self.missed.fetch_add(slots, Relaxed);
    }

    /// Counts packets that the kernel dropped because our receive buffers were full.
    pub fn receive_overflow(&self, packets: u64) {
        self.overflow.fetch_add(packets, Relaxed);
    }

    /// Counts a packet that belongs to no exchange.
    pub fn unmatched(&self, why: Mismatch) {
        if let Some(counter) = self.unmatched.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a round trip that had to be timed in user space.
    pub fn clock_fallback(&self) {
        self.clock_fallback.fetch_add(1, Relaxed);
    }

    /// Counts something that could not be written to the state directory.
    pub fn state_write_failed(&self) {
        self.state_failures.fetch_add(1, Relaxed);
    }

    /// Notes a load of the configuration: when it succeeded, or nothing if it failed.
    pub fn reloaded(&self, success: Option<WallTime>) {
        if let Some(wall) = success {
            self.reloaded.store(wall.as_unix_nanos(), Relaxed);
        }
        self.reload_ok.store(success.is_some(), Relaxed);
    }

    /// Slots that could not be begun, so far.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }
}

impl Owner for OwnMetrics {
    fn labels(&self) -> SmallVec<[Cow<'_, str>; 4]> {
        SmallVec::new()
    }

    fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        match family {
            Family::ScheduleLag => out.histogram(&[], &self.lag, self.created),
            Family::MissedSlots => out.whole(&[], self.missed()),
            Family::ReceiveOverflow => out.whole(&[], self.overflow.load(Relaxed)),
            Family::Unmatched => {
                for (why, counter) in Mismatch::ALL.iter().zip(&self.unmatched) {
                    out.whole(&[why.as_str()], counter.load(Relaxed));
                }
            }
            Family::ClockFallback => out.whole(&[], self.clock_fallback.load(Relaxed)),
            Family::StateFailures => out.whole(&[], self.state_failures.load(Relaxed)),
            Family::ReloadOk => out.flag(&[], self.reload_ok.load(Relaxed)),
            Family::ReloadTime => {
                let reloaded = WallTime::from_unix_nanos(self.reloaded.load(Relaxed));
                out.number(&[], reloaded.as_unix_seconds_f64());
            }
            Family::BuildInfo => out.number(&[env!("CARGO_PKG_VERSION")], 1.0),
            _ => {}
        }
    }
}
