//! What a dead peer detection would have done: one probe stream replayed through one profile, at every
//! phase at once.
//!
//! Nobody knows when a user's session last heard from its peer, so the state here is not one session but
//! all of them: stretches of sessions, each stretch with the times at which they transmit next and how
//! many transmissions of the round they have lost. Each transmission meets the fate of the probes around
//! it: answered between two answered probes, lost between two lost ones, and *either* between a lost and
//! an answered one, where a stretch goes both ways with half its weight.
//!
//! ```text
//!   probes        o   o   x   x   x   x   o   o          o answered  x lost
//!   fates       answered|either| lost  |either|answered
//!   sessions   [--- next transmission, one idle time long ---)        before the outage
//! ```
//!
//! So a teardown is *sure* when no session is left in any branch, *impossible* while none has died in
//! any, and in between the *expected* share is the mean over phase and branches. The first two hold for
//! every session there can be, as far as a run of lost probes is a cut and not heavy random loss; the
//! third takes all phases for equally likely.
//! Invariants: the weights of all stretches, dead ones included, always sum to one; before the first
//! answer there is no session that anything could tear down.
//!
//! An outage begins with a lost probe and ends when everyone is settled: no round is open, and no probe
//! was lost for an idle time. Then phases are anyone's guess again. A session that died comes back with
//! the next answered probe and may die again: that adds to the expected teardowns, not to the sure ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::profiles::Profile;
use crate::time::{self, Timestamp};

/// More stretches than this, once those that are one are joined, are joined with their neighbours. Only
/// long partial loss gets there.
const STRETCHES: usize = 48;
/// Below this many, joining them costs more than it saves.
const FEW: usize = 24;
/// Stretches that lie on each other never weigh more in sum.
const HEAVIEST: f64 = 1e3;
/// Never more than this many, whatever the timers are: a step of the evidence that is long beside the
/// waits would have no end of them.
const MOST: usize = 4 * STRETCHES;
/// A hole in the evidence longer than this many intervals says nothing about what was in it.
const HOLE: u32 = 3;

/// The probes come too seldom to foretell anything about this profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a probe every {interval:?} is too coarse: {coarsest:?} or less is needed")]
pub struct TooCoarse {
    /// How often there is a probe.
    pub interval: Duration,
    /// How often there would have to be one.
    pub coarsest: Duration,
}

/// What an outage did to the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// When its first probe was lost.
    pub began: Timestamp,
    /// When its last probe was lost, so far.
    pub last_loss: Timestamp,
    /// When the first session can have been torn down; nothing if none can.
    pub first_teardown: Option<Timestamp>,
    /// Whether every session was torn down.
    pub sure: bool,
    /// Teardowns of a session, averaged over its phase.
    pub expected: f64,
    /// The least margin that was left.
    pub least_margin: Duration,
    /// Whether the evidence goes to the end of the outage.
    pub complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Lost,
    Either,
}

/// Sessions that transmit next, evenly, from `from` on and before `to`; nanoseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Stretch {
    from: u64,
    to: u64,
    /// Transmissions of this round that were lost; all of them, and the next event is the teardown.
    lost: u8,
    /// Whether these have been torn down in this outage before.
    again: bool,
    /// Share of all sessions per nanosecond, times the idle time: 1 before the outage.
    weight: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Outage {
    verdict: Verdict,
    stretches: Vec<Stretch>,
    /// Share of sessions that are torn down and not back yet.
    down: f64,
    /// With more stretches than this it is time to join some: twice as many as were left the last time,
    /// so that sorting them is rare.
    #[serde(skip)]
    room: usize,
}

/// One profile's view of one probe stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Survival {
    #[serde(skip)]
    idle: u64,
    /// After each transmission: the wait, and how long it is until the teardown.
    #[serde(skip)]
    waits: Box<[(u64, u64)]>,
    #[serde(skip)]
    patience: u64,
    #[serde(skip)]
    hole: u64,
    /// The last evidence.
    last: Option<(u64, bool)>,
    outage: Option<Box<Outage>>,
    #[serde(skip)]
    sure: u64,
    #[serde(skip)]
    expected: f64,
}

