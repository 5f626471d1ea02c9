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
//! | ports | `OpenVPN` on UDP is silent and no key is configured | unknown: the healthy state looks the same |
//! | ports | `OpenVPN`: either of UDP and TCP answers | ok |
//! | ports | `WireGuard` is silent and no key of a peer is configured | unknown, `key_required` |
//! | ports | another SSL VPN, or a web server, than declared | failed, `wrong_flavour` |
//! | ports | a page with an unexpected status | failed, `http_status`; told if another way out is in order |
//! | ports | a certificate that is bad by one way out only | failed, `captive_or_hijacked` |
//! | ports | L2TP in the clear | never decides; silence is healthy behind `IPsec`, an answer is a finding |
//! | ports | TLS too old for us | ok, with the reason `tls_legacy` |
//! | authenticate | hung up on with a key configured | failed, `key_required` |
//! | authenticate | the configured session comes up | ok |
//! | authenticate | the gateway refuses its credentials, or cannot prove its own | failed, `auth_failed` |
//! | authenticate | the session is not answered, or its proposals are refused | unknown |
//! | tunnel | the site's own proposals refused, and no other accepted | failed, `no_proposal_chosen` |
//! | route, `inside_routes` | the ways that packets would take | see `way` |
//! | ports | IKE asks for cookies | ok, with the reason `full_or_throttled`: up, and under load |
//! | tunnel | a cookie is asked for, given, and then all is silent | failed, `session_limit` |
//! | tunnel | the configured session comes up | unknown: it has no child, so nothing is known of ESP |
//! | tunnel | the same, its tunnel has an interface, and nothing inside answers | unknown, `esp_blocked` |
//! | tunnel | large packets of the VPN's own flow vanish, small ones are answered | failed, `mtu_black_hole` |
//! | tunnel | large pings vanish | unknown, `mtu_black_hole`: it may be a filter of pings |
//! | inside names, hosts | see [`super::inside`] | |
//! | authenticate, tunnel, inside | anything else | skipped |
//! | any | only faults of ours | unknown, the fault named, and out of the judgement if another unit has evidence |
//!
//! Over all units a step is failed if one of them is, else unknown if one is, else ok. `natt_blocked`
//! and the rest say where they were seen.

use std::net::IpAddr;

use super::inside;
use super::rungs::{authenticate, found, ports, reach, tunnel};
use super::unit::{Declared, Judged, Unit, fault, untried};
use super::way::{inside_routes, own_tunnel};
use super::{
    Diagnosis, Evidence, LadderReason, Note, Observed, Said, Status, Step, StepReason, StepResult, Survey,
};
use crate::config::{Inside, Target, Vpn};
use crate::sample::{Fault, Outcome, Reason};
use crate::session::Teardown;

/// What the survey of a target comes to.
#[must_use]
pub fn diagnose(survey: &Survey, target: &Target) -> Diagnosis {
    climb(survey, &Declared::of(target))
}

/// The same, from what is declared.
#[must_use]
pub(super) fn climb(survey: &Survey, declared: &Declared) -> Diagnosis {
    let mut diagnosis = rungs(survey, declared);
    diagnosis.not_known = not_known(survey, declared, &diagnosis);
    diagnosis
}

/// What takes a whole session of a user, unless a host inside has answered through the tunnel.
fn not_known(survey: &Survey, declared: &Declared, diagnosis: &Diagnosis) -> Vec<&'static str> {
    let through = declared.inside.as_ref().is_some_and(|inside| inside.egress.is_some())
        && diagnosis.step(Step::InsideHosts).is_some_and(|step| step.status == Status::Ok);
    if through {
        return Vec::new();
    }
    let answers = |pick: &dyn Fn(&str) -> bool| {
        survey
            .observed
            .iter()
            .any(|seen| pick(seen.kind.name) && seen.report.outcome.received() == Some(true))
    };
    let mut all = Vec::new();
    if !declared.vpn.is_empty() || answers(&|kind| kind.starts_with("ike") || kind.starts_with("openvpn")) {
        all.push("credentials");
    }
    let ipsec = declared.vpn.iter().any(|vpn| matches!(vpn, Vpn::Ipsec | Vpn::L2tpIpsec));
    if ipsec || (declared.vpn.is_empty() && answers(&|kind| kind.starts_with("ike"))) {
        all.extend(["phase2_mismatch", "esp_broken_by_nat"]);
    }
    all
}

