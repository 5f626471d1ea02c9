//! Exchanges over scripted peers: every answer, silence, and what is not ours.

use proptest::prelude::*;

use super::*;
use crate::probe::ike::script::{Script, is_silence, text};
use crate::probe::{Handled, Settings as All};
use crate::sample::Detail;
use crate::wire::ike::{Notify, strip_marker};

fn begin(form: &str, proposals: &[&str]) -> Script {
    begin_kind("ikev1", form, proposals)
}

fn begin_kind(kind: &str, form: &str, proposals: &[&str]) -> Script {
    let proposals = proposals.iter().map(|text| text.parse().unwrap()).collect();
    let aggressive_id = Some("group1".to_owned());
    let settings = All { ikev1: Settings { proposals, aggressive_id }, ..All::default() };
    Script::begin(kind, settings, |_| {
        FORMS.iter().find(|known| known.name == form).unwrap_or(&AGGRESSIVE)
    })
}

fn refuse(request: &[u8], kind: NotifyType) -> Vec<u8> {
    let spi = Header::decode(request).unwrap().initiator;
    Message::informational(spi, Spi([5; 8]), 0x1234_5678, kind).to_bytes()
}

/// A responder that takes the first transform, with these vendor ids.
fn accept(request: &[u8]) -> Vec<u8> {
    let request = Message::decode(request).unwrap();
    let chosen = request.chosen().unwrap().clone();
    let mut payloads = vec![sa(vec![chosen]), Payload::VendorId(DPD.to_vec())];
    payloads.push(Payload::VendorId(vendor::hashed("RFC 3947")));
    payloads.push(Payload::VendorId(b"\x1d\x6e\x17\x8f\x6c\x2c\x0b\xe2\x84\x98\x54\x65\x45\x0f\xe9\xd4".to_vec()));
    Message::phase_1(request.initiator, Spi([5; 8]), request.exchange, payloads).to_bytes()
}

#[test]
fn the_recurring_form_wants_a_refusal() {
    let mut script = begin("refused", &[]);
    let request = script.sent();
    let message = Message::decode(&request).unwrap();
    let Payload::Sa(proposals) = &message.payloads[0] else { panic!() };
    assert_eq!((proposals.len(), proposals[0].transforms.len()), (1, 1));
    let report = script.answer(&refuse(&request, NotifyType::NO_PROPOSAL_CHOSEN));
    assert_eq!((report.outcome, text(&report, "answer")), (Outcome::OK, "no_proposal_chosen"));
    assert!(report.rtt.is_some() && report.findings.unwrap().half_open_left.is_none());
    // Should a box accept what cannot be accepted, we say what that cost it.
    let mut script = begin("refused", &[]);
    let request = script.sent();
    assert!(script.answer(&accept(&request)).findings.unwrap().half_open_left.is_some());
}

#[test]
fn main_mode_tells_suite_lifetime_and_vendor() {
    let mut script = begin("main", &["aes256-sha256-modp2048"]);
    let request = script.sent();
    let report = script.answer(&accept(&request));
    let findings = report.findings.as_ref().unwrap();
    assert_eq!((report.outcome, findings.half_open_left), (Outcome::OK, Some(HALF_OPEN)));
    assert_eq!((text(&report, "suite"), text(&report, "method")), ("aes256-sha256-modp2048", "psk"));
    assert_eq!(text(&report, "vendor"), "Fortinet");
    assert_eq!(findings.details.get("lifetime_seconds"), Some(&Detail::Number(28_800)));
    assert!(findings.details.is("nat_traversal") && findings.details.is("dead_peer_detection"));
    assert!(!findings.details.is("aggressive_mode_answered"));
}

#[test]
fn offers_stay_below_what_is_fragmented_and_have_each_method() {
    let request = begin("main", &[]).sent();
    assert!(request.len() <= 1200, "{} bytes", request.len());
    let message = Message::decode(&request).unwrap();
    let Payload::Sa(proposals) = &message.payloads[0] else { panic!() };
    assert_eq!(proposals[0].transforms.len(), MAX_TRANSFORMS);
    assert_eq!(message.vendor_ids().count(), 2);
    let few = Message::decode(&begin("main", &["aes128-sha1-modp1024"]).sent()).unwrap();
    let Payload::Sa(proposals) = &few.payloads[0] else { panic!() };
    assert_eq!(proposals[0].transforms.len(), METHODS.len());
}

#[test]
fn refusals_are_told_apart() {
    for (kind, reason) in [
        (NotifyType::NO_PROPOSAL_CHOSEN, Reason::NoProposalChosen),
        (NotifyType::PAYLOAD_MALFORMED, Reason::InvalidSyntax),
        (NotifyType::AUTHENTICATION_FAILED, Reason::AuthFailed),
        (NotifyType::INVALID_MAJOR_VERSION, Reason::WrongFlavour),
        (NotifyType(999), Reason::ProtocolError),
    ] {
        let mut script = begin("main", &[]);
        let request = script.sent();
        assert_eq!(script.answer(&refuse(&request, kind)).outcome, Outcome::Refused(reason));
    }
}

