//! The last hour of one series, in less than a kilobyte: what a forecast needs to know of the past.
//!
//! ```text
//!   Sample ─▶ Order ─▶ 15 slots of 1 s (the window) ─▶ 13 buckets of 5 min ─▶ Recent
//! ```
//!
//! A window is any 15 s, slid by 1 s, as Teams' thresholds have it. Jitter in it is the mean difference
//! of consecutive round-trip times: what RFC 3550's J (section 6.4.1) is the running mean of.
//! Invariants: it holds 13 buckets at most; a sample that is no evidence changes nothing; only two answers of
//! one form with no loss between them make a difference.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Order, Timing};
use crate::sample::{Outcome, Phase, Reason, Sample};
use crate::time::{Timestamp, nanos};

/// How long a window is, in seconds.
pub const WINDOW: u64 = 15;
const SLOTS: usize = 15;
/// With more probes than this in a window, one loss is less than 1 %.
pub const FINE_LOSS: u32 = 100;
/// With so many differences, a running mean of gain 1/16 has settled to 95 %: (15/16)^48 is 0.045.
pub const FINE_JITTER: u32 = 48;

/// How long a bucket is, in seconds.
const BUCKET: u64 = 300;
/// The hour, and the bucket that is being filled.
const BUCKETS: u32 = 13;
const KEPT: u32 = 13;
/// So many buckets, the one being filled included, are "now" for a trend.
const NOW: u32 = 4;
const NANOS: u64 = 1_000_000_000;

/// What a series has seen in the last hour. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recent {
    /// From one probe to the next.
    pub interval_seconds: f64,
    /// How long ago the oldest bucket of 5 minutes that is counted here began.
    pub seconds: f64,
    /// How long ago the last evidence was due.
    pub age_seconds: f64,
    /// Probes that are evidence.
    pub sent: u64,
    /// Those of them that no authentic reply came to.
    pub lost: u64,
    /// The mean round-trip time of answers; null without one.
    pub rtt_seconds: Option<f64>,
    /// The mean of the five minutes in which it was highest.
    pub rtt_worst_seconds: Option<f64>,
    /// The longest.
    pub rtt_max_seconds: Option<f64>,
    /// How many answers there were.
    pub answers: u64,
    /// The last five to ten minutes alone.
    pub last: Last,
    /// The windows of 15 s.
    pub windows: Windows,
    /// Replies that were a demand for a cookie, of those that could have been one.
    pub cookies: Share,
    /// OpenVPN handshakes of which only the reset was answered, of those that got so far.
    pub reset_only: Share,
    /// How long a handshake, or the answer to its first message, took until 15 minutes ago.
    pub handshake_before: Mean,
    /// The same since then.
    pub handshake_now: Mean,
}

/// The last five to ten minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Last {
    /// Probes that are evidence.
    pub sent: u64,
    /// Those of them that no authentic reply came to.
    pub lost: u64,
    /// The mean round-trip time of answers.
    pub rtt_seconds: Option<f64>,
}

/// All windows of 15 s, slid by 1 s, that ended with a second in which a probe was due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Windows {
    /// How many there are.
    pub all: u64,
    /// How many of them held more than 100 probes, so that one loss is less than 1 %.
    pub fine: u64,
    /// Of those that held more, the one with the largest share of losses.
    pub worst_fine: Option<Loss>,
    /// Of those that held fewer, the one that has lost most beyond 1 %.
    pub worst: Option<Loss>,
    /// How many held 48 differences of round-trip times or more.
    pub jitter_fine: u64,
    /// The largest jitter of those.
    pub jitter_worst_seconds: Option<f64>,
}

/// The loss in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Loss {
    /// Probes that are evidence.
    pub sent: u16,
    /// Those of them that no authentic reply came to.
    pub lost: u16,
}

impl Loss {
    /// The share that was lost, from 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent.max(1))
    }

    /// How many more were lost than 1 %.
    fn excess(self) -> f64 {
        f64::from(self.lost) - f64::from(self.sent) / 100.0
    }
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Share {
    /// So many ...
    pub count: u64,
    /// ... of so many.
    pub of: u64,
}

/// A mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mean {
    /// The mean; 0 of none.
    pub seconds: f64,
    /// Of how many.
    pub count: u64,
}

