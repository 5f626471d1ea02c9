//! One side of the comparison: a collector of its own, fed with the record, judged its own way.
//!
//! Invariant: what a side finds depends on the record and its settings, not on the other side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::change::Change;
use super::tally::{Drops, Judged, Span, Tally};
use crate::detect::dpd::{Profile, Survival};
use crate::detect::incident::Cause;
use crate::detect::liveness::Thresholds;
use crate::detect::{Collector, Found, Input, Placed, Stage, Transition};
use crate::journal::{Header, Record};
use crate::sample::SeriesId;
use crate::time::{Timestamp, WallTime};

/// Target, member, probe, egress: what a series is from one run of the daemon to the next.
pub type Key = (String, u8, String, String);

/// What a side does otherwise than the record says; nothing by default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// Other thresholds of an outage.
    pub down: Option<Duration>,
    /// See [`Thresholds::misses`].
    pub misses: Option<u32>,
    /// See [`Thresholds::up`].
    pub up: Option<Duration>,
    /// Another half-life of flaps.
    pub half_life: Option<Duration>,
    /// See [`crate::detect::flap::Damping::suppress`].
    pub suppress: Option<u32>,
    /// See [`crate::detect::flap::Damping::reuse`].
    pub reuse: Option<u32>,
    /// See [`crate::detect::flap::Damping::ceiling`].
    pub ceiling: Option<u32>,
    /// The profiles to judge by.
    pub profiles: Vec<Change>,
}

impl Rules {
    /// Whether they leave all as it was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { profiles: self.profiles.clone(), ..Self::default() }
            && self.profiles.iter().all(|change| change.words.is_empty())
    }

    fn thresholds(&self, written: Thresholds) -> Thresholds {
        Thresholds {
            down: self.down.unwrap_or(written.down),
            misses: self.misses.unwrap_or(written.misses),
            up: self.up.unwrap_or(written.up),
        }
    }
}

/// What the record says of a profile, or what the program knows of it.
fn known(name: &str, written: &[Profile]) -> Option<Profile> {
    written.iter().find(|profile| profile.name == name).cloned().or_else(|| Profile::named(name))
}

/// One way of judging.
#[derive(Debug)]
pub struct Side {
    rules: Rules,
    /// Whether the changes of the rules are made.
    changed: bool,
    collector: Collector,
    found: Vec<Found>,
    header: Option<Header>,
    /// The series there are, by their number, and how the profiles of each are called.
    series: Vec<Option<(Key, Vec<String>)>>,
    tallies: BTreeMap<Key, Tally>,
    /// Incidents whose cause was decided, by target.
    incidents: BTreeMap<String, BTreeMap<Cause, u64>>,
    /// When a teardown became certain, until its outage is over.
    sure: BTreeMap<(SeriesId, usize), WallTime>,
}

impl Side {
    /// One that judges as the record says, by the rules' profiles too, or one that judges by the rules.
    #[must_use]
    pub fn new(rules: Rules, changed: bool) -> Self {
        Self {
            rules,
            changed,
            collector: Collector::new(),
            found: Vec::new(),
            header: None,
            series: Vec::new(),
            tallies: BTreeMap::new(),
            incidents: BTreeMap::new(),
            sure: BTreeMap::new(),
        }
    }

    /// Incidents of a target whose cause was decided, by that.
    #[must_use]
    pub fn incidents(&self, target: &str) -> BTreeMap<Cause, u64> {
        self.incidents.get(target).cloned().unwrap_or_default()
    }

    /// What was found, series by series.
    #[must_use]
    pub const fn tallies(&self) -> &BTreeMap<Key, Tally> {
        &self.tallies
    }

    /// Another run of the daemon begins, which knows nothing of the one before.
    pub fn restart(&mut self, header: &Header) {
        for at in 0..self.series.len() {
            self.close(SeriesId(u32::try_from(at).unwrap_or(u32::MAX)));
        }
        self.series.clear();
        self.sure.clear();
        let written = header.outage;
        let outage = if self.changed { self.rules.thresholds(written) } else { written };
        self.collector = Collector::judging(outage);
        self.header = Some(header.clone());
    }

    /// The next file of the same run.
    pub fn go_on(&mut self, header: &Header) {
        self.header = Some(header.clone());
    }

    /// What is not over is counted as it stands.
    pub fn finish(&mut self) {
        for at in 0..self.series.len() {
            self.close_profiles(SeriesId(u32::try_from(at).unwrap_or(u32::MAX)));
        }
        self.series.clear();
        self.sure.clear();
    }

