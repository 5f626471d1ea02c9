//! `vpnprobe check` from outside: the JSON contract, the texts, and the program's exit codes.

use std::net::IpAddr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use vpnprobe::cli::check::{Format, print};
use vpnprobe::config::{Config, Target, Vpn};
use vpnprobe::diagnose::{Diagnosis, Lang, Observed, Step, Survey, diagnose};
use vpnprobe::probe::Kind;
use vpnprobe::sample::{Outcome, Reason, Report};
use vpnprobe::time::WallTime;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn observed(kind: &str, outcome: Outcome) -> Observed {
    let mut report = Report::new(outcome);
    report.rtt = (outcome.received() == Some(true)).then_some(Duration::from_micros(1500));
    Observed {
        probe: kind.to_owned(),
        kind: Kind::named(kind).unwrap(),
        member: 1,
        address: ip("192.0.2.1"),
        egress: "default".to_owned(),
        form: "version",
        report,
    }
}

fn target(vpn: &[Vpn]) -> Target {
    let target = Config::single("vpn.example.jp").unwrap().targets.remove(0);
    Target { name: "hq".to_owned(), vpn: vpn.to_vec(), ..(*target).clone() }
}

fn judged(vpn: &[Vpn], observed: Vec<Observed>) -> (Diagnosis, Survey) {
    let survey = Survey {
        time: WallTime::from_unix_secs(1_795_305_600),
        host: "vpn.example.jp".to_owned(),
        resolved: Ok(vec![ip("192.0.2.1")]),
        routes: vec![(ip("192.0.2.1"), Ok(ip("198.51.100.7")))],
        ways: None,
        observed,
        inside: Vec::new(),
        session: None,
    };
    (diagnose(&survey, &target(vpn)), survey)
}

const SILENT: Outcome = Outcome::Lost(Reason::NoAnswer);

#[test]
fn json_is_the_contract() {
    let mut ike = observed("ike", Outcome::OK);
    ike.report.findings().details.text("vendor", "strongSwan");
    let seen = vec![observed("icmp", SILENT), ike, observed("ike_natt", SILENT)];
    let (diagnosis, survey) = judged(&[Vpn::Ipsec], seen);
    let (text, code) = print(&diagnosis, &survey, Format::Json, Lang::En);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 1);
    assert_eq!(document["schema"], 1);
    assert_eq!(document["target"], "hq");
    assert_eq!(document["time"], "2026-11-22T00:00:00.000Z");
    assert_eq!(document["verdict"], "failed");
    assert_eq!(document["failed_step"], "ports");
    let steps: Vec<&str> =
        document["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "name",
            "route",
            "reach",
            "ports",
            "authenticate",
            "tunnel",
            "inside_routes",
            "inside_names",
            "inside_hosts"
        ]
    );
    let ports = &document["steps"][3];
    assert_eq!(ports["status"], "failed");
    assert_eq!(ports["reason"], "natt_blocked");
    assert!(ports["text"].as_str().unwrap().starts_with("UDP 500 answers and UDP 4500 does not"));
    assert_eq!(
        ports["evidence"],
        json!([
            {"probe": "ike", "member": "1", "outcome": "answered", "reason": null},
            {"probe": "ike_natt", "member": "1", "outcome": "lost", "reason": "no_answer"},
        ])
    );
    assert_eq!(
        document["probes"][1],
        json!({
            "probe": "ike", "kind": "ike", "member": "1", "address": "192.0.2.1", "egress": "default",
            "form": "version", "outcome": "answered", "reason": null, "fault": null, "rtt_seconds": 0.0015,
            "details": {"vendor": "strongSwan"},
        })
    );
    assert_eq!(document["probes"][0]["rtt_seconds"], Value::Null);
}

#[test]
fn the_exit_codes_say_what_the_verdict_says() {
    let good = vec![observed("icmp", Outcome::OK), observed("tls", Outcome::OK)];
    let odd = vec![observed("icmp", Outcome::OK), observed("tls", Outcome::Refused(Reason::TlsLegacy))];
    let bad =
        vec![observed("icmp", Outcome::OK), observed("tls", Outcome::Answered(Some(Reason::CertExpired)))];
    let mute = vec![observed("icmp", SILENT), observed("tls", SILENT)];
    for (seen, code, nagios, word) in
        [(good, 0, 0, "OK"), (odd, 0, 1, "WARNING"), (bad, 1, 2, "CRITICAL"), (mute, 3, 3, "UNKNOWN")]
    {
        let (diagnosis, survey) = judged(&[Vpn::SslVpn], seen);
        assert_eq!(print(&diagnosis, &survey, Format::Text, Lang::En).1, code, "{word}");
        assert_eq!(print(&diagnosis, &survey, Format::Json, Lang::En).1, code, "{word}");
        let (line, found) = print(&diagnosis, &survey, Format::Nagios, Lang::En);
        assert_eq!(found, nagios, "{word}");
        assert!(line.starts_with(&format!("VPNPROBE {word} - hq: ")), "{line}");
    }
}

