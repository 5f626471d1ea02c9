//! The responders by hand: times made up, peers played.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::ike::{Ike, IkePort};
use super::*;
use crate::entropy::{Draw as _, Generator};
use crate::time::Clock as _;
use crate::wire::ike::{
    Body, Encr, Group, Integ, Message as Ikev2, Notify as IkeNotify, NotifyType, Prf, Proposal, Spi,
    Transform, Version,
};
use crate::wire::ikev1;
use crate::wire::l2tp::{Avp, Message as L2tpMessage, attribute, message};
use crate::wire::openvpn::{Acks, Opcode, Packet};

/// A responder, its peer's address, and the time.
struct Bench<R> {
    responder: R,
    from: SocketAddr,
    at: Timestamp,
    scene: Scene,
    entropy: Generator,
}

impl<R: Responder> Bench<R> {
    fn new(make: impl FnOnce(&mut Generator) -> R) -> Self {
        let mut entropy = Generator::seeded(1);
        let responder = make(&mut entropy);
        let from = "192.0.2.1:40000".parse().unwrap();
        let scene = Story::None.at(Duration::ZERO);
        Self { responder, from, at: Timestamp::from_secs(100), scene, entropy }
    }

    fn ask(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut call = Call {
            from: self.from,
            local: "192.0.2.10:500".parse().unwrap(),
            now: self.at,
            wall: WallTime::from_unix_secs(1_795_305_600),
            scene: self.scene,
            entropy: &mut self.entropy,
        };
        self.responder.answer(bytes, &mut call)
    }

    fn pass(&mut self, secs: u64) -> Vec<Reply> {
        self.at = self.at + Duration::from_secs(secs);
        self.responder.due(self.at)
    }
}

fn ike() -> Bench<IkePort> {
    Bench::new(|entropy| IkePort { ike: Rc::new(RefCell::new(Ike::new(entropy))), marker: false })
}

/// A first message; with the proposal aes256-sha256-modp2048 and a KE payload of `group`.
fn init(spi: u8, group: Group, cookie: Option<Vec<u8>>) -> Vec<u8> {
    let transforms = vec![
        Transform::encr(Encr::AES_CBC, Some(256)),
        Transform::prf(Prf::HMAC_SHA2_256),
        Transform::integ(Integ::HMAC_SHA2_256_128),
        Transform::dh(Group::MODP_2048),
        Transform::dh(Group::X448),
    ];
    let mut payloads = Vec::new();
    payloads.extend(cookie.map(|cookie| IkeNotify::new(NotifyType::COOKIE, cookie).into()));
    payloads.push(Body::Sa(vec![Proposal::ike(1, transforms)]).into());
    payloads.push(Body::KeyExchange { group, data: vec![1; group.public_len().unwrap()] }.into());
    payloads.push(Body::Nonce(vec![spi; 32]).into());
    Ikev2::init_request(Spi([spi; 8]), payloads).to_bytes()
}

/// The one answer; what it says.
fn said(answers: &[Vec<u8>]) -> Ikev2 {
    assert_eq!(answers.len(), 1);
    Ikev2::decode(&answers[0]).unwrap()
}

fn is_sa(answers: &[Vec<u8>]) -> bool {
    said(answers).proposals().is_some()
}

#[test]
fn half_open_sessions_are_counted_as_strongswan_counts_them() {
    let mut bench = ike();
    for spi in 1..=3 {
        assert!(is_sa(&bench.ask(&init(spi, Group::MODP_2048, None))));
    }
    // The same message again is answered from memory and not counted.
    let again = init(3, Group::MODP_2048, None);
    assert_eq!(bench.ask(&again), bench.ask(&again));
    for spi in 4..=5 {
        let asked = said(&bench.ask(&init(spi, Group::MODP_2048, None)));
        assert_eq!(asked.responder, Spi::ZERO);
        let cookie = asked.notify(NotifyType::COOKIE).unwrap().data.clone();
        assert!((1..=64).contains(&cookie.len()));
        let wrong = bench.ask(&init(spi, Group::MODP_2048, Some(vec![0; 32])));
        assert!(said(&wrong).notify(NotifyType::COOKIE).is_some());
        assert!(is_sa(&bench.ask(&init(spi, Group::MODP_2048, Some(cookie)))));
    }
    let cookie = said(&bench.ask(&init(6, Group::MODP_2048, None)));
    let cookie = cookie.notify(NotifyType::COOKIE).unwrap().data.clone();
    assert!(bench.ask(&init(6, Group::MODP_2048, Some(cookie))).is_empty());
    // Another address is not concerned, and after 30 s nor is this one.
    bench.from = "192.0.2.2:40000".parse().unwrap();
    assert!(is_sa(&bench.ask(&init(7, Group::MODP_2048, None))));
    bench.from = "192.0.2.1:40000".parse().unwrap();
    bench.pass(31);
    assert!(is_sa(&bench.ask(&init(8, Group::MODP_2048, None))));
}

