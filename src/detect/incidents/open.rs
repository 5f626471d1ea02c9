//! One incident that is not over.
//!
//! Invariants: what it holds is bounded, by [`SERIES`], [`TRANSITIONS`] and [`MARKS`]; once judged, its
//! cause stays.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::about::About;
use super::super::collector::{Found, Track};
use super::super::incident::{Cause, Change, Clue, DpdRecord, Event, Incident, IncidentKind};
use super::super::kept::Key;
use super::super::liveness::State;
use super::super::path::{Shown, Sight};
use super::super::recorder::{Mark, Packed};
use super::super::watch::Transition;
use super::super::witness::{Window, good};
use super::fall::{Fall, News};
use super::{Tracks, tells, track};
use crate::sample::SeriesId;
use crate::time::{Timestamp, WallTime};

/// Series of a target that are recorded in an incident.
pub(super) const SERIES: usize = 24;
/// Changes that are recorded in one.
pub(super) const TRANSITIONS: usize = 200;
/// Samples that are held by all open incidents together: 4 MB.
pub(super) const MARKS: usize = 500_000;
/// Nobody is waited for longer than this.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// All has to be well this long.
const CALM: Duration = Duration::from_secs(60);
/// After this long without a change an incident of a part of its target is closed.
const LASTING: Duration = Duration::from_secs(1800);
/// How long a trace of the path is waited for once it is over.
const TRACED: Duration = Duration::from_secs(20);
/// From one trace that showed something new to the next.
const AGAIN: Duration = Duration::from_secs(1);
/// The most traces that are asked for: as many as show whether something new is load balancing, and some.
const ASKED: u8 = 6;
/// What is shown of the time before.
const BEFORE: Duration = Duration::from_secs(300);

/// A series in an incident.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Nothing once it is no more.
    pub(super) id: Option<SeriesId>,
    pub(super) about: About,
    pub(super) state: State,
    pub(super) marks: Vec<Packed>,
    /// What the profiles did in outages that are over, by place: sure, expected, least margin.
    pub(super) over: BTreeMap<usize, (u64, f64, Duration)>,
    /// What was known of its profiles when it went.
    pub(super) dpd: Vec<DpdRecord>,
}

/// An incident that is not over.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: String,
    pub(super) kind: IncidentKind,
    pub(super) began: Timestamp,
    pub(super) wall: WallTime,
    /// Who fell first, and in which time; its end once it came back.
    pub(super) fallen: SeriesId,
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
    /// Whether it refused rather than being silent.
    pub(super) serving: bool,
    /// Whether nothing of the target had ever answered when it began.
    pub(super) never: bool,
    pub(super) judge_at: Timestamp,
    /// When a trace is to be asked for.
    pub(super) ask_at: Timestamp,
    /// How many were.
    pub(super) asked: u8,
    /// Until when they are waited for.
    pub(super) traced_by: Timestamp,
    pub(super) verdict: Option<(Cause, Vec<Clue>)>,
    /// When the last of what fell came back.
    pub(super) ended: Option<Timestamp>,
    /// When anything was last heard of it.
    pub(super) heard: Timestamp,
    pub(super) series: Vec<Recorded>,
    pub(super) series_left_out: u32,
    /// Those that were down before it began, and are so still: no trouble of this one.
    pub(super) down_before: Vec<SeriesId>,
    /// Those of them that have not come back since a restart.
    pub(super) absent_before: Vec<Key>,
    pub(super) marks_left_out: bool,
    pub(super) events: Vec<Event>,
    pub(super) events_left_out: u32,
    /// When it wants to be looked at again.
    pub(super) next: Timestamp,
}

/// Seconds from one time to another; below zero if it is before.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    let seconds = if to >= from { to.since(from).as_secs_f64() } else { -from.since(to).as_secs_f64() };
    rounded(seconds)
}

