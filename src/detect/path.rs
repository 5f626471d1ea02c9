//! Paths over time: when a path has changed, and when load balancing only looks like it.
//!
//! Each place of a path (the address at a hop limit; the number of hops) is a set: load balancers show
//! several addresses in turn. A new address joins its set; a change is told only when chance among
//! equal next hops is ruled out: with `m` addresses known from `n` runs, and then `s` runs in a row that
//! show none of them but `k` others, balancing over `w = m + k` equal hops would show that with a
//! probability of at most `C(w, m) · (m/w)^n · (k/w)^s`. Where that is below [`CHANCE`], and the run is at
//! least [`RUN`] long, the path has changed.
//!
//! Invariants: silence is no change (routers limit their answers); a path that is merely cut off at some
//! hop has not changed; what a new flow shows first is no change; a path that comes back has the id it had.
//!
//! Augustin et al., "Measuring load-balanced paths in the Internet", IMC 2007: the stopping rule, and its
//! assumption of equal shares.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::sample::path::{HopSeen, PathEnd, PathSeen, Way};
use crate::time::Timestamp;
use crate::words;

/// How small the chance of a false change must be, per place: one in ten million.
pub const CHANCE: f64 = 1e-7;
/// How many runs in a row must show the new path.
pub const RUN: u32 = 3;
/// How many earlier paths are remembered.
const REMEMBERED: usize = 8;
/// The most addresses kept of one place; a router that makes up addresses gets no more room.
const SET: usize = 64;

words! {
    /// What the first hop is: a closed set, a metric label. Private ranges tell what is usual, not what
    /// is certain.
    pub enum FirstHop {
        /// Packets leave through a tunnel of this host.
        Tunnel = "tunnel",
        /// 192.168.0.0/16: as routers at home have it.
        HomeRouter = "home_router",
        /// 10.0.0.0/8, 172.16.0.0/12 or fc00::/7: as company networks have it.
        OfficeRouter = "office_router",
        /// 100.64.0.0/10 (RFC 6598): the provider translates addresses.
        CarrierNat = "carrier_nat",
        /// A public address.
        ProviderRouter = "provider_router",
        /// A link-local address.
        LinkLocal = "link_local",
        /// No router: the destination is on our own link.
        OnLink = "on_link",
        /// It does not answer, and the host's routes name none.
        Silent = "silent",
    }
}

impl FirstHop {
    /// What the first hop of a path is. A silent one is taken to be the host's default gateway.
    #[must_use]
    pub fn of(seen: &PathSeen, way: &Way) -> Self {
        if way.tunnel {
            return Self::Tunnel;
        }
        if seen.hops.len() == 1 && seen.end == PathEnd::Reached {
            return Self::OnLink;
        }
        match seen.hops.first().and_then(HopSeen::address).or(way.gateway) {
            None => Self::Silent,
            Some(IpAddr::V4(address)) => match address.octets() {
                [192, 168, ..] => Self::HomeRouter,
                [10, ..] | [172, 16..=31, ..] => Self::OfficeRouter,
                [100, 64..=127, ..] => Self::CarrierNat,
                [169, 254, ..] => Self::LinkLocal,
                _ => Self::ProviderRouter,
            },
            Some(IpAddr::V6(address)) => match address.segments() {
                [0xfc00..=0xfdff, ..] => Self::OfficeRouter,
                [0xfe80..=0xfebf, ..] => Self::LinkLocal,
                _ => Self::ProviderRouter,
            },
        }
    }
}

/// A change of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathChange {
    /// The id of the path before.
    pub from: u64,
    /// The id of the path now.
    pub to: u64,
    /// When the first run showed it.
    pub since: Timestamp,
    /// The first hop that is another one; 0 if only the number of hops is.
    pub hop: u8,
    /// How many runs in a row have shown it by now.
    pub runs: u32,
}

/// One trace, held against the path that was known before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// When its first packet was sent: what it shows of the first hops may be so old.
    pub began: Timestamp,
    /// When it ended.
    pub at: Timestamp,
    /// What it showed.
    pub shown: Shown,
}

/// What a trace showed of a path that was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All that answered was known, and so is how far it goes.
    Same,
    /// All that answered was known, and it is cut off: nothing is known of its rest.
    Cut {
        /// The last hop that answered; 0 if none did.
        hop: u8,
        /// The last router that has ever answered.
        of: u8,
    },
    /// Something new at this hop, 0 if only the number of hops was; it may be load balancing.
    New(u8),
    /// It is another path: load balancing is ruled out.
    Changed(PathChange),
}

