//! The daemon writes a journal, and the replay of it finds what the daemon found.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vpnprobe");

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn scrape(port: u16) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = write!(stream, "GET /metrics HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// The sum of all series of a metric that have a label.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let begin = format!("{name}{{");
    let of = metrics.lines().filter(|line| line.starts_with(&begin) && line.contains(label));
    of.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until something is so; a minute is "never".
fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("never came: {what}");
}

fn replay(arguments: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let out = Command::new(PROGRAM).arg("replay").args(arguments).output().unwrap();
    (out.status.code(), out.stdout, String::from_utf8(out.stderr).unwrap())
}

/// strongSwan's answer to a message of a major version it does not know, captured from 5.9.8.
fn answer(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..8].to_vec();
    answer.extend([0; 8]);
    answer.extend([0x29, 0x20, 0x22, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x24, 0, 0, 0, 8, 0, 0, 0, 5]);
    answer
}

#[test]
fn a_replay_finds_what_the_daemon_found() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let config = directory.path().join("vpnprobe.yml");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let port = peer.local_addr().unwrap().port();
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "dpd_profiles: {{quick: {{idle: 300ms, retry: 200ms, tries: 3}}}}\n\
         targets:\n  hq:\n    address: 127.0.0.1\n    dpd: {{profiles: [quick, cisco_asa]}}\n    probes:\n      \
         icmp: {{enabled: false}}\n      trace: {{enabled: false}}\n      \
         ike: {{port: {port}, interval: 100ms, timeout: 400ms}}\n\
         web: {{listen_address: ['127.0.0.1:{web}']}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let (calm, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (calm_now, over_now) = (Arc::clone(&calm), Arc::clone(&over));
    let thread = std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        let mut count = 0_u64;
        while !over_now.load(Ordering::Relaxed) {
            let Ok((len, from)) = peer.recv_from(&mut bytes) else { continue };
            count += 1;
            // 15 in a row of 40 are lost, and one more alone.
            let lost = matches!(count % 40, 15 | 20..35) && !calm_now.load(Ordering::Relaxed);
            if !lost && len >= 28 {
                let _ = peer.send_to(&answer(&bytes[..len]), from);
            }
        }
    });
    let mut daemon = Daemon(
        Command::new(PROGRAM)
            .arg("serve")
            .arg("--config.file")
            .arg(&config)
            .arg("--journal")
            .arg(&journal)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let quick = "profile=\"quick\"";
    until("two drops", || sum(&scrape(web), "vpnprobe_dpd_timeouts_total", quick) >= 2.0);
    calm.store(true, Ordering::Relaxed);
    let probes = |metrics: &str| sum(metrics, "vpnprobe_probes_total", "probe=\"ike\"");
    let then = probes(&scrape(web));
    until("calm", || probes(&scrape(web)) >= then + 40.0);
    let metrics = scrape(web);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(daemon.0.wait().unwrap().success());
    over.store(true, Ordering::Relaxed);
    thread.join().unwrap();

    let path = journal.to_str().unwrap();
    let (code, json, complaint) = replay(&[path, "--format", "json"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    let found: Value = serde_json::from_slice(&json).unwrap();
    let series = &found["series"][0];
    let near = |name: &str, label: &str, value: &Value| {
        let (told, value) = (sum(&metrics, name, label), value.as_f64().unwrap());
        assert!((told - value).abs() < 1e-6, "{name}: the daemon {told}, the replay {value}");
    };
    near("vpnprobe_loss_run_length_count", "probe=\"ike\"", &series["before"]["loss_runs"]);
    near("vpnprobe_flaps_total", "probe=\"ike\"", &series["before"]["flaps"]);
    for (place, profile) in ["quick", "cisco_asa"].into_iter().enumerate() {
        let profiles = &series["profiles"][place];
        assert_eq!(profiles["name"], profile);
        let label = format!("profile=\"{profile}\"");
        near("vpnprobe_dpd_timeouts_total", &label, &profiles["found"]["sure"]);
        near("vpnprobe_dpd_expected_timeouts_total", &label, &profiles["found"]["expected"]);
    }
    assert_eq!(found["journal"]["samples_not_recorded"], 0);
    assert_eq!(found["journal"]["samples_of_unknown_series"], 0);

    // The same bytes again, whichever way it is asked for.
    for arguments in [&[path, "--format", "json"][..], &[path, "--profile", "quick,tries=9"], &[path]] {
        assert_eq!(replay(arguments), replay(arguments));
    }
    // 300 ms + 8 · 200 ms is longer than 15 lost in a row.
    let (_, text, _) = replay(&[path, "--profile", "quick,tries=20"]);
    let text = String::from_utf8(text).unwrap();
    let drops = sum(&metrics, "vpnprobe_dpd_timeouts_total", quick);
    assert!(text.contains(&format!("with tries 20: {drops} of {drops} drops avoided")), "{text}");
}

#[test]
fn what_cannot_be_replayed_is_said_with_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.jsonl");
    std::fs::write(&file, "hello\nworld\n").unwrap();
    let (file, directory) = (file.to_str().unwrap(), directory.path().to_str().unwrap());
    for (arguments, words) in [
        (vec![file], "not a journal of vpnprobe"),
        (vec![directory], "no journal in this directory"),
        (vec!["/nonexistent/journal"], "No such file"),
        (vec![file, "--profile", "cisco_ios,nonsense=1"], "no timer of cisco_ios; there are: idle"),
    ] {
        let (code, out, complaint) = replay(&arguments);
        assert_eq!((code, out), (Some(2), vec![]), "{arguments:?}");
        assert!(complaint.contains(words), "{arguments:?}: {complaint}");
    }
}
