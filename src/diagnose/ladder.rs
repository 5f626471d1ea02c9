//! The ladder: from what the probes saw to which step fails.
//!
//! The rules, for one member over one egress (a *unit*):
//!
//! | step | seen | status, reason |
//! |---|---|---|
//! | name | NXDOMAIN or no address | failed, `nxdomain` `nodata` |
//! | name | any other failure of the lookup | unknown: it may be our resolver |
//! | route | no route, no such egress, for every member | failed, with our own fault named |
//! | route | no right to send, no resources | unknown, with our own fault named |
//! | reach | ping or any port answers, or refuses by itself (RST, port unreachable) | ok |
//! | reach | host or network unreachable, and no sign of life | failed, that reason |
//! | reach | a filter refuses everything | failed, `admin_prohibited` |
//! | reach | a filter refuses some, the rest is silent; or all is silent | unknown |
//! | ports | nothing declared | ok if a VPN port answers, else skipped; an expired certificate fails if TLS is all there is |
//! | ports | an explicit "no" on a declared port | failed, that reason |
//! | ports | silence on a declared port, and another sign of life | failed, `no_answer` |
//! | ports | silence on a declared port, and no other sign of life | unknown, `no_answer` |
//! | ports | UDP 500 answers and 4500 is silent | failed, `natt_blocked` |
//! | ports | a refusal of the service itself (a proposal, a key) | ok: the port answers |
//! | ports | an answer that is bad for the user (certificate, full) | failed, that reason |
//! | ports | OpenVPN on UDP is silent and no key is configured | unknown: the healthy state looks the same |
//! | ports | OpenVPN: either of UDP and TCP answers | ok |
//! | ports | L2TP in the clear | never decides; silence is healthy behind IPsec, an answer is a finding |
//! | ports | TLS too old for us | ok, with the reason `tls_legacy` |
//! | authenticate | hung up on with a key configured | failed, `key_required` |
//! | tunnel | the site's own proposals refused, and no other accepted | failed, `no_proposal_chosen` |
//! | authenticate, tunnel, inside | anything else | skipped |
//! | any | only faults of ours | unknown, the fault named, and out of the judgement if another unit has evidence |
//!
//! Over all units a step is failed if one of them is, else unknown if one is, else ok. `natt_blocked`
//! and the rest say where they were seen.

use std::net::IpAddr;

use super::service::{Declared, Judged, Sign, Unit, alive, detail, is_certificate, not_after, under_load};
use super::{Diagnosis, Evidence, LadderReason, Note, Observed, Said, Status, Step, StepResult, Survey};
use crate::config::Target;
use crate::sample::{Fault, Outcome, Reason};

/// What the survey of a target comes to.
#[must_use]
pub fn diagnose(survey: &Survey, target: &Target) -> Diagnosis {
    climb(survey, &Declared::of(target))
}

/// The same, from what is declared.
#[must_use]
pub(super) fn climb(survey: &Survey, declared: &Declared) -> Diagnosis {
    let say = |note| Said::new(note).with("host", &survey.host);
    let name = name(survey, say(Note::NameLiteral));
    let mut steps = vec![step(Step::Name, name.clone())];
    if name.status != Status::Ok {
        steps.extend([Step::Route, Step::Reach, Step::Ports].map(|it| step(it, untried())));
        steps.extend(skipped());
        return Diagnosis::new(declared.target.clone(), survey.time, !declared.vpn.is_empty(), steps);
    }
    let route = route(survey, &say);
    let (units, left_out) = units(survey, declared);
    let routed = route.status == Status::Ok;
    steps.push(step(Step::Route, route));
    if units.is_empty() && !routed {
        steps.extend([Step::Reach, Step::Ports].map(|it| step(it, untried())));
        steps.extend(skipped());
        return Diagnosis::new(declared.target.clone(), survey.time, !declared.vpn.is_empty(), steps);
    }
    let mut reach = over_units(&units, reach);
    reach.said.extend(left_out);
    steps.push(step(Step::Reach, reach));
    let ports = if declared.vpn.is_empty() { found } else { ports };
    steps.push(step(Step::Ports, over_units(&units, ports)));
    steps.push(step(Step::Authenticate, over_units(&units, authenticate)));
    steps.push(step(Step::Tunnel, over_units(&units, tunnel)));
    steps.extend(skipped().into_iter().skip(2));
    Diagnosis::new(declared.target.clone(), survey.time, !declared.vpn.is_empty(), steps)
}

