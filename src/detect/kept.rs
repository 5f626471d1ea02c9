//! What is kept of the detectors over a restart.
//!
//! All times in it are on the clock of the process that wrote it: whoever reads it goes on with that
//! clock, the pause added, so that the pause is a hole in the evidence and nothing else.
//! Invariant: what was kept is taken up by the same series only, once, while it is not too old, and only
//! if it can have been so; else the series begins with nothing known.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::about::AboutRef;
use super::dpd::{Profile, Survival};
use super::incidents::KeptIncident;
use super::watch;
use crate::time::{Timestamp, nanos};

/// Older than this is not taken up: at the usual settings the longest flapping is over by then, and
/// what went on meanwhile is anyone's guess.
pub const OLDEST: Duration = Duration::from_secs(3600);

/// Which series it is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The target's name.
    pub target: String,
    /// The member's slot.
    pub member: u8,
    /// The member's address.
    pub address: Option<IpAddr>,
    /// The probe's name.
    pub probe: String,
    /// The way out.
    pub egress: String,
    /// From one probe to the next, in nanoseconds.
    pub interval: u64,
    /// How long an answer may take, in nanoseconds.
    pub timeout: u64,
}

impl From<AboutRef<'_>> for Key {
    fn from(about: AboutRef<'_>) -> Self {
        Self {
            target: about.target.to_owned(),
            member: about.member,
            address: about.address,
            probe: about.probe.to_owned(),
            egress: about.egress.to_owned(),
            interval: nanos(about.interval),
            timeout: nanos(about.timeout),
        }
    }
}

/// The view of one profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptSurvival {
    name: String,
    idle: Duration,
    waits: Vec<Duration>,
    survival: Survival,
}

impl KeptSurvival {
    pub(super) fn new(profile: &Profile, survival: &Survival) -> Self {
        let Profile { name, idle, waits, .. } = profile;
        Self { name: name.clone(), idle: *idle, waits: waits.clone(), survival: survival.clone() }
    }

    fn is_of(&self, profile: &Profile) -> bool {
        self.name == profile.name && self.idle == profile.idle && self.waits == profile.waits
    }
}

/// All that is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Knowledge {
    /// What is known of each series.
    pub series: Vec<Kept>,
    /// The incidents that are not over.
    pub incidents: Vec<KeptIncident>,
}

/// What is kept of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// Which series it is of.
    pub key: Key,
    /// When this was so.
    pub at: Timestamp,
    pub(super) watch: watch::Folds,
    /// Whether a reply has ever come.
    pub(super) answered: bool,
    /// The last few times it fell silent and came back.
    pub(super) downs: VecDeque<(Timestamp, Option<Timestamp>)>,
    pub(super) dpd: Vec<KeptSurvival>,
}

impl Kept {
    /// Whether it may be taken up at `now`.
    #[must_use]
    pub fn usable(&self, now: Timestamp) -> bool {
        let down = |(down, up): &(Timestamp, Option<Timestamp>)| {
            *down <= self.at && up.is_none_or(|up| up <= self.at)
        };
        now.checked_since(self.at).is_some_and(|age| age <= OLDEST)
            && self.watch.plausible(self.at)
            && self.downs.iter().all(down)
    }

    /// What a profile knew, if its timers are still the same.
    pub(super) fn survival(&self, profile: &Profile) -> Option<&Survival> {
        self.dpd.iter().find(|kept| kept.is_of(profile)).map(|kept| &kept.survival)
    }
}

#[cfg(test)]
mod tests;
