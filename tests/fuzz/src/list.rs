//! The list of all targets, with what each starts from: seeds that somebody else made, and the words of its
//! protocol.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::exchange::{BLIND, OVERLAY};
use crate::seeds::{contents, goldens};
use crate::text::{HEADER, PLACE};

/// A target.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The binary that it is in: a few of the same kind, so that few are linked and each stays small.
    pub group: &'static str,
    /// What it reads, for the table.
    pub about: &'static str,
    /// The longest input.
    pub longest: usize,
    /// What it starts from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of what it reads.
    pub words: &'static [&'static [u8]],
}

/// One line a target; a test holds the list and `src/bin` together.
macro_rules! targets {
    ($($group:ident { $($name:ident $longest:literal $about:literal $seeds:expr, $words:expr;)+ })+) => {
        /// All targets.
        pub static TARGETS: &[Target] =
            &[$($(Target {
                name: stringify!($name),
                group: stringify!($group),
                about: $about,
                longest: $longest,
                seeds: || $seeds,
                words: $words,
            },)+)+];
    };
}

const IKE: &[&str] = &["tests/golden/ike", "src/probe/ike/tests.rs", "src/wire/ike/tests.rs"];
const IKEV1: &[&str] = &["tests/golden/ikev1", "src/probe/ikev1/tests.rs", "src/wire/ikev1/tests.rs"];
const L2TP: &[&str] = &["src/wire/l2tp/tests.rs", "src/probe/l2tp/tests.rs"];
const OPENVPN: &[&str] = &["tests/golden/openvpn", "src/wire/openvpn/tests.rs"];
const STUN: &[&str] = &["src/wire/stun/tests.rs"];
const ICMP: &[&str] = &["src/wire/icmp/tests.rs", "src/probe/icmp/tests.rs"];
const DNS: &[&str] = &["src/probe/dns/tests.rs"];

