//! A target that is down from the start: configured, probed, and never answered.
//!
//! ```text
//!   a series that never answered falls silent ──▶ suspect, waits ── nothing of the target has answered ──▶ open
//!                                                       └── something has ──▶ nothing
//! ```
//!
//! Invariants: the whole target must be silent, by evidence: what could not be sent, and a silence that
//! proves nothing, suspects nobody. No cause is made up of a fall that nobody saw.

use std::time::Duration;

use super::super::collector::{Found, Track};
use super::super::incident::{Cause, Change, Clue, IncidentKind, Stage, Stance};
use super::super::watch::Transition;
use super::fall::{Fall, News};
use super::open::{LONGEST_WAIT, Open};
use super::{AT_ONCE, Incidents, Tracks, tells, track};
use crate::sample::SeriesId;
use crate::time::Timestamp;

/// Nobody is suspected for less: networks and tunnels come up beside us when a host starts.
const LEAST_WAIT: Duration = Duration::from_secs(60);

/// A target that may be down from the start.
#[derive(Debug)]
pub(super) struct Suspect {
    /// Who was silent first.
    series: SeriesId,
    since: Timestamp,
    /// When all its probes have had their time.
    pub(super) at: Timestamp,
}

impl Incidents {
    /// Suspects the target of a series that fell silent and has never answered.
    pub(super) fn suspect(&mut self, tracks: &Tracks, series: SeriesId, news: &[News], now: Timestamp) {
        let began = news.iter().find_map(|news| match news {
            News::Changed(Transition::OutageBegan { since }) => Some(*since),
            _ => None,
        });
        let (Some(since), Some(first)) = (began, track(tracks, series)) else { return };
        let target = &**first.target();
        let Some(all) = self.targets.get(target) else { return };
        if first.answered() || !tells(tracks, all, first) || self.suspects.contains_key(target) {
            return;
        }
        let wait = all.iter().filter_map(|id| track(tracks, *id)).map(|track| {
            let about = track.about();
            about.interval.saturating_mul(2) + about.timeout + Duration::from_secs(1)
        });
        let wait = wait.max().unwrap_or_default().clamp(LEAST_WAIT, LONGEST_WAIT);
        let at = (since + wait).max(now);
        self.suspects.insert(target.to_owned(), Suspect { series, since, at });
        self.deadline = self.deadline.min(at);
    }

    /// Opens an incident for those of which nothing has answered in their time.
    pub(super) fn convict(&mut self, tracks: &Tracks, now: Timestamp, out: &mut Vec<Found>) {
        let ripe = self.suspects.iter().filter(|(_, suspect)| suspect.at <= now).take(AT_ONCE);
        let ripe: Vec<_> = ripe.map(|(target, _)| target.clone()).collect();
        for target in ripe {
            if let Some(suspect) = self.suspects.remove(&target) {
                self.never(&target, &suspect, tracks, now, out);
            }
        }
    }

    fn never(
        &mut self,
        target: &str,
        suspect: &Suspect,
        tracks: &Tracks,
        now: Timestamp,
        out: &mut Vec<Found>,
    ) {
        let Some(all) = self.targets.get(target).filter(|_| !self.open.contains_key(target)) else { return };
        let telling = || {
            let known = all.iter().filter_map(|id| Some((*id, track(tracks, *id)?)));
            known.filter(|(_, track)| tells(tracks, all, track))
        };
        if telling().any(|(_, track)| track.answered()) {
            return;
        }
        // Whoever was silent first may be gone with a reload.
        let silent = |(id, track): (SeriesId, &Track)| Some((id, track.watch().outage()?));
        let mut fallen: Vec<_> = telling().filter_map(silent).collect();
        fallen.sort_by_key(|(id, since)| (*id != suspect.series, *since));
        let Some((series, since)) = fallen.first().copied() else { return };
        let Some(first) = track(tracks, series) else { return };
        let since = if series == suspect.series { suspect.since.min(since) } else { since };
        let fall = Fall { kind: IncidentKind::Outage, began: since, since, until: None };
        self.number += 1;
        let mut open = Open::new(fall, series, first, all, tracks, self.clock, self.number);
        open.never = true;
        open.down_before.clear();
        // All have had their time.
        open.judge_at = now;
        open.heard = now;
        open.next = now;
        for (id, since) in fallen {
            if let Some(place) = open.place(id) {
                open.event(since, Some(place), Change::OutageBegan, None);
            }
        }
        self.marks += open.snapshots(tracks, self.marks);
        out.push(open.found(Stage::Opened, tracks));
        self.open.insert(target.to_owned(), Box::new(open));
    }
}

/// Says of a judgement that no fall was seen: a wrong line in a configuration looks the same.
pub(super) fn qualify((cause, mut clues): (Cause, Vec<Clue>)) -> (Cause, Vec<Clue>) {
    if cause == Cause::Unknown {
        clues.retain(|clue| clue.subject != "what would tell");
    }
    let text = "nothing of it has ever answered here: a wrong address, port or key in the configuration looks \
                the same as a box that is down";
    let subject = "what would tell".to_owned();
    clues.push(Clue { stance: Stance::Missing, subject, text: text.to_owned() });
    (cause, clues)
}