/// A second: no series has more than some tens of probes in it. Packed, for there are many.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, packed(1))]
struct Slot {
    differences: f32,
    sent: u8,
    lost: u8,
    pairs: u8,
}

/// Of a bucket, which holds some thousand probes at the most. Packed, for there are many.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, packed(2))]
struct Sum {
    seconds: f64,
    count: u16,
}

impl Sum {
    fn add(&mut self, duration: Duration) {
        self.seconds += duration.as_secs_f64();
        self.count = self.count.saturating_add(1);
    }

    fn mean(self) -> Option<f64> {
        Total::default().join(self).mean()
    }
}

/// Of several buckets.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    seconds: f64,
    count: u32,
}

impl Total {
    fn join(self, Sum { seconds, count }: Sum) -> Self {
        Self { seconds: self.seconds + seconds, count: self.count + u32::from(count) }
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.seconds / f64::from(self.count))
    }

    fn told(self) -> Mean {
        Mean { seconds: self.mean().unwrap_or(0.0), count: self.count.into() }
    }
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    /// Counts from 1; 0 has never been used.
    number: u32,
    sent: u16,
    lost: u16,
    rtt: Sum,
    rtt_max: f32,
    handshake: Sum,
    windows: u16,
    worst: Loss,
    rare: Option<Box<Rare>>,
}

impl Bucket {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// What only quick probes see, and only some protocols.
#[derive(Debug, Clone, Copy, Default)]
struct Rare {
    fine: u16,
    worst_fine: Loss,
    jitter_fine: u16,
    jitter_worst: f32,
    cookies: u16,
    cookies_of: u16,
    reset_only: u16,
    reset_of: u16,
}

/// Remembers the last hour of one series.
#[derive(Debug, Clone)]
pub struct Recently {
    timing: Timing,
    order: Order,
    history: History,
}

#[derive(Debug, Clone)]
struct History {
    slots: [Slot; SLOTS],
    /// The second that is being filled.
    second: u32,
    /// How many seconds there were, up to a whole window of them.
    seconds: u8,
    /// The form of the last answer, and its time in nanoseconds.
    last: Option<(&'static str, u64)>,
    last_due: Timestamp,
    /// A ring that begins with the first bucket of all; as long as it had to be so far.
    buckets: Box<[Bucket]>,
    base: u32,
}

impl Default for Recently {
    fn default() -> Self {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
        Self {
            timing: Timing::new(interval, timeout),
            order: Order::default(),
            history: History {
                slots: [Slot::default(); SLOTS],
                second: 0,
                seconds: 0,
                last: None,
                last_due: Timestamp::ZERO,
                buckets: Box::default(),
                base: 0,
            },
        }
    }
}

impl Recently {
    /// Begins a new history, of a series of this pace.
    pub fn begin(&mut self, interval: Duration, timeout: Duration) {
        *self = Self { timing: Timing::new(interval, timeout), ..Self::default() };
    }

    /// The series has this pace from now on. Another one begins a new history.
    pub fn pace(&mut self, interval: Duration, timeout: Duration) {
        if self.timing != Timing::new(interval, timeout) {
            self.begin(interval, timeout);
        }
    }

    /// Takes a sample that tells about the target, in the order in which results become known.
    pub fn observe(&mut self, sample: &Sample) {
        let Some(evidence) = Evidence::of(sample) else { return };
        let handshake = sample.report.phases.iter().find(|(phase, _)| *phase == Phase::Handshake);
        let took = handshake.map_or(sample.report.rtt, |(_, took)| Some(*took));
        if let Some(took) = took.filter(|_| evidence.serving)
            && let Some(bucket) = self.history.bucket(sample.due)
        {
            bucket.handshake.add(took);
        }
        let Self { timing, order, history } = self;
        order.put(*timing, evidence, sample.done, |evidence| history.fold(&evidence));
    }

    /// Whether [`Self::hear`] has anything to hear of such a sample.
    #[must_use]
    pub fn is_news(sample: &Sample) -> bool {
        matches!(sample.form, "policy" | "policy_any" | "init" | "tls")
            && sample.report.outcome.received() == Some(true)
    }

