use std::collections::VecDeque;
use std::net::SocketAddr;

use proptest::prelude::*;
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::entropy::Generator;
use crate::probe::{Kind, Settings as AllSettings};
use crate::sample::Findings;
use crate::wire::openvpn::Acks;
use crate::wire::openvpn::Digest;
use crate::wire::openvpn::tests::{STATIC_KEY, V2_KEY};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1194);
const TIMEOUT: Duration = Duration::from_secs(2);
/// 2026-11-22.
const WALL: WallTime = WallTime::from_unix_secs(1_795_305_600);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn settings(keys: Keys) -> Settings {
    Settings { keys, ..Settings::default() }
}

fn begin(kind: &str, form: &str, settings: Settings, wall: WallTime) -> Box<dyn Exchange> {
    let kind = Kind::named(kind).unwrap();
    let spec = Spec {
        name: kind.name.to_owned(),
        kind,
        port: PEER.port(),
        interval: kind.interval,
        timeout: TIMEOUT,
        full_interval: kind.interval,
        host: None,
        settings: std::sync::Arc::new(AllSettings { openvpn: settings, ..AllSettings::default() }),
    };
    let form = (kind.forms)(&spec).iter().find(|each| each.name == form).unwrap();
    let start = Start {
        now: ms(0),
        wall,
        peer: PEER.ip(),
        local: None,
        timeout: TIMEOUT,
        form,
        token: 0,
        entropy: &mut Generator::seeded(7),
    };
    (kind.begin)(&spec, start)
}

fn poll(exchange: &mut dyn Exchange, now: Timestamp) -> (Step, Vec<u8>) {
    let mut out = Vec::new();
    let step = exchange.poll(now, &mut out);
    (step, out)
}

/// What it sends at that time, marked as sent then.
fn sends(exchange: &mut dyn Exchange, at: Timestamp) -> Vec<u8> {
    let (step, out) = poll(exchange, at);
    assert_eq!(step, Step::Send);
    exchange.handle(Event::Sent, at);
    out
}

fn report(exchange: &mut dyn Exchange, at: Timestamp) -> Report {
    let (step, _) = poll(exchange, at);
    let Step::Report(report) = step else { panic!("{step:?}") };
    assert_eq!(poll(exchange, at).0, Step::End);
    report
}

fn receive(exchange: &mut dyn Exchange, bytes: &[u8], at: Timestamp) -> Handled {
    exchange.handle(Event::Received { from: PEER, bytes }, at)
}

fn note(report: &Report) -> &str {
    report.findings.as_ref().and_then(|findings| findings.details.get_text("note")).unwrap_or_default()
}

/// A scripted server.
struct Server {
    wrapping: Wrapping,
    session: SessionId,
}

impl Server {
    fn new(keys: Keys) -> Self {
        Self { wrapping: Wrapping::new(keys, Side::Server, 1), session: *b"\xffserver\xff" }
    }

    fn wrap(&mut self, opcode: Opcode, acks: &[u32], client: SessionId, id: u32, payload: &[u8]) -> Vec<u8> {
        let acks = (!acks.is_empty()).then(|| Acks { ids: acks.to_vec(), session: client });
        let packet =
            Packet { opcode, key_id: 0, session: self.session, acks, id, payload: payload.to_vec() };
        let mut out = Vec::new();
        self.wrapping.wrap(&packet, &mut out);
        out
    }

    fn answer(&mut self, reset: &[u8]) -> Vec<u8> {
        let reset = self.wrapping.unwrap(reset).unwrap();
        let payload: &[u8] =
            if reset.opcode == Opcode::HardResetClientV3 { &[0, 1, 0, 2, 0, 1] } else { &[] };
        self.wrap(Opcode::HardResetServerV2, &[0], reset.session, 0, payload)
    }
}

/// The keys of a client and of its server.
fn key_pairs() -> Vec<(Keys, Keys)> {
    let auth = |direction| Keys::tls_auth(STATIC_KEY, Some(direction), Digest::Sha256).unwrap();
    let crypt = Keys::tls_crypt(STATIC_KEY).unwrap();
    let v2 = Keys::tls_crypt_v2(V2_KEY).unwrap();
    vec![(Keys::plain(), Keys::plain()), (auth(1), auth(0)), (crypt.clone(), crypt), (v2.clone(), v2)]
}

