//! Counters of which most stay at 0: a list of words, made when first needed, written without a lock.
//!
//! Invariants: a word that is not 0 keeps its key for ever, so a list only grows, and there are as many
//! words as keys that were ever counted. Any thread may count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use once_cell::race::OnceBox;

/// Counts by key, each in the first word that was free when the key was first seen.
#[derive(Debug, Default)]
pub(super) struct Cells(OnceBox<Segment>);

/// One cache line.
#[derive(Debug, Default)]
struct Segment {
    /// From the top 16 bits key, 48 bits count. A word is 0 while it is free: a cell begins with one.
    words: [AtomicU64; 7],
    next: Cells,
}

const COUNT_BITS: u32 = 48;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

impl Cells {
    /// Counts one of `key`.
    pub(super) fn add(&self, key: u16) {
        let top = u64::from(key) << COUNT_BITS;
        let mut cells = self;
        loop {
            let segment = cells.0.get_or_init(Box::default);
            for word in &segment.words {
                let mut seen = word.load(Relaxed);
                if seen == 0 {
                    match word.compare_exchange(0, top | 1, Relaxed, Relaxed) {
                        Ok(_) => return,
                        Err(taken) => seen = taken,
                    }
                }
                if seen & !COUNT == top {
                    word.fetch_add(1, Relaxed);
                    return;
                }
            }
            cells = &segment.next;
        }
    }

    /// What is counted for `key`.
    pub(super) fn get(&self, key: u16) -> u64 {
        self.iter().find(|(known, _)| *known == key).map_or(0, |(_, count)| count)
    }

    /// The keys that were counted, each once, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        let segments = std::iter::successors(self.0.get(), |segment| segment.next.0.get());
        let words = segments.flat_map(|segment| segment.words.iter().map(|word| word.load(Relaxed)));
        words.take_while(|word| *word != 0).map(|word| {
            let key = (word >> COUNT_BITS) as u16;
            (key, word & COUNT)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_cache_line_and_none_is_a_word() {
        assert_eq!((size_of::<Segment>(), size_of::<Cells>()), (64, 8));
    }

    #[test]
    fn keys_are_told_apart() {
        let cells = Cells::default();
        for key in [0, u16::MAX, 7, 8, 9, 10, 11, 12, 0] {
            cells.add(key);
        }
        assert_eq!((cells.get(0), cells.get(7), cells.get(6), cells.get(u16::MAX)), (2, 1, 0, 1));
        assert_eq!(cells.iter().count(), 8);
    }
}
