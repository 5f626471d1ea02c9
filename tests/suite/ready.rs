//! `vpnprobe ready`, the program, against the daemon of `vpnprobe demo`, and against nobody.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::service::{Daemon, RIGHT, folder};

fn vpnprobe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vpnprobe")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The demo, on ports of its own; it ends with this.
struct Demo {
    child: Child,
    url: String,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vpnprobe"))
            .args(["demo", "--story", "none", "--web.listen-address", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let url = line.strip_prefix("metrics  ")?.strip_suffix("/metrics")?;
            Some(url.to_owned())
        });
        // Whoever prints on into a pipe that is closed would be told so.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("the demo says where its metrics are") }
    }

    fn status(&self, query: &str) -> Value {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /api/v1/status{query} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready(url: &str, more: &[&str]) -> Output {
    let usual = ["ready", "--config.file", "config/demo.yml", "--url", url];
    vpnprobe(&[&usual[..], more].concat())
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap()
}

#[test]
fn the_running_daemon_is_asked() {
    let demo = Demo::start();
    // Until the probes have told something: a dozen answers, and a state.
    let json = ["--people", "300", "--profile", "sharing", "--format", "json"];
    let mut document_now = Value::Null;
    for _ in 0..300 {
        document_now = document(&ready(&demo.url, &json));
        if check(&document_now, "rtt")["status"] == "ok" && check(&document_now, "state")["status"] == "ok" {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let found = &document_now;
    assert_eq!(found["schema"], 1);
    assert_eq!((&found["target"], &found["people"]), (&"demo".into(), &300.into()));
    assert_eq!(found["media"], serde_json::json!(["audio", "sharing"]));
    assert_eq!((&found["quality"], &found["call"]), (&"recommended".into(), &"meeting".into()));
    assert_eq!(
        (&found["tunnel"], &found["protocol"], &found["cipher"]),
        (&"full".into(), &"ipsec_natt".into(), &"cbc".into())
    );
    assert_eq!((&found["daemon"]["answered"], &found["daemon"]["error"]), (&true.into(), &Value::Null));
    assert_eq!(check(found, "rtt")["status"], "ok", "{found:#}");
    assert!(check(found, "rtt")["value"].as_f64().unwrap() < 0.1);
    assert_eq!(check(found, "rtt")["member"], "1");
    // One probe a second.
    assert_eq!(check(found, "loss")["status"], "not_measurable", "{found:#}");
    assert_eq!(check(found, "burst_loss")["status"], "not_measurable");
    // 500 licences less 40; each way 91.2 + 58 + 2,500 * 1284 / 1200 + 2,500 kbit/s a person.
    assert_eq!(
        (&check(found, "sessions")["holds_people"], &check(found, "sessions")["status"]),
        (&460.into(), &"ok".into())
    );
    assert_eq!(check(found, "line_down")["holds_people"], 1_800_000 * 10 / 53_242);
    assert_eq!(check(found, "line_down")["headroom_people"], 1_800_000 * 10 / 53_242 - 300);
    assert_eq!(found["headroom_people"], check(found, "line_down")["headroom_people"]);
    assert_eq!(found["per_person"][0]["up"]["tunnel_packet_bytes"], 228);
    // 300 of 338: over 80 %.
    assert_eq!((&found["verdict"], &found["deciding"]), (&"at_risk".into(), &"line_down".into()));

    let audio = ready(&demo.url, &["--people", "100", "--profile", "audio"]);
    let text = String::from_utf8(audio.stdout).unwrap();
    assert!(text.contains("Verdict: GO, as far as it can be judged"), "{text}");
    assert_eq!(audio.status.code(), Some(0));
    let japanese = ready(&demo.url, &["--people", "1000", "--profile", "audio", "--lang", "ja"]);
    let text = String::from_utf8(japanese.stdout).unwrap();
    assert!(text.contains("判定: 不可、決め手: 同時接続数、540 人超過"), "{text}");
    assert_eq!(japanese.status.code(), Some(1));

    // What the status gained, and its filter.
    let status = demo.status("?target=demo");
    let probes = status["targets"][0]["probes"].as_array().unwrap();
    let ike = probes.iter().find(|probe| probe["probe"] == "ike").unwrap();
    assert!(ike["recent"]["sent"].as_u64().unwrap() > 0, "{ike:#}");
    assert_eq!(ike["recent"]["interval_seconds"], 1.0);
    // The state, and since when it holds: before now.
    for it in [&status["targets"][0], ike] {
        assert_eq!(it["state"], "up", "{it:#}");
        let (since, now) = (it["state_since"].as_str().unwrap(), status["time"].as_str().unwrap());
        assert!(since < now && since.len() == now.len(), "{since} {now}");
    }
    assert_eq!(demo.status("?target=nobody")["targets"], serde_json::json!([]));
    assert_eq!(demo.status("")["targets"].as_array().unwrap().len(), 1);
}

#[test]
fn without_a_daemon_capacity_is_judged_all_the_same() {
    // A port that nobody listens on: bound, then let go.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let json = ["--profile", "audio", "--format", "json", "--people"];
    let output = ready(&url, &[&json[..], &["10"]].concat());
    let found = document(&output);
    assert_eq!((&found["verdict"], output.status.code()), (&"unknown".into(), Some(3)));
    assert_eq!((&found["daemon"]["answered"], &found["daemon"]["url"]), (&false.into(), &url.clone().into()));
    assert!(found["daemon"]["error"].as_str().unwrap().starts_with("no daemon answers at"), "{found:#}");
    assert_eq!(check(&found, "sessions")["status"], "ok");
    assert_eq!(check(&found, "rtt")["status"], "unknown");
    let output = ready(&url, &[&json[..], &["461"]].concat());
    assert_eq!((&document(&output)["verdict"], output.status.code()), (&"no_go".into(), Some(1)));
}

/// Somebody else's port: what it says is no status.
#[test]
fn another_server_is_no_daemon() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for (answer, error) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..], "something else than a status"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "answers 404"),
        (b"SSH-2.0-x\r\n", "does not answer as a daemon does"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "has no target demo"),
    ] {
        let listener = listener.try_clone().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        });
        let output = ready(&url, &["--people", "10", "--profile", "audio", "--format", "json"]);
        server.join().unwrap();
        let found = document(&output);
        assert!(found["daemon"]["error"].as_str().unwrap().contains(error), "{found:#}");
        assert_eq!(output.status.code(), Some(3));
    }
}

