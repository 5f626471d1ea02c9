//! The rungs that probes tell of, each judged for one member over one egress. The rules stand in
//! [`super::ladder`].

use super::unit::{Judged, Sign, Unit, alive, detail, fault, is_certificate, not_after, under_load, untried};
use super::{Evidence, LadderReason, Note, Observed, Said, Status};
use crate::sample::{Detail, Fault, Outcome, Reason};

/// The step `reach`: whatever comes back from the address shows that it is reached.
pub(super) fn reach(unit: &Unit<'_>) -> Judged {
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

/// What is to be told of aggressive mode, if it was asked for and answered.
fn aggressive(unit: &Unit<'_>) -> Option<Said> {
    let answered = |seen: &&&Observed| {
        seen.report.findings.as_ref().is_some_and(|it| it.details.is("aggressive_mode_answered"))
    };
    let seen = unit.seen.iter().find(answered)?;
    Some(unit.say(Note::Aggressive).with("ports", unit.declared.label(seen)))
}

/// The kinds that only run where they are written down.
const DECLARED: [&str; 4] = ["http", "rdp", "stun", "wireguard"];

/// The step `ports` of a target that declares its VPNs: every service must answer.
pub(super) fn ports(unit: &Unit<'_>) -> Judged {
    let mut services: Vec<Judged> = unit.ike().into_iter().chain(unit.openvpn()).collect();
    services.extend(probes(unit, "tls").into_iter().filter_map(|probe| unit.tls(probe)));
    let alone = |probe: &&str| {
        let port = |name: &str| unit.declared.ports.iter().find(|(it, _)| it == name).map(|(_, port)| *port);
        let taken =
            probes(unit, "tls").into_iter().any(|tls| port(tls).is_some() && port(tls) == port(probe));
        !taken
    };
    services.extend(probes(unit, "tcp").into_iter().filter(alone).filter_map(|probe| unit.tcp(probe)));
    services.extend(unit.wireguard());
    for kind in ["sslvpn", "http", "rdp", "stun"] {
        services.extend(probes(unit, kind).into_iter().filter_map(|probe| unit.service(kind, probe)));
    }
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
    if worst == Status::Ok && !answering.is_empty() {
        all.said.push(unit.say(Note::PortsOk).with("ports", answering.join(", ")));
    }
    for it in services.into_iter().filter(|it| it.status == worst) {
        all.reason = all.reason.or(it.reason);
        all.fault = all.fault.or(it.fault);
        for said in it.said {
            // Two probes of one port find the same certificate.
            if !all.said.contains(&said) {
                all.said.push(said);
            }
        }
    }
    all.ports = answering;
    if worst == Status::Ok {
        all.said.extend(l2tp(unit));
    }
    all.said.extend(aggressive(unit));
    all
}

/// The step `ports` of a target that declares nothing: what is there is told, what is not is no failure.
pub(super) fn found(unit: &Unit<'_>) -> Judged {
    const VPN: [&str; 9] =
        ["ike", "ike_natt", "ikev1", "ikev1_natt", "l2tp", "openvpn_udp", "openvpn_tcp", "tls", "wireguard"];
    // Who writes these probes down wants them answered: they are no part of a look around.
    if unit.seen.iter().any(|seen| DECLARED.contains(&seen.kind.name)) {
        return ports(unit);
    }
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
            judged = judged.because(Reason::FullOrThrottled);
        }
    }
    judged.said.extend(l2tp(unit).filter(|said| said.note == Note::L2tpInClear));
    judged.said.extend(aggressive(unit));
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

/// The step `authenticate`, as far as the ports' own keys go; credentials there are none.
pub(super) fn authenticate(unit: &Unit<'_>) -> Judged {
    let having = |pick: &dyn Fn(&Observed) -> bool| {
        unit.seen.iter().filter(|seen| pick(seen)).map(|seen| Evidence::of(seen)).collect::<Vec<_>>()
    };
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

/// Whether an answer shows that a phase 1 proposal was accepted, of those that the site uses.
fn accepted(observed: &Observed) -> bool {
    let details = observed.report.findings.as_ref().map(|it| &it.details);
    let told = |key| details.and_then(|details| details.get_text(key));
    observed.kind.name.starts_with("ike")
        && !on_request(observed)
        && observed.report.outcome == Outcome::OK
        && (told("suite").is_some() || matches!(told("answer"), Some("invalid_ke_payload" | "sa")))
}

/// Whether the exchange offers something else than the site's proposals, because somebody asked to see.
fn on_request(observed: &Observed) -> bool {
    matches!(observed.form, "audit" | "aggressive")
}

/// Large packets that vanish on the way, small ones being answered.
fn black_hole(unit: &Unit<'_>) -> Option<Judged> {
    let holes =
        |seen: &&&Observed| seen.report.findings.as_ref().is_some_and(|it| it.details.is("mtu_black_hole"));
    let seen = unit.seen.iter().find(holes)?;
    let details = &seen.report.findings.as_ref()?.details;
    let bytes = match details.get("path_mtu") {
        Some(Detail::Number(bytes)) => bytes.to_string(),
        _ => return None,
    };
    // A firewall may refuse large pings and nothing else; the VPN's own packets prove it.
    let (status, note) = match details.get_text("mtu_over") {
        Some("icmp") | None => (Status::Unknown, Note::MtuBlackHolePing),
        Some(_) => (Status::Failed, Note::MtuBlackHole),
    };
    let judged = Judged::new(status, unit.say(note).with("bytes", bytes)).because(LadderReason::MtuBlackHole);
    Some(judged.on(vec![Evidence::of(seen)]))
}

/// A cookie that was asked for, given, and not honoured: no session is begun, now.
fn full(unit: &Unit<'_>) -> Option<Judged> {
    let told = |seen: &&&Observed| {
        seen.report.findings.as_ref().is_some_and(|it| it.details.is("cookie_unanswered"))
    };
    let seen = unit.seen.iter().find(told).filter(|_| !unit.seen.iter().any(|seen| accepted(seen)))?;
    let judged =
        Judged::new(Status::Failed, unit.say(Note::SessionLimit).with("ports", unit.declared.label(seen)));
    Some(judged.because(LadderReason::SessionLimit).on(vec![Evidence::of(seen)]))
}

/// The step `tunnel`, as far as phase 1 is told without credentials.
pub(super) fn tunnel(unit: &Unit<'_>) -> Judged {
    let phase1 = phase1(unit);
    if let Some(full) = full(unit).filter(|_| phase1.status != Status::Failed) {
        return full;
    }
    match black_hole(unit).filter(|_| !unit.declared.vpn.is_empty() && phase1.status != Status::Failed) {
        Some(mut hole) => {
            hole.said.extend(phase1.said.into_iter().filter(|said| said.note == Note::TunnelPhase1));
            hole
        }
        None => phase1,
    }
}

fn phase1(unit: &Unit<'_>) -> Judged {
    if let Some(seen) = unit.seen.iter().find(|seen| accepted(seen)) {
        let chosen = detail(seen, &["suite", "group"]);
        return Judged::new(Status::Skipped, unit.say(Note::TunnelPhase1).with("detail", chosen))
            .on(vec![Evidence::of(seen)]);
    }
    let refused: Vec<&Observed> = unit
        .seen
        .iter()
        .copied()
        .filter(|seen| {
            seen.kind.name.starts_with("ike")
                && !on_request(seen)
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
