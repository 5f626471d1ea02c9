//! What a replay found, for people and for machines.
//!
//! Invariant: a number that compares is never printed without what it is compared with.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Replay;
use crate::detect::dpd::{Mode, Profile};
use crate::replay::{
    Change, Difference, Drops, Extent, Judged, Key, Replay as Run, Side, Span, Tally, between, compare,
    outages, total,
};
use crate::time::WallTime;

/// Everything in plain English.
pub(super) fn text(run: &Run, arguments: &Replay) -> String {
    let mut out = String::new();
    extent(run.extent(), &mut out);
    let mut target = None;
    for (key, before) in shown(run, arguments) {
        if target.replace(&key.0) != Some(&key.0) {
            incidents(run, &key.0, &mut out);
        }
        let after = run.after().and_then(|after| after.tallies().get(key));
        series(key, before, after, &mut out);
        for drops in &before.drops {
            if named(arguments, &drops.label) {
                profile(drops, &mut out);
                for change in changes(arguments, &drops.label) {
                    if let Some(changed) = after.and_then(|after| after.of_profile(&change.label())) {
                        difference(change, drops, changed, &mut out);
                    }
                }
            }
        }
    }
    out
}

fn shown<'a>(run: &'a Run, arguments: &'a Replay) -> impl Iterator<Item = (&'a Key, &'a Tally)> {
    let wanted = |key: &Key| arguments.target.as_ref().is_none_or(|target| *target == key.0);
    run.before().tallies().iter().filter(move |(key, _)| wanted(key))
}

/// All profiles unless some were named.
fn named(arguments: &Replay, name: &str) -> bool {
    arguments.profiles.is_empty() || arguments.profiles.iter().any(|change| change.name == name)
}

fn changes<'a>(arguments: &'a Replay, name: &'a str) -> impl Iterator<Item = &'a Change> {
    arguments.profiles.iter().filter(move |change| change.name == name && !change.words.is_empty())
}

fn extent(extent: &Extent, out: &mut String) {
    let Extent { files, runs, version, samples, first, last, lost, skipped, strangers, missing, torn } =
        extent;
    let _ = write!(out, "{}, {}, {}", count(*files, "file"), count(*runs, "run"), count(*samples, "sample"));
    if let (Some(first), Some(last)) = (first, last) {
        let _ = write!(out, " from {first} to {last} ({})", time(between(*first, *last)));
    }
    let _ = writeln!(out, ", vpnprobe {version}");
    let mut note = |number: u64, text: &str| {
        if number > 0 {
            let _ = writeln!(out, "note: {number} {text}");
        }
    };
    note(*lost, "samples were not recorded, as the disk was too slow or full: a hole, no evidence");
    note(*skipped, "damaged lines were left out: holes, no evidence");
    note(*missing, "files in between are missing: holes, no evidence");
    note(*strangers, "samples are of series that nothing tells of, and were left out");
    for path in torn {
        let _ = writeln!(out, "note: the last line of {} is torn off, and was left out", path.display());
    }
}

fn incidents(run: &Run, target: &str, out: &mut String) {
    let words = |side: &Side| {
        let causes = side.incidents(target).into_iter().map(|(cause, count)| format!("{count} {cause}"));
        let causes: Vec<String> = causes.collect();
        if causes.is_empty() { "none".to_owned() } else { causes.join(", ") }
    };
    let was = words(run.before());
    let _ = match run.after().map(words).filter(|now| *now != was) {
        Some(now) => writeln!(out, "\n{target}: incidents by cause: {was}  ->  {now}"),
        None => writeln!(out, "\n{target}: incidents by cause: {was}"),
    };
}

