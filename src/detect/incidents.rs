//! Incidents: opened, filled, judged and closed, one at a time for each target.
//!
//! ```text
//!   quiet ── a fall ──▶ open, waits ── everyone could speak ──▶ judged ── a minute of calm ──▶ closed
//! ```
//!
//! A fall is an outage, a refusal, flapping, or a sure teardown, of a series that was well before. One
//! that was never well opens nothing: nothing is known of what it fell from. After the fall slower
//! series get the time to speak before the cause is judged; then the cause is fixed. An incident that
//! holds only a part of its target, and in which nothing changes any more, is closed as `lasting`, so
//! that it does not swallow the next one.
//! Invariants: time comes in by ticks and samples only; what is held is bounded, by [`SERIES`],
//! [`TRANSITIONS`] and [`MARKS`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::cause::{self, Others, Party};
use super::collector::{About, Found, Track};
use super::dpd::Verdict;
use super::kept::Key;
use super::incident::{
    Cause, Change, Clue, DpdFate, DpdRecord, Event, Incident, IncidentKind, IncidentState, SCHEMA, Samples,
    SeriesRecord, Stage,
};
use super::liveness::State;
use super::recorder::{Mark, Packed};
use super::watch::Transition;
use super::witness::{Window, Witness, good};
use crate::sample::{Carrier, SeriesId};
use crate::time::{Timestamp, WallTime};

mod kept;

pub use kept::KeptIncident;

/// Series of a target that are recorded in an incident.
const SERIES: usize = 24;
/// Changes that are recorded in one.
const TRANSITIONS: usize = 200;
/// Samples that are held by all open incidents together: 4 MB.
const MARKS: usize = 500_000;
/// Other targets that are asked what they saw.
const ASKED: usize = 40;
/// Incidents that are judged or closed by one tick.
const AT_ONCE: usize = 32;
/// Nobody is waited for longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// All has to be well this long.
const CALM: Duration = Duration::from_secs(60);
/// After this long without a change an incident of a part of its target is closed.
const LASTING: Duration = Duration::from_secs(1800);
/// What is shown of the time before.
const BEFORE: Duration = Duration::from_secs(300);
/// How old what is known of the wall clock may be.
const WALL: Duration = Duration::from_secs(60);

type Tracks = [Option<Track>];

fn track(tracks: &Tracks, series: SeriesId) -> Option<&Track> {
    tracks.get(series.0 as usize)?.as_ref()
}

/// What happened to a series that an incident wants to know.
#[derive(Debug, Clone, Copy)]
enum News {
    Changed(Transition),
    /// All sessions of a profile were torn down.
    TornDown,
    Over(usize, Verdict),
}

impl News {
    fn of(found: &Found) -> Option<Self> {
        match found {
            Found::Transition(_, Transition::LossRun(_) | Transition::LossWindow(_)) => None,
            Found::Transition(_, transition) => Some(Self::Changed(*transition)),
            Found::Teardown { sure, .. } => (*sure > 0).then_some(Self::TornDown),
            Found::Verdict { place, verdict, .. } => Some(Self::Over(*place, *verdict)),
            Found::Incident(..) => None,
        }
    }
}

/// A series in an incident.
#[derive(Debug)]
struct Recorded {
    /// Nothing once it is no more.
    id: Option<SeriesId>,
    about: About,
    state: State,
    marks: Vec<Packed>,
    /// What the profiles did in outages that are over, by place: sure, expected, least margin.
    over: BTreeMap<usize, (u64, f64, Duration)>,
    /// What was known of its profiles when it went.
    dpd: Vec<DpdRecord>,
}

/// An incident that is not over.
#[derive(Debug)]
struct Open {
    id: String,
    kind: IncidentKind,
    began: Timestamp,
    wall: WallTime,
    /// Who fell first, and in which time; its end once it came back.
    fallen: SeriesId,
    since: Timestamp,
    until: Option<Timestamp>,
    /// Whether it refused rather than being silent.
    serving: bool,
    judge_at: Timestamp,
    verdict: Option<(Cause, Vec<Clue>)>,
    /// When the last of what fell came back.
    ended: Option<Timestamp>,
    /// When anything was last heard of it.
    heard: Timestamp,
    series: Vec<Recorded>,
    series_left_out: u32,
    /// Those that were down before it began, and are so still: no trouble of this one.
    down_before: Vec<SeriesId>,
    /// Those of them that have not come back since a restart.
    absent_before: Vec<Key>,
    marks_left_out: bool,
    events: Vec<Event>,
    events_left_out: u32,
    /// When it wants to be looked at again.
    next: Timestamp,
}

