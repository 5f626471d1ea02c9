//! What the traces make of the paths, and the thorough trace of an outage.
//!
//! Invariant: a target is looked at thoroughly at most once in [`PAUSE`], however often it falls.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{BY_HAND, Engine};
use crate::config::Egress;
use crate::detect::Input;
use crate::detect::path::{PathWatch, Shown, Sight};
use crate::export::metrics::{SeriesKey, SeriesMetrics};
use crate::net::{Happening, Tag, way};
use crate::probe::trace::DEEP;
use crate::sample::{Findings, SeriesId};
use crate::time::{Clock, Timestamp, WallTime};

/// From one thorough trace of a member to the next.
const PAUSE: Duration = Duration::from_secs(60);
/// How long one that the budget holds back is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the paths of all traces.
#[derive(Default)]
pub(super) struct Paths {
    known: HashMap<Arc<SeriesKey>, Known>,
    /// Members that are to be looked at, and when each was last.
    wanted: Vec<(String, u8, Timestamp)>,
    looked: HashMap<(String, u8), Timestamp>,
    /// Traces that an incident waits for, and since when.
    asked: Vec<(SeriesId, Timestamp)>,
}

struct Known {
    address: IpAddr,
    watch: PathWatch,
    first: Option<IpAddr>,
}

impl Paths {
    /// Folds what a trace or a search of the MTU found; tells what a trace showed of a path that was known.
    pub fn hear(
        &mut self,
        metrics: &SeriesMetrics,
        egress: &Egress,
        findings: &Findings,
        began: Timestamp,
        (at, wall): (Timestamp, WallTime),
    ) -> Option<Sight> {
        let path = metrics.path()?;
        if let Some(mtu) = findings.mtu {
            path.set(|now| now.mtu = Some(mtu));
        }
        let seen = findings.path.as_ref()?;
        let key = metrics.key();
        let fresh = || Known { address: seen.peer, watch: PathWatch::new(), first: None };
        let known = self.known.entry(Arc::clone(key)).or_insert_with(fresh);
        if known.address != seen.peer {
            *known = fresh();
        }
        let sight = known.watch.look(seen, began, at);
        let change = sight
            .and_then(|sight| if let Shown::Changed(change) = sight.shown { Some(change) } else { None });
        if let Some(change) = change {
            path.changed(wall);
            let hops: Vec<String> = seen
                .hops
                .iter()
                .map(|hop| hop.address().map_or_else(|| "*".to_owned(), |address| address.to_string()))
                .collect();
            tracing::warn!(
                target = key.target,
                member = key.member,
                egress = key.egress,
                over = seen.over,
                from = format!("{:016x}", change.from),
                to = format!("{:016x}", change.to),
                hops = hops.join(" "),
                "the path has changed"
            );
        }
        // The host's routes are read again only when they may have changed.
        let first = seen.hops.first().and_then(crate::sample::path::HopSeen::address);
        let known_way = path.now().first_hop.is_some() && change.is_none() && known.first == first;
        let way = if known_way { path.now().way } else { way::towards(seen.peer, egress) };
        known.first = first;
        let class = crate::detect::path::FirstHop::of(seen, &way);
        let variants = known.watch.variants().map(|(ttl, addresses)| (ttl, addresses.collect())).collect();
        let id = known.watch.id();
        path.set(|now| {
            now.seen = Some((wall, Arc::new(seen.clone())));
            now.hops = seen.length().or(now.hops);
            now.first_hop = Some(class);
            now.way = way;
            now.variants = variants;
            now.id = id;
        });
        sight
    }

    /// Asks for a trace, for an incident waits for it.
    pub fn ask(&mut self, series: SeriesId, now: Timestamp) {
        if !self.asked.iter().any(|(other, _)| *other == series) {
            self.asked.push((series, now));
        }
    }

    /// Asks for a thorough trace of a member, for it has just fallen silent.
    pub fn want(&mut self, target: &str, member: u8, now: Timestamp) {
        let known = self.wanted.iter().any(|(name, slot, _)| name == target && *slot == member);
        if !known
            && self.looked.get(&(target.to_owned(), member)).is_none_or(|last| now.since(*last) >= PAUSE)
        {
            self.wanted.push((target.to_owned(), member, now));
        }
    }

    /// Forgets what is configured no more.
    pub fn retain(&mut self, keep: impl Fn(&SeriesKey) -> bool) {
        self.known.retain(|key, _| keep(key));
        let known = &self.known;
        self.looked.retain(|(target, member), _| {
            known.keys().any(|key| key.target == *target && key.member == *member)
        });
    }
}