fn nanos(duration: Duration) -> u64 {
    // A year is enough for any timer, and leaves room to add some.
    time::nanos(duration).min(365 * 86_400 * 1_000_000_000)
}

impl Survival {
    /// Judges by `profile` a stream with a probe every `interval`.
    ///
    /// # Errors
    /// If two probes do not fit into the shortest silence that can end a session, or none into an idle time; also for a profile that
    /// is not [valid](Profile::validate), whose sessions one lost packet ends.
    pub fn new(profile: &Profile, interval: Duration) -> Result<Self, TooCoarse> {
        let coarsest = profile.coarsest_interval();
        if interval > coarsest || interval.is_zero() || profile.validate().is_err() {
            return Err(TooCoarse { interval, coarsest });
        }
        let mut left = nanos(profile.patience());
        let mut counted = |wait: Duration| {
            let (wait, ahead) = (nanos(wait), left);
            left = left.saturating_sub(wait);
            (wait, ahead)
        };
        Ok(Self {
            idle: nanos(profile.idle),
            waits: profile.waits.iter().copied().map(&mut counted).collect(),
            patience: nanos(profile.patience()),
            hole: nanos(interval.saturating_mul(HOLE)),
            last: None,
            outage: None,
            sure: 0,
            expected: 0.0,
        })
    }

    /// Goes on from what was kept by the same profile; the counts begin anew. Nothing changes if that
    /// can not have been so: what was kept comes from a file.
    pub fn resume(&mut self, kept: Self, now: Timestamp) {
        if kept.plausible(self.idle.saturating_add(self.patience), now.as_nanos()) {
            self.last = kept.last;
            self.outage = kept.outage;
        }
    }

    fn plausible(&self, span: u64, now: u64) -> bool {
        let Some((last, _)) = self.last else { return self.outage.is_none() };
        let Some(outage) = &self.outage else { return last <= now };
        // Sessions transmit next within one silence of the last evidence, before or after it.
        let near = last.saturating_sub(span)..=last.saturating_add(span);
        let stretch = |stretch: &Stretch| {
            stretch.from <= stretch.to
                && near.contains(&stretch.from)
                && near.contains(&stretch.to)
                && (0.0..=HEAVIEST).contains(&stretch.weight)
        };
        let Verdict { began, last_loss, expected, .. } = outage.verdict;
        last <= now
            && began <= last_loss
            && last_loss.as_nanos() <= last
            && expected.is_finite()
            && (0.0..=HEAVIEST).contains(&outage.down)
            && outage.stretches.len() <= MOST
            && outage.stretches.iter().all(stretch)
    }

    /// Outages in which every session was torn down, so far.
    #[must_use]
    pub const fn sure(&self) -> u64 {
        self.sure
    }

    /// Teardowns of a session averaged over its phase, so far.
    #[must_use]
    pub const fn expected(&self) -> f64 {
        self.expected
    }

    /// The silence left from `now` until the first session can be torn down.
    #[must_use]
    pub fn margin(&self, now: Timestamp) -> Duration {
        let death = match (&self.outage, self.last) {
            (None, None) => return Duration::from_nanos(self.patience),
            (None, Some((at, _))) => at.saturating_add(self.patience),
            (Some(outage), _) => self.first_death(outage),
        };
        Duration::from_nanos(death.saturating_sub(now.as_nanos()).min(self.patience))
    }

    /// The margin when the last probe was sent; nothing before the first answer.
    #[must_use]
    pub fn margin_now(&self) -> Option<Duration> {
        self.last.map(|(at, _)| self.margin(Timestamp::from_nanos(at)))
    }

    /// The outage that is under way, as far as the evidence goes.
    #[must_use]
    pub fn current(&self) -> Option<Verdict> {
        self.outage.as_ref().map(|outage| outage.verdict)
    }

