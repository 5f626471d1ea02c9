//! Real sessions with a real strongSwan: set up, kept, torn down by either end, by the link, and by us.

use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::harness::{Daemon, Lab, until};

/// A file with a key, open to its owner only.
fn key(lab: &Lab, name: &str, text: &str) {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(lab.path(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn target(name: &str, address: &str, key: &str, more: &str) -> String {
    format!(
        "  {name}:\n    address: \"{address}\"\n    probes: {{icmp: {{}}}}\n    session:\n      \
         psk_file: STATE/{key}\n      local_id: {name}.example.test\n      \
         remote_id: vpn.example.test\n      retransmit: [300ms, 600ms, 1s]\n      {more}\n"
    )
}

fn config(targets: &[String]) -> String {
    format!("budget: {{half_open_interval: 35s}}\ntargets:\n{}", targets.concat())
}

fn up(daemon: &Daemon<'_>, target: &str) -> bool {
    daemon.metrics().get("vpnprobe_session_up", &[&format!("target=\"{target}\"")]) == 1.0
}

fn ended(daemon: &Daemon<'_>, target: &str, reason: &str) -> f64 {
    let labels = [format!("target=\"{target}\""), format!("reason=\"{reason}\"")];
    daemon.metrics().get("vpnprobe_session_teardowns_total", &[&labels[0], &labels[1]])
}

/// The gateway's list of SAs.
fn sas(lab: &Lab) -> String {
    lab.script("vici --list-sas")
}

#[test]
fn a_session_lives_and_is_torn_down_from_either_end_and_by_the_link() {
    let lab = Lab::with(&["strongswan aes256gcm16-prfsha384-ecp384"]);
    key(&lab, "psk", "lab-psk\n");
    let yaml = config(&[target("probe", "203.0.113.10", "psk", "liveness_interval: 8s")]);
    let mut daemon = lab.serve(&yaml);
    daemon.ready();
    assert_eq!(ended(&daemon, "probe", "peer_deleted"), 0.0, "there from the start");
    until("the session is up", 60, || up(&daemon, "probe"));
    let list = sas(&lab);
    for word in ["ESTABLISHED", "'probe.example.test'", "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"] {
        assert!(list.contains(word), "{word}: {list}");
    }
    assert!(!list.contains("INSTALLED"), "no child: {list}");

    // Its dead peer detection asks after 5 s of silence, and is answered.
    until("the gateway has asked whether we are alive", 20, || {
        lab.read("strongswan.log").contains("sending DPD request")
    });
    until("ours was answered", 20, || {
        daemon.metrics().get("vpnprobe_session_liveness_rtt_seconds_count", &[]) >= 2.0
    });
    assert!(up(&daemon, "probe") && sas(&lab).contains("ESTABLISHED"));

    // Stopped for longer than the whole schedule: no evidence, and no end.
    kill_process(daemon.pid(), Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(10));
    kill_process(daemon.pid(), Signal::CONT).unwrap();
    let answered = daemon.metrics().get("vpnprobe_session_liveness_rtt_seconds_count", &[]);
    until("liveness goes on", 20, || {
        daemon.metrics().get("vpnprobe_session_liveness_rtt_seconds_count", &[]) >= answered + 1.0
    });
    assert_eq!(daemon.metrics().sum("vpnprobe_session_teardowns_total", &[]), Some(0.0));
    assert_eq!(daemon.metrics().get("vpnprobe_session_liveness_losses_total", &[]), 0.0);

    lab.script("vici --terminate --ike ikev2");
    until("we know", 5, || ended(&daemon, "probe", "peer_deleted") == 1.0);
    assert!(!up(&daemon, "probe"));
    until("the session is up again", 60, || up(&daemon, "probe"));

    lab.script("fault drop udp dport 4500");
    until("the session is dead", 20, || ended(&daemon, "probe", "liveness_timeout") == 1.0);
    let metrics = daemon.metrics();
    assert_eq!(metrics.get("vpnprobe_session_liveness_losses_total", &[]), 3.0);
    lab.script("clear");
    until("the session is up a third time", 90, || up(&daemon, "probe"));

    // Another plan is another session: the old one is taken leave of.
    lab.config("serve.yml", &config(&[target("probe", "203.0.113.10", "psk", "liveness_interval: 9s")]));
    daemon.request("POST", "/-/reload").unwrap();
    until("the gateway was told", 5, || lab.read("strongswan.log").contains("received DELETE"));
    assert_eq!(ended(&daemon, "probe", "local_stop"), 1.0);
    until("the session is up under the new plan", 60, || up(&daemon, "probe"));
    daemon.stop();
    // The SA that the cut left behind may still be there, until its dead peer detection gives up.
    let deletes = lab.read("strongswan.log").matches("received DELETE").count();
    assert_eq!(deletes, 2, "one at the reload, one at the end");
    assert_eq!(lab.read("serve.log").matches("lab-psk").count(), 0);
}

#[test]
fn a_session_does_what_the_probes_beside_it_foretell() {
    let lab = Lab::with(&["strongswan"]);
    key(&lab, "psk", "lab-psk");
    let yaml = config(&[target("probe", "203.0.113.10", "psk", "liveness_interval: 4s")])
        .replace("icmp: {}", "ike_natt: {interval: 500ms}")
        .replace("[300ms, 600ms, 1s]", "[1s, 2s, 2s]");
    let mut daemon = lab.serve(&yaml);
    daemon.ready();
    let compared = |predicted: &str, seen: &str| {
        let labels = [format!("predicted=\"{predicted}\""), format!("seen=\"{seen}\"")];
        daemon.metrics().get("vpnprobe_session_predictions_total", &[&labels[0], &labels[1]])
    };
    until("the session is up", 60, || up(&daemon, "probe"));
    let answered = |least: f64| {
        let count = daemon.metrics().get("vpnprobe_probe_rtt_seconds_count", &["probe=\"ike_natt\""]);
        count >= least
    };
    until("probes are answered", 20, || answered(5.0));

    // Three transmissions take 3 s: nobody is torn down by less.
    lab.script("fault drop udp dport 4500");
    std::thread::sleep(Duration::from_millis(1500));
    lab.script("clear");
    until("it survived", 30, || compared("none", "survived") == 1.0);
    assert!(up(&daemon, "probe"));

    // The patience is 4 s + 5 s: nobody lives through more.
    lab.script("fault drop udp dport 4500");
    until("it is dead", 30, || ended(&daemon, "probe", "liveness_timeout") == 1.0);
    std::thread::sleep(Duration::from_secs(5));
    lab.script("clear");
    until("it was torn down", 30, || compared("sure", "torn_down") == 1.0);
    assert_eq!(compared("sure", "survived") + compared("none", "torn_down"), 0.0);
    daemon.stop();
}

#[test]
fn a_gateway_that_wants_children_and_a_wrong_key() {
    let lab = Lab::with(&["strongswan aes256-sha256-modp2048 never"]);
    key(&lab, "psk", "lab-psk");
    key(&lab, "wrong", "other");
    let mut daemon = lab.serve(&config(&[
        target("probe", "203.0.113.10", "psk", "liveness_interval: 1s"),
        target("wrong", "2001:db8:3::10", "wrong", "liveness_interval: 1s"),
    ]));
    daemon.ready();
    until("the session is up", 60, || up(&daemon, "probe"));
    let list = sas(&lab);
    assert!(list.contains("AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048"), "{list}");
    assert!(!list.contains("INSTALLED"), "the child was refused: {list}");
    until("liveness is answered", 10, || {
        daemon.metrics().get("vpnprobe_session_liveness_rtt_seconds_count", &["target=\"probe\""]) >= 3.0
    });
    until("the wrong key is refused", 60, || ended(&daemon, "wrong", "auth_failed") == 1.0);
    assert!(!up(&daemon, "wrong"));
    daemon.stop();
    assert!(!sas(&lab).contains("ESTABLISHED"), "nothing is left: {}", sas(&lab));
}

#[test]
fn check_signs_in_once_and_says_what_is_wrong() {
    let lab = Lab::with(&["strongswan"]);
    key(&lab, "psk", "lab-psk");
    key(&lab, "wrong", "other");
    let check = |address: &str, key: &str, more: &str| {
        let yaml =
            config(&[target("probe", address, key, more).replace("icmp: {}", "icmp: {}, ike_natt: {}")]);
        let file = lab.config("check.yml", &yaml);
        lab.check(&["--target", "probe", "--config.file", file.to_str().unwrap()])
    };
    let good = check("203.0.113.10", "psk", "");
    assert_eq!((good.step("authenticate"), good.verdict()), ("ok".to_owned(), "ok"));
    assert!(lab.read("strongswan.log").contains("received DELETE"));
    assert!(!sas(&lab).contains("ESTABLISHED"), "nothing is left: {}", sas(&lab));
    let wrong = check("2001:db8:3::10", "wrong", "");
    assert_eq!(wrong.step("authenticate"), "failed auth_failed");
    assert_eq!((wrong.verdict(), wrong.code), ("failed", 1));
}
