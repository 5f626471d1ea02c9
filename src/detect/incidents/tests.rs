use proptest::prelude::*;

use super::super::dpd::Profile;
use super::super::incident::{DpdFate, DpdRecord, Incident, IncidentKind, IncidentState};
use super::super::world::{EPOCH, Fate, World, tick};
use super::super::{About, Collector, Input};
use super::*;
use crate::sample::Reason;

fn world() -> World {
    World::default()
        .with("hq", 1, 1, "default", "icmp/5 tls/60 ike/1")
        .fed(&[Profile::named("cisco_asa").unwrap(), Profile::named("strongswan").unwrap()])
        .with("osaka", 2, 1, "default", "icmp/5 ike/5")
}

/// The target `hq` is silent in these times.
fn silent(times: &'static [(f64, f64)]) -> impl Fn(&About, f64, u64) -> Fate {
    move |about, at, _| {
        let down = times.iter().any(|(from, to)| (*from..*to).contains(&at));
        if down && about.target == "hq" { Fate::Lost } else { Fate::Well }
    }
}

fn stages(told: &[(f64, Stage, Incident)]) -> Vec<Stage> {
    told.iter().map(|(_, stage, _)| *stage).collect()
}

const WHOLE: [Stage; 3] = [Stage::Opened, Stage::Decided, Stage::Closed];

