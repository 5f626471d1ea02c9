//! The host's own routing, with the kernel's real tables and rules: what `check` says of each, and how soon
//! the daemon sees a change. The tunnel is a cable to nowhere: only lookups go there.

use std::time::{Duration, Instant};

use crate::harness::{Lab, until};

/// The client's tunnel and its home network beside the way to the concentrator.
const TUNNEL: &[&str] = &[
    "ip link add tun0 type veth peer name tun0peer",
    "ip link set tun0peer up",
    "ip addr add 10.8.0.6/24 dev tun0",
    "ip link set tun0 up",
    "ip link add home0 type veth peer name home0peer",
    "ip link set home0peer up",
    "ip addr add 192.168.1.7/24 dev home0",
    "ip link set home0 up",
];

fn run(lab: &Lab, words: &str) {
    let said = lab.run("client", words);
    assert!(!said.contains("Error") && !said.contains("RTNETLINK"), "{words}: {said}");
}

fn block(inside: &str) -> String {
    format!(
        "    address: 203.0.113.10\n    inside: {{egress: tunnel, {inside}}}\n    probes: {{icmp: {{timeout: 1s}}}}\n"
    )
}

const EGRESS: &str = "egress: {tunnel: {interface: tun0}, marked: {mark: 7}}\n";

fn steps(lab: &Lab, block: &str) -> (String, String) {
    let file = lab.config("check.yml", &format!("{EGRESS}targets:\n  hq:\n{block}"));
    let check = lab.check(&["--target", "hq", "--config.file", file.to_str().unwrap(), "--attempts", "1"]);
    (check.step("route"), check.step("inside_routes"))
}

/// What is done, what is declared, and how the steps `route` and `inside_routes` go then. What is done
/// stays done for the rows below it.
#[test]
fn what_check_says_of_real_tables() {
    let lab = Lab::up();
    let split = "tunnel: split, prefixes: [10.20.0.0/16]";
    let full = "tunnel: full, prefixes: [10.20.0.0/16]";
    let none: &[&str] = &[];
    let rows: &[(&str, &[&str], &str, &str, &str)] = &[
        ("no tunnel yet", none, split, "ok", "unknown"),
        ("a tunnel and no route", TUNNEL, split, "ok", "failed inside_route_missing"),
        ("the class-based route", &["ip route add 10.0.0.0/8 dev tun0"], split, "ok", "ok"),
        (
            "half of it elsewhere",
            &["ip route add 10.20.128.0/17 via 192.0.2.1"],
            split,
            "ok",
            "failed inside_route_missing",
        ),
        ("and back", &["ip route del 10.20.128.0/17"], split, "ok", "ok"),
        ("full is declared", none, full, "ok", "failed default_route_not_via_tunnel"),
        (
            "redirect-gateway def1, with the host route",
            &[
                "ip route add 203.0.113.10 via 192.0.2.1",
                "ip route add 0.0.0.0/1 dev tun0",
                "ip route add 128.0.0.0/1 dev tun0",
            ],
            "tunnel: full, prefixes: [10.20.0.0/16, 172.30.0.0/16]",
            "ok",
            // IPv6 has a default route past the tunnel.
            "ok default_route_not_via_tunnel",
        ),
        ("the same, and split is declared", none, split, "ok", "failed default_route_via_tunnel"),
        (
            "the host route is lost",
            &["ip route del 203.0.113.10"],
            full,
            "failed default_route_via_tunnel",
            "ok default_route_not_via_tunnel",
        ),
        ("all well again", &["ip route del 0.0.0.0/1", "ip route del 128.0.0.0/1"], split, "ok", "ok"),
        (
            "the home network has the office's addresses",
            none,
            "prefixes: [10.20.0.0/16, 192.168.1.0/24]",
            "ok",
            "failed same_subnet",
        ),
        (
            "the tunnel wins by longer routes",
            &["ip route add 192.168.1.0/25 dev tun0", "ip route add 192.168.1.128/25 dev tun0"],
            "prefixes: [10.20.0.0/16, 192.168.1.0/24]",
            "ok",
            "ok same_subnet",
        ),
        // Rules, not tables: the main table stays as it is.
        (
            "a rule past the tunnel",
            &["ip route add default via 192.0.2.1 table 77", "ip rule add to 10.20.0.0/16 lookup 77"],
            split,
            "ok",
            "failed inside_route_missing",
        ),
        ("a rule into it", &["ip route replace default dev tun0 table 77"], split, "ok", "ok"),
        (
            "a rule for everything without a mark",
            &["ip rule add not fwmark 7 lookup 77"],
            full,
            "failed default_route_via_tunnel",
            "ok default_route_not_via_tunnel",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, done, declared, route, inside) in rows {
        done.iter().for_each(|words| run(&lab, words));
        let found = steps(&lab, &block(declared));
        if found != ((*route).to_owned(), (*inside).to_owned()) {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    // The mark is honoured: marked probes go past the tunnel, as the tunnel's own packets do.
    let marked = format!("    egress: [marked]\n{}", block(full));
    let found = steps(&lab, &marked);
    if found.0 != "ok" {
        wrong.push(format!("marked: {found:?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_daemon_sees_a_change_within_seconds() {
    let lab = Lab::up();
    TUNNEL.iter().for_each(|words| run(&lab, words));
    run(&lab, "ip route add 10.20.0.0/16 dev tun0");
    let yaml = format!("{EGRESS}targets:\n  hq:\n{}", block("tunnel: split, prefixes: [10.20.0.0/16]"));
    let mut daemon = lab.serve(&yaml.replace("{timeout: 1s}", "{interval: 500ms, timeout: 400ms}"));
    daemon.ready();
    let is = |step: &str, status: &str| {
        let labels = [format!("step=\"{step}\""), format!("status=\"{status}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        daemon.metrics().sum("vpnprobe_step_status", &labels) == Some(1.0)
    };
    until("all is well", 10, || is("inside_routes", "ok") && is("reach", "ok") && is("route", "ok"));
    let changes = [
        ("ip route del 10.20.0.0/16 dev tun0", "failed"),
        ("ip route add 10.20.0.0/16 dev tun0", "ok"),
        ("ip route add 10.20.3.0/24 via 192.0.2.1", "ok"), // none of the addresses asked for
        ("ip rule add to 10.20.0.0/16 unreachable", "failed"),
        ("ip rule del to 10.20.0.0/16 unreachable", "ok"),
        ("ip link set tun0 down", "unknown"),
    ];
    let mut took = Vec::new();
    for (words, status) in changes {
        run(&lab, words);
        let start = Instant::now();
        until(words, 5, || is("inside_routes", status));
        took.push(start.elapsed());
    }
    eprintln!("seen after {took:?}");
    assert!(took.iter().all(|it| *it < Duration::from_secs(5)), "{took:?}");
    let (_, status) = daemon.request("GET", "/api/v1/status").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let target = &status["targets"][0];
    assert_eq!(target["routes"]["tunnel"], "tun0", "{target:#}");
    assert_eq!(target["steps"].as_array().unwrap().len(), 9);
    daemon.stop();
}
