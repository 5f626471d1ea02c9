//! Sessions against a scripted responder that has its own half of the mathematics, with a clock moved
//! by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::dh::KeyPair;
use super::keys::{Ingredients, Keys, Suite, proof};
use super::*;
use crate::entropy::{Draw, Generator};
use crate::wire::ike::{
    AUTH_PSK, Body, Delete, Encr, ExchangeType, Group, Header, Integ, Message, NON_ESP_MARKER, Notify,
    NotifyType, Opened, Payload, PayloadType, Prf, Proposal, Protection, ProtocolId, Spi, Transform, Version,
    flags, read_auth, strip_marker, write_auth,
};

mod responder;

use responder::Responder;

const SECOND: Duration = Duration::from_secs(1);
const RTT: Duration = Duration::from_millis(10);

fn plan() -> Plan {
    Plan {
        psk: Psk::from_text("lab-psk\n"),
        local: Identity::from_text("probe.example.test"),
        remote: Some(Identity::from_text("vpn.example.test")),
        interval: 10 * SECOND,
        retransmit: vec![SECOND, 2 * SECOND, 4 * SECOND],
    }
}

fn peer() -> SocketAddr {
    "192.0.2.1:4500".parse().unwrap()
}

fn marked(message: &[u8]) -> Vec<u8> {
    [&NON_ESP_MARKER, message].concat()
}

/// A session, its peer, and the time.
struct Lab {
    session: Session,
    peer: Responder,
    now: Timestamp,
    /// Every datagram that was sent.
    sent: Vec<Vec<u8>>,
    notes: Vec<Note>,
    cut: bool,
    ended: bool,
}

impl Lab {
    fn new(plan: Plan, peer: Responder) -> Self {
        let entropy = Box::new(Generator::seeded(3));
        let now = Timestamp::from_secs(100);
        let session = Session::new(Arc::new(plan), super::tests::peer(), None, entropy, now).unwrap();
        Self { session, peer, now, sent: Vec::new(), notes: Vec::new(), cut: false, ended: false }
    }

    fn up() -> Self {
        let mut lab = Self::new(plan(), Responder::new(Group::X25519, true));
        lab.run(SECOND);
        assert!(lab.session.up());
        lab.notes.clear();
        lab
    }

    fn give(&mut self, datagram: &[u8]) -> Result<(), Rejected> {
        let given = self.session.received(datagram, self.now);
        self.drain();
        given
    }

    fn drain(&mut self) {
        while let Some(note) = self.session.note() {
            self.notes.push(note);
        }
    }

    /// Lets so much time pass; a round trip takes 10 ms.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..10_000 {
            let mut out = Vec::new();
            let action = self.session.poll(self.now, &mut out);
            self.drain();
            match action {
                Action::Send => {
                    self.session.sent(self.now);
                    self.sent.push(out.clone());
                    if !self.cut
                        && let Some(answer) = self.peer.take(&out)
                    {
                        self.now = self.now + RTT;
                        let _ = self.give(&answer);
                    }
                }
                Action::Wait(at) if at > until => {
                    self.now = until;
                    return;
                }
                Action::Wait(at) => self.now = self.now.max(at),
                Action::End => {
                    self.ended = true;
                    self.now = until;
                    return;
                }
            }
        }
        panic!("it never waits");
    }

    fn down(&self) -> Option<Teardown> {
        self.notes.iter().find_map(|note| match note {
            Note::Down { why, .. } => Some(*why),
            _ => None,
        })
    }
}