#[test]
fn an_outage_from_its_beginning_to_its_end() {
    let told = world().run(1500, silent(&[(1000.0, 1040.0)]));
    assert_eq!(stages(&told), WHOLE);
    let [(opened, _, first), (decided, _, judged), (closed, _, last)] = &told[..] else { panic!() };
    // Cisco's 16 s tear down first.
    assert!((*opened - 1018.0).abs() < 3.0, "{opened}");
    assert!(*decided <= 1045.0, "nobody can tell anything after the end: {decided}");
    assert!((1100.0..1130.0).contains(closed), "{closed}");
    assert!(first.transitions.iter().any(|event| event.what == Change::Teardown));
    assert_eq!((first.state, first.cause, first.ended), (IncidentState::Open, None, None));
    assert_eq!((judged.state, judged.cause), (IncidentState::Open, Some(Cause::Box)));
    assert_eq!((last.state, last.cause, last.lasting), (IncidentState::Closed, Some(Cause::Box), false));
    assert!(told.iter().all(|(_, _, incident)| incident.id == first.id && incident.began == first.began));
    assert_eq!((first.kind, last.kind), (IncidentKind::Dpd, IncidentKind::Outage));
    assert_eq!(last.began.as_unix_secs(), EPOCH + 1000);
    // Ping comes back last of all, by its grid.
    let seconds = last.seconds.unwrap();
    assert!((40.0..46.0).contains(&seconds), "{seconds}");
    assert!(
        (last.ended.unwrap().as_unix_seconds_f64() - last.began.as_unix_seconds_f64() - seconds).abs() < 2e-3
    );

    let series = |probe: &str| last.series.iter().position(|series| series.probe == probe).unwrap();
    let ike = &last.series[series("ike")].samples;
    assert!(ike.at.is_sorted() && ike.at.len() == ike.fates.len() && ike.at.len() == ike.rtt_ms.len());
    let mut once = ike.at.clone();
    once.dedup();
    assert_eq!(once, ike.at, "each sample once");
    let fates = |from: f64, to: f64| -> String {
        let all = ike.at.iter().zip(ike.fates.chars());
        all.filter(|(at, _)| (from..to).contains(*at)).map(|(_, fate)| fate).collect()
    };
    assert_eq!(fates(-60.0, 0.0), "o".repeat(60));
    assert_eq!(fates(0.0, 40.0), ".".repeat(40));
    assert_eq!(fates(40.0, 80.0), "o".repeat(40));
    assert!(
        ike.rtt_ms.iter().zip(ike.fates.chars()).all(|(rtt, fate)| (*rtt == Some(20.0)) == (fate == 'o'))
    );

    let verdict = |profile: &str| last.dpd.iter().find(|dpd| dpd.profile == profile).unwrap();
    assert_eq!((verdict("cisco_asa").verdict, verdict("cisco_asa").sure), (DpdFate::Sure, 1));
    assert_eq!((verdict("strongswan").verdict, verdict("strongswan").sure), (DpdFate::No, 0));
    assert!(verdict("strongswan").least_margin_seconds.unwrap() < 130.0);
    assert!(last.dpd.iter().all(|dpd| dpd.series == Some(series("ike"))));
    let what: Vec<_> = last.transitions.iter().filter(|event| event.series == Some(series("ike"))).collect();
    assert!(what.iter().any(|event| event.what == Change::OutageBegan && event.at.abs() < 1.0), "{what:?}");
    assert!(what.iter().any(|event| event.what == Change::OutageEnded && (event.at - 40.0).abs() < 2.0));
    assert!(what.iter().any(|event| event.what == Change::Teardown));

    let json = serde_json::to_string(last).unwrap();
    assert!(serde_json::from_str::<Incident>(&json).unwrap() == *last, "{json}");
    assert!(
        json.starts_with(r#"{"schema":1,"id":"20261122T0016"#) && json.contains(r#""path":null"#),
        "{json}"
    );
}

#[test]
fn a_lethal_silence_that_becomes_an_outage_is_told_as_one_at_once() {
    // Cisco's 16 s come first, then the 20 s of an outage.
    let told = world().run_all(1500, silent(&[(1000.0, 1060.0)]));
    let kinds: Vec<_> = told.iter().map(|(_, stage, incident)| (*stage, incident.kind)).collect();
    assert_eq!(
        kinds,
        [
            (Stage::Opened, IncidentKind::Dpd),
            (Stage::Graver, IncidentKind::Outage),
            (Stage::Decided, IncidentKind::Outage),
            (Stage::Closed, IncidentKind::Outage),
        ]
    );
    let (at, _, graver) = &told[1];
    assert!((1020.0..1025.0).contains(at), "{at}");
    assert_eq!((graver.state, &graver.id), (IncidentState::Open, &told[0].2.id));
}

#[test]
fn a_profile_that_cannot_be_judged_says_so() {
    let aws = Profile::named("aws").unwrap();
    let world = World::default().with("hq", 1, 1, "default", "icmp/5 ike/60").fed(&[aws]);
    let told = world.run(2500, silent(&[(1000.0, 1400.0)]));
    let dpd = &told.last().unwrap().2.dpd[0];
    assert_eq!((dpd.verdict, dpd.expected, dpd.least_margin_seconds), (DpdFate::TooCoarse, None, None));
}

#[test]
fn what_follows_within_the_minute_is_the_same_incident() {
    // Four changes are flapping too, and that takes its time to end.
    let told = world().run(6000, silent(&[(1000.0, 1040.0), (1075.0, 1110.0)]));
    assert_eq!(stages(&told), WHOLE);
    assert_eq!(told[2].2.kind, IncidentKind::Flapping);
    assert!((110.0..116.0).contains(&told[2].2.seconds.unwrap()));
    let told = world().run(6000, silent(&[(1000.0, 1040.0), (1200.0, 1240.0)]));
    assert_eq!(stages(&told), [WHOLE, WHOLE].concat());
    assert!(told[0].2.id < told[3].2.id);
}

#[test]
fn flapping_is_one_incident_from_the_first_flap_on() {
    let plain = World::default()
        .with("hq", 1, 1, "default", "icmp/5 ike/5 ike_natt/5 tls/60")
        .with("osaka", 2, 1, "default", "ike/5");
    let told = plain.run(5000, silent(&[(1000.0, 1016.0), (1060.0, 1076.0), (1120.0, 1136.0)]));
    assert_eq!(stages(&told), WHOLE);
    let last = &told[2].2;
    assert_eq!((last.kind, last.cause), (IncidentKind::Flapping, Some(Cause::Box)), "{:#?}", last.clues);
    assert!((last.began.as_unix_secs() - EPOCH - 1000).abs() <= 5, "{}", last.began);
    let seconds = last.seconds.unwrap();
    assert!((130.0..146.0).contains(&seconds), "the damping is not its length: {seconds}");
    let downs =
        last.transitions.iter().filter(|event| event.what == Change::FlapDown && event.series == Some(0));
    assert_eq!(downs.count(), 3, "{:#?}", last.transitions);
}

#[test]
fn faults_of_ours_open_nothing_and_support_nothing() {
    let told =
        world().run(1500, |_, at, _| if (1000.0..1300.0).contains(&at) { Fate::Ours } else { Fate::Well });
    assert_eq!(told, []);
    // A stall right in an outage: what is left of it still tells, and nothing more is made of it.
    let told = world().run(2000, |about, at, _| match at {
        1030.0..1090.0 => Fate::Ours,
        1000.0..1100.0 if about.target == "hq" => Fate::Lost,
        _ => Fate::Well,
    });
    assert_eq!(stages(&told), WHOLE);
    assert_eq!(told[2].2.cause, Some(Cause::Box));
    assert!(told[2].2.series.iter().any(|series| series.samples.fates.contains('-')));
}

#[test]
fn a_lost_ping_is_no_incident_while_services_are_probed() {
    let told = world().run(2000, |about, at, _| {
        if about.kind == "icmp" && about.target == "hq" && at > 1000.0 { Fate::Lost } else { Fate::Well }
    });
    assert_eq!(told, []);
}

#[test]
fn a_part_that_stays_down_does_not_swallow_the_next_outage() {
    let told = world().run(6000, |about, at, _| match at {
        _ if about.target != "hq" => Fate::Well,
        1000.0.. if about.kind == "tls" => Fate::Says(crate::sample::Reason::ConnectionRefused),
        5000.0..5040.0 => Fate::Lost,
        _ => Fate::Well,
    });
    assert_eq!(stages(&told), [WHOLE, WHOLE].concat());
    assert_eq!((told[2].2.cause, told[2].2.lasting), (Some(Cause::ServiceStopped), true));
    assert_eq!((told[2].2.ended, told[2].2.seconds), (None, None));
    assert!(told[5].0 < 5200.0 && !told[5].2.lasting && told[5].2.seconds.unwrap() < 50.0);
    // The portal was down before: it is no witness any more.
    assert_eq!(told[5].2.cause, Some(Cause::Box), "{:#?}", told[5].2.clues);
}

#[test]
fn a_whole_target_that_is_down_stays_one_open_incident() {
    let told = world().run(20_000, silent(&[(1000.0, 15_000.0)]));
    assert_eq!(stages(&told), WHOLE);
    assert!((told[2].2.seconds.unwrap() - 14_000.0).abs() < 70.0);
    let samples = told[2].2.series.iter().map(|series| series.samples.at.len()).max().unwrap();
    assert!(samples <= 3 * 120, "{samples}");
}

#[test]
fn a_target_that_goes_closes_its_incident() {
    let world = world();
    let mut collector = world.collector();
    let mut told = world.go_on(&mut collector, 0..1030, silent(&[(1000.0, 9e9)]));
    for series in 0..3 {
        let now = Timestamp::from_secs(1030);
        collector.take(Input::Remove { series: SeriesId(series), now }, &mut Vec::new());
    }
    tick(&mut collector, Timestamp::from_secs(1200), &mut told);
    told.retain(|(_, stage, _)| *stage != Stage::Graver);
    assert_eq!(stages(&told), WHOLE);
    let last = &told[2].2;
    assert_eq!((last.cause, last.ended), (Some(Cause::Unknown), None));
    assert!(last.transitions.iter().filter(|event| event.what == Change::Removed).count() == 3);
    assert!(!last.dpd.is_empty() && last.series.iter().all(|series| !series.samples.at.is_empty()));
    assert_eq!(collector.deadline(), Timestamp::from_secs(1200).max(collector.deadline()));
}

/// A thousand targets at once: bounded in memory, and all of them are told the same.
#[test]
fn everybody_at_once() {
    let mut world = World::default();
    for number in 0..1000_u32 {
        let (net, host) = (u8::try_from(number / 250).unwrap(), u8::try_from(number % 250 + 1).unwrap());
        world = world.with(&format!("t{number:04}"), net, host, "default", "icmp/5 ike/5");
    }
    let told = world.run(400, |_, at, _| if (200.0..240.0).contains(&at) { Fate::Lost } else { Fate::Well });
    let closed: Vec<_> = told.iter().filter(|(_, stage, _)| *stage == Stage::Closed).collect();
    assert_eq!(closed.len(), 1000);
    assert!(closed.iter().all(|(_, _, incident)| incident.cause == Some(Cause::OwnLine)));
    let mut ids: Vec<_> = closed.iter().map(|(_, _, incident)| &incident.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
}

#[test]
fn samples_held_are_counted_and_let_go() {
    let world = world();
    let mut collector = world.collector();
    let count = |collector: &Collector| {
        let held: usize = collector.incidents().open.values().map(|open| open.held()).sum();
        assert_eq!(held, collector.incidents().marks);
        held
    };
    world.go_on(&mut collector, 0..1030, silent(&[(1000.0, 1040.0)]));
    assert!(count(&collector) > 100);
    world.go_on(&mut collector, 1030..1500, silent(&[(1000.0, 1040.0)]));
    assert_eq!(count(&collector), 0);
    assert_eq!(collector.incidents().open.len(), 0);
}

/// Noise at the defaults: an incident is what an outage, flapping or a teardown is, and nothing else is one.
#[test]
fn noise_is_no_incident() {
    let usual: Vec<_> = super::super::dpd::USUAL.iter().map(|name| Profile::named(name).unwrap()).collect();
    let world = World::default().with("hq", 1, 1, "default", "icmp/5 ike_natt/5 tls/60 ike/5").fed(&usual);
    let run = |share: f64, days: u64| {
        let mut state = 1_u64;
        world.run(days * 86_400, |_, _, _| {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let drawn = f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap()) / f64::from(u32::MAX);
            if drawn < share { Fate::Lost } else { Fate::Well }
        })
    };
    assert_eq!(run(0.01, 3), []);
    // Five losses in a row come twice a year and probe at 5 %: an outage is then what it looks like.
    let told = run(0.05, 3);
    let opened = told.iter().filter(|(_, stage, _)| *stage == Stage::Opened);
    assert!(opened.count() <= 1, "{told:#?}");
    let cause = |incident: &Incident| {
        let what: Vec<_> = incident.transitions.iter().map(|event| event.what).collect();
        what.contains(&Change::OutageBegan) || what.contains(&Change::FlappingBegan)
    };
    let closed = told.iter().filter(|(_, stage, _)| *stage == Stage::Closed);
    assert!(closed.map(|(_, _, incident)| incident).all(cause), "{told:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens: stages come in their order, the same input tells the same, and a shift of all
    /// times changes nothing but the times.
    #[test]
    fn whatever_happens(fates in prop::collection::vec((0_u8..6, 5_u64..80), 1..14)) {
        let mut spans = Vec::new();
        let mut at = 300;
        for (fate, length) in &fates {
            spans.push((at, at + length, *fate));
            at += length;
        }
        let fate = |shift: u64| {
            let spans = spans.clone();
            move |about: &About, time: f64, _: u64| {
                let what = spans.iter().find(|(from, to, _)| {
                    (Duration::from_secs(*from + shift).as_secs_f64()..Duration::from_secs(*to + shift).as_secs_f64())
                        .contains(&time)
                });
                match what.map(|(.., fate)| *fate) {
                    Some(1) => Fate::Lost,
                    Some(2) if about.target == "hq" => Fate::Lost,
                    Some(3) if about.kind == "ike" => Fate::Says(crate::sample::Reason::PortUnreachable),
                    Some(4) if about.kind == "ike" => Fate::Says(crate::sample::Reason::NoProposalChosen),
                    Some(5) => Fate::Ours,
                    _ => Fate::Well,
                }
            }
        };
        let world = world();
        let told = world.run_all(at + 4000, fate(0));
        prop_assert_eq!(&told, &world.run_all(at + 4000, fate(0)));
        let mut kinds: BTreeMap<&str, IncidentKind> = BTreeMap::new();
        for (_, stage, incident) in &told {
            // Whoever reads what was told last knows what it is.
            let before = kinds.insert(&incident.id, incident.kind);
            prop_assert!(before.is_none_or(|before| before <= incident.kind));
            prop_assert_eq!(*stage == Stage::Opened, before.is_none());
        }
        let told: Vec<_> = told.into_iter().filter(|(_, stage, _)| *stage != Stage::Graver).collect();
        let mut open: BTreeMap<&str, (&str, Stage)> = BTreeMap::new();
        for (_, stage, incident) in &told {
            let before = open.get(incident.target.as_str()).copied();
            match stage {
                Stage::Opened => prop_assert!(before.is_none()),
                Stage::Decided => prop_assert_eq!(before, Some((incident.id.as_str(), Stage::Opened))),
                Stage::Closed => prop_assert_eq!(before, Some((incident.id.as_str(), Stage::Decided))),
                Stage::Graver => unreachable!("left out"),
            }
            prop_assert_eq!(incident.cause.is_some(), *stage != Stage::Opened);
            prop_assert!(incident.seconds.is_none_or(|seconds| seconds >= 0.0));
            if *stage == Stage::Closed {
                open.remove(incident.target.as_str());
            } else {
                open.insert(&incident.target, (&incident.id, *stage));
            }
        }
        // By a whole number of minutes: the phases are the same.
        let later = world.run(at + 4000 + 600, fate(600));
        let plain = |told: &[(f64, Stage, Incident)]| -> Vec<_> {
            told.iter().map(|(_, stage, i)| (*stage, i.kind, i.cause, i.seconds, i.transitions.clone())).collect()
        };
        prop_assert_eq!(plain(&told), plain(&later));
    }
}

/// Configured, probed, and down from the start: that is told, as what it is, once every probe has had its time.
#[test]
fn a_target_that_never_answered_is_told() {
    let told = world().run(2000, silent(&[(0.0, 1000.0)]));
    let brief: Vec<_> = told
        .iter()
        .map(|(at, stage, it)| (*at, *stage, it.kind, it.target.as_str(), it.never_answered))
        .collect();
    assert_eq!(stages(&told), WHOLE, "{brief:?}");
    let [(opened, _, first), (_, _, judged), (_, _, last)] = &told[..] else { panic!() };
    assert!((60.0..100.0).contains(opened), "{opened}");
    assert!(first.never_answered && first.kind == IncidentKind::Outage);
    let nobody = |it: &DpdRecord| it.verdict == DpdFate::NoSession && it.expected.is_none();
    assert!(!first.dpd.is_empty() && first.dpd.iter().all(nobody), "{:#?}", first.dpd);
    assert!((first.began.as_unix_secs() - EPOCH) < 20, "{}", first.began);
    assert_eq!(judged.cause, Some(Cause::Unknown), "nobody saw it fall: {:#?}", judged.clues);
    assert!(judged.clues.iter().any(|clue| clue.text.contains("ever answered")), "{:#?}", judged.clues);
    assert!((980.0..1070.0).contains(&last.seconds.unwrap()), "{:?}", last.seconds);
    assert!(!last.lasting && last.never_answered);
    // After that it is a target like any other.
    let told = world().run(4000, silent(&[(0.0, 1000.0), (2000.0, 2100.0)]));
    assert_eq!(stages(&told), [WHOLE, WHOLE].concat());
    assert!(!told[3].2.never_answered);
}

#[test]
fn only_a_whole_target_that_is_silent_by_evidence_never_answered() {
    let told = |fate: fn(&About, f64) -> Fate| world().run(1500, move |about, at, _| fate(about, at));
    // Our own faults are never evidence.
    assert!(told(|about, _| if about.target == "hq" { Fate::Ours } else { Fate::Well }).is_empty());
    // One service that never answered is no target that never did: the ladder tells of it.
    assert!(
        told(|about, _| if about.probe == "ike" && about.target == "hq" { Fate::Lost } else { Fate::Well })
            .is_empty()
    );
    // Late for its first answer, as a host that starts together with us.
    let late =
        |about: &About, at: f64| if about.target == "hq" && at < 45.0 { Fate::Lost } else { Fate::Well };
    assert!(told(late).is_empty());
    // Ping is no service.
    let ping = |about: &About, _: f64| {
        if about.target == "hq" && about.kind != "icmp" { Fate::Lost } else { Fate::Well }
    };
    assert_eq!(stages(&told(ping)), [Stage::Opened, Stage::Decided]);
    // It says "no": what it says is told.
    let closed = |about: &About, _: f64| {
        if about.target == "hq" { Fate::Says(Reason::PortUnreachable) } else { Fate::Well }
    };
    let told = told(closed);
    assert_eq!(stages(&told), [Stage::Opened, Stage::Decided]);
    assert_eq!(told[1].2.cause, Some(Cause::ServiceStopped), "{:#?}", told[1].2.clues);
}
