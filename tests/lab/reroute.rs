//! A route that changes with an outage, and its twin: the same outage, and the route as it was.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{CONC, Lab, until};

/// Long enough for a quick dead peer detection, too short for an outage that is shown.
const OUTAGE: Duration = Duration::from_secs(9);

/// The incident of `hq` whose cause is known, as its file has it.
fn judged(lab: &Lab) -> Option<Value> {
    let files = std::fs::read_dir(lab.path("state/incidents")).ok()?;
    let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    let mut incidents = texts.filter_map(|text| serde_json::from_str::<Value>(&text).ok());
    incidents.find(|incident| incident["target"] == "hq" && !incident["cause"].is_null())
}

/// r3 of five routers stops forwarding for some seconds; `over` is how it ends.
fn incident(over: impl FnOnce(&Lab)) -> (Value, f64) {
    let lab = Lab::chain(5);
    lab.script("diamond 3");
    // One way for all flows: over r3.
    lab.script("exec r2 ip route replace 203.0.113.0/24 via 198.51.100.6");
    lab.script("start strongswan");
    let mut daemon = lab.serve(&format!(
        "state_dir: {}\n\
         defaults: {{dpd_profiles: [quick]}}\n\
         dpd_profiles: {{quick: {{mode: periodic, idle: 2s, retry: 1s, tries: 3}}}}\n\
         budget: {{packets_per_second: 300, packets_burst: 600}}\n\
         targets:\n  hq:\n    address: {}\n    probes: {{ike: {{interval: 500ms, timeout: 400ms}}, \
         icmp: {{interval: 500ms, timeout: 400ms}}, trace: {{interval: 10s}}}}\n  \
         near:\n    address: 192.0.2.1\n    probes: {{icmp: {{interval: 500ms, timeout: 400ms}}}}\n",
        lab.path("state").display(),
        CONC[0]
    ));
    daemon.ready();
    until("a path is known", 30, || daemon.metrics().sum("vpnprobe_path_hops", &[]) == Some(6.0));
    // As well as after half an hour of traces.
    for _ in 0..30 {
        let (status, body) = daemon.request("GET", "/probe?target=hq&module=trace").unwrap();
        assert!(status == 200 && body.contains("probe_success 1"), "{status}: {body}");
    }
    for words in [
        "add table ip fault",
        "add chain ip fault forward { type filter hook forward priority 0 ; }",
        "add rule ip fault forward drop",
    ] {
        lab.script(&format!("exec r3 nft {words}"));
    }
    std::thread::sleep(OUTAGE);
    over(&lab);
    until("the incident is judged", 60, || judged(&lab).is_some());
    let incident = judged(&lab).unwrap();
    let changes = daemon.metrics().sum("vpnprobe_path_changes_total", &["target=\"hq\""]).unwrap();
    let shown = lab.vpnprobe(&[
        "incidents",
        "show",
        incident["id"].as_str().unwrap(),
        "--config.file",
        lab.path("serve.yml").to_str().unwrap(),
    ]);
    println!("{}", crate::harness::text(&shown.stdout));
    daemon.stop();
    (incident, changes)
}

fn path_clue(incident: &Value) -> (&str, &str) {
    let clues = incident["clues"].as_array().unwrap();
    let clue = clues.iter().find(|clue| clue["subject"] == "path").unwrap_or_else(|| panic!("{incident:#}"));
    (clue["stance"].as_str().unwrap(), clue["text"].as_str().unwrap())
}

#[test]
fn a_route_that_changes_with_an_outage_is_its_cause() {
    let (incident, changes) = incident(|lab| {
        // Over the router beside it, both ways.
        lab.script("exec r2 ip route replace 203.0.113.0/24 via 198.51.100.154");
        lab.script("exec r4 ip route replace default via 198.51.100.157");
    });
    assert_eq!(incident["cause"], "path_changed", "{:#}", incident["clues"]);
    let (stance, text) = path_clue(&incident);
    assert_eq!(stance, "changed");
    assert!(text.contains("from hop 3 on") && text.contains("load balancing does not explain"), "{text}");
    assert!(changes >= 1.0);
}

#[test]
fn the_same_outage_on_the_same_route_is_not() {
    let (incident, changes) = incident(|lab| {
        lab.script("exec r3 nft delete table ip fault");
    });
    assert_eq!(incident["cause"], "box", "{:#}", incident["clues"]);
    let (stance, text) = path_clue(&incident);
    assert_eq!(stance, "stood");
    assert!(text.contains("the same as before"), "{text}");
    assert_eq!(changes, 0.0);
}
