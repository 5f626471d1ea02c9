//! What is known now, as JSON: `/api/v1/status` and the source of the page.
//!
//! Fields are only ever added. Times are RFC 3339 in UTC, durations are seconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::metrics::{MemberInfo, Registry, SeriesMetrics, TargetMetrics, Told};
use crate::detect::liveness::State;
use crate::detect::recent::Recent;
use crate::diagnose::{self, Step, StepReason};
use crate::route::Ways;
use crate::sample::{Details, Fault, Outcome, Reason, Text};
use crate::time::{Timestamp, WallTime};

/// Everything that is known now.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The version of this form: 1.
    pub schema: u32,
    /// When it was made.
    pub time: String,
    /// The program's version.
    pub version: &'static str,
    /// Whether the daemon is ready.
    pub ready: bool,
    /// Why it is not.
    pub not_ready: Option<String>,
    /// The targets, by name.
    pub targets: Vec<TargetStatus>,
}

/// A target.
#[derive(Debug, Serialize)]
pub struct TargetStatus {
    /// Its name.
    pub target: String,
    /// The state of all its probes together.
    pub state: State,
    /// Since when; null while it is unknown.
    pub state_since: Option<String>,
    /// Its members, by slot.
    pub members: Vec<MemberStatus>,
    /// Its probes, by member, name and egress.
    pub probes: Vec<ProbeStatus>,
    /// The steps of the ladder, in their order; none before they were judged.
    pub steps: Vec<StepStatus>,
    /// Which way packets would go, as the kernel says; null before it was asked.
    #[serde(serialize_with = "shared")]
    pub routes: Option<Arc<Ways>>,
}

/// How a step of the ladder went.
#[derive(Debug, Serialize)]
pub struct StepStatus {
    /// Which.
    pub step: Step,
    /// How it went.
    pub status: diagnose::Status,
    /// Why.
    pub reason: Option<&'static str>,
    /// What is to be told of it, in English.
    pub text: String,
}

/// A member of a target.
#[derive(Debug, Serialize)]
pub struct MemberStatus {
    /// Its slot, from 1 on.
    pub member: u8,
    /// Its address; null while its name is not resolved.
    pub address: Option<IpAddr>,
    /// Who made it, as it says.
    pub vendor: Option<Text>,
    /// Which protocol versions it speaks.
    pub versions: Option<Text>,
}

/// A probe of a member over an egress.
#[derive(Debug, Serialize)]
pub struct ProbeStatus {
    /// The probe's name.
    pub probe: String,
    /// What it does.
    pub kind: &'static str,
    /// The member's slot.
    pub member: u8,
    /// The member's address.
    pub address: Option<IpAddr>,
    /// The way out.
    pub egress: String,
    /// Its state, after hysteresis.
    pub state: State,
    /// Since when; null while it is unknown.
    pub state_since: Option<String>,
    /// Whether the service is up, after hysteresis; null while unknown.
    pub up: Option<bool>,
    /// The last outcome; null before the first.
    pub outcome: Option<&'static str>,
    /// Why the last exchange failed.
    pub reason: Option<Reason>,
    /// What was wrong at our end in the last exchange.
    pub fault: Option<Fault>,
    /// The last round-trip time.
    pub rtt_seconds: Option<f64>,
    /// The jitter of the round-trip time; null before two answers in a row.
    pub jitter_seconds: Option<f64>,
    /// The penalty for coming and going.
    pub flap_penalty: f64,
    /// How long until it is stable again, if nothing more happens; null if it is not flapping.
    pub stable_in_seconds: Option<f64>,
    /// When the last exchange was begun.
    pub last_attempt: Option<String>,
    /// How long ago that was, at the time of this status.
    pub last_attempt_age_seconds: Option<f64>,
    /// Exchanges whose first packet left this host.
    pub probes: u64,
    /// Failures, by reason; only reasons that occurred.
    pub failures: BTreeMap<&'static str, u64>,
    /// Our own faults, by fault; only faults that occurred.
    pub unsent: BTreeMap<&'static str, u64>,
    /// When the first certificate of the chain to expire does so.
    pub certificate_not_after: Option<String>,
    /// The last hour; null before its first evidence.
    pub recent: Option<Recent>,
    /// What the last answers told.
    pub details: Details,
}

