//! Native histograms: exponential buckets, as Prometheus' `io.prometheus.client.Histogram` has them.
//!
//! Bucket `i` of schema `s` holds the values above `2^((i-1)/2^s)` and up to `2^(i/2^s)`. Values are
//! kept by schema 3, in steps of 9 %, from a microsecond on; what is smaller is in the zero bucket.
//!
//! Invariants: at most [`MAX_BUCKETS`] buckets are exported: with more, the schema is lowered, which
//! joins neighbours. No bucket ever becomes empty again, so the schema never rises, and Prometheus sees
//! no reset where none was. A histogram is reset only by being made anew, and says so by its creation
//! time.

/// The finest schema: the one that values are kept by.
pub(super) const SCHEMA: i32 = 3;

/// Buckets of the finest schema in a doubling.
const STEPS: i32 = 1 << SCHEMA;

/// The most buckets that are exported, beside the zero bucket.
pub(super) const MAX_BUCKETS: usize = 160;

/// The exponent of the zero bucket's width.
const ZERO_EXPONENT: i32 = -20;

/// The zero bucket holds what is at most this, about a microsecond: 2^-20, a bound of every schema.
pub(super) const ZERO_THRESHOLD: f64 = 1.0 / (1_u32 << -ZERO_EXPONENT) as f64;

/// The bucket that ends where the zero bucket does; the one above is the first in use.
const LOWEST: i32 = ZERO_EXPONENT * STEPS;

/// 2^(k/8) / 2: the bounds within a doubling, as mantissas of `frexp`.
const MANTISSAS: [f64; STEPS as usize] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    std::f64::consts::FRAC_1_SQRT_2,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_4,
    0.917_004_043_204_671_1,
];

/// The place of a value: 0 is the zero bucket, then the buckets of schema 3 in order. At most 433.
pub(super) fn slot(nanos: u64) -> u16 {
    #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
    let seconds = nanos as f64 / 1e9;
    if seconds <= ZERO_THRESHOLD {
        return 0;
    }
    u16::try_from(index(seconds) - LOWEST).unwrap_or(0)
}

/// The bucket of a normal, positive number in schema 3.
fn index(value: f64) -> i32 {
    // The number is mantissa * 2^exponent with a mantissa of 0.5 to below 1.
    let bits = value.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1022;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1022 << 52);
    let within = MANTISSAS.partition_point(|bound| *bound < mantissa);
    i32::try_from(within).unwrap_or(0) + (exponent - 1) * STEPS
}

/// The native form of a histogram, as it was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Native {
    /// How fine the buckets are: 3, or less if there would be more than [`MAX_BUCKETS`].
    pub schema: i32,
    /// Values in the zero bucket.
    pub zero: u64,
    /// Bucket and how many values are in it, in order; none is empty.
    pub buckets: Vec<(i32, u64)>,
    /// The same of negative values, by their magnitude.
    pub below: Vec<(i32, u64)>,
}

impl Native {
    /// Takes over slots with their counts, in any order and some more than once, which are used up; and
    /// those of the magnitudes of negative values.
    pub(super) fn read(&mut self, slots: &mut Vec<(u16, u64)>, below: &mut Vec<(u16, u64)>) {
        self.schema = SCHEMA;
        self.zero = 0;
        for (slots, buckets) in [(slots, &mut self.buckets), (below, &mut self.below)] {
            buckets.clear();
            slots.sort_unstable_by_key(|(slot, _)| *slot);
            for (slot, count) in slots.drain(..) {
                if slot == 0 {
                    self.zero = self.zero.wrapping_add(count);
                } else {
                    buckets.push((i32::from(slot) + LOWEST, count));
                }
            }
            join(buckets);
        }
        while self.buckets.len() + self.below.len() > MAX_BUCKETS {
            self.schema -= 1;
            for buckets in [&mut self.buckets, &mut self.below] {
                // Half of an index, rounded up: the bucket of twice the width that holds this one.
                buckets.iter_mut().for_each(|(index, _)| *index = (*index + 1) >> 1);
                join(buckets);
            }
        }
    }
}

/// Joins neighbours in the list that are the same bucket.
fn join(buckets: &mut Vec<(i32, u64)>) {
    buckets.dedup_by(|(index, count), (before, sum)| {
        let same = index == before;
        if same {
            *sum = sum.wrapping_add(*count);
        }
        same
    });
}