/// A place of a path: what the hop limit meets (1 …), or the number of hops (0).
type Place = u8;
/// What is seen there; the number of hops as an address of its value.
type Seen = IpAddr;

/// What is known of a place.
#[derive(Debug, Clone, Default)]
struct Spot {
    known: BTreeSet<Seen>,
    runs: u32,
}

/// A path with all its variants.
#[derive(Debug, Clone)]
struct Route {
    id: u64,
    spots: BTreeMap<Place, Spot>,
}

/// What a place has shown since it last showed what is known of it.
#[derive(Debug, Clone, Default)]
struct Streak {
    new: BTreeSet<Seen>,
    runs: u32,
}

/// The detector: one a series of traces.
#[derive(Debug, Clone, Default)]
pub struct PathWatch {
    route: Option<Route>,
    streaks: BTreeMap<Place, Streak>,
    /// The runs since the first that showed something new, oldest first.
    recent: VecDeque<(Timestamp, Vec<(Place, Seen)>)>,
    former: VecDeque<Route>,
    flow: Option<u16>,
    /// When the last trace began.
    began: Timestamp,
}

impl PathWatch {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The id of the path now; the same path has the same id as long as this detector lives.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.route.as_ref().map(|route| route.id)
    }

    /// The addresses known of each hop limit, load balanced ones together.
    pub fn variants(&self) -> impl Iterator<Item = (u8, impl Iterator<Item = IpAddr>)> {
        let spots = self.route.iter().flat_map(|route| &route.spots).filter(|(place, _)| **place > 0);
        spots.map(|(place, spot)| (*place, spot.known.iter().copied()))
    }

    /// Folds one trace, and tells what it showed. Nothing of the first trace, nor of one over another flow,
    /// for that may take another of several equal ways. One that began before another that ended already is
    /// left out: it waited for silent hops, and what it shows may be older.
    pub fn look(&mut self, seen: &PathSeen, began: Timestamp, at: Timestamp) -> Option<Sight> {
        if began < self.began {
            return None;
        }
        self.began = began;
        let places = places(seen);
        let same_flow = seen.flow.is_none() || self.flow.is_none() || seen.flow == self.flow;
        let new = self.route.as_ref().map(|route| route.first_new(&places));
        let whole = |route: &Route| route.spots.get(&0).is_none_or(|spot| spot.known.is_empty());
        let arrived = seen.last().is_some_and(|hop| hop.address() == Some(seen.peer));
        let cut = !arrived && !self.route.as_ref().is_none_or(whole);
        let of = self.route.as_ref().and_then(|route| route.spots.keys().max()).copied().unwrap_or_default();
        let shown = match (self.observe(seen, at), new?) {
            (Some(change), _) => Shown::Changed(change),
            _ if !same_flow => return None,
            (None, Some(hop)) => Shown::New(hop),
            (None, None) if cut => Shown::Cut { hop: seen.last().map_or(0, |hop| hop.ttl), of },
            (None, None) => Shown::Same,
        };
        Some(Sight { began, at, shown })
    }

    /// Folds one trace that ended `at`.
    pub fn observe(&mut self, seen: &PathSeen, at: Timestamp) -> Option<PathChange> {
        let places = places(seen);
        if places.is_empty() {
            return None;
        }
        // Balancers go by the flow: what another local port meets is a variant until it changes by itself.
        let other_flow = seen.flow.zip(self.flow).is_some_and(|(now, before)| now != before);
        self.flow = seen.flow;
        let Some(route) = &mut self.route else {
            self.route = Some(Route::of(&places));
            return None;
        };
        let mut doubt = false;
        let mut changed = false;
        for (place, value) in &places {
            let spot = route.spots.entry(*place).or_default();
            if spot.known.is_empty() || other_flow || spot.known.contains(value) {
                // What was new is a variant, for the known has shown again.
                if let Some(streak) = self.streaks.remove(place) {
                    spot.runs = spot.runs.saturating_add(streak.runs);
                    for variant in streak.new {
                        spot.learn(variant);
                    }
                }
                spot.learn(*value);
                spot.runs = spot.runs.saturating_add(1);
                continue;
            }
            let streak = self.streaks.entry(*place).or_default();
            streak.runs = streak.runs.saturating_add(1);
            if streak.new.len() < SET {
                streak.new.insert(*value);
            }
            doubt = true;
            changed |= streak.runs >= RUN
                && chance(spot.known.len(), spot.runs, streak.new.len(), streak.runs) < CHANCE.ln();
        }
        if !doubt && self.streaks.is_empty() {
            self.recent.clear();
            return None;
        }
        self.recent.push_back((at, places));
        if self.recent.len() > 64 {
            self.recent.pop_front();
        }
        changed.then(|| self.change()).flatten()
    }

    /// Goes over to the path that the recent runs show.
    fn change(&mut self) -> Option<PathChange> {
        let old = self.route.take()?;
        let from = old.id;
        // The old path may have gone on for some of them, at the places that are the same anyway.
        let is_new = |places: &[(Place, Seen)]| {
            places
                .iter()
                .any(|(place, value)| old.spots.get(place).is_none_or(|spot| !spot.known.contains(value)))
        };
        let fresh: Vec<_> = self.recent.drain(..).filter(|(_, places)| is_new(places)).collect();
        self.streaks.clear();
        let (since, first) = fresh.first()?;
        let since = *since;
        let hop = fresh.iter().filter_map(|(_, places)| old.first_new(places)).filter(|hop| *hop > 0).min();
        let hop = hop.unwrap_or_default();
        let runs = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        let back = self.former.iter().position(|route| fresh.iter().all(|(_, places)| route.allows(places)));
        let mut route = back.and_then(|index| self.former.remove(index)).unwrap_or_else(|| Route::of(first));
        for (_, places) in &fresh {
            route.take(places);
        }
        let to = route.id;
        self.former.push_back(old);
        if self.former.len() > REMEMBERED {
            self.former.pop_front();
        }
        self.route = Some(route);
        (from != to).then_some(PathChange { from, to, since, hop, runs })
    }
}