impl Status {
    /// Reads the registry; `ready` is as [`super::http::Daemon::ready`] says. With `only`, of the targets
    /// that one alone.
    #[must_use]
    pub fn read(registry: &Registry, ready: Result<(), String>, only: Option<&str>) -> Self {
        let (now, at) = (registry.clock().wall(), registry.clock().now());
        let mut probes: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let wanted = |name: &str| only.is_none_or(|only| only == name);
        for series in registry.all_series().into_iter().filter(|series| wanted(&series.key().target)) {
            probes.entry(series.key().target.clone()).or_default().push(series);
        }
        let read = |target: &TargetMetrics| {
            let members = target.members();
            let mine = probes.get(target.name()).map(Vec::as_slice).unwrap_or_default();
            let ladder = target.ladder();
            TargetStatus {
                target: target.name().to_owned(),
                state: target.state(),
                state_since: target.since().map(|since| ago(since, now, at)),
                probes: mine.iter().map(|series| ProbeStatus::read(series, &members, now, at)).collect(),
                members: members.into_iter().map(MemberStatus::from).collect(),
                steps: ladder.iter().flat_map(|it| &it.steps).map(|told| StepStatus::from(&**told)).collect(),
                routes: ladder.and_then(|ladder| ladder.ways.clone()),
            }
        };
        let targets = registry.all_targets();
        Self {
            schema: 1,
            time: now.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            ready: ready.is_ok(),
            not_ready: ready.err(),
            targets: targets
                .iter()
                .filter(|target| wanted(target.name()))
                .map(|target| read(target))
                .collect(),
        }
    }
}

/// A monotonic time as people read it; the clocks say `wall` at `at`.
fn ago(then: Timestamp, wall: WallTime, at: Timestamp) -> String {
    wall.before(at.since(then)).to_string()
}

#[expect(clippy::ref_option, reason = "the signature that serde gives")]
fn shared<S: Serializer>(ways: &Option<Arc<Ways>>, serializer: S) -> Result<S::Ok, S::Error> {
    ways.as_deref().serialize(serializer)
}

impl From<&Told> for StepStatus {
    fn from(step: &Told) -> Self {
        Self {
            step: step.step,
            status: step.status,
            reason: step.reason.map(StepReason::as_str),
            text: step.text.to_string(),
        }
    }
}

impl From<(u8, MemberInfo)> for MemberStatus {
    fn from((member, info): (u8, MemberInfo)) -> Self {
        Self { member, address: info.address, vendor: info.vendor, versions: info.versions }
    }
}

impl ProbeStatus {
    #[expect(clippy::cast_precision_loss, reason = "an age in seconds needs no more than a double has")]
    fn read(series: &SeriesMetrics, members: &[(u8, MemberInfo)], now: WallTime, at: Timestamp) -> Self {
        let key = series.key();
        let last = series.last();
        let outcome = last.map(|(outcome, _)| outcome);
        let address = members.iter().find(|(slot, _)| *slot == key.member).and_then(|(_, info)| info.address);
        let attempt = series.last_attempt();
        let age = |at: WallTime| now.as_unix_nanos().saturating_sub(at.as_unix_nanos()).max(0) as f64 / 1e9;
        let (state, since) = series.detected().state();
        Self {
            probe: key.probe.clone(),
            kind: series.kind().name,
            member: key.member,
            address,
            egress: key.egress.clone(),
            state,
            state_since: since.map(|since| ago(since, now, at)),
            up: series.up(),
            outcome: outcome.map(Outcome::as_str),
            reason: outcome.and_then(Outcome::reason),
            fault: outcome.and_then(|outcome| match outcome {
                Outcome::Unsent(fault) => Some(fault),
                _ => None,
            }),
            rtt_seconds: last.and_then(|(_, rtt)| rtt).map(|rtt| rtt.as_secs_f64()),
            jitter_seconds: series.detected().jitter(),
            flap_penalty: series.detected().flap_penalty(),
            stable_in_seconds: series.detected().stable_in().map(|left| left.as_secs_f64()),
            last_attempt: attempt.map(|at| at.to_string()),
            last_attempt_age_seconds: attempt.map(age),
            probes: series.probes(),
            failures: series.failures().map(|(reason, count)| (reason.as_str(), count)).collect(),
            unsent: series.unsent().map(|(fault, count)| (fault.as_str(), count)).collect(),
            certificate_not_after: series.certificate_not_after().map(|at| at.to_string()),
            recent: series.recent(at),
            details: series.details(),
        }
    }
}