#[test]
fn an_answer_to_the_reset_is_all_there_is() {
    for (client, server) in key_pairs() {
        let mut exchange = begin("openvpn_udp", "reset", settings(client.clone()), WALL);
        let reset = sends(&mut *exchange, ms(10));
        assert_eq!(poll(&mut *exchange, ms(10)).0, Step::Wait(ms(2010)));
        let answer = Server::new(server).answer(&reset);
        assert_eq!(receive(&mut *exchange, &answer, ms(35)), Handled::Taken);
        let report = report(&mut *exchange, ms(35));
        assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(25))));
        assert!(report.phases.is_empty());
        // Late and repeated ones are still known as ours.
        assert_eq!(receive(&mut *exchange, &answer, ms(36)), Handled::Taken);
        assert_eq!(poll(&mut *exchange, ms(36)).0, Step::End);
    }
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let crypt = Keys::tls_crypt(STATIC_KEY).unwrap();
    let mut exchange = begin("openvpn_udp", "reset", settings(crypt.clone()), WALL);
    let reset = sends(&mut *exchange, ms(0));
    let session: SessionId = reset[1..9].try_into().unwrap();
    let mut server = Server::new(crypt);
    let good = server.answer(&reset);

    let plain =
        Server::new(Keys::plain()).wrap(Opcode::HardResetServerV2, &[0], session, 0, &[]);
    let others = server.wrap(Opcode::HardResetServerV2, &[0], [3; 8], 0, &[]);
    let no_acks = server.wrap(Opcode::HardResetServerV2, &[], session, 0, &[]);
    let wrong_ack = server.wrap(Opcode::HardResetServerV2, &[1], session, 0, &[]);
    let control = server.wrap(Opcode::ControlV1, &[0], session, 0, &[]);
    let mut changed = good.clone();
    changed[20] ^= 1;
    for (bytes, mismatch) in [
        (plain, Mismatch::Token),
        (others, Mismatch::Token),
        (no_acks, Mismatch::Token),
        (changed, Mismatch::Token),
        (wrong_ack, Mismatch::Unexpected),
        (control, Mismatch::Unexpected),
        (b"HTTP/1.1 400".to_vec(), Mismatch::Malformed),
        (b" a plain opcode 4".to_vec(), Mismatch::Token),
        (vec![0; 60], Mismatch::Malformed),
        (Vec::new(), Mismatch::Malformed),
    ] {
        assert_eq!(receive(&mut *exchange, &bytes, ms(1)), Handled::NotMine(mismatch));
    }
    for from in ["192.0.2.2:1194", "192.0.2.1:1195"] {
        let event = Event::Received { from: from.parse().unwrap(), bytes: &good };
        assert_eq!(exchange.handle(event, ms(1)), Handled::NotMine(Mismatch::Source));
    }
    assert_eq!(poll(&mut *exchange, ms(1)).0, Step::Wait(ms(2000)));
    assert_eq!(receive(&mut *exchange, &good, ms(2)), Handled::Taken);
    assert_eq!(report(&mut *exchange, ms(2)).outcome, Outcome::OK);
}

/// OpenVPN 2.6.14 answering a reset from a port for which it still keeps a session (captured): an
/// ACK_V1 that acknowledges packet 0 of ours, and older ids once more.
#[test]
fn a_bare_acknowledgement_is_an_answer_too() {
    let mut exchange = begin("openvpn_udp", "reset", Settings::default(), WALL);
    let reset = sends(&mut *exchange, ms(0));
    let captured = [
        0x28, 0x24, 0x06, 0xca, 0x3c, 0xa6, 0x73, 0xdd, 0xae, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0xd7,
        0x0a, 0x11, 0xd8, 0xf6, 0x28, 0xa2, 0x6c,
    ];
    let ours = [&captured[..22], &reset[1..9]].concat();
    assert_eq!(receive(&mut *exchange, &captured, ms(1)), Handled::NotMine(Mismatch::Token));
    assert_eq!(receive(&mut *exchange, &ours, ms(1)), Handled::Taken);
    assert_eq!(report(&mut *exchange, ms(1)).outcome, Outcome::OK);
}

