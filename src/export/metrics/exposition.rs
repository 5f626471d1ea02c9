//! One scrape, made piece by piece from the atomics: nothing is copied but what is being sent.
//!
//! ```text
//!   families by name ─▶ series by label ─▶ Collected (lets one family through) ─▶ text | protobuf ─▶ chunks
//! ```
//!
//! Invariant: it takes no lock that the engine takes while it probes, and holds none between steps.

use std::sync::Arc;

use prometheus::{ProtobufEncoder, TextEncoder};

use super::families::{Collected, Family, Scope, Sink};
use super::proto::Protobuf;
use super::text::Text;
use super::{PairMetrics, Registry, SeriesMetrics, SessionMetrics, TargetMetrics, encode};

/// Bytes that are worth sending.
pub(super) const CHUNK: usize = 48 * 1024;

/// Owners of metrics that one step asks: less than a chunk of text, and some tens of microseconds.
const STEP: usize = 16;

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

/// One scrape under way.
pub struct Exposition {
    registry: Registry,
    series: Vec<Arc<SeriesMetrics>>,
    targets: Vec<Arc<TargetMetrics>>,
    sessions: Vec<Arc<SessionMetrics>>,
    pairs: Vec<Arc<PairMetrics>>,
    families: std::slice::Iter<'static, Family>,
    /// The family that is being written, and which of its owners is next.
    at: Option<(Family, usize)>,
    writer: Writer,
}

enum Writer {
    Text(Text),
    Protobuf(Protobuf),
}

impl Writer {
    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Text(text) => text,
            Self::Protobuf(protobuf) => protobuf,
        }
    }

    fn take(&mut self, all: bool) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => text.take(all),
            Self::Protobuf(protobuf) => protobuf.take(all),
        }
    }
}

impl Exposition {
    pub(super) fn new(registry: &Registry, form: Form) -> Self {
        let process = registry.process.gather();
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
        Self {
            registry: registry.clone(),
            series: registry.all_series(),
            targets: registry.all_targets(),
            sessions: registry.all_sessions(),
            pairs: registry.all_pairs(),
            families: Family::sorted().iter(),
            at: None,
            writer,
        }
    }

    /// Does a little of the work.
    pub fn step(&mut self) -> Step {
        if let Some(chunk) = self.writer.take(false) {
            return Step::Chunk(chunk);
        }
        let Some((family, from)) = self.at.or_else(|| self.families.next().map(|family| (*family, 0))) else {
            return self.writer.take(true).map_or(Step::End, Step::Chunk);
        };
        let sink = self.writer.sink();
        if from == 0 {
            sink.begin(family);
        }
        let mut out = Collected::new(family, sink);
        let (done, of) = match family.scope() {
            Scope::Series => (each(&self.series, from, |series| series.collect(&mut out)), self.series.len()),
            Scope::Target => {
                (each(&self.targets, from, |target| target.collect(&mut out)), self.targets.len())
            }
            Scope::Session => {
                (each(&self.sessions, from, |session| session.collect(&mut out)), self.sessions.len())
            }
            Scope::Pair => (each(&self.pairs, from, |pair| pair.collect(&mut out)), self.pairs.len()),
            Scope::Own => {
                self.registry.shared.own.collect(&mut out);
                (1, 1)
            }
        };
        self.at = (done < of).then_some((family, done));
        if self.at.is_none() {
            sink.end();
        }
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

/// Asks the next owners; the first that was not asked.
fn each<T>(owners: &[Arc<T>], from: usize, collect: impl FnMut(&T)) -> usize {
    let some = owners.get(from..).unwrap_or_default();
    let some = some.get(..STEP).unwrap_or(some);
    some.iter().map(|owner| &**owner).for_each(collect);
    from + some.len()
}
