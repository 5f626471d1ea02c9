//! A scripted network: routers 192.0.2.1, .2, …, and the destination behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::probe::{Kind, Settings as All};
use crate::probe::icmp::tests::exchange;
use crate::sample::Fault;
use crate::wire::icmp::{Echo, Message};

const PEER: &str = "203.0.113.10";

/// What a hop limit meets.
#[derive(Clone, Copy)]
enum Meets {
    Router(u8),
    Silence,
    /// A router that answers the second request only.
    Second(u8),
    Destination,
    Filter(u8),
}

/// Runs a trace to its end on a network in which hop `n` answers after `n` ms; the report, and hop limit,
/// time and bytes of each request.
fn run(max_hops: u8, network: impl Fn(u8) -> Meets) -> (Report, Vec<(u8, Timestamp, Vec<u8>)>) {
    let mut trace = exchange("trace", PEER, All { trace: Settings { max_hops, over: None }, ..All::default() });
    let mut now = Timestamp::from_secs(10);
    let mut sent: Vec<(u8, Timestamp, Vec<u8>)> = Vec::new();
    let mut coming: BTreeMap<(Timestamp, usize), u8> = BTreeMap::new();
    loop {
        let mut out = Vec::new();
        match trace.poll(now, &mut out) {
            Step::SendTtl(ttl) => {
                let tries = sent.iter().filter(|(earlier, ..)| *earlier == ttl).count();
                let silent = match network(ttl) {
                    Meets::Silence => true,
                    Meets::Second(_) => tries == 0,
                    _ => false,
                };
                if !silent {
                    coming.insert((now + Duration::from_millis(ttl.into()), sent.len()), ttl);
                }
                sent.push((ttl, now, out));
                trace.handle(Event::Sent, now);
            }
            Step::Wait(until) => match coming.pop_first() {
                Some(((at, index), ttl)) if at < until => {
                    now = at;
                    let quoted = &sent[index].2[..];
                    let handled = match network(ttl) {
                        Meets::Destination => {
                            let reply = reply(quoted);
                            let from = SocketAddr::new(PEER.parse().unwrap(), 0);
                            trace.handle(Event::Received { from, bytes: &reply }, at)
                        }
                        Meets::Router(n) | Meets::Second(n) => {
                            let error = IcmpError::TimeExceeded;
                            trace.handle(Event::Icmp { from: router(n), error, quoted: &quoted[..16] }, at)
                        }
                        Meets::Filter(n) => {
                            let error = IcmpError::Unreachable(Reason::AdminProhibited);
                            trace.handle(Event::Icmp { from: router(n), error, quoted }, at)
                        }
                        Meets::Silence => unreachable!(),
                    };
                    assert_eq!(handled, Handled::Taken);
                }
                other => {
                    if let Some((key, ttl)) = other {
                        coming.insert(key, ttl);
                    }
                    assert!(until > now);
                    now = until;
                }
            },
            Step::Report(report) => {
                assert!(now <= Timestamp::from_secs(20));
                if let Step::Wait(until) = trace.poll(now, &mut Vec::new()) {
                    assert!(until <= now + PATIENCE);
                    now = until;
                }
                assert_eq!(trace.poll(now, &mut Vec::new()), Step::End);
                return (report, sent);
            }
            step => panic!("{step:?}"),
        }
    }
}

fn reply(request: &[u8]) -> Vec<u8> {
    let Ok(Message::Echo(echo)) = Message::decode(false, request) else { panic!() };
    let mut out = Vec::new();
    Echo { reply: true, ..echo }.encode(false, &mut out);
    out
}

#[expect(clippy::unnecessary_wraps, reason = "as hops are compared")]
fn router(n: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, n]))
}

fn addresses(report: &Report) -> Vec<Option<IpAddr>> {
    let path = report.findings.as_ref().unwrap().path.as_ref().unwrap();
    path.hops.iter().map(HopSeen::address).collect()
}

#[test]
fn a_whole_path_is_found_with_one_request_a_hop() {
    let (report, sent) = run(30, |ttl| if ttl < 4 { Meets::Router(ttl) } else { Meets::Destination });
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(4))));
    assert_eq!(addresses(&report), [router(1), router(2), router(3), Some(PEER.parse().unwrap())]);
    let findings = report.findings.unwrap();
    let json = serde_json::to_value(&findings.details).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "over": "icmp",
            "hop_count": 4,
            "hops": ["1 192.0.2.1 1.0 ms", "2 192.0.2.2 2.0 ms", "3 192.0.2.3 3.0 ms", "4 203.0.113.10 4.0 ms"],
        })
    );
    assert!(sent.len() < 4 + LEAD, "hardly anything beyond the destination");
}

