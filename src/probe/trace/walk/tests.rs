//! Networks in which hop `n` answers after `n` ms, and what the first link takes beyond that.

use std::collections::BTreeMap;

use super::*;

const PACE: Pace = Pace { max_hops: 30, lead: LEAD, silent: 5, tries: 2, serial: false };

/// How a hop answers.
#[derive(Clone, Copy, PartialEq)]
enum Hop {
    Quotes,
    /// So little that the packet cannot be told.
    Loose,
    Silent,
}

fn router(n: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(n).unwrap()])
}

/// Walks to a destination behind these hops; the walk, when it was done, and each packet's hop and time.
fn walk(pace: Pace, hops: &[Hop], destination: bool) -> (Walk, Timestamp, Vec<(usize, Timestamp)>) {
    walk_far(pace, hops, destination, Duration::ZERO)
}

/// The same where there and back over the first link takes so much more.
fn walk_far(
    pace: Pace,
    hops: &[Hop],
    destination: bool,
    first: Duration,
) -> (Walk, Timestamp, Vec<(usize, Timestamp)>) {
    let mut walk = Walk::new(pace);
    let mut now = Timestamp::from_secs(10);
    let mut sent = Vec::new();
    let mut coming: BTreeMap<(Timestamp, usize), usize> = BTreeMap::new();
    loop {
        if let Some(hop) = walk.next(now) {
            let number = walk.ask(hop, now);
            walk.left(number, now);
            let meets = hop.min(hops.len());
            if hops.get(meets).map_or(destination, |hop| *hop != Hop::Silent) {
                let way = first + Duration::from_millis(u64::try_from(meets + 1).unwrap());
                coming.insert((now + way, number), hop);
            }
            sent.push((hop, now));
            assert!(sent.len() < 200, "it ends");
            continue;
        }
        let wake = walk.wake(now);
        match coming.pop_first() {
            Some(((at, number), hop)) if wake.is_some_and(|wake| at <= wake) => {
                now = at;
                let who = if hop < hops.len() { Who::Router } else { Who::Destination };
                let from = Some(router(hop.min(hops.len()) + 1));
                let answer = Answer { who, from, at, labels: vec![] };
                if hops.get(hop) == Some(&Hop::Loose) {
                    walk.loose(answer, at);
                } else {
                    walk.answer(number, answer);
                }
            }
            other => {
                if let Some((key, hop)) = other {
                    coming.insert(key, hop);
                }
                let Some(wake) = wake else { return (walk, now, sent) };
                assert!(wake > now);
                now = wake;
            }
        }
    }
}

fn addresses(walk: &Walk) -> Vec<Option<IpAddr>> {
    walk.seen().0.iter().map(HopSeen::address).collect()
}

fn all(n: usize) -> Vec<Option<IpAddr>> {
    (1..=n).map(|n| Some(router(n))).collect()
}

#[test]
fn every_length_within_two_round_trips_and_four_packets_too_many() {
    for routers in 0..=29 {
        let (walk, now, sent) = walk(PACE, &vec![Hop::Quotes; routers], true);
        assert_eq!(addresses(&walk), all(routers + 1));
        assert_eq!(walk.seen().1, PathEnd::Reached);
        let rtt = u64::try_from(routers + 1).unwrap();
        if routers < 9 {
            assert!(now <= Timestamp::from_secs(10) + Duration::from_millis(2 * rtt), "{routers}: {now:?}");
        }
        assert!(sent.len() < routers + 1 + LEAD, "{routers}: {}", sent.len());
        assert!(sent.len() <= routers + 1 + 4, "{routers}: {}", sent.len());
    }
}

/// A satellite, or a home's own line: the time is spent before the first router.
#[test]
fn two_round_trips_are_enough_wherever_the_time_is_spent() {
    for routers in 0..=9 {
        let first = Duration::from_millis(400);
        let (walk, now, sent) = walk_far(PACE, &vec![Hop::Quotes; routers], true, first);
        assert_eq!(addresses(&walk), all(routers + 1));
        let rtt = first + Duration::from_millis(u64::try_from(routers + 1).unwrap());
        assert!(now <= Timestamp::from_secs(10) + 2 * rtt, "{routers}: {now:?}");
        assert!(sent.len() <= routers + 1 + 4, "{routers}: {}", sent.len());
    }
}

#[test]
fn one_router_that_quotes_little_is_placed_without_another_packet() {
    for little in 0..8 {
        let mut hops = [Hop::Quotes; 8];
        hops[little] = Hop::Loose;
        let (walk, now, sent) = walk(PACE, &hops, true);
        assert_eq!(addresses(&walk), all(9), "{little}");
        assert!(now <= Timestamp::from_secs(10) + Duration::from_millis(18), "{little}: {now:?}");
        assert!(sent.len() <= 13, "{little}");
    }
}

#[test]
fn several_are_asked_one_at_a_time_without_a_wait() {
    for routers in 1..12 {
        let (walk, now, _) = walk(PACE, &vec![Hop::Loose; routers], true);
        assert_eq!(addresses(&walk), all(routers + 1), "{routers}");
        let one_by_one = (1..=routers as u64 + 1).sum::<u64>();
        let limit = Duration::from_millis(one_by_one + 2 * (routers as u64 + 1));
        assert!(now <= Timestamp::from_secs(10) + limit, "{routers}: {now:?}");
        assert!(walk.seen().3.is_empty());
    }
}

proptest::proptest! {
    /// Whatever is silent and whatever quotes little: a hop that answers is placed right or not at all,
    /// and no hop that answered is missing without being named.
    #[test]
    fn nothing_is_placed_wrong(kinds in proptest::collection::vec(0u8..6, 0..20), destination: bool) {
        let hops: Vec<Hop> = kinds
            .iter()
            .map(|kind| match kind { 0 => Hop::Silent, 1 => Hop::Loose, _ => Hop::Quotes })
            .collect();
        let (walk, _, sent) = walk(PACE, &hops, destination);
        for (index, address) in addresses(&walk).into_iter().enumerate() {
            assert!(address.is_none() || address == Some(router(index + 1)));
        }
        let mut last: BTreeMap<usize, Timestamp> = BTreeMap::new();
        for (hop, at) in sent {
            let before = last.insert(hop, at);
            let quotes_little = hops.contains(&Hop::Loose);
            assert!(quotes_little || before.is_none_or(|before| at.since(before) >= PATIENCE));
        }
        let reach = hops.iter().position(|hop| *hop == Hop::Silent).unwrap_or(hops.len());
        let found = addresses(&walk);
        for index in 0..reach {
            let unplaced = walk.seen().3.contains(&router(index + 1));
            assert!(unplaced || found.get(index) == Some(&Some(router(index + 1))), "hop {index}");
        }
    }
}

#[test]
fn a_silent_end_gets_few_packets() {
    let (walk, _, sent) = walk(PACE, &[Hop::Quotes; 3], false);
    assert_eq!(addresses(&walk), all(3));
    assert_eq!(walk.seen().1, PathEnd::Silent);
    assert_eq!(sent.iter().filter(|(hop, _)| *hop >= 3).count(), 6, "five hops, the first of them twice");
}

#[test]
fn one_at_a_time_is_one_at_a_time() {
    let (walk, now, sent) = walk(Pace { serial: true, ..PACE }, &[Hop::Loose; 8], true);
    assert_eq!(addresses(&walk), all(9));
    assert_eq!(sent.len(), 9);
    assert_eq!(now, Timestamp::from_secs(10) + Duration::from_millis(45));
}