#[test]
fn silence_has_two_possible_causes() {
    for (client, text) in [(Keys::plain(), "wants a key"), (Keys::tls_crypt(STATIC_KEY).unwrap(), "wrong key")] {
        let mut exchange = begin("openvpn_udp", "reset", settings(client.clone()), WALL);
        let reset = sends(&mut *exchange, ms(0));
        assert_eq!(poll(&mut *exchange, ms(1999)).0, Step::Wait(ms(2000)));
        let report = report(&mut *exchange, ms(2000));
        assert_eq!((report.outcome, report.rtt), (Outcome::Lost(Reason::NoAnswer), None));
        assert!(note(&report).contains(text));
        let late = Server::new(client).answer(&reset);
        assert_eq!(receive(&mut *exchange, &late, ms(2001)), Handled::Taken);
        assert_eq!(poll(&mut *exchange, ms(2001)).0, Step::End);
    }
}

#[test]
fn icmp_errors_refuse_over_udp_if_they_quote_us() {
    for reason in [Reason::PortUnreachable, Reason::AdminProhibited, Reason::HostUnreachable] {
        let mut exchange = begin("openvpn_udp", "reset", Settings::default(), WALL);
        let reset = sends(&mut *exchange, ms(0));
        let error = IcmpError::Unreachable(reason);
        let foreign = Event::Icmp { from: None, error, quoted: &[0x38; 14] };
        assert_eq!(exchange.handle(foreign, ms(1)), Handled::NotMine(Mismatch::Token));
        let expired = Event::Icmp { from: None, error: IcmpError::TimeExceeded, quoted: &reset };
        assert_eq!(exchange.handle(expired, ms(1)), Handled::Taken);
        assert_eq!(poll(&mut *exchange, ms(1)).0, Step::Wait(ms(2000)));
        exchange.handle(Event::Icmp { from: None, error, quoted: &reset }, ms(1));
        assert_eq!(report(&mut *exchange, ms(1)).outcome, Outcome::Refused(reason));
    }
}

#[test]
fn our_own_failure_is_no_evidence() {
    let mut exchange = begin("openvpn_udp", "reset", Settings::default(), WALL);
    assert_eq!(poll(&mut *exchange, ms(0)).0, Step::Send);
    exchange.handle(Event::Failed(Fault::NoRoute), ms(0));
    assert_eq!(report(&mut *exchange, ms(0)).outcome, Outcome::Unsent(Fault::NoRoute));
}

#[test]
fn over_tcp_the_answer_is_timed_from_the_reset() {
    for (client, server) in key_pairs() {
        let mut exchange = begin("openvpn_tcp", "reset", settings(client), WALL);
        assert_eq!(exchange.transport(), Transport::Tcp { port: 1194 });
        assert_eq!(poll(&mut *exchange, ms(0)).0, Step::Wait(ms(2000)));
        exchange.handle(Event::Connected, ms(30));
        let reset = sends(&mut *exchange, ms(31));
        assert_eq!(usize::from(u16::from_be_bytes([reset[0], reset[1]])), reset.len() - 2);
        let mut answer = Vec::new();
        frame(&Server::new(server).answer(&reset[2..]), &mut answer);
        let (last, first) = answer.split_last().unwrap();
        for byte in first {
            assert_eq!(receive(&mut *exchange, &[*byte], ms(50)), Handled::Taken);
            assert_eq!(poll(&mut *exchange, ms(50)).0, Step::Wait(ms(2031)));
        }
        receive(&mut *exchange, &[*last], ms(61));
        let report = report(&mut *exchange, ms(61));
        assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(30))));
        let phases =
            [(Phase::Connect, Duration::from_millis(30)), (Phase::FirstByte, Duration::from_millis(30))];
        assert_eq!(report.phases, phases);
    }
}

