//! An incident as it is told and kept.
//!
//! Invariant: nothing is changed by telling.

use super::super::about::About;
use super::super::collector::{Found, Track};
use super::super::dpd::{Profile, Survival};
use super::super::incident::{
    DpdFate, DpdRecord, Incident, IncidentState, SCHEMA, Samples, SeriesRecord, Stage,
};
use super::super::recorder::Mark;
use super::open::{Open, Recorded, rounded, seconds};
use super::{Tracks, track};
use crate::sample::Carrier;

impl Recorded {
    pub(super) fn dpd(&self, track: &Track, place: usize) -> Vec<DpdRecord> {
        let record = |(at, (profile, survival)): (usize, (&Profile, Option<&Survival>))| {
            let unjudged = |verdict: DpdFate| DpdRecord {
                profile: profile.name.clone(),
                series: Some(place),
                verdict,
                sure: 0,
                expected: None,
                least_margin_seconds: None,
            };
            let Some(survival) = survival else { return unjudged(DpdFate::TooCoarse) };
            if survival.margin_now().is_none() {
                return unjudged(DpdFate::NoSession);
            }
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

impl Open {
    pub(super) fn found(&self, stage: Stage, tracks: &Tracks) -> Found {
        let closed = stage == Stage::Closed;
        let of = |recorded: &Recorded| recorded.id.and_then(|id| track(tracks, id));
        let troubled = |recorded: &Recorded| {
            let track = recorded.id.zip(of(recorded));
            recorded.about.carrier != Carrier::Icmp
                && track.is_some_and(|(id, track)| self.troubled(id, track))
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
                never_answered: self.never,
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

    pub(super) fn record(&self, recorded: &Recorded) -> SeriesRecord {
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
