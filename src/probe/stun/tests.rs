//! Answers of scripted servers.

use super::*;
use crate::entropy::Generator;
use crate::probe::conversation::tests::spec;
use crate::probe::{Event, Handled, IcmpError, Settings as All, Step};
use crate::sample::Detail;
use crate::time::{Timestamp, WallTime};

const T0: Timestamp = Timestamp::from_secs(10);

fn begun() -> (Box<dyn Exchange>, Vec<u8>) {
    let spec = spec("stun", None, All::default());
    let start = Start {
        now: T0,
        wall: WallTime::default(),
        peer: "203.0.113.10".parse().unwrap(),
        local: Some("192.0.2.10:40000".parse().unwrap()),
        timeout: spec.timeout,
        form: &FORMS[0],
        token: 0,
        entropy: &mut Generator::seeded(3),
    };
    let mut exchange = (spec.kind.begin)(&spec, start);
    let mut out = Vec::new();
    assert_eq!(exchange.poll(T0, &mut out), Step::Send);
    exchange.handle(Event::Sent, T0);
    (exchange, out)
}

/// The answer to a request, by its own bytes: the transaction is the 12 octets from the 8th on.
fn answer(request: &[u8], kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let attributes = attributes.iter().map(|(kind, value)| (*kind, value.to_vec())).collect();
    let message = Message {
        kind,
        transaction: request[8..20].try_into().unwrap(),
        attributes,
        fingerprint: true,
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn receive(exchange: &mut Box<dyn Exchange>, bytes: &[u8]) -> Handled {
    let from = "203.0.113.10:3478".parse().unwrap();
    exchange.handle(Event::Received { from, bytes }, T0 + Duration::from_millis(7))
}

fn report(exchange: &mut Box<dyn Exchange>) -> Report {
    let Step::Report(report) = exchange.poll(T0 + Duration::from_millis(8), &mut Vec::new()) else {
        panic!("no report")
    };
    assert_eq!(exchange.poll(T0 + Duration::from_millis(8), &mut Vec::new()), Step::End);
    report
}

#[test]
fn the_mapped_address_is_told() {
    let (mut exchange, request) = begun();
    assert_eq!(request[..8], [0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42], "a fingerprint follows");
    // 198.51.100.1:5000 in the clear, as RFC 3489 had it.
    let good = answer(&request, message::SUCCESS, &[(attribute::MAPPED_ADDRESS, &[0, 1, 0x13, 0x88, 198, 51, 100, 1])]);
    assert_eq!(receive(&mut exchange, &good), Handled::Taken);
    let report = report(&mut exchange);
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(7))));
    let findings = report.findings.unwrap();
    assert_eq!(findings.details.get_text("mapped_address"), Some("198.51.100.1:5000"));
    assert!(findings.details.is("nat"));
    let mapped = findings.mapped.unwrap();
    assert_eq!(mapped.address, "198.51.100.1:5000".parse().unwrap());
    assert_eq!(mapped.local, Some("192.0.2.10:40000".parse().unwrap()));
}

#[test]
fn errors_and_answers_without_an_address_are_refusals() {
    let code = |class, number| vec![0, 0, class, number, b'x'];
    for (kind, attributes, reason) in [
        (message::ERROR, vec![(attribute::ERROR_CODE, code(4, 1))], Reason::AuthFailed),
        (message::ERROR, vec![(attribute::ERROR_CODE, code(5, 0))], Reason::WrongAnswer),
        (message::ERROR, vec![], Reason::ProtocolError),
        (message::SUCCESS, vec![], Reason::ProtocolError),
    ] {
        let (mut exchange, request) = begun();
        let attributes: Vec<(u16, &[u8])> = attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        receive(&mut exchange, &answer(&request, kind, &attributes));
        let report = report(&mut exchange);
        assert_eq!(report.outcome, Outcome::Refused(reason));
        if let Some(Detail::Number(code)) = report.findings.unwrap().details.get("error_code") {
            assert!([401, 500].contains(code));
        }
    }
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let (mut exchange, request) = begun();
    let good = answer(&request, message::SUCCESS, &[]);
    let mut other = request.clone();
    other[10] ^= 1;
    for (bytes, why) in [
        (answer(&other, message::SUCCESS, &[]), Mismatch::Token),
        (request.clone(), Mismatch::Unexpected),
        (good[..good.len() - 1].to_vec(), Mismatch::Malformed),
        (b"hello".to_vec(), Mismatch::Malformed),
    ] {
        assert_eq!(receive(&mut exchange, &bytes), Handled::NotMine(why));
    }
    let stranger = Event::Received { from: "203.0.113.99:3478".parse().unwrap(), bytes: &good };
    assert_eq!(exchange.handle(stranger, T0), Handled::NotMine(Mismatch::Source));
    let error = IcmpError::Unreachable(Reason::PortUnreachable);
    let earlier = Event::Icmp { from: None, error, quoted: &other };
    assert_eq!(exchange.handle(earlier, T0), Handled::NotMine(Mismatch::Token));
    assert_eq!(exchange.poll(T0 + Duration::from_secs(1), &mut Vec::new()), Step::Wait(T0 + Duration::from_secs(2)));
    let ours = Event::Icmp { from: None, error, quoted: &request };
    assert_eq!(exchange.handle(ours, T0), Handled::Taken);
    assert_eq!(report(&mut exchange).outcome, Outcome::Refused(Reason::PortUnreachable));
}

#[test]
fn silence_is_lost() {
    let (mut exchange, _) = begun();
    let step = exchange.poll(T0 + Duration::from_secs(2), &mut Vec::new());
    assert_eq!(step, Step::Report(Report::new(Outcome::Lost(Reason::NoAnswer))));
}
