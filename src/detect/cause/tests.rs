//! Labelled scenarios: each cause, beside what looks almost like it.

use super::*;
use crate::detect::About;
use crate::detect::dpd::Profile;
use crate::detect::incident::{Incident, IncidentKind, Stage};
use crate::detect::path::{PathChange, Shown};
use crate::detect::world::{Fate, World};
use crate::time::Timestamp;
use std::time::Duration;

/// The cut.
const CUT: std::ops::Range<f64> = 1000.0..1045.0;

/// An IPsec concentrator with a portal, and two other targets.
fn world() -> World {
    World::default()
        .with("hq", 1, 1, "default", "icmp/5 ike/5 ike_natt/5 tls/60")
        .with("nagoya", 2, 1, "default", "icmp/5 ike/5")
        .with("osaka", 3, 1, "default", "ike/5 tls/10")
}

/// Whoever is `hit` meets `fate` in the cut: what is judged of the target `hq`.
fn judged(world: &World, fate: Fate, hit: impl Fn(&About) -> bool) -> Incident {
    judged_in(world, CUT, |about, _, _| if hit(about) { fate } else { Fate::Well })
}

fn judged_in(
    world: &World,
    cut: std::ops::Range<f64>,
    mut fate: impl FnMut(&About, f64, u64) -> Fate,
) -> Incident {
    let told =
        world.run(1600, |about, at, seq| if cut.contains(&at) { fate(about, at, seq) } else { Fate::Well });
    let told: Vec<_> = told.into_iter().filter(|(_, _, incident)| incident.target == "hq").collect();
    let stages: Vec<_> = told.iter().map(|(_, stage, _)| *stage).collect();
    assert_eq!(stages, [Stage::Opened, Stage::Decided, Stage::Closed], "{told:#?}");
    assert!(told[1].0 - cut.start <= 100.0, "judged {} s after it began", told[1].0 - cut.start);
    told[2].2.clone()
}

fn cause(world: &World, fate: Fate, hit: impl Fn(&About) -> bool) -> Cause {
    let incident = judged(world, fate, hit);
    let missing = incident.clues.iter().any(|clue| clue.subject == "what would tell");
    assert_eq!(incident.cause == Some(Cause::Unknown), missing, "{:#?}", incident.clues);
    incident.cause.unwrap()
}

fn hq(about: &About) -> bool {
    about.target == "hq"
}

#[test]
fn all_targets_are_our_own_line_and_one_is_the_box() {
    assert_eq!(cause(&world(), Fate::Lost, |_| true), Cause::OwnLine);
    assert_eq!(cause(&world(), Fate::Lost, hq), Cause::Box);
    // One of two others: it may be either.
    assert_eq!(cause(&world(), Fate::Lost, |about| about.target != "osaka"), Cause::Unknown);
    // Nobody else there.
    let alone = World::default().with("hq", 1, 1, "default", "icmp/5 ike/5 tls/60");
    assert_eq!(cause(&alone, Fate::Lost, |_| true), Cause::Unknown);
    // Others that are probed too seldom, or were down before, say nothing.
    let dead = alone.with("nagoya", 2, 1, "default", "ike/5");
    let told =
        dead.run(
            1600,
            |about, at, _| {
                if about.target == "nagoya" || CUT.contains(&at) { Fate::Lost } else { Fate::Well }
            },
        );
    let (told, never): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|(_, _, incident)| incident.target == "hq");
    assert!(never.iter().all(|(_, _, incident)| incident.never_answered), "it was never well: {never:#?}");
    assert_eq!(told[1].2.cause, Some(Cause::Unknown), "{told:#?}");
}

#[test]
fn targets_in_one_network_may_be_that_network_and_it_is_said() {
    let world = World::default().with("hq", 1, 1, "default", "icmp/5 ike/5").with(
        "hq2",
        1,
        2,
        "default",
        "icmp/5 ike/5",
    );
    let incident = judged(&world, Fate::Lost, |_| true);
    assert_eq!(incident.cause, Some(Cause::OwnLine));
    assert!(incident.clues.iter().any(|clue| clue.text.contains("it may be that network")));
}

#[test]
fn a_slow_probe_without_evidence_does_not_keep_the_box_from_being_named() {
    // The portal is probed at 1021.07 s, and a minute later.
    let incident =
        judged_in(&world(), 1023.0..1051.0, |about, _, _| if hq(about) { Fate::Lost } else { Fate::Well });
    assert_eq!(incident.cause, Some(Cause::Box));
    let portal = incident.clues.iter().find(|clue| clue.subject == "tls").unwrap();
    assert_eq!(portal.stance, Stance::NoEvidence, "{portal:?}");
}

