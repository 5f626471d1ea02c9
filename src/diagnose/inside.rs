//! The steps `inside_names` and `inside_hosts`: what resolvers and hosts behind the tunnel answer.
//!
//! | seen | status, reason |
//! |---|---|
//! | an address that a resolver gives for the inside name | ok |
//! | NXDOMAIN, no data, a failure of the resolver | failed, that reason |
//! | an outside address | failed, `wrong_answer` |
//! | the resolver is silent or refused, and something else inside answers | failed, `resolver_unreachable` |
//! | a host is silent, and something else inside answers | failed, `no_answer`: off, or denied without a word |
//! | a firewall says it refuses | failed, `inside_denied` |
//! | a host's port is closed by itself | failed, that reason |
//! | nothing inside answers | unknown, `no_answer`: the tunnel, a route, a filter look the same |
//! | a resolver outside knows an inside name (view `leak`) | failed, `name_leak` |
//! | an answer that cannot be (views `hijack`, `intercept`) | failed, `captive_or_hijacked` |
//!
//! Invariant: a silence inside counts only beside another answer from inside.

use super::unit::{Judged, Sign};
use super::{Evidence, LadderReason, Note, Observed, Said, Status, StepReason, Survey};
use crate::sample::{Fault, Outcome, Reason};

fn sign(seen: &Observed) -> Sign {
    Sign::of(seen.report.outcome)
}

fn speaks(seen: &Observed) -> bool {
    seen.report.outcome.received() == Some(true)
}

fn is(seen: &Observed, flag: &str) -> bool {
    seen.report.findings.as_ref().is_some_and(|findings| findings.details.is(flag))
}

fn told(seen: &[&Observed]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for it in seen {
        if !labels.contains(&it.probe.as_str()) {
            labels.push(&it.probe);
        }
    }
    labels.truncate(6);
    labels.join(", ")
}

fn say(note: Note, seen: &Observed) -> Said {
    Said::new(note)
        .with("ports", &seen.probe)
        .with("address", seen.address.to_string())
        .with("port", port(seen))
}

/// The port in how it was asked, or its kind's.
fn port(seen: &Observed) -> String {
    let rest = seen.probe.rsplit_once("://").map_or("", |(_, rest)| rest);
    let written = rest.rsplit_once(':').map(|(_, port)| port).filter(|port| port.parse::<u16>().is_ok());
    written.map_or_else(|| seen.kind.port.to_string(), str::to_owned)
}

/// The worst of what is judged of each; all that fails is told.
fn worst(judged: Vec<Judged>, fine: Note, seen: &[&Observed]) -> Judged {
    let evidence: Vec<Evidence> = seen.iter().map(|it| Evidence::of(it)).collect();
    let status = [Status::Failed, Status::Unknown]
        .into_iter()
        .find(|status| judged.iter().any(|it| it.status == *status));
    let Some(status) = status else {
        return Judged::new(Status::Ok, Said::new(fine).with("ports", told(seen))).on(evidence);
    };
    let mut all: Option<Judged> = None;
    for it in judged.into_iter().filter(|it| it.status == status) {
        match &mut all {
            None => all = Some(it),
            Some(all) => all
                .said
                .extend(it.said.into_iter().filter(|said| !all.said.contains(said)).collect::<Vec<_>>()),
        }
    }
    all.unwrap_or_else(super::unit::untried).on(evidence)
}

/// What answers inside, as a second sign of life.
fn life(survey: &Survey, except: &Observed) -> Option<String> {
    let living: Vec<&Observed> = survey
        .inside
        .iter()
        .filter(|it| it.address != except.address)
        .filter(|it| {
            speaks(it)
                || matches!(sign(it), Sign::Blocked(Reason::ConnectionRefused | Reason::PortUnreachable))
        })
        .collect();
    let living: Vec<&Observed> = living.into_iter().take(3).collect();
    (!living.is_empty()).then(|| told(&living))
}

