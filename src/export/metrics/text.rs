//! Metrics in Prometheus' text format 0.0.4.
//!
//! ```text
//!   vpnprobe_probe_failures_total{target="hq",member="1",probe="ike",egress="default",reason="no_answer"} 7
//!   └ line: the name, and the block of the owner ───────────────────────────────────┘└ tail ────────────┘
//! ```
//!
//! Each of the two is rendered once for many lines and copied into them.
//!
//! Invariant: it writes what the crate's encoder would, byte for byte; a test holds it to that.

use std::borrow::Cow;
use std::io::Write as _;

use prometheus::proto::MetricType;

use super::exposition::CHUNK;
use super::families::{Family, Sink};
use super::histogram::Histogram;
use super::tails::Tails;
use crate::time::WallTime;

/// Writes text.
#[derive(Default)]
pub(super) struct Text {
    out: Vec<u8>,
    /// Bytes that were taken out of it.
    taken: usize,
    family: Option<Family>,
    /// Whether the head of the family is written: it is with its first metric.
    begun: bool,
    /// The name of the family and the block of the owner.
    line: Vec<u8>,
    /// How much of it is the name.
    name: usize,
    tails: Tails,
    /// What all bucket lines of a histogram begin with.
    bucket: Vec<u8>,
    /// Its cumulative counts.
    counts: Vec<u64>,
}

impl Text {
    /// What is written, once it is worth sending, or if it is `all`.
    pub(super) fn take(&mut self, all: bool) -> Option<Vec<u8>> {
        let enough = self.out.len() >= CHUNK || all && !self.out.is_empty();
        enough.then(|| {
            self.taken += self.out.len();
            let room = if all { 0 } else { CHUNK + CHUNK / 4 };
            std::mem::replace(&mut self.out, Vec::with_capacity(room))
        })
    }

    /// Adds what is in the format already.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes the head of the family.
    #[cold]
    fn head(&mut self) {
        self.begun = true;
        let Some(family) = self.family else { return };
        let kind: &[u8] = match family.kind() {
            MetricType::COUNTER => b" counter\n",
            MetricType::GAUGE => b" gauge\n",
            _ => b" histogram\n",
        };
        let name = family.name().as_bytes();
        [b"# HELP ", name, b" "].iter().for_each(|part| self.out.extend_from_slice(part));
        escape(family.help(), b"\\\n", &mut self.out);
        [b"\n# TYPE ", name, kind].iter().for_each(|part| self.out.extend_from_slice(part));
    }

    /// Writes all of a line but its value, after the head of the family if that is not there.
    #[inline]
    fn begin_line(&mut self, extra: &[&str]) {
        if !self.begun {
            self.head();
        }
        self.out.extend_from_slice(&self.line);
        let braces = self.line.len() > self.name;
        self.out.extend_from_slice(tail(&mut self.tails, self.family, braces, extra));
    }
}

/// What stands between the block and the value, which has opened the `braces` or not.
#[inline]
fn tail<'a>(tails: &'a mut Tails, family: Option<Family>, mut braces: bool, extra: &[&str]) -> &'a [u8] {
    let names = family.map_or(&[][..], Family::extra);
    debug_assert_eq!(names.len(), extra.len());
    tails.get(extra, |out| {
        labels(names, extra.iter().copied(), &mut braces, out);
        out.extend_from_slice(if braces { b"} " } else { b" " });
    })
}

/// Adds labels, opening the braces if they are not open.
fn labels<'a>(names: &[&str], values: impl Iterator<Item = &'a str>, braces: &mut bool, out: &mut Vec<u8>) {
    for (name, value) in names.iter().zip(values) {
        out.push(if std::mem::replace(braces, true) { b',' } else { b'{' });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        escape(value, b"\\\n\"", out);
        out.push(b'"');
    }
}

impl Sink for Text {
    fn block(&self, names: &[&str], values: &[Cow<str>], out: &mut Vec<u8>) {
        labels(names, values.iter().map(|value| &**value), &mut false, out);
    }

    fn begin(&mut self, family: Family) {
        self.family = Some(family);
        self.begun = false;
        self.tails.clear();
        self.line.clear();
        self.line.extend_from_slice(family.name().as_bytes());
        self.name = self.line.len();
    }

    #[inline]
    fn owner(&mut self, block: &[u8]) {
        self.tails.rewind();
        self.line.truncate(self.name);
        self.line.extend_from_slice(block);
    }

    #[inline]
    fn whole(&mut self, extra: &[&str], value: u64) {
        self.begin_line(extra);
        whole(value, &mut self.out);
        self.out.push(b'\n');
    }

