//! Open incidents over a restart: each goes on as one, with what it had recorded.
//!
//! Invariant: an incident goes on when the first of its target's series is there again; series are told
//! by what they are, for their numbers are another process's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::open::{LONGEST_WAIT, MARKS, Open, Recorded, SERIES, TRANSITIONS};
use super::{Incidents, Tracks, track};
use crate::detect::about::{About, AboutRef};
use crate::detect::incident::{Cause, Clue, DpdRecord, Event, IncidentKind};
use crate::detect::kept::{Key, OLDEST};
use crate::detect::liveness::State;
use crate::detect::recorder::{Mark, Packed};
use crate::sample::{Carrier, SeriesId};
use crate::time::{Timestamp, WallTime};

/// The number of a series that has not come back yet.
const NOT_YET: SeriesId = SeriesId(u32::MAX);

/// A series of an open incident.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptSeries {
    key: Key,
    carrier: Carrier,
    port: u16,
    state: State,
    marks: Vec<Packed>,
    /// By the profile's place: sure, expected, least margin.
    over: Vec<(usize, u64, f64, Duration)>,
    dpd: Vec<DpdRecord>,
}

/// An open incident.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptIncident {
    /// Its id.
    pub id: String,
    at: Timestamp,
    target: String,
    kind: IncidentKind,
    began: Timestamp,
    wall: WallTime,
    /// The place of who fell first.
    fallen: Option<usize>,
    since: Timestamp,
    until: Option<Timestamp>,
    serving: bool,
    #[serde(default)]
    never: bool,
    judge_at: Timestamp,
    verdict: Option<(Cause, Vec<Clue>)>,
    ended: Option<Timestamp>,
    series: Vec<KeptSeries>,
    series_left_out: u32,
    down_before: Vec<Key>,
    marks_left_out: bool,
    events: Vec<Event>,
    events_left_out: u32,
}

impl KeptIncident {
    /// Whether it may go on at `now`; what was kept comes from a file.
    fn usable(&self, now: Timestamp) -> bool {
        let Self { at, began, since, until, ended, series, events, .. } = self;
        let past = |time: &Option<Timestamp>| time.is_none_or(|time| time <= *at);
        let marks: usize = series.iter().map(|series| series.marks.len()).sum();
        now.checked_since(*at).is_some_and(|age| age <= OLDEST)
            && began <= at
            && since <= at
            && past(until)
            && past(ended)
            && series.len() <= SERIES
            && events.len() <= TRANSITIONS
            && marks <= MARKS
    }
}

impl Incidents {
    /// What is open, for the process after this one.
    pub(in crate::detect) fn keep(&mut self, tracks: &Tracks, at: Timestamp) -> Vec<KeptIncident> {
        self.waiting.retain(|_, kept| kept.usable(at));
        let open = self.open.iter().map(|(target, open)| open.keep(target, tracks, at));
        open.chain(self.waiting.values().cloned()).collect()
    }

    /// Goes on with these once their targets are there.
    pub(in crate::detect) fn resume(&mut self, kept: Vec<KeptIncident>) {
        self.waiting = kept.into_iter().map(|kept| (kept.target.clone(), kept)).collect();
    }

    /// A series is there: whether an incident has waited for it, and what it had recorded of it.
    pub(super) fn welcome(&mut self, series: SeriesId, about: AboutRef<'_>, now: Timestamp) -> Vec<Mark> {
        if let Some(kept) = self.waiting.remove(about.target).filter(|kept| kept.usable(now)) {
            let open = Box::new(Open::resumed(kept, now));
            self.marks += open.held();
            self.open.insert(about.target.to_owned(), open);
        }
        let Some(open) = self.open.get_mut(about.target) else { return Vec::new() };
        let marks = open.welcome(series, about, now);
        self.deadline = self.deadline.min(open.next);
        marks
    }
}

