//! The metrics of one real session: the yardstick beside the probes.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use smallvec::{SmallVec, smallvec};

use super::families::{Family, Owner, Sink, slot};
use super::histogram::{Bounds, Histogram};
use crate::session::{Note, Teardown};
use crate::time::WallTime;
use crate::words;

words! {
    /// What the session's own timers, replayed on the probes, foretold of an outage.
    pub enum Prediction {
        /// Torn down, whatever the phase.
        Sure = "sure",
        /// Torn down or not, by the phase.
        Possible = "possible",
        /// Not torn down.
        None = "none",
    }
}

words! {
    /// What the session did.
    pub enum Seen {
        /// Its peer counted as dead.
        TornDown = "torn_down",
        /// It went on.
        Survived = "survived",
    }
}

/// Which session: its three labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The target's name.
    pub target: String,
    /// The member's slot, from 1 on.
    pub member: u8,
    /// The egress' name.
    pub egress: String,
}

/// The metrics of one session. The engine writes, the web side reads.
#[derive(Debug)]
pub struct SessionMetrics {
    key: SessionKey,
    created: WallTime,
    up: AtomicBool,
    /// Why it last ended: one more than its place among [`Teardown::ALL`], 0 before that.
    last: AtomicU8,
    rtt: Histogram,
    checks: AtomicU64,
    losses: AtomicU64,
    teardowns: Box<[AtomicU64]>,
    /// By prediction, then by what was seen.
    compared: [[AtomicU64; Seen::ALL.len()]; Prediction::ALL.len()],
}

impl SessionMetrics {
    pub(super) fn new(key: SessionKey, buckets: &Bounds, created: WallTime) -> Self {
        Self {
            key,
            created,
            up: AtomicBool::new(false),
            last: AtomicU8::new(0),
            rtt: Histogram::new(buckets),
            checks: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            teardowns: Teardown::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            compared: Default::default(),
        }
    }

    /// Whether a session with these buckets can go on in this one.
    pub(super) fn fits(&self, buckets: &Bounds) -> bool {
        self.rtt.bounds() == buckets
    }

    /// Counts what a session told.
    pub fn record(&self, note: &Note) {
        match note {
            Note::Up { .. } => self.up.store(true, Relaxed),
            Note::Asked => {
                self.checks.fetch_add(1, Relaxed);
            }
            Note::Alive(rtt) => rtt.iter().for_each(|rtt| self.rtt.observe(*rtt)),
            Note::Lost => {
                self.losses.fetch_add(1, Relaxed);
            }
            Note::Down { why, .. } => {
                self.up.store(false, Relaxed);
                self.last.store(*why as u8 + 1, Relaxed);
                if let Some(counter) = self.teardowns.get(*why as usize) {
                    counter.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// Counts an outage that the session met.
    pub fn compared(&self, predicted: Prediction, seen: Seen) {
        let counter = self.compared.get(predicted as usize).and_then(|row| row.get(seen as usize));
        counter.iter().for_each(|counter| {
            counter.fetch_add(1, Relaxed);
        });
    }

    /// Which session this is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Why it last ended or did not come up; nothing before that.
    pub fn last_teardown(&self) -> Option<Teardown> {
        let last = usize::from(self.last.load(Relaxed)).checked_sub(1)?;
        Teardown::ALL.get(last).copied()
    }

    /// Whether it is up.
    pub fn up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// How often it ended, or did not come up, for that reason.
    pub fn teardowns(&self, why: Teardown) -> u64 {
        self.teardowns.get(why as usize).map_or(0, |counter| counter.load(Relaxed))
    }
}

impl Owner for SessionMetrics {
    fn labels(&self) -> SmallVec<[Cow<'_, str>; 4]> {
        let SessionKey { target, member, egress } = &self.key;
        smallvec![target.into(), slot(*member), egress.into()]
    }

    fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        match family {
            Family::SessionUp => out.flag(&[], self.up()),
            Family::SessionRtt => out.histogram(&[], &self.rtt, self.created),
            Family::SessionChecks => out.whole(&[], self.checks.load(Relaxed)),
            Family::SessionLosses => out.whole(&[], self.losses.load(Relaxed)),
            Family::SessionTeardowns => {
                for why in Teardown::ALL {
                    out.whole(&[why.as_str()], self.teardowns(*why));
                }
            }
            Family::SessionPredictions => {
                for (predicted, row) in Prediction::ALL.iter().zip(&self.compared) {
                    for (seen, count) in Seen::ALL.iter().zip(row) {
                        out.whole(&[predicted.as_str(), seen.as_str()], count.load(Relaxed));
                    }
                }
            }
            _ => {}
        }
    }
}