    #[inline]
    fn number(&mut self, extra: &[&str], value: f64) {
        self.begin_line(extra);
        number(value, &mut self.out);
        self.out.push(b'\n');
    }

    fn histogram(&mut self, extra: &[&str], histogram: &Histogram, _: WallTime) {
        if !self.begun {
            self.head();
        }
        let (name, block) = self.line.split_at_checked(self.name).unwrap_or_default();
        let tail = tail(&mut self.tails, self.family, !block.is_empty(), extra);
        let (count, sum) = histogram.read_classic(&mut self.counts);
        let out = &mut self.out;
        // The tail ends with `} `, or there are no labels.
        let (labels, open): (_, &[u8]) = match tail.strip_suffix(b"} ") {
            Some(labels) => (labels, b",le=\""),
            None => (&[][..], b"{le=\""),
        };
        self.bucket.clear();
        for part in [name, b"_bucket", block, labels, open] {
            self.bucket.extend_from_slice(part);
        }
        for (bound, count) in histogram.bounds().labels().zip(&self.counts) {
            out.extend_from_slice(&self.bucket);
            out.extend_from_slice(bound.as_bytes());
            whole(*count, out);
            out.push(b'\n');
        }
        out.extend_from_slice(&self.bucket);
        out.extend_from_slice(b"+Inf\"} ");
        whole(count, out);
        [b"\n", name, b"_sum", block, tail].iter().for_each(|part| out.extend_from_slice(part));
        seconds(sum, out);
        [b"\n", name, b"_count", block, tail].iter().for_each(|part| out.extend_from_slice(part));
        whole(count, out);
        out.push(b'\n');
    }

    fn end(&mut self) {}

    #[inline]
    fn written(&self) -> usize {
        self.taken + self.out.len()
    }
}

/// Whole numbers up to here are doubles.
const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

#[inline]
fn whole(value: u64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_possible_truncation, reason = "one digit")]
    if value < 10 {
        out.push(b'0' + value as u8);
    } else {
        more(value, out);
    }
}

fn more(value: u64, out: &mut Vec<u8>) {
    if value < EXACT {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    } else {
        // A Prometheus value is a double.
        #[expect(clippy::cast_precision_loss, reason = "just so")]
        let _ = write!(out, "{}", value as f64);
    }
}

#[inline]
fn number(value: f64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what fits is compared")]
    let digit = value as u8;
    if digit < 10 && f64::from(digit).to_bits() == value.to_bits() {
        out.push(b'0' + digit);
    } else {
        let _ = write!(out, "{value}");
    }
}

/// As many nanoseconds or more are not read digit by digit from the double that they are in seconds.
const FIFTEEN_DIGITS: u64 = 1_000_000_000_000_000;

/// Writes nanoseconds in seconds, as the double that they are. A decimal number of up to fifteen digits is the
/// shortest that is read as the double next to it, so its digits are those that a double would be written with.
fn seconds(nanos: i64, out: &mut Vec<u8>) {
    const SECOND: u64 = 1_000_000_000;
    let magnitude = nanos.unsigned_abs();
    if magnitude >= FIFTEEN_DIGITS {
        #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
        let _ = write!(out, "{}", nanos as f64 / 1e9);
        return;
    }
    if nanos < 0 {
        out.push(b'-');
    }
    whole(magnitude / SECOND, out);
    let fraction = magnitude % SECOND;
    if fraction > 0 {
        // The leading one keeps the zeros before the fraction.
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(SECOND + fraction).trim_end_matches('0');
        out.push(b'.');
        out.extend_from_slice(digits.as_bytes().get(1..).unwrap_or_default());
    }
}

/// Escapes these bytes as the format has it.
fn escape(text: &str, special: &[u8], out: &mut Vec<u8>) {
    // Nearly no text has any, which is seen eight or more bytes at a time.
    if !text.bytes().fold(false, |some, byte| some | matches!(byte, b'\\' | b'\n' | b'"')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The standard library writes the shortest decimal number that is read as the same double.
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
        fn seconds_are_written_as_the_double_would_be(nanos in any::<i64>(), shift in 0..64_u32) {
            let nanos = nanos >> shift;
            let mut out = Vec::new();
            seconds(nanos, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), (nanos as f64 / 1e9).to_string());
        }

        #[test]
        fn numbers_are_written_as_the_standard_library_does(bits in any::<u64>(), small in -20..20_i32) {
            for value in [f64::from_bits(bits), f64::from(small), f64::from(small) / 2.0, -0.0] {
                let mut out = Vec::new();
                number(value, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
            }
        }
    }
}
