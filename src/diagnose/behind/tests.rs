//! The rows of the table, each fault beside what could be taken for it.

use super::super::tests::observed;
use super::*;
use crate::route::{Link, LinkKind, Prefix, Ways};
use crate::sample::Outcome::{self, Lost, Refused, Unsent};
use crate::time::WallTime;

const SILENT: Outcome = Lost(Reason::NoAnswer);
const YES: Outcome = Outcome::OK;

type Row = (&'static str, &'static [(&'static str, Outcome)], &'static str, &'static str);

/// `seen` as `dns` or another kind; a kind `none` is a host whose name has no address.
fn survey(seen: &[(&str, Outcome)], up: bool) -> Survey {
    let address = [10, 8, 0, 6].into();
    let link = Link {
        name: "tun0".to_owned(),
        kind: LinkKind::Tun,
        up,
        addresses: vec![(address, Prefix::new(address, 24))],
    };
    let behind = |(kind, outcome): &(&str, Outcome)| Behind {
        role: if *kind == "dns" { Role::Resolver } else { Role::Host },
        target: format!("hq.{kind}"),
        seen: (*kind != "none").then(|| observed(kind, *outcome)),
    };
    Survey {
        time: WallTime::from_unix_secs(1_795_305_600),
        host: "vpn.example.jp".to_owned(),
        resolved: Ok(Vec::new()),
        routes: Vec::new(),
        ways: Some(Ways { tunnel: Some("tun0".to_owned()), links: vec![link], ..Ways::default() }),
        observed: Vec::new(),
        session: None,
        inside: seen.iter().map(behind).collect(),
    }
}

#[test]
fn each_row_beside_what_could_be_taken_for_it() {
    let declared = Inside {
        resolvers: vec!["hq.dns".to_owned()],
        hosts: vec!["hq.tcp".to_owned()],
        ..Inside::default()
    };
    let rows: &[Row] = &[
        ("all well", &[("dns", YES), ("tcp", YES)], "ok", "ok"),
        (
            "the resolver is silent, a host answers",
            &[("dns", SILENT), ("tcp", YES)],
            "failed resolver_unreachable",
            "ok",
        ),
        (
            "all is silent: it may be the tunnel",
            &[("dns", SILENT), ("tcp", SILENT)],
            "unknown no_answer",
            "unknown no_answer",
        ),
        (
            "a host is silent, the resolver answers",
            &[("dns", YES), ("tcp", SILENT)],
            "ok",
            "failed no_answer",
        ),
        (
            "one host of two is silent",
            &[("dns", YES), ("tcp", YES), ("icmp", SILENT)],
            "ok",
            "failed no_answer",
        ),
        (
            "a filter inside refuses",
            &[("dns", YES), ("tcp", Refused(Reason::AdminProhibited))],
            "ok",
            "failed inside_denied",
        ),
        (
            "the host itself refuses",
            &[("dns", YES), ("tcp", Refused(Reason::ConnectionRefused))],
            "ok",
            "failed connection_refused",
        ),
        (
            "a refusal is a sign of life",
            &[("dns", SILENT), ("tcp", Refused(Reason::ConnectionRefused))],
            "failed resolver_unreachable",
            "failed connection_refused",
        ),
        (
            "a router\'s refusal is none",
            &[("dns", SILENT), ("tcp", Refused(Reason::HostUnreachable))],
            "unknown no_answer",
            "failed host_unreachable",
        ),
        (
            "the name is not known inside",
            &[("dns", Refused(Reason::Nxdomain)), ("tcp", YES)],
            "failed nxdomain",
            "ok",
        ),
        (
            "the name has an outside address",
            &[("dns", Refused(Reason::WrongAnswer)), ("tcp", YES)],
            "failed wrong_answer",
            "ok",
        ),
        (
            "the resolver\'s port is closed",
            &[("dns", Refused(Reason::PortUnreachable)), ("tcp", YES)],
            "failed resolver_unreachable",
            "ok",
        ),
        ("the host\'s name has no address", &[("dns", YES), ("none", YES)], "ok", "failed nodata"),
        (
            "our own fault",
            &[("dns", Unsent(Fault::Egress)), ("tcp", Unsent(Fault::Egress))],
            "unknown",
            "unknown",
        ),
        ("our own fault beside an answer", &[("dns", Unsent(Fault::Budget)), ("tcp", YES)], "unknown", "ok"),
        ("nothing was asked yet", &[], "unknown", "unknown"),
    ];
    let say = |judged: &Judged| {
        let reason = judged.reason.map_or("", StepReason::as_str);
        format!("{} {reason}", judged.status).trim_end().to_owned()
    };
    let mut wrong = Vec::new();
    for (what, seen, names, hosts) in rows {
        let survey = survey(seen, true);
        let found = (
            say(&behind(Role::Resolver, Some(&declared), &survey)),
            say(&behind(Role::Host, Some(&declared), &survey)),
        );
        if found != ((*names).to_owned(), (*hosts).to_owned()) {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // With the tunnel down nothing can be known of the inside.
    let down = survey(&[("dns", SILENT), ("tcp", SILENT)], false);
    assert_eq!(say(&behind(Role::Host, Some(&declared), &down)), "unknown");
    assert_eq!(behind(Role::Host, Some(&declared), &down).fault, Some(Fault::Egress));
    // What is not declared is not judged.
    let nothing = Inside::default();
    assert_eq!(say(&behind(Role::Host, Some(&nothing), &down)), "skipped");
}