fn fault(seen: &Observed, fault: Fault) -> Judged {
    Judged::new(Status::Unknown, say(Note::InsideFault, seen).fault(fault)).fault(fault)
}

fn nothing(survey: &Survey, seen: &Observed) -> Judged {
    let all: Vec<&Observed> = survey.inside.iter().collect();
    let said = Said::new(Note::NothingInside).with("ports", told(&all));
    Judged::new(Status::Unknown, said.with("address", seen.address.to_string())).because(Reason::NoAnswer)
}

fn failed(said: Said, reason: impl Into<StepReason>) -> Judged {
    Judged::new(Status::Failed, said).because(reason)
}

/// The step `inside_names`; nothing if no name is asked of any resolver.
pub fn names(survey: &Survey) -> Option<Judged> {
    let inside = survey.inside.iter().filter(|seen| seen.kind.name == "dns");
    // A target that is itself a resolver is asked by its own probes.
    let own = survey.observed.iter().filter(|seen| seen.kind.name == "dns" && !looking_around(survey));
    let seen: Vec<&Observed> = inside.chain(own).collect();
    if seen.is_empty() {
        return None;
    }
    let judged = seen.iter().map(|it| name(survey, it)).collect();
    Some(worst(judged, Note::NamesOk, &seen))
}

/// Whether DNS was tried only because everything was.
fn looking_around(survey: &Survey) -> bool {
    survey.observed.iter().any(|seen| seen.kind.name == "openvpn_udp")
        && survey.observed.iter().any(|seen| seen.kind.name == "ikev1")
}

fn name(survey: &Survey, seen: &Observed) -> Judged {
    if is(seen, "hijacked") || is(seen, "intercepted") {
        return failed(say(Note::DnsHijacked, seen), LadderReason::CaptiveOrHijacked);
    }
    if is(seen, "name_leak") || is(seen, "known_outside") {
        return failed(say(Note::NameLeak, seen), LadderReason::NameLeak);
    }
    match seen.report.outcome {
        Outcome::Answered(_) => Judged::answering(Vec::new(), None),
        Outcome::Unsent(why) => fault(seen, why),
        Outcome::Refused(Reason::WrongAnswer) => failed(say(Note::NameOutside, seen), Reason::WrongAnswer),
        Outcome::Refused(reason) if reason.is_reply() => {
            failed(say(Note::NameUnknownInside, seen).reason(reason), reason)
        }
        Outcome::Refused(reason) => {
            failed(say(Note::ResolverRefused, seen).reason(reason), LadderReason::ResolverUnreachable)
        }
        Outcome::Lost(_) => match life(survey, seen) {
            Some(life) => {
                failed(say(Note::ResolverSilent, seen).with("life", life), LadderReason::ResolverUnreachable)
            }
            None => nothing(survey, seen),
        },
    }
}

/// The step `inside_hosts`; nothing if no host is asked.
pub fn hosts(survey: &Survey) -> Option<Judged> {
    let seen: Vec<&Observed> = survey.inside.iter().filter(|seen| seen.kind.name != "dns").collect();
    if seen.is_empty() {
        return None;
    }
    let judged = seen.iter().map(|it| host(survey, it)).collect();
    Some(worst(judged, Note::HostsOk, &seen))
}

fn host(survey: &Survey, seen: &Observed) -> Judged {
    match sign(seen) {
        // Its certificate is not what is asked here.
        Sign::Speaks | Sign::Objects(_) => Judged::answering(Vec::new(), None),
        Sign::Fault(why) => fault(seen, why),
        Sign::Blocked(Reason::AdminProhibited) => {
            failed(say(Note::InsideProhibited, seen), LadderReason::InsideDenied)
        }
        Sign::Blocked(reason) | Sign::Denies(reason) => {
            failed(say(Note::InsideClosed, seen).reason(reason), reason)
        }
        Sign::Silent => match life(survey, seen) {
            Some(life) => failed(say(Note::InsideDenied, seen).with("life", life), Reason::NoAnswer),
            None => nothing(survey, seen),
        },
    }
}
