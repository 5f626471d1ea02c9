//! The fold against what it must equal: a closed form for one blackout, and single sessions played one
//! by one. Neither shares a line with it.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sample::{Fault, Outcome, Reason, Report, Sample, SeriesId};
use crate::time::Timestamp;

const MS: u64 = 1_000_000;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn profile(idle: u64, waits: &[u64]) -> Profile {
    Profile {
        name: "test".to_owned(),
        mode: Mode::Periodic,
        idle: millis(idle),
        waits: waits.iter().copied().map(millis).collect(),
        source: "",
    }
}

fn asa() -> Profile {
    Profile::named("cisco_asa").unwrap()
}

/// Plays one fate per interval, the first at one interval; what was told on the way, and the state.
fn play(profile: &Profile, interval: u64, fates: &[bool]) -> (Survival, Vec<Verdict>) {
    let mut survival = Survival::new(profile, millis(interval)).unwrap();
    let mut told = Vec::new();
    for (n, fate) in fates.iter().enumerate() {
        let at = Timestamp::from_millis(interval * (n as u64 + 1));
        told.extend(survival.observe(at, Some(*fate)));
    }
    (survival, told)
}

/// Ten answered, a blackout of so many lost, and enough answered to end it.
fn blackout(lost: usize, after: usize) -> Vec<bool> {
    let mut fates = vec![true; 10];
    fates.extend(vec![false; lost]);
    fates.extend(vec![true; after]);
    fates
}

#[test]
fn the_same_outage_kills_one_and_is_nothing_to_another() {
    let verdict = |name: &str| {
        let (survival, told) = play(&Profile::named(name).unwrap(), 1000, &blackout(20, 400));
        assert_eq!(told.len(), 1, "{name}");
        (survival.sure(), survival.expected())
    };
    let (sure, expected) = verdict("cisco_asa");
    assert_eq!(sure, 1);
    assert!((expected - 1.0).abs() < 1e-9, "{expected}");
    assert_eq!(verdict("strongswan"), (0, 0.0));
    assert_eq!(verdict("paloalto"), (0, 0.0));
    // 20 lost a second apart: 19 s for sure, 21 s at most; a ping of each phase is missed thrice at most.
    assert_eq!(verdict("openvpn"), (0, 0.0));
    // Shortest lethal silence 15 s, surely lethal 45 s.
    let (sure, expected) = verdict("anyconnect");
    assert_eq!(sure, 0);
    assert!((expected - 5.0 / 30.0).abs() < 0.02, "{expected}");
}

#[test]
fn the_margin_shrinks_with_the_silence_and_comes_back() {
    let mut survival = Survival::new(&asa(), millis(1000)).unwrap();
    let mut margins = Vec::new();
    for n in 0..9 {
        let at = Timestamp::from_secs(n);
        survival.observe(at, Some(!(2..=5).contains(&n)));
        margins.push(survival.margin(at).as_secs());
    }
    // The least favourable session asks right after the last answer, at 1 s, and is dead at 7 s. It asks
    // at 1, 3 and 5 s: the answer of 6 s comes too late for it, and it goes at 7 s.
    assert_eq!(margins, [6, 6, 5, 4, 3, 2, 1, 0, 6]);
    assert_eq!(survival.sure(), 0);
    assert!(survival.expected() > 0.0);
}

/// A box that never answered has torn nobody down: nobody can have been on it.
#[test]
fn what_never_answered_had_no_session_to_lose() {
    for profile in built_in() {
        let (mut survival, told) = play(&profile, 1000, &[false; 900]);
        assert_eq!((survival.sure(), survival.expected(), told.len()), (0, 0.0, 0), "{}", profile.name);
        assert_eq!((survival.current(), survival.margin_now()), (None, None));
        // It comes up, and is judged from then on.
        for n in 901..=2000 {
            survival.observe(Timestamp::from_secs(n), Some(n < 910));
        }
        assert_eq!(survival.sure(), 1, "{}", profile.name);
    }
}

#[test]
fn too_coarse_a_probe_is_refused_with_what_is_needed() {
    let refused = Survival::new(&asa(), millis(5000)).unwrap_err();
    assert_eq!(refused, TooCoarse { interval: millis(5000), coarsest: millis(2000) });
    assert!(Survival::new(&asa(), millis(2000)).is_ok());
    assert!(Survival::new(&asa(), Duration::ZERO).is_err());
    assert!(Survival::new(&profile(10, &[10]), millis(1)).is_err());
}

