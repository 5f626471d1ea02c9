//! OpenVPN: UDP and TCP, each wrapping of the control channel, with the right key, a wrong one and none.

use crate::harness::{CONC, Lab};
use crate::ways::Way;

const PLAIN: &str = "";
const TLS_AUTH: &str = "    openvpn: {tls_auth_file: STATE/openvpn/ta.key, key_direction: 1}\n";
const TLS_CRYPT: &str = "    openvpn: {tls_crypt_file: STATE/openvpn/ta.key}\n";
const TLS_CRYPT_V2: &str = "    openvpn: {tls_crypt_v2_file: STATE/openvpn/v2-client.key}\n";

/// The wrappings, each with its settings and with those of another key of the same sort.
fn wrappings() -> [(&'static str, &'static str, String); 4] {
    [
        ("plain", PLAIN, TLS_CRYPT.to_owned()),
        ("tls-auth", TLS_AUTH, TLS_AUTH.replace("ta.key", "wrong.key")),
        ("tls-crypt", TLS_CRYPT, TLS_CRYPT.replace("ta.key", "wrong.key")),
        ("tls-crypt-v2", TLS_CRYPT_V2, TLS_CRYPT_V2.replace("v2-client.key", "v2-wrong.key")),
    ]
}

fn walk(proto: &str, wrapping: &str, settings: &str) {
    let kind = format!("openvpn_{proto}");
    Way {
        start: &format!("openvpn {proto} {wrapping}"),
        server: &kind,
        kind: &kind,
        settings,
        packets: &format!("{proto} dport 1194"),
        ..Way::UDP
    }
    .walk();
}

#[test]
fn udp_plain() {
    walk("udp", "plain", PLAIN);
}

#[test]
fn udp_tls_auth() {
    walk("udp", "tls-auth", TLS_AUTH);
}

#[test]
fn udp_tls_crypt() {
    walk("udp", "tls-crypt", TLS_CRYPT);
}

#[test]
fn udp_tls_crypt_v2() {
    walk("udp", "tls-crypt-v2", TLS_CRYPT_V2);
}

#[test]
fn tcp_plain() {
    walk("tcp", "plain", PLAIN);
}

#[test]
fn tcp_tls_auth() {
    walk("tcp", "tls-auth", TLS_AUTH);
}

#[test]
fn tcp_tls_crypt() {
    walk("tcp", "tls-crypt", TLS_CRYPT);
}

#[test]
fn tcp_tls_crypt_v2() {
    walk("tcp", "tls-crypt-v2", TLS_CRYPT_V2);
}

/// A wrong key or none: over UDP the same silence as a dead server, over TCP the server hangs up.
#[test]
fn wrong_key() {
    let lab = Lab::up();
    let mut wrong = Vec::new();
    for (wrapping, _, other_key) in &wrappings() {
        // A plain server takes what is wrapped for plain, and answers so: without our key.
        let over_tcp = if *wrapping == "plain" { "protocol_error" } else { "key_required" };
        let over_tcp = format!("openvpn_tcp refused {over_tcp}");
        for (proto, said) in [("udp", "openvpn_udp lost no_answer"), ("tcp", &over_tcp)] {
            let kind = format!("openvpn_{proto}");
            lab.script(&format!("start openvpn {proto} {wrapping}"));
            let without = if *wrapping == "plain" { other_key } else { PLAIN };
            for settings in [other_key.as_str(), without] {
                let check = lab.check_probe(CONC[0], &kind, "", settings);
                wrong.extend(
                    check.mismatch(&[said]).map(|text| format!("{proto} {wrapping} {settings:?}: {text}")),
                );
            }
            lab.script(&format!("stop {kind}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
