//! Probes sent and received in three threads (`engine_threads: 3`): what one thread would tell, they tell.
//!
//! Three hundred addresses behind two routers, IPv4 and IPv6, each asked by ICMP and IKE, twice a second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::harness::{Daemon, Lab, Metrics, until};

/// Targets at once, and how many of them a reload replaces.
const TARGETS: u16 = 300;
const REPLACED: u16 = 100;
/// What is not to happen, and what is asked for beside it.
const AMISS: [&str; 4] =
    ["unmatched_packets_total", "duplicates_total", "late_replies_total", "receive_overflow_total"];
const WATCHED: [&str; 7] =
    [AMISS[0], AMISS[1], AMISS[2], AMISS[3], "probe_up", "probes_total", "probe_failures_total"];
/// All addresses, in the filter's words.
const ALL: [&str; 2] = ["ip daddr 198.18.0.0/16", "ip6 daddr 2001:db8:9::/64"];

/// Every fifth has an address of IPv6.
fn address(target: u16) -> IpAddr {
    let [high, low] = target.to_be_bytes();
    if target.is_multiple_of(5) {
        Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, target).into()
    } else {
        Ipv4Addr::new(198, 18, high, low).into()
    }
}

fn config(targets: std::ops::RangeInclusive<u16>) -> String {
    let mut config = String::from(
        "engine_threads: 3\ndefaults: {interval: 500ms, timeout: 2s}\n\
         budget: {packets_per_second: 1000, packets_burst: 1000}\ntargets:\n",
    );
    for target in targets {
        let probes = "{icmp: {}, ike: {interval: 500ms}, trace: {enabled: false}}";
        config += &format!("  t{target}: {{address: \"{}\", probes: {probes}}}\n", address(target));
    }
    config
}

