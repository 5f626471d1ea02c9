//! Every metric of ours: name, type, labels and help in one table.
//!
//! Invariant: a metric that is not in this table cannot be exported, and one that is has exactly the
//! labels of its line.

use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use protobuf::{UnknownFields, UnknownValue};

use super::histogram::{Histogram, Reading};
use super::native::ZERO_THRESHOLD;
use crate::time::WallTime;

/// Labels of what belongs to one series.
pub(super) const SERIES: &[&str] = &["target", "member", "probe", "egress"];
/// Labels of what belongs to one target.
const TARGET: &[&str] = &["target"];
/// Labels of what belongs to one session.
const SESSION: &[&str] = &["target", "member", "egress"];
/// Labels of what is about ourselves.
const OWN: &[&str] = &[];

/// Declares the table.
macro_rules! families {
    ($($variant:ident = $kind:ident $name:literal, $scope:ident, [$($extra:literal),*], $help:literal;)+) => {
        /// A metric, as an index into the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Family { $($variant,)+ }

        impl Family {
            /// All of them, in the order of the table.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means.
            pub(super) const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }

            /// Its type.
            pub(super) const fn kind(self) -> MetricType {
                match self { $(Self::$variant => MetricType::$kind,)+ }
            }

            /// The names of its labels, in order.
            pub(super) fn labels(self) -> impl Iterator<Item = &'static str> {
                let (scope, extra): (&[&str], &[&str]) =
                    match self { $(Self::$variant => ($scope, &[$($extra),*]),)+ };
                scope.iter().chain(extra).copied()
            }
        }
    };
}