impl Spot {
    fn learn(&mut self, value: Seen) {
        if self.known.len() < SET {
            self.known.insert(value);
        }
    }
}

impl Route {
    fn of(places: &[(Place, Seen)]) -> Self {
        let mut route = Self { id: id(places), spots: BTreeMap::new() };
        route.take(places);
        route
    }

    fn take(&mut self, places: &[(Place, Seen)]) {
        for (place, value) in places {
            let spot = self.spots.entry(*place).or_default();
            spot.learn(*value);
            spot.runs = spot.runs.saturating_add(1);
        }
    }

    /// The first place where a run shows what is not known of this path; the number of hops comes last.
    fn first_new(&self, places: &[(Place, Seen)]) -> Option<Place> {
        let new = |(place, value): &&(Place, Seen)| {
            self.spots.get(place).is_some_and(|spot| !spot.known.is_empty() && !spot.known.contains(value))
        };
        places.iter().filter(new).map(|(place, _)| *place).min_by_key(|place| (*place == 0, *place))
    }

    /// Whether a run shows nothing that this path has not.
    fn allows(&self, places: &[(Place, Seen)]) -> bool {
        places.iter().all(|(place, value)| {
            self.spots.get(place).is_none_or(|spot| spot.known.is_empty() || spot.known.contains(value))
        })
    }
}

/// What a trace shows at which place. Hops with several addresses in one run show each but the first too
/// seldom to count.
fn places(seen: &PathSeen) -> Vec<(Place, Seen)> {
    let hops = seen.hops.iter().filter(|hop| hop.address() != Some(seen.peer));
    let mut places: Vec<_> = hops.filter_map(|hop| Some((hop.ttl, hop.address()?))).collect();
    if let Some(length) = seen.length() {
        let length = u128::try_from(length).unwrap_or(u128::MAX);
        places.push((0, IpAddr::V6(length.into())));
    }
    places
}

/// The logarithm of the chance that balancing over equal hops shows so many of them in the runs before,
/// and then so many others in the runs after.
fn chance(known: usize, before: u32, others: usize, after: u32) -> f64 {
    let [known, others] = [known, others].map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    let all = known + others;
    // The binomial coefficient: which of them are the known ones.
    let mut choices = 0.0;
    let mut chosen = 1.0;
    while chosen <= others {
        choices += ((known + chosen) / chosen).ln();
        chosen += 1.0;
    }
    choices + f64::from(before) * (known / all).ln() + f64::from(after) * (others / all).ln()
}

/// FNV-1a over the places of a path's first run.
fn id(places: &[(Place, Seen)]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for (place, value) in places {
        eat(*place);
        match value {
            IpAddr::V4(v4) => v4.octets().into_iter().for_each(&mut eat),
            IpAddr::V6(v6) => v6.octets().into_iter().for_each(&mut eat),
        }
    }
    hash
}

#[cfg(test)]
mod tests;
