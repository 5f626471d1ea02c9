//! What the traces of one series make of its path. One thread writes; scrapes and the web side read.
//!
//! Invariant: addresses of routers go to JSON, never into a label.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::families::{Family, Sink};
use crate::detect::path::FirstHop;
use crate::sample::path::{MtuSeen, PathSeen, Way};
use crate::time::WallTime;

/// The path as it is known now.
#[derive(Debug, Clone, Default)]
pub struct PathNow {
    /// The last trace, and when it ended.
    pub seen: Option<(WallTime, Arc<PathSeen>)>,
    /// The path's id: the same path has the same one while the program runs.
    pub id: Option<u64>,
    /// The addresses known of each hop limit, load balanced ones together.
    pub variants: Vec<(u8, Vec<IpAddr>)>,
    /// When the path changed last.
    pub changed: Option<WallTime>,
    /// What the first hop is.
    pub first_hop: Option<FirstHop>,
    /// Which way packets leave this host.
    pub way: Way,
    /// How many hops it was to the destination when that last answered.
    pub hops: Option<usize>,
    /// Its MTU, as last searched.
    pub mtu: Option<MtuSeen>,
    /// The last thorough trace, of an outage, and when it ended.
    pub deep: Option<(WallTime, Arc<PathSeen>)>,
}

/// The metrics of one path.
#[derive(Debug, Default)]
pub struct PathMetrics {
    changes: AtomicU64,
    now: Mutex<PathNow>,
}

impl PathMetrics {
    fn lock(&self) -> MutexGuard<'_, PathNow> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change.
    pub fn changed(&self, at: WallTime) {
        self.changes.fetch_add(1, Relaxed);
        self.lock().changed = Some(at);
    }

    /// Takes over what is known.
    pub fn set(&self, update: impl FnOnce(&mut PathNow)) {
        update(&mut self.lock());
    }

    /// What is known.
    #[must_use]
    pub fn now(&self) -> PathNow {
        self.lock().clone()
    }

    /// How often the path has changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Gives what it has of a family.
    pub(super) fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        match family {
            Family::PathChanges => out.whole(&[], self.changes()),
            Family::PathHops => {
                if let Some(hops) = self.lock().hops {
                    out.number(&[], f64::from(u32::try_from(hops).unwrap_or(u32::MAX)));
                }
            }
            Family::PathMtu => {
                if let Some(mtu) = self.lock().mtu {
                    out.number(&[], f64::from(mtu.bytes));
                }
            }
            Family::PathFirstHop => {
                if let Some(first) = self.lock().first_hop {
                    FirstHop::ALL.iter().for_each(|class| out.flag(&[class.as_str()], *class == first));
                }
            }
            _ => {}
        }
    }
}