/// Runs of buckets without a gap: how far the first is from the end of the run before (from 0 for the
/// first run), and how many there are.
pub(super) fn spans(buckets: &[(i32, u64)]) -> impl Iterator<Item = (i32, u32)> {
    let mut end = 0;
    buckets.chunk_by(|(a, _), (b, _)| a + 1 == *b).filter_map(move |run| {
        let (start, _) = run.first()?;
        let offset = start - end;
        let length = u32::try_from(run.len()).ok()?;
        end = start + i32::try_from(length).ok()?;
        Some((offset, length))
    })
}

/// The counts, each as the difference from the one before.
pub(super) fn deltas(buckets: &[(i32, u64)]) -> impl Iterator<Item = i64> {
    let mut before = 0;
    buckets.iter().map(move |(_, count)| {
        let count = count.cast_signed();
        count.wrapping_sub(std::mem::replace(&mut before, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(slots: &[(u16, u64)]) -> Native {
        let mut out = Native::default();
        out.read(&mut slots.to_vec(), &mut Vec::new());
        out
    }

    /// Prometheus' specification of native histograms: base 2^(2^-schema), upper bounds inclusive.
    #[test]
    fn bounds_are_powers_of_the_base_and_inclusive() {
        for power in -100..=100 {
            let exact = 2f64.powi(power);
            assert_eq!(index(exact), power * 8, "2^{power}");
            assert_eq!(index(exact.next_up()), power * 8 + 1);
            for step in 1..8 {
                let bound = 2f64.powf(f64::from(power) + f64::from(step) / 8.0);
                assert_eq!(index(bound * 0.999_999_999), power * 8 + step);
                assert_eq!(index(bound * 1.000_000_001), power * 8 + step + 1);
            }
        }
    }

    /// By hand after `BucketSpan` in Prometheus' `metrics.proto`: the first offset is from bucket 0, each
    /// other one the length of the gap.
    #[test]
    fn spans_leave_the_gaps_out() {
        let native = Native { schema: 3, zero: 0, buckets: vec![(3, 1), (4, 3), (6, 2)], below: vec![] };
        assert_eq!(spans(&native.buckets).collect::<Vec<_>>(), [(3, 2), (1, 1)]);
        assert_eq!(deltas(&native.buckets).collect::<Vec<_>>(), [1, 2, -1]);
        let below = Native { schema: 3, zero: 0, buckets: vec![(-64, 7), (0, 7)], below: vec![] };
        assert_eq!(spans(&below.buckets).collect::<Vec<_>>(), [(-64, 1), (63, 1)]);
        assert_eq!(deltas(&below.buckets).collect::<Vec<_>>(), [7, 0]);
    }

    #[test]
    fn small_values_are_in_the_zero_bucket_and_no_value_is_out_of_range() {
        assert_eq!((slot(0), slot(953), slot(954)), (0, 0, 1));
        assert!(slot(u64::MAX) <= 433 && slot(u64::MAX) < 512);
        assert_eq!(native(&[(0, 3), (0, 4)]), Native { schema: 3, zero: 7, ..Native::default() });
        // A second ends bucket 0.
        assert_eq!(native(&[(slot(1_000_000_000), 1)]).buckets, [(0, 1)]);
    }

    #[test]
    fn too_many_buckets_lower_the_schema_and_keep_every_value() {
        let all: Vec<_> = (0..=433).rev().map(|slot| (slot, u64::from(slot) + 1)).collect();
        let mut schema = SCHEMA;
        for used in 0..=all.len() {
            let some = native(all.get(..used).unwrap());
            assert!(some.buckets.len() <= MAX_BUCKETS && some.schema <= schema);
            assert!(some.buckets.is_sorted_by(|a, b| a.0 < b.0));
            let total = some.zero + some.buckets.iter().map(|(_, count)| count).sum::<u64>();
            assert_eq!(total, all.iter().take(used).map(|(_, count)| count).sum::<u64>());
            schema = some.schema;
        }
        assert_eq!(schema, 1);
        // At schema 1 a bucket is half a doubling: 2 s to 2.8 s is the third above 1 s.
        assert_eq!((index(2.5) + 3) >> 2, 3);
    }
}