/// All targets' incidents.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    targets: BTreeMap<String, Vec<SeriesId>>,
    open: BTreeMap<String, Box<Open>>,
    /// Those of the process before this one, until their targets are there.
    waiting: BTreeMap<String, KeptIncident>,
    clock: (Timestamp, WallTime),
    number: u64,
    /// Samples held by all that are open.
    marks: usize,
    deadline: Timestamp,
}

impl Incidents {
    /// When it wants the next tick.
    pub(super) const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// There is a new series; tells what an incident has recorded of it before a restart.
    pub(super) fn place(&mut self, series: SeriesId, about: &About, now: Timestamp) -> Vec<Mark> {
        self.targets.entry(about.target.clone()).or_default().push(series);
        self.welcome(series, about, now)
    }

    /// A series is about to be no more.
    pub(super) fn remove(&mut self, series: SeriesId, gone: &Track, now: Timestamp) {
        let target = gone.about().target.as_str();
        if let Some(open) = self.open.get_mut(target) {
            if let Some(place) = open.place(series) {
                open.event(now, Some(place), Change::Removed, None);
                self.marks += open.snapshot(place, gone, self.marks);
                if let Some(recorded) = open.series.get_mut(place) {
                    recorded.dpd = recorded.dpd(gone, place);
                    recorded.state = gone.watch().state().0;
                    recorded.id = None;
                }
            }
            open.heard = now;
            open.next = now;
            self.deadline = self.deadline.min(now);
        }
        if let Some(all) = self.targets.get_mut(target) {
            all.retain(|other| *other != series);
            if all.is_empty() {
                self.targets.remove(target);
            }
        }
    }

    /// Takes in what was found of a series at `now`; what was found here is appended to `out`.
    pub(super) fn heed(
        &mut self,
        tracks: &Tracks,
        series: SeriesId,
        found: &[Found],
        now: Timestamp,
        out: &mut Vec<Found>,
    ) {
        let news: Vec<_> = found.iter().filter_map(News::of).collect();
        let (false, Some(track)) = (news.is_empty(), track(tracks, series)) else { return };
        let target = track.about().target.as_str();
        let Some(all) = self.targets.get(target) else { return };
        if !self.open.contains_key(target) {
            let Some(fall) = Fall::of(track, &news) else { return };
            if !tells(tracks, all, track.about()) {
                return;
            }
            self.number += 1;
            let mut open = Open::new(fall, series, track, all, tracks, self.clock, self.number);
            self.marks += open.snapshots(tracks, self.marks);
            open.heard = now;
            out.push(open.found(Stage::Opened, tracks));
            self.open.insert(target.to_owned(), Box::new(open));
        }
        let Some(open) = self.open.get_mut(target) else { return };
        open.heed(series, track, &news, now);
        open.next = open.next(tracks, all, now);
        self.deadline = self.deadline.min(open.next);
    }

    /// Judges and closes what is due.
    pub(super) fn tick(&mut self, tracks: &Tracks, now: Timestamp, wall: WallTime, out: &mut Vec<Found>) {
        self.clock = (now, wall);
        let due = self.open.iter().filter(|(_, open)| open.next <= now).take(AT_ONCE);
        let due: Vec<_> = due.map(|(target, _)| target.clone()).collect();
        for target in due {
            self.look(&target, tracks, now, out);
        }
        let next = self.open.values().map(|open| open.next).min().unwrap_or(Timestamp::FAR);
        self.deadline = next.min(now + WALL);
    }

    fn look(&mut self, target: &str, tracks: &Tracks, now: Timestamp, out: &mut Vec<Found>) {
        let Some(mut open) = self.open.remove(target) else { return };
        let all = self.targets.get(target).map_or(&[][..], Vec::as_slice);
        if open.verdict.is_none() && (now >= open.judge_at || all.is_empty()) {
            self.marks += open.snapshots(tracks, self.marks);
            open.verdict = Some(self.judge(&open, target, tracks, now));
            out.push(open.found(Stage::Decided, tracks));
        }
        let over = open.verdict.is_some() && open.over(tracks, all, now) <= now;
        if over {
            let before = open.held();
            open.snapshots(tracks, self.marks);
            out.push(open.found(Stage::Closed, tracks));
            self.marks = self.marks.saturating_sub(before);
        } else {
            open.next = open.next(tracks, all, now);
            self.open.insert(target.to_owned(), open);
        }
    }

