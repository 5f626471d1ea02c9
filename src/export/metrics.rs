//! The metrics: what the engine counts and a scrape reads.
//!
//! One [`Registry`] is shared by the engine thread, which writes through the [`SeriesMetrics`] it was
//! handed, and the web thread, which encodes. Names, types, labels and help stand in one table
//! (`families.rs`).
//!
//! Invariants: a scrape changes nothing. A label value comes from the configuration or from a closed
//! set; the one exception is `vpnprobe_target_info`, one series a member, escaped and bounded. Within
//! one scrape a histogram's count is its `+Inf` bucket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use prometheus::Encoder;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;

use crate::probe::Kind;
use crate::time::Clock;

mod cells;
mod detected;
mod dpd;
mod exposition;
mod families;
mod histogram;
mod nat;
mod native;
mod own;
mod pair;
mod path;
mod proto;
mod series;
mod session;
mod tails;
mod target;
mod text;

#[cfg(test)]
mod tests;

pub use detected::Detected;
pub use dpd::DpdMetrics;
pub use exposition::{Exposition, Form, Step};
use families::Family;
pub use histogram::{Bounds, Histogram};
pub use nat::NatMetrics;
pub use own::OwnMetrics;
pub use pair::{PairKey, PairMetrics};
pub use path::{PathMetrics, PathNow};
pub use series::{FlowAge, SeriesKey, SeriesMetrics};
pub use session::{Prediction, Seen, SessionKey, SessionMetrics};
pub use target::{Ladder, MemberInfo, SeenInside, TargetMetrics, Told};

/// The names of all metrics of ours, `process_*` apart.
pub fn names() -> impl Iterator<Item = &'static str> {
    Family::ALL.iter().map(|family| family.name())
}

/// All metrics of the daemon. Cheap to clone: clones share everything.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    /// The metrics that the crate itself knows.
    process: prometheus::Registry,
}

