//! The engine over real loopback sockets, with peers that behave as told. No assertion looks at how
//! long anything took: each test waits until what must come has come.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use vpnprobe::config::Config;
use vpnprobe::engine::{Command, Engine, Handle};
use vpnprobe::entropy::Generator;
use vpnprobe::export::metrics::{Registry, SeriesKey, SeriesMetrics};
use vpnprobe::net::Driver;
use vpnprobe::net::clock::SystemClock;
use vpnprobe::sample::{Fault, Outcome, Reason};

/// A UDP service whose behaviour is a function from a datagram to the datagrams it sends back.
struct Peer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn new(mut behave: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::of_senders(move |request, _| behave(request))
    }

    /// The same for one that looks at where a datagram comes from.
    fn of_senders(mut behave: impl FnMut(&[u8], SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
                for answer in behave(&bytes[..len], from) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What strongSwan answers to a message of a major version it does not know: captured from 5.9.8, with
/// the initiator's SPI put in.
fn invalid_major_version(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..8].to_vec();
    answer.extend([0; 8]);
    answer.extend([0x29, 0x20, 0x22, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x24, 0, 0, 0, 8, 0, 0, 0, 5]);
    answer
}

struct Bench {
    registry: Registry,
    handle: Handle,
    engine: Option<JoinHandle<std::io::Result<()>>>,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new(yaml: &str) -> Self {
        crate::service::enter_if_told();
        let clock = SystemClock::start();
        let registry = Registry::without_process(Arc::new(clock));
        let driver = Driver::new(clock, Box::new(Generator::from_os())).unwrap();
        let engine = Engine::new(driver, registry.clone());
        let handle = engine.handle();
        let engine = Some(std::thread::spawn(move || engine.run()));
        let bench = Self { registry, handle, engine, directory: tempfile::tempdir().unwrap() };
        bench.apply(yaml);
        bench
    }

    fn apply(&self, yaml: &str) {
        let file = self.directory.path().join("vpnprobe.yml");
        std::fs::write(&file, yaml).unwrap();
        let loaded = Config::load(&file, []).unwrap_or_else(|problems| panic!("{problems}"));
        self.handle.send(Command::Apply(Arc::new(loaded.config)));
    }

    fn series(&self, target: &str, probe: &str) -> Arc<SeriesMetrics> {
        let wanted = |series: &Arc<SeriesMetrics>| {
            let SeriesKey { target: t, probe: p, .. } = &**series.key();
            t == target && p == probe
        };
        until(&format!("series {target}/{probe}"), || self.registry.all_series().into_iter().find(wanted))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.handle.send(Command::Stop);
        let ended = self.engine.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(Ok(())))), "the engine ended badly: {ended:?}");
        }
    }
}

/// Waits until something is there; three minutes are "never", also beside other work.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..18_000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never came: {what}");
}

fn failures(series: &SeriesMetrics, reason: Reason) -> u64 {
    series.failures().find(|(known, _)| *known == reason).map_or(0, |(_, count)| count)
}

fn unsent(series: &SeriesMetrics, fault: Fault) -> u64 {
    series.unsent().find(|(known, _)| *known == fault).map_or(0, |(_, count)| count)
}

fn probes(series: &SeriesMetrics, at_least: u64) {
    until("probes", || (series.probes() >= at_least).then_some(()));
}

fn ike(name: &str, port: u16) -> String {
    format!(
        "  {name}:\n    address: 127.0.0.1\n    probes:\n      icmp: {{enabled: false}}\n      \
         trace: {{enabled: false}}\n      ike: {{port: {port}, interval: 100ms, timeout: 400ms}}\n"
    )
}

fn dns(name: &str, port: u16) -> String {
    ike(name, port).replace("ike:", "dns:")
}

#[test]
fn answers_silence_and_refusals_are_told_apart() {
    let good = Peer::new(|request| vec![invalid_major_version(request)]);
    let silent = Peer::new(|_| vec![]);
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let yaml = format!(
        "targets:\n{}{}{}",
        ike("good", good.port()),
        dns("silent", silent.port()),
        dns("closed", closed)
    );
    let bench = Bench::new(&yaml);
    let series = bench.series("good", "ike");
    probes(&series, 10);
    assert_eq!(series.failures().map(|(_, count)| count).sum::<u64>(), 0);
    assert!(until("up", || series.up()));
    let series = bench.series("silent", "dns");
    until("loss", || (failures(&series, Reason::NoAnswer) >= 3).then_some(()));
    let series = bench.series("closed", "dns");
    until("refusal", || (failures(&series, Reason::PortUnreachable) >= 3).then_some(()));
    assert_eq!(failures(&series, Reason::NoAnswer), 0);
}

