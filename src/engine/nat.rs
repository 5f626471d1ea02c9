//! The NATs on the way to STUN servers: whether a kept flow was given another mapping, and how long a
//! flow may be idle before it is.
//!
//! Invariants: one trial at a time on a target; none beyond the budget of its address; from the end of a
//! search to the beginning of the next it is `full_interval`.

use std::collections::HashMap;
use std::time::Duration;

use super::{Engine, Series};
use crate::detect::binding::Search;
use crate::detect::incident::{Clue, Incident, Stance};
use crate::detect::mapping::{Mapping, Rebound};
use crate::entropy::{Draw as _, Entropy};
use crate::export::metrics::SeriesMetrics;
use crate::net::{Driver, FlowId, Happening, Tag};
use crate::probe::Flow;
use crate::probe::stun::lifetime::{LIFETIME, Trial};
use crate::sample::{Mapped, Report, SeriesId};
use crate::time::{Clock, Timestamp, WallTime};

/// The first search of a series begins within this time.
const FIRST: Duration = Duration::from_secs(60);
/// How long a trial waits for another one on the same target.
const TURN: Duration = Duration::from_secs(2);
/// How long after a trial that showed nothing the next one is tried.
const AGAIN: Duration = Duration::from_secs(30);
/// A change of the mapping this long before an incident is told with it.
const BEFORE: Duration = Duration::from_secs(120);

/// What is known of one series.
struct Known {
    target: String,
    probe: String,
    mapping: Mapping,
    /// The last change, and when it was seen.
    rebound: Option<(Rebound, WallTime)>,
    search: Search,
    /// Whether the metrics show an earlier search until this one is over.
    shown: bool,
    due: Timestamp,
    /// The trial that is under way: its number, its flow, and how long it leaves that idle.
    trial: Option<(u64, FlowId, Duration)>,
}

/// What is known of all of them.
pub(super) struct Nats {
    known: HashMap<SeriesId, Known>,
    trials: u64,
    /// No trial is due before this.
    next: Timestamp,
}

impl Default for Nats {
    fn default() -> Self {
        Self { known: HashMap::new(), trials: 0, next: Timestamp::FAR }
    }
}

impl Nats {
    /// There is a new series that asks a STUN server.
    pub fn add(&mut self, id: SeriesId, series: &Series, now: Timestamp, draw: &mut dyn Entropy) {
        let first = u64::try_from(series.spec.full_interval.min(FIRST).as_nanos()).unwrap_or(u64::MAX);
        let known = Known {
            target: series.target.name.clone(),
            probe: series.spec.name.clone(),
            mapping: Mapping::default(),
            rebound: None,
            search: Search::default(),
            shown: false,
            due: now + Duration::from_nanos(draw.below(first)),
            trial: None,
        };
        self.next = self.next.min(known.due);
        self.known.insert(id, known);
    }

    /// A series is no more.
    pub fn remove(&mut self, id: SeriesId, driver: &mut Driver, out: &mut Vec<Happening>) {
        if let Some((_, flow, _)) = self.known.remove(&id).and_then(|known| known.trial) {
            driver.abandon(flow, out);
        }
    }

    /// No trial goes on.
    pub fn stop(&mut self, driver: &mut Driver, out: &mut Vec<Happening>) {
        self.next = Timestamp::FAR;
        for known in self.known.values_mut() {
            if let Some((_, flow, _)) = known.trial.take() {
                driver.abandon(flow, out);
            }
        }
    }

    /// When the next trial is due.
    pub const fn next(&self) -> Timestamp {
        self.next
    }

    /// Folds the mapping that the answer to the question due at `at` told.
    pub fn hear(
        &mut self,
        id: SeriesId,
        metrics: &SeriesMetrics,
        mapped: Mapped,
        (at, wall): (Timestamp, WallTime),
    ) {
        let (Some(known), Some(nat)) = (self.known.get_mut(&id), metrics.nat()) else { return };
        let Some(rebound) = known.mapping.observe(at, mapped) else { return };
        nat.changed();
        known.rebound = Some((rebound, wall));
        let key = metrics.key();
        tracing::warn!(
            target = key.target,
            member = key.member,
            probe = key.probe,
            egress = key.egress,
            from = %rebound.from,
            to = %rebound.to,
            silent = ?rebound.since.since(rebound.before),
            "a NAT on the way has forgotten our flow and made another mapping: what a VPN's peer sends to the \
             old one is lost"
        );
    }

