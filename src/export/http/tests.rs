mod scrape;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::export::metrics::{MemberInfo, SeriesKey};
use crate::probe::Kind;
use crate::sample::{Fault, Outcome, Reason, Report, Sample, SeriesId, Text};
use crate::time::{Clock, Timestamp, WallTime};

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(100)
    }
    fn wall(&self) -> WallTime {
        WallTime::from_unix_secs(1_795_305_600)
    }
}

struct FakeDaemon {
    ready: Mutex<Result<(), String>>,
    reload: Mutex<Result<(), String>>,
    outcome: Mutex<Outcome>,
    asked: Mutex<Vec<(String, String, Duration)>>,
    hang: bool,
}

impl Default for FakeDaemon {
    fn default() -> Self {
        Self {
            ready: Mutex::new(Ok(())),
            reload: Mutex::new(Ok(())),
            outcome: Mutex::new(Outcome::OK),
            asked: Mutex::default(),
            hang: false,
        }
    }
}

impl Daemon for FakeDaemon {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.reload.lock().unwrap().clone() })
    }
    fn probe(
        &self,
        target: &str,
        module: &str,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<ProbeNow, ProbeError>> {
        self.asked.lock().unwrap().push((target.to_owned(), module.to_owned(), timeout));
        Box::pin(async {
            if self.hang {
                std::future::pending::<()>().await;
            }
            let outcome = *self.outcome.lock().unwrap();
            let rtt = matches!(outcome, Outcome::Answered(_)).then(|| Duration::from_millis(12));
            let mut report = Report { outcome, rtt, phases: Vec::new(), findings: None };
            report.findings().certificate_not_after = Some(WallTime::from_unix_secs(1_800_000_000));
            let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
            Ok(ProbeNow { address, took: Duration::from_millis(20), report })
        })
    }
    fn config_text(&self) -> String {
        "targets:\n  hq:\n    openvpn: {tls_crypt_file: <secret>}\n".to_owned()
    }
    fn ready(&self) -> Result<(), String> {
        self.ready.lock().unwrap().clone()
    }
    fn targets(&self) -> Vec<TargetRow> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        vec![TargetRow {
            name: "hq".to_owned(),
            addresses: words(&["vpn.example.jp"]),
            vpn: words(&["ipsec"]),
            probes: words(&["ike", "ike_natt"]),
        }]
    }
}

/// A server on a port of its own; it ends with this.
struct Served {
    at: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    daemon: Arc<FakeDaemon>,
    registry: Registry,
}

impl Served {
    fn start(daemon: FakeDaemon, limits: Limits) -> Self {
        let registry = Registry::without_process(Arc::new(Stopped));
        let key = SeriesKey { target: "hq".into(), member: 1, probe: "ike".into(), egress: "default".into() };
        let series = registry.series(key, Kind::named("ike").unwrap(), &[0.01, 0.1]);
        let mut report = Report::timed(Outcome::OK, Duration::from_millis(12));
        report.findings().details.text("vendor", "<script>alert(1)</script>");
        let at = Timestamp::from_secs(1);
        let sample = Sample {
            series: SeriesId(0),
            seq: 0,
            form: "version",
            due: at,
            sent: Some(at),
            done: at,
            report,
        };
        series.record(&sample);
        series.attempt(WallTime::from_unix_secs(1_795_305_597));
        series.set_up(Some(true));
        let vendor = Some(Text::from("<script>alert(1)</script>\"\\\n"));
        let address = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        registry.target_info("hq", 1, Some(MemberInfo { address, vendor, versions: None }));

        let daemon = Arc::new(daemon);
        let shared: Arc<dyn Daemon> = Arc::clone(&daemon) as Arc<dyn Daemon>;
        let app = Arc::new(App::new(registry.clone(), shared, Duration::from_secs(3), limits));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            serve(vec![listener], app, async {
                let _ = stopped.await;
            })
            .await
            .unwrap();
        });
        Self { at, stop: Some(stop), task, daemon, registry }
    }

    fn default() -> Self {
        Self::start(FakeDaemon::default(), Limits::default())
    }

    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        // The server may answer and hang up before it has read all.
        let _ = stream.write_all(request).await;
        read(&mut stream).await
    }

    async fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, "").await
    }

    async fn ask(&self, method: &str, target: &str, headers: &str) -> Reply {
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        Reply::parse(&self.raw(request.as_bytes()).await)
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        bytes.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Reply {
    fn parse(raw: &str) -> Self {
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }
}

#[tokio::test]
async fn each_path_answers() {
    let server = Served::default();
    let metrics = server.get("/metrics").await;
    assert_eq!(
        (metrics.status, metrics.headers["content-type"].as_str()),
        (200, Format::Text.content_type())
    );
    assert!(
        metrics.body.contains(
            "vpnprobe_probes_total{target=\"hq\",member=\"1\",probe=\"ike\",egress=\"default\"} 1\n"
        )
    );
    assert_eq!(server.get("/-/healthy").await.status, 200);
    assert_eq!(server.get("/-/ready").await.status, 200);
    assert!(server.get("/config").await.body.contains("<secret>"));
    let sd = server.get("/sd").await;
    assert_eq!(sd.headers["content-type"], "application/json");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&sd.body).unwrap(),
        serde_json::json!([{"targets": ["hq"], "labels": {
            "__meta_vpnprobe_addresses": ",vpn.example.jp,",
            "__meta_vpnprobe_vpn": ",ipsec,",
            "__meta_vpnprobe_probes": ",ike,ike_natt,",
        }}])
    );
    assert_eq!(server.get("/nothing").await.status, 404);
    assert_eq!(server.get("/metrics/").await.status, 404);
}