    /// A series is no more: what is under way ends with what is known of it.
    fn close(&mut self, series: SeriesId) {
        self.close_profiles(series);
        if let Some(tally) = self.tally(series) {
            let last = tally.last;
            for span in tally.outages.iter_mut().chain(&mut tally.flapping) {
                span.ended.get_or_insert(last);
            }
        }
    }

    /// Feeds a record; its series has the number that this side knows it by.
    ///
    /// # Errors
    /// If a change does not go with a profile of the record.
    pub fn feed(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Place { series, placed, now, .. } => self.place(*series, placed, *now)?,
            Record::Remove { series, .. } => {
                self.close(*series);
                if let Some(key) = self.series.get_mut(series.0 as usize) {
                    *key = None;
                }
                self.take(record);
            }
            Record::Sample(sample, _) => {
                let at = self.wall(sample.due);
                self.tick(sample.done);
                if let Some(tally) = self.tally(sample.series) {
                    tally.first.get_or_insert(at);
                    tally.last = at;
                    tally.samples += 1;
                    tally.lost += u64::from(sample.report.outcome.received() == Some(false));
                }
                self.take(record);
                self.count(at);
            }
            Record::Path { sight, .. } => {
                self.tick(sight.at);
                self.take(record);
                self.count(self.wall(sight.at));
            }
            Record::Tick { now, .. } => {
                self.take(record);
                self.count(self.wall(*now));
            }
            Record::Gap { .. } => {}
        }
        Ok(())
    }

    fn take(&mut self, record: &Record) {
        if let Some(input) = record.input() {
            self.collector.take(input, &mut self.found);
        }
    }

    /// Other rules make other incidents, which want to know the time when the daemon did not ask for it.
    ///
    /// A journal may say that a century has passed since the sample before: ticks that would find nothing
    /// are left out.
    fn tick(&mut self, until: Timestamp) {
        while self.changed && self.header.is_some() && self.collector.deadline() <= until {
            let now = self.collector.deadline().max(self.collector.due().min(until));
            let wall = self.wall(now);
            self.collector.take(Input::Tick { now, wall }, &mut self.found);
            self.count(wall);
            if self.collector.deadline() <= now {
                return;
            }
        }
    }

    fn wall(&self, at: Timestamp) -> WallTime {
        self.header.as_ref().map_or(WallTime::default(), |header| header.wall(at))
    }

    fn tally(&mut self, series: SeriesId) -> Option<&mut Tally> {
        let (key, _) = self.series.get(series.0 as usize)?.as_ref()?;
        self.tallies.get_mut(key)
    }

    fn place(&mut self, series: SeriesId, written: &Placed, now: Timestamp) -> Result<(), String> {
        let (placed, labels) = self.judge(written)?;
        let about = &placed.about;
        let key = (about.target.clone(), about.member, about.probe.clone(), about.egress.clone());
        // What is judged anew is over for the profiles as they were.
        let track = self.collector.track(series);
        if track.is_some_and(|track| !track.dpd().map(|(profile, _)| profile).eq(placed.profiles.iter())) {
            self.close_profiles(series);
        }
        let index = series.0 as usize;
        if self.series.len() <= index {
            self.series.resize(index + 1, None);
        }
        if let Some(slot) = self.series.get_mut(index) {
            *slot = Some((key.clone(), labels.clone()));
        }
        self.collector.take(Input::Place { series, placed: &placed, now }, &mut self.found);
        let tally = self.tallies.entry(key).or_insert_with(|| Tally::new(about.clone()));
        tally.about = about.clone();
        for (profile, label) in placed.profiles.iter().zip(labels) {
            let coarse = Survival::new(profile, about.interval).err().map(|coarse| coarse.coarsest);
            match tally.drops.iter_mut().find(|drops| drops.label == label) {
                Some(drops) => (drops.profile, drops.coarse) = (profile.clone(), coarse),
                None => {
                    let (profile, outages) = (profile.clone(), Vec::new());
                    tally.drops.push(Drops { profile, label, coarse, outages });
                }
            }
        }
        Ok(())
    }

    /// What this side makes of a series of the record, and how its profiles are called.
    fn judge(&self, written: &Placed) -> Result<(Placed, Vec<String>), String> {
        let mut placed = written.clone();
        let mut profiles: Vec<Profile> = written.profiles.to_vec();
        let mut labels: Vec<String> = profiles.iter().map(|profile| profile.name.clone()).collect();
        // A series that feeds none in the record is not the one to judge by.
        let named = || {
            self.rules
                .profiles
                .iter()
                .filter_map(|change| Some((change, known(&change.name, &written.profiles)?)))
        };
        if !written.profiles.is_empty() && !self.rules.profiles.is_empty() {
            if self.changed {
                (profiles, labels) = (Vec::new(), Vec::new());
            }
            for (change, base) in named() {
                let label = if self.changed { change.label() } else { change.name.clone() };
                if !labels.contains(&label) {
                    profiles.push(if self.changed { change.apply(&base)? } else { base });
                    labels.push(label);
                }
            }
        }
        placed.profiles = Arc::from(profiles);
        if self.changed {
            let (rules, damping) = (&self.rules, &mut placed.damping);
            damping.half_life = rules.half_life.unwrap_or(damping.half_life);
            damping.suppress = rules.suppress.unwrap_or(damping.suppress);
            damping.reuse = rules.reuse.unwrap_or(damping.reuse);
            damping.ceiling = rules.ceiling.unwrap_or(damping.ceiling);
        }
        Ok((placed, labels))
    }

    /// Counts what a sample brought to light.
    fn count(&mut self, at: WallTime) {
        for found in std::mem::take(&mut self.found) {
            match found {
                Found::Transition(series, transition) => self.transition(series, &transition, at),
                Found::Teardown { series, place, sure, .. } => {
                    if sure > 0 {
                        self.sure.insert((series, place), at);
                    }
                }
                Found::Verdict { series, place, verdict } => {
                    let sure = self.sure.remove(&(series, place));
                    self.judged(series, place, sure, &verdict);
                }
                // What was traced then is in the record.
                Found::Wanted(_) => {}
                Found::Incident(stage, incident) => {
                    if let (Stage::Decided, Some(cause)) = (stage, incident.cause) {
                        let causes = self.incidents.entry(incident.target).or_default();
                        *causes.entry(cause).or_default() += 1;
                    }
                }
            }
        }
    }

    fn judged(
        &mut self,
        series: SeriesId,
        place: usize,
        sure: Option<WallTime>,
        verdict: &crate::detect::dpd::Verdict,
    ) {
        let judged = Judged::new(verdict, sure, |at| self.wall(at));
        let Some(Some((key, labels))) = self.series.get(series.0 as usize) else { return };
        if let (Some(tally), Some(label)) = (self.tallies.get_mut(key), labels.get(place))
            && let Some(drops) = tally.drops.iter_mut().find(|drops| drops.label == *label)
        {
            drops.outages.push(judged);
        }
    }

    fn transition(&mut self, series: SeriesId, transition: &Transition, at: WallTime) {
        let wall = |at| self.wall(at);
        let (began, ended) = match *transition {
            Transition::OutageBegan { since } => (wall(since), None),
            Transition::OutageEnded { began, ended } => (wall(began), Some(wall(ended))),
            Transition::FlappingEnded { at } => (WallTime::default(), Some(wall(at))),
            _ => (at, None),
        };
        let Some(tally) = self.tally(series) else { return };
        match transition {
            Transition::State { .. } => tally.states += 1,
            Transition::OutageBegan { .. } => tally.outages.push(Span { began, ended }),
            Transition::OutageEnded { .. } => end(&mut tally.outages, ended),
            Transition::Flap { .. } => tally.flaps += 1,
            Transition::FlappingBegan { .. } => tally.flapping.push(Span { began, ended }),
            Transition::FlappingEnded { .. } => end(&mut tally.flapping, ended),
            Transition::LossWindow(_) => tally.loss_windows += 1,
            Transition::LossRun(_) => tally.loss_runs += 1,
        }
    }

    /// Outages that are under way are counted as they stand.
    fn close_profiles(&mut self, series: SeriesId) {
        let Some(track) = self.collector.track(series) else { return };
        let open: Vec<_> = track
            .dpd()
            .enumerate()
            .filter_map(|(place, (_, survival))| Some((place, survival?.current()?)))
            .collect();
        for (place, verdict) in open {
            let sure = self.sure.remove(&(series, place));
            self.judged(series, place, sure, &verdict);
        }
    }
}

/// Ends the last span.
fn end(spans: &mut [Span], at: Option<WallTime>) {
    if let Some(last) = spans.last_mut() {
        last.ended = at;
    }
}
