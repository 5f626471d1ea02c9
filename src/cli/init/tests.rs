use super::*;
use crate::probe::Kind;
use crate::sample::{Report, Text};
use crate::time::WallTime;
use serde::de::IgnoredAny;
use std::time::Duration;

fn seen(kind: &str, outcome: Outcome) -> Observed {
    Observed {
        probe: kind.to_owned(),
        kind: Kind::named(kind).unwrap(),
        member: 1,
        address: "192.0.2.1".parse().unwrap(),
        egress: "default".to_owned(),
        form: "version",
        report: Report::timed(outcome, Duration::from_millis(3)),
    }
}

fn made(host: &str, observed: Vec<Observed>) -> String {
    let config = Config::single("192.0.2.1").unwrap();
    let survey = Survey {
        time: WallTime::from_unix_secs(1_795_305_600),
        host: host.to_owned(),
        resolved: Ok(vec!["192.0.2.1".parse().unwrap()]),
        routes: Vec::new(),
        ways: None,
        observed,
        inside: Vec::new(),
        session: None,
    };
    let text = configuration(&survey, &config.targets[0], &name_of(host));
    serde_saphyr::from_str::<IgnoredAny>(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    text
}

#[test]
fn what_answers_is_declared() {
    let mut init = seen("ike", Outcome::OK);
    init.report.findings().details.text("suite", "aes256-sha256-modp2048");
    let text = made("vpn.example.jp", vec![init, seen("ike_natt", Outcome::OK), seen("tls", Outcome::OK)]);
    assert!(text.contains("\n    vpn: [ipsec]\n"), "{text}");
    assert!(text.contains("\n        - aes256-sha256-modp2048\n"), "{text}");
    assert!(text.contains("\n      tls: {}\n"), "{text}");
    assert!(text.contains("# Seen from here at 2026-11-22T00:00:00.000Z:"), "{text}");
}

#[test]
fn an_audit_becomes_proposals() {
    let mut audit = seen("ike", Outcome::OK);
    audit
        .report
        .findings()
        .details
        .list("accepted", ["aes256-sha256: modp2048 ecp256".into(), "evil\": [x]".into()]);
    let text = made("vpn.example.jp", vec![audit]);
    assert!(text.contains("        - aes256-sha256-modp2048-ecp256\n") && !text.contains("evil"), "{text}");
}

#[test]
fn silence_declares_nothing() {
    let silent = Outcome::Lost(Reason::NoAnswer);
    let text = made(
        "2001:db8::1",
        vec![seen("icmp", Outcome::OK), seen("ike", silent), seen("openvpn_udp", silent)],
    );
    assert!(text.contains("    vpn: []\n") && text.contains("  \"2001-db8--1\":\n"), "{text}");
    assert!(text.contains("    address: \"2001:db8::1\"\n") && text.contains("      icmp: {}\n"), "{text}");
}

#[test]
fn l2tp_and_ssl_vpn_and_openvpn() {
    assert!(
        made("a.example", vec![seen("ikev1", Outcome::OK), seen("l2tp", Outcome::OK)])
            .contains("vpn: [l2tp-ipsec]")
    );
    assert!(made("a.example", vec![seen("tls", Outcome::OK)]).contains("vpn: [ssl-vpn]"));
    let key = made("a.example", vec![seen("openvpn_tcp", Outcome::Refused(Reason::KeyRequired))]);
    assert!(key.contains("vpn: [openvpn]") && key.contains("# openvpn: {tls_crypt_file"), "{key}");
}

#[test]
fn remote_text_never_leaves_its_comment() {
    let mut tls = seen("tls", Outcome::OK);
    tls.report
        .findings()
        .details
        .text("subject", Text::from_bytes("x\ntargets: evil\u{2028}y\u{85}z".as_bytes()));
    let text = made("a.example\ntargets: evil", vec![tls]);
    assert!(!text.lines().any(|line| line.starts_with("targets: evil")), "{text}");
}
