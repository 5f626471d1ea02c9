//! Over cables with a length: traces in time, and round trips against the stamps of the cable itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{CONC, Lab};
use crate::path::{Little, ROUTERS, chain, listener, trace};

/// Has every neighbour known, so that no address is asked for on the way.
fn warm(lab: &Lab) {
    for address in CONC {
        lab.script(&format!("exec client ping -qc2 -i0.2 -W5 {address}"));
    }
}

/// 160 ms and more to the end, spent on the way in three manners. In time is: with the time of two round
/// trips and 50 ms, which is told here, and for certain in two rounds, each hop asked once.
#[test]
fn the_whole_chain_is_known_in_two_round_trips() {
    let lab = Lab::wired(ROUTERS);
    lab.script("start strongswan");
    let mut told = Vec::new();
    for (what, wires) in [
        ("10 ms on each cable", "10"),
        ("75 ms on the first cable", "75 1"),
        ("75 ms on the last cable", "1 1 1 1 1 1 1 1 75"),
    ] {
        lab.script(&format!("wire {wires}"));
        warm(&lab);
        for (address, probe) in [(CONC[0], "ike"), (CONC[0], "ike_natt"), (CONC[1], "ike")] {
            let path = trace(&lab, &[address, "--probe", probe]);
            assert_eq!(path.hops(), chain(address == CONC[1]), "{what}, {probe}: {:#}", path.0);
            assert_eq!(path.0["path"]["end"], "reached");
            assert!(path.beyond() <= 4, "{what}, {probe}: {:#}", path.0);
            let hops = path.0["path"]["hops"].as_array().unwrap();
            assert!(hops.iter().all(|hop| hop["asked"] == 1), "{what}, {probe}: {:#}", path.0);
            let limit = 2 * path.rtt() + Duration::from_millis(50);
            told.push(format!(
                "{what}, {probe}{}: {:.0} ms of {:.0} ms allowed, round trip {:.0} ms, {} beyond the end",
                if address == CONC[1] { " over IPv6" } else { "" },
                path.took().as_secs_f64() * 1e3,
                limit.as_secs_f64() * 1e3,
                path.rtt().as_secs_f64() * 1e3,
                path.beyond()
            ));
        }
    }
    // One packet at a time, where more would open several connections, or not be told apart.
    lab.script("wire 10");
    warm(&lab);
    let _tcp = listener(&lab, 443);
    let mut little = Vec::new();
    for (what, probe) in [("10 ms on each cable", "tls"), ("one router quotes 8 bytes", "ike")] {
        if probe == "ike" {
            little.push(Little::at(&lab, "r5"));
        }
        let path = trace(&lab, &[CONC[0], "--probe", probe]);
        assert_eq!(path.hops(), chain(false), "{what}, {probe}: {:#}", path.0);
        assert!(path.beyond() <= 4, "{what}, {probe}: {:#}", path.0);
        told.push(format!(
            "{what}, {probe}: {:.0} ms, {:.0} ms one hop after the other, {} beyond the end",
            path.took().as_secs_f64() * 1e3,
            path.all().as_secs_f64() * 1e3,
            path.beyond()
        ));
    }
    println!("{}", told.join("\n"));
}

/// A frame as the cable stamped it: nanoseconds since 1970, and the first bytes of its packet.
struct Stamp {
    arrived: i64,
    left: i64,
    ours: bool,
    packet: Vec<u8>,
}

fn stamps(text: &str) -> Vec<Stamp> {
    let octet = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let whole = text.lines().filter(|line| line.split(' ').count() == 5 && line.contains(" w1 "));
    whole
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let packet = (0..words[4].len() / 2).map(|n| octet(words[4], 2 * n)).collect();
            let number = |word: &str| word.parse().unwrap();
            Stamp { arrived: number(words[0]), left: number(words[1]), ours: words[3] == "ab", packet }
        })
        .collect()
}

/// What names the exchange that an IPv4 packet is of: the echo's identifier and number, or the SPI of the
/// IKE initiator; and of which probe it is.
fn names(packet: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    match packet.get(9)? {
        1 if matches!(packet.get(20)?, 0 | 8) => Some(("icmp", packet.get(24..28)?.to_vec())),
        17 if packet.get(20..24)?.chunks(2).any(|port| port == [1, 244]) => {
            Some(("ike", packet.get(28..36)?.to_vec()))
        }
        _ => None,
    }
}

