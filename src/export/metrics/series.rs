//! The metrics of one series: one probe of one member of one target over one egress.
//!
//! Invariants: counting a sample takes no lock, unless it brings findings; the lock of the last hour is
//! never held for longer than it takes to add a sample or to sum it up. Every reason and fault is
//! counted, also one that the kind forgot to declare: evidence is never dropped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use once_cell::race::OnceBox;
use smallvec::{SmallVec, smallvec};

use super::cells::Cells;
use super::detected::Detected;
use super::dpd::DpdMetrics;
use super::families::{Family, Owner, Sink, slot};
use super::histogram::{Bounds, Histogram};
use super::nat::NatMetrics;
use super::path::PathMetrics;
use crate::detect::liveness::State;
use crate::detect::recent::{Recent, Recently};
use crate::detect::{Transition, Watch};
use crate::probe::Kind;
use crate::sample::{Details, Fault, Findings, Outcome, Phase, Reason, Sample};
use crate::time::{Timestamp, WallTime, nanos};
use crate::words;

/// Which series: its four labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The target's name.
    pub target: String,
    /// The member's slot, from 1 on.
    pub member: u8,
    /// The probe's name.
    pub probe: String,
    /// The egress' name.
    pub egress: String,
}

words! {
    /// Which flow of a probe that keeps one: a stateful firewall or NAT may have condemned the old one.
    pub enum FlowAge {
        /// The flow the probe has kept all along, as a VPN client does.
        Pinned = "pinned",
        /// A flow from a new source port, opened beside it after several losses.
        Fresh = "fresh",
    }
}

/// The metrics of one series. The engine writes, the web side reads.
#[derive(Debug)]
pub struct SeriesMetrics {
    key: Arc<SeriesKey>,
    kind: Kind,
    created: WallTime,
    probes: AtomicU64,
    /// What is seldom counted, all of it: by reason, by fault, and what else has a name in [`Seldom`].
    seldom: Cells,
    rtt: Histogram,
    up: AtomicU8,
    detected: Detected,
    /// By flow, as `up`.
    flows: [AtomicU8; FlowAge::ALL.len()],
    /// Nanoseconds since the epoch; 0 is never.
    last_attempt: AtomicI64,
    /// The last outcome and its round-trip time in one word, so that they fit each other.
    last: AtomicU64,
    /// From the beginning if its kind has any of it, else when needed.
    more: OnceBox<More>,
    /// The last hour.
    recent: Mutex<Recently>,
}

/// What a series of pings has not.
#[derive(Debug)]
struct More {
    phases: Box<[(Phase, Histogram)]>,
    /// Nanoseconds since the epoch; [`i64::MIN`] is unknown.
    not_after: AtomicI64,
    /// What the profiles of dead peer detection that this series feeds make of it.
    dpd: Mutex<Arc<[DpdMetrics]>>,
    /// For the kind `trace`: what it makes of the path.
    path: Option<Box<PathMetrics>>,
    /// For the kind `stun`: what it makes of the NATs on the way.
    nat: Option<Box<NatMetrics>>,
    /// What each form found out last.
    findings: Mutex<BTreeMap<&'static str, Arc<Findings>>>,
}