    fn judge(&self, open: &Open, target: &str, tracks: &Tracks, now: Timestamp) -> (Cause, Vec<Clue>) {
        let window = open.window(tracks, now);
        let hear = |id: SeriesId| {
            let track = track(tracks, id)?;
            let heard = Witness::hear(track.recorder(), track.about().interval, window);
            Some((id, Party { about: track.about(), heard }))
        };
        let (ids, parties): (Vec<_>, Vec<_>) =
            open.series.iter().filter_map(|recorded| recorded.id).filter_map(hear).unzip();
        let Some(fallen) = ids.iter().position(|id| *id == open.fallen) else {
            return (Cause::Unknown, Vec::new());
        };
        let me = parties.get(fallen).map(|party| party.about);
        let others = me.map(|me| self.others(target, me, tracks, window)).unwrap_or_default();
        cause::judge(&parties, fallen, &others, open.serving)
    }

    /// What other targets by the same way out say: the fastest probe of each protocol of each.
    fn others<'a>(&self, target: &str, me: &About, tracks: &'a Tracks, window: Window) -> Others<'a> {
        let after = self.targets.range::<str, _>((std::ops::Bound::Excluded(target), std::ops::Bound::Unbounded));
        let rest = self.targets.range::<str, _>((std::ops::Bound::Unbounded, std::ops::Bound::Excluded(target)));
        let mut others = Others { near: true, ..Others::default() };
        let mut asked = 0;
        for (_, series) in after.chain(rest) {
            let mut fastest: BTreeMap<Carrier, &Track> = BTreeMap::new();
            let comparable = series.iter().filter_map(|id| track(tracks, *id)).filter(|track| {
                let about = track.about();
                about.egress == me.egress && about.address.is_some() && about.address != me.address
            });
            for track in comparable {
                let known = fastest.entry(track.about().carrier).or_insert(track);
                if track.about().interval < known.about().interval {
                    *known = track;
                }
            }
            let Some(about) = fastest.values().next().map(|track| track.about()) else { continue };
            if asked >= ASKED {
                others.not_asked += 1;
                continue;
            }
            asked += 1;
            // What refuses us does not refuse others: only silence is compared.
            let window = Window { serving: false, ..window };
            let heard = |track: &&Track| Witness::hear(track.recorder(), track.about().interval, window).stance();
            let stances: Vec<_> = fastest.values().map(heard).collect();
            if stances.contains(&super::incident::Stance::Stood) {
                others.stood.push(&about.target);
            } else if stances.contains(&super::incident::Stance::Fell) {
                others.near &= me.address.zip(about.address).is_some_and(|(one, other)| near(one, other));
                others.fell.push(&about.target);
            } else {
                others.silent += 1;
            }
        }
        others
    }
}

/// Whether two addresses are in one network, as far as that can be told.
fn near(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets().iter().take(3).eq(other.octets().iter().take(3)),
        (IpAddr::V6(one), IpAddr::V6(other)) => one.segments().iter().take(3).eq(other.segments().iter().take(3)),
        _ => false,
    }
}

/// Whether a series speaks for its target: a ping does only where nothing else is probed.
fn tells(tracks: &Tracks, all: &[SeriesId], about: &About) -> bool {
    about.carrier != Carrier::Icmp
        || all.iter().filter_map(|id| track(tracks, *id)).all(|other| other.about().carrier == Carrier::Icmp)
}

/// What opens an incident.
struct Fall {
    kind: IncidentKind,
    /// When the incident began.
    began: Timestamp,
    /// The time in which the cause is looked for.
    since: Timestamp,
    until: Option<Timestamp>,
}

impl Fall {
    /// The gravest fall in the news of a series that was well before.
    fn of(track: &Track, news: &[News]) -> Option<Self> {
        news.iter().filter_map(|news| Self::one(track, *news)).max_by_key(|fall| fall.kind)
    }

    fn one(track: &Track, news: News) -> Option<Self> {
        let fall = |kind, since| Some(Self { kind, began: since, since, until: None });
        match news {
            News::Changed(Transition::OutageBegan { since }) if track.answered() => {
                fall(IncidentKind::Outage, since)
            }
            News::Changed(Transition::State { from: State::Up | State::Degraded, to: State::Down, since })
                if track.watch().outage().is_none() =>
            {
                fall(IncidentKind::Refused, since)
            }
            News::Changed(Transition::FlappingBegan { .. }) => {
                let (began, _) = track.downs().next()?;
                let (since, until) = track.downs().last()?;
                Some(Self { kind: IncidentKind::Flapping, began, since, until })
            }
            News::TornDown => {
                let current = track.dpd().filter_map(|(_, survival)| survival?.current());
                fall(IncidentKind::Dpd, current.filter(|verdict| verdict.sure).map(|verdict| verdict.began).max()?)
            }
            News::Over(_, verdict) if verdict.sure => {
                let until = Some(verdict.last_loss);
                Some(Self { kind: IncidentKind::Dpd, began: verdict.began, since: verdict.began, until })
            }
            _ => None,
        }
    }
}

