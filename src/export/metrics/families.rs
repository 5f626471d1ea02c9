//! Every metric of ours: name, type, labels and help in one table.
//!
//! Invariant: a metric that is not in this table cannot be exported, and one that is has exactly the
//! labels of its line.

use std::borrow::Cow;
use std::sync::LazyLock;

use prometheus::proto::MetricType;
use smallvec::SmallVec;

use super::histogram::Histogram;
use crate::time::WallTime;

/// What a metric belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Series,
    Target,
    Session,
    Pair,
    Own,
}

const SERIES: Scope = Scope::Series;
const TARGET: Scope = Scope::Target;
const SESSION: Scope = Scope::Session;
const PAIR: Scope = Scope::Pair;
const OWN: Scope = Scope::Own;

impl Scope {
    /// The labels that all its metrics have.
    pub(super) const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Series => &["target", "member", "probe", "egress"],
            Self::Target => &["target"],
            Self::Session => &["target", "member", "egress"],
            Self::Pair => &["target", "member", "probe", "pair"],
            Self::Own => &[],
        }
    }
}

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

            /// What it belongs to.
            pub(super) const fn scope(self) -> Scope {
                match self { $(Self::$variant => $scope,)+ }
            }

            /// The names of the labels it has beside those of its scope.
            pub(super) const fn extra(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($extra),*],)+ }
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
    StepStatus = GAUGE "vpnprobe_step_status", TARGET, ["step", "status"],
        "1 for how the step of the ladder went, 0 for the other ways it could have gone.";
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
    PairResults = COUNTER "vpnprobe_pair_results_total", PAIR, ["result"],
        "Exchanges of one instant over two ways out, by where they worked: both, only_a, only_b, neither.";
    PairDifference = HISTOGRAM "vpnprobe_pair_rtt_difference_seconds", PAIR, [],
        "Round trip over way b minus that over way a, of exchanges of one instant; negative if b is faster.";
    DpdTimeouts = COUNTER "vpnprobe_dpd_timeouts_total", SERIES, ["profile"],
        "Outages in which this dead peer detection surely tears a session down, whatever its phase.";
    DpdExpected = COUNTER "vpnprobe_dpd_expected_timeouts_total", SERIES, ["profile"],
        "Teardowns of a session by this dead peer detection, averaged over its phase.";
    DpdMargin = GAUGE "vpnprobe_dpd_margin_seconds", SERIES, ["profile"],
        "Silence left before this dead peer detection tears down a session of the least favourable phase.";
    DpdJudged = GAUGE "vpnprobe_dpd_judged", SERIES, ["profile"],
        "1 if the probes are frequent enough to judge by this profile, 0 if there is no verdict.";
    PathHops = GAUGE "vpnprobe_path_hops", SERIES, [],
        "How many hops it was to the destination when a trace last reached it.";
    PathChanges = COUNTER "vpnprobe_path_changes_total", SERIES, [],
        "How often the path has changed; load balancing and silent routers are no change.";
    PathFirstHop = GAUGE "vpnprobe_path_first_hop", SERIES, ["class"],
        "1 for what the first hop is, by its address and this host's routes, 0 for the others.";
    PathMtu = GAUGE "vpnprobe_path_mtu_bytes", SERIES, [],
        "The largest IP packet that was answered whole, as last searched.";
    NatMappingChanges = COUNTER "vpnprobe_nat_mapping_changes_total", SERIES, [],
        "How often a NAT on the way gave our kept flow another address or port.";
    NatBinding = GAUGE "vpnprobe_nat_binding_seconds", SERIES, ["bound"],
        "How long a flow may be idle and is remembered by every NAT and firewall on the way: at_least, and at_most if it was found forgotten; absent while unknown.";
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

impl Family {
    /// All of them, in the order of their names, as they are exported.
    pub(super) fn sorted() -> &'static [Self] {
        static SORTED: LazyLock<Vec<Family>> = LazyLock::new(|| {
            let mut all = Family::ALL.to_vec();
            all.sort_unstable_by_key(|family| family.name());
            all
        });
        &SORTED
    }
}

/// The label value of a member's slot.
pub(super) fn slot(member: u8) -> Cow<'static, str> {
    const USUAL: [&str; 9] = ["0", "1", "2", "3", "4", "5", "6", "7", "8"];
    USUAL.get(usize::from(member)).map_or_else(|| member.to_string().into(), |word| (*word).into())
}

/// What takes the metrics of one family after the other, owner by owner.
///
/// The labels that all metrics of an owner have stand in a *block*, rendered once and handed back for each
/// family; `extra` are the values of the labels that a family has beside them, in the order of the table.
pub(super) trait Sink {
    /// Adds the block of an owner to `out`, in whatever form it is wanted back.
    fn block(&self, names: &[&str], values: &[Cow<str>], out: &mut Vec<u8>);
    /// What comes belongs to this family. A family that nothing comes for is not exported.
    fn begin(&mut self, family: Family);
    /// What comes belongs to the owner with this block.
    fn owner(&mut self, block: &[u8]);
    /// A counter's value.
    fn whole(&mut self, extra: &[&str], value: u64);
    /// A gauge's value, or that of a counter of fractions.
    fn number(&mut self, extra: &[&str], value: f64);
    /// A histogram that was empty at `created`.
    fn histogram(&mut self, extra: &[&str], histogram: &Histogram, created: WallTime);
    /// The family is complete.
    fn end(&mut self);
    /// How many bytes were written so far.
    fn written(&self) -> usize;

    /// A gauge that is 1 or 0.
    fn flag(&mut self, extra: &[&str], set: bool) {
        self.number(extra, f64::from(u8::from(set)));
    }
}

/// Who has metrics: of each family of its scope none, one or more.
pub(super) trait Owner {
    /// The values of the labels of its scope, in the order of the table.
    fn labels(&self) -> SmallVec<[Cow<'_, str>; 4]>;

    /// Gives what it has of a family.
    fn collect<S: Sink>(&self, family: Family, out: &mut S);
}
