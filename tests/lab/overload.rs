//! A machine that is busy, a process that is stopped, a wall clock that is stepped: no probe is lost, nothing
//! is torn down, and no round trip is longer than its timeout.
//!
//! The clock is stepped for this process only, by a library loaded before the C library's; kernel stamps
//! keep the true time meanwhile, so they contradict the clock, which is worse than a real step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::harness::{Daemon, Lab, Metrics, until};

/// The profile is so hasty that a second without answers ends its session.
const CONFIG: &str = "\
defaults: {interval: 200ms, timeout: 2s}
budget: {packets_per_second: 100, packets_burst: 100}
dpd_profiles: {hasty: {idle: 500ms, retry: 400ms, tries: 3}}
targets:
  hq:
    address: [203.0.113.10, \"2001:db8:3::10\"]
    dpd: {from: ike, profiles: [hasty]}
    probes: {icmp: {}, ike: {}, trace: {enabled: false}}
";

/// Two seconds or less from each to the next.
const STEPS: [&str; 8] = ["+1s", "-1s", "+1h", "-1h", "+3650d", "-3650d", "+0.3s", "+0s"];

/// Threads that want all cores; they end with this value.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let work = |stop: Arc<AtomicBool>| {
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..threads).map(|_| work(Arc::clone(&stop))).collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// What must not come of it, and that the probes go on.
fn nothing_told(daemon: &Daemon<'_>, before: &Metrics, what: &str) -> Metrics {
    let mut metrics = Metrics(String::new());
    let sent = before.get("vpnprobe_probes_total", &[]);
    until(&format!("the probes go on after {what}"), 30, || {
        metrics = daemon.metrics();
        metrics.get("vpnprobe_probes_total", &[]) > sent + 20.0
    });
    for name in [
        "vpnprobe_probe_failures_total",
        "vpnprobe_outage_duration_seconds_count",
        "vpnprobe_flaps_total",
        "vpnprobe_dpd_timeouts_total",
        "vpnprobe_dpd_expected_timeouts_total",
    ] {
        assert_eq!(metrics.get(name, &[]), 0.0, "{name} after {what}\n{}", metrics.0);
    }
    let all = metrics.get("vpnprobe_probe_rtt_seconds_count", &[]);
    let within = metrics.get("vpnprobe_probe_rtt_seconds_bucket", &["le=\"2\""]);
    assert_eq!(all, within, "a round trip beyond its timeout after {what}");
    let sum = metrics.get("vpnprobe_probe_rtt_seconds_sum", &[]);
    assert!(sum >= 0.0 && sum < all * 2.0, "{sum} s of {all} round trips after {what}");
    assert_eq!(metrics.sum("vpnprobe_probe_up", &["probe=\"ike\""]), Some(2.0), "after {what}");
    metrics
}

#[test]
fn busy_cores_stops_and_steps_of_the_clock() {
    let lab = Lab::with(&["strongswan"]);
    let steps = lab.path("faketimerc");
    std::fs::write(&steps, "+0s\n").unwrap();
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", steps.display());
    let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
        .map(|folder| format!("{folder}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("libfaketime is missing; Debian has it in the package faketime");
    let preload = format!("LD_PRELOAD={library}");
    let through = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let mut daemon = lab.serve_as("client", &through, CONFIG);
    daemon.ready();
    until("all are up", 30, || daemon.metrics().sum("vpnprobe_probe_up", &[]) == Some(4.0));
    let mut metrics = daemon.metrics();
    let busy = Busy::start(8);
    std::thread::sleep(Duration::from_secs(5));
    metrics = nothing_told(&daemon, &metrics, "eight busy loops");
    for seconds in [1, 3] {
        kill_process(daemon.pid(), Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_secs(seconds));
        kill_process(daemon.pid(), Signal::CONT).unwrap();
        metrics = nothing_told(&daemon, &metrics, &format!("{seconds} s of stop, with busy loops"));
    }
    drop(busy);
    let attempt = |metrics: &Metrics| {
        metrics.get("vpnprobe_last_attempt_timestamp_seconds", &["probe=\"icmp\"", "member=\"1\""])
    };
    let before = attempt(&metrics);
    for step in STEPS {
        std::fs::write(&steps, format!("{step}\n")).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        metrics = nothing_told(&daemon, &metrics, &format!("a step of the clock to {step}"));
        if step == "+1h" {
            assert!(attempt(&metrics) > before + 3000.0, "the clock is not stepped at all");
        }
    }
    let fallback = metrics.get("vpnprobe_clock_fallback_total", &[]);
    assert!(fallback > 0.0, "stamps that contradict the clock were believed");
    println!(
        "{} probes, {} timed by our own clock, {} slots missed; no failure, outage, flap or teardown",
        metrics.get("vpnprobe_probes_total", &[]),
        fallback,
        metrics.get("vpnprobe_missed_slots_total", &[])
    );
    daemon.stop();
}
