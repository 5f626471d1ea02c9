//! A scripted peer.

use std::net::SocketAddr;

use super::*;
use crate::entropy::Generator;
use crate::probe::{Kind, Settings as All};
use crate::sample::Fault;
use crate::time::WallTime;

const PEER: [&str; 2] = ["203.0.113.10", "2001:db8:3::10"];

pub(in crate::probe) fn exchange(kind: &str, peer: &str, settings: All) -> Box<dyn Exchange> {
    let kind = Kind::named(kind).unwrap();
    let spec = Spec {
        name: kind.name.to_owned(),
        kind,
        port: kind.port,
        interval: kind.interval,
        timeout: Duration::from_secs(2),
        full_interval: Duration::from_secs(3600),
        host: None,
        settings: std::sync::Arc::new(settings),
    };
    let start = Start {
        now: Timestamp::from_secs(10),
        wall: WallTime::from_unix_secs(1_795_305_600),
        peer: peer.parse().unwrap(),
        local: None,
        timeout: spec.timeout,
        form: &(kind.forms)(&spec)[0],
        token: 0,
        entropy: &mut Generator::seeded(7),
    };
    (kind.begin)(&spec, start)
}

/// Begins a ping; the request as sent at 10.001 s.
fn ping(peer: &str) -> (Box<dyn Exchange>, Vec<u8>) {
    let mut ping = exchange("icmp", peer, All::default());
    let mut out = Vec::new();
    assert_eq!(ping.poll(Timestamp::from_secs(10), &mut out), Step::Send);
    assert_eq!(ping.handle(Event::Sent, Timestamp::from_millis(10_001)), Handled::Taken);
    let deadline = Timestamp::from_millis(12_001);
    assert_eq!(ping.poll(Timestamp::from_millis(10_001), &mut Vec::new()), Step::Wait(deadline));
    (ping, out)
}

/// What an honest peer makes of a request.
fn reply(v6: bool, request: &[u8]) -> Vec<u8> {
    let Ok(Message::Echo(echo)) = Message::decode(v6, request) else { panic!() };
    let mut out = Vec::new();
    Echo { reply: true, ..echo }.encode(v6, &mut out);
    out
}

fn received<'a>(peer: &str, bytes: &'a [u8]) -> Event<'a> {
    Event::Received { from: SocketAddr::new(peer.parse().unwrap(), 0), bytes }
}

fn report(exchange: &mut dyn Exchange, now: Timestamp) -> Report {
    let Step::Report(report) = exchange.poll(now, &mut Vec::new()) else { panic!("no report") };
    assert_eq!(exchange.poll(now, &mut Vec::new()), Step::End);
    report
}

#[test]
fn a_reply_is_an_answer_and_a_duplicate_changes_nothing() {
    for peer in PEER {
        let (mut ping, request) = ping(peer);
        assert_eq!(request.len(), 64);
        assert_eq!(ping.token().unwrap().to_be_bytes(), request[8..16]);
        let reply = reply(peer.contains(':'), &request);
        let at = Timestamp::from_millis(10_021);
        assert_eq!(ping.handle(received(peer, &reply), at), Handled::Taken);
        let report = report(ping.as_mut(), at);
        assert_eq!(report, Report::timed(Outcome::OK, Duration::from_millis(20)));
        assert_eq!(ping.handle(received(peer, &reply), at), Handled::Taken);
        assert_eq!(ping.poll(at, &mut Vec::new()), Step::End);
    }
}

#[test]
fn an_identifier_rewritten_by_the_kernel_does_not_matter() {
    let (mut ping, mut request) = ping(PEER[1]);
    request[4] ^= 0xff;
    let reply = reply(true, &request);
    assert_eq!(ping.handle(received(PEER[1], &reply), Timestamp::from_secs(11)), Handled::Taken);
}

