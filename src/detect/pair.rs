//! The same probe at the same instant over two ways out: what works on which.
//!
//! Invariants: only exchanges that were due at the same instant are compared, and only if both are
//! evidence; what one says is never held longer than its partner may take.
//!
//! "Works" is asked as a user would: the service answered and did not refuse.

use std::collections::VecDeque;
use std::time::Duration;

use super::evidence::Evidence;
use crate::sample::Sample;
use crate::time::Timestamp;
use crate::words;

words! {
    /// Which of the two.
    pub enum Side {
        /// The one.
        A = "a",
        /// The other.
        B = "b",
    }
}

words! {
    /// On which of two ways it worked.
    pub enum PairResult {
        /// On both.
        Both = "both",
        /// On the one only.
        OnlyA = "only_a",
        /// On the other only.
        OnlyB = "only_b",
        /// On neither.
        Neither = "neither",
    }
}

/// How much longer a round trip took on one way than on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Longer {
    /// The slower way; `B` if they are equal.
    pub slower: Side,
    /// By how much.
    pub by: Duration,
}

/// What two exchanges of one instant said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paired {
    /// On which way it worked.
    pub result: PairResult,
    /// Which way was slower; nothing unless both answered the same form of the probe.
    pub longer: Option<Longer>,
}

/// One probe of one member over two ways out.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    /// The halves whose partners have not been heard of; nothing if it proved nothing.
    waiting: VecDeque<(Timestamp, Side, Option<Evidence>)>,
}

impl Pair {
    /// A minute of timeout at ten probes a second.
    const MOST: usize = 600;

    /// Takes a half in; tells what the two said once there are both.
    pub fn observe(&mut self, side: Side, sample: &Sample) -> Option<Paired> {
        let half = Evidence::of(sample);
        let partner = |(due, other, _): &(Timestamp, Side, _)| *due == sample.due && *other != side;
        let Some(place) = self.waiting.iter().position(partner) else {
            if self.waiting.len() == Self::MOST {
                self.waiting.pop_front();
            }
            self.waiting.push_back((sample.due, side, half));
            return None;
        };
        let (_, _, other) = self.waiting.remove(place)?;
        let (half, other) = (half?, other?);
        let (a, b) = if side == Side::A { (half, other) } else { (other, half) };
        let result = match (a.serving, b.serving) {
            (true, true) => PairResult::Both,
            (true, false) => PairResult::OnlyA,
            (false, true) => PairResult::OnlyB,
            (false, false) => PairResult::Neither,
        };
        let longer = match (a.rtt, b.rtt) {
            (Some(a_took), Some(b_took)) if a.form == b.form => Some(Longer {
                slower: if a_took > b_took { Side::A } else { Side::B },
                by: a_took.abs_diff(b_took),
            }),
            _ => None,
        };
        Some(Paired { result, longer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Fault, Outcome, Reason, Report, SeriesId};

    fn sample(due: u64, outcome: Outcome, rtt: Option<u64>) -> Sample {
        let due = Timestamp::from_secs(due);
        let report = Report { rtt: rtt.map(Duration::from_millis), ..Report::new(outcome) };
        Sample { series: SeriesId(0), seq: 0, form: "x", due, sent: Some(due), done: due, report }
    }

    fn ok(due: u64, rtt: u64) -> Sample {
        sample(due, Outcome::OK, Some(rtt))
    }

    fn lost(due: u64) -> Sample {
        sample(due, Outcome::Lost(Reason::NoAnswer), None)
    }

    #[test]
    fn halves_of_one_instant_are_compared_in_whatever_order_they_come() {
        let mut pair = Pair::default();
        assert_eq!(pair.observe(Side::A, &ok(0, 10)), None);
        assert_eq!(pair.observe(Side::A, &ok(1, 10)), None);
        assert_eq!(pair.observe(Side::B, &ok(1, 30)).unwrap(), {
            let longer = Some(Longer { slower: Side::B, by: Duration::from_millis(20) });
            Paired { result: PairResult::Both, longer }
        });
        let late = pair.observe(Side::B, &lost(0)).unwrap();
        assert_eq!(late, Paired { result: PairResult::OnlyA, longer: None });
        assert_eq!(pair.observe(Side::B, &ok(2, 7)), None);
        let faster = pair.observe(Side::A, &ok(2, 9)).unwrap().longer.unwrap();
        assert_eq!((faster.slower, faster.by), (Side::A, Duration::from_millis(2)));
        assert!(pair.waiting.is_empty());
    }

    /// The teleworker's case: the sign-in answers 404 through the tunnel, and is well beside it.
    #[test]
    fn a_refusal_of_service_does_not_work() {
        let mut pair = Pair::default();
        pair.observe(Side::A, &ok(0, 10));
        let refused = sample(0, Outcome::Refused(Reason::HttpStatus), Some(40));
        assert_eq!(pair.observe(Side::B, &refused).unwrap().result, PairResult::OnlyA);
    }

    #[test]
    fn our_own_fault_on_one_way_says_nothing_about_the_other() {
        let mut pair = Pair::default();
        pair.observe(Side::A, &sample(0, Outcome::Unsent(Fault::Egress), None));
        assert_eq!(pair.observe(Side::B, &ok(0, 10)), None);
        assert!(pair.waiting.is_empty());
    }

    #[test]
    fn what_has_no_partner_is_bounded() {
        let mut pair = Pair::default();
        for due in 0..10_000 {
            pair.observe(Side::A, &ok(due, 10));
        }
        assert_eq!(pair.waiting.len(), Pair::MOST);
    }
}
