//! Real handshakes in memory against rustls's server, and peers that are none.

use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};

use std::sync::Arc;

use super::*;
use crate::probe::{Event, Handled, Step, Transport};
use crate::sample::{Fault, Outcome};
use crate::time::Timestamp;
use crate::probe::certificate::tests::{Authority, NAME, NOW};
use crate::probe::{IcmpError, Kind, Settings as All};
use crate::entropy::Generator;

const MILLI: Duration = Duration::from_millis(1);

fn begun(settings: Settings, host: Option<&str>) -> Box<dyn Exchange> {
    let kind = Kind::named("tls").unwrap();
    let spec = Spec {
        name: "tls".to_owned(),
        kind,
        port: 443,
        interval: kind.interval,
        timeout: Duration::from_secs(2),
        full_interval: kind.interval,
        host: host.map(str::to_owned),
        settings: std::sync::Arc::new(All { tls: settings, ..All::default() }),
    };
    let start = Start {
        now: Timestamp::from_secs(10),
        wall: NOW,
        peer: "203.0.113.10".parse().unwrap(),
        local: None,
        timeout: spec.timeout,
        form: &FORMS[0],
        token: 0,
        entropy: &mut Generator::seeded(1),
    };
    (kind.begin)(&spec, start)
}

/// A clock that a test moves, and an exchange on it.
struct Run {
    exchange: Box<dyn Exchange>,
    now: Timestamp,
    report: Option<Report>,
    ended: bool,
}

impl Run {
    fn new(settings: Settings, host: Option<&str>) -> Self {
        let exchange = begun(settings, host);
        assert_eq!(exchange.transport(), Transport::Tcp { port: 443 });
        let mut run = Self { exchange, now: Timestamp::from_secs(10), report: None, ended: false };
        assert_eq!(run.poll(), b"");
        run
    }

    /// As the driver does: until it waits or ends; the bytes it sent meanwhile.
    fn poll(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        loop {
            let mut out = Vec::new();
            match self.exchange.poll(self.now, &mut out) {
                Step::Send => {
                    sent.append(&mut out);
                    self.exchange.handle(Event::Sent, self.now);
                }
                Step::Report(report) => assert!(self.report.replace(report).is_none(), "reported twice"),
                Step::End => {
                    self.ended = true;
                    return sent;
                }
                Step::Wait(deadline) => {
                    assert_eq!(deadline, Timestamp::from_secs(12));
                    return sent;
                }
                step => panic!("{step:?}"),
            }
        }
    }

    fn event(&mut self, event: Event<'_>) -> Vec<u8> {
        self.now = self.now + MILLI;
        assert_eq!(self.exchange.handle(event, self.now), Handled::Taken);
        self.poll()
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.event(Event::Received { from: "203.0.113.10:443".parse().unwrap(), bytes })
    }

    fn report(self) -> Report {
        assert!(self.ended, "not at its end");
        self.report.unwrap()
    }
}

/// A whole exchange with a server, which gets what is sent at the end, too. The stream is cut into
/// pieces of `piece` bytes.
fn against(config: ServerConfig, settings: Settings, host: Option<&str>, piece: usize) -> (Report, ServerConnection) {
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let mut run = Run::new(settings, host);
    let mut to_server = run.event(Event::Connected);
    for _ in 0..6 {
        if !to_server.is_empty() {
            server.read_tls(&mut &to_server[..]).unwrap();
            let _ = server.process_new_packets();
        }
        to_server.clear();
        let mut to_client = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut to_client).unwrap();
        }
        for part in to_client.chunks(piece) {
            to_server.extend(run.bytes(part));
        }
    }
    (run.report(), server)
}

fn text<'a>(report: &'a Report, key: &str) -> Option<&'a str> {
    report.findings.as_ref().unwrap().details.get_text(key)
}

