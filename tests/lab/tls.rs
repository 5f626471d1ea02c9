//! TCP and TLS against nginx and ocserv.

use crate::harness::{CONC, Lab};
use crate::ways::Way;

const TRUSTED: &str = "    tls: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}\n";

#[test]
fn nginx() {
    let way = Way { start: "nginx", server: "nginx", kind: "tls", packets: "tcp dport 443", ..Way::UDP };
    Way { settings: TRUSTED, ..way }.walk();
}

#[test]
fn ocserv() {
    let way = Way { start: "ocserv", server: "ocserv", kind: "tls", packets: "tcp dport 443", ..Way::UDP };
    Way { settings: TRUSTED, ..way }.walk();
}

/// The kernel accepts for a frozen program: an open port is no proof of a service.
#[test]
fn tcp() {
    let way = Way { start: "nginx", server: "nginx", kind: "tcp", packets: "tcp dport 443", ..Way::UDP };
    Way { probe: "port: 443", frozen: "answered", ..way }.walk();
}

/// Each thing a certificate can have against it; the handshake still ends, so its time counts.
#[test]
fn certificates() {
    let lab = Lab::with(&["nginx"]);
    let other_name = TRUSTED.replace("vpn.", "elsewhere.");
    let untrusted = "    tls: {server_name: vpn.example.test}\n";
    let mut wrong = Vec::new();
    for (port, settings, said) in [
        (443, TRUSTED, "tls answered"),
        (443, untrusted, "tls answered cert_untrusted"),
        (443, &other_name, "tls answered cert_name_mismatch"),
        (8443, TRUSTED, "tls answered cert_expired"),
        (8444, TRUSTED, "tls answered cert_not_yet_valid"),
        (8445, TRUSTED, "tls answered cert_name_mismatch"),
        (8445, &other_name, "tls answered"),
    ] {
        for address in CONC {
            let check = lab.check_probe(address, "tls", &format!("port: {port}"), settings);
            wrong.extend(check.mismatch(&[said]).map(|text| format!("{port} {settings}: {text}")));
            if !check.json["probes"][0]["rtt_seconds"].is_number() {
                wrong.push(format!("{port} {settings}: no RTT"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An expired certificate is answered for the round trip and failed for the ports.
#[test]
fn an_expired_certificate_fails_the_ports() {
    let lab = Lab::with(&["ocserv expired"]);
    let check = lab.check_target(&format!("    address: {}\n    vpn: [ssl-vpn]\n{TRUSTED}", CONC[0]));
    assert!(check.results().contains(&"tls answered cert_expired".to_owned()), "{:?}", check.results());
    assert_eq!(check.step("ports"), "failed cert_expired");
    assert_eq!(check.verdict(), "failed");
    assert_eq!(check.code, 1);
}

/// A box that speaks nothing newer than TLS 1.1 is old, not dead.
#[test]
fn legacy() {
    let lab = Lab::with(&["nginx"]);
    let check = lab.check_probe(CONC[0], "tls", "port: 8446", TRUSTED);
    let results = check.results();
    assert!(results == ["tls refused tls_legacy"] || results == ["tls answered tls_legacy"], "{results:?}");
}