/// Answers what asks for an IKE of a later version, at every address; ends with this value.
struct Peers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peers {
    fn start(lab: &Lab) -> Self {
        vpnprobe::net::raise_descriptor_limit();
        for command in [
            "conc ip route add local 198.18.0.0/16 dev lo",
            "conc ip -6 route add local 2001:db8:9::/64 dev lo",
            "r2 ip route add 198.18.0.0/16 via 203.0.113.10",
            "r2 ip route add 2001:db8:9::/64 via 2001:db8:3::10",
            "r1 ip route add 198.18.0.0/16 via 198.51.100.2",
            "r1 ip route add 2001:db8:9::/64 via 2001:db8:2::2",
            "conc sysctl -qw net.ipv6.ip_nonlocal_bind=1",
        ] {
            let (role, words) = command.split_once(' ').unwrap();
            assert_eq!(lab.run(role, words), "", "{command}");
        }
        let bind = |target| UdpSocket::bind(SocketAddr::new(address(target), 500)).unwrap();
        let sockets: Vec<_> = lab.within("conc", || (1..=TARGETS + REPLACED).map(bind).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let mut bytes = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let mut asked: Vec<_> =
                    sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
                poll(&mut asked, Some(&wait)).unwrap();
                let asked = asked.iter().zip(&sockets).filter(|(poll, _)| !poll.revents().is_empty());
                for (_, socket) in asked {
                    // Only what asks for a version that there is none of: the rare form is no business of these.
                    if let Ok((28.., from)) = socket.recv_from(&mut bytes)
                        && bytes[17] >> 4 > 2
                    {
                        let _ = socket.send_to(&invalid_major_version(&bytes), from);
                    }
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What strongSwan 5.9.8 answers to a message of a major version it does not know, with the initiator's SPI.
fn invalid_major_version(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..8].to_vec();
    answer.extend([0; 8]);
    answer.extend([0x29, 0x20, 0x22, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x24, 0, 0, 0, 8, 0, 0, 0, 5]);
    answer
}

/// What is looked at here: a scrape of all of it would take longer than the probes.
fn scrape(daemon: &Daemon<'_>) -> Metrics {
    let names: Vec<_> = WATCHED.iter().map(|name| format!("name[]=vpnprobe_{name}")).collect();
    let (status, body) = daemon.request("GET", &format!("/metrics?{}", names.join("&"))).unwrap();
    assert_eq!(status, 200, "{body}");
    Metrics(body)
}

/// Waits until so many probes are up, and no others are there; the metrics then.
fn until_up(daemon: &Daemon<'_>, what: &str, wanted: u16) -> Metrics {
    let mut metrics = Metrics(String::new());
    until(what, 60, || {
        std::thread::sleep(Duration::from_millis(200));
        metrics = scrape(daemon);
        metrics.sum("vpnprobe_probe_up", &[]) == Some(f64::from(wanted))
    });
    metrics
}

/// How many series of this name have these labels and are not zero.
fn counted(metrics: &Metrics, name: &str, labels: &[&str]) -> usize {
    let has = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    metrics.0.lines().filter(has).filter(|line| !line.ends_with(" 0")).count()
}

/// How many probes were not answered, once or more often.
fn silent(metrics: &Metrics) -> usize {
    counted(metrics, "vpnprobe_probe_failures_total", &["reason=\"no_answer\""])
}

/// Waits until so many are; never more.
fn until_silent(daemon: &Daemon<'_>, what: &str, wanted: usize) {
    let mut metrics = Metrics(String::new());
    until(what, 60, || {
        std::thread::sleep(Duration::from_millis(200));
        metrics = scrape(daemon);
        silent(&metrics) >= wanted
    });
    assert_eq!(silent(&metrics), wanted, "{}", metrics.0);
}

fn nothing_amiss(metrics: &Metrics) {
    for name in AMISS {
        assert_eq!(counted(metrics, &format!("vpnprobe_{name}{{"), &[]), 0, "{name}:\n{}", metrics.0);
    }
}

fn walk(lab: &Lab, through: &[&str], raw_sockets: usize) {
    let mut daemon = lab.serve_as("client", through, &config(1..=TARGETS));
    daemon.ready_within(Duration::from_secs(60));
    until_up(&daemon, "all are up", 2 * TARGETS);
    let begun = scrape(&daemon).get("vpnprobe_probes_total", &[]);
    let mut metrics = Metrics(String::new());
    until("some more of each", 60, || {
        metrics = scrape(&daemon);
        metrics.get("vpnprobe_probes_total", &[]) >= begun + 3.0 * 2.0 * f64::from(TARGETS)
    });
    assert_eq!(counted(&metrics, "vpnprobe_probe_failures_total", &[]), 0, "{}", metrics.0);
    nothing_amiss(&metrics);
    let process = format!("/proc/{}", daemon.pid().as_raw_nonzero());
    for file in ["raw", "raw6"] {
        let sockets = std::fs::read_to_string(format!("{process}/net/{file}")).unwrap();
        assert_eq!(sockets.lines().count() - 1, raw_sockets, "each thread has one:\n{sockets}");
    }
    // Errors reach whose packet they quote. (Not those about IKE: a raw socket gets a copy of them as well.)
    lab.script("fault admin ip protocol icmp");
    lab.script("fault admin ip6 nexthdr ipv6-icmp");
    until("all pings are refused", 30, || {
        metrics = scrape(&daemon);
        let labels = ["probe=\"icmp\"", "reason=\"admin_prohibited\""];
        counted(&metrics, "vpnprobe_probe_failures_total", &labels) == usize::from(TARGETS)
    });
    lab.script("clear");
    metrics = until_up(&daemon, "all are up again", 2 * TARGETS);
    nothing_amiss(&metrics);
    assert_eq!(silent(&metrics), 0);
    // What happens to one is told of that one.
    lab.script("fault drop ip daddr 198.18.0.7");
    until_silent(&daemon, "one is cut off", 2);
    lab.script("clear");
    let labels = ["target=\"t7\"", "reason=\"no_answer\""];
    assert_eq!(counted(&scrape(&daemon), "vpnprobe_probe_failures_total", &labels), 2);
    lab.config("serve.yml", &config(REPLACED + 1..=TARGETS + REPLACED));
    assert_eq!(daemon.request("POST", "/-/reload").unwrap().0, 200);
    until("the new ones are there", 60, || {
        let metrics = scrape(&daemon);
        let last = format!("target=\"t{}\"", TARGETS + REPLACED);
        metrics.sum("vpnprobe_probe_up", &[&last]) == Some(2.0)
            && metrics.sum("vpnprobe_probe_up", &["target=\"t1\""]).is_none()
    });
    metrics = until_up(&daemon, "all of the new configuration are up", 2 * TARGETS);
    nothing_amiss(&metrics);
    let new = |line: &&str| {
        (TARGETS + 1..=TARGETS + REPLACED).any(|new| line.contains(&format!("target=\"t{new}\"")))
    };
    let failed =
        metrics.0.lines().filter(|line| line.starts_with("vpnprobe_probe_failures_total")).filter(new);
    assert_eq!(failed.filter(|line| !line.ends_with(" 0")).count(), 0, "what was of others:\n{}", metrics.0);
    for all in ALL {
        lab.script(&format!("fault drop {all}"));
    }
    until_silent(&daemon, "the link is cut for all", 2 * usize::from(TARGETS));
    lab.script("clear");
    nothing_amiss(&until_up(&daemon, "the link is back", 2 * TARGETS));
    daemon.stop();
}

#[test]
fn three_threads_tell_what_one_would() {
    let lab = Lab::up();
    let _peers = Peers::start(&lab);
    walk(&lab, &[], 3);
    let output =
        lab.command("client", "sysctl").args(["-qw", "net.ipv4.ping_group_range=0 0"]).output().unwrap();
    assert!(output.status.success());
    walk(&lab, &["setpriv", "--bounding-set=-all", "--inh-caps=-all"], 0);
}