impl Recorded {
    fn dpd(&self, track: &Track, place: usize) -> Vec<DpdRecord> {
        let record = |(at, (profile, survival)): (usize, (&super::dpd::Profile, Option<&super::dpd::Survival>))| {
            let Some(survival) = survival else {
                return DpdRecord {
                    profile: profile.name.clone(),
                    series: Some(place),
                    verdict: DpdFate::TooCoarse,
                    sure: 0,
                    expected: None,
                    least_margin_seconds: None,
                };
            };
            let (mut sure, mut expected, mut margin) =
                self.over.get(&at).copied().unwrap_or((0, 0.0, profile.patience()));
            if let Some(now) = survival.current() {
                sure += u64::from(now.sure);
                expected += now.expected;
                margin = margin.min(now.least_margin);
            }
            let verdict = match (sure, expected > 0.0) {
                (1.., _) => DpdFate::Sure,
                (0, true) => DpdFate::Possible,
                (0, false) => DpdFate::No,
            };
            DpdRecord {
                profile: profile.name.clone(),
                series: Some(place),
                verdict,
                sure,
                expected: Some(rounded(expected)),
                least_margin_seconds: Some(rounded(margin.as_secs_f64())),
            }
        };
        track.dpd().enumerate().map(record).collect()
    }
}

/// Seconds from one time to another; below zero if it is before.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    let seconds = if to >= from { to.since(from).as_secs_f64() } else { -from.since(to).as_secs_f64() };
    rounded(seconds)
}

