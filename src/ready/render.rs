//! The answer as people and programs read it: text and JSON.
//!
//! Invariant: JSON fields are only ever added (`schema` 1).

use std::fmt::Write as _;

use serde::Serialize;

use super::packets::Stream;
use super::teams::{Call, Medium, Quality};
use super::{Check, Item, Readiness, Status, Verdict};
use crate::config::{Cipher, Protocol, Tunnel};
use crate::diagnose::Lang;
use crate::time::WallTime;

/// Where what the probes saw was asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The daemon's address.
    pub url: String,
    /// Whether it told what it knows of the target.
    pub answered: bool,
    /// Why not.
    pub error: Option<String>,
    /// The time of its answer, by its own clock.
    pub time: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u8,
    target: &'a str,
    time: String,
    people: u32,
    media: &'a [Medium],
    quality: Quality,
    call: Call,
    sending: u32,
    tunnel: Tunnel,
    protocol: Option<Protocol>,
    cipher: Option<Cipher>,
    verdict: Verdict,
    deciding: Option<Check>,
    holds_people: Option<u64>,
    headroom_people: Option<i64>,
    not_measurable: Vec<Check>,
    per_person: Vec<LoadRow>,
    daemon: &'a Asked,
    checks: Vec<CheckRow<'a>>,
}

#[derive(Serialize)]
struct LoadRow {
    medium: Medium,
    up: StreamRow,
    down: StreamRow,
}

#[derive(Serialize)]
struct StreamRow {
    packets_per_second: f64,
    packet_bytes: u32,
    tunnel_packet_bytes: u32,
    bits_per_second: f64,
    tunnel_bits_per_second: f64,
}

impl From<Stream> for StreamRow {
    fn from(stream: Stream) -> Self {
        Self {
            packets_per_second: stream.packets,
            packet_bytes: stream.plain,
            tunnel_packet_bytes: stream.carried,
            bits_per_second: stream.plain_bits(),
            tunnel_bits_per_second: stream.carried_bits(),
        }
    }
}

#[derive(Serialize)]
struct CheckRow<'a> {
    check: Check,
    status: Status,
    text: &'a str,
    holds_people: Option<u64>,
    headroom_people: Option<i64>,
    value: Option<f64>,
    limit: Option<f64>,
    probe: Option<&'a str>,
    member: Option<String>,
    egress: Option<&'a str>,
}

