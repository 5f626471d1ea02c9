use proptest::prelude::*;

use super::*;
use crate::sample::{Fault, Outcome, Reason, Report, SeriesId};

const LOST: Outcome = Outcome::Lost(Reason::NoAnswer);
const REFUSED: Outcome = Outcome::Refused(Reason::NoProposalChosen);
const RTT: Duration = Duration::from_millis(20);

/// The sample of a slot, with a timeout of 2 s, of a schedule that begins at `origin`.
fn sample(origin: Timestamp, interval: Duration, seq: u64, outcome: Outcome) -> Sample {
    let due = origin + Duration::from_nanos(u64::try_from(interval.as_nanos()).unwrap() * seq);
    let rtt = RTT + Duration::from_millis(seq % 7);
    let (took, report) = match outcome.received() {
        Some(true) => (rtt, Report::timed(outcome, rtt)),
        Some(false) => (Duration::from_secs(2), Report::new(outcome)),
        None => (Duration::ZERO, Report::new(outcome)),
    };
    let sent = (outcome.received().is_some()).then_some(due);
    Sample { series: SeriesId(0), seq, form: "version", due, sent, done: due + took, report }
}

fn watch(interval: Duration) -> Watch {
    Watch::new(interval, Duration::from_secs(2), Damping::default(), Timestamp::ZERO)
}

/// What a watch tells of these samples, each with the time it told it, and the watch afterwards.
fn play(interval: Duration, samples: &mut [Sample]) -> (Vec<(Timestamp, Transition)>, Watch) {
    samples.sort_by_key(|sample| (sample.done, sample.seq));
    let mut watch = watch(interval);
    let (mut seen, mut out) = (Vec::new(), Vec::new());
    for sample in samples {
        watch.observe(sample, &mut out);
        seen.extend(out.drain(..).map(|transition| (sample.done, transition)));
    }
    (seen, watch)
}

/// The same for outcomes, one a slot.
fn told(interval: u64, outcomes: impl IntoIterator<Item = Outcome>) -> (Vec<(Timestamp, Transition)>, Watch) {
    let interval = Duration::from_millis(interval);
    let samples = outcomes.into_iter().zip(0..);
    let mut samples: Vec<_> =
        samples.map(|(outcome, seq)| sample(Timestamp::ZERO, interval, seq, outcome)).collect();
    play(interval, &mut samples)
}

fn good(count: usize) -> std::iter::RepeatN<Outcome> {
    std::iter::repeat_n(Outcome::OK, count)
}

fn lost(count: usize) -> std::iter::RepeatN<Outcome> {
    std::iter::repeat_n(LOST, count)
}

#[test]
fn an_outage_is_told_within_27_s_of_its_worst_beginning() {
    // It begins just after the slot at 50 s was answered, and takes 25 s: five slots.
    let (seen, watch) = told(5000, good(11).chain(lost(5)).chain(good(4)));
    let secs = Timestamp::from_secs;
    let states: Vec<_> = seen
        .iter()
        .filter(|(_, transition)| !matches!(transition, Transition::LossWindow(_) | Transition::LossRun(_)))
        .copied()
        .collect();
    assert_eq!(
        states,
        [
            (
                Timestamp::ZERO + RTT,
                Transition::State { from: State::Unknown, to: State::Up, since: secs(0) }
            ),
            (secs(67), Transition::Flap { down: true, since: secs(55) }),
            (secs(77), Transition::State { from: State::Up, to: State::Down, since: secs(55) }),
            (secs(77), Transition::OutageBegan { since: secs(55) }),
            (
                secs(90) + RTT + Duration::from_millis(4),
                Transition::State { from: State::Down, to: State::Up, since: secs(80) }
            ),
            (
                secs(90) + RTT + Duration::from_millis(4),
                Transition::OutageEnded { began: secs(55), ended: secs(80) }
            ),
            (secs(90) + RTT + Duration::from_millis(4), Transition::Flap { down: false, since: secs(80) }),
        ]
    );
    assert_eq!(watch.outage(), None);
    assert!(watch.jitter().is_some_and(|jitter| jitter > 0.0 && jitter < 0.007));
}

#[test]
fn a_concentrator_that_refuses_is_down_and_reached() {
    let (seen, watch) = told(5000, good(5).chain(std::iter::repeat_n(REFUSED, 10)));
    assert_eq!(watch.state(), (State::Down, Timestamp::from_secs(25)));
    assert_eq!(watch.outage(), None);
    assert!(watch.flap().penalty(Timestamp::from_secs(70)) < 1.0);
    let losses = seen.iter().filter(|(_, transition)| matches!(transition, Transition::LossRun(_)));
    assert_eq!(losses.count(), 0);
}

#[test]
fn a_timeout_longer_than_the_interval_breaks_no_run() {
    let (seen, _) = told(500, good(30).chain(lost(60)).chain(good(60)));
    let runs: Vec<_> = seen
        .iter()
        .filter_map(|(_, transition)| match transition {
            Transition::LossRun(run) => Some(run.length),
            _ => None,
        })
        .collect();
    assert_eq!(runs, [60]);
    let outages = seen.iter().filter(|(_, transition)| matches!(transition, Transition::OutageEnded { .. }));
    assert_eq!(outages.count(), 1);
}

