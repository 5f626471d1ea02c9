//! The flight recorder of one series: what was seen of it in the last minutes, sample by sample.
//!
//! ```text
//!   bit 63 ─────────── 26 25 ── 21 20 ── 18 17 ─────── 0
//!       due, in ms         reason   seen     rtt, in 0.1 ms     one sample by itself: 8 bytes
//!
//!   0 rrrrrrr                    like the one before it, at the same pace                    1 byte
//!   1 0 ppp rrrrrrrrrrr          like it, not quite at its pace, or after another time       2 bytes
//!   1 1 pppppp  reason seen rtt  anything else                                              5 bytes, 9 or 13
//! ```
//!
//! Probes come at a steady pace, and most are answered as the one before was: it is enough to know by how many
//! milliseconds (p) their distance from the one before differs from the distance before that, which is 0 for nearly
//! all, and by how many steps (r) their round-trip time differs from the one before.
//!
//! Invariant: a recorder holds at most [`Recorder::MOST`] samples, and nothing at all before the first; what comes
//! out is what [`Packed`] has of what went in; ten thousand of them at a steady pace stay below 2 MB.

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
    /// The latest time.
    const LAST: u64 = (1 << (64 - Self::AT)) - 1;

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
        let at = (mark.at.as_nanos() / 1_000_000).min(Self::LAST);
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

/// How far a row of samples has come: the last of them, and how many milliseconds after the one before it that
/// was due. Packed, for there are two of them in each of many series.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, packed(4))]
struct Pace {
    last: u64,
    step: i32,
}

/// A number of so many bits that may be below zero, and where it has its place.
#[derive(Clone, Copy)]
struct Field {
    from: u32,
    bits: u32,
}

impl Field {
    /// The number in its place; nothing if it is too large.
    fn put(self, number: i64) -> Option<u64> {
        let lifted = u64::try_from(number + (1 << (self.bits - 1))).ok()?;
        (lifted < 1 << self.bits).then_some(lifted << self.from)
    }

    fn get(self, word: u64) -> i64 {
        Packed(word).bits(self.from, self.bits).cast_signed() - (1 << (self.bits - 1))
    }
}

/// In one byte: the difference of the round-trip times.
const RTT: Field = Field { from: 0, bits: 7 };
/// In two bytes: the same, and the difference of the distances.
const FAR_RTT: Field = Field { from: 0, bits: 11 };
const OFF: Field = Field { from: 11, bits: 3 };
const TWO_BYTES: u8 = 0b1000_0000;
/// In five bytes or more: what is said of the time in the first of them. Differences of distances from
/// [`LEAST`] on, up to ...
const MORE_BYTES: u8 = 0b1100_0000;
const LEAST: i64 = -30;
/// ... this: the distance in milliseconds follows, in four bytes.
const NEAR: u8 = 62;
/// The time in milliseconds follows, in eight bytes.
const FAR: u8 = 63;

impl Pace {
    const fn at(self) -> i64 {
        (self.last >> Packed::AT).cast_signed()
    }

    fn go(&mut self, Packed(next): Packed) {
        let next = Self { last: next, step: 0 };
        // A step that is too long is forgotten: the next sample takes more bytes.
        *self = Self { step: i32::try_from(next.at() - self.at()).unwrap_or(0), ..next };
    }

