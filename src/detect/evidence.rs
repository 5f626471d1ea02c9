//! What a sample proves, and in which order it was asked.
//!
//! A loss is known only when its timeout has passed, an answer at once. So with a timeout longer than
//! the interval results come out of the order in which they were sent, and a row of losses would be
//! broken by answers that came after it. [`Order`] puts them right before any detector looks.
//!
//! Invariants: evidence is handed out once; a loss is never held back longer than the exchanges sent
//! before it; nothing is held back at all while interval is longer than timeout.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sample::{Outcome, Sample};
use crate::time::{Timestamp, nanos};

/// What a sample proves about its target. Its time is when it was due: the grid of the schedule is
/// exact, and sends are late by little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Counts the slots of the series.
    pub seq: u64,
    /// When it was due.
    pub at: Timestamp,
    /// Whether an authentic reply came, be it a refusal.
    pub received: bool,
    /// Whether the service answered and did not refuse.
    pub serving: bool,
    /// Whether a "no" was said (by the service, an ICMP error, a reset), which is never chance.
    pub explicit: bool,
    /// The form of the exchange.
    pub form: &'static str,
    /// The round-trip time, of an authentic reply.
    pub rtt: Option<Duration>,
}

impl Evidence {
    /// What the sample proves; nothing if it is no evidence.
    #[must_use]
    pub fn of(sample: &Sample) -> Option<Self> {
        let outcome = sample.report.outcome;
        Some(Self {
            seq: sample.seq,
            at: sample.due,
            received: outcome.received()?,
            serving: outcome.serving()?,
            explicit: matches!(outcome, Outcome::Refused(_)),
            form: sample.form,
            rtt: sample.report.rtt,
        })
    }
}

/// The timing of a series, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    interval: u64,
    /// How long after its due time everything sent before an exchange is known.
    settled: u64,
}

impl Timing {
    /// A send may be this late and still be made.
    const LATE: Duration = Duration::from_secs(1);

    /// Of a series of that interval and timeout.
    #[must_use]
    pub fn new(interval: Duration, timeout: Duration) -> Self {
        Self { interval: nanos(interval), settled: nanos(timeout.saturating_add(Self::LATE)) }
    }

    /// From one probe to the next.
    #[must_use]
    pub const fn interval(self) -> Duration {
        Duration::from_nanos(self.interval)
    }
}

/// Puts evidence back into the order in which it was sent.
#[derive(Debug, Clone, Default)]
pub struct Order {
    next: u64,
    /// What is held back; made when first needed, and given back when all is handed out: nearly all series hold
    /// nothing at nearly all times.
    #[expect(
        clippy::box_collection,
        reason = "a word in place of four, in each of ten thousand series, twice"
    )]
    held: Option<Box<VecDeque<Evidence>>>,
}

impl Order {
    /// The most that is held back; a minute of timeout at ten probes a second.
    const MOST: usize = 600;

    /// Takes evidence of a series of that timing that became known at `now`; hands out what is next to `each`,
    /// in order.
    pub fn put(
        &mut self,
        timing: Timing,
        evidence: Evidence,
        now: Timestamp,
        mut each: impl FnMut(Evidence),
    ) {
        if self.held.is_none() && self.is_next(timing, &evidence, now) {
            self.next = self.next.max(evidence.seq.saturating_add(1));
            return each(evidence);
        }
        let mut held = self.held.take().unwrap_or_default();
        let place = held.partition_point(|other| other.seq <= evidence.seq);
        held.insert(place, evidence);
        while let Some(first) = held.front().copied() {
            if !self.is_next(timing, &first, now) && held.len() <= Self::MOST {
                self.held = Some(held);
                return;
            }
            held.pop_front();
            self.next = self.next.max(first.seq.saturating_add(1));
            each(first);
        }
    }

    /// Whether nothing sent before it can still come: all slots before it are known, or too old. A slot
    /// may also stay empty for good.
    fn is_next(&self, timing: Timing, evidence: &Evidence, now: Timestamp) -> bool {
        let after = |at: Timestamp, nanos: u64| at + Duration::from_nanos(nanos);
        evidence.seq <= self.next || after(now, timing.interval) >= after(evidence.at, timing.settled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence(seq: u64, received: bool) -> Evidence {
        let at = Timestamp::from_secs(seq);
        Evidence { seq, at, received, serving: received, explicit: false, form: "x", rtt: None }
    }

    #[test]
    fn an_answer_waits_for_the_losses_sent_before_it() {
        let (mut order, timing) =
            (Order::default(), Timing::new(Duration::from_secs(1), Duration::from_secs(2)));
        let mut seen = Vec::new();
        // Lost: 0 and 1, known at 2 s and 3 s; 2 was answered at once.
        for (seq, received, now) in [(0, false, 2000), (2, true, 2010), (1, false, 3000)] {
            order.put(timing, evidence(seq, received), Timestamp::from_millis(now), |e| {
                seen.push((e.seq, now))
            });
        }
        assert_eq!(seen, [(0, 2000), (1, 3000), (2, 3000)]);
    }

    #[test]
    fn an_empty_slot_is_not_waited_for_longer_than_it_could_take() {
        let (mut order, timing) =
            (Order::default(), Timing::new(Duration::from_secs(1), Duration::from_secs(2)));
        let mut seen = Vec::new();
        for seq in [0, 2, 3, 4, 5] {
            order.put(timing, evidence(seq, true), Timestamp::from_millis(seq * 1000 + 10), |e| {
                seen.push(e.seq)
            });
        }
        assert_eq!(seen, [0, 2, 3, 4, 5]);
    }

    proptest! {
        /// Whatever is lost or missing: all is handed out, in order, and a loss when it is known.
        #[test]
        fn all_comes_out_in_order(
            fates in prop::collection::vec(prop::option::weighted(0.9, any::<bool>()), 1..80),
            timeout in 1_u64..5000,
        ) {
            let timing = Timing::new(Duration::from_secs(1), Duration::from_millis(timeout));
            let mut order = Order::default();
            let mut known: Vec<_> = fates
                .iter()
                .zip(0_u64..)
                .filter_map(|(fate, seq)| {
                    let done = seq * 1000 + if (*fate)? { timeout.min(10) } else { timeout };
                    Some((done, evidence(seq, (*fate)?)))
                })
                .collect();
            known.sort_by_key(|(done, evidence)| (*done, evidence.seq));
            let mut seen = Vec::new();
            for (done, evidence) in &known {
                order.put(timing, *evidence, Timestamp::from_millis(*done), |e| seen.push(e.seq));
            }
            order.put(timing, evidence(1000, false), Timestamp::from_secs(2000), |e| seen.push(e.seq));
            prop_assert!(seen.is_sorted());
            prop_assert_eq!(seen.len(), known.len() + 1);
        }
    }
}