#[test]
fn half_of_a_window_lost_is_degraded_until_a_window_loses_less_than_a_quarter() {
    let half = || good(1).chain(lost(1)).cycle();
    let (seen, watch) = told(1000, good(20).chain(half().take(40)).chain(good(41)));
    let states: Vec<_> = seen
        .iter()
        .filter_map(|(_, transition)| match transition {
            Transition::State { to, since, .. } => Some((*to, since.as_nanos() / 1_000_000_000)),
            _ => None,
        })
        .collect();
    assert_eq!(states, [(State::Up, 0), (State::Degraded, 20), (State::Up, 0)]);
    assert_eq!(watch.outage(), None);
}

fn fates() -> impl Strategy<Value = Vec<Outcome>> {
    // Spells, so that there is something to tell.
    let fate = prop_oneof![
        Just(Outcome::OK),
        Just(LOST),
        Just(REFUSED),
        Just(Outcome::Refused(Reason::PortUnreachable))
    ];
    let spell = (fate, 1_usize..30).prop_map(|(fate, length)| std::iter::repeat_n(fate, length));
    prop::collection::vec(spell, 1..12).prop_map(|spells| spells.into_iter().flatten().collect())
}

fn same_state(one: &Watch, other: &Watch, at: Timestamp) -> bool {
    one.state() == other.state()
        && one.outage() == other.outage()
        && one.jitter() == other.jitter()
        && one.flap().stable_in(at) == other.flap().stable_in(at)
        && one.flap().penalty(at).to_bits() == other.flap().penalty(at).to_bits()
        && one.percent_state_change().to_bits() == other.percent_state_change().to_bits()
}

proptest! {
    /// Our own faults, wherever and how many they are, change nothing.
    #[test]
    fn samples_that_are_no_evidence_change_nothing(
        fates in fates(),
        faults in prop::collection::vec((0_u64..400, 0_usize..Fault::ALL.len(), 0_u64..5000), 0..60),
        interval in 100_u64..20_000,
    ) {
        let interval = Duration::from_millis(interval);
        let end = Timestamp::from_secs(100_000);
        let mut samples: Vec<_> =
            fates.iter().zip(0..).map(|(fate, seq)| sample(Timestamp::ZERO, interval, seq, *fate)).collect();
        let (plain, watch) = play(interval, &mut samples.clone());
        for (seq, fault, late) in faults {
            let mut unsent = sample(Timestamp::ZERO, interval, seq, Outcome::Unsent(Fault::ALL[fault]));
            unsent.done = unsent.done + Duration::from_millis(late);
            samples.push(unsent);
        }
        let (faulty, after) = play(interval, &mut samples);
        prop_assert_eq!(plain, faulty);
        prop_assert!(same_state(&watch, &after, end));
    }

    /// The same an hour and a half later is the same, an hour and a half later.
    #[test]
    fn shifting_all_times_shifts_all_that_is_told(fates in fates(), shift in 0_u64..u64::MAX / 4, interval in 100_u64..20_000) {
        let interval = Duration::from_millis(interval);
        let shift = Duration::from_nanos(shift);
        let end = Timestamp::from_secs(100_000);
        let at = |origin: Timestamp| -> Vec<Sample> {
            fates.iter().zip(0..).map(|(fate, seq)| sample(origin, interval, seq, *fate)).collect()
        };
        let (plain, watch) = play(interval, &mut at(Timestamp::ZERO));
        let (later, after) = play(interval, &mut at(Timestamp::ZERO + shift));
        let shifted: Vec<_> = plain.into_iter().map(|(told, what)| (told + shift, moved(what, shift))).collect();
        prop_assert_eq!(shifted, later);
        prop_assert_eq!(watch.state().0, after.state().0);
        prop_assert_eq!(watch.flap().penalty(end).to_bits(), after.flap().penalty(end + shift).to_bits());
    }

    /// A hole of our own in a healthy stream, of any length, is no event at all.
    #[test]
    fn a_stall_is_no_event(before in 1_u64..100, hole in 1_u64..10_000, after in 1_u64..100, interval in 100_u64..60_000) {
        let interval = Duration::from_millis(interval);
        let mut samples: Vec<_> = (0..before)
            .map(|seq| (seq, Outcome::OK))
            .chain([(before, Outcome::Unsent(Fault::Stalled))])
            .chain((before + hole..before + hole + after).map(|seq| (seq, Outcome::OK)))
            .map(|(seq, outcome)| sample(Timestamp::ZERO, interval, seq, outcome))
            .collect();
        let (seen, watch) = play(interval, &mut samples);
        let events = seen.iter().filter(|(_, told)| !matches!(told, Transition::LossWindow(window) if window.lost == 0));
        prop_assert_eq!(events.count(), 1, "up, once");
        prop_assert_eq!(watch.state(), (State::Up, Timestamp::ZERO));
    }
}

fn moved(transition: Transition, by: Duration) -> Transition {
    match transition {
        Transition::State { from, to, since } => Transition::State { from, to, since: since + by },
        Transition::OutageBegan { since } => Transition::OutageBegan { since: since + by },
        Transition::OutageEnded { began, ended } => {
            Transition::OutageEnded { began: began + by, ended: ended + by }
        }
        Transition::Flap { down, since } => Transition::Flap { down, since: since + by },
        Transition::FlappingBegan { stable_in } => Transition::FlappingBegan { stable_in },
        Transition::FlappingEnded { at } => Transition::FlappingEnded { at: at + by },
        Transition::LossWindow(window) => {
            Transition::LossWindow(LossWindow { began: window.began + by, ..window })
        }
        Transition::LossRun(run) => Transition::LossRun(LossRun { began: run.began + by, ..run }),
    }
}