families! {
    Probes = COUNTER "vpnprobe_probes_total", SERIES, [],
        "Exchanges whose first packet left this host.";
    Failures = COUNTER "vpnprobe_probe_failures_total", SERIES, ["reason"],
        "Exchanges that failed, by reason.";
    Unsent = COUNTER "vpnprobe_probe_unsent_total", SERIES, ["fault"],
        "Exchanges that prove nothing about the target: our own faults and held-back slots.";
    Rtt = HISTOGRAM "vpnprobe_probe_rtt_seconds", SERIES, [],
        "Time from the first transmission to its authentic answer.";
    PhaseTime = HISTOGRAM "vpnprobe_probe_phase_seconds", SERIES, ["phase"],
        "Time that a part of the exchange took.";
    Up = GAUGE "vpnprobe_probe_up", SERIES, [],
        "1 if the service answers and does not refuse, 0 if not, after hysteresis; absent while unknown.";
    LossRatio = HISTOGRAM "vpnprobe_loss_ratio", SERIES, [],
        "Share of probes lost, from 0 to 1, per window of 15 s or 20 intervals, whichever is longer.";
    LossRun = HISTOGRAM "vpnprobe_loss_run_length", SERIES, [],
        "How many probes in a row were lost, per row that has ended.";
    Outage = HISTOGRAM "vpnprobe_outage_duration_seconds", SERIES, [],
        "How long outages took that have ended.";
    Jitter = GAUGE "vpnprobe_jitter_seconds", SERIES, [],
        "Jitter of the round-trip time (RFC 3550); absent before two answers in a row.";
    Flaps = COUNTER "vpnprobe_flaps_total", SERIES, [],
        "How often the service fell silent or came back, if only for ten seconds.";
    FlapPenalty = GAUGE "vpnprobe_flap_penalty", SERIES, [],
        "Penalty for flaps (RFC 2439): each adds 1000, and half is left after a half-life.";
    Flapping = GAUGE "vpnprobe_flapping", SERIES, [],
        "1 from when the penalty reaches `suppress` until it falls below `reuse`, else 0.";
    FlapPercent = GAUGE "vpnprobe_flap_percent_state_change", SERIES, [],
        "Percent of state changes over the last 21 results, weighted as Nagios does.";
    FlowUp = GAUGE "vpnprobe_flow_up", SERIES, ["flow"],
        "1 if answers come back on the flow: pinned is the one kept all along, fresh a new one opened beside it after losses.";
    TargetState = GAUGE "vpnprobe_target_state", TARGET, ["state"],
        "1 for the state the target is in, 0 for the others.";
    Incidents = COUNTER "vpnprobe_incidents_total", TARGET, ["cause"],
        "Incidents, by what caused them; counted when that is judged.";
    Duplicates = COUNTER "vpnprobe_duplicates_total", SERIES, [],
        "Answers that came more than once.";
    LateReplies = COUNTER "vpnprobe_late_replies_total", SERIES, [],
        "Answers that came after the timeout.";
    UnderLoad = COUNTER "vpnprobe_probe_under_load_total", SERIES, [],
        "Answers that asked for a cookie: the peer has many half-open sessions.";
    HalfOpenLeft = COUNTER "vpnprobe_half_open_left_total", SERIES, [],
        "Half-open sessions that we had to leave at the peer.";
    BudgetDeferred = COUNTER "vpnprobe_budget_deferred_total", SERIES, [],
        "Slots that the budget of the address held back, sent later or not at all.";
    LastAttempt = GAUGE "vpnprobe_last_attempt_timestamp_seconds", SERIES, [],
        "When the last exchange was begun; 0 if none was.";
    CertificateNotAfter = GAUGE "vpnprobe_tls_certificate_not_after_timestamp_seconds", SERIES, [],
        "When the first certificate of the chain to expire does so, as last seen.";
    TargetInfo = GAUGE "vpnprobe_target_info", TARGET, ["member", "address", "family", "vendor", "versions"],
        "What is known about a member of a target.";
    SessionUp = GAUGE "vpnprobe_session_up", SESSION, [],
        "1 while a real session with the peer is up, the peer having proved itself; else 0.";
    SessionRtt = HISTOGRAM "vpnprobe_session_liveness_rtt_seconds", SESSION, [],
        "Time from the first transmission of a liveness check to its answer; repeated ones are not timed.";
    SessionChecks = COUNTER "vpnprobe_session_liveness_checks_total", SESSION, [],
        "Liveness checks sent.";
    SessionLosses = COUNTER "vpnprobe_session_liveness_losses_total", SESSION, [],
        "Transmissions of liveness checks that were not answered in their time.";
    SessionTeardowns = COUNTER "vpnprobe_session_teardowns_total", SESSION, ["reason"],
        "Sessions that ended or could not be set up, by reason.";
    SessionPredictions = COUNTER "vpnprobe_session_predictions_total", SESSION, ["predicted", "seen"],
        "Outages that the session met, by what its timers foretold from the probes and by what it did.";
    DpdTimeouts = COUNTER "vpnprobe_dpd_timeouts_total", SERIES, ["profile"],
        "Outages in which this dead peer detection surely tears a session down, whatever its phase.";
    DpdExpected = COUNTER "vpnprobe_dpd_expected_timeouts_total", SERIES, ["profile"],
        "Teardowns of a session by this dead peer detection, averaged over its phase.";
    DpdMargin = GAUGE "vpnprobe_dpd_margin_seconds", SERIES, ["profile"],
        "Silence left before this dead peer detection tears down a session of the least favourable phase.";
    DpdJudged = GAUGE "vpnprobe_dpd_judged", SERIES, ["profile"],
        "1 if the probes are frequent enough to judge by this profile, 0 if there is no verdict.";
    ScheduleLag = HISTOGRAM "vpnprobe_schedule_lag_seconds", OWN, [],
        "How much later than due an exchange was begun.";
    MissedSlots = COUNTER "vpnprobe_missed_slots_total", OWN, [],
        "Slots of the schedule that could not be begun.";
    ReceiveOverflow = COUNTER "vpnprobe_receive_overflow_total", OWN, [],
        "Packets that the kernel dropped because our receive buffers were full.";
    Unmatched = COUNTER "vpnprobe_unmatched_packets_total", OWN, ["reason"],
        "Packets that belong to no exchange of ours.";
    ClockFallback = COUNTER "vpnprobe_clock_fallback_total", OWN, [],
        "Round trips timed in user space because the kernel's stamps could not be used.";
    StateFailures = COUNTER "vpnprobe_state_write_failures_total", OWN, [],
        "Times that state or incidents could not be written to state_dir.";
    ReloadOk = GAUGE "vpnprobe_config_last_reload_successful", OWN, [],
        "1 if the last reload of the configuration succeeded.";
    ReloadTime = GAUGE "vpnprobe_config_last_reload_success_timestamp_seconds", OWN, [],
        "When the configuration was last loaded without error.";
    BuildInfo = GAUGE "vpnprobe_build_info", OWN, ["version"],
        "1; the label says which version this is.";
}

