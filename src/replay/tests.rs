//! Seven cuts of known lengths, and what their lengths alone say about them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::detect::dpd::Profile;
use crate::detect::flap::Damping;
use crate::detect::liveness::Thresholds;
use crate::detect::{About, Bearing, Placed};
use crate::journal::{write_header, write_record};
use crate::sample::{Carrier, Outcome, Reason, Report, Sample};
use crate::time::Timestamp;

/// Seconds from the first lost probe to the last, one a second.
const CUTS: [u64; 7] = [61, 70, 77, 119, 125, 140, 200];
const APART: u64 = 600;

fn header(run: i64, file: u32) -> Header {
    Header {
        version: "0.1.0".to_owned(),
        run: WallTime::from_unix_secs(run),
        file,
        wall: WallTime::from_unix_secs(1_795_305_600),
        now: Timestamp::ZERO,
        outage: Thresholds::OUTAGE,
    }
}

fn place(profiles: &[&str]) -> Record {
    let about = About {
        target: "hq".to_owned(),
        member: 1,
        address: None,
        probe: "ike".to_owned(),
        kind: "ike",
        egress: "default".to_owned(),
        carrier: Carrier::Udp,
        port: 500,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
    };
    let profiles: Arc<[Profile]> = profiles.iter().map(|name| Profile::named(name).unwrap()).collect();
    let placed = Box::new(Placed { about, damping: Damping::default(), profiles });
    Record::Place { series: SeriesId(40), placed, now: Timestamp::ZERO, again: false }
}

fn sample(second: u64, lost: bool) -> Record {
    let due = Timestamp::from_secs(second);
    let (outcome, took) = if lost { (Outcome::Lost(Reason::NoAnswer), 1000) } else { (Outcome::OK, 10) };
    let done = due + Duration::from_millis(took);
    let report = Report::new(outcome);
    let sample =
        Sample { series: SeriesId(40), seq: second, form: "version", due, sent: Some(due), done, report };
    Record::Sample(sample, Bearing::Target)
}

fn lost(second: u64) -> bool {
    let (cut, into) = (second / APART, second % APART);
    let length = usize::try_from(cut).ok().and_then(|cut| CUTS.get(cut));
    length.is_some_and(|length| (100..=100 + length).contains(&into))
}

/// The journal of a line that was cut seven times; through a file, as the daemon would have made it.
fn seven_cuts() -> Vec<u8> {
    let mut file = Vec::new();
    write_header(&header(1, 1), &mut file).unwrap();
    write_record(&place(&["fortigate_ikev1", "cisco_asa"]), &mut file).unwrap();
    for second in 0..APART * 7 {
        write_record(&sample(second, lost(second)), &mut file).unwrap();
    }
    file
}

fn replay(file: &[u8], rules: Rules) -> Replay {
    let mut replay = Replay::new(rules);
    replay.read(&mut Reader::new("j".into(), file, false)).unwrap();
    replay.finish();
    replay
}

fn rules(changes: &[&str]) -> Rules {
    Rules { profiles: changes.iter().map(|text| text.parse().unwrap()).collect(), ..Rules::default() }
}

/// A silence surely ends every session if it is as long as the idle time and all waits but the last: with
/// three tries 20 s + 2 · 20 s = 60 s, with five 20 s + 4 · 20 s = 100 s; and it can end none that is
/// shorter than those waits alone: 40 s and 80 s. A cut whose first and last lost probe are L apart is a
/// silence of L to L + 2 s. So with three tries all seven are drops. With five, 119 s and more still are,
/// and 79 s and less cannot be: the first three.
#[test]
fn three_of_seven_drops_avoided() {
    let file = seven_cuts();
    let counts = |change: &str| {
        let replay = replay(&file, rules(&[change]));
        let key = replay.before().tallies().keys().next().unwrap();
        let change = &rules(&[change]).profiles[0];
        let before = replay.before().tallies()[key].of_profile(&change.name).unwrap();
        let after = replay.after().unwrap().tallies()[key].of_profile(&change.label()).unwrap();
        let found = compare(&before.outages, &after.outages);
        assert_eq!(found.kept.len() + found.added.len(), after.sure().count());
        if change.name == "fortigate_ikev1" {
            assert_eq!(before.sure().count(), 7);
            assert!((before.expected() - 7.0).abs() < 1e-9);
        }
        [found.avoided.len(), found.doubtful.len(), found.kept.len(), found.added.len()]
    };
    assert_eq!(counts("fortigate_ikev1,dpd-retrycount=5"), [3, 0, 4, 0]);
    // 80 s and 60 s: 61, 70 and 77 s are left to chance.
    assert_eq!(counts("fortigate_ikev1,dpd-retrycount=4"), [0, 3, 4, 0]);
    // 120 s and 100 s: so is 119 s.
    assert_eq!(counts("fortigate_ikev1,dpd-retrycount=6"), [3, 1, 3, 0]);
    // 400 s and 380 s.
    assert_eq!(counts("fortigate_ikev1,dpd-retrycount=20"), [7, 0, 0, 0]);
    // 1 s + 4 · 15 s = 61 s.
    assert_eq!(counts("fortigate_ikev1,tries=5,idle=1,retry=15"), [0, 0, 7, 0]);
    // 71 s and 70 s: 61 to 63 s of silence are too short, 70 to 72 s may be enough.
    assert_eq!(counts("fortigate_ikev1,tries=5,idle=1,retry=17.5"), [1, 1, 5, 0]);
    // Not in the record, so by its usual timers: 4 + 7.2 + 12.96 + 23.33 + 41.99 = 89.48 s, with 30 s of
    // idle time 119.48 s: 125, 140 and 200 s are drops. With one retransmission less 47.49 s and
    // 77.49 s: 119 s is one too.
    assert_eq!(counts("strongswan,retransmit_tries=4"), [0, 0, 3, 1]);
}