#[test]
fn handshakes_end_well_and_politely() {
    let root = Authority::root();
    let server = root.server((2026, 1, 1), (2027, 1, 1));
    for (version, name, phase) in [(&TLS13, "TLS 1.3", 1), (&TLS12, "TLS 1.2", 2)] {
        let settings = Settings { roots: root.roots(), alpn: vec!["http/1.1".to_owned()], ..Settings::default() };
        let mut config = server.config(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (report, mut server) = against(config, settings, Some(NAME), usize::MAX);
        assert_eq!(report.outcome, Outcome::OK);
        assert_eq!(report.rtt, Some(MILLI), "to the first byte");
        assert_eq!(report.phases, [(Phase::Connect, MILLI), (Phase::Handshake, MILLI * phase)]);
        assert_eq!(text(&report, "tls_version"), Some(name));
        assert_eq!(text(&report, "alpn"), Some("http/1.1"));
        assert!(text(&report, "cipher_suite").unwrap().starts_with("TLS"));
        assert_eq!(text(&report, "not_after"), Some("2027-01-01T00:00:00Z"));
        assert_eq!(server.server_name(), Some(NAME), "SNI");
        assert!(server.process_new_packets().unwrap().peer_has_closed(), "close_notify");
    }
}

#[test]
fn a_stream_in_single_bytes_is_the_same() {
    let root = Authority::root();
    let config = root.server((2026, 1, 1), (2027, 1, 1)).config(&[&TLS13]);
    let mut run = Run::new(Settings { roots: root.roots(), ..Settings::default() }, Some(NAME));
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let hello = run.event(Event::Connected);
    server.read_tls(&mut &hello[..]).unwrap();
    server.process_new_packets().unwrap();
    let mut flight = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut flight).unwrap();
    }
    // The clock of this test would pass the deadline, so it stands still.
    for byte in &flight {
        let event = Event::Received { from: "203.0.113.10:443".parse().unwrap(), bytes: &[*byte] };
        run.exchange.handle(event, run.now);
        run.poll();
    }
    assert_eq!(run.report().outcome, Outcome::OK);
}

#[test]
fn a_bad_certificate_is_an_answer_with_its_reason() {
    let root = Authority::root();
    let settings = || Settings { roots: root.roots(), ..Settings::default() };
    for version in [&TLS12, &TLS13] {
        let expired = root.server((2020, 1, 1), (2021, 1, 1)).config(&[version]);
        let (report, _) = against(expired, settings(), Some(NAME), usize::MAX);
        assert_eq!(report.outcome, Outcome::Answered(Some(Reason::CertExpired)));
        assert_eq!(report.rtt, Some(MILLI));
        assert_eq!(report.phases.len(), 2);
    }
    let server = root.server((2026, 1, 1), (2027, 1, 1));
    let (report, _) = against(server.config(&[&TLS13]), settings(), Some("x.test"), usize::MAX);
    assert_eq!(report.outcome, Outcome::Answered(Some(Reason::CertNameMismatch)));
    // A literal address has no name to match, and no SNI is sent.
    let (report, connection) = against(server.config(&[&TLS13]), settings(), None, usize::MAX);
    assert_eq!((report.outcome, connection.server_name()), (Outcome::OK, None));
    // A configured name wins over the target's.
    let settings = Settings { server_name: Some(NAME.to_owned()), ..settings() };
    let (report, _) = against(server.config(&[&TLS13]), settings, Some("x.test"), usize::MAX);
    assert_eq!(report.outcome, Outcome::OK);
}

#[test]
fn a_server_that_demands_a_client_certificate_is_alive() {
    let root = Authority::root();
    let server = root.server((2026, 1, 1), (2027, 1, 1));
    for version in [&TLS12, &TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(root.pem.as_bytes()).unwrap();
        roots.add(der).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let config = server.config_with(&[version], verifier);
        let settings = Settings { roots: root.roots(), ..Settings::default() };
        let (report, _) = against(config, settings, Some(NAME), usize::MAX);
        assert_eq!(report.outcome, Outcome::OK, "{version:?}");
        assert!(report.findings.unwrap().details.is("client_certificate_requested"));
    }
}

/// What the exchange makes of these bytes as the first that a server says.
fn first_words(bytes: &[u8]) -> Report {
    let mut run = Run::new(Settings::default(), Some(NAME));
    assert_eq!(run.event(Event::Connected).first(), Some(&22));
    run.bytes(bytes);
    run.report()
}

#[test]
fn alerts_are_answers() {
    // RFC 8446 (6): alert record, fatal, description.
    for (description, reason, name) in [
        (40, Reason::TlsLegacy, "handshake_failure"),
        (70, Reason::TlsLegacy, "protocol_version"),
        (71, Reason::TlsLegacy, "insufficient_security"),
        (80, Reason::TlsAlert, "internal_error"),
        (112, Reason::TlsAlert, "unrecognized_name"),
        (49, Reason::TlsAlert, "access_denied"),
    ] {
        let report = first_words(&[21, 3, 3, 0, 2, 2, description]);
        assert_eq!(report.outcome, Outcome::Refused(reason));
        assert_eq!(text(&report, "alert"), Some(name));
        assert_eq!(report.rtt, Some(MILLI));
        assert_eq!(report.phases, [(Phase::Connect, MILLI)]);
    }
}

