//! Causes against labelled faults: a fleet, a fault drawn for it, and what the incident says it was.
//!
//! The truth is which packets the fault took, and whether the path turned with it; the judgement sees
//! samples and traces only.

use std::net::IpAddr;
use std::time::Duration;

use vpnprobe::detect::dpd::built_in;
use vpnprobe::detect::flap::Damping;
use vpnprobe::detect::incident::Cause;
use vpnprobe::detect::{About, Bearing, Collector, Found, Input, Placed, Stage, Transition};
use vpnprobe::sample::{Carrier, Outcome, Reason, Report, Sample, SeriesId};
use vpnprobe::time::{Timestamp, WallTime};

use super::paths::Paths;
use super::traces::{Background, Link, Plan, Random, seconds};

/// What is counted.
#[derive(Default)]
pub struct Judged {
    /// The right cause.
    pub right: u32,
    /// `unknown`, with what would have told.
    pub unknown: u32,
    /// Another one, each as (truth, told).
    pub wrong: Vec<(Cause, Cause)>,
    /// No incident.
    pub none: u32,
}

/// Whether a fault takes a series.
pub type Hit = fn(&About) -> bool;

/// The faults, and which series of the fleet each takes; the first target is the one that is asked.
const FAULTS: [(Cause, Hit); 11] = [
    (Cause::OwnLine, |_| true),
    (Cause::Box, |about| about.target == "t0"),
    (Cause::OneMember, |about| about.target == "t0" && about.member == 2),
    (Cause::Udp, |about| about.target == "t0" && about.carrier == Carrier::Udp),
    (Cause::Udp500, |about| about.target == "t0" && about.port == 500),
    (Cause::Udp4500, |about| about.target == "t0" && about.port == 4500),
    (Cause::Services, |about| about.target == "t0" && about.carrier != Carrier::Icmp),
    (Cause::OneService, |about| about.target == "t0" && about.port == 1194),
    (Cause::ServiceStopped, |about| about.target == "t0" && about.port == 1194),
    // As likely as the box, which is its twin.
    (Cause::PathChanged, |about| about.target == "t0"),
    (Cause::Box, |about| about.target == "t0"),
];

fn fleet(random: &mut Random, truth: Cause) -> Vec<Placed> {
    let targets = 2 + u8::try_from(random.u64() % 5).unwrap();
    let fast = random.pick(&[1, 2, 5, 5, 5, 10]);
    let slow = random.pick(&[10, 30, 60, 60]);
    let mut all = Vec::new();
    for target in 0..targets {
        let members = if target == 0 && (truth == Cause::OneMember || random.chance(0.3)) { 2 } else { 1 };
        for member in 1..=members {
            let probes = [
                ("icmp", Carrier::Icmp, 0, fast),
                ("ike", Carrier::Udp, 500, fast),
                ("ike_natt", Carrier::Udp, 4500, fast),
                ("openvpn_udp", Carrier::Udp, 1194, 10),
                ("tls", Carrier::Tcp, 443, slow),
                ("trace", Carrier::Udp, 500, random.pick(&[10, 30, 60, 60])),
            ];
            for (kind, carrier, port, interval) in probes {
                let about = About {
                    target: format!("t{target}"),
                    member,
                    address: Some(IpAddr::from([192, 0, target, member])),
                    probe: kind.to_owned(),
                    kind,
                    egress: "default".to_owned(),
                    carrier,
                    port,
                    interval: Duration::from_secs(interval),
                    timeout: Duration::from_secs(2),
                };
                all.push(Placed { about, damping: Damping::default(), profiles: [].into() });
            }
        }
    }
    all
}

/// A series of a target of its own, once a second, that feeds all profiles.
pub fn alone(number: u32) -> Placed {
    let about = About {
        target: format!("t{number}"),
        member: 1,
        address: Some(IpAddr::from((0x0a00_0000 + number).to_be_bytes())),
        probe: "ike".to_owned(),
        kind: "ike",
        egress: "default".to_owned(),
        carrier: Carrier::Udp,
        port: 500,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    };
    Placed { about, damping: Damping::default(), profiles: built_in().into() }
}