fn series(key: &Key, before: &Tally, after: Option<&Tally>, out: &mut String) {
    let (target, member, probe, egress) = key;
    let about = &before.about;
    let address = about.address.map_or_else(|| "no address".to_owned(), |address| address.to_string());
    let _ = writeln!(
        out,
        "\n{target} {probe}, member {member} ({address}), egress {egress}: a probe every {}",
        time(about.interval)
    );
    let lost = format!("{} of {}", before.lost, count(before.samples, "sample"));
    let _ = writeln!(out, "  lost      {lost}");
    let sum = |tally: &Tally| {
        let all = time(total(&tally.outages, tally.last));
        if tally.outages.is_empty() {
            "none".to_owned()
        } else {
            format!("{}, {all} in all", tally.outages.len())
        }
    };
    let flaps = |tally: &Tally| {
        let flapping = time(total(&tally.flapping, tally.last));
        let spells = tally.flapping.len();
        if spells == 0 {
            tally.flaps.to_string()
        } else {
            format!("{}, flapping for {flapping}", tally.flaps)
        }
    };
    let mut line = |name: &str, what: &dyn Fn(&Tally) -> String| {
        let was = what(before);
        let now = after.map(what).filter(|now| *now != was);
        let _ = match now {
            Some(now) => writeln!(out, "  {name:9} {was}  ->  {now}"),
            None => writeln!(out, "  {name:9} {was}"),
        };
    };
    line("outages", &sum);
    line("flaps", &flaps);
    if let Some(after) = after {
        let Difference { avoided, added, .. } = outages(&before.outages, &after.outages);
        for (word, spans) in [("gone", avoided), ("new", added)] {
            for span in spans {
                let length = between(span.began, span.ended.unwrap_or(before.last));
                let _ = writeln!(out, "    {word:8} {}  {}", span.began, time(length));
            }
        }
    }
}

/// `idle 20 s, then asks 3 times in 60 s`.
fn timers(profile: &Profile) -> String {
    let (idle, patience) = (time(profile.idle), time(profile.patience()));
    match profile.mode {
        Mode::Keepalive => {
            format!("a ping every {idle}, dead after {}", time(profile.idle + profile.patience()))
        }
        _ => format!("silent for {idle}, asks {} times, dead after {patience} more", profile.waits.len()),
    }
}

fn coarse(drops: &Drops) -> Option<String> {
    let needed = drops.coarse?;
    Some(format!("no verdict: a probe every {} or less is needed", time(needed)))
}

fn profile(drops: &Drops, out: &mut String) {
    let _ = write!(out, "  {} ({}): ", drops.label, timers(&drops.profile));
    let _ = match coarse(drops) {
        Some(coarse) => writeln!(out, "{coarse}"),
        None => {
            writeln!(out, "{}, {:.2} expected", count(drops.sure().count() as u64, "drop"), drops.expected())
        }
    };
}

