use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::detect::About;
use crate::detect::dpd::{Mode, Profile};
use crate::detect::flap::Damping;
use crate::detect::path::{PathChange, Shown};
use crate::sample::{Carrier, Fault, Outcome, Reason};
use crate::time::Clock;

fn written(record: &Record) -> Vec<u8> {
    let mut line = Vec::new();
    write_record(record, &mut line).unwrap();
    assert_eq!(line.pop(), Some(b'\n'));
    line
}

fn placed(target: &str) -> Placed {
    Placed {
        about: About {
            target: target.to_owned(),
            member: 1,
            address: Some("2001:db8::1".parse().unwrap()),
            probe: "ike".to_owned(),
            kind: "ike",
            egress: "default".to_owned(),
            carrier: Carrier::Udp,
            port: 500,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
        },
        damping: Damping::default(),
        profiles: Arc::from(vec![Profile { source: "the journal", ..Profile::named("strongswan").unwrap() }]),
    }
}

fn place(series: u32) -> Record {
    let placed = Box::new(placed("hq"));
    Record::Place { series: SeriesId(series), placed, now: Timestamp::from_secs(1), again: false }
}

fn sample(seq: u64, outcome: Outcome) -> Record {
    let due = Timestamp::from_millis(86_400_000 + seq * 1000);
    Record::Sample(
        Sample {
            series: SeriesId(7),
            seq,
            form: "version",
            due,
            sent: Some(due + Duration::from_micros(53)),
            done: due + Duration::from_micros(12_345),
            report: Report { rtt: Some(Duration::from_micros(12_292)), ..Report::new(outcome) },
        },
        Bearing::Target,
    )
}

fn changed() -> Record {
    let since = Timestamp::from_nanos(5);
    let shown = Shown::Changed(PathChange { from: 1, to: u64::MAX, since, hop: 3, runs: 4 });
    Record::Path {
        series: SeriesId(2),
        sight: Sight { began: Timestamp::from_nanos(8), at: Timestamp::from_nanos(9), shown },
    }
}

