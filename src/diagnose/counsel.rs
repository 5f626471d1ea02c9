//! Advice as people and programs read it: the blocks of `check` and `explain`, and the block for a ticket.
//!
//! Invariant: remote text comes in only through slots that were made harmless before.

use std::fmt::Write as _;

use serde::Serialize;

use super::advice::{self, Entry, Meaning, Slots};
use super::render::{millis, step_word};
use super::text::Slot;
use super::{Diagnosis, Lang, Status, StepReason, StepResult, Survey};

/// Commands and all, for JSON.
#[derive(Serialize)]
pub(super) struct AdviceRow<'a> {
    id: &'a str,
    title: &'a str,
    cause: &'a str,
    check: &'a str,
    commands: Commands,
    good: String,
    bad: String,
    read: &'a str,
    unknown: Option<&'a str>,
}

#[derive(Serialize)]
struct Commands {
    windows: Vec<String>,
    linux: Vec<String>,
    cisco: Vec<String>,
}

/// What cannot be known from here, for JSON.
#[derive(Serialize)]
pub(super) struct NotKnownRow<'a> {
    cause: &'a str,
    text: &'a str,
}

fn lines(text: &str, slots: &Slots) -> Vec<String> {
    slots.fill(text).lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// What is known of a step, for commands.
pub(super) fn slots(step: &StepResult, survey: &Survey) -> Slots {
    let mut slots = Slots::default();
    for said in &step.said {
        for (name, slot) in &said.slots {
            if let (Slot::Plain(value), "address" | "host" | "source" | "port") = (slot, *name)
                && value != "?"
            {
                slots = slots.with(name, value);
            }
        }
    }
    let first = survey.resolved.iter().flatten().next();
    slots = slots.with("host", &survey.host);
    if let Some(address) = first {
        slots = slots.with("address", address.to_string());
    }
    if let Some(source) = survey.routes.iter().find_map(|(_, way)| way.ok()) {
        slots = slots.with("source", source.to_string());
    }
    // The port that failed, if the sentence names none.
    let mut failed = step.evidence.iter().filter(|seen| seen.outcome.serving() != Some(true));
    let port = failed.find_map(|seen| survey.observed.iter().find(|it| it.probe == seen.probe));
    match port.map(|seen| seen.kind.port).filter(|port| *port != 0) {
        Some(port) => slots.with("port", port.to_string()),
        None => slots,
    }
}

pub(super) fn row(entry: &'static Entry, slots: &Slots, lang: Lang) -> AdviceRow<'static> {
    AdviceRow {
        id: &entry.id,
        title: entry.title.text(lang),
        cause: entry.cause.text(lang),
        check: entry.check.text(lang),
        commands: Commands {
            windows: lines(&entry.windows, slots),
            linux: lines(&entry.linux, slots),
            cisco: entry.cisco.as_ref().map(|text| lines(text, slots)).unwrap_or_default(),
        },
        good: slots.fill(&entry.good),
        bad: slots.fill(&entry.bad),
        read: entry.read.text(lang),
        unknown: entry.unknown.as_ref().map(|text| text.text(lang)),
    }
}

/// What this check cannot know, for JSON.
pub(super) fn not_known(diagnosis: &Diagnosis, lang: Lang) -> Vec<NotKnownRow<'static>> {
    let entries = diagnosis.not_known.iter().filter_map(|id| advice::named(id));
    let row = |entry: &'static Entry| {
        Some(NotKnownRow { cause: entry.field.as_deref()?, text: entry.unknown.as_ref()?.text(lang) })
    };
    entries.filter_map(row).collect()
}

/// Whether the step calls for advice.
pub(super) fn wanted(step: &StepResult) -> bool {
    matches!(step.status, Status::Failed | Status::Unknown) || step.attention()
}