/// One JSON object, indented, ending in a newline.
///
/// # Errors
/// None in practice: every part is plain data.
pub fn json(
    ready: &Readiness,
    asked: &Asked,
    time: WallTime,
    lang: Lang,
) -> Result<String, serde_json::Error> {
    let question = &ready.question;
    let people = i64::from(question.people);
    let row = |item: &'_ Item| -> Option<i64> {
        item.holds.map(|holds| i64::try_from(holds).unwrap_or(i64::MAX) - people)
    };
    let checks = ready.items.iter().map(|item| CheckRow {
        check: item.check,
        status: item.status,
        text: text_of(item, lang),
        holds_people: item.holds,
        headroom_people: row(item),
        value: item.value,
        limit: item.limit,
        probe: item.series.as_ref().map(|(probe, ..)| probe.as_str()),
        member: item.series.as_ref().map(|(_, member, _)| member.to_string()),
        egress: item.series.as_ref().map(|(.., egress)| egress.as_str()),
    });
    let loads = ready.loads.iter();
    let document = Document {
        schema: 1,
        target: &ready.target,
        time: time.to_string(),
        people: question.people,
        media: &question.profile.media,
        quality: question.profile.quality,
        call: question.call,
        sending: question.sending.unwrap_or(question.people),
        tunnel: ready.tunnel,
        protocol: ready.outer.map(|outer| outer.protocol),
        cipher: ready.outer.and_then(|outer| outer.cipher),
        verdict: ready.verdict,
        deciding: ready.deciding().map(|item| item.check),
        holds_people: ready.holds(),
        headroom_people: ready.headroom(),
        not_measurable: ready.not_measurable().collect(),
        per_person: loads
            .map(|load| LoadRow { medium: load.medium, up: load.up.into(), down: load.down.into() })
            .collect(),
        daemon: asked,
        checks: checks.collect(),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

fn text_of(item: &Item, lang: Lang) -> &str {
    match lang {
        Lang::En => &item.said.en,
        Lang::Ja => &item.said.ja,
    }
}

/// A rate for people: three digits and a unit.
pub(super) fn bits(bits: f64) -> String {
    let (value, unit) = match bits {
        _ if bits >= 1e9 => (bits / 1e9, "Gbit/s"),
        _ if bits >= 1e6 => (bits / 1e6, "Mbit/s"),
        _ => (bits / 1e3, "kbit/s"),
    };
    let digits = match value {
        _ if value >= 100.0 => 0,
        _ if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

/// A time in milliseconds, for people.
pub(super) fn millis(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

/// An interval for people.
pub(super) fn interval(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds} s") }
}

const fn status_word(status: Status, lang: Lang) -> &'static str {
    match (status, lang) {
        (Status::Ok, _) => "OK",
        (Status::AtRisk, Lang::En) => "at risk",
        (Status::AtRisk, Lang::Ja) => "要注意",
        (Status::NoGo, _) => "NG",
        (Status::Unknown, Lang::En) => "unknown",
        (Status::Unknown, Lang::Ja) => "不明",
        (Status::NotMeasurable, Lang::En) => "unmeasured",
        (Status::NotMeasurable, Lang::Ja) => "測定不能",
        (Status::NotApplicable, _) => "-",
    }
}

const fn check_word(check: Check, lang: Lang) -> &'static str {
    match (check, lang) {
        (Check::Sessions, Lang::En) => "sessions",
        (Check::LineDown, Lang::En) => "line down",
        (Check::LineUp, Lang::En) => "line up",
        (Check::State, Lang::En) => "state",
        (Check::Flapping, Lang::En) => "flapping",
        (Check::Rtt, Lang::En) => "RTT",
        (Check::Loss, Lang::En) => "loss",
        (Check::Jitter, Lang::En) => "jitter",
        (Check::BurstLoss, Lang::En) => "burst loss",
        (Check::Reordering, Lang::En) => "reordering",
        (Check::Cookies, Lang::En) => "cookies",
        (Check::ResetOnly, Lang::En) => "reset only",
        (Check::HandshakeTime, Lang::En) => "handshakes",
        (Check::Sessions, Lang::Ja) => "同時接続数",
        (Check::LineDown, Lang::Ja) => "下り回線",
        (Check::LineUp, Lang::Ja) => "上り回線",
        (Check::State, Lang::Ja) => "稼働状態",
        (Check::Flapping, Lang::Ja) => "断続",
        (Check::Rtt, Lang::Ja) => "往復遅延",
        (Check::Loss, Lang::Ja) => "損失",
        (Check::Jitter, Lang::Ja) => "ジッター",
        (Check::BurstLoss, Lang::Ja) => "バースト損失",
        (Check::Reordering, Lang::Ja) => "順序逆転",
        (Check::Cookies, Lang::Ja) => "COOKIE",
        (Check::ResetOnly, Lang::Ja) => "満杯の兆候",
        (Check::HandshakeTime, Lang::Ja) => "接続所要時間",
    }
}

const fn medium_word(medium: Medium, lang: Lang) -> &'static str {
    match (medium, lang) {
        (_, Lang::En) => medium.as_str(),
        (Medium::Audio, Lang::Ja) => "音声",
        (Medium::Video, Lang::Ja) => "映像",
        (Medium::Sharing, Lang::Ja) => "画面共有",
    }
}

const fn quality_word(quality: Quality, lang: Lang) -> &'static str {
    match (quality, lang) {
        (_, Lang::En) => quality.as_str(),
        (Quality::Minimum, Lang::Ja) => "最小",
        (Quality::Recommended, Lang::Ja) => "推奨",
        (Quality::Best, Lang::Ja) => "最高",
    }
}

