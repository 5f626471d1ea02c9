//! The collector: every detector of every series, and the one way in.
//!
//! ```text
//!   Input ──▶ Collector ──▶ Found
//!   place     Track (Watch · DPD · Recorder), one a series
//!   remove    Incidents, one a target at most
//!   sample
//!   path
//!   tick
//! ```
//!
//! The daemon and a replay feed it alike: whoever writes down what goes in can have it all again, with
//! other thresholds or timers.
//! Invariants: what comes out depends on nothing but what went in; a sample of a series that was not
//! placed changes nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::about::{About, AboutRef, Common, Held};
use super::dpd::{Feed, Profile, Survival, Verdict};
use super::evidence::Timing;
use super::flap::Damping;
use super::incident::{Incident, Stage};
use super::incidents::Incidents;
use super::kept::{Kept, KeptSurvival, Key, Knowledge};
use super::liveness::Thresholds;
use super::path::Sight;
use super::pool::Pool;
use super::recorder::{Mark, Recorder};
use super::turn::{NO_SIGHTS, Sights};
use super::watch::{Rules, Transition, Watch};
use crate::sample::{Sample, SeriesId};
use crate::time::{Timestamp, WallTime};
use crate::words;

/// A series, and how it is to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What it is.
    pub about: About,
    /// How its flaps are damped.
    pub damping: Damping,
    /// Whose dead peer detection it feeds; empty for most.
    pub profiles: Arc<[Profile]>,
}

words! {
    /// What a sample tells about.
    pub enum Bearing {
        /// The target.
        Target = "target",
        /// Only the flow it went on: a session on that flow would feel it, and the target is well.
        Flow = "flow",
    }
}

/// All that a collector is ever told.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// From `now` on there is this series; one that is there already goes on, judged as this says.
    Place {
        /// Its number.
        series: SeriesId,
        /// What it is.
        placed: &'a Placed,
        /// Since when.
        now: Timestamp,
    },
    /// A series is no more.
    Remove {
        /// Its number.
        series: SeriesId,
        /// Since when.
        now: Timestamp,
    },
    /// A result.
    Sample(&'a Sample, Bearing),
    /// What a trace showed of the path, beside its sample.
    Path {
        /// The series of the traces.
        series: SeriesId,
        /// What it showed.
        sight: Sight,
    },
    /// What the clocks say: at the beginning, and again whenever [`Collector::deadline`] has come.
    Tick {
        /// The monotonic time.
        now: Timestamp,
        /// The wall time, read together with it: for the times that people read.
        wall: WallTime,
    },
}

/// What a collector tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Something of a series changed.
    Transition(SeriesId, Transition),
    /// A profile's sessions were torn down.
    Teardown {
        /// The series that fed it.
        series: SeriesId,
        /// The profile's place in [`Placed::profiles`].
        place: usize,
        /// Teardowns whatever the phase: 0 or more.
        sure: u64,
        /// Teardowns of a session, averaged over its phase.
        expected: f64,
    },
    /// An outage is over for a profile.
    Verdict {
        /// The series that fed it.
        series: SeriesId,
        /// The profile's place in [`Placed::profiles`].
        place: usize,
        /// What it did to the sessions.
        verdict: Verdict,
    },
    /// A trace by this series would tell about an incident that is not judged yet: it is wanted now.
    Wanted(SeriesId),
    /// An incident began, was judged, or is over.
    Incident(Stage, Box<Incident>),
}

/// One series and its detectors.
#[derive(Debug, Clone)]
pub struct Track {
    watch: Watch,
    recorder: Recorder,
    /// When the first probe that was answered was due; zero if that was before this process, and far if none
    /// was.
    answered: Timestamp,
    /// What most series never have.
    seldom: Option<Box<Seldom>>,
    about: Held,
}

/// What is known of a series that feeds profiles, traces, or has fallen silent and come back.
#[derive(Debug, Clone)]
struct Seldom {
    profiles: Arc<[Profile]>,
    feed: Feed,
    /// The profiles that can be judged, with their places.
    survivals: Vec<(usize, Survival)>,
    sights: Sights,
    downs: VecDeque<(Timestamp, Option<Timestamp>)>,
}

