//! Exchanges over scripted peers: every answer, silence, and what is not ours.

use std::time::Duration;

use proptest::prelude::*;

use super::script::{Script, TIMEOUT, at, is_silence, text};
use super::*;
use crate::probe::{Event, Handled, Mismatch, Settings as All, Step};
use crate::sample::{Detail, Fault, Outcome, Reason, Report};
use crate::wire::ike::{
    self as wire, Body, Group, Header, Message, Notify, NotifyType, Spi, nat_detection, strip_marker,
};
use crate::wire::ikev1;

fn begin(form: &str, proposals: &[&str]) -> Script {
    begin_kind("ike", form, proposals)
}

fn begin_kind(kind: &str, form: &str, proposals: &[&str]) -> Script {
    let proposals = proposals.iter().map(|text| text.parse().unwrap()).collect();
    let settings = All { ike: Settings { proposals }, ..All::default() };
    Script::begin(kind, settings, |spec| {
        if form == "audit" { &AUDIT } else { forms(spec).iter().find(|known| known.name == form).unwrap() }
    })
}

fn refuse(request: &[u8], kind: NotifyType, data: &[u8]) -> Vec<u8> {
    let spi = Header::decode(request).unwrap().initiator;
    Message::init_answer(spi, Spi::ZERO, vec![Notify::new(kind, data).into()]).to_bytes()
}

/// A responder that takes the first proposal, with our address as it sees it.
fn accept(request: &[u8], script: &Script) -> Vec<u8> {
    let request = Message::decode(request).unwrap();
    let mut chosen = request.proposals().unwrap()[0].clone();
    let mut seen = Vec::new();
    chosen.transforms.retain(|transform| {
        let new = !seen.contains(&transform.kind);
        seen.push(transform.kind);
        new
    });
    let (spi, responder) = (request.initiator, Spi([9; 8]));
    let hash = |at: std::net::SocketAddr| nat_detection(spi, responder, at.ip(), at.port());
    Message::init_answer(
        spi,
        responder,
        vec![
            Body::Sa(vec![chosen]).into(),
            Body::KeyExchange { group: Group::MODP_2048, data: vec![2; 256] }.into(),
            Body::Nonce(vec![3; 32]).into(),
            Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, hash(script.from)).into(),
            Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, [0; 20]).into(),
            Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, []).into(),
            Body::VendorId(b"FLEXVPN-SUPPORTED".to_vec()).into(),
        ],
    )
    .to_bytes()
}

fn groups_of(request: &[u8]) -> (Vec<Vec<u16>>, Group) {
    let message = Message::decode(request).unwrap();
    let groups = message.proposals().unwrap().iter().map(|proposal| {
        let dh = proposal.transforms.iter().filter(|transform| transform.kind == wire::TransformType::DH);
        dh.map(|transform| transform.id).collect()
    });
    let group = message.payloads.iter().find_map(|payload| match &payload.body {
        Body::KeyExchange { group, data } => {
            assert_eq!(Some(data.len()), group.public_len());
            Some(*group)
        }
        _ => None,
    });
    (groups.collect(), group.unwrap())
}

const OK: Outcome = Outcome::OK;

#[test]
fn the_policy_check_sends_all_proposals_and_a_decoy_of_another_group() {
    for (proposals, groups, decoy) in [
        (vec!["aes256-sha256-ecp256"], vec![vec![19], vec![14]], Group::MODP_2048),
        (vec!["aes256-sha256-modp2048"], vec![vec![14], vec![2]], Group::MODP_1024),
        (
            vec!["aes256-sha256-modp2048-modp1024", "aes128-sha1-modp1536"],
            vec![vec![14, 2], vec![5], vec![19]],
            Group::ECP_256,
        ),
    ] {
        let request = begin("policy", &proposals).sent();
        assert_eq!(groups_of(&request), (groups, decoy), "{proposals:?}");
    }
}

