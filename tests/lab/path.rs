//! Traces over a chain of eight routers: every carrier, routers that quote little, are silent, limit
//! their answers, or share the load; and the MTU of the path.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{CONC, Lab, both};

const VPNPROBE: &str = env!("CARGO_BIN_EXE_vpnprobe");
/// Routers of the chain.
pub const ROUTERS: u8 = 8;

/// What `vpnprobe trace` said, run without any right.
pub struct Path(pub Value);

/// Runs one, with what it is to be told.
pub fn trace(lab: &Lab, arguments: &[&str]) -> Path {
    let mut command = lab.command("client", "setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", VPNPROBE, "trace"]);
    let output = command.args(arguments).args(["--format", "json"]).output().unwrap();
    let json = serde_json::from_slice(&output.stdout);
    Path(json.unwrap_or_else(|error| panic!("trace {arguments:?}: {error}: {}", both(&output))))
}

impl Path {
    /// The address of each hop; a silent one is `*`.
    pub fn hops(&self) -> Vec<String> {
        let hops = self.0["path"]["hops"].as_array().unwrap_or_else(|| panic!("{:#}", self.0));
        let address = |hop: &Value| hop["answers"][0]["address"].as_str().unwrap_or("*").to_owned();
        hops.iter().map(address).collect()
    }

    /// From the first packet to the last answer.
    pub fn took(&self) -> Duration {
        Duration::from_secs_f64(self.0["path"]["took_seconds"].as_f64().unwrap())
    }

    /// Packets that passed the end of the path.
    pub fn beyond(&self) -> u64 {
        let hops = self.0["path"]["hops"].as_array().unwrap();
        let asked: u64 = hops.iter().map(|hop| hop["asked"].as_u64().unwrap()).sum();
        self.0["path"]["packets"].as_u64().unwrap() - asked
    }

    /// The round trips of all hops, one after the other.
    pub fn all(&self) -> Duration {
        let hops = self.0["path"]["hops"].as_array().unwrap();
        let all: f64 = hops.iter().map(|hop| hop["answers"][0]["rtt_seconds"].as_f64().unwrap()).sum();
        Duration::from_secs_f64(all)
    }

    /// The round trip to the end.
    pub fn rtt(&self) -> Duration {
        let hops = self.0["path"]["hops"].as_array().unwrap();
        Duration::from_secs_f64(hops.last().unwrap()["answers"][0]["rtt_seconds"].as_f64().unwrap())
    }
}

/// The chain from the client to the concentrator.
pub fn chain(v6: bool) -> Vec<String> {
    let hop = |k: u8| match (k, v6) {
        (1, false) => "192.0.2.1".to_owned(),
        (1, true) => "2001:db8:1::1".to_owned(),
        (_, false) => format!("198.51.100.{}", 4 * (k - 1) - 2),
        (_, true) => format!("2001:db8:2:{}::2", k - 1),
    };
    (1..=ROUTERS).map(hop).chain([CONC[usize::from(v6)].to_owned()]).collect()
}

fn in_routers(lab: &Lab, words: &str) {
    for k in 1..=ROUTERS {
        lab.script(&format!("exec r{k} {words}"));
    }
}

/// Lets everybody have ping sockets.
fn ping_sockets(lab: &Lab) {
    let mut command = lab.command("client", "sysctl");
    assert!(command.args(["-qw", "net.ipv4.ping_group_range=0 0"]).status().unwrap().success());
}

/// Something that takes TCP connections at the concentrator.
pub fn listener(lab: &Lab, port: u16) -> TcpListener {
    lab.within("conc", || TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap())
}

/// What opens something at the peer is sent there once, and closed again.
#[test]
fn services_with_state_get_one_packet() {
    let lab = Lab::chain(ROUTERS);
    lab.script("start openvpn udp plain");
    lab.script("start xl2tpd");
    for probe in ["openvpn_udp", "l2tp"] {
        let path = trace(&lab, &[CONC[0], "--probe", probe]);
        assert_eq!(path.hops(), chain(false), "{probe}: {:#}", path.0);
        assert_eq!(path.0["path"]["end"], "reached", "{probe}: {:#}", path.0);
        assert_eq!(path.beyond(), 0, "{probe}: {:#}", path.0);
        println!("{probe}: {:?}", path.took());
    }
    let log = lab.read("xl2tpd.log");
    assert!(log.contains("Connection closed"), "{log}");
}