#[test]
fn udp_only_needs_tcp_that_stood() {
    let udp = |about: &About| hq(about) && about.carrier == Carrier::Udp;
    assert_eq!(cause(&world(), Fate::Lost, udp), Cause::Udp);
    // The same with nothing known of the portal.
    let cut = 1023.0..1051.0;
    let incident = judged_in(&world(), cut, |about, _, _| if udp(about) { Fate::Lost } else { Fate::Well });
    assert_eq!(incident.cause, Some(Cause::Unknown), "{:#?}", incident.clues);
    // And the other way round.
    let world = World::default().with("hq", 1, 1, "default", "icmp/5 ike/5 ike_natt/5 tls/5 tcp/5");
    assert_eq!(cause(&world, Fate::Lost, |about| about.carrier == Carrier::Tcp), Cause::Tcp);
}

#[test]
fn one_port_of_two() {
    for (kind, expected) in [("ike", Cause::Udp500), ("ike_natt", Cause::Udp4500)] {
        assert_eq!(cause(&world(), Fate::Lost, |about| hq(about) && about.kind == kind), expected);
    }
    // Without its twin it is one service.
    let world = World::default().with("hq", 1, 1, "default", "icmp/5 ike_natt/5 tls/5");
    assert_eq!(cause(&world, Fate::Lost, |about| about.kind == "ike_natt"), Cause::OneService);
}

#[test]
fn one_service_or_all_of_them() {
    let world = World::default().with(
        "hq",
        1,
        1,
        "default",
        "icmp/5 ike/5 ike_natt/5 openvpn_udp/10 openvpn_tcp/10 tls/5",
    );
    let openvpn = |about: &About| about.kind.starts_with("openvpn");
    assert_eq!(cause(&world, Fate::Lost, openvpn), Cause::OneService);
    assert_eq!(cause(&world, Fate::Lost, |about| about.carrier != Carrier::Icmp), Cause::Services);
    // Some of each: no pattern, and it is not made up.
    let mixed = |about: &About| ["ike", "tls"].contains(&about.kind);
    assert_eq!(cause(&world, Fate::Lost, mixed), Cause::Unknown);
}

#[test]
fn what_is_said_names_itself() {
    let ike = |about: &About| hq(about) && about.kind.starts_with("ike");
    for (reason, expected) in [
        (Reason::PortUnreachable, Cause::ServiceStopped),
        (Reason::ConnectionRefused, Cause::ServiceStopped),
        (Reason::AdminProhibited, Cause::Filtered),
        (Reason::HostUnreachable, Cause::Unreachable),
        (Reason::NetUnreachable, Cause::Unreachable),
        (Reason::ConnectionReset, Cause::Udp),
    ] {
        assert_eq!(cause(&world(), Fate::Says(reason), ike), expected, "{reason}");
    }
    // But not where everybody says so.
    assert_eq!(cause(&world(), Fate::Says(Reason::NetUnreachable), |_| true), Cause::OwnLine);
}

#[test]
fn a_refusal_is_no_silence() {
    for (reason, expected) in [
        (Reason::FullOrThrottled, Cause::FullOrThrottled),
        (Reason::NoProposalChosen, Cause::Refused),
        (Reason::AuthFailed, Cause::Refused),
    ] {
        let incident = judged(&world(), Fate::Says(reason), |about| hq(about) && about.kind == "ike");
        assert_eq!((incident.kind, incident.cause), (IncidentKind::Refused, Some(expected)));
    }
}

#[test]
fn cookies_and_then_silence_is_load_and_cookies_alone_are_nothing() {
    let busy = |silent: bool| {
        world().run(1600, |about, at, _| match at {
            _ if !(hq(about) && about.kind.starts_with("ike")) => Fate::Well,
            900.0..1000.0 => Fate::Cookie,
            1000.0..1045.0 if silent => Fate::Lost,
            1000.0..1045.0 => Fate::Cookie,
            _ => Fate::Well,
        })
    };
    assert_eq!(busy(false), []);
    let told = busy(true);
    assert_eq!(told.last().unwrap().2.cause, Some(Cause::FullOrThrottled));
}

#[test]
fn one_member_of_two_and_both() {
    let world = world().with("hq", 1, 2, "default", "icmp/5 ike/5 ike_natt/5 tls/60");
    assert_eq!(cause(&world, Fate::Lost, |about| hq(about) && about.member == 2), Cause::OneMember);
    assert_eq!(cause(&world, Fate::Lost, hq), Cause::Box);
    let one = |about: &About| hq(about) && about.member == 2 && about.kind == "ike_natt";
    assert_eq!(cause(&world, Fate::Lost, one), Cause::Udp4500);
}