impl Track {
    /// Flaps that are kept: those that make it flapping.
    const DOWNS: usize = 4;

    fn new(placed: &Placed, about: Held, rules: Arc<Rules>, now: Timestamp) -> Self {
        let mut track = Self {
            watch: Watch::by(rules, now),
            recorder: Recorder::default(),
            answered: Timestamp::FAR,
            seldom: None,
            about,
        };
        track.judge_by(&placed.profiles);
        track
    }

    fn seldom(&mut self) -> &mut Seldom {
        let timeout = self.about.timeout();
        self.seldom.get_or_insert_with(|| {
            let (survivals, sights, downs) = (Vec::new(), Sights::default(), VecDeque::new());
            Box::new(Seldom { profiles: Arc::default(), feed: Feed::new(timeout), survivals, sights, downs })
        })
    }

    /// Feeds these profiles from now on, which know nothing yet.
    fn judge_by(&mut self, profiles: &Arc<[Profile]>) {
        let interval = self.about.interval();
        let judge = |(place, profile)| Some((place, Survival::new(profile, interval).ok()?));
        let survivals: Vec<_> = profiles.iter().enumerate().filter_map(judge).collect();
        if self.seldom.is_some() || !profiles.is_empty() {
            let seldom = self.seldom();
            (seldom.profiles, seldom.survivals) = (Arc::clone(profiles), survivals);
        }
    }

    fn profiles(&self) -> &[Profile] {
        self.seldom.as_ref().map(|seldom| &*seldom.profiles).unwrap_or_default()
    }

    fn survivals(&self) -> &[(usize, Survival)] {
        self.seldom.as_ref().map(|seldom| seldom.survivals.as_slice()).unwrap_or_default()
    }