#[test]
fn the_policy_check_tells_accepted_from_refused() {
    let run = |kind, data: &[u8]| {
        let mut script = begin("policy", &["aes256-sha256-modp2048"]);
        let request = script.sent();
        script.answer(&refuse(&request, kind, data))
    };
    let accepted = run(NotifyType::INVALID_KE_PAYLOAD, &[0, 14]);
    assert_eq!((accepted.outcome, accepted.rtt), (OK, Some(Duration::from_millis(10))));
    assert_eq!((text(&accepted, "answer"), text(&accepted, "group")), ("invalid_ke_payload", "modp2048"));
    let refused = run(NotifyType::NO_PROPOSAL_CHOSEN, &[]);
    assert_eq!(refused.outcome, Outcome::Refused(Reason::NoProposalChosen));
    assert_eq!(refused.rtt, Some(Duration::from_millis(10)));
    let other = run(NotifyType::INVALID_KE_PAYLOAD, &[0, 19]);
    assert_eq!(other.outcome, Outcome::Answered(Some(Reason::WrongAnswer)));
    assert_eq!(
        run(NotifyType::INVALID_SYNTAX, &[]).outcome,
        Outcome::Refused(Reason::InvalidSyntax)
    );
    assert_eq!(
        run(NotifyType::INVALID_KE_PAYLOAD, &[1]).outcome,
        Outcome::Refused(Reason::ProtocolError)
    );
    assert_eq!(run(NotifyType(8192), &[]).outcome, Outcome::Refused(Reason::ProtocolError));
    let cookie = run(NotifyType::COOKIE, &[1, 2, 3]);
    assert_eq!((cookie.outcome, text(&cookie, "answer")), (OK, "cookie"));
    assert!(cookie.findings.unwrap().under_load);
}

#[test]
fn a_check_without_proposals_takes_any_authentic_answer() {
    let mut script = begin("policy_any", &[]);
    let request = script.sent();
    let report = script.answer(&refuse(&request, NotifyType::NO_PROPOSAL_CHOSEN, &[]));
    assert_eq!((report.outcome, text(&report, "answer")), (OK, "no_proposal_chosen"));
    let (groups, decoy) = groups_of(&request);
    assert_eq!((groups.len(), decoy), (3, Group::MODP_1024));
}

#[test]
fn the_version_ping_is_answered_by_the_version() {
    let mut script = begin("version", &[]);
    let request = script.sent();
    assert_eq!((request.len(), request[17]), (28, 0x30));
    let report = script.answer(&refuse(&request, NotifyType::INVALID_MAJOR_VERSION, &[]));
    assert_eq!((report.outcome, text(&report, "version")), (OK, "2.0"));
}

#[test]
fn a_box_that_speaks_only_ikev1_is_of_the_wrong_flavour() {
    let mut script = begin("version", &[]);
    let spi = Header::decode(&script.sent()).unwrap().initiator;
    let kind = ikev1::NotifyType::INVALID_MAJOR_VERSION;
    let answer = ikev1::Message::informational(spi, Spi([5; 8]), 77, kind);
    let report = script.answer(&answer.to_bytes());
    assert_eq!(report.outcome, Outcome::Refused(Reason::WrongFlavour));
    assert_eq!((text(&report, "answer"), text(&report, "version")), ("invalid_major_version", "1.0"));
}

#[test]
fn a_whole_exchange_tells_what_the_peer_is_and_what_it_costs() {
    let mut script = begin("init", &["aes256-sha256-modp2048"]);
    let request = script.sent();
    let answer = accept(&request, &script);
    let report = script.answer(&answer);
    let findings = report.findings.as_ref().unwrap();
    assert_eq!((report.outcome, findings.half_open_left), (OK, Some(HALF_OPEN)));
    assert_eq!(text(&report, "suite"), "aes256-sha256-modp2048");
    assert_eq!(text(&report, "vendor"), "Cisco");
    assert_eq!(findings.details.get("nat_peer"), Some(&Detail::Flag(false)));
    assert_eq!(findings.details.get("nat_local"), Some(&Detail::Flag(true)));
    assert!(findings.details.is("fragmentation") && !findings.details.is("childless"));
    // A duplicate and a late answer are ours, and change nothing.
    assert_eq!(script.receive(&answer), Handled::Taken);
}

