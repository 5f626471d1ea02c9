//! Peers that mean harm: endless, oversized, contradictory, or full of what a terminal or a browser would
//! obey. What comes from them is capped, escaped and counted, and ends nobody else's probes.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::{Lab, both, text};
use crate::isolation::Peers;

/// What a terminal and a browser would obey.
const EVIL: &str = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\r\n\u{202e}<img src=x onerror=alert(1)>";

/// Reads the request, and says this before it goes on without end.
fn http(mut stream: TcpStream, stop: &AtomicBool, head: &[u8], endless: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let _ = stream.read(&mut [0; 4096])?;
    stream.write_all(head)?;
    while !endless.is_empty() && !stop.load(Ordering::Relaxed) {
        stream.write_all(endless)?;
    }
    Ok(())
}

fn endless_body(stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    http(stream, stop, b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 16384])
}

fn endless_header(stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    http(stream, stop, b"HTTP/1.1 200 OK\r\nServer: ", &[b'x'; 16384])
}

fn endless_headers(stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    http(stream, stop, b"HTTP/1.1 200 OK\r\n", b"Server: x\r\n")
}

fn evil_status(stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    let line = EVIL.replace("\r\n", "");
    http(stream, stop, format!("HTTP/1.1 200 {line}\r\nContent-Length: 0\r\n\r\n").as_bytes(), b"")
}

fn evil_fields(stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    // As much of it as a field may have: RFC 9110, section 5.5.
    let field = "\u{202e}<script>alert(1)</script><img src=x onerror=alert(1)>";
    let head = format!(
        "HTTP/1.1 302 {field}\r\nServer: {field}\r\nLocation: http://evil.test/{field}\r\nContent-Length: 0\r\n\r\n"
    );
    http(stream, stop, head.as_bytes(), b"")
}

/// A handshake with a certificate whose names are evil, and so many more behind it.
fn tls(stream: TcpStream, more: usize) -> std::io::Result<()> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, EVIL);
    params.distinguished_name.push(DnType::OrganizationName, "x".repeat(2000));
    // A DNS name is whatever IA5String takes.
    let name = EVIL.replace('\u{202e}', "");
    params.subject_alt_names = vec![SanType::DnsName(name.as_str().try_into().unwrap()); 50];
    let certificate = params.self_signed(&key).unwrap();
    let chain = vec![certificate.der().clone(); 1 + more];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut tls = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
    tls.read(&mut [0; 1]).map(drop)
}

fn evil_names(stream: TcpStream, _: &AtomicBool) -> std::io::Result<()> {
    tls(stream, 0)
}

/// Some 40 KiB.
fn long_chain(stream: TcpStream, _: &AtomicBool) -> std::io::Result<()> {
    tls(stream, 4)
}

/// Over 64 KiB.
fn too_long_chain(stream: TcpStream, _: &AtomicBool) -> std::io::Result<()> {
    tls(stream, 20)
}

/// Answers every question with its own header and question, and then this; `at` is where that begins.
type Answer = fn(at: u16) -> Vec<u8>;

/// A name that is a pointer to itself (RFC 1035, section 4.1.4).
fn itself(at: u16) -> Vec<u8> {
    let mut record = (0xc000 | at).to_be_bytes().to_vec();
    record.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
    record
}

/// Two that point at each other.
fn each_other(at: u16) -> Vec<u8> {
    let mut record = (0xc000 | (at + 2)).to_be_bytes().to_vec();
    record.extend((0xc000 | at).to_be_bytes());
    record.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
    record
}

/// An alias of evil bytes, with an address.
fn evil_alias(at: u16) -> Vec<u8> {
    let label = "\x1b[2J<script>alert(1)</script>";
    let length = u8::try_from(label.len()).unwrap();
    let mut records = vec![0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, length + 2, length];
    records.extend(label.as_bytes());
    records.push(0);
    records.extend((0xc000 | (at + 12)).to_be_bytes());
    records.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
    records
}

/// Sixty thousand records are promised, and none comes.
fn nothing(_: u16) -> Vec<u8> {
    Vec::new()
}

fn resolver(lab: &Lab, stop: &Arc<AtomicBool>, address: &str, count: u16, answer: Answer) {
    let socket = lab.within("conc", || UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while !stop.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            // The question ends behind its name, type and class.
            let name = buffer[12..length].iter().position(|octet| *octet == 0).unwrap();
            let end = 12 + name + 5;
            let mut said = buffer[..end].to_vec();
            said[2..4].copy_from_slice(&[0x81, 0x80]);
            said[6..8].copy_from_slice(&count.to_be_bytes());
            said[8..12].fill(0);
            said.extend(answer(u16::try_from(end).unwrap()));
            let _ = socket.send_to(&said, from);
        }
    });
}

/// What is shown to people or machines has nothing that one of them would obey.
#[track_caller]
fn harmless(what: &str, shown: &str) {
    let bad = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
    let found = shown.chars().find(bad);
    assert!(found.is_none(), "{what} has {found:?}: {}", shown.escape_debug());
}

