//! A survey: every probe of one target, once and now, for `check` and `init`.
//!
//! Invariants: a stateless form may be tried several times; whatever opens state at the peer is run
//! once, under the same budget as the daemon's, and no more than one half-open session is left.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::case::{Case, Turn};
use super::{inside, session};
use crate::budget::Budget;
use crate::config::{Address, Config, Egress, Target};
pub use crate::diagnose::survey::{Observed, Survey};
use crate::entropy::Generator;
use crate::net::clock::SystemClock;
use crate::net::resolve::Resolver;
use crate::net::route;
use crate::net::{Driver, Happening, Tag};
use crate::probe::{Charge, ike, ikev1};
use crate::route::{Leaving, Questions};
use crate::sample::{Fault, Outcome, Report, SeriesId};
use crate::session::Teardown;
use crate::time::{Clock, Timestamp};

/// How a survey is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often a stateless probe is tried until it is answered.
    pub attempts: u32,
    /// Whether the proposals are audited, one suite a datagram.
    pub audit: bool,
    /// Whether IKEv1 aggressive mode is tried.
    pub aggressive: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { attempts: 3, audit: false, aggressive: false }
    }
}

/// How long a survey waits for the budget.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long it waits for what was asked for by name.
const PATIENCE_ON_REQUEST: Duration = Duration::from_secs(120);

/// Probes every member of the target: each stateless form `attempts` times until it is answered, what
/// opens state once. Blocking, for some seconds.
///
/// # Errors
/// When this host cannot even wait for events, or has no usable runtime for name lookups.
pub fn survey(config: &Config, target: &Target, options: &Options) -> io::Result<Survey> {
    let clock = SystemClock::start();
    let resolved = resolve(target)?;
    let mut driver = Driver::new(clock, Box::new(Generator::from_os()))?;
    let mut budget = Budget::new(config.budget.clone(), Timestamp::ZERO);
    let members: Vec<IpAddr> =
        resolved.iter().flatten().take(usize::from(target.max_members.max(1))).copied().collect();
    let default = Egress::default();
    let way = target.egress.first().and_then(|name| config.egress.get(name)).unwrap_or(&default);
    let routes = members.iter().map(|address| (*address, Driver::source_towards(*address, way))).collect();
    let ways = route::ask(&questions(target, way, members.clone())).ok();
    let mut cases = cases(config, target, options, &members, &mut driver);
    let outside = cases.len();
    for mut case in inside::cases(config, target, &mut driver) {
        case.fill(options.attempts, false);
        cases.push(case);
    }
    let mut happenings = Vec::new();
    run(&mut driver, &mut budget, &mut cases, &mut happenings, Turn::Gentle)?;
    // Before anything is left half open, for this leaves nothing behind unless it is not answered.
    let mut session = None;
    if let (Some(plan), Some(address)) = (&target.session, members.first()) {
        let signed_in = session::sign_in(&mut driver, plan, *address, Arc::new(way.clone()))?;
        if signed_in == Err(Teardown::NoAnswer) {
            let _ = budget.draw(*address, &session::FORM, clock.now());
        }
        session = Some(signed_in);
    }
    prune(&mut cases);
    run(&mut driver, &mut budget, &mut cases, &mut happenings, Turn::Stateful)?;
    request(&mut cases, options);
    run(&mut driver, &mut budget, &mut cases, &mut happenings, Turn::Requested)?;
    let deadline = clock.now() + Duration::from_secs(2);
    while driver.unfinished() > 0 && clock.now() < deadline {
        driver.turn(deadline, &mut happenings)?;
        happenings.clear();
    }
    let mut observed: Vec<Observed> = cases.iter().map(Case::observed).collect();
    let inside = observed.split_off(outside.min(observed.len()));
    let host = target.addresses.first().map_or_else(
        || target.name.clone(),
        |address| match address {
            Address::Ip(ip) => ip.to_string(),
            Address::Name(name) => name.clone(),
        },
    );
    Ok(Survey { time: clock.wall(), host, resolved, routes, ways, observed, inside, session })
}

/// What is to be asked of the kernel for a target whose members have these addresses.
#[must_use]
pub fn questions(target: &Target, way: &Egress, members: Vec<IpAddr>) -> Questions {
    let leaving = Leaving { interface: way.interface.clone(), source: way.source, mark: way.mark };
    let inside = target.inside.as_ref();
    Questions {
        members,
        leaving,
        namespace: way.namespace.clone(),
        tunnel: inside.and_then(|inside| inside.interface.clone()),
        prefixes: inside.map(|inside| inside.prefixes.clone()).unwrap_or_default(),
        hosts: inside.map_or_else(Vec::new, |inside| {
            inside.dns.iter().copied().chain(inside.hosts.iter().map(|host| host.address)).collect()
        }),
    }
}

/// All addresses of a target; the error is for people.
///
/// # Errors
/// When no runtime for name lookups can be had.
pub fn resolve(target: &Target) -> io::Result<Result<Vec<IpAddr>, String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut all = Vec::new();
        let mut failure = None;
        let resolver = Resolver::from_system();
        for address in &target.addresses {
            match address {
                Address::Ip(ip) => all.push(*ip),
                Address::Name(name) => match resolver.lookup(name, target.family).await {
                    Ok(found) => all.extend(found.addresses),
                    Err(error) => failure = Some(error),
                },
            }
        }
        match failure {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
    }))
}

