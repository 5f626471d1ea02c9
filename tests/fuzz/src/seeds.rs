//! What targets start from: the golden vectors of the project, all of which somebody else made, alone and in
//! the frames of an exchange or a session; and texts as the program writes them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exchange::planted;
use crate::frames::{BLIND, Frame, Overlay, overlays, quotes};
use crate::text::{HEADER, PLACE};

pub(crate) const IKE: &[&str] = &["tests/golden/ike", "src/probe/ike/tests.rs", "src/wire/ike/tests.rs"];
pub(crate) const IKEV1: &[&str] =
    &["tests/golden/ikev1", "src/probe/ikev1/tests.rs", "src/wire/ikev1/tests.rs"];
pub(crate) const L2TP: &[&str] = &["src/wire/l2tp/tests.rs", "src/probe/l2tp/tests.rs"];
pub(crate) const OPENVPN: &[&str] = &["tests/golden/openvpn", "src/wire/openvpn/tests.rs"];
pub(crate) const STUN: &[&str] = &["src/wire/stun/tests.rs"];
pub(crate) const ICMP: &[&str] = &["src/wire/icmp/tests.rs", "src/probe/icmp/tests.rs"];
pub(crate) const DNS: &[&str] = &["src/probe/dns/tests.rs"];

/// A file or folder of the project, by its path from the project's root.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The text of a file of the project.
#[must_use]
pub fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The files in these files and folders.
fn files(names: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut paths: Vec<_> = names.iter().map(|name| path(name)).collect();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The golden vectors in these files and folders: in Rust every string of hexadecimal octets and white
/// space, elsewhere every hexadecimal word; of at least eight octets.
#[must_use]
pub fn goldens(names: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for file in files(names) {
        let text = fs::read_to_string(&file).unwrap();
        let rust = file.extension().is_some_and(|extension| extension == "rs");
        let texts: Vec<String> = if rust {
            text.split('"').skip(1).step_by(2).map(|text| text.split_whitespace().collect()).collect()
        } else if file.extension().is_some_and(|extension| extension == "hex") {
            // Lines of digits alone are one vector; in the others each word is.
            let (alone, mixed): (Vec<_>, Vec<_>) =
                text.lines().map(str::trim).partition(|line| hexadecimal(line));
            let words = mixed.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned);
            std::iter::once(alone.concat()).chain(words).collect()
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        };
        found.extend(texts.iter().filter_map(|text| octets(text)));
    }
    found.sort();
    found.dedup();
    found
}