struct Shared {
    clock: Arc<dyn Clock>,
    own: OwnMetrics,
    /// The bounds asked for last: nearly all series have the same, and share them.
    bounds: Mutex<Bounds>,
    series: RwLock<BTreeMap<Arc<SeriesKey>, Arc<SeriesMetrics>>>,
    targets: RwLock<BTreeMap<String, Arc<TargetMetrics>>>,
    sessions: RwLock<BTreeMap<SessionKey, Arc<SessionMetrics>>>,
    pairs: RwLock<BTreeMap<PairKey, Arc<PairMetrics>>>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// A registry with the metrics about ourselves and the process; the configuration counts as
    /// loaded now.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::build(clock, true)
    }

    /// The same without `process_*`, whose values no test can foretell.
    #[must_use]
    pub fn without_process(clock: Arc<dyn Clock>) -> Self {
        Self::build(clock, false)
    }

    fn build(clock: Arc<dyn Clock>, process: bool) -> Self {
        let own = OwnMetrics::new(clock.wall());
        let shared = Arc::new(Shared {
            clock,
            own,
            bounds: Mutex::new(Bounds::new(&[])),
            series: RwLock::default(),
            targets: RwLock::default(),
            sessions: RwLock::default(),
            pairs: RwLock::default(),
        });
        let own = prometheus::Registry::new();
        if process {
            // Registering fails for names that clash only, and it is alone.
            let _ = own.register(Box::new(ProcessCollector::for_self()));
        }
        Self { shared, process: own }
    }

    /// The metrics of a series, made at zero if they are new. A series that exists with the same kind
    /// and buckets goes on counting; with others it starts anew.
    #[must_use]
    pub fn series(&self, key: SeriesKey, kind: Kind, buckets: &[f64]) -> Arc<SeriesMetrics> {
        self.target(&key.target);
        let bounds = self.bounds(buckets);
        let mut all = write(&self.shared.series);
        if let Some(known) = all.get(&key).filter(|known| known.fits(kind, &bounds)) {
            return Arc::clone(known);
        }
        let key = Arc::new(key);
        let new = Arc::new(SeriesMetrics::new(Arc::clone(&key), kind, &bounds, self.shared.clock.wall()));
        all.insert(key, Arc::clone(&new));
        new
    }

    /// These bounds, the same ones for all that ask for the same.
    fn bounds(&self, buckets: &[f64]) -> Bounds {
        let mut last = self.shared.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        // To make them takes longer than all else that a series needs.
        if !last.seconds().eq(buckets.iter().copied()) {
            let new = Bounds::new(buckets);
            if *last != new {
                *last = new;
            }
        }
        last.clone()
    }

    /// Forgets a series; the next scrape does not show it.
    pub fn remove(&self, key: &SeriesKey) {
        write(&self.shared.series).remove(key);
    }

    /// The metrics of a target, made with state `unknown` if they are new.
    pub fn target(&self, name: &str) -> Arc<TargetMetrics> {
        if let Some(known) = read(&self.shared.targets).get(name) {
            return Arc::clone(known);
        }
        let mut all = write(&self.shared.targets);
        Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(TargetMetrics::new(name))))
    }

    /// Forgets a target, its members and all its series.
    pub fn remove_target(&self, name: &str) {
        write(&self.shared.series).retain(|key, _| key.target != name);
        write(&self.shared.sessions).retain(|key, _| key.target != name);
        write(&self.shared.pairs).retain(|key, _| key.target != name);
        write(&self.shared.targets).remove(name);
    }

    /// The metrics of a session, made at zero if they are new, or if the buckets have changed.
    #[must_use]
    pub fn session(&self, key: SessionKey, buckets: &[f64]) -> Arc<SessionMetrics> {
        let bounds = self.bounds(buckets);
        let mut all = write(&self.shared.sessions);
        if let Some(known) = all.get(&key).filter(|known| known.fits(&bounds)) {
            return Arc::clone(known);
        }
        let new = Arc::new(SessionMetrics::new(key.clone(), &bounds, self.shared.clock.wall()));
        all.insert(key, Arc::clone(&new));
        new
    }

    /// Forgets a session; the next scrape does not show it.
    pub fn remove_session(&self, key: &SessionKey) {
        write(&self.shared.sessions).remove(key);
    }

    /// All sessions, in the order of their labels.
    pub fn all_sessions(&self) -> Vec<Arc<SessionMetrics>> {
        read(&self.shared.sessions).values().map(Arc::clone).collect()
    }

    /// The metrics of a pair, made at zero if they are new.
    #[must_use]
    pub fn pair(&self, key: PairKey) -> Arc<PairMetrics> {
        let created = self.shared.clock.wall();
        let mut all = write(&self.shared.pairs);
        Arc::clone(all.entry(key.clone()).or_insert_with(|| Arc::new(PairMetrics::new(key, created))))
    }

    /// Forgets all pairs but these.
    pub fn keep_pairs(&self, keep: impl Fn(&PairKey) -> bool) {
        write(&self.shared.pairs).retain(|key, _| keep(key));
    }

    /// All pairs, in the order of their labels.
    pub fn all_pairs(&self) -> Vec<Arc<PairMetrics>> {
        read(&self.shared.pairs).values().map(Arc::clone).collect()
    }

    /// Sets what is known about a member of a target, or forgets the member.
    pub fn target_info(&self, target: &str, member: u8, info: Option<MemberInfo>) {
        self.target(target).set_member(member, info);
    }

    /// The metrics about ourselves.
    pub fn own(&self) -> &OwnMetrics {
        &self.shared.own
    }

    /// The clock it was made with.
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// All series, in the order of their labels.
    pub fn all_series(&self) -> Vec<Arc<SeriesMetrics>> {
        read(&self.shared.series).values().map(Arc::clone).collect()
    }

    /// All targets, in the order of their names.
    pub fn all_targets(&self) -> Vec<Arc<TargetMetrics>> {
        read(&self.shared.targets).values().map(Arc::clone).collect()
    }

    /// A scrape of the metrics with these names, or of all if there are none, to be made step by step.
    #[must_use]
    pub fn expose(&self, form: Form, only: &[String]) -> Exposition {
        Exposition::new(self, form, only)
    }

    /// All metrics in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn encode_text(&self) -> Vec<u8> {
        self.expose(Form::Text, &[]).whole()
    }

    /// All metrics as length-delimited `io.prometheus.client.MetricFamily` messages.
    #[must_use]
    pub fn encode_protobuf(&self) -> Vec<u8> {
        self.expose(Form::Protobuf { classic: true }, &[]).whole()
    }
}

/// Encodes families that are known to be complete: writing to memory cannot fail.
pub(super) fn encode(encoder: &impl Encoder, families: &[MetricFamily]) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = encoder.encode(families, &mut out);
    out
}