#[test]
fn all_requests_have_one_checksum_and_one_token() {
    let (_, sent) = run(30, |_| Meets::Silence);
    let trace = exchange("trace", PEER, All::default());
    for (_, _, request) in &sent {
        assert_eq!(request[2..6], sent[0].2[2..6], "checksum and identifier");
        assert_eq!(request[8..16], trace.token().unwrap().to_be_bytes());
        assert!(Message::decode(false, request).is_ok());
    }
    let mut sequences: Vec<_> = sent.iter().map(|(_, _, request)| &request[6..8]).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), sent.len());
}

#[test]
fn a_silent_hop_is_asked_twice_and_passed() {
    let (report, sent) = run(30, |ttl| match ttl {
        2 => Meets::Silence,
        3 => Meets::Second(3),
        5 => Meets::Destination,
        _ => Meets::Router(ttl),
    });
    assert_eq!(report.outcome, Outcome::OK);
    assert_eq!(addresses(&report)[..4], [router(1), None, router(3), router(4)]);
    for hop in [2, 3] {
        let times: Vec<_> = sent.iter().filter(|(ttl, ..)| *ttl == hop).map(|(_, at, _)| *at).collect();
        assert_eq!(times.len(), 2);
        assert!(times[1].since(times[0]) >= PATIENCE, "at most once a second");
    }
}

#[test]
fn a_dead_path_ends_after_five_silent_hops() {
    let (report, sent) = run(30, |ttl| if ttl < 3 { Meets::Router(ttl) } else { Meets::Silence });
    assert_eq!((report.outcome, report.rtt), (Outcome::Lost(Reason::NoAnswer), None));
    assert_eq!(addresses(&report), [router(1), router(2)]);
    assert_eq!(sent.iter().map(|(ttl, ..)| *ttl).max(), Some(7));
}

#[test]
fn a_path_longer_than_the_limit_is_lost() {
    let (report, _) = run(6, Meets::Router);
    assert_eq!(report.outcome, Outcome::Lost(Reason::NoAnswer));
    assert_eq!(addresses(&report).len(), 6);
}

#[test]
fn a_filter_that_speaks_is_named() {
    let (report, _) = run(30, |ttl| if ttl < 3 { Meets::Router(ttl) } else { Meets::Filter(3) });
    assert_eq!(report.outcome, Outcome::Refused(Reason::AdminProhibited));
    assert_eq!(addresses(&report), [router(1), router(2), router(3)]);
    let findings = report.findings.unwrap();
    assert_eq!(findings.details.get_text("icmp_from"), Some("192.0.2.3"));
}

#[test]
fn many_silent_routers_stay_within_the_limit() {
    let (report, _) = run(255, |ttl| if ttl % 5 == 0 { Meets::Router(ttl) } else { Meets::Silence });
    assert_eq!(report.outcome, Outcome::Lost(Reason::NoAnswer));
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let mut trace = exchange("trace", PEER, All::default());
    let (now, mut request) = (Timestamp::from_secs(10), Vec::new());
    assert_eq!(trace.poll(now, &mut request), Step::SendTtl(1));
    trace.handle(Event::Sent, now);
    let error = IcmpError::TimeExceeded;
    let mut icmp = |bytes: &[u8]| trace.handle(Event::Icmp { from: router(1), error, quoted: bytes }, now);
    assert_eq!(icmp(&request[..7]), Handled::NotMine(Mismatch::Malformed));
    let mut other = request.clone();
    other[8] ^= 1;
    assert_eq!(icmp(&other), Handled::NotMine(Mismatch::Token));
    let mut unsent = request.clone();
    unsent[7] = unsent[7].wrapping_add(2);
    assert_eq!(icmp(&unsent), Handled::NotMine(Mismatch::Token), "a hop not asked yet");
    let from = SocketAddr::new("203.0.113.11".parse().unwrap(), 0);
    let answer = reply(&request);
    let elsewhere = Event::Received { from, bytes: &answer };
    assert_eq!(trace.handle(elsewhere, now), Handled::NotMine(Mismatch::Source));
}

#[test]
fn a_fault_of_ours_is_no_evidence() {
    let mut trace = exchange("trace", PEER, All::default());
    let now = Timestamp::from_secs(10);
    trace.poll(now, &mut Vec::new());
    trace.handle(Event::Failed(Fault::Permission), now);
    let step = trace.poll(now, &mut Vec::new());
    assert_eq!(step, Step::Report(Report::new(Outcome::Unsent(Fault::Permission))));
}