#[test]
fn every_group_and_cipher_comes_up_stays_alive_and_leaves_nothing() {
    for group in KeyPair::GROUPS {
        for gcm in [true, false] {
            for childless in [true, false] {
                let mut peer = Responder::new(group, gcm);
                peer.childless = childless;
                let mut lab = Lab::new(plan(), peer);
                lab.run(SECOND);
                assert!(
                    matches!(lab.notes[..], [Note::Up { childless: agreed, .. }] if agreed == childless),
                    "{group} {gcm} {childless}: {:?}",
                    lab.notes
                );
                lab.notes.clear();
                lab.run(30 * SECOND);
                assert_eq!(lab.notes, [Note::Asked, Note::Alive(Some(RTT))].repeat(3));
                lab.session.stop();
                lab.run(SECOND);
                assert!(lab.ended);
                assert_eq!(lab.down(), Some(Teardown::LocalStop));
                let last = lab.peer.seen.last().unwrap();
                assert_eq!(last.payloads, [Delete::IKE_SA.body().into()]);
            }
        }
    }
}

#[test]
fn no_request_ever_says_initial_contact() {
    let mut lab = Lab::up();
    lab.run(60 * SECOND);
    for message in &lab.peer.seen {
        assert!(message.notify(NotifyType::INITIAL_CONTACT).is_none());
    }
    for request in &lab.sent[..2] {
        let init = Message::decode(strip_marker(request).unwrap()).unwrap();
        assert!(init.notify(NotifyType::INITIAL_CONTACT).is_none());
    }
}

#[test]
fn a_cookie_comes_first_and_changes_nothing_else() {
    let mut peer = Responder::new(Group::X25519, true);
    peer.cookie = true;
    let mut lab = Lab::new(plan(), peer);
    lab.run(SECOND);
    assert!(lab.session.up());
    let [first, second] = [0, 1].map(|at| Message::decode(strip_marker(&lab.sent[at]).unwrap()).unwrap());
    assert_eq!(second.payloads[0], Notify::new(NotifyType::COOKIE, [5; 20]).into());
    assert_eq!(second.payloads[1..], first.payloads[..]);
    assert_eq!(second.initiator, first.initiator);
}

#[test]
fn a_wrong_key_of_ours_is_auth_failed() {
    let mut wrong = plan();
    wrong.psk = Psk::from_text("other");
    let mut lab = Lab::new(wrong, Responder::new(Group::X25519, true));
    lab.run(SECOND);
    assert!(
        lab.ended && matches!(lab.notes[..], [Note::Down { why: Teardown::AuthFailed, since: None, .. }])
    );
}

/// A gateway that takes any proof of ours, and cannot give its own.
#[test]
fn a_peer_without_the_key_or_with_another_name_is_never_up_and_is_told() {
    let mut fake = Responder::new(Group::X25519, true);
    fake.psk = b"guess".to_vec();
    let mut other = Responder::new(Group::X25519, true);
    other.id = Identity::from_text("evil.example.test");
    for peer in [fake, other] {
        let mut lab = Lab::new(plan(), peer);
        lab.run(5 * SECOND);
        assert!(lab.ended && matches!(lab.notes[..], [Note::Down { why: Teardown::PeerUnverified, .. }]));
        let told = lab.peer.seen.last().unwrap();
        assert!(told.notify(NotifyType::AUTHENTICATION_FAILED).is_some());
        assert!(told.payloads.contains(&Delete::IKE_SA.body().into()));
    }
}

#[test]
fn silence_ends_an_attempt_after_the_whole_schedule() {
    let mut lab = Lab::new(plan(), Responder::new(Group::X25519, true));
    lab.cut = true;
    lab.run(Duration::from_millis(6999));
    assert!(lab.notes.is_empty());
    lab.run(SECOND);
    assert_eq!((lab.down(), lab.sent.len()), (Some(Teardown::NoAnswer), 3));
    assert!(lab.sent.iter().all(|datagram| *datagram == lab.sent[0]));
}