impl Open {
    fn keep(&self, target: &str, tracks: &Tracks, at: Timestamp) -> KeptIncident {
        let series = |recorded: &Recorded| KeptSeries {
            key: Key::from(recorded.about.lent()),
            carrier: recorded.about.carrier,
            port: recorded.about.port,
            state: recorded.state,
            marks: recorded.marks.clone(),
            over: recorded
                .over
                .iter()
                .map(|(place, (n, expected, margin))| (*place, *n, *expected, *margin))
                .collect(),
            dpd: recorded.dpd.clone(),
        };
        let keys = self.down_before.iter().filter_map(|id| track(tracks, *id));
        KeptIncident {
            id: self.id.clone(),
            at,
            target: target.to_owned(),
            kind: self.kind,
            began: self.began,
            wall: self.wall,
            fallen: self.place(self.fallen),
            since: self.since,
            until: self.until,
            serving: self.serving,
            never: self.never,
            judge_at: self.judge_at,
            verdict: self.verdict.clone(),
            ended: self.ended,
            series: self.series.iter().map(series).collect(),
            series_left_out: self.series_left_out,
            down_before: keys.map(|track| Key::from(track.about())).collect(),
            marks_left_out: self.marks_left_out,
            events: self.events.clone(),
            events_left_out: self.events_left_out,
        }
    }

    fn resumed(kept: KeptIncident, now: Timestamp) -> Self {
        let series = |(place, series): (usize, KeptSeries)| {
            let KeptSeries { key, carrier, port, state, marks, over, dpd } = series;
            let about = About {
                target: key.target,
                member: key.member,
                address: key.address,
                probe: key.probe,
                // Told when it is there again; of one that never is, the probe's name says most.
                kind: "",
                egress: key.egress,
                carrier,
                port,
                interval: Duration::from_nanos(key.interval),
                timeout: Duration::from_nanos(key.timeout),
            };
            let over = over.into_iter().map(|(place, n, expected, margin)| (place, (n, expected, margin)));
            let waits = kept.fallen == Some(place);
            Recorded { id: waits.then_some(NOT_YET), about, state, marks, over: over.collect(), dpd }
        };
        let series: Vec<_> = kept.series.into_iter().enumerate().map(series).collect();
        let wait =
            series.iter().map(|recorded| recorded.about.interval.saturating_mul(2) + recorded.about.timeout);
        let wait = wait.max().unwrap_or_default() + Duration::from_secs(1);
        Self {
            id: kept.id,
            kind: kept.kind,
            began: kept.began,
            wall: kept.wall,
            fallen: NOT_YET,
            since: kept.since,
            until: kept.until,
            serving: kept.serving,
            never: kept.never,
            judge_at: kept.judge_at.max(now + wait.min(LONGEST_WAIT)),
            // No path is known after a restart, so that there is nothing to hold a trace against.
            ask_at: Timestamp::FAR,
            asked: 0,
            traced_by: Timestamp::ZERO,
            verdict: kept.verdict,
            ended: kept.ended,
            // Nobody could have said anything in the pause.
            heard: now,
            series,
            series_left_out: kept.series_left_out,
            down_before: Vec::new(),
            absent_before: kept.down_before,
            marks_left_out: kept.marks_left_out,
            events: kept.events,
            events_left_out: kept.events_left_out,
            next: now + Duration::from_secs(1),
        }
    }

    /// A series of its target is there; tells what was recorded of it.
    fn welcome(&mut self, series: SeriesId, about: AboutRef<'_>, now: Timestamp) -> Vec<Mark> {
        let key = Key::from(about);
        if let Some(place) = self.absent_before.iter().position(|absent| *absent == key) {
            self.absent_before.swap_remove(place);
            self.down_before.push(series);
        }
        let absent = |recorded: &&mut Recorded| {
            recorded.id.is_none_or(|id| id == NOT_YET)
                && recorded.about.kind.is_empty()
                && Key::from(recorded.about.lent()) == key
        };
        let Some(recorded) = self.series.iter_mut().find(absent) else { return Vec::new() };
        if recorded.id == Some(NOT_YET) {
            self.fallen = series;
        }
        recorded.id = Some(series);
        recorded.about = about.into();
        self.heard = now;
        recorded.marks.iter().map(|packed| Mark::from(*packed)).collect()
    }
}
