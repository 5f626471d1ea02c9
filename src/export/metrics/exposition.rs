//! One scrape, made piece by piece from the atomics: nothing is copied but what is being sent, and the labels
//! of each owner.
//!
//! ```text
//!   families by name ─▶ owners by label ─▶ text | protobuf ─▶ chunks
//! ```
//!
//! Invariant: it takes no lock that the engine takes for every probe, and holds none between steps.

use std::sync::Arc;

use prometheus::{ProtobufEncoder, TextEncoder};

use super::families::{Family, Owner, Scope, Sink};
use super::proto::Protobuf;
use super::text::Text;
use super::{PairMetrics, Registry, SeriesMetrics, SessionMetrics, TargetMetrics, encode};

/// Bytes that are worth sending.
pub(super) const CHUNK: usize = 64 * 1024;

/// Owners of metrics that one step asks at most: some have nothing of a family.
const STEP: usize = 256;

/// An exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text 0.0.4; histograms are classic.
    Text,
    /// Length-delimited `io.prometheus.client.MetricFamily` messages; histograms are native.
    Protobuf {
        /// Whether histograms are classic too.
        classic: bool,
    },
}

/// What a step has made.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes.
    Chunk(Vec<u8>),
    /// Nothing to send yet.
    More,
    /// All is made.
    End,
}

/// Those who have metrics of one scope.
struct Owners<T> {
    all: Vec<Arc<T>>,
    /// Their labels as the writer has them, one after the other: an owner far away in memory is asked for
    /// them once, not for each family.
    blocks: Vec<u8>,
    /// Where they end. Those of owners that were never asked are not there yet.
    ends: Vec<usize>,
}

impl<T: Owner> Owners<T> {
    fn new(all: Vec<Arc<T>>) -> Self {
        Self { all, blocks: Vec::new(), ends: Vec::new() }
    }

    /// Asks some for a family, from this one on, until there is enough to send; who is next.
    fn ask<S: Sink>(&mut self, family: Family, from: usize, out: &mut S) -> Option<usize> {
        let begun = out.written();
        let some = self.all.get(from..).unwrap_or_default().iter().take(STEP);
        let mut next = from;
        for owner in some {
            if self.ends.len() <= next {
                out.block(family.scope().labels(), &owner.labels(), &mut self.blocks);
                self.ends.push(self.blocks.len());
            }
            let start = next.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
            let end = self.ends.get(next).copied().unwrap_or(start);
            out.owner(self.blocks.get(start..end).unwrap_or_default());
            owner.collect(family, out);
            next += 1;
            if out.written() - begun >= CHUNK {
                break;
            }
        }
        (next < self.all.len()).then_some(next)
    }
}

/// One scrape under way.
pub struct Exposition {
    owners: AllOwners,
    families: std::vec::IntoIter<Family>,
    /// The family that is being written, and which of its owners is next.
    at: Option<(Family, usize)>,
    writer: Writer,
}

struct AllOwners {
    registry: Registry,
    series: Owners<SeriesMetrics>,
    targets: Owners<TargetMetrics>,
    sessions: Owners<SessionMetrics>,
    pairs: Owners<PairMetrics>,
}

impl AllOwners {
    /// Writes some of a family, from this owner on; who is next.
    fn write<S: Sink>(&mut self, family: Family, from: usize, out: &mut S) -> Option<usize> {
        if from == 0 {
            out.begin(family);
        }
        let next = match family.scope() {
            Scope::Series => self.series.ask(family, from, out),
            Scope::Target => self.targets.ask(family, from, out),
            Scope::Session => self.sessions.ask(family, from, out),
            Scope::Pair => self.pairs.ask(family, from, out),
            Scope::Own => {
                out.owner(&[]);
                self.registry.shared.own.collect(family, out);
                None
            }
        };
        if next.is_none() {
            out.end();
        }
        next
    }
}

enum Writer {
    Text(Text),
    Protobuf(Protobuf),
}

impl Writer {
    fn take(&mut self, all: bool) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => text.take(all),
            Self::Protobuf(protobuf) => protobuf.take(all),
        }
    }
}

impl Exposition {
    /// A scrape of the metrics with these names, or of all if there are none.
    pub(super) fn new(registry: &Registry, form: Form, only: &[String]) -> Self {
        let wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
        let mut process = registry.process.gather();
        process.retain(|family| wanted(family.name()));
        let writer = match form {
            Form::Text => {
                let mut text = Text::default();
                text.raw(&encode(&TextEncoder::new(), &process));
                Writer::Text(text)
            }
            Form::Protobuf { classic } => {
                let mut protobuf = Protobuf::new(classic);
                protobuf.raw(&encode(&ProtobufEncoder::new(), &process));
                Writer::Protobuf(protobuf)
            }
        };
        let families = Family::sorted().iter().copied().filter(|family| wanted(family.name()));
        Self {
            owners: AllOwners {
                registry: registry.clone(),
                series: Owners::new(registry.all_series()),
                targets: Owners::new(registry.all_targets()),
                sessions: Owners::new(registry.all_sessions()),
                pairs: Owners::new(registry.all_pairs()),
            },
            families: families.collect::<Vec<_>>().into_iter(),
            at: None,
            writer,
        }
    }

    /// Does a little of the work.
    pub fn step(&mut self) -> Step {
        if let Some(chunk) = self.writer.take(false) {
            return Step::Chunk(chunk);
        }
        let Some((family, from)) = self.at.or_else(|| self.families.next().map(|family| (family, 0))) else {
            return self.writer.take(true).map_or(Step::End, Step::Chunk);
        };
        let next = match &mut self.writer {
            Writer::Text(text) => self.owners.write(family, from, text),
            Writer::Protobuf(protobuf) => self.owners.write(family, from, protobuf),
        };
        self.at = next.map(|next| (family, next));
        Step::More
    }

    /// All of it at once.
    pub(super) fn whole(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.step() {
                Step::Chunk(chunk) => all.extend_from_slice(&chunk),
                Step::More => {}
                Step::End => return all,
            }
        }
    }
}