fn rungs(survey: &Survey, declared: &Declared) -> Diagnosis {
    let say = |note| Said::new(note).with("host", &survey.host);
    let name = name(survey, say(Note::NameLiteral));
    let mut steps = vec![step(Step::Name, name.clone())];
    // What the kernel says of its routes needs no answer from anybody.
    let inside = inside_routes(declared.inside.as_ref(), survey.ways.as_ref().map(|ways| &*ways.around));
    if name.status != Status::Ok {
        steps.extend([Step::Route, Step::Reach, Step::Ports].map(|it| step(it, untried())));
        steps.extend(skipped(inside));
        return Diagnosis::new(declared.target.clone(), survey.time, !declared.vpn.is_empty(), steps);
    }
    let mut route = route(survey, &say);
    if route.status == Status::Ok
        && let Some(through) = own_tunnel(survey, declared.through_tunnel)
    {
        let said = route.said;
        route = through;
        route.said.extend(said);
    }
    let (units, left_out) = units(survey, declared);
    // A way into the tunnel is a way; what it comes to is seen by the probes.
    let routed = route.fault.is_none() && route.status != Status::Unknown;
    steps.push(step(Step::Route, route));
    if units.is_empty() && !routed {
        steps.extend([Step::Reach, Step::Ports].map(|it| step(it, untried())));
        steps.extend(skipped(inside));
        return Diagnosis::new(declared.target.clone(), survey.time, !declared.vpn.is_empty(), steps);
    }
    let mut reach = over_units(&units, reach);
    reach.said.extend(left_out);
    steps.push(step(Step::Reach, reach));
    let rung = if declared.vpn.is_empty() { found } else { ports };
    steps.push(step(Step::Ports, by_other_ways(&units, over_units(&units, rung))));
    let keys = over_units(&units, authenticate);
    let signed_in = survey.session.map(|session| signed_in(session, &say));
    // A key that a port refuses is not made good by a session elsewhere.
    steps.push(step(Step::Authenticate, signed_in.filter(|_| keys.status != Status::Failed).unwrap_or(keys)));
    let mut tunnel = over_units(&units, tunnel);
    if tunnel.status == Status::Skipped && survey.session.is_some_and(|session| session.is_ok()) {
        tunnel = in_session(survey, declared, &say).on(tunnel.evidence);
    }
    steps.push(step(Step::Tunnel, tunnel));
    for mut last in skipped(inside).into_iter().skip(2) {
        let asks = declared.inside.as_ref();
        let (judged, asked) = match last.step {
            Step::InsideNames => (inside::names(survey), asks.is_some_and(Inside::asks_names)),
            Step::InsideHosts => (inside::hosts(survey), asks.is_some_and(|inside| !inside.hosts.is_empty())),
            _ => (None, false),
        };
        let not_yet = || asked.then(|| Judged::new(Status::Unknown, Said::new(Note::InsideNotYet)));
        if let Some(judged) = judged.or_else(not_yet) {
            last = step(last.step, judged);
        }
        steps.push(last);
    }
    Diagnosis::new(declared.target.clone(), survey.time, !declared.vpn.is_empty(), steps)
}

fn step(step: Step, judged: Judged) -> StepResult {
    let Judged { status, reason, fault, said, evidence, .. } = judged;
    StepResult { step, status, reason, fault, said, evidence }
}

