//! Thirty days of a daemon's own bookkeeping in virtual time: the schedule, the detectors, the incidents,
//! the metrics and what is kept over a restart. Nothing drifts, nothing grows, every counter is right.
//!
//! What happens is written down here first: each day one target is silent for five minutes, one probe in a
//! thousand is lost, and this host stalls twice for half a minute, and is asleep once for two hours.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use vpnprobe::budget::{Budget, Limits};
use vpnprobe::detect::dpd::{Profile, USUAL};
use vpnprobe::detect::flap::Damping;
use vpnprobe::detect::{About, Bearing, Collector, Found, Input, Placed, Stage, Transition};
use vpnprobe::entropy::Generator;
use vpnprobe::export::metrics::{Registry, SeriesKey};
use vpnprobe::probe::Kind;
use vpnprobe::sample::{Carrier, Fault, Outcome, Reason, Report, Sample, SeriesId};
use vpnprobe::schedule::Schedule;
use vpnprobe::store::Snapshot;
use vpnprobe::time::{Clock, Timestamp, WallTime};

use crate::traces::Random;

const DAY: u64 = 86_400;
const DAYS: u64 = 30;
const TARGETS: u32 = 2;
/// The probes of each target.
const PROBES: [(&str, Carrier, u64); 3] =
    [("ike", Carrier::Udp, 5), ("icmp", Carrier::Icmp, 10), ("tcp", Carrier::Tcp, 60)];
const TIMEOUT: Duration = Duration::from_secs(2);
const WALL: WallTime = WallTime::from_unix_secs(1_795_305_600);

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO
    }
    fn wall(&self) -> WallTime {
        WALL
    }
}

/// Whether a target is silent: five minutes a day, each at its own hour.
fn silent(target: u32, at: Timestamp) -> bool {
    let second = at.as_nanos() / 1_000_000_000 % DAY;
    let from = 3 * 3600 + u64::from(target) * 3600;
    (from..from + 300).contains(&second)
}

/// When a stall that includes this moment is over.
fn stalled(at: Timestamp) -> Option<Timestamp> {
    let second = at.as_nanos() / 1_000_000_000;
    let midnight = second - second % DAY;
    [(10 * 3600, 30), (15 * 3600, 30), (20 * 3600, 7200)]
        .into_iter()
        .map(|(from, lasts)| (midnight + from, midnight + from + lasts))
        .find(|(from, to)| (*from..*to).contains(&second))
        .map(|(_, to)| Timestamp::from_secs(to))
}

/// Memory of this process in use, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

const INSIDE: &str = "VPNPROBE_TEST_SOAK";

/// In a process of its own, whose memory is its own.
#[test]
fn thirty_days() {
    if std::env::var_os(INSIDE).is_some() {
        return soak();
    }
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "soak::thirty_days", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&inside.stdout) + String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.success() && text.contains("thirty days:"), "{text}");
    print!("{text}");
}

#[derive(Default)]
struct Told {
    began: u32,
    ended: u32,
    flapping: u32,
    incidents: u32,
    teardowns: u64,
}