#[test]
fn an_older_version_is_legacy() {
    // A ServerHello of TLS 1.0 (RFC 2246, 7.4.1.3): random, no session, RSA with AES-128-CBC-SHA.
    let mut hello = vec![22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    let report = first_words(&hello);
    assert_eq!(report.outcome, Outcome::Refused(Reason::TlsLegacy));
}

#[test]
fn other_services_and_nonsense_are_protocol_errors() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2p1\r\n", &[22, 3, 3, 0xff, 0xff, 2]] {
        let report = first_words(bytes);
        assert_eq!(report.outcome, Outcome::Refused(Reason::ProtocolError), "{bytes:?}");
    }
}

#[test]
fn a_flood_is_cut_off() {
    let mut run = Run::new(Settings::default(), Some(NAME));
    run.event(Event::Connected);
    // A handshake message that claims 64 KiB, in whole records.
    let mut record = vec![22, 3, 3, 0x40, 0, 11, 0, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut more = vec![22, 3, 3, 0x40, 0];
    more.resize(5 + 0x4000, 0);
    run.bytes(&record);
    for _ in 0..8 {
        if !run.ended {
            run.bytes(&more);
        }
    }
    assert_eq!(run.report().outcome, Outcome::Refused(Reason::ProtocolError));
}

#[test]
fn a_closed_connection_is_reset_and_a_refused_one_refused() {
    let mut run = Run::new(Settings::default(), Some(NAME));
    run.event(Event::Reset);
    assert_eq!(run.report(), Report::new(Outcome::Refused(Reason::ConnectionRefused)));
    for event in [Event::Closed, Event::Reset] {
        let mut run = Run::new(Settings::default(), Some(NAME));
        run.event(Event::Connected);
        assert_eq!(run.event(event), b"", "nothing can be sent any more");
        let report = run.report();
        assert_eq!((report.outcome, report.rtt), (Outcome::Refused(Reason::ConnectionReset), None));
    }
}

#[test]
fn silence_is_lost_at_either_stage() {
    let error = IcmpError::Unreachable(Reason::HostUnreachable);
    let icmp = Event::Icmp { from: None, error, quoted: &[] };

    let mut run = Run::new(Settings::default(), Some(NAME));
    run.now = Timestamp::from_secs(12);
    run.poll();
    assert_eq!(run.report(), Report::new(Outcome::Lost(Reason::NoAnswer)));

    let mut run = Run::new(Settings::default(), Some(NAME));
    run.event(icmp);
    assert_eq!(run.report().outcome, Outcome::Refused(Reason::HostUnreachable));

    let mut run = Run::new(Settings::default(), Some(NAME));
    run.event(Event::Connected);
    run.now = Timestamp::from_secs(12);
    run.poll();
    let report = run.report();
    assert_eq!(report.outcome, Outcome::Lost(Reason::NoAnswer));
    assert_eq!(report.phases, [(Phase::Connect, MILLI)]);
    assert_eq!(text(&report, "waited_for"), Some("server_hello"));

    // On an open connection an ICMP error only explains a silence.
    let mut run = Run::new(Settings::default(), Some(NAME));
    run.event(Event::Connected);
    run.event(icmp);
    assert!(run.report.is_none());
    run.now = Timestamp::from_secs(12);
    run.poll();
    assert_eq!(run.report().outcome, Outcome::Refused(Reason::HostUnreachable));
}

#[test]
fn a_name_that_is_none_is_our_own_fault() {
    let mut exchange = begun(Settings::default(), Some("not a name"));
    let step = exchange.poll(Timestamp::from_secs(10), &mut Vec::new());
    assert_eq!(step, Step::Report(Report::new(Outcome::Unsent(Fault::Internal))));
    assert_eq!(exchange.poll(Timestamp::from_secs(10), &mut Vec::new()), Step::End);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..400), header: bool) {
        let mut stream = if header { vec![22, 3, 3, 1, 0, 2] } else { Vec::new() };
        stream.extend(bytes);
        let mut run = Run::new(Settings::default(), Some(NAME));
        run.event(Event::Connected);
        run.bytes(&stream);
        if let Some(report) = run.report {
            proptest::prop_assert!(matches!(report.outcome, Outcome::Refused(_)));
        }
    }
}
