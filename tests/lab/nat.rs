//! A real NAT (Linux, in r1) before real STUN servers (coturn).

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Daemon, Lab, until};

/// How long the NAT remembers an idle stream.
const STREAM: f64 = 4.0;

/// Three servers: behind the NAT, past it, and one that cannot tell.
const CONFIG: &str = "
egress: {nat: {source: 192.0.2.10}, plain: {source: 192.0.2.11}}
defaults: {interval: 500ms, timeout: 1s, full_interval: 10s}
targets:
  hq:
    address: 203.0.113.11
    egress: [nat]
    probes: {icmp: {enabled: false}, trace: {enabled: false}, stun: {}}
  twin: {address: 203.0.113.11, egress: [plain], probes: {icmp: {enabled: false}, trace: {enabled: false}, stun: {}}}
  old: {address: 203.0.113.13, egress: [nat], probes: {icmp: {enabled: false}, trace: {enabled: false}, stun: {}}}
";

#[test]
fn how_long_a_nat_remembers_and_when_it_forgot() {
    let lab = Lab::with(&["coturn_alone", "coturn_rfc5780"]);
    lab.run("client", "ip address add 192.0.2.11/24 dev eth0");
    lab.script("nat 40000-40999");
    // What is no stream yet lives longer here than what is: a VPN's flow is one.
    let udp = "net.netfilter.nf_conntrack_udp_timeout";
    lab.run("r1", &format!("sysctl -qw {udp}=10 {udp}_stream={STREAM}"));
    let mut daemon = lab.serve(CONFIG);
    daemon.ready();

    let bound = |target: &str, bound: &str| {
        let labels = [format!("target=\"{target}\""), format!("bound=\"{bound}\"")];
        daemon.metrics().sum("vpnprobe_nat_binding_seconds", &[&labels[0], &labels[1]])
    };
    until("both bounds are known", 50, || {
        std::thread::sleep(Duration::from_millis(500));
        bound("hq", "at_most").is_some() && bound("hq", "at_least").is_some()
    });
    let (low, high) = (bound("hq", "at_least").unwrap(), bound("hq", "at_most").unwrap());
    println!("the NAT remembers for {STREAM} s, measured {low} s to {high} s");
    assert!((2.0..=STREAM + 0.05).contains(&low) && (STREAM..8.0).contains(&high), "{low} to {high}");

    let twin = bound("twin", "at_least").expect("the twin is measured");
    println!("without it {twin} s or longer");
    assert!(twin >= 6.0);
    assert_eq!(bound("twin", "at_most"), None);
    assert_eq!((bound("old", "at_least"), bound("old", "at_most")), (None, None));
    assert_eq!(details(&daemon, "old")["nat_binding"], "not measurable: the server lacks RESPONSE-PORT");

    let changes = |target: &str| {
        let label = format!("target=\"{target}\"");
        daemon.metrics().get("vpnprobe_nat_mapping_changes_total", &[&label])
    };
    assert_eq!((changes("hq"), changes("twin"), changes("old")), (0.0, 0.0, 0.0));
    let answered = |target: &str| {
        let label = format!("target=\"{target}\"");
        daemon.metrics().get("vpnprobe_probe_rtt_seconds_count", &[&label])
    };
    lab.script("nat 50000-50999");
    until("the NAT's change is seen", 10, || changes("hq") > 0.0 && changes("old") > 0.0);
    let before = answered("hq");
    until("more answers", 10, || answered("hq") >= before + 4.0);
    assert_eq!((changes("hq"), changes("twin"), changes("old")), (1.0, 0.0, 1.0), "{}", daemon.log());
    let mapped = details(&daemon, "hq")["mapped_address"].as_str().unwrap().to_owned();
    assert!(mapped.starts_with("198.51.100.1:50"), "{mapped}");
    daemon.stop();
}

/// What the probe of a target told last.
fn details(daemon: &Daemon<'_>, target: &str) -> Value {
    let (_, body) = daemon.request("GET", "/api/v1/status").unwrap();
    let status: Value = serde_json::from_str(&body).unwrap();
    let targets = status["targets"].as_array().unwrap();
    let found = targets.iter().find(|it| it["target"] == target).unwrap();
    found["probes"][0]["details"].clone()
}