fn step(step: Step, judged: Judged) -> StepResult {
    let Judged { status, reason, fault, said, evidence, .. } = judged;
    StepResult { step, status, reason, fault, said, evidence }
}

fn untried() -> Judged {
    Judged::new(Status::Unknown, Said::new(Note::NotTried))
}

fn skipped() -> Vec<StepResult> {
    [
        (Step::Authenticate, Note::AuthSkipped),
        (Step::Tunnel, Note::TunnelSkipped),
        (Step::InsideRoutes, Note::InsideSkipped),
        (Step::InsideNames, Note::InsideSkipped),
        (Step::InsideHosts, Note::InsideSkipped),
    ]
    .map(|(it, note)| step(it, Judged::new(Status::Skipped, Said::new(note))))
    .into()
}

fn name(survey: &Survey, literal: Said) -> Judged {
    let host = |note| Said::new(note).with("host", &survey.host);
    match &survey.resolved {
        Ok(addresses) if addresses.is_empty() => {
            Judged::new(Status::Failed, host(Note::NameMissing).reason(Reason::Nodata))
                .because(Reason::Nodata)
        }
        Ok(_) if survey.host.parse::<IpAddr>().is_ok() => Judged::new(Status::Ok, literal),
        Ok(addresses) => {
            let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Judged::new(Status::Ok, host(Note::NameOk).with("addresses", list))
        }
        Err(why) => {
            let word = why.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).next().unwrap_or_default();
            match word.parse::<Reason>() {
                Ok(reason @ (Reason::Nxdomain | Reason::Nodata)) => {
                    Judged::new(Status::Failed, host(Note::NameMissing).reason(reason)).because(reason)
                }
                reason => {
                    let judged = Judged::new(Status::Unknown, host(Note::NameUnknown).with("detail", why));
                    if let Ok(reason) = reason {
                        judged.because(reason)
                    } else {
                        judged.fault(Fault::Unresolved)
                    }
                }
            }
        }
    }
}

fn route(survey: &Survey, say: &dyn Fn(Note) -> Said) -> Judged {
    let mut sources: Vec<String> = Vec::new();
    let mut without: Vec<(IpAddr, Fault)> = Vec::new();
    for (address, way) in &survey.routes {
        match way {
            Ok(source) if sources.contains(&source.to_string()) => {}
            Ok(source) => sources.push(source.to_string()),
            Err(fault) => without.push((*address, *fault)),
        }
    }
    let missing = |note, (address, fault): &(IpAddr, Fault)| {
        say(note).with("address", address.to_string()).fault(*fault)
    };
    let sent = survey.observed.iter().any(|seen| !matches!(seen.report.outcome, Outcome::Unsent(_)));
    if !sources.is_empty() {
        let mut judged = Judged::new(Status::Ok, say(Note::RouteOk).with("source", sources.join(", ")));
        judged.said.extend(without.iter().map(|it| missing(Note::RoutePartly, it)));
        return judged;
    }
    match without.first() {
        _ if sent => Judged::new(Status::Ok, say(Note::RouteImplied)),
        Some(first @ (_, fault @ (Fault::NoRoute | Fault::Egress))) => {
            Judged::new(Status::Failed, missing(Note::RouteNone, first)).fault(*fault)
        }
        Some(first @ (_, fault)) => {
            Judged::new(Status::Unknown, missing(Note::RouteUnknown, first)).fault(*fault)
        }
        // No route was looked up and no probe ran: what the probes' faults say, if anything.
        None => match survey.observed.first().map(|seen| (seen.address, seen.report.outcome)) {
            Some((address, Outcome::Unsent(fault))) => {
                Judged::new(Status::Unknown, missing(Note::RouteUnknown, &(address, fault))).fault(fault)
            }
            _ => untried(),
        },
    }
}

