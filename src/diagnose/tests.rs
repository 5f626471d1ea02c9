//! What goes across the rules of the ladder: texts, members, rendering. The rules themselves are a table.

use std::net::IpAddr;
use std::time::Duration;

use super::unit::Declared;
use super::*;
use crate::config::Vpn;
use crate::probe::Kind;
use crate::sample::Outcome::{Answered, Lost, Refused, Unsent};
use crate::sample::{Phase, Report};

mod inside;
mod table;

use table::TABLE;

const SILENT: Outcome = Lost(Reason::NoAnswer);
const YES: Outcome = Outcome::OK;
const CLOSED: Outcome = Refused(Reason::PortUnreachable);
const RST: Outcome = Refused(Reason::ConnectionRefused);
const FILTER: Outcome = Refused(Reason::AdminProhibited);
const NO_HOST: Outcome = Refused(Reason::HostUnreachable);
const NO_PROPOSAL: Outcome = Refused(Reason::NoProposalChosen);
const KEY: Outcome = Refused(Reason::KeyRequired);
const FULL: Outcome = Refused(Reason::FullOrThrottled);
const EXPECTED: Outcome = Unsent(Fault::ExpectedSilence);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn observed(kind: &str, outcome: Outcome) -> Observed {
    let (kind, form) = kind.split_once('/').unwrap_or((kind, "version"));
    let form =
        ["version", "policy", "full", "reset", "aggressive"].into_iter().find(|it| *it == form).unwrap();
    let mut report = Report::new(outcome);
    if form == "policy" && outcome == YES {
        report.findings().details.text("answer", "invalid_ke_payload");
        report.findings().details.text("group", "modp2048");
    }
    if outcome.received() == Some(true) {
        report.rtt = Some(Duration::from_micros(1234));
    }
    Observed {
        probe: kind.to_owned(),
        kind: Kind::named(kind).unwrap(),
        member: 1,
        address: ip("192.0.2.1"),
        egress: "default".to_owned(),
        form,
        report,
    }
}

pub(super) fn survey(seen: &[(&str, Outcome)]) -> Survey {
    Survey {
        time: WallTime::from_unix_secs(1_795_305_600),
        host: "vpn.example.jp".to_owned(),
        resolved: Ok(vec![ip("192.0.2.1")]),
        routes: vec![(ip("192.0.2.1"), Ok(ip("198.51.100.7")))],
        ways: None,
        observed: seen.iter().map(|(kind, outcome)| observed(kind, *outcome)).collect(),
        inside: Vec::new(),
        session: None,
    }
}

/// `vpn` words; `+key` an `OpenVPN` key, `+own` the site's own IKE proposals.
pub(super) fn declared(words: &str) -> Declared {
    let mut declared = Declared { target: "hq".to_owned(), ..Declared::default() };
    for word in words.split_whitespace() {
        match word {
            "+key" => declared.openvpn_key = true,
            "+own" => (declared.ike_proposals, declared.ikev1_proposals) = (true, true),
            vpn => declared.vpn.push(vpn.parse::<Vpn>().unwrap()),
        }
    }
    declared
}

#[test]
fn a_failed_step_always_has_a_reason_or_a_fault_and_evidence() {
    for row in TABLE {
        for step in ladder::climb(&survey(row.seen), &declared(row.declared)).steps {
            if step.status == Status::Failed {
                assert!(step.reason.is_some() || step.fault.is_some(), "{}", row.what);
                assert!(!step.evidence.is_empty(), "{}", row.what);
            }
        }
    }
}

