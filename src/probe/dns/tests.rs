//! Vectors: questions of BIND's `dig` 9.18.49 (`+nocookie +noadflag`) and answers of unbound 1.17 on Linux,
//! written down by tcpdump.

use proptest::prelude::*;

use super::*;
use crate::entropy::Entropy;
use crate::probe::{IcmpError, Kind, Settings as All};
use crate::time::WallTime;

/// `dig +nsid +bufsize=1232 intranet.example.test A`, and its answer.
const QUERY: &str = "21350100000100000000000108696e7472616e6574076578616d706c650474657374000001000100002904d000000000000400030000";
const ANSWER: &str = "21358580000100010000000108696e7472616e6574076578616d706c6504746573740000010001c00c0001000100000e1000040a14000a00002904d0000000000000";
/// `dig nothing.example.test A`
const NXDOMAIN: &str = "5f6a85830001000000000001076e6f7468696e67076578616d706c650474657374000001000100002904d0000000000000";
/// `dig intranet.example.test MX`
const NODATA: &str = "be608580000100000000000108696e7472616e6574076578616d706c65047465737400000f000100002904d0000000000000";
/// `dig +noedns big.example.test TXT`, and its truncated answer.
const BIG: &str = "4fc20100000100000000000003626967076578616d706c6504746573740000100001";
const TRUNCATED: &str = "4fc28780000100000000000003626967076578616d706c6504746573740000100001";
/// `dig refused.example.test`
const REFUSED: &str = "3ba5858500010000000000010772656675736564076578616d706c650474657374000001000100002904d0000000000000";
/// `dig servfail.example.test`
const SERVFAIL: &str = "39988182000100000000000108736572766661696c076578616d706c650474657374000001000100002904d0000000000000";
/// `dig . NS`
const ROOT: &str = "c07c85850001000000000001000002000100002904d0000000000000";
/// `dig +tcp intranet.example.test AAAA`, the answer with its length.
const TCP_ANSWER: &str = "004ea2078580000100010000000108696e7472616e6574076578616d706c65047465737400001c0001c00c001c000100000e10001020010db800200000000000000000001000002904d0000000000000";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Always the same two bytes: the id of a vector.
struct Id([u8; 2]);

impl Entropy for Id {
    fn fill(&mut self, bytes: &mut [u8]) {
        for (byte, id) in bytes.iter_mut().zip(u16::from_be_bytes(self.0).to_ne_bytes()) {
            *byte = id;
        }
    }
}

const PEER: &str = "203.0.113.10";

fn asking(name: Option<&str>, record: RecordType) -> Settings {
    Settings { name: name.map(str::to_owned), record, ..Settings::default() }
}

fn begun(settings: Settings, id: &[u8]) -> Box<dyn Exchange> {
    let kind = Kind::named("dns").unwrap();
    let spec = Spec {
        name: "dns".to_owned(),
        kind,
        port: 53,
        interval: kind.interval,
        timeout: Duration::from_secs(2),
        full_interval: kind.interval,
        host: None,
        settings: std::sync::Arc::new(All { dns: settings, ..All::default() }),
    };
    let start = Start {
        now: Timestamp::from_secs(10),
        wall: WallTime::default(),
        peer: PEER.parse().unwrap(),
        local: None,
        timeout: spec.timeout,
        form: &(kind.forms)(&spec)[0],
        token: 0,
        entropy: &mut Id([id[0], id[1]]),
    };
    (kind.begin)(&spec, start)
}

/// Begins an exchange over UDP, with the id of the answer to come; the question as sent at 10 s.
fn asked(settings: Settings, answer: &[u8]) -> (Box<dyn Exchange>, Vec<u8>) {
    let mut ask = begun(settings, answer);
    assert_eq!(ask.transport(), Transport::Udp { port: 53, connected: true });
    let mut out = Vec::new();
    assert_eq!(ask.poll(Timestamp::from_secs(10), &mut out), Step::Send);
    ask.handle(Event::Sent, Timestamp::from_secs(10));
    let wait = Step::Wait(Timestamp::from_secs(12));
    assert_eq!(ask.poll(Timestamp::from_secs(10), &mut Vec::new()), wait);
    (ask, out)
}

