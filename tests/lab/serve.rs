//! The main job: `serve` probes real concentrators, and Prometheus can scrape it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Lab, both, until};

const CONFIG: &str = "\
defaults: {interval: 2s, timeout: 1s}
targets:
  hq:
    address: [203.0.113.10, \"2001:db8:3::10\"]
    vpn: [ipsec, l2tp-ipsec, ssl-vpn, openvpn]
    ike: {proposals: [aes256-sha256-modp2048]}
    tls: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}
    dns: {name: vpn.example.test, record: A}
    openvpn: {tls_crypt_file: STATE/openvpn/ta.key}
    probes: {icmp: {}, dns: {}, tcp: {port: 443}}
";

const ALL: [&str; 9] = ["icmp", "ike", "ike_natt", "l2tp", "openvpn_udp", "openvpn_tcp", "tls", "tcp", "dns"];

#[test]
fn every_kind_is_scraped() {
    let lab = Lab::with(&[
        "strongswan",
        "openvpn udp tls-crypt",
        "openvpn tcp tls-crypt",
        "xl2tpd",
        "nginx",
        "unbound",
    ]);
    let mut daemon = lab.serve(CONFIG);
    daemon.ready();
    // The series are there from the start, at 0.
    let first = daemon.metrics();
    for probe in ALL {
        first.get("vpnprobe_probe_failures_total", &[&format!("probe=\"{probe}\""), "member=\"1\""]);
    }
    for (member, kinds) in
        [("1", &ALL[..]), ("2", &ALL.map(|kind| if kind == "l2tp" { "icmp" } else { kind }))]
    {
        for kind in kinds {
            let labels = [&*format!("probe=\"{kind}\""), &*format!("member=\"{member}\"")];
            until(&format!("{kind} of member {member} is up"), 90, || {
                daemon.metrics().sum("vpnprobe_probe_up", &labels) == Some(1.0)
            });
        }
    }
    let metrics = daemon.metrics();
    for name in [
        "vpnprobe_build_info",
        "vpnprobe_target_info",
        "vpnprobe_config_last_reload_successful",
        "vpnprobe_missed_slots_total",
        "vpnprobe_receive_overflow_total",
        "vpnprobe_clock_fallback_total",
        "vpnprobe_half_open_left_total",
        "vpnprobe_budget_deferred_total",
        "vpnprobe_tls_certificate_not_after_timestamp_seconds",
        "vpnprobe_last_attempt_timestamp_seconds",
        "vpnprobe_schedule_lag_seconds_count",
        "process_open_fds",
    ] {
        metrics.get(name, &[]);
    }
    promtool(&metrics.0);
    assert_eq!(daemon.request("GET", "/-/healthy").unwrap().0, 200);
    daemon.stop();
}

fn promtool(scrape: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool");
    child.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
}

/// A concentrator goes and comes back: the gauge follows, the counters tell why, and nobody else is touched.
#[test]
fn an_outage() {
    let lab = Lab::with(&["strongswan", "nginx"]);
    let mut daemon = lab.serve(
        "defaults: {interval: 1s, timeout: 1s}\ntargets:\n  hq:\n    address: 203.0.113.10\n    vpn: [ipsec]\n    \
         ike: {proposals: [aes256-sha256-modp2048]}\n    probes: {tcp: {port: 443, interval: 5s}}\n",
    );
    daemon.ready();
    let up = |probe: &str| daemon.metrics().sum("vpnprobe_probe_up", &[&format!("probe=\"{probe}\"")]);
    let all_up = || ["ike", "ike_natt", "tcp"].into_iter().all(|probe| up(probe) == Some(1.0));
    until("all are up", 60, all_up);
    lab.script("fault drop udp dport 4500");
    until("ike_natt is down", 60, || up("ike_natt") == Some(0.0));
    assert_eq!((up("ike"), up("tcp")), (Some(1.0), Some(1.0)));
    let failures = ["probe=\"ike_natt\"", "reason=\"no_answer\""];
    assert!(daemon.metrics().get("vpnprobe_probe_failures_total", &failures) >= 3.0);
    lab.script("clear");
    until("all are up again", 60, all_up);
    daemon.stop();
}

/// The stop is clean and quick, whatever is under way.
#[test]
fn a_stop_in_the_middle() {
    let lab = Lab::with(&["strongswan", "xl2tpd", "nginx", "openvpn udp tls-crypt"]);
    lab.script("fault drop udp sport 4500");
    for wait in [0, 300, 1500] {
        let mut daemon = lab.serve(CONFIG);
        daemon.ready();
        std::thread::sleep(Duration::from_millis(wait));
        daemon.stop();
    }
}
