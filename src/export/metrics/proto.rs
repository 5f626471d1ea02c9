//! Metrics as length-delimited `io.prometheus.client.MetricFamily` messages, by the field numbers of
//! Prometheus' `io/prometheus/client/metrics.proto`.
//!
//! A message begins with its length, so a family is written whole before any of it is sent: as a list
//! of chunks, each of which is freed once it is. Histograms are native, and classic too unless the
//! scraper asked for the native form alone, which is a quarter of the size.
//!
//! Invariant: a reader finds what it would find in the crate's encoding; a test holds it to that.

use std::collections::VecDeque;

use protobuf::rt::{WireType, compute_raw_varint64_size};
use protobuf::{CodedOutputStream, Enum as _};

use super::exposition::CHUNK;
use super::families::{Family, Sink};
use super::histogram::{Histogram, Reading};
use super::native::{ZERO_THRESHOLD, deltas, spans};
use crate::time::WallTime;

/// Writes protobuf.
pub(super) struct Protobuf {
    /// Whether histograms have their classic buckets too.
    classic: bool,
    /// What may be sent.
    ready: VecDeque<Vec<u8>>,
    family: Option<Family>,
    /// The metrics of the family.
    body: Vec<Vec<u8>>,
    /// The names of the family's labels, each as the first field of a `LabelPair`.
    names: Vec<Vec<u8>>,
    /// The metric, and in it the message, that are being written.
    metric: Vec<u8>,
    value: Vec<u8>,
    deltas: Vec<i64>,
    reading: Reading,
}

/// Writes fields to memory, which cannot fail.
fn fill(out: &mut Vec<u8>, write: impl FnOnce(&mut CodedOutputStream) -> protobuf::Result<()>) {
    let mut stream = CodedOutputStream::vec(out);
    let _ = write(&mut stream).and_then(|()| stream.flush());
}

/// The head of a field that holds so many bytes.
fn nested(stream: &mut CodedOutputStream, field: u32, len: u64) -> protobuf::Result<()> {
    stream.write_tag(field, WireType::LengthDelimited)?;
    stream.write_raw_varint64(len)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The size of a signed number, zig-zag.
fn zigzag_size(value: i64) -> u64 {
    compute_raw_varint64_size((value << 1 ^ value >> 63).cast_unsigned())
}

/// Adds bytes to the last chunk if they fit there, else to a new one.
fn append(chunks: &mut Vec<Vec<u8>>, bytes: &[u8]) {
    match chunks.last_mut() {
        Some(last) if last.len() + bytes.len() <= CHUNK => last.extend_from_slice(bytes),
        _ => {
            let mut new = Vec::with_capacity(if chunks.is_empty() { bytes.len() } else { CHUNK });
            new.extend_from_slice(bytes);
            chunks.push(new);
        }
    }
}

impl Protobuf {
    pub(super) fn new(classic: bool) -> Self {
        Self {
            classic,
            ready: VecDeque::new(),
            family: None,
            body: Vec::new(),
            names: Vec::new(),
            metric: Vec::new(),
            value: Vec::new(),
            deltas: Vec::new(),
            reading: Reading::default(),
        }
    }

    /// What is written, once it is worth sending, or if it is `all`.
    pub(super) fn take(&mut self, all: bool) -> Option<Vec<u8>> {
        // The last chunk may still grow.
        if all || self.ready.len() > 1 { self.ready.pop_front() } else { None }
    }

    /// Adds what is in the format already.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        match self.ready.back_mut() {
            Some(last) if last.len() + bytes.len() <= CHUNK => last.extend_from_slice(bytes),
            _ => self.ready.push_back(bytes.to_vec()),
        }
    }

    /// Adds a metric whose value, in that field, was written.
    fn push(&mut self, values: &[&str], field: u32) {
        debug_assert_eq!(self.names.len(), values.len());
        self.metric.clear();
        let (names, value) = (&self.names, &self.value);
        fill(&mut self.metric, |stream| {
            for (name, value) in names.iter().zip(values) {
                let value_len = len(value.as_bytes());
                nested(stream, 1, len(name) + 1 + compute_raw_varint64_size(value_len) + value_len)?;
                stream.write_raw_bytes(name)?;
                stream.write_string(2, value)?;
            }
            stream.write_bytes(field, value)
        });
        self.value.clear();
        let metric = &self.metric;
        fill(&mut self.value, |stream| stream.write_bytes(4, metric));
        append(&mut self.body, &self.value);
    }
}

