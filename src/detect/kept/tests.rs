use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::detect::About;
use crate::detect::flap::{Damped, Damping};
use crate::detect::liveness::State;
use crate::detect::{Bearing, Collector, Found, Input, Placed, Stage, Transition};
use crate::sample::{Carrier, Outcome, Reason, Report, Sample, SeriesId};
use crate::time::WallTime;

const SERIES: SeriesId = SeriesId(0);

fn placed(interval: Duration) -> Placed {
    let about = About {
        target: "hq".to_owned(),
        member: 1,
        address: Some(IpAddr::from([192, 0, 2, 1])),
        probe: "ike".to_owned(),
        kind: "ike",
        egress: "default".to_owned(),
        carrier: Carrier::Udp,
        port: 500,
        interval,
        timeout: interval / 2,
    };
    let names = ["cisco_asa", "paloalto_monitor", "openvpn"];
    let profiles: Vec<_> = names.iter().filter_map(|name| Profile::named(name)).collect();
    Placed { about, damping: Damping::default(), profiles: Arc::from(profiles) }
}

/// A collector and how its process counts.
struct Process {
    collector: Collector,
    interval: Duration,
    found: Vec<Found>,
    seq: u64,
}

impl Process {
    fn new(collector: Collector, interval: Duration, now: Timestamp) -> Self {
        let mut process = Self { collector, interval, found: Vec::new(), seq: 0 };
        let placed = placed(interval);
        process.collector.take(Input::Place { series: SERIES, placed: &placed, now }, &mut process.found);
        process
    }

    /// As it is after a stop at `stopped` and a start at `now` of the same clock.
    fn restarted(mut self, stopped: Timestamp, now: Timestamp) -> Self {
        let kept = serde_json::to_string(&self.collector.keep(stopped)).unwrap();
        let kept: Knowledge = serde_json::from_str(&kept).unwrap();
        Self::new(Collector::resumed(kept), self.interval, now)
    }

    fn sample(&mut self, due: Timestamp, outcome: Outcome) {
        let timeout = self.interval / 2;
        let (report, done) = match outcome {
            Outcome::Lost(_) => (Report::new(outcome), due + timeout),
            _ => (Report::timed(outcome, timeout / 50), due + timeout / 50),
        };
        let (seq, sent) = (self.seq, Some(due));
        let sample = Sample { series: SERIES, seq, form: "version", due, sent, done, report };
        self.seq += 1;
        self.collector.take(Input::Sample(&sample, Bearing::Target), &mut self.found);
    }

    /// `o` answered, `.` lost, `x` refused, from `at` on.
    fn play(&mut self, at: Timestamp, fates: &str) -> Timestamp {
        fates.chars().zip(0..).fold(at, |_, (fate, n)| {
            let outcome = match fate {
                'o' => Outcome::OK,
                '.' => Outcome::Lost(Reason::NoAnswer),
                _ => Outcome::Refused(Reason::ConnectionRefused),
            };
            self.sample(at + self.interval * n, outcome);
            at + self.interval * (n + 1)
        })
    }

    /// All but the windows and rows of loss, and the end of a look at which nothing was torn down.
    fn events(&self) -> Vec<&Found> {
        let event = |found: &&Found| match found {
            Found::Transition(_, Transition::LossWindow(_) | Transition::LossRun(_)) => false,
            Found::Verdict { verdict, .. } => verdict.first_teardown.is_some(),
            _ => true,
        };
        self.found.iter().filter(event).collect()
    }

    /// What was found; sums of fractions are as exact as they can be after a restart.
    fn rounded(&self) -> Vec<Found> {
        let mut found = self.found.clone();
        for found in &mut found {
            match found {
                Found::Teardown { expected, .. } => *expected = (*expected * 1e9).round() / 1e9,
                // Samples before the restart are known of incidents only that were open then.
                Found::Incident(_, incident) => incident.series.clear(),
                _ => {}
            }
        }
        found
    }

