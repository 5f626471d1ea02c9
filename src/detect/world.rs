//! A world for tests: series that are probed on their grids, whatever happens to them.

use std::net::IpAddr;
use std::time::Duration;

use super::dpd::Profile;
use super::flap::Damping;
use super::path::{Shown, Sight};
use super::{About, Bearing, Collector, Found, Incident, Input, Placed, Stage};
use crate::sample::{Carrier, Fault, Outcome, Reason, Report, Sample, SeriesId};
use crate::time::{Timestamp, WallTime};

/// 2026-11-22T00:00:00Z.
pub(super) const EPOCH: i64 = 1_795_305_600;

/// What happens to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Well,
    Cookie,
    Lost,
    /// Lost, and a fresh flow is answered.
    OnFlow,
    /// An ICMP error or a refusal.
    Says(Reason),
    /// Our own fault.
    Ours,
}

/// Kinds, their carriers and ports.
const KINDS: [(&str, Carrier, u16); 8] = [
    ("icmp", Carrier::Icmp, 0),
    ("ike", Carrier::Udp, 500),
    ("ike_natt", Carrier::Udp, 4500),
    ("openvpn_udp", Carrier::Udp, 1194),
    ("openvpn_tcp", Carrier::Tcp, 1194),
    ("tls", Carrier::Tcp, 443),
    ("tcp", Carrier::Tcp, 22),
    ("trace", Carrier::Udp, 500),
];

#[derive(Default, Clone)]
pub(super) struct World(pub Vec<Placed>);

impl World {
    /// Adds probes, given as `kind/seconds`, of a member at 192.0.`net`.`member`.
    pub fn with(mut self, target: &str, net: u8, member: u8, egress: &str, probes: &str) -> Self {
        for probe in probes.split(' ') {
            let (name, interval) = probe.split_once('/').unwrap();
            let (kind, carrier, port) = KINDS.into_iter().find(|(kind, ..)| *kind == name).unwrap();
            let about = About {
                target: target.to_owned(),
                member,
                address: Some(IpAddr::from([192, 0, net, member])),
                probe: name.to_owned(),
                kind,
                egress: egress.to_owned(),
                carrier,
                port,
                interval: Duration::from_millis(interval.parse::<u64>().unwrap() * 1000),
                timeout: Duration::from_secs(2),
            };
            self.0.push(Placed { about, damping: Damping::default(), profiles: [].into() });
        }
        self
    }

    /// Has the last probe feed profiles.
    pub fn fed(mut self, profiles: &[Profile]) -> Self {
        self.0.last_mut().unwrap().profiles = profiles.into();
        self
    }

    /// A collector that knows all of it.
    pub fn collector(&self) -> Collector {
        let mut collector = Collector::new();
        for (placed, series) in self.0.iter().zip(0..) {
            let now = Timestamp::ZERO;
            collector.take(Input::Place { series: SeriesId(series), placed, now }, &mut Vec::new());
        }
        collector
    }

    /// What is sent up to a time, in the order in which it is known. `fate` is given the series, the due
    /// time in seconds, and the number of the slot.
    pub fn samples(
        &self,
        seconds: std::ops::Range<u64>,
        mut fate: impl FnMut(&About, f64, u64) -> Fate,
    ) -> Vec<(Sample, Bearing)> {
        let mut all = Vec::new();
        for (placed, series) in self.0.iter().zip(0_u32..) {
            let About { interval, timeout, .. } = placed.about;
            // Phases are fixed and differ; each is below its interval.
            let phase = Duration::from_millis(137 + 311 * u64::from(series)).as_secs_f64();
            let phase = Duration::from_secs_f64(phase % interval.as_secs_f64());
            for seq in 0.. {
                let due = Timestamp::ZERO + phase + interval * u32::try_from(seq).unwrap();
                if due < Timestamp::from_secs(seconds.start) {
                    continue;
                }
                if due >= Timestamp::from_secs(seconds.end) {
                    break;
                }
                let at = due.since(Timestamp::ZERO).as_secs_f64();
                let fate = fate(&placed.about, at, seq);
                let rtt = Duration::from_millis(20);
                let (outcome, after) = match fate {
                    Fate::Well | Fate::Cookie => (Outcome::OK, rtt),
                    Fate::Lost | Fate::OnFlow => (Outcome::Lost(Reason::NoAnswer), timeout),
                    Fate::Says(reason) => (Outcome::Refused(reason), rtt),
                    Fate::Ours => (Outcome::Unsent(Fault::Stalled), rtt),
                };
                let mut report =
                    if outcome == Outcome::OK { Report::timed(outcome, rtt) } else { Report::new(outcome) };
                if fate == Fate::Cookie {
                    report.findings().under_load = true;
                }
                let series = SeriesId(series);
                let sample =
                    Sample { series, seq, form: "x", due, sent: Some(due), done: due + after, report };
                let bearing = if fate == Fate::OnFlow { Bearing::Flow } else { Bearing::Target };
                all.push((sample, bearing));
            }
        }
        all.sort_by_key(|(sample, _)| (sample.done, sample.series));
        all
    }

