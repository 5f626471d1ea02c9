//! The metrics of one probe over two ways out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::families::{Family, Owner, Sink, slot};
use super::histogram::{Bounds, Histogram};
use crate::detect::pair::{PairResult, Paired, Side};
use crate::time::WallTime;

/// Which pair: its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairKey {
    /// The target's name.
    pub target: String,
    /// The member's slot, from 1 on.
    pub member: u8,
    /// The probe's name.
    pub probe: String,
    /// The pair's name.
    pub pair: String,
}

/// Bounds of differences, in seconds, on either side of 0.
const DIFFERENCE: &[f64] =
    &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// The metrics of one pair. The engine writes, the web side reads.
#[derive(Debug)]
pub struct PairMetrics {
    key: PairKey,
    results: [AtomicU64; PairResult::ALL.len()],
    difference: Histogram,
    created: WallTime,
}

impl PairMetrics {
    pub(super) fn new(key: PairKey, created: WallTime) -> Self {
        let difference = Histogram::new(&Bounds::signed(DIFFERENCE));
        Self { key, results: Default::default(), difference, created }
    }

    /// Which pair this is.
    pub fn key(&self) -> &PairKey {
        &self.key
    }

    /// Counts what two exchanges of one instant said.
    pub fn record(&self, paired: &Paired) {
        if let Some(counter) = self.results.get(paired.result as usize) {
            counter.fetch_add(1, Relaxed);
        }
        if let Some(longer) = paired.longer {
            self.difference.observe_signed(longer.by, longer.slower == Side::A);
        }
    }
}

impl Owner for PairMetrics {
    fn labels(&self) -> SmallVec<[Cow<'_, str>; 4]> {
        let PairKey { target, member, probe, pair } = &self.key;
        smallvec![target.into(), slot(*member), probe.into(), pair.into()]
    }

    fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        match family {
            Family::PairResults => {
                for (result, count) in PairResult::ALL.iter().zip(&self.results) {
                    out.whole(&[result.as_str()], count.load(Relaxed));
                }
            }
            Family::PairDifference => out.histogram(&[], &self.difference, self.created),
            _ => {}
        }
    }
}