/// The units with evidence, and a word about those left out. If none has evidence, all of them.
fn units<'a>(survey: &'a Survey, declared: &'a Declared) -> (Vec<Unit<'a>>, Vec<Said>) {
    let mut units: Vec<Unit<'a>> = Vec::new();
    for observed in &survey.observed {
        let same = |unit: &&mut Unit<'a>| unit.member == observed.member && unit.egress == observed.egress;
        if let Some(unit) = units.iter_mut().find(same) {
            unit.seen.push(observed);
            continue;
        }
        let way = survey.routes.iter().find(|(address, _)| *address == observed.address);
        units.push(Unit {
            member: observed.member,
            address: observed.address,
            egress: &observed.egress,
            source: way.and_then(|(_, way)| way.ok()),
            host: &survey.host,
            declared,
            seen: vec![observed],
        });
    }
    let blind = |unit: &Unit<'_>| unit.seen.iter().find_map(|seen| fault(seen));
    let evident =
        |unit: &Unit<'_>| unit.seen.iter().any(|seen| !matches!(seen.report.outcome, Outcome::Unsent(_)));
    if !units.iter().any(evident) {
        let routed =
            |unit: &Unit<'_>| !survey.routes.iter().any(|(at, way)| *at == unit.address && way.is_err());
        units.retain(routed);
        return (units, Vec::new());
    }
    let mut said = Vec::new();
    units.retain(|unit| {
        if evident(unit) {
            return true;
        }
        // Members without a route are named by the step `route`.
        let told = survey.routes.iter().any(|(at, way)| *at == unit.address && way.is_err());
        if let (false, Some(fault)) = (told, blind(unit)) {
            said.push(unit.say(Note::NotJudged).with("where", place(unit)).fault(fault));
        }
        false
    });
    (units, said)
}

fn fault(observed: &Observed) -> Option<Fault> {
    match observed.report.outcome {
        Outcome::Unsent(fault) => Some(fault),
        _ => None,
    }
}

fn place(unit: &Unit<'_>) -> String {
    if unit.egress == "default" {
        unit.address.to_string()
    } else {
        format!("{} ({})", unit.address, unit.egress)
    }
}