fn soak() {
    let mut random = Random::new(30);
    let registry = Registry::without_process(Arc::new(Still));
    let (mut schedule, mut entropy) = (Schedule::new(), Generator::seeded(30));
    let budget = Budget::new(Limits::default(), Timestamp::ZERO);
    let mut collector = Collector::new();
    let mut found = Vec::new();
    let (mut series, mut phases) = (Vec::new(), Vec::new());
    collector.take(Input::Tick { now: Timestamp::ZERO, wall: WALL }, &mut found);
    for target in 0..TARGETS {
        for (probe, carrier, interval) in PROBES {
            let id = SeriesId(u32::try_from(series.len()).unwrap());
            let interval = Duration::from_secs(interval);
            let profiles: Arc<[Profile]> = if probe == "ike" {
                USUAL.iter().filter_map(|name| Profile::named(name)).collect()
            } else {
                Arc::new([])
            };
            let about = About {
                target: format!("t{target}"),
                member: 1,
                address: Some([192, 0, 2, u8::try_from(target).unwrap()].into()),
                probe: probe.to_owned(),
                kind: Kind::named(probe).unwrap().name,
                egress: "default".to_owned(),
                carrier,
                port: 500,
                interval,
                timeout: TIMEOUT,
            };
            let key = SeriesKey {
                target: about.target.clone(),
                member: 1,
                probe: probe.to_owned(),
                egress: "default".to_owned(),
            };
            let placed = Placed { about, damping: Damping::default(), profiles };
            collector.take(Input::Place { series: id, placed: &placed, now: Timestamp::ZERO }, &mut found);
            let metrics = registry.series(key, Kind::named(probe).unwrap(), &[0.01, 0.1, 1.0]);
            schedule.add(id, interval, Timestamp::ZERO, &mut entropy);
            series.push((target, placed, metrics, 0_u64, 0_u64));
            phases.push(None);
        }
    }
    let end = Timestamp::from_secs(DAYS * DAY);
    let mut waiting: BTreeMap<(Timestamp, u32), Sample> = BTreeMap::new();
    let (mut told, mut lost, mut unsent) = (Told::default(), 0_u64, 0_u64);
    let (mut memory, mut kept) = (Vec::new(), Vec::new());
    let mut now = Timestamp::ZERO;
    let mut day = 0;
    while now < end {
        let next = schedule.next_due().unwrap().min(collector.deadline());
        now = waiting.keys().next().map_or(next, |(at, _)| next.min(*at)).max(now);
        if let Some(after) = stalled(now) {
            // Answers on their way are not seen in time; what was due is not made up for.
            for sample in waiting.values_mut() {
                sample.done = after;
                sample.report = Report::new(Outcome::Unsent(Fault::Stalled));
            }
            now = after;
        }
        while let Some(slot) = schedule.pop(now) {
            let (target, placed, _, begun, missed) = &mut series[slot.series.0 as usize];
            let interval = placed.about.interval;
            *begun += 1;
            *missed += slot.missed;
            registry.own().missed_slots(slot.missed);
            let phase = *phases[slot.series.0 as usize].get_or_insert(slot.due);
            let exactly =
                phase + Duration::from_nanos(u64::try_from(interval.as_nanos()).unwrap() * slot.seq);
            assert_eq!(slot.due, exactly, "slot {} has drifted", slot.seq);
            let gone = silent(*target, now) || random.chance(0.001);
            let (outcome, took) = if gone {
                (Outcome::Lost(Reason::NoAnswer), TIMEOUT)
            } else {
                (Outcome::OK, Duration::from_micros(20_000 + slot.seq % 1000))
            };
            let done = now + took;
            let report = Report { rtt: (!gone).then_some(took), ..Report::new(outcome) };
            let sample = Sample {
                series: slot.series,
                seq: slot.seq,
                form: "full",
                due: slot.due,
                sent: Some(now),
                done,
                report,
            };
            assert!(waiting.insert((done, slot.series.0), sample).is_none());
        }
        while let Some(first) = waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            let sample = first.remove();
            lost += u64::from(matches!(sample.report.outcome, Outcome::Lost(_)));
            unsent += u64::from(matches!(sample.report.outcome, Outcome::Unsent(_)));
            let metrics = &series[sample.series.0 as usize].2;
            metrics.record(&sample);
            metrics.remember(&sample);
            collector.take(Input::Sample(&sample, Bearing::Target), &mut found);
            if let Some(track) = collector.track(sample.series) {
                metrics.watched(track.watch(), sample.due);
            }
        }
        if now >= collector.deadline() {
            let wall = WALL.after(now.since(Timestamp::ZERO));
            collector.take(Input::Tick { now, wall }, &mut found);
        }
        for found in found.drain(..) {
            match found {
                Found::Transition(id, transition) => {
                    series[id.0 as usize].2.transition(&transition);
                    match transition {
                        Transition::OutageBegan { .. } => told.began += 1,
                        Transition::OutageEnded { .. } => told.ended += 1,
                        Transition::FlappingBegan { .. } => told.flapping += 1,
                        _ => {}
                    }
                }
                Found::Teardown { sure, .. } => told.teardowns += sure,
                Found::Incident(Stage::Opened, _) => told.incidents += 1,
                Found::Verdict { .. } | Found::Wanted(_) | Found::Incident(..) => {}
            }
        }
        if now.as_nanos() / 1_000_000_000 / DAY > day {
            day += 1;
            let wall = WALL.after(now.since(Timestamp::ZERO));
            let snapshot = Snapshot::new(now, wall, collector.keep(now), budget.keep()).to_bytes().unwrap();
            // The next process would take it, and it is a process's whole memory.
            let (begin, again) = Snapshot::from_bytes(&snapshot, wall).unwrap();
            assert_eq!((begin, again.knowledge.series.len()), (now, series.len()));
            kept.push(snapshot.len());
            drop(registry.encode_text());
            drop(registry.encode_protobuf());
            memory.push(resident());
        }
    }
    let mut slots = 0;
    for ((_, placed, metrics, begun, missed), phase) in series.iter().zip(&phases) {
        // What is due up to the end: begun, missed, or missed and not told yet.
        let due = 1 + end.since(phase.unwrap()).as_nanos() / placed.about.interval.as_nanos();
        let told = u128::from(*begun + *missed);
        let untold = 7200 / u128::from(placed.about.interval.as_secs()) + 1;
        assert!(told <= due && due - told <= untold, "{told} of {due} slots of {:?}", placed.about);
        assert!(metrics.probes() <= *begun && metrics.probes() + 2 >= *begun);
        slots += begun;
    }
    let outages = TARGETS * u32::try_from(DAYS).unwrap() * 2; // ike and icmp; tcp asks too seldom to be sure
    let text = String::from_utf8(registry.encode_text()).unwrap();
    let failures: f64 = text
        .lines()
        .filter(|line| line.starts_with("vpnprobe_probe_failures_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    let (early, late) = (memory[4], *memory.last().unwrap());
    println!(
        "thirty days: {slots} probes, {lost} lost, {unsent} stalled, {} outages and {} flappings told, {} incidents, {} teardowns; \
         what is kept takes {} bytes on day 5 and {} on day 30; memory {:.1} MiB on day 5 and {:.1} on day 30",
        told.began,
        told.flapping,
        told.incidents,
        told.teardowns,
        kept[4],
        kept[kept.len() - 1],
        early / 1_048_576.0,
        late / 1_048_576.0
    );
    assert!((failures - f64::from(u32::try_from(lost).unwrap())).abs() < 0.5, "every loss is counted, once");
    assert!(told.began >= outages && told.began <= outages + TARGETS * 30, "{} outages", told.began);
    assert_eq!(told.began, told.ended);
    assert_eq!(told.flapping, 0);
    assert!(told.incidents >= TARGETS * 30, "{} incidents", told.incidents);
    assert!(kept.iter().max() < kept.iter().min().map(|least| least * 2).as_ref(), "{kept:?}");
    assert!(late - early < 2.0 * 1_048_576.0, "{memory:?}");
}