/// The daemon's own TLS and passwords, with a certificate of its own making.
#[test]
fn a_daemon_behind_tls_and_a_password_is_asked() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let config = "targets: {here: {address: 127.0.0.1, capacity: {down: 1Gbps, up: 1Gbps, max_sessions: 100, protocol: ipsec_natt}, probes: {icmp: {interval: 100ms}}}}\n";
    std::fs::write(at("vpnprobe.yml"), config).unwrap();
    let web =
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\nbasic_auth_users: {ops: 'HASH'}\n";
    std::fs::write(at("web.yml"), web.replace("HASH", RIGHT)).unwrap();
    std::fs::write(at("right"), "right\n").unwrap();
    std::fs::write(at("wrong"), "wrong\n").unwrap();
    let daemon = Daemon::start(folder.path(), &["--web.config.file", &at("web.yml")]);
    let url = format!("https://localhost:{}", daemon.port());
    let ask = |more: &[&str]| {
        let usual = [
            "ready",
            "--people",
            "3",
            "--profile",
            "audio",
            "--format",
            "json",
            "--config.file",
            &at("vpnprobe.yml"),
        ];
        vpnprobe(&[&usual[..], more].concat())
    };
    let file = [at("server.crt"), at("right"), at("wrong")];
    let [ca, right, wrong] = file.each_ref().map(String::as_str);
    let login =
        |password| ["--url", &url, "--url.ca-file", ca, "--url.user", "ops", "--url.password-file", password];
    let found = document(&ask(&login(right)));
    assert_eq!((&found["daemon"]["url"], &found["daemon"]["answered"]), (&url.as_str().into(), &true.into()));
    assert!(found["checks"].as_array().unwrap().iter().any(|check| check["check"] == "state"), "{found:#}");
    let plain = url.replace("https", "http");
    for (more, error) in [
        (&login(wrong)[..], "asks for a name and a password"),
        (&login(right)[..4], "asks for a name and a password"),
        (&["--url", &url, "--url.user", "ops", "--url.password-file", right], "not who it should be"),
        (
            &["--url", &plain, "--url.user", "ops", "--url.password-file", right],
            "does not answer as a daemon does",
        ),
    ] {
        let output = ask(more);
        let found = document(&output);
        assert!(found["daemon"]["error"].as_str().unwrap().contains(error), "{found:#}");
        assert_eq!(output.status.code(), Some(3));
    }
}

#[test]
fn wrong_usage_is_said() {
    for (arguments, complaint) in [
        (&["--people", "0", "--profile", "audio"][..], "0 is not in 1..=10000000"),
        (&["--people", "10", "--profile", "film"], "\"film\" is not audio, video or sharing"),
        (&["--people", "10", "--profile", "audio:good"], "\"good\" is not minimum, recommended or best"),
        (&["--people", "10"], "--profile"),
        (&["--people", "10", "--profile", "audio", "--tunnel", "half"], "expected full or split"),
        (&["--people", "10", "--profile", "audio", "--call", "x"], "expected meeting or one-to-one"),
        (&["--people", "10", "--profile", "audio", "--sending", "11"], "--sending is more than --people"),
        (&["--people", "10", "--profile", "audio", "--target", "x"], "no target is named x; there is: demo"),
        (&["--people", "10", "--profile", "audio", "--lang", "de"], "expected en or ja"),
    ] {
        let output = ready("http://127.0.0.1:1", arguments);
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaints.contains(complaint), "{arguments:?}: {complaints}");
        assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{arguments:?}");
    }
    let output = vpnprobe(&["ready", "--people", "1", "--profile", "audio", "--url", "ftp://x"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("expected http://HOST:PORT or https://HOST:PORT")
    );
    assert_eq!(output.status.code(), Some(2));
}