fn at() -> Timestamp {
    Timestamp::from_millis(10_007)
}

fn received(bytes: &[u8]) -> Event<'_> {
    Event::Received { from: "203.0.113.10:53".parse().unwrap(), bytes }
}

fn report(ask: &mut dyn Exchange, now: Timestamp) -> Report {
    let Step::Report(report) = ask.poll(now, &mut Vec::new()) else { panic!("no report") };
    assert_eq!(ask.poll(now, &mut Vec::new()), Step::End);
    report
}

fn judged(settings: Settings, answer: &[u8]) -> Report {
    let (mut ask, _) = asked(settings, answer);
    assert_eq!(ask.handle(received(answer), at()), Handled::Taken);
    let report = report(ask.as_mut(), at());
    assert_eq!(report.rtt, Some(Duration::from_millis(7)));
    report
}

fn text<'a>(report: &'a Report, key: &str) -> Option<&'a str> {
    report.findings.as_ref()?.details.get_text(key)
}

fn intranet() -> Settings {
    asking(Some("intranet.example.test"), RecordType::A)
}

#[test]
fn the_question_is_digs() {
    assert_eq!(asked(intranet(), &bytes(QUERY)).1, bytes(QUERY));
    let settings = Settings { edns: false, ..asking(Some("big.example.test."), RecordType::TXT) };
    assert_eq!(asked(settings, &bytes(BIG)).1, bytes(BIG));
}

#[test]
fn an_answer_is_an_answer() {
    let report = judged(intranet(), &bytes(ANSWER));
    assert_eq!(report.outcome, Outcome::OK);
    let json = serde_json::to_value(&report.findings.unwrap().details).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "rcode": "NOERROR", "authoritative": true, "edns_payload": 1232,
            "answers": ["intranet.example.test. A 10.20.0.10"],
        })
    );
}

#[test]
fn every_no_is_told_apart() {
    let a = |name| asking(Some(name), RecordType::A);
    for (settings, answer, reason, rcode) in [
        (a("nothing.example.test"), NXDOMAIN, Reason::Nxdomain, "NXDOMAIN"),
        (asking(Some("intranet.example.test"), RecordType::MX), NODATA, Reason::Nodata, "NOERROR"),
        (a("refused.example.test"), REFUSED, Reason::DnsRefused, "REFUSED"),
        (a("servfail.example.test"), SERVFAIL, Reason::Servfail, "SERVFAIL"),
        (asking(None, RecordType::A), ROOT, Reason::DnsRefused, "REFUSED"),
    ] {
        let report = judged(settings, &bytes(answer));
        assert_eq!(report.outcome, Outcome::Refused(reason));
        assert_eq!(text(&report, "rcode"), Some(rcode));
    }
}

#[test]
fn only_expected_addresses_will_do() {
    let expecting = |addresses: &[&str]| Settings {
        expect: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ..intranet()
    };
    let answer = bytes(ANSWER);
    assert_eq!(judged(expecting(&["10.20.0.10", "10.20.0.11"]), &answer).outcome, Outcome::OK);
    let wrong = judged(expecting(&["10.20.0.11"]), &answer);
    assert_eq!(wrong.outcome, Outcome::Refused(Reason::WrongAnswer));
}

#[test]
fn a_server_that_cannot_read_edns_says_so_with_or_without_the_question() {
    // RFC 6891 (7): FORMERR, often the bare header.
    for answer in ["213580810000000000000000", "21358081000100000000000008696e7472616e6574076578616d706c6504746573740000010001"]
    {
        let report = judged(intranet(), &bytes(answer));
        assert_eq!(report.outcome, Outcome::Refused(Reason::ProtocolError));
        assert_eq!(text(&report, "rcode"), Some("FORMERR"));
    }
}