/// Judges every unit and lets the worst decide; says where, if not everywhere.
fn over_units<'a>(units: &[Unit<'a>], judge: impl Fn(&Unit<'a>) -> Judged) -> Judged {
    let judged: Vec<(&Unit<'_>, Judged)> = units.iter().map(|unit| (unit, judge(unit))).collect();
    let rank = |status| match status {
        Status::Failed => 0,
        Status::Unknown => 1,
        Status::Ok => 2,
        Status::Skipped => 3,
    };
    let Some(worst) = judged.iter().map(|(_, it)| it.status).min_by_key(|status| rank(*status)) else {
        return untried();
    };
    let evidence: Vec<Evidence> = judged.iter().flat_map(|(_, it)| it.evidence.clone()).collect();
    let mut groups: Vec<(&Judged, Vec<String>)> = Vec::new();
    for (unit, it) in judged.iter().filter(|(_, it)| it.status == worst) {
        let notes = |it: &Judged| it.said.iter().map(|said| said.note).collect::<Vec<_>>();
        match groups.iter_mut().find(|(first, _)| notes(first) == notes(it)) {
            Some((_, places)) => places.push(place(unit)),
            None => groups.push((it, vec![place(unit)])),
        }
    }
    let Some((first, _)) = groups.first() else { return untried() };
    let mut all = Judged { said: Vec::new(), evidence, ..(*first).clone() };
    for (it, places) in groups {
        all.said.extend(it.said.clone());
        if places.len() < units.len() {
            all.said.push(Said::new(Note::Where).with("where", places.join(", ")));
        }
    }
    all
}

fn reach(unit: &Unit<'_>) -> Judged {
    let ping = unit.kinds(&["icmp"]);
    let evidence = |pick: &dyn Fn(&Observed) -> bool| {
        unit.seen.iter().filter(|seen| pick(seen)).map(|seen| Evidence::of(seen)).collect::<Vec<_>>()
    };
    let icmp = |seen: &Observed| seen.kind.name == "icmp";
    if let Some(ping) = ping.as_ref().filter(|ping| ping.sign.service()) {
        let rtt = ping.best.report.rtt.map_or_else(|| "?".to_owned(), super::render::millis);
        return Judged::new(Status::Ok, unit.say(Note::ReachPing).with("rtt", rtt)).on(evidence(&icmp));
    }
    if let Some(life) = unit.life() {
        let answered =
            unit.seen.iter().any(|seen| alive(seen) && seen.report.outcome.received() == Some(true));
        let note = match &ping {
            Some(ping) if !matches!(ping.sign, Sign::Fault(_)) => {
                if answered {
                    Note::ReachPorts
                } else {
                    Note::ReachRefusals
                }
            }
            _ => Note::ReachWithoutPing,
        };
        let on = evidence(&|seen| icmp(seen) || alive(seen));
        return Judged::new(Status::Ok, unit.say(note).with("life", life)).on(on);
    }
    let on = evidence(&|seen| seen.kind.name != "trace");
    let signs: Vec<Sign> = unit
        .seen
        .iter()
        .filter(|seen| seen.kind.name != "trace")
        .map(|seen| Sign::of(seen.report.outcome))
        .collect();
    let blocked = |wanted: &[Reason]| {
        signs.iter().find_map(|sign| match sign {
            Sign::Blocked(reason) if wanted.contains(reason) => Some(*reason),
            _ => None,
        })
    };
    let silent = signs.contains(&Sign::Silent);
    if let Some(reason) = blocked(&[Reason::HostUnreachable, Reason::NetUnreachable]) {
        Judged::new(Status::Failed, unit.say(Note::ReachUnreachable).reason(reason)).because(reason).on(on)
    } else if blocked(&[Reason::AdminProhibited]).is_some() {
        let (status, note) = if silent {
            (Status::Unknown, Note::ReachFilteredPartly)
        } else {
            (Status::Failed, Note::ReachFiltered)
        };
        Judged::new(status, unit.say(note)).because(Reason::AdminProhibited).on(on)
    } else if silent {
        Judged::new(Status::Unknown, unit.say(Note::ReachSilent)).because(Reason::NoAnswer).on(on)
    } else if let Some(fault) = unit.seen.iter().find_map(|seen| fault(seen)) {
        Judged::new(Status::Unknown, unit.say(Note::ReachFault).fault(fault)).fault(fault).on(on)
    } else {
        untried()
    }
}

/// The names of the unit's probes of a kind, each once.
fn probes<'a>(unit: &Unit<'a>, kind: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for seen in unit.seen.iter().filter(|seen| seen.kind.name == kind) {
        if !names.contains(&seen.probe.as_str()) {
            names.push(&seen.probe);
        }
    }
    names
}

/// What is to be told of L2TP; it decides nothing.
fn l2tp(unit: &Unit<'_>) -> Option<Said> {
    let heard = unit.kinds(&["l2tp"])?;
    let note = match heard.sign {
        Sign::Speaks | Sign::Objects(_) | Sign::Denies(_) => Note::L2tpInClear,
        Sign::Silent | Sign::Fault(Fault::ExpectedSilence) => Note::L2tpSilent,
        Sign::Blocked(_) | Sign::Fault(_) => return None,
    };
    Some(unit.say(note).with("ports", heard.label))
}

