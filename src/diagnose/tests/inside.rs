//! Names and hosts behind the tunnel.

use super::*;

fn inside(rows: Vec<(&str, Observed)>) -> Survey {
    let mut all = survey(&[("icmp", YES), ("ike", YES), ("ike_natt", YES)]);
    for (address, seen) in rows {
        all.inside.push(Observed {
            probe: format!("{}://{address}", seen.kind.name),
            address: ip(address),
            ..seen
        });
    }
    all
}

/// Names and hosts inside, each fault beside its healthy twin.
#[test]
fn inside_names_and_hosts() {
    const WRONG: Outcome = Refused(Reason::WrongAnswer);
    let (dns, host) = ("10.20.0.53", "10.20.0.10");
    let of = |kind: &str, outcome| observed(kind, outcome);
    let rows: Vec<(&str, Survey, [&str; 2])> = vec![
        ("healthy", inside(vec![(dns, of("dns", YES)), (host, of("rdp", YES))]), ["ok", "ok"]),
        (
            "dns silent",
            inside(vec![(dns, of("dns", SILENT)), (host, of("rdp", YES))]),
            ["failed resolver_unreachable", "ok"],
        ),
        (
            "all silent",
            inside(vec![(dns, of("dns", SILENT)), (host, of("rdp", SILENT))]),
            ["unknown no_answer", "unknown no_answer"],
        ),
        (
            "name missing",
            inside(vec![(dns, of("dns", Refused(Reason::Nxdomain))), (host, of("rdp", YES))]),
            ["failed nxdomain", "ok"],
        ),
        (
            "outside view",
            inside(vec![(dns, of("dns", WRONG)), (host, of("rdp", YES))]),
            ["failed wrong_answer", "ok"],
        ),
        (
            "leak",
            inside(vec![
                (dns, detailed("dns", WRONG, &["known_outside", "name_leak"])),
                (host, of("rdp", YES)),
            ]),
            ["failed name_leak", "ok"],
        ),
        (
            "hijacked",
            inside(vec![(dns, detailed("dns", WRONG, &["hijacked"])), (host, of("rdp", YES))]),
            ["failed captive_or_hijacked", "ok"],
        ),
        (
            "intercepted",
            inside(vec![(dns, detailed("dns", WRONG, &["intercepted"])), (host, of("rdp", YES))]),
            ["failed captive_or_hijacked", "ok"],
        ),
        (
            "host dropped",
            inside(vec![(dns, of("dns", YES)), (host, of("rdp", SILENT))]),
            ["ok", "failed no_answer"],
        ),
        (
            "host rejected",
            inside(vec![(dns, of("dns", YES)), (host, of("tcp", FILTER))]),
            ["ok", "failed inside_denied"],
        ),
        (
            "service stopped",
            inside(vec![(dns, of("dns", YES)), (host, of("tcp", RST))]),
            ["ok", "failed connection_refused"],
        ),
        (
            "our fault",
            inside(vec![(dns, of("dns", Unsent(Fault::Egress))), (host, of("tcp", Unsent(Fault::Egress)))]),
            ["unknown", "unknown"],
        ),
    ];
    for (what, survey, expected) in rows {
        let diagnosis = ladder::climb(&survey, &declared("ipsec"));
        for (step, expected) in [Step::InsideNames, Step::InsideHosts].into_iter().zip(expected) {
            let step = diagnosis.step(step).unwrap();
            let reason = step.reason.map_or_else(String::new, |it| format!(" {}", it.as_str()));
            assert_eq!(format!("{}{reason}", step.status), expected, "{what}: {step:#?}");
            for lang in Lang::ALL {
                assert!(!step.text(*lang).contains(['{', '}']), "{}", step.text(*lang));
            }
        }
    }
}
