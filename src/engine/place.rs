//! What configuration and members say becomes series: made, changed, kept or ended.
//!
//! Invariant: a series that did not change keeps its socket, its counters and what its detectors know.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::flows::Flows;
use super::members::Members;
use super::{Engine, Series, yardstick};
use crate::config::{Address, Config, Egress, Target};
use crate::detect::{About, Input, Placed};
use crate::entropy::Draw;
use crate::export::metrics::{MemberInfo, SeriesKey};
use crate::net::Happening;
use crate::probe::Spec;
use crate::probe::forms::Learner;
use crate::probe::stun;
use crate::sample::SeriesId;
use crate::time::{Clock, Timestamp, nanos};

/// From how many slots a second on wake-ups are gathered, and how long.
const GATHER_FROM: f64 = 200.0;
const TICK: Duration = Duration::from_millis(5);
/// The first rare form of a series runs within this time.
pub(super) const FIRST_RARE: Duration = Duration::from_secs(60);

impl Engine {
    /// Runs another configuration from now on; series that did not change go on as they are.
    pub(super) fn apply(&mut self, config: Arc<Config>, out: &mut Vec<Happening>) {
        self.budget.set_limits(config.budget.clone());
        let mut members = BTreeMap::new();
        for target in &config.targets {
            let same = self.config.targets.iter().find(|old| {
                old.name == target.name
                    && old.addresses == target.addresses
                    && old.family == target.family
                    && old.max_members == target.max_members
            });
            let kept = same.and_then(|_| self.members.remove(&target.name));
            let known = kept.unwrap_or_else(|| {
                let mut fresh = Members::new(target.max_members);
                let literal: Vec<IpAddr> = target
                    .addresses
                    .iter()
                    .filter_map(|address| match address {
                        Address::Ip(ip) => Some(*ip),
                        Address::Name(_) => None,
                    })
                    .collect();
                fresh.resolve(&literal);
                fresh
            });
            members.insert(target.name.clone(), known);
        }
        let old = std::mem::replace(&mut self.config, config);
        let gone = old.targets.iter().filter(|old| !members.contains_key(&old.name));
        let gone: Vec<_> = gone.map(|target| target.name.clone()).collect();
        self.members = members;
        self.rebuild(out);
        for name in gone {
            self.by_target.remove(&name);
            self.told.forget(&name);
            self.registry.remove_target(&name);
        }
    }

    /// Makes the series what configuration and members say.
    pub(super) fn rebuild(&mut self, out: &mut Vec<Happening>) {
        let config = Arc::clone(&self.config);
        let now = self.driver.clock().now();
        let (driver, free) = (&self.driver, &mut self.free);
        free.extend(self.leaving.extract_if(.., |(fence, _)| driver.has_passed(*fence)).map(|(_, id)| id));
        let mut wanted = HashSet::new();
        let shared = |(name, egress): (&String, &Egress)| (name.clone(), Arc::new(egress.clone()));
        let ways: BTreeMap<String, Arc<Egress>> = config.egress.iter().map(shared).collect();
        for target in &config.targets {
            let slots: Vec<_> =
                self.members.get(&target.name).map(|m| m.slots().collect()).unwrap_or_default();
            for (member, address) in slots {
                let info = MemberInfo { address, ..MemberInfo::default() };
                let known = self.registry.target(&target.name).members();
                if !known.iter().any(|(slot, old)| *slot == member && old.address == address) {
                    self.registry.target_info(&target.name, member, Some(info));
                }
                for egress in &*target.egress {
                    let way = ways.get(egress).cloned().unwrap_or_default();
                    for spec in &target.probes {
                        let key = SeriesKey {
                            target: target.name.clone(),
                            member,
                            probe: spec.name.clone(),
                            egress: egress.clone(),
                        };
                        wanted.insert(key.clone());
                        self.place(&key, target, spec, (address, &way), now, out);
                    }
                }
            }
        }
        let gone: Vec<_> = self.by_key.keys().filter(|key| !wanted.contains(key.as_ref())).cloned().collect();
        for key in gone {
            self.remove(&key, out);
            self.registry.remove(&key);
        }
        self.paths.retain(|key| wanted.contains(key));
        let members = |name: &str| self.members.get(name);
        self.sessions.rebuild(&config, members, self.driver.own(), &self.registry, out);
        self.insides.rebuild(&config, self.driver.own(), &self.registry, out);
        self.pairs.rebuild(&config, &self.by_key, &self.registry);
        let used = self.series.iter().flatten().filter_map(|series| series.address);
        let used: HashSet<IpAddr> = used.chain(self.insides.addresses()).collect();
        self.budget.retain(|address| used.contains(address), now);
        let tick = if self.schedule.rate() >= GATHER_FROM { TICK } else { Duration::ZERO };
        self.driver.set_tick(tick);
        for target in &config.targets {
            self.update_target(target);
        }
    }

