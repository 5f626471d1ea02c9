//! Ways out by mark, by network namespace, by interface and by source address, on real policy routing:
//! which way probes go, the rights that takes, and ways out that are not there yet, or not any more.
//!
//! ```text
//!   client eth0 ── r1 ── r2 ── conc        the way of everybody
//!   client eth1 ───────── r2               the second line: table 77, for what is marked 7
//!   void   eth0 ───────── r2               another network namespace with a line of its own
//! ```

use std::time::Instant;

use crate::harness::{CONC, Daemon, Lab, Metrics, both, text, until};

/// Words for `lab.sh`, one command a line; `LAB` is the lab's name.
fn does(lab: &Lab, commands: &str) {
    for words in commands.lines().map(str::trim).filter(|words| !words.is_empty()) {
        lab.script(&words.replace("LAB-", &lab.namespace("")));
    }
}

/// The second line, made whole under another name: it appears at once.
const SECOND_LINE: &str = "
    exec client ip link add new1 type veth peer name alt netns LAB-r2
    exec client ip addr add 192.0.3.10/24 dev new1
    exec client ip addr add 2001:db8:13::10/64 dev new1
    exec r2 ip addr add 192.0.3.1/24 dev alt
    exec r2 ip addr add 2001:db8:13::1/64 dev alt
    exec r2 ip link set alt up
    exec client ip link set new1 up
    exec client ip route add default via 192.0.3.1 dev new1 metric 500
    exec client ip route add default via 2001:db8:13::1 dev new1 metric 2000
    exec client ping -qc3 -i0.3 -I new1 192.0.3.1";
const NAMED: &str = "exec client ip link set new1 name eth1";
const POLICY: &str = "
    exec client ip rule add fwmark 7 lookup 77
    exec client ip route add unreachable default metric 900 table 77";
const MARKED: &str = "exec client ip route add default via 192.0.3.1 dev eth1 table 77";
/// The other namespace's line.
const ELSEWHERE: &str = "
    exec r2 ip link add there type veth peer name eth0 netns LAB-void
    exec r2 ip addr add 192.0.4.1/24 dev there
    exec r2 ip link set there up
    exec void ip addr add 192.0.4.10/24 dev eth0
    exec void ip link set lo up
    exec void ip link set eth0 up
    exec void ip route add default via 192.0.4.1
    exec void ping -qc3 -i0.3 192.0.4.1";

/// Packets for the concentrator that came to r2 by each of its lines.
const COUNTERS: &str = "
    exec r2 nft add table ip seen
    exec r2 nft add chain ip seen forward { type filter hook forward priority 0 ; }
    exec r2 nft add rule ip seen forward iifname wan ip daddr 203.0.113.10 counter
    exec r2 nft add rule ip seen forward iifname alt ip daddr 203.0.113.10 counter
    exec r2 nft add rule ip seen forward iifname there ip daddr 203.0.113.10 counter";

/// How many have come by `wan`, `alt` and `there`.
fn seen(lab: &Lab) -> [u64; 3] {
    let rules = lab.script("exec r2 nft list table ip seen");
    let count = |name: &str| {
        let line = rules.lines().find(|line| line.contains(&format!("iifname \"{name}\""))).unwrap();
        line.split_once("packets ").unwrap().1.split(' ').next().unwrap().parse().unwrap()
    };
    ["wan", "alt", "there"].map(count)
}

fn since(before: [u64; 3], now: [u64; 3]) -> [u64; 3] {
    std::array::from_fn(|index| now[index] - before[index])
}

fn egress(lab: &Lab) -> String {
    format!("egress: {{marked: {{mark: 7}}, elsewhere: {{namespace: {}}}}}\n", lab.namespace("void"))
}

fn target(egress: &str) -> String {
    format!(
        "targets:\n  hq:\n    address: {}\n    egress: [{egress}]\n    tls: {{ca_file: STATE/pki/ca.crt}}\n    \
         probes: {{ike: {{interval: 500ms, timeout: 400ms}}, icmp: {{interval: 500ms, timeout: 400ms}}, \
         tls: {{interval: 10s}}, trace: {{interval: 10s}}}}\n",
        CONC[0]
    )
}

const DROPPED: [&str; 4] = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"];