    /// Adds to an incident what changed before and in it.
    pub fn add_clues(&self, incident: &mut Incident) {
        let mine = self.known.values().filter(|known| known.target == incident.target);
        for (known, rebound, at) in
            mine.filter_map(|known| known.rebound.map(|(rebound, at)| (known, rebound, at)))
        {
            let after = at.as_unix_nanos().saturating_sub(incident.began.as_unix_nanos());
            let early = i64::try_from(BEFORE.as_nanos()).unwrap_or(i64::MAX);
            let late = incident.ended.is_some_and(|ended| at > ended);
            if after < -early || late {
                continue;
            }
            let Rebound { from, to, .. } = rebound;
            let clue = Clue {
                stance: Stance::Changed,
                subject: "NAT mapping".to_owned(),
                text: format!("{}, at {at}: from {from} to {to}", known.probe),
            };
            if !incident.clues.contains(&clue) {
                incident.clues.push(clue);
            }
        }
    }
}

impl Engine {
    /// Begins the trials that are due.
    pub(super) fn run_trials(&mut self, now: Timestamp, out: &mut Vec<Happening>) {
        if self.nats.next() > now {
            return;
        }
        let due = self.nats.known.iter().filter(|(_, known)| known.due <= now).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            self.run_trial(id, now, out);
        }
        self.nats.next = self.nats.known.values().map(|known| known.due).min().unwrap_or(Timestamp::FAR);
    }

    fn run_trial(&mut self, id: SeriesId, now: Timestamp, out: &mut Vec<Happening>) {
        let series = self.series.get(id.0 as usize).and_then(Option::as_ref);
        let all = &mut self.nats.known;
        let Some(target) = all.get(&id).map(|known| known.target.clone()) else { return };
        let busy = all.values().any(|known| known.target == target && known.trial.is_some());
        let Some(known) = all.get_mut(&id) else { return };
        let Some((series, address)) = series.and_then(|series| Some((series, series.address?))) else {
            known.due = now + FIRST;
            return;
        };
        if busy {
            known.due = now + TURN;
            return;
        }
        if let Err(held) = self.budget.draw(address, &LIFETIME, now) {
            known.due = held.until + TURN;
            return;
        }
        if known.search.next().is_none() {
            known.search = Search::default();
        }
        let idle = known.search.next().unwrap_or(Search::FIRST);
        self.nats.trials += 1;
        let port = series.spec.port;
        let flow = self.driver.own().open(address, port, Flow::Fresh, std::sync::Arc::clone(&series.egress));
        known.trial = Some((self.nats.trials, flow, idle));
        known.due = Timestamp::FAR;
        let tag = Tag { series: id, seq: self.nats.trials, due: now, form: &LIFETIME };
        let timeout = series.spec.timeout;
        self.driver.own().begin_with(
            flow,
            tag,
            timeout,
            |start| Box::new(Trial::begin(port, idle, start)),
            out,
        );
    }

    /// Folds what a trial showed.
    pub(super) fn trial_done(&mut self, tag: Tag, report: &Report, out: &mut Vec<Happening>) {
        let Some(known) = self.nats.known.get_mut(&tag.series) else { return };
        let Some((_, flow, idle)) = known.trial.take_if(|(number, ..)| *number == tag.seq) else { return };
        self.driver.own().abandon(flow, out);
        let seen = report.findings.as_ref().and_then(|findings| findings.binding);
        known.search.take(idle, seen);
        let now = self.driver.clock().now();
        let over = known.search.next().is_none();
        let Some(series) = self.series.get(tag.series.0 as usize).and_then(Option::as_ref) else { return };
        known.due = now
            + match seen {
                _ if over => series.spec.full_interval,
                None => AGAIN,
                Some(_) => Duration::ZERO,
            };
        self.nats.next = self.nats.next.min(known.due);
        let (lifetime, unmeasured) = (known.search.lifetime(), known.search.unmeasured());
        let told = lifetime.at_least.is_some() || lifetime.at_most.is_some() || unmeasured.is_some();
        if let Some(nat) = series.metrics.nat()
            && told
            && (over || !known.shown)
        {
            nat.set_lifetime(lifetime, unmeasured);
        }
        if over {
            known.shown = told;
            let key = series.metrics.key();
            tracing::info!(
                target = key.target,
                member = key.member,
                probe = key.probe,
                egress = key.egress,
                lifetime = %lifetime,
                not_measurable = unmeasured.map_or("no", |why| why.as_str()),
                "searched how long a NAT remembers an idle flow"
            );
        }
    }
}
