//! Incidents: opened, filled, judged and closed, one at a time for each target.
//!
//! ```text
//!   quiet ── a fall ──▶ open, waits ── everyone could speak ──▶ judged ── a minute of calm ──▶ closed
//! ```
//!
//! A fall is an outage, a refusal, flapping, or a sure teardown, of a series that was well before. One
//! that was never well opens nothing by itself: nothing is known of what it fell from. But a target of
//! which nothing has ever answered, once every probe has had its time, is an outage that is told as such
//! ([`never`]). After the fall slower series get the time to speak before the cause is judged; then the cause is fixed. An incident that
//! holds only a part of its target, and in which nothing changes any more, is closed as `lasting`, so
//! that it does not swallow the next one.
//! Invariant: time comes in by ticks and samples only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::about::{AboutRef, Held};
use super::cause::{self, Others, Party};
use super::collector::{Found, Track};
use super::incident::{Cause, Change, Clue, Stage, Stance};
use super::path::Sight;
use super::recorder::Mark;
use super::turn::Turn;
use super::witness::{Window, Witness};
use crate::sample::{Carrier, SeriesId};
use crate::time::{Timestamp, WallTime};

mod fall;
mod kept;
mod never;
mod open;
mod record;

use fall::{Fall, News};
pub use kept::KeptIncident;
use never::Suspect;
use open::Open;

/// Other targets that are asked what they saw.
const ASKED: usize = 40;
/// Incidents that are judged or closed by one tick.
const AT_ONCE: usize = 32;
/// How long a path that is lost on the way is waited for, and how often it is looked at meanwhile.
const LOST: Duration = Duration::from_secs(900);
const AGAIN: Duration = Duration::from_secs(15);
/// How old what is known of the wall clock may be.
const WALL: Duration = Duration::from_secs(60);

type Tracks = [Option<Box<Track>>];

fn track(tracks: &Tracks, series: SeriesId) -> Option<&Track> {
    tracks.get(series.0 as usize)?.as_deref()
}