#[tokio::test]
async fn the_status_has_what_is_known_and_the_page_escapes_it() {
    let server = Served::default();
    let status: serde_json::Value = serde_json::from_str(&server.get("/api/v1/status").await.body).unwrap();
    assert_eq!(status["schema"], 1);
    assert_eq!(status["time"], "2026-11-22T00:00:00.000Z");
    let target = &status["targets"][0];
    assert_eq!(target["target"], "hq");
    assert_eq!(target["state"], "unknown");
    let probe = &target["probes"][0];
    for (key, value) in [
        ("probe", serde_json::json!("ike")),
        ("kind", serde_json::json!("ike")),
        ("member", serde_json::json!(1)),
        ("address", serde_json::json!("192.0.2.1")),
        ("up", serde_json::json!(true)),
        ("outcome", serde_json::json!("answered")),
        ("reason", serde_json::Value::Null),
        ("rtt_seconds", serde_json::json!(0.012)),
        ("last_attempt_age_seconds", serde_json::json!(3.0)),
        ("details", serde_json::json!({"vendor": "<script>alert(1)</script>"})),
    ] {
        assert_eq!(probe[key], value, "{key}");
    }

    let page = server.get("/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(
        page.headers["content-security-policy"].starts_with("default-src 'none'; style-src 'unsafe-inline'")
    );
    assert!(!page.body.contains("<script"), "{}", page.body);
    assert!(page.body.contains("&#60;script&#62;") || page.body.contains("&lt;script&gt;"), "{}", page.body);
    assert!(page.body.contains("12.000 ms") && page.body.contains("3 s ago"), "{}", page.body);

    let metrics = server.get("/metrics").await.body;
    let info = metrics.lines().find(|line| line.starts_with("vpnprobe_target_info{")).unwrap();
    // `Text` has escaped the line feed, and the encoder the quote and the backslashes.
    assert!(info.contains("vendor=\"<script>alert(1)</script>\\\"\\\\\\\\u{a}\""), "{info}");
}

#[tokio::test]
async fn readiness_and_reload_say_why_not() {
    let server = Served::default();
    *server.daemon.ready.lock().unwrap() = Err("starting".to_owned());
    let ready = server.get("/-/ready").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "Not ready: starting\n"));
    assert_eq!(server.get("/-/healthy").await.status, 200);

    let wrong = server.get("/-/reload").await;
    assert_eq!((wrong.status, wrong.headers["allow"].as_str()), (405, "POST"));
    assert_eq!(server.ask("POST", "/-/reload", "").await.status, 200);
    assert_eq!(server.ask("POST", "/-/reload", "Content-Length: 0\r\n").await.status, 200);
    *server.daemon.reload.lock().unwrap() = Err("vpnprobe.yml:3:5: unknown key".to_owned());
    let failed = server.ask("POST", "/-/reload", "").await;
    assert_eq!(failed.status, 500);
    assert!(failed.body.contains("vpnprobe.yml:3:5: unknown key"), "{}", failed.body);
    assert_eq!(server.ask("POST", "/-/reload", "Origin: https://evil.example\r\n").await.status, 403);
}