/// The steps that take more than the probes, with what is known of the routes.
fn skipped(inside_routes: Judged) -> Vec<StepResult> {
    let skipped = |it, note| step(it, Judged::new(Status::Skipped, Said::new(note)));
    vec![
        skipped(Step::Authenticate, Note::AuthSkipped),
        skipped(Step::Tunnel, Note::TunnelSkipped),
        step(Step::InsideRoutes, inside_routes),
        skipped(Step::InsideNames, Note::InsideSkipped),
        skipped(Step::InsideHosts, Note::InsideSkipped),
    ]
}

/// The step `authenticate`, where a session is configured.
fn signed_in(session: Result<bool, Teardown>, say: &dyn Fn(Note) -> Said) -> Judged {
    match session {
        Ok(_) => Judged::new(Status::Ok, say(Note::AuthOk)),
        Err(Teardown::AuthFailed) => {
            Judged::new(Status::Failed, say(Note::AuthRefused)).because(Reason::AuthFailed)
        }
        Err(Teardown::PeerUnverified) => {
            Judged::new(Status::Failed, say(Note::AuthUnverified)).because(Reason::AuthFailed)
        }
        Err(Teardown::NoAnswer) => {
            Judged::new(Status::Unknown, say(Note::AuthSilent)).because(Reason::NoAnswer)
        }
        Err(Teardown::LocalFault) => {
            Judged::new(Status::Unknown, say(Note::AuthUntold).with("detail", "local_fault"))
                .fault(Fault::Internal)
        }
        Err(other) => Judged::new(Status::Unknown, say(Note::AuthUntold).with("detail", other.as_str())),
    }
}

/// The step `tunnel`, where the configured session has come up and the probes tell no more.
fn in_session(survey: &Survey, declared: &Declared, say: &dyn Fn(Note) -> Said) -> Judged {
    let mute = |seen: &Observed| seen.report.outcome == Outcome::Lost(Reason::NoAnswer);
    let nothing = !survey.inside.is_empty() && survey.inside.iter().all(mute);
    let link = survey.ways.as_ref().and_then(|ways| ways.around.tunnel_link()).filter(|link| link.up);
    match link.filter(|_| nothing && declared.inside.is_some()) {
        Some(link) => Judged::new(Status::Unknown, say(Note::EspMaybe).with("tunnel", &link.name))
            .because(LadderReason::EspBlocked),
        None => Judged::new(Status::Unknown, say(Note::TunnelChildless)),
    }
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

/// Of a page that is bad by one way out and good by another, what that shows.
fn by_other_ways(units: &[Unit<'_>], mut judged: Judged) -> Judged {
    let Some(StepReason::Probe(reason)) = judged.reason else { return judged };
    let own = matches!(reason, Reason::CertNameMismatch | Reason::CertUntrusted);
    if judged.status != Status::Failed || !(own || reason == Reason::HttpStatus) {
        return judged;
    }
    let asks = |seen: &&&Observed| matches!(seen.kind.name, "http" | "tls" | "sslvpn");
    let bad = |unit: &&Unit<'_>| {
        unit.seen.iter().filter(asks).any(|seen| seen.report.outcome.reason() == Some(reason))
    };
    let good = |unit: &&Unit<'_>| {
        let mut asked = unit.seen.iter().filter(asks).peekable();
        asked.peek().is_some() && asked.all(|seen| seen.report.outcome == Outcome::OK)
    };
    let Some(unit) = units.iter().find(bad) else { return judged };
    let other = units.iter().filter(|it| it.egress != unit.egress).find(good);
    let Some(other) = other else { return judged };
    let told = |note| unit.say(note).with("where", other.egress);
    if own {
        judged.said.insert(0, told(Note::Hijacked));
        judged.reason = Some(LadderReason::CaptiveOrHijacked.into());
    } else {
        judged.said.push(told(Note::OnlyThisWay));
    }
    judged
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
