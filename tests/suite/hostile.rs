//! What a peer says is text, whatever it says: a corpus of hostile texts through every field that a peer
//! fills, and looked for in all that the program says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use vpnprobe::export::client::Access;

use crate::service::Daemon;

mod peers;

use peers::{MARK, Peers, corpus};

const INTERVAL: Duration = Duration::from_millis(100);

/// The numbers of the texts that are in there.
fn arrived(text: &str) -> BTreeSet<usize> {
    let marks = text.match_indices(MARK);
    marks.filter_map(|(at, _)| text.get(at + 2..at + 6)?.strip_suffix(MARK)?.parse().ok()).collect()
}

/// What no output may have raw, line feeds between the program's own lines apart.
fn is_wild(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn tame(whence: &str, text: &str) {
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_wild(*c)) {
        let from = (0..=at.saturating_sub(80)).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        panic!("{whence}: {:?} after {:?}", c, &text[from..at]);
    }
    // What would begin a line of its own, had its line feed survived.
    for line in text.lines() {
        assert!(
            !line.starts_with("forged") && !line.contains("Z ERROR forged") || line.contains(MARK),
            "{whence}: {line}"
        );
    }
}

/// All texts of a document.
fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| strings(value, into)),
        Value::Object(values) => values.iter().for_each(|(key, value)| {
            into.push(key.clone());
            strings(value, into);
        }),
        _ => {}
    }
}

fn json(whence: &str, text: &str) -> Vec<String> {
    tame(whence, text);
    let mut found = Vec::new();
    strings(&serde_json::from_str(text).unwrap_or_else(|why| panic!("{whence}: {why}: {text}")), &mut found);
    for text in &found {
        tame(whence, text);
    }
    assert!(!found.iter().any(|text| text == "forged"), "{whence}: a key of the peer's");
    found
}

/// That a page has no element and no attribute of a peer's.
fn page(text: &str) {
    tame("the page", text);
    for wild in [
        "<script>alert",
        "<img src=x",
        "<svg",
        "</title></style>",
        "<b>",
        "onmouseover='",
        "javascript:alert\"",
        "href=\"http://x",
    ] {
        assert!(!text.contains(wild), "the page has {wild}: {text}");
    }
}

fn metrics(text: &str) {
    tame("metrics", text);
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; Debian has it in the package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    // 3: only style.
    assert!(matches!(said.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&said.stderr));
}

