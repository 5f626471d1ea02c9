//! The same probe over two ways out, compared exchange by exchange.
//!
//! Invariant: a pair is of one member and one probe; both halves have the same due times.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::detect::pair::{Pair, Side};
use crate::export::metrics::{PairKey, PairMetrics, Registry, SeriesKey};
use crate::sample::{Sample, SeriesId};

/// One pair of series.
struct Compared {
    series: (SeriesId, SeriesId),
    pair: Pair,
    metrics: Arc<PairMetrics>,
}

/// All pairs.
#[derive(Default)]
pub(super) struct Pairs {
    all: Vec<Compared>,
    /// Where a series is one half.
    halves: HashMap<SeriesId, Vec<(usize, Side)>>,
}

impl Pairs {
    /// Makes the pairs what the configuration says of the series there are; those that did not change
    /// go on.
    pub fn rebuild(
        &mut self,
        config: &Config,
        series: &HashMap<Arc<SeriesKey>, SeriesId>,
        registry: &Registry,
    ) {
        let mut before = std::mem::take(&mut self.all);
        self.halves.clear();
        let mut keys = Vec::new();
        for configured in &config.pairs {
            for (key, a) in series.iter().filter(|(key, _)| key.egress == configured.a) {
                let other = SeriesKey { egress: configured.b.clone(), ..SeriesKey::clone(key) };
                let Some(b) = series.get(&other) else { continue };
                let key = PairKey {
                    pair: configured.name.clone(),
                    target: other.target,
                    member: other.member,
                    probe: other.probe,
                };
                let metrics = registry.pair(key.clone());
                keys.push(key);
                let same = |old: &Compared| old.series == (*a, *b) && Arc::ptr_eq(&old.metrics, &metrics);
                let pair = match before.iter().position(same) {
                    Some(place) => before.swap_remove(place).pair,
                    None => Pair::default(),
                };
                self.halves.entry(*a).or_default().push((self.all.len(), Side::A));
                self.halves.entry(*b).or_default().push((self.all.len(), Side::B));
                self.all.push(Compared { series: (*a, *b), pair, metrics });
            }
        }
        registry.keep_pairs(|key| keys.contains(key));
    }

    /// Takes a result in.
    pub fn observe(&mut self, sample: &Sample) {
        for (place, side) in self.halves.get(&sample.series).into_iter().flatten() {
            let Some(compared) = self.all.get_mut(*place) else { continue };
            if let Some(paired) = compared.pair.observe(*side, sample) {
                compared.metrics.record(&paired);
            }
        }
    }
}
