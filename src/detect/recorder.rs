//! The flight recorder of one series: what was seen of it in the last minutes, sample by sample.
//!
//! ```text
//!   bit 63 ─────────── 26 25 ── 21 20 ── 18 17 ─────── 0
//!       due, in ms         reason   seen     rtt, in 0.1 ms     one sample: 8 bytes
//! ```
//!
//! Invariant: a recorder holds at most [`Recorder::MOST`] samples, and nothing at all before the first;
//! ten thousand of them stay below 10 MB.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::collector::Bearing;
use crate::sample::{Outcome, Reason, Sample};
use crate::time::Timestamp;
use crate::words;

words! {
    /// What a sample showed, as the one character that stands for it.
    pub enum Seen {
        /// Answered.
        Answered = "o",
        /// Answered with a cookie: the peer has many half-open sessions.
        Busy = "c",
        /// An authentic reply, and a refusal.
        Refused = "r",
        /// An ICMP error or a reset.
        Denied = "x",
        /// Nothing came back.
        Lost = ".",
        /// Nothing came back on the kept flow, and a fresh one was answered.
        LostOnFlow = "f",
        /// Our own fault: no evidence.
        Nothing = "-",
    }
}

/// A recorded sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When it was due, to the millisecond.
    pub at: Timestamp,
    /// What it showed.
    pub seen: Seen,
    /// Why it failed, if it did.
    pub reason: Option<Reason>,
    /// The round-trip time in steps of 0.1 ms, at most 26 s.
    pub rtt: Option<Duration>,
}

impl Mark {
    /// What to keep of a sample.
    #[must_use]
    pub fn of(sample: &Sample, bearing: Bearing) -> Self {
        let under_load = sample.report.findings.as_ref().is_some_and(|findings| findings.under_load);
        let outcome = sample.report.outcome;
        let seen = match (outcome, outcome.received()) {
            (_, None) => Seen::Nothing,
            (Outcome::Answered(_), _) if under_load => Seen::Busy,
            (Outcome::Answered(_), _) => Seen::Answered,
            (_, Some(true)) => Seen::Refused,
            (_, Some(false)) if bearing == Bearing::Flow => Seen::LostOnFlow,
            (Outcome::Refused(_), _) => Seen::Denied,
            _ => Seen::Lost,
        };
        Self { at: sample.due, seen, reason: outcome.reason(), rtt: sample.report.rtt }
    }

    /// Whether a reply came; nothing if it is no evidence. What a fresh flow refutes is left to the caller.
    #[must_use]
    pub const fn received(&self) -> Option<bool> {
        match self.seen {
            Seen::Nothing => None,
            Seen::Answered | Seen::Busy | Seen::Refused => Some(true),
            Seen::Denied | Seen::Lost | Seen::LostOnFlow => Some(false),
        }
    }
}

/// A mark in 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed(u64);

impl Packed {
    const RTT_BITS: u32 = 18;
    const SEEN_BITS: u32 = 3;
    const REASON_BITS: u32 = 5;
    const AT: u32 = Self::RTT_BITS + Self::SEEN_BITS + Self::REASON_BITS;
    /// Stands for no round-trip time.
    const NO_RTT: u64 = (1 << Self::RTT_BITS) - 1;
    const RTT_STEP: u64 = 100_000;

    const fn bits(self, from: u32, count: u32) -> u64 {
        (self.0 >> from) & ((1 << count) - 1)
    }
}

impl From<Mark> for Packed {
    fn from(mark: Mark) -> Self {
        let steps = |rtt: Duration| {
            let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
            (nanos / Self::RTT_STEP).min(Self::NO_RTT - 1)
        };
        let rtt = mark.rtt.map_or(Self::NO_RTT, steps);
        let reason = mark.reason.map_or(0, |reason| reason as u64 + 1);
        // 38 bits of milliseconds: eight years, and then it saturates.
        let at = (mark.at.as_nanos() / 1_000_000).min((1 << (64 - Self::AT)) - 1);
        Self(
            at << Self::AT
                | reason << (Self::RTT_BITS + Self::SEEN_BITS)
                | (mark.seen as u64) << Self::RTT_BITS
                | rtt,
        )
    }
}

