//! The ladder in the daemon: the host's routes watched, and every target's steps judged anew when what
//! the probes see, or a way, has changed.
//!
//! ```text
//!   kernel ──changes──▶ ways of all targets ─┐
//!   registry (last outcomes) ────────────────┴─▶ Survey ─▶ diagnose ─▶ registry (steps)
//! ```
//!
//! Runs on the web thread, in pieces, and never waits for the engine: a step is a moment older than the
//! outcome it rests on, and no receive is later for it. Invariant: one lost probe moves no step; what the
//! detectors still hold to be up is judged as up.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Shared;
use crate::config::{Address, Config, Egress, Target};
use crate::diagnose::{Diagnosis, Lang, Observed, StepResult, Survey, diagnose};
use crate::engine::survey::questions;
use crate::export::metrics::{Ladder, SeriesMetrics, SessionMetrics, TargetMetrics, Told};
use crate::net::route::{Asker, Changes};
use crate::route::{NoWay, Ways};
use crate::sample::{Fault, Outcome, Report};
use crate::session::Teardown;
use crate::time::{Clock as _, Timestamp};

/// From one look at the outcomes to the next.
const LOOK: Duration = Duration::from_secs(2);
/// The ways are asked for at least this often, should a change have gone unseen, …
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// … and at most this often, should routes change without end.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// After so many targets other tasks of the thread have their turn.
const PIECE: usize = 50;

/// Watches until it is aborted.
pub(super) async fn watch(shared: Arc<Shared>) {
    let asker = Asker::open().inspect_err(unwatched).ok();
    let mut changes = Changes::open().inspect_err(unwatched).ok();
    let mut anew = true;
    let mut asked: Option<Timestamp> = None;
    let mut stale = true;
    let mut look = shared.clock.now();
    loop {
        let reloaded = shared.reloaded.notified();
        let now = shared.clock.now();
        let age = asked.map(|asked| now.since(asked));
        let ask = age.is_none_or(|age| age >= ASK_AGAIN || (stale && age >= ASK_PAUSE));
        if ask {
            (stale, asked) = (false, Some(now));
        }
        let loaded = shared.loaded();
        // A name that has its addresses now, and the members of the start, which the engine makes meanwhile.
        stale |= round(&shared, &loaded.config, asker.as_ref().filter(|_| ask), anew).await;
        anew = false;
        look = (look + LOOK).max(shared.clock.now());
        let wait = if stale { look.min(now + ASK_PAUSE) } else { look };
        let wait = wait.since(shared.clock.now());
        tokio::select! {
            () = sleep(wait) => {}
            () = reloaded => {
                anew = true;
                asked = None;
            }
            more = next(&mut changes) => {
                stale = true;
                if !more {
                    changes = None;
                }
            }
        }
    }
}

fn unwatched(error: &std::io::Error) {
    tracing::warn!("the host's routes cannot be watched: {error}; steps that rest on them stay unknown");
}

/// The next change; never, where none can be heard of.
async fn next(changes: &mut Option<Changes>) -> bool {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// Looks at every target once; `anew`: what was judged before does not count. Whether the way to some member
/// has not been asked for.
async fn round(shared: &Shared, config: &Config, asker: Option<&Asker>, anew: bool) -> bool {
    let mut unasked = false;
    let links = match asker {
        Some(asker) => asker.links().await.ok().map(|links| (asker, links)),
        None => None,
    };
    // Both in the order of the names, as the targets are.
    let (all, every) = (shared.registry.all_series(), shared.registry.all_targets());
    let (mut all, mut every) = (all.as_slice(), every.as_slice());
    let (mut words, mut around) = (HashSet::new(), Arc::default());
    let sessions = shared.registry.all_sessions();
    for (index, target) in config.targets.iter().enumerate() {
        if index % PIECE == PIECE - 1 {
            tokio::task::yield_now().await;
        }
        let name = target.name.as_str();
        every = every.get(every.iter().take_while(|one| one.name() < name).count()..).unwrap_or_default();
        let known = every.first().filter(|one| one.name() == name).map(Arc::clone);
        let metrics = known.unwrap_or_else(|| shared.registry.target(name));
        let mine;
        (mine, all) = series_of(name, all);
        let members = addresses(&metrics);
        let way = egress(config, target);
        let last = metrics.ladder().filter(|_| !anew);
        let last_ways = last.as_ref().and_then(|last| last.ways.clone());
        let ways = match &links {
            Some((asker, links)) => {
                let addresses = members.iter().map(|(_, address)| *address).collect();
                let mut fresh = asker.ways(links, &questions(target, &way, addresses)).await;
                match last_ways {
                    Some(same) if *same == fresh => Some(same),
                    _ => {
                        if fresh.around == around {
                            fresh.around = Arc::clone(&around);
                        }
                        around = Arc::clone(&fresh.around);
                        Some(Arc::new(fresh))
                    }
                }
            }
            None => last_ways,
        };
        unasked |= ways.as_ref().is_some_and(|ways| {
            !ways.members.iter().map(|looked| looked.to).eq(members.iter().map(|(_, address)| *address))
        });
        let session = sessions.iter().find(|session| session.key().target == target.name);
        let session = session.filter(|_| target.session.is_some()).map(|session| signed_in(session));
        let inside = metrics.inside();
        let print = print(mine, &members, session, inside.as_ref().map(|(round, _)| *round));
        // What details tell may change without an outcome: it is taken in when the ways are asked for.
        if links.is_none() && last.is_some_and(|last| last.print == print) {
            continue;
        }
        let observed: Vec<Observed> = mine.iter().filter_map(|one| observed(one, &members)).collect();
        let inside = inside.map(|(_, seen)| seen.to_vec()).unwrap_or_default();
        let survey = survey(shared, target, &members, ways.as_deref(), (observed, inside), session);
        let diagnosis = diagnose(&survey, target);
        tell(metrics.ladder().as_deref(), &diagnosis);
        let steps = diagnosis.steps.iter().map(|step| told(step, &mut words)).collect();
        metrics.set_ladder(Arc::new(Ladder { print, steps, ways }));
    }
    unasked
}

/// The way out that the steps are judged by: the first.
fn egress(config: &Config, target: &Target) -> Egress {
    target.egress.first().and_then(|name| config.egress.get(name)).cloned().unwrap_or_default()
}

/// The series of one target, and those of the targets after it.
fn series_of<'a>(
    name: &str,
    all: &'a [Arc<SeriesMetrics>],
) -> (&'a [Arc<SeriesMetrics>], &'a [Arc<SeriesMetrics>]) {
    let before = all.iter().take_while(|one| one.key().target.as_str() < name).count();
    let rest = all.get(before..).unwrap_or_default();
    rest.split_at(rest.iter().take_while(|one| one.key().target == name).count())
}

