//! What a series has to say about a time in which another one fell.
//!
//! Not its transitions are asked but its samples: a probe each minute has no transition within the half
//! minute of an outage, and yet one lost or answered sample that tells.
//! Invariant: a sample that is no evidence, and a time without samples, say nothing.

use std::time::Duration;

use super::incident::Stance;
use super::recorder::{Mark, Recorder, Seen};
use crate::sample::{Carrier, Reason};
use crate::time::Timestamp;

/// The time that is looked at, and what counts as good in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// When the first probe of the fallen series without success was due.
    pub from: Timestamp,
    /// When the last one was, or now.
    pub to: Timestamp,
    /// Whether a refusal is no success.
    pub serving: bool,
}

/// What a series says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Witness {
    good: u32,
    bad: u32,
    /// Losses that a fresh flow refuted.
    on_flow: u32,
    /// What was said most often by ICMP errors, resets and refusals, and how often.
    said: Option<(Reason, u32)>,
    /// The same of the time before.
    good_before: u32,
    bad_before: u32,
    /// Cookies in the time before.
    busy: u32,
    /// Whether what carries it sends again by itself, so that one failure is no chance.
    sure: bool,
}

impl Witness {
    /// At least this long before the window is looked at.
    const BEFORE: Duration = Duration::from_secs(60);
    const INTERVALS_BEFORE: u32 = 5;

    /// Hears the recorder of a series with that interval.
    pub(super) fn hear(recorder: &Recorder, carrier: Carrier, interval: Duration, window: Window) -> Self {
        let before = window.from - Self::BEFORE.max(interval.saturating_mul(Self::INTERVALS_BEFORE));
        let mut heard = Self { sure: carrier == Carrier::Tcp, ..Self::default() };
        let mut said: Vec<(Reason, u32)> = Vec::new();
        for mark in recorder.iter().filter(|mark| mark.at >= before && mark.at <= window.to) {
            let Some(good) = good(&mark, window.serving) else { continue };
            if mark.at < window.from {
                heard.good_before += u32::from(good);
                heard.bad_before += u32::from(!good);
                heard.busy += u32::from(mark.seen == Seen::Busy);
                continue;
            }
            heard.good += u32::from(good);
            heard.bad += u32::from(!good);
            heard.on_flow += u32::from(mark.seen == Seen::LostOnFlow);
            if let (Seen::Denied | Seen::Refused, Some(reason)) = (mark.seen, mark.reason) {
                match said.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, count)) => *count += 1,
                    None => said.push((reason, 1)),
                }
            }
        }
        heard.said = said.into_iter().max_by_key(|(_, count)| *count);
        heard
    }

    /// In a word. A series that fell lost at least three of four, and one that stood lost one at most. One
    /// lost packet alone is neither: it may be chance.
    pub(super) fn stance(&self) -> Stance {
        let Self { good, bad, .. } = *self;
        if good == 0 && bad == 0 {
            Stance::NoEvidence
        } else if self.flow() || (good > 0 && good >= bad.saturating_mul(3)) {
            Stance::Stood
        } else if good == 0 && bad == 1 && self.said.is_none() && !self.sure {
            Stance::Unclear
        } else if bad >= good.saturating_mul(3) {
            match (self.good_before, self.bad_before) {
                (0, 0) => Stance::NoEvidence,
                (0, _) => Stance::DownBefore,
                _ => Stance::Fell,
            }
        } else {
            Stance::Unclear
        }
    }

    /// Whether only the flow it kept open fell. The first three losses come before a fresh flow is tried.
    pub(super) fn flow(&self) -> bool {
        self.on_flow >= 2 && self.bad <= 3 + 2 * self.on_flow
    }

    /// What was said, if it was said twice or more, and not by the way only.
    pub(super) fn said(&self) -> Option<Reason> {
        self.said
            .filter(|(_, count)| *count >= 2 && count.saturating_mul(4) >= self.bad)
            .map(|(reason, _)| reason)
    }

    /// Whether the peer asked for cookies before it fell silent.
    pub(super) fn busy(&self) -> bool {
        self.busy > 0 && self.busy * 2 >= self.good_before
    }

    /// Whether it was well before and has no evidence, or no clear one, now.
    pub(super) fn open_question(&self) -> bool {
        self.good_before > 0 && matches!(self.stance(), Stance::NoEvidence | Stance::Unclear)
    }

    /// In words: what was seen of it, in that time.
    pub(super) fn text(&self) -> String {
        let Self { good, bad, .. } = *self;
        let all = good + bad;
        let what = match self.stance() {
            Stance::NoEvidence if all == 0 => "no probe of it has a result in that time".to_owned(),
            Stance::NoEvidence => format!("{bad} of {all} failed, and nothing is known of the time before"),
            Stance::DownBefore => format!("{bad} of {all} failed, and so did all before"),
            Stance::Stood if self.flow() => {
                format!("{bad} of {all} failed on the flow kept open, and fresh flows were answered")
            }
            Stance::Stood => format!("{good} of {all} succeeded"),
            _ => format!("{bad} of {all} failed"),
        };
        match self.said {
            Some((reason, count)) => format!("{what}; {count} times \"{reason}\""),
            None => what,
        }
    }
}

