//! The exposition as a whole: compared with a file, and read by `promtool`, which we did not write.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use vpnprobe::detect::binding::Lifetime;
use vpnprobe::detect::flap::Damping;
use vpnprobe::detect::liveness::State;
use vpnprobe::detect::loss::{LossRun, LossWindow};
use vpnprobe::detect::{Transition, Watch};
use vpnprobe::export::metrics::{MemberInfo, Registry, SeriesKey, SessionKey};
use vpnprobe::probe::{Kind, Mismatch};
use vpnprobe::sample::{Fault, Outcome, Phase, Reason, Report, Sample, SeriesId, Text};
use vpnprobe::session::{Note, Teardown};
use vpnprobe::time::{Clock, Timestamp, WallTime};

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO
    }
    fn wall(&self) -> WallTime {
        WallTime::from_unix_secs(1_795_305_600)
    }
}

/// Three series, each counter and histogram of which has moved.
fn fill(registry: &Registry) {
    let buckets = [0.005, 0.05, 0.5, 2.0];
    let key = |target: &str, probe: &str| SeriesKey {
        target: target.into(),
        member: 1,
        probe: probe.into(),
        egress: "default".into(),
    };
    let icmp = registry.series(key("hq", "icmp"), Kind::named("icmp").unwrap(), &buckets);
    let tls = registry.series(key("osaka", "portal"), Kind::named("tls").unwrap(), &buckets);
    let at = Timestamp::from_secs(5);
    let sample = |sent: bool, report: Report| Sample {
        series: SeriesId(0),
        seq: 0,
        form: "full",
        due: at,
        sent: sent.then_some(at),
        done: at,
        report,
    };
    icmp.record(&sample(true, Report::timed(Outcome::OK, Duration::from_micros(4_200))));
    icmp.record(&sample(true, Report::timed(Outcome::OK, Duration::from_millis(61))));
    icmp.record(&sample(true, Report::new(Outcome::Lost(Reason::NoAnswer))));
    icmp.record(&sample(false, Report::new(Outcome::Unsent(Fault::NoRoute))));
    icmp.duplicate();
    icmp.late();
    icmp.watched(&flapping(), Timestamp::from_secs(200));
    let began = Timestamp::from_secs(100);
    for transition in [
        Transition::LossWindow(LossWindow { began, sent: 20, lost: 0 }),
        Transition::LossWindow(LossWindow { began, sent: 20, lost: 1 }),
        Transition::LossWindow(LossWindow { began, sent: 20, lost: 20 }),
        Transition::LossRun(LossRun { began, length: 4 }),
        Transition::OutageBegan { since: began },
        Transition::OutageEnded { began, ended: Timestamp::from_secs(131) },
        Transition::Flap { down: true, since: began },
        Transition::Flap { down: false, since: began },
    ] {
        icmp.transition(&transition);
    }
    icmp.set_up(Some(true));
    icmp.attempt(WallTime::from_unix_nanos(1_795_305_599_500_000_000));

    let mut report = Report::timed(Outcome::Answered(Some(Reason::CertExpired)), Duration::from_millis(31));
    report.phases =
        vec![(Phase::Connect, Duration::from_millis(9)), (Phase::Handshake, Duration::from_millis(22))];
    report.findings().certificate_not_after = Some(WallTime::from_unix_secs(1_790_000_000));
    tls.record(&sample(true, report));
    tls.record(&sample(false, Report::new(Outcome::Unsent(Fault::Budget))));
    tls.set_up(Some(false));

    let stun = registry.series(key("hq", "stun"), Kind::named("stun").unwrap(), &buckets);
    let nat = stun.nat().unwrap();
    nat.changed();
    let bound = |secs| Some(Duration::from_secs(secs));
    nat.set_lifetime(Lifetime { at_least: bound(27), at_most: bound(31) }, None);

    registry.target("hq").set_state(State::Up, Timestamp::from_secs(7));
    registry.target("osaka").set_state(State::Degraded, Timestamp::from_secs(7));
    let vendor = Some(Text::from("a \"box\" \\ 1\nEND # HELP"));
    let address = Some("2001:db8::1".parse().unwrap());
    registry.target_info(
        "osaka",
        1,
        Some(MemberInfo { address, vendor, versions: Some(Text::from("tls1.3")) }),
    );
    let key = SessionKey { target: "hq".into(), member: 1, egress: "default".into() };
    let session = registry.session(key, &buckets);
    session.record(&Note::Up { at, childless: true });
    for note in [Note::Asked, Note::Lost, Note::Alive(None), Note::Asked] {
        session.record(&note);
    }
    session.record(&Note::Alive(Some(Duration::from_micros(310))));
    session.record(&Note::Down { at, why: Teardown::PeerDeleted, since: Some(at) });
    session.record(&Note::Up { at, childless: false });
    registry.own().lag(Duration::from_micros(300));
    registry.own().unmatched(Mismatch::Token);
}

