//! Bad input to the running program: a port in use, a bad file, a bad reload.

use std::net::TcpListener;

use rustix::process::{Signal, kill_process};

use crate::harness::{Lab, until};

const GOOD: &str = "targets:\n  hq:\n    address: 203.0.113.10\n    probes: {ike: {interval: 1s}}\n";
const BAD: &str = "targets:\n  hq:\n    address: 203.0.113.10\n    probes: {ike: {intervall: 1s}}\n";

#[test]
fn a_port_in_use() {
    let lab = Lab::up();
    let _taken = lab.within("client", || TcpListener::bind("127.0.0.1:10069").unwrap());
    let mut daemon = lab.serve(GOOD);
    assert_eq!(daemon.ended(5), Some(2), "{}", daemon.log());
    assert!(daemon.log().contains("127.0.0.1:10069"), "{}", daemon.log());
}

/// Nothing is started: no packet leaves for a target of a file that has a mistake.
#[test]
fn a_bad_file() {
    let lab = Lab::up();
    for (yaml, said) in
        [(BAD, "serve.yml:4:"), ("targets: [", "serve.yml:"), ("targets: {}\ntargets: {}\n", "serve.yml:2:")]
    {
        let mut daemon = lab.serve(yaml);
        assert_eq!(daemon.ended(5), Some(2), "{}", daemon.log());
        assert!(daemon.log().contains(said), "{said}: {}", daemon.log());
    }
    let output = lab.vpnprobe(&["serve", "--config.file", "missing.yml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(crate::harness::text(&output.stderr).contains("missing.yml"));
}

#[test]
fn a_bad_reload() {
    let lab = Lab::with(&["strongswan"]);
    let mut daemon = lab.serve(GOOD);
    daemon.ready();
    let sent = |lab: &crate::harness::Daemon| lab.metrics().get("vpnprobe_probes_total", &["target=\"hq\""]);
    let gauge =
        |lab: &crate::harness::Daemon| lab.metrics().get("vpnprobe_config_last_reload_successful", &[]);
    until("probing has begun", 10, || sent(&daemon) >= 2.0);

    lab.config("serve.yml", BAD);
    let (status, body) = daemon.request("POST", "/-/reload").unwrap();
    assert_eq!(status, 500);
    assert!(body.contains("serve.yml:4:") && body.contains("intervall"), "{body}");
    assert_eq!(gauge(&daemon), 0.0);
    let before = sent(&daemon);
    until("the old configuration runs on", 10, || sent(&daemon) >= before + 3.0);

    // One that is empty, as a file is before it is written.
    lab.config("serve.yml", "");
    let (status, body) = daemon.request("POST", "/-/reload").unwrap();
    assert_eq!(status, 500);
    assert!(body.contains("no targets"), "{body}");

    // A good one: the target that did not change keeps its counters, the new one joins.
    lab.config(
        "serve.yml",
        &format!("{GOOD}  more:\n    address: 203.0.113.11\n    probes: {{icmp: {{interval: 1s}}}}\n"),
    );
    let before = sent(&daemon);
    assert_eq!(daemon.request("POST", "/-/reload").unwrap().0, 200);
    assert_eq!(gauge(&daemon), 1.0);
    assert!(sent(&daemon) >= before);
    until("the new target is probed", 10, || {
        daemon.metrics().sum("vpnprobe_probes_total", &["target=\"more\""]) >= Some(2.0)
    });

    // The same by signal, back and forth.
    lab.config("serve.yml", BAD);
    kill_process(daemon.pid(), Signal::HUP).unwrap();
    until("the gauge tells of the bad file", 5, || gauge(&daemon) == 0.0);
    lab.config("serve.yml", GOOD);
    kill_process(daemon.pid(), Signal::HUP).unwrap();
    until("the gauge tells of the good file", 5, || gauge(&daemon) == 1.0);
    let gone = || daemon.metrics().sum("vpnprobe_probes_total", &["target=\"more\""]).is_none();
    until("a removed target's series are gone", 5, gone);
    daemon.stop();
}
