//! The paths to all targets as JSON: `/api/v1/path`.
//!
//! Fields are only ever added. Times are RFC 3339 in UTC, durations are seconds.

use std::net::IpAddr;

use serde::Serialize;

use super::metrics::{Registry, SeriesMetrics};
use crate::detect::path::FirstHop;
use crate::probe::trace::overhead::{Inner, inner};
use crate::sample::path::{MtuSeen, PathSeen, Way};
use crate::time::WallTime;

/// All paths.
#[derive(Debug, Serialize)]
pub struct Paths {
    /// The version of this form: 1.
    pub schema: u32,
    /// When it was made.
    pub time: String,
    /// The paths, by target, member, probe and egress.
    pub paths: Vec<PathStatus>,
}

/// One path.
#[derive(Debug, Serialize)]
pub struct PathStatus {
    /// The target's name.
    pub target: String,
    /// The member's slot.
    pub member: u8,
    /// The name of the probe that traces it.
    pub probe: String,
    /// The way out.
    pub egress: String,
    /// 16 hexadecimal digits; the same path has the same ones while the program runs.
    pub path_id: Option<String>,
    /// How often it has changed.
    pub changes: u64,
    /// When it changed last.
    pub changed: Option<String>,
    /// What the first hop is.
    pub first_hop: Option<FirstHop>,
    /// Which way packets leave this host.
    pub way: Way,
    /// Every address known of each hop limit.
    pub variants: Vec<Variants>,
    /// The last trace.
    pub last: Option<Trace>,
    /// The last thorough trace of an outage.
    pub deep: Option<Trace>,
    /// The MTU, as last searched.
    pub mtu: Option<MtuSeen>,
    /// What that leaves inside each kind of tunnel.
    pub inner: Vec<Inner>,
}

/// The addresses of one hop limit.
#[derive(Debug, Serialize)]
pub struct Variants {
    /// The hop limit.
    pub ttl: u8,
    /// Load balanced hops have several.
    pub addresses: Vec<IpAddr>,
}

/// One trace.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// When it ended.
    pub time: String,
    /// What it saw.
    #[serde(flatten)]
    pub seen: PathSeen,
}

impl Paths {
    /// Reads the registry.
    #[must_use]
    pub fn read(registry: &Registry) -> Self {
        Self {
            schema: 1,
            time: registry.clock().wall().to_string(),
            paths: registry.all_series().iter().filter_map(|series| PathStatus::read(series)).collect(),
        }
    }
}

impl PathStatus {
    fn read(series: &SeriesMetrics) -> Option<Self> {
        let (key, path) = (series.key(), series.path()?);
        let now = path.now();
        let trace = |(time, seen): (WallTime, std::sync::Arc<PathSeen>)| Trace {
            time: time.to_string(),
            seen: PathSeen::clone(&seen),
        };
        let v6 = now.seen.as_ref().is_some_and(|(_, seen)| seen.peer.is_ipv6());
        Some(Self {
            target: key.target.clone(),
            member: key.member,
            probe: key.probe.clone(),
            egress: key.egress.clone(),
            path_id: now.id.map(|id| format!("{id:016x}")),
            changes: path.changes(),
            changed: now.changed.map(|at| at.to_string()),
            first_hop: now.first_hop,
            way: now.way,
            variants: now.variants.into_iter().map(|(ttl, addresses)| Variants { ttl, addresses }).collect(),
            last: now.seen.map(trace),
            deep: now.deep.map(trace),
            inner: now.mtu.map_or_else(Vec::new, |mtu| inner(mtu.bytes, v6)),
            mtu: now.mtu,
        })
    }
}