    /// What it is.
    #[must_use]
    pub fn about(&self) -> AboutRef<'_> {
        self.about.lent()
    }

    /// Its target's name.
    pub(super) const fn target(&self) -> &Arc<str> {
        self.about.target()
    }

    /// Its detectors.
    #[must_use]
    pub const fn watch(&self) -> &Watch {
        &self.watch
    }

    /// All profiles it feeds, each with what it knows; nothing where the probes are too coarse.
    pub fn dpd(&self) -> impl Iterator<Item = (&Profile, Option<&Survival>)> {
        self.profiles().iter().enumerate().map(|(place, profile)| {
            let survival = self.survivals().iter().find(|(other, _)| *other == place);
            (profile, survival.map(|(_, survival)| survival))
        })
    }

    /// Its last samples.
    #[must_use]
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What its last traces showed; nothing of what is no trace.
    pub(super) fn sights(&self) -> &Sights {
        self.seldom.as_ref().map_or(&NO_SIGHTS, |seldom| &seldom.sights)
    }

    /// Whether a reply has ever come.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.answered < Timestamp::FAR
    }

    /// Whether a reply came to a probe that was due before then.
    pub(super) fn answered_before(&self, then: Timestamp) -> bool {
        self.answered < then
    }

    /// The last few times it fell silent and came back, if it did.
    pub fn downs(&self) -> impl Iterator<Item = (Timestamp, Option<Timestamp>)> + '_ {
        self.seldom.iter().flat_map(|seldom| seldom.downs.iter().copied())
    }

    /// Reads a little of all that a sample will need. The number says nothing.
    #[must_use]
    pub fn fetch(&self) -> u64 {
        let (_, since) = self.watch.state();
        since.as_nanos() ^ self.answered.as_nanos() ^ self.recorder.fetch() ^ self.watch.fetch()
    }

    fn keep(&self, at: Timestamp) -> Kept {
        let profile = |place: usize| self.profiles().get(place);
        let dpd = self.survivals().iter();
        Kept {
            key: Key::from(self.about()),
            at,
            watch: self.watch.kept(),
            answered: self.answered(),
            downs: self.downs().collect(),
            dpd: dpd.filter_map(|(place, known)| Some(KeptSurvival::new(profile(*place)?, known))).collect(),
        }
    }

    fn resume(&mut self, kept: &Kept, now: Timestamp) {
        self.watch.resume(kept.watch.clone(), now);
        self.answered = if kept.answered { Timestamp::ZERO } else { Timestamp::FAR };
        if !kept.downs.is_empty() {
            self.seldom().downs = kept.downs.iter().rev().take(Self::DOWNS).rev().copied().collect();
        }
        let Some(Seldom { profiles, survivals, .. }) = self.seldom.as_deref_mut() else { return };
        for (place, survival) in survivals {
            let profile = profiles.get(*place);
            if let Some(known) = profile.and_then(|profile| kept.survival(profile)) {
                survival.resume(known.clone(), kept.at);
            }
        }
    }

    fn place(&mut self, placed: &Placed, pools: &mut Pools) {
        let rules = Rules { damping: placed.damping, ..Rules::clone(self.watch.rules()) };
        let before = self.watch.set_rules(pools.rules.share(rules));
        pools.rules.release(before);
        let name = &placed.about.target;
        let target =
            if **self.target() == **name { Arc::clone(self.target()) } else { Arc::from(name.as_str()) };
        let about = Held::new(&placed.about, target, &mut pools.common);
        std::mem::replace(&mut self.about, about).release(&mut pools.common);
        if *self.profiles() != *placed.profiles {
            self.judge_by(&placed.profiles);
        } else if let Some(seldom) = &mut self.seldom {
            seldom.profiles = Arc::clone(&placed.profiles);
        }
    }

    fn observe(
        &mut self,
        sample: &Sample,
        bearing: Bearing,
        out: &mut Vec<Found>,
        passed: &mut Vec<Transition>,
    ) {
        let series = sample.series;
        self.recorder.push(Mark::of(sample, bearing));
        if !self.answered() && sample.report.outcome.received() == Some(true) {
            self.answered = sample.due;
        }
        if let Some(Seldom { feed, survivals, .. }) = self.seldom.as_deref_mut()
            && !survivals.is_empty()
        {
            feed.push(sample, |at, received| {
                if received.is_none() {
                    return;
                }
                for (place, survival) in &mut *survivals {
                    let place = *place;
                    let (sure, expected) = (survival.sure(), survival.expected());
                    let verdict = survival.observe(at, received);
                    let (sure, expected) = (survival.sure() - sure, survival.expected() - expected);
                    if sure > 0 || expected > 0.0 {
                        out.push(Found::Teardown { series, place, sure, expected });
                    }
                    out.extend(verdict.map(|verdict| Found::Verdict { series, place, verdict }));
                }
            });
        }
        if bearing == Bearing::Target {
            self.watch.observe(sample, passed);
            for transition in &*passed {
                match *transition {
                    Transition::Flap { down: true, since } => {
                        let downs = &mut self.seldom().downs;
                        if downs.len() >= Self::DOWNS {
                            downs.pop_front();
                        }
                        downs.push_back((since, None));
                    }
                    Transition::Flap { down: false, since } => {
                        let seldom = self.seldom.as_deref_mut();
                        if let Some((_, up)) = seldom.and_then(|seldom| seldom.downs.back_mut()) {
                            up.get_or_insert(since);
                        }
                    }
                    _ => {}
                }
            }
            out.extend(passed.drain(..).map(|transition| Found::Transition(series, transition)));
        }
    }
}

/// What series have in common.
#[derive(Debug, Default)]
struct Pools {
    rules: Pool<Rules>,
    common: Pool<Common>,
}

/// All detectors.
#[derive(Debug, Default)]
pub struct Collector {
    tracks: Vec<Option<Box<Track>>>,
    pools: Pools,
    /// Of the process before this one; taken up by the series that are placed.
    kept: HashMap<Key, Kept>,
    /// Empty between samples.
    passed: Vec<Transition>,
    /// What is an outage.
    outage: Thresholds,
    incidents: Incidents,
}

impl Collector {
    /// One without series.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One without series that goes on from what was kept of those it will have.
    #[must_use]
    pub fn resumed(knowledge: Knowledge) -> Self {
        let kept = knowledge.series.into_iter().map(|kept| (kept.key.clone(), kept)).collect();
        let mut collector = Self { kept, ..Self::default() };
        collector.incidents.resume(knowledge.incidents);
        collector
    }