impl Engine {
    /// What the thorough traces of a target have seen since `began`: by member, in the order of their slots.
    pub(super) fn looked(&self, target: &str, began: WallTime) -> Option<serde_json::Value> {
        let ids = self.by_target.get(target)?;
        let mut seen = Vec::new();
        for series in ids.iter().filter_map(|id| self.series.get(id.0 as usize)?.as_ref()) {
            let deep = series.metrics.path().and_then(|path| path.now().deep);
            if let Some((at, path)) = deep.filter(|(at, _)| *at >= began) {
                let path = serde_json::to_value(&*path).ok()?;
                seen.push(serde_json::json!({"member": series.member, "time": at.to_string(), "path": path}));
            }
        }
        (!seen.is_empty()).then(|| seen.into())
    }

    /// Folds what a series found of its path, by its schedule or asked for.
    pub(super) fn traced(
        &mut self,
        id: SeriesId,
        findings: Option<&Findings>,
        (began, done): (Timestamp, Timestamp),
    ) {
        let Some(findings) = findings.filter(|findings| findings.path.is_some() || findings.mtu.is_some())
        else {
            return;
        };
        let Some(series) = self.series.get(id.0 as usize).and_then(Option::as_ref) else { return };
        let wall = self.driver.clock().wall();
        let sight = self.paths.hear(&series.metrics, &series.egress, findings, began, (done, wall));
        if let Some(sight) = sight {
            self.collector.take(Input::Path { series: id, sight }, &mut self.found);
        }
    }

    /// Begins the traces that were asked for.
    pub(super) fn look(&mut self, out: &mut Vec<Happening>) {
        for (id, since) in std::mem::take(&mut self.paths.asked) {
            if !self.trace_now(id, out) && self.driver.clock().now().since(since) < PATIENCE {
                self.paths.asked.push((id, since));
            }
        }
        for (target, member, since) in std::mem::take(&mut self.paths.wanted) {
            let begun = self.deep_trace(&target, member, out);
            if !begun && self.driver.clock().now().since(since) < PATIENCE {
                self.paths.wanted.push((target, member, since));
            }
        }
    }

    /// Traces as the schedule does, beside it. Whether that was begun, or cannot be: not beyond the budget.
    fn trace_now(&mut self, id: SeriesId, out: &mut Vec<Happening>) -> bool {
        let now = self.driver.clock().now();
        let Some(series) = self.series.get(id.0 as usize).and_then(Option::as_ref) else { return true };
        let (Some(address), Some(flow)) = (series.address, series.flow) else { return true };
        let form = series.learner.form(series.seq);
        if self.budget.draw(address, form, now).is_err() {
            return false;
        }
        self.asked += 1;
        let tag = Tag { series: id, seq: BY_HAND | self.asked, due: now, form };
        self.driver.begin(flow, tag, &series.spec, out);
        true
    }

    /// Traces a member thoroughly now, over the flow and the first way out that its trace has.
    /// Whether one was begun: not without a probe of kind `trace`, nor twice in a minute, nor
    /// beyond the budget.
    fn deep_trace(&mut self, target: &str, member: u8, out: &mut Vec<Happening>) -> bool {
        let now = self.driver.clock().now();
        let place = (target.to_owned(), member);
        if self.paths.looked.get(&place).is_some_and(|last| now.since(*last) < PAUSE) {
            return false;
        }
        let ids = self.by_target.get(target).map_or(&[][..], Vec::as_slice);
        let found = ids.iter().find_map(|id| {
            let series = self.series.get(id.0 as usize)?.as_ref()?;
            let ours = series.spec.kind.name == "trace" && series.member == member;
            ours.then_some((*id, series, series.address?, series.flow?))
        });
        let Some((id, series, address, flow)) = found else { return false };
        if self.budget.draw(address, &DEEP, now).is_err() {
            return false;
        }
        self.paths.looked.insert(place, now);
        self.asked += 1;
        let tag = Tag { series: id, seq: BY_HAND | self.asked, due: now, form: &DEEP };
        let (metrics, clock) = (Arc::clone(&series.metrics), self.driver.clock());
        let reply = move |result: Result<(IpAddr, crate::sample::Report), String>| {
            let Ok((_, report)) = result else { return };
            let Some(seen) = report.findings.and_then(|findings| findings.path) else { return };
            let seen = Arc::new(seen);
            if let Some(path) = metrics.path() {
                path.set(|now| now.deep = Some((clock.wall(), Arc::clone(&seen))));
            }
            let key = metrics.key();
            let last = seen.last().and_then(crate::sample::path::HopSeen::address);
            tracing::info!(
                target = key.target,
                member = key.member,
                over = seen.over,
                end = seen.end.as_str(),
                last = last.map_or_else(|| "none".to_owned(), |last| last.to_string()),
                "traced in the outage"
            );
        };
        self.by_hand.insert((id, tag.seq), Box::new(reply));
        self.driver.begin(flow, tag, &series.spec, out);
        true
    }
}