#[test]
fn a_liveness_check_is_repeated_as_planned_and_then_the_peer_is_dead() {
    let mut lab = Lab::up();
    lab.cut = true;
    let (began, before) = (lab.now, lab.sent.len());
    lab.run(60 * SECOND);
    let check = &lab.sent[before..];
    assert_eq!(check.len(), 3);
    assert!(check.iter().all(|datagram| *datagram == check[0]), "bitwise the same");
    assert_eq!(lab.notes[..4], [Note::Asked, Note::Lost, Note::Lost, Note::Lost]);
    let [Note::Down { at, why: Teardown::LivenessTimeout, since: Some(_) }] = lab.notes[4..] else {
        panic!("{:?}", lab.notes)
    };
    // It was due 10 s after the session came up (20 ms after its begin), and had 1 + 2 + 4 s.
    assert_eq!(at.since(began), Duration::from_millis(16_020));
}

#[test]
fn an_outage_shorter_than_the_schedule_is_survived_and_not_timed() {
    let mut lab = Lab::up();
    lab.cut = true;
    lab.run(Duration::from_millis(9_500));
    lab.cut = false;
    lab.run(5 * SECOND);
    assert_eq!(lab.notes, [Note::Asked, Note::Lost, Note::Alive(None)]);
    assert!(lab.session.up());
}

#[test]
fn a_late_wake_up_or_a_failed_send_is_our_own_fault() {
    let mut lab = Lab::up();
    lab.cut = true;
    lab.run(Duration::from_millis(10_500));
    lab.now = lab.now + 30 * SECOND; // stopped, and continued
    lab.run(60 * SECOND);
    assert_eq!(lab.down(), Some(Teardown::LocalFault));

    let mut lab = Lab::up();
    let mut out = Vec::new();
    let until = lab.now + 60 * SECOND;
    while lab.now < until && !lab.ended {
        match lab.session.poll(lab.now, &mut out) {
            Action::Send => lab.session.failed(lab.now),
            Action::Wait(at) => lab.now = at,
            Action::End => lab.ended = true,
        }
    }
    lab.drain();
    assert_eq!(lab.down(), Some(Teardown::LocalFault));
    assert!(!lab.notes.contains(&Note::Lost), "what was not sent was not lost");
}

#[test]
fn a_short_stall_that_the_peer_answers_after_is_forgotten() {
    let mut lab = Lab::up();
    lab.now = lab.now + 30 * SECOND;
    lab.run(SECOND);
    assert!(lab.session.up());
    lab.cut = true;
    lab.run(60 * SECOND);
    assert_eq!(lab.down(), Some(Teardown::LivenessTimeout));
}

#[test]
fn requests_of_the_peer_are_answered_once_and_again_when_repeated() {
    let mut lab = Lab::up();
    for _ in 0..3 {
        let request = lab.peer.ask(ExchangeType::INFORMATIONAL, vec![]);
        for _ in 0..2 {
            assert_eq!(lab.give(&request), Ok(()));
            lab.run(Duration::ZERO);
        }
        let [first, again] = &lab.sent[lab.sent.len() - 2..] else { panic!() };
        assert_eq!(first, again);
        let answer = lab.peer.seen.last().unwrap();
        assert_eq!(answer.flags, flags::RESPONSE | flags::INITIATOR);
        assert_eq!((answer.message_id + 1, answer.payloads.len()), (lab.peer.requests, 0));
    }
    let stale = lab.peer.sealed(ExchangeType::INFORMATIONAL, 0, 0, vec![]);
    let ahead = lab.peer.sealed(ExchangeType::INFORMATIONAL, 0, 9, vec![]);
    assert_eq!(lab.give(&stale), Err(Rejected::Unexpected));
    assert_eq!(lab.give(&ahead), Err(Rejected::Unexpected));
    assert!(lab.notes.is_empty() && lab.session.up());
}

#[test]
fn a_delete_of_the_peer_is_answered_and_ends_the_session() {
    let mut lab = Lab::up();
    let child = Delete { protocol: ProtocolId::ESP, spis: vec![vec![0; 4]] };
    let request = lab.peer.ask(ExchangeType::INFORMATIONAL, vec![child.body().into()]);
    lab.give(&request).unwrap();
    lab.run(Duration::ZERO);
    assert!(lab.session.up(), "a child is not the session");
    let request = lab.peer.ask(ExchangeType::INFORMATIONAL, vec![Delete::IKE_SA.body().into()]);
    lab.give(&request).unwrap();
    lab.run(SECOND);
    assert_eq!((lab.down(), lab.ended), (Some(Teardown::PeerDeleted), true));
    assert_eq!(lab.peer.seen.last().unwrap().flags, flags::RESPONSE | flags::INITIATOR);
}

