use std::time::Duration;

use super::*;
use crate::entropy::{Draw as _, Generator};
use crate::sample::path::{HopAnswer, HopSeen};

const PEER: [u8; 4] = [203, 0, 113, 10];

/// A path by the last octets of its routers; 0 is a silent hop.
fn path(routers: &[u16], reached: bool) -> PathSeen {
    let mut addresses: Vec<Option<IpAddr>> = routers
        .iter()
        .map(|n| (*n > 0).then(|| IpAddr::from([198, 51, n.to_be_bytes()[0], n.to_be_bytes()[1]])))
        .collect();
    if reached {
        addresses.push(Some(PEER.into()));
    }
    let hop = |(address, ttl): (&Option<IpAddr>, u8)| HopSeen {
        ttl,
        asked: 1,
        answers: address
            .map(|address| HopAnswer { address: Some(address), rtt: Duration::ZERO, labels: vec![] })
            .into_iter()
            .collect(),
    };
    PathSeen {
        over: "ike",
        peer: PEER.into(),
        port: 500,
        flow: None,
        hops: addresses.iter().zip(1..).map(hop).collect(),
        end: if reached { PathEnd::Reached } else { PathEnd::Silent },
        reason: None,
        looping: false,
        unplaced: vec![],
        packets: 0,
        took: Duration::ZERO,
        deep: false,
    }
}

fn minute(n: u64) -> Timestamp {
    Timestamp::from_secs(60 * n)
}

/// A day of one trace a minute over balancers that draw anew for each packet, over networks of many
/// widths, with a tenth of all hops silent by rate limits, and balanced paths of unequal length.
#[test]
fn a_day_of_load_balancing_is_no_change() {
    let mut random = Generator::seeded(4);
    for (width, uneven) in [(2, false), (3, true), (4, false), (8, true), (16, false), (32, true)] {
        for _ in 0..20 {
            let mut watch = PathWatch::new();
            for n in 0..1440 {
                let mut draw = |base: u16| {
                    let silent = random.below(10) == 0;
                    if silent { 0 } else { base + u16::try_from(random.below(width)).unwrap() }
                };
                let mut routers = vec![1, draw(100), draw(200), draw(300), 5];
                if uneven && random.below(2) == 0 {
                    routers.push(6);
                }
                assert_eq!(watch.observe(&path(&routers, true), minute(n)), None, "{width} wide, run {n}");
            }
        }
    }
}

/// The same with balancers that draw by flow, and a new flow now and then.
#[test]
fn a_day_of_new_flows_is_no_change() {
    let mut random = Generator::seeded(5);
    for _ in 0..100 {
        let mut watch = PathWatch::new();
        let mut branch = 0;
        for n in 0..1440 {
            if n < 60 || random.below(5) == 0 {
                branch = u16::try_from(random.below(4)).unwrap();
            }
            let routers = [1, 100 + branch, 200 + branch, 5];
            assert_eq!(watch.observe(&path(&routers, true), minute(n)), None, "run {n}");
        }
    }
}

/// The same with one flow that is kept, and replaced every two hours.
#[test]
fn a_day_of_kept_flows_is_no_change() {
    let mut random = Generator::seeded(6);
    for _ in 0..100 {
        let mut watch = PathWatch::new();
        let mut branch = 0;
        for n in 0..1440 {
            if n % 120 == 0 {
                branch = u16::try_from(random.below(8)).unwrap();
            }
            let mut seen = path(&[1, 100 + branch, 200 + branch, 5], true);
            seen.flow = u16::try_from(n / 120).ok();
            assert_eq!(watch.observe(&seen, minute(n)), None, "run {n}");
        }
    }
}

#[test]
fn a_change_is_told_once_and_dated_by_its_first_run() {
    let mut watch = PathWatch::new();
    for n in 0..60 {
        assert_eq!(watch.observe(&path(&[1, 2, 3, 4], true), minute(n)), None);
    }
    let before = watch.id().unwrap();
    let told: Vec<_> =
        (60..90).filter_map(|n| watch.observe(&path(&[1, 7, 8, 4], true), minute(n))).collect();
    let after = watch.id().unwrap();
    assert_eq!(told, [PathChange { from: before, to: after, since: minute(60), hop: 2, runs: 3 }]);
    assert_ne!(before, after);
    // And back: it is the path it was.
    let told: Vec<_> =
        (90..120).filter_map(|n| watch.observe(&path(&[1, 2, 3, 4], true), minute(n))).collect();
    assert_eq!(told, [PathChange { from: after, to: before, since: minute(90), hop: 2, runs: 3 }]);
}