/// Draws faults, and has them judged.
pub fn judge(count: usize, random: &mut Random) -> Judged {
    let mut judged = Judged::default();
    for _ in 0..count {
        let (truth, hit) = random.pick(&FAULTS);
        match once(random, truth, hit) {
            None => judged.none += 1,
            Some(told) if told == truth => judged.right += 1,
            Some(Cause::Unknown) => judged.unknown += 1,
            Some(told) => judged.wrong.push((truth, told)),
        }
    }
    judged
}

fn once(random: &mut Random, truth: Cause, hit: Hit) -> Option<Cause> {
    let fleet = fleet(random, truth);
    let begin = 400.0 + random.within(0.0, 60.0);
    let end = begin + random.within(60.0, 300.0);
    let mut collector = Collector::new();
    let mut found = Vec::new();
    let mut samples = Vec::new();
    let mut paths = Paths::drawn(random, truth, (begin, end), hit);
    for (placed, series) in fleet.iter().zip(0..) {
        let series = SeriesId(series);
        collector.take(Input::Place { series, placed, now: Timestamp::ZERO }, &mut found);
        let about = &placed.about;
        let outages = if hit(about) { vec![(begin, end)] } else { Vec::new() };
        // TCP sends again: what is lost there is lost twice.
        let background = match (Background::drawn(random), about.carrier) {
            (_, Carrier::Tcp) => Background::iid(0.0001),
            (background, _) => background,
        };
        let plan = Plan::new(about.interval.as_secs_f64(), random);
        let link = Link::new(Random::new(random.u64()), background, &outages);
        for mut sample in plan.samples(link, end + 300.0) {
            let at = seconds(sample.due);
            let cut = !outages.is_empty() && (begin..end).contains(&at);
            if cut && truth == Cause::ServiceStopped {
                sample.report = Report::new(Outcome::Refused(Reason::PortUnreachable));
            }
            samples.push(Sample { series, ..sample });
        }
    }
    samples.sort_by_key(|sample| (sample.done, sample.series));
    let mut told = None;
    // Traces that are asked for, and the thorough one of an outage.
    let mut asked: Vec<(Timestamp, SeriesId)> = Vec::new();
    for sample in samples {
        asked.sort_unstable();
        while asked.first().is_some_and(|(at, _)| *at <= sample.done) {
            let (at, series) = asked.remove(0);
            if let Some(sight) = paths.trace(series, &fleet[series.0 as usize].about, at) {
                collector.take(Input::Path { series, sight }, &mut found);
            }
        }
        if fleet[sample.series.0 as usize].about.kind == "trace"
            && let Some(sight) =
                paths.trace(sample.series, &fleet[sample.series.0 as usize].about, sample.done)
        {
            collector.take(Input::Path { series: sample.series, sight }, &mut found);
        }
        while collector.deadline() <= sample.done {
            let wall = WallTime::from_unix_secs(1_795_305_600).after(sample.done.since(Timestamp::ZERO));
            collector.take(Input::Tick { now: sample.done, wall }, &mut found);
        }
        collector.take(Input::Sample(&sample, Bearing::Target), &mut found);
        for found in found.drain(..) {
            match found {
                Found::Incident(Stage::Decided, incident) if incident.target == "t0" => {
                    told = told.or(incident.cause);
                }
                Found::Wanted(series) => asked.push((sample.done + Duration::from_millis(200), series)),
                Found::Transition(series, Transition::OutageBegan { .. }) => {
                    let about = &fleet[series.0 as usize].about;
                    let tracer = fleet.iter().position(|placed| {
                        placed.about.kind == "trace"
                            && (&placed.about.target, placed.about.member) == (&about.target, about.member)
                    });
                    let tracer = SeriesId(u32::try_from(tracer.unwrap()).unwrap());
                    if !asked.iter().any(|(_, series)| *series == tracer) {
                        asked.push((sample.done + Duration::from_secs(1), tracer));
                    }
                }
                _ => {}
            }
        }
    }
    told
}
