use std::collections::HashSet;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Mutex, mpsc};

use super::other::MOST_ORDERS;
use super::*;
use crate::entropy::Generator;
use crate::probe::{Form, Kind};
use crate::sample::SeriesId;

fn spec(kind: &str, port: u16) -> Spec {
    Spec {
        name: kind.to_owned(),
        kind: Kind::named(kind).unwrap(),
        port,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
        full_interval: Duration::from_secs(60),
        host: None,
        settings: Arc::default(),
    }
}

fn form(spec: &Spec) -> &'static Form {
    &(spec.kind.forms)(spec)[0]
}

fn pool(drivers: u8) -> Pool {
    let entropy = || Box::new(Generator::from_os()) as Box<dyn Entropy>;
    Drivers::new(SystemClock::start(), drivers, entropy).unwrap().start().unwrap()
}

fn open(pool: &mut Pool, peer: IpAddr, spec: &Spec) -> Line {
    pool.open(peer, spec.flow(), &Arc::new(spec.clone()), &Arc::default())
}

fn tag(pool: &Pool, series: u32, seq: u64, spec: &Spec) -> Tag {
    Tag { series: SeriesId(series), seq, due: pool.clock().now(), form: form(spec) }
}

/// Turns until `so`; what came of it.
fn until(pool: &mut Pool, mut so: impl FnMut(&Pool, &[Happening]) -> bool) -> Vec<Happening> {
    let mut out = Vec::new();
    for _ in 0..200 {
        let at = pool.clock().now() + Duration::from_millis(100);
        pool.turn(at, &mut out).unwrap();
        if so(pool, &out) {
            return out;
        }
    }
    panic!("it never came: {out:?}");
}

/// An address of this host that such a driver has (0: the engine's own).
fn address(driver: usize, others: usize) -> IpAddr {
    let mut all = (1..=255).map(|last| IpAddr::from([127, 0, 0, last]));
    all.find(|address| place(*address, others) == driver).unwrap()
}

#[test]
fn an_address_has_one_driver_and_every_driver_has_some() {
    let mut pool = pool(4);
    let (icmp, ike, trace) = (spec("icmp", 0), spec("ike", 500), spec("trace", 0));
    let mut seen = HashSet::new();
    let number = |line| if let Line::Other { driver, .. } = line { usize::from(driver) + 1 } else { 0 };
    for last in 1..=255 {
        let peer = IpAddr::from([127, 0, 0, last]);
        let lines = [&icmp, &ike].map(|spec| number(open(&mut pool, peer, spec)));
        assert_eq!(lines, [place(peer, 3); 2]);
        seen.insert(lines[0]);
        assert!(matches!(open(&mut pool, peer, &trace), Line::Own(_)), "those that know headers");
    }
    assert_eq!(seen.len(), 4);
}

/// Each thread has as much to do as any other.
#[test]
fn addresses_are_spread_by_what_the_threads_have_to_do() {
    assert_eq!(MOST_DRIVERS, 16, "what the configuration allows");
    for drivers in 2..=usize::from(MOST_DRIVERS) {
        let mut addresses = vec![0_usize; drivers];
        for number in 0..40_000_u16 {
            let [high, low] = number.to_be_bytes();
            addresses[place(IpAddr::from([198, 18, high, low]), drivers - 1)] += 1;
        }
        let fair = if drivers < PARTS { (PARTS - drivers) * 40_000 / ((PARTS - 1) * drivers) } else { 0 };
        assert!(addresses[0].abs_diff(fair) <= fair / 10, "{addresses:?}, {fair} for the engine's own");
        let fair = (40_000 - fair) / (drivers - 1);
        assert!(addresses[1..].iter().all(|got| got.abs_diff(fair) <= fair / 10), "{addresses:?}");
    }
}

#[test]
fn one_driver_has_all_of_it() {
    let mut pool = Pool::from(Driver::new(SystemClock::start(), Box::new(Generator::from_os())).unwrap());
    let ike = spec("ike", 500);
    for last in 1..=255 {
        let line = open(&mut pool, IpAddr::from([127, 0, 0, last]), &ike);
        assert!(matches!(line, Line::Own(_)) && pool.fence(line).is_none());
    }
    pool.finish();
    assert_eq!(pool.unfinished(), 0);
}