fn configure(folder: &std::path::Path, peers: &Peers) {
    let mut yaml = "state_dir: state\nbudget: {packets_per_second: 1000, packets_burst: 1000, tcp_per_minute: 600, tls_per_minute: 600, l2tp_per_minute: 600}\ntargets:\n".to_owned();
    for (name, at) in &peers.ports {
        let more = match *name {
            "dns" => ", dns: {name: a.example}",
            "http" => ", http: {scheme: http}",
            _ => "",
        };
        // The label tells the first few of its vendors only: long enough for a busy machine to see them.
        let interval = if *name == "l2tp" { INTERVAL * 5 } else { INTERVAL };
        yaml += &format!(
            "  {name}: {{address: {}, probes: {{{name}: {{port: {}, interval: {}ms, timeout: 2s{more}}}}}}}\n",
            at.ip(),
            at.port(),
            interval.as_millis()
        );
    }
    std::fs::write(folder.join("vpnprobe.yml"), yaml).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it goes on is for a machine that hangs")]
fn what_a_peer_says_is_text() {
    let peers = Peers::start();
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &peers);
    let all: BTreeSet<usize> = (0..corpus().len()).collect();
    for format in ["text", "json"] {
        let daemon = Daemon::start(folder.path(), &["--log.level=debug", "--log.format", format]);
        let get = |path: &str| {
            daemon.get("http", &Access::default(), path).unwrap_or_else(|why| panic!("{path}: {why}"))
        };
        let mut seen: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        let (mut on_page, mut in_labels) = (BTreeSet::new(), BTreeSet::new());
        // HTTP has no control characters in its heads (RFC 9112, 4; RFC 9110, 5.5), and of L2TP's tunnels the
        // budget leaves some out.
        let enough = |name: &str| if matches!(name, "http" | "l2tp") { 25 } else { all.len() };
        let start = Instant::now();
        for turn in 0_u64.. {
            for name in peers.ports.keys().filter(|_| turn % 20 == 0) {
                let answer =
                    daemon.get("http", &Access::default(), &format!("/probe?target={name}&module={name}"));
                tame("/probe", answer.as_ref().unwrap_or_else(|why| why));
            }
            let status = get("/api/v1/status");
            json("/api/v1/status", &status);
            let document: Value = serde_json::from_str(&status).unwrap();
            for target in document["targets"].as_array().unwrap() {
                let name = peers
                    .ports
                    .keys()
                    .find(|name| target["target"] == **name || target["name"] == **name)
                    .unwrap();
                let mut found = Vec::new();
                strings(target, &mut found);
                seen.entry(name).or_default().extend(found.iter().flat_map(|text| arrived(text)));
            }
            let text = get("/");
            page(&text);
            on_page.extend(arrived(&text));
            let text = get("/metrics");
            in_labels.extend(arrived(&text));
            if turn % 20 == 0 {
                metrics(&text);
                json("/api/v1/path", &get("/api/v1/path"));
                json("/api/v1/incidents", &get("/api/v1/incidents"));
                json("/sd", &get("/sd"));
            }
            if peers.ports.keys().all(|name| seen.get(name).is_some_and(|seen| seen.len() >= enough(name))) {
                break;
            }
            assert!(
                start.elapsed() < Duration::from_secs(400),
                "{:?}",
                seen.iter().map(|(name, seen)| (name, seen.len())).collect::<Vec<_>>()
            );
        }
        // There it is the vendor only, of which the label tells the first few.
        assert!(on_page.len() >= 5 && in_labels.len() >= 3, "{on_page:?} {in_labels:?}");
        // What a client asks is no less foreign.
        for text in corpus() {
            let asked: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            for path in [
                format!("/probe?target={asked}&module=icmp"),
                format!("/probe?target=dns&module={asked}"),
                format!("/{asked}"),
                format!("/api/v1/incidents/{asked}"),
                format!("/api/v1/incidents?target={asked}&since={asked}"),
            ] {
                match daemon.get("http", &Access::default(), &path) {
                    Ok(said) | Err(said) => tame(&path, &said),
                }
            }
        }
        let log = daemon.log();
        tame("the log", &log);
        if format == "json" {
            for line in log.lines() {
                json("a line of the log", line);
            }
        } else {
            for line in log.lines() {
                assert!(line.starts_with("20"), "a line of a peer's: {line}");
            }
        }
    }
    let check = |more: &[&str]| {
        let mut said = String::new();
        for name in peers.ports.keys() {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vpnprobe"));
            command.args(["check", "--target", name, "--config.file", "vpnprobe.yml"]).args(more);
            let output = command.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
            tame(&format!("check {more:?}"), &text);
            if more.contains(&"json") {
                json("check", &text);
            }
            if more.contains(&"nagios") {
                // Monitoring plug-ins: one `|` at the most, before the figures.
                assert!(text.lines().all(|line| line.matches('|').count() <= 1), "{text}");
            }
            said += &text;
        }
        arrived(&said).len()
    };
    // Three runs bring a good part of the corpus; of the short form it takes more now and then.
    for more in [&[][..], &["--format", "json"], &["--format", "nagios"], &["--ticket", "--lang", "ja"]] {
        let mut count = 0;
        for run in 0..40 {
            count += check(more);
            if run >= 2 && count > 0 {
                break;
            }
        }
        assert!(count > 0, "{more:?}: nothing of the corpus was seen");
    }
}