fn difference(change: &Change, before: &Drops, after: &Drops, out: &mut String) {
    let _ = write!(out, "    with {}: ", change.words);
    if let Some(coarse) = coarse(before).or_else(|| coarse(after)) {
        let _ = writeln!(out, "{coarse}");
        return;
    }
    let found = compare(&before.outages, &after.outages);
    let of = before.sure().count();
    let _ = match of {
        0 => write!(out, "no drop to avoid"),
        _ => write!(out, "{} of {} avoided", found.avoided.len(), count(of as u64, "drop")),
    };
    if !found.doubtful.is_empty() {
        let _ = write!(out, ", {} only for some sessions now", found.doubtful.len());
    }
    if !found.added.is_empty() {
        let _ = write!(out, ", {} new", found.added.len());
    }
    let _ = writeln!(out, "; expected {:.2} -> {:.2}", before.expected(), after.expected());
    for (word, all) in [
        ("avoided", &found.avoided),
        ("some", &found.doubtful),
        ("stays", &found.kept),
        ("new", &found.added),
    ] {
        for judged in all {
            let length = time(between(judged.began, judged.last_loss));
            let _ = writeln!(out, "      {word:8} {}  {length} from first to last loss", judged.began);
        }
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// To the millisecond; people do not read nanoseconds.
fn time(time: Duration) -> String {
    let millis = Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    humantime::format_duration(millis).to_string()
}

/// Everything as one JSON object.
pub(super) fn json(run: &Run, arguments: &Replay) -> String {
    let extent = run.extent();
    let series: Vec<Value> = shown(run, arguments)
        .map(|(key, before)| {
            let after = run.after().and_then(|after| after.tallies().get(key));
            let (target, member, probe, egress) = key;
            let profiles = before.drops.iter().filter(|drops| named(arguments, &drops.label));
            let profiles: Vec<Value> = profiles.map(|drops| profile_json(drops, after, arguments)).collect();
            json!({
                "target": target,
                "member": member,
                "address": before.about.address,
                "probe": probe,
                "egress": egress,
                "interval_seconds": before.about.interval.as_secs_f64(),
                "before": tally_json(before),
                "after": after.map(tally_json),
                "profiles": profiles,
            })
        })
        .collect();
    let mut names: Vec<&String> = shown(run, arguments).map(|(key, _)| &key.0).collect();
    names.dedup();
    let targets: Vec<Value> = names
        .into_iter()
        .map(|target| {
            let after = run.after().map(|after| after.incidents(target));
            json!({"target": target, "incidents": {"before": run.before().incidents(target), "after": after}})
        })
        .collect();
    let torn: Vec<String> = extent.torn.iter().map(|path| path.display().to_string()).collect();
    let value = json!({
        "schema": 1,
        "journal": {
            "version": extent.version,
            "files": extent.files,
            "runs": extent.runs,
            "samples": extent.samples,
            "first": extent.first.map(|at| at.to_string()),
            "last": extent.last.map(|at| at.to_string()),
            "samples_not_recorded": extent.lost,
            "lines_left_out": extent.skipped,
            "samples_of_unknown_series": extent.strangers,
            "files_missing": extent.missing,
            "files_torn": torn,
        },
        "targets": targets,
        "series": series,
    });
    format!("{value}\n")
}

fn tally_json(tally: &Tally) -> Value {
    let spans = |spans: &[Span]| -> Vec<Value> {
        let span = |span: &Span| json!({"began": at(span.began), "ended": span.ended.map(at)});
        spans.iter().map(span).collect()
    };
    json!({
        "samples": tally.samples,
        "lost": tally.lost,
        "loss_runs": tally.loss_runs,
        "loss_windows": tally.loss_windows,
        "state_changes": tally.states,
        "outages": spans(&tally.outages),
        "outage_seconds": total(&tally.outages, tally.last).as_secs_f64(),
        "flaps": tally.flaps,
        "flapping": spans(&tally.flapping),
        "flapping_seconds": total(&tally.flapping, tally.last).as_secs_f64(),
    })
}

fn profile_json(drops: &Drops, after: Option<&Tally>, arguments: &Replay) -> Value {
    let changed: Vec<Value> = changes(arguments, &drops.label)
        .filter_map(|change| {
            let changed = after?.of_profile(&change.label())?;
            let found = compare(&drops.outages, &changed.outages);
            let all = |all: &[Judged]| all.iter().map(judged_json).collect::<Vec<_>>();
            Some(json!({
                "change": change.words,
                "found": drops_json(changed),
                "avoided": all(&found.avoided),
                "some_sessions": all(&found.doubtful),
                "kept": all(&found.kept),
                "new": all(&found.added),
            }))
        })
        .collect();
    json!({"name": drops.label, "found": drops_json(drops), "changed": changed})
}

fn drops_json(drops: &Drops) -> Value {
    let waits: Vec<f64> = drops.profile.waits.iter().map(Duration::as_secs_f64).collect();
    json!({
        "mode": drops.profile.mode,
        "idle_seconds": drops.profile.idle.as_secs_f64(),
        "waits_seconds": waits,
        "interval_needed_seconds": drops.coarse.map(|needed| needed.as_secs_f64()),
        "sure": drops.sure().count(),
        "expected": drops.expected(),
        "outages": drops.outages.iter().map(judged_json).collect::<Vec<_>>(),
    })
}

fn judged_json(judged: &Judged) -> Value {
    json!({
        "began": at(judged.began),
        "last_loss": at(judged.last_loss),
        "sure": judged.sure.map(at),
        "expected": judged.expected,
    })
}

fn at(time: WallTime) -> String {
    time.to_string()
}
