//! Pages of scripted servers, in the clear and inside real TLS.

use super::*;
use crate::probe::Settings as All;
use crate::probe::certificate::tests::{Authority, NAME};
use crate::probe::conversation::tests::{MILLI, Server, Talk, detail, spec, talk};
use crate::sample::Detail;

fn clear() -> Settings {
    Settings { tls: false, ..Settings::default() }
}

fn get(settings: Settings, server: &Server, answer: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Talk {
    let spec = spec("http", Some(NAME), All { http: settings, ..All::default() });
    talk(&spec, 0, server, answer)
}

/// One answer in the clear.
fn answered(settings: Settings, answer: &str) -> Report {
    get(settings, &Server::CLEAR, |_| Some(answer.as_bytes().to_vec())).report
}

#[test]
fn a_page_is_asked_for_and_its_head_is_told() {
    // What nginx 1.22 answers to a GET of a page (captured).
    let nginx = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 05:00:00 GMT\r\n\
        Content-Type: application/octet-stream\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
    let root = Authority::root();
    let config = root.server((2026, 1, 1), (2027, 1, 1)).config(rustls::ALL_VERSIONS);
    let settings = Settings { path: "/a?b=c".to_owned(), roots: root.roots(), ..Settings::default() };
    let talk = get(settings, &Server::tls(config), |_| Some(nginx.as_bytes().to_vec()));
    let said = String::from_utf8(talk.said.concat()).unwrap();
    assert!(said.starts_with(&format!("GET /a?b=c HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: vpnprobe/")), "{said}");
    assert!(said.ends_with("\r\n\r\n"));
    let report = talk.report;
    assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(MILLI)));
    let phases: Vec<Phase> = report.phases.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, [Phase::Connect, Phase::Handshake, Phase::FirstByte]);
    assert_eq!((detail(&report, "server"), detail(&report, "tls_version")), ("nginx/1.22.1", "TLS 1.3"));
    let details = &report.findings.as_ref().unwrap().details;
    assert_eq!(details.get("status"), Some(&Detail::Number(200)));
    assert_eq!(details.get("body_bytes_seen"), Some(&Detail::Number(2)));
}

#[test]
fn a_status_is_good_or_refused() {
    let page = |status: u16| format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
    for (status, expected, outcome) in [
        (204, &[][..], Outcome::OK),
        (302, &[], Outcome::OK),
        (404, &[], Outcome::Refused(Reason::HttpStatus)),
        (503, &[], Outcome::Refused(Reason::HttpStatus)),
        (404, &[404, 200], Outcome::OK),
        (200, &[204], Outcome::Refused(Reason::HttpStatus)),
    ] {
        let report = answered(Settings { status: expected.to_vec(), ..clear() }, &page(status));
        assert_eq!((report.outcome, report.rtt), (outcome, Some(MILLI)), "{status}");
    }
}

#[test]
fn a_bad_certificate_is_an_answer_and_a_bad_status_beside_it_a_refusal() {
    let root = Authority::root();
    let settings = || Settings { roots: root.roots(), ..Settings::default() };
    for (status, outcome) in [
        (200, Outcome::Answered(Some(Reason::CertExpired))),
        (404, Outcome::Refused(Reason::HttpStatus)),
    ] {
        let config = root.server((2020, 1, 1), (2021, 1, 1)).config(rustls::ALL_VERSIONS);
        let page = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        let report = get(settings(), &Server::tls(config), |_| Some(page.clone().into_bytes())).report;
        assert_eq!(report.outcome, outcome);
        assert_eq!(detail(&report, "not_after"), "2021-01-01T00:00:00Z");
    }
}

#[test]
fn a_redirect_is_followed_on_the_same_host_only() {
    let follow = |location: &str| {
        let location = location.to_owned();
        get(clear(), &Server::CLEAR, move |said| {
            Some(if said.starts_with(b"GET / ") {
                format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 3\r\n\r\nbye").into_bytes()
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
            })
        })
    };
    // The port of the probe is 443 here, which is not http's own.
    for good in ["/next", &format!("http://{NAME}:443/next"), "http://VPN.example.test:443/next#part"] {
        let talk = follow(good);
        assert_eq!(talk.said.len(), 2, "{good}");
        assert!(talk.said[1].starts_with(b"GET /next HTTP/1.1\r\n"), "{good}");
        let details = &talk.report.findings.as_ref().unwrap().details;
        assert_eq!(details.get("status"), Some(&Detail::Number(200)));
        assert_eq!(details.get("redirects"), Some(&Detail::List(vec![Text::from("302 /next")])));
        assert_eq!(talk.report.rtt, Some(MILLI));
    }
    for bad in ["//elsewhere.test/", "http://elsewhere.test:443/", "https://vpn.example.test/", "next", "ftp:x", "/"] {
        let talk = follow(bad);
        assert_eq!(talk.said.len(), 1, "{bad}");
        assert_eq!((talk.report.outcome, detail(&talk.report, "location")), (Outcome::OK, bad));
    }
    // A ring ends.
    let mut turn = 0;
    let ring = get(clear(), &Server::CLEAR, |_| {
        turn += 1;
        Some(format!("HTTP/1.1 302 x\r\nLocation: /{turn}\r\nContent-Length: 0\r\n\r\n").into_bytes())
    });
    assert_eq!(ring.said.len(), MAX_REDIRECTS + 1);
}

#[test]
fn interim_answers_are_passed_over() {
    let report = answered(clear(), "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(report.findings.unwrap().details.get("status"), Some(&Detail::Number(204)));
}

#[test]
fn hostile_answers_are_capped_and_escaped() {
    let report = answered(clear(), &format!("HTTP/1.1 200 {}\r\nServer: a\u{202e}b\r\n\r\n", "x".repeat(5000)));
    assert_eq!(detail(&report, "reason_phrase").len(), Text::MAX);
    assert_eq!(detail(&report, "server"), "a\\u{202e}b");
    for bad in ["SSH-2.0-OpenSSH_9.2p1\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", &"HTTP/1.1 200 OK\r\nA: b\r\n".repeat(900)] {
        assert_eq!(answered(clear(), bad).outcome, Outcome::Refused(Reason::ProtocolError), "{bad:.20}");
    }
    let mut endless = "HTTP/1.1 200 OK\r\nA: ".to_owned();
    endless.push_str(&"x".repeat(300_000));
    assert_eq!(answered(clear(), &endless).outcome, Outcome::Refused(Reason::ProtocolError));
}

#[test]
fn silence_and_a_hang_up() {
    let silent = answered(clear(), "");
    assert_eq!((silent.outcome, detail(&silent, "waited_for")), (Outcome::Lost(Reason::NoAnswer), "first_byte"));
    let half = answered(clear(), "HTTP/1.1 200 OK\r\nA");
    assert_eq!((half.outcome, detail(&half, "waited_for")), (Outcome::Lost(Reason::NoAnswer), "head"));
    let closed = get(clear(), &Server::CLEAR, |_| None).report;
    assert_eq!(closed.outcome, Outcome::Refused(Reason::ConnectionReset));
}

#[test]
fn the_field_host_names_a_port_that_is_not_the_usual_one() {
    let v6 = "2001:db8::1".parse().unwrap();
    assert_eq!(authority(None, v6, 443, true), "[2001:db8::1]");
    assert_eq!(authority(None, v6, 8443, true), "[2001:db8::1]:8443");
    assert_eq!(authority(Some("a.test."), v6, 80, false), "a.test");
    assert_eq!(authority(Some("a.test"), v6, 443, false), "a.test:443");
}