/// Silence alone, whatever is declared and however much of it, never makes a failure.
#[test]
fn silence_alone_never_fails() {
    let kinds =
        ["icmp", "ike", "ike_natt", "ikev1", "l2tp", "openvpn_udp", "openvpn_tcp", "tcp", "tls", "dns"];
    for declaration in ["", "ipsec", "ipsec +own", "l2tp-ipsec", "ssl-vpn", "openvpn", "openvpn +key"] {
        for mask in 1_u32..1 << kinds.len() {
            let seen: Vec<(&str, Outcome)> = kinds
                .iter()
                .enumerate()
                .filter(|(bit, _)| mask >> bit & 1 == 1)
                .map(|(_, it)| (*it, SILENT))
                .collect();
            let diagnosis = ladder::climb(&survey(&seen), &declared(declaration));
            assert_eq!(diagnosis.verdict, Verdict::Unknown, "{declaration} {seen:?}");
        }
    }
}

#[test]
fn our_own_faults_never_fail_a_target() {
    for fault in Fault::ALL {
        for declaration in ["", "ipsec +own", "l2tp-ipsec", "ssl-vpn", "openvpn +key"] {
            let kinds = ["icmp", "ike", "ike_natt", "ikev1", "l2tp", "openvpn_udp", "openvpn_tcp", "tls"];
            let seen: Vec<(&str, Outcome)> = kinds.iter().map(|it| (*it, Unsent(*fault))).collect();
            let diagnosis = ladder::climb(&survey(&seen), &declared(declaration));
            assert_eq!(diagnosis.verdict, Verdict::Unknown, "{fault} {declaration}");
            let reach = diagnosis.step(Step::Reach).unwrap();
            assert_eq!(reach.fault, Some(*fault));
        }
    }
}

#[test]
fn names_that_do_not_resolve() {
    for (why, status, reason, verdict) in [
        ("nxdomain: vpn.example.jp", Status::Failed, Some("nxdomain"), Verdict::Failed),
        ("nodata", Status::Failed, Some("nodata"), Verdict::Failed),
        ("servfail from 192.0.2.53", Status::Unknown, Some("servfail"), Verdict::Unknown),
        ("no_answer: 192.0.2.53", Status::Unknown, Some("no_answer"), Verdict::Unknown),
        ("Temporary failure", Status::Unknown, None, Verdict::Unknown),
    ] {
        let mut survey = survey(&[]);
        survey.resolved = Err(why.to_owned());
        let diagnosis = ladder::climb(&survey, &declared("ipsec"));
        let name = diagnosis.step(Step::Name).unwrap();
        assert_eq!((name.status, name.reason.map(StepReason::as_str)), (status, reason), "{why}");
        assert_eq!(diagnosis.verdict, verdict, "{why}");
        assert_eq!(diagnosis.step(Step::Ports).unwrap().status, Status::Unknown);
        assert_eq!(diagnosis.steps.len(), Step::ALL.len());
    }
}

#[test]
fn a_host_without_a_route_fails_at_route_and_says_that_it_is_here() {
    for (fault, status, verdict) in [
        (Fault::NoRoute, Status::Failed, Verdict::Failed),
        (Fault::Egress, Status::Failed, Verdict::Failed),
        (Fault::Permission, Status::Unknown, Verdict::Unknown),
    ] {
        let mut survey = survey(&[("icmp", Unsent(fault)), ("ike", Unsent(fault))]);
        survey.routes = vec![(ip("192.0.2.1"), Err(fault))];
        let diagnosis = ladder::climb(&survey, &declared("ipsec"));
        let route = diagnosis.step(Step::Route).unwrap();
        assert_eq!((route.status, route.fault, diagnosis.verdict), (status, Some(fault), verdict));
        assert_eq!(diagnosis.step(Step::Reach).unwrap().status, Status::Unknown);
    }
}

fn member(slot: u8, address: &str, kind: &str, outcome: Outcome) -> Observed {
    Observed { member: slot, address: ip(address), ..observed(kind, outcome) }
}