    /// Takes what a reply told beside its coming, rare forms included.
    pub fn hear(&mut self, sample: &Sample) {
        let report = &sample.report;
        if !Self::is_news(sample) {
            return;
        }
        let Some(bucket) = self.history.bucket(sample.due) else { return };
        let rare = bucket.rare();
        if sample.form == "tls" {
            rare.reset_of = rare.reset_of.saturating_add(1);
            let full = report.outcome == Outcome::Refused(Reason::FullOrThrottled);
            rare.reset_only = rare.reset_only.saturating_add(full.into());
        } else {
            rare.cookies_of = rare.cookies_of.saturating_add(1);
            let cookie = report.findings.as_ref().is_some_and(|findings| findings.under_load);
            rare.cookies = rare.cookies.saturating_add(cookie.into());
        }
    }

    /// What is known at `now`; nothing before the first evidence of the last hour.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Option<Recent> {
        self.history.at(now, self.timing.interval())
    }
}

fn number(at: Timestamp) -> u32 {
    u32::try_from(at.as_nanos() / NANOS / BUCKET + 1).unwrap_or(u32::MAX)
}

impl History {
    /// The bucket of that time; nothing if its place is taken by a later one.
    fn bucket(&mut self, at: Timestamp) -> Option<&mut Bucket> {
        let number = number(at);
        if self.buckets.is_empty() {
            self.base = number;
        }
        let place =
            number.wrapping_sub(self.base).cast_signed().rem_euclid(BUCKETS.cast_signed()).cast_unsigned()
                as usize;
        if place >= self.buckets.len() {
            let mut buckets = std::mem::take(&mut self.buckets).into_vec();
            buckets.reserve_exact(place + 1 - buckets.len());
            buckets.resize(place + 1, Bucket::default());
            self.buckets = buckets.into_boxed_slice();
        }
        let bucket = self.buckets.get_mut(place)?;
        if bucket.number < number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        (bucket.number == number).then_some(bucket)
    }

    fn fold(&mut self, evidence: &Evidence) {
        let second = u32::try_from(evidence.at.as_nanos() / NANOS).unwrap_or(u32::MAX);
        self.advance(second);
        let lost = !evidence.received;
        let rtt = evidence.rtt.filter(|_| evidence.serving);
        let now = rtt.map(|rtt| (evidence.form, nanos(rtt)));
        let difference = match (self.last, now) {
            (Some((before, earlier)), Some((form, rtt))) if before == form => {
                Some(Duration::from_nanos(rtt.abs_diff(earlier)))
            }
            _ => None,
        };
        self.last = now;
        self.last_due = self.last_due.max(evidence.at);
        if let Some(slot) = self.slots.get_mut(index(second)) {
            slot.sent = slot.sent.saturating_add(1);
            slot.lost = slot.lost.saturating_add(lost.into());
            if let Some(difference) = difference {
                slot.pairs = slot.pairs.saturating_add(1);
                slot.differences += difference.as_secs_f32();
            }
        }
        if let Some(bucket) = self.bucket(evidence.at) {
            bucket.sent = bucket.sent.saturating_add(1);
            bucket.lost = bucket.lost.saturating_add(lost.into());
            if let Some(rtt) = rtt {
                bucket.rtt.add(rtt);
                bucket.rtt_max = bucket.rtt_max.max(rtt.as_secs_f32());
            }
        }
    }

    /// Ends the second before, if this is another one.
    fn advance(&mut self, second: u32) {
        if self.seconds == 0 {
            (self.second, self.seconds) = (second, 1);
            return;
        }
        let now = self.second;
        if second <= now {
            return;
        }
        if u64::from(self.seconds) >= WINDOW {
            self.judge(now);
        }
        for passed in (now + 1..=second).rev().take(self.slots.len()) {
            if let Some(slot) = self.slots.get_mut(index(passed)) {
                *slot = Slot::default();
            }
        }
        self.second = second;
        let seconds = u64::from(self.seconds).saturating_add((second - now).into()).min(WINDOW);
        self.seconds = u8::try_from(seconds).unwrap_or(u8::MAX);
    }