#[tokio::test]
async fn protobuf_is_given_to_who_asks_for_it() {
    let server = Served::default();
    // What Prometheus 2.42 sends with --enable-feature=native-histograms.
    let accept = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                  application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let reply = server.ask("GET", "/metrics", accept).await;
    assert_eq!(reply.headers["content-type"], Format::Protobuf.content_type());
    assert!(reply.body.contains("vpnprobe_probes_total") && !reply.body.contains("# HELP"));
}

#[tokio::test]
async fn a_probe_needs_a_configured_target_and_one_of_its_probes() {
    let server = Served::default();
    for bad in [
        "/probe",
        "/probe?target=",
        "/probe?target=hq",
        "/probe?target=hq&module=",
        "/probe?target=hq&module=http_2xx",
        "/probe?target=hq%2&module=ike",
        "/probe?target=169.254.169.254&module=ike",
        "/probe?target=%5B::ffff:127.0.0.1%5D&module=ike",
        "/probe?target=0x7f000001&module=ike",
        "/probe?target=hq@192.0.2.9&module=ike",
        "/probe?target=hq%0d%0aHost:%20x&module=ike",
        "/probe?target=other&target=hq&module=ike",
    ] {
        let reply = server.get(bad).await;
        assert_eq!(reply.status, 400, "{bad}");
        assert!(!reply.body.contains("169.254") && !reply.body.contains("192.0.2.9"), "{}", reply.body);
    }
    assert!(server.daemon.asked.lock().unwrap().is_empty());

    let reply = server.get("/probe?module=ike&target=h%71").await;
    assert_eq!(reply.status, 200);
    for line in [
        "probe_success 1\n",
        "probe_duration_seconds 0.02\n",
        "probe_timeout_seconds 3\n",
        "probe_ip_protocol 4\n",
        "probe_ssl_earliest_cert_expiry 1800000000\n",
        "vpnprobe_probe_now_rtt_seconds 0.012\n",
        "vpnprobe_probe_now_info{outcome=\"answered\",reason=\"\"} 1\n",
    ] {
        assert!(reply.body.contains(line), "{line}{}", reply.body);
    }
    assert!(!reply.body.contains("vpnprobe_build_info"), "the daemon's own metrics do not belong here");
}

#[tokio::test]
async fn a_probe_keeps_to_the_scrapers_timeout_and_tells_a_refusal_from_our_own_fault() {
    let server = Served::default();
    let ask = |timeout: &str| format!("X-Prometheus-Scrape-Timeout-Seconds: {timeout}\r\n");
    for (said, given) in [("2.5", 2000), ("0.9", 450), ("60", 9000), ("nonsense", 3000), ("-1", 3000)] {
        server.ask("GET", "/probe?target=hq&module=ike", &ask(said)).await;
        let (_, _, timeout) = server.daemon.asked.lock().unwrap().pop().unwrap();
        assert_eq!(timeout, Duration::from_millis(given), "{said}");
    }

    *server.daemon.outcome.lock().unwrap() = Outcome::Refused(Reason::NoProposalChosen);
    let refused = server.get("/probe?target=hq&module=ike").await;
    assert!(refused.status == 200 && refused.body.contains("probe_success 0\n"), "{}", refused.body);
    assert!(refused.body.contains("outcome=\"refused\",reason=\"no_proposal_chosen\""), "{}", refused.body);

    *server.daemon.outcome.lock().unwrap() = Outcome::Unsent(Fault::Budget);
    let unsent = server.get("/probe?target=hq&module=ike").await;
    assert_eq!(unsent.status, 503);
    assert!(!unsent.body.contains("probe_success"), "{}", unsent.body);
}

#[tokio::test]
async fn a_probe_that_never_ends_is_ended() {
    let limits = Limits { request: Duration::from_millis(200), ..Limits::default() };
    let server = Served::start(FakeDaemon { hang: true, ..FakeDaemon::default() }, limits);
    assert_eq!(server.get("/probe?target=hq&module=ike").await.status, 503);
}