#[test]
fn over_tcp_each_refusal_has_its_reason() {
    let before = |event: Event<'_>| {
        let mut exchange = begin("openvpn_tcp", "reset", Settings::default(), WALL);
        exchange.handle(event, ms(5));
        report(&mut *exchange, ms(5)).outcome
    };
    assert_eq!(before(Event::Reset), Outcome::Refused(Reason::ConnectionRefused));
    let error = IcmpError::Unreachable(Reason::AdminProhibited);
    assert_eq!(
        before(Event::Icmp { from: None, error, quoted: &[] }),
        Outcome::Refused(Reason::AdminProhibited)
    );
    let mut silent = begin("openvpn_tcp", "reset", Settings::default(), WALL);
    assert_eq!(report(&mut *silent, ms(2000)).outcome, Outcome::Lost(Reason::NoAnswer));

    let connected = || {
        let mut exchange = begin("openvpn_tcp", "reset", Settings::default(), WALL);
        exchange.handle(Event::Connected, ms(5));
        sends(&mut *exchange, ms(5));
        exchange
    };
    for event in [Event::Closed, Event::Reset] {
        let mut exchange = connected();
        exchange.handle(event, ms(6));
        assert_eq!(report(&mut *exchange, ms(6)).outcome, Outcome::Refused(Reason::KeyRequired));
    }
    let plain_for_another = Server::new(Keys::plain()).wrap(Opcode::HardResetServerV2, &[0], [3; 8], 0, &[]);
    let mut framed = Vec::new();
    frame(&plain_for_another, &mut framed);
    for garbage in [b"SSH-2.0-x\r\n".as_slice(), b"\x15\x03\x03\x00\x02\x02\x28", &framed] {
        let mut exchange = connected();
        receive(&mut *exchange, garbage, ms(6));
        assert_eq!(report(&mut *exchange, ms(6)).outcome, Outcome::Refused(Reason::ProtocolError));
    }
    let mut exchange = connected();
    receive(&mut *exchange, &[0, 26, 0x40], ms(6));
    exchange.handle(Event::Closed, ms(7));
    assert_eq!(report(&mut *exchange, ms(7)).outcome, Outcome::Refused(Reason::ProtocolError));
}

/// A scripted server with a TLS server inside, whose packets are `piece` bytes long.
struct TlsServer {
    server: Server,
    tls: ServerConnection,
    piece: usize,
    next: u32,
    expected: u32,
}

impl TlsServer {
    fn new(keys: Keys, piece: usize) -> Self {
        let certified = rcgen::generate_simple_self_signed(["vpn.example.test".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let tls = ServerConnection::new(Arc::new(config)).unwrap();
        Self { server: Server::new(keys), tls, piece, next: 1, expected: 1 }
    }

    /// Its packets after one of the client's.
    fn hear(&mut self, bytes: &[u8]) -> VecDeque<Vec<u8>> {
        let packet = self.server.wrapping.unwrap(bytes).unwrap();
        let mut replies = VecDeque::new();
        if packet.opcode == Opcode::AckV1 {
            return replies;
        }
        if packet.id == self.expected {
            self.expected += 1;
            self.tls.read_tls(&mut packet.payload.as_slice()).unwrap();
            self.tls.process_new_packets().unwrap();
        }
        let mut stream = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut stream).unwrap();
        }
        replies.push_back(self.server.wrap(Opcode::AckV1, &[packet.id], packet.session, 0, &[]));
        for piece in stream.chunks(self.piece) {
            replies.push_back(self.server.wrap(Opcode::ControlV1, &[], packet.session, self.next, piece));
            self.next += 1;
        }
        replies
    }
}

/// Brings an exchange of the form `tls` past the answer to its reset.
fn handshake(client: Keys, server: &mut Server, wall: WallTime) -> Box<dyn Exchange> {
    let mut exchange = begin("openvpn_udp", "tls", settings(client), wall);
    let reset = sends(&mut *exchange, ms(0));
    receive(&mut *exchange, &server.answer(&reset), ms(10));
    exchange
}

/// Runs the handshake to its report; `upset` may disorder each batch of the server's packets.
fn certificate(
    exchange: &mut dyn Exchange,
    server: &mut TlsServer,
    upset: impl Fn(&mut VecDeque<Vec<u8>>),
) -> Report {
    let mut now = ms(11);
    let mut inbox = VecDeque::new();
    for _ in 0..100 {
        let (step, out) = poll(exchange, now);
        match step {
            Step::Send => {
                exchange.handle(Event::Sent, now);
                assert!(server.server.wrapping.unwrap(&out).unwrap().payload.len() <= 1100);
                let mut replies = server.hear(&out);
                upset(&mut replies);
                inbox.append(&mut replies);
            }
            Step::Wait(until) => match inbox.pop_front() {
                Some(bytes) => assert_eq!(receive(exchange, &bytes, now), Handled::Taken),
                None => now = until,
            },
            Step::Report(report) => return report,
            step => panic!("{step:?}"),
        }
    }
    panic!("no report");
}

