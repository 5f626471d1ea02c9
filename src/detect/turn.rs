//! What the traces of a path say of a time in which what is behind it fell: it turned, it stayed, or they
//! cannot tell.
//!
//! ```text
//!   ── same ── same ──┃ cut · new · new ┃── changed ── same ──▶     the target fell between the bars
//!               old ──┴──── turned ─────┴──▶ since
//! ```
//!
//! The change lies between the last trace that showed the old path at that hop and the first that showed
//! the new one. It goes with the fall if these two times enclose a part of it, and are not too far apart.
//! Invariants: only a change of which load balancing is ruled out is one; a path that is cut off may have
//! changed beyond, and is never said to have stayed.

use std::collections::VecDeque;
use std::time::Duration;

use super::incident::{Clue, Stance};
use super::path::{PathChange, Shown, Sight};
use super::witness::Window;
use crate::time::Timestamp;

/// What traces of one series showed of late.
#[derive(Debug, Clone, Default)]
pub(super) struct Sights(VecDeque<Sight>);

/// Those of a series that is no trace.
pub(super) static NO_SIGHTS: Sights = Sights(VecDeque::new());

impl Sights {
    /// How many are kept; of those alike in a row the first and the last only.
    const MOST: usize = 12;

    pub(super) fn push(&mut self, sight: Sight) {
        let alike = |place: usize| self.0.get(place).is_some_and(|other| other.shown == sight.shown);
        let length = self.0.len();
        if length >= 2 && alike(length - 1) && alike(length - 2) {
            self.0.pop_back();
        } else if length >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(sight);
    }

    /// Whether there is a known path to hold a trace against.
    pub(super) fn known(&self) -> bool {
        !self.0.is_empty()
    }

    /// What they say of a time in which the target fell.
    pub(super) fn hear(&self, window: Window) -> Turn {
        let Window { from, to, .. } = window;
        let changes = self.0.iter().filter_map(|sight| match sight.shown {
            Shown::Changed(change) => Some((change, self.old(change))),
            _ => None,
        });
        let mut other = None;
        for (change, old) in changes {
            let Some(old) = old else { continue };
            if change.since + FAR < from || change.since > to + LATE {
                continue;
            }
            if change.since + AROUND >= from && old <= to + AROUND && old + FAR >= from {
                return Turn::Turned { change, old };
            }
            other = Some(Turn::Elsewhen { change, old });
        }
        let inside = || self.0.iter().rev().filter(|sight| sight.at >= from && sight.at <= to + LATE);
        if let Some(new) = inside().next().filter(|sight| matches!(sight.shown, Shown::New(_))) {
            return Turn::Doubtful(*new);
        }
        // Routers limit their answers: what came furthest tells most.
        let cut = inside().filter_map(|sight| match sight.shown {
            Shown::Cut { hop, of } => Some((hop, of, sight.at)),
            _ => None,
        });
        // One that was under way as the fall ended may show what was before at its first hops.
        let apart = |sight: &&Sight| sight.began > to || sight.at <= to;
        let same = inside().filter(apart).find(|sight| sight.shown == Shown::Same);
        match (other, same, cut.max()) {
            (Some(turn), _, _) => turn,
            (None, Some(same), _) => Turn::Stayed(same.at),
            (None, None, Some((hop, of, at))) => Turn::Cut { hop, of, at },
            (None, None, None) => Turn::NotSeen,
        }
    }

    /// When the old path was last seen where it is another one now.
    fn old(&self, change: PathChange) -> Option<Timestamp> {
        let old = |sight: &&Sight| {
            sight.began < change.since
                && match sight.shown {
                    Shown::Same => true,
                    Shown::Cut { hop, .. } => change.hop > 0 && hop >= change.hop,
                    Shown::New(_) | Shown::Changed(_) => false,
                }
        };
        self.0.iter().rev().find(old).map(|sight| sight.began)
    }
}

/// What falls is noticed by the next probe only, which may come some seconds after the change.
const AROUND: Duration = Duration::from_secs(10);
/// The old path must have been seen this shortly before, for the two to have to do with each other.
const FAR: Duration = Duration::from_secs(300);
/// A trace this long after the fall no longer tells about it.
const LATE: Duration = Duration::from_secs(120);

/// What they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The path became another one in that time; the old one was last seen then.
    Turned { change: PathChange, old: Timestamp },
    /// It did, but before that time or after it.
    Elsewhen { change: PathChange, old: Timestamp },
    /// Something new was seen, which may be load balancing.
    Doubtful(Sight),
    /// It was traced to its end since, and is what it was.
    Stayed(Timestamp),
    /// It was what it was as far as it went: to this hop, of so many that have ever answered.
    Cut { hop: u8, of: u8, at: Timestamp },
    /// No trace says anything.
    NotSeen,
}

impl Turn {
    /// Whether it is lost on the way: before the last router, and the one before that.
    pub(super) fn lost_on_the_way(self) -> bool {
        matches!(self, Self::Cut { hop, of, .. } if hop.saturating_add(1) < of)
    }

    /// As a clue; times count from the beginning of the fall.
    pub(super) fn clue(&self, from: Timestamp) -> Clue {
        let (stance, text) = match self {
            Self::Turned { change, old } => {
                let PathChange { from: id, to, since, runs, .. } = change;
                let text = format!(
                    "it is another one {}, path {id:016x} before and {to:016x} since: last seen as it was {}, first \
                     as it is {}; {runs} traces in a row show that, which load balancing does not explain",
                    place(change.hop),
                    when(*old, from),
                    when(*since, from),
                );
                (Stance::Changed, text)
            }
            Self::Elsewhen { change, old } => {
                let (old, since) = (when(*old, from), when(change.since, from));
                let text =
                    format!("it changed {}, between {old} and {since}: at another time", place(change.hop));
                (Stance::Unclear, text)
            }
            Self::Doubtful(Sight { at, shown, .. }) => {
                let hop = if let Shown::New(hop) = shown { *hop } else { 0 };
                let at = when(*at, from);
                let text =
                    format!("something new was seen {} {at}; load balancing is not ruled out", place(hop));
                (Stance::Unclear, text)
            }
            Self::Stayed(at) => {
                (Stance::Stood, format!("traced to its end {}, the same as before", when(*at, from)))
            }
            Self::Cut { hop, of, at } => {
                let at = when(*at, from);
                let text = match hop {
                    0 => format!("no hop of {of} answered {at}"),
                    _ => format!(
                        "the same as before up to hop {hop} of {of} routers, nothing answered beyond, {at}"
                    ),
                };
                (Stance::Unclear, text)
            }
            Self::NotSeen => (Stance::NoEvidence, "it was not traced in that time".to_owned()),
        };
        Clue { stance, subject: "path".to_owned(), text }
    }
}

fn place(hop: u8) -> String {
    if hop == 0 { "in its number of hops".to_owned() } else { format!("from hop {hop} on") }
}

fn when(at: Timestamp, from: Timestamp) -> String {
    if at < from {
        format!("{:.0} s before it fell", from.since(at).as_secs_f64())
    } else {
        format!("{:.0} s after it fell", at.since(from).as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