#[test]
fn what_comes_is_capped_escaped_and_counted() {
    let lab = Lab::up();
    let peers = Peers::default();
    let http = "{scheme: http}";
    let mut rows: Vec<(&str, String, &str)> = Vec::new();
    for (port, manner, said) in [
        (8001, endless_body as fn(TcpStream, &AtomicBool) -> _, "http answered"),
        (8002, endless_header, "http refused protocol_error"),
        (8003, endless_headers, "http refused protocol_error"),
        (8004, evil_status, "http refused protocol_error"),
        (8005, evil_fields, "http answered"),
    ] {
        peers.tcp(&lab, "conc", &format!("203.0.113.10:{port}"), manner);
        rows.push(("203.0.113.10", format!("http: {{interval: 15s, port: {port}, http: {http}}}"), said));
    }
    for (address, manner, said) in [
        ("203.0.113.11", evil_names as fn(TcpStream, &AtomicBool) -> _, "tls answered cert_untrusted"),
        ("203.0.113.12", long_chain, "tls answered cert_untrusted"),
        ("203.0.113.13", too_long_chain, "tls refused protocol_error"),
    ] {
        peers.tcp(&lab, "conc", &format!("{address}:443"), manner);
        rows.push((address, "tls: {interval: 15s}".to_owned(), said));
    }
    for (address, count, answer, said) in [
        ("203.0.113.11", 1, itself as Answer, "dns refused protocol_error"),
        ("203.0.113.12", 1, each_other, "dns refused protocol_error"),
        ("203.0.113.13", 2, evil_alias, "dns answered"),
        ("203.0.113.14", 60_000, nothing, "dns refused protocol_error"),
    ] {
        resolver(&lab, peers.stop(), &format!("{address}:53"), count, answer);
        rows.push((
            address,
            "dns: {interval: 15s, dns: {name: vpn.example.test, record: A}}".to_owned(),
            said,
        ));
    }

    // By hand.
    let mut wrong = Vec::new();
    let mut all = String::new();
    for (index, (address, probe, said)) in rows.iter().enumerate() {
        let name = format!("t{index}");
        let block = format!("  {name}:\n    address: {address}\n    probes: {{{probe}}}\n");
        let file = lab.config("check.yml", &format!("targets:\n{block}"));
        let file = file.to_str().unwrap();
        let check = lab.check(&["--target", &name, "--config.file", file]);
        if let Some(mismatch) = check.mismatch(&[said]) {
            wrong.push(format!("{probe} of {address}: {mismatch}"));
        }
        harmless("JSON", &format!("{:#}", check.json));
        assert!(check.json.to_string().len() < 64 * 1024, "{probe}: what is told is bounded");
        let output = lab.vpnprobe(&["check", "--target", &name, "--config.file", file]);
        harmless("text", &both(&output));
        all.push_str(&block);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // And all at once, beside one that is well.
    lab.script("start strongswan");
    let good = "  good:\n    address: 203.0.113.10\n    probes: {ike: {interval: 500ms, timeout: 400ms}}\n";
    let mut daemon = lab.serve(&format!("targets:\n{good}{all}"));
    daemon.ready();
    let label = |index: usize| format!("target=\"t{index}\"");
    let mut waited = Vec::new();
    for _ in 0..60 {
        let metrics = daemon.metrics();
        let of = |name: &str, index| metrics.sum(name, &[&label(index)]).unwrap_or(0.0);
        waited = (0..rows.len()).filter(|index| of("vpnprobe_probes_total", *index) < 1.0).collect();
        if waited.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(waited.is_empty(), "not asked: {waited:?}\n{}\n{}", daemon.metrics().0, daemon.log());
    std::thread::sleep(Duration::from_secs(3));
    let metrics = daemon.metrics();
    for (index, (address, probe, said)) in rows.iter().enumerate() {
        let counted =
            metrics.sum("vpnprobe_probe_failures_total", &[&label(index), "reason=\"protocol_error\""]);
        let expected = said.ends_with("protocol_error");
        assert_eq!(counted > Some(0.0), expected, "{probe} of {address}: {counted:?}");
    }
    let good = ["target=\"good\""];
    assert_eq!(metrics.get("vpnprobe_probe_failures_total", &good), 0.0);
    assert!(metrics.get("vpnprobe_probe_rtt_seconds_count", &good) >= 4.0);
    harmless("metrics", &metrics.0);
    for path in ["/", "/api/v1/status", "/config", "/api/v1/path", "/sd"] {
        let (status, body) = daemon.request("GET", path).unwrap();
        assert_eq!(status, 200, "{path}");
        harmless(path, &body);
        let html = path == "/" && (body.contains("<script>alert") || body.contains("<img src=x"));
        assert!(!html, "{path}: {body}");
    }
    harmless("log", &daemon.log());
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    println!(
        "at most {most} KiB of memory; {}",
        text(daemon.log().lines().last().unwrap_or_default().as_bytes())
    );
    assert!(most < 200 * 1024, "{most} KiB");
    daemon.stop();
}