#[test]
fn nsid_and_extended_errors_are_told() {
    // ANSWER with options NSID "ns1" (RFC 5001) and EDE 15 "Blocked" (RFC 8914, 2).
    let mut answer = bytes(ANSWER);
    answer.truncate(answer.len() - 2);
    answer.extend(bytes("0014000300036e7331000f0009000f426c6f636b6564"));
    let report = judged(intranet(), &answer);
    assert_eq!((text(&report, "nsid"), text(&report, "ede")), (Some("ns1"), Some("15 Blocked")));
}

#[test]
fn the_question_may_come_back_in_other_letters() {
    let mut answer = bytes(ANSWER);
    answer[13..21].make_ascii_uppercase();
    assert_eq!(judged(intranet(), &answer).outcome, Outcome::OK);
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let answer = bytes(ANSWER);
    let (mut ask, question) = asked(intranet(), &answer);
    let changed = |index: usize, to: u8| {
        let mut bytes = answer.clone();
        bytes[index] = to;
        bytes
    };
    for (bytes, why) in [
        (changed(0, 0x22), Mismatch::Token),
        (changed(13, b'x'), Mismatch::Token),
        (changed(36, 28), Mismatch::Token),
        (changed(38, 3), Mismatch::Token),
        (changed(5, 2), Mismatch::Token),
        (changed(5, 0), Mismatch::Token),
        (changed(2, 0xa5), Mismatch::Unexpected),
        (question, Mismatch::Unexpected),
        (answer[..11].to_vec(), Mismatch::Malformed),
        (answer[..38].to_vec(), Mismatch::Token),
    ] {
        assert_eq!(ask.handle(received(&bytes), at()), Handled::NotMine(why));
    }
    let elsewhere = Event::Received { from: "203.0.113.11:53".parse().unwrap(), bytes: &answer };
    assert_eq!(ask.handle(elsewhere, at()), Handled::NotMine(Mismatch::Source));
    assert!(matches!(ask.poll(at(), &mut Vec::new()), Step::Wait(_)));
    assert_eq!(ask.handle(received(&answer), at()), Handled::Taken);
    assert_eq!(report(ask.as_mut(), at()).outcome, Outcome::OK);
    assert_eq!(ask.handle(received(&answer), at()), Handled::Taken, "a duplicate");
}

#[test]
fn every_prefix_is_not_ours_or_an_error() {
    let answer = bytes(ANSWER);
    for end in 0..answer.len() {
        let (mut ask, _) = asked(intranet(), &answer);
        match ask.handle(received(&answer[..end]), at()) {
            Handled::NotMine(_) => assert!(end < 39),
            Handled::Taken => {
                let outcome = report(ask.as_mut(), at()).outcome;
                assert_eq!(outcome, Outcome::Refused(Reason::ProtocolError), "{end}");
            }
        }
    }
}

#[test]
fn silence_and_icmp_and_our_own_faults() {
    let (mut ask, _) = asked(intranet(), &bytes(ANSWER));
    let late = Timestamp::from_secs(12);
    assert_eq!(report(ask.as_mut(), late), Report::new(Outcome::Lost(Reason::NoAnswer)));
    assert_eq!(ask.handle(received(&bytes(ANSWER)), late), Handled::Taken, "late");

    let (mut ask, _) = asked(intranet(), &bytes(ANSWER));
    let error = IcmpError::Unreachable(Reason::PortUnreachable);
    ask.handle(Event::Icmp { from: None, error, quoted: &[] }, at());
    assert_eq!(report(ask.as_mut(), at()).outcome, Outcome::Refused(Reason::PortUnreachable));

    let (mut ask, _) = asked(intranet(), &bytes(ANSWER));
    ask.handle(Event::Failed(Fault::LocalFirewall), at());
    assert_eq!(report(ask.as_mut(), at()).outcome, Outcome::Unsent(Fault::LocalFirewall));

    let mut ask = begun(asking(Some(&"x".repeat(64)), RecordType::A), &[0, 0]);
    assert_eq!(report(ask.as_mut(), at()).outcome, Outcome::Unsent(Fault::Internal));
}

