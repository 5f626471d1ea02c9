//! A histogram of durations, or of plain numbers, classic and native at once, written without a lock.
//!
//! Every count stands in a *cell*: the values that fall into one classic bucket and one native bucket.
//! Both forms are sums over the same cells, so that they cannot disagree, and a histogram that has seen
//! nothing, or always the same, takes next to no memory.
//!
//! ```text
//!   native   ──┬─────┬─────┬─────┬─────┬──     schema 3: each bound is 2^(1/8) of the one before
//!   classic  ─────┬───────────────────┬───     the configured bounds
//!   cells      │a │b │  c  │  d  │  e │f│     one 64-bit word each, made when first needed
//! ```
//!
//! Invariant: the count is derived from the cells as they are read, so that within one scrape it always
//! equals the `+Inf` bucket and the sum of the native buckets. The sum may be ahead by the samples of
//! that instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::cells::Cells;
use super::native::{self, Native};

/// The upper bounds of the classic buckets; histograms with the same bounds share them.
#[derive(Debug, Clone)]
pub struct Bounds(Arc<Shared>);

/// One word leads here, for there are many histograms.
#[derive(Debug)]
struct Shared {
    bounds: Box<[Bound]>,
}

#[derive(Debug)]
struct Bound {
    /// As it is exported.
    seconds: f64,
    /// As values are compared with it.
    nanos: i64,
    /// The rest of its line of text, up to the count: the value of the label `le` and what closes it.
    le: Box<str>,
}

impl Bound {
    fn new(seconds: f64) -> Self {
        let limit = Duration::try_from_secs_f64(seconds.abs()).unwrap_or(Duration::MAX);
        let nanos = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        let nanos = if seconds < 0.0 { -nanos } else { nanos };
        Self { seconds, nanos, le: format!("{seconds}\"}} ").into() }
    }
}

impl PartialEq for Bounds {
    fn eq(&self, other: &Self) -> bool {
        self.seconds().eq(other.seconds())
    }
}

impl Bounds {
    /// The most bounds that are kept: a cell has seven bits for its classic bucket.
    const MAX: usize = 126;

    /// These upper bounds, in seconds. Bounds that are not positive finite numbers are left out, and
    /// all beyond [`Self::MAX`]; the rest are sorted and made unique.
    #[must_use]
    pub fn new(bounds: &[f64]) -> Self {
        let mut sorted: Vec<f64> = bounds.iter().copied().filter(|b| b.is_finite() && *b > 0.0).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        sorted.truncate(Self::MAX);
        Self::of(&sorted)
    }

    fn of(seconds: &[f64]) -> Self {
        Self(Arc::new(Shared { bounds: seconds.iter().copied().map(Bound::new).collect() }))
    }

    fn all(&self) -> &[Bound] {
        &self.0.bounds
    }

    /// Bounds for values that may be negative: 0, and each of these above and below it.
    pub(super) fn signed(magnitudes: &[f64]) -> Self {
        let above = Self::new(magnitudes);
        let above = above.all().iter().take(SIGNED_MAX).map(|bound| bound.seconds);
        let mut all: Vec<f64> = above.clone().map(|bound| -bound).chain([0.0]).chain(above).collect();
        all.sort_by(f64::total_cmp);
        Self::of(&all)
    }

    /// The bounds, in seconds.
    pub fn seconds(&self) -> impl Iterator<Item = f64> {
        self.all().iter().map(|bound| bound.seconds)
    }

    /// The bounds as values of the label `le`, each with what closes its line's labels, without `+Inf`.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.all().iter().map(|bound| &*bound.le)
    }

    /// The classic bucket of a value, bounds being inclusive, as Prometheus' `le` says.
    fn bucket(&self, nanos: i64) -> usize {
        self.all().partition_point(|bound| bound.nanos < nanos)
    }
}

/// A histogram of durations. A plain number counts as that many seconds.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    /// Nanoseconds, as the bits of a signed number; enough for 292 years of answers.
    sum: AtomicU64,
    cells: Cells,
    /// Those of negative values, whose native slots are of their magnitude, if there can be any.
    below: Option<Box<Cells>>,
}

