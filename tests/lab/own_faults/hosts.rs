//! Faults of the host that a daemon has from its start: few descriptors, a full disk, a log nobody reads.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::harness::{Daemon, Lab, Metrics, until};

/// At the limit of descriptors the web port still answers, and what has no socket says so.
#[test]
fn few_descriptors() {
    let lab = Lab::with(&["strongswan"]);
    let mut config = String::from(
        "defaults: {interval: 1s, timeout: 1s}\nbudget: {packets_per_second: 1000, packets_burst: 1000}\ntargets:\n",
    );
    for n in 0..200 {
        config += &format!(
            "  t{n}: {{address: 203.0.113.10, probes: {{ike: {{}}, icmp: {{enabled: false}}, trace: {{enabled: false}}}}}}\n"
        );
    }
    let mut daemon = lab.serve_as("client", &["prlimit", "--nofile=64:64"], &config);
    daemon.ready();
    until("no descriptor is left", 30, || {
        let metrics = daemon.metrics();
        let short = metrics.sum("vpnprobe_probe_unsent_total", &["fault=\"resource\""]) >= Some(100.0);
        short && metrics.sum("vpnprobe_probe_up", &[]) >= Some(5.0)
    });
    for _ in 0..20 {
        assert_eq!(daemon.request("GET", "/-/ready").unwrap().0, 200);
    }
    assert_eq!(daemon.metrics().get("vpnprobe_probe_failures_total", &[]), 0.0, "{}", daemon.log());
    assert!(daemon.log().contains("open files"), "{}", daemon.log());
    daemon.stop();
}

/// Neither state nor journal can be written: said, counted, and the probes go on. With room it is well again.
#[test]
fn a_full_disk() {
    let lab = Lab::with(&["strongswan"]);
    // A small disk in a mount namespace of its own.
    let disk = lab.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size=256k none {0} && exec \"$@\"", disk.display());
    let config = "defaults: {interval: 200ms, timeout: 1s}\nbudget: {packets_per_second: 100, packets_burst: 100}\n\
                  state_dir: STATE/disk/kept\n\
                  dpd_profiles: {hasty: {idle: 300ms, retry: 200ms, tries: 3}}\n\
                  targets:\n  hq:\n    address: 203.0.113.10\n    dpd: {profiles: [hasty]}\n    \
                  probes: {ike: {}, icmp: {enabled: false}, trace: {enabled: false}}\n";
    let journal = disk.join("journal");
    let mut daemon = lab.serve_with(
        "client",
        &["unshare", "--mount", "sh", "-c", &mount, "sh"],
        &["--journal", journal.to_str().unwrap()],
        config,
    );
    daemon.ready();
    until("it is answered", 20, || daemon.metrics().sum("vpnprobe_probe_up", &[]) == Some(1.0));
    // The daemon's own view of its file system.
    let rubbish = format!("/proc/{}/root{}/rubbish", daemon.pid().as_raw_nonzero(), disk.display());
    let mut file = std::fs::File::create(&rubbish).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    lab.script("fault drop udp dport 500"); // an incident, which is to be written
    until("it is said and counted", 40, || {
        daemon.metrics().get("vpnprobe_state_write_failures_total", &[]) > 0.0
            && daemon.log().contains("make room on that disk")
    });
    lab.script("clear");
    let answered = || {
        let metrics = daemon.metrics();
        metrics.get("vpnprobe_probes_total", &[]) - metrics.get("vpnprobe_probe_failures_total", &[])
    };
    let before = answered();
    until("the probes go on", 20, || answered() > before + 5.0);
    until("the journal says so too", 40, || daemon.log().contains("the journal in"));
    drop(file);
    std::fs::remove_file(rubbish).unwrap();
    lab.script("fault drop udp dport 500");
    until("it can be written again", 60, || daemon.log().contains("can be written again"));
    daemon.stop();
}

/// A log that goes into a full pipe stops nothing; what was left out is said once somebody reads again.
#[test]
fn a_log_that_nobody_reads() {
    let lab = Lab::with(&["strongswan"]);
    let config = lab.config(
        "serve.yml",
        "targets:\n  hq:\n    address: 203.0.113.10\n    probes: {ike: {interval: 500ms}, icmp: {enabled: false}, trace: {enabled: false}}\n",
    );
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        &lab.namespace("client"),
        env!("CARGO_BIN_EXE_vpnprobe"),
        "serve",
        "--config.file",
    ]);
    command.arg(&config).args(["--web.listen-address", "127.0.0.1:10069"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = child.stderr.take().unwrap();
    let daemon = lab.attach("client", child);
    let probed = |daemon: &Daemon<'_>| {
        let (_, body) = daemon.request("GET", "/metrics").unwrap_or_default();
        Metrics(body).sum("vpnprobe_probes_total", &[]).unwrap_or(0.0)
    };
    until("it probes", 20, || probed(&daemon) > 2.0);
    // Each bad file is an error in the log, of some hundred octets: more than the 64 KiB of a pipe.
    lab.config("serve.yml", &format!("targets: {{hq: {{{}}}}}\n", "nonsense: 1, ".repeat(400)));
    for _ in 0..40 {
        assert_eq!(daemon.request("POST", "/-/reload").unwrap().0, 500);
    }
    let before = probed(&daemon);
    until("it goes on", 20, || probed(&daemon) > before + 5.0);
    assert_eq!(daemon.request("GET", "/-/ready").unwrap().0, 200);
    // Somebody reads again.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        log.read_to_end(&mut text).unwrap();
        crate::harness::text(&text)
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(daemon.request("POST", "/-/reload").unwrap().0, 500);
    daemon.stop();
    let text = reader.join().unwrap();
    assert!(text.contains("lines of the log missing here"), "{} octets: {text:.300}", text.len());
}
