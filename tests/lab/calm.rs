//! Default probing is harmless: strongSwan, with its own strict limits, never notices it.

use std::time::{Duration, Instant};

use crate::harness::{Lab, long, until};

const CONFIG: &str = "\
targets:
  hq:
    address: 203.0.113.10
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
    probes:
      ike: {full_interval: 60s}
";

/// Ten minutes, or two hours in a long run, with a full `IKE_SA_INIT` a minute.
#[test]
fn default_probing_of_strongswan() {
    let minutes: u32 = if long() { 120 } else { 10 };
    let lab = Lab::with(&["strongswan"]);
    count_cookies(&lab);
    let mut daemon = lab.serve(CONFIG);
    daemon.ready();
    let end = Instant::now() + Duration::from_secs(60 * u64::from(minutes));
    while Instant::now() < end {
        // A refused first message, too, is an SA for the moment in which strongSwan thinks about it. What
        // is left behind stays for 30 s.
        if half_open(&lab) > 1 {
            std::thread::sleep(Duration::from_millis(50));
            let count = half_open(&lab);
            assert!(count <= 1, "{count} half-open SAs\n{}", lab.script("vici --list-sas"));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let metrics = daemon.metrics();
    let held_back = metrics.sum("vpnprobe_probe_unsent_total", &["fault=\"budget\""]).unwrap_or(0.0);
    let unsent = metrics.get("vpnprobe_probe_unsent_total", &[]);
    let sent = metrics.get("vpnprobe_probes_total", &[]);
    assert_eq!(unsent, held_back, "faults of our own:\n{}", metrics.0);
    assert_eq!(metrics.get("vpnprobe_probe_failures_total", &[]), 0.0, "{}", metrics.0);
    // Two probes each 5 s.
    assert!(sent >= f64::from(minutes) * 60.0 / 5.0 * 2.0 * 0.98, "{sent} probes in {minutes} min");
    let full = lab.read("strongswan.log").matches("generating IKE_SA_INIT response 0 [ SA KE ").count();
    assert!(full >= minutes as usize, "{full} full exchanges in {minutes} min");
    assert_eq!(cookies(&lab), 0);
    daemon.stop();
    // What was half-open when it stopped times out at strongSwan after 30 s; nothing else is there.
    until("no IKE SA is left", 40, || lab.script("vici --stats").contains("IKE_SAs: 0 total"));
}

/// The second number of `IKE_SAs: 1 total, 1 half-open`.
fn half_open(lab: &Lab) -> u32 {
    let stats = lab.script("vici --stats");
    let line = stats.lines().find_map(|line| line.strip_prefix("IKE_SAs: ")).expect("the line");
    let words: Vec<&str> = line.split([' ', ',']).collect();
    words.iter().zip(&words[1..]).find(|(_, word)| **word == "half-open").unwrap().0.parse().unwrap()
}

/// Counts, on the way, every notify of type COOKIE (16390): first payload N (41), its type at octet 34 of
/// the message (RFC 7296, 3.1 and 3.10), after 8 octets of UDP and on port 4500 the non-ESP marker.
fn count_cookies(lab: &Lab) {
    lab.script("exec r1 nft add table inet watch");
    lab.script("exec r1 nft add chain inet watch forward { type filter hook forward priority -10 ; }");
    for (port, shift) in [(500, 0), (4500, 32)] {
        let (first, kind) = (64 + 16 * 8 + shift, 64 + 34 * 8 + shift);
        lab.script(&format!(
            "exec r1 nft add rule inet watch forward udp sport {port} @th,{first},8 41 @th,{kind},16 16390 counter"
        ));
    }
}

fn cookies(lab: &Lab) -> u64 {
    let rules = lab.script("exec r1 nft list table inet watch");
    let counts = rules.split("counter packets ").skip(1);
    counts.map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The counter above counts what it should: four abandoned first messages bring strongSwan to cookies.
#[test]
fn cookies_are_seen() {
    let lab = Lab::with(&["strongswan aes128-sha1-modp1024"]);
    count_cookies(&lab);
    for _ in 0..4 {
        lab.run("client", "ike-scan --sport=0 --ikev2 203.0.113.10");
    }
    assert_eq!(half_open(&lab), 3);
    assert_eq!(cookies(&lab), 1);
}