fn findings(report: &Report) -> &Findings {
    report.findings.as_ref().unwrap()
}

#[test]
fn the_certificate_is_judged() {
    for (client, server) in key_pairs() {
        let mut server = TlsServer::new(server, 200);
        let mut exchange = handshake(client, &mut server.server, WALL);
        let report = certificate(&mut *exchange, &mut server, |_| {});
        assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(10))));
        let findings = findings(&report);
        assert_eq!(findings.details.get_text("tls_version"), Some("TLS 1.3"));
        assert!(findings.certificate_not_after.is_some());
        assert_eq!(findings.half_open_left, None);
        // The end of TLS, in one packet, and nothing more.
        let (step, leave) = poll(&mut *exchange, ms(20));
        assert_eq!(step, Step::Send);
        let leave = server.server.wrapping.unwrap(&leave).unwrap();
        server.tls.read_tls(&mut leave.payload.as_slice()).unwrap();
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::InternalError);
        assert_eq!(server.tls.process_new_packets().unwrap_err(), alert);
        assert_eq!(poll(&mut *exchange, ms(20)).0, Step::End);
    }
}

#[test]
fn a_certificate_out_of_its_time_is_an_answer() {
    let far = WallTime::from_unix_secs(1 << 32);
    // rcgen certificates are valid from 1975 to 4096.
    let early = WallTime::from_unix_secs(1);
    for (wall, reason) in [(far, None), (early, Some(Reason::CertNotYetValid))] {
        let mut server = TlsServer::new(Keys::plain(), 1100);
        let mut exchange = handshake(Keys::plain(), &mut server.server, wall);
        let report = certificate(&mut *exchange, &mut server, |_| {});
        assert_eq!(report.outcome, Outcome::Answered(reason));
    }
}

#[test]
fn disorder_and_repetition_do_no_harm() {
    let mut server = TlsServer::new(Keys::plain(), 100);
    let mut exchange = handshake(Keys::plain(), &mut server.server, WALL);
    let report = certificate(&mut *exchange, &mut server, |replies| {
        let mut twice: Vec<_> = replies.iter().flat_map(|each| [each.clone(), each.clone()]).collect();
        twice.reverse();
        *replies = twice.into();
    });
    assert_eq!(report.outcome, Outcome::OK);
}

#[test]
fn a_lost_client_hello_is_sent_again_after_a_second() {
    let mut exchange = handshake(Keys::plain(), &mut Server::new(Keys::plain()), WALL);
    let first = sends(&mut *exchange, ms(10));
    assert_eq!(poll(&mut *exchange, ms(10)).0, Step::Wait(ms(1010)));
    let second = sends(&mut *exchange, ms(1010));
    let [first, second] = [first, second].map(|bytes| Packet::decode(&bytes).unwrap());
    assert_eq!((first.acks.unwrap().ids, second.acks), (vec![0], None));
    assert_eq!((first.id, first.payload), (second.id, second.payload));
    assert_eq!(poll(&mut *exchange, ms(1010)).0, Step::Wait(ms(2010)));
    let report = report(&mut *exchange, ms(2010));
    assert_eq!(report.outcome, Outcome::Refused(Reason::FullOrThrottled));
    assert_eq!(report.rtt, Some(Duration::from_millis(10)));
}

#[test]
fn the_wrapped_key_goes_out_once_more_if_it_is_wanted() {
    let v2 = Keys::tls_crypt_v2(V2_KEY).unwrap();
    let mut exchange = handshake(v2.clone(), &mut Server::new(v2), WALL);
    let hello = sends(&mut *exchange, ms(10));
    assert_eq!(hello[0] >> 3, Opcode::ControlWkcV1.number());
    let again = sends(&mut *exchange, ms(1010));
    assert_eq!(again[0] >> 3, Opcode::ControlWkcV1.number());
}