/// Makes a router quote no more than RFC 792 asks for: the header and eight bytes. The kernel's own,
/// longer answers are dropped, and shorter ones sent in their place.
pub struct Little {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Little {
    /// From now on, until it is dropped.
    pub fn at(lab: &Lab, router: &str) -> Self {
        for words in [
            "add table ip little",
            "add chain ip little output { type filter hook output priority 0 ; }",
            "add rule ip little output icmp type time-exceeded meta length > 56 drop",
        ] {
            lab.script(&format!("exec {router} nft {words}"));
        }
        let (packets, answers) = lab.within(router, || {
            let ip = Protocol::from(i32::from(0x0800_u16.to_be()));
            let packets = Socket::new(Domain::PACKET, Type::DGRAM, Some(ip)).unwrap();
            packets.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            (packets, Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap())
        });
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while !flag.load(Ordering::Relaxed) {
                let Ok(length) = (&packets).read(&mut packet) else { continue };
                if length < 28 || packet[8] != 1 || packet[16..20] != [203, 0, 113, 10] {
                    continue;
                }
                let mut answer = vec![11, 0, 0, 0, 0, 0, 0, 0];
                answer.extend(&packet[..28]);
                let sum: u32 =
                    answer.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
                let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(1);
                answer[2..4].copy_from_slice(&sum.to_be_bytes());
                let to: [u8; 4] = packet[12..16].try_into().unwrap();
                answers.send_to(&answer, &SocketAddr::from((to, 0)).into()).unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Little {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn every_carrier_shows_the_whole_chain() {
    let lab = Lab::chain(ROUTERS);
    lab.script("start strongswan");
    ping_sockets(&lab);
    let _tcp = [listener(&lab, 443), listener(&lab, 1194)];
    let [v4, v6] = CONC;
    for (address, probe, end) in [
        (v4, "ike", "reached"),
        (v4, "ike_natt", "reached"),
        (v4, "ikev1", "reached"),
        (v4, "tls", "reached"),
        (v4, "openvpn_tcp", "reached"),
        (v4, "icmp", "reached"),
        (v4, "l2tp", "refused"),
        (v4, "openvpn_udp", "refused"),
        (v6, "ike", "reached"),
        (v6, "tls", "refused"),
        (v6, "icmp", "reached"),
    ] {
        let path = trace(&lab, &[address, "--probe", probe]);
        assert_eq!(path.hops(), chain(address == v6), "{probe}: {:#}", path.0);
        assert_eq!(path.0["path"]["end"], end, "{probe}: {:#}", path.0);
        assert!(path.beyond() <= 4, "{probe}: {:#}", path.0);
        assert!(path.took() <= 2 * path.rtt() + Duration::from_millis(50), "{probe}: {:#}", path.0);
        assert_eq!(path.0["first_hop"], "provider_router");
        println!("{probe}: {:?}, {} beyond", path.took(), path.beyond());
    }
}

#[test]
fn a_router_that_quotes_little_has_its_place() {
    let lab = Lab::chain(ROUTERS);
    lab.script("start strongswan");
    ping_sockets(&lab);
    let _tcp = listener(&lab, 443);
    let mut little = vec![Little::at(&lab, "r5")];
    for round in 0..2 {
        for probe in ["ike", "ike_natt", "tls", "icmp"] {
            let path = trace(&lab, &[CONC[0], "--probe", probe]);
            assert_eq!(path.hops(), chain(false), "{probe}: {:#}", path.0);
            assert_eq!(path.0["path"]["end"], "reached");
            assert!(path.beyond() <= 4, "{probe}: {:#}", path.0);
            // At worst each hop once more, one after the other.
            assert!(path.took() <= 2 * path.all() + Duration::from_millis(50), "{probe}: {:#}", path.0);
            println!("round {round}, {probe}: {:?}, {} beyond", path.took(), path.beyond());
        }
        // Then all of them.
        if round == 0 {
            for router in ["r1", "r2", "r3", "r4", "r6", "r7", "r8"] {
                little.push(Little::at(&lab, router));
            }
        }
    }
}

/// The raw socket of a process that has the right, too.
#[test]
fn a_little_quote_finds_a_raw_socket() {
    let lab = Lab::chain(ROUTERS);
    let _little = Little::at(&lab, "r3");
    let output = lab.vpnprobe(&["trace", CONC[0], "--probe", "icmp", "--format", "json"]);
    let path = Path(serde_json::from_slice(&output.stdout).unwrap());
    assert_eq!(path.hops(), chain(false), "{:#}", path.0);
}

#[test]
fn limited_routers_are_asked_again_and_never_lose() {
    let lab = Lab::chain(ROUTERS);
    lab.script("start strongswan");
    in_routers(&lab, "sysctl -qw net.ipv4.icmp_ratelimit=1000");
    for run in 0..12 {
        let start = Instant::now();
        let path = trace(&lab, &[CONC[0]]);
        assert_eq!(path.hops(), chain(false), "run {run} after {:?}: {:#}", start.elapsed(), path.0);
        assert_eq!(path.0["outcome"], "answered");
    }
}

#[test]
fn a_silent_hop_is_passed_over() {
    let lab = Lab::chain(ROUTERS);
    lab.script("start strongswan");
    let _tcp = listener(&lab, 443);
    for words in [
        "add table ip mute",
        "add chain ip mute output { type filter hook output priority 0 ; }",
        "add rule ip mute output icmp type time-exceeded drop",
    ] {
        lab.script(&format!("exec r4 nft {words}"));
    }
    let mut expected = chain(false);
    expected[3] = "*".to_owned();
    for probe in ["ike", "tls"] {
        let path = trace(&lab, &[CONC[0], "--probe", probe]);
        assert_eq!(path.hops(), expected, "{probe}: {:#}", path.0);
        assert_eq!(path.0["path"]["hops"][3]["asked"], 2);
        assert_eq!(path.0["outcome"], "answered");
    }
    // Text for people says what the star means.
    let output = lab.vpnprobe(&["trace", CONC[0]]);
    assert_eq!(output.status.code(), Some(0));
    let text = both(&output);
    assert!(text.contains("  4 *\n") && text.contains("this is no loss"), "{text}");
}

#[test]
fn one_flow_takes_one_way_through_a_diamond() {
    let lab = Lab::chain(ROUTERS);
    lab.script("diamond 4");
    lab.script("start strongswan");
    let mut ways = BTreeSet::new();
    for _ in 0..24 {
        let path = trace(&lab, &[CONC[0]]);
        let hops = path.hops();
        // r5 answers from the side of r4 either way: its route back goes there.
        let way = hops[3].clone();
        assert!(["198.51.100.10", "198.51.100.162"].contains(&way.as_str()), "{way} is no way");
        assert_eq!(hops.len(), 9);
        ways.insert(way);
        if ways.len() == 2 {
            return;
        }
    }
    panic!("24 flows took the same way: {ways:?}");
}

/// The MTU between two routers of the chain, on both ends of their link.
fn shrink(lab: &Lab, k: u8, mtu: u16) {
    lab.script(&format!("exec r{k} ip link set wan mtu {mtu}"));
    lab.script(&format!("exec r{} ip link set back mtu {mtu}", k + 1));
}

#[test]
fn the_mtu_is_found_told_or_not() {
    let lab = Lab::chain(ROUTERS);
    lab.script("start strongswan");
    let mtu = |probe: &str, address: &str| {
        let path = trace(&lab, &[address, "--probe", probe, "--mtu"]);
        let seen = &path.0["mtu"];
        let told = seen["told_by"].as_str().unwrap_or("nobody").to_owned();
        (seen["bytes"].as_u64(), seen["black_hole"].as_bool(), told, seen["over"].as_str().map(str::to_owned))
    };
    let over = |name: &str| Some(name.to_owned());
    let nobody = || "nobody".to_owned();
    ping_sockets(&lab);
    for (probe, carrier) in [("ike", "ike"), ("ike_natt", "ike_natt"), ("icmp", "icmp"), ("tls", "icmp")] {
        assert_eq!(mtu(probe, CONC[0]), (Some(1500), Some(false), nobody(), over(carrier)), "{probe}");
    }
    shrink(&lab, 6, 1454);
    let router = chain(false)[5].clone();
    for probe in ["ike", "icmp"] {
        assert_eq!(mtu(probe, CONC[0]), (Some(1454), Some(false), router.clone(), over(probe)), "{probe}");
    }
    let told = chain(true)[5].clone();
    assert_eq!(mtu("ike", CONC[1]), (Some(1454), Some(false), told, over("ike")));
    // Now the routers' word is filtered on the way, as so often.
    for (family, what) in [("ip", "icmp code frag-needed"), ("ip6", "icmpv6 type packet-too-big")] {
        for words in [
            format!("add table {family} mute"),
            format!("add chain {family} mute forward {{ type filter hook forward priority 0 ; }}"),
            format!("add rule {family} mute forward {what} drop"),
        ] {
            lab.script(&format!("exec r2 nft {words}"));
        }
    }
    for probe in ["ike", "icmp"] {
        assert_eq!(mtu(probe, CONC[0]), (Some(1454), Some(true), nobody(), over(probe)), "{probe}");
    }
    assert_eq!(mtu("ike", CONC[1]), (Some(1454), Some(true), nobody(), over("ike")));
    // Our own interface is no black hole.
    lab.script("exec client ip link set eth0 mtu 1400");
    let path = trace(&lab, &[CONC[0], "--mtu"]);
    let seen = &path.0["mtu"];
    assert_eq!((&seen["bytes"], &seen["own_interface"]), (&1400.into(), &true.into()), "{:#}", path.0);
    assert_eq!(seen["black_hole"], false);
}

/// Traces over ICMP enough that the first search of the MTU comes soon: each has its own within a minute.
pub fn many_traces(interval: &str) -> String {
    (0..8).map(|number| format!("t{number}: {{kind: trace, interval: {interval}}}, ")).collect()
}

/// The daemon over ICMP, once its rights are gone: by its raw sockets, and by ping sockets if it had no right.
#[test]
fn the_mtu_is_found_without_any_right() {
    let lab = Lab::chain(3);
    shrink(&lab, 2, 1454);
    let config = format!(
        "defaults: {{full_interval: 60s}}\ntargets:\n  hq:\n    address: [{}, \"{}\"]\n    probes: {{{}\
         large: {{kind: icmp, interval: 500ms, timeout: 400ms}}}}\n    icmp: {{size: 1472}}\n",
        CONC[0],
        CONC[1],
        many_traces("60s")
    );
    for through in [&[][..], &["setpriv", "--bounding-set=-all", "--inh-caps=-all"]] {
        ping_sockets(&lab);
        let mut daemon = lab.serve_as("client", through, &config);
        daemon.ready();
        let log = daemon.log();
        assert!(log.contains("all capabilities are given back"), "{log}");
        assert!(log.contains(if through.is_empty() { "raw sockets" } else { "datagram sockets" }), "{log}");
        for member in ["member=\"1\"", "member=\"2\""] {
            crate::harness::until("the MTU is known", 70, || {
                daemon.metrics().sum("vpnprobe_path_mtu_bytes", &[member]).is_some_and(|sum| sum >= 1454.0)
            });
        }
        let metrics = daemon.metrics();
        for line in metrics.0.lines().filter(|line| line.starts_with("vpnprobe_path_mtu_bytes")) {
            assert!(line.ends_with(" 1454") || line.ends_with(" 0") || line.ends_with(" NaN"), "{line}");
        }
        assert_eq!(metrics.sum("vpnprobe_probe_unsent_total", &[]), Some(0.0), "{}", daemon.log());
        // Those who share the sockets send what is fragmented, as before.
        let large = |metrics: &crate::harness::Metrics| {
            metrics.get("vpnprobe_probe_rtt_seconds_count", &["probe=\"large\""])
        };
        let before = large(&metrics);
        crate::harness::until("large echoes are answered", 10, || large(&daemon.metrics()) >= before + 4.0);
        daemon.stop();
    }
}

#[test]
fn the_daemon_follows_the_path() {
    let lab = Lab::chain(ROUTERS);
    lab.script("start strongswan");
    let mut daemon = lab.serve(&format!(
        "defaults: {{full_interval: 60s}}\n\
         targets:\n  hq:\n    address: {}\n    vpn: [ipsec]\n    probes: {{trace: {{interval: 10s}}, \
         ike: {{interval: 200ms, timeout: 200ms}}, icmp: {{enabled: false}}}}\n",
        CONC[0]
    ));
    daemon.ready();
    crate::harness::until("a path is known", 20, || {
        daemon.metrics().sum("vpnprobe_path_hops", &["probe=\"trace\""]) == Some(9.0)
    });
    let metrics = daemon.metrics();
    let classes = metrics.sum("vpnprobe_path_first_hop", &["class=\"provider_router\""]);
    assert_eq!(classes, Some(1.0));
    assert_eq!(metrics.sum("vpnprobe_path_changes_total", &[]), Some(0.0));
    assert_eq!(metrics.sum("vpnprobe_duplicates_total", &["probe=\"trace\""]), Some(0.0));
    let path = || -> Value {
        let (status, body) = daemon.request("GET", "/api/v1/path").unwrap();
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    };
    let known = &path()["paths"][0];
    assert_eq!(known["last"]["over"], "ike", "{known:#}");
    assert_eq!(known["variants"].as_array().unwrap().len(), usize::from(ROUTERS));
    assert_eq!(known["way"]["gateway"], "192.0.2.1");
    // The outage is looked into at once, and the last hop before it is named.
    for words in [
        "add table ip fault",
        "add chain ip fault forward { type filter hook forward priority 0 ; }",
        "add rule ip fault forward iifname wan drop",
        "add rule ip fault forward oifname wan drop",
    ] {
        lab.script(&format!("exec r5 nft {words}"));
    }
    crate::harness::until("a thorough trace", 60, || !path()["paths"][0]["deep"].is_null());
    let deep = &path()["paths"][0]["deep"];
    let hops = deep["hops"].as_array().unwrap();
    assert_eq!(hops.len(), 5, "{deep:#}");
    assert_eq!(deep["end"], "silent", "{deep:#}");
    assert_eq!(daemon.metrics().sum("vpnprobe_path_changes_total", &[]), Some(0.0));
    daemon.stop();
}