/// The round trip that is told of each probe holds the one that the cable saw, and not much more.
#[test]
fn round_trips_are_those_of_the_wire() {
    let lab = Lab::wired(2);
    lab.script("start strongswan");
    lab.script("wire 12.5 0");
    warm(&lab);
    let yaml = format!(
        "targets:\n  hq:\n    address: {}\n    probes: {{icmp: {{interval: 200ms, timeout: 150ms}}, \
         ike: {{interval: 200ms, timeout: 150ms}}}}\n",
        CONC[0]
    );
    let journal = lab.path("journal");
    let with = format!("exec \"$0\" \"$@\" --journal {}", journal.display());
    let mut daemon = lab.serve_as("client", &["sh", "-c", &with], &yaml);
    daemon.ready();
    std::thread::sleep(Duration::from_secs(20));
    daemon.stop();

    // When which probe was sent, by the wall clock, and its round trip.
    let mut sent: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    let (mut offset, mut names_of) = (0, BTreeMap::new());
    for file in std::fs::read_dir(&journal).unwrap() {
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(head) = line.get("journal") {
                offset = head["wall"].as_i64().unwrap() - head["now"].as_i64().unwrap();
            } else if let Some(place) = line.get("place") {
                names_of
                    .insert(place["series"].as_i64().unwrap(), place["probe"].as_str().unwrap().to_owned());
            } else if let (Some(rtt), Some(late)) = (line[7].as_i64(), line[4].as_i64()) {
                let at = line[3].as_i64().unwrap() + late + offset;
                sent.entry(names_of[&line[0].as_i64().unwrap()].clone()).or_default().push((at, rtt));
            }
        }
    }
    let stamps = stamps(&lab.read("stamps"));
    let mut answers = BTreeMap::new();
    for stamp in stamps.iter().filter(|stamp| !stamp.ours) {
        if let Some(name) = names(&stamp.packet) {
            answers.entry(name).or_insert(stamp.left);
        }
    }
    for (probe, all) in sent {
        let mut more = Vec::new();
        for (at, rtt) in &all {
            // The first packet of this probe that came to the cable after it was sent.
            let asked = stamps.iter().filter(|it| it.ours && it.arrived >= at - 1_000_000);
            let mut asked = asked.filter_map(|it| names(&it.packet).map(|name| (it.arrived, name)));
            let Some((arrived, name)) = asked.find(|(_, name)| name.0 == probe) else { continue };
            let Some(left) = answers.get(&name) else { continue };
            let wire = left - arrived;
            assert!(wire >= 25_000_000, "{probe}: the cable takes its time: {wire} ns");
            // The clocks' own differences over 25 ms, no more.
            assert!(*rtt >= wire - 50_000, "{probe}: {rtt} ns told, {wire} ns on the wire alone");
            more.push(rtt - wire);
        }
        assert!(more.len() >= 80, "{probe}: {} of {} found on the wire", more.len(), all.len());
        more.sort_unstable();
        let at = |share: usize| more[(more.len() - 1) * share / 100];
        let mut rtts: Vec<i64> = all.iter().map(|(_, rtt)| *rtt).collect();
        rtts.sort_unstable();
        println!(
            "{probe}: {} probes over 25 ms of cable, p50 {:.3} ms; beyond the wire's own stamps p50 {} us, p99 {} us",
            more.len(),
            Duration::from_nanos(rtts[rtts.len() / 2].unsigned_abs()).as_secs_f64() * 1e3,
            at(50) / 1000,
            at(99) / 1000
        );
        assert!(at(50) < 1_000_000, "{probe}: half of them are {} ns longer than on the wire", at(50));
    }
}

/// What the kernel says of a connection is the round trip, also where the SYN had to be repeated.
#[test]
fn the_kernel_times_a_connection() {
    let lab = Lab::wired(2);
    lab.script("wire 12.5 0");
    warm(&lab);
    let _tcp = listener(&lab, 443);
    let mut daemon = lab.serve(&format!(
        "targets:\n  hq:\n    address: {}\n    probes: {{tcp: {{interval: 5s, timeout: 4s}}, \
         second: {{kind: tcp, port: 443, interval: 5s, timeout: 4s}}, icmp: {{enabled: false}}}}\n",
        CONC[0]
    ));
    daemon.ready();
    let mean = |probes: &str, phase: &str, since: (f64, f64)| {
        let (metrics, label) = (daemon.metrics(), format!("phase=\"{phase}\""));
        let value =
            |name: &str| metrics.get(&format!("vpnprobe_probe_phase_seconds_{name}"), &[&label, probes]);
        let (sum, count) = (value("sum"), value("count"));
        (1e3 * (sum - since.0) / (count - since.1), (sum, count))
    };
    let some = |since: f64| {
        crate::harness::until("connections", 30, || mean("hq", "connect", (0.0, 0.0)).1.1 >= since + 4.0);
    };
    some(0.0);
    let (connect, before) = mean("hq", "connect", (0.0, 0.0));
    let (kernel, kernel_before) = mean("hq", "tcp_kernel", (0.0, 0.0));
    assert_eq!(before.1, kernel_before.1, "each connection has one");
    println!("25 ms on the way: {connect:.3} ms to connect, {kernel:.3} ms by the kernel");
    assert!(kernel >= 25.0 && kernel <= connect, "{kernel} {connect}");
    // The first SYN of each connection is lost.
    for words in [
        "add table inet lossy",
        "add chain inet lossy input { type filter hook input priority 0 ; }",
        "add rule inet lossy input tcp dport 443 tcp flags & (syn|ack) == syn numgen inc mod 2 == 0 drop",
    ] {
        lab.script(&format!("exec conc nft {words}"));
    }
    some(before.1 + 1.0);
    let (connect, _) = mean("hq", "connect", before);
    let (kernel, _) = mean("hq", "tcp_kernel", kernel_before);
    println!("with SYNs repeated: {connect:.0} ms to connect, {kernel:.0} ms by the kernel");
    assert!(connect > 300.0 && (25.0..100.0).contains(&kernel), "{kernel} {connect}");
    daemon.stop();
}