    /// Writes the next sample.
    fn write(&mut self, next: Packed, bytes: &mut Vec<u8>) {
        let distance = (next.0 >> Packed::AT).cast_signed() - self.at();
        let off = distance - i64::from(self.step);
        let rtt = |word: u64| Packed(word).bits(0, Packed::RTT_BITS).cast_signed();
        let longer = rtt(next.0) - rtt(self.last);
        let alike = (next.0 ^ self.last) & Packed::REST < 1 << Packed::RTT_BITS;
        let short = RTT.put(longer).filter(|_| alike && off == 0);
        let middle = || FAR_RTT.put(longer).zip(OFF.put(off)).filter(|_| alike);
        if let Some([.., byte]) = short.map(u64::to_be_bytes) {
            append(bytes, &[byte]);
        } else if let Some([.., high, low]) = middle().map(|(rtt, off)| (rtt | off).to_be_bytes()) {
            append(bytes, &[TWO_BYTES | high, low]);
        } else {
            let [.., a, b, c, d] = (next.0 & Packed::REST).to_be_bytes();
            let code = u8::try_from(off - LEAST).unwrap_or(FAR);
            match (code, i32::try_from(distance)) {
                (..NEAR, _) => append(bytes, &[MORE_BYTES | code, a, b, c, d]),
                (_, Ok(distance)) => {
                    append(bytes, &[MORE_BYTES | NEAR, a, b, c, d]);
                    append(bytes, &distance.to_be_bytes());
                }
                (_, Err(_)) => {
                    append(bytes, &[MORE_BYTES | FAR, a, b, c, d]);
                    append(bytes, &(next.0 >> Packed::AT).to_be_bytes());
                }
            }
        }
        self.go(next);
    }

    /// Reads the next sample off the front.
    fn read(&mut self, bytes: &mut &[u8]) -> Option<Packed> {
        let [first] = take(bytes)?;
        let same = |off: i64, longer: i64| {
            let at = self.at() + i64::from(self.step) + off;
            let rest = (self.last & Packed::REST).cast_signed() + longer;
            (at, rest.cast_unsigned())
        };
        let (at, rest) = if first < TWO_BYTES {
            same(0, RTT.get(first.into()))
        } else if first < MORE_BYTES {
            let word = u64::from(u16::from_be_bytes([first, take::<1>(bytes)?[0]]));
            same(OFF.get(word), FAR_RTT.get(word))
        } else {
            let rest = u32::from_be_bytes(take(bytes)?);
            let at = match first & !MORE_BYTES {
                NEAR => self.at() + i64::from(i32::from_be_bytes(take(bytes)?)),
                FAR => i64::from_be_bytes(take(bytes)?),
                code => same(i64::from(code) + LEAST, 0).0,
            };
            (at, rest.into())
        };
        let next = Packed(at.cast_unsigned() << Packed::AT | rest);
        self.go(next);
        Some(next)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Appends, with little more room than is needed: twice as much never would be.
fn append(bytes: &mut Vec<u8>, more: &[u8]) {
    if bytes.capacity() - bytes.len() < more.len() {
        bytes.reserve_exact(Recorder::SPARE);
    }
    bytes.extend_from_slice(more);
}

/// The last samples of a series.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    bytes: Vec<u8>,
    /// Up to the sample before the first that it holds.
    before: Pace,
    /// Up to the last one.
    last: Pace,
    samples: u8,
}

impl Recorder {
    /// The most samples it holds.
    pub const MOST: usize = 120;
    /// By how many bytes it grows.
    const SPARE: usize = 16;

    /// Takes a sample in.
    pub fn push(&mut self, mark: Mark) {
        let next = Packed::from(mark);
        if self.samples == 0 {
            self.last = Pace { last: next.0, step: 0 };
            self.before = self.last;
        } else if usize::from(self.samples) >= Self::MOST {
            let mut rest = self.bytes.as_slice();
            let _ = self.before.read(&mut rest);
            let gone = self.bytes.len() - rest.len();
            // A hundred bytes are moved as quickly as a ring is turned.
            self.bytes.drain(..gone);
            self.samples -= 1;
            if self.bytes.capacity() > 2 * (self.bytes.len() + Self::SPARE) {
                self.bytes.shrink_to(self.bytes.len() + Self::SPARE);
            }
        }
        self.last.write(next, &mut self.bytes);
        self.samples += 1;
    }

    /// Reads what the next sample will be written beside. The number says nothing.
    pub(super) fn fetch(&self) -> u64 {
        let ends = [self.bytes.first(), self.bytes.last()];
        ends.into_iter().flatten().map(|byte| u64::from(*byte)).sum()
    }

