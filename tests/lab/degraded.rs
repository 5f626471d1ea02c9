//! Starts under bad stars: ready within a second, degraded, and said.

use std::time::Duration;

use crate::harness::{Lab, until};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_dead_name() {
    let lab = Lab::with(&["strongswan"]);
    lab.script("resolver 203.0.113.10"); // nobody serves DNS there yet
    lab.script("fault drop udp dport 53");
    let mut daemon = lab.serve(
        "targets:\n  dead:\n    address: vpn.example.test\n    probes: {ike: {interval: 1s}}\n  \
         alive:\n    address: 203.0.113.10\n    probes: {ike: {interval: 1s}}\n",
    );
    daemon.ready_within(SECOND);
    until("the dead name is said and counted", 30, || {
        let metrics = daemon.metrics();
        let unresolved =
            metrics.sum("vpnprobe_probe_unsent_total", &["target=\"dead\"", "fault=\"unresolved\""]);
        let alive = metrics.sum("vpnprobe_probe_up", &["target=\"alive\""]);
        let said = daemon.log().contains("cannot resolve vpn.example.test");
        unresolved > Some(0.0) && alive == Some(1.0) && said
    });
    let failures = daemon.metrics().get("vpnprobe_probe_failures_total", &[]);
    assert_eq!(failures, 0.0, "a name that we cannot resolve is no evidence against the target");
    lab.script("clear");
    lab.script("start unbound");
    until("the name is found once the resolver answers", 60, || {
        daemon.metrics().sum("vpnprobe_probe_up", &["target=\"dead\"", "member=\"1\""]) == Some(1.0)
    });
    daemon.stop();
}

#[test]
fn a_missing_privilege() {
    let lab = Lab::with(&["strongswan"]);
    let mut daemon = lab.serve_as(
        "client",
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
        &format!(
            "defaults: {{full_interval: 60s}}\ntargets:\n  hq:\n    address: 203.0.113.10\n    \
             probes: {{{}icmp: {{interval: 1s}}, ike: {{interval: 1s}}}}\n",
            crate::path::many_traces("1h")
        ),
    );
    daemon.ready_within(SECOND);
    until("icmp is held back, ike works", 10, || {
        let metrics = daemon.metrics();
        let held = metrics.sum("vpnprobe_probe_unsent_total", &["probe=\"icmp\"", "fault=\"permission\""]);
        held > Some(0.0) && metrics.sum("vpnprobe_probe_up", &["probe=\"ike\""]) == Some(1.0)
    });
    let log = daemon.log();
    assert!(log.contains("ICMP") && log.contains("cap_net_raw"), "{log}");
    assert_eq!(daemon.metrics().get("vpnprobe_probe_failures_total", &["probe=\"icmp\""]), 0.0);
    // A rare form is held back as well, which nothing else would tell: said once for all of them, and counted.
    let rare = "egress.default: mtu came to nothing by a fault of this host";
    until("the search of the MTU is held back", 70, || daemon.log().contains(rare));
    let counted = |metrics: &crate::harness::Metrics| {
        metrics.get("vpnprobe_probe_unsent_total", &["probe=\"t", "fault=\"permission\""])
    };
    until("more than one is counted", 70, || counted(&daemon.metrics()) >= 2.0);
    assert_eq!(daemon.log().matches(rare).count(), 1, "{}", daemon.log());
    daemon.stop();
}

#[test]
fn no_network() {
    let lab = Lab::up();
    let mut daemon = lab.serve_as(
        "void",
        &[],
        "targets:\n  hq:\n    address: [203.0.113.10, \"2001:db8:3::10\"]\n    vpn: [ipsec]\n    \
         probes: {icmp: {interval: 1s}, ike: {interval: 1s}, ike_natt: {interval: 1s}, tls: {interval: 10s}}\n",
    );
    daemon.ready_within(SECOND);
    for probe in ["icmp", "ike", "ike_natt", "tls"] {
        let label = format!("probe=\"{probe}\"");
        until("every probe says that there is no route", 15, || {
            let metrics = daemon.metrics();
            metrics.sum("vpnprobe_probe_unsent_total", &[&label, "fault=\"no_route\""]) > Some(0.0)
        });
    }
    let failures = daemon.metrics().get("vpnprobe_probe_failures_total", &[]);
    assert_eq!(failures, 0.0, "our own missing network is no evidence against the target");
    daemon.stop();
}