targets! {
    wire {
    ike 2048 "IKEv2 messages" goldens(IKE), IKE_WORDS;
    ike_sealed 2048 "IKEv2 encrypted payloads, opened" [goldens(IKE), unmarked(goldens(IKE))].concat(), IKE_WORDS;
    ikev1 2048 "IKEv1 messages" goldens(IKEV1), IKEV1_WORDS;
    l2tp 1024 "L2TP control messages" goldens(L2TP), &[b"\xc8\x02", b"\x80\x08\x00\x00\x00\x00", b"\x00\x08", b"\x00\x0c"];
    openvpn 1536 "OpenVPN control packets, all wrappings" goldens(OPENVPN), OPENVPN_WORDS;
    openvpn_frames 2048 "OpenVPN over TCP" prefixed(1, framed(goldens(OPENVPN))), OPENVPN_WORDS;
    openvpn_keys 4096 "OpenVPN key files" contents(&["tests/golden/openvpn"], ".key"), KEY_WORDS;
    stun 1024 "STUN messages" goldens(STUN), STUN_WORDS;
    rdp 256 "RDP negotiation" goldens(&["src/wire/rdp/tests.rs"]), &[b"\x03\x00\x00\x13\x0e\xd0", b"\x02\x00\x08\x00", b"\x03\x00\x08\x00", b"\x01\x00\x08\x00"];
    sstp 512 "SSTP control messages" goldens(&["src/wire/sstp/tests.rs"]), &[b"\x10\x01", b"\x00\x04\x00\x28", b"\x00\x02\x00\x14"];
    wireguard 256 "WireGuard handshake messages" goldens(&["src/probe/wireguard/tests.rs", "src/wire/wireguard/tests.rs"]), &[b"\x01\x00\x00\x00", b"\x02\x00\x00\x00", b"\x03\x00\x00\x00"];
    http_head 4096 "HTTP answers" heads(), HTTP_WORDS;
    icmp 512 "ICMP messages and what they quote" goldens(ICMP), &[b"\x08\x00", b"\x81\x00", b"\x0b\x00", b"\x20\x00"];
    }
    sockets {
    icmp_socket 512 "packets of raw ICMP sockets" prefixed(0, raw_icmp()), &[b"\x45\x00", b"\x03\x0d", b"\x0b\x00"];
    netlink 2048 "rtnetlink answers" netlink(), &[b"\x03\x00eth0\x00", b"\x08\x00\x01\x00", b"\x08\x00\x04\x00", b"\x0c\x00\x12\x00"];
    }
    probe {
    probe_icmp 1024 "the exchange icmp" exchanges(goldens(ICMP), &[(4, 4, 60), (4, 4, 20)]), &[b"\x00\x00"];
    probe_ike 2048 "the exchange ike" exchanges(goldens(IKE), &[(0, 0, 8)]), IKE_WORDS;
    probe_ike_natt 2048 "the exchange ike_natt" exchanges(marked(goldens(IKE)), &[(4, 4, 8)]), IKE_WORDS;
    probe_ikev1 2048 "the exchange ikev1" exchanges(goldens(IKEV1), &[(0, 0, 8)]), IKEV1_WORDS;
    probe_ikev1_natt 2048 "the exchange ikev1_natt" exchanges(marked(goldens(IKEV1)), &[(4, 4, 8)]), IKEV1_WORDS;
    probe_l2tp 1024 "the exchange l2tp" exchanges(goldens(L2TP), &[(50, 4, 2), (0, 0, 0)]), &[b"\xc8\x02", b"\x80\x08\x00\x00\x00\x00"];
    probe_openvpn_udp 2048 "the exchange openvpn_udp" exchanges(goldens(OPENVPN), &[(1, 14, 8)]), OPENVPN_WORDS;
    probe_openvpn_tcp 2048 "the exchange openvpn_tcp" exchanges(framed(goldens(OPENVPN)), &[(3, 16, 8)]), OPENVPN_WORDS;
    probe_tcp 512 "the exchange tcp" exchanges(vec![b"SSH-2.0-x\r\n".to_vec()], &[(0, 0, 0)]), &[];
    probe_tls 4096 "the exchange tls" exchanges(tls(), &[(0, 0, 0)]), TLS_WORDS;
    probe_dns 1024 "the exchange dns" exchanges(goldens(DNS), &[(0, 0, 2), (2, 2, 2)]), &[b"\xc0\x0c", b"\x00\x01\x00\x01", b"\x85\x80", b"\x00\x00\x29"];
    probe_http 4096 "the exchange http" exchanges(heads(), &[(0, 0, 0)]), HTTP_WORDS;
    probe_rdp 512 "the exchange rdp" exchanges(goldens(&["src/wire/rdp/tests.rs"]), &[(0, 0, 0)]), &[b"\x03\x00\x00\x13\x0e\xd0"];
    probe_stun 1024 "the exchange stun" exchanges(goldens(STUN), &[(8, 8, 12)]), STUN_WORDS;
    probe_sslvpn 4096 "the exchange sslvpn" exchanges([tls(), framed(goldens(OPENVPN))].concat(), &[(0, 0, 0), (3, 16, 8)]), TLS_WORDS;
    probe_wireguard 512 "the exchange wireguard" exchanges(goldens(&["src/probe/wireguard/tests.rs"]), &[(4, 8, 4), (4, 4, 4)]), &[b"\x02\x00\x00\x00", b"\x03\x00\x00\x00"];
    probe_trace 1024 "the exchange trace, all carriers" exchanges([goldens(ICMP), goldens(IKE)].concat(), &[(0, 0, 64), (4, 4, 60)]), &[];
    }
    session {
    session 4096 "an IKE session whose peer has the keys" sessions(), IKE_WORDS;
    }
    text {
    certificate 4096 "certificate chains" certificates(), DER_WORDS;
    roots 4096 "root certificates in PEM" pem(), &[b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n", b"MII"];
    config 4096 "the configuration" contents(&["tests/config", "config/vpnprobe.yml"], ".yml"), CONFIG_WORDS;
    webfile 2048 "the web configuration" [contents(&["config"], "web.yml"), vec![WEB.to_vec()]].concat(), WEB_WORDS;
    words 256 "single values and flags" words(), &[b",tries=", b",retry=", b"aes256gcm16", b"-prfsha256", b"-ecp256", b"http://", b"Mbit", b"text/plain;version=0.0.4", b"q=0.5"];
    journal_line 2048 "lines of a journal" lines(), JOURNAL_WORDS;
    journal 8192 "journals, replayed" journals(), JOURNAL_WORDS;
    state 4096 "kept state" vec![STATE.to_vec()], JSON_WORDS;
    incident 4096 "incident records" vec![INCIDENT.to_vec()], JSON_WORDS;
    seen 4096 "the status document, as `ready` reads it" vec![SEEN.to_vec()], JSON_WORDS;
    explain 1024 "texts to explain" explained(), &[b"NO_PROPOSAL_CHOSEN", b"error 809", b"AUTHENTICATION_FAILED", b"timed out"];
    }
    web {
    page 512 "remote text on its way out" vec![b"strongSwan".to_vec(), b"<script>alert(1)</script>\"\\\n\x1b[31m".to_vec(), "\u{202e}x\u{2066}".into()], &[b"<", b"\"", b"\\", b"\n", b"\x1b[", b"\xe2\x80\xae", b"&lt;"];
    http_server 4096 "requests to the web listener" requests(), HTTP_WORDS;
    }
}

const IKE_WORDS: &[&[u8]] = &[
    b"\x21\x20\x22\x20\x00\x00\x00\x00",
    b"\x2e\x20\x23\x20",
    b"\x29\x20\x22\x20",
    b"\x00\x00\x40\x06",
    b"\x00\x00\x40\x04",
    b"\x00\x00\x00\x0e",
    b"\x00\x00\x00\x11",
    b"\x03\x00\x00\x0c\x01\x00\x00\x14\x80\x0e\x01\x00",
    b"\x00\x00\x00\x08\x04\x00\x00\x1f",
    b"\x2b\x00\x00\x14",
    b"\x00\x00\x00\x00",
    b"\x35\x00",
];
const IKEV1_WORDS: &[&[u8]] = &[
    b"\x01\x10\x02\x00",
    b"\x0b\x10\x05\x00",
    b"\x01\x10\x04\x00",
    b"\x80\x01\x00\x07",
    b"\x80\x0b\x00\x01",
    b"\x00\x0c\x00\x04",
    b"\x00\x00\x00\x01\x01\x10\x00\x0e",
    b"\x0d\x00\x00\x14",
    b"\x00\x00\x00\x00",
];
const OPENVPN_WORDS: &[&[u8]] =
    &[b"\x38", b"\x40", b"\x28", b"\x20", b"\x50", b"\x01\x00\x00\x00\x00", b"\x00\x00\x00\x01"];
const KEY_WORDS: &[&[u8]] = &[
    b"-----BEGIN OpenVPN Static key V1-----\n",
    b"-----END OpenVPN Static key V1-----\n",
    b"-----BEGIN OpenVPN tls-crypt-v2 client key-----\n",
    b"-----END OpenVPN tls-crypt-v2 client key-----\n",
    b"#",
];
const STUN_WORDS: &[&[u8]] = &[
    b"\x21\x12\xa4\x42",
    b"\x00\x20\x00\x08",
    b"\x00\x20\x00\x14",
    b"\x00\x09\x00\x04",
    b"\x80\x28\x00\x04",
    b"\x01\x01",
    b"\x01\x11",
];
const HTTP_WORDS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: ",
    b"Location: ",
    b"Server: ",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Connection: close\r\n",
    b"GET /metrics HTTP/1.1\r\n",
    b"POST /-/reload HTTP/1.1\r\n",
    b"/probe?target=hq&module=ike",
    b"Host: localhost\r\n",
    b"Accept-Encoding: gzip\r\n",
    b"Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n",
    b"/api/v1/incidents/",
    b"/api/v1/status?target=",
    b"%00",
    b"histograms=native",
    b"X-Prometheus-Scrape-Timeout-Seconds: 5\r\n",
];
const TLS_WORDS: &[&[u8]] = &[
    b"\x16\x03\x03\x00",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x02\x00\x00",
    b"\x03\x03",
    b"\x13\x01",
    b"\x00\x2b\x00\x02\x03\x04",
    b"\x00\x33",
];
const DER_WORDS: &[&[u8]] = &[
    b"\x30\x82",
    b"\xa3\x82",
    b"\x06\x03\x55\x1d\x11",
    b"\x17\x0d",
    b"\x18\x0f",
    b"\x82",
    b"\x87\x04",
    b"\x02\x01",
    b"\x06\x03\x55\x04\x03\x0c",
    b"Z",
];
const CONFIG_WORDS: &[&[u8]] = &[
    b"targets:\n",
    b"  hq:\n",
    b"    address: ",
    b"defaults:\n",
    b"    vpn: [ipsec, ssl-vpn, openvpn, wireguard, l2tp-ipsec]\n",
    b"    probes:\n",
    b"interval: ",
    b"timeout: ",
    b"egress:\n",
    b"budget:\n",
    b"inside:\n",
    b"prefixes: [10.0.0.0/8]\n",
    b"buckets: [0.1, 1]\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!str ",
    b"~",
    b"|\n",
    b"? ",
    b"5s",
    b"dpd:\n",
    b"dpd_profiles: ",
    b"session:\n",
    b"capacity:\n",
    b"state_dir: ",
    b"web:\n",
    b"kind: ",
    b"192.0.2.1",
    b".inf",
    b".nan",
    b"0x10",
    b"1e3",
];
const WEB: &[u8] = b"tls_server_config:\n  cert_file: a\n  key_file: b\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: c\n  min_version: TLS12\n  max_version: TLS13\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  curve_preferences: [X25519]\n  prefer_server_cipher_suites: true\nhttp_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: default-src\nbasic_auth_users:\n  joe: $2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n";
const WEB_WORDS: &[&[u8]] = &[
    b"tls_server_config:",
    b"http_server_config:",
    b"basic_auth_users:",
    b"  headers:\n",
    b"    Content-Security-Policy: ",
    b"    X-Frame-Options: deny\n",
    b"$2y$10$",
    b"$2b$",
    b"TLS12",
    b"NoClientCert",
    b"client_ca_file: ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"{",
    b"[",
    b"~",
];
const JOURNAL_WORDS: &[&[u8]] = &[
    b"\"version\"",
    b"\"lost:no_answer\"",
    b"\"answered\"",
    b"\"unsent:stalled\"",
    b"null",
    b"{\"tick\":{\"now\":",
    b"{\"gap\":{\"lost\":12}}",
    b"{\"remove\":{\"series\":0,\"now\":5}}",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"1e308",
    b"\n",
    b"[0,1,",
    b"{\"place\":{",
    b"{\"journal\":{",
];
const JSON_WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"1e308",
    b"-1",
    b"18446744073709551615",
    b"[",
    b"{",
    b"\"schema\":1",
    b"\"series\":[",
    b"\"incidents\":[",
    b"\"dpd\":[",
    b"\"transitions\":[",
    b"\"targets\":[",
    b"\\u0000",
    b"\"recent\":{",
];
const STATE: &[u8] = br#"{"wall":1795305600000000000,"monotonic":1000000000,"knowledge":{"series":[],"incidents":[]},"budget":{"windows":[]}}"#;
const INCIDENT: &[u8] = br#"{"schema":1,"id":"20261122T000000000Z-hq-0001","target":"hq","kind":"outage","state":"closed","began":"2026-11-22T00:00:00.000Z","ended":"2026-11-22T00:01:00.000Z","seconds":60.0,"cause":null,"clues":[],"series":[],"transitions":[],"dpd":[]}"#;
const SEEN: &[u8] = br#"{"time":"2026-11-22T00:00:00Z","ready":true,"targets":[{"target":"hq","state":"up","probes":[{"probe":"ike","kind":"ike","member":1,"egress":"default","stable_in_seconds":null,"recent":null}]}]}"#;