#[test]
fn a_cookie_is_returned_once_and_first_and_opens_nothing() {
    let mut script = begin("init", &["aes256-sha256-modp2048"]);
    let first = script.sent();
    script.now = at(1020);
    let cookie = refuse(&first, NotifyType::COOKIE, &[7; 24]);
    assert_eq!(script.receive(&cookie), Handled::Taken);
    let second = script.sent();
    let (before, after) = (Message::decode(&first).unwrap(), Message::decode(&second).unwrap());
    assert_eq!(after.payloads[0], Notify::new(NotifyType::COOKIE, [7; 24]).into());
    // RFC 7296 2.6: what a cookie is made of must not change.
    assert_eq!(after.initiator, before.initiator);
    let nonce = |message: &Message| {
        message.payloads.iter().find(|payload| matches!(payload.body, Body::Nonce(_))).cloned()
    };
    assert!(nonce(&before).is_some() && nonce(&after) == nonce(&before));
    // A KE that a responder with this policy must refuse, which leaves no half-open session.
    assert_eq!(groups_of(&first).1, Group::MODP_2048);
    assert_ne!(groups_of(&second).1, Group::MODP_2048);
    assert_eq!(script.receive(&cookie), Handled::Taken);
    assert_eq!(script.wait(), at(1000) + TIMEOUT);
    script.now = at(1030);
    assert_eq!(script.receive(&refuse(&first, NotifyType::INVALID_KE_PAYLOAD, &[0, 14])), Handled::Taken);
    let report = script.report();
    assert_eq!((report.outcome, report.rtt), (OK, Some(Duration::from_millis(20))));
    assert_eq!((text(&report, "answer"), text(&report, "group")), ("invalid_ke_payload", "modp2048"));
    let findings = report.findings.unwrap();
    assert!(findings.under_load && findings.half_open_left.is_none());
    assert!(!findings.details.is("cookie_unanswered"));
}

#[test]
fn a_cookie_and_then_silence_is_an_answer_that_takes_no_session() {
    let mut script = begin("init", &[]);
    let first = script.sent();
    script.receive(&refuse(&first, NotifyType::COOKIE, &[7; 24]));
    let second = script.sent();
    // One lost packet is not enough: the same once more, with as long to wait.
    script.now = script.wait();
    assert_eq!(script.sent(), second);
    assert_eq!(script.wait(), script.now + TIMEOUT);
    let report = script.silence();
    assert_eq!((report.outcome, text(&report, "answer")), (OK, "cookie"));
    let findings = report.findings.unwrap();
    assert!(findings.half_open_left.is_none() && findings.details.is("cookie_unanswered"));
}

#[test]
fn another_group_is_followed_once() {
    let mut script = begin("init", &["aes256-sha256-modp2048-ecp384"]);
    let first = script.sent();
    assert_eq!(groups_of(&first).1, Group::MODP_2048);
    let other = refuse(&first, NotifyType::INVALID_KE_PAYLOAD, &[0, 20]);
    assert_eq!(script.receive(&other), Handled::Taken);
    let second = script.sent();
    assert_eq!(groups_of(&second).1, Group::ECP_384);
    assert_eq!(script.receive(&other), Handled::Taken);
    script.wait();
    let again = refuse(&first, NotifyType::INVALID_KE_PAYLOAD, &[0, 14]);
    assert_eq!(script.answer(&again).outcome, Outcome::Refused(Reason::ProtocolError));

    let mut script = begin("init", &["aes256-sha256-modp2048-ecp384"]);
    let first = script.sent();
    script.receive(&refuse(&first, NotifyType::INVALID_KE_PAYLOAD, &[0, 20]));
    script.sent();
    assert_eq!(script.silence().outcome, Outcome::Lost(Reason::FullOrThrottled));
}

#[test]
fn a_redirect_names_the_gateway() {
    for (data, name) in [
        (b"\x01\x04\xc0\x00\x02\x07nonce".as_slice(), "192.0.2.7"),
        (b"\x03\x0bgw.example.", "gw.example."),
        (b"\x03\xffx", "03ff78"),
    ] {
        let mut script = begin("init", &[]);
        let request = script.sent();
        let report = script.answer(&refuse(&request, NotifyType::REDIRECT, data));
        assert_eq!((report.outcome, text(&report, "redirect")), (OK, name));
    }
}

#[test]
fn icmp_errors_about_our_message_refuse_and_others_do_not() {
    for reason in [
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
    ] {
        let mut script = begin_kind("ike_natt", "version", &[]);
        let request = script.sent();
        assert_eq!(script.icmp(reason, &[0; 28]), Handled::NotMine(Mismatch::Token));
        script.wait();
        assert_eq!(script.icmp(reason, &request), Handled::Taken);
        assert_eq!(script.report(), Report::new(Outcome::Refused(reason)));
        let mut script = begin("policy_any", &[]);
        script.sent();
        assert_eq!(script.icmp(reason, &[]), Handled::Taken);
        assert_eq!(script.report().outcome, Outcome::Refused(reason));
    }
}