#[tokio::test]
async fn methods_that_a_path_does_not_take_are_refused() {
    let server = Served::default();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let reply = server.ask(method, "/metrics", "").await;
        assert_eq!((reply.status, reply.headers["allow"].as_str()), (405, "GET, HEAD"), "{method}");
    }
    assert_eq!(server.ask("HEAD", "/metrics", "").await.status, 200);
    let head = server.ask("HEAD", "/config", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let full = server.get("/config").await;
    assert_eq!(head.headers["content-length"], full.body.len().to_string());
}

#[tokio::test]
async fn hostile_heads_are_refused() {
    let server = Served::default();
    let many = "X-A: a\r\n".repeat(151);
    assert_eq!(server.ask("GET", "/metrics", &many).await.status, 431);
    let few = "X-A: a\r\n".repeat(90);
    assert_eq!(server.ask("GET", "/metrics", &few).await.status, 200);
    let big = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(600_000));
    let big = server.raw(big.as_bytes()).await;
    assert!(big.is_empty() || Reply::parse(&big).status == 431, "{big}");
    assert_eq!(server.get(&format!("/metrics?{}", "a".repeat(3000))).await.status, 414);
    let body = server.ask("POST", "/-/reload", "Content-Length: 5\r\n").await;
    assert_eq!(body.status, 413);
    let smuggled = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let smuggled = Reply::parse(&server.raw(smuggled.as_bytes()).await);
    assert!(matches!(smuggled.status, 400 | 413), "{}", smuggled.status);
    for nonsense in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "GET /\u{1} HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read(&mut stream).await;
        assert!(answer.is_empty() || Reply::parse(&answer).status == 400, "{nonsense:?}: {answer}");
    }
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_loopback_listener_is_not_reached_through_a_name_of_others() {
    let server = Served::default();
    for (host, status) in [
        ("localhost:10069", 200),
        ("127.0.0.1:10069", 200),
        ("[::1]:10069", 200),
        ("prober.localhost", 200),
        ("rebound.example", 421),
        ("localhost.example", 421),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(Reply::parse(&server.raw(request.as_bytes()).await).status, status, "{host}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Served::default();
    let one = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let two = "GET /-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let raw = server.raw(format!("{one}{two}{last}").as_bytes()).await;
    let found = ["Healthy", "Ready", "Not found"].map(|word| raw.find(word).unwrap());
    assert!(found.is_sorted(), "{raw}");
}

#[tokio::test]
async fn slow_and_silent_clients_are_cut_off_and_keep_nobody_out() {
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    let server = Served::start(FakeDaemon::default(), limits);
    let mut slow = TcpStream::connect(server.at).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: local").await.unwrap();
    let mut silent = TcpStream::connect(server.at).await.unwrap();
    for stream in [&mut slow, &mut silent] {
        let end = tokio::time::timeout(Duration::from_secs(30), read(stream)).await.expect("not cut off");
        assert!(end.is_empty() || Reply::parse(&end).status == 408, "{end}");
    }

    // Far more idle connections than there is room for, and no header timeout that makes room by itself.
    let patient = Limits { header: Duration::from_secs(3600), ..Limits::default() };
    let server = Served::start(FakeDaemon::default(), patient);
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    let good = tokio::time::timeout(Duration::from_secs(60), server.get("/metrics")).await;
    assert_eq!(good.expect("kept out").status, 200);
}

#[tokio::test]
async fn clients_that_do_not_read_hold_no_place_for_long() {
    let limits = Limits { request: Duration::from_millis(500), scrapes: 2, ..Limits::default() };
    let server = Served::start(FakeDaemon::default(), limits);
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        // More answers than the socket buffers hold, and none of them read.
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(150);
        for _ in 0..20 {
            if tokio::time::timeout(Duration::from_millis(20), stream.write_all(request.as_bytes()))
                .await
                .is_err()
            {
                break;
            }
        }
        stuck.push(stream);
    }
    // Their places come back when their time is over, however long this machine takes for it.
    for _ in 0..300 {
        if server.get("/metrics").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the places never came back");
}

#[tokio::test]
async fn it_stops_when_told_also_with_open_connections() {
    let mut server = Served::default();
    let _idle = TcpStream::connect(server.at).await.unwrap();
    assert_eq!(server.get("/-/healthy").await.status, 200);
    let _ = server.stop.take().unwrap().send(());
    tokio::time::timeout(Duration::from_secs(30), &mut server.task).await.expect("does not stop").unwrap();
    assert!(TcpStream::connect(server.at).await.is_err());
}
