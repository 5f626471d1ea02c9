//! Confirmations of scripted servers, and real TLS after them.

use super::*;
use crate::probe::Settings as All;
use crate::probe::certificate::tests::{Authority, NAME};
use crate::probe::conversation::tests::{MILLI, Server, Talk, detail, spec, talk};

/// MS-RDPBCGR 4.1.1, without the cookie: what must be said first.
const REQUEST: [u8; 19] = [3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 11, 0, 0, 0];

fn negotiate(settings: Settings, server: &Server, confirm: &'static [u8]) -> Talk {
    let spec = spec("rdp", Some(NAME), All { rdp: settings, ..All::default() });
    talk(&spec, 0, server, |said| {
        assert_eq!(said, REQUEST);
        Some(confirm.to_vec())
    })
}

fn confirmed(confirm: &'static [u8]) -> Report {
    negotiate(Settings::default(), &Server::CLEAR, confirm).report
}

/// MS-RDPBCGR 4.1.2 with TLS chosen.
const TLS: &[u8] = &[3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 2, 31, 8, 0, 1, 0, 0, 0];

fn with_tls(dates: ((i32, u8, u8), (i32, u8, u8)), settings: Settings) -> Report {
    let root = Authority::root();
    let config = root.server(dates.0, dates.1).config(rustls::ALL_VERSIONS);
    let server = Server { plain: 1, ..Server::tls(config) };
    negotiate(settings, &server, TLS).report
}

#[test]
fn tls_and_the_certificate_come_after_the_confirmation() {
    let report = with_tls(((2026, 1, 1), (2027, 1, 1)), Settings::default());
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(MILLI)));
    let phases: Vec<Phase> = report.phases.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, [Phase::Connect, Phase::Handshake, Phase::FirstByte]);
    assert_eq!((detail(&report, "security"), detail(&report, "tls_version")), ("tls", "TLS 1.3"));
    assert!(report.findings.unwrap().certificate_not_after.is_some());
    // Nobody the host trusts has signed it, which is as usual.
    let expired = with_tls(((2020, 1, 1), (2021, 1, 1)), Settings::default());
    assert_eq!(expired.outcome, Outcome::Answered(Some(Reason::CertExpired)));
    let judged = Settings { roots: Authority::root().roots(), ..Settings::default() };
    let other = with_tls(((2026, 1, 1), (2027, 1, 1)), judged);
    assert_eq!(other.outcome, Outcome::Answered(Some(Reason::CertUntrusted)));
}

#[test]
fn failures_and_old_servers_are_answers() {
    let report = confirmed(&[3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 3, 0, 8, 0, 2, 0, 0, 0]);
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(MILLI)));
    assert_eq!(detail(&report, "negotiation_failure"), "SSL_NOT_ALLOWED_BY_SERVER");
    let report = confirmed(&[3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 3, 0, 8, 0, 99, 0, 0, 0]);
    assert_eq!(detail(&report, "negotiation_failure"), "failure 99");
    let report = confirmed(&[3, 0, 0, 11, 6, 0xd0, 0, 0, 0x12, 0x34, 0]);
    assert_eq!((report.outcome, detail(&report, "security")), (Outcome::OK, "rdp"));
}

#[test]
fn a_server_without_the_tls_it_agreed_to_has_still_answered() {
    let report = negotiate(Settings::default(), &Server { plain: 1, tls: None }, TLS).report;
    assert_eq!((report.outcome, detail(&report, "security")), (Outcome::Answered(Some(Reason::NoAnswer)), "tls"));
    assert_eq!(detail(&report, "waited_for"), "server_hello");
}

#[test]
fn other_services_are_protocol_errors_and_silence_is_lost() {
    for bad in [&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], &[3, 0, 0, 19, 14, 0xf0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 1, 0, 0, 0], &[3, 0, 9, 9]] {
        assert_eq!(confirmed(bad).outcome, Outcome::Refused(Reason::ProtocolError), "{bad:?}");
    }
    for half in [&[][..], &TLS[..7]] {
        let report = confirmed(half);
        assert_eq!(report.outcome, Outcome::Lost(Reason::NoAnswer));
        assert_eq!(detail(&report, "waited_for"), "confirmation");
    }
}
