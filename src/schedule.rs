//! What is due when. Open-loop: due times are fixed in advance, and no outcome ever moves one.
//!
//! ```text
//!   phase  phase+i  phase+2i …        phase: random in [0, i), kept for the life of the series
//! ```
//!
//! Invariants: the n-th slot of a series is due at `phase + n · interval`, exactly, for ever; a slot is
//! handed out once or counted as missed, never both; after a stall nothing is made up for, so series do
//! not bunch.

use std::time::Duration;

use crate::agenda::Agenda;
use crate::entropy::{Draw, Entropy};
use crate::sample::SeriesId;
use crate::time::{Timestamp, nanos};

/// A slot that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Whose it is.
    pub series: SeriesId,
    /// Which one, counted from 0 with the missed ones.
    pub seq: u64,
    /// When it was due.
    pub due: Timestamp,
    /// How many slots of the series before it were missed.
    pub missed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    interval: Duration,
    seq: u64,
    due: Timestamp,
    missed: u64,
}

/// Due times of all series.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Vec<Option<Entry>>,
    queue: Agenda<u32>,
}

impl Schedule {
    /// Nothing is due.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a series; its first slot is due at a random point of the first interval from `now`.
    pub fn add(&mut self, series: SeriesId, interval: Duration, now: Timestamp, entropy: &mut dyn Entropy) {
        let nanos = nanos(interval).max(1);
        let due = now + Duration::from_nanos(entropy.below(nanos));
        let index = series.0 as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, None);
        }
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = Some(Entry { interval: Duration::from_nanos(nanos), seq: 0, due, missed: 0 });
        }
        self.queue.push(due, series.0);
    }

    /// Adds a series whose slots are due at the same instants as those of `other`, with the same numbers;
    /// one of its own pace if there is no such series.
    pub fn add_beside(
        &mut self,
        series: SeriesId,
        other: SeriesId,
        interval: Duration,
        now: Timestamp,
        entropy: &mut dyn Entropy,
    ) {
        let same = self.entry(other.0).filter(|entry| entry.interval == interval).copied();
        self.add(series, interval, now, entropy);
        let own = self.entries.get_mut(series.0 as usize).and_then(Option::as_mut);
        if let (Some(same), Some(own)) = (same, own) {
            *own = Entry { missed: 0, ..same };
            self.queue.push(own.due, series.0);
        }
    }

    /// Takes a series out.
    pub fn remove(&mut self, series: SeriesId) {
        if let Some(entry) = self.entries.get_mut(series.0 as usize) {
            *entry = None; // its place in the queue is stale now, and skipped
        }
    }

    /// When the next slot is due.
    pub fn next_due(&mut self) -> Option<Timestamp> {
        while let Some((due, index)) = self.queue.peek() {
            if self.entry(index).is_some_and(|entry| entry.due == due) {
                return Some(due);
            }
            self.queue.pop();
        }
        None
    }

    /// The next slot that is due by `now`. A slot found too late to start is missed: its series goes on
    /// at its own next due time.
    pub fn pop(&mut self, now: Timestamp) -> Option<Slot> {
        while let Some(due) = self.next_due() {
            if due > now {
                return None;
            }
            let (_, index) = self.queue.pop()?;
            let Some(entry) = self.entries.get_mut(index as usize).and_then(Option::as_mut) else { continue };
            let slot = Slot { series: SeriesId(index), seq: entry.seq, due, missed: entry.missed };
            let late = now.since(due);
            let on_time = late <= tolerance(entry.interval);
            entry.missed = if on_time { 0 } else { entry.missed + 1 };
            entry.seq += 1;
            entry.due = due + entry.interval;
            self.queue.push(entry.due, index);
            if on_time {
                return Some(slot);
            }
        }
        None
    }

    /// How many slots a second all series have together.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.entries.iter().flatten().map(|entry| 1.0 / entry.interval.as_secs_f64()).sum()
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize).and_then(Option::as_ref)
    }
}