impl Sink for Protobuf {
    fn begin(&mut self, family: Family) {
        self.family = Some(family);
        self.names.clear();
        self.names.extend(family.labels().map(|name| {
            let mut field = Vec::new();
            fill(&mut field, |stream| stream.write_string(1, name));
            field
        }));
    }

    #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
    fn whole(&mut self, values: &[&str], value: u64) {
        self.number(values, value as f64);
    }

    fn number(&mut self, values: &[&str], value: f64) {
        use prometheus::proto::MetricType::COUNTER;
        let field = if self.family.is_some_and(|family| family.kind() == COUNTER) { 3 } else { 2 };
        self.value.clear();
        fill(&mut self.value, |stream| stream.write_double(1, value));
        self.push(values, field);
    }

    fn histogram(&mut self, values: &[&str], histogram: &Histogram, created: WallTime) {
        histogram.read(&mut self.reading);
        let reading = &self.reading;
        let native = &reading.native;
        let sides = [(&native.below, 9, 10), (&native.buckets, 12, 13)];
        let counts = &mut self.deltas;
        let classic = self.classic.then(|| histogram.bounds().seconds().zip(&reading.cumulative));
        self.value.clear();
        fill(&mut self.value, |stream| {
            stream.write_uint64(1, reading.count)?;
            stream.write_double(2, reading.sum)?;
            for (bound, count) in classic.into_iter().flatten() {
                nested(stream, 3, 1 + compute_raw_varint64_size(*count) + 9)?;
                stream.write_uint64(1, *count)?;
                stream.write_double(2, bound)?;
            }
            stream.write_sint32(5, native.schema)?;
            stream.write_double(6, ZERO_THRESHOLD)?;
            stream.write_uint64(7, native.zero)?;
            for (buckets, span, delta) in sides {
                for (offset, length) in spans(buckets) {
                    let size = zigzag_size(offset.into()) + compute_raw_varint64_size(length.into());
                    nested(stream, span, 2 + size)?;
                    stream.write_sint32(1, offset)?;
                    stream.write_uint32(2, length)?;
                }
                counts.clear();
                counts.extend(deltas(buckets));
                stream.write_repeated_packed_sint64(delta, counts)?;
            }
            let nanos = created.as_unix_nanos();
            let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
            let size = |number: i64| compute_raw_varint64_size(number.cast_unsigned());
            nested(stream, 15, 2 + size(seconds) + size(rest))?;
            stream.write_int64(1, seconds)?;
            stream.write_int64(2, rest)
        });
        self.push(values, 7);
    }

    fn end(&mut self) {
        let Some(family) = self.family.take().filter(|_| !self.body.is_empty()) else { return };
        let mut head = Vec::new();
        fill(&mut head, |stream| {
            stream.write_string(1, family.name())?;
            stream.write_string(2, family.help())?;
            stream.write_enum(3, family.kind().value())
        });
        let size = len(&head) + self.body.iter().map(|chunk| len(chunk)).sum::<u64>();
        let mut whole = Vec::new();
        fill(&mut whole, |stream| {
            stream.write_raw_varint64(size).and_then(|()| stream.write_raw_bytes(&head))
        });
        self.raw(&whole);
        for chunk in std::mem::take(&mut self.body) {
            if chunk.len() < CHUNK / 2 {
                self.raw(&chunk);
            } else {
                self.ready.push_back(chunk);
            }
        }
    }
}