/// A TCP exchange, connected after 3 ms, its question sent at 10.003 s.
fn connected(id: &[u8]) -> (Box<dyn Exchange>, Vec<u8>) {
    let settings = Settings { transport: Via::Tcp, ..asking(Some("intranet.example.test"), RecordType::AAAA) };
    let mut ask = begun(settings, id);
    assert_eq!(ask.transport(), Transport::Tcp { port: 53 });
    let mut out = Vec::new();
    assert_eq!(ask.poll(Timestamp::from_secs(10), &mut out), Step::Wait(Timestamp::from_secs(12)));
    let now = Timestamp::from_millis(10_003);
    ask.handle(Event::Connected, now);
    assert_eq!(ask.poll(now, &mut out), Step::Send);
    ask.handle(Event::Sent, now);
    (ask, out)
}

#[test]
fn over_tcp_an_answer_may_come_in_pieces() {
    let answer = bytes(TCP_ANSWER);
    let (mut ask, question) = connected(&answer[2..]);
    assert_eq!(usize::from(u16::from_be_bytes([question[0], question[1]])), question.len() - 2);
    for (index, byte) in answer.iter().enumerate() {
        assert!(matches!(ask.poll(at(), &mut Vec::new()), Step::Wait(_)), "{index}");
        ask.handle(received(&[*byte]), at());
    }
    let report = report(ask.as_mut(), at());
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(4))));
    let phases = [(Phase::Connect, Duration::from_millis(3)), (Phase::FirstByte, Duration::from_millis(4))];
    assert_eq!(report.phases, phases);
}

#[test]
fn over_tcp_each_end_is_told_apart() {
    let (mut ask, _) = connected(&[0xa2, 0x07]);
    ask.handle(Event::Closed, at());
    assert_eq!(report(ask.as_mut(), at()).outcome, Outcome::Refused(Reason::ConnectionReset));

    let (mut ask, _) = connected(&[0, 0]);
    ask.handle(received(&bytes(TCP_ANSWER)), at());
    let outcome = report(ask.as_mut(), at()).outcome;
    assert_eq!(outcome, Outcome::Refused(Reason::ProtocolError), "another id");

    let settings = Settings { transport: Via::Tcp, ..intranet() };
    let mut ask = begun(settings, &[0, 0]);
    ask.handle(Event::Reset, at());
    assert_eq!(report(ask.as_mut(), at()).outcome, Outcome::Refused(Reason::ConnectionRefused));
}

/// A truncated answer over UDP, and the connection asked for.
fn truncated() -> Box<dyn Exchange> {
    let (mut ask, _) = asked(asking(Some("big.example.test"), RecordType::TXT), &bytes(TRUNCATED));
    assert_eq!(ask.handle(received(&bytes(TRUNCATED)), at()), Handled::Taken);
    let tcp = Transport::Tcp { port: 53 };
    assert_eq!(ask.poll(at(), &mut Vec::new()), Step::Open(tcp));
    assert_eq!(ask.poll(at(), &mut Vec::new()), Step::Wait(at() + Duration::from_secs(2)));
    assert_eq!(ask.transport(), tcp);
    ask
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let mut ask = truncated();
    let now = Timestamp::from_millis(10_020);
    ask.handle(Event::Connected, now);
    let mut out = Vec::new();
    assert_eq!(ask.poll(now, &mut out), Step::Send);
    assert_eq!(out[2..4], [0x4f, 0xc2]);
    ask.handle(Event::Sent, now);
    // The whole of it: one TXT record, by RFC 1035 (3.3.14).
    let mut answer = bytes("4fc28580000100010000000003626967076578616d706c6504746573740000100001");
    answer.extend(bytes("c00c0010000100000e10000302686900"));
    answer.truncate(answer.len() - 1);
    let mut stream = u16::try_from(answer.len()).unwrap().to_be_bytes().to_vec();
    stream.extend(&answer);
    ask.handle(received(&stream), now + Duration::from_millis(1));
    let report = report(ask.as_mut(), now);
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(7))), "of UDP");
    assert!(report.findings.unwrap().details.is("truncated"));
}