#[test]
fn a_lone_lost_probe_never_looks_like_a_teardown() {
    for profile in built_in() {
        let interval = u64::try_from(profile.coarsest_interval().as_millis()).unwrap();
        let (survival, _) = play(&profile, interval, &blackout(1, 400));
        assert_eq!((survival.sure(), survival.expected()), (0, 0.0), "{}", profile.name);
    }
}

#[test]
fn a_stall_of_ours_is_no_teardown() {
    for stall in [4, 60, 600, 86_400] {
        for (before, after) in [(false, false), (false, true), (true, false)] {
            let mut survival = Survival::new(&asa(), millis(1000)).unwrap();
            survival.observe(Timestamp::from_secs(1), Some(true));
            survival.observe(Timestamp::from_secs(2), Some(before));
            survival.observe(Timestamp::from_secs(2 + stall), Some(after));
            for n in 0..40 {
                survival.observe(Timestamp::from_secs(3 + stall + n), Some(true));
            }
            assert_eq!((survival.sure(), survival.expected()), (0, 0.0));
            assert_eq!(survival.current(), None);
        }
    }
}

#[test]
fn a_bad_hour_may_tear_down_more_than_once() {
    // Down for 20 s, up for 5 s, over and over: each time every session of an ASA goes.
    let fates: Vec<bool> = (0..250).map(|n| n % 25 < 5).collect();
    let (survival, told) = play(&asa(), 1000, &fates);
    assert_eq!(survival.sure(), 10);
    assert!((survival.expected() - 10.0).abs() < 1e-9, "{}", survival.expected());
    assert_eq!(told.len(), 9, "the last one is not over");
}

/// More loss can save a session: its first question is lost, so its next round comes later, and the
/// blackout that would have swallowed that round is over by its end. The verdicts follow the truth here,
/// and not the rule of thumb.
#[test]
fn more_loss_can_save_a_session() {
    let deaths = |early_loss: bool| {
        let fates = (0..100u64).map(|tenth| !((40..=85).contains(&tenth) || (early_loss && tenth == 0)));
        let profile = [2000, 2000, 2000];
        session(&profile, 4000, 0, |at| fates.clone().nth(usize::try_from(at / 100).unwrap()).unwrap_or(true))
    };
    assert!(deaths(false));
    assert!(!deaths(true));
}

/// One session, asking first at `at`; milliseconds. Whether it is torn down.
fn session(waits: &[u64], idle: u64, mut at: u64, answered: impl Fn(u64) -> bool) -> bool {
    while at < 1_000_000 {
        let mut open = true;
        for wait in waits {
            if answered(at) {
                open = false;
                break;
            }
            at += wait;
        }
        if open {
            return true;
        }
        at += idle;
    }
    false
}

/// Single blackouts in closed form: with `lost` probes the silence is at least `lost - 1` intervals long
/// and less than `lost + 1`; a session whose round begins `x` into a silence of `s` is torn down just if
/// `x` plus the shortest lethal silence is within it.
fn closed_form(profile: &Profile, interval: u64, lost: u64) -> (f64, f64) {
    let share = |silence: u64| {
        let lethal = profile.shortest_lethal().as_secs_f64();
        ((silence as f64 / 1e3 - lethal) / profile.idle.as_secs_f64()).clamp(0.0, 1.0)
    };
    (share((lost.max(1) - 1) * interval), share((lost + 1) * interval))
}

#[test]
fn single_blackouts_agree_with_the_closed_form() {
    for profile in built_in() {
        let interval = u64::try_from(profile.coarsest_interval().as_millis().min(1000) / 2).unwrap();
        let enough =
            usize::try_from((profile.idle + profile.patience()).as_millis() / u128::from(interval) * 2 + 10)
                .unwrap();
        let steps = enough / 60 + 1;
        let mut before = 0.0;
        for lost in (1..enough).step_by(steps) {
            let (survival, told) = play(&profile, interval, &blackout(lost, enough));
            let (least, most) = closed_form(&profile, interval, lost as u64);
            let found = survival.expected();
            let name = &profile.name;
            assert!(least - 1e-9 <= found && found <= most + 1e-9, "{name} {lost}: {least} {found} {most}");
            assert_eq!(survival.sure(), u64::from(least >= 1.0), "{name} {lost}: {least} {found}");
            assert!(found + 1e-9 >= before, "{name} {lost}: a longer blackout tears down less");
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].sure, survival.sure() == 1);
            before = found;
        }
    }
}

