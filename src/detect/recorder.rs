//! The flight recorder of one series: what was seen of it in the last minutes, sample by sample.
//!
//! ```text
//!   bit 63 ─────────── 26 25 ── 21 20 ── 18 17 ─────── 0
//!       due, in ms         reason   seen     rtt, in 0.1 ms     one sample by itself: 8 bytes
//!
//!   bit 31 ─ 26 25 ────────────────── 0
//!       pace    reason, seen, rtt                               among others: 4 bytes, rarely more
//! ```
//!
//! Probes come at a steady pace: of most samples it is enough to know by how many milliseconds their distance
//! from the one before differs from the distance before that, and for nearly all that is 0.
//!
//! Invariant: a recorder holds at most [`Recorder::MOST`] samples, and nothing at all before the first; what comes
//! out is what [`Packed`] has of what went in; ten thousand of them at a steady pace stay below 6 MB.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::collector::Bearing;
use crate::sample::{Outcome, Reason, Sample};
use crate::time::{Timestamp, nanos};
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
    /// All but the time.
    const REST: u64 = (1 << Self::AT) - 1;

    const fn bits(self, from: u32, count: u32) -> u64 {
        (self.0 >> from) & ((1 << count) - 1)
    }
}

impl From<Mark> for Packed {
    fn from(mark: Mark) -> Self {
        let steps = |rtt: Duration| (nanos(rtt) / Self::RTT_STEP).min(Self::NO_RTT - 1);
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

/// How far a row of samples has come: when the last of them was due, and how long after the one before it.
/// Milliseconds. Packed, for there are two of them in each of many series.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, packed(4))]
struct Pace {
    at: i64,
    step: i32,
}

impl Pace {
    /// The differences that fit into one word: from this one ...
    const LEAST: i64 = -30;
    /// ... to this one, as many as there are below [`NEAR`].
    const MOST: i64 = 31;

    fn go(&mut self, at: i64) {
        // A step that is too long is forgotten: the next sample takes another word.
        *self = Self { at, step: i32::try_from(at - self.at).unwrap_or(0) };
    }

    /// Reads one sample.
    fn read(&mut self, mut word: impl FnMut() -> Option<u32>) -> Option<Packed> {
        let first = word()?;
        let code = first >> Packed::AT;
        let at = match code {
            NEAR => self.at + i64::from(word()?.cast_signed()),
            FAR => i64::from(word()?) << 32 | i64::from(word()?),
            code => self.at + i64::from(self.step) + i64::from(code) + Self::LEAST,
        };
        self.go(at);
        Some(Packed(at.cast_unsigned() << Packed::AT | u64::from(first) & Packed::REST))
    }
}

/// The distance in milliseconds from the sample before follows.
const NEAR: u32 = 62;
/// The time in milliseconds follows, in two words.
const FAR: u32 = 63;

/// The last samples of a series.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    words: VecDeque<u32>,
    /// Up to the sample before the first that it holds.
    before: Pace,
    /// Up to the last one.
    last: Pace,
    samples: u8,
}

impl Recorder {
    /// The most samples it holds.
    pub const MOST: usize = 120;