#[test]
fn silence_and_our_own_faults_are_told_apart() {
    for form in ["version", "policy_any", "init"] {
        let mut script = begin(form, &[]);
        script.sent();
        assert_eq!(script.wait(), at(1000) + TIMEOUT);
        is_silence(&script.silence());
    }
    let mut script = begin("version", &[]);
    script.sent();
    script.exchange.handle(Event::Failed(Fault::LocalFirewall), script.now);
    assert_eq!(script.report().outcome, Outcome::Unsent(Fault::LocalFirewall));
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let mut script = begin("policy", &["aes256-sha256-modp2048"]);
    let request = script.sent();
    let good = refuse(&request, NotifyType::INVALID_KE_PAYLOAD, &[0, 14]);
    let bent = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    for (bytes, mismatch) in [
        (bent(0, good[0] ^ 1), Mismatch::Token),
        (bent(17, 0x30), Mismatch::Unexpected),
        (bent(18, 35), Mismatch::Unexpected),
        (bent(19, 0x08), Mismatch::Unexpected),
        (bent(19, 0x28), Mismatch::Unexpected),
        (bent(23, 1), Mismatch::Unexpected),
        (bent(31, 200), Mismatch::Malformed),
        (request, Mismatch::Unexpected),
        (vec![0xff], Mismatch::Malformed),
    ] {
        assert_eq!(script.receive(&bytes), Handled::NotMine(mismatch), "{bytes:02x?}");
    }
    for from in ["203.0.113.10:4500", "203.0.113.11:500"] {
        let event = Event::Received { from: from.parse().unwrap(), bytes: &good };
        assert_eq!(script.exchange.handle(event, script.now), Handled::NotMine(Mismatch::Source));
    }
    script.wait();
    assert_eq!(script.answer(&good).outcome, OK);
}

#[test]
fn port_4500_has_a_marker_both_ways() {
    let mut script = begin_kind("ike_natt", "policy", &["aes256-sha256-modp2048"]);
    let datagram = script.sent();
    let request = strip_marker(&datagram).unwrap().to_vec();
    let bare = refuse(&request, NotifyType::INVALID_KE_PAYLOAD, &[0, 14]);
    assert_eq!(script.receive(&bare), Handled::NotMine(Mismatch::Unexpected));
    assert_eq!(script.answer(&[&[0; 4], bare.as_slice()].concat()).outcome, OK);
}