/// A frame of an exchange or a session.
fn frame(what: u8, overlay: Option<(u8, u8, u8)>, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let mut out = vec![what, length[0], length[1]];
    if let Some((source, destination, count)) = overlay {
        out[0] |= OVERLAY;
        out.extend([source, destination, count]);
    }
    out.extend_from_slice(bytes);
    out
}

/// Exchanges that are answered with each of these: by somebody who sees us, by a blind one, twice, after a
/// timeout, and quoted by a router.
fn exchanges(answers: Vec<Vec<u8>>, overlays: &[(u8, u8, u8)]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (n, answer) in answers.iter().filter(|answer| answer.len() < 1600).enumerate() {
        for overlay in overlays {
            for mode in [0, 1, 2] {
                out.push([vec![mode], frame(0, Some(*overlay), answer)].concat());
            }
            let other = &answers[(n + 1) % answers.len()];
            out.push([vec![0], frame(0, Some(*overlay), answer), frame(0, Some(*overlay), other)].concat());
            out.push([vec![1], frame(11, None, &[]), frame(0, Some(*overlay), answer)].concat());
        }
        out.push([vec![BLIND], frame(0, None, answer)].concat());
    }
    for what in 1..=12 {
        out.push([vec![0], frame(what, Some((0, 0, 64)), &[0; 64])].concat());
    }
    // The header of our packet with something else behind it, and the whole of it.
    for what in 1..=4 {
        for mode in [0, 1] {
            out.push([vec![mode], frame(what, Some((0, 0, 24)), &[0; 64])].concat());
            out.push([vec![mode], frame(what, Some((0, 0, 255)), &[0; 300])].concat());
        }
    }
    out
}

