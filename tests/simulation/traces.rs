//! Traces with their labels: what the link did, what a prober saw of it, and what is true of it.
//!
//! The truth is what was drawn: outages with a beginning and an end. No detector is asked.

use std::time::Duration;

use vpnprobe::sample::{Outcome, Reason, Report, Sample, SeriesId};
use vpnprobe::time::Timestamp;

/// SplitMix64 (Steele, Lea, Flood 2014): fast, and the same each time.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn within(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.u64() % of.len() as u64).unwrap()]
    }
}

/// Times of a trace, in seconds.
pub type Span = (f64, f64);

/// Loss beside outages: Gilbert-Elliott, two states in continuous time, so that the same link looks the
/// same at every interval.
#[derive(Debug, Clone, Copy)]
pub struct Background {
    /// Loss in the good state.
    pub good: f64,
    /// Loss in the bad state.
    pub bad: f64,
    /// Mean length of a good and a bad spell, in seconds; no bad ones if the first is infinite.
    pub good_spell: f64,
    pub bad_spell: BadSpell,
}

#[derive(Debug, Clone, Copy)]
pub enum BadSpell {
    Mean(f64),
    Fixed(f64),
}

impl Background {
    pub const fn iid(loss: f64) -> Self {
        Self { good: loss, bad: loss, good_spell: f64::INFINITY, bad_spell: BadSpell::Fixed(0.0) }
    }

    /// One burst an hour in which 90 % is lost.
    pub const fn hourly(bad_spell: BadSpell) -> Self {
        Self { good: 0.0, bad: 0.9, good_spell: 3600.0, bad_spell }
    }

    /// A link as there are: clean, with some loss at random, or with bursts.
    pub fn drawn(random: &mut Random) -> Self {
        match random.u64() % 4 {
            0 => Self::iid(0.0),
            1 => Self::iid(random.pick(&[0.001, 0.005, 0.01, 0.02, 0.05])),
            _ => Self {
                good: random.within(0.0, 0.01),
                bad: random.within(0.5, 1.0),
                good_spell: random.within(60.0, 600.0),
                bad_spell: BadSpell::Mean(random.within(0.2, 3.0)),
            },
        }
    }
}

/// A link over time; asked about ascending times only.
pub struct Link<'a> {
    random: Random,
    background: Background,
    outages: &'a [Span],
    /// The bad spell that is now, or comes next.
    bad: Span,
}

impl<'a> Link<'a> {
    pub fn new(mut random: Random, background: Background, outages: &'a [Span]) -> Self {
        let bad = Self::spell(&mut random, background, 0.0);
        Self { random, background, outages, bad }
    }

    fn spell(random: &mut Random, background: Background, after: f64) -> Span {
        if background.good_spell.is_infinite() {
            return (f64::INFINITY, f64::INFINITY);
        }
        let from = after + random.exponential(background.good_spell);
        let length = match background.bad_spell {
            BadSpell::Mean(mean) => random.exponential(mean),
            BadSpell::Fixed(length) => length,
        };
        (from, from + length)
    }

    /// Whether a probe that is sent at `at` is answered.
    pub fn passes(&mut self, at: f64, rtt: f64) -> bool {
        // Lost in an outage is also what is on its way when it begins.
        while self.outages.first().is_some_and(|(_, end)| *end <= at) {
            self.outages = &self.outages[1..];
        }
        if self.outages.first().is_some_and(|(begin, _)| *begin < at + rtt) {
            return false;
        }
        while self.bad.1 <= at {
            self.bad = Self::spell(&mut self.random, self.background, self.bad.1);
        }
        let loss = if self.bad.0 <= at { self.background.bad } else { self.background.good };
        loss <= 0.0 || !self.random.chance(loss)
    }
}

/// How a series is probed.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Seconds.
    pub interval: f64,
    pub timeout: f64,
    /// The first due time.
    pub phase: f64,
}

impl Plan {
    pub fn new(interval: f64, random: &mut Random) -> Self {
        Self { interval, timeout: 2.0, phase: random.unit() * interval }
    }

    /// The samples until `end`, in the order in which their results are known.
    pub fn samples(self, mut link: Link<'_>, end: f64) -> impl Iterator<Item = Sample> + '_ {
        let interval = nanos(self.interval);
        let (phase, timeout) = (nanos(self.phase), Duration::from_secs_f64(self.timeout));
        let mut seq = 0_u64;
        // Those that are lost are known after those answered meanwhile.
        let mut waiting: std::collections::VecDeque<Sample> = std::collections::VecDeque::new();
        let mut answered: Option<Sample> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(sample) =
                    answered.take_if(|sample| waiting.front().is_none_or(|lost| sample.done <= lost.done))
                {
                    return Some(sample);
                }
                let due = Timestamp::from_nanos(phase + interval * seq);
                let limit = answered.as_ref().map_or(due, |sample| sample.done);
                if waiting.front().is_some_and(|lost| lost.done <= limit) {
                    return waiting.pop_front();
                }
                let seconds = seconds(due);
                if seconds >= end {
                    return waiting.pop_front();
                }
                // Sent up to 5 ms late, answered within 15 to 60 ms.
                let draw = link.random.u64();
                let sent = due + Duration::from_micros(draw % 5000);
                let rtt = Duration::from_micros(15_000 + (draw >> 32) % 45_000);
                let passes = link.passes(seconds, rtt.as_secs_f64());
                let report = if passes {
                    Report::timed(Outcome::OK, rtt)
                } else {
                    Report::new(Outcome::Lost(Reason::NoAnswer))
                };
                let done = sent + if passes { rtt } else { timeout };
                let sample =
                    Sample { series: SeriesId(0), seq, form: "version", due, sent: Some(sent), done, report };
                seq += 1;
                if passes {
                    answered = Some(sample);
                } else {
                    waiting.push_back(sample);
                }
            }
        })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "years in nanoseconds fit")]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "microseconds survive for centuries")]
