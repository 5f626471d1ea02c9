//! What is behind the tunnels, asked in rounds: each round is what `check` asks once.
//!
//! ```text
//!   pause ──▶ round: every resolver and host of one target at once, tried as `check` tries them
//!     ▲          │ as before, or better, or our own fault ──────────────▶ told
//!     │          └ worse than what was told ──▶ a second round, soon ──▶ told
//!     └─────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants: what is told of a target was all seen in one round, so that no silence of now is held
//! against an answer of a minute ago; no single round makes anything worse. Nothing of it is a sample:
//! what is inside opens no incident and is no part of the target's state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::case::Case;
use super::survey::Observed;
use crate::budget::Budget;
use crate::config::{Config, Egress, Inside, Target};
use crate::entropy::Draw;
use crate::export::metrics::{Registry, TargetMetrics};
use crate::net::{Driver, Happening, Tag};
use crate::sample::{Fault, Outcome, Report, SeriesId};
use crate::time::{Clock, Timestamp, nanos};

/// Marks the numbers of targets asked inside among those of series.
const INSIDE: u32 = 1 << 30;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often a probe is tried in a round until it is answered.
const ATTEMPTS: u32 = 3;
/// The first round of a target begins within this time.
const FIRST: Duration = Duration::from_secs(10);
/// From a round that is worse to the one that confirms it.
const CONFIRM: Duration = Duration::from_secs(3);
/// How long a round waits for the budget.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked behind a target's tunnel, over its way out.
pub(super) fn cases(config: &Config, target: &Target, driver: &mut Driver) -> Vec<Case> {
    let Some(inside) = &target.inside else { return Vec::new() };
    let (name, egress) = way(config, inside);
    let probes = inside.probes(TIMEOUT).into_iter();
    probes
        .map(|(address, spec)| {
            let (kept, port) = spec.flow();
            Case {
                flow: driver.open(address, port, kept, Arc::clone(&egress)),
                spec: spec.into(),
                member: 1,
                address,
                egress: name.clone(),
                todo: VecDeque::new(),
                best: None,
            }
        })
        .collect()
}

fn way(config: &Config, inside: &Inside) -> (String, Arc<Egress>) {
    let name = inside.egress.clone().unwrap_or_else(|| "default".to_owned());
    let egress = Arc::new(config.egress.get(&name).cloned().unwrap_or_default());
    (name, egress)
}

/// What is due: a round, or a case of the round that waits for the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Round,
    Case(usize),
}

/// One target's inside.
struct Kept {
    inside: Inside,
    egress: Arc<Egress>,
    cases: Vec<Case>,
    /// Tells this round's results from an earlier one's.
    round: u64,
    /// When it began.
    began: Timestamp,
    /// Cases that are not done yet.
    running: usize,
    /// Whether this round is to confirm the one before.
    confirming: bool,
    metrics: Arc<TargetMetrics>,
}

/// All that are asked.
#[derive(Default)]
pub(super) struct Insides {
    /// By number; numbers are not used again, for a run that was let go of still ends.
    kept: BTreeMap<u32, Kept>,
    numbers: u32,
    due: BTreeSet<(Timestamp, u32, Due)>,
}

impl Insides {
    /// Whether a run of that number is one of these.
    pub fn owns(series: SeriesId) -> bool {
        series.0 & INSIDE != 0
    }

    /// When something is due.
    pub fn next(&self) -> Timestamp {
        self.due.first().map_or(Timestamp::FAR, |(at, ..)| *at)
    }

