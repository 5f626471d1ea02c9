//! A diagnosis as people and programs read it: text, JSON, one Nagios line.
//!
//! Invariant: JSON fields are only ever added (`schema` 1).

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::text::{fault_text, reason_text};
use super::{Diagnosis, Lang, Observed, Status, Step, StepResult, Survey, Verdict};
use super::{advice, counsel};
use crate::route::Ways;
use crate::sample::{Detail, Details, Fault, Outcome, Reason};

#[derive(Serialize)]
struct Document<'a> {
    schema: u8,
    target: &'a str,
    host: &'a str,
    time: String,
    verdict: Verdict,
    failed_step: Option<Step>,
    steps: Vec<StepRow<'a>>,
    routes: Option<&'a Ways>,
    probes: Vec<ProbeRow<'a>>,
    inside: Vec<ProbeRow<'a>>,
    not_known: Vec<counsel::NotKnownRow<'static>>,
}

#[derive(Serialize)]
struct StepRow<'a> {
    step: Step,
    status: Status,
    reason: Option<&'static str>,
    fault: Option<Fault>,
    text: String,
    evidence: Vec<EvidenceRow<'a>>,
    advice: Option<counsel::AdviceRow<'static>>,
}

#[derive(Serialize)]
struct EvidenceRow<'a> {
    probe: &'a str,
    member: String,
    outcome: &'static str,
    reason: Option<Reason>,
}

#[derive(Serialize)]
struct ProbeRow<'a> {
    probe: &'a str,
    kind: &'static str,
    member: String,
    address: String,
    egress: &'a str,
    form: &'static str,
    outcome: &'static str,
    reason: Option<Reason>,
    fault: Option<Fault>,
    rtt_seconds: Option<f64>,
    details: Details,
}

fn fault(outcome: Outcome) -> Option<Fault> {
    match outcome {
        Outcome::Unsent(fault) => Some(fault),
        _ => None,
    }
}

/// All that the peer told: its details and the findings that have fields of their own.
fn details(observed: &Observed) -> Details {
    let Some(findings) = &observed.report.findings else { return Details::default() };
    let mut details = findings.details.clone();
    if findings.under_load {
        details.flag("under_load", true);
    }
    if let Some(until) = findings.certificate_not_after {
        details.text("certificate_not_after", until.to_string().as_str());
    }
    if let Some(kept) = findings.half_open_left {
        details.number("half_open_left_seconds", i64::try_from(kept.as_secs()).unwrap_or(i64::MAX));
    }
    if let Some(path) = &findings.path {
        let hop = |hop: Option<std::net::IpAddr>| hop.map_or_else(|| "*".to_owned(), |hop| hop.to_string());
        details.list("hops", path.hops.iter().map(|it| hop(it.address()).as_str().into()));
    }
    details
}

/// One JSON object, indented, ending in a newline.
///
/// # Errors
/// None in practice: every part is plain data.
pub fn json(diagnosis: &Diagnosis, survey: &Survey, lang: Lang) -> Result<String, serde_json::Error> {
    let step = |it: &'_ StepResult| -> (Option<&'static str>, String) {
        (it.reason.map(super::StepReason::as_str), it.text(lang))
    };
    let document = Document {
        schema: 1,
        target: &diagnosis.target,
        host: &survey.host,
        time: diagnosis.time.to_string(),
        verdict: diagnosis.verdict,
        failed_step: diagnosis.failed_step,
        steps: diagnosis
            .steps
            .iter()
            .map(|it| {
                let (reason, text) = step(it);
                let evidence = it.evidence.iter().map(|seen| EvidenceRow {
                    probe: &seen.probe,
                    member: seen.member.to_string(),
                    outcome: seen.outcome.as_str(),
                    reason: seen.outcome.reason(),
                });
                StepRow {
                    step: it.step,
                    status: it.status,
                    reason,
                    fault: it.fault,
                    text,
                    evidence: evidence.collect(),
                    advice: advice::of(it)
                        .filter(|_| counsel::wanted(it))
                        .map(|entry| counsel::row(entry, &counsel::slots(it, survey), lang)),
                }
            })
            .collect(),
        routes: survey.ways.as_ref(),
        probes: survey.observed.iter().map(probe_row).collect(),
        inside: survey.inside.iter().map(probe_row).collect(),
        not_known: counsel::not_known(diagnosis, lang),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

fn probe_row(seen: &Observed) -> ProbeRow<'_> {
    ProbeRow {
        probe: &seen.probe,
        kind: seen.kind.name,
        member: seen.member.to_string(),
        address: seen.address.to_string(),
        egress: &seen.egress,
        form: seen.form,
        outcome: seen.report.outcome.as_str(),
        reason: seen.report.outcome.reason(),
        fault: fault(seen.report.outcome),
        rtt_seconds: seen.report.rtt.map(|rtt| rtt.as_secs_f64()),
        details: details(seen),
    }
}