/// All targets' incidents.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    targets: BTreeMap<Arc<str>, Box<[SeriesId]>>,
    open: BTreeMap<String, Box<Open>>,
    /// Those of the process before this one, until their targets are there.
    waiting: BTreeMap<String, KeptIncident>,
    /// Silent targets of which nothing is known to have ever answered.
    suspects: BTreeMap<String, Suspect>,
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

    /// When something is to be opened, judged or closed; the ticks before it only keep the clock.
    pub(super) fn due(&self) -> Timestamp {
        let next = self.open.values().map(|open| open.next).min().unwrap_or(Timestamp::FAR);
        self.suspects.values().map(|suspect| suspect.at).min().map_or(next, |at| next.min(at))
    }

    /// The name of a target, the same for all its series.
    pub(super) fn target(&self, name: &str) -> Arc<str> {
        self.targets.get_key_value(name).map_or_else(|| Arc::from(name), |(known, _)| Arc::clone(known))
    }

    /// There is a new series; tells what an incident has recorded of it before a restart.
    pub(super) fn place(&mut self, series: SeriesId, about: &Held, now: Timestamp) -> Vec<Mark> {
        let all = self.targets.entry(Arc::clone(about.target())).or_default();
        *all = all.iter().copied().chain([series]).collect();
        self.welcome(series, about.lent(), now)
    }

    /// A series is about to be no more.
    pub(super) fn remove(&mut self, series: SeriesId, gone: &Track, now: Timestamp) {
        let target = &**gone.target();
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
            *all = all.iter().copied().filter(|other| *other != series).collect();
            if all.is_empty() {
                self.targets.remove(target);
                self.suspects.remove(target);
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
        let target = &**track.target();
        let Some(all) = self.targets.get(target) else { return };
        let new = !self.open.contains_key(target);
        if new {
            let Some(fall) = Fall::of(track, &news) else {
                return self.suspect(tracks, series, &news, now);
            };
            if !tells(tracks, all, track) {
                return;
            }
            self.number += 1;
            let mut open = Open::new(fall, series, track, all, tracks, self.clock, self.number);
            self.marks += open.snapshots(tracks, self.marks);
            open.heard = now;
            self.open.insert(target.to_owned(), Box::new(open));
        }
        let Some(open) = self.open.get_mut(target) else { return };
        let kind = open.kind;
        open.heed(series, track, &news, now);
        if new {
            out.push(open.found(Stage::Opened, tracks));
        } else if open.kind != kind {
            out.push(open.found(Stage::Graver, tracks));
        }
        open.next = open.next(tracks, all, now);
        self.deadline = self.deadline.min(open.next);
    }

    /// Judges and closes what is due.
    pub(super) fn tick(&mut self, tracks: &Tracks, now: Timestamp, wall: WallTime, out: &mut Vec<Found>) {
        self.clock = (now, wall);
        self.convict(tracks, now, out);
        let due = self.open.iter().filter(|(_, open)| open.next <= now).take(AT_ONCE);
        let due: Vec<_> = due.map(|(target, _)| target.clone()).collect();
        for target in due {
            self.look(&target, tracks, now, out);
        }
        self.deadline = self.due().min(now + WALL);
    }

    fn look(&mut self, target: &str, tracks: &Tracks, now: Timestamp, out: &mut Vec<Found>) {
        let Some(mut open) = self.open.remove(target) else { return };
        let all = self.targets.get(target).map_or(&[][..], |all| &**all);
        if open.verdict.is_none() && now >= open.ask_at {
            let tracer = self.tracer(&open, tracks).map(|(tracer, _)| tracer);
            out.extend(open.ask(tracer, now));
        }
        if open.verdict.is_none() && (now >= open.judged_at() || all.is_empty()) {
            let (verdict, early) = self.judge(&open, target, tracks, now);
            if early && verdict.0 == Cause::Unknown && open.until.is_none() && now < open.since + LOST {
                open.judge_at = now + AGAIN;
            } else {
                self.marks += open.snapshots(tracks, self.marks);
                open.verdict = Some(verdict);
                out.push(open.found(Stage::Decided, tracks));
            }
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

    /// The cause, its clues, and whether the path may tell more once it is back.
    fn judge(
        &self,
        open: &Open,
        target: &str,
        tracks: &Tracks,
        now: Timestamp,
    ) -> ((Cause, Vec<Clue>), bool) {
        let window = open.window(tracks, now);
        let party = |id: SeriesId| {
            let track = track(tracks, id)?;
            Some((id, Party { about: track.about(), heard: hear(track, window) }))
        };
        let (ids, parties): (Vec<_>, Vec<_>) =
            open.series.iter().filter_map(|recorded| recorded.id).filter_map(party).unzip();
        let Some(fallen) = ids.iter().position(|id| *id == open.fallen) else {
            let text = "what fell was removed before it could be judged".to_owned();
            let clue = Clue { stance: Stance::Missing, subject: "what would tell".to_owned(), text };
            return ((Cause::Unknown, vec![clue]), false);
        };
        let me = parties.get(fallen).map(|party| party.about);
        let others = me.map(|me| self.others(target, me, tracks, window)).unwrap_or_default();
        let turn = self.tracer(open, tracks).map(|(_, tracer)| tracer.sights().hear(window));
        let early = turn.is_some_and(Turn::lost_on_the_way);
        let judged = cause::judge(&parties, fallen, &others, turn, window);
        (if open.never { never::qualify(judged) } else { judged }, early)
    }

    /// A trace tells what it showed.
    pub(super) fn see(&mut self, target: &str, sight: Sight) {
        let Some(open) = self.open.get_mut(target) else { return };
        open.see(sight);
        self.deadline = self.deadline.min(open.next);
    }

    /// The series that traces the path to what fell, by the same way out, if it knows that path.
    fn tracer<'a>(&self, open: &Open, tracks: &'a Tracks) -> Option<(SeriesId, &'a Track)> {
        let me = track(tracks, open.fallen)?.about();
        let all = self.targets.get(me.target)?.iter().filter_map(|id| Some((*id, track(tracks, *id)?)));
        let beside = |about: AboutRef<'_>| (about.member, about.egress) == (me.member, me.egress);
        all.filter(|(_, track)| beside(track.about()) && track.sights().known())
            .min_by_key(|(_, track)| track.about().interval)
    }

    /// What other targets by the same way out say: the fastest probe of each protocol of each.
    fn others<'a>(&self, target: &str, me: AboutRef<'_>, tracks: &'a Tracks, window: Window) -> Others<'a> {
        let after = self.targets.range::<str, _>((Bound::Excluded(target), Bound::Unbounded));
        let rest = self.targets.range::<str, _>((Bound::Unbounded, Bound::Excluded(target)));
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
            let stances: Vec<_> = fastest.values().map(|track| hear(track, window).stance()).collect();
            if stances.contains(&Stance::Stood) {
                others.stood.push(about.target);
            } else if stances.contains(&Stance::Fell) {
                others.near &= me.address.zip(about.address).is_some_and(|(one, other)| near(one, other));
                others.fell.push(about.target);
            } else {
                others.silent += 1;
            }
        }
        others
    }
}

fn hear(track: &Track, window: Window) -> Witness {
    let about = track.about();
    Witness::hear(track.recorder(), about.carrier, about.interval, window)
}

/// Whether two addresses are in one network, as far as that can be told.
fn near(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets().iter().take(3).eq(other.octets().iter().take(3)),
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            one.segments().iter().take(3).eq(other.segments().iter().take(3))
        }
        _ => false,
    }
}

/// Whether a series speaks for its target: a ping does only where nothing else is probed.
fn tells(tracks: &Tracks, all: &[SeriesId], series: &Track) -> bool {
    series.about().carrier != Carrier::Icmp
        || all.iter().filter_map(|id| track(tracks, *id)).all(|other| other.about().carrier == Carrier::Icmp)
}

#[cfg(test)]
mod tests;