/// What is kept of a step: the same as was told before, wherever it is the same.
fn told(step: &StepResult, before: &mut HashSet<Arc<Told>>) -> Arc<Told> {
    let text = step.text(Lang::En).into();
    let told = Told { step: step.step, status: step.status, reason: step.reason, text };
    before.get(&told).cloned().unwrap_or_else(|| {
        let told = Arc::new(told);
        before.insert(Arc::clone(&told));
        told
    })
}

/// The last outcome of a series, with the patience of its detectors.
fn outcome(series: &SeriesMetrics) -> Option<Outcome> {
    match series.last()?.0 {
        Outcome::Lost(_) | Outcome::Unsent(Fault::Budget) if series.up() == Some(true) => Some(Outcome::OK),
        outcome => Some(outcome),
    }
}

/// What a series shows now.
fn observed(series: &SeriesMetrics, members: &[(u8, IpAddr)]) -> Option<Observed> {
    let mut report = Report::new(outcome(series)?);
    report.rtt = series.last().and_then(|(_, rtt)| rtt);
    let key = series.key();
    let (_, address) = members.iter().find(|(slot, _)| *slot == key.member)?;
    let details = series.details();
    if !details.is_empty() {
        report.findings().details = details;
    }
    if let Some(until) = series.certificate_not_after() {
        report.findings().certificate_not_after = Some(until);
    }
    Some(Observed {
        probe: key.probe.clone(),
        kind: series.kind(),
        member: key.member,
        address: *address,
        egress: key.egress.clone(),
        form: "recurring",
        report,
    })
}

fn signed_in(session: &SessionMetrics) -> Result<bool, Teardown> {
    if session.up() { Ok(false) } else { Err(session.last_teardown().unwrap_or(Teardown::LocalStop)) }
}

/// The members that have an address.
fn addresses(metrics: &TargetMetrics) -> Vec<(u8, IpAddr)> {
    metrics.members().into_iter().filter_map(|(slot, info)| Some((slot, info.address?))).collect()
}

/// What the judgement rests on, in one number: the same number, the same judgement.
fn print(
    series: &[Arc<SeriesMetrics>],
    members: &[(u8, IpAddr)],
    session: Option<Result<bool, Teardown>>,
    round: Option<u64>,
) -> u64 {
    let mut print = DefaultHasher::new();
    (members, session, round).hash(&mut print);
    for one in series {
        (outcome(one), one.certificate_not_after()).hash(&mut print);
    }
    print.finish()
}

fn survey(
    shared: &Shared,
    target: &Target,
    members: &[(u8, IpAddr)],
    ways: Option<&Ways>,
    (observed, inside): (Vec<Observed>, Vec<Observed>),
    session: Option<Result<bool, Teardown>>,
) -> Survey {
    let host = target.addresses.first().map_or_else(|| target.name.clone(), Address::to_string);
    let addresses: Vec<IpAddr> = members.iter().map(|(_, address)| *address).collect();
    let resolved = if addresses.is_empty() { Err("not resolved yet".to_owned()) } else { Ok(addresses) };
    let routes = ways.iter().flat_map(|ways| &ways.members).filter_map(|looked| {
        let source = match &looked.way {
            Ok(way) => Ok(way.source?),
            Err(NoWay::Untold) => return None,
            Err(NoWay::Egress) => Err(Fault::Egress),
            Err(_) => Err(Fault::NoRoute),
        };
        Some((looked.to, source))
    });
    Survey {
        time: shared.clock.wall(),
        host,
        resolved,
        routes: routes.collect(),
        ways: ways.cloned(),
        observed,
        inside,
        session,
    }
}

/// Logs what has changed on the ladder of a target.
fn tell(old: Option<&Ladder>, new: &Diagnosis) {
    for step in &new.steps {
        let before = old.and_then(|old| old.step(step.step));
        let changed =
            before.is_some_and(|before| (before.status, before.reason) != (step.status, step.reason));
        if changed {
            tracing::info!(
                target = new.target,
                step = step.step.as_str(),
                status = step.status.as_str(),
                reason = step.reason.map(crate::diagnose::StepReason::as_str),
                "{}",
                step.text(Lang::En)
            );
        }
    }
}