const fn status_word(status: Status, lang: Lang) -> &'static str {
    match (status, lang) {
        (Status::Ok, _) => "OK",
        (Status::Failed, _) => "NG",
        (Status::Unknown, Lang::En) => "unknown",
        (Status::Unknown, Lang::Ja) => "不明",
        (Status::Skipped, Lang::En) => "skipped",
        (Status::Skipped, Lang::Ja) => "未実施",
    }
}

pub(super) const fn step_word(step: Step, lang: Lang) -> &'static str {
    match (step, lang) {
        (_, Lang::En) => step.as_str(),
        (Step::Name, Lang::Ja) => "名前解決",
        (Step::Route, Lang::Ja) => "経路",
        (Step::Reach, Lang::Ja) => "到達性",
        (Step::Ports, Lang::Ja) => "VPNポート",
        (Step::Authenticate, Lang::Ja) => "認証",
        (Step::Tunnel, Lang::Ja) => "トンネル確立",
        (Step::InsideRoutes, Lang::Ja) => "内部経路",
        (Step::InsideNames, Lang::Ja) => "内部DNS",
        (Step::InsideHosts, Lang::Ja) => "内部ホスト",
    }
}

const fn outcome_word(outcome: Outcome, lang: Lang) -> &'static str {
    match (outcome, lang) {
        (_, Lang::En) => outcome.as_str(),
        (Outcome::Answered(_), Lang::Ja) => "応答",
        (Outcome::Refused(_), Lang::Ja) => "拒否",
        (Outcome::Lost(_), Lang::Ja) => "無応答",
        (Outcome::Unsent(_), Lang::Ja) => "未送信",
    }
}

/// Pads to `width` columns; a wide character takes two.
pub(super) fn pad(text: &str, width: usize) -> String {
    let columns: usize = text.chars().map(|c| if c >= '\u{1100}' { 2 } else { 1 }).sum();
    format!("{text}{}", " ".repeat(width.saturating_sub(columns)))
}