#[test]
fn silence_is_lost_and_a_late_reply_is_known() {
    let (mut ping, request) = ping(PEER[0]);
    let late = Timestamp::from_millis(12_001);
    assert_eq!(report(ping.as_mut(), late), Report::new(Outcome::Lost(Reason::NoAnswer)));
    assert_eq!(ping.handle(received(PEER[0], &reply(false, &request)), late), Handled::Taken);
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let (mut ping, request) = ping(PEER[0]);
    let at = Timestamp::from_millis(10_021);
    let good = reply(false, &request);
    let flipped = |index: usize| {
        let mut bytes = request.clone();
        bytes[index] ^= 1;
        bytes[2..4].fill(0);
        let sum = pnet::packet::util::checksum(&bytes, 1);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        reply(false, &bytes)
    };
    let mine = |mismatch| Handled::NotMine(mismatch);
    assert_eq!(ping.handle(received("203.0.113.11", &good), at), mine(Mismatch::Source));
    assert_eq!(ping.handle(received(PEER[0], &flipped(8)), at), mine(Mismatch::Token));
    assert_eq!(ping.handle(received(PEER[0], &flipped(23)), at), mine(Mismatch::Token), "last of token");
    assert_eq!(ping.handle(received(PEER[0], &flipped(7)), at), mine(Mismatch::Token), "sequence");
    assert_eq!(ping.handle(received(PEER[0], &request), at), mine(Mismatch::Unexpected), "own request");
    assert_eq!(ping.handle(received(PEER[0], &good[..20]), at), mine(Mismatch::Malformed));
    let error = IcmpError::Unreachable(Reason::HostUnreachable);
    let other = flipped(9);
    let icmp = Event::Icmp { from: None, error, quoted: &other };
    assert_eq!(ping.handle(icmp, at), mine(Mismatch::Token));
    let short = Event::Icmp { from: None, error, quoted: &request[..15] };
    assert_eq!(ping.handle(short, at), mine(Mismatch::Token));
    assert!(matches!(ping.poll(at, &mut Vec::new()), Step::Wait(_)));
}

#[test]
fn an_error_that_quotes_us_is_a_refusal() {
    let at = Timestamp::from_millis(10_021);
    let router = Some("192.0.2.1".parse().unwrap());
    for (error, reason) in [
        (IcmpError::Unreachable(Reason::AdminProhibited), Reason::AdminProhibited),
        (IcmpError::TimeExceeded, Reason::HostUnreachable),
    ] {
        let (mut ping, request) = ping(PEER[0]);
        let event = Event::Icmp { from: router, error, quoted: &request[..16] };
        assert_eq!(ping.handle(event, at), Handled::Taken);
        let report = report(ping.as_mut(), at);
        assert_eq!(report.outcome, Outcome::Refused(reason));
        assert_eq!(report.findings.unwrap().details.get_text("icmp_from"), Some("192.0.2.1"));
    }
}

#[test]
fn too_big_is_remembered_and_waited_out() {
    let (mut ping, request) = ping(PEER[1]);
    let event = Event::Icmp { from: None, error: IcmpError::TooBig(1280), quoted: &request };
    assert_eq!(ping.handle(event, Timestamp::from_secs(11)), Handled::Taken);
    let report = report(ping.as_mut(), Timestamp::from_secs(13));
    assert_eq!(report.outcome, Outcome::Lost(Reason::NoAnswer));
    assert!(report.findings.unwrap().details.get("mtu").is_some());
}

#[test]
fn a_fault_of_ours_is_no_evidence() {
    let (mut ping, _) = ping(PEER[0]);
    ping.handle(Event::Failed(Fault::Permission), Timestamp::from_secs(11));
    let report = report(ping.as_mut(), Timestamp::from_secs(11));
    assert_eq!(report.outcome, Outcome::Unsent(Fault::Permission));
}

#[test]
fn the_size_is_the_configured_one_within_its_bounds() {
    for (size, expected) in [(0, 16), (16, 16), (1000, 1000), (u16::MAX, 65_507)] {
        let settings = All { icmp: Settings { size }, ..All::default() };
        let mut out = Vec::new();
        exchange("icmp", PEER[0], settings).poll(Timestamp::from_secs(10), &mut out);
        assert_eq!(out.len(), 8 + expected);
    }
}

#[test]
fn types_and_codes_mean_what_iana_says() {
    use IcmpError::{Other, TimeExceeded, TooBig, Unreachable};
    // IANA "ICMP Parameters" and "ICMPv6 Parameters".
    for (v6, ty, code, error) in [
        (false, 3, 0, Unreachable(Reason::NetUnreachable)),
        (false, 3, 1, Unreachable(Reason::HostUnreachable)),
        (false, 3, 3, Unreachable(Reason::PortUnreachable)),
        (false, 3, 4, TooBig(1400)),
        (false, 3, 9, Unreachable(Reason::AdminProhibited)),
        (false, 3, 10, Unreachable(Reason::AdminProhibited)),
        (false, 3, 13, Unreachable(Reason::AdminProhibited)),
        (false, 11, 0, TimeExceeded),
        (false, 11, 1, Other(11, 1)),
        (false, 12, 0, Other(12, 0)),
        (true, 1, 0, Unreachable(Reason::NetUnreachable)),
        (true, 1, 1, Unreachable(Reason::AdminProhibited)),
        (true, 1, 3, Unreachable(Reason::HostUnreachable)),
        (true, 1, 4, Unreachable(Reason::PortUnreachable)),
        (true, 1, 5, Unreachable(Reason::AdminProhibited)),
        (true, 2, 0, TooBig(1400)),
        (true, 3, 0, TimeExceeded),
        (true, 3, 1, Other(3, 1)),
    ] {
        assert_eq!(icmp_error(v6, ty, code, 1400), error);
    }
}