    /// What is to be kept of all series over a restart; also of those that have not come back yet.
    #[must_use]
    pub fn keep(&mut self, now: Timestamp) -> Knowledge {
        self.kept.retain(|_, kept| kept.usable(now));
        self.kept.shrink_to_fit();
        let series = self.tracks.iter().flatten().map(|track| track.keep(now));
        Knowledge {
            series: series.chain(self.kept.values().cloned()).collect(),
            incidents: self.incidents.keep(&self.tracks, now),
        }
    }

    /// One that tells outages by these thresholds.
    #[must_use]
    pub fn judging(outage: Thresholds) -> Self {
        Self { outage, ..Self::default() }
    }

    /// A series and what is known of it.
    #[must_use]
    pub fn track(&self, series: SeriesId) -> Option<&Track> {
        self.tracks.get(series.0 as usize)?.as_deref()
    }

    #[cfg(test)]
    pub(super) const fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// When it wants the next [`Input::Tick`], at the latest.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.incidents.deadline()
    }

    /// When a tick will find something, as far as is known now; those before it only keep the clock.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.incidents.due()
    }

    /// Takes something in, and appends what is found to `out`.
    pub fn take(&mut self, input: Input<'_>, out: &mut Vec<Found>) {
        match input {
            Input::Place { series, placed, now } => {
                let index = series.0 as usize;
                if self.tracks.len() <= index {
                    self.tracks.resize_with(index + 1, || None);
                }
                match self.tracks.get_mut(index) {
                    Some(Some(track)) => track.place(placed, &mut self.pools),
                    Some(empty) => {
                        let About { interval, timeout, .. } = placed.about;
                        let (timing, outage) = (Timing::new(interval, timeout), self.outage);
                        let rules = Rules { timing, outage, damping: placed.damping };
                        let rules = self.pools.rules.share(rules);
                        let target = self.incidents.target(&placed.about.target);
                        let about = Held::new(&placed.about, target, &mut self.pools.common);
                        let track = empty.insert(Box::new(Track::new(placed, about, rules, now)));
                        if !self.kept.is_empty()
                            && let Some(kept) = self.kept.remove(&Key::from(placed.about.lent()))
                            && kept.usable(now)
                        {
                            track.resume(&kept, now);
                        }
                        for mark in self.incidents.place(series, &track.about, now) {
                            track.recorder.push(mark);
                        }
                    }
                    None => {}
                }
            }
            Input::Remove { series, now } => {
                let gone = self.tracks.get_mut(series.0 as usize).and_then(Option::take);
                if let Some(gone) = gone {
                    self.incidents.remove(series, &gone, now);
                    let Track { watch, about, .. } = *gone;
                    about.release(&mut self.pools.common);
                    self.pools.rules.release(watch.into_rules());
                }
            }
            Input::Tick { now, wall } => self.incidents.tick(&self.tracks, now, wall, out),
            Input::Path { series, sight } => {
                let Self { tracks, incidents, .. } = self;
                let Some(Some(track)) = tracks.get_mut(series.0 as usize) else { return };
                track.seldom().sights.push(sight);
                incidents.see(track.target(), sight);
            }
            Input::Sample(sample, bearing) => {
                let Self { tracks, passed, incidents, .. } = self;
                let Some(Some(track)) = tracks.get_mut(sample.series.0 as usize) else { return };
                let before = out.len();
                track.observe(sample, bearing, out, passed);
                if out.len() > before {
                    let mut more = Vec::new();
                    let found = out.get(before..).unwrap_or_default();
                    incidents.heed(tracks, sample.series, found, sample.done, &mut more);
                    out.append(&mut more);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ten thousand series hold is ten thousand times this; what they hold beside it is in the recorder.
    #[test]
    fn a_track_is_small() {
        let parts = [
            ("track", size_of::<Track>(), 320),
            ("of it, detectors", size_of::<Watch>(), 200),
            ("of it, recorder", size_of::<Recorder>(), 56),
        ];
        for (part, bytes, most) in parts {
            assert!(bytes <= most, "{part}: {bytes} bytes, more than {most}");
        }
    }
}