    /// Runs from the start; what is told of incidents, with the time in seconds, but that they get graver.
    pub fn run(
        &self,
        seconds: u64,
        fate: impl FnMut(&About, f64, u64) -> Fate,
    ) -> Vec<(f64, Stage, Incident)> {
        let mut told = self.run_all(seconds, fate);
        told.retain(|(_, stage, _)| *stage != Stage::Graver);
        told
    }

    /// The same with all that is told.
    pub fn run_all(
        &self,
        seconds: u64,
        fate: impl FnMut(&About, f64, u64) -> Fate,
    ) -> Vec<(f64, Stage, Incident)> {
        let mut collector = self.collector();
        self.go_on(&mut collector, 0..seconds, fate)
    }

    /// The same with what traces show at a time: those of the schedule, and those that are asked for, which
    /// take a tenth of a second.
    pub fn run_traced(
        &self,
        seconds: u64,
        fate: impl FnMut(&About, f64, u64) -> Fate,
        mut shown: impl FnMut(f64) -> Shown,
    ) -> Vec<(f64, Stage, Incident)> {
        let mut collector = self.collector();
        let mut told = Vec::new();
        let tracer = self.0.iter().position(|placed| placed.about.kind == "trace").unwrap();
        let series = SeriesId(u32::try_from(tracer).unwrap());
        let end = Timestamp::from_secs(seconds);
        let mut samples = self.samples(0..seconds, fate).into_iter().peekable();
        let mut asked: Option<Timestamp> = None;
        let mut found = Vec::new();
        let mut now = Timestamp::ZERO;
        let mut see = |collector: &mut Collector, at: Timestamp| {
            let sight = Sight { began: at, at, shown: shown(at.since(Timestamp::ZERO).as_secs_f64()) };
            collector.take(Input::Path { series, sight }, &mut Vec::new());
        };
        while now < end {
            let next = samples.peek().map_or(end, |(sample, _)| sample.done);
            now = next.min(asked.unwrap_or(Timestamp::FAR)).min(collector.deadline().max(now));
            if asked.is_some_and(|at| at <= now) {
                asked = None;
                see(&mut collector, now);
            } else if collector.deadline() <= now {
                let wall = WallTime::from_unix_secs(EPOCH).after(now.since(Timestamp::ZERO));
                collector.take(Input::Tick { now, wall }, &mut found);
                now = now + Duration::from_millis(1);
            } else if let Some((sample, bearing)) = samples.next() {
                if sample.series == series {
                    see(&mut collector, sample.done);
                }
                collector.take(Input::Sample(&sample, bearing), &mut found);
            }
            if found.contains(&Found::Wanted(series)) {
                asked = Some(now + Duration::from_millis(100));
            }
            keep(now, &mut found, &mut told);
        }
        tick(&mut collector, end, &mut told);
        told
    }

    /// Runs a collector on, with a tick whenever it wants one, and some minutes of ticks at the end.
    pub fn go_on(
        &self,
        collector: &mut Collector,
        seconds: std::ops::Range<u64>,
        fate: impl FnMut(&About, f64, u64) -> Fate,
    ) -> Vec<(f64, Stage, Incident)> {
        let mut told = Vec::new();
        let mut found = Vec::new();
        let end = Timestamp::from_secs(seconds.end);
        for (sample, bearing) in self.samples(seconds, fate) {
            tick(collector, sample.done, &mut told);
            collector.take(Input::Sample(&sample, bearing), &mut found);
            keep(sample.done, &mut found, &mut told);
        }
        tick(collector, end, &mut told);
        told
    }
}

/// Ticks up to a time.
pub(super) fn tick(collector: &mut Collector, until: Timestamp, told: &mut Vec<(f64, Stage, Incident)>) {
    let mut found = Vec::new();
    let mut last = Timestamp::ZERO;
    while collector.deadline() <= until {
        let now = collector.deadline().max(last);
        last = now + Duration::from_millis(1);
        let wall = WallTime::from_unix_secs(EPOCH).after(now.since(Timestamp::ZERO));
        collector.take(Input::Tick { now, wall }, &mut found);
        keep(now, &mut found, told);
    }
}

fn keep(at: Timestamp, found: &mut Vec<Found>, told: &mut Vec<(f64, Stage, Incident)>) {
    for found in found.drain(..) {
        if let Found::Incident(stage, incident) = found {
            told.push((at.since(Timestamp::ZERO).as_secs_f64(), stage, *incident));
        }
    }
}