/// Metrics as they are collected: one list a family.
pub(super) struct Collected(Vec<MetricFamily>);

impl Collected {
    /// All families, still empty.
    pub(super) fn new() -> Self {
        Self(
            Family::ALL
                .iter()
                .map(|family| {
                    let mut out = MetricFamily::default();
                    out.set_name(family.name().to_owned());
                    out.set_help(family.help().to_owned());
                    out.set_field_type(family.kind());
                    out
                })
                .collect(),
        )
    }

    /// Adds a counter's value; label values in the order of the table.
    #[expect(clippy::cast_precision_loss, reason = "a Prometheus value is a double")]
    pub(super) fn counter(&mut self, family: Family, values: &[&str], value: u64) {
        let mut metric = Metric::default();
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
        self.push(family, values, metric);
    }

    /// Adds the value of a counter that counts in fractions.
    pub(super) fn fractions(&mut self, family: Family, values: &[&str], value: f64) {
        let mut metric = Metric::default();
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
        self.push(family, values, metric);
    }

    /// Adds a gauge's value.
    pub(super) fn gauge(&mut self, family: Family, values: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.push(family, values, Metric::from_gauge(gauge));
    }

    /// Adds a histogram's buckets, classic and native, that were empty at `created`.
    pub(super) fn histogram(
        &mut self,
        family: Family,
        values: &[&str],
        histogram: &Histogram,
        created: WallTime,
    ) {
        let mut reading = Reading::default();
        histogram.read(&mut reading);
        let mut metric = Metric::default();
        metric.set_histogram(message(histogram, &reading, created));
        self.push(family, values, metric);
    }

    fn push(&mut self, family: Family, values: &[&str], mut metric: Metric) {
        debug_assert_eq!(family.labels().count(), values.len(), "{}", family.name());
        let pairs = family.labels().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        metric.set_label(pairs.collect());
        if let Some(list) = self.0.get_mut(family as usize) {
            list.mut_metric().push(metric);
        }
    }

    /// The families that have at least one metric.
    pub(super) fn finish(mut self) -> Vec<MetricFamily> {
        self.0.retain(|family| !family.get_metric().is_empty());
        self.0
    }
}

/// A histogram as Prometheus' message has it. The crate's message does not know the native form yet, so
/// its fields are added by their numbers in `io/prometheus/client/metrics.proto`.
fn message(histogram: &Histogram, reading: &Reading, created: WallTime) -> prometheus::proto::Histogram {
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
    for (offset, length) in native.spans() {
        let mut span = UnknownFields::new();
        span.add_value(1, UnknownValue::sint32(offset));
        span.add_varint(2, length.into());
        unknown.add_length_delimited(12, span.write_to_bytes());
    }
    for delta in native.deltas() {
        unknown.add_value(13, UnknownValue::sint64(delta));
    }
    let mut stamp = UnknownFields::new();
    stamp.add_varint(1, created.as_unix_nanos().div_euclid(1_000_000_000).cast_unsigned());
    stamp.add_varint(2, created.as_unix_nanos().rem_euclid(1_000_000_000).cast_unsigned());
    unknown.add_length_delimited(15, stamp.write_to_bytes());
    out
}