#[test]
fn one_way_out_of_two_both_and_all_targets_on_it() {
    let world =
        world().with("hq", 1, 1, "wan", "icmp/5 ike/5 ike_natt/5").with("osaka", 3, 1, "wan", "ike/5");
    assert_eq!(cause(&world, Fate::Lost, |about| hq(about) && about.egress == "wan"), Cause::OneEgress);
    assert_eq!(cause(&world, Fate::Lost, hq), Cause::Box);
    assert_eq!(cause(&world, Fate::Lost, |about| about.egress == "wan"), Cause::OwnLine);
}

#[test]
fn the_kept_flow_alone() {
    let keepalive = Profile::keepalive("site", Duration::from_secs(5), Duration::from_secs(20), "");
    let world = World::default()
        .with("hq", 1, 1, "default", "icmp/5 tls/60 ike/5")
        .fed(&[keepalive])
        .with("osaka", 3, 1, "default", "ike/5");
    let flow = |about: &About, at: f64, _| match at {
        _ if about.kind != "ike" || !hq(about) => Fate::Well,
        1000.0..1015.0 => Fate::Lost,
        1015.0..1030.0 => Fate::OnFlow,
        _ => Fate::Well,
    };
    let incident = judged_in(&world, CUT, flow);
    assert_eq!((incident.kind, incident.cause), (IncidentKind::Dpd, Some(Cause::Flow)), "{incident:#?}");
    // The same without the fresh flow that is answered.
    let silent = |about: &About, at: f64, seq| {
        if flow(about, at, seq) == Fate::Well { Fate::Well } else { Fate::Lost }
    };
    assert_eq!(judged_in(&world, CUT, silent).cause, Some(Cause::OneService));
}

#[test]
fn silence_of_the_only_probe_is_unknown_and_what_is_missing_is_said() {
    for probes in ["icmp/5", "ike/5 ike_natt/5", "tls/5"] {
        let world = World::default().with("hq", 1, 1, "default", probes);
        assert_eq!(cause(&world, Fate::Lost, |_| true), Cause::Unknown, "{probes}");
    }
}

#[test]
fn a_slow_service_that_falls_alone() {
    let told = world().run(2000, |about, at, _| {
        if hq(about) && about.kind == "tls" && (1000.0..1500.0).contains(&at) {
            Fate::Lost
        } else {
            Fate::Well
        }
    });
    assert_eq!(told.last().unwrap().2.cause, Some(Cause::OneService), "{told:#?}");
}

/// What traces show: the path turns at some time, and is cut off at hop 3 while the target is silent.
fn turns(at: f64) -> impl FnMut(f64) -> Shown {
    let mut runs = 0;
    let mut since = Timestamp::ZERO;
    move |now| {
        runs += u32::from(now >= at);
        match (now >= at, runs) {
            (false, _) if CUT.contains(&now) => Shown::Cut { hop: 3, of: 4 },
            (true, 1 | 2) => {
                since = if runs == 1 { Timestamp::ZERO + Duration::from_secs_f64(now) } else { since };
                Shown::New(2)
            }
            (true, 3) => Shown::Changed(PathChange { from: 1, to: 2, since, hop: 2, runs: 3 }),
            _ => Shown::Same,
        }
    }
}

fn traced(
    world: &World,
    hit: impl Fn(&About) -> Option<Fate>,
    shown: impl FnMut(f64) -> Shown,
) -> (f64, Incident, Clue) {
    let fate = |about: &About, at: f64, _| {
        if CUT.contains(&at) { hit(about).unwrap_or(Fate::Well) } else { Fate::Well }
    };
    let told = world.run_traced(1600, fate, shown);
    let mut told =
        told.into_iter().filter(|(_, stage, told)| told.target == "hq" && *stage == Stage::Decided);
    let (at, _, incident) = told.next().unwrap();
    let clue = incident.clues.iter().find(|clue| clue.subject == "path").unwrap().clone();
    (at, incident, clue)
}

/// The same, with a trace a minute of the first target.
fn world_traced() -> World {
    world().with("hq", 1, 1, "default", "trace/60")
}