#[test]
fn each_driver_tells_of_its_own_and_of_nothing_that_is_closed() {
    let mut pool = pool(3);
    let peers = [0, 1, 2].map(|driver| address(driver, 2));
    let first = TcpListener::bind((peers[0], 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let _others = [1, 2].map(|peer| TcpListener::bind((peers[peer], port)).unwrap());
    let tcp = spec("tcp", port);
    let lines = peers.map(|peer| open(&mut pool, peer, &tcp));
    for seq in 1..=3 {
        let mut out = Vec::new();
        for (series, line) in (0..).zip(lines) {
            let tag = tag(&pool, series, seq, &tcp);
            pool.begin(line, tag, &tcp, &mut out);
        }
        let mut told = 0;
        out.extend(until(&mut pool, |_, out| {
            told = out.len().max(told);
            told >= 3
        }));
        let mut seen: Vec<_> = out
            .iter()
            .map(|happening| match happening {
                Happening::Done { tag, report, .. } => (tag.series.0, tag.seq, report.outcome.received()),
                other => panic!("{other:?}"),
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2].map(|series| (series, seq, Some(true))));
    }
    let mut out = Vec::new();
    for (series, line) in (0..).zip(lines) {
        let tag = tag(&pool, series, 4, &tcp);
        pool.begin(line, tag, &tcp, &mut out);
        pool.close(line, &mut out);
    }
    let fences: Vec<_> = lines.iter().filter_map(|line| pool.fence(*line)).collect();
    assert!(fences.len() == 2 && !fences.iter().any(|fence| pool.has_passed(*fence)));
    out.extend(until(&mut pool, |pool, _| fences.iter().all(|fence| pool.has_passed(*fence))));
    let cancelled = |happening: &&Happening| {
        matches!(happening, Happening::Done { report, .. }
            if report.outcome == Outcome::Unsent(Fault::Cancelled) || report.outcome.received() == Some(true))
    };
    assert_eq!(out.iter().filter(cancelled).count(), 3, "{out:?}");
    // Their numbers are given again, and lead to the new flow.
    for (series, peer) in (10..).zip(peers) {
        let line = open(&mut pool, peer, &tcp);
        let tag = tag(&pool, series, 5, &tcp);
        pool.begin(line, tag, &tcp, &mut Vec::new());
        let out = until(&mut pool, |_, out| !out.is_empty());
        assert!(matches!(&out[..], [Happening::Done { tag: told, .. }] if *told == tag), "{out:?}");
    }
}

#[test]
fn the_end_waits_for_what_is_under_way() {
    let mut pool = pool(2);
    let peer = address(1, 1);
    let silent = UdpSocket::bind((peer, 0)).unwrap();
    let ike = spec("ike", silent.local_addr().unwrap().port());
    let line = open(&mut pool, peer, &ike);
    let tag = tag(&pool, 7, 1, &ike);
    pool.begin(line, tag, &ike, &mut Vec::new());
    pool.finish();
    let out = until(&mut pool, |pool, _| pool.unfinished() == 0);
    let lost = |happening: &Happening| {
        matches!(happening, Happening::Done { tag: told, report, .. }
            if *told == tag && matches!(report.outcome, Outcome::Lost(_)))
    };
    assert!(out.iter().any(lost), "{out:?}");
}

/// Randomness that a thread of a driver cannot have.
struct Stops(fn());

impl Entropy for Stops {
    fn fill(&mut self, bytes: &mut [u8]) {
        if std::thread::current().name().is_some_and(|name| name.starts_with("driver-")) {
            (self.0)();
        }
        Generator::from_os().fill(bytes);
    }
}

#[test]
fn a_thread_that_ends_is_told() {
    let entropy = || Box::new(Stops(|| panic!("this panic is part of the test"))) as Box<dyn Entropy>;
    let mut pool = Drivers::new(SystemClock::start(), 3, entropy).unwrap().start().unwrap();
    let ike = spec("ike", 500);
    let line = open(&mut pool, address(2, 2), &ike);
    let tag = tag(&pool, 0, 1, &ike);
    pool.begin(line, tag, &ike, &mut Vec::new());
    let mut out = Vec::new();
    let ended = (0..200).find_map(|_| {
        let at = pool.clock().now() + Duration::from_millis(100);
        pool.turn(at, &mut out).err()
    });
    assert!(ended.is_some_and(|error| error.to_string().contains("panicked")));
}

/// A driver that gets no further: it shows, and is given no more than it could do at once.
#[test]
fn a_thread_that_stands_still_is_no_sign_of_life() {
    static GATE: Mutex<Option<mpsc::Receiver<()>>> = Mutex::new(None);
    let (open_gate, gate) = mpsc::channel();
    *GATE.lock().unwrap() = Some(gate);
    let wait = || {
        let _ = GATE.lock().unwrap().as_ref().map(mpsc::Receiver::recv);
    };
    let mut drivers =
        Drivers::new(SystemClock::start(), 2, || Box::new(Stops(wait)) as Box<dyn Entropy>).unwrap();
    drivers.set_clock(SystemClock::start().counting_from(Timestamp::from_secs(1000)));
    let mut pool = drivers.start().unwrap();
    assert!(pool.turned() >= Timestamp::from_secs(1000), "all have the same clock");
    let peer = address(1, 1);
    let ike = spec("ike", 500);
    let line = open(&mut pool, peer, &ike);
    let tag = tag(&pool, 3, 1, &ike);
    let mut out = Vec::new();
    pool.begin(line, tag, &ike, &mut out);
    // Its last turn ended before it was given something to do.
    until(&mut pool, |pool, _| pool.others[0].is_idle());
    let (now, last) = (pool.clock().now(), pool.turned());
    assert!(last < now);
    for _ in 0..MOST_ORDERS {
        pool.begin(line, tag, &ike, &mut out);
    }
    assert!(out.is_empty());
    for _ in 0..2 {
        let at = pool.clock().now();
        pool.turn(at, &mut out).unwrap();
    }
    assert!(out.is_empty());
    pool.begin(line, tag, &ike, &mut out);
    let stalled = Outcome::Unsent(Fault::Stalled);
    assert!(matches!(&out[..], [Happening::Done { tag: told, report, .. }]
        if *told == tag && report.outcome == stalled));
    assert_eq!(pool.turned(), last, "the own driver goes on, the other does not");
    drop(open_gate);
}
