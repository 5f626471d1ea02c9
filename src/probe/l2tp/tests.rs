use proptest::prelude::*;

use super::*;
use crate::entropy::Generator;
use crate::probe::{Kind, Settings as AllSettings};
use crate::sample::Fault;
use crate::time::WallTime;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// The SCCRP of xl2tpd 1.3.18 (captured with tcpdump) without a secret, to our tunnel 0x7abf, its
/// tunnel 0x0bbb.
const SCCRP: &str = "c80200637abf00000000000180080000000000028008000000020100800a0000000300000003800a00000004000000000008000000060690800800000007766d00130000000878656c6572616e63652e636f6d8008000000090bbb80080000000a0004";
/// The same with a secret.
const SCCRP_CHALLENGE: &str = "c802008fc2b700000000000180080000000000028008000000020100800a0000000300000003800a00000004000000000008000000060690800800000007766d00130000000878656c6572616e63652e636f6d800800000009338f80080000000a000480160000000d891171a3402ecc589c2a538e5126732f80160000000b6bcdd5a0168dc66a0b8ce07cf72b36da";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn begin(behind_ipsec: bool) -> Box<dyn Exchange> {
    let kind = Kind::named("l2tp").unwrap();
    let settings = Settings { behind_ipsec, ..Settings::default() };
    let spec = Spec {
        name: kind.name.to_owned(),
        kind,
        port: 1701,
        interval: kind.interval,
        timeout: Duration::from_secs(3),
        full_interval: kind.interval,
        host: None,
        settings: std::sync::Arc::new(AllSettings { l2tp: settings, ..AllSettings::default() }),
    };
    let start = Start {
        now: ms(0),
        wall: WallTime::default(),
        peer: PEER,
        local: None,
        timeout: spec.timeout,
        form: &(kind.forms)(&spec)[0],
        token: 0,
        entropy: &mut Generator::seeded(3),
    };
    (kind.begin)(&spec, start)
}

fn poll(exchange: &mut dyn Exchange, now: Timestamp) -> (Step, Vec<u8>) {
    let mut out = Vec::new();
    let step = exchange.poll(now, &mut out);
    if matches!(step, Step::Send | Step::SendTo(_)) {
        exchange.handle(Event::Sent, now);
    }
    (step, out)
}

/// An exchange that has asked, and its question.
fn asked(behind_ipsec: bool) -> (Box<dyn Exchange>, Message, Vec<u8>) {
    let mut exchange = begin(behind_ipsec);
    assert_eq!(exchange.transport(), Transport::Udp { port: 1701, connected: false });
    let (step, out) = poll(&mut *exchange, ms(0));
    assert_eq!(step, Step::Send);
    assert_eq!(poll(&mut *exchange, ms(0)).0, Step::Wait(ms(3000)));
    (exchange, Message::decode(&out).unwrap(), out)
}

fn our_id(request: &Message) -> u16 {
    request.number(attribute::ASSIGNED_TUNNEL_ID).unwrap()
}

/// Captured bytes, to our tunnel.
fn to_us(captured: &str, request: &Message) -> Vec<u8> {
    let mut bytes = hex(captured);
    bytes[4..6].copy_from_slice(&our_id(request).to_be_bytes());
    bytes
}

fn receive(exchange: &mut dyn Exchange, port: u16, bytes: &[u8], at: Timestamp) -> Handled {
    exchange.handle(Event::Received { from: SocketAddr::new(PEER, port), bytes }, at)
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn zlb(request: &Message, ns: u16, nr: u16) -> Vec<u8> {
    encoded(&Message { tunnel_id: our_id(request), ns, nr, ..Message::default() })
}

fn report(exchange: &mut dyn Exchange, at: Timestamp) -> Report {
    match poll(exchange, at).0 {
        Step::Report(report) => report,
        step => panic!("{step:?}"),
    }
}

/// The request another implementation wrote and xl2tpd answered, but for the tunnel id.
#[test]
fn the_request_is_as_another_implementation_writes_it() {
    let (_, _, mut bytes) = asked(false);
    let theirs = hex(
        "c8020044000000000000000080080000000000018008000000020100800a0000000300000003800e0000000776706e70726f6265800800000009e43880080000000a0004",
    );
    assert_ne!(bytes[58..60], [0, 0]);
    bytes[58..60].copy_from_slice(&theirs[58..60]);
    assert_eq!(bytes, theirs);
}

#[test]
fn a_tunnel_is_reported_at_once_and_closed() {
    let (mut exchange, request, _) = asked(false);
    assert_eq!(receive(&mut *exchange, 1701, &to_us(SCCRP, &request), ms(20)), Handled::Taken);
    let mut report = report(&mut *exchange, ms(20));
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(20))));
    let details = &report.findings().details;
    assert_eq!(details.get_text("host_name"), Some("vm"));
    assert_eq!(details.get_text("vendor"), Some("xelerance.com"));
    assert!(details.is("clear_text") && !details.is("challenge"));

    let (step, out) = poll(&mut *exchange, ms(20));
    assert_eq!(step, Step::Send);
    let stop = Message::decode(&out).unwrap();
    assert_eq!((stop.tunnel_id, stop.ns, stop.nr), (0x0bbb, 1, 1));
    assert_eq!(stop.message_type(), Some(message::STOP_CCN));
    assert_eq!(stop.number(attribute::ASSIGNED_TUNNEL_ID), Some(our_id(&request)));
    assert_eq!(stop.result_code().map(|code| code.result), Some(1));
    assert_eq!(poll(&mut *exchange, ms(20)).0, Step::Wait(ms(1020)));
    // The repeated reply and an acknowledgement of the request only do not end it.
    receive(&mut *exchange, 1701, &to_us(SCCRP, &request), ms(30));
    receive(&mut *exchange, 1701, &zlb(&request, 1, 1), ms(30));
    assert_eq!(poll(&mut *exchange, ms(30)).0, Step::Wait(ms(1020)));
    receive(&mut *exchange, 1701, &zlb(&request, 1, 2), ms(40));
    assert_eq!(poll(&mut *exchange, ms(40)).0, Step::End);
    assert_eq!(receive(&mut *exchange, 1701, &to_us(SCCRP, &request), ms(50)), Handled::Taken);
    assert_eq!(poll(&mut *exchange, ms(50)).0, Step::End);
}