/// A duration in milliseconds, for people.
#[must_use]
pub fn millis(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

/// The ladder for a help desk: a line a step, then a line a probe.
#[must_use]
pub fn text(diagnosis: &Diagnosis, survey: &Survey, lang: Lang) -> String {
    let mut out = String::new();
    let name = if diagnosis.target == survey.host {
        survey.host.clone()
    } else {
        format!("{} ({})", diagnosis.target, survey.host)
    };
    let _ = writeln!(out, "{name}  {}\n", diagnosis.time);
    for it in &diagnosis.steps {
        let status = pad(status_word(it.status, lang), 8);
        let _ = writeln!(out, "{status} {} {}", pad(step_word(it.step, lang), 14), it.text(lang));
    }
    if !survey.observed.is_empty() {
        let heading = if lang == Lang::Ja { "測定結果" } else { "What the probes saw" };
        let _ = writeln!(out, "\n{heading}:");
    }
    for seen in survey.observed.iter().chain(&survey.inside) {
        out.push_str(&probe_line(seen, lang));
    }
    let verdict = match (diagnosis.verdict, diagnosis.failed_step, lang) {
        (Verdict::Failed, Some(step), Lang::En) => format!("Verdict: NG, the step that fails is {step}."),
        (Verdict::Failed, Some(step), Lang::Ja) => {
            format!("判定: NG(「{}」の段階で失敗)", step_word(step, lang))
        }
        (Verdict::Failed, None, _) => "NG".to_owned(),
        (Verdict::Ok, _, Lang::En) => "Verdict: OK, as far as it was tested.".to_owned(),
        (Verdict::Ok, _, Lang::Ja) => "判定: OK(確認した範囲で正常)".to_owned(),
        (Verdict::Unknown, _, Lang::En) => "Verdict: unknown; it cannot be told from here.".to_owned(),
        (Verdict::Unknown, _, Lang::Ja) => "判定: 不明(ここからは判断できません)".to_owned(),
    };
    out.push_str(&counsel::advice_text(diagnosis, survey, lang));
    let _ = writeln!(out, "\n{verdict}");
    out
}

fn probe_line(seen: &Observed, lang: Lang) -> String {
    let mut line = format!(
        "  {} {} {}",
        pad(&seen.probe, 14),
        pad(&seen.address.to_string(), 16),
        pad(outcome_word(seen.report.outcome, lang), 9)
    );
    if let Some(rtt) = seen.report.rtt {
        let _ = write!(line, " {}", millis(rtt));
    }
    match seen.report.outcome {
        Outcome::Unsent(fault) => {
            let _ = write!(line, " {}", fault_text(fault, lang));
        }
        outcome => {
            if let Some(reason) = outcome.reason() {
                let _ = write!(line, " {}", reason_text(reason, lang));
            }
        }
    }
    if seen.egress != "default" {
        let _ = write!(line, " egress={}", seen.egress);
    }
    let _ = write!(line, " [{}]", seen.form);
    for (key, detail) in details(seen).iter() {
        match detail {
            Detail::Text(text) => {
                let _ = write!(line, " {key}={text}");
            }
            Detail::List(list) => {
                let list: Vec<&str> = list.iter().map(crate::sample::Text::as_str).collect();
                let _ = write!(line, " {key}={}", list.join(","));
            }
            Detail::Number(number) => {
                let _ = write!(line, " {key}={number}");
            }
            Detail::Flag(flag) => {
                let _ = write!(line, " {key}={}", if *flag { "yes" } else { "no" });
            }
        }
    }
    line.push('\n');
    line
}

/// One line for Nagios and its kin, with the round trips as performance data.
#[must_use]
pub fn nagios(diagnosis: &Diagnosis, survey: &Survey, lang: Lang) -> String {
    let word = match nagios_code(diagnosis) {
        0 => "OK",
        1 => "WARNING",
        2 => "CRITICAL",
        _ => "UNKNOWN",
    };
    // The step that explains the state; where all is well, the last one that was tried.
    let told = diagnosis
        .failed_step
        .and_then(|step| diagnosis.step(step))
        .or_else(|| diagnosis.steps.iter().find(|it| diagnosis.degraded() && it.attention()))
        .or_else(|| {
            let unknown =
                |it: &&StepResult| diagnosis.verdict == Verdict::Unknown && it.status == Status::Unknown;
            diagnosis.steps.iter().find(unknown)
        })
        .or_else(|| diagnosis.steps.iter().rfind(|it| it.status == Status::Ok));
    let text = told.map_or_else(String::new, |it| {
        let reason = it.reason.map_or(String::new(), |reason| format!(" ({})", reason.as_str()));
        format!("{} {}{reason}: {}", it.step, it.status, it.text(lang))
    });
    // A vertical bar would begin the performance data.
    let text = text.replace('|', "/").replace(['\n', '\r'], " ");
    let mut line = format!("VPNPROBE {word} - {}: {text}", diagnosis.target.replace('|', "/"));
    let mut labels: Vec<String> = Vec::new();
    for seen in &survey.observed {
        let egress = if seen.egress == "default" { String::new() } else { format!("_{}", seen.egress) };
        let label = format!("{}_{}{egress}", seen.probe, seen.member).replace(['\'', '='], "_");
        if labels.contains(&label) {
            continue;
        }
        if let Some(rtt) = seen.report.rtt {
            line.push_str(if labels.is_empty() { " | " } else { " " });
            let _ = write!(line, "'{label}'={:.6}s;;;0", rtt.as_secs_f64());
            labels.push(label);
        }
    }
    line.push('\n');
    line
}

/// 0 good, 1 the target is bad, 3 unknown.
#[must_use]
pub const fn exit_code(diagnosis: &Diagnosis) -> u8 {
    match diagnosis.verdict {
        Verdict::Ok => 0,
        Verdict::Failed => 1,
        Verdict::Unknown => 3,
    }
}

/// 0 ok, 1 degraded, 2 failed, 3 unknown.
#[must_use]
pub fn nagios_code(diagnosis: &Diagnosis) -> u8 {
    match diagnosis.verdict {
        Verdict::Ok => u8::from(diagnosis.degraded()),
        Verdict::Failed => 2,
        Verdict::Unknown => 3,
    }
}
