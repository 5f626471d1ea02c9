//! A real Prometheus scrapes us, with and without native histograms, and gives back what was put in.
//! No assertion looks at how long anything took: each test waits until what must come has come.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use vpnprobe::config::Config;
use vpnprobe::detect::Transition;
use vpnprobe::detect::loss::{LossRun, LossWindow};
use vpnprobe::detect::pair::{Longer, PairResult, Paired, Side};
use vpnprobe::export::http::{App, BoxFuture, Daemon, Limits, ProbeError, ProbeNow, TargetRow, serve};
use vpnprobe::export::metrics::{PairKey, Registry, SeriesKey, SeriesMetrics};
use vpnprobe::net::clock::SystemClock;
use vpnprobe::probe::Kind;
use vpnprobe::sample::{Outcome, Report, Sample, SeriesId};
use vpnprobe::time::Timestamp;

/// Debian's Prometheus over a directory of its own; it ends with this.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Prometheus {
    fn over(scraped: SocketAddr, native: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prometheus.yml");
        let jobs = format!(
            "scrape_configs: [{{job_name: vpnprobe, scrape_interval: 1s, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
        );
        std::fs::write(&file, jobs).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        if native {
            command.arg("--enable-feature=native-histograms");
        }
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let process = process.expect("prometheus is missing; Debian has it in the package prometheus");
        Self { process, address, directory }
    }

    /// The results of a query; none while it does not answer.
    fn ask(&self, query: &str) -> Vec<Value> {
        let query = query.bytes().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "%{byte:02x}");
            out
        });
        let Ok(mut stream) = TcpStream::connect(self.address) else { return Vec::new() };
        let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let Some((_, body)) = answer.split_once("\r\n\r\n") else { return Vec::new() };
        let Ok(mut body) = serde_json::from_str::<Value>(body) else { return Vec::new() };
        assert!(body["error"].is_null() || body["errorType"] == "unavailable", "{query}: {body}");
        match body["data"]["result"].take() {
            Value::Array(results) => results,
            _ => Vec::new(),
        }
    }

    /// The one result of a query, once there is one that is wanted.
    #[track_caller]
    fn until<T>(&self, query: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let mut last = Vec::new();
        for _ in 0..600 {
            last = self.ask(query);
            if let [result] = &*last
                && let Some(wanted) = wanted(result)
            {
                return wanted;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        panic!("never so: {query}: {last:?}\n{log}");
    }

    /// The number that a query gives, once it gives one.
    #[track_caller]
    fn number(&self, query: &str) -> f64 {
        self.until(query, |result| result["value"][1].as_str()?.parse().ok())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A native histogram as Prometheus' API shows it.
#[derive(Debug, PartialEq)]
struct Shown {
    count: u64,
    sum: f64,
    /// Lower bound, upper bound, count.
    buckets: Vec<(f64, f64, u64)>,
}

impl Shown {
    fn read(result: &Value) -> Option<Self> {
        let number = |value: &Value| value.as_str()?.parse::<f64>().ok();
        let whole = |value: &Value| value.as_str()?.parse::<u64>().ok();
        let histogram = result["histogram"].get(1)?;
        let bucket = |row: &Value| Some((number(&row[1])?, number(&row[2])?, whole(&row[3])?));
        let buckets =
            histogram["buckets"].as_array().map_or(Some(vec![]), |rows| rows.iter().map(bucket).collect())?;
        Some(Self { count: whole(&histogram["count"])?, sum: number(&histogram["sum"])?, buckets })
    }
}

struct Idle;

impl Daemon for Idle {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn probe(&self, _: &str, _: &str, _: Duration) -> BoxFuture<'_, Result<ProbeNow, ProbeError>> {
        Box::pin(std::future::pending())
    }
    fn config_text(&self) -> String {
        String::new()
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    fn targets(&self) -> Vec<TargetRow> {
        Vec::new()
    }
}

/// Our HTTP side over a registry that the test fills.
struct Served {
    registry: Registry,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    fn start() -> Self {
        let registry = Registry::new(Arc::new(SystemClock::start()));
        let app = App::new(registry.clone(), Arc::new(Idle), Duration::from_secs(1), Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let until = async {
                let _ = stopped.await;
            };
            runtime.block_on(serve(vec![listener], Arc::new(app), until)).unwrap();
        });
        Self { registry, address, stop: Some(stop), thread: Some(thread) }
    }

    fn series(&self, buckets: &[f64]) -> Arc<SeriesMetrics> {
        let key =
            SeriesKey { target: "hq".into(), member: 1, probe: "icmp".into(), egress: "default".into() };
        self.registry.series(key, Kind::named("icmp").unwrap(), buckets)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn answer(series: &SeriesMetrics, rtt: Duration) {
    let at = Timestamp::from_secs(1);
    let report = Report::timed(Outcome::OK, rtt);
    series.record(&Sample {
        series: SeriesId(0),
        seq: 0,
        form: "echo",
        due: at,
        sent: Some(at),
        done: at,
        report,
    });
}

/// Round trips from 10 ms to 160 ms, as many in each doubling: quantile q is 10 ms * 16^q.
#[test]
fn quantiles_of_both_forms_are_those_of_the_values() {
    let served = Served::start();
    let series = served.series(&[0.01, 0.02, 0.04, 0.08, 0.16, 0.32]);
    let mut sum = Duration::ZERO;
    for step in 1..=1000 {
        let rtt = Duration::from_secs_f64(0.01 * 16f64.powf((f64::from(step) - 0.5) / 1000.0));
        sum += rtt;
        answer(&series, rtt);
    }
    let began = Timestamp::from_secs(100);
    for lost in [0, 0, 1, 20] {
        series.transition(&Transition::LossWindow(LossWindow { began, sent: 20, lost }));
    }
    series.transition(&Transition::LossRun(LossRun { began, length: 4 }));
    series.transition(&Transition::OutageEnded { began, ended: Timestamp::from_secs(131) });
    let native = Prometheus::over(served.address, true);
    let classic = Prometheus::over(served.address, false);

    let rtt = native.until("vpnprobe_probe_rtt_seconds", Shown::read);
    assert_eq!(rtt.count, 1000);
    assert!((rtt.sum - sum.as_secs_f64()).abs() < 1e-9, "{rtt:?}");
    assert_eq!(rtt.buckets.iter().map(|(_, _, count)| count).sum::<u64>(), 1000);
    // Four doublings of eight buckets; 10 ms is within one, so there are 33.
    assert_eq!(rtt.buckets.len(), 33, "{rtt:?}");
    for (lower, upper, count) in &rtt.buckets {
        assert!((upper / lower - 2f64.powf(0.125)).abs() < 1e-9);
        // A whole bucket has an eighth of a doubling's 250 values.
        assert!(*count <= 32, "{rtt:?}");
    }
    for quantile in [0.01, 0.25, 0.5, 0.75, 0.9, 0.99] {
        let exact = 0.01 * 16f64.powf(quantile);
        let native = native.number(&format!("histogram_quantile({quantile}, vpnprobe_probe_rtt_seconds)"));
        assert!((native / exact - 1.0).abs() < 0.01, "{quantile}: native {native}, exactly {exact}");
        let query = format!("histogram_quantile({quantile}, vpnprobe_probe_rtt_seconds_bucket)");
        let classic = classic.number(&query);
        // The classic buckets are a doubling wide, and exact at their bounds.
        let near = if (quantile * 4.0).fract() == 0.0 { 0.01 } else { 0.1 };
        assert!((classic / exact - 1.0).abs() < near, "{quantile}: classic {classic}, exactly {exact}");
    }
    for (family, count, sum) in [
        ("vpnprobe_loss_ratio", 4, 1.05),
        ("vpnprobe_loss_run_length", 1, 4.0),
        ("vpnprobe_outage_duration_seconds", 1, 31.0),
        ("vpnprobe_schedule_lag_seconds", 0, 0.0),
    ] {
        let shown = native.until(family, Shown::read);
        assert_eq!((shown.count, shown.sum), (count, sum), "{family}");
        assert_eq!(classic.number(&format!("{family}_count")).to_string(), count.to_string());
    }
    // Windows without a loss are in the zero bucket, which spans 2^-20 to both sides.
    let windows = native.until("vpnprobe_loss_ratio", Shown::read);
    assert_eq!(windows.buckets[0], (-2f64.powi(-20), 2f64.powi(-20), 2));

    // Values all over the place: the buckets are made coarser, and none is lost.
    for step in 0..1000 {
        answer(&series, Duration::from_nanos(1_000 + (1_u64 << (step / 32)) * (32 + step % 32)));
    }
    let wide = native.until("vpnprobe_probe_rtt_seconds", |result| {
        Shown::read(result).filter(|shown| shown.count == 2000)
    });
    assert!(wide.buckets.len() <= 161, "{}", wide.buckets.len());
    assert_eq!(wide.buckets.iter().map(|(_, _, count)| count).sum::<u64>(), 2000);
    for prometheus in [&native, &classic] {
        assert!(prometheus.number("up{job='vpnprobe'}") > 0.5);
    }
}

/// Differences of round trips, three of them negative.
#[test]
fn differences_below_zero_are_buckets_below_zero() {
    let served = Served::start();
    served.registry.target("hq");
    let key = PairKey { target: "hq".into(), member: 1, probe: "ike".into(), pair: "split".into() };
    let pair = served.registry.pair(key);
    for (slower, millis) in [(Side::A, 20), (Side::A, 20), (Side::A, 20), (Side::B, 5), (Side::B, 0)] {
        let longer = Some(Longer { slower, by: Duration::from_millis(millis) });
        pair.record(&Paired { result: PairResult::Both, longer });
    }
    pair.record(&Paired { result: PairResult::OnlyA, longer: None });
    let native = Prometheus::over(served.address, true);
    let classic = Prometheus::over(served.address, false);
    let shown = native.until("vpnprobe_pair_rtt_difference_seconds", Shown::read);
    assert_eq!(shown.count, 5);
    assert!((shown.sum + 0.055).abs() < 1e-9, "{shown:?}");
    let [below, zero, above] = &shown.buckets[..] else { panic!("{shown:?}") };
    assert!(below.0 <= -0.02 && below.1 >= -0.02 && below.2 == 3, "{shown:?}");
    assert!(zero.0 < 0.0 && zero.1 > 0.0 && zero.2 == 1, "{shown:?}");
    assert!(above.0 <= 0.005 && above.1 >= 0.005 && above.2 == 1, "{shown:?}");
    for (bound, count) in [("-0.05", 0.0), ("-0.02", 3.0), ("0", 4.0), ("0.005", 5.0), ("+Inf", 5.0)] {
        let query = format!("vpnprobe_pair_rtt_difference_seconds_bucket{{le='{bound}'}}");
        assert!((classic.number(&query) - count).abs() < 0.5, "{bound}");
    }
    for (result, count) in [("both", 5.0), ("only_a", 1.0), ("only_b", 0.0), ("neither", 0.0)] {
        let query = format!("vpnprobe_pair_results_total{{pair='split',result='{result}'}}");
        assert!((classic.number(&query) - count).abs() < 0.5, "{result}");
    }
}

/// The whole daemon: what Prometheus stores natively is what the daemon says in text.
#[test]
fn the_daemon_is_scraped_natively() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vpnprobe.yml");
    let yaml = format!(
        "targets:\n  here:\n    address: 127.0.0.1\n    probes:\n      icmp: {{enabled: false}}\n      \
         trace: {{enabled: false}}\n      tcp: {{port: {port}, interval: 200ms, timeout: 200ms}}\nbudget: {{tcp_per_minute: 600}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    let loaded = Config::load(&file, []).unwrap_or_else(|problems| panic!("{problems}"));
    let daemon =
        vpnprobe::app::Daemon::start(loaded, vec![TcpListener::bind("127.0.0.1:0").unwrap()]).unwrap();
    let prometheus = Prometheus::over(daemon.addresses()[0], true);
    let shown = prometheus.until("vpnprobe_probe_rtt_seconds{probe='tcp'}", |result| {
        Shown::read(result).filter(|shown| shown.count >= 10)
    });
    assert_eq!(shown.buckets.iter().map(|(_, _, count)| count).sum::<u64>(), shown.count);
    let median = prometheus.number("histogram_quantile(0.5, vpnprobe_probe_rtt_seconds{probe='tcp'})");
    let (lowest, highest) = (shown.buckets[0].0, shown.buckets[shown.buckets.len() - 1].1);
    assert!(median > 0.0 && median < 1.0 && lowest < highest && highest < 1.0, "{shown:?}");
    let probes = prometheus.number("vpnprobe_probes_total{probe='tcp'}");
    assert!(probes >= 10.0, "{probes}");
    prometheus.until("vpnprobe_schedule_lag_seconds", |lag| Shown::read(lag).filter(|lag| lag.count >= 10));
    daemon.stop().unwrap();
}