    /// The addresses that are asked.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.kept.values().flat_map(|kept| kept.cases.iter().map(|case| case.address))
    }

    /// Begins what is due.
    pub fn begin(&mut self, driver: &mut Driver, budget: &mut Budget, out: &mut Vec<Happening>) {
        let now = driver.clock().now();
        while self.next() <= now {
            let Some((_, number, due)) = self.due.pop_first() else { break };
            let Some(kept) = self.kept.get_mut(&number) else { continue };
            match due {
                Due::Case(index) => self.ask(number, index, driver, budget, out),
                Due::Round => {
                    kept.round += 1;
                    kept.began = now;
                    kept.running = kept.cases.len();
                    for case in &mut kept.cases {
                        case.fill(ATTEMPTS, false);
                        // A tunnel that was away has another interface now.
                        driver.renew(case.flow);
                    }
                    for index in 0..kept.cases.len() {
                        self.ask(number, index, driver, budget, out);
                    }
                }
            }
        }
    }

    /// Tries the next form of a case; if there is none, the case is done.
    fn ask(
        &mut self,
        number: u32,
        index: usize,
        driver: &mut Driver,
        budget: &mut Budget,
        out: &mut Vec<Happening>,
    ) {
        let Some(kept) = self.kept.get_mut(&number) else { return };
        let now = driver.clock().now();
        while let Some(case) = kept.cases.get_mut(index)
            && let Some((turn, form)) = case.todo.pop_front()
        {
            match budget.draw(case.address, form, now) {
                Ok(()) => {
                    let seq = kept.round << 16 | index as u64;
                    let tag = Tag { series: SeriesId(number | INSIDE), seq, due: now, form };
                    return driver.begin(case.flow, tag, &case.spec, out);
                }
                Err(held) if held.until <= kept.began + PATIENCE => {
                    case.todo.push_front((turn, form));
                    self.due.insert((held.until, number, Due::Case(index)));
                    return;
                }
                Err(_) if case.best.is_none() => {
                    case.best = Some((form.name, Report::new(Outcome::Unsent(Fault::Budget))));
                }
                Err(_) => {}
            }
        }
        kept.running = kept.running.saturating_sub(1);
        if kept.running == 0 {
            let pause = kept.told();
            let jitter = u64::try_from(pause.as_nanos() / 8).unwrap_or(u64::MAX);
            let at = now + pause + Duration::from_nanos(driver.entropy().below(jitter));
            self.due.insert((at, number, Due::Round));
        }
    }

    /// Takes in the result of a run of ours.
    pub fn done(
        &mut self,
        tag: Tag,
        report: Report,
        driver: &mut Driver,
        budget: &mut Budget,
        out: &mut Vec<Happening>,
    ) {
        let number = tag.series.0 & !INSIDE;
        let Some(kept) = self.kept.get_mut(&number).filter(|kept| kept.round == tag.seq >> 16) else {
            return;
        };
        let index = usize::try_from(tag.seq & 0xffff).unwrap_or(usize::MAX);
        if let Some(case) = kept.cases.get_mut(index) {
            case.learn(tag.form, report);
            self.ask(number, index, driver, budget, out);
        }
    }

    /// Asks what the configuration says; what did not change goes on.
    pub fn rebuild(
        &mut self,
        config: &Config,
        driver: &mut Driver,
        registry: &Registry,
        out: &mut Vec<Happening>,
    ) {
        let mut old = std::mem::take(&mut self.kept);
        for target in &config.targets {
            let metrics = registry.target(&target.name);
            let Some(inside) = target.inside.as_deref().filter(|inside| !inside.probes(TIMEOUT).is_empty())
            else {
                metrics.set_inside(None);
                continue;
            };
            let (_, egress) = way(config, inside);
            let same = old
                .iter()
                .find(|(_, kept)| {
                    kept.metrics.name() == target.name && (&kept.inside, &kept.egress) == (inside, &egress)
                })
                .map(|(number, _)| *number);
            if let Some((number, kept)) = same.and_then(|number| Some((number, old.remove(&number)?))) {
                self.kept.insert(number, Kept { metrics, ..kept });
                continue;
            }
            metrics.set_inside(None);
            let now = driver.clock().now();
            let first = FIRST.min(inside.interval);
            let nanos = nanos(first);
            let at = now + Duration::from_nanos(driver.entropy().below(nanos));
            let kept = Kept {
                inside: inside.clone(),
                egress,
                cases: cases(config, target, driver),
                round: 0,
                began: now,
                running: 0,
                confirming: false,
                metrics,
            };
            self.numbers = (self.numbers + 1) & (INSIDE - 1);
            self.kept.insert(self.numbers, kept);
            self.due.insert((at, self.numbers, Due::Round));
        }
        self.due.retain(|(_, number, _)| self.kept.contains_key(number));
        for case in old.into_values().flat_map(|kept| kept.cases) {
            driver.close(case.flow, out);
        }
    }
}

impl Kept {
    /// Tells what the round saw, unless that is to be confirmed first; when the next one is due.
    fn told(&mut self) -> Duration {
        let seen: Vec<Observed> = self.cases.iter().map(Case::observed).collect();
        let before = self.metrics.inside();
        let well = |outcome: Outcome| matches!(outcome, Outcome::Answered(None));
        let worse = seen.iter().enumerate().any(|(place, now)| {
            let last = before.as_ref().and_then(|(_, all)| all.get(place)).map(|last| last.report.outcome);
            let now = now.report.outcome;
            !well(now)
                && now.received().is_some()
                && last.is_none_or(|last| well(last) || last.received().is_none())
        });
        if worse && !self.confirming {
            self.confirming = true;
            return CONFIRM;
        }
        self.confirming = false;
        self.metrics.set_inside(Some((self.round, Arc::new(seen))));
        self.inside.interval
    }
}