/// What single sessions of evenly spread phases do, both ways at a time wherever a fate is unknown: the
/// mean number of teardowns, whether all went, whether any.
struct Sampled {
    expected: f64,
    all: bool,
    any: bool,
}

fn sampled(profile: &Profile, interval: u64, fates: &[bool], phases: u64) -> Sampled {
    let idle = u64::try_from(profile.idle.as_millis()).unwrap() * MS;
    let waits: Vec<u64> = profile.waits.iter().map(|wait| u64::try_from(wait.as_nanos()).unwrap()).collect();
    let first_lost = fates.iter().position(|fate| !fate).unwrap() as u64;
    // The slot before the first lost one; slot n is at (n + 1) intervals.
    let start = first_lost * interval * MS;
    let end = fates.len() as u64 * interval * MS;
    // 0 lost, 1 either, 2 answered.
    let fate = |at: u64| {
        let slot = usize::try_from(at / (interval * MS)).unwrap();
        u8::from(fates[slot - 1]) + u8::from(fates[slot])
    };
    // (next event, lost so far, weight, again)
    let mut open: Vec<(u64, usize, f64, bool)> = (0..phases)
        .map(|n| (start + (idle * (2 * n + 1)) / (2 * phases), 0, 1.0 / phases as f64, false))
        .collect();
    let mut found = Sampled { expected: 0.0, all: true, any: false };
    while let Some((at, lost, weight, again)) = open.pop() {
        if at >= end {
            found.all &= again;
        } else if lost == waits.len() {
            found.expected += weight;
            found.any = true;
            // Back at the next interval in which something was answered, at any phase.
            let mut slot = at / (interval * MS) + 1;
            while slot * interval * MS < end && fate(slot * interval * MS) == 0 {
                slot += 1;
            }
            for n in 0..40 {
                open.push((slot * interval * MS + idle * (2 * n + 1) / 80, 0, weight / 40.0, true));
            }
        } else {
            let fate = fate(at);
            let weight = if fate == 1 { weight / 2.0 } else { weight };
            if fate > 0 {
                open.push((at + idle, 0, weight, again));
            }
            if fate < 2 {
                open.push((at + waits[lost], lost + 1, weight, again));
            }
        }
    }
    found
}

fn any_profile() -> impl Strategy<Value = Profile> {
    (20u64..80, prop::collection::vec(5u64..60, 2..5)).prop_map(|(idle, waits)| {
        profile(idle * 100, &waits.iter().map(|wait| wait * 100).collect::<Vec<_>>())
    })
}

/// Runs of lost and answered probes after each other.
fn runs(longest: usize) -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec((1..longest, 1..longest), 1..6).prop_map(|runs| {
        let mut fates = vec![true; 3];
        for (lost, answered) in runs {
            fates.extend(vec![false; lost]);
            fates.extend(vec![true; answered]);
        }
        fates
    })
}