    fn state(&self) -> (State, Timestamp) {
        self.collector.track(SERIES).unwrap().watch().state()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_restart_in_calm_is_no_event() {
    for pause in [0, 1, 5, 59, 300, 3599] {
        let mut process = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
        let stopped = process.play(Timestamp::ZERO, &"o".repeat(50));
        let state = process.state();
        let again = stopped + SECOND * pause;
        let mut process = process.restarted(stopped, again);
        assert_eq!(process.state(), state, "at once, before any sample");
        process.play(again, &"o".repeat(50));
        assert_eq!(process.events(), Vec::<&Found>::new(), "after {pause} s");
        assert_eq!(process.state(), state);
    }
}

#[test]
fn an_outage_goes_on_with_its_true_beginning_and_ends_once() {
    let mut process = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
    let stopped = process.play(Timestamp::ZERO, &format!("{}{}", "o".repeat(10), ".".repeat(40)));
    let began = Timestamp::from_secs(10);
    assert!(process.events().contains(&&Found::Transition(SERIES, Transition::OutageBegan { since: began })));
    let again = stopped + SECOND * 120;
    let mut process = process.restarted(stopped, again);
    assert_eq!(process.state(), (State::Down, began));
    let good = process.play(again, &".".repeat(30));
    assert_eq!(process.events(), Vec::<&Found>::new(), "nothing new while it lasts");
    process.play(good, &"o".repeat(20));
    let ended = Found::Transition(SERIES, Transition::OutageEnded { began, ended: good });
    assert_eq!(process.events().into_iter().filter(|found| **found == ended).count(), 1);
    assert_eq!(process.state(), (State::Up, good));
}

#[test]
fn a_penalty_is_kept_and_decays() {
    fn flap(process: &Process) -> Damped<'_> {
        process.collector.track(SERIES).unwrap().watch().flap()
    }

    let mut process = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
    let spell = format!("{}{}", ".".repeat(12), "o".repeat(40));
    let stopped = process.play(Timestamp::ZERO, &format!("{}{}", "o".repeat(20), spell.repeat(3)));
    let before = flap(&process).penalty(stopped);
    assert!(before > 4000.0 && flap(&process).stable_in(stopped).is_some());
    let again = stopped + Damping::default().half_life;
    let mut process = process.restarted(stopped, again);
    assert!((flap(&process).penalty(again) - before / 2.0).abs() < 1.0);
    process.play(again, &"o".repeat(60));
    assert_eq!(process.events(), Vec::<&Found>::new());
}

#[test]
fn rows_are_carried_over_a_short_pause_only() {
    for (pause, down_since) in [(10, Some(10)), (120, None)] {
        let mut process = Process::new(Collector::new(), SECOND * 5, Timestamp::ZERO);
        let stopped = process.play(Timestamp::ZERO, "oo...");
        let again = stopped + SECOND * pause;
        let mut process = process.restarted(stopped, again);
        process.play(again, "...");
        let (state, since) = process.state();
        assert_eq!((state == State::Down).then_some(since), down_since.map(Timestamp::from_secs));
    }
}

#[test]
fn what_is_too_old_or_from_another_series_is_not_taken_up() {
    let mut process = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
    let stopped = process.play(Timestamp::ZERO, &"o".repeat(30));
    let kept = process.collector.keep(stopped);
    let late = Process::new(Collector::resumed(kept.clone()), SECOND, stopped + OLDEST + SECOND);
    assert_eq!(late.state().0, State::Unknown);
    let before = Process::new(Collector::resumed(kept.clone()), SECOND, Timestamp::ZERO);
    assert_eq!(before.state().0, State::Unknown);
    let slower = Process::new(Collector::resumed(kept.clone()), SECOND * 2, stopped);
    assert_eq!(slower.state().0, State::Unknown);
    // It waits for its series, and is kept on meanwhile.
    let mut waiting = Collector::resumed(kept);
    assert_eq!(waiting.keep(stopped + SECOND).series.len(), 1);
    assert_eq!(waiting.keep(stopped + OLDEST + SECOND).series.len(), 0);
}

proptest! {
    /// A restart between two probes, that none of them misses, is not to be seen at all.
    #[test]
    fn a_restart_that_misses_no_probe_changes_nothing(
        rows in prop::collection::vec((prop::sample::select(vec!['o', '.', 'x']), 1_usize..40), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let fates: String = rows.iter().map(|(fate, length)| fate.to_string().repeat(*length)).collect();
        let cut = cut.index(fates.len());
        let mut whole = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
        let (first, second) = fates.split_at(cut);
        let at = whole.play(Timestamp::ZERO, first);
        let mut cut = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
        cut.play(Timestamp::ZERO, first);
        let mut cut = cut.restarted(at, at);
        whole.found.clear();
        whole.play(at, second);
        cut.play(at, second);
        prop_assert_eq!(whole.state(), cut.state());
        prop_assert_eq!(whole.rounded(), cut.rounded());
    }

    /// Whatever a file says: nothing panics, hangs or grows.
    #[test]
    fn what_cannot_have_been_is_not_taken_up(
        fates in "[ox.]{1,60}",
        place in any::<prop::sample::Index>(),
        digit in 0_u8..10,
    ) {
        let mut process = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
        let stopped = process.play(Timestamp::ZERO, &fates);
        let mut text = serde_json::to_string(&process.collector.keep(stopped)).unwrap().into_bytes();
        // Only digits, so that most of it can be read.
        let digits: Vec<_> = (0..text.len()).filter(|at| text[*at].is_ascii_digit()).collect();
        text[digits[place.index(digits.len())]] = b'0' + digit;
        if let Ok(kept) = serde_json::from_slice::<Knowledge>(&text) {
            let again = stopped + SECOND * 7;
            let mut process = Process::new(Collector::resumed(kept), SECOND, again);
            process.play(again, "oo......................oo");
        }
    }
}

/// An incident that is open over a restart, by its ids and stages.
#[test]
fn an_open_incident_goes_on_as_one() {
    let wall = |at: Timestamp| WallTime::from_unix_secs(1_795_305_600).after(at.since(Timestamp::ZERO));
    let play = |process: &mut Process, from: u64, fates: &str| {
        for (fate, n) in fates.chars().zip(from..) {
            let now = Timestamp::from_secs(n);
            process.collector.take(Input::Tick { now, wall: wall(now) }, &mut process.found);
            process.play(now, &fate.to_string());
        }
    };
    // Stopped before the cause is judged, and after it.
    for cut in [71, 95] {
        for pause in [1, 30, 300] {
            let mut process = Process::new(Collector::new(), SECOND, Timestamp::ZERO);
            play(&mut process, 0, &format!("{}{}", "o".repeat(50), ".".repeat(cut - 50)));
            let mut told = process.found.clone();
            let again = Timestamp::from_secs(cut as u64 + pause);
            let mut process = process.restarted(Timestamp::from_secs(cut as u64), again);
            play(&mut process, cut as u64 + pause, &format!("{}{}", ".".repeat(40), "o".repeat(100)));
            told.extend(process.found);
            let incidents = told.into_iter().filter_map(|found| match found {
                Found::Incident(Stage::Graver, _) => None,
                Found::Incident(stage, incident) => Some((stage, *incident)),
                _ => None,
            });
            let incidents: Vec<_> = incidents.collect();
            let stages: Vec<_> = incidents.iter().map(|(stage, _)| *stage).collect();
            assert_eq!(stages, [Stage::Opened, Stage::Decided, Stage::Closed], "{cut} {pause}");
            assert!(incidents.iter().all(|(_, incident)| incident.id == incidents[0].1.id));
            let (_, last) = incidents.last().unwrap();
            assert_eq!(last.began, wall(Timestamp::from_secs(50)));
            let lasted = Duration::from_secs(cut as u64 + pause + 40 - 50);
            assert_eq!(last.seconds, Some(lasted.as_secs_f64()));
            let samples = &last.series[0].samples;
            assert!(
                samples.at.contains(&-1.0) && samples.fates.contains('o'),
                "what was before is there still"
            );
            let teardowns: Vec<_> = last.dpd.iter().map(|record| record.sure).collect();
            // The third waits for 50 s of silence: a long pause is no silence.
            let third = u64::from(pause == 1);
            assert_eq!(teardowns, [1, 1, third], "each session died once at the most");
        }
    }
}