/// Pads to `width` columns; a wide character takes two.
fn pad(text: &str, width: usize) -> String {
    let columns: usize = text.chars().map(|c| if c >= '\u{1100}' { 2 } else { 1 }).sum();
    format!("{text}{}", " ".repeat(width.saturating_sub(columns)))
}

/// A line a check, what a person takes, and the verdict.
#[must_use]
pub fn text(ready: &Readiness, asked: &Asked, time: WallTime, lang: Lang) -> String {
    let mut out = heading(ready, time, lang);
    for item in &ready.items {
        let status = pad(status_word(item.status, lang), 10);
        let _ = writeln!(out, "{status} {} {}", pad(check_word(item.check, lang), 12), text_of(item, lang));
    }
    out.push_str(&per_person(ready, lang));
    let source = match (&asked.error, &asked.time, lang) {
        (Some(error), _, Lang::En) => format!("What the probes saw is not known: {error}."),
        (Some(error), _, Lang::Ja) => format!("測定結果を取得できません: {error}"),
        (None, time, Lang::En) => {
            format!("What the probes saw: {} at {}.", asked.url, time.as_deref().unwrap_or("?"))
        }
        (None, time, Lang::Ja) => {
            format!("測定結果の取得元: {}({})", asked.url, time.as_deref().unwrap_or("?"))
        }
    };
    let _ = writeln!(out, "\n{source}\n{}", last_line(ready, lang));
    out
}

fn heading(ready: &Readiness, time: WallTime, lang: Lang) -> String {
    let question = &ready.question;
    let media: Vec<_> = question.profile.media.iter().map(|medium| medium_word(*medium, lang)).collect();
    let (media, quality) = (media.join("+"), quality_word(question.profile.quality, lang));
    let people = question.people;
    let call = match (question.call, lang) {
        (Call::Meeting, Lang::En) => "a Teams meeting",
        (Call::OneToOne, Lang::En) => "Teams calls of two",
        (Call::Meeting, Lang::Ja) => "Teams 会議",
        (Call::OneToOne, Lang::Ja) => "Teams 1 対 1 通話",
    };
    let tunnel = match (ready.tunnel, lang) {
        (Tunnel::Full, Lang::En) => "full tunnel",
        (Tunnel::Split, Lang::En) => "split tunnel",
        (Tunnel::Full, Lang::Ja) => "フルトンネル",
        (Tunnel::Split, Lang::Ja) => "スプリットトンネル",
    };
    let outer = ready.outer.map_or_else(String::new, |outer| {
        let cipher = outer.cipher.map_or_else(String::new, |cipher| format!(", {cipher}"));
        match lang {
            Lang::En => format!(" ({}{cipher})", outer.protocol),
            Lang::Ja => format!("({}{cipher})", outer.protocol),
        }
    });
    let sound_alone = question.profile.media == [Medium::Audio];
    let sending = match (question.sending, lang) {
        _ if sound_alone => String::new(),
        (Some(sending), Lang::En) => format!(", {sending} of them sending more than sound"),
        (Some(sending), Lang::Ja) => format!("、うち音声以外も送信 {sending} 人"),
        (None, Lang::En) => ", all of them sending (see --sending)".to_owned(),
        (None, Lang::Ja) => "、全員が送信(--sending で変更)".to_owned(),
    };
    let target = &ready.target;
    match lang {
        Lang::En => format!(
            "{target}  {time}\n{people} people in {call}: {media}, {quality}{sending}; {tunnel}{outer}\n\n"
        ),
        Lang::Ja => format!(
            "{target}  {time}\n{people} 人の {call}: {media}({quality}){sending}、{tunnel}{outer}\n\n"
        ),
    }
}