fn hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The octets of a hexadecimal text of at least eight.
fn octets(text: &str) -> Option<Vec<u8>> {
    if text.len() < 16 || !text.len().is_multiple_of(2) || !hexadecimal(text) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The contents of the files in these files and folders whose names end so.
#[must_use]
pub fn contents(names: &[&str], ending: &str) -> Vec<Vec<u8>> {
    let matching = files(names).into_iter().filter(|file| file.to_string_lossy().ends_with(ending));
    matching.map(|file| fs::read(file).unwrap()).collect()
}

pub(crate) const WEB: &[u8] = b"tls_server_config:\n  cert_file: a\n  key_file: b\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: c\n  min_version: TLS12\n  max_version: TLS13\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  curve_preferences: [X25519]\n  prefer_server_cipher_suites: true\nhttp_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: default-src\nbasic_auth_users:\n  joe: $2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n";
pub(crate) const INCIDENT: &[u8] = br#"{"schema":1,"id":"20261122T000000000Z-branch-office-0001","target":"branch-office","kind":"outage","state":"closed","began":"2026-11-22T00:00:00.000Z","ended":"2026-11-22T00:01:00.000Z","seconds":60.0,"cause":null,"clues":[],"series":[],"transitions":[],"dpd":[]}"#;
pub(crate) const SEEN: &[u8] = br#"{"time":"2026-11-22T00:00:00Z","ready":true,"targets":[{"target":"branch-office","state":"up","probes":[{"probe":"ike","kind":"ike","member":1,"egress":"default","stable_in_seconds":null,"recent":null}]}]}"#;

/// A frame of an exchange or a session.
fn frame(what: u8, overlay: Option<Overlay>, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame { what, overlay, bytes }.write(&mut out);
    out
}

/// Exchanges that are answered with each of these: by somebody who sees us, by a blind one, twice, after a
/// timeout, and quoted by a router.
pub(crate) fn exchanges(name: &str, answers: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let (overlays, at) = (overlays(name), planted(name).at);
    let mut out = Vec::new();
    for what in 1..=12 {
        out.push([vec![0], frame(what, Some((0, 0, 64)), &[0; 64])].concat());
    }
    // The header of our packet with something else behind it, and the whole of it.
    let counted: Vec<u8> = (0..=255).chain(0..44).collect();
    for what in 1..=4 {
        for mode in [0, 1] {
            out.push([vec![mode], frame(what, Some((0, 0, 24)), &counted[..64])].concat());
            out.push([vec![mode], frame(what, Some((0, 0, 255)), &counted)].concat());
        }
    }
    for (n, answer) in answers.iter().filter(|answer| answer.len() < 1600).enumerate() {
        out.push([vec![BLIND], frame(0, None, answer)].concat());
        for overlay in overlays {
            // Also with other octets where they are the peer's own to choose, as many answers have only zeros.
            let chosen = [&answer[..at.min(answer.len())], b"lmno", answer.get(at + 4..).unwrap_or_default()];
            for mode in [0, 1, 2] {
                out.push([vec![mode], frame(0, Some(*overlay), answer)].concat());
                out.push([vec![mode], frame(0, Some(*overlay), &chosen.concat())].concat());
            }
            let other = &answers[(n + 1) % answers.len()];
            out.push([vec![0], frame(0, Some(*overlay), answer), frame(0, Some(*overlay), other)].concat());
            out.push([vec![1], frame(11, None, &[]), frame(0, Some(*overlay), answer)].concat());
        }
    }
    // The answers one after the other, each with other octets where the peer chooses them: as many of the first
    // as have room, and then the shortest. Among those is one that is taken first, before the exchange knows
    // anybody; where there is none, whatever is changed in the others stays without any consequence.
    let mut ordered: Vec<_> = answers.iter().filter(|answer| answer.len() >= at + 4).collect();
    out.push(sequence(name, &ordered));
    ordered.sort_by_key(|answer| answer.len());
    out.push(sequence(name, &ordered));
    // Quoted by one router after the other, each with something else behind it; a trace also on the flow of IKE.
    for quote in quotes(name) {
        for mode in [0x11, 1, 0] {
            let another =
                |n: u8| counted.iter().take(160).map(|byte| byte.wrapping_mul(n)).collect::<Vec<u8>>();
            let frames = (0..16)
                .flat_map(|n: u8| frame([1, 4][usize::from(n) % 2], Some(*quote), &another(2 * n + 3)));
            out.push([mode].into_iter().chain(frames).collect());
        }
    }
    out
}

/// As many of these answers as there is room for, one after the other, each with other octets where the peer
/// chooses them.
fn sequence(name: &str, answers: &[&Vec<u8>]) -> Vec<u8> {
    let (overlays, at) = (overlays(name), planted(name).at);
    let room = crate::list::TARGETS.iter().find(|target| target.name == name).unwrap().longest;
    let mut all = vec![0];
    for (answer, n) in answers.iter().zip(1_u8..24) {
        let chosen = [1, 3, 5, 7].map(|times| n.wrapping_mul(times * 10 + 1));
        let chosen = [&answer[..at], &chosen, &answer[at + 4..]].concat();
        let next = frame(0, overlays.first().copied(), &chosen);
        if all.len() + next.len() <= room {
            all.extend(next);
        }
    }
    all
}

/// Sessions whose peer asks, answers, deletes and rekeys.
pub(crate) fn sessions() -> Vec<Vec<u8>> {
    let mut out: Vec<_> = unmarked(goldens(IKE))
        .iter()
        .flat_map(|bytes| [0, 1, 2].map(|stage| [vec![stage], frame(0, None, bytes)].concat()))
        .collect();
    // Exchange, flags, message id, first payload, number, total; then the chain.
    let deletes = b"\x25\x00\x00\x2a\x01\x01\x00\x00\x00\x08\x01\x00\x00\x00";
    let check = b"\x25\x00\x00\x00\x01\x01";
    let rekeys = b"\x24\x00\x00\x21\x01\x01\x28\x00\x00\x2c\x00\x00\x00\x28\x01\x01\x08\x03\x01\x02\x03\x04\x05\x06\x07\x08\x03\x00\x00\x0c\x01\x00\x00\x14\x80\x0e\x00\x80\x00\x00\x00\x08\x04\x00\x00\x1f\x00\x00\x00\x14abcdefghijklmnop";
    let refuses = b"\x23\x20\x01\x29\x01\x01\x00\x00\x00\x08\x00\x00\x00\x18";
    let vendor = b"\x25\x00\x00\x2b\x01\x01\x00\x00\x00\x18abcdefghijklmnopqrst";
    for sealed in [&deletes[..], check, rekeys, refuses, vendor] {
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
    // One after the other, each with a vendor ID of its own.
    let vendors = (0..16).flat_map(|id: u8| {
        let vendor: Vec<u8> = (3..23_u8).map(|n| n.wrapping_mul(2 * id + 41)).collect();
        frame(1, None, &[&[0x25, 0, id, 0x2b, 1, 1, 0, 0, 0, 24], &vendor[..]].concat())
    });
    out.push([2].into_iter().chain(vendors).collect());
    out
}

pub(crate) fn prefixed(first: u8, seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.into_iter().map(|seed| [vec![first], seed].concat()).collect()
}

/// As they are, and below a line of text.
pub(crate) fn commented(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let below: Vec<_> = seeds.iter().map(|seed| [b"head-office, since 2026\n", &seed[..]].concat()).collect();
    [seeds, below].concat()
}

/// Those with the most notifications last.
pub(crate) fn notified(mut seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    use vpnprobe::wire::ike::Message;
    seeds.sort_by_key(|seed| Message::decode(seed).map_or(0, |message| message.notifies().count()));
    seeds
}

/// With the non-ESP marker.
pub(crate) fn marked(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    unmarked(seeds).into_iter().map(|seed| [vec![0; 4], seed].concat()).collect()
}

/// Without it.
pub(crate) fn unmarked(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.into_iter().map(|seed| seed.strip_prefix(&[0; 4]).unwrap_or(&seed).to_vec()).collect()
}

/// Also two of the same in one segment of a stream.
pub(crate) fn coalesced(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let twice: Vec<_> = seeds.iter().map(|seed| seed.repeat(2)).collect();
    [seeds, twice].concat()
}

/// Replies of WireGuard as long as they are, which nobody's keys have made: a handshake response and a cookie.
pub(crate) fn wireguard() -> Vec<Vec<u8>> {
    let counted = |kind: u8, length: u8| [kind, 0, 0, 0].into_iter().chain(4..length).collect();
    vec![counted(2, 92), counted(3, 64)]
}

/// With their lengths, as OpenVPN and DNS have them over TCP.
pub(crate) fn framed(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let length = |seed: &Vec<u8>| u16::try_from(seed.len()).unwrap().to_be_bytes();
    seeds.iter().map(|seed| [&length(seed)[..], seed].concat()).collect()
}

/// Answers as nginx gives them, and the forms of RFC 9112.
pub(crate) fn heads() -> Vec<Vec<u8>> {
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

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let lines = [
        "GET / HTTP/1.1",
        "GET /metrics HTTP/1.1",
        "GET /metrics?histograms=native HTTP/1.1",
        "HEAD /metrics HTTP/1.0",
        "GET /probe?target=hq&module=ike&timeout=1 HTTP/1.1",
        "GET /probe?module=openvpn_udp&target=hq HTTP/1.1",
        "GET /config HTTP/1.1",
        "GET /sd HTTP/1.1",
        "GET /api/v1/status?target=hq HTTP/1.1",
        "GET /api/v1/path HTTP/1.1",
        "GET /api/v1/incidents?limit=3&since=1h HTTP/1.1",
        "GET /api/v1/incidents/20261122T000000000Z-hq-0001 HTTP/1.1",
        "GET /-/ready HTTP/1.1",
        "POST /-/reload HTTP/1.1",
        "GET /-/healthy HTTP/1.1",
    ];
    let headers = "Host: localhost\r\nAccept: text/html, application/vnd.google.protobuf;q=0.5\r\nAccept-Encoding: gzip\r\n";
    lines.map(|line| format!("{line}\r\n{headers}\r\n").into_bytes()).to_vec()
}

/// What openssl s_server says first: a ServerHello of TLS 1.2, its certificate cut short, an alert, and no
/// TLS at all.
pub(crate) fn tls() -> Vec<Vec<u8>> {
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
pub(crate) fn certificates() -> Vec<Vec<u8>> {
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

pub(crate) fn pem() -> Vec<Vec<u8>> {
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
pub(crate) fn raw_icmp() -> Vec<Vec<u8>> {
    let outer = b"\x45\x00\x00\x38\x00\x00\x00\x00\x40\x01\x00\x00\xc0\x00\x02\x01\xc0\x00\x02\x0a";
    let inner = b"\x45\x00\x00\x54\x00\x00\x40\x00\x3f\x01\x00\x00\xc0\x00\x02\x0a\xcb\x00\x71\x0a";
    let echo = b"\x08\x00\xab\xcd\x12\x34\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08";
    vec![
        [&outer[..], b"\x03\x0d\x00\x00\x00\x00\x00\x00", inner, echo].concat(),
        [&outer[..], b"\x0b\x00\x00\x00\x00\x00\x00\x00", inner, &echo[..8]].concat(),
        [&outer[..], b"\x00\x00\xab\xcd\x12\x34\x00\x01", &echo[8..], &[0; 48]].concat(),
    ]
}

/// A link of Ethernet, a route by a gateway (rtnetlink(7)), and a link with a longer name.
pub(crate) fn netlink() -> Vec<Vec<u8>> {
    let link = b"\x00\x00\x01\x00\x02\x00\x00\x00\x43\x10\x01\x00\x00\x00\x00\x00\x09\x00\x03\x00eth0\x00\x00\x00\x00\x08\x00\x04\x00\xdc\x05\x00\x00\x0c\x00\x12\x00\x08\x00\x01\x00veth";
    let route = b"\x02\x20\x00\x00\xfe\x00\x00\x01\x00\x00\x00\x00\x08\x00\x0f\x00\xfe\x00\x00\x00\x08\x00\x01\x00\xcb\x00\x71\x0a\x08\x00\x05\x00\xc0\x00\x02\x01\x08\x00\x04\x00\x02\x00\x00\x00\x08\x00\x07\x00\xc0\x00\x02\x0a";
    let named = b"\x00\x00\x01\x00\x03\x00\x00\x00\x43\x10\x01\x00\x00\x00\x00\x00\x12\x00\x03\x00vethwe-bridge\x00\x00\x00\x08\x00\x04\x00\xdc\x05\x00\x00\x0c\x00\x12\x00\x08\x00\x01\x00veth";
    vec![[&[0][..], link].concat(), [&[1][..], route].concat(), [&[0][..], named].concat()]
}

pub(crate) fn words() -> Vec<Vec<u8>> {
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

pub(crate) fn lines() -> Vec<Vec<u8>> {
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

/// Lines of each kind; the header also of a version with a longer name.
pub(crate) fn entries() -> Vec<Vec<u8>> {
    let released = HEADER.replace("0.1.0", "0.1.0-rc.12").into_bytes();
    lines().into_iter().take(5).chain(lines().into_iter().skip(5).step_by(12)).chain([released]).collect()
}

/// Names of targets.
const OFFICES: [&str; 12] = [
    "kyoto", "osaka", "sendai", "nagoya", "naha", "hakodate", "tokyo", "nara", "gifu", "otsu", "kobe", "mito",
];

/// More targets, of each a series with a sample.
fn offices() -> Vec<u8> {
    let lines = OFFICES.iter().take(6).zip(1..).flat_map(|(office, n)| {
        let place = PLACE.replace(r#""series":0"#, &format!(r#""series":{n}"#));
        let sample = format!("[{n},0,\"version\",0,53000,12000000,\"answered\",12000000]");
        [place.replace(r#""hq""#, &format!(r#""{office}-office""#)), sample]
    });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

pub(crate) fn journals() -> Vec<Vec<u8>> {
    let lines = lines();
    let other = PLACE.replace(r#""series":0"#, r#""series":1"#).replace(r#""hq""#, r#""branch-office""#);
    vec![
        lines[2..].join(&b'\n'),
        lines.join(&b'\n'),
        lines[5..].join(&b'\n'),
        [other.as_bytes(), b"[1,0,\"version\",0,53000,12000000,\"answered\",12000000]"].join(&b'\n'),
        offices(),
    ]
}

/// What a daemon keeps of nothing, of a series that was lost for a while, and of more.
pub(crate) fn states() -> Vec<Vec<u8>> {
    use vpnprobe::budget::{Budget, Limits};
    use vpnprobe::detect::Knowledge;
    use vpnprobe::journal::{Entry, Intake, parse};
    use vpnprobe::store::Snapshot;
    use vpnprobe::time::{Timestamp, WallTime};

    let place = PLACE.replace(r#""hq""#, r#""branch-office""#).into_bytes();
    let lost = std::iter::once(place).chain(lines().into_iter().skip(5)).collect::<Vec<_>>().join(&b'\n');
    let known = |journal: &[u8]| {
        let mut intake = Intake::default();
        for line in journal.split(|byte| *byte == b'\n') {
            if let Ok(Entry::Record(record)) = parse(line)
                && let Some(input) = record.input()
            {
                intake.take(input, &mut Vec::new());
            }
        }
        intake
    };
    let now = Timestamp::from_secs(50);
    let wall = WallTime::from_unix_secs(1_795_305_600);
    let body = |knowledge| {
        let file = Snapshot::new(now, wall, knowledge, Budget::new(Limits::default(), now).keep()).to_bytes();
        // Without the first line, which the target makes.
        file.unwrap().splitn(2, |byte| *byte == b'\n').nth(1).unwrap().trim_ascii().to_vec()
    };
    vec![body(Knowledge::default()), body(known(&lost).keep(now)), body(known(&offices()).keep(now))]
}

/// A configuration of one target, and one of many.
pub(crate) fn configs() -> Vec<Vec<u8>> {
    let one = "targets:\n  branch-office-kyoto:\n    address: 192.0.2.1\n    vpn: [ipsec, openvpn]\n";
    let target = |office| format!("  site-{office}-north: {{address: 192.0.2.1, probes: {{icmp: {{}}}}}}\n");
    let many = OFFICES.iter().map(target).collect::<String>();
    vec![one.into(), format!("targets:\n{many}").into()]
}

/// What clients and servers say, from their own sources.
pub(crate) fn explained() -> Vec<Vec<u8>> {
    let texts = vpnprobe::diagnose::advice::entries().iter().map(|entry| entry.id.as_bytes().to_vec());
    let said = [
        "The network connection could not be established because the remote server is not responding. (Error 809)",
        "TLS Error: TLS key negotiation failed to occur within 60 seconds",
        "AUTHENTICATION_FAILED",
        "received NO_PROPOSAL_CHOSEN notify error",
    ];
    texts.chain(said.map(|text| text.as_bytes().to_vec())).collect()
}
