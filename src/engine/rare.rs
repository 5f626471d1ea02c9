//! When the rare forms of the series are due: beside the schedule, at a pace of their own.
//!
//! Invariant: a series' appointments end with it, also if another one gets its number.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::Engine;
use super::place::FIRST_RARE;
use crate::entropy::Draw;
use crate::net::{Happening, Tag};
use crate::sample::SeriesId;
use crate::time::Timestamp;

/// A rare form that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Appointment {
    /// When.
    pub at: Timestamp,
    /// Whose it is.
    pub series: SeriesId,
    /// The form's place in the kind's list.
    pub form: usize,
    incarnation: u64,
}

/// All appointments, the next one first.
#[derive(Debug, Default)]
pub(super) struct Appointments {
    heap: BinaryHeap<Reverse<Appointment>>,
    /// Tells those of a series from those of the one that had its number before.
    incarnations: HashMap<SeriesId, u64>,
    made: u64,
}

impl Appointments {
    /// The first appointment for a form of a series.
    pub fn add(&mut self, series: SeriesId, form: usize, at: Timestamp) {
        self.made += 1;
        let incarnation = *self.incarnations.entry(series).or_insert(self.made);
        self.heap.push(Reverse(Appointment { at, series, form, incarnation }));
    }

    /// The next one, put off until `at`.
    pub fn again(&mut self, due: Appointment, at: Timestamp) {
        self.heap.push(Reverse(Appointment { at, ..due }));
    }

    /// No appointment of this series is kept.
    pub fn remove(&mut self, series: SeriesId) {
        self.incarnations.remove(&series);
    }

    /// One that is due at `now`, if there is one.
    pub fn pop(&mut self, now: Timestamp) -> Option<Appointment> {
        while self.next() <= now {
            let Reverse(due) = self.heap.pop()?;
            if self.incarnations.get(&due.series) == Some(&due.incarnation) {
                return Some(due);
            }
        }
        None
    }

    /// When the next one is due.
    pub fn next(&self) -> Timestamp {
        self.heap.peek().map_or(Timestamp::FAR, |Reverse(next)| next.at)
    }
}

impl Engine {
    /// Begins the rare forms that are due.
    pub(super) fn run_rare(&mut self, now: Timestamp, out: &mut Vec<Happening>) {
        while let Some(due) = self.rare.pop(now) {
            let Some(series) = self.series.get(due.series.0 as usize).and_then(Option::as_deref) else {
                continue;
            };
            let forms = (series.spec.kind.forms)(&series.spec);
            let Some(form) = forms.get(due.form) else { continue };
            let jitter = Duration::from_millis(self.driver.entropy().below(5000));
            let again = match (series.address, series.flow) {
                (Some(address), Some(flow)) => match self.budget.draw(address, form, now) {
                    Ok(()) => {
                        let tag = Tag { series: due.series, seq: series.seq, due: due.at, form };
                        self.driver.begin(flow, tag, &series.spec, out);
                        now + series.spec.full_interval
                    }
                    Err(held) => {
                        series.metrics.deferred();
                        held.until + jitter
                    }
                },
                _ => now + FIRST_RARE,
            };
            self.rare.again(due, again);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_appointments_of_a_series_end_with_it() {
        let (one, other) = (SeriesId(1), SeriesId(2));
        let mut rare = Appointments::default();
        rare.add(one, 0, Timestamp::from_secs(10));
        rare.add(one, 1, Timestamp::from_secs(20));
        rare.add(other, 0, Timestamp::from_secs(15));
        rare.remove(one);
        rare.add(one, 2, Timestamp::from_secs(30));
        assert_eq!(rare.pop(Timestamp::from_secs(9)), None);
        let mut seen = Vec::new();
        while let Some(due) = rare.pop(Timestamp::from_secs(30)) {
            seen.push((due.series.0, due.form));
            if due.series == other && seen.len() == 1 {
                rare.again(due, Timestamp::from_secs(25));
            }
        }
        assert_eq!(seen, [(2, 0), (2, 0), (1, 2)]);
    }
}