#[test]
fn a_rekey_is_refused_and_the_session_begun_anew() {
    let mut lab = Lab::up();
    let proposal = Proposal { protocol: ProtocolId::ESP, ..Proposal::ike(1, lab.peer.suite()) };
    let request = lab.peer.ask(ExchangeType::CREATE_CHILD_SA, vec![Body::Sa(vec![proposal]).into()]);
    lab.give(&request).unwrap();
    lab.run(SECOND);
    assert!(lab.session.up(), "a child is refused, and that is all");
    let proposal = Proposal::ike(1, lab.peer.suite());
    let request = lab.peer.ask(ExchangeType::CREATE_CHILD_SA, vec![Body::Sa(vec![proposal]).into()]);
    lab.give(&request).unwrap();
    lab.run(SECOND);
    assert_eq!((lab.down(), lab.ended), (Some(Teardown::RekeyRefused), true));
    let [refusal, delete] = &lab.peer.seen[lab.peer.seen.len() - 2..] else { panic!() };
    assert!(refusal.notify(NotifyType::NO_ADDITIONAL_SAS).is_some());
    assert_eq!(delete.payloads, [Delete::IKE_SA.body().into()]);
}

#[test]
fn a_granted_lifetime_is_not_overstayed() {
    let mut peer = Responder::new(Group::X25519, true);
    peer.lifetime = Some(100);
    let mut lab = Lab::new(plan(), peer);
    lab.run(85 * SECOND);
    assert!(lab.session.up());
    lab.run(10 * SECOND);
    assert_eq!((lab.down(), lab.ended), (Some(Teardown::Expired), true));
}

#[test]
fn stopping_is_quick_whatever_is_under_way() {
    // Half open: nothing to say.
    let mut lab = Lab::new(plan(), Responder::new(Group::X25519, true));
    lab.cut = true;
    lab.run(Duration::from_millis(100));
    lab.session.stop();
    lab.run(Duration::ZERO);
    assert_eq!((lab.down(), lab.ended, lab.sent.len()), (Some(Teardown::LocalStop), true, 1));
    // Up, with a check under way on a dead path: one DELETE, repeated once.
    let mut lab = Lab::up();
    lab.cut = true;
    lab.run(Duration::from_millis(10_100));
    lab.session.stop();
    lab.run(Duration::from_millis(1500));
    assert_eq!((lab.down(), lab.ended), (Some(Teardown::LocalStop), true));
}

/// RFC 7296 §2.4: an unprotected message is no evidence, also one that knows both SPIs.
#[test]
fn unprotected_and_foreign_messages_change_nothing() {
    let mut lab = Lab::up();
    let keyed = lab.peer.keyed.as_ref().unwrap();
    let forged = |exchange, flags, message_id| {
        let mut message = Message::init_answer(
            keyed.initiator,
            lab.peer.spi,
            vec![Notify::new(NotifyType::INVALID_IKE_SPI, []).into(), Delete::IKE_SA.body().into()],
        );
        (message.exchange, message.flags, message.message_id) = (exchange, flags, message_id);
        marked(&message.to_bytes())
    };
    let all = [
        forged(ExchangeType::INFORMATIONAL, 0, 0),
        forged(ExchangeType::INFORMATIONAL, flags::RESPONSE, 2),
        forged(ExchangeType::IKE_AUTH, flags::RESPONSE, 1),
        forged(ExchangeType::CREATE_CHILD_SA, 0, 0),
        marked(&[0; 28]),
        vec![1, 2, 3, 4, 5, 6],
        vec![],
    ];
    for datagram in all {
        assert!(lab.give(&datagram).is_err());
    }
    assert_eq!(lab.give(&[0xff]), Ok(()));
    assert!(lab.session.up() && lab.notes.is_empty());
}