/// To the third place: what comes after it is noise, and long.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl Open {
    fn new(
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
            let beside = (other.member, &other.egress) == (about.member, &about.egress);
            (*id != series, !beside, other.member, &other.egress, &other.probe)
        });
        let left_out = ids.len().saturating_sub(SERIES);
        let down = |track: &Track| track.watch().state().0 == State::Down;
        let before = ids.iter().filter(|(id, track)| *id != series && down(track)).map(|(id, _)| *id);
        let down_before = before.collect();
        let recorded = |(id, track): (SeriesId, &Track)| Recorded {
            id: Some(id),
            about: track.about().clone(),
            state: track.watch().state().0,
            marks: Vec::new(),
            over: BTreeMap::new(),
            dpd: Vec::new(),
        };
        let slowest = ids.iter().take(SERIES).map(|(_, track)| track.about());
        let wait = slowest.map(|about| about.interval.saturating_mul(2) + about.timeout + Duration::from_secs(1));
        let wait = wait.max().unwrap_or_default().min(LONGEST_WAIT);
        let mut open = Self {
            id: Incident::id(wall, &about.target, number),
            kind,
            began,
            wall,
            fallen: series,
            since,
            until,
            serving: kind == IncidentKind::Refused,
            judge_at: since + wait,
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

    fn place(&self, series: SeriesId) -> Option<usize> {
        self.series.iter().position(|recorded| recorded.id == Some(series))
    }

    /// What fell came back: only what is under way can still speak.
    fn no_later(&mut self) {
        let timeout = self.series.iter().map(|recorded| recorded.about.timeout).max().unwrap_or_default();
        if let Some(until) = self.until {
            let known = until + timeout.min(LONGEST_WAIT) + Duration::from_secs(1);
            self.judge_at = self.judge_at.min(known);
        }
    }

    fn event(&mut self, at: Timestamp, series: Option<usize>, what: Change, state: Option<State>) {
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

    fn heed(&mut self, series: SeriesId, track: &Track, news: &[News], now: Timestamp) {
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
    fn back(&mut self, fallen: bool, at: Timestamp) {
        self.ended = Some(self.ended.map_or(at, |ended| ended.max(at)));
        if fallen && self.until.is_none() && at > self.since {
            self.until = Some(at);
            self.no_later();
        }
    }

    /// The time in which the cause is looked for: from the first to the last failure of what fell.
    fn window(&self, tracks: &Tracks, now: Timestamp) -> Window {
        let until = self.until.unwrap_or(now);
        let marks = track(tracks, self.fallen).into_iter().flat_map(|fallen| fallen.recorder().iter());
        let inside = marks.filter(|mark| mark.at >= self.since && mark.at <= until);
        let failed = inside.filter(|mark| good(mark, self.serving) == Some(false));
        let to = failed.map(|mark| mark.at).max().unwrap_or(until);
        Window { from: self.since, to, serving: self.serving }
    }

    /// When it is over, as far as is known now; `FAR` while it is not.
    fn over(&self, tracks: &Tracks, all: &[SeriesId], now: Timestamp) -> Timestamp {
        let mut over = self.heard + CALM;
        let (mut down, mut up) = (false, all.is_empty());
        for (id, track) in all.iter().filter_map(|id| Some((*id, track(tracks, *id)?))) {
            if !tells(tracks, all, track.about()) {
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

    /// Whether a series that fell is still down. One that never was well did not fall.
    fn troubled(&self, id: SeriesId, track: &Track) -> bool {
        track.answered() && track.watch().state().0 == State::Down && !self.down_before.contains(&id)
    }

    fn next(&self, tracks: &Tracks, all: &[SeriesId], now: Timestamp) -> Timestamp {
        if self.verdict.is_none() { self.judge_at } else { self.over(tracks, all, now) }
    }

    fn held(&self) -> usize {
        self.series.iter().map(|recorded| recorded.marks.len()).sum()
    }

    /// Copies what the recorders hold and is new here; tells how many samples that is.
    fn snapshots(&mut self, tracks: &Tracks, held: usize) -> usize {
        let mut more = 0;
        for place in 0..self.series.len() {
            let id = self.series.get(place).and_then(|recorded| recorded.id);
            if let Some(track) = id.and_then(|id| track(tracks, id)) {
                more += self.snapshot(place, track, held + more);
            }
        }
        more
    }

    fn snapshot(&mut self, place: usize, track: &Track, held: usize) -> usize {
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

    fn found(&self, stage: Stage, tracks: &Tracks) -> Found {
        let closed = stage == Stage::Closed;
        let of = |recorded: &Recorded| recorded.id.and_then(|id| track(tracks, id));
        let troubled = |recorded: &Recorded| {
            let track = recorded.id.zip(of(recorded));
            recorded.about.carrier != Carrier::Icmp && track.is_some_and(|(id, track)| self.troubled(id, track))
        };
        let lasting = closed && self.series.iter().any(troubled);
        let ended = self.ended.filter(|ended| closed && !lasting && *ended >= self.began);
        let dpd = |(place, recorded): (usize, &Recorded)| match of(recorded) {
            Some(track) => recorded.dpd(track, place),
            None => recorded.dpd.clone(),
        };
        let (cause, clues) = self.verdict.clone().unzip();
        let target = self.series.first().map(|recorded| recorded.about.target.clone());
        Found::Incident(
            stage,
            Box::new(Incident {
                schema: SCHEMA,
                id: self.id.clone(),
                target: target.unwrap_or_default(),
                kind: self.kind,
                state: if closed { IncidentState::Closed } else { IncidentState::Open },
                began: self.wall,
                ended: ended.map(|ended| self.wall.after(ended.since(self.began))),
                seconds: ended.map(|ended| seconds(self.began, ended)),
                cause,
                clues: clues.unwrap_or_default(),
                lasting,
                series: self.series.iter().map(|recorded| self.record(recorded)).collect(),
                series_left_out: self.series_left_out,
                samples_left_out: self.marks_left_out,
                transitions: self.events.clone(),
                transitions_left_out: self.events_left_out,
                dpd: self.series.iter().enumerate().flat_map(dpd).collect(),
                path: None,
            }),
        )
    }

    fn record(&self, recorded: &Recorded) -> SeriesRecord {
        let About { member, address, probe, kind, egress, carrier, port, interval, timeout, .. } =
            &recorded.about;
        let mut marks: Vec<_> = recorded.marks.iter().map(|packed| Mark::from(*packed)).collect();
        marks.sort_by_key(|mark| mark.at);
        let mut samples = Samples::default();
        for mark in marks {
            samples.at.push(seconds(self.began, mark.at));
            samples.fates.push_str(mark.seen.as_str());
            samples.rtt_ms.push(mark.rtt.map(|rtt| rounded(rtt.as_secs_f64() * 1e3)));
        }
        SeriesRecord {
            member: *member,
            address: *address,
            probe: probe.clone(),
            kind: (*kind).to_owned(),
            egress: egress.clone(),
            carrier: *carrier,
            port: *port,
            interval_seconds: interval.as_secs_f64(),
            timeout_seconds: timeout.as_secs_f64(),
            state: recorded.state,
            samples,
        }
    }
}

#[cfg(test)]
mod tests;