pub fn seconds(at: Timestamp) -> f64 {
    at.as_nanos() as f64 / 1e9
}

/// A trace and what is true of it.
pub struct Trace {
    pub plan: Plan,
    pub background: Background,
    /// When the link was down, ascending; moments too.
    pub outages: Vec<Span>,
    /// Four transitions or more within ten minutes.
    pub flapping: bool,
    /// In seconds.
    pub length: f64,
}

/// Transitions within this time that make flapping.
const SPELL: f64 = 600.0;
const TRANSITIONS: usize = 4;

impl Trace {
    /// Draws one. Outages mostly take 15 to 35 s, or three to seven intervals where probes are further
    /// apart than 5 s: what is shorter leaves too little for any detector to see.
    pub fn drawn(random: &mut Random) -> Self {
        let interval = random.pick(&[1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0]);
        let plan = Plan::new(interval, random);
        let background = Background::drawn(random);
        let shortest = f64::max(15.0, 3.0 * interval);
        let usual = f64::max(35.0, 7.0 * interval);
        let pause = f64::max(30.0, 3.0 * interval);
        let lead = random.within(600.0, 1800.0);
        let long = |random: &mut Random| random.within(1200.0, 3600.0);
        let mut outages: Vec<Span> = Vec::new();
        match random.u64() % 8 {
            // Spells of four transitions, and of five: the fifth begins an outage that stays.
            kind @ 0..=3 => {
                let five = kind >= 2;
                loop {
                    let first = Self::outage(random, shortest, usual);
                    let second = Self::outage(random, shortest, usual);
                    let (up, again) = (random.within(pause, 300.0), random.within(pause, 300.0));
                    let spell = first + up + second;
                    if spell > SPELL {
                        continue;
                    }
                    outages = vec![(lead, lead + first), (lead + first + up, lead + spell)];
                    if five {
                        let from = lead + spell + again;
                        outages.push((from, from + long(random)));
                    }
                    break;
                }
            }
            // Three transitions: the third begins an outage that stays.
            4 => {
                let first = Self::outage(random, shortest, usual);
                let from = lead + first + random.within(pause, 300.0);
                outages = vec![(lead, lead + first), (from, from + long(random))];
            }
            // Two outages that have nothing to do with each other.
            5 => {
                let first = Self::outage(random, shortest, usual);
                let from = lead + first + long(random);
                outages = vec![(lead, lead + first), (from, from + Self::outage(random, shortest, usual))];
            }
            6 => outages = vec![(lead, lead + Self::outage(random, shortest, usual))],
            _ => {}
        }
        let flapping = flapping(&outages);
        let length = outages.last().map_or(lead, |(_, end)| *end) + 1800.0;
        Self::moments(random, &mut outages, length);
        Self { plan, background, outages, flapping, length }
    }

    fn outage(random: &mut Random, shortest: f64, usual: f64) -> f64 {
        if random.chance(0.9) { random.within(shortest, usual) } else { random.within(usual, usual * 3.0) }
    }

    /// Everything is lost for 1 to 8 s now and then, in half of the traces: these are no transitions.
    fn moments(random: &mut Random, outages: &mut Vec<Span>, length: f64) {
        if random.chance(0.5) {
            return;
        }
        let mut from = 300.0 + random.exponential(600.0);
        while from < length {
            let moment = (from, from + random.within(1.0, 8.0));
            if outages.iter().all(|(begin, end)| moment.1 < *begin || *end < moment.0) {
                outages.push(moment);
            }
            from += 8.0 + random.exponential(600.0);
        }
        outages.sort_by(|one, other| one.0.total_cmp(&other.0));
    }

    pub fn samples(&self, random: Random) -> impl Iterator<Item = Sample> + '_ {
        self.plan.samples(Link::new(random, self.background, &self.outages), self.length)
    }
}

/// The label: whether some ten minutes have four transitions.
fn flapping(outages: &[Span]) -> bool {
    let transitions: Vec<f64> = outages.iter().flat_map(|(begin, end)| [*begin, *end]).collect();
    transitions.windows(TRANSITIONS).any(|window| window[TRANSITIONS - 1] - window[0] <= SPELL)
}