/// Whether a sample was a success; nothing if it is no evidence.
pub(super) fn good(mark: &Mark, serving: bool) -> Option<bool> {
    mark.received().map(|received| received && !(serving && mark.seen == Seen::Refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sample a second from 0 s on, as [`Seen`] spells them; the window begins at 10 s.
    fn hear(samples: &str) -> Witness {
        let mut recorder = Recorder::default();
        for (c, secs) in samples.chars().zip(0..) {
            if c == ' ' {
                continue;
            }
            let seen: Seen = c.to_string().parse().unwrap();
            let reason = (seen == Seen::Denied).then_some(Reason::PortUnreachable);
            recorder.push(Mark { at: Timestamp::from_secs(secs), seen, reason, rtt: None });
        }
        let (from, to) = (Timestamp::from_secs(10), Timestamp::from_secs(100));
        Witness::hear(&recorder, Carrier::Udp, Duration::from_secs(1), Window { from, to, serving: false })
    }

    #[test]
    fn stances() {
        for (samples, stance) in [
            ("", Stance::NoEvidence),
            ("oooooooooo", Stance::NoEvidence),
            ("oooooooooo----------", Stance::NoEvidence),
            ("          ..........", Stance::NoEvidence),
            ("..........", Stance::NoEvidence),
            ("....................", Stance::DownBefore),
            ("oooooooooo..........", Stance::Fell),
            ("oooooooooooo........", Stance::Fell),
            ("ooooooooooo.", Stance::Unclear),
            ("oooooooooo.", Stance::Unclear),
            ("oooooooooo..", Stance::Fell),
            ("oooooooooox", Stance::Fell),
            ("oooooooooo.o.o.oo.o.", Stance::Unclear),
            ("ooooooooooooooo.oooo", Stance::Stood),
            ("          o", Stance::Stood),
            ("oooooooooo...fff", Stance::Stood),
            ("oooooooooorrrrrrrrrr", Stance::Stood),
            ("ooooooooooxx..xx....", Stance::Fell),
        ] {
            assert_eq!(hear(samples).stance(), stance, "{samples:?}");
        }
    }

    #[test]
    fn what_is_said_once_is_not_said() {
        assert_eq!(hear("ooooooooooxx.......").said(), None);
        assert_eq!(hear("oooooooooo......x").said(), None);
        assert_eq!(hear("ooooooooooxx......").said(), Some(Reason::PortUnreachable));
    }

    #[test]
    fn a_refusal_is_a_reply_and_no_service() {
        let mark = Mark { at: Timestamp::ZERO, seen: Seen::Refused, reason: None, rtt: None };
        assert_eq!((good(&mark, false), good(&mark, true)), (Some(true), Some(false)));
    }
}