#[test]
fn what_opens_no_session_is_never_counted() {
    let mut bench = ike();
    for spi in 1..=20 {
        let regroup = said(&bench.ask(&init(spi, Group::X25519, None)));
        let wanted = regroup.notify(NotifyType::INVALID_KE_PAYLOAD).unwrap().wanted_group();
        // The group that we lack (X448) makes the proposal no worse.
        assert_eq!(wanted, Some(Group::MODP_2048));
        let mut ping = Ikev2::init_request(Spi([spi; 8]), Vec::new());
        ping.version = Version(0x30);
        // 36 bytes, responder's SPI zero, version 2.0: as captured from strongSwan 5.9.8.
        let answer = bench.ask(&ping.to_bytes());
        assert_eq!(answer[0].len(), 36);
        assert!(said(&answer).notify(NotifyType::INVALID_MAJOR_VERSION).is_some());
    }
    assert!(is_sa(&bench.ask(&init(30, Group::MODP_2048, None))));
}

#[test]
fn under_load_every_first_message_needs_a_cookie() {
    let mut bench = ike();
    bench.scene = Story::Loop.at(Duration::from_secs(260));
    let cookie = said(&bench.ask(&init(1, Group::MODP_2048, None)));
    let cookie = cookie.notify(NotifyType::COOKIE).unwrap().data.clone();
    assert!(is_sa(&bench.ask(&init(1, Group::MODP_2048, Some(cookie)))));
}

#[test]
fn silence_where_a_gateway_is_silent() {
    let mut bench = ike();
    let good = init(1, Group::MODP_2048, None);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // An answer, another exchange, a responder's SPI, a length that is not the datagram's.
    for bytes in [with(19, 0x20), with(18, 35), with(8, 1), with(27, 1)] {
        assert!(bench.ask(&bytes).is_empty());
    }
    let mut marked =
        Bench::new(|entropy| IkePort { ike: Rc::new(RefCell::new(Ike::new(entropy))), marker: true });
    assert!(marked.ask(&good).is_empty());
    let answer = marked.ask(&[&[0; 4], good.as_slice()].concat());
    assert_eq!(answer[0][..4], [0; 4]);
}

#[test]
fn main_mode_is_accepted_or_refused() {
    let attribute = |kind: ikev1::AttributeType, value| crate::wire::ike::Attribute::short(kind.0, value);
    let ask = |group| {
        let attributes = vec![
            attribute(ikev1::AttributeType::ENCRYPTION, 7),
            attribute(ikev1::AttributeType::KEY_LENGTH, 256),
            attribute(ikev1::AttributeType::HASH, 4),
            attribute(ikev1::AttributeType::AUTHENTICATION, 1),
            attribute(ikev1::AttributeType::GROUP, group),
        ];
        let transform = ikev1::Transform { number: 1, id: ikev1::KEY_IKE, attributes };
        let sa = ikev1::Payload::Sa(vec![ikev1::Proposal::phase_1(vec![transform])]);
        let exchange = crate::wire::ike::ExchangeType::ID_PROT;
        let request = ikev1::Message::phase_1(Spi([1; 8]), Spi::ZERO, exchange, vec![sa]);
        ikev1::Message::decode(&ike().ask(&request.to_bytes())[0]).unwrap()
    };
    let accepted = ask(14);
    assert!(accepted.chosen().is_some());
    assert_eq!(accepted.vendor_ids().count(), 3);
    let refused = ask(1);
    assert_eq!(refused.notification().unwrap().kind, ikev1::NotifyType::NO_PROPOSAL_CHOSEN);
    assert_ne!(refused.message_id, 0);
}

fn l2tp_message(tunnel: u16, ns: u16, nr: u16, kind: u16) -> Vec<u8> {
    let mut avps = vec![Avp::number(attribute::MESSAGE_TYPE, kind)];
    if kind == message::SCCRQ {
        avps.push(Avp::number(attribute::ASSIGNED_TUNNEL_ID, 7));
    }
    let mut bytes = Vec::new();
    L2tpMessage { tunnel_id: tunnel, session_id: 0, ns, nr, avps }.encode(&mut bytes);
    bytes
}

#[test]
fn an_l2tp_answer_is_repeated_until_it_is_acknowledged() {
    let mut bench = Bench::new(|_| l2tp::L2tp::new());
    let open = l2tp_message(0, 0, 0, message::SCCRQ);
    let reply = L2tpMessage::decode(&bench.ask(&open)[0]).unwrap();
    assert_eq!((reply.message_type(), reply.tunnel_id, reply.nr), (Some(message::SCCRP), 7, 1));
    let ours = reply.number(attribute::ASSIGNED_TUNNEL_ID).unwrap();
    // A repeated request opens no second tunnel.
    assert!(L2tpMessage::decode(&bench.ask(&open)[0]).unwrap().is_zero_length_body());
    // Again after 1, 2, 4 and 8 s; then it is given up.
    let repeats: Vec<usize> = (0..40).map(|_| bench.pass(1).len()).collect();
    let at: Vec<usize> = (1..).zip(&repeats).filter(|(_, count)| **count > 0).map(|(at, _)| at).collect();
    assert_eq!(at, [1, 3, 7, 15]);
    assert!(bench.ask(&l2tp_message(ours, 1, 1, 3)).is_empty(), "the tunnel is gone");

    let reply = L2tpMessage::decode(&bench.ask(&open)[0]).unwrap();
    let ours = reply.number(attribute::ASSIGNED_TUNNEL_ID).unwrap();
    // SCCCN and HELLO are acknowledged, and acknowledge.
    for (ns, kind) in [(1, 3), (2, 6), (3, message::STOP_CCN), (3, message::STOP_CCN)] {
        let ack = L2tpMessage::decode(&bench.ask(&l2tp_message(ours, ns, 1, kind))[0]).unwrap();
        assert!(ack.is_zero_length_body());
        assert_eq!((ack.tunnel_id, ack.nr), (7, ns + 1));
        assert!(bench.pass(1).is_empty());
    }
}