#[test]
fn what_a_trace_shows() {
    let mut watch = PathWatch::new();
    let mut look =
        |seen: &PathSeen, began: u64, at: u64| watch.look(seen, minute(began), minute(at)).map(|it| it.shown);
    let old = path(&[1, 2, 3, 4], true);
    assert_eq!(look(&old, 0, 0), None, "nothing is known before");
    for n in 1..60 {
        assert_eq!(look(&old, n, n), Some(Shown::Same));
    }
    assert_eq!(look(&path(&[1, 2], false), 60, 60), Some(Shown::Cut { hop: 2, of: 4 }));
    assert_eq!(look(&path(&[], false), 61, 61), Some(Shown::Cut { hop: 0, of: 4 }));
    // Refused by the destination itself: it was reached.
    let refused = PathSeen { end: PathEnd::Refused, ..old.clone() };
    assert_eq!(look(&refused, 62, 62), Some(Shown::Same));
    let new = path(&[1, 7, 8, 4], true);
    assert_eq!(look(&new, 65, 65), Some(Shown::New(2)));
    assert_eq!(look(&old, 63, 66), None, "it waited for silent hops, and is older");
    assert_eq!(look(&new, 66, 66), Some(Shown::New(2)));
    assert!(matches!(look(&new, 67, 67), Some(Shown::Changed(PathChange { hop: 2, runs: 3, .. }))));
    let other_flow = PathSeen { flow: Some(2), ..path(&[1, 9, 8, 4], true) };
    assert_eq!(look(&PathSeen { flow: Some(1), ..new }, 68, 68), Some(Shown::Same));
    assert_eq!(look(&other_flow, 69, 69), None, "it may be another of several equal ways");
}

#[test]
fn a_longer_path_through_silent_routers_is_another_path() {
    let mut watch = PathWatch::new();
    for n in 0..60 {
        watch.observe(&path(&[1, 0, 0], true), minute(n));
    }
    let told = (60..70).filter_map(|n| watch.observe(&path(&[1, 0, 0, 0], true), minute(n))).count();
    assert_eq!(told, 1);
}

#[test]
fn silence_and_a_cut_path_are_no_change() {
    let mut watch = PathWatch::new();
    for n in 0..60 {
        watch.observe(&path(&[1, 2, 3, 4], true), minute(n));
    }
    for n in 60..120 {
        for cut in [&[][..], &[1], &[1, 2], &[1, 0, 3]] {
            assert_eq!(watch.observe(&path(cut, false), minute(n)), None);
        }
    }
}

#[test]
fn early_on_a_change_needs_more_proof() {
    let mut watch = PathWatch::new();
    for n in 0..4 {
        watch.observe(&path(&[1, 2, 4], true), minute(n));
    }
    let told = (4..60).find_map(|n| watch.observe(&path(&[1, 3, 4], true), minute(n)).map(|_| n));
    // 2 · 2^-(4 + s) < 1e-7 from s = 21 on: 4 + 21 runs, the last of them number 24.
    assert_eq!(told, Some(24));
}

#[test]
fn first_hops() {
    let way = Way::default();
    let seen = |first: &str| {
        let mut seen = path(&[1, 2], true);
        seen.hops[0].answers[0].address = first.parse().ok();
        seen
    };
    for (first, class) in [
        ("192.168.1.1", FirstHop::HomeRouter),
        ("10.1.2.3", FirstHop::OfficeRouter),
        ("172.31.0.1", FirstHop::OfficeRouter),
        ("172.32.0.1", FirstHop::ProviderRouter),
        ("100.64.0.1", FirstHop::CarrierNat),
        ("100.128.0.1", FirstHop::ProviderRouter),
        ("169.254.1.1", FirstHop::LinkLocal),
        ("fe80::1", FirstHop::LinkLocal),
        ("fd00::1", FirstHop::OfficeRouter),
        ("2001:db8::1", FirstHop::ProviderRouter),
    ] {
        assert_eq!(FirstHop::of(&seen(first), &way), class, "{first}");
    }
    assert_eq!(FirstHop::of(&path(&[], true), &way), FirstHop::OnLink);
    assert_eq!(FirstHop::of(&path(&[0, 1], true), &way), FirstHop::Silent);
    let gateway = Way { gateway: "192.168.0.1".parse().ok(), ..Way::default() };
    assert_eq!(FirstHop::of(&path(&[0, 1], true), &gateway), FirstHop::HomeRouter);
    let tunnel = Way { tunnel: true, ..gateway };
    assert_eq!(FirstHop::of(&seen("10.8.0.1"), &tunnel), FirstHop::Tunnel);
}
