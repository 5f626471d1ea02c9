//! A real session held against what its own timers foretold from the probes beside it.
//!
//! ```text
//!   probes ──▶ profile `session` ──▶ Verdict ─┐
//!                                             ├─▶ (prediction, what was seen)
//!   session ──▶ Up · Down ────────────────────┘
//! ```
//!
//! Invariant: only what can be compared is: an outage that the session met while it was up, that the
//! evidence covers to its end, and that did not end the session for another reason.

use std::time::Duration;

use crate::detect::dpd::{Mode, Profile, Verdict};
use crate::export::metrics::{Prediction, Seen};
use crate::session::{Note, Plan, Teardown};
use crate::time::Timestamp;

/// A session's last wait may run out a little after the probe that settles the verdict was answered.
const SLACK: Duration = Duration::from_secs(2);
/// The most lives of a session that are remembered.
const LIVES: usize = 8;

/// The session's own timers, as a profile.
pub(super) fn profile(plan: &Plan) -> Profile {
    Profile {
        name: Profile::SESSION.to_owned(),
        mode: Mode::Periodic,
        idle: plan.interval,
        waits: plan.retransmit.clone(),
        source: "the configured session",
    }
}

/// From when to when a session was up, and why it ended.
#[derive(Debug, Clone, Copy)]
struct Life {
    since: Timestamp,
    end: Option<(Timestamp, Teardown)>,
}

/// What a session lived through, and what is still to be compared.
#[derive(Debug, Default)]
pub(super) struct Yardstick {
    lives: Vec<Life>,
    foretold: Vec<(Timestamp, Verdict)>,
}

impl Yardstick {
    /// Takes in what the session told.
    pub fn heard(&mut self, note: &Note) {
        match *note {
            Note::Up { at, .. } => {
                if self.lives.len() == LIVES {
                    self.lives.remove(0);
                }
                self.lives.push(Life { since: at, end: None });
            }
            Note::Down { at, why, .. } => {
                if let Some(life) = self.lives.last_mut() {
                    life.end.get_or_insert((at, why));
                }
            }
            Note::Asked | Note::Alive(_) | Note::Lost => {}
        }
    }

    /// Takes in what the probes foretold, known since `now`.
    pub fn foretold(&mut self, verdict: Verdict, now: Timestamp) {
        if verdict.complete {
            self.foretold.push((now, verdict));
        }
    }

    /// When there is something to compare.
    pub fn next(&self) -> Timestamp {
        self.foretold.first().map_or(Timestamp::FAR, |(at, _)| *at + SLACK)
    }

    /// Compares what has come due.
    pub fn settle(&mut self, now: Timestamp) -> Option<(Prediction, Seen)> {
        while self.next() <= now {
            let (known, verdict) = self.foretold.remove(0);
            if let Some(seen) = self.seen(&verdict, known + SLACK) {
                let predicted = match (verdict.sure, verdict.first_teardown) {
                    (true, _) => Prediction::Sure,
                    (false, Some(_)) => Prediction::Possible,
                    (false, None) => Prediction::None,
                };
                return Some((predicted, seen));
            }
        }
        None
    }

    fn seen(&self, verdict: &Verdict, until: Timestamp) -> Option<Seen> {
        let alive = |life: &&Life| {
            life.since <= verdict.began && life.end.is_none_or(|(end, _)| end >= verdict.began)
        };
        match self.lives.iter().find(alive)?.end.filter(|(end, _)| *end <= until) {
            None => Some(Seen::Survived),
            Some((_, Teardown::LivenessTimeout)) => Some(Seen::TornDown),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn up(at: u64) -> Note {
        Note::Up { at: secs(at), childless: true }
    }

    fn down(at: u64, why: Teardown) -> Note {
        Note::Down { at: secs(at), why, since: None }
    }

    fn verdict(began: u64, first_teardown: Option<u64>, sure: bool) -> Verdict {
        Verdict {
            began: secs(began),
            last_loss: secs(began + 20),
            first_teardown: first_teardown.map(secs),
            sure,
            expected: 0.0,
            least_margin: Duration::ZERO,
            complete: true,
        }
    }

    fn compared(notes: &[Note], verdict: Verdict) -> Option<(Prediction, Seen)> {
        let mut yardstick = Yardstick::default();
        notes.iter().for_each(|note| yardstick.heard(note));
        yardstick.foretold(verdict, secs(130));
        assert_eq!(yardstick.settle(secs(131)), None, "a moment later");
        yardstick.settle(secs(132))
    }

    #[test]
    fn the_session_that_met_the_outage_counts() {
        let torn = [up(10), down(121, Teardown::LivenessTimeout), up(140)];
        assert_eq!(compared(&torn, verdict(100, Some(115), true)), Some((Prediction::Sure, Seen::TornDown)));
        assert_eq!(
            compared(&[up(10)], verdict(100, Some(115), false)),
            Some((Prediction::Possible, Seen::Survived))
        );
        assert_eq!(compared(&[up(10)], verdict(100, None, false)), Some((Prediction::None, Seen::Survived)));
    }

    #[test]
    fn what_cannot_be_compared_is_left_out() {
        assert_eq!(compared(&[], verdict(100, None, false)), None, "no session");
        assert_eq!(compared(&[up(105)], verdict(100, None, false)), None, "it came up during the outage");
        let ended = [up(10), down(110, Teardown::PeerDeleted)];
        assert_eq!(compared(&ended, verdict(100, None, false)), None, "it ended for another reason");
        let ended = [up(10), down(90, Teardown::LivenessTimeout)];
        assert_eq!(compared(&ended, verdict(100, None, false)), None, "it was down before");
        let cut = Verdict { complete: false, ..verdict(100, None, false) };
        assert_eq!(compared(&[up(10)], cut), None, "the evidence has a hole");
    }

    #[test]
    fn an_end_after_the_outage_is_not_its_doing() {
        let later = [up(10), down(180, Teardown::LivenessTimeout)];
        assert_eq!(compared(&later, verdict(100, None, false)), Some((Prediction::None, Seen::Survived)));
    }
}
