//! What is behind the tunnel: the names that the inside resolvers must know, and the hosts that must answer.
//!
//! | seen | status, reason |
//! |---|---|
//! | the tunnel is not up on this host | unknown |
//! | a name is denied, or has other than inside addresses | `inside_names` failed, that reason |
//! | a resolver is silent or refuses packets, and something else inside answers | failed, `resolver_unreachable` |
//! | a filter refuses a host | `inside_hosts` failed, `inside_denied` |
//! | a host refuses, or answers badly | failed, that reason |
//! | a host is silent, and something else inside answers | failed, `no_answer` |
//! | everything inside is silent | unknown, `no_answer` |
//! | a host's name has no address | failed, `nodata` |
//! | only faults of ours | unknown, the fault named |
//!
//! Invariant: silence alone is no failure: something else behind the same tunnel must have answered.

use super::unit::{Judged, Sign, alive, detail};
use super::{Evidence, LadderReason, Note, Observed, Said, Status, StepReason, Survey};
use crate::config::{Inside, Role};
use crate::diagnose::survey::Behind;
use crate::sample::{Fault, Reason};

/// The step `inside_names` or `inside_hosts`.
pub fn behind(role: Role, declared: Option<&Inside>, survey: &Survey) -> Judged {
    if !declared.is_some_and(|declared| declared.behind().any(|(other, _)| other == role)) {
        return Judged::new(Status::Skipped, Said::new(Note::InsideSkipped));
    }
    let up = survey.ways.as_ref().map(|ways| (ways.tunnel_up(), ways.tunnel.as_deref().unwrap_or_default()));
    if let Some((false, tunnel)) = up {
        let said = Said::new(Note::TunnelDown).with("tunnel", tunnel);
        return Judged::new(Status::Unknown, said).fault(Fault::Egress);
    }
    let mine: Vec<&Behind> = survey.inside.iter().filter(|it| it.role == role).collect();
    let seen = || mine.iter().filter_map(|it| it.seen.as_ref());
    let life = survey.inside.iter().filter_map(|it| it.seen.as_ref()).any(alive);
    let mut bad: Vec<(StepReason, Said)> = Vec::new();
    let (mut silent, mut faults, mut well) = (Vec::new(), Vec::new(), Vec::new());
    for it in &mine {
        let Some(seen) = &it.seen else {
            bad.push((Reason::Nodata.into(), Said::new(Note::InsideUnresolved).with("where", &it.target)));
            continue;
        };
        match (role, Sign::of(seen.report.outcome)) {
            (_, Sign::Fault(fault)) => faults.push((seen, fault)),
            (_, Sign::Silent) => silent.push(seen),
            (_, Sign::Speaks) => well.push(place(seen)),
            (Role::Resolver, Sign::Objects(reason) | Sign::Denies(reason)) => {
                let note = if reason == Reason::DnsRefused { Note::InsideBad } else { Note::InsideNameBad };
                bad.push((reason.into(), say(note, seen).reason(reason)));
            }
            (Role::Host, Sign::Blocked(Reason::AdminProhibited)) => {
                bad.push((LadderReason::InsideDenied.into(), say(Note::InsideDenied, seen)));
            }
            (Role::Host, Sign::Objects(reason) | Sign::Denies(reason) | Sign::Blocked(reason)) => {
                bad.push((reason.into(), say(Note::InsideBad, seen).reason(reason)));
            }
            (Role::Resolver, Sign::Blocked(reason)) => {
                let said = say(Note::ResolverUnreachable, seen).reason(reason);
                bad.push((LadderReason::ResolverUnreachable.into(), said));
            }
        }
    }
    if life {
        for seen in &silent {
            bad.push(match role {
                Role::Resolver => {
                    let said = say(Note::ResolverUnreachable, seen).reason(Reason::NoAnswer);
                    (LadderReason::ResolverUnreachable.into(), said)
                }
                Role::Host => (Reason::NoAnswer.into(), say(Note::InsideSilent, seen)),
            });
        }
    }
    let evidence = seen().map(Evidence::of).collect();
    let judged = if let Some((reason, _)) = bad.first() {
        let mut judged = Judged::new(Status::Failed, Said::new(Note::InsideSkipped)).because(*reason);
        judged.said = bad.into_iter().map(|(_, said)| said).collect();
        judged
    } else if let Some(seen) = silent.first() {
        Judged::new(Status::Unknown, say(Note::AllSilentInside, seen)).because(Reason::NoAnswer)
    } else if let Some((seen, fault)) = faults.first() {
        Judged::new(Status::Unknown, say(Note::RouteUnknown, seen).fault(*fault)).fault(*fault)
    } else if well.is_empty() {
        Judged::new(Status::Unknown, Said::new(Note::NotTried))
    } else {
        Judged::new(Status::Ok, Said::new(Note::InsideAnswers).with("where", well.join(", ")))
    };
    judged.on(evidence)
}

/// `10.20.0.53 intranet.example.com`: where, and the probe that asked.
fn place(seen: &Observed) -> String {
    format!("{} {}", seen.address, seen.probe)
}

fn say(note: Note, seen: &Observed) -> Said {
    Said::new(note)
        .with("where", place(seen))
        .with("address", seen.address.to_string())
        .with("probe", &seen.probe)
        .with("detail", detail(seen, &["addresses", "answer", "location", "status"]))
}

#[cfg(test)]
mod tests;