/// The step `ports` of a target that declares its VPNs: every service must answer.
fn ports(unit: &Unit<'_>) -> Judged {
    let mut services: Vec<Judged> = unit.ike().into_iter().chain(unit.openvpn()).collect();
    services.extend(probes(unit, "tls").into_iter().filter_map(|probe| unit.tls(probe)));
    let alone = |probe: &&str| {
        let port = |name: &str| unit.declared.ports.iter().find(|(it, _)| it == name).map(|(_, port)| *port);
        let taken =
            probes(unit, "tls").into_iter().any(|tls| port(tls).is_some() && port(tls) == port(probe));
        !taken
    };
    services.extend(probes(unit, "tcp").into_iter().filter(alone).filter_map(|probe| unit.tcp(probe)));
    let evidence = services.iter().flat_map(|it| it.evidence.clone()).collect();
    let Some(worst) = [Status::Failed, Status::Unknown, Status::Ok]
        .into_iter()
        .find(|status| services.iter().any(|it| it.status == *status))
    else {
        return Judged::new(Status::Unknown, unit.say(Note::PortsNotProbed));
    };
    let mut all = Judged::new(worst, Said::new(Note::PortsOk)).on(evidence);
    all.said.clear();
    let answering: Vec<String> = services.iter().flat_map(|it| it.ports.clone()).collect();
    if worst == Status::Ok {
        all.said.push(unit.say(Note::PortsOk).with("ports", answering.join(", ")));
    }
    for it in services.into_iter().filter(|it| it.status == worst) {
        all.reason = all.reason.or(it.reason);
        all.fault = all.fault.or(it.fault);
        all.said.extend(it.said);
    }
    all.ports = answering;
    if worst == Status::Ok {
        all.said.extend(l2tp(unit));
    }
    all
}

