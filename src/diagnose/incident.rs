//! A recorded incident for people: what was seen, when, why, and what could not be known.
//!
//! ```text
//!   ike   192.0.2.1   every 1 s   ▁▁▂▁▁|..........|▁▁▃▁     before | during | after
//! ```
//!
//! Invariants: what stands in a file is shown, never believed to be harmless: control characters are
//! escaped; nothing is claimed that the record does not say.

use std::fmt::Write as _;

use super::incident_words::{self as words, Label};
use super::text::Lang;
use crate::detect::incident::{
    Cause, Change, Clue, DpdFate, DpdRecord, Event, Incident, IncidentState, SeriesRecord, Stance,
};
use crate::sample::Text;
use crate::store::Summary;

/// The most probes shown of the time before and after, and at either end of a long time between.
const SHOWN: usize = 30;
/// The most changes shown.
const CHANGES: usize = 40;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One line an incident, the newest first; the columns are for people and may change.
#[must_use]
pub fn list(incidents: &[Summary], lang: Lang) -> String {
    if incidents.is_empty() {
        return format!("{}\n", words::label(Label::NoIncidents, lang));
    }
    let mut out = String::new();
    for incident in incidents {
        let took = incident.seconds.map_or_else(|| words::label(Label::NotOver, lang).to_owned(), duration);
        let cause = incident.cause.map_or("-", Cause::as_str);
        let _ = writeln!(
            out,
            "{}  {:<9} {:>10}  {:<17} {}",
            incident.began,
            incident.kind.as_str(),
            took,
            cause,
            clean(&incident.id)
        );
    }
    out
}

/// All of an incident.
#[must_use]
pub fn show(incident: &Incident, lang: Lang) -> String {
    let label = |label| words::label(label, lang);
    let mut out = String::new();
    let _ = writeln!(out, "{}", clean(&incident.id));
    let _ = writeln!(out, "{}: {}", clean(&incident.target), words::kind(incident.kind, lang));
    let _ = writeln!(out, "{}  {}", label(Label::Began), incident.began);
    if incident.never_answered {
        let _ = writeln!(out, "{}", label(Label::NeverAnswered));
    }
    match (incident.ended, incident.seconds) {
        (Some(ended), Some(seconds)) => {
            let _ = writeln!(out, "{}  {ended}  ({})", label(Label::Ended), duration(seconds));
        }
        _ if incident.lasting => {
            let _ = writeln!(out, "{}  {}", label(Label::Ended), label(Label::Lasting));
        }
        _ if incident.state == IncidentState::Open => {
            let _ = writeln!(out, "{}  {}", label(Label::Ended), label(Label::NotOver));
        }
        _ => {
            let _ = writeln!(out, "{}  {}", label(Label::Ended), label(Label::EndNotSeen));
        }
    }
    cause(&mut out, incident, lang);
    samples(&mut out, incident, lang);
    changes(&mut out, incident, lang);
    dpd(&mut out, incident, lang);
    unknown(&mut out, incident, lang);
    out
}

fn heading(out: &mut String, label: Label, lang: Lang) {
    let _ = writeln!(out, "\n{}", words::label(label, lang));
}

fn cause(out: &mut String, incident: &Incident, lang: Lang) {
    heading(out, Label::Cause, lang);
    let text = match incident.cause {
        None => words::label(Label::NotJudged, lang).to_owned(),
        Some(cause) => format!("{cause}: {}", words::cause(cause, lang)),
    };
    let _ = writeln!(out, "  {text}");
    for clue in incident.clues.iter().filter(|clue| !is_gap(clue)) {
        let _ = writeln!(out, "  - {}", self::clue(clue, lang));
    }
}

fn is_gap(clue: &Clue) -> bool {
    matches!(clue.stance, Stance::Missing | Stance::NoEvidence)
}

fn clue(clue: &Clue, lang: Lang) -> String {
    let subject = words::subject(&clue.subject, lang).map_or_else(|| clean(&clue.subject), str::to_owned);
    let said = words::stance(clue.stance, lang);
    match lang {
        _ if clue.stance == Stance::Missing => {
            format!("{subject}: {}", words::detail(&clean(&clue.text), lang))
        }
        Lang::En => format!("{subject} {said}: {}", clean(&clue.text)),
        Lang::Ja => format!("{subject}: {said}（{}）", words::detail(&clean(&clue.text), lang)),
    }
}

fn name(series: &SeriesRecord, incident: &Incident) -> String {
    let mut name = clean(&series.probe);
    if incident.series.iter().any(|other| other.egress != series.egress) {
        let _ = write!(name, "/{}", clean(&series.egress));
    }
    name
}

fn samples(out: &mut String, incident: &Incident, lang: Lang) {
    if incident.series.is_empty() {
        return;
    }
    heading(out, Label::Seen, lang);
    let width =
        incident.series.iter().map(|series| name(series, incident).chars().count()).max().unwrap_or(0);
    for series in &incident.series {
        let address = series.address.map_or_else(|| "?".to_owned(), |address| address.to_string());
        let every = words::every(&duration(series.interval_seconds), lang);
        let _ = writeln!(
            out,
            "  {:<width$}  {address:<15} {every}  {}  {}",
            name(series, incident),
            line(series, incident.seconds, incident.state),
            range(series),
        );
    }
    let _ = writeln!(out, "  {}", words::label(Label::Legend, lang));
}

/// The shortest and the longest round trip.
fn range(series: &SeriesRecord) -> String {
    let (low, high) = bounds(series);
    if low > high { String::new() } else { format!("{low:.1}–{high:.1} ms") }
}

fn bounds(series: &SeriesRecord) -> (f64, f64) {
    let rtts = series.samples.rtt_ms.iter().flatten().filter(|rtt| rtt.is_finite());
    rtts.fold((f64::INFINITY, 0.0), |(low, high), rtt| (rtt.min(low), rtt.max(high)))
}