/// Sessions whose peer asks, answers, deletes and rekeys.
fn sessions() -> Vec<Vec<u8>> {
    let mut out: Vec<_> = unmarked(goldens(IKE))
        .iter()
        .flat_map(|bytes| [0, 1, 2].map(|stage| [vec![stage], frame(0, None, bytes)].concat()))
        .collect();
    // Exchange, flags, message id, first payload, number, total; then the chain.
    let deletes = b"\x25\x00\x00\x2a\x01\x01\x00\x00\x00\x08\x01\x00\x00\x00";
    let check = b"\x25\x00\x00\x00\x01\x01";
    let rekeys = b"\x24\x00\x00\x21\x01\x01\x28\x00\x00\x2c\x00\x00\x00\x28\x01\x01\x08\x03\x01\x02\x03\x04\x05\x06\x07\x08\x03\x00\x00\x0c\x01\x00\x00\x14\x80\x0e\x00\x80\x00\x00\x00\x08\x04\x00\x00\x1f\x00\x00\x00\x14abcdefghijklmnop";
    let refuses = b"\x23\x20\x01\x29\x01\x01\x00\x00\x00\x08\x00\x00\x00\x18";
    for sealed in [&deletes[..], check, rekeys, refuses] {
        for stage in [1, 2] {
            out.push([vec![stage], frame(1, None, sealed)].concat());
            out.push(
                [vec![stage], frame(5, None, &[]), frame(1, None, sealed), frame(7, None, &[])].concat(),
            );
        }
    }
    // In two parts, and a check of ours answered.
    out.push(
        [
            vec![2],
            frame(2, None, b"\x25\x00\x00\x2a\x01\x02\x00\x00\x00\x08"),
            frame(2, None, b"\x25\x00\x00\x00\x02\x02\x01\x00\x00\x00"),
        ]
        .concat(),
    );
    out.push(
        [
            vec![2],
            frame(5, None, &[]),
            frame(1, None, b"\x25\x20\x02\x00\x01\x01"),
            frame(5, None, &[]),
            frame(5, None, &[]),
        ]
        .concat(),
    );
    out.push([vec![2], frame(6, None, &[]), frame(5, None, &[]), frame(4, None, b"\xff")].concat());
    out
}