    /// Makes one series, unless it is there already just so.
    fn place(
        &mut self,
        key: &SeriesKey,
        target: &Arc<Target>,
        spec: &Arc<Spec>,
        (address, egress): (Option<IpAddr>, &Arc<Egress>),
        now: Timestamp,
        out: &mut Vec<Happening>,
    ) {
        let known = self
            .by_key
            .get(key)
            .and_then(|id| self.series.get_mut(id.0 as usize))
            .and_then(Option::as_deref_mut);
        if let Some(series) = known
            && series.spec == *spec
            && series.address == address
            && series.egress == *egress
        {
            series.target = Arc::clone(target);
            series.metrics = self.registry.series(key.clone(), spec.kind, &self.config.buckets);
            series.metrics.pace(spec.interval, spec.timeout);
            if let Some(id) = self.by_key.get(key) {
                self.watch(*id, now);
            }
            return;
        }
        self.remove(key, out);
        let flow = address.map(|address| self.driver.open(address, spec.flow(), spec, egress));
        let forms = (spec.kind.forms)(spec);
        let metrics = self.registry.series(key.clone(), spec.kind, &self.config.buckets);
        metrics.begin(spec.interval, spec.timeout);
        let shared_key = Arc::clone(metrics.key());
        let series = Series {
            target: Arc::clone(target),
            spec: Arc::clone(spec),
            member: key.member,
            address,
            egress: Arc::clone(egress),
            flow,
            learner: Learner::new(forms),
            flows: Flows::default(),
            fresh: None,
            heard: None,
            metrics,
            dpd: Arc::new([]),
            seq: 0,
        };
        let id = SeriesId(insert(&mut self.series, &mut self.free, Box::new(series)));
        self.by_key.insert(shared_key, id);
        self.by_target.entry(key.target.clone()).or_default().push(id);
        self.watch(id, now);
        // The same probe over other ways out has the same instants, so that they can be compared.
        let other = |egress: &String| self.by_key.get(&SeriesKey { egress: egress.clone(), ..key.clone() });
        match target.egress.iter().filter_map(other).find(|other| **other != id).copied() {
            Some(other) => {
                self.schedule.add_beside(id, other, spec.interval, now, self.driver.entropy());
            }
            None => self.schedule.add(id, spec.interval, now, self.driver.entropy()),
        }
        if let Some(series) = self.series.get(id.0 as usize).and_then(Option::as_ref)
            && series.spec.kind.name == stun::INFO.name
        {
            self.nats.add(id, series, now, self.driver.entropy());
        }
        for (form, _) in forms.iter().enumerate().filter(|(_, form)| form.rare) {
            let first = spec.full_interval.min(FIRST_RARE);
            let nanos = nanos(first);
            let at = now + Duration::from_nanos(self.driver.entropy().below(nanos));
            self.rare.add(id, form, at);
        }
    }

    /// Has the collector watch a series as configured now.
    fn watch(&mut self, id: SeriesId, now: Timestamp) {
        let Some(series) = self.series.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else { return };
        let Series { target, spec, .. } = &*series;
        let mut profiles =
            target.dpd.as_ref().filter(|dpd| dpd.from == spec.name).map(|dpd| Arc::clone(&dpd.profiles));
        if let (Some(all), Some(plan), 1) = (&mut profiles, &target.session, series.member)
            && target.egress.first() == Some(&series.metrics.key().egress)
        {
            *all = all.iter().cloned().chain([yardstick::profile(plan)]).collect();
        }
        let placed = Placed {
            about: About {
                target: target.name.clone(),
                member: series.member,
                address: series.address,
                probe: spec.name.clone(),
                kind: spec.kind.name,
                egress: series.metrics.key().egress.clone(),
                carrier: spec.carrier(),
                port: spec.flow().1,
                interval: spec.interval,
                timeout: spec.timeout,
            },
            damping: self.config.flap,
            profiles: profiles.unwrap_or_default(),
        };
        self.collector.take(Input::Place { series: id, placed: &placed, now }, &mut self.found);
        series.dpd = series.metrics.dpd(placed.profiles.iter().map(|profile| profile.name.as_str()));
        if let Some(track) = self.collector.track(id) {
            for ((_, survival), metrics) in track.dpd().zip(series.dpd.iter()) {
                metrics.set_judged(survival.is_some());
            }
        }
        self.show(id, now, true);
    }

    /// Ends a series; its metrics stay for whoever takes the key.
    fn remove(&mut self, key: &SeriesKey, out: &mut Vec<Happening>) {
        let Some(id) = self.by_key.remove(key) else { return };
        let now = self.driver.clock().now();
        self.collector.take(Input::Remove { series: id, now }, &mut self.found);
        self.schedule.remove(id);
        self.rare.remove(id);
        self.held.forget(id);
        self.held_rare.values_mut().for_each(|held| held.forget(id));
        self.nats.remove(id, self.driver.own(), out);
        if let Some(ids) = self.by_target.get_mut(&key.target) {
            ids.retain(|other| *other != id);
        }
        let Some(series) = self.series.get_mut(id.0 as usize).and_then(Option::take) else { return };
        for flow in series.fresh.into_iter().chain(series.flow) {
            self.driver.close(flow, out);
        }
        // Else what is still said of it would be taken for the next one's.
        match series.flow.and_then(|flow| self.driver.fence(flow)) {
            Some(fence) => self.leaving.push((fence, id.0)),
            None => self.free.push(id.0),
        }
    }
}

/// Puts a value into a free slot, or a new one, and tells which.
fn insert<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(index) = free.pop()
        && let Some(slot) = slots.get_mut(index as usize)
    {
        *slot = Some(value);
        return index;
    }
    slots.push(Some(value));
    u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
}