#[test]
fn a_forged_refusal_does_not_keep_the_true_answer_out() {
    let mut lab = Lab::new(plan(), Responder::new(Group::X25519, true));
    lab.cut = true;
    lab.run(Duration::from_millis(10));
    let spi = Message::decode(strip_marker(&lab.sent[0]).unwrap()).unwrap().initiator;
    let refusal =
        Message::init_answer(spi, Spi::ZERO, vec![Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, []).into()]);
    lab.give(&marked(&refusal.to_bytes())).unwrap();
    let answer = lab.peer.take(&lab.sent[0]).unwrap();
    lab.cut = false;
    lab.give(&answer).unwrap();
    lab.run(SECOND);
    assert!(lab.session.up());
    // Without a better answer it counts, and the schedule is cut short.
    let mut lab = Lab::new(plan(), Responder::new(Group::X25519, true));
    lab.cut = true;
    lab.run(Duration::from_millis(10));
    let spi = Message::decode(strip_marker(&lab.sent[0]).unwrap()).unwrap().initiator;
    let refusal =
        Message::init_answer(spi, Spi::ZERO, vec![Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, []).into()]);
    lab.give(&marked(&refusal.to_bytes())).unwrap();
    lab.run(2 * SECOND);
    assert_eq!((lab.down(), lab.sent.len()), (Some(Teardown::Refused), 1));
}

#[test]
fn a_responder_cannot_make_us_ask_for_ever() {
    let mut lab = Lab::new(plan(), Responder::new(Group::X25519, true));
    lab.cut = true;
    for round in 0..20 {
        lab.run(Duration::from_millis(1));
        let spi = Message::decode(strip_marker(&lab.sent[0]).unwrap()).unwrap().initiator;
        let cookie = Notify::new(NotifyType::COOKIE, [round; 20]);
        let _ = lab.give(&marked(&Message::init_answer(spi, Spi::ZERO, vec![cookie.into()]).to_bytes()));
    }
    assert_eq!(lab.sent.len(), 5);
}

/// Algorithms that were not offered, or several of a type, are no choice.
#[test]
fn a_choice_that_was_not_offered_is_refused() {
    for bad in [
        vec![Transform::encr(Encr::AES_GCM_16, Some(192)), Transform::prf(Prf::HMAC_SHA2_256)],
        vec![Transform::encr(Encr::TRIPLE_DES, None), Transform::prf(Prf::HMAC_SHA2_256)],
        vec![Transform::encr(Encr::AES_GCM_16, Some(128)), Transform::prf(Prf::HMAC_MD5)],
    ] {
        let mut lab = Lab::new(plan(), Responder::new(Group::X25519, true));
        lab.cut = true;
        lab.run(Duration::from_millis(10));
        let answer = lab.peer.take(&lab.sent[0]).unwrap();
        let mut message = Message::decode(strip_marker(&answer).unwrap()).unwrap();
        let transforms = bad.into_iter().chain([Transform::dh(Group::X25519)]).collect();
        message.payloads[0] = Body::Sa(vec![Proposal::ike(1, transforms)]).into();
        lab.give(&marked(&message.to_bytes())).unwrap();
        lab.run(60 * SECOND);
        assert_eq!(lab.down(), Some(Teardown::Refused));
    }
}