/// What the lines look like is a contract: journals outlive the program that wrote them.
#[test]
fn lines_as_they_were_before() {
    let line = String::from_utf8(written(&sample(17, Outcome::OK))).unwrap();
    assert_eq!(line, r#"[7,17,"version",86417000000000,53000,12345000,"answered",12292000]"#);
    let gone = Outcome::Lost(Reason::NoAnswer);
    let line = String::from_utf8(written(&sample(123_456_789, gone))).unwrap();
    assert!(line.len() < 100, "{line}");
    assert_eq!(
        parse(br#"{"remove":{"series":3,"now":5}}"#),
        Ok(Entry::Record(Record::Remove { series: SeriesId(3), now: Timestamp::from_nanos(5) }))
    );
    let line = String::from_utf8(written(&changed())).unwrap();
    let ids = r#""0000000000000001","ffffffffffffffff""#;
    assert_eq!(
        line,
        format!(
            r#"{{"path":{{"series":2,"began":8,"at":9,"shown":"changed","hop":3,"change":[{ids},5,4]}}}}"#
        )
    );
    let Ok(Entry::Record(Record::Sample(read, Bearing::Flow))) =
        parse(br#"[0,1,"policy",1000,null,0,"unsent:budget",null,"flow"]"#)
    else {
        panic!("a sample")
    };
    assert_eq!(read.report.outcome, Outcome::Unsent(Fault::Budget));
    assert_eq!((read.sent, read.done), (None, Timestamp::from_nanos(1000)));
}

#[test]
fn every_proper_prefix_of_a_line_is_an_error() {
    for record in [place(3), sample(17, Outcome::Lost(Reason::NoAnswer)), changed(), Record::Gap { lost: 3 }]
    {
        let line = written(&record);
        assert_eq!(parse(&line), Ok(Entry::Record(record)));
        for end in 0..line.len() {
            assert!(parse(&line[..end]).is_err(), "{}", String::from_utf8_lossy(&line[..end]));
        }
    }
}

#[test]
fn what_a_terminal_would_obey_is_no_name() {
    let good = String::from_utf8(written(&place(3))).unwrap();
    for bad in ["a\\u001b[2J", "", "a b", "\u{202e}", &"x".repeat(65)] {
        let line = good.replace("\"hq\"", &format!("\"{bad}\""));
        assert!(parse(line.as_bytes()).is_err(), "{line}");
    }
    for line in [
        &br#"[0,1,"x\u001b",1,1,1,"answered",1]"#[..],
        br#"{"path":{"series":2,"began":8,"at":9,"shown":"\u001b"}}"#,
        br#"{"path":{"series":2,"began":8,"at":9,"shown":"cut"}}"#,
        br#"{"path":{"series":2,"began":8,"at":9,"shown":"changed","hop":3,"change":["x","1",5,4]}}"#,
    ] {
        assert!(parse(line).is_err());
    }
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn instant() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_nanos)
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let reason = || prop::sample::select(Reason::ALL);
    prop_oneof![
        prop::option::of(reason()).prop_map(Outcome::Answered),
        reason().prop_map(Outcome::Refused),
        reason().prop_map(Outcome::Lost),
        prop::sample::select(Fault::ALL).prop_map(Outcome::Unsent),
    ]
}

fn any_sample() -> impl Strategy<Value = Record> {
    let times = (instant(), prop::option::of(instant()), instant(), prop::option::of(duration()));
    let form = prop::sample::select(&["version", "policy", "init", "reset"][..]);
    let bearing = prop::sample::select(Bearing::ALL);
    (any::<u32>(), any::<u64>(), form, times, any_outcome(), bearing).prop_map(
        |(series, seq, form, (due, sent, done, rtt), outcome, bearing)| {
            let report = Report { rtt, ..Report::new(outcome) };
            Record::Sample(Sample { series: SeriesId(series), seq, form, due, sent, done, report }, bearing)
        },
    )
}

fn any_place() -> impl Strategy<Value = Record> {
    let name = || "[A-Za-z0-9._-]{1,64}";
    let profile =
        (name(), prop::sample::select(Mode::ALL), duration(), prop::collection::vec(duration(), 0..255))
            .prop_map(|(name, mode, idle, waits)| Profile { name, mode, idle, waits, source: "the journal" });
    let about = (name(), any::<u8>(), any::<Option<std::net::IpAddr>>(), name(), name(), any::<u16>());
    let damping = (duration(), any::<u32>(), any::<u32>(), any::<u32>());
    let carrier = prop::sample::select(Carrier::ALL);
    let profiles = prop::collection::vec(profile, 0..4);
    let rest = (any::<u32>(), instant(), any::<bool>(), duration(), duration());
    (about, damping, carrier, profiles, rest).prop_map(
        |(about, damping, carrier, profiles, (series, now, again, interval, timeout))| {
            let (target, member, address, probe, egress, port) = about;
            let (half_life, suppress, reuse, ceiling) = damping;
            let kind = "ike";
            let about =
                About { target, member, address, probe, kind, egress, carrier, port, interval, timeout };
            let damping = Damping { half_life, suppress, reuse, ceiling };
            let placed = Box::new(Placed { about, damping, profiles: profiles.into() });
            Record::Place { series: SeriesId(series), placed, now, again }
        },
    )
}

pub(crate) fn any_record() -> impl Strategy<Value = Record> {
    let tick = (instant(), any::<i64>())
        .prop_map(|(now, wall)| Record::Tick { now, wall: WallTime::from_unix_nanos(wall) });
    let remove =
        (any::<u32>(), instant()).prop_map(|(series, now)| Record::Remove { series: SeriesId(series), now });
    let gap = any::<u64>().prop_map(|lost| Record::Gap { lost });
    let change = (any::<(u64, u64, u8, u32)>(), instant())
        .prop_map(|((from, to, hop, runs), since)| PathChange { from, to, since, hop, runs });
    let shown = prop_oneof![
        Just(Shown::Same),
        any::<(u8, u8)>().prop_map(|(hop, of)| Shown::Cut { hop, of }),
        any::<u8>().prop_map(Shown::New),
        change.prop_map(Shown::Changed),
    ];
    let path = (any::<u32>(), instant(), instant(), shown).prop_map(|(series, began, at, shown)| {
        Record::Path { series: SeriesId(series), sight: Sight { began, at, shown } }
    });
    prop_oneof![1 => any_place(), 6 => any_sample(), 1 => remove, 1 => tick, 1 => gap, 2 => path]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What goes in comes out, and so what a collector is told.
    #[test]
    fn records_are_read_as_they_were_written(records in prop::collection::vec(any_record(), 1..40)) {
        let mut file = header();
        records.iter().for_each(|record| write_record(record, &mut file).unwrap());
        prop_assert_eq!(entries(&file, false).unwrap(), (records, 0, false));
    }

    /// However it is cut off, all whole lines are read, and the last is missed if it is not.
    #[test]
    fn a_torn_file_is_read_up_to_where_it_is_torn(cut in 0usize..2000) {
        let (mut file, records) = (header(), [place(7), sample(1, Outcome::OK), sample(2, Outcome::OK)]);
        let begin = file.len();
        records.iter().for_each(|record| write_record(record, &mut file).unwrap());
        let cut = (begin + cut).min(file.len());
        let file = &file[..cut];
        let (read, _, torn) = entries(file, false).unwrap();
        let whole = file.split(|octet| *octet == b'\n').count() - 2;
        prop_assert!(read.len() == whole || (read.len() == whole + 1 && !torn));
        prop_assert_eq!(&read[..], &records[..read.len()]);
        prop_assert_eq!(torn, read.len() == whole && file.last() != Some(&b'\n'));
    }
}

fn header() -> Vec<u8> {
    let header = Header {
        version: "0.1.0".to_owned(),
        run: WallTime::from_unix_secs(1_795_305_600),
        file: 1,
        wall: WallTime::from_unix_secs(1_795_305_600),
        now: Timestamp::from_secs(1),
        outage: Thresholds::OUTAGE,
    };
    let mut file = Vec::new();
    write_header(&header, &mut file).unwrap();
    file
}

fn entries(file: &[u8], lenient: bool) -> Result<(Vec<Record>, u64, bool), Trouble> {
    let mut reader = Reader::new("j".into(), file, lenient);
    let mut records = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        if let Entry::Record(record) = entry {
            records.push(record);
        }
    }
    Ok((records, reader.skipped(), reader.torn()))
}

#[test]
fn a_damaged_line_is_named_and_left_out_only_if_that_is_wanted() {
    let mut file = header();
    write_record(&sample(1, Outcome::OK), &mut file).unwrap();
    file.extend_from_slice(b"[7,2,\"version\",\x00\x00\n");
    file.extend(vec![b'['; LONGEST + 10]);
    file.push(b'\n');
    write_record(&sample(3, Outcome::OK), &mut file).unwrap();
    let error = entries(&file, false).unwrap_err().to_string();
    assert!(error.starts_with("j:3: ") && error.ends_with("--lenient leaves such lines out"), "{error}");
    let (records, skipped, torn) = entries(&file, true).unwrap();
    assert_eq!((records.len(), skipped, torn), (2, 2, false));
}

#[test]
fn what_is_no_journal_is_said() {
    for (file, words) in [
        (&b"PK\x03\x04"[..], "not a journal"),
        (b"hello\nworld\n", "not a journal"),
        (b"[0,1,\"policy\",1000,null,0,\"unsent:budget\",null]\n", "its first line is no header"),
    ] {
        let error = entries(file, true).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let version = |n: u32| {
        let file = String::from_utf8(header()).unwrap().replace("\"schema\":2", &format!("\"schema\":{n}"));
        entries(file.as_bytes(), true)
    };
    let error = version(3).unwrap_err().to_string();
    assert!(error.contains("version 3, and this program reads versions 1 to 2"), "{error}");
    assert!(version(0).is_err());
    assert!(version(1).is_ok(), "what an earlier program wrote is read");
    // Begun, and never got any further.
    for torn in [&b""[..], b"{\"jour", b"{\"journal\":{\"schema\":1,"] {
        assert_eq!(entries(torn, false).unwrap(), (vec![], 0, true));
    }
}

/// A clock that goes on by a millisecond whenever it is looked at.
#[derive(Clone)]
struct Ticking(Arc<AtomicU64>);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix_secs(1_795_305_600)
    }
}