/// The step `ports` of a target that declares nothing: what is there is told, what is not is no failure.
fn found(unit: &Unit<'_>) -> Judged {
    const VPN: [&str; 8] =
        ["ike", "ike_natt", "ikev1", "ikev1_natt", "l2tp", "openvpn_udp", "openvpn_tcp", "tls"];
    let speaking: Vec<&Observed> = unit
        .seen
        .iter()
        .copied()
        .filter(|seen| VPN.contains(&seen.kind.name) && Sign::of(seen.report.outcome).service())
        .collect();
    if speaking.is_empty() {
        return Judged::new(Status::Skipped, unit.say(Note::PortsUndeclared));
    }
    let mut labels: Vec<String> = Vec::new();
    for seen in &speaking {
        let label = unit.declared.label(seen);
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let on = speaking.iter().map(|seen| Evidence::of(seen)).collect();
    let mut judged =
        Judged::new(Status::Ok, unit.say(Note::PortsFound).with("ports", labels.join(", "))).on(on);
    judged.ports = labels;
    if let Some(ike) = unit.ike() {
        if ike.reason == Some(LadderReason::NattBlocked.into()) {
            judged.said.extend(ike.said.into_iter().map(|said| Said { note: Note::NattSilentFound, ..said }));
        } else if unit.seen.iter().any(|seen| under_load(seen)) {
            judged.said.push(unit.say(Note::UnderLoad));
        }
    }
    judged.said.extend(l2tp(unit).filter(|said| said.note == Note::L2tpInClear));
    if let Some(openvpn) = unit.openvpn() {
        judged.said.extend(
            openvpn
                .said
                .into_iter()
                .filter(|said| matches!(said.note, Note::Throttled | Note::OpenvpnKeyWanted)),
        );
    }
    for seen in &speaking {
        if let Sign::Objects(reason) = Sign::of(seen.report.outcome)
            && is_certificate(reason)
        {
            if matches!(reason, Reason::CertExpired | Reason::CertNotYetValid)
                && speaking.iter().all(|it| it.kind.name == "tls")
                && let Some(bad) = unit.tls(&seen.probe)
            {
                return Judged { ports: judged.ports, ..bad };
            }
            let said =
                unit.say(Note::CertificateFound).with("ports", unit.declared.label(seen)).reason(reason);
            judged.said.push(said.with("detail", not_after(seen)));
            judged = judged.because(reason);
        }
        if matches!(
            Sign::of(seen.report.outcome),
            Sign::Objects(Reason::TlsLegacy) | Sign::Denies(Reason::TlsLegacy)
        ) {
            judged.said.push(unit.say(Note::TlsLegacy).with("ports", unit.declared.label(seen)));
            judged = judged.because(Reason::TlsLegacy);
        }
    }
    judged
}

fn authenticate(unit: &Unit<'_>) -> Judged {
    let having = |pick: &dyn Fn(&Observed) -> bool| {
        unit.seen.iter().filter(|seen| pick(seen)).map(|seen| Evidence::of(seen)).collect::<Vec<_>>()
    };
    let refused = having(&|seen| seen.report.outcome.reason() == Some(Reason::AuthFailed));
    if !refused.is_empty() {
        return Judged::new(Status::Failed, unit.say(Note::AuthFailed))
            .because(Reason::AuthFailed)
            .on(refused);
    }
    let speaks = having(&|seen| {
        seen.kind.name.starts_with("openvpn") && Sign::of(seen.report.outcome) == Sign::Speaks
    });
    if unit.declared.openvpn_key && !speaks.is_empty() {
        return Judged::new(Status::Skipped, unit.say(Note::AuthKeyAccepted)).on(speaks);
    }
    let wanted = having(&|seen| {
        seen.kind.name.starts_with("openvpn") && seen.report.outcome.reason() == Some(Reason::KeyRequired)
    });
    match (wanted.is_empty(), unit.declared.openvpn_key) {
        (false, true) => Judged::new(Status::Failed, unit.say(Note::AuthKeyRefused))
            .because(Reason::KeyRequired)
            .on(wanted),
        (false, false) => Judged::new(Status::Skipped, unit.say(Note::AuthKeyMissing)).on(wanted),
        _ => Judged::new(Status::Skipped, unit.say(Note::AuthSkipped)),
    }
}

/// Whether an answer shows that a phase 1 proposal was accepted.
fn accepted(observed: &Observed) -> bool {
    observed.kind.name.starts_with("ike")
        && matches!(observed.report.outcome, Outcome::Answered(_))
        && (observed.form == "policy"
            || observed.form == "full"
            || observed.report.findings.as_ref().is_some_and(|it| it.details.is("proposal_accepted")))
}

fn tunnel(unit: &Unit<'_>) -> Judged {
    if let Some(seen) = unit.seen.iter().find(|seen| accepted(seen)) {
        let chosen = detail(seen, &["accepted", "proposal"]);
        return Judged::new(Status::Skipped, unit.say(Note::TunnelPhase1).with("detail", chosen))
            .on(vec![Evidence::of(seen)]);
    }
    let refused: Vec<&Observed> = unit
        .seen
        .iter()
        .copied()
        .filter(|seen| {
            seen.kind.name.starts_with("ike")
                && seen.report.outcome.reason() == Some(Reason::NoProposalChosen)
        })
        .collect();
    let own = refused.iter().any(|seen| {
        if seen.kind.name.starts_with("ikev1") {
            unit.declared.ikev1_proposals
        } else {
            unit.declared.ike_proposals
        }
    });
    let on: Vec<Evidence> = refused.iter().map(|seen| Evidence::of(seen)).collect();
    if own && !unit.declared.vpn.is_empty() {
        let mut labels: Vec<String> = refused.iter().map(|seen| unit.declared.label(seen)).collect();
        labels.dedup();
        Judged::new(Status::Failed, unit.say(Note::TunnelRefused).with("ports", labels.join(", ")))
            .because(Reason::NoProposalChosen)
            .on(on)
    } else if refused.is_empty() {
        Judged::new(Status::Skipped, unit.say(Note::TunnelSkipped))
    } else {
        Judged::new(Status::Skipped, unit.say(Note::TunnelRefusedDefault)).on(on)
    }
}