/// Until the first outage is told to be over, or all.
fn one_outage(profile: &Profile, interval: u64, fates: &[bool]) -> (Verdict, usize) {
    let mut survival = Survival::new(profile, millis(interval)).unwrap();
    for (n, fate) in fates.iter().enumerate() {
        let at = Timestamp::from_millis(interval * (n as u64 + 1));
        if let Some(verdict) = survival.observe(at, Some(*fate)) {
            return (verdict, n + 1);
        }
    }
    (survival.current().unwrap(), fates.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn single_sessions_agree(profile in any_profile(), fates in runs(40)) {
        let interval = 200;
        prop_assume!(profile.coarsest_interval() >= millis(interval));
        let (verdict, length) = one_outage(&profile, interval, &fates);
        let sampled = sampled(&profile, interval, &fates[..length], 400);
        let off = (verdict.expected - sampled.expected).abs();
        prop_assert!(off < 0.04, "{} against {}", verdict.expected, sampled.expected);
        // No phase that was tried lives if none does, and none dies if none can.
        prop_assert!(!verdict.sure || sampled.all);
        prop_assert!(verdict.expected > 0.0 || !sampled.any);
    }

    /// What is sure, or impossible, is so for each session whose every packet meets a network that the
    /// probes saw, wherever between two probes it changed.
    #[test]
    fn sure_and_impossible_hold_for_every_session(
        profile in any_profile(),
        fates in runs(40),
        phase in 0.0..1.0f64,
        changes in prop::collection::vec(0.0..1.0f64, 12),
    ) {
        let interval = 200;
        prop_assume!(profile.coarsest_interval() >= millis(interval));
        let (verdict, length) = one_outage(&profile, interval, &fates);
        let waits: Vec<u64> = profile.waits.iter().map(|w| u64::try_from(w.as_millis()).unwrap()).collect();
        let idle = u64::try_from(profile.idle.as_millis()).unwrap();
        let first_lost = fates.iter().position(|fate| !fate).unwrap() as u64;
        let begin = first_lost * interval + (phase * idle as f64) as u64;
        let answered = |at: u64| {
            let slot = usize::try_from(at / interval).unwrap();
            if slot >= length {
                return true;
            }
            let (before, after) = (fates[slot - 1], fates[slot]);
            let into = (at % interval) as f64 / interval as f64;
            if into < changes[slot % 12] { before } else { after }
        };
        let torn_down = session(&waits, idle, begin, answered);
        prop_assert!(!verdict.sure || torn_down);
        // What is doomed when the trace ends is torn down after it.
        prop_assert!(verdict.expected > 0.0 || !torn_down || length == fates.len());
    }

    /// More loss at either end of a blackout never tears down less.
    #[test]
    fn a_longer_blackout_never_tears_down_less(
        profile in any_profile(), lost in 1usize..120, before in 0usize..20, after in 0usize..20,
    ) {
        let interval = 200;
        prop_assume!(profile.coarsest_interval() >= millis(interval));
        let trace = |from: usize, to: usize| -> Vec<bool> {
            (0..2000).map(|n| n < from || n >= to).collect()
        };
        let (short, _) = play(&profile, interval, &trace(50, 50 + lost));
        let (long, _) = play(&profile, interval, &trace(50 - before, 50 + lost + after));
        prop_assert!(long.sure() >= short.sure());
        prop_assert!(long.expected() + 1e-9 >= short.expected());
    }

    /// The least favourable session is never better off for a probe more that was lost.
    #[test]
    fn more_loss_never_leaves_more_margin(
        profile in any_profile(), fates in prop::collection::vec(any::<bool>(), 5..60), at in 1usize..60,
    ) {
        let interval = 200;
        prop_assume!(profile.coarsest_interval() >= millis(interval));
        prop_assume!(at < fates.len());
        let mut fates = fates;
        fates[0] = true;
        let mut worse = fates.clone();
        worse[at] = false;
        // Until somebody is torn down; from then on it is another population.
        let mut one = Survival::new(&profile, millis(interval)).unwrap();
        let mut other = one.clone();
        for n in 0..fates.len() {
            let now = Timestamp::from_millis(interval * (n as u64 + 1));
            one.observe(now, Some(fates[n]));
            other.observe(now, Some(worse[n]));
            if one.expected() + other.expected() > 0.0 {
                break;
            }
            if n == at {
                prop_assert!(other.margin(now) <= one.margin(now));
            }
        }
    }

    #[test]
    fn our_own_faults_and_the_time_of_day_change_nothing(
        profile in any_profile(),
        fates in runs(40),
        faults in prop::collection::vec(0u64..3, 60),
        shift in 0u64..1_000_000_000,
    ) {
        let interval = 200;
        prop_assume!(profile.coarsest_interval() >= millis(interval));
        let (plain, told) = play(&profile, interval, &fates);
        let mut other = Survival::new(&profile, millis(interval)).unwrap();
        let mut told_other = Vec::new();
        for (n, fate) in fates.iter().enumerate() {
            let at = Timestamp::from_millis(interval * (n as u64 + 1) + shift);
            for fault in 0..faults[n % faults.len()] {
                told_other.extend(other.observe(at - millis(fault + 1), None));
            }
            told_other.extend(other.observe(at, Some(*fate)));
        }
        prop_assert_eq!(plain.sure(), other.sure());
        prop_assert_eq!(plain.expected().to_bits(), other.expected().to_bits());
        let end = interval * fates.len() as u64;
        prop_assert_eq!(plain.margin(Timestamp::from_millis(end)), other.margin(Timestamp::from_millis(end + shift)));
        prop_assert_eq!(told.len(), told_other.len());
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Long partial loss stays bounded, and no share is lost or made.
    #[test]
    fn partial_loss_for_long_stays_bounded(seed in any::<u64>(), percent in 1u64..99) {
        for profile in built_in() {
            let mut survival = Survival::new(&profile, millis(1000)).unwrap();
            let mut state = seed | 1;
            for n in 0..600 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                survival.observe(Timestamp::from_secs(n), Some(state % 100 >= percent));
                prop_assert!(survival.margin(Timestamp::from_secs(n)) <= profile.patience());
            }
            prop_assert!(survival.expected().is_finite());
            let shortest = profile.patience().as_secs_f64();
            prop_assert!(survival.expected() <= 600.0 / shortest + 1.0, "{}", profile.name);
        }
    }
}

/// Timers that nobody has, but a file may: many short waits and one long one, met by probes that are
/// far apart beside them.
#[test]
fn waits_that_are_short_beside_the_interval_stay_bounded() {
    let mut waits = vec![100; 29];
    waits.extend([2_000_000, 1000]);
    let profile = profile(1_000_000, &waits);
    let mut survival = Survival::new(&profile, Duration::from_secs(500)).unwrap();
    let mut total = 0.0;
    for n in 0..80 {
        survival.observe(Timestamp::from_secs(500 * n), Some(n % 2 == 0));
        if let Some(verdict) = survival.current() {
            total = verdict.expected;
        }
    }
    assert!((0.0..=80.0).contains(&total), "{total}");
}

fn sample(seq: u64, sent: u64, done: u64, outcome: Outcome) -> Sample {
    Sample {
        series: SeriesId(0),
        seq,
        form: "version",
        due: Timestamp::from_millis(sent),
        sent: Some(Timestamp::from_millis(sent)),
        done: Timestamp::from_millis(done),
        report: Report::new(outcome),
    }
}

#[test]
fn samples_come_out_in_the_order_of_their_sending() {
    let mut feed = Feed::new(millis(2000));
    let mut out = Vec::new();
    let lost = Outcome::Lost(Reason::NoAnswer);
    for each in [
        sample(7, 1000, 1010, Outcome::OK),
        sample(9, 3000, 3010, Outcome::OK),
        sample(10, 4000, 4010, Outcome::OK),
        sample(8, 2000, 4000, lost),
        sample(8, 2000, 4001, Outcome::OK),
        sample(11, 5000, 5000, Outcome::Unsent(Fault::Budget)),
        // 12 and 13 never come: their slots were missed.
        sample(14, 8000, 8010, Outcome::OK),
        sample(15, 9000, 9010, Outcome::OK),
        sample(16, 10_600, 10_610, Outcome::OK),
    ] {
        feed.push(&each, |at, fate| out.push((at.as_nanos() / MS, fate)));
    }
    assert_eq!(
        out,
        [
            (1000, Some(true)),
            (2000, Some(false)),
            (3000, Some(true)),
            (4000, Some(true)),
            (5000, None),
            (8000, Some(true)),
            (9000, Some(true)),
            (10_600, Some(true)),
        ]
    );
}

/// The detector's cost, told and held to a bound that only a mistake breaks. Ten thousand series with
/// all profiles at 1 Hz may have 5 % of a core: 5 µs a sample.
#[test]
#[expect(clippy::disallowed_methods, reason = "a cost is measured in real time")]
fn the_cost_is_small() {
    for (what, percent) in
        [("healthy", 0), ("1 % loss", 1), ("30 % loss", 30), ("60 % loss", 60), ("dead", 100)]
    {
        let mut all: Vec<Survival> = USUAL
            .iter()
            .map(|name| Survival::new(&Profile::named(name).unwrap(), millis(1000)).unwrap())
            .collect();
        let samples = 2000;
        let begun = std::time::Instant::now();
        let mut state = 88_172_645_463_325_252u64;
        for n in 0..samples {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            for survival in &mut all {
                // A little late each time, as probes are: no two boundaries fall together.
                let sent = Timestamp::from_nanos(n * 1000 * MS + (state >> 32) % (5 * MS));
                survival.observe(sent, Some(n == 0 || state % 100 >= percent));
            }
        }
        let each = begun.elapsed() / u32::try_from(samples).unwrap();
        println!("{what}: {each:?} a sample for {} profiles", all.len());
        assert!(each < millis(2), "{what}: {each:?}");
    }
}