/// How late a slot may start: a quarter of its interval, but 50 ms at the least and 1 s at the most.
fn tolerance(interval: Duration) -> Duration {
    (interval / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Generator;

    fn schedule(series: u32, interval: Duration) -> Schedule {
        let mut schedule = Schedule::new();
        let mut entropy = Generator::seeded(7);
        for index in 0..series {
            schedule.add(SeriesId(index), interval, Timestamp::ZERO, &mut entropy);
        }
        schedule
    }

    #[test]
    fn a_million_intervals_do_not_drift() {
        let interval = Duration::from_nanos(1_000_000_007);
        let mut schedule = schedule(1, interval);
        let first = schedule.next_due().unwrap();
        let mut last = None;
        for _ in 0..=1_000_000 {
            // Found up to 7 ms late, as a loaded machine does.
            let due = schedule.next_due().unwrap();
            last = schedule.pop(due + Duration::from_nanos(due.as_nanos() % 7_000_000));
        }
        let last = last.unwrap();
        assert_eq!(last.seq, 1_000_000);
        assert_eq!(last.due, first + interval * 1_000_000);
    }

    #[test]
    fn a_stall_misses_slots_and_bunches_nothing() {
        let mut schedule = schedule(100, Duration::from_secs(5));
        let mut now = Timestamp::ZERO;
        let (mut run, mut missed) = (0u64, 0);
        let mut starts = Vec::new();
        while now < Timestamp::from_secs(120) {
            now = schedule.next_due().unwrap().max(now);
            if now > Timestamp::from_secs(60) && now < Timestamp::from_secs(70) {
                now = Timestamp::from_secs(82); // stopped for a good while
            }
            while let Some(slot) = schedule.pop(now) {
                run += 1;
                missed += slot.missed;
                starts.push(now);
            }
        }
        assert!((2300..=2410).contains(&(run + missed)), "{run} + {missed}");
        assert!(missed >= 300, "{missed}");
        let burst = starts.iter().filter(|start| **start == Timestamp::from_secs(82)).count();
        assert!(burst <= 30, "{burst} at once after the stall");
    }

    #[test]
    fn phases_are_spread_over_the_interval() {
        let mut schedule = schedule(10_000, Duration::from_secs(5));
        let mut bins = [0u32; 500];
        while let Some(due) = schedule.next_due()
            && let Some(slot) = schedule.pop(due)
            && slot.seq == 0
        {
            bins[(slot.due.as_nanos() / 10_000_000) as usize] += 1;
        }
        let most = bins.iter().max().unwrap();
        assert!(*most <= 5 * 20, "{most} of 10,000 in one 10 ms bin");
        // Chi-square with 499 degrees of freedom: 99.9 % below 603.
        let chi: f64 = bins.iter().map(|n| (f64::from(*n) - 20.0).powi(2) / 20.0).sum();
        assert!(chi < 603.0, "{chi}");
    }

    #[test]
    fn a_series_beside_another_has_its_instants_and_numbers() {
        let interval = Duration::from_secs(5);
        let mut schedule = schedule(1, interval);
        let mut entropy = Generator::seeded(8);
        schedule.pop(Timestamp::from_millis(5100));
        let now = Timestamp::from_secs(6);
        schedule.add_beside(SeriesId(1), SeriesId(0), interval, now, &mut entropy);
        schedule.add_beside(SeriesId(2), SeriesId(9), interval, now, &mut entropy);
        let mut slots = Vec::new();
        for second in 6..30 {
            slots.extend(std::iter::from_fn(|| schedule.pop(Timestamp::from_secs(second))));
        }
        let of = |id: u32| {
            let mine = slots.iter().filter(move |slot| slot.series == SeriesId(id));
            mine.map(|slot| (slot.due, slot.seq)).collect::<Vec<_>>()
        };
        assert!(of(0).len() >= 4 && of(0) == of(1), "{slots:?}");
        assert!(of(2).len() >= 4 && of(2) != of(0));
    }

    #[test]
    fn a_removed_series_is_never_due_again() {
        let mut schedule = schedule(2, Duration::from_secs(1));
        schedule.remove(SeriesId(0));
        for second in 1..10 {
            while let Some(slot) = schedule.pop(Timestamp::from_secs(second)) {
                assert_eq!(slot.series, SeriesId(1));
            }
        }
    }
}
