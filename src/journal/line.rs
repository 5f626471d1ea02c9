//! One line of a journal: an array is a sample, an object everything else.
//!
//! ```text
//!   {"journal":{"schema":2,"version":"0.1.0","run":…,"file":1,"wall":…,"now":…,"outage":[…]}}
//!   {"place":{"series":0,"now":…,"target":"hq","member":1,"address":"203.0.113.10","probe":"ike",…}}
//!   [0,17,"version",due,sent - due,done - due,"answered",rtt]
//!   [0,18,"version",due,sent - due,done - due,"lost:no_answer",null,"flow"]
//!   {"remove":{"series":0,"now":…}}
//!   {"path":{"series":4,"began":…,"at":…,"shown":"same"}}      or "cut" with "hop" and "of", "new" with "hop"
//!   {"path":{…,"shown":"changed","hop":3,"change":[from,to,since,runs]}}
//!   {"tick":{"now":…,"wall":…}}
//!   {"gap":{"lost":12}}
//! ```
//!
//! All times are nanoseconds: monotonic ones, but `run` and `wall`, which are the wall clock's since 1970.
//! `flow` marks a sample that tells about its flow only.
//! Invariants: what is written is read as the same; whatever is read, no name has a character that a
//! terminal would obey, and no list is longer than a configuration could make it.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Entry, Header, Record, SCHEMA, Unreadable, name};
use crate::detect::dpd::Profile;
use crate::detect::flap::Damping;
use crate::detect::liveness::Thresholds;
use crate::detect::path::{PathChange, Shown, Sight};
use crate::detect::{About, Bearing, Placed};
use crate::sample::{Outcome, Report, Sample, SeriesId};
use crate::time::{Timestamp, WallTime, nanos};

/// The most profiles of a series; the configuration allows 32.
const PROFILES: usize = 64;
/// The most transmissions of a profile.
const WAITS: usize = 255;
/// The longest name; labels have 64 characters at most.
const NAME: usize = 64;

/// An array: series, sequence number, form, due, sent after due, done after due, outcome, round-trip
/// time, bearing if it is not the target.
#[derive(Deserialize)]
struct SampleLine<'a>(
    u32,
    u64,
    &'a str,
    u64,
    Option<i64>,
    i64,
    &'a str,
    Option<u64>,
    #[serde(default)] Option<&'a str>,
);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Journal(HeaderLine),
    Place(Box<PlaceLine>),
    Remove { series: u32, now: u64 },
    Path(PathLine),
    Tick { now: u64, wall: i64 },
    Gap { lost: u64 },
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    schema: u32,
    version: String,
    run: i64,
    file: u32,
    wall: i64,
    now: u64,
    /// Down, misses, up.
    outage: (u64, u32, u64),
}

#[derive(Serialize, Deserialize)]
struct PlaceLine {
    series: u32,
    now: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    target: String,
    member: u8,
    address: Option<IpAddr>,
    probe: String,
    kind: String,
    egress: String,
    carrier: String,
    port: u16,
    interval: u64,
    timeout: u64,
    /// Half-life, suppress, reuse, ceiling.
    flap: (u64, u32, u32, u32),
    /// Name, mode, idle, waits.
    profiles: Vec<(String, String, u64, Vec<u64>)>,
}

#[derive(Serialize, Deserialize)]
struct PathLine {
    series: u32,
    began: u64,
    at: u64,
    shown: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hop: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<u8>,
    /// The ids before and since, in hexadecimal; since when, and the runs that show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<(String, String, u64, u32)>,
}

/// Writes how a file begins.
///
/// # Errors
/// Those of `out`.
pub fn write_header(header: &Header, out: &mut impl Write) -> io::Result<()> {
    let Header { version, run, file, wall, now, outage } = header;
    let line = HeaderLine {
        schema: SCHEMA,
        version: version.clone(),
        run: run.as_unix_nanos(),
        file: *file,
        wall: wall.as_unix_nanos(),
        now: now.as_nanos(),
        outage: (nanos(outage.down), outage.misses, nanos(outage.up)),
    };
    write_line(&Line::Journal(line), out)
}

/// Writes one record.
///
/// # Errors
/// Those of `out`.
pub fn write_record(record: &Record, out: &mut impl Write) -> io::Result<()> {
    match record {
        Record::Sample(sample, bearing) => write_sample(sample, *bearing, out),
        Record::Place { series, placed, now, again } => {
            let line = place_line(*series, placed, *now, *again);
            write_line(&Line::Place(Box::new(line)), out)
        }
        Record::Remove { series, now } => {
            write_line(&Line::Remove { series: series.0, now: now.as_nanos() }, out)
        }
        Record::Path { series, sight } => write_line(&Line::Path(path_line(*series, *sight)), out),
        Record::Tick { now, wall } => {
            write_line(&Line::Tick { now: now.as_nanos(), wall: wall.as_unix_nanos() }, out)
        }
        Record::Gap { lost } => write_line(&Line::Gap { lost: *lost }, out),
    }
}

