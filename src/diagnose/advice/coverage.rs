//! Whatever the ladder can say has an entry, and every entry is said by something: held by making up every
//! outcome of every kind, beside other signs of life and without, and climbing the ladder.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::diagnose::ladder::climb;
use crate::diagnose::tests::{declared, observed, survey};
use crate::diagnose::unit::Declared;
use crate::diagnose::way::tests::{HOME, declared as inside, ways};
use crate::diagnose::{LadderReason, Observed, Survey};
use crate::probe::Kind;
use crate::sample::{Fault, Outcome, Phase, Reason};
use crate::session::Teardown;

/// What was said, and which entries that leads to.
#[derive(Default)]
struct Said {
    at: BTreeSet<String>,
    entries: BTreeSet<String>,
    without: BTreeSet<String>,
}

impl Said {
    fn climb(&mut self, survey: &Survey, declared: &Declared) {
        let diagnosis = climb(survey, declared);
        self.entries.extend(diagnosis.not_known.iter().map(|id| (*id).to_owned()));
        for step in &diagnosis.steps {
            let entry = of(step);
            self.entries.extend(entry.map(|entry| entry.id.clone()));
            let Some(reason) = step.reason else { continue };
            let at = format!("{} {}", step.step, reason.as_str());
            if entry.is_none() {
                self.without.insert(at.clone());
            }
            self.at.insert(at);
        }
    }
}

/// Everything that an exchange of this kind may come to.
fn outcomes(kind: Kind) -> Vec<Outcome> {
    let faults = Fault::ALL.iter().map(|fault| Outcome::Unsent(*fault));
    let with = |reason: &Reason| {
        [Outcome::Answered(Some(*reason)), Outcome::Refused(*reason), Outcome::Lost(*reason)]
    };
    std::iter::once(Outcome::OK).chain(faults).chain(kind.reasons.iter().flat_map(with)).collect()
}

/// The same with what its findings may tell.
fn told(kind: Kind) -> Vec<Observed> {
    const FLAGS: [&str; 6] =
        ["cookie_unanswered", "under_load", "hijacked", "name_leak", "nat", "aggressive_mode_answered"];
    let mut all: Vec<Observed> =
        outcomes(kind).into_iter().map(|outcome| observed(kind.name, outcome)).collect();
    for flag in FLAGS {
        let mut seen = observed(kind.name, Outcome::OK);
        seen.report.findings().details.flag(flag, true);
        all.push(seen);
    }
    for over in ["icmp", "udp"] {
        let mut seen = observed(kind.name, Outcome::OK);
        let details = &mut seen.report.findings().details;
        details.flag("mtu_black_hole", true);
        details.number("path_mtu", 1000);
        details.text("mtu_over", over);
        all.push(seen);
    }
    let mut connected = observed(kind.name, Outcome::Lost(Reason::NoAnswer));
    connected.report.phases.push((Phase::Connect, std::time::Duration::from_millis(1)));
    all.push(connected);
    all
}

fn everything() -> Said {
    let mut said = Said::default();
    let silent = Outcome::Lost(Reason::NoAnswer);
    let beside: [&[(&str, Outcome)]; 4] = [
        &[],
        &[("icmp", Outcome::OK)],
        &[("icmp", silent), ("tcp", Outcome::Refused(Reason::AdminProhibited))],
        &[("ike", Outcome::OK), ("tls", Outcome::OK)],
    ];
    let words = ["", "ipsec", "ipsec +own", "openvpn", "openvpn +key", "ssl-vpn", "wireguard"];
    for kind in Kind::all() {
        for seen in told(kind) {
            for others in beside {
                let mut all = survey(others);
                all.observed.retain(|other| other.kind != kind);
                all.observed.push(seen.clone());
                words.iter().for_each(|words| said.climb(&all, &declared(words)));
                // The same behind the tunnel, where only these are asked.
                if !["icmp", "tcp", "http", "rdp", "dns"].contains(&kind.name) {
                    continue;
                }
                let mut behind = survey(&[("icmp", Outcome::OK)]);
                let life = others.iter().map(|(kind, outcome)| Observed {
                    address: IpAddr::from([10, 20, 0, 9]),
                    ..observed(kind, *outcome)
                });
                behind.inside = life.chain([seen.clone()]).collect();
                said.climb(&behind, &declared("ipsec"));
            }
            // The same by one way out, and all well by another.
            let other = Observed { egress: "other".to_owned(), ..observed(kind.name, Outcome::OK) };
            let mut both = survey(&[]);
            both.observed = vec![seen, other];
            said.climb(&both, &declared("ssl-vpn"));
        }
    }
    for session in Teardown::ALL.iter().map(|why| Err(*why)).chain([Ok(true)]) {
        let mut all = survey(&[("ike", Outcome::OK)]);
        all.session = Some(session);
        said.climb(&all, &declared("ipsec"));
        all.inside = vec![observed("tcp", silent)];
        all.ways = Some(ways(&format!("{HOME}; tun0 10.8.0.2/24"), "10.20.0.0/16", &[]));
        let with = Declared { inside: Some(inside("", "10.20.0.0/16")), ..declared("ipsec") };
        said.climb(&all, &with);
    }
    for resolved in Reason::ALL.iter().map(|reason| Err(format!("{reason}: it says"))).chain([Ok(Vec::new())])
    {
        let all = Survey { resolved, ..survey(&[]) };
        said.climb(&all, &declared(""));
    }
    for fault in Fault::ALL {
        let mut all = survey(&[]);
        all.routes = vec![(IpAddr::from([192, 0, 2, 1]), Err(*fault))];
        said.climb(&all, &declared(""));
    }
    for (intent, table, prefix) in [
        ("full", HOME.to_owned() + "; tun0 10.8.0.2/24; 10.20.0.0/16 tun0", "10.20.0.0/16"),
        ("split", "eth0 192.168.1.7/24; tun0 10.8.0.2/24; default tun0".to_owned(), "10.20.0.0/16"),
        ("split", HOME.to_owned() + "; tun0 10.8.0.2/24", "10.20.0.0/16"),
        ("split", HOME.to_owned() + "; tun0 10.8.0.2/24", "192.168.1.0/24"),
        ("split", HOME.to_owned(), "10.20.0.0/16"),
    ] {
        let mut all = survey(&[("ike", silent)]);
        all.ways = Some(ways(&table, prefix, &["192.0.2.1"]));
        let with = Declared { inside: Some(inside(intent, prefix)), ..declared("ipsec") };
        said.climb(&all, &with);
    }
    said
}

#[test]
fn what_the_ladder_says_has_an_entry_and_every_entry_is_said() {
    let said = everything();
    assert!(said.without.is_empty(), "no entry for: {:#?}", said.without);
    let unsaid: Vec<&str> = LadderReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .filter(|reason| !said.at.iter().any(|at| at.ends_with(&format!(" {reason}"))))
        .collect();
    assert!(unsaid.is_empty(), "no step says: {unsaid:?}");
    let listed: BTreeSet<String> = entries().iter().flat_map(|entry| entry.at.clone()).collect();
    let dead: Vec<_> = listed.difference(&said.at).collect();
    assert!(dead.is_empty(), "listed, and said by no step: {dead:#?}");
    let explained = PATTERNS.iter().map(|pattern| pattern.entry.clone());
    let reached: BTreeSet<String> = said.entries.iter().cloned().chain(explained).collect();
    let dead: Vec<&str> =
        entries().iter().map(|entry| entry.id.as_str()).filter(|id| !reached.contains(*id)).collect();
    assert!(dead.is_empty(), "entries that nothing leads to: {dead:?}");
}