#[test]
fn other_thresholds_find_other_outages() {
    let file = seven_cuts();
    let replay = replay(&file, Rules { down: Some(Duration::from_secs(120)), ..Rules::default() });
    let tally = |side: &Side| side.tallies().values().next().unwrap().clone();
    let (before, after) = (tally(replay.before()), tally(replay.after().unwrap()));
    // Those of 125, 140 and 200 s: from the first lost probe to the first answered one.
    assert_eq!((before.outages.len(), after.outages.len()), (7, 3));
    assert_eq!(total(&after.outages, after.last), Duration::from_secs(126 + 141 + 201));
    assert_eq!(outages(&before.outages, &after.outages).avoided.len(), 4);
    // Each cut is two flaps whatever the thresholds of an outage. Ten minutes apart, with half of the
    // penalty gone after fifteen, they add up to flapping; after a minute they do not.
    assert_eq!((before.flaps, after.flaps), (14, 14));
    assert_eq!(before.flapping.len(), 1);
    let replay = self::replay(&file, Rules { half_life: Some(Duration::from_secs(60)), ..Rules::default() });
    assert_eq!(tally(replay.after().unwrap()).flapping.len(), 0);
}

#[test]
fn nothing_changed_is_nothing_compared() {
    for rules in [Rules::default(), rules(&["cisco_asa"])] {
        assert!(replay(&seven_cuts(), rules).after().is_none());
    }
}

/// A hole in a record proves nothing: what a whole record calls a drop is none if the cut is missing.
#[test]
fn a_gap_is_no_evidence() {
    let mut file = Vec::new();
    write_header(&header(1, 1), &mut file).unwrap();
    write_record(&place(&["cisco_asa"]), &mut file).unwrap();
    for second in (0..700).filter(|second| !lost(*second)) {
        write_record(&sample(second, false), &mut file).unwrap();
    }
    write_record(&Record::Gap { lost: 62 }, &mut file).unwrap();
    let replay = replay(&file, Rules::default());
    let tally = replay.before().tallies().values().next().unwrap();
    assert_eq!((tally.outages.len(), tally.drops[0].outages.len()), (0, 0));
    assert_eq!(replay.extent().lost, 62);
}

/// A run that ends in the middle of an outage, and one that begins anew: no outage lasts from one to the
/// other. Files of one run are one record.
#[test]
fn runs_are_apart_and_files_of_a_run_are_not() {
    let write = |second_run: i64| {
        let mut file = Vec::new();
        write_header(&header(1, 1), &mut file).unwrap();
        write_record(&place(&["cisco_asa"]), &mut file).unwrap();
        for second in 0..400 {
            if second == 130 {
                write_header(&header(second_run, 2), &mut file).unwrap();
                let Record::Place { series, placed, now, .. } = place(&["cisco_asa"]) else { panic!() };
                write_record(&Record::Place { series, placed, now, again: true }, &mut file).unwrap();
            }
            write_record(&sample(second, lost(second)), &mut file).unwrap();
        }
        file
    };
    let found = |run| {
        let replay = replay(&write(run), Rules::default());
        let tally = replay.before().tallies().values().next().unwrap().clone();
        (replay.extent().runs, tally.outages.len(), tally.drops[0].sure().count())
    };
    assert_eq!(found(1), (1, 1, 1));
    // The other run begins within the outage: that anybody was connected then it cannot know.
    assert_eq!(found(2), (2, 2, 1));
}

/// A journal may hold anything, for people send them. One whose clock jumps, by a day or by centuries, ends as
/// any other, and what was open before the jump is judged and closed in it. Found by fuzzing.
#[test]
fn a_jump_of_the_clock() {
    let found = |jump: u64| {
        let mut file = Vec::new();
        write_header(&header(1, 1), &mut file).unwrap();
        write_record(&place(&["cisco_asa"]), &mut file).unwrap();
        for second in 0..200 {
            let after = if second < 100 { 0 } else { jump };
            write_record(&sample(after + second, matches!(second, 20..60 | 120..180)), &mut file).unwrap();
        }
        let replay = replay(&file, rules(&["cisco_asa,tries=5"]));
        let after = replay.after().unwrap();
        assert_eq!(after.tallies().values().map(|tally| tally.samples).sum::<u64>(), 200);
        after.incidents("hq").values().sum::<u64>()
    };
    assert_eq!([3600, 86_400, 30 * 86_400, 18_000_000_000].map(found), [2; 4]);
}