/// Probes as characters, before, during and after; a hole in the record is a space.
fn line(series: &SeriesRecord, seconds: Option<f64>, state: IncidentState) -> String {
    let (low, high) = bounds(series);
    // A spread of less than this is no news.
    let spread = (high - low).max(low).max(1.0);
    let samples = &series.samples;
    let (mut before, mut during, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let mut last: Option<f64> = None;
    for ((at, fate), rtt) in samples.at.iter().zip(samples.fates.chars()).zip(&samples.rtt_ms) {
        let part = match seconds {
            // An outage may be dated by when its first probe was sent, a little after it was due.
            _ if *at < -(series.interval_seconds / 2.0).min(0.05) => &mut before,
            Some(seconds) if *at >= seconds && state == IncidentState::Closed => &mut after,
            _ => &mut during,
        };
        if last.is_some_and(|last| at - last > 3.0 * series.interval_seconds) {
            part.push(' ');
        }
        last = Some(*at);
        part.push(match (fate, rtt) {
            ('o', Some(rtt)) if rtt.is_finite() => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
                let step = ((rtt - low) / spread * 7.99).clamp(0.0, 7.0) as usize;
                BARS.get(step).copied().unwrap_or('o')
            }
            (fate, _) if fate.is_ascii_graphic() => fate,
            _ => '?',
        });
    }
    let tail = |part: &[char]| part.iter().skip(part.len().saturating_sub(SHOWN)).collect::<String>();
    let head = |part: &[char]| part.iter().take(SHOWN).collect::<String>();
    let middle = if during.len() > 2 * SHOWN {
        format!("{}…{}", head(&during), tail(&during))
    } else {
        during.iter().collect()
    };
    format!("{}|{middle}|{}", tail(&before), head(&after))
}

fn changes(out: &mut String, incident: &Incident, lang: Lang) {
    if incident.transitions.is_empty() {
        return;
    }
    heading(out, Label::Changes, lang);
    let mut events: Vec<&Event> = incident.transitions.iter().collect();
    events.sort_by(|a, b| a.at.total_cmp(&b.at));
    let more = events.len().saturating_sub(CHANGES);
    for event in events.into_iter().take(CHANGES) {
        let series = event.series.and_then(|place| incident.series.get(place));
        let name = series.map_or_else(|| "?".to_owned(), |series| self::name(series, incident));
        let what = match (event.what, event.state) {
            (Change::State, Some(state)) => words::state(state, lang).to_owned(),
            (change, _) => words::change(change, lang).to_owned(),
        };
        // Not "-0.0".
        let at = if event.at.abs() < 0.05 { 0.0 } else { event.at };
        let _ = writeln!(out, "  {at:>+9.1} s  {name}: {what}");
    }
    if more > 0 {
        let _ = writeln!(out, "  {}", words::more(more, lang));
    }
}

fn dpd(out: &mut String, incident: &Incident, lang: Lang) {
    if incident.dpd.is_empty() {
        return;
    }
    heading(out, Label::Dpd, lang);
    let width = incident.dpd.iter().map(|record| record.profile.chars().count()).max().unwrap_or(0);
    for record in &incident.dpd {
        let _ = writeln!(out, "  {:<width$}  {}", clean(&record.profile), fate(record, lang));
    }
}

fn fate(record: &DpdRecord, lang: Lang) -> String {
    let mut text = words::fate(record.verdict, lang).to_owned();
    if record.sure > 1 {
        let _ = write!(text, " (×{})", record.sure);
    }
    if let (DpdFate::Possible, Some(expected)) = (record.verdict, record.expected) {
        let _ = write!(text, "; {}", words::expected(expected, lang));
    }
    if let (DpdFate::No, Some(margin)) = (record.verdict, record.least_margin_seconds) {
        let _ = write!(text, "; {}", words::margin(&duration(margin), lang));
    }
    text
}

/// What could not be known.
fn unknown(out: &mut String, incident: &Incident, lang: Lang) {
    let mut gaps: Vec<String> = Vec::new();
    gaps.extend(incident.clues.iter().filter(|clue| is_gap(clue)).map(|clue| self::clue(clue, lang)));
    let coarse = incident.dpd.iter().filter(|record| record.verdict == DpdFate::TooCoarse);
    let coarse: Vec<_> = coarse.map(|record| clean(&record.profile)).collect();
    if !coarse.is_empty() {
        gaps.push(words::coarse(&coarse.join(", "), lang));
    }
    let traced = incident.clues.iter().any(|clue| clue.subject == "path");
    if incident.path.is_none() && !traced {
        gaps.push(words::label(Label::NoPath, lang).to_owned());
    }
    if incident.state == IncidentState::Open {
        gaps.push(words::label(Label::OpenStill, lang).to_owned());
    }
    if incident.samples_left_out {
        gaps.push(words::label(Label::SamplesLeftOut, lang).to_owned());
    }
    if incident.series_left_out > 0 || incident.transitions_left_out > 0 {
        gaps.push(words::left_out(incident.series_left_out, incident.transitions_left_out, lang));
    }
    if gaps.is_empty() {
        return;
    }
    heading(out, Label::Unknown, lang);
    for gap in gaps {
        let _ = writeln!(out, "  - {gap}");
    }
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    if !(0.0..=1e9).contains(&seconds) {
        return "?".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a billion")]
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..600 => format!("{whole} s"),
        600..7200 => format!("{} min", whole / 60),
        7200..172_800 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// Text from a file, fit for a terminal.
fn clean(text: &str) -> String {
    Text::from(text).as_str().to_owned()
}

#[cfg(test)]
mod tests;