#[test]
fn forged_replies_are_counted_and_never_a_success() {
    // The right message with a wrong SPI, and garbage.
    let forger = Peer::new(|request| {
        let mut forged = invalid_major_version(request);
        forged[3] ^= 0x40;
        vec![forged, vec![0xff; 40], request[..4].to_vec()]
    });
    let bench = Bench::new(&format!("targets:\n{}", ike("forged", forger.port())));
    let series = bench.series("forged", "ike");
    probes(&series, 10);
    assert_ne!(series.up(), Some(true));
    assert_eq!(series.last().map(|(outcome, _)| outcome.received() == Some(true)), Some(false));
    let text = String::from_utf8(bench.registry.encode_text()).unwrap();
    let unmatched: f64 = text
        .lines()
        .filter(|line| line.starts_with("vpnprobe_unmatched_packets_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!(unmatched >= 20.0, "{unmatched}");
}

#[test]
fn duplicates_and_late_replies_never_change_a_result() {
    let twice = Peer::new(|request| vec![invalid_major_version(request); 2]);
    // Each answer comes one request late: after 500 ms, past the timeout of 400 ms.
    let mut last: Vec<Vec<u8>> = Vec::new();
    let late = Peer::new(move |request| {
        last.push(invalid_major_version(request));
        if last.len() > 5 { vec![last.remove(0)] } else { vec![] }
    });
    let yaml = format!("targets:\n{}{}", ike("twice", twice.port()), ike("late", late.port()));
    let bench = Bench::new(&yaml);
    let series = bench.series("twice", "ike");
    probes(&series, 10);
    let counted = |target: &str, metric: &str| {
        let text = String::from_utf8(bench.registry.encode_text()).unwrap();
        let start = format!("vpnprobe_{metric}_total{{target=\"{target}\"");
        let line = text.lines().find(|line| line.starts_with(&start)).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    until("duplicates", || (counted("twice", "duplicates") >= 5.0).then_some(()));
    assert!(counted("twice", "late_replies") < 1.0);
    until("late replies", || (counted("late", "late_replies") >= 5.0).then_some(()));
    assert_ne!(bench.series("late", "ike").up(), Some(true));
}

#[test]
fn losses_in_a_row_are_told_as_one_run_and_answers_make_jitter() {
    // The timeout is four intervals: answers are known before the losses sent earlier.
    let mut asked = 0;
    let patchy = Peer::new(move |request| {
        asked += 1;
        if (11..=13).contains(&asked) { vec![] } else { vec![invalid_major_version(request)] }
    });
    let bench = Bench::new(&format!("targets:\n{}", ike("patchy", patchy.port())));
    let value = |name: &str| {
        let text = String::from_utf8(bench.registry.encode_text()).unwrap();
        let start = format!("vpnprobe_{name}{{target=\"patchy\"");
        let line = text.lines().find(|line| line.starts_with(&start) && line.contains("probe=\"ike\""));
        line.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    };
    until("the run", || value("loss_run_length_sum").filter(|sum| *sum >= 3.0));
    until("jitter", || value("jitter_seconds"));
    assert_eq!(value("flapping"), Some(0.0));
    assert_eq!(bench.series("patchy", "ike").up(), Some(true));
}

#[test]
fn a_flood_and_dead_peers_delay_nobody() {
    let good = Peer::new(|request| vec![invalid_major_version(request)]);
    let silent = Peer::new(|_| vec![]);
    let flood = Peer::new(|request| vec![vec![0x5a; request.len()]; 4000]);
    let mut yaml = format!("targets:\n{}{}", ike("good", good.port()), ike("flood", flood.port()));
    for n in 0..50 {
        yaml += &dns(&format!("dead{n}"), silent.port());
    }
    yaml += "budget: {packets_per_second: 10000, packets_burst: 10000}\n";
    let bench = Bench::new(&yaml);
    let series = bench.series("good", "ike");
    probes(&series, 30);
    assert_eq!(failures(&series, Reason::NoAnswer), 0, "losses that a neighbour made");
    let dead = bench.series("dead7", "dns");
    until("the dead are told", || (failures(&dead, Reason::NoAnswer) >= 3).then_some(()));
}

#[test]
fn a_reload_keeps_what_did_not_change_and_drops_what_went() {
    let good = Peer::new(|request| vec![invalid_major_version(request)]);
    let both = format!("targets:\n{}{}", ike("kept", good.port()), ike("gone", good.port()));
    let bench = Bench::new(&both);
    let kept = bench.series("kept", "ike");
    probes(&kept, 5);
    until("up", || kept.up().filter(|up| *up));
    let before = kept.probes();
    bench.apply(&format!("targets:\n{}{}", ike("kept", good.port()), ike("new", good.port())));
    probes(&bench.series("new", "ike"), 3);
    until("the old series go", || {
        bench.registry.all_series().iter().all(|series| series.key().target != "gone").then_some(())
    });
    let after = bench.series("kept", "ike");
    assert!(Arc::ptr_eq(&kept, &after), "the same series goes on");
    assert!(after.probes() >= before);
    assert_eq!(after.up(), Some(true), "detector state survives");
    let text = String::from_utf8(bench.registry.encode_text()).unwrap();
    assert!(!text.contains("\"gone\""));
}

#[test]
fn an_unresolved_name_is_our_fault_until_it_resolves() {
    let good = Peer::new(|request| vec![invalid_major_version(request)]);
    let yaml = format!("targets:\n{}", ike("named", good.port()).replace("127.0.0.1", "vpn.invalid"));
    let bench = Bench::new(&yaml);
    let series = bench.series("named", "ike");
    until("unresolved slots", || (unsent(&series, Fault::Unresolved) >= 3).then_some(()));
    assert_eq!(series.probes(), 0);
    let addresses = vec![good.address.ip()];
    bench.handle.send(Command::Resolved { target: "named".to_owned(), addresses });
    probes(&series, 3);
    assert_eq!(failures(&series, Reason::NoAnswer), 0);
}

#[test]
fn a_flow_that_a_middlebox_dropped_is_told_from_a_dead_peer_and_replaced() {
    // After five answers the port that asked first is never answered again.
    let (mut first, mut answers) = (None, 0);
    let condemned = Peer::of_senders(move |request, from| {
        let port = from.port();
        answers += 1;
        let first = *first.get_or_insert(port);
        if port == first && answers > 5 { vec![] } else { vec![invalid_major_version(request)] }
    });
    let bench = Bench::new(&format!("targets:\n{}", ike("stale", condemned.port())));
    let series = bench.series("stale", "ike");
    until("losses", || (failures(&series, Reason::NoAnswer) >= 3).then_some(()));
    let flow = |age: &str| {
        let text = String::from_utf8(bench.registry.encode_text()).unwrap();
        let line =
            text.lines().find(|l| l.starts_with("vpnprobe_flow_up") && l.contains(age)).map(str::to_owned);
        line.map(|line| line.ends_with(" 1"))
    };
    until("the fresh flow is answered", || flow("fresh").filter(|up| *up));
    until("the kept flow is replaced", || flow("pinned").filter(|up| *up));
    probes(&series, series.probes() + 10); // what was in flight on the old port is lost by then
    let lost = failures(&series, Reason::NoAnswer);
    probes(&series, series.probes() + 20);
    assert_eq!(failures(&series, Reason::NoAnswer), lost, "it goes on with the new port");
    assert_eq!(series.up(), Some(true), "never down: the peer was there all along");
}

#[test]
fn targets_at_one_address_share_its_budget() {
    let good = Peer::new(|request| vec![invalid_major_version(request)]);
    let mut yaml = String::from("budget: {packets_per_second: 10, packets_burst: 1}\ntargets:\n");
    for name in ["a", "b"] {
        yaml += &ike(name, good.port());
    }
    let bench = Bench::new(&yaml);
    let held = || {
        unsent(&bench.series("a", "ike"), Fault::Budget) + unsent(&bench.series("b", "ike"), Fault::Budget)
    };
    until("held slots", || (held() >= 10).then_some(()));
    assert_eq!(failures(&bench.series("a", "ike"), Reason::NoAnswer), 0, "what is held back is no loss");
}

#[test]
fn a_probe_asked_for_by_hand_is_answered_and_not_counted() {
    let good = Peer::new(|request| vec![invalid_major_version(request)]);
    let yaml = format!("targets:\n{}", ike("hand", good.port()).replace("100ms", "1h"));
    let bench = Bench::new(&yaml);
    let series = bench.series("hand", "ike");
    let (sender, receiver) = std::sync::mpsc::channel();
    let reply = Box::new(move |result| sender.send(result).unwrap());
    let (target, probe) = ("hand".to_owned(), "ike".to_owned());
    bench.handle.send(Command::Probe { target, probe, timeout: Duration::from_secs(1), reply });
    let (address, report) = receiver.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(address, good.address.ip());
    assert_eq!(report.outcome, Outcome::OK);
    assert!(report.rtt.is_some());
    assert_eq!(series.probes(), 0);
}

/// What a target's probe meets is replayed through the profiles it feeds, and what they counted outlives a
/// reload.
#[test]
fn an_outage_is_replayed_through_the_profiles() {
    let silent = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&silent);
    let peer = Peer::new(move |request| {
        if told.load(Ordering::Relaxed) { Vec::new() } else { vec![invalid_major_version(request)] }
    });
    let yaml = |more: &str| {
        format!(
            "dpd_profiles: {{mine: {{idle: 500ms, retry: 300ms, tries: 3}}}}\n\
             targets: {{hq: {{address: 127.0.0.1, dpd: {{profiles: [mine, strongswan{more}]}}, \
             probes: {{ike: {{port: {}, interval: 100ms, timeout: 200ms}}}}}}}}",
            peer.port()
        )
    };
    let bench = Bench::new(&yaml(""));
    let series = bench.series("hq", "ike");
    until("a first answer", || {
        matches!(series.last(), Some((Outcome::Answered(_) | Outcome::Refused(_), _))).then_some(())
    });
    let dpd = || series.dpd_now();
    until("there is a margin", || dpd()[0].margin());
    assert!(dpd().iter().all(|profile| profile.judged() && profile.sure() == 0));
    silent.store(true, Ordering::Relaxed);
    until("the session is surely gone", || (dpd()[0].sure() == 1).then_some(()));
    silent.store(false, Ordering::Relaxed);
    assert!(dpd()[0].expected() > 0.99);
    assert_eq!((dpd()[1].sure(), dpd()[1].expected()), (0, 0.0));
    bench.apply(&yaml(", cisco_asa"));
    until("the third profile", || (dpd().len() == 3).then_some(()));
    assert_eq!(dpd()[0].sure(), 1);
    assert!(bench.registry.encode_text().windows(10).any(|text| text == b"cisco_asa\""));
}

/// Works direct, fails through the tunnel: both ways are tried at the same instants.
#[test]
fn two_ways_out_are_compared() {
    let peer = Peer::of_senders(|request, from| {
        if from.ip().to_string() == "127.0.0.1" { vec![invalid_major_version(request)] } else { vec![] }
    });
    let port = peer.port();
    let bench = Bench::new(&format!(
        "budget: {{half_open_interval: 35s}}\n\
         egress: {{direct: {{source: 127.0.0.1}}, tunnel: {{source: 127.0.0.2}}, gone: {{interface: nonesuch0}}}}\n\
         pairs: {{split: {{a: direct, b: tunnel}}, dead: {{a: direct, b: gone}}}}\n\
         targets: {{hq: {{address: 127.0.0.1, egress: [direct, tunnel, gone], probes: {{ike: {{port: {port}, \
         interval: 1s, timeout: 900ms}}, icmp: {{enabled: false}}, trace: {{enabled: false}}}}}}}}\n"
    ));
    let metrics = |pair: &str| {
        let text = String::from_utf8(bench.registry.encode_text()).unwrap();
        let mine = format!("pair=\"{pair}\"");
        let lines = text.lines().filter(|line| line.contains("pair_results_total{") && line.contains(&mine));
        let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        let result = |line: &str| {
            line.split("result=\"").nth(1).map(|rest| rest[..rest.find('"').unwrap()].to_owned())
        };
        lines.map(|line| (result(line).unwrap(), count(line).unwrap())).collect::<Vec<_>>()
    };
    let told =
        until("three pairs", || Some(metrics("split")).filter(|told| told.iter().any(|(_, n)| *n >= 3)));
    for (result, count) in told {
        assert_eq!(count > 0, result == "only_a", "{result}: {count}");
    }
    assert!(
        metrics("dead").len() == 4 && metrics("dead").iter().all(|(_, count)| *count == 0),
        "our own fault"
    );
}