#[test]
fn a_handshake_that_stalls_is_lost_and_one_that_is_refused_is_refused() {
    let mut server = Server::new(Keys::plain());
    let mut exchange = handshake(Keys::plain(), &mut server, WALL);
    let hello = Packet::decode(&sends(&mut *exchange, ms(10))).unwrap();
    let ack = server.wrap(Opcode::AckV1, &[1], hello.session, 0, &[]);
    receive(&mut *exchange, &ack, ms(20));
    assert_eq!(poll(&mut *exchange, ms(20)).0, Step::Wait(ms(2020)));
    assert_eq!(report(&mut *exchange, ms(2020)).outcome, Outcome::Lost(Reason::NoAnswer));

    let mut exchange = handshake(Keys::plain(), &mut server, WALL);
    let hello = Packet::decode(&sends(&mut *exchange, ms(10))).unwrap();
    // Fatal alert 40: handshake failure.
    let alert = server.wrap(Opcode::ControlV1, &[1], hello.session, 1, &[21, 3, 3, 0, 2, 2, 40]);
    receive(&mut *exchange, &alert, ms(20));
    assert_eq!(report(&mut *exchange, ms(20)).outcome, Outcome::Refused(Reason::TlsAlert));

    let mut exchange = handshake(Keys::plain(), &mut server, WALL);
    let hello = Packet::decode(&sends(&mut *exchange, ms(10))).unwrap();
    let nonsense = server.wrap(Opcode::ControlV1, &[1], hello.session, 1, &[b'x'; 100]);
    receive(&mut *exchange, &nonsense, ms(20));
    assert_eq!(report(&mut *exchange, ms(20)).outcome, Outcome::Refused(Reason::ProtocolError));
}

#[test]
fn a_server_that_acknowledges_for_ever_does_not_hold_us() {
    let mut server = Server::new(Keys::plain());
    let mut exchange = handshake(Keys::plain(), &mut server, WALL);
    let hello = Packet::decode(&sends(&mut *exchange, ms(10))).unwrap();
    let mut now = 10;
    for id in 1..1000 {
        now += 500;
        let drip = server.wrap(Opcode::ControlV1, &[], hello.session, id, &[]);
        receive(&mut *exchange, &drip, ms(now));
        while poll(&mut *exchange, ms(now)).0 == Step::Send {}
        if now > 10 + 5 * 2000 {
            break;
        }
    }
    // All its reports are behind us: it has ended.
    assert_eq!(poll(&mut *exchange, ms(now)).0, Step::End);
}

#[test]
fn the_kinds_report_only_what_they_declare() {
    for info in [&INFO_UDP, &INFO_TCP] {
        assert!(info.reasons.is_sorted());
    }
    assert!(!FORMS_UDP[0].rare && FORMS_UDP[1].rare && !FORMS_TCP[0].rare && FORMS_TCP[1].rare);
}

proptest! {
    #[test]
    fn no_bytes_panic_or_pass_for_an_answer(
        bytes in prop::collection::vec(any::<u8>(), 0..200), tcp: bool, full: bool,
    ) {
        let kind = if tcp { "openvpn_tcp" } else { "openvpn_udp" };
        let mut exchange = begin(kind, if full { "tls" } else { "reset" }, Settings::default(), WALL);
        if tcp {
            exchange.handle(Event::Connected, ms(0));
        }
        sends(&mut *exchange, ms(0));
        receive(&mut *exchange, &bytes, ms(1));
        let (step, _) = poll(&mut *exchange, ms(1));
        let report_is_refusal = matches!(
            step, Step::Report(Report { outcome: Outcome::Refused(Reason::ProtocolError), .. }));
        prop_assert!(report_is_refusal || matches!(step, Step::Wait(_)));
    }

    #[test]
    fn no_tls_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut server = Server::new(Keys::plain());
        let mut exchange = handshake(Keys::plain(), &mut server, WALL);
        let hello = Packet::decode(&sends(&mut *exchange, ms(10))).unwrap();
        let packet = server.wrap(Opcode::ControlV1, &[1], hello.session, 1, &bytes);
        receive(&mut *exchange, &packet, ms(20));
        let answered =
            matches!(poll(&mut *exchange, ms(20)).0, Step::Report(Report { outcome: Outcome::Answered(_), .. }));
        prop_assert!(!answered);
    }
}
