//! What comes next: entries by their time, the earliest first.
//!
//! ```text
//!   push ─▶ the line that ends latest before it, else the heap       4 lines, each in order by itself
//!   pop  ◀─ the earliest of the five heads
//! ```
//!
//! What is put off by the same time again and again (the next slot of a series, the deadline of an answer)
//! comes in order anyway: a line takes it at its end, and nothing is sorted. A few lines are enough for the
//! few intervals and timeouts of a configuration; the heap has the rest.
//! Invariant: what is popped is never later than what stays.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::time::Timestamp;

/// Entries by their time.
#[derive(Debug, Clone)]
pub struct Agenda<T> {
    lines: [VecDeque<(Timestamp, T)>; 4],
    heap: BinaryHeap<Reverse<(Timestamp, T)>>,
}

impl<T: Ord> Default for Agenda<T> {
    fn default() -> Self {
        Self { lines: Default::default(), heap: BinaryHeap::new() }
    }
}

impl<T: Ord + Copy> Agenda<T> {
    /// Adds an entry.
    pub fn push(&mut self, at: Timestamp, entry: T) {
        let fits = |line: &&mut VecDeque<(Timestamp, T)>| line.back().is_none_or(|(last, _)| *last <= at);
        let end = |line: &&mut VecDeque<(Timestamp, T)>| line.back().map(|(last, _)| *last);
        match self.lines.iter_mut().filter(fits).max_by_key(end) {
            Some(line) => line.push_back((at, entry)),
            None => self.heap.push(Reverse((at, entry))),
        }
    }

    /// The earliest entry, which stays.
    #[must_use]
    pub fn peek(&self) -> Option<(Timestamp, T)> {
        let lines = self.lines.iter().filter_map(|line| line.front().copied());
        lines.chain(self.heap.peek().map(|Reverse(entry)| *entry)).min()
    }

    /// The earliest entry.
    pub fn pop(&mut self) -> Option<(Timestamp, T)> {
        let first = self.peek()?;
        match self.lines.iter_mut().find(|line| line.front() == Some(&first)) {
            Some(line) => line.pop_front(),
            None => self.heap.pop().map(|Reverse(entry)| entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_gives_all_back_in_order(pushes in prop::collection::vec((0u64..50, any::<bool>()), 0..300)) {
            let mut agenda = Agenda::default();
            let mut model = BinaryHeap::new();
            for (entry, (at, pop)) in pushes.into_iter().enumerate() {
                let at = Timestamp::from_secs(at);
                agenda.push(at, entry);
                model.push(Reverse((at, entry)));
                if pop {
                    prop_assert_eq!(agenda.pop(), model.pop().map(|Reverse(first)| first));
                }
            }
            while let Some(Reverse(first)) = model.pop() {
                prop_assert_eq!(agenda.peek(), Some(first));
                prop_assert_eq!(agenda.pop(), Some(first));
            }
            prop_assert_eq!(agenda.pop(), None);
        }
    }

    #[test]
    fn equal_distances_need_no_heap() {
        let mut agenda = Agenda::default();
        for entry in 0..100_u64 {
            agenda.push(Timestamp::from_millis(entry * 7 % 100), entry);
        }
        for round in 0..1000 {
            let (at, entry) = agenda.pop().unwrap();
            agenda.push(at + std::time::Duration::from_secs(1 + entry % 3), entry);
            assert!(round < 400 || agenda.heap.is_empty());
        }
    }
}