    /// Takes the fate of a probe sent at `at` in; no evidence (`None`) changes nothing, nor does silence
    /// before the first answer. Fates must come in the order of their sending; one that does not is left
    /// out. Tells of an outage that is over.
    pub fn observe(&mut self, at: Timestamp, received: Option<bool>) -> Option<Verdict> {
        let (Some(received), at) = (received, at.as_nanos()) else { return None };
        if !received && self.last.is_none() {
            return None; // nobody can have had a session
        }
        let before = self.last.filter(|(before, _)| at > *before);
        if self.last.is_some() && before.is_none() {
            return None;
        }
        self.last = Some((at, received));
        let (before, was) = before?;
        if at - before > self.hole {
            // Whoever was torn down stays so until something is answered: no second teardown.
            if !received
                && let Some(outage) = self.outage.as_mut().filter(|outage| outage.stretches.is_empty())
            {
                outage.verdict.last_loss = Timestamp::from_nanos(at);
                return None;
            }
            let over = self.outage.take().map(|outage| Verdict { complete: false, ..outage.verdict });
            if !received {
                self.begin(at, at);
            }
            return over;
        }
        if self.outage.is_none() {
            if received {
                return None;
            }
            self.begin(before, at);
        }
        let fate = match (was, received) {
            (true, true) => Fate::Answered,
            (false, false) => Fate::Lost,
            _ => Fate::Either,
        };
        let mut outage = self.outage.take()?;
        self.advance(&mut outage, (before, at), fate);
        if !received {
            outage.verdict.last_loss = Timestamp::from_nanos(at);
        }
        let left = self.first_death(&outage).saturating_sub(at);
        outage.verdict.least_margin = outage.verdict.least_margin.min(Duration::from_nanos(left));
        if received && self.settled(&outage, at) {
            return Some(outage.verdict);
        }
        self.outage = Some(outage);
        None
    }

    /// Sessions of every phase meet an outage whose first probe was lost at `lost`.
    fn begin(&mut self, from: u64, lost: u64) {
        let all = Stretch { from, to: from.saturating_add(self.idle), lost: 0, again: false, weight: 1.0 };
        let verdict = Verdict {
            began: Timestamp::from_nanos(lost),
            last_loss: Timestamp::from_nanos(lost),
            first_teardown: None,
            sure: false,
            expected: 0.0,
            least_margin: Duration::from_nanos(self.patience),
            complete: true,
        };
        self.outage = Some(Box::new(Outage { verdict, stretches: vec![all], down: 0.0, room: FEW }));
    }

    fn settled(&self, outage: &Outage, at: u64) -> bool {
        if outage.verdict.sure {
            return true;
        }
        let quiet = at.saturating_sub(outage.verdict.last_loss.as_nanos()) >= self.idle;
        quiet && outage.stretches.iter().all(|stretch| stretch.lost == 0)
    }

    /// When the first session is torn down if nothing more is answered.
    fn first_death(&self, outage: &Outage) -> u64 {
        let death = |stretch: &Stretch| {
            let ahead = self.waits.get(usize::from(stretch.lost)).map_or(0, |(_, ahead)| *ahead);
            stretch.from.saturating_add(ahead)
        };
        outage.stretches.iter().map(death).min().unwrap_or(0)
    }

    /// Everything that happens at or after `start` and before `end`.
    fn advance(&mut self, outage: &mut Outage, (start, end): (u64, u64), fate: Fate) {
        if fate != Fate::Lost && outage.down > 0.0 {
            // Whoever was torn down comes back when something is answered: somewhere in here.
            let to = start.saturating_add(self.idle);
            let back = Stretch { from: start, to, lost: 0, again: true, weight: outage.down };
            outage.stretches.push(back);
            outage.down = 0.0;
        }
        let mut at = 0;
        while let Some(stretch) = outage.stretches.get(at) {
            if stretch.from >= end {
                at += 1;
                continue;
            }
            let stretch = *stretch;
            // Before `end`: these transmit now; the rest stays.
            let now = Stretch { to: stretch.to.min(end), ..stretch };
            if stretch.to > end {
                if let Some(rest) = outage.stretches.get_mut(at) {
                    rest.from = end;
                }
            } else {
                outage.stretches.swap_remove(at);
            }
            self.transmit(outage, now, fate);
            if outage.stretches.len() > MOST {
                merge(&mut outage.stretches);
                coarsen(&mut outage.stretches);
                at = 0;
            }
        }
        if outage.stretches.len() > outage.room.max(FEW) {
            merge(&mut outage.stretches);
            coarsen(&mut outage.stretches);
            outage.room = outage.stretches.len() * 2;
        }
        let verdict = &mut outage.verdict;
        if !verdict.sure && outage.stretches.iter().all(|stretch| stretch.again) {
            verdict.sure = true;
            self.sure += 1;
        }
    }