impl More {
    fn new(kind: Kind, buckets: &Bounds) -> Self {
        Self {
            phases: kind.phases.iter().map(|phase| (*phase, Histogram::new(buckets))).collect(),
            not_after: AtomicI64::new(i64::MIN),
            dpd: Mutex::default(),
            path: (kind.name == "trace").then(Box::default),
            nat: (kind.name == "stun").then(Box::default),
            findings: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether series of this kind have it from the beginning.
    fn of(kind: Kind) -> bool {
        !kind.phases.is_empty() || matches!(kind.name, "trace" | "stun")
    }
}

/// What is counted in the one list of cells of a series.
#[derive(Debug, Clone, Copy)]
enum Seldom {
    Failure(Reason),
    Unsent(Fault),
    Duplicate,
    Late,
    UnderLoad,
    HalfOpenLeft,
    Deferred,
}

impl Seldom {
    /// There are fewer reasons, and fewer faults.
    const WORDS: u16 = 64;

    const fn key(self) -> u16 {
        match self {
            Self::Failure(reason) => reason as u16,
            Self::Unsent(fault) => Self::WORDS + fault as u16,
            Self::Duplicate => 2 * Self::WORDS,
            Self::Late => 2 * Self::WORDS + 1,
            Self::UnderLoad => 2 * Self::WORDS + 2,
            Self::HalfOpenLeft => 2 * Self::WORDS + 3,
            Self::Deferred => 2 * Self::WORDS + 4,
        }
    }
}

impl SeriesMetrics {
    pub(super) fn new(key: Arc<SeriesKey>, kind: Kind, buckets: &Bounds, created: WallTime) -> Self {
        let new = Self {
            key,
            kind,
            created,
            probes: AtomicU64::new(0),
            seldom: Cells::default(),
            rtt: Histogram::new(buckets),
            up: AtomicU8::new(0),
            detected: Detected::new(),
            flows: Default::default(),
            last_attempt: AtomicI64::new(0),
            last: AtomicU64::new(0),
            more: OnceBox::new(),
            recent: Mutex::default(),
        };
        if More::of(kind) {
            new.more();
        }
        new
    }

    fn more(&self) -> &More {
        self.more.get_or_init(|| Box::new(More::new(self.kind, self.rtt.bounds())))
    }

    /// Has a place for each of these profiles of dead peer detection, and no others. One that was there
    /// before goes on counting.
    #[must_use]
    pub fn dpd<'a>(&self, profiles: impl Iterator<Item = &'a str>) -> Arc<[DpdMetrics]> {
        let mut profiles = profiles.peekable();
        // Most series feed none, and share the empty list.
        if self.more.get().is_none() && profiles.peek().is_none() {
            return Arc::default();
        }
        let mut all = self.more().dpd.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<DpdMetrics> = profiles
            .map(|name| match all.iter().find(|known| known.profile() == name) {
                Some(known) => known.clone(),
                None => DpdMetrics::new(name),
            })
            .collect();
        *all = if new.is_empty() { Arc::default() } else { new.into() };
        Arc::clone(&all)
    }

    /// Whether a series of this kind with these buckets can go on in this one.
    pub(super) fn fits(&self, kind: Kind, buckets: &Bounds) -> bool {
        self.kind == kind && self.rtt.bounds() == buckets
    }

    /// What its profiles of dead peer detection make of it.
    #[must_use]
    pub fn dpd_now(&self) -> Arc<[DpdMetrics]> {
        let Some(more) = self.more.get() else { return Arc::default() };
        Arc::clone(&more.dpd.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts an exchange that came to nothing by a fault of ours.
    pub fn not_sent(&self, fault: Fault) {
        self.count(Seldom::Unsent(fault));
    }

    /// Counts a sample. Whether it found out something that the one before of its form did not.
    pub fn record(&self, sample: &Sample) -> bool {
        let report = &sample.report;
        if sample.sent.is_some() {
            self.probes.fetch_add(1, Relaxed);
        }
        if let Outcome::Unsent(fault) = report.outcome {
            self.not_sent(fault);
            if fault == Fault::Budget {
                self.count(Seldom::Deferred);
            }
        }
        if let Some(reason) = report.outcome.reason() {
            self.count(Seldom::Failure(reason));
        }
        // A refusal is no round trip of the service, however fast it came.
        if let (Outcome::Answered(_), Some(rtt)) = (report.outcome, report.rtt) {
            self.rtt.observe(rtt);
        }
        for (phase, took) in &report.phases {
            if let Some((_, histogram)) = self.phases().iter().find(|(known, _)| known == phase) {
                histogram.observe(*took);
            }
        }
        let news = report.findings.as_ref().is_some_and(|findings| self.found(sample.form, findings));
        if Recently::is_news(sample) {
            self.recently(|recent| recent.hear(sample));
        }
        self.last.store(pack(report.outcome, report.rtt), Relaxed);
        news
    }

    fn count(&self, what: Seldom) {
        self.seldom.add(what.key());
    }

    fn counted(&self, what: Seldom) -> u64 {
        self.seldom.get(what.key())
    }

    fn recently<T>(&self, act: impl FnOnce(&mut Recently) -> T) -> T {
        act(&mut self.recent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells at which pace the samples come from now on.
    pub fn pace(&self, interval: Duration, timeout: Duration) {
        self.recently(|recent| recent.pace(interval, timeout));
    }

    /// Begins the last hour anew: another box, way or pace.
    pub fn begin(&self, interval: Duration, timeout: Duration) {
        self.recently(|recent| recent.begin(interval, timeout));
    }

    /// Keeps a sample that tells about the target for an hour.
    pub fn remember(&self, sample: &Sample) {
        self.recently(|recent| recent.observe(sample));
    }

    /// The last hour, seen from `now`.
    pub fn recent(&self, now: Timestamp) -> Option<Recent> {
        self.recently(|recent| recent.at(now))
    }

    fn found(&self, form: &'static str, findings: &Findings) -> bool {
        if findings.under_load {
            self.count(Seldom::UnderLoad);
        }
        if findings.half_open_left.is_some() {
            self.count(Seldom::HalfOpenLeft);
        }
        if let Some(not_after) = findings.certificate_not_after {
            self.more().not_after.store(not_after.as_unix_nanos(), Relaxed);
        }
        let mut known = self.more().findings.lock().unwrap_or_else(PoisonError::into_inner);
        // Most answers say what the one before said.
        let news = known.get(form).is_none_or(|known| **known != *findings);
        if news {
            known.insert(form, Arc::new(findings.clone()));
        }
        news
    }

    /// Counts an answer that came after the timeout.
    pub fn late(&self) {
        self.count(Seldom::Late);
    }

    /// Counts an answer that came again.
    pub fn duplicate(&self) {
        self.count(Seldom::Duplicate);
    }

    /// Counts a slot that the budget held back and that is sent later. A slot that it held back for
    /// good is a sample with [`Fault::Budget`], which [`Self::record`] counts.
    pub fn deferred(&self) {
        self.count(Seldom::Deferred);
    }

    /// Sets whether the service is up, after hysteresis; nothing while that is not known.
    pub fn set_up(&self, up: Option<bool>) {
        self.up.store(up.map_or(0, |up| 1 + u8::from(up)), Relaxed);
    }

    /// Takes over what the detectors know at `at`.
    pub fn watched(&self, watch: &Watch, at: Timestamp) {
        self.set_up(match watch.state().0 {
            State::Up | State::Degraded => Some(true),
            State::Down => Some(false),
            State::Unknown => None,
        });
        self.detected.watched(watch, at);
    }

    /// Counts what a detector told.
    pub fn transition(&self, transition: &Transition) {
        self.detected.count(transition);
    }

    /// Sets whether answers come back on a flow.
    pub fn set_flow(&self, flow: FlowAge, up: bool) {
        if let Some(state) = self.flows.get(flow as usize) {
            state.store(1 + u8::from(up), Relaxed);
        }
    }

    /// Notes that an exchange was begun.
    pub fn attempt(&self, wall: WallTime) {
        self.last_attempt.store(wall.as_unix_nanos().max(1), Relaxed);
    }

    /// Reads a little of all that a sample will change. The number says nothing.
    pub fn fetch(&self) -> u64 {
        let words = self.rtt.fetch() ^ self.probes.load(Relaxed) ^ self.last.load(Relaxed);
        words ^ self.detected.fetch() ^ u64::from(self.up.load(Relaxed))
    }

    /// Which series this is.
    pub fn key(&self) -> &Arc<SeriesKey> {
        &self.key
    }

    /// What its probe does.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the service is up, after hysteresis.
    pub fn up(&self) -> Option<bool> {
        match self.up.load(Relaxed) {
            0 => None,
            word => Some(word == 2),
        }
    }

    /// Exchanges whose first packet left this host.
    pub fn probes(&self) -> u64 {
        self.probes.load(Relaxed)
    }

    /// The reasons it has failed for, with how often.
    pub fn failures(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = Reason::ALL.iter().map(|reason| (*reason, self.counted(Seldom::Failure(*reason))));
        counts.filter(|(_, count)| *count > 0)
    }

    /// The faults of ours that it has met, with how often.
    pub fn unsent(&self) -> impl Iterator<Item = (Fault, u64)> {
        let counts = Fault::ALL.iter().map(|fault| (*fault, self.counted(Seldom::Unsent(*fault))));
        counts.filter(|(_, count)| *count > 0)
    }

    fn phases(&self) -> &[(Phase, Histogram)] {
        self.more.get().map_or(&[], |more| &more.phases)
    }

    /// The last outcome with its round-trip time; nothing before the first.
    pub fn last(&self) -> Option<(Outcome, Option<Duration>)> {
        unpack(self.last.load(Relaxed))
    }

    /// When the last exchange was begun.
    pub fn last_attempt(&self) -> Option<WallTime> {
        Some(self.last_attempt.load(Relaxed)).filter(|nanos| *nanos != 0).map(WallTime::from_unix_nanos)
    }

    /// When the first certificate of the chain to expire does so, as last seen.
    pub fn certificate_not_after(&self) -> Option<WallTime> {
        let not_after = self.more.get()?.not_after.load(Relaxed);
        (not_after != i64::MIN).then(|| WallTime::from_unix_nanos(not_after))
    }

    /// What the detectors know.
    pub fn detected(&self) -> &Detected {
        &self.detected
    }

    /// What its traces make of the path; nothing for other kinds.
    pub fn path(&self) -> Option<&PathMetrics> {
        self.more.get()?.path.as_deref()
    }

    /// What it makes of the NATs on the way; nothing for other kinds than `stun`.
    pub fn nat(&self) -> Option<&NatMetrics> {
        self.more.get()?.nat.as_deref()
    }

    /// What the last exchanges found out, all forms together.
    pub fn details(&self) -> Details {
        let mut all = Details::default();
        let Some(more) = self.more.get() else { return all };
        let findings = more.findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for found in findings.values() {
            all.merge(&found.details);
        }
        if let Some(nat) = &more.nat {
            nat.details(&mut all);
        }
        all
    }
}

impl Owner for SeriesMetrics {
    fn labels(&self) -> SmallVec<[Cow<'_, str>; 4]> {
        let SeriesKey { target, member, probe, egress } = &*self.key;
        smallvec![target.into(), slot(*member), probe.into(), egress.into()]
    }

    fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        match family {
            Family::Probes => out.whole(&[], self.probes()),
            Family::Failures => {
                // Those of the kind, and what was counted beside them; one bit each, as there are fewer than 64.
                let known = self.kind.reasons.iter().map(|reason| Seldom::Failure(*reason).key());
                let counted = self.seldom.iter().map(|(key, _)| key).filter(|key| *key < Seldom::WORDS);
                let shown = known.chain(counted).fold(0_u64, |bits, key| bits | 1 << key);
                for reason in Reason::ALL.iter().filter(|reason| shown >> **reason as u16 & 1 == 1) {
                    out.whole(&[reason.as_str()], self.counted(Seldom::Failure(*reason)));
                }
            }
            Family::Unsent => {
                for fault in Fault::ALL {
                    out.whole(&[fault.as_str()], self.counted(Seldom::Unsent(*fault)));
                }
            }
            Family::Rtt => out.histogram(&[], &self.rtt, self.created),
            Family::PhaseTime => {
                for (phase, histogram) in self.phases() {
                    out.histogram(&[phase.as_str()], histogram, self.created);
                }
            }
            Family::Up => {
                if let Some(up) = self.up() {
                    out.flag(&[], up);
                }
            }
            Family::FlowUp => {
                for (flow, state) in FlowAge::ALL.iter().zip(&self.flows) {
                    let state = state.load(Relaxed);
                    if state > 0 {
                        out.flag(&[flow.as_str()], state > 1);
                    }
                }
            }
            Family::Duplicates => out.whole(&[], self.counted(Seldom::Duplicate)),
            Family::LateReplies => out.whole(&[], self.counted(Seldom::Late)),
            Family::UnderLoad => out.whole(&[], self.counted(Seldom::UnderLoad)),
            Family::HalfOpenLeft => out.whole(&[], self.counted(Seldom::HalfOpenLeft)),
            Family::BudgetDeferred => out.whole(&[], self.counted(Seldom::Deferred)),
            Family::DpdJudged | Family::DpdTimeouts | Family::DpdExpected | Family::DpdMargin => {
                self.dpd_now().iter().for_each(|profile| profile.collect(family, out));
            }
            Family::PathChanges | Family::PathHops | Family::PathMtu | Family::PathFirstHop => {
                self.path().iter().for_each(|path| path.collect(family, out));
            }
            Family::NatMappingChanges | Family::NatBinding => {
                self.nat().iter().for_each(|nat| nat.collect(family, out));
            }
            Family::LastAttempt => {
                out.number(&[], self.last_attempt().unwrap_or_default().as_unix_seconds_f64());
            }
            Family::CertificateNotAfter => {
                if let Some(not_after) = self.certificate_not_after() {
                    out.number(&[], not_after.as_unix_seconds_f64());
                }
            }
            _ => self.detected.collect(family, self.created, out),
        }
    }
}

/// Bits of the round-trip time in a packed outcome: over a year of nanoseconds.
const RTT_BITS: u32 = 55;
const RTT_NONE: u64 = (1 << RTT_BITS) - 1;
const WORD_BITS: u32 = 6;
const WORD_NONE: u64 = (1 << WORD_BITS) - 1;

/// From the top: 3 bits outcome (0 is none yet), 6 bits reason or fault, 55 bits nanoseconds.
fn pack(outcome: Outcome, rtt: Option<Duration>) -> u64 {
    let (kind, word) = match outcome {
        Outcome::Answered(reason) => (1, reason.map_or(WORD_NONE, |reason| reason as u64)),
        Outcome::Refused(reason) => (2, reason as u64),
        Outcome::Lost(reason) => (3, reason as u64),
        Outcome::Unsent(fault) => (4, fault as u64),
    };
    let nanos = rtt.map_or(RTT_NONE, |rtt| nanos(rtt).min(RTT_NONE - 1));
    (kind << (WORD_BITS + RTT_BITS)) | (word << RTT_BITS) | nanos
}

fn unpack(packed: u64) -> Option<(Outcome, Option<Duration>)> {
    let word = usize::try_from((packed >> RTT_BITS) & WORD_NONE).ok()?;
    let reason = Reason::ALL.get(word).copied();
    let outcome = match packed >> (WORD_BITS + RTT_BITS) {
        1 => Outcome::Answered(reason),
        2 => Outcome::Refused(reason?),
        3 => Outcome::Lost(reason?),
        4 => Outcome::Unsent(*Fault::ALL.get(word)?),
        _ => return None,
    };
    let nanos = packed & RTT_NONE;
    Some((outcome, (nanos != RTT_NONE).then(|| Duration::from_nanos(nanos))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ten thousand series hold is ten thousand times this; what they hold beside it is in cells, which are
    /// made when needed, and in the last hour.
    #[test]
    fn the_metrics_of_a_series_are_small() {
        let parts = [
            ("all", size_of::<SeriesMetrics>(), 400),
            ("of it, what detectors know", size_of::<Detected>(), 72),
            ("of it, the last hour", size_of::<Recently>(), 200),
        ];
        for (part, bytes, most) in parts {
            assert!(bytes <= most, "{part}: {bytes} bytes, more than {most}");
        }
        assert!(
            Reason::ALL.len() < usize::from(Seldom::WORDS) && Fault::ALL.len() < usize::from(Seldom::WORDS)
        );
    }

    #[test]
    fn an_outcome_survives_packing() {
        assert_eq!(unpack(0), None);
        let rtts = [None, Some(Duration::ZERO), Some(Duration::from_secs(86_400))];
        for rtt in rtts {
            let answered = Reason::ALL.iter().map(|reason| Outcome::Answered(Some(*reason)));
            let refused = Reason::ALL.iter().map(|reason| Outcome::Refused(*reason));
            let lost = Reason::ALL.iter().map(|reason| Outcome::Lost(*reason));
            let unsent = Fault::ALL.iter().map(|fault| Outcome::Unsent(*fault));
            for outcome in answered.chain(refused).chain(lost).chain(unsent).chain([Outcome::OK]) {
                assert_eq!(unpack(pack(outcome, rtt)), Some((outcome, rtt)));
            }
        }
        assert_eq!(unpack(pack(Outcome::OK, Some(Duration::MAX))).unwrap().0, Outcome::OK);
        assert!(Reason::ALL.len() < 63 && Fault::ALL.len() < 63);
    }
}
