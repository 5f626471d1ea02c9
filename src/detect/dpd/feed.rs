//! Puts the samples of one series back into the order of their sending.
//!
//! A lost probe is known to be lost a timeout after it was sent; the answer to the next one is there
//! before that.
//! Invariant: what comes out has ascending times; a sample is never held longer than the timeout and a
//! little.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sample::Sample;
use crate::time::Timestamp;

/// How much later than its timeout a sample may come and still find its place.
const SLACK: Duration = Duration::from_millis(500);
/// The most samples held: a timeout of a minute at ten a second.
const HELD: usize = 1024;

/// One series' samples, in order.
#[derive(Debug, Clone)]
pub struct Feed {
    patience: Duration,
    /// The slot that comes next.
    next: Option<u64>,
    held: BTreeMap<u64, (Timestamp, Option<bool>)>,
}

impl Feed {
    /// For a series whose answers may take `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { patience: timeout + SLACK, next: None, held: BTreeMap::new() }
    }

    /// Takes a sample in, and gives out what is due: when each was sent, and its fate.
    pub fn push(&mut self, sample: &Sample, mut out: impl FnMut(Timestamp, Option<bool>)) {
        let at = sample.sent.unwrap_or(sample.due);
        let fate = sample.report.outcome.received();
        let next = *self.next.get_or_insert(sample.seq);
        if sample.seq < next {
            return;
        }
        if sample.seq == next && self.held.is_empty() {
            self.next = Some(next.wrapping_add(1));
            out(at, fate);
            return;
        }
        // Two exchanges of one slot: what was answered counts.
        let held = self.held.entry(sample.seq).or_insert((at, fate));
        held.1 = held.1.max(fate);
        while let Some(first) = self.held.first_entry() {
            let waited = sample.done.since(first.get().0) > self.patience;
            if Some(*first.key()) != self.next && !waited && self.held.len() <= HELD {
                break;
            }
            let Some((seq, (at, fate))) = self.held.pop_first() else { break };
            self.next = Some(seq.wrapping_add(1));
            out(at, fate);
        }
    }
}