    /// A stretch transmits, or is torn down.
    fn transmit(&mut self, outage: &mut Outage, now: Stretch, fate: Fate) {
        let Some((wait, _)) = self.waits.get(usize::from(now.lost)).copied() else {
            let share = self.share(&now);
            outage.down += share;
            outage.verdict.expected += share;
            self.expected += share;
            let first = Timestamp::from_nanos(now.from);
            outage.verdict.first_teardown =
                Some(outage.verdict.first_teardown.map_or(first, |earlier| earlier.min(first)));
            return;
        };
        let weight = if fate == Fate::Either { now.weight / 2.0 } else { now.weight };
        let later = |by: u64| (now.from.saturating_add(by), now.to.saturating_add(by));
        if fate != Fate::Lost {
            let (from, to) = later(self.idle);
            outage.stretches.push(Stretch { from, to, lost: 0, weight, ..now });
        }
        if fate != Fate::Answered {
            let (from, to) = later(wait);
            outage.stretches.push(Stretch { from, to, lost: now.lost + 1, weight, ..now });
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of a whole; 53 bits of nanoseconds are plenty")]
    fn share(&self, stretch: &Stretch) -> f64 {
        stretch.weight * stretch.to.saturating_sub(stretch.from) as f64 / self.idle as f64
    }
}

/// Joins stretches that touch, or lie on each other, and are otherwise alike.
fn merge(stretches: &mut Vec<Stretch>) {
    let sort = |stretch: &Stretch| u128::from(stretch.lost) << 1 | u128::from(stretch.again);
    stretches.sort_unstable_by_key(|stretch| (sort(stretch) << 64 | u128::from(stretch.from), stretch.to));
    stretches.dedup_by(|next, kept| {
        let alike = alike(kept, next);
        if alike && next.from == kept.from && next.to == kept.to {
            kept.weight += next.weight;
            return true;
        }
        let touch = alike && next.from == kept.to && next.weight.to_bits() == kept.weight.to_bits();
        if touch {
            kept.to = next.to;
        }
        touch
    });
}

/// How many sessions there are in a stretch; the weight is how many there are in each nanosecond.
#[expect(clippy::cast_precision_loss, reason = "a share of a whole; 53 bits of nanoseconds are plenty")]
fn mass(stretch: &Stretch) -> f64 {
    stretch.weight * stretch.to.saturating_sub(stretch.from) as f64
}

/// How far how many sessions are moved when these become one.
#[expect(clippy::cast_precision_loss, reason = "a share of a whole; 53 bits of nanoseconds are plenty")]
fn blur(one: &Stretch, next: &Stretch) -> f64 {
    (mass(one) + mass(next)) * one.to.max(next.to).saturating_sub(one.from.min(next.from)) as f64
}

fn alike(one: &Stretch, next: &Stretch) -> bool {
    one.lost == next.lost && one.again == next.again
}

/// Joins neighbours until there are few again: those that weigh least and lie closest. What a joined
/// stretch covers holds all that its parts covered, so that `sure` and *impossible* stay true; the
/// expected share is a little off.
#[expect(clippy::cast_precision_loss, reason = "a share of a whole; 53 bits of nanoseconds are plenty")]
fn coarsen(stretches: &mut Vec<Stretch>) {
    while stretches.len() > STRETCHES {
        let pairs = stretches.iter().zip(stretches.iter().skip(1));
        let mut blurs: Vec<f64> =
            pairs.filter(|(one, next)| alike(one, next)).map(|(one, next)| blur(one, next)).collect();
        if blurs.is_empty() {
            return; // one of each sort is left
        }
        let middle = blurs.len() / 2;
        let most = *blurs.select_nth_unstable_by(middle, f64::total_cmp).1;
        stretches.dedup_by(|next, kept| {
            let join = alike(kept, next) && blur(kept, next) <= most;
            if join {
                let both = mass(kept) + mass(next);
                kept.from = kept.from.min(next.from);
                kept.to = kept.to.max(next.to);
                kept.weight = both / kept.to.saturating_sub(kept.from).max(1) as f64;
            }
            join
        });
    }
}
