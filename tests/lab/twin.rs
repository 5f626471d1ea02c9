//! The twin path: the same probe at the same instants directly and through a real OpenVPN tunnel, as a
//! real Prometheus has it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Lab, until};
use crate::prometheus::Server;

/// Both ways lead to another address of the concentrator: OpenVPN lets nothing for its own peer's address
/// into the tunnel.
const CONFIG: &str = "\
egress: {direct: {interface: eth0}, tunnel: {interface: ovpn-client}}
pairs: {vpn: {a: direct, b: tunnel}}
targets:
  web:
    address: 203.0.113.11
    egress: [direct, tunnel]
    probes: {icmp: {interval: 200ms, timeout: 200ms}}
";
const SCRAPE: &str = "\
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: vpnprobe
    static_configs: [{targets: ['127.0.0.1:10069']}]
";

/// What each result of the pair grew by over the last 8 s, as Prometheus has it now.
fn grown(prometheus: &Server<'_>) -> Vec<(String, f64)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let series = prometheus.query_range("increase(vpnprobe_pair_results_total[8s])", now, now).unwrap();
    let value = |it: &Value| it["values"][0][1].as_str().unwrap().parse().unwrap();
    series.iter().map(|it| (it["metric"]["result"].as_str().unwrap().to_owned(), value(it))).collect()
}

#[test]
fn works_directly_and_fails_through_the_tunnel() {
    let lab = Lab::with(&["openvpn udp plain"]);
    lab.script("start openvpn_client");
    lab.script("exec conc nft add table inet firewall");
    lab.script("exec conc nft add chain inet firewall in { type filter hook input priority 0 ; }");
    let mut daemon = lab.serve(CONFIG);
    daemon.ready();
    let prometheus = Server::prometheus(&lab, "twin", 9090, SCRAPE, false);
    let mut shown = String::new();
    for (what, rule, result) in [
        ("nothing is wrong", None, "both"),
        (
            "the inside denies the tunnel's clients",
            Some("ip saddr 10.30.2.0/24 icmp type echo-request drop"),
            "only_a",
        ),
        ("the direct way is filtered", Some("iifname eth0 icmp type echo-request drop"), "only_b"),
        ("the host is silent on both", Some("icmp type echo-request drop"), "neither"),
    ] {
        lab.script("exec conc nft flush chain inet firewall in");
        if let Some(rule) = rule {
            lab.script(&format!("exec conc nft add rule inet firewall in {rule}"));
        }
        let mut last = Vec::new();
        let begun = std::time::Instant::now();
        until(&format!("{what}: only {result} grows"), 40, || {
            std::thread::sleep(Duration::from_secs(1));
            last = grown(&prometheus);
            let of = |wanted: bool| -> f64 {
                last.iter().filter(|(name, _)| (name == result) == wanted).map(|(_, value)| value).sum()
            };
            begun.elapsed() > Duration::from_secs(9) && of(true) > 10.0 && of(false) == 0.0
        });
        last.sort_by(|(a, _), (b, _)| a.cmp(b));
        let last: Vec<String> = last.iter().map(|(name, value)| format!("{name} {value:.0}")).collect();
        writeln!(shown, "{what}: {}", last.join(", ")).unwrap();
    }
    // The difference of the two round trips is a histogram of its own.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let sum = "vpnprobe_pair_rtt_difference_seconds_sum / vpnprobe_pair_rtt_difference_seconds_count";
    let mean = prometheus.query_range(sum, now, now).unwrap();
    let mean: f64 = mean[0]["values"][0][1].as_str().unwrap().parse().unwrap();
    writeln!(shown, "the tunnel takes {:.2} ms longer on average", mean * 1000.0).unwrap();
    println!("{shown}");
    assert!(mean > 0.0, "through the tunnel it takes longer: {mean}");
    daemon.stop();
}
