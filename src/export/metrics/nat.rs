//! What the questions of one series to a STUN server make of the NATs on the way.
//!
//! Invariant: a bound of the lifetime that is not proved is absent; addresses are in no label.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::families::{Family, Sink};
use crate::detect::binding::{Bound, Lifetime};
use crate::sample::Details;
use crate::sample::binding::Unmeasured;

/// What is known of the lifetime of a mapping.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    lifetime: Lifetime,
    unmeasured: Option<Unmeasured>,
}

/// The metrics of the NATs before one server.
#[derive(Debug, Default)]
pub struct NatMetrics {
    changes: AtomicU64,
    known: Mutex<Known>,
}

impl NatMetrics {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts another mapping of the kept flow.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    /// How often the kept flow was given another mapping.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Takes over what is known of the lifetime of a mapping, and why it cannot be known, if so.
    pub fn set_lifetime(&self, lifetime: Lifetime, unmeasured: Option<Unmeasured>) {
        *self.lock() = Known { lifetime, unmeasured };
    }

    /// How long a mapping lives, as far as that is known.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lock().lifetime
    }

    /// Adds what is known, for people.
    pub(super) fn details(&self, details: &mut Details) {
        let Known { lifetime, unmeasured } = *self.lock();
        details.number("nat_mapping_changes", i64::try_from(self.changes()).unwrap_or(i64::MAX));
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        if let Some(time) = lifetime.at_least {
            details.number("nat_binding_at_least_seconds", secs(time));
        }
        if let Some(time) = lifetime.at_most {
            // Rounded outwards, as both bounds must hold.
            details.number("nat_binding_at_most_seconds", secs(time + Duration::from_millis(999)));
        }
        let text = match unmeasured {
            Some(why) => format!("not measurable: {}", why.text()),
            None => lifetime.to_string(),
        };
        details.text("nat_binding", text.as_str());
    }

    /// Gives what it has of a family.
    pub(super) fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        match family {
            Family::NatMappingChanges => out.whole(&[], self.changes()),
            Family::NatBinding => {
                let Lifetime { at_least, at_most } = self.lock().lifetime;
                for (bound, time) in [(Bound::AtLeast, at_least), (Bound::AtMost, at_most)] {
                    if let Some(time) = time {
                        out.number(&[bound.as_str()], time.as_secs_f64());
                    }
                }
            }
            _ => {}
        }
    }
}