    /// Counts the window that ends with this second.
    fn judge(&mut self, second: u32) {
        let (mut loss, mut pairs, mut differences) = (Loss::default(), 0_u16, 0.0);
        for slot in &self.slots {
            loss.sent += u16::from(slot.sent);
            loss.lost += u16::from(slot.lost);
            pairs += u16::from(slot.pairs);
            differences += slot.differences;
        }
        let Some(bucket) = self.bucket(Timestamp::from_secs(second.into())) else { return };
        bucket.windows = bucket.windows.saturating_add(1);
        if u32::from(loss.sent) > FINE_LOSS {
            let rare = bucket.rare();
            rare.fine = rare.fine.saturating_add(1);
            rare.worst_fine = worse_share(rare.worst_fine, loss);
        } else {
            bucket.worst = worse(bucket.worst, loss);
        }
        if u32::from(pairs) >= FINE_JITTER {
            let rare = bucket.rare();
            rare.jitter_fine = rare.jitter_fine.saturating_add(1);
            rare.jitter_worst = rare.jitter_worst.max(differences / f32::from(pairs));
        }
    }

    fn at(&self, now: Timestamp, interval: Duration) -> Option<Recent> {
        let current = number(now);
        let oldest = current.saturating_sub(KEPT - 1);
        let mut kept: Vec<&Bucket> =
            self.buckets.iter().filter(|bucket| bucket.number >= oldest.max(1)).collect();
        kept.sort_by_key(|bucket| bucket.number);
        let first = kept.iter().find(|bucket| bucket.sent > 0)?;
        let began = Timestamp::from_secs(u64::from(first.number - 1) * BUCKET);
        let mut recent = Recent {
            interval_seconds: interval.as_secs_f64(),
            seconds: now.since(began).as_secs_f64(),
            age_seconds: now.since(self.last_due).as_secs_f64(),
            ..Recent::default()
        };
        let (mut rtt, mut last_rtt) = (Total::default(), Total::default());
        let (mut before, mut lately) = (Total::default(), Total::default());
        let (mut worst, mut worst_fine) = (Loss::default(), Loss::default());
        let highest = |known: Option<f64>, new: f64| Some(known.map_or(new, |known| known.max(new)));
        for bucket in kept {
            let rare = bucket.rare.as_deref().copied().unwrap_or_default();
            recent.sent += u64::from(bucket.sent);
            recent.lost += u64::from(bucket.lost);
            rtt = rtt.join(bucket.rtt);
            if let Some(mean) = bucket.rtt.mean() {
                recent.rtt_worst_seconds = highest(recent.rtt_worst_seconds, mean);
                recent.rtt_max_seconds = highest(recent.rtt_max_seconds, bucket.rtt_max.into());
            }
            if bucket.number + 2 > current {
                recent.last.sent += u64::from(bucket.sent);
                recent.last.lost += u64::from(bucket.lost);
                last_rtt = last_rtt.join(bucket.rtt);
            }
            recent.windows.all += u64::from(bucket.windows);
            recent.windows.fine += u64::from(rare.fine);
            recent.windows.jitter_fine += u64::from(rare.jitter_fine);
            worst = worse(worst, bucket.worst);
            worst_fine = worse_share(worst_fine, rare.worst_fine);
            if rare.jitter_fine > 0 {
                let jitter = f64::from(rare.jitter_worst);
                recent.windows.jitter_worst_seconds = highest(recent.windows.jitter_worst_seconds, jitter);
            }
            recent.cookies.count += u64::from(rare.cookies);
            recent.cookies.of += u64::from(rare.cookies_of);
            recent.reset_only.count += u64::from(rare.reset_only);
            recent.reset_only.of += u64::from(rare.reset_of);
            let part = if bucket.number + NOW > current { &mut lately } else { &mut before };
            *part = part.join(bucket.handshake);
        }
        recent.rtt_seconds = rtt.mean();
        recent.answers = rtt.count.into();
        recent.last.rtt_seconds = last_rtt.mean();
        recent.windows.worst = (worst.sent > 0).then_some(worst);
        recent.windows.worst_fine = (worst_fine.sent > 0).then_some(worst_fine);
        (recent.handshake_before, recent.handshake_now) = (before.told(), lately.told());
        Some(recent)
    }
}

fn index(second: u32) -> usize {
    usize::try_from(u64::from(second) % WINDOW).unwrap_or(0)
}

/// The one that has lost most beyond 1 %.
fn worse(one: Loss, other: Loss) -> Loss {
    if one.sent == 0 || (other.sent > 0 && other.excess() > one.excess()) { other } else { one }
}

/// The one that has lost the larger share.
fn worse_share(one: Loss, other: Loss) -> Loss {
    if one.sent == 0 || (other.sent > 0 && other.ratio() > one.ratio()) { other } else { one }
}

#[cfg(test)]
mod tests;
