//! Faults of an SSL VPN and of `OpenVPN`.

use super::{ROW, Row};

const ANYCONNECT: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ssl-vpn]
    tls: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}
    sslvpn: {flavour: anyconnect, server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}
    probes: {tls: {timeout: 3s}, sslvpn: {timeout: 3s}, trace: {enabled: false}}
";
const TLS_CRYPT: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [openvpn]
    openvpn: {tls_crypt_file: STATE/openvpn/ta.key}
    probes: {openvpn_tcp: {enabled: false}, trace: {enabled: false}}
";
const NO_KEY: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [openvpn]
    probes: {openvpn_tcp: {enabled: false}, trace: {enabled: false}}
";

/// The same with an SSL VPN and with `OpenVPN`.
pub const ROWS: &[Row] = &[
    Row {
        what: "the certificate has expired",
        beside: "g",
        config: ANYCONNECT,
        before: &["start ocserv"],
        fault: &["stop ocserv", "start ocserv expired"],
        undo: &["stop ocserv", "start ocserv"],
        says: "failed: ports failed cert_expired",
        ..ROW
    },
    Row {
        what: "the certificate is for another name",
        beside: "g",
        config: ANYCONNECT,
        fault: &["stop ocserv", "start ocserv other"],
        undo: &["stop ocserv", "start ocserv"],
        says: "failed: ports failed cert_name_mismatch",
        ..ROW
    },
    Row {
        what: "a plain web server has taken TCP 443",
        beside: "h",
        config: ANYCONNECT,
        fault: &["stop ocserv", "start nginx"],
        undo: &["stop nginx", "start ocserv"],
        says: "failed: ports failed wrong_flavour",
        ..ROW
    },
    Row {
        what: "the SSL VPN has ended",
        beside: "h",
        config: ANYCONNECT,
        fault: &["stop ocserv"],
        undo: &["start ocserv"],
        says: "failed: ports failed connection_refused",
        ..ROW
    },
    Row {
        what: "TCP 443 is dropped",
        beside: "h",
        config: ANYCONNECT,
        fault: &["exec r4 nft add rule inet firewall forward tcp dport 443 drop"],
        says: "failed: ports failed no_answer",
        ..ROW
    },
    Row {
        what: "a user's password is wrong (no user's password is known here)",
        config: ANYCONNECT,
        fault: &["exec conc sed -i s/^alice:/alicia:/ STATE/ocserv/passwd"],
        undo: &["exec conc sed -i s/^alicia:/alice:/ STATE/ocserv/passwd"],
        step: "authenticate",
        says: "ok: authenticate skipped",
        tells: "No credentials",
        ..ROW
    },
    Row {
        what: "the server has another tls-crypt key",
        beside: "i",
        config: TLS_CRYPT,
        before: &["stop ocserv", "start openvpn udp tls-crypt"],
        fault: &["stop openvpn_udp", "start openvpn udp tls-crypt-v2"],
        undo: &["stop openvpn_udp", "start openvpn udp tls-crypt"],
        says: "failed: ports failed no_answer",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "UDP 1194 is dropped (looks the same, and is told so)",
        beside: "i",
        config: TLS_CRYPT,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 1194 drop"],
        says: "failed: ports failed no_answer",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "the OpenVPN server has ended",
        beside: "i",
        config: TLS_CRYPT,
        fault: &["stop openvpn_udp"],
        undo: &["start openvpn udp tls-crypt"],
        says: "failed: ports failed port_unreachable",
        ..ROW
    },
    Row {
        what: "the server wants a key, and none is configured here",
        beside: "j",
        config: NO_KEY,
        before: &["stop openvpn_udp", "start openvpn udp plain"],
        fault: &["stop openvpn_udp", "start openvpn udp tls-crypt"],
        undo: &["stop openvpn_udp", "start openvpn udp plain"],
        says: "unknown: ports unknown no_answer",
        tells: "to tell them apart",
        ..ROW
    },
    Row {
        what: "UDP 1194 is dropped, and no key is configured here",
        beside: "j",
        config: NO_KEY,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 1194 drop"],
        says: "unknown: ports unknown no_answer",
        tells: "to tell them apart",
        ..ROW
    },
    Row {
        what: "the OpenVPN server is full",
        config: NO_KEY,
        fault: &["stop openvpn_udp", "start openvpn udp plain 5 15 1", "start openvpn_client"],
        undo: &["stop openvpn_client", "stop openvpn_udp", "start openvpn udp plain"],
        says: "failed: ports failed full_or_throttled",
        ..ROW
    },
    Row {
        what: "the SSL VPN hangs",
        beside: "h",
        config: ANYCONNECT,
        before: &["stop openvpn_udp", "start ocserv"],
        fault: &["freeze ocserv"],
        undo: &["thaw ocserv"],
        says: "failed: ports failed no_answer",
        ..ROW
    },
];