#[test]
fn marks_and_namespaces_are_obeyed_with_one_right_and_refused_without() {
    let lab = Lab::with(&["strongswan", "nginx"]);
    for commands in [SECOND_LINE, NAMED, POLICY, MARKED, ELSEWHERE, COUNTERS] {
        does(&lab, commands);
    }
    let elsewhere = lab.namespace("void");
    for (name, right, why, way, link, gateway) in [
        ("default", "", "", 0, "eth0", "192.0.2.1"),
        ("marked", "net_admin", "mark", 1, "eth1", "192.0.3.1"),
        ("elsewhere", "sys_admin", "namespace", 2, "eth0", "192.0.4.1"),
    ] {
        let yaml = egress(&lab) + &target(name);
        // By hand, with all rights: only this way is taken, by every kind of probe.
        let file = lab.config("check.yml", &yaml);
        let file = file.to_str().unwrap();
        let before = seen(&lab);
        let check = lab.check(&["--target", "hq", "--config.file", file]);
        assert_eq!(
            (check.step("route"), check.step("reach")),
            ("ok".into(), "ok".into()),
            "{:#}",
            check.json
        );
        for probe in ["ike", "icmp", "tls", "trace"] {
            let fine = check.results().iter().any(|said| said.starts_with(&format!("{probe} answered")));
            assert!(fine, "{name}: {probe}: {:?}", check.results());
        }
        let came = since(before, seen(&lab));
        let others = (0..3).filter(|index| *index != way).map(|index| came[index]).sum::<u64>();
        assert!(came[way] >= 4 && others == 0, "{name}: {came:?}");
        if !right.is_empty() {
            // Without it each command names the way out, the right, and what gives it.
            let cap = format!("cap_{right}");
            let said = format!(
                "egress.{name}: {why} needs {}; allow it with the drop-in systemd/{why}.conf, or with: \
                 setcap cap_net_raw,{cap}+ep \"$(command -v vpnprobe)\"",
                cap.to_uppercase()
            );
            let mut daemon = lab.serve_as("client", &DROPPED, &yaml);
            assert_eq!(daemon.ended(5), Some(2), "{}", daemon.log());
            assert!(daemon.log().contains(&said), "{}", daemon.log());
            for command in [&["check", "--target", "hq"][..], &["trace", "--target", "hq"]] {
                let mut bare = lab.command("client", DROPPED[0]);
                bare.args(&DROPPED[1..]).arg(env!("CARGO_BIN_EXE_vpnprobe")).args(command);
                let output = bare.args(["--config.file", file]).output().unwrap();
                assert_eq!(output.status.code(), Some(2), "{command:?}: {}", both(&output));
                assert!(text(&output.stderr).contains(&said), "{command:?}: {}", both(&output));
            }
        }
        // The daemon, with this one right, or with none.
        let only = if right.is_empty() { String::new() } else { format!(",+{right}") };
        let rights = ["--inh-caps", "--ambient-caps", "--bounding-set"].map(|set| {
            let raw = if set == "--bounding-set" { ",+net_raw" } else { "" };
            format!("{set}=-all{raw}{}", if set == "--bounding-set" { &only } else { "" })
        });
        let through: Vec<&str> = ["setpriv"].into_iter().chain(rights.iter().map(String::as_str)).collect();
        let before = seen(&lab);
        let mut daemon = lab.serve_as("client", &through, &yaml);
        daemon.ready();
        if !right.is_empty() {
            assert!(daemon.log().contains(&format!("CAP_{}", right.to_uppercase())), "{}", daemon.log());
        }
        until("every probe is answered", 15, || {
            let metrics = daemon.metrics();
            ["ike", "icmp", "tls", "trace"].iter().all(|probe| {
                let probe = format!("probe=\"{probe}\"");
                metrics.sum("vpnprobe_probe_rtt_seconds_count", &[&probe]) > Some(0.0)
            })
        });
        assert_eq!(failures(&daemon.metrics(), name), 0.0, "{name}");
        // The kernel is asked for the way, with the mark, and in the namespace.
        let mut routes = serde_json::Value::Null;
        until("the way is known", 10, || {
            let (_, status) = daemon.request("GET", "/api/v1/status").unwrap();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            routes = status["targets"][0]["routes"].clone();
            routes["members"][0].is_object()
        });
        let member = &routes["members"][0];
        assert_eq!((&member["link"], &member["gateway"]), (&link.into(), &gateway.into()), "{routes:#}");
        let expected = if name == "elsewhere" { elsewhere.as_str().into() } else { serde_json::Value::Null };
        assert_eq!(routes["namespace"], expected, "{routes:#}");
        let came = since(before, seen(&lab));
        let others = (0..3).filter(|index| *index != way).map(|index| came[index]).sum::<u64>();
        assert!(came[way] >= 4 && others == 0, "{name}: {came:?}");
        daemon.stop();
    }
}