fn settings(directory: &std::path::Path, file: u64, most: u64) -> Settings {
    Settings { directory: directory.to_owned(), most, file, age: Duration::from_secs(3600) }
}

fn read_all(directory: &std::path::Path) -> Vec<Record> {
    let mut records = Vec::new();
    for path in Files::of(directory).unwrap().paths() {
        let mut reader = Reader::open(path, false).unwrap();
        while let Some(entry) = reader.next_entry().unwrap() {
            if let Entry::Record(record) = entry {
                records.push(record);
            }
        }
        assert!(!reader.torn());
    }
    records
}

#[test]
fn files_follow_each_other_and_the_oldest_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let clock = Ticking(Arc::default());
    let mut recorder = Recorder::start(settings(&path, 10_000, 50_000), Box::new(clock)).unwrap();
    let held = Recorder::start(settings(&path, 1, 1), Box::new(Ticking(Arc::default()))).unwrap_err();
    assert!(held.to_string().contains("another vpnprobe"), "{held}");
    let Record::Place { series, placed, now, .. } = place(7) else { panic!() };
    recorder.record(&Input::Place { series, placed: &placed, now });
    for seq in 0..5000 {
        let Record::Sample(sample, bearing) = sample(seq, Outcome::OK) else { panic!() };
        recorder.record(&Input::Sample(&sample, bearing));
    }
    drop(recorder);
    let sizes: Vec<u64> =
        std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.iter().sum::<u64>() <= 52_000, "{sizes:?}");
    // What is left begins with the series that there is, and goes on without a hole to the very end.
    let records = read_all(&path);
    assert!(matches!(&records[0], Record::Place { again: true, .. }));
    let seqs: Vec<u64> = records
        .iter()
        .filter_map(|record| if let Record::Sample(sample, _) = record { Some(sample.seq) } else { None })
        .collect();
    assert_eq!(seqs.last(), Some(&4999));
    assert!(seqs.len() > 300 && seqs.windows(2).all(|two| two[0] + 1 == two[1]));
}