#[test]
fn truncated_and_then_no_tcp_is_an_answer_that_is_bad_for_the_user() {
    let mut ask = truncated();
    let report = report(ask.as_mut(), Timestamp::from_secs(13));
    assert_eq!(report.outcome, Outcome::Answered(Some(Reason::NoAnswer)));
    assert_eq!(report.rtt, Some(Duration::from_millis(7)));
    let mut ask = truncated();
    ask.handle(Event::Reset, at());
    assert_eq!(super::tests::report(ask.as_mut(), at()).outcome, Outcome::Answered(Some(Reason::ConnectionRefused)));
}

#[test]
fn hostile_messages_are_bounded() {
    // Counts that the bytes cannot hold.
    let mut answer = bytes(ANSWER);
    answer[6..8].fill(0xff);
    let report = judged(intranet(), &answer);
    assert_eq!(report.outcome, Outcome::Refused(Reason::ProtocolError));
    // A name that points at itself.
    let mut answer = bytes(ANSWER);
    answer[39..41].copy_from_slice(&[0xc0, 39]);
    let report = judged(intranet(), &answer);
    assert_eq!(report.outcome, Outcome::Refused(Reason::ProtocolError));
    // As many records as a message holds, their names all one pointer: kept to what a report may hold.
    let mut answer = bytes("213585800001109a0000000008696e7472616e6574076578616d706c6504746573740000010001");
    for _ in 0..0x109a {
        answer.extend(bytes("c00c00010001000000000000"));
    }
    let _ = judged(intranet(), &answer);
}

proptest! {
    #[test]
    fn no_bytes_panic(mut tail in prop::collection::vec(any::<u8>(), 0..400), flags: u8, counts: [u8; 3]) {
        // An answer to our question whose rest is anything.
        let mut answer = bytes("21358580000100000000000008696e7472616e6574076578616d706c6504746573740000010001");
        answer[3] = flags;
        for (index, count) in counts.iter().enumerate() {
            answer[7 + 2 * index] = *count % 8;
        }
        answer.append(&mut tail);
        let (mut ask, _) = asked(intranet(), &answer);
        prop_assert_eq!(ask.handle(received(&answer), at()), Handled::Taken);
    }

    #[test]
    fn no_stream_panics(stream in prop::collection::vec(any::<u8>(), 0..400)) {
        let (mut ask, _) = connected(&[0, 0]);
        ask.handle(received(&stream), at());
        let _ = ask.poll(at(), &mut Vec::new());
    }
}

fn viewed(view: View, settings: Settings, answer: &str) -> Report {
    judged(Settings { view, ..settings }, &bytes(answer))
}

fn flag(report: &Report, key: &str) -> Option<bool> {
    match report.findings.as_ref()?.details.get(key) {
        Some(crate::sample::Detail::Flag(flag)) => Some(*flag),
        _ => None,
    }
}