#[test]
fn aggressive_mode_answered_is_a_finding_and_in_no_list() {
    assert!(FORMS.iter().all(|form| *form != AGGRESSIVE));
    let mut script = begin("aggressive", &["aes256-sha256-modp2048"]);
    let request = script.sent();
    let message = Message::decode(&request).unwrap();
    assert_eq!(message.exchange, ExchangeType::AGGRESSIVE);
    assert!(message.payloads.iter().any(|payload| matches!(
        payload,
        Payload::Identification { kind: 11, data, .. } if data == b"group1"
    )));
    let report = script.answer(&accept(&request));
    assert!(report.findings.unwrap().details.is("aggressive_mode_answered"));
    let mut script = begin("aggressive", &[]);
    let request = script.sent();
    let report = script.answer(&refuse(&request, NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(report.outcome, Outcome::Refused(Reason::AuthFailed));
}

#[test]
fn a_box_that_speaks_only_ikev2_is_of_the_wrong_flavour() {
    let mut script = begin("refused", &[]);
    let spi = Header::decode(&script.sent()).unwrap().initiator;
    let notify = Notify::new(ikev2::NotifyType::INVALID_MAJOR_VERSION, []);
    let answer = ikev2::Message::init_answer(spi, Spi::ZERO, vec![notify.into()]);
    let report = script.answer(&answer.to_bytes());
    assert_eq!(report.outcome, Outcome::Refused(Reason::WrongFlavour));
    assert_eq!(text(&report, "answer"), "invalid_major_version");
}

#[test]
fn silence_icmp_and_the_marker() {
    for form in ["refused", "main", "aggressive"] {
        let mut script = begin(form, &[]);
        script.sent();
        is_silence(&script.silence());
    }
    let mut script = begin_kind("ikev1_natt", "refused", &[]);
    let datagram = script.sent();
    assert_eq!(script.icmp(Reason::AdminProhibited, &datagram), Handled::Taken);
    assert_eq!(script.report().outcome, Outcome::Refused(Reason::AdminProhibited));
    let mut script = begin_kind("ikev1_natt", "refused", &[]);
    let request = strip_marker(&script.sent()).unwrap().to_vec();
    let bare = refuse(&request, NotifyType::NO_PROPOSAL_CHOSEN);
    assert_eq!(script.receive(&bare), Handled::NotMine(Mismatch::Unexpected));
    assert_eq!(script.answer(&[&[0; 4], bare.as_slice()].concat()).outcome, Outcome::OK);
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let mut script = begin("main", &[]);
    let request = script.sent();
    let good = accept(&request);
    let bent = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let status = refuse(&request, NotifyType::R_U_THERE);
    for (bytes, mismatch) in [
        (bent(0, good[0] ^ 1), Mismatch::Token),
        (bent(18, 32), Mismatch::Unexpected),
        (bent(19, 1), Mismatch::Unexpected),
        (bent(23, 1), Mismatch::Unexpected),
        (bent(31, 3), Mismatch::Malformed),
        (request, Mismatch::Unexpected),
    ] {
        assert_eq!(script.receive(&bytes), Handled::NotMine(mismatch), "{bytes:02x?}");
    }
    assert_eq!(script.receive(&status), Handled::Taken);
    script.wait();
    assert_eq!(script.answer(&good).outcome, Outcome::OK);
    assert_eq!(script.receive(&good), Handled::Taken);
}

#[test]
fn a_bad_proposal_names_its_bad_part() {
    for (text, error) in [
        ("aes256gcm16-sha256-modp2048", "unknown algorithm `aes256gcm16` for IKEv1"),
        ("aes256-modp2048", "no hash, for example `sha256`"),
        ("aes256-sha1-sha256-modp2048", "`sha256` is a second hash"),
        ("aes256-sha1", "no Diffie-Hellman group"),
    ] {
        let found = text.parse::<Proposal>().unwrap_err().to_string();
        assert!(found.starts_with(error), "{text}: {found}");
    }
}

proptest! {
    #[test]
    fn a_proposal_survives_text_and_wire(
        cipher in prop::sample::select(vec!["aes128", "aes192", "aes256", "3des", "des"]),
        hash in prop::sample::select(vec!["md5", "sha1", "sha256", "sha384", "sha512"]),
        group in prop::sample::select(vec!["modp768", "modp1536", "modp4096", "ecp384", "x25519"]),
    ) {
        let text = format!("{cipher}-{hash}-{group}");
        let proposal: Proposal = text.parse().unwrap();
        prop_assert_eq!(proposal.to_string(), text);
        let transform = proposal.to_wire(3, Authentication::RSA_SIGNATURES);
        prop_assert_eq!(Proposal::from_wire(&transform), proposal);
    }

    #[test]
    fn any_datagram_is_taken_or_not(bytes in prop::collection::vec(any::<u8>(), 0..100), keep: bool) {
        let mut script = begin("main", &[]);
        let mut request = script.sent();
        request.truncate(8);
        let bytes = if keep { [request, bytes].concat() } else { bytes };
        script.receive(&bytes);
    }
}
