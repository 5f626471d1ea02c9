//! The rules of the ladder, row by row.

use super::*;

/// A rule: what was declared and seen, and what is said of it.
pub(super) struct Row {
    pub what: &'static str,
    pub declared: &'static str,
    pub seen: &'static [(&'static str, Outcome)],
    /// verdict, failed step
    verdict: (&'static str, &'static str),
    /// `step status [reason]`
    steps: &'static [&'static str],
}

const fn row(
    what: &'static str,
    declared: &'static str,
    seen: &'static [(&'static str, Outcome)],
    verdict: (&'static str, &'static str),
    steps: &'static [&'static str],
) -> Row {
    Row { what, declared, seen, verdict, steps }
}

pub(super) const TABLE: &[Row] = &[
    // nothing declared
    row(
        "a host that answers ping and nothing else",
        "",
        &[("icmp", YES), ("ike", SILENT), ("ike_natt", SILENT), ("openvpn_udp", SILENT), ("tls", RST)],
        ("ok", ""),
        &["reach ok", "ports skipped", "authenticate skipped", "tunnel skipped", "inside_hosts skipped"],
    ),
    row(
        "a host that answers IKE and not ping",
        "",
        &[("icmp", SILENT), ("ike", YES), ("ike_natt", YES), ("tls", SILENT)],
        ("ok", ""),
        &["reach ok", "ports ok"],
    ),
    row(
        "nothing declared and everything silent",
        "",
        &[("icmp", SILENT), ("ike", SILENT), ("tls", SILENT)],
        ("unknown", ""),
        &["reach unknown no_answer", "ports skipped"],
    ),
    row(
        "nothing declared: 4500 silent is told and no failure",
        "",
        &[("icmp", YES), ("ike", YES), ("ike_natt", SILENT)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "nothing declared: proposals nobody configured are refused",
        "",
        &[("icmp", YES), ("ike", YES), ("ike/policy", NO_PROPOSAL), ("ike_natt", YES)],
        ("ok", ""),
        &["ports ok", "tunnel skipped"],
    ),
    row(
        "nothing declared: only TLS, its certificate expired",
        "",
        &[("icmp", YES), ("tls", Answered(Some(Reason::CertExpired)))],
        ("failed", "ports"),
        &["ports failed cert_expired"],
    ),
    row(
        "nothing declared: an expired certificate beside IKE is told",
        "",
        &[("icmp", YES), ("ike", YES), ("ike_natt", YES), ("tls", Answered(Some(Reason::CertExpired)))],
        ("ok", ""),
        &["ports ok cert_expired"],
    ),
    row(
        "nothing declared: a private CA is told and no failure",
        "",
        &[("icmp", YES), ("tls", Answered(Some(Reason::CertUntrusted)))],
        ("ok", ""),
        &["ports ok cert_untrusted"],
    ),
    row(
        "nothing declared: no host",
        "",
        &[("icmp", NO_HOST), ("ike", SILENT), ("tls", SILENT)],
        ("failed", "reach"),
        &["reach failed host_unreachable", "ports skipped"],
    ),
    row(
        "nothing declared: everything filtered by name",
        "",
        &[("icmp", FILTER), ("ike", FILTER)],
        ("failed", "reach"),
        &["reach failed admin_prohibited"],
    ),
    row(
        "nothing declared: ping filtered by name, the rest silent",
        "",
        &[("icmp", FILTER), ("ike", SILENT)],
        ("unknown", ""),
        &["reach unknown admin_prohibited"],
    ),
    row(
        "nothing declared: ports closed by the host itself",
        "",
        &[("icmp", SILENT), ("ike", CLOSED), ("tls", RST)],
        ("ok", ""),
        &["reach ok", "ports skipped"],
    ),
    // IPsec
    row(
        "IPsec in order",
        "ipsec",
        &[("icmp", YES), ("ike", YES), ("ike_natt", YES)],
        ("ok", ""),
        &["reach ok", "ports ok", "authenticate skipped", "tunnel skipped"],
    ),
    row(
        "IPsec in order, ping filtered",
        "ipsec",
        &[("icmp", SILENT), ("ike", YES), ("ike_natt", YES)],
        ("ok", ""),
        &["reach ok", "ports ok"],
    ),
    row(
        "IPsec silent beside ping",
        "ipsec",
        &[("icmp", YES), ("ike", SILENT), ("ike_natt", SILENT)],
        ("failed", "ports"),
        &["reach ok", "ports failed no_answer"],
    ),
    row(
        "IPsec silent, and ping too",
        "ipsec",
        &[("icmp", SILENT), ("ike", SILENT), ("ike_natt", SILENT)],
        ("unknown", ""),
        &["reach unknown no_answer", "ports unknown no_answer"],
    ),
    row(
        "IPsec silent beside a closed TCP port: the host is there",
        "ipsec",
        &[("icmp", SILENT), ("ike", SILENT), ("ike_natt", SILENT), ("tls", RST)],
        ("failed", "ports"),
        &["reach ok", "ports failed no_answer"],
    ),
    row(
        "NAT-T blocked",
        "ipsec",
        &[("icmp", YES), ("ike", YES), ("ike_natt", SILENT)],
        ("failed", "ports"),
        &["ports failed natt_blocked"],
    ),
    row(
        "NAT-T blocked, ping too",
        "ipsec",
        &[("icmp", SILENT), ("ike", NO_PROPOSAL), ("ike_natt", SILENT)],
        ("failed", "ports"),
        &["reach ok", "ports failed natt_blocked", "tunnel skipped"],
    ),
    row(
        "4500 closed rather than blocked",
        "ipsec",
        &[("icmp", YES), ("ike", YES), ("ike_natt", CLOSED)],
        ("failed", "ports"),
        &["ports failed port_unreachable"],
    ),
    row(
        "500 blocked, 4500 open",
        "ipsec",
        &[("icmp", YES), ("ike", SILENT), ("ike_natt", YES)],
        ("failed", "ports"),
        &["ports failed no_answer"],
    ),
    row(
        "4500 not tried: our own fault",
        "ipsec",
        &[("icmp", YES), ("ike", YES), ("ike_natt", Unsent(Fault::LocalFirewall))],
        ("unknown", ""),
        &["ports unknown"],
    ),
    row(
        "4500 silent to a form never answered: no evidence",
        "ipsec",
        &[("icmp", YES), ("ike", YES), ("ike_natt", Unsent(Fault::FormUnproven))],
        ("unknown", ""),
        &["ports unknown"],
    ),
    row(
        "the IKE daemon is stopped",
        "ipsec",
        &[("icmp", YES), ("ike", CLOSED), ("ike_natt", CLOSED)],
        ("failed", "ports"),
        &["reach ok", "ports failed port_unreachable"],
    ),
    row(
        "the daemon is stopped, ICMP errors are rate limited",
        "ipsec",
        &[("icmp", SILENT), ("ike", CLOSED), ("ike_natt", SILENT)],
        ("failed", "ports"),
        &["reach ok", "ports failed port_unreachable"],
    ),
    row(
        "a filter says so",
        "ipsec",
        &[("icmp", YES), ("ike", FILTER), ("ike_natt", FILTER)],
        ("failed", "ports"),
        &["ports failed admin_prohibited"],
    ),
    row(
        "no host: reach fails, ports cannot be told",
        "ipsec",
        &[("icmp", NO_HOST), ("ike", NO_HOST), ("ike_natt", SILENT)],
        ("failed", "reach"),
        &["reach failed host_unreachable", "ports unknown host_unreachable"],
    ),
    row(
        "IKEv1 only: version 2 silent",
        "ipsec",
        &[("icmp", YES), ("ike", SILENT), ("ike_natt", SILENT), ("ikev1", YES), ("ikev1_natt", YES)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "IKEv1 only behind L2TP, 4500 tried in version 2 alone",
        "l2tp-ipsec",
        &[("icmp", YES), ("ike", SILENT), ("ike_natt", SILENT), ("ikev1", YES), ("l2tp", EXPECTED)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "IKEv1 only, NAT-T blocked",
        "ipsec",
        &[("icmp", YES), ("ike", SILENT), ("ike_natt", SILENT), ("ikev1", YES), ("ikev1_natt", SILENT)],
        ("failed", "ports"),
        &["ports failed natt_blocked"],
    ),
    row(
        "IKEv2 only: version 1 is told that it is the wrong one",
        "ipsec",
        &[("icmp", YES), ("ike", YES), ("ike_natt", YES), ("ikev1", Refused(Reason::WrongFlavour))],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "aggressive mode refused, as it should be",
        "ipsec +own",
        &[("icmp", YES), ("ike", YES), ("ike_natt", YES), ("ikev1/aggressive", Refused(Reason::AuthFailed))],
        ("ok", ""),
        &["ports ok", "authenticate skipped", "tunnel skipped"],
    ),
    row(
        "phase 1 mismatch with the site's own proposals",
        "ipsec +own",
        &[("icmp", YES), ("ike/policy", NO_PROPOSAL), ("ike_natt/policy", NO_PROPOSAL)],
        ("failed", "tunnel"),
        &["ports ok", "authenticate skipped", "tunnel failed no_proposal_chosen"],
    ),
    row(
        "phase 1 refused, but no proposals of the site's own",
        "ipsec",
        &[("icmp", YES), ("ike/policy", NO_PROPOSAL), ("ike_natt/policy", NO_PROPOSAL)],
        ("ok", ""),
        &["ports ok", "tunnel skipped"],
    ),
    row(
        "phase 1 accepted by one version, refused by the other",
        "ipsec +own",
        &[("icmp", YES), ("ike/policy", YES), ("ike_natt", YES), ("ikev1", NO_PROPOSAL)],
        ("ok", ""),
        &["ports ok", "tunnel skipped"],
    ),
    row(
        "something else answers on 500",
        "ipsec",
        &[("icmp", YES), ("ike", Refused(Reason::WrongFlavour)), ("ike_natt", SILENT)],
        ("failed", "ports"),
        &["ports failed wrong_flavour"],
    ),
    row(
        "the message is called malformed: alive",
        "ipsec",
        &[("ike", Refused(Reason::InvalidSyntax)), ("ike_natt", YES)],
        ("ok", ""),
        &["reach ok", "ports ok"],
    ),
    row(
        "no right to send anything",
        "ipsec",
        &[("icmp", Unsent(Fault::Permission)), ("ike", Unsent(Fault::Permission))],
        ("unknown", ""),
        &["route ok", "reach unknown", "ports unknown"],
    ),
    // L2TP behind IPsec
    row(
        "L2TP silent in the clear is healthy",
        "l2tp-ipsec",
        &[("icmp", YES), ("ikev1", YES), ("ikev1_natt", YES), ("l2tp", EXPECTED)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "L2TP lost in the clear is healthy too",
        "l2tp-ipsec",
        &[("icmp", YES), ("ikev1", YES), ("ikev1_natt", YES), ("l2tp", SILENT)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "L2TP closed in the clear decides nothing",
        "l2tp-ipsec",
        &[("icmp", YES), ("ikev1", YES), ("ikev1_natt", YES), ("l2tp", CLOSED)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "L2TP answers in the clear: a finding, no failure",
        "l2tp-ipsec",
        &[("icmp", YES), ("ikev1", YES), ("ikev1_natt", YES), ("l2tp", YES)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "L2TP answering does not excuse silent IKE",
        "l2tp-ipsec",
        &[("icmp", SILENT), ("ike", SILENT), ("ike_natt", SILENT), ("l2tp", YES)],
        ("failed", "ports"),
        &["reach ok", "ports failed no_answer"],
    ),
    // SSL-VPN
    row("TLS in order", "ssl-vpn", &[("icmp", SILENT), ("tls", YES)], ("ok", ""), &["reach ok", "ports ok"]),
    row(
        "TLS expired",
        "ssl-vpn",
        &[("icmp", YES), ("tls", Answered(Some(Reason::CertExpired)))],
        ("failed", "ports"),
        &["ports failed cert_expired"],
    ),
    row(
        "TLS for another name",
        "ssl-vpn",
        &[("icmp", YES), ("tls", Answered(Some(Reason::CertNameMismatch)))],
        ("failed", "ports"),
        &["ports failed cert_name_mismatch"],
    ),
    row(
        "TLS from an unknown issuer",
        "ssl-vpn",
        &[("icmp", YES), ("tls", Answered(Some(Reason::CertUntrusted)))],
        ("failed", "ports"),
        &["ports failed cert_untrusted"],
    ),
    row(
        "TLS too old for us is alive",
        "ssl-vpn",
        &[("icmp", YES), ("tls", Refused(Reason::TlsLegacy))],
        ("ok", ""),
        &["ports ok tls_legacy"],
    ),
    row(
        "TLS alert",
        "ssl-vpn",
        &[("icmp", YES), ("tls", Refused(Reason::TlsAlert))],
        ("failed", "ports"),
        &["ports failed tls_alert"],
    ),
    row(
        "TCP refused",
        "ssl-vpn",
        &[("icmp", SILENT), ("tls", RST)],
        ("failed", "ports"),
        &["reach ok", "ports failed connection_refused"],
    ),
    row(
        "TCP silent beside ping",
        "ssl-vpn",
        &[("icmp", YES), ("tls", SILENT)],
        ("failed", "ports"),
        &["ports failed no_answer"],
    ),
    row(
        "TCP silent, and ping too",
        "ssl-vpn",
        &[("icmp", SILENT), ("tls", SILENT)],
        ("unknown", ""),
        &["reach unknown no_answer", "ports unknown no_answer"],
    ),
    row(
        "TCP connects, TLS hangs",
        "ssl-vpn",
        &[("icmp", SILENT), ("tcp", YES), ("tls", SILENT)],
        ("failed", "ports"),
        &["reach ok", "ports failed no_answer"],
    ),
    row(
        "TLS opened and reset",
        "ssl-vpn",
        &[("icmp", YES), ("tls", Refused(Reason::ConnectionReset))],
        ("failed", "ports"),
        &["ports failed connection_reset"],
    ),
    // OpenVPN
    row(
        "OpenVPN on UDP only",
        "openvpn",
        &[("icmp", YES), ("openvpn_udp", YES), ("openvpn_tcp", RST)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "OpenVPN on TCP only",
        "openvpn",
        &[("icmp", YES), ("openvpn_udp", SILENT), ("openvpn_tcp", YES)],
        ("ok", ""),
        &["ports ok"],
    ),
    row(
        "OpenVPN silent without a key: the healthy state looks the same",
        "openvpn",
        &[("icmp", YES), ("openvpn_udp", SILENT), ("openvpn_tcp", RST)],
        ("unknown", ""),
        &["reach ok", "ports unknown no_answer"],
    ),
    row(
        "OpenVPN silent with a key",
        "openvpn +key",
        &[("icmp", YES), ("openvpn_udp", SILENT), ("openvpn_tcp", SILENT)],
        ("failed", "ports"),
        &["ports failed no_answer"],
    ),
    row(
        "OpenVPN silent with a key, and ping too",
        "openvpn +key",
        &[("icmp", SILENT), ("openvpn_udp", SILENT)],
        ("unknown", ""),
        &["ports unknown no_answer"],
    ),
    row(
        "OpenVPN closed on both",
        "openvpn",
        &[("icmp", YES), ("openvpn_udp", CLOSED), ("openvpn_tcp", RST)],
        ("failed", "ports"),
        &["ports failed port_unreachable"],
    ),
    row(
        "OpenVPN over TCP wants a key that we have not",
        "openvpn",
        &[("icmp", YES), ("openvpn_udp", SILENT), ("openvpn_tcp", KEY)],
        ("ok", ""),
        &["ports ok", "authenticate skipped"],
    ),
    row(
        "OpenVPN over TCP hangs up on our key",
        "openvpn +key",
        &[("icmp", YES), ("openvpn_udp", SILENT), ("openvpn_tcp", KEY)],
        ("failed", "authenticate"),
        &["ports ok", "authenticate failed key_required"],
    ),
    row(
        "OpenVPN answers the reset and nothing after it",
        "openvpn",
        &[("icmp", YES), ("openvpn_udp/reset", YES), ("openvpn_udp/full", FULL)],
        ("failed", "ports"),
        &["ports failed full_or_throttled"],
    ),
    row(
        "OpenVPN's certificate has expired",
        "openvpn +key",
        &[
            ("icmp", YES),
            ("openvpn_udp/reset", YES),
            ("openvpn_udp/full", Answered(Some(Reason::CertExpired))),
        ],
        ("failed", "ports"),
        &["ports failed cert_expired"],
    ),
    // more than one VPN
    row(
        "one VPN of two answers",
        "ipsec ssl-vpn",
        &[("icmp", YES), ("ike", YES), ("ike_natt", YES), ("tls", RST)],
        ("failed", "ports"),
        &["ports failed connection_refused"],
    ),
];

#[test]
fn the_table_holds() {
    assert!(TABLE.len() >= 30);
    for row in TABLE {
        let survey = survey(row.seen);
        let diagnosis = ladder::climb(&survey, &declared(row.declared));
        let what = row.what;
        assert_eq!(diagnosis.verdict.as_str(), row.verdict.0, "{what}: {diagnosis:#?}");
        assert_eq!(diagnosis.failed_step.map_or("", Step::as_str), row.verdict.1, "{what}");
        assert_eq!(diagnosis.steps.iter().map(|it| it.step).collect::<Vec<_>>(), Step::ALL, "{what}");
        for expected in row.steps {
            let mut words = expected.split_whitespace();
            let step = diagnosis.step(words.next().unwrap().parse().unwrap()).unwrap();
            assert_eq!(step.status.as_str(), words.next().unwrap(), "{what}: {expected}: {step:#?}");
            assert_eq!(step.reason.map(StepReason::as_str), words.next(), "{what}: {expected}");
        }
        for step in &diagnosis.steps {
            for lang in Lang::ALL {
                let text = step.text(*lang);
                assert!(!text.is_empty() && !text.contains(['{', '}']), "{what}: {text}");
                let hole = text.contains(": ?")
                    || text.contains("??")
                    || text.contains("(?)")
                    || text.starts_with('?');
                assert!(!hole, "{what}: a slot was not filled: {text}");
            }
        }
    }
}