    /// What it holds, in the order in which results were known; a loss is known later than the answer
    /// to the next probe.
    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        let (mut bytes, mut pace) = (self.bytes.as_slice(), self.before);
        std::iter::from_fn(move || pace.read(&mut bytes).map(Mark::from))
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
            prop_assert!(recorder.bytes.capacity() <= 13 * Recorder::MOST + Recorder::SPARE);
        }
    }

    proptest! {
        /// Whatever differs from one to the next, also by little.
        #[test]
        fn the_same_goes_for_what_is_nearly_alike(
            steps in prop::collection::vec(
                (prop_oneof![9 => Just(0_i64), 3 => -5_i64..5, 1 => -40_i64..40], -1100_i64..1100, 0_usize..20),
                0..400,
            ),
        ) {
            let (mut recorder, mut all) = (Recorder::default(), Vec::new());
            let (mut at, mut rtt) = (1_i64 << 37, 5000_i64);
            for (off, longer, odd) in steps {
                (at, rtt) = (at + 1000 + off, (rtt + longer / 10_i64.pow((odd % 4).try_into().unwrap())).max(0));
                let seen = Seen::ALL[odd / 17 * (odd % 7)];
                let mark = Mark {
                    at: Timestamp::from_millis(at.cast_unsigned()),
                    seen,
                    reason: (seen == Seen::Refused).then_some(Reason::AuthFailed),
                    rtt: (seen != Seen::Lost).then(|| Duration::from_micros(rtt.cast_unsigned() * 100)),
                };
                recorder.push(mark);
                all.push(mark);
                let kept = all.get(all.len().saturating_sub(Recorder::MOST)..).unwrap();
                prop_assert_eq!(&recorder.iter().collect::<Vec<_>>(), kept);
            }
        }
    }

    #[test]
    fn a_byte_a_sample_is_enough_at_a_steady_pace_and_two_at_an_odd_one() {
        for (nanos, bytes) in [(1_000_000_000, 1), (333_333_333, 2)] {
            let mut recorder = Recorder::default();
            for n in 0..1000 {
                // From the middle of a millisecond on; what came odd at first is long gone.
                let at = Timestamp::from_nanos(1_000_500_000 + n * nanos);
                let rtt = Some(Duration::from_micros(1000 + n * 7919 % 6000));
                let (seen, reason) =
                    if n == 700 { (Seen::Lost, Some(Reason::NoAnswer)) } else { (Seen::Answered, None) };
                recorder.push(Mark { at, seen, reason, rtt });
            }
            assert!(recorder.bytes.len() <= bytes * Recorder::MOST);
            assert!(recorder.bytes.capacity() <= bytes * Recorder::MOST + 2 * Recorder::SPARE);
        }
    }

    /// As they are after a spell in which each was another one.
    #[test]
    fn room_that_is_no_longer_needed_is_given_back() {
        let mut recorder = Recorder::default();
        for n in 0..1000 {
            let seen = if n < 400 && n % 2 == 0 { Seen::Lost } else { Seen::Answered };
            recorder.push(Mark { at: Timestamp::from_secs(n), seen, reason: None, rtt: None });
            assert!(!(100..400).contains(&n) || recorder.bytes.capacity() > 400);
        }
        assert!(recorder.bytes.capacity() < 300, "{}", recorder.bytes.capacity());
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
        assert_eq!(recorder.bytes.capacity(), 0);
        for secs in 0..1000 {
            let at = Timestamp::from_secs(secs);
            recorder.push(Mark { at, seen: Seen::Answered, reason: None, rtt: None });
        }
        assert_eq!(recorder.iter().count(), Recorder::MOST);
        assert_eq!(recorder.iter().next().unwrap().at, Timestamp::from_secs(880));
        let bytes = size_of::<Recorder>() + recorder.bytes.capacity();
        assert!(bytes <= 200, "{bytes}");
    }
}
