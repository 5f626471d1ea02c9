//! What the detectors found: shown, acted on, and handed to what outlives this process.
//!
//! Invariant: nothing here moves a due time.

use std::sync::Arc;

use super::{Engine, Series};
use crate::config::Target;
use crate::detect::dpd::Profile;
use crate::detect::liveness::{State, combine};
use crate::detect::{Found, Input, Stage, Transition};
use crate::sample::Carrier;
use crate::store::Snapshot;
use crate::time::{Clock, Timestamp};

impl Engine {
    /// Tells the collector the time when it wants to know it.
    pub(super) fn tick(&mut self, now: Timestamp) {
        if now < self.collector.deadline() {
            return;
        }
        let clock = self.driver.clock();
        let (now, wall) = (clock.now(), clock.wall());
        self.collector.take(Input::Tick { now, wall }, &mut self.found);
        self.heed();
    }

    /// Acts on what the collector found.
    pub(super) fn heed(&mut self) {
        for found in std::mem::take(&mut self.found) {
            match found {
                Found::Transition(id, transition) => {
                    self.with(id, |series| series.metrics.transition(&transition));
                    let series = self.series.get(id.0 as usize).and_then(Option::as_deref);
                    match (transition, series) {
                        (Transition::State { .. }, Some(series)) => self.update_target(&series.target),
                        (Transition::OutageBegan { .. }, Some(series))
                            if series.spec.kind.name != "trace" =>
                        {
                            let now = self.driver.clock().now();
                            self.paths.want(&series.target.name, series.member, now);
                        }
                        _ => {}
                    }
                }
                Found::Teardown { series, place, sure, expected } => self.with(series, |series| {
                    if let Some(metrics) = series.dpd.get(place) {
                        metrics.add(sure, expected);
                    }
                }),
                Found::Verdict { series, place, verdict } => {
                    let Some(track) = self.collector.track(series) else { continue };
                    let name = track.dpd().nth(place).map(|(profile, _)| profile.name.as_str());
                    if name == Some(Profile::SESSION) {
                        self.sessions.foretold(&track.about().into(), verdict, self.driver.clock().now());
                    }
                }
                Found::Wanted(id) => self.paths.ask(id, self.driver.clock().now()),
                Found::Incident(stage, mut incident) => {
                    incident.path = incident.path.or_else(|| self.looked(&incident.target, incident.began));
                    self.nats.add_clues(&mut incident);
                    // One that was removed has no metrics any more.
                    if let (Stage::Decided, Some(cause)) = (stage, incident.cause)
                        && self.by_target.contains_key(&incident.target)
                    {
                        self.registry.target(&incident.target).incident(cause);
                    }
                    if let Some(feed) = &self.feed {
                        feed.incident(incident);
                        // What the next process would know is not to fall far behind the incident.
                        let soon = feed.pause().map_or(Timestamp::FAR, |pause| self.saved.0 + pause / 6);
                        self.saved.1 = self.saved.1.min(soon);
                    }
                }
            }
        }
    }

    pub(super) fn update_target(&self, target: &Arc<Target>) {
        let ids = self.by_target.get(&target.name).map_or(&[][..], Vec::as_slice);
        let of_target =
            || ids.iter().filter_map(|id| Some((*id, self.series.get(id.0 as usize)?.as_deref()?)));
        // A ping may be filtered while every service is well: it tells only where nothing else does.
        let telling = |series: &Series| series.spec.kind.carrier != Carrier::Icmp;
        let any = of_target().any(|(_, series)| telling(series));
        let counted = of_target().filter(|(_, series)| !any || telling(series));
        let states = counted.filter_map(|(id, _)| Some(self.collector.track(id)?.watch().state()));
        // It became what it is now with the last change of any of which something is known.
        let mut since = Timestamp::ZERO;
        let state = combine(states.map(|(state, then)| {
            since = since.max(if state == State::Unknown { Timestamp::ZERO } else { then });
            state
        }));
        self.registry.target(&target.name).set_state(state, since);
    }

    /// Hands over all that is known; `ended` if nothing more will be.
    pub(super) fn save(&mut self, ended: bool) {
        let Some(feed) = &self.feed else { return };
        let Some(pause) = feed.pause() else { return };
        let (now, wall) = (self.driver.clock().now(), self.driver.clock().wall());
        let mut snapshot = Snapshot::new(now, wall, self.collector.keep(now), self.budget.keep());
        snapshot.ended = ended;
        feed.state(snapshot);
        self.saved = (now, now + pause);
    }
}
