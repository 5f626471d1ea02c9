use std::io::Read as _;

use super::*;

/// The body of an answer that came in chunks (RFC 9112, section 7.1).
fn unchunked(raw: &[u8]) -> (String, Vec<u8>) {
    let head = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (&raw[head..], Vec::new());
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
        if size == 0 {
            assert!(rest.is_empty());
            return (String::from_utf8(raw[..head].to_vec()).unwrap().to_ascii_lowercase(), body);
        }
    }
}

impl Served {
    async fn bytes(&self, method: &str, target: &str, headers: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.unwrap();
        raw
    }

    /// Many more series: some megabytes of text.
    fn grow(&self, series: usize) {
        for at in 0..series {
            let key = SeriesKey {
                target: format!("target-{at:05}"),
                member: 1,
                probe: "icmp".into(),
                egress: "default".into(),
            };
            let _ = self.registry.series(key, Kind::named("icmp").unwrap(), &[0.01, 0.1]);
        }
    }
}

const PROTOBUF: &str =
    "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";

#[tokio::test]
async fn a_long_scrape_is_whole_plain_and_compressed() {
    // What is asked here is what comes, not how fast a busy machine sends it.
    let patient = Limits { request: Duration::from_secs(3600), ..Limits::default() };
    let server = Served::start(FakeDaemon::default(), patient);
    server.grow(1000);
    let text = server.registry.encode_text();
    assert!(text.len() > 2_000_000);
    let (head, plain) = unchunked(&server.bytes("GET", "/metrics", "").await);
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-encoding"), "{head}");
    assert!(plain == text);

    let (head, packed) = unchunked(&server.bytes("GET", "/metrics", "Accept-Encoding: gzip\r\n").await);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut plain).unwrap();
    assert!(plain == text && packed.len() * 10 < text.len(), "{}", packed.len());

    let (_, both) = unchunked(&server.bytes("GET", "/metrics", PROTOBUF).await);
    assert!(both == server.registry.encode_protobuf());
    let (_, native) = unchunked(&server.bytes("GET", "/metrics?histograms=native", PROTOBUF).await);
    assert!(native.len() < both.len());
    // Text has no native form: nothing is left out of it.
    let (_, plain) = unchunked(&server.bytes("GET", "/metrics?histograms=native", "").await);
    assert!(plain == text);
}

/// `name[]`, as client_golang's handler has it: once or more, also percent-encoded.
#[tokio::test]
async fn some_families_are_given_alone() {
    let server = Served::default();
    server.grow(40);
    let text = String::from_utf8(server.registry.encode_text()).unwrap();
    let of = |names: &[&str]| -> String {
        let metric = |line: &&str| {
            let line = line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE ")).unwrap_or(line);
            let name = line.split([' ', '{']).next().unwrap();
            names.iter().any(|wanted| name == *wanted || name.starts_with(&format!("{wanted}_")))
        };
        text.lines().filter(metric).map(|line| format!("{line}\n")).collect()
    };
    for (query, names) in [
        ("?name[]=vpnprobe_probe_rtt_seconds", &["vpnprobe_probe_rtt_seconds"][..]),
        (
            "?name%5B%5D=vpnprobe_probe_rtt_seconds&histograms=native&name[]=vpnprobe_build_info",
            &["vpnprobe_build_info", "vpnprobe_probe_rtt_seconds"],
        ),
        ("?name[]=no_such_metric", &[]),
    ] {
        let (_, some) = unchunked(&server.bytes("GET", &format!("/metrics{query}"), "").await);
        assert_eq!(String::from_utf8(some).unwrap(), of(names), "{query}");
    }
    for query in ["?name=vpnprobe_probe_up", "?name%5=x", "?name[]=%"] {
        let (_, all) = unchunked(&server.bytes("GET", &format!("/metrics{query}"), "").await);
        assert!(all == text.as_bytes(), "{query}");
    }
}

/// As many scrapes as are allowed at once, again and again: each gives its place back, also those whose
/// body is never asked for, or whose client goes in the middle.
#[tokio::test]
async fn a_scrape_gives_its_place_back() {
    let one = Limits { scrapes: 1, request: Duration::from_secs(3600), ..Limits::default() };
    let server = Served::start(FakeDaemon::default(), one);
    server.grow(500);
    for _ in 0..3 {
        let (head, _) = unchunked(&server.bytes("GET", "/metrics", "").await);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let head = server.bytes("HEAD", "/metrics", "").await;
        assert!(head.starts_with(b"HTTP/1.1 200"));

        // With so small a window, the answer does not fit into the kernel's buffers.
        let gone = tokio::net::TcpSocket::new_v4().unwrap();
        gone.set_recv_buffer_size(4096).unwrap();
        let mut gone = gone.connect(server.at).await.unwrap();
        gone.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut first = [0; 100];
        gone.read_exact(&mut first).await.unwrap();
        assert!(server.bytes("GET", "/metrics", "").await.starts_with(b"HTTP/1.1 503"), "one at a time");
        drop(gone);
        while server.bytes("GET", "/metrics", "").await.starts_with(b"HTTP/1.1 503") {}
    }
}

/// One connection may ask again and again: it counts as idle once an answer is sent.
#[tokio::test]
async fn a_connection_is_idle_after_a_scrape() {
    let server = Served::start(FakeDaemon::default(), Limits { per_address: 1, ..Limits::default() });
    let mut kept = TcpStream::connect(server.at).await.unwrap();
    for _ in 0..2 {
        kept.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut raw = Vec::new();
        while !raw.ends_with(b"\r\n0\r\n\r\n") {
            assert_ne!(kept.read_buf(&mut raw).await.unwrap(), 0);
        }
    }
    // So the next one may take its place.
    assert_eq!(server.get("/-/healthy").await.status, 200);
}