#[test]
fn a_sick_member_is_named() {
    let mut survey = survey(&[("icmp", YES), ("tls", YES)]);
    survey.resolved = Ok(vec![ip("192.0.2.1"), ip("192.0.2.2")]);
    survey.routes.push((ip("192.0.2.2"), Ok(ip("198.51.100.7"))));
    survey.observed.push(member(2, "192.0.2.2", "icmp", YES));
    survey.observed.push(member(2, "192.0.2.2", "tls", RST));
    let diagnosis = ladder::climb(&survey, &declared("ssl-vpn"));
    assert_eq!(diagnosis.failed_step, Some(Step::Ports));
    let text = diagnosis.step(Step::Ports).unwrap().text(Lang::En);
    assert!(text.contains("Seen at 192.0.2.2, not at every"), "{text}");
}

#[test]
fn a_member_without_a_route_is_left_out_and_told() {
    let mut survey = survey(&[("icmp", YES), ("tls", YES)]);
    survey.resolved = Ok(vec![ip("192.0.2.1"), ip("2001:db8::1")]);
    survey.routes.push((ip("2001:db8::1"), Err(Fault::NoRoute)));
    survey.observed.push(member(2, "2001:db8::1", "icmp", Unsent(Fault::NoRoute)));
    survey.observed.push(member(2, "2001:db8::1", "tls", Unsent(Fault::NoRoute)));
    let diagnosis = ladder::climb(&survey, &declared("ssl-vpn"));
    assert_eq!((diagnosis.verdict, diagnosis.degraded()), (Verdict::Ok, false));
    assert!(diagnosis.step(Step::Route).unwrap().text(Lang::En).contains("Not judged: 2001:db8::1"));
}

#[test]
fn the_handshake_phase_shows_that_tcp_connected() {
    let mut survey = survey(&[("icmp", SILENT), ("tls", SILENT)]);
    survey.observed[1].report.phases.push((Phase::Connect, Duration::from_millis(3)));
    let diagnosis = ladder::climb(&survey, &declared("ssl-vpn"));
    assert_eq!(diagnosis.failed_step, Some(Step::Ports));
    assert_eq!(diagnosis.step(Step::Ports).unwrap().said[0].note, Note::TlsSilent);
}

#[test]
fn a_cookie_is_an_answer_and_calls_for_attention() {
    let mut survey = survey(&[("icmp", YES), ("ike", YES), ("ike_natt", YES)]);
    survey.observed[1].report.findings().under_load = true;
    let diagnosis = ladder::climb(&survey, &declared("ipsec"));
    assert_eq!(diagnosis.verdict, Verdict::Ok);
    assert_eq!((render::nagios_code(&diagnosis), render::exit_code(&diagnosis)), (1, 0));
}

#[test]
fn a_nat_that_forgets_before_the_keepalive_calls_for_attention() {
    let mut survey = survey(&[("icmp", YES), ("ike", YES), ("ike_natt", YES), ("stun", YES)]);
    let details = &mut survey.observed[3].report.findings().details;
    details.flag("nat", true);
    details.text("mapped_address", "198.51.100.1:5000");
    let mut declared = declared("ipsec");
    let every = Duration::from_secs(20);
    declared.keepalives = vec![super::keepalive::Keepalive { name: "NAT-T".to_owned(), every }];
    let ports = |survey: &Survey| ladder::climb(survey, &declared).step(Step::Ports).unwrap().clone();
    assert!(!ports(&survey).attention());
    for (low, high, note) in
        [(24, 31, Note::NatHolds), (18, 31, Note::NatRemembers), (12, 15, Note::NatForgets)]
    {
        let details = &mut survey.observed[3].report.findings().details;
        details.number("nat_binding_at_least_seconds", low);
        details.number("nat_binding_at_most_seconds", high);
        let ports = ports(&survey);
        let notes: Vec<_> = ports.said.iter().map(|said| said.note).collect();
        assert!(notes.contains(&note) && notes.contains(&Note::BehindNat), "{notes:?}");
        assert_eq!(ports.status, Status::Ok);
        assert_eq!(ports.attention(), note == Note::NatForgets);
        let advice = advice::of(&ports).map(|entry| entry.id.as_str());
        assert_eq!(advice, (note == Note::NatForgets).then_some("dpd_keepalive"));
    }
}