#[test]
fn the_text_is_for_a_help_desk_in_both_languages() {
    let seen =
        vec![observed("icmp", Outcome::OK), observed("tls", Outcome::Answered(Some(Reason::CertExpired)))];
    let (diagnosis, survey) = judged(&[Vpn::SslVpn], seen);
    let english = print(&diagnosis, &survey, Format::Text, Lang::En).0;
    assert!(
        english.contains("NG       ports          TCP 443 answers, but: the certificate has expired"),
        "{english}"
    );
    assert!(english.contains("Verdict: NG, the step that fails is ports."), "{english}");
    let japanese = print(&diagnosis, &survey, Format::Text, Lang::Ja).0;
    assert!(
        japanese.contains("NG       VPNポート      原因: TCP 443 は応答しますが証明書に問題があります"),
        "{japanese}"
    );
    assert!(japanese.contains("判定: NG(「VPNポート」の段階で失敗)"), "{japanese}");
    assert_eq!(diagnosis.step(Step::Tunnel).unwrap().text(Lang::Ja), "認証情報が必要なため未確認です。");
}

fn vpnprobe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vpnprobe")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_wrong_usage_exits_2_and_says_why_on_stderr() {
    for arguments in [
        &[][..],
        &["check"],
        &["check", "host", "--target", "hq"],
        &["check", "host", "--lang", "xx"],
        &["check", "host", "--format", "xml"],
        &["check", "--target", "hq", "--config.file", "does-not-exist.yml"],
        &["check", "--format", "json", "--target", "hq", "--config.file", "does-not-exist.yml"],
        &["config", "check", "--config.file", "does-not-exist.yml"],
        &["--config.check", "--config.file", "does-not-exist.yml"],
        &["serve", "--config.check", "--config.file", "does-not-exist.yml"],
        &["no-such-command"],
    ] {
        let output = vpnprobe(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn version_and_help_go_to_stdout_with_0() {
    for arguments in [&["--version"][..], &["--help"], &["check", "--help"]] {
        let output = vpnprobe(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(String::from_utf8(vpnprobe(&["--version"]).stdout).unwrap().starts_with("vpnprobe 0."));
}

#[test]
fn loopback_can_be_checked_and_gives_one_object() {
    let output = vpnprobe(&["check", "127.0.0.1", "--attempts", "1", "--format", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["steps"][0]["status"], "ok");
    assert_eq!(document["steps"].as_array().unwrap().len(), 9);
    let code = match document["verdict"].as_str().unwrap() {
        "ok" => 0,
        "failed" => 1,
        _ => 3,
    };
    assert_eq!(output.status.code(), Some(code));
}

/// `vpnprobe … | head -0`: nobody reads, nothing panics.
#[test]
fn a_reader_that_went_away_is_no_panic() {
    for arguments in [&["--help"][..], &["check", "127.0.0.1", "--attempts", "1"], &["config", "schema"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_vpnprobe"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !complaint.contains("panicked") && output.status.code() != Some(101),
            "{arguments:?}: {complaint}"
        );
    }
}

/// What people read, whole: `tests/golden/check.*.txt`. They are our own output, checked by eye; they show
/// what a change does to it.
#[test]
fn the_text_is_as_it_was() {
    let seen =
        || vec![observed("icmp", Outcome::OK), observed("ike", Outcome::OK), observed("ike_natt", SILENT)];
    let (diagnosis, survey) = judged(&[Vpn::Ipsec], seen());
    for (lang, name) in [(Lang::En, "en"), (Lang::Ja, "ja")] {
        let mut text = print(&diagnosis, &survey, Format::Text, lang).0;
        text += &format!("\n{}", vpnprobe::diagnose::counsel::ticket(&diagnosis, &survey));
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let file = format!("{}/tests/golden/check.{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(text == golden, "{file} should be:\n<<<\n{text}>>>");
    }
    let (text, _) = print(&diagnosis, &survey, Format::Json, Lang::Ja);
    let document: Value = serde_json::from_str(&text).unwrap();
    let advice = &document["steps"][3]["advice"];
    assert_eq!(advice["id"], "natt_blocked");
    assert_eq!(advice["commands"]["cisco"][1], "crypto isakmp nat-traversal 20");
    assert_eq!(document["steps"][2]["advice"], Value::Null);
    assert_eq!(document["not_known"][1]["cause"], "phase2_mismatch");
}

#[test]
fn a_line_of_a_log_is_explained() {
    let run = |arguments: &[&str]| {
        let output = vpnprobe(&[&["explain"], arguments].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for (arguments, code, text) in [
        (&["NO_PROPOSAL_CHOSEN"][..], 0, "Phase 1 does not match"),
        (&["--lang", "ja", "error", "809"], 0, "外側のファイアウォール"),
        (&["HTTP 404 login.microsoft.com", "--lang=ja"], 0, "デフォルトルートが VPN を向いている"),
        (&["everything is fine"], 3, "Not known"),
        (&["--lang", "ja", "no such line"], 3, "該当なし"),
        (&[], 2, ""),
    ] {
        let (found, output) = run(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {output}");
        assert!(output.contains(text), "{arguments:?}: {output}");
    }
}
