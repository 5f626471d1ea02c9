//! The fault table: real faults, each made in a lab and looked at by `vpnprobe check` as a help desk would,
//! and what it says of them. Each row runs with its healthy twin: the same check before the fault.
//!
//! ```text
//!   client ── r1 NAT ── r2 limits its errors ──┬─ r3 silent ─┬── r4 ── conc ── inside
//!      ╰┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ └─── r3b ────┘ ┄┄┄┄┄┄┄┄┄┄┄ ╯ OpenVPN
//! ```
//!
//! Invariants: `check` learns nothing but its configuration, in which no fault is named and which is the
//! same for a row and its twin. What cannot be known from outside must not be claimed: there `unknown`,
//! `skipped` or `ok` is right. The table in `fault-table.md` and in the README is what this test saw, and it
//! fails if that is no longer so; with `VPNPROBE_FAULT_TABLE=write` it is written anew.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Check, Lab};

mod rows;

use rows::{LABS, Row};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/fault-table.md");
/// Where it is shown, between two marks.
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const MARKS: [&str; 2] = ["<!-- fault table -->\n", "<!-- end of fault table -->"];

/// A chain of four routers: the first is the home's and masks its hosts, the second keeps to the kernel's
/// limit of ICMP errors, the third has a twin that shares the load, and never says that a packet died.
fn field() -> Lab {
    let lab = Lab::chain(4);
    for words in [
        "diamond 3",
        "exec r2 sysctl -qw net.ipv4.icmp_ratelimit=1000",
        "exec r3 nft add table ip mute",
        "exec r3 nft add chain ip mute output { type filter hook output priority 0 ; }",
        "exec r3 nft add rule ip mute output icmp type time-exceeded drop",
        "exec r4 sysctl -qw net.ipv4.neigh.lan.retrans_time_ms=100",
        "exec r1 nft add table ip nat",
        "exec r1 nft add chain ip nat post { type nat hook postrouting priority 100 ; }",
        "exec r1 nft add rule ip nat post oifname wan masquerade",
        "exec r4 nft add table inet firewall",
        "exec r4 nft add chain inet firewall forward { type filter hook forward priority 0 ; }",
        "office",
        "exec conc nft add table inet firewall",
        "exec conc nft add chain inet firewall forward { type filter hook forward priority 0 ; }",
    ] {
        lab.script(words);
    }
    let mut file = OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600).open(lab.path("session.psk"));
    file.unwrap().write_all(b"lab-psk").unwrap();
    lab
}

/// What a check said of the step that a row is about.
struct Said {
    verdict: String,
    failed: Option<String>,
    step: String,
}

impl Said {
    fn of(check: &Check, step: &str) -> Self {
        Self {
            verdict: check.verdict().to_owned(),
            failed: check.json["failed_step"].as_str().map(str::to_owned),
            step: check.step(step),
        }
    }

    /// `failed: ports failed no_answer`, `ok: tunnel skipped`.
    fn words(&self, step: &str) -> String {
        format!("{}: {step} {}", self.verdict, self.step)
    }
}

/// One row as it was run.
struct Run {
    row: &'static Row,
    twin: Said,
    seen: Said,
    seconds: f64,
    wrong: Option<String>,
}

fn check(lab: &Lab, row: &Row) -> Check {
    let file = lab.config("check.yml", row.config);
    lab.check(&["--target", "hq", "--config.file", file.to_str().unwrap()])
}

/// Makes the fault, checks, and takes the fault away again.
fn run(lab: &Lab, row: &'static Row) -> Run {
    let start = Instant::now();
    row.before
        .iter()
        .for_each(|words| drop(lab.script(&words.replace("STATE", &lab.path("").display().to_string()))));
    let twin = check(lab, row);
    row.fault
        .iter()
        .for_each(|words| drop(lab.script(&words.replace("STATE", &lab.path("").display().to_string()))));
    let faulty = check(lab, row);
    row.undo
        .iter()
        .for_each(|words| drop(lab.script(&words.replace("STATE", &lab.path("").display().to_string()))));
    for words in
        ["exec r4 nft flush chain inet firewall forward", "exec conc nft flush chain inet firewall forward"]
    {
        lab.script(words);
    }
    let seen = Said::of(&faulty, row.step);
    let mut wrong = Vec::new();
    if twin.verdict() != "ok" {
        wrong.push(format!("the healthy twin is {}: {}", twin.verdict(), trouble(&twin)));
    }
    if seen.words(row.step) != row.says {
        wrong.push(format!("expected {:?}, got {:?}: {}", row.says, seen.words(row.step), trouble(&faulty)));
    }
    let text = step_text(&faulty, row.step);
    if !text.contains(row.tells) {
        wrong.push(format!("{:?} is not told: {text}", row.tells));
    }
    // The first step that fails is the one that is named.
    if seen.verdict == "failed" && seen.failed.as_deref() != Some(row.step) {
        wrong.push(format!("the failed step is {:?}: {}", seen.failed, trouble(&faulty)));
    }
    let wrong = (!wrong.is_empty()).then(|| format!("{}:\n  {}", row.what, wrong.join("\n  ")));
    let run =
        Run { row, twin: Said::of(&twin, row.step), seen, seconds: start.elapsed().as_secs_f64(), wrong };
    eprintln!("{:5.1} s  {}: {}", run.seconds, row.what, run.seen.words(row.step));
    run
}