fn write_line(line: &Line, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn write_sample(sample: &Sample, bearing: Bearing, out: &mut impl Write) -> io::Result<()> {
    let Sample { series, seq, form, due, sent, done, report } = sample;
    let after_due = |at: Timestamp| at.as_nanos().wrapping_sub(due.as_nanos()).cast_signed();
    write!(out, "[{},{seq},\"{form}\",{},", series.0, due.as_nanos())?;
    match sent {
        Some(sent) => write!(out, "{},", after_due(*sent))?,
        None => out.write_all(b"null,")?,
    }
    write!(out, "{},\"{}", after_due(*done), report.outcome.as_str())?;
    if let Outcome::Unsent(fault) = report.outcome {
        write!(out, ":{fault}")?;
    } else if let Some(reason) = report.outcome.reason() {
        write!(out, ":{reason}")?;
    }
    match report.rtt {
        Some(rtt) => write!(out, "\",{}", nanos(rtt))?,
        None => out.write_all(b"\",null")?,
    }
    match bearing {
        Bearing::Target => out.write_all(b"]\n"),
        Bearing::Flow => writeln!(out, ",\"{bearing}\"]"),
    }
}

fn path_line(series: SeriesId, Sight { began, at, shown }: Sight) -> PathLine {
    let (word, hop, of, change) = match shown {
        Shown::Same => ("same", None, None, None),
        Shown::Cut { hop, of } => ("cut", Some(hop), Some(of), None),
        Shown::New(hop) => ("new", Some(hop), None, None),
        Shown::Changed(PathChange { from, to, since, hop, runs }) => {
            let change = (format!("{from:016x}"), format!("{to:016x}"), since.as_nanos(), runs);
            ("changed", Some(hop), None, Some(change))
        }
    };
    PathLine {
        series: series.0,
        began: began.as_nanos(),
        at: at.as_nanos(),
        shown: word.to_owned(),
        hop,
        of,
        change,
    }
}

fn place_line(series: SeriesId, placed: &Placed, now: Timestamp, again: bool) -> PlaceLine {
    let Placed { about, damping, profiles } = placed;
    let profile = |profile: &Profile| {
        let waits = profile.waits.iter().copied().map(nanos).collect();
        (profile.name.clone(), profile.mode.to_string(), nanos(profile.idle), waits)
    };
    PlaceLine {
        series: series.0,
        now: now.as_nanos(),
        again,
        target: about.target.clone(),
        member: about.member,
        address: about.address,
        probe: about.probe.clone(),
        kind: about.kind.to_owned(),
        egress: about.egress.clone(),
        carrier: about.carrier.to_string(),
        port: about.port,
        interval: nanos(about.interval),
        timeout: nanos(about.timeout),
        flap: (nanos(damping.half_life), damping.suppress, damping.reuse, damping.ceiling),
        profiles: profiles.iter().map(profile).collect(),
    }
}

/// Reads a line, without its end.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &[u8]) -> Result<Entry, Unreadable> {
    let wrong = |error: serde_json::Error| Unreadable(error.to_string().into());
    if line.first() == Some(&b'[') {
        return sample(&serde_json::from_slice(line).map_err(wrong)?);
    }
    Ok(match serde_json::from_slice(line).map_err(wrong)? {
        Line::Journal(line) => Entry::Header(header(line)?),
        Line::Place(line) => Entry::Record(place(*line)?),
        Line::Remove { series, now } => {
            Entry::Record(Record::Remove { series: SeriesId(series), now: Timestamp::from_nanos(now) })
        }
        Line::Path(line) => Entry::Record(path(&line)?),
        Line::Tick { now, wall } => Entry::Record(Record::Tick {
            now: Timestamp::from_nanos(now),
            wall: WallTime::from_unix_nanos(wall),
        }),
        Line::Gap { lost } => Entry::Record(Record::Gap { lost }),
    })
}

fn header(line: HeaderLine) -> Result<Header, Unreadable> {
    let HeaderLine { schema, version, run, file, wall, now, outage: (down, misses, up) } = line;
    if !(1..=SCHEMA).contains(&schema) {
        let text = format!("its format is version {schema}, and this program reads versions 1 to {SCHEMA}");
        return Err(Unreadable(text.into()));
    }
    Ok(Header {
        version: label(version)?,
        run: WallTime::from_unix_nanos(run),
        file,
        wall: WallTime::from_unix_nanos(wall),
        now: Timestamp::from_nanos(now),
        outage: Thresholds { down: Duration::from_nanos(down), misses, up: Duration::from_nanos(up) },
    })
}