#[test]
fn every_sentence_uses_slots_that_exist_and_both_languages_have_it() {
    let known = [
        "host",
        "address",
        "addresses",
        "source",
        "reason",
        "detail",
        "fault",
        "rtt",
        "life",
        "time",
        "keepalives",
        "seconds",
        "ports",
        "port",
        "port500",
        "port4500",
        "where",
        "probe",
        "tunnel",
        "prefix",
        "prefixes",
        "network",
        "link",
        "way",
        "class",
        "bytes",
    ];
    for note in Note::ALL {
        for lang in Lang::ALL {
            let template = note.template(*lang);
            assert!(!template.is_empty());
            for slot in template.split('{').skip(1) {
                let slot = slot.split_once('}').unwrap().0;
                assert!(known.contains(&slot), "{note:?} {slot}");
            }
        }
    }
}

#[test]
fn the_filling_is_not_read_for_slots() {
    let said = Said::new(Note::NameOk).with("host", "{addresses}").with("addresses", "192.0.2.1");
    assert_eq!(said.text(Lang::En), "{addresses} is 192.0.2.1.");
}

#[test]
fn nagios_is_one_line_with_one_bar() {
    let survey = survey(&[("icmp", YES), ("ike", SILENT), ("ike_natt", SILENT)]);
    let line = render::nagios(&ladder::climb(&survey, &declared("ipsec")), &survey, Lang::En);
    assert!(
        line.starts_with(
            "VPNPROBE CRITICAL - hq: ports failed (no_answer): No answer on UDP 500, UDP 4500, although"
        ),
        "{line}"
    );
    assert!(line.ends_with(" | 'icmp_1'=0.001234s;;;0\n"), "{line}");
    assert_eq!((line.matches('|').count(), line.matches('\n').count()), (1, 1));
}

#[test]
fn a_configured_session_decides_authenticate() {
    use crate::session::Teardown;
    let answers = [("icmp", Outcome::OK), ("ike", Outcome::OK), ("ike_natt", Outcome::OK)];
    for (session, status, reason, verdict) in [
        (Ok(true), Status::Ok, None, Verdict::Ok),
        (Err(Teardown::AuthFailed), Status::Failed, Some(Reason::AuthFailed), Verdict::Failed),
        (Err(Teardown::PeerUnverified), Status::Failed, Some(Reason::AuthFailed), Verdict::Failed),
        (Err(Teardown::NoAnswer), Status::Unknown, Some(Reason::NoAnswer), Verdict::Ok),
        (Err(Teardown::Refused), Status::Unknown, None, Verdict::Ok),
        (Err(Teardown::LocalFault), Status::Unknown, None, Verdict::Ok),
    ] {
        let survey = Survey { session: Some(session), ..survey(&answers) };
        let diagnosis = ladder::climb(&survey, &declared("ipsec"));
        let step = diagnosis.step(Step::Authenticate).unwrap();
        assert_eq!((step.status, step.reason), (status, reason.map(StepReason::Probe)), "{session:?}");
        assert_eq!(diagnosis.verdict, verdict, "{session:?}");
        for lang in [Lang::En, Lang::Ja] {
            assert!(!step.text(lang).is_empty() && !step.text(lang).contains('{'), "{}", step.text(lang));
        }
    }
}

