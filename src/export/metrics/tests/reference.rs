//! The same metrics as the crate's messages, encoded by the crate: what our writers are held to.

use std::borrow::Cow;

use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, ProtobufEncoder, TextEncoder};
use proptest::prelude::*;
use protobuf::{CodedInputStream, UnknownFields, UnknownValue};

use super::super::families::{Owner, Scope, Sink};
use super::super::histogram::Reading;
use super::super::native::{ZERO_THRESHOLD, deltas, spans};
use super::*;
use crate::detect::Transition;
use crate::detect::loss::LossWindow;
use crate::sample::Phase;

/// Collects messages.
#[derive(Default)]
struct Messages {
    families: Vec<MetricFamily>,
    family: Option<Family>,
    /// The values of the owner's labels, each ended by a byte that no text has.
    owner: Vec<u8>,
}

const END: u8 = 0xff;

impl Messages {
    fn push(&mut self, extra: &[&str], mut metric: Metric) {
        let family = self.family.unwrap();
        let names = family.scope().labels().iter().chain(family.extra());
        let owner = self.owner.split(|byte| *byte == END).map(|value| std::str::from_utf8(value).unwrap());
        let values: Vec<_> = owner.take(family.scope().labels().len()).chain(extra.iter().copied()).collect();
        assert_eq!(names.clone().count(), values.len());
        let pairs = names.zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        metric.set_label(pairs.collect());
        self.families.last_mut().unwrap().mut_metric().push(metric);
    }
}

impl Sink for Messages {
    fn begin(&mut self, family: Family) {
        let mut out = MetricFamily::default();
        out.set_name(family.name().to_owned());
        out.set_help(family.help().to_owned());
        out.set_field_type(family.kind());
        self.families.push(out);
        self.family = Some(family);
    }

    fn block(&self, _: &[&str], values: &[Cow<str>], out: &mut Vec<u8>) {
        for value in values {
            out.extend_from_slice(value.as_bytes());
            out.push(END);
        }
    }

    fn owner(&mut self, block: &[u8]) {
        self.owner = block.to_owned();
    }

    fn written(&self) -> usize {
        0
    }

    #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
    fn whole(&mut self, extra: &[&str], value: u64) {
        self.number(extra, value as f64);
    }

    fn number(&mut self, extra: &[&str], value: f64) {
        let mut metric = Metric::default();
        if self.families.last().unwrap().get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(extra, metric);
    }

    /// The crate's message does not know the native form, so its fields are added by their numbers.
    fn histogram(&mut self, extra: &[&str], histogram: &Histogram, created: WallTime) {
        let mut reading = Reading::default();
        histogram.read(&mut reading);
        let mut out = prometheus::proto::Histogram::default();
        out.set_sample_count(reading.count);
        out.set_sample_sum(reading.sum);
        let buckets = histogram.bounds().seconds().zip(&reading.cumulative).map(|(bound, count)| {
            let mut out = Bucket::default();
            out.set_upper_bound(bound);
            out.set_cumulative_count(*count);
            out
        });
        out.set_bucket(buckets.collect());
        let native = &reading.native;
        let unknown = out.special_fields.mut_unknown_fields();
        unknown.add_value(5, UnknownValue::sint32(native.schema));
        unknown.add_fixed64(6, ZERO_THRESHOLD.to_bits());
        unknown.add_varint(7, native.zero);
        for (buckets, span_field, delta_field) in [(&native.below, 9, 10), (&native.buckets, 12, 13)] {
            for (offset, length) in spans(buckets) {
                let mut span = UnknownFields::new();
                span.add_value(1, UnknownValue::sint32(offset));
                span.add_varint(2, length.into());
                unknown.add_length_delimited(span_field, span.write_to_bytes());
            }
            // Packed, as every reader of protobuf must take it.
            let mut packed = Vec::new();
            {
                let mut stream = protobuf::CodedOutputStream::vec(&mut packed);
                deltas(buckets).for_each(|delta| stream.write_sint64_no_tag(delta).unwrap());
                stream.flush().unwrap();
            }
            if !packed.is_empty() {
                unknown.add_length_delimited(delta_field, packed);
            }
        }
        let mut stamp = UnknownFields::new();
        stamp.add_varint(1, created.as_unix_nanos().div_euclid(1_000_000_000).cast_unsigned());
        stamp.add_varint(2, created.as_unix_nanos().rem_euclid(1_000_000_000).cast_unsigned());
        unknown.add_length_delimited(15, stamp.write_to_bytes());
        let mut metric = Metric::default();
        metric.set_histogram(out);
        self.push(extra, metric);
    }

    fn end(&mut self) {
        self.families.pop_if(|family| family.get_metric().is_empty());
    }
}

/// Gives what these have of a family, in one piece.
fn give<T: Owner>(owners: &[Arc<T>], family: Family, out: &mut Messages) {
    for owner in owners {
        let mut block = Vec::new();
        out.block(family.scope().labels(), &owner.labels(), &mut block);
        out.owner(&block);
        owner.collect(family, out);
    }
}

/// All of a registry, as messages.
fn messages(registry: &Registry) -> Vec<MetricFamily> {
    let mut out = Messages::default();
    for family in Family::sorted().iter().copied() {
        out.begin(family);
        match family.scope() {
            Scope::Series => give(&registry.all_series(), family, &mut out),
            Scope::Target => give(&registry.all_targets(), family, &mut out),
            Scope::Session => give(&registry.all_sessions(), family, &mut out),
            Scope::Pair => give(&registry.all_pairs(), family, &mut out),
            Scope::Own => {
                out.owner(&[]);
                registry.shared.own.collect(family, &mut out);
            }
        }
        out.end();
    }
    out.families
}