#[test]
fn the_audit_asks_each_suite_at_most_twice_at_its_pace_and_groups_the_result() {
    let mut script = begin("audit", &[]);
    let (mut packets, mut last) = (0, None);
    let report = loop {
        let mut out = Vec::new();
        match script.exchange.poll(script.now, &mut out) {
            Step::Wait(until) => {
                assert!(until > script.now);
                script.now = until;
            }
            Step::Send => {
                if let Some(last) = last {
                    assert!(script.now.since(last) >= Duration::from_millis(500));
                }
                (last, packets) = (Some(script.now), packets + 1);
                script.exchange.handle(Event::Sent, script.now);
                let message = Message::decode(&out).unwrap();
                let suite = Proposal::from_wire(&message.proposals().unwrap()[0]).to_string();
                script.now = script.now + Duration::from_millis(3);
                let (kind, data): (_, &[u8]) = match suite.as_str() {
                    "aes256-sha256-modp2048" => (NotifyType::INVALID_KE_PAYLOAD, &[0, 14]),
                    "aes256-sha256-ecp256" => (NotifyType::INVALID_KE_PAYLOAD, &[0, 19]),
                    "3des-sha1-modp1024" => continue,
                    _ => (NotifyType::NO_PROPOSAL_CHOSEN, &[]),
                };
                script.receive(&refuse(&out, kind, data));
            }
            Step::Report(report) => break report,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(packets, 5 * 4 * 9 + 1);
    let details = &report.findings.as_ref().unwrap().details;
    let lines = |key| match details.get(key) {
        Some(Detail::List(lines)) => lines.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(report.outcome, OK);
    assert_eq!(lines("accepted"), ["aes256-sha256: modp2048 ecp256"]);
    assert_eq!(lines("unanswered"), ["3des-sha1: modp1024"]);
    assert_eq!(lines("refused").len(), 20);
    assert!(details.get("unclear").is_none());
}

#[test]
fn the_audit_ends_at_once_when_a_peer_opens_state_or_nobody_is_there() {
    let mut script = begin("audit", &[]);
    let request = script.sent();
    let answer = accept(&request, &script);
    let report = script.answer(&answer);
    assert_eq!(report.findings.unwrap().half_open_left, Some(HALF_OPEN));
    let mut script = begin("audit", &[]);
    let request = script.sent();
    assert_eq!(script.icmp(Reason::PortUnreachable, &request), Handled::Taken);
    assert_eq!(script.report().outcome, Outcome::Refused(Reason::PortUnreachable));
}

#[test]
fn proposals_are_spelled_as_strongswan_spells_them() {
    for text in [
        "aes256-sha256-modp2048",
        "aes256gcm16-prfsha384-ecp384",
        "3des-sha1-modp1024",
        "aes128-sha1-modp1536",
        "chacha20poly1305-prfsha256-x25519",
        "aes128-sha256-prfsha384-modp3072-modp4096-ecp521",
    ] {
        assert_eq!(text.parse::<Proposal>().unwrap().to_string(), text);
    }
    for (text, canonical) in [
        ("AES256-SHA2_256-curve25519", "aes256-sha256-x25519"),
        ("aes256gcm-sha384-ecp384", "aes256gcm16-prfsha384-ecp384"),
        ("aes-sha-modp1024", "aes128-sha1-modp1024"),
    ] {
        assert_eq!(text.parse::<Proposal>().unwrap().to_string(), canonical);
    }
}

#[test]
fn a_bad_proposal_names_its_bad_part() {
    for (text, error) in [
        ("aes256-sha265-modp2048", "unknown algorithm `sha265`: known are"),
        ("", "unknown algorithm ``"),
        ("sha256-modp2048", "no encryption algorithm, for example `aes256`"),
        ("aes256-modp2048", "no integrity algorithm, for example `sha256`"),
        ("aes256gcm16-modp2048", "no pseudorandom function, for example `prfsha256`"),
        ("aes256-sha256", "no Diffie-Hellman group, for example `modp2048`"),
        ("aes256gcm16-aes128-sha256-ecp256", "`aes256gcm16` has integrity of its own"),
    ] {
        let found = text.parse::<Proposal>().unwrap_err().to_string();
        assert!(found.starts_with(error), "{text}: {found}");
    }
}

#[test]
fn only_the_rare_form_costs_the_peer_anything() {
    for form in FORMS.iter().chain(FORMS_ANY).chain([&AUDIT]) {
        assert_eq!(form.stateless(), form.name != "init");
        assert_eq!(form.rare, form.name == "init");
    }
}

fn suite() -> impl Strategy<Value = String> {
    let cipher = prop::sample::select(vec!["aes128", "aes192", "aes256", "3des"]);
    let hash = prop::sample::select(vec!["sha1", "sha256", "sha384", "sha512", "md5"]);
    let group = prop::sample::select(vec!["modp1024", "modp8192", "ecp256", "ecp521", "x25519", "x448"]);
    (cipher, hash, group).prop_map(|(cipher, hash, group)| format!("{cipher}-{hash}-{group}"))
}

proptest! {
    #[test]
    fn a_proposal_survives_text_and_wire(text in suite()) {
        let proposal: Proposal = text.parse().unwrap();
        prop_assert_eq!(proposal.to_string(), text);
        prop_assert_eq!(Proposal::from_wire(&proposal.to_wire(1)), proposal);
    }

    #[test]
    fn any_datagrams_in_any_order_lead_to_one_report(
        form in prop::sample::select(vec!["version", "policy_any", "init"]),
        packets in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..64), any::<bool>()), 0..6),
    ) {
        let mut script = begin(form, &[]);
        let request = script.sent();
        let mut reports = 0;
        for (kind, data, ours) in packets {
            let bytes = if ours { refuse(&request, NotifyType(kind), &data) } else { data };
            script.now = script.now + Duration::from_millis(1);
            let handled = script.receive(&bytes);
            prop_assert!(ours == (handled == Handled::Taken));
            loop {
                match script.exchange.poll(script.now, &mut Vec::new()) {
                    Step::Send => { script.exchange.handle(Event::Sent, script.now); }
                    Step::Report(_) => reports += 1,
                    _ => break,
                }
            }
        }
        script.now = at(10_000);
        if let Step::Report(_) = script.exchange.poll(script.now, &mut Vec::new()) {
            reports += 1;
        }
        prop_assert_eq!(reports, 1);
        prop_assert_eq!(script.exchange.poll(script.now, &mut Vec::new()), Step::End);
    }
}