#[test]
fn an_answer_in_fragments_is_put_together_in_any_order() {
    let mut lab = Lab::up();
    lab.cut = true;
    lab.run(Duration::from_millis(9_050));
    let payloads: Vec<Payload> = vec![Notify::new(NotifyType(40_000), vec![7; 900]).into()];
    let whole = lab.peer.sealed(ExchangeType::INFORMATIONAL, flags::RESPONSE, 2, payloads);
    let keyed = lab.peer.keyed.as_ref().unwrap();
    let Opened::Whole(message) = keyed.ours.open(strip_marker(&whole).unwrap()).unwrap() else { panic!() };
    let header = Header::decode(strip_marker(&whole).unwrap()).unwrap();
    let plain = message.to_bytes()[28..].to_vec();
    let parts: Vec<_> = plain
        .chunks(400)
        .zip(1u16..)
        .map(|(data, number)| {
            let first = if number == 1 { PayloadType::NOTIFY } else { PayloadType::NONE };
            let fragment =
                crate::wire::ike::Fragment { header, number, total: 3, first, data: data.to_vec() };
            marked(&keyed.ours.seal_fragment(&fragment, &[u8::try_from(number).unwrap(); 8]))
        })
        .collect();
    for at in [2, 2, 0] {
        lab.give(&parts[at]).unwrap();
        assert_eq!(lab.notes, [Note::Asked]);
    }
    lab.give(&parts[1]).unwrap();
    assert!(matches!(lab.notes[..], [Note::Asked, Note::Alive(Some(_))]));
}

#[test]
fn an_idle_session_keeps_its_nat_mapping() {
    let mut slow = plan();
    slow.interval = 60 * SECOND;
    let mut lab = Lab::new(slow, Responder::new(Group::X25519, true));
    lab.run(59 * SECOND);
    assert_eq!(lab.sent.iter().filter(|datagram| **datagram == [0xff]).count(), 2);
}

#[test]
fn debug_shows_no_secret() {
    let lab = Lab::up();
    let shown = format!("{:?} {:?} {:?}", plan(), lab.session, lab.session);
    assert!(!shown.contains("lab-psk") && !shown.contains("108, 97, 98"), "{shown}");
    assert!(shown.contains("Psk(withheld)"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bent and random datagrams in every state, and whatever a peer with the keys may send.
    #[test]
    fn no_datagram_harms(
        stage in 0usize..3,
        datagrams in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..90), any::<u8>(), 34u8..38, any::<u8>(), 0u32..4, 0u8..3), 1..20,
        ),
    ) {
        let mut lab = Lab::new(plan(), Responder::new(Group::X25519, true));
        match stage {
            0 => {
                lab.cut = true;
                lab.run(Duration::from_millis(5));
            }
            _ => lab.run(SECOND),
        }
        for (bytes, first, exchange, flags, id, how) in datagrams {
            let datagram = match (how, &lab.peer.keyed) {
                (0, Some(keyed)) => {
                    let header = Header {
                        initiator: keyed.initiator, responder: lab.peer.spi, next: 0, version: Version::V2,
                        exchange: ExchangeType(exchange), flags, message_id: id, length: 0,
                    };
                    let fragment = crate::wire::ike::Fragment {
                        header, number: u16::from(first % 4), total: 3, first: PayloadType(first), data: bytes,
                    };
                    marked(&keyed.ours.seal_fragment(&fragment, &[1; 16]))
                }
                (1, Some(_)) => {
                    let kind = PayloadType(first);
                    let body = Body::Other { kind, data: bytes };
                    lab.peer.sealed(ExchangeType(exchange), flags, id, vec![body.into()])
                }
                _ => {
                    let mut bytes = bytes;
                    if let (Some(sent), Some(place)) = (lab.sent.first(), bytes.get_mut(..12)) {
                        place.copy_from_slice(&sent[..12]);
                    }
                    bytes
                }
            };
            let _ = lab.give(&datagram);
            lab.run(Duration::from_millis(700));
        }
        lab.run(100 * SECOND);
        let ups = lab.notes.iter().filter(|note| matches!(note, Note::Up { .. })).count();
        let downs = lab.notes.iter().filter(|note| matches!(note, Note::Down { .. })).count();
        prop_assert!(ups <= 1 && downs <= 1);
        prop_assert!(!lab.ended || downs == 1);
    }
}