impl Histogram {
    /// An empty histogram with these upper bounds.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            bounds: bounds.clone(),
            sum: AtomicU64::new(0),
            cells: Cells::default(),
            below: bounds.seconds().next().is_some_and(|least| least < 0.0).then(Box::default),
        }
    }

    /// Reads a little of all that a value will change. The number says nothing.
    pub(super) fn fetch(&self) -> u64 {
        self.sum.load(Relaxed) ^ self.cells.iter().next().map_or(0, |(_, count)| count)
    }

    /// Counts one duration.
    pub fn observe(&self, value: Duration) {
        self.add(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX));
    }

    /// Counts one difference, which may be negative; the bounds must be [signed](Bounds::signed).
    pub(super) fn observe_signed(&self, value: Duration, negative: bool) {
        let nanos = i64::try_from(value.as_nanos()).unwrap_or(i64::MAX);
        self.add(if negative { -nanos } else { nanos });
    }

    fn add(&self, nanos: i64) {
        self.sum.fetch_add(nanos.cast_unsigned(), Relaxed);
        let below = self.below.as_deref().filter(|_| nanos < 0);
        let cells = below.unwrap_or(&self.cells);
        cells.add(Key::new(self.bounds.bucket(nanos), native::slot(nanos.unsigned_abs())).0);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cells
            .iter()
            .chain(self.below.iter().flat_map(|below| below.iter()))
            .map(|(_, count)| count)
            .sum()
    }

    /// The upper bounds.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Reads the classic form alone, each cell once: the cumulative buckets into `buckets`, without `+Inf`,
    /// which is the count; count and sum, in nanoseconds.
    pub(super) fn read_classic(&self, buckets: &mut Vec<u64>) -> (u64, i64) {
        let sum = self.sum.load(Relaxed).cast_signed();
        buckets.clear();
        buckets.resize(self.bounds.all().len(), 0);
        let below = self.below.iter().flat_map(|below| below.iter());
        let mut count = 0_u64;
        for (key, cell) in self.cells.iter().chain(below) {
            count = count.wrapping_add(cell);
            // What is above all bounds is in the count alone.
            if let Some(bucket) = buckets.get_mut(Key(key).classic()) {
                *bucket = bucket.wrapping_add(cell);
            }
        }
        if count > 0 {
            cumulate(buckets);
        }
        (count, sum)
    }

    /// Reads both forms, each cell once, into `out`, whose memory is used again.
    #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
    pub(super) fn read(&self, out: &mut Reading) {
        out.sum = self.sum.load(Relaxed).cast_signed() as f64 / 1e9;
        out.cumulative.clear();
        out.cumulative.resize(self.bounds.all().len(), 0);
        out.slots.clear();
        out.below.clear();
        out.count = 0;
        let below = self.below.as_deref();
        for (cells, slots) in [(Some(&self.cells), &mut out.slots), (below, &mut out.below)] {
            for (key, count) in cells.into_iter().flat_map(Cells::iter) {
                let key = Key(key);
                out.count = out.count.wrapping_add(count);
                // What is above all bounds is in the count alone.
                if let Some(bucket) = out.cumulative.get_mut(key.classic()) {
                    *bucket = bucket.wrapping_add(count);
                }
                slots.push((key.native(), count));
            }
        }
        cumulate(&mut out.cumulative);
        out.native.read(&mut out.slots, &mut out.below);
    }
}

/// Adds to each bucket all those below it.
fn cumulate(buckets: &mut [u64]) {
    let mut total = 0_u64;
    for bucket in buckets {
        total = total.wrapping_add(*bucket);
        *bucket = total;
    }
}

/// What a histogram held when it was read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// All values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The classic buckets, cumulative, without `+Inf`, which is the count.
    pub cumulative: Vec<u64>,
    /// The native buckets.
    pub native: Native,
    slots: Vec<(u16, u64)>,
    /// Of negative values.
    below: Vec<(u16, u64)>,
}

/// The most bounds above 0 of a histogram with negative values.
const SIGNED_MAX: usize = 62;

/// Which cell: from the top 9 bits native slot, 7 bits classic bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(u16);

impl Key {
    const CLASSIC_BITS: u32 = 7;

    fn new(classic: usize, native: u16) -> Self {
        Self(native << Self::CLASSIC_BITS | u16::try_from(classic).unwrap_or(u16::MAX) & 0x7f)
    }

    fn classic(self) -> usize {
        usize::from(self.0 & 0x7f)
    }

    fn native(self) -> u16 {
        self.0 >> Self::CLASSIC_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(histogram: &Histogram) -> Reading {
        let mut out = Reading::default();
        histogram.read(&mut out);
        out
    }

    #[test]
    fn a_histogram_takes_any_bounds() {
        let bounds = Bounds::new(&[f64::NAN, 1.0, -1.0, f64::INFINITY, 0.5, 1.0, 1e300]);
        assert_eq!(bounds.seconds().collect::<Vec<_>>(), [0.5, 1.0, 1e300]);
        let histogram = Histogram::new(&bounds);
        histogram.observe(Duration::MAX);
        histogram.observe(Duration::ZERO);
        assert_eq!(histogram.count(), 2);
        let empty = Histogram::new(&Bounds::new(&[]));
        empty.observe(Duration::from_secs(1));
        assert_eq!((empty.count(), read(&empty).cumulative.len()), (1, 0));
        let many: Vec<f64> = (1..1000).map(f64::from).collect();
        let many = Histogram::new(&Bounds::new(&many));
        (1..1000).for_each(|seconds| many.observe(Duration::from_secs(seconds)));
        assert_eq!((read(&many).count, read(&many).cumulative.last()), (999, Some(&126)));
    }

    #[test]
    fn both_forms_count_the_same() {
        let histogram = Histogram::new(&Bounds::new(&[0.001, 0.01, 0.1]));
        let mut out = Reading::default();
        for step in 1..=3000_u64 {
            histogram.observe(Duration::from_nanos(step * step * 37));
            if step % 100 == 0 {
                histogram.read(&mut out);
                let native: u64 =
                    out.native.zero + out.native.buckets.iter().map(|(_, count)| count).sum::<u64>();
                assert_eq!((out.count, native), (step, step));
            }
        }
        // 1 ms = 37 ns * 164.4^2, 10 ms = 37 ns * 519.9^2, 100 ms = 37 ns * 1643.9^2.
        assert_eq!(out.cumulative, [164, 519, 1643]);
        assert_eq!(histogram.count(), 3000);
    }

    /// Shards of the engine write the same histogram: no count is lost and no key doubled.
    #[test]
    fn many_threads_may_write() {
        let histogram = Histogram::new(&Bounds::new(&[0.5]));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    (0..20_000_u64).for_each(|at| histogram.observe(Duration::from_micros(at % 97 * 997)));
                });
            }
        });
        assert_eq!(histogram.count(), 80_000);
        let mut keys: Vec<_> = histogram.cells.iter().map(|(key, _)| key).collect();
        let len = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), len);
    }

    #[test]
    fn an_empty_histogram_is_small() {
        assert!(size_of::<Histogram>() <= 32);
    }
}