fn prefixed(first: u8, seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.into_iter().map(|seed| [vec![first], seed].concat()).collect()
}

/// With the non-ESP marker.
fn marked(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    unmarked(seeds).into_iter().map(|seed| [vec![0; 4], seed].concat()).collect()
}

/// Without it.
fn unmarked(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.into_iter().map(|seed| seed.strip_prefix(&[0; 4]).unwrap_or(&seed).to_vec()).collect()
}

/// With their lengths, as OpenVPN and DNS have them over TCP.
fn framed(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let length = |seed: &Vec<u8>| u16::try_from(seed.len()).unwrap().to_be_bytes();
    seeds.iter().map(|seed| [&length(seed)[..], seed].concat()).collect()
}

/// Answers as nginx gives them, and the forms of RFC 9112.
fn heads() -> Vec<Vec<u8>> {
    [
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nContent-Type: text/html\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n4\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.0 503 Service Unavailable\r\n\r\nbusy",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn requests() -> Vec<Vec<u8>> {
    let lines = [
        "GET / HTTP/1.1",
        "GET /metrics HTTP/1.1",
        "GET /metrics?histograms=native HTTP/1.1",
        "HEAD /metrics HTTP/1.0",
        "GET /probe?target=hq&module=ike&timeout=1 HTTP/1.1",
        "GET /config HTTP/1.1",
        "GET /sd HTTP/1.1",
        "GET /api/v1/status?target=hq HTTP/1.1",
        "GET /api/v1/path HTTP/1.1",
        "GET /api/v1/incidents?limit=3&since=1h HTTP/1.1",
        "GET /api/v1/incidents/20261122T000000000Z-hq-0001 HTTP/1.1",
        "GET /-/healthy HTTP/1.1",
        "GET /-/ready HTTP/1.1",
        "POST /-/reload HTTP/1.1",
    ];
    let headers = "Host: localhost\r\nAccept: text/html, application/vnd.google.protobuf;q=0.5\r\nAccept-Encoding: gzip\r\n";
    lines.map(|line| format!("{line}\r\n{headers}\r\n").into_bytes()).to_vec()
}

/// What openssl s_server says first: a ServerHello of TLS 1.2, its certificate cut short, an alert, and no
/// TLS at all.
fn tls() -> Vec<Vec<u8>> {
    let mut hello = b"\x16\x03\x03\x00\x31\x02\x00\x00\x2d\x03\x03".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\xc0\x2f\x00\x00\x05\xff\x01\x00\x01\x00");
    let certificate = [&hello[..], b"\x16\x03\x03\x00\x0a\x0b\x00\x00\x06\x00\x00\x03\x00\x00\x00"].concat();
    vec![
        hello,
        certificate,
        b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ]
}

/// The root certificates that Debian trusts, in DER: real ones of many makers.
fn certificates() -> Vec<Vec<u8>> {
    use rustls::pki_types::pem::PemObject as _;
    let all = pem_files();
    let ders = all.iter().filter_map(|text| rustls::pki_types::CertificateDer::from_pem_slice(text).ok());
    let mut ders: Vec<Vec<u8>> = ders.map(|der| der.to_vec()).filter(|der| der.len() < 2000).collect();
    ders.truncate(40);
    let mut seeds: Vec<Vec<u8>> = ders.iter().map(|der| [&[0xff, 0xff][..], der].concat()).collect();
    for two in ders.windows(2) {
        seeds.push([&u16::try_from(two[0].len()).unwrap().to_be_bytes()[..], &two[0], &two[1]].concat());
    }
    seeds
}

fn pem() -> Vec<Vec<u8>> {
    pem_files().into_iter().filter(|text| text.len() < 2000).take(20).collect()
}

fn pem_files() -> Vec<Vec<u8>> {
    let mut names: Vec<_> = std::fs::read_dir("/usr/share/ca-certificates/mozilla")
        .expect("the package ca-certificates")
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names.iter().map(|name| std::fs::read(name).unwrap()).collect()
}

/// What a raw socket for IPv4 sees: the header, then an error that quotes an echo request of ping(8).
fn raw_icmp() -> Vec<Vec<u8>> {
    let outer = b"\x45\x00\x00\x38\x00\x00\x00\x00\x40\x01\x00\x00\xc0\x00\x02\x01\xc0\x00\x02\x0a";
    let inner = b"\x45\x00\x00\x54\x00\x00\x40\x00\x3f\x01\x00\x00\xc0\x00\x02\x0a\xcb\x00\x71\x0a";
    let echo = b"\x08\x00\xab\xcd\x12\x34\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08";
    vec![
        [&outer[..], b"\x03\x0d\x00\x00\x00\x00\x00\x00", inner, echo].concat(),
        [&outer[..], b"\x0b\x00\x00\x00\x00\x00\x00\x00", inner, &echo[..8]].concat(),
        [&outer[..], b"\x00\x00\xab\xcd\x12\x34\x00\x01", &echo[8..], &[0; 48]].concat(),
    ]
}

/// A link of Ethernet, and a route by a gateway (rtnetlink(7)).
fn netlink() -> Vec<Vec<u8>> {
    let link = b"\x00\x00\x01\x00\x02\x00\x00\x00\x43\x10\x01\x00\x00\x00\x00\x00\x09\x00\x03\x00eth0\x00\x00\x00\x00\x08\x00\x04\x00\xdc\x05\x00\x00\x0c\x00\x12\x00\x08\x00\x01\x00veth";
    let route = b"\x02\x20\x00\x00\xfe\x00\x00\x01\x00\x00\x00\x00\x08\x00\x0f\x00\xfe\x00\x00\x00\x08\x00\x01\x00\xcb\x00\x71\x0a\x08\x00\x05\x00\xc0\x00\x02\x01\x08\x00\x04\x00\x02\x00\x00\x00\x08\x00\x07\x00\xc0\x00\x02\x0a";
    vec![[&[0][..], link].concat(), [&[1][..], route].concat()]
}

fn words() -> Vec<Vec<u8>> {
    let words = [
        (0, "cisco_asa,tries=5,retry=2s"),
        (0, "fortigate_ikev2"),
        (1, "10.0.0.0/8"),
        (1, "2001:db8::/32"),
        (2, "aes256gcm16-prfsha256-ecp256"),
        (3, "aes128-sha1-modp1024"),
        (4, "https://[::1]:10069/x"),
        (5, "100Mbit"),
        (6, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        (7, "2h"),
        (7, "2026-11-22T00:00:00Z"),
        (8, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
    ];
    words.iter().map(|(which, word)| [&[*which][..], word.as_bytes()].concat()).collect()
}

fn lines() -> Vec<Vec<u8>> {
    let mut lines: Vec<String> = [
        HEADER,
        PLACE,
        r#"{"remove":{"series":0,"now":5}}"#,
        r#"{"tick":{"now":5,"wall":1795305600000000000}}"#,
        r#"{"gap":{"lost":12}}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    for seq in 0..40_u64 {
        let (due, lost) = (seq * 1_000_000_000, (10..30).contains(&seq));
        let outcome =
            if lost { "1000000000,\"lost:no_answer\",null" } else { "12000000,\"answered\",12000000" };
        lines.push(format!("[0,{seq},\"version\",{due},53000,{outcome}]"));
    }
    lines.into_iter().map(String::into_bytes).collect()
}

fn journals() -> Vec<Vec<u8>> {
    let lines = lines();
    vec![lines[2..].join(&b'\n'), lines.join(&b'\n'), lines[5..].join(&b'\n')]
}

/// What clients and servers say, from their own sources.
fn explained() -> Vec<Vec<u8>> {
    let texts = vpnprobe::diagnose::advice::entries().iter().map(|entry| entry.id.as_bytes().to_vec());
    let said = [
        "received NO_PROPOSAL_CHOSEN notify error",
        "The network connection could not be established because the remote server is not responding. (Error 809)",
        "TLS Error: TLS key negotiation failed to occur within 60 seconds",
        "AUTHENTICATION_FAILED",
    ];
    texts.chain(said.map(|text| text.as_bytes().to_vec())).collect()
}

/// The modules that have targets.
pub const MODULES: &[(&str, crate::Targets)] = &[
    ("wire", crate::wire::TARGETS),
    ("sockets", crate::sockets::TARGETS),
    ("exchange", crate::exchange::TARGETS),
    ("session", crate::session::TARGETS),
    ("text", crate::text::TARGETS),
    ("page", crate::page::TARGETS),
    ("web", crate::web::TARGETS),
];

/// Writes to the directory that `VPNPROBE_FUZZ_SEEDS` names: for each target `NAME/` with a file for each
/// seed, and `NAME.dict`; and `list.tsv` with name, longest input, binary and what it reads.
pub fn write(_: &[u8]) {
    let directory = PathBuf::from(std::env::var_os("VPNPROBE_FUZZ_SEEDS").expect("VPNPROBE_FUZZ_SEEDS"));
    let mut list = String::new();
    for target in TARGETS {
        let folder = directory.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (n, seed) in (target.seeds)().iter().filter(|seed| seed.len() <= target.longest).enumerate() {
            fs::write(folder.join(format!("seed-{n:04}")), seed).unwrap();
        }
        // libFuzzer takes no empty dictionary.
        let mut words = String::from("\"\\x00\\x00\"\n");
        for word in target.words {
            let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let _ = writeln!(words, "\"{bytes}\"");
        }
        fs::write(directory.join(format!("{}.dict", target.name)), words).unwrap();
        let _ = writeln!(list, "{}\t{}\t{}\t{}", target.name, target.longest, target.group, target.about);
    }
    fs::write(directory.join("list.tsv"), list).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_in_its_binary_and_has_seeds() {
        let mut names: Vec<_> =
            MODULES.iter().flat_map(|(_, targets)| targets.iter()).map(|(name, _)| *name).collect();
        let mut listed: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(names, listed);
        for target in TARGETS {
            let file = format!("{}/src/bin/{}.rs", env!("CARGO_MANIFEST_DIR"), target.group);
            let binary = fs::read_to_string(&file).unwrap();
            let modules =
                MODULES.iter().filter(|(_, targets)| targets.iter().any(|(name, _)| *name == target.name));
            for (module, _) in modules {
                assert!(binary.contains(&format!("{module}::TARGETS")), "{} in {file}", target.name);
            }
            let seeds = (target.seeds)();
            assert!(seeds.iter().any(|seed| seed.len() <= target.longest), "{}", target.name);
        }
    }
}