#[test]
fn a_secret_is_told_and_another_port_is_answered_there() {
    let (mut exchange, request, _) = asked(false);
    receive(&mut *exchange, 40_000, &to_us(SCCRP_CHALLENGE, &request), ms(20));
    let mut report = report(&mut *exchange, ms(20));
    assert!(report.findings().details.is("challenge"));
    assert_eq!(poll(&mut *exchange, ms(20)).0, Step::SendTo(40_000));
    receive(&mut *exchange, 40_000, &zlb(&request, 1, 2), ms(40));
    assert_eq!(poll(&mut *exchange, ms(40)).0, Step::End);
}

#[test]
fn stop_is_repeated_twice_at_the_most() {
    let (mut exchange, request, _) = asked(false);
    receive(&mut *exchange, 1701, &to_us(SCCRP, &request), ms(0));
    report(&mut *exchange, ms(0));
    for second in 0..3 {
        assert_eq!(poll(&mut *exchange, ms(second * 1000)).0, Step::Send);
        assert_eq!(poll(&mut *exchange, ms(second * 1000)).0, Step::Wait(ms((second + 1) * 1000)));
    }
    assert_eq!(poll(&mut *exchange, ms(3000)).0, Step::End);
}

#[test]
fn each_refusal_has_its_reason_and_is_acknowledged() {
    for (code, reason) in [
        (&[0, 4][..], Reason::AuthFailed),
        (&[0, 5, 1, 0], Reason::ProtocolError),
        (&[0, 2, 0, 4, b'f', b'u', b'l', b'l'], Reason::FullOrThrottled),
        (&[0, 2, 0, 6], Reason::WrongAnswer),
        (&[0, 1], Reason::WrongAnswer),
        (&[0], Reason::WrongAnswer),
    ] {
        let (mut exchange, request, _) = asked(false);
        let stop = Message {
            tunnel_id: our_id(&request),
            nr: 1,
            avps: vec![
                Avp::number(attribute::MESSAGE_TYPE, message::STOP_CCN),
                Avp::number(attribute::ASSIGNED_TUNNEL_ID, 77),
                Avp::mandatory(attribute::RESULT_CODE, code),
            ],
            ..Message::default()
        };
        receive(&mut *exchange, 1701, &encoded(&stop), ms(9));
        let report = report(&mut *exchange, ms(9));
        assert_eq!(report.outcome, Outcome::Refused(reason));
        assert_eq!(report.rtt, Some(Duration::from_millis(9)));
        let (step, out) = poll(&mut *exchange, ms(9));
        assert_eq!(step, Step::Send);
        let ack = Message::decode(&out).unwrap();
        assert!(ack.is_zero_length_body());
        assert_eq!((ack.tunnel_id, ack.ns, ack.nr), (77, 1, 1));
        assert_eq!(poll(&mut *exchange, ms(9)).0, Step::End);
    }
}