/// RFC 792: the header and 64 bits are all that must be quoted.
#[test]
fn a_request_is_known_by_its_header_alone() {
    let mut trace = exchange("trace", PEER, All::default());
    assert!(trace.knows_headers());
    let (now, mut request) = (Timestamp::from_secs(10), Vec::new());
    trace.poll(now, &mut request);
    trace.handle(Event::Sent, now);
    let error = IcmpError::TimeExceeded;
    let mut other = request.clone();
    other[2] ^= 1;
    let icmp = |bytes| Event::Icmp { from: router(1), error, quoted: bytes };
    assert_eq!(trace.handle(icmp(&other[..8]), now), Handled::NotMine(Mismatch::Token), "checksum");
    assert_eq!(trace.handle(icmp(&request[..8]), now), Handled::Taken);
}

/// Begins a trace over a kind.
fn over(kind: &str) -> Box<dyn Exchange> {
    let kind = Kind::named(kind).unwrap();
    let carried = Spec {
        name: kind.name.to_owned(),
        kind,
        port: kind.port,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        full_interval: Duration::from_secs(3600),
        host: None,
        settings: std::sync::Arc::default(),
    };
    let settings = Settings { max_hops: 30, over: Some(Box::new(carried)) };
    exchange("trace", PEER, All { trace: settings, ..All::default() })
}

#[test]
fn every_carrier_tells_its_packets_apart_by_what_is_quoted() {
    for kind in ["ike", "ike_natt", "ikev1", "ikev1_natt"] {
        let mut trace = over(kind);
        let now = Timestamp::from_secs(10);
        let mut sent = Vec::new();
        loop {
            let mut out = Vec::new();
            match trace.poll(now, &mut out) {
                Step::SendTtl(ttl) => sent.push((ttl, out)),
                step => {
                    assert!(matches!(step, Step::Wait(_)), "{kind}: {step:?}");
                    break;
                }
            }
            trace.handle(Event::Sent, now);
        }
        assert_eq!(sent.iter().map(|(ttl, _)| *ttl).collect::<Vec<_>>(), [1, 2, 3, 4, 5], "{kind}");
        for (ttl, bytes) in sent.iter().rev() {
            let error = IcmpError::TimeExceeded;
            let at = now + Duration::from_millis((*ttl).into());
            let quoted = &bytes[..28.min(bytes.len())];
            let handled = trace.handle(Event::Icmp { from: router(*ttl), error, quoted }, at);
            assert_eq!(handled, Handled::Taken, "{kind} {ttl}");
        }
        let strange = Event::Icmp { from: router(9), error: IcmpError::TimeExceeded, quoted: &[7; 64] };
        assert_eq!(trace.handle(strange, now), Handled::NotMine(Mismatch::Token), "{kind}");
        let mut out = Vec::new();
        assert_eq!(trace.poll(now + Duration::from_millis(9), &mut out), Step::SendTtl(6), "{kind}");
    }
}

/// A TCP trace opens one connection at a time, from one port.
#[test]
fn tcp_is_traced_one_attempt_at_a_time() {
    let mut trace = over("tls");
    let mut now = Timestamp::from_secs(10);
    for ttl in 1..=3 {
        let step = trace.poll(now, &mut Vec::new());
        assert_eq!(step, Step::Open(Transport::Syn { port: 443, ttl }));
        assert!(matches!(trace.poll(now, &mut Vec::new()), Step::Wait(_)));
        now = now + Duration::from_millis(5);
        let event = match ttl {
            3 => Event::Connected,
            _ => Event::Icmp { from: router(ttl), error: IcmpError::TimeExceeded, quoted: &[1; 8] },
        };
        assert_eq!(trace.handle(event, now), Handled::Taken);
    }
    let Step::Report(report) = trace.poll(now, &mut Vec::new()) else { panic!() };
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(5))));
    assert_eq!(addresses(&report), [router(1), router(2), Some(PEER.parse().unwrap())]);
}

#[test]
fn a_routing_loop_is_seen() {
    let (report, _) = run(30, |ttl| Meets::Router(if ttl < 4 { ttl } else { 4 + ttl % 2 }));
    let path = report.findings.unwrap().path.unwrap();
    assert!(path.looping && path.end == PathEnd::Silent);
    let (report, _) = run(30, |ttl| if ttl < 9 { Meets::Router(ttl) } else { Meets::Destination });
    assert!(!report.findings.unwrap().path.unwrap().looping);
}
