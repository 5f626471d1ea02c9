//! A histogram of durations, or of plain numbers, that is written without a lock.
//!
//! Invariant: the count is derived from the buckets as they are read, so that within one scrape it
//! always equals the `+Inf` bucket. The sum may be ahead by the samples of that instant.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::proto;

/// A histogram of durations. A plain number counts as that many seconds.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds as they are exported, in seconds, with the same in nanoseconds.
    bounds: Box<[(f64, u64)]>,
    /// Samples in each bucket alone, not cumulative; the last one has no bound.
    buckets: Box<[AtomicU64]>,
    /// Nanoseconds; enough for 584 years of answers.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram with these upper bounds, in seconds. Bounds that are not positive finite numbers are
    /// left out; the rest are sorted and made unique.
    #[must_use]
    pub fn new(bounds: &[f64]) -> Self {
        let mut sorted: Vec<f64> = bounds.iter().copied().filter(|b| b.is_finite() && *b > 0.0).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        let nanos = |bound: &f64| {
            let limit = Duration::try_from_secs_f64(*bound).unwrap_or(Duration::MAX);
            (*bound, u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
        };
        Self {
            bounds: sorted.iter().map(nanos).collect(),
            buckets: (0..=sorted.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one duration. Bounds are inclusive, as Prometheus' `le` says.
    pub fn observe(&self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|(_, limit)| *limit < nanos);
        if let Some(bucket) = self.buckets.get(at) {
            self.sum.fetch_add(nanos, Relaxed);
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The upper bounds, in seconds.
    pub fn bounds(&self) -> impl Iterator<Item = f64> {
        self.bounds.iter().map(|(seconds, _)| *seconds)
    }

    /// The histogram as Prometheus' message has it, each bucket read once.
    #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
    pub(super) fn collect(&self) -> proto::Histogram {
        let mut out = proto::Histogram::default();
        let mut total = 0_u64;
        let bounds = self.bounds().chain([f64::INFINITY]);
        let buckets = bounds.zip(&self.buckets).map(|(bound, bucket)| {
            total = total.wrapping_add(bucket.load(Relaxed));
            let mut out = proto::Bucket::default();
            out.set_upper_bound(bound);
            out.set_cumulative_count(total);
            out
        });
        // The last bucket is `+Inf`, which both formats say by the count.
        let mut buckets: Vec<_> = buckets.collect();
        buckets.pop();
        out.set_bucket(buckets);
        out.set_sample_count(total);
        out.set_sample_sum(self.sum.load(Relaxed) as f64 / 1e9);
        out
    }
}
