//! DNS against unbound, and names with several addresses.

use crate::harness::{CONC, Lab};
use crate::ways::Way;

const GOOD: &str = "    dns: {name: vpn.example.test, record: A}\n";

#[test]
fn over_udp() {
    let way = Way { start: "unbound", server: "unbound", kind: "dns", packets: "udp dport 53", ..Way::UDP };
    Way { settings: GOOD, ..way }.walk();
}

#[test]
fn over_tcp() {
    let way = Way { start: "unbound", server: "unbound", kind: "dns", packets: "tcp dport 53", ..Way::UDP };
    Way { settings: "    dns: {name: vpn.example.test, record: A, transport: tcp}\n", ..way }.walk();
}

/// Each answer a resolver can give, over UDP and TCP, told apart.
#[test]
fn answers() {
    let lab = Lab::with(&["unbound"]);
    let mut wrong = Vec::new();
    for (settings, said) in [
        ("name: vpn.example.test, record: A", "dns answered"),
        ("name: vpn.example.test, record: AAAA", "dns answered"),
        ("name: vpn.example.test, record: A, expect: [203.0.113.10]", "dns answered"),
        ("name: vpn.example.test, record: A, expect: [198.51.100.77]", "dns refused wrong_answer"),
        ("name: only4.example.test, record: AAAA", "dns refused nodata"),
        ("name: nothing.example.test, record: A", "dns refused nxdomain"),
        ("name: servfail.example.test, record: A", "dns refused servfail"),
        ("name: refused.example.test, record: A", "dns refused dns_refused"),
        ("name: silent.example.test, record: A", "dns lost no_answer"),
        ("name: big.example.test, record: TXT", "dns answered"),
    ] {
        for address in CONC {
            for transport in ["udp", "tcp"] {
                let block = format!("    dns: {{{settings}, transport: {transport}}}\n");
                let check = lab.check_probe(address, "dns", "", &block);
                // An unexpected answer is still an answer; which of the two words is the kind's choice.
                let got = check.results();
                let answered = said.replace("refused ", "answered ");
                // Over TCP, unbound's way not to answer is to hang up.
                let said = if said.ends_with("no_answer") && transport == "tcp" {
                    "dns refused connection_reset"
                } else {
                    said
                };
                if got != [said] && got != [answered.as_str()] {
                    wrong.push(format!("{settings} {transport} {address}: expected {said}, got {got:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every address behind a name is a member of its own: a sick member of a cluster looks like random drops.
#[test]
fn every_address_of_a_name_is_probed() {
    let lab = Lab::with(&["unbound", "nginx"]);
    lab.script("resolver 203.0.113.10");
    lab.script("fault drop ip daddr 203.0.113.11");
    let check = lab.check_target(
        "    address: cluster.example.test\n    probes: {icmp: {timeout: 1s}, tcp: {port: 443, timeout: 1s}}\n",
    );
    check.says(&["icmp answered", "icmp lost no_answer", "tcp answered", "tcp lost no_answer"]);
    let probes = check.json["probes"].as_array().unwrap();
    for probe in probes {
        let healthy = probe["address"] == "203.0.113.10";
        assert_eq!(probe["outcome"] == "answered", healthy, "{probe:#}");
    }
    let mut members: Vec<&str> = probes.iter().filter_map(|probe| probe["member"].as_str()).collect();
    members.sort_unstable();
    members.dedup();
    assert_eq!(members, ["1", "2"]);
}

/// Inside names inside and outside, names that cannot exist, and a proxy where no resolver is.
#[test]
fn views() {
    let lab = Lab::with(&["unbound"]);
    lab.script("fault drop ip daddr 203.0.113.11");
    let mut wrong = Vec::new();
    let mut expect = |address: &str, settings: &str, said: &str, flag: &str, is: bool| {
        let check = lab.check_probe(address, "dns", "", &format!("    dns: {{{settings}}}\n"));
        wrong.extend(check.mismatch(&[said]).map(|text| format!("{settings}: {text}")));
        let details = &check.json["probes"][0]["details"];
        if !flag.is_empty() && details[flag] != is {
            wrong.push(format!("{settings}: {details:#}"));
        }
    };
    expect(CONC[0], "view: inside, name: inside.example.test", "dns answered", "inside_answer", true);
    expect(
        CONC[0],
        "view: inside, name: vpn.example.test",
        "dns refused wrong_answer",
        "inside_answer",
        false,
    );
    expect(CONC[0], "view: leak, name: inside.example.test", "dns refused wrong_answer", "name_leak", true);
    expect(CONC[0], "view: leak, name: nothing.example.test", "dns answered", "name_leak", false);
    expect(CONC[0], "view: leak, name: refused.example.test", "dns answered", "known_outside", false);
    expect(CONC[0], "view: hijack", "dns answered", "hijacked", false);
    expect(CONC[0], "view: hijack, name: example.test", "dns answered", "hijacked", false);
    expect(CONC[0], "view: hijack, name: hijack.example.test", "dns refused wrong_answer", "hijacked", true);
    expect("203.0.113.11", "view: intercept", "dns unsent", "", false);
    // A proxy on the way answers in the name of an address that has no resolver.
    lab.script("clear");
    lab.script("exec r1 nft add table ip nat");
    lab.script("exec r1 nft add chain ip nat pre { type nat hook prerouting priority -100 ; }");
    lab.script("exec r1 nft add rule ip nat pre ip daddr 203.0.113.11 udp dport 53 dnat to 203.0.113.10");
    let asked = "view: intercept, name: vpn.example.test";
    expect("203.0.113.11", asked, "dns refused wrong_answer", "intercepted", true);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