/// To the third place: what comes after it is noise, and long.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl Open {
    pub(super) fn new(
        fall: Fall,
        series: SeriesId,
        fallen: &Track,
        all: &[SeriesId],
        tracks: &Tracks,
        (now, wall): (Timestamp, WallTime),
        number: u64,
    ) -> Self {
        let Fall { kind, began, since, until } = fall;
        let wall = if began > now { wall.after(began.since(now)) } else { wall.before(now.since(began)) };
        let about = fallen.about();
        let mut ids: Vec<_> = all.iter().filter_map(|id| Some((*id, track(tracks, *id)?))).collect();
        // The fallen one first, then those beside it, then by their labels.
        ids.sort_by_key(|(id, track)| {
            let other = track.about();
            let beside = (other.member, other.egress) == (about.member, about.egress);
            (*id != series, !beside, other.member, other.egress, other.probe)
        });
        let left_out = ids.len().saturating_sub(SERIES);
        let down = |track: &Track| track.watch().state().0 == State::Down;
        let before = ids.iter().filter(|(id, track)| *id != series && down(track)).map(|(id, _)| *id);
        let down_before = before.collect();
        let recorded = |(id, track): (SeriesId, &Track)| Recorded {
            id: Some(id),
            about: track.about().into(),
            state: track.watch().state().0,
            marks: Vec::new(),
            over: BTreeMap::new(),
            dpd: Vec::new(),
        };
        let slowest = ids.iter().take(SERIES).map(|(_, track)| track.about());
        let wait =
            slowest.map(|about| about.interval.saturating_mul(2) + about.timeout + Duration::from_secs(1));
        let wait = wait.max().unwrap_or_default().min(LONGEST_WAIT);
        let mut open = Self {
            id: Incident::id(wall, about.target, number),
            kind,
            began,
            wall,
            fallen: series,
            since,
            until,
            serving: kind == IncidentKind::Refused,
            never: false,
            judge_at: since + wait,
            ask_at: Timestamp::FAR,
            asked: 0,
            traced_by: Timestamp::ZERO,
            verdict: None,
            ended: until,
            heard: now,
            series: ids.into_iter().take(SERIES).map(recorded).collect(),
            series_left_out: u32::try_from(left_out).unwrap_or(u32::MAX),
            down_before,
            absent_before: Vec::new(),
            marks_left_out: false,
            events: Vec::new(),
            events_left_out: 0,
            next: Timestamp::FAR,
        };
        if kind == IncidentKind::Flapping {
            for (down, up) in fallen.downs() {
                open.event(down, Some(0), Change::FlapDown, None);
                if let Some(up) = up {
                    open.event(up, Some(0), Change::FlapUp, None);
                }
            }
        }
        if until.is_some() {
            open.no_later();
        }
        open
    }

    pub(super) fn place(&self, series: SeriesId) -> Option<usize> {
        self.series.iter().position(|recorded| recorded.id == Some(series))
    }

    /// What fell came back: only what is under way can still speak.
    pub(super) fn no_later(&mut self) {
        let timeout = self.series.iter().map(|recorded| recorded.about.timeout).max().unwrap_or_default();
        if let Some(until) = self.until {
            let known = until + timeout.min(LONGEST_WAIT) + Duration::from_secs(1);
            self.judge_at = self.judge_at.min(known);
            self.ask_at = self.heard;
        }
    }

    /// Asks for a trace that tells whether the path is what it was.
    pub(super) fn ask(&mut self, tracer: Option<SeriesId>, now: Timestamp) -> Option<Found> {
        self.ask_at = Timestamp::FAR;
        let tracer = tracer.filter(|_| self.asked < ASKED)?;
        if self.until.is_some() && self.traced_by == Timestamp::ZERO {
            self.traced_by = now + TRACED;
        }
        self.asked += 1;
        Some(Found::Wanted(tracer))
    }

    /// A trace showed something.
    pub(super) fn see(&mut self, sight: Sight) {
        if self.verdict.is_some() {
            return;
        }
        match sight.shown {
            Shown::New(_) => self.ask_at = sight.at + AGAIN,
            Shown::Same | Shown::Changed(_) if self.until.is_some_and(|until| sight.began >= until) => {
                self.ask_at = Timestamp::FAR;
                self.traced_by = sight.at;
            }
            Shown::Same | Shown::Changed(_) | Shown::Cut { .. } => {}
        }
        self.next = self.next.min(self.judged_at()).min(self.ask_at);
    }

    /// When its cause is to be judged.
    pub(super) fn judged_at(&self) -> Timestamp {
        self.judge_at.max(self.traced_by)
    }

    pub(super) fn event(&mut self, at: Timestamp, series: Option<usize>, what: Change, state: Option<State>) {
        let event = Event { at: seconds(self.began, at), series, what, state };
        // What led to flapping is told twice.
        if self.events.contains(&event) {
            return;
        }
        if self.events.len() >= TRANSITIONS {
            self.events_left_out = self.events_left_out.saturating_add(1);
            return;
        }
        self.events.push(event);
    }

    pub(super) fn heed(&mut self, series: SeriesId, track: &Track, news: &[News], now: Timestamp) {
        self.heard = now;
        if track.watch().state().0 != State::Down {
            self.down_before.retain(|other| *other != series);
        }
        if let Some(fall) = Fall::of(track, news) {
            self.kind = self.kind.max(fall.kind);
        }
        let Some(place) = self.place(series) else { return };
        let fallen = series == self.fallen;
        for news in news {
            match *news {
                News::Changed(Transition::State { from, to, since }) => {
                    // What is no longer degraded is up since long before.
                    let at = if from == State::Degraded { now } else { since };
                    self.event(at, Some(place), Change::State, Some(to));
                    if to != State::Down {
                        self.back(fallen && self.serving, since);
                    }
                }
                News::Changed(Transition::OutageBegan { since }) => {
                    self.event(since, Some(place), Change::OutageBegan, None);
                }
                News::Changed(Transition::OutageEnded { ended, .. }) => {
                    self.event(ended, Some(place), Change::OutageEnded, None);
                    self.back(fallen && !self.serving, ended);
                }
                News::Changed(Transition::Flap { down, since }) => {
                    let what = if down { Change::FlapDown } else { Change::FlapUp };
                    self.event(since, Some(place), what, None);
                    if !down {
                        self.back(fallen && !self.serving, since);
                    }
                }
                News::Changed(Transition::FlappingBegan { .. }) => {
                    self.event(now, Some(place), Change::FlappingBegan, None);
                }
                News::Changed(Transition::FlappingEnded { at }) => {
                    self.event(at, Some(place), Change::FlappingEnded, None);
                }
                News::Changed(Transition::LossRun(_) | Transition::LossWindow(_)) => {}
                News::TornDown => self.event(now, Some(place), Change::Teardown, None),
                News::Over(at, verdict) => {
                    let margin = verdict.least_margin;
                    if let Some(recorded) = self.series.get_mut(place) {
                        let over = recorded.over.entry(at).or_insert((0, 0.0, margin));
                        over.0 += u64::from(verdict.sure);
                        over.1 += verdict.expected;
                        over.2 = over.2.min(margin);
                    }
                    if self.kind == IncidentKind::Dpd {
                        self.back(fallen, verdict.last_loss);
                    }
                }
            }
        }
    }

    /// Something came back; `fallen` if it is what fell first.
    pub(super) fn back(&mut self, fallen: bool, at: Timestamp) {
        self.ended = Some(self.ended.map_or(at, |ended| ended.max(at)));
        if fallen && self.until.is_none() && at > self.since {
            self.until = Some(at);
            self.no_later();
        }
    }

    /// The time in which the cause is looked for: from the first to the last failure of what fell.
    pub(super) fn window(&self, tracks: &Tracks, now: Timestamp) -> Window {
        let until = self.until.unwrap_or(now);
        let marks = track(tracks, self.fallen).into_iter().flat_map(|fallen| fallen.recorder().iter());
        let inside = marks.filter(|mark| mark.at >= self.since && mark.at <= until);
        let failed = inside.filter(|mark| good(mark, self.serving) == Some(false));
        let to = failed.map(|mark| mark.at).max().unwrap_or(until);
        Window { from: self.since, to, serving: self.serving }
    }

    /// When it is over, as far as is known now; `FAR` while it is not.
    pub(super) fn over(&self, tracks: &Tracks, all: &[SeriesId], now: Timestamp) -> Timestamp {
        let mut over = self.heard + CALM;
        let (mut down, mut up) = (false, all.is_empty());
        for (id, track) in all.iter().filter_map(|id| Some((*id, track(tracks, *id)?))) {
            if !tells(tracks, all, track) {
                continue;
            }
            match track.watch().state().0 {
                State::Down => down |= self.troubled(id, track),
                State::Up | State::Degraded => up = true,
                State::Unknown => {}
            }
            if let Some(left) = track.watch().flap().stable_in(now) {
                over = over.max(now + left);
            }
        }
        match (down, up) {
            (false, _) => over,
            (true, true) => over.max(self.heard + LASTING),
            (true, false) => Timestamp::FAR,
        }
    }

    /// Whether a series that fell is still down. One that never was well did not fall, unless that is what
    /// the incident is about.
    pub(super) fn troubled(&self, id: SeriesId, track: &Track) -> bool {
        (self.never || track.answered())
            && track.watch().state().0 == State::Down
            && !self.down_before.contains(&id)
    }

    pub(super) fn next(&self, tracks: &Tracks, all: &[SeriesId], now: Timestamp) -> Timestamp {
        match self.verdict {
            None => self.judged_at().min(self.ask_at),
            Some(_) => self.over(tracks, all, now),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.series.iter().map(|recorded| recorded.marks.len()).sum()
    }

    /// Copies what the recorders hold and is new here; tells how many samples that is.
    pub(super) fn snapshots(&mut self, tracks: &Tracks, held: usize) -> usize {
        let mut more = 0;
        for place in 0..self.series.len() {
            let id = self.series.get(place).and_then(|recorded| recorded.id);
            if let Some(track) = id.and_then(|id| track(tracks, id)) {
                more += self.snapshot(place, track, held + more);
            }
        }
        more
    }

    pub(super) fn snapshot(&mut self, place: usize, track: &Track, held: usize) -> usize {
        let Some(recorded) = self.series.get_mut(place) else { return 0 };
        recorded.state = track.watch().state().0;
        let before = recorded.marks.len();
        let last = recorded.marks.iter().map(|packed| Mark::from(*packed).at).max();
        let from = self.began - BEFORE.max(recorded.about.interval.saturating_mul(10));
        // A loss that is known late has its place before what is there already: that is looked at again.
        let overlap = last.map(|last| last - recorded.about.timeout - Duration::from_secs(2));
        let new: Vec<_> = track
            .recorder()
            .iter()
            .filter(|mark| mark.at >= from && overlap.is_none_or(|overlap| mark.at > overlap))
            .map(Packed::from)
            .filter(|packed| !recorded.marks.contains(packed))
            .collect();
        if held + new.len() > MARKS {
            self.marks_left_out = true;
            return 0;
        }
        recorded.marks.extend(new);
        recorded.marks.len() - before
    }
}
