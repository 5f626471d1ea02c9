//! Paths beside labelled faults: routers that answer or do not, balancers, and paths that turn with the
//! fault or at another time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use vpnprobe::detect::About;
use vpnprobe::detect::incident::Cause;
use vpnprobe::detect::path::{PathWatch, Sight};
use vpnprobe::sample::SeriesId;
use vpnprobe::sample::path::{HopAnswer, HopSeen, PathEnd, PathSeen};
use vpnprobe::time::Timestamp;

use super::causes::Hit;
use super::traces::{Random, Span, seconds};

/// Where a path turns: at which time, from which hop on, to how many other hops.
#[derive(Clone, Copy)]
struct Turn {
    at: f64,
    hop: u8,
    length: u8,
}

/// The paths of a fleet, one a series of traces.
pub struct Paths {
    random: Random,
    truth: Cause,
    fault: Span,
    hit: Hit,
    /// Runs before the first, a minute apart.
    known: u64,
    /// Equal ways that a balancer at hop 3 draws from for each packet.
    width: u64,
    /// How often a hop is silent, for it limits its answers.
    silent: f64,
    turn: Option<Turn>,
    /// The last hop that answers while the fault is there.
    last: u8,
    watches: HashMap<SeriesId, PathWatch>,
}

const HOPS: u8 = 6;
/// Two changes that are this far from each other have nothing to do with each other.
const APART: f64 = 150.0;

impl Paths {
    pub fn drawn(own: &mut Random, truth: Cause, fault: Span, hit: Hit) -> Self {
        let mut random = Random::new(own.u64());
        let (begin, end) = fault;
        let at = match truth {
            // It takes routers a while to find another way; what is lost meanwhile is the outage.
            Cause::PathChanged if random.chance(0.7) => Some(end),
            // Or they have found it, and it is not whole yet.
            Cause::PathChanged => Some(begin + random.within(0.0, 1.0) * (end - begin)),
            // A line that is switched over; a service that stops, or is filtered, as the path turns.
            _ if random.chance(0.2) && truth != Cause::Box && truth != Cause::OneMember => Some(begin),
            _ if random.chance(0.2) => Some(begin - random.within(APART, 350.0)),
            _ if random.chance(0.2) => Some(end + random.within(APART, 290.0)),
            _ => None,
        };
        let hop = 2 + u8::try_from(random.u64() % 3).unwrap();
        let length = 1 + u8::try_from(random.u64() % 4).unwrap();
        let last = match truth {
            Cause::OwnLine => u8::try_from(random.u64() % 3).unwrap(),
            // The way is lost before where it turns.
            Cause::PathChanged => hop - 1 + u8::try_from(random.u64() % 2).unwrap(),
            _ => HOPS - u8::try_from(random.u64() % 2).unwrap(),
        };
        Self {
            truth,
            fault,
            hit,
            known: random.pick(&[30, 60, 300, 1440]),
            width: random.pick(&[1, 1, 1, 2, 3, 4]),
            silent: random.pick(&[0.0, 0.0, 0.1, 0.3]),
            turn: at.map(|at| Turn { at, hop, length }),
            last,
            watches: HashMap::new(),
            random,
        }
    }

    /// What a trace that ends `at` shows.
    pub fn trace(&mut self, series: SeriesId, about: &About, at: Timestamp) -> Option<Sight> {
        if !self.watches.contains_key(&series) {
            let mut watch = PathWatch::new();
            for _ in 0..self.known {
                let seen = self.seen(about, 0.0);
                watch.look(&seen, Timestamp::ZERO, Timestamp::ZERO);
            }
            self.watches.insert(series, watch);
        }
        let seen = self.seen(about, seconds(at));
        self.watches.get_mut(&series)?.look(&seen, at, at)
    }

    fn seen(&mut self, about: &About, at: f64) -> PathSeen {
        let peer = about.address.unwrap();
        let (begin, end) = self.fault;
        let cut = (self.hit)(about) && (begin..end).contains(&at);
        let own = about.target == "t0" || self.truth == Cause::OwnLine;
        let turn = self.turn.filter(|turn| own && turn.at <= at);
        let mut path: Vec<IpAddr> = (1..=HOPS)
            .map(|hop| {
                let way = if hop == 3 { u8::try_from(self.random.u64() % self.width).unwrap() } else { 0 };
                IpAddr::from([10, hop, way, peer_octet(peer)])
            })
            .collect();
        if let Some(Turn { hop, length, .. }) = turn {
            let tail = path.split_off(usize::from(HOPS) - 1);
            path.truncate(usize::from(hop) - 1);
            path.extend((0..length).map(|n| IpAddr::from([11, n, 0, peer_octet(peer)])));
            path.extend(tail);
        }
        if cut {
            path.truncate(usize::from(self.last));
        } else {
            path.push(peer);
        }
        let hop = |(address, ttl): (IpAddr, u8)| {
            let silent = address != peer && self.random.chance(self.silent);
            let answer = HopAnswer { address: Some(address), rtt: Duration::ZERO, labels: Vec::new() };
            HopSeen { ttl, asked: 1, answers: if silent { Vec::new() } else { vec![answer] } }
        };
        PathSeen {
            over: "ike",
            peer,
            port: 500,
            flow: Some(40_000),
            hops: path.into_iter().zip(1..).map(hop).collect(),
            end: if cut { PathEnd::Silent } else { PathEnd::Reached },
            reason: None,
            looping: false,
            unplaced: Vec::new(),
            packets: 0,
            took: Duration::ZERO,
            deep: false,
        }
    }
}

fn peer_octet(peer: IpAddr) -> u8 {
    match peer {
        IpAddr::V4(peer) => peer.octets()[2],
        IpAddr::V6(_) => 0,
    }
}