#[test]
fn silence_is_lost_unless_it_is_expected() {
    for (behind_ipsec, acknowledged, outcome) in [
        (false, false, Outcome::Lost(Reason::NoAnswer)),
        (true, false, Outcome::Unsent(Fault::ExpectedSilence)),
        (false, true, Outcome::Lost(Reason::NoAnswer)),
        (true, true, Outcome::Lost(Reason::NoAnswer)),
    ] {
        let (mut exchange, request, _) = asked(behind_ipsec);
        if acknowledged {
            assert_eq!(receive(&mut *exchange, 1701, &zlb(&request, 0, 1), ms(5)), Handled::Taken);
            assert_eq!(poll(&mut *exchange, ms(5)).0, Step::Wait(ms(3000)));
        }
        assert_eq!(report(&mut *exchange, ms(3000)).outcome, outcome);
        assert_eq!(poll(&mut *exchange, ms(3000)).0, Step::Wait(ms(6000)));
        assert_eq!(poll(&mut *exchange, ms(6000)).0, Step::End);
    }
}

#[test]
fn a_tunnel_that_comes_too_late_is_closed_all_the_same() {
    let (mut exchange, request, _) = asked(false);
    assert_eq!(report(&mut *exchange, ms(3000)).outcome, Outcome::Lost(Reason::NoAnswer));
    poll(&mut *exchange, ms(3000));
    assert_eq!(receive(&mut *exchange, 1701, &to_us(SCCRP, &request), ms(3500)), Handled::Taken);
    assert_eq!(poll(&mut *exchange, ms(3500)).0, Step::Send);
    receive(&mut *exchange, 1701, &zlb(&request, 1, 2), ms(3600));
    assert_eq!(poll(&mut *exchange, ms(3600)).0, Step::End);
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let (mut exchange, request, sent) = asked(false);
    let good = to_us(SCCRP, &request);
    let foreign = Event::Received { from: "192.0.2.2:1701".parse().unwrap(), bytes: &good };
    assert_eq!(exchange.handle(foreign, ms(1)), Handled::NotMine(Mismatch::Source));
    let mut other_tunnel = good.clone();
    other_tunnel[4] ^= 1;
    let hello = Message {
        tunnel_id: our_id(&request),
        avps: vec![Avp::number(attribute::MESSAGE_TYPE, 6)],
        ..Message::default()
    };
    for (bytes, mismatch) in [
        (other_tunnel.as_slice(), Mismatch::Token),
        (&good[..50], Mismatch::Malformed),
        (&encoded(&hello), Mismatch::Unexpected),
    ] {
        assert_eq!(receive(&mut *exchange, 1701, bytes, ms(1)), Handled::NotMine(mismatch));
    }
    let error = IcmpError::Unreachable(Reason::PortUnreachable);
    let mut quoted = sent;
    *quoted.last_mut().unwrap() ^= 1;
    let foreign = Event::Icmp { from: None, error, quoted: &quoted };
    assert_eq!(exchange.handle(foreign, ms(1)), Handled::NotMine(Mismatch::Token));
    assert_eq!(poll(&mut *exchange, ms(1)).0, Step::Wait(ms(3000)));
}

#[test]
fn icmp_errors_refuse_and_our_own_failures_prove_nothing() {
    for reason in [Reason::PortUnreachable, Reason::AdminProhibited] {
        let (mut exchange, _, sent) = asked(true);
        let error = IcmpError::Unreachable(reason);
        exchange.handle(Event::Icmp { from: None, error, quoted: &sent[..28] }, ms(1));
        assert_eq!(report(&mut *exchange, ms(1)).outcome, Outcome::Refused(reason));
        assert_eq!(poll(&mut *exchange, ms(1)).0, Step::End);
    }
    let mut exchange = begin(false);
    assert_eq!(exchange.poll(ms(0), &mut Vec::new()), Step::Send);
    exchange.handle(Event::Failed(Fault::LocalFirewall), ms(0));
    assert_eq!(report(&mut *exchange, ms(0)).outcome, Outcome::Unsent(Fault::LocalFirewall));
    assert_eq!(poll(&mut *exchange, ms(0)).0, Step::End);
}

#[test]
fn a_reply_without_a_tunnel_id_cannot_be_closed_and_says_so() {
    let (mut exchange, request, _) = asked(false);
    let reply = Message {
        tunnel_id: our_id(&request),
        nr: 1,
        avps: vec![Avp::number(attribute::MESSAGE_TYPE, message::SCCRP)],
        ..Message::default()
    };
    receive(&mut *exchange, 1701, &encoded(&reply), ms(1));
    let mut report = report(&mut *exchange, ms(1));
    assert_eq!(report.outcome, Outcome::Refused(Reason::ProtocolError));
    assert!(report.findings().half_open_left.is_some());
}

proptest! {
    #[test]
    fn no_bytes_panic_or_pass_for_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut exchange, request, _) = asked(false);
        receive(&mut *exchange, 1701, &bytes, ms(1));
        receive(&mut *exchange, 1701, &[&zlb(&request, 0, 1), bytes.as_slice()].concat(), ms(1));
        prop_assert_eq!(poll(&mut *exchange, ms(1)).0, Step::Wait(ms(3000)));
    }
}