/// The engine is not held up: what does not fit is counted, and series are never lost.
#[test]
fn what_has_no_room_is_a_gap_and_never_a_series() {
    let (sender, receiver) = sync_channel(2);
    let mut recorder = Recorder::into(sender);
    let tell = |recorder: &mut Recorder, record: &Record| recorder.record(&record.input().unwrap());
    for seq in 0..5 {
        tell(&mut recorder, &sample(seq, Outcome::OK));
    }
    tell(&mut recorder, &place(8));
    tell(&mut recorder, &sample(5, Outcome::OK));
    let mut seen: Vec<Record> = receiver.try_iter().collect();
    tell(&mut recorder, &sample(6, Outcome::OK));
    seen.extend(receiver.try_iter());
    tell(&mut recorder, &sample(7, Outcome::OK));
    seen.extend(receiver.try_iter());
    let told: Vec<String> = seen
        .iter()
        .map(|record| match record {
            Record::Place { series, .. } => format!("place {}", series.0),
            Record::Sample(sample, _) => format!("{}", sample.seq),
            Record::Gap { lost } => format!("gap {lost}"),
            other => format!("{other:?}"),
        })
        .collect();
    // The third sample to come after the gap has no room either: the channel holds two.
    assert_eq!(told, ["0", "1", "gap 4", "place 8", "gap 1", "7"]);
}