#[test]
fn a_path_that_turned_as_it_fell_is_the_cause() {
    let lost = |about: &About| hq(about).then_some(Fate::Lost);
    let (at, incident, clue) = traced(&world_traced(), lost, turns(1003.0));
    assert_eq!(incident.cause, Some(Cause::PathChanged), "{:#?}", incident.clues);
    assert_eq!(clue.stance, Stance::Changed);
    assert!(
        clue.text.contains("from hop 2 on, path 0000000000000001 before and 0000000000000002 since"),
        "{clue:?}"
    );
    assert!(at < 1060.0, "{at}");
    // Its twins: the path is what it was; or it turned long before, or after.
    for (turn, stance, words) in [
        (f64::INFINITY, Stance::Stood, "the same as before"),
        (600.0, Stance::Stood, "the same as before"),
        (900.0, Stance::Unclear, "at another time"),
    ] {
        let (at, incident, clue) = traced(&world_traced(), lost, turns(turn));
        assert_eq!(incident.cause, Some(Cause::Box), "{turn}: {:#?}", incident.clues);
        assert_eq!(clue.stance, stance, "{turn}: {clue:?}");
        assert!(clue.text.contains(words), "{turn}: {clue:?}");
        assert!(at < 1060.0, "{at}");
    }
}

#[test]
fn a_path_that_ends_early_or_may_be_balanced_is_no_other_one() {
    let lost = |about: &About| hq(about).then_some(Fate::Lost);
    let (_, incident, clue) =
        traced(
            &world_traced(),
            lost,
            |at| if at >= 1000.0 { Shown::Cut { hop: 3, of: 4 } } else { Shown::Same },
        );
    assert_eq!((incident.cause, clue.stance), (Some(Cause::Box), Stance::Unclear), "{:#?}", incident.clues);
    assert!(clue.text.contains("up to hop 3 of 4 routers, nothing answered beyond"), "{clue:?}");
    let (at, incident, clue) =
        traced(&world_traced(), lost, |at| if at >= 1000.0 { Shown::New(2) } else { Shown::Same });
    // It may be the box, or another path.
    assert_eq!(
        (incident.cause, clue.stance),
        (Some(Cause::Unknown), Stance::Unclear),
        "{:#?}",
        incident.clues
    );
    assert!(clue.text.contains("load balancing is not ruled out"), "{clue:?}");
    assert!(at < 1090.0, "it is not waited for ever: {at}");
}

#[test]
fn what_proves_itself_goes_before_a_path() {
    let told =
        |hit: &dyn Fn(&About) -> Option<Fate>| traced(&world_traced(), hit, turns(1003.0)).1.cause.unwrap();
    assert_eq!(told(&|_| Some(Fate::Lost)), Cause::OwnLine);
    assert_eq!(told(&|about| hq(about).then_some(Fate::Says(Reason::AdminProhibited))), Cause::Filtered);
    assert_eq!(
        told(&|about| (about.target == "hq" && about.port == 4500).then_some(Fate::Lost)),
        Cause::Udp4500
    );
    // Routers have no way while they look for another one.
    assert_eq!(told(&|about| hq(about).then_some(Fate::Says(Reason::HostUnreachable))), Cause::PathChanged);
    // One probe and its trace are two.
    let alone = World::default().with("hq", 1, 1, "default", "ike/5 trace/60");
    let (_, incident, _) = traced(&alone, |_| Some(Fate::Lost), turns(1003.0));
    assert_eq!(incident.cause, Some(Cause::PathChanged), "{:#?}", incident.clues);
}

#[test]
fn a_path_that_is_lost_on_the_way_is_not_the_box() {
    let lost = |about: &About| hq(about).then_some(Fate::Lost);
    // Judged when it is known how it goes on: it comes back as it was, or as another one.
    let shown = |at: f64| if CUT.contains(&at) { Shown::Cut { hop: 2, of: 6 } } else { Shown::Same };
    let (_, incident, clue) = traced(&world_traced(), lost, shown);
    assert_eq!((incident.cause, clue.stance), (Some(Cause::Box), Stance::Stood), "{:#?}", incident.clues);
    // It does not come back: it is waited for a while, and then that is said.
    let told = world_traced().run_traced(
        3000,
        |about, at, _| if hq(about) && at >= 1000.0 { Fate::Lost } else { Fate::Well },
        |at| if at >= 1000.0 { Shown::Cut { hop: 2, of: 6 } } else { Shown::Same },
    );
    let (at, _, incident) = told.iter().find(|(_, stage, _)| *stage == Stage::Decided).unwrap();
    assert_eq!(incident.cause, Some(Cause::Unknown), "{:#?}", incident.clues);
    assert!((1900.0..1960.0).contains(at), "{at}");
}