fn place(line: PlaceLine) -> Result<Record, Unreadable> {
    let (half_life, suppress, reuse, ceiling) = line.flap;
    if line.profiles.len() > PROFILES {
        return Err(Unreadable(format!("more than {PROFILES} profiles").into()));
    }
    let profile = |(name, mode, idle, waits): (String, String, u64, Vec<u64>)| {
        if waits.len() > WAITS {
            return Err(Unreadable(format!("a profile with more than {WAITS} waits").into()));
        }
        Ok(Profile {
            name: label(name)?,
            mode: word(&mode)?,
            idle: Duration::from_nanos(idle),
            waits: waits.into_iter().map(Duration::from_nanos).collect(),
            source: "the journal",
        })
    };
    let profiles: Result<Vec<Profile>, Unreadable> = line.profiles.into_iter().map(profile).collect();
    let about = About {
        target: label(line.target)?,
        member: line.member,
        address: line.address,
        probe: label(line.probe)?,
        kind: kept(&line.kind)?,
        egress: label(line.egress)?,
        carrier: word(&line.carrier)?,
        port: line.port,
        interval: Duration::from_nanos(line.interval),
        timeout: Duration::from_nanos(line.timeout),
    };
    let half_life = Duration::from_nanos(half_life);
    let placed = Placed {
        about,
        damping: Damping { half_life, suppress, reuse, ceiling },
        profiles: profiles?.into(),
    };
    Ok(Record::Place {
        series: SeriesId(line.series),
        placed: Box::new(placed),
        now: Timestamp::from_nanos(line.now),
        again: line.again,
    })
}

fn path(line: &PathLine) -> Result<Record, Unreadable> {
    let PathLine { series, began, at, shown, hop, of, change } = line;
    let id = |text: &str| u64::from_str_radix(text, 16).map_err(|_| unknown(text));
    let shown = match (shown.as_str(), *hop, *of, change) {
        ("same", None, None, None) => Shown::Same,
        ("cut", Some(hop), Some(of), None) => Shown::Cut { hop, of },
        ("new", Some(hop), None, None) => Shown::New(hop),
        ("changed", Some(hop), None, Some((from, to, since, runs))) => Shown::Changed(PathChange {
            from: id(from)?,
            to: id(to)?,
            since: Timestamp::from_nanos(*since),
            hop,
            runs: *runs,
        }),
        _ => return Err(unknown(shown)),
    };
    let (began, at) = (Timestamp::from_nanos(*began), Timestamp::from_nanos(*at));
    Ok(Record::Path { series: SeriesId(*series), sight: Sight { began, at, shown } })
}

fn sample(line: &SampleLine<'_>) -> Result<Entry, Unreadable> {
    let SampleLine(series, seq, form, due, sent, done, outcome, rtt, bearing) = *line;
    let after = |by: i64| Timestamp::from_nanos(due.wrapping_add_signed(by));
    let sample = Sample {
        series: SeriesId(series),
        seq,
        form: kept(form)?,
        due: Timestamp::from_nanos(due),
        sent: sent.map(after),
        done: after(done),
        report: Report { rtt: rtt.map(Duration::from_nanos), ..Report::new(self::outcome(outcome)?) },
    };
    let bearing = bearing.map_or(Ok(Bearing::Target), word)?;
    Ok(Entry::Record(Record::Sample(sample, bearing)))
}

fn outcome(text: &str) -> Result<Outcome, Unreadable> {
    let (kind, why) = match text.split_once(':') {
        Some((kind, why)) => (kind, Some(why)),
        None => (text, None),
    };
    Ok(match (kind, why) {
        ("answered", None) => Outcome::OK,
        ("answered", Some(reason)) => Outcome::Answered(Some(word(reason)?)),
        ("refused", Some(reason)) => Outcome::Refused(word(reason)?),
        ("lost", Some(reason)) => Outcome::Lost(word(reason)?),
        ("unsent", Some(fault)) => Outcome::Unsent(word(fault)?),
        _ => return Err(unknown(text)),
    })
}

fn word<T: std::str::FromStr>(text: &str) -> Result<T, Unreadable> {
    text.parse().map_err(|_| unknown(text))
}

fn unknown(text: &str) -> Unreadable {
    let text: String = text.chars().take(NAME).collect();
    Unreadable(format!("{text:?} is no word of this format").into())
}

fn label(text: String) -> Result<String, Unreadable> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if text.is_empty() || text.len() > NAME || !text.chars().all(good) {
        return Err(unknown(&text));
    }
    Ok(text)
}

fn kept(text: &str) -> Result<&'static str, Unreadable> {
    name::keep(text).ok_or_else(|| unknown(text))
}