/// An entry as a block of lines.
#[must_use]
pub fn block(entry: &'static Entry, slots: &Slots, lang: Lang) -> String {
    let words = match lang {
        Lang::En => ["Cause", "Check", "Windows", "Linux", "Cisco", "Good", "Bad", "Reading", "Not known"],
        Lang::Ja => ["原因", "確認手順", "Windows", "Linux", "Cisco", "正常例", "異常例", "解釈", "確認不可"],
    };
    let [cause, check, windows, linux, cisco, good, bad, read, unknown] =
        words.map(|word| super::render::pad(word, 10));
    let row = row(entry, slots, lang);
    let mut out = String::new();
    let mut put = |word: &str, text: &str| {
        let _ = writeln!(out, "  {word} {text}");
    };
    put(&cause, row.cause);
    put(&check, row.check);
    for (word, commands) in
        [(&windows, &row.commands.windows), (&linux, &row.commands.linux), (&cisco, &row.commands.cisco)]
    {
        for command in commands {
            put(word, command);
        }
    }
    put(&good, &row.good);
    put(&bad, &row.bad);
    put(&read, row.read);
    if let Some(text) = row.unknown {
        put(&unknown, text);
    }
    out
}

/// The advice of a diagnosis, a block a step: for what failed; if nothing did, for what is not known or
/// should be looked at. Each entry is told once.
pub(super) fn advice_text(diagnosis: &Diagnosis, survey: &Survey, lang: Lang) -> String {
    let failed = diagnosis.failed_step.is_some();
    let mut told: Vec<&str> = Vec::new();
    let mut out = String::new();
    let steps = diagnosis.steps.iter().filter(|it| wanted(it) && (!failed || it.status == Status::Failed));
    for step in steps {
        let Some(entry) = advice::of(step).filter(|entry| !told.contains(&entry.id.as_str())) else {
            continue;
        };
        told.push(&entry.id);
        let _ = writeln!(out, "\n[{}] {}", step_word(step.step, lang), entry.title.text(lang));
        out.push_str(&block(entry, &slots(step, survey), lang));
    }
    let rest = not_known(diagnosis, lang);
    if !rest.is_empty() && !failed {
        let heading = if lang == Lang::Ja {
            "ここからは分からないこと:"
        } else {
            "What cannot be known from here:"
        };
        let _ = writeln!(out, "\n{heading}");
        for it in rest {
            let _ = writeln!(out, "  {}", it.text);
        }
    }
    out
}

/// The answer of `explain`.
#[must_use]
pub fn explained(meanings: &[Meaning], lang: Lang) -> String {
    let mut out = String::new();
    for Meaning { entry, text, source } in meanings {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", entry.title.text(lang));
        let by = if lang == Lang::Ja { "該当" } else { "Found" };
        let _ = writeln!(out, "  {} \"{text}\" ({source})", super::render::pad(by, 10));
        out.push_str(&block(entry, &Slots::default(), lang));
    }
    out
}

/// A block to paste into a ticket: words of the contract, the same in all languages.
#[must_use]
pub fn ticket(diagnosis: &Diagnosis, survey: &Survey) -> String {
    let mut out = String::new();
    let source = survey.routes.iter().find_map(|(_, way)| way.ok());
    let from = source.map_or_else(String::new, |source| format!(" from {source}"));
    let _ = writeln!(out, "--- vpnprobe {} ticket ---", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "time:    {}", diagnosis.time);
    let _ = writeln!(out, "target:  {} ({}){from}", diagnosis.target, survey.host);
    let failed = diagnosis.failed_step.and_then(|step| diagnosis.step(step));
    let why = failed.map_or_else(String::new, |step| {
        format!(", {} {}", step.step, step.reason.map_or("-", StepReason::as_str))
    });
    let _ = writeln!(out, "verdict: {}{why}", diagnosis.verdict);
    for step in &diagnosis.steps {
        let reason = step.reason.map_or_else(String::new, |reason| format!(" {}", reason.as_str()));
        let fault = step.fault.map_or_else(String::new, |fault| format!(" own fault: {fault}"));
        let _ = writeln!(out, "step:    {} {}{reason}{fault}", step.step, step.status);
    }
    for seen in survey.observed.iter().chain(&survey.inside) {
        let rtt = seen.report.rtt.map_or_else(String::new, |rtt| format!(" {}", millis(rtt)));
        let reason = seen.report.outcome.reason().map_or_else(String::new, |reason| format!(" {reason}"));
        let outcome = seen.report.outcome.as_str();
        let _ =
            writeln!(out, "probe:   {} {} {} {outcome}{reason}{rtt}", seen.probe, seen.address, seen.egress);
    }
    if let Some(entry) = failed.and_then(advice::of) {
        let _ = writeln!(out, "advice:  {} ({})", entry.title.text(Lang::En), entry.id);
    }
    out.push_str("--- end ---\n");
    out
}
