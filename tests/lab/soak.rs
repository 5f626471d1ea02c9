//! Hours of a daemon with five hundred targets, a journal and a state directory, and a fault of this host in
//! each minute: nothing grows, and nobody is blamed.
//!
//! Two hours in a long run, or as many minutes as `VPNPROBE_SOAK` says; else half a minute, for the test
//! itself. The processor time is printed: what it is depends on the build. So does what a process has of
//! its program's file in memory: `VPNPROBE_BIN` names a release build, whose figures are the ones to keep.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::harness::{Daemon, Lab, long, until};

const TARGETS: u32 = 500;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// What the process has.
#[derive(Debug, Clone, Copy)]
struct Size {
    at: Instant,
    /// Bytes in memory, and those of them that are not of a file.
    memory: f64,
    own: f64,
    descriptors: usize,
    threads: usize,
    /// Seconds of a core so far.
    busy: f64,
}

fn size(daemon: &Daemon<'_>) -> Size {
    let path = |name: &str| format!("/proc/{}/{name}", daemon.pid().as_raw_nonzero());
    let count = |name: &str| std::fs::read_dir(path(name)).unwrap().count();
    let status = std::fs::read_to_string(path("status")).unwrap();
    let bytes = |name: &str| {
        let kibibytes = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        kibibytes.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
    };
    let stat = std::fs::read_to_string(path("stat")).unwrap();
    // User and system time, in hundredths of a second: the 14th and 15th field, the 2nd being the name.
    let ticks = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    Size {
        at: Instant::now(),
        memory: bytes("VmRSS:"),
        own: bytes("RssAnon:"),
        descriptors: count("fd"),
        threads: count("task"),
        busy: ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0,
    }
}

/// Mebibytes an hour, by least squares, and the standard error of that: a reload's two configurations make a saw
/// of it.
fn slope(sizes: &[Size], of: impl Fn(&Size) -> f64) -> (f64, f64) {
    let hours = |size: &Size| (size.at - sizes[0].at).as_secs_f64() / 3600.0;
    let count = f64::from(u32::try_from(sizes.len()).unwrap());
    let sum = |value: &dyn Fn(&Size) -> f64| sizes.iter().map(value).sum::<f64>();
    let (x, y) = (sum(&hours) / count, sum(&of) / count);
    let spread = sum(&|size| (hours(size) - x).powi(2));
    let slope = sum(&|size| (hours(size) - x) * (of(size) - y)) / spread;
    let rest = sum(&|size| (of(size) - y - slope * (hours(size) - x)).powi(2));
    (slope / MEBIBYTE, (rest / (count - 2.0) / spread).sqrt() / MEBIBYTE)
}

#[test]
fn five_hundred_targets_and_a_fault_a_minute() {
    let asked = std::env::var("VPNPROBE_SOAK").ok().and_then(|minutes| minutes.parse().ok());
    let minutes: u32 = asked.unwrap_or(if long() { 120 } else { 0 });
    // A round is a minute, or six seconds.
    let (rounds, round) =
        if minutes == 0 { (5, Duration::from_secs(6)) } else { (minutes, Duration::from_secs(60)) };
    let lab = Lab::up();
    let mut config = String::from("defaults: {interval: 1s}\nstate_dir: STATE/kept\ntargets:\n");
    for n in 0..TARGETS {
        writeln!(config, "  t{n}: {{address: 127.3.{}.{}, probes: {{icmp: {{}}}}}}", n / 250, 1 + n % 250)
            .unwrap();
    }
    let journal = lab.path("journal");
    let mut daemon = lab.serve_with(
        "void",
        &[],
        &["--journal", journal.to_str().unwrap(), "--journal.max-size", "16"],
        &config,
    );
    daemon.ready_within(Duration::from_secs(60));
    let probed = |daemon: &Daemon<'_>| daemon.metrics().get("vpnprobe_probes_total", &[]);
    until("all are probed", 30, || probed(&daemon) > f64::from(TARGETS));
    let (start, mut sizes) = (Instant::now(), Vec::new());
    for n in 1..=rounds {
        match n % 4 {
            0 => {
                kill_process(daemon.pid(), Signal::STOP).unwrap();
                std::thread::sleep(Duration::from_secs(2));
                kill_process(daemon.pid(), Signal::CONT).unwrap();
            }
            1 => {
                lab.script("exec void nft add table inet host ; add chain inet host output { type filter hook output priority 0 ; } ; add rule inet host output ip daddr 127.3.0.0/16 drop");
                std::thread::sleep(Duration::from_secs(2));
                lab.script("exec void nft delete table inet host");
            }
            2 => {
                for text in ["targets: [", &config].repeat(5) {
                    lab.config("serve.yml", text);
                    kill_process(daemon.pid(), Signal::HUP).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            _ => {
                let ask = || lab.within("void", || std::net::TcpStream::connect("127.0.0.1:10069").unwrap());
                drop((0..200).map(|_| ask()).collect::<Vec<_>>());
            }
        }
        std::thread::sleep((start + round * n).saturating_duration_since(Instant::now()));
        let before = probed(&daemon);
        until("the probes go on", 30, || probed(&daemon) > before);
        sizes.push(size(&daemon));
    }
    let metrics = daemon.metrics();
    // What comes once has come after a quarter of the time, or ten minutes.
    let after = (sizes.len() / 4).min(10);
    let warm = sizes[after];
    let last = sizes[sizes.len() - 1];
    let hours = (last.at - warm.at).as_secs_f64() / 3600.0;
    let busy = (last.busy - warm.busy) / (hours * 3600.0);
    let (growth, error) = slope(&sizes[after..], |size| size.memory);
    println!(
        "{:.0} min, {} probes of {TARGETS} targets: memory {:.1} MiB, at most {:.1}, {growth:+.2} ± {error:.2} MiB an hour (not of a file: {:.1}, \
         {:+.2}); \
         {} descriptors, {} threads; {:.1} % of a core",
        start.elapsed().as_secs_f64() / 60.0,
        metrics.get("vpnprobe_probes_total", &[]),
        last.memory / MEBIBYTE,
        sizes.iter().map(|size| size.memory).fold(0.0, f64::max) / MEBIBYTE,
        last.own / MEBIBYTE,
        slope(&sizes[after..], |size| size.own).0,
        last.descriptors,
        last.threads,
        busy * 100.0
    );
    let grown = (last.memory - warm.memory) / MEBIBYTE;
    // More than 1 MiB an hour, beyond what the saw may pretend.
    assert!(if hours < 1.0 { grown < 4.0 } else { growth - 2.0 * error < 1.0 }, "{sizes:?}");
    // A reload has both configurations for a moment; the allocator keeps what it had.
    assert!(sizes.iter().all(|size| size.memory < 96.0 * MEBIBYTE), "{sizes:?}");
    assert!(last.descriptors <= warm.descriptors + 8 && last.threads <= warm.threads + 2, "{sizes:?}");
    for name in [
        "vpnprobe_probe_failures_total",
        "vpnprobe_outage_duration_seconds_count",
        "vpnprobe_flaps_total",
        "vpnprobe_state_write_failures_total",
    ] {
        let told = |line: &&str| line.starts_with(name) && !line.ends_with(" 0");
        let told: Vec<_> = metrics.0.lines().filter(told).collect();
        assert!(told.is_empty(), "{told:?}");
    }
    daemon.stop();
}