fn openvpn() -> Bench<openvpn::OpenvpnUdp> {
    let wall = SystemClock::start().wall();
    let tls = certificate::Certificates::new(wall, &[]).unwrap().good;
    let setup = openvpn::Setup { keys: Keys::plain(), tls };
    Bench::new(|entropy| openvpn::OpenvpnUdp::new(setup, entropy))
}

fn packet(opcode: Opcode, acks: Option<Acks>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet { opcode, key_id: 0, session: [9; 8], acks, id: 0, payload: Vec::new() }.encode(&mut bytes);
    bytes
}

#[test]
fn an_openvpn_reset_keeps_nothing_and_a_session_needs_the_id_that_was_given() {
    let mut bench = openvpn();
    let answer = bench.ask(&packet(Opcode::HardResetClientV2, None));
    let answer = Packet::decode(&answer[0]).unwrap();
    assert_eq!(answer.opcode, Opcode::HardResetServerV2);
    assert_eq!(answer.acks, Some(Acks { ids: vec![0], session: [9; 8] }));
    let same = bench.ask(&packet(Opcode::HardResetClientV2, None));
    assert_eq!(Packet::decode(&same[0]).unwrap().session, answer.session, "by MAC, so the same");
    assert_eq!(bench.responder.sessions(), 0);
    let ack = |session| packet(Opcode::AckV1, Some(Acks { ids: vec![0], session }));
    bench.ask(&ack([1; 8]));
    assert_eq!(bench.responder.sessions(), 0);
    bench.ask(&ack(answer.session));
    assert_eq!(bench.responder.sessions(), 1);
    bench.pass(61);
    assert_eq!(bench.responder.sessions(), 0);
}

#[test]
fn dns_bytes_cut_anywhere_are_refused_or_ignored() {
    let zone = dns::Zone::new();
    // `dig +noedns www.demo.vpnprobe.test`, as RFC 1035 §4.1 has it.
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x04demo\x08vpnprobe\x04test\x00\x00\x01\x00\x01";
    let answer = zone.answer(query, true).unwrap();
    assert_eq!(answer[..4], [0x12, 0x34, 0x85, 0x00]);
    assert!(answer.ends_with(&[192, 0, 2, 80]));
    for end in 0..query.len() {
        let answer = zone.answer(&query[..end], true);
        // FORMERR, or silence where there is not even a header.
        assert!(answer.is_none_or(|answer| answer[3] & 0x0f == 1), "{end}");
    }
}

proptest! {
    /// Whatever comes, nobody panics.
    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), shape in 0..5_u8) {
        // Nudged towards messages that get past the first look.
        if bytes.len() > 28 {
            match shape {
                0 => {
                    bytes[8..16].fill(0);
                    bytes[17..24].copy_from_slice(&[0x20, 34, 8, 0, 0, 0, 0]);
                    let len = u32::try_from(bytes.len()).unwrap();
                    bytes[24..28].copy_from_slice(&len.to_be_bytes());
                }
                1 => {
                    bytes[8..16].fill(0);
                    bytes[16..24].copy_from_slice(&[1, 0x10, 2, 0, 0, 0, 0, 0]);
                    let len = u32::try_from(bytes.len()).unwrap();
                    bytes[24..28].copy_from_slice(&len.to_be_bytes());
                }
                2 => {
                    let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                    bytes[..8].copy_from_slice(&[0xc8, 2, len[0], len[1], 0, 0, 0, 0]);
                }
                3 => bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]),
                _ => bytes[0] = 0x38,
            }
        }
        ike().ask(&bytes);
        Bench::new(|_| l2tp::L2tp::new()).ask(&bytes);
        Bench::new(|_| dns::Zone::new()).ask(&bytes);
        OPENVPN.with_borrow_mut(|bench| bench.ask(&bytes));
    }
}

thread_local! {
    /// One for all cases: its certificates take a while.
    static OPENVPN: RefCell<Bench<openvpn::OpenvpnUdp>> = RefCell::new(openvpn());
}

#[test]
fn ids_are_drawn() {
    // Two concentrators share no secret.
    let (mut a, mut b) = (Generator::seeded(1), Generator::seeded(2));
    assert_ne!(mac(&a.array(), &[b"x"]), mac(&b.array(), &[b"x"]));
}