fn step_text(check: &Check, name: &str) -> String {
    let steps = check.json["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == name).unwrap();
    step["text"].as_str().unwrap_or_default().to_owned()
}

/// The steps and probes of a check in a few lines.
fn trouble(check: &Check) -> String {
    let mut text = String::new();
    for step in check.json["steps"].as_array().unwrap() {
        let word = |key: &str| step[key].as_str().unwrap_or("-").to_owned();
        write!(text, "\n    {} {} {}", word("step"), word("status"), word("reason")).unwrap();
        if step["status"] != "skipped" {
            write!(text, "  {}", word("text")).unwrap();
        }
    }
    let said: Vec<&Value> = check.json["probes"].as_array().unwrap().iter().collect();
    for probe in said {
        write!(
            text,
            "\n    [{} {} {} {}]",
            probe["probe"], probe["outcome"], probe["reason"], probe["details"]
        )
        .unwrap();
    }
    text
}

#[test]
fn table() {
    let only = std::env::var("VPNPROBE_FAULT").unwrap_or_default();
    let lab = |rows: &'static [Row]| {
        let only = only.clone();
        move || {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.what.contains(&only)).collect();
            if rows.is_empty() {
                return Vec::new();
            }
            let lab = field();
            rows.into_iter().map(|row| run(&lab, row)).collect::<Vec<_>>()
        }
    };
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let labs = LABS.map(|rows| scope.spawn(lab(rows)));
        labs.into_iter().flat_map(|lab| lab.join().unwrap()).collect()
    });
    let wrong: Vec<&str> = runs.iter().filter_map(|run| run.wrong.as_deref()).collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), runs.len(), wrong.join("\n"));
    if !only.is_empty() {
        return;
    }
    let text = markdown(&runs);
    if std::env::var("VPNPROBE_FAULT_TABLE").as_deref() == Ok("write") {
        std::fs::write(TABLE, &text).unwrap();
        let readme = std::fs::read_to_string(README).unwrap();
        let (before, rest) = readme.split_once(MARKS[0]).unwrap();
        let (_, after) = rest.split_once(MARKS[1]).unwrap();
        std::fs::write(README, format!("{before}{}{text}{}{after}", MARKS[0], MARKS[1])).unwrap();
    }
    assert_eq!(std::fs::read_to_string(TABLE).unwrap(), text, "VPNPROBE_FAULT_TABLE=write writes it anew");
    let readme = std::fs::read_to_string(README).unwrap();
    assert!(readme.contains(&format!("{}{text}{}", MARKS[0], MARKS[1])), "README.md shows another table");
    assert!(runs.len() >= 25);
    assert!(runs.iter().filter(|run| !run.row.beside.is_empty()).count() >= 16);
}

fn markdown(runs: &[Run]) -> String {
    let mut text = String::from(
        "| # | what is wrong | easily taken for | verdict | step | status | reason | its healthy twin |\n\
         |--:|---|---|---|---|---|---|---|\n",
    );
    for (n, run) in runs.iter().enumerate() {
        let (status, reason) = run.seen.step.split_once(' ').unwrap_or((&run.seen.step, ""));
        let beside = runs
            .iter()
            .enumerate()
            .filter(|(other, it)| {
                *other != n && !run.row.beside.is_empty() && it.row.beside == run.row.beside
            })
            .map(|(other, _)| (other + 1).to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let reason = if reason.is_empty() { String::new() } else { format!("`{reason}`") };
        writeln!(
            text,
            "| {} | {} | {beside} | {} | {} | {status} | {reason} | {} |",
            n + 1,
            run.row.what,
            run.seen.verdict,
            run.row.step,
            run.twin.step,
        )
        .unwrap();
    }
    text
}
