//! Metrics as length-delimited `io.prometheus.client.MetricFamily` messages, by the field numbers of
//! Prometheus' `io/prometheus/client/metrics.proto`.
//!
//! A message begins with its length, so a family is written whole before any of it is sent: as a list
//! of chunks, each of which is freed once it is. Histograms are native, and classic too unless the
//! scraper asked for the native form alone, which is a quarter of the size.
//!
//! Invariant: a reader finds what it would find in the crate's encoding; a test holds it to that.

use std::borrow::Cow;
use std::collections::VecDeque;

use protobuf::rt::{WireType, compute_raw_varint64_size};
use protobuf::{CodedOutputStream, Enum as _};

use super::exposition::CHUNK;
use super::families::{Family, Sink};
use super::histogram::{Histogram, Reading};
use super::native::{ZERO_THRESHOLD, deltas, spans};
use super::tails::Tails;
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
    /// Bytes of all metrics so far.
    written: usize,
    /// The labels of the owner, as fields of a `Metric`; those that the family has beside them.
    block: Vec<u8>,
    tails: Tails,
    /// The value of the metric that is being written.
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

/// Adds a number as a varint.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits of it")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
    out.push(value as u8);
}

/// Adds labels to a `Metric`.
fn labels<'a>(names: &[&str], values: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let size = |text: &str| 1 + compute_raw_varint64_size(len(text.as_bytes())) + len(text.as_bytes());
    for (name, value) in names.iter().zip(values) {
        fill(out, |stream| {
            nested(stream, 1, size(name) + size(value))?;
            stream.write_string(1, name)?;
            stream.write_string(2, value)
        });
    }
}

impl Protobuf {
    pub(super) fn new(classic: bool) -> Self {
        Self {
            classic,
            ready: VecDeque::new(),
            family: None,
            body: Vec::new(),
            written: 0,
            block: Vec::new(),
            tails: Tails::default(),
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
    fn push(&mut self, extra: &[&str], field: u8) {
        let names = self.family.map_or(&[][..], Family::extra);
        debug_assert_eq!(names.len(), extra.len());
        let tail = self.tails.get(extra, |out| labels(names, extra.iter().copied(), out));
        let value_size = 1 + compute_raw_varint64_size(len(&self.value)) + len(&self.value);
        let size = len(&self.block) + len(tail) + value_size;
        // Two tags, and two lengths of at most five bytes.
        let room = self.block.len() + tail.len() + self.value.len() + 12;
        if self.body.last().is_none_or(|last| last.len() + room > CHUNK) {
            // Many families have a metric or two.
            self.body.push(Vec::with_capacity(if self.body.is_empty() { room } else { CHUNK.max(room) }));
        }
        let Some(chunk) = self.body.last_mut() else { return };
        // Field 4 of a `MetricFamily`, and the value's field of the `Metric`, length-delimited.
        chunk.push(4 << 3 | 2);
        varint(size, chunk);
        chunk.extend_from_slice(&self.block);
        chunk.extend_from_slice(tail);
        chunk.push(field << 3 | 2);
        varint(len(&self.value), chunk);
        chunk.extend_from_slice(&self.value);
        self.written += room;
    }
}

impl Sink for Protobuf {
    fn block(&self, names: &[&str], values: &[Cow<str>], out: &mut Vec<u8>) {
        labels(names, values.iter().map(|value| &**value), out);
    }

    fn begin(&mut self, family: Family) {
        self.family = Some(family);
        self.tails.clear();
    }

    fn owner(&mut self, block: &[u8]) {
        self.tails.rewind();
        self.block.clear();
        self.block.extend_from_slice(block);
    }

    #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
    fn whole(&mut self, extra: &[&str], value: u64) {
        self.number(extra, value as f64);
    }

    fn number(&mut self, extra: &[&str], value: f64) {
        use prometheus::proto::MetricType::COUNTER;
        let field = if self.family.is_some_and(|family| family.kind() == COUNTER) { 3 } else { 2 };
        // Field 1, eight bytes, of a `Counter` or `Gauge`.
        self.value.clear();
        self.value.push(1 << 3 | 1);
        self.value.extend_from_slice(&value.to_le_bytes());
        self.push(extra, field);
    }

    fn histogram(&mut self, extra: &[&str], histogram: &Histogram, created: WallTime) {
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
        self.push(extra, 7);
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

    fn written(&self) -> usize {
        self.written
    }
}