fn failures(metrics: &Metrics, egress: &str) -> f64 {
    metrics.sum("vpnprobe_probe_failures_total", &[&format!("egress=\"{egress}\"")]).unwrap_or(0.0)
}

/// A way out that comes and goes.
struct Comes {
    name: &'static str,
    makes: String,
    ends: &'static str,
    /// The fault that is said.
    fault: &'static str,
}

fn unsent(daemon: &Daemon<'_>, egress: &str) -> f64 {
    daemon.metrics().get("vpnprobe_probe_unsent_total", &[&format!("egress=\"{egress}\"")])
}

/// What held them.
fn faults(daemon: &Daemon<'_>, egress: &str) -> String {
    let (metrics, label) = (daemon.metrics(), format!("egress=\"{egress}\""));
    let lines = metrics.0.lines().filter(|line| {
        line.starts_with("vpnprobe_probe_unsent_total") && line.contains(&label) && !line.ends_with(" 0")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Of each series of a way out, how many probes were answered.
fn answered(daemon: &Daemon<'_>, egress: &str) -> Vec<f64> {
    let metrics = daemon.metrics();
    let label = format!("egress=\"{egress}\"");
    let lines = metrics
        .0
        .lines()
        .filter(|line| line.starts_with("vpnprobe_probe_rtt_seconds_count{") && line.contains(&label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

/// Not there at the start, there, gone (and all again in a long run): unsent meanwhile, said once each time, no loss, and
/// it goes on by itself.
#[test]
fn ways_out_come_and_go() {
    let lab = Lab::with(&["strongswan", "nginx"]);
    does(&lab, POLICY);
    let second = format!("{SECOND_LINE}\n{NAMED}");
    let ways = [
        Comes {
            name: "source",
            makes: "exec client ip addr add 192.0.2.20/24 dev eth0".to_owned(),
            ends: "exec client ip addr del 192.0.2.20/24 dev eth0",
            fault: "egress",
        },
        Comes {
            name: "source6",
            makes: "exec client ip addr add 2001:db8:1::20/64 dev eth0".to_owned(),
            ends: "exec client ip addr del 2001:db8:1::20/64 dev eth0",
            fault: "egress",
        },
        Comes {
            name: "interface",
            makes: second.clone(),
            ends: "exec client ip link del eth1",
            fault: "egress",
        },
        // The same line, over IPv6.
        Comes {
            name: "interface6",
            makes: second.clone(),
            ends: "exec client ip link del eth1",
            fault: "egress",
        },
        Comes {
            name: "marked",
            makes: format!("{second}\n{MARKED}"),
            ends: "exec client ip link del eth1",
            fault: "no_route",
        },
        Comes { name: "elsewhere", makes: format!("namespace\n{ELSEWHERE}"), ends: "gone", fault: "egress" },
    ];
    let void = lab.namespace("void");
    let change = |commands: &str| {
        let first = commands.lines().next().unwrap_or_default();
        match first {
            "namespace" => assert!(ip(&["netns", "add", &void])),
            "gone" => return assert!(ip(&["netns", "del", &void])),
            _ => {}
        }
        does(&lab, commands.strip_prefix("namespace").unwrap_or(commands));
        // An IPv6 address is nobody's until the kernel has got round to it.
        until("no address is tentative", 5, || {
            lab.run("client", "ip -6 addr show tentative").trim().is_empty()
        });
    };
    change("gone");
    let probes = "probes: {ike: {interval: 200ms, timeout: 150ms}, icmp: {interval: 200ms, timeout: 150ms}, \
                  tcp: {port: 443, interval: 500ms, timeout: 400ms}}";
    let v4: Vec<&str> = ways.iter().map(|way| way.name).filter(|name| !name.ends_with('6')).collect();
    let yaml = format!(
        "budget: {{packets_per_second: 200, packets_burst: 400, tcp_per_minute: 600}}\n\
         egress:\n  source: {{source: 192.0.2.20}}\n  source6: {{source: \"2001:db8:1::20\"}}\n  \
         interface: {{interface: eth1}}\n  interface6: {{interface: eth1}}\n  marked: {{mark: 7}}\n  \
         elsewhere: {{namespace: {void}}}\n\
         targets:\n  hq:\n    address: {}\n    egress: [{}]\n    {probes}\n  \
         hq6:\n    address: \"{}\"\n    egress: [source6, interface6]\n    {probes}\n",
        CONC[0],
        v4.join(", "),
        CONC[1]
    );
    let mut daemon = lab.serve(&yaml);
    daemon.ready();
    let log = |way: &Comes, words: &str| {
        let log = daemon.log();
        let about = |line: &&str| line.contains(&format!("egress.{}:", way.name)) && line.contains(words);
        log.lines().filter(about).count()
    };
    let held = |way: &Comes| {
        log(way, &format!("fault=\"{}\"", way.fault)) + log(way, &format!("fault={}", way.fault))
    };
    let mut told = Vec::new();
    let rounds = if crate::harness::long() { 2 } else { 1 };
    for round in 1..=rounds {
        for way in &ways {
            let name = way.name;
            let before = unsent(&daemon, name);
            until(&format!("{name} is not there: unsent"), 10, || unsent(&daemon, name) >= before + 9.0);
            let old = answered(&daemon, name);
            // The interface has been there for IPv4.
            if round == 1 && name != "interface6" {
                assert!(old.iter().all(|count| *count == 0.0), "{name}: {old:?}");
            }
            change(&way.makes);
            let (back, there) = (Instant::now(), unsent(&daemon, name));
            until(&format!("{name} is there: answered\n{}", daemon.log()), 20, || {
                answered(&daemon, name).iter().zip(&old).all(|(new, old)| new > old)
            });
            told.push(format!(
                "{name}: all probes go on {:.1} s after it is back",
                back.elapsed().as_secs_f64()
            ));
            // At most one of each probe: what was asked for between the line and the first look at it.
            let more = unsent(&daemon, name) - there;
            let most: f64 = old.iter().map(|_| 1.0).sum();
            assert!(
                more <= most,
                "{name}: {more} probes were held after it was back\n{}",
                faults(&daemon, name)
            );
            // It goes again, while the others wait for their turn.
            let was = answered(&daemon, name);
            until("probes go on", 10, || {
                answered(&daemon, name).iter().zip(&was).all(|(a, b)| *a >= b + 2.0)
            });
            change(way.ends);
            let gone = unsent(&daemon, name);
            until(&format!("{name} is gone: unsent"), 10, || unsent(&daemon, name) >= gone + 9.0);
            assert_eq!(failures(&daemon.metrics(), name), 0.0, "{name}\n{}", daemon.log());
            // Those that share the line have been there, too.
            if !["interface", "interface6", "marked"].contains(&name) {
                assert_eq!((held(way), log(way, "again")), (round + 1, round), "{name}\n{}", daemon.log());
            }
        }
    }
    let log = daemon.log();
    // Three ways out share the second line, which comes and goes for each.
    for name in ["interface", "interface6"] {
        let lines = log.lines().filter(|line| line.contains(&format!("egress.{name}: interface eth1")));
        assert_eq!(lines.count(), 1 + 3 * rounds, "{name}\n{log}");
    }
    // Nothing of ours keeps a namespace that was deleted.
    assert!(!lab.try_script("exec r2 ip link show there"), "its line went with it");
    println!("{}", told.join("\n"));
    daemon.stop();
}

/// The raw sockets are opened at the start, and all rights are gone when the address comes.
#[test]
fn a_source_that_comes_later_needs_no_right() {
    let lab = Lab::up();
    let probes = "probes: {icmp: {interval: 200ms, timeout: 150ms}}";
    let mut daemon = lab.serve(&format!(
        "egress: {{four: {{source: 192.0.2.20}}, six: {{source: \"2001:db8:1::20\"}}}}\n\
         targets:\n  a: {{address: {}, egress: [four], {probes}}}\n  b: {{address: \"{}\", egress: [six], {probes}}}\n",
        CONC[0], CONC[1]
    ));
    daemon.ready();
    assert!(daemon.log().contains("all capabilities are given back"), "{}", daemon.log());
    for (name, address) in [("four", "192.0.2.20/24"), ("six", "2001:db8:1::20/64")] {
        until("it is not there", 10, || unsent(&daemon, name) >= 3.0);
        lab.script(&format!("exec client ip addr add {address} dev eth0"));
        until("it is there", 10, || answered(&daemon, name).iter().all(|count| *count >= 3.0));
        assert_eq!(failures(&daemon.metrics(), name), 0.0, "{name}\n{}", daemon.log());
    }
    daemon.stop();
}

fn ip(words: &[&str]) -> bool {
    std::process::Command::new("ip").args(words).status().unwrap().success()
}
