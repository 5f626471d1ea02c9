//! Metrics in Prometheus' text format 0.0.4.
//!
//! Invariant: it writes what the crate's encoder would, byte for byte; a test holds it to that.

use std::io::Write as _;

use prometheus::proto::MetricType;

use super::exposition::CHUNK;
use super::families::{Family, Sink};
use super::histogram::{Histogram, Reading};
use crate::time::WallTime;

/// Writes text.
#[derive(Default)]
pub(super) struct Text {
    out: Vec<u8>,
    family: Option<Family>,
    names: Vec<&'static str>,
    /// Whether the head of the family is written: it is with its first metric.
    begun: bool,
    /// The labels of the metric that is being written.
    labels: Vec<u8>,
    /// What all bucket lines of a histogram begin with.
    line: Vec<u8>,
    reading: Reading,
}

impl Text {
    /// What is written, once it is worth sending, or if it is `all`.
    pub(super) fn take(&mut self, all: bool) -> Option<Vec<u8>> {
        let enough = self.out.len() >= CHUNK || all && !self.out.is_empty();
        enough.then(|| std::mem::replace(&mut self.out, Vec::with_capacity(if all { 0 } else { CHUNK * 2 })))
    }

    /// Adds what is in the format already.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn name(&self) -> &'static str {
        self.family.map_or("", Family::name)
    }

    /// Writes the head of the family if it is not there, and notes the labels of a metric.
    fn head(&mut self, values: &[&str]) {
        debug_assert_eq!(self.names.len(), values.len(), "{}", self.name());
        if let Some(family) = self.family.filter(|_| !self.begun) {
            self.begun = true;
            let kind = match family.kind() {
                MetricType::COUNTER => "counter",
                MetricType::GAUGE => "gauge",
                _ => "histogram",
            };
            self.put(&["# HELP ", family.name(), " "]);
            escape(family.help(), b"\\\n", &mut self.out);
            self.put(&["\n# TYPE ", family.name(), " ", kind, "\n"]);
        }
        self.labels.clear();
        for (name, value) in self.names.iter().zip(values) {
            let separator = if self.labels.is_empty() { "" } else { "," };
            for part in [separator, name, "=\""] {
                self.labels.extend_from_slice(part.as_bytes());
            }
            escape(value, b"\\\n\"", &mut self.labels);
            self.labels.push(b'"');
        }
    }

    fn put(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.out.extend_from_slice(part.as_bytes()));
    }

    /// Writes all of a line but its value.
    fn metric(&mut self, suffix: &str) {
        self.put(&[self.name(), suffix]);
        if !self.labels.is_empty() {
            self.out.push(b'{');
            self.out.extend_from_slice(&self.labels);
            self.out.push(b'}');
        }
        self.out.push(b' ');
    }
}

impl Sink for Text {
    fn begin(&mut self, family: Family) {
        self.family = Some(family);
        self.names.clear();
        self.names.extend(family.labels());
        self.begun = false;
    }

    fn whole(&mut self, values: &[&str], value: u64) {
        self.head(values);
        self.metric("");
        whole(value, &mut self.out);
        self.out.push(b'\n');
    }

    fn number(&mut self, values: &[&str], value: f64) {
        self.head(values);
        self.metric("");
        number(value, &mut self.out);
        self.out.push(b'\n');
    }

    fn histogram(&mut self, values: &[&str], histogram: &Histogram, _: WallTime) {
        self.head(values);
        let mut reading = std::mem::take(&mut self.reading);
        histogram.read(&mut reading);
        self.line.clear();
        self.line.extend_from_slice(self.name().as_bytes());
        self.line.extend_from_slice(b"_bucket{");
        self.line.extend_from_slice(&self.labels);
        self.line.extend_from_slice(if self.labels.is_empty() { b"le=\"" } else { b",le=\"" });
        let buckets = histogram.bounds().labels().zip(reading.cumulative.iter().copied());
        for (bound, count) in buckets.chain([("+Inf", reading.count)]) {
            self.out.extend_from_slice(&self.line);
            self.out.extend_from_slice(bound.as_bytes());
            self.out.extend_from_slice(b"\"} ");
            whole(count, &mut self.out);
            self.out.push(b'\n');
        }
        self.metric("_sum");
        number(reading.sum, &mut self.out);
        self.out.push(b'\n');
        self.metric("_count");
        whole(reading.count, &mut self.out);
        self.out.push(b'\n');
        self.reading = reading;
    }

    fn end(&mut self) {}
}

/// Whole numbers up to here are doubles.
const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

fn whole(value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        out.push(b'0' + value as u8);
    } else if value < EXACT {
        let _ = write!(out, "{value}");
    } else {
        // A Prometheus value is a double.
        #[expect(clippy::cast_precision_loss, reason = "just so")]
        let _ = write!(out, "{}", value as f64);
    }
}

fn number(value: f64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number below 10")]
    if value.is_sign_positive() && value < 10.0 && value.fract().to_bits() == 0 {
        out.push(b'0' + value as u8);
    } else {
        let _ = write!(out, "{value}");
    }
}

/// Escapes these bytes as the format has it.
fn escape(text: &str, special: &[u8], out: &mut Vec<u8>) {
    for part in text.as_bytes().split_inclusive(|byte| special.contains(byte)) {
        match part.split_last() {
            Some((last, before)) if special.contains(last) => {
                out.extend_from_slice(before);
                out.extend_from_slice(&[b'\\', if *last == b'\n' { b'n' } else { *last }]);
            }
            _ => out.extend_from_slice(part),
        }
    }
}