fn parse(bytes: &[u8]) -> Vec<MetricFamily> {
    let mut stream = CodedInputStream::from_bytes(bytes);
    let mut families = Vec::new();
    while !stream.eof().unwrap() {
        families.push(stream.read_message::<MetricFamily>().unwrap());
    }
    families
}

fn same(registry: &Registry) {
    let messages = messages(registry);
    let mut theirs = Vec::new();
    TextEncoder::new().encode(&messages, &mut theirs).unwrap();
    let theirs = String::from_utf8(theirs).unwrap();
    for (ours, theirs) in text(registry).lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(text(registry).len(), theirs.len());

    let mut theirs = Vec::new();
    ProtobufEncoder::new().encode(&messages, &mut theirs).unwrap();
    let ours = registry.encode_protobuf();
    assert_eq!(ours.len(), theirs.len());
    assert_eq!(parse(&ours), parse(&theirs));
    assert_eq!(parse(&ours), messages);

    // The native form alone is the same without the classic buckets.
    let mut native = messages;
    let metrics = native.iter_mut().filter(|family| family.get_field_type() == MetricType::HISTOGRAM);
    for metric in metrics.flat_map(|family| family.mut_metric().iter_mut()) {
        metric.histogram.mut_or_insert_default().set_bucket(Vec::new());
    }
    assert_eq!(parse(&registry.expose(Form::Protobuf { classic: false }, &[]).whole()), native);
}

#[test]
fn an_empty_registry_is_encoded_as_the_crate_does() {
    same(&registry());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any names, any values, any number of series: text byte for byte, protobuf field for field.
    #[test]
    fn our_writers_say_what_the_crate_would(
        names in proptest::collection::btree_set("[ -~\n\"\\\\é漢]{0,12}", 1..4),
        rtts in proptest::collection::vec((any::<u64>(), 0..64_u32), 0..300),
        bounds in proptest::collection::vec(1e-9..1e12, 0..12),
        huge in any::<u64>(),
        penalty in any::<f64>(),
    ) {
        let registry = registry();
        for name in &names {
            for probe in ["icmp", "tls", "ike"] {
                let key = SeriesKey { target: name.clone(), member: 9, probe: probe.into(), egress: name.clone() };
                let series = registry.series(key, kind(probe), &bounds);
                for (rtt, shift) in &rtts {
                    let mut report = Report::timed(Outcome::OK, Duration::from_nanos(rtt >> shift));
                    report.phases = vec![(Phase::Connect, Duration::from_nanos(rtt >> shift >> 1))];
                    series.record(&sample(true, report));
                }
                let began = Timestamp::from_secs(1);
                series.transition(&Transition::LossWindow(LossWindow { began, sent: 20, lost: 3 }));
                let dpd = series.dpd(["strongswan", "aws"].into_iter());
                dpd[0].set_judged(true);
                dpd[0].add(huge, penalty);
                dpd[0].set_margin(Duration::from_nanos(huge));
                series.attempt(WallTime::from_unix_nanos(huge.cast_signed()));
                series.set_up(Some(true));
            }
            let vendor = Some(Text::from(name.as_str()));
            let address = Some([192, 0, 2, 1].into());
            registry.target_info(name, 1, Some(MemberInfo { address, vendor, versions: None }));
            let key = SessionKey { target: name.clone(), member: 200, egress: name.clone() };
            let _ = registry.session(key, &bounds);
        }
        registry.own().missed_slots(huge);
        registry.own().lag(Duration::from_nanos(huge));
        same(&registry);
    }
}

/// More than a step and a chunk: nothing is lost or doubled where pieces meet.
#[test]
fn many_series_are_encoded_as_the_crate_does() {
    let registry = registry();
    for target in 0..700 {
        let name = format!("target-{target:04}");
        let key = SeriesKey { target: name, member: 1, probe: "icmp".into(), egress: "default".into() };
        let series = registry.series(key, kind("icmp"), BUCKETS);
        series.record(&sample(true, Report::timed(Outcome::OK, Duration::from_micros(target * 100))));
    }
    same(&registry);
    let mut exposition = registry.expose(Form::Protobuf { classic: true }, &[]);
    let mut largest = 0;
    loop {
        match exposition.step() {
            Step::Chunk(chunk) => largest = largest.max(chunk.len()),
            Step::More => {}
            Step::End => break,
        }
    }
    assert!((1..=80 * 1024).contains(&largest), "{largest}");
}

/// A usual series: 22 bounds, a hundred round trips that differ by a tenth. The native form of its
/// histogram is at most a tenth of the text.
#[test]
fn a_native_histogram_is_small() {
    let registry = registry();
    let bounds: Vec<_> = (0..22).map(|power| 0.000_05 * 2f64.powi(power)).collect();
    let series = registry.series(key("icmp"), kind("icmp"), &bounds);
    for step in 0..100 {
        series.record(&sample(true, Report::timed(Outcome::OK, Duration::from_micros(20_000 + step * 20))));
    }
    let name = "vpnprobe_probe_rtt_seconds";
    let text = text(&registry);
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
    assert_eq!(lines.len(), 25);
    let long: usize = lines.iter().map(|line| line.len() + 1).sum();
    let families = parse(&registry.expose(Form::Protobuf { classic: false }, &[]).whole());
    let family = families.iter().find(|family| family.name() == name).unwrap();
    let short = protobuf::Message::compute_size(&family.get_metric()[0]);
    assert!(short * 10 <= long as u64, "{short} of {long} bytes");
}