fn cases(
    config: &Config,
    target: &Target,
    options: &Options,
    members: &[IpAddr],
    driver: &mut Driver,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (address, member) in members.iter().zip(1u8..) {
        for name in &*target.egress {
            let egress = Arc::new(config.egress.get(name).cloned().unwrap_or_default());
            for spec in &target.probes {
                let (kept, port) = spec.flow();
                let flow = driver.open(*address, port, kept, Arc::clone(&egress));
                let mut case = Case {
                    spec: Arc::clone(spec),
                    member,
                    address: *address,
                    egress: name.clone(),
                    flow,
                    todo: VecDeque::new(),
                    best: None,
                };
                case.fill(options.attempts, true);
                cases.push(case);
            }
        }
    }
    cases
}

/// Of the handshakes that would leave a half-open session, keeps one per address: of a case that was
/// silent so far if there is one (it may be its only form), else of the first that answered.
fn prune(cases: &mut [Case]) {
    let opens = |case: &Case| case.todo.iter().any(|(_, form)| form.charges.contains(&Charge::HalfOpen));
    let addresses: Vec<IpAddr> = cases.iter().map(|case| case.address).collect();
    for (index, address) in addresses.iter().enumerate() {
        if addresses.iter().position(|other| other == address) != Some(index) {
            continue;
        }
        let of_address = |case: &&mut Case| case.address == *address && opens(case);
        let answered = cases.iter_mut().filter(of_address).position(|case| case.received());
        let mut kept = false;
        let any_answered = answered.is_some();
        for case in cases.iter_mut().filter(of_address) {
            let wanted = !kept && case.received() == any_answered;
            kept |= wanted;
            if !wanted {
                case.todo.retain(|(_, form)| !form.charges.contains(&Charge::HalfOpen));
            }
        }
    }
}

/// Adds what was asked for by name, to the first case of each address that can tell.
fn request(cases: &mut [Case], options: &Options) {
    let wanted = [
        (options.audit, &ike::AUDIT, ["ike", "ike_natt"]),
        (options.aggressive, &ikev1::AGGRESSIVE, ["ikev1", "ikev1_natt"]),
    ];
    for (_, form, kinds) in wanted.into_iter().filter(|(asked, ..)| *asked) {
        let mut done: Vec<IpAddr> = Vec::new();
        for case in cases.iter_mut().filter(|case| kinds.contains(&case.spec.kind.name)) {
            if case.received() && !done.contains(&case.address) {
                done.push(case.address);
                case.todo.push_back((Turn::Requested, form));
            }
        }
    }
}

fn run(
    driver: &mut Driver,
    budget: &mut Budget,
    cases: &mut [Case],
    out: &mut Vec<Happening>,
    turn: Turn,
) -> io::Result<()> {
    let together = turn == Turn::Gentle;
    let mut running = 0usize;
    let mut next = 0usize;
    loop {
        // Begins what may begin: everything at once, or one case at a time.
        while next < cases.len() && (together || running == 0) {
            if begin(driver, budget, cases, next, turn, out)? {
                running += 1;
            }
            next += 1;
        }
        if running == 0 && next >= cases.len() && out.is_empty() {
            return Ok(());
        }
        if out.is_empty() {
            let until = driver.clock().now() + Duration::from_secs(1);
            driver.turn(until, out)?;
        }
        for happening in std::mem::take(out) {
            let Happening::Done { tag, report, .. } = happening else { continue };
            running = running.saturating_sub(1);
            let index = tag.series.0 as usize;
            if let Some(case) = cases.get_mut(index) {
                case.learn(tag.form, report);
            }
            if begin(driver, budget, cases, index, turn, out)? {
                running += 1;
            }
        }
    }
}

/// Begins the next form of a case that has its turn, if there is one.
fn begin(
    driver: &mut Driver,
    budget: &mut Budget,
    cases: &mut [Case],
    index: usize,
    turn: Turn,
    out: &mut Vec<Happening>,
) -> io::Result<bool> {
    let Some(case) = cases.get_mut(index) else { return Ok(false) };
    let patience = if turn == Turn::Requested { PATIENCE_ON_REQUEST } else { PATIENCE };
    while let Some(place) = case.todo.iter().position(|(other, _)| *other == turn) {
        let Some((_, form)) = case.todo.remove(place) else { break };
        let now = driver.clock().now();
        // Everybody waits a little for the packet rate; what opens state is left out if it is too early.
        let mut drawn = budget.draw(case.address, form, now);
        if let Err(held) = drawn
            && held.until.since(now) <= patience
        {
            while driver.clock().now() < held.until {
                driver.turn(held.until, out)?;
            }
            drawn = budget.draw(case.address, form, driver.clock().now());
        }
        if drawn.is_ok() {
            let series = SeriesId(u32::try_from(index).unwrap_or(u32::MAX));
            driver.begin(case.flow, Tag { series, seq: 0, due: now, form }, &case.spec, out);
            return Ok(true);
        }
        if case.best.is_none() {
            case.best = Some((form.name, Report::new(Outcome::Unsent(Fault::Budget))));
        }
    }
    Ok(false)
}