/// What each person takes; with a full tunnel also what the tunnel makes of it.
fn per_person(ready: &Readiness, lang: Lang) -> String {
    let mut out = match lang {
        Lang::En => "\nEach person takes:\n".to_owned(),
        Lang::Ja => "\n1 人あたり:\n".to_owned(),
    };
    for load in &ready.loads {
        let medium = pad(medium_word(load.medium, lang), 9);
        let way = |stream: &Stream| {
            let plain = bits(stream.plain_bits());
            if ready.outer.is_none() {
                return plain;
            }
            let grown = (f64::from(stream.carried) / f64::from(stream.plain) - 1.0) * 100.0;
            let carried = bits(stream.carried_bits());
            match lang {
                Lang::En => format!(
                    "{plain} (packets of {} bytes), {carried} in the tunnel ({} bytes, +{grown:.0} %)",
                    stream.plain, stream.carried
                ),
                Lang::Ja => format!(
                    "{plain}(パケット {} バイト)、トンネル内 {carried}({} バイト、+{grown:.0}%)",
                    stream.plain, stream.carried
                ),
            }
        };
        let (up, down) = match lang {
            Lang::En => ("up  ", "down"),
            Lang::Ja => ("上り", "下り"),
        };
        let _ = writeln!(out, "  {medium} {up} {}", way(&load.up));
        let _ = writeln!(out, "  {} {down} {}", " ".repeat(9), way(&load.down));
    }
    if let Some(outer) = ready.outer.filter(|outer| outer.protocol.over_tcp()) {
        out.push_str(&match lang {
            Lang::En => format!(
                "  {} runs over TCP: one loss holds up all packets behind it; prefer a tunnel over UDP.\n",
                outer.protocol
            ),
            Lang::Ja => format!(
                "  {} は TCP 上のため、1 つの損失で後続がすべて遅れます。UDP のトンネルを推奨します。\n",
                outer.protocol
            ),
        });
    }
    out
}

fn last_line(ready: &Readiness, lang: Lang) -> String {
    let verdict = match (ready.verdict, lang) {
        (Verdict::Go, Lang::En) => "Verdict: GO, as far as it can be judged",
        (Verdict::AtRisk, Lang::En) => "Verdict: AT RISK",
        (Verdict::NoGo, Lang::En) => "Verdict: NO-GO",
        (Verdict::Unknown, Lang::En) => "Verdict: unknown",
        (Verdict::Go, Lang::Ja) => "判定: 可(判断できた範囲)",
        (Verdict::AtRisk, Lang::Ja) => "判定: 要注意",
        (Verdict::NoGo, Lang::Ja) => "判定: 不可",
        (Verdict::Unknown, Lang::Ja) => "判定: 不明",
    };
    let mut line = verdict.to_owned();
    if let Some(item) = ready.deciding() {
        let word = check_word(item.check, lang);
        let _ = match (ready.verdict, lang) {
            (Verdict::Go, Lang::En) => write!(line, "; the limit that is met first is {word}"),
            (Verdict::Go, Lang::Ja) => write!(line, "、最初に達する上限: {word}"),
            (_, Lang::En) => write!(line, "; what decides is {word}"),
            (_, Lang::Ja) => write!(line, "、決め手: {word}"),
        };
    }
    if let Some(headroom) = ready.headroom() {
        let _ = match (headroom < 0, lang) {
            (false, Lang::En) => write!(line, "; headroom {headroom} people"),
            (true, Lang::En) => write!(line, "; {} people too many", -headroom),
            (false, Lang::Ja) => write!(line, "、余裕 {headroom} 人"),
            (true, Lang::Ja) => write!(line, "、{} 人超過", -headroom),
        };
    }
    let unseen: Vec<_> = ready.not_measurable().map(|check| check_word(check, lang)).collect();
    if !unseen.is_empty() {
        let _ = match lang {
            Lang::En => write!(line, ". Not measurable by these probes: {}", unseen.join(", ")),
            Lang::Ja => write!(line, "。この測定では判断できない項目: {}", unseen.join("、")),
        };
    }
    line + if lang == Lang::En { "." } else { "" }
}