/// A watch over a series that was away twice for 15 s, a minute ago: 200 s of samples.
fn flapping() -> Watch {
    let second = Duration::from_secs(1);
    let mut watch = Watch::new(second, second, Damping::default(), Timestamp::ZERO);
    for seq in 0..=200 {
        let due = Timestamp::from_secs(seq);
        let report = match seq {
            100..115 | 130..145 => Report::new(Outcome::Lost(Reason::NoAnswer)),
            _ => Report::timed(Outcome::OK, Duration::from_millis(10 + seq % 2 * 16)),
        };
        let series = SeriesId(0);
        watch.observe(
            &Sample { series, seq, form: "echo", due, sent: Some(due), done: due, report },
            &mut Vec::new(),
        );
    }
    watch
}

/// `UPDATE_GOLDEN=1` writes the file anew; look at the difference before you keep it.
#[test]
fn the_text_is_as_in_the_file() {
    let registry = Registry::without_process(Arc::new(Stopped));
    fill(&registry);
    let text = String::from_utf8(registry.encode_text()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (line, (ours, theirs)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}", line + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}

/// A missing `promtool` is a failure: `tests/run.sh` installs it.
#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let registry = Registry::new(Arc::new(Stopped));
    fill(&registry);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; Debian has it in the package prometheus");
    promtool.stdin.take().unwrap().write_all(&registry.encode_text()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let said =
        (said.status.code(), String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert_eq!(said, (Some(0), "".into(), "".into()));
}

/// The rules that are shipped parse, and their unit tests pass.
#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    let root = env!("CARGO_MANIFEST_DIR");
    let files = |folder: &str| {
        let entries = std::fs::read_dir(format!("{root}/{folder}")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
        assert!(!files.is_empty(), "{folder} has no .yml");
        files
    };
    for (command, folder) in [("check", "dashboards/rules"), ("test", "tests/promtool")] {
        let said = Command::new("promtool").args([command, "rules"]).args(files(folder)).output();
        let said = said.expect("promtool is missing; Debian has it in the package prometheus");
        let text =
            format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "promtool {command} rules: {text}");
    }
}

/// An alert without a page to read is of no help to whoever it wakes.
#[test]
fn every_alert_has_its_runbook_in_both_languages() {
    let root = env!("CARGO_MANIFEST_DIR");
    let rules = std::fs::read_to_string(format!("{root}/dashboards/rules/alerts.yml")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        for page in [format!("{alert}.md"), format!("{alert}.ja.md")] {
            let text = std::fs::read_to_string(format!("{root}/dashboards/runbooks/{page}"));
            assert!(text.is_ok_and(|text| text.contains(alert)), "{page}");
        }
    }
}

/// The shipped dashboards, each with its file's name.
fn dashboards() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            all.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    all.sort();
    assert_eq!(all.len(), 5);
    all
}

/// Every metric that a dashboard or a rule asks for is one that we export.
#[test]
fn dashboards_and_rules_ask_for_metrics_that_exist() {
    let root = env!("CARGO_MANIFEST_DIR");
    let exported: Vec<_> = vpnprobe::export::metrics::names().collect();
    let rules = ["recording.yml", "alerts.yml"].map(|file| {
        (file.to_owned(), std::fs::read_to_string(format!("{root}/dashboards/rules/{file}")).unwrap())
    });
    for (file, content) in dashboards().into_iter().chain(rules) {
        let words = content.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
        let asked = words.filter(|word| word.starts_with("vpnprobe_"));
        let mut seen = 0;
        for word in asked {
            let base =
                word.strip_suffix("_bucket").or(word.strip_suffix("_count")).or(word.strip_suffix("_sum"));
            assert!(
                exported.contains(&word) || base.is_some_and(|base| exported.contains(&base)),
                "{file}: {word}"
            );
            seen += 1;
        }
        assert!(seen > 0, "{file}");
    }
}

/// What a reader of a dashboard relies on, and the schema does not know: no panel over another, each with
/// a title, a text and the chosen data source, each histogram asked for in both forms.
#[test]
fn dashboards_are_well_made() {
    for (file, content) in dashboards() {
        let board: serde_json::Value = serde_json::from_str(&content).unwrap();
        assert_eq!(format!("{}.json", board["uid"].as_str().unwrap()), file);
        let mut taken = std::collections::BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{file}: {title}");
            for y in at("y")..at("y") + at("h") {
                for x in at("x")..at("x") + at("w") {
                    assert!(taken.insert((x, y)), "{file}: {title} lies over another panel");
                }
            }
            let kind = panel["type"].as_str().unwrap();
            if ["row", "text"].contains(&kind) {
                continue;
            }
            assert!(!title.is_empty() && panel["description"].as_str().is_some_and(|text| text.len() > 5));
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {title}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
                let query = target["expr"].as_str().unwrap();
                // The prober is chosen wherever one of its series is asked for.
                assert!(query.contains("job=~\"$job\"") || query.starts_with("vector("), "{file}: {query}");
                if query.contains("_bucket{") {
                    assert!(
                        query.contains(" or histogram_") || query.contains(" or sum("),
                        "{file}: {query}"
                    );
                }
            }
        }
    }
}