impl From<Packed> for Mark {
    fn from(packed: Packed) -> Self {
        let index = |bits: u64| usize::try_from(bits).unwrap_or(usize::MAX);
        let rtt = packed.bits(0, Packed::RTT_BITS);
        let seen = index(packed.bits(Packed::RTT_BITS, Packed::SEEN_BITS));
        let reason = index(packed.bits(Packed::RTT_BITS + Packed::SEEN_BITS, Packed::REASON_BITS));
        Self {
            at: Timestamp::from_millis(packed.0 >> Packed::AT),
            seen: Seen::ALL.get(seen).copied().unwrap_or(Seen::Nothing),
            reason: reason.checked_sub(1).and_then(|index| Reason::ALL.get(index).copied()),
            rtt: (rtt != Packed::NO_RTT).then(|| Duration::from_nanos(rtt * Packed::RTT_STEP)),
        }
    }
}

/// The last samples of a series.
#[derive(Debug, Clone, Default)]
pub struct Recorder(VecDeque<Packed>);

impl Recorder {
    /// The most samples it holds.
    pub const MOST: usize = 120;

    /// Takes a sample in.
    pub fn push(&mut self, mark: Mark) {
        if self.0.is_empty() {
            self.0.reserve_exact(Self::MOST);
        }
        if self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(mark.into());
    }

    /// Reads what the next sample will be written beside. The number says nothing.
    pub(super) fn fetch(&self) -> u64 {
        self.0.back().map_or(0, |last| last.0)
    }

    /// What it holds, in the order in which results were known; a loss is known later than the answer
    /// to the next probe.
    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        self.0.iter().map(|packed| Mark::from(*packed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(
            at in 0_u64..(1 << 38),
            seen in 0..Seen::ALL.len(),
            reason in prop::option::of(0..Reason::ALL.len()),
            rtt in prop::option::of(0_u64..262_143),
        ) {
            let mark = Mark {
                at: Timestamp::from_millis(at),
                seen: Seen::ALL[seen],
                reason: reason.map(|index| Reason::ALL[index]),
                rtt: rtt.map(|steps| Duration::from_micros(steps * 100)),
            };
            prop_assert_eq!(Mark::from(Packed::from(mark)), mark);
        }
    }

    #[test]
    fn every_reason_and_sight_has_its_bits() {
        assert!(Reason::ALL.len() < 1 << Packed::REASON_BITS);
        assert!(Seen::ALL.len() <= 1 << Packed::SEEN_BITS);
        assert!(Seen::ALL.iter().zip(0_u64..).all(|(seen, index)| *seen as u64 == index));
        assert!(Seen::ALL.iter().all(|seen| seen.as_str().len() == 1));
    }

    #[test]
    fn what_is_too_long_saturates() {
        let mark = Mark { at: Timestamp::FAR, seen: Seen::Answered, reason: None, rtt: Some(Duration::MAX) };
        let back = Mark::from(Packed::from(mark));
        assert_eq!(back.at, Timestamp::from_millis((1 << 38) - 1));
        assert_eq!(back.rtt, Some(Duration::from_micros(26_214_200)));
    }

    #[test]
    fn it_is_bounded_and_empty_at_first() {
        let mut recorder = Recorder::default();
        assert_eq!(recorder.0.capacity(), 0);
        for secs in 0..1000 {
            let at = Timestamp::from_secs(secs);
            recorder.push(Mark { at, seen: Seen::Answered, reason: None, rtt: None });
        }
        assert_eq!(recorder.iter().count(), Recorder::MOST);
        assert_eq!(recorder.iter().next().unwrap().at, Timestamp::from_secs(880));
        assert!(10_000 * recorder.0.capacity() * size_of::<Packed>() < 10_000_000);
    }
}