/// Every step that failed, or is not known for a reason, comes with advice.
#[test]
fn every_step_and_reason_of_the_ladder_has_its_entry() {
    let outcomes: Vec<Outcome> = Reason::ALL
        .iter()
        .flat_map(|reason| [Answered(Some(*reason)), Refused(*reason), Lost(*reason)])
        .chain([YES, Unsent(Fault::ExpectedSilence)])
        .collect();
    let check = |survey: &Survey, words: &str, what: &str| {
        for step in ladder::climb(survey, &declared(words)).steps {
            if step.reason.is_some() && counsel::wanted(&step) {
                assert!(advice::of(&step).is_some(), "{what}: {} {:?}", step.step, step.reason);
            }
        }
    };
    let words = ["", "ipsec +own", "l2tp-ipsec", "ssl-vpn", "openvpn", "openvpn +key", "wireguard"];
    for kind in Kind::all() {
        // Only what the kind can report.
        for outcome in outcomes.iter().filter(|it| it.reason().is_none_or(|it| kind.reasons.contains(&it))) {
            for other in [YES, SILENT] {
                let mut seen = survey(&[("icmp", other), (kind.name, *outcome)]);
                for words in words {
                    check(&seen, words, &format!("{} {outcome:?} {words}", kind.name));
                }
                if !["dns", "icmp", "tcp", "rdp", "http"].contains(&kind.name) {
                    continue;
                }
                seen.inside = seen.observed.drain(..).collect();
                seen.inside[0].address = ip("10.20.0.1");
                check(&seen, "", &format!("inside {} {outcome:?}", kind.name));
            }
        }
    }
}

fn detailed(kind: &str, outcome: Outcome, flags: &[&'static str]) -> Observed {
    let mut seen = observed(kind, outcome);
    for flag in flags {
        seen.report.findings().details.flag(flag, true);
    }
    seen
}

/// A path MTU that ping alone tells of may be a filter of pings; the VPN's own packets prove it.
#[test]
fn an_mtu_black_hole_is_proven_by_the_vpns_own_packets_only() {
    for (over, hole, expected) in [
        ("ike", true, "failed mtu_black_hole"),
        ("icmp", true, "unknown mtu_black_hole"),
        ("ike", false, "skipped "),
    ] {
        let mut survey = survey(&[("icmp", YES), ("ike", YES), ("ike_natt", YES), ("trace", YES)]);
        let details = &mut survey.observed[3].report.findings().details;
        details.flag("mtu_black_hole", hole);
        details.number("path_mtu", 1300);
        details.text("mtu_over", over);
        let step = ladder::climb(&survey, &declared("ipsec")).step(Step::Tunnel).unwrap().clone();
        assert_eq!(
            format!("{} {}", step.status, step.reason.map_or("", StepReason::as_str)),
            expected,
            "{over}"
        );
    }
}

/// A page over two ways out: what differs is the way.
#[test]
fn a_page_that_is_bad_by_one_way_only() {
    let twin = |bad: Outcome| {
        let mut survey = survey(&[("http", YES), ("http", bad)]);
        survey.observed[1].egress = "tunnel".to_owned();
        ladder::climb(&survey, &declared(""))
    };
    let ports = |diagnosis: &Diagnosis| diagnosis.step(Step::Ports).unwrap().clone();
    assert_eq!(ports(&twin(YES)).status, Status::Ok);
    let status = ports(&twin(Refused(Reason::HttpStatus)));
    assert_eq!((status.status, status.reason), (Status::Failed, Some(Reason::HttpStatus.into())));
    assert!(
        status.text(Lang::En).contains("By default the same page is in order"),
        "{}",
        status.text(Lang::En)
    );
    let portal = ports(&twin(Answered(Some(Reason::CertUntrusted))));
    assert_eq!(portal.reason, Some(LadderReason::CaptiveOrHijacked.into()));
}

#[test]
fn what_a_session_alone_could_see_is_named() {
    let seen = survey(&[("icmp", YES), ("ike", YES), ("ike_natt", YES)]);
    let diagnosis = ladder::climb(&seen, &declared("ipsec"));
    assert_eq!(diagnosis.not_known, ["credentials", "phase2_mismatch", "esp_broken_by_nat"]);
    let text = render::text(&diagnosis, &seen, Lang::Ja);
    assert!(text.contains("フェーズ2は実際にトンネルを張らないと確認できず"), "{text}");
    let seen = survey(&[("icmp", YES), ("tls", YES)]);
    assert_eq!(ladder::climb(&seen, &declared("ssl-vpn")).not_known, ["credentials"]);
}
