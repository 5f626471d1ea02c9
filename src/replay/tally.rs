//! What was found of one series, and of each profile it fed.
//!
//! Invariant: times are the wall clock's, so that those of several runs of the daemon stand in one row.

use std::time::Duration;

use crate::detect::About;
use crate::detect::dpd::{Profile, Verdict};
use crate::time::WallTime;

/// From when, and until when, if it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub began: WallTime,
    /// Its end; nothing if the record ends first.
    pub ended: Option<WallTime>,
}

/// What an outage did to the sessions of a profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// When its first probe was lost.
    pub began: WallTime,
    /// When its last probe was lost.
    pub last_loss: WallTime,
    /// When it was certain that no session lives on; nothing if some may.
    pub sure: Option<WallTime>,
    /// Teardowns of a session, averaged over its phase.
    pub expected: f64,
}

/// What was found of one profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Drops {
    /// The profile as it was judged last.
    pub profile: Profile,
    /// How the change is called, if it is a changed one; else the profile's name.
    pub label: String,
    /// The interval it would take, if the probes come too seldom to tell.
    pub coarse: Option<Duration>,
    /// All outages that were judged, in their order.
    pub outages: Vec<Judged>,
}

impl Drops {
    /// Outages in which every session was torn down.
    pub fn sure(&self) -> impl Iterator<Item = &Judged> {
        self.outages.iter().filter(|judged| judged.sure.is_some())
    }

    /// Teardowns of a session, averaged over its phase.
    #[must_use]
    pub fn expected(&self) -> f64 {
        self.outages.iter().map(|judged| judged.expected).sum()
    }
}

/// What was found of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// What it was at last.
    pub about: About,
    /// When its first sample was due; nothing if it has none.
    pub first: Option<WallTime>,
    /// When its last one was.
    pub last: WallTime,
    /// Samples, ours that are no evidence included.
    pub samples: u64,
    /// Probes that nobody answered.
    pub lost: u64,
    /// Rows of losses.
    pub loss_runs: u64,
    /// Windows of loss.
    pub loss_windows: u64,
    /// Changes of the state.
    pub states: u64,
    /// Outages, in their order.
    pub outages: Vec<Span>,
    /// Times it fell silent or came back.
    pub flaps: u64,
    /// Times of flapping, in their order.
    pub flapping: Vec<Span>,
    /// The profiles it feeds.
    pub drops: Vec<Drops>,
}

impl Tally {
    pub(super) fn new(about: About) -> Self {
        Self {
            about,
            first: None,
            last: WallTime::default(),
            samples: 0,
            lost: 0,
            loss_runs: 0,
            loss_windows: 0,
            states: 0,
            outages: Vec::new(),
            flaps: 0,
            flapping: Vec::new(),
            drops: Vec::new(),
        }
    }

    /// Those of a profile, by its label.
    #[must_use]
    pub fn of_profile(&self, label: &str) -> Option<&Drops> {
        self.drops.iter().find(|drops| drops.label == label)
    }
}

/// How long all of them took; what is not over ends at `end`.
#[must_use]
pub fn total(spans: &[Span], end: WallTime) -> Duration {
    let length = |span: &Span| between(span.began, span.ended.unwrap_or(end));
    spans.iter().map(length).fold(Duration::ZERO, Duration::saturating_add)
}

/// How long after the one the other is; zero if it is before it.
#[must_use]
pub fn between(from: WallTime, to: WallTime) -> Duration {
    let nanos = to.as_unix_nanos().saturating_sub(from.as_unix_nanos());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

impl Judged {
    pub(super) fn new(
        verdict: &Verdict,
        sure: Option<WallTime>,
        wall: impl Fn(crate::time::Timestamp) -> WallTime,
    ) -> Self {
        Self {
            began: wall(verdict.began),
            last_loss: wall(verdict.last_loss),
            sure,
            expected: verdict.expected,
        }
    }
}