    /// Takes a sample in.
    pub fn push(&mut self, mark: Mark) {
        let Packed(packed) = mark.into();
        let at = (packed >> Packed::AT).cast_signed();
        match self.samples {
            0 => {
                self.words.reserve_exact(Self::MOST);
                self.last = Pace { at, step: 0 };
                self.before = self.last;
            }
            1 => {
                // The pace shows now only: let it have been the same before the first.
                let step = i32::try_from(at - self.last.at).unwrap_or(0);
                self.before = Pace { at: self.last.at - i64::from(step), step };
                self.last.step = step;
            }
            samples if usize::from(samples) >= Self::MOST => {
                let Self { words, before, .. } = self;
                let _ = before.read(|| words.pop_front());
                self.samples -= 1;
            }
            _ => {}
        }
        let distance = at - self.last.at;
        let difference = distance - i64::from(self.last.step);
        let [high, low] =
            [packed >> Packed::AT >> 32, packed >> Packed::AT].map(|bits| (bits & 0xffff_ffff) as u32);
        let (code, more): (u32, &[u32]) = if (Pace::LEAST..=Pace::MOST).contains(&difference) {
            (u32::try_from(difference - Pace::LEAST).unwrap_or_default(), &[])
        } else if let Ok(distance) = i32::try_from(distance) {
            (NEAR, &[distance.cast_unsigned()])
        } else {
            (FAR, &[high, low])
        };
        if self.words.capacity() - self.words.len() <= more.len() {
            // Twice as much would never be needed.
            self.words.reserve_exact(Self::SPARE);
        }
        self.words.push_back(code << Packed::AT | (packed & Packed::REST) as u32);
        self.words.extend(more);
        self.last.go(at);
        self.samples += 1;
    }

    /// Reads what the next sample will be written beside. The number says nothing.
    pub(super) fn fetch(&self) -> u64 {
        self.words.back().copied().map_or(0, u64::from)
    }

    /// By how many words it grows where the pace is not steady.
    const SPARE: usize = 16;

    /// What it holds, in the order in which results were known; a loss is known later than the answer
    /// to the next probe.
    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        let (mut words, mut pace) = (self.words.iter().copied(), self.before);
        std::iter::from_fn(move || pace.read(|| words.next()).map(Mark::from))
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

    proptest! {
        /// Whatever the pace is, also where losses are known late, and where the clock leaps.
        #[test]
        fn the_last_ones_come_out_as_they_went_in(
            steps in prop::collection::vec(
                prop_oneof![
                    8 => Just(1000_i64),
                    4 => 950_i64..1050,
                    2 => -4000_i64..4000,
                    1 => -(1_i64 << 40)..(1 << 40),
                ],
                0..400,
            ),
            rtt in prop::option::of(0_u64..300_000),
        ) {
            let (mut recorder, mut all, mut at) = (Recorder::default(), Vec::new(), 1_i64 << 37);
            for step in steps {
                at = (at + step).clamp(0, (1 << 39) - 1);
                let rtt = rtt.map(|steps| Duration::from_micros(steps * 100));
                let at = Timestamp::from_millis(at.cast_unsigned());
                let mark = Mark { at, seen: Seen::ALL[all.len() % Seen::ALL.len()], reason: None, rtt };
                recorder.push(mark);
                all.push(Mark::from(Packed::from(mark)));
                let kept = all.get(all.len().saturating_sub(Recorder::MOST)..).unwrap();
                prop_assert_eq!(&recorder.iter().collect::<Vec<_>>(), kept);
            }
            prop_assert!(recorder.words.capacity() <= 3 * Recorder::MOST + Recorder::SPARE);
        }
    }

    #[test]
    fn a_word_a_sample_is_enough_at_a_steady_pace() {
        let mut recorder = Recorder::default();
        for n in 0..1000 {
            // Every 333.3 ms, in whole milliseconds, from the middle of one on.
            let at = Timestamp::from_nanos(1_000_500_000 + n * 333_333_333);
            recorder.push(Mark { at, seen: Seen::Answered, reason: None, rtt: None });
        }
        assert_eq!(recorder.words.capacity(), Recorder::MOST);
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
        assert_eq!(recorder.words.capacity(), 0);
        for secs in 0..1000 {
            let at = Timestamp::from_secs(secs);
            recorder.push(Mark { at, seen: Seen::Answered, reason: None, rtt: None });
        }
        assert_eq!(recorder.iter().count(), Recorder::MOST);
        assert_eq!(recorder.iter().next().unwrap().at, Timestamp::from_secs(880));
        let bytes = size_of::<Recorder>() + recorder.words.capacity() * size_of::<u32>();
        assert!(bytes < 550, "{bytes}");
    }
}