#[test]
fn each_view_has_its_own_good_answer() {
    let wrong = Outcome::Refused(Reason::WrongAnswer);
    let nothing = || asking(Some("nothing.example.test"), RecordType::A);
    let refused = || asking(Some("refused.example.test"), RecordType::A);
    let servfail = || asking(Some("servfail.example.test"), RecordType::A);
    // intranet.example.test has 10.20.0.10.
    let report = viewed(View::Inside, intranet(), ANSWER);
    assert_eq!((report.outcome, flag(&report, "inside_answer")), (Outcome::OK, Some(true)));
    assert_eq!(viewed(View::Inside, nothing(), NXDOMAIN).outcome, Outcome::Refused(Reason::Nxdomain));
    let report = viewed(View::Leak, intranet(), ANSWER);
    assert_eq!((report.outcome, flag(&report, "name_leak")), (wrong, Some(true)));
    for (settings, answer) in [(nothing(), NXDOMAIN), (refused(), REFUSED)] {
        let report = viewed(View::Leak, settings, answer);
        assert_eq!((report.outcome, flag(&report, "name_leak")), (Outcome::OK, Some(false)));
        assert_eq!(flag(&report, "known_outside"), Some(false));
    }
    for view in [View::Leak, View::Inside] {
        let report = viewed(view, servfail(), SERVFAIL);
        assert_eq!(report.outcome, Outcome::Refused(Reason::Servfail), "{view}");
        assert_eq!((flag(&report, "name_leak"), flag(&report, "hijacked")), (None, None));
    }
    let report = viewed(View::Intercept, intranet(), ANSWER);
    assert_eq!((report.outcome, flag(&report, "intercepted")), (wrong, Some(true)));
}

/// The vectors' answer to the random name that is asked, by replacing the question.
#[test]
fn a_random_name_must_not_exist() {
    let settings = Settings { view: View::Hijack, ..asking(Some("example.test"), RecordType::A) };
    for (vector, outcome, hijacked) in [
        (NXDOMAIN, Outcome::OK, Some(false)),
        (ANSWER, Outcome::Refused(Reason::WrongAnswer), Some(true)),
        (REFUSED, Outcome::Refused(Reason::DnsRefused), None),
    ] {
        let vector = bytes(vector);
        let (mut ask, query) = asked(settings.clone(), &vector);
        // A label of 16 digits below the zone, its question after the header.
        assert_eq!((query[12], &query[29..42]), (16, &b"\x07example\x04test"[..]));
        let end = 12 + vector[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
        let answer = [&vector[..12], &query[12..47], &vector[end..]].concat();
        assert_eq!(ask.handle(received(&answer), at()), Handled::Taken);
        let report = report(ask.as_mut(), at());
        assert_eq!((report.outcome, flag(&report, "hijacked")), (outcome, hijacked));
        assert!(text(&report, "asked").unwrap().ends_with(".example.test."));
    }
    // Below `invalid` if no zone is named.
    let (_, query) = asked(Settings { view: View::Hijack, ..Settings::default() }, &bytes(NXDOMAIN));
    assert_eq!(&query[29..38], b"\x07invalid\0");
}

#[test]
fn silence_where_no_resolver_is_proves_nothing() {
    let (mut ask, _) = asked(Settings { view: View::Intercept, ..intranet() }, &bytes(ANSWER));
    let report = report(ask.as_mut(), Timestamp::from_secs(12));
    assert_eq!(report, Report::new(Outcome::Unsent(Fault::ExpectedSilence)));
}

#[test]
fn public_addresses_are_no_inside_answer() {
    let public: IpAddr = "198.51.100.7".parse().unwrap();
    let inside: Vec<IpAddr> = ["10.0.0.1", "172.31.0.1", "192.168.9.9", "100.64.0.1", "fd00::1"]
        .map(|address| address.parse().unwrap())
        .to_vec();
    let judge = |addresses: &[IpAddr], pinned| {
        view::judge(View::Inside, Outcome::OK, addresses, pinned, &mut Details::default())
    };
    assert_eq!(judge(&inside, false), Outcome::OK);
    assert_eq!(judge(&[inside[0], public], false), Outcome::Refused(Reason::WrongAnswer));
    assert_eq!(judge(&[public], true), Outcome::OK, "it is one of those expected");
    let mut details = Details::default();
    let leak = view::judge(View::Leak, Outcome::OK, &[public], false, &mut details);
    // Another host of that name, or a wildcard: known outside, and yet no inside address told.
    assert_eq!((leak, details.is("name_leak"), details.is("known_outside")), (Outcome::Refused(Reason::WrongAnswer), false, true));
}
