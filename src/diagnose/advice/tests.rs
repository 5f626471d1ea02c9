use super::*;
use crate::diagnose::{LadderReason, Note, Step};
use crate::sample::Reason;

#[test]
fn the_files_load_and_every_entry_is_whole_in_both_languages() {
    let entries: Vec<Entry> = serde_saphyr::from_str(include_str!("entries.yml")).unwrap();
    let patterns: Vec<Pattern> = serde_saphyr::from_str(include_str!("patterns.yml")).unwrap();
    assert!(entries.len() >= 40 && patterns.len() >= 150);
    for entry in &entries {
        let texts = [&entry.title, &entry.cause, &entry.check, &entry.read];
        for both in texts.into_iter().chain(&entry.unknown) {
            for lang in Lang::ALL {
                assert!(both.text(*lang).trim().chars().count() > 3, "{}: {both:?}", entry.id);
            }
            let wide = |text: &str| text.chars().any(|c| c > '\u{3000}');
            assert!(wide(&both.ja) && !wide(&both.en), "{}: {both:?}", entry.id);
        }
        for text in [&entry.windows, &entry.linux, &entry.good, &entry.bad] {
            assert!(!text.trim().is_empty(), "{}", entry.id);
            let filled = Slots::default().fill(text);
            assert!(!filled.contains("{h") && !filled.contains("{a") && !filled.contains("{p"), "{filled}");
        }
        for note in &entry.notes {
            assert!(Note::ALL.iter().any(|it| format!("{it:?}") == *note), "{}: {note}", entry.id);
        }
        for at in &entry.at {
            let (step, reason) = at.split_once(' ').unwrap();
            step.parse::<Step>().unwrap();
            assert!(reason.parse::<Reason>().is_ok() || reason.parse::<LadderReason>().is_ok(), "{at}");
        }
    }
    for pattern in &patterns {
        assert!(entries.iter().any(|entry| entry.id == pattern.entry), "{pattern:?}");
        assert!(!pattern.source.is_empty());
    }
    let mut ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), entries.len());
}

#[test]
fn every_cause_of_the_field_has_its_entry() {
    for cause in FieldCause::ALL {
        let entries = entries().iter().filter(|entry| entry.field.as_deref() == Some(cause.as_str()));
        assert_eq!(entries.count(), 1, "{cause}");
    }
    let known = |field: &String| field.parse::<FieldCause>().is_ok();
    assert!(entries().iter().filter_map(|entry| entry.field.as_ref()).all(known));
}

#[test]
fn what_only_a_session_can_see_says_so() {
    for id in ["credentials", "phase2_mismatch", "esp_broken_by_nat"] {
        assert!(named(id).unwrap().unknown.is_some(), "{id}");
    }
}

/// A line of `captured.yml`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Captured {
    from: String,
    when: String,
    line: String,
    /// Empty for a line that means no fault.
    entry: String,
}

/// What programs really wrote in the lab; and what says it is from there really is.
#[test]
fn captured_lines_mean_what_was_wrong() {
    let captured: Vec<Captured> = serde_saphyr::from_str(include_str!("captured.yml")).unwrap();
    assert!(captured.len() > 30);
    for it in &captured {
        assert!(!it.from.is_empty() && !it.when.is_empty(), "{it:?}");
        let found = explain(&it.line).first().map_or("", |found| found.entry.id.as_str());
        assert_eq!(found, it.entry, "{it:?}: {:?}", explain(&it.line).first());
    }
    for pattern in PATTERNS.iter().filter(|pattern| pattern.source.ends_with(", lab")) {
        let written = |it: &Captured| holds(&it.line.to_lowercase(), &pattern.text);
        assert!(captured.iter().any(written), "not in captured.yml: {pattern:?}");
    }
}

/// Lines of the field's guide, of vendors' documents, and as people report them.
#[test]
fn real_lines_mean_what_they_should() {
    for (line, entry) in [
        ("NO_PROPOSAL_CHOSEN", "phase1_mismatch"),
        ("%CRYPTO-4-IKMP_NO_RESPONSE: IKE message from 203.0.113.10 no response", "dpd_keepalive"),
        ("Event ID 20227: The user credentials were incorrect.", "credentials"),
        ("Authentication failed: certificate expired", "certificate_expired"),
        ("pkts encaps = 0, pkts decaps = 0", "phase2_mismatch"),
        ("Received packet with invalid SPI", "esp_broken_by_nat"),
        ("deny ip 192.168.200.0/24 → 192.168.10.0/24", "inside_firewall"),
        ("nslookup intranet.local → timeout", "inside_dns"),
        ("HTTP 404 login.microsoft.com", "default_route_via_tunnel"),
        ("Request timed out.", "silent"),
        ("Connection timed out", "outer_firewall"),
        (
            "CoId={5A2F}: The user EXAMPLE\\taro dialed a connection named VPN which has failed. The error code returned on failure is 809.",
            "outer_firewall",
        ),
        ("The error code returned on failure is 789.", "psk"),
        ("エラー 691: リモート接続が拒否されました", "credentials"),
        ("error 868: the remote connection was not made", "name_missing"),
        ("RasClient 20227 ... error code returned on failure is 13801", "certificate_name"),
        ("05[IKE] received NO_PROPOSAL_CHOSEN notify error", "phase1_mismatch"),
        ("07[IKE] received AUTHENTICATION_FAILED notify error", "psk"),
        ("11[IKE] tried 1 shared key for 'vpn.example.test' - 'probe', but MAC mismatched", "psk"),
        ("12[IKE] giving up after 5 retransmits", "dpd_keepalive"),
        ("08[IKE] received TS_UNACCEPTABLE notify, no CHILD_SA built", "phase2_mismatch"),
        (
            "16[NET] ignoring IKE_SA setup from 192.0.2.10, per-IP half-open IKE_SA limit of 5 reached",
            "half_open_limit",
        ),
        (
            "TLS Error: TLS key negotiation failed to occur within 60 seconds (check your network connectivity)",
            "openvpn_silent",
        ),
        ("AUTH: Received control message: AUTH_FAILED", "credentials"),
        ("TLS Error: incoming packet authentication failed from [AF_INET]192.0.2.10:40000", "key_refused"),
        ("MULTI: new incoming connection would exceed maximum number of clients (1)", "connection_limit"),
        ("[server] Inactivity timeout (--ping-restart), restarting", "dpd_keepalive"),
        ("VERIFY ERROR: depth=0, error=certificate has expired: CN=server", "certificate_expired"),
        ("Remote Desktop error code: 0x204", "remote_desktop"),
        (
            "%ASA-4-106023: Deny tcp src outside:192.168.200.9/50000 dst inside:192.168.10.5/3389 by access-group",
            "inside_firewall",
        ),
        ("DNS request timed out.", "inside_dns"),
        ("*** UnKnown can't find intranet.local: Non-existent domain", "inside_name_missing"),
        ("Unable to establish the VPN connection. The VPN server may be unreachable. (-5)", "outer_firewall"),
        (
            "curl: (60) SSL: no alternative certificate subject name matches target host name",
            "certificate_name",
        ),
        ("ping: local error: message too long, mtu=1400", "mtu_black_hole"),
        (
            "Handshake for peer 1 (203.0.113.10:51820) did not complete after 5 seconds, retrying (try 2)",
            "wireguard_silent",
        ),
        ("wlan0: deauthenticated from 00:00:5e:00:53:01 (Reason: 3=DEAUTH_LEAVING)", "wifi_4g"),
        ("%BGP-5-ADJCHANGE: neighbor 198.51.100.1 Down BGP Notification sent", "path_changed"),
        ("10 packets transmitted, 7 received, 30% packet loss, time 9012ms", "unstable_path"),
        ("%SYS-5-RESTART: System restarted --", "box_restart"),
    ] {
        let found = explain(line);
        assert_eq!(found.first().map(|it| it.entry.id.as_str()), Some(entry), "{line}: {found:#?}");
    }
}

#[test]
fn what_is_not_known_is_not_guessed() {
    for line in ["", "hello", "1691", "error 80", "0x2045", "error code 6910", "all is well", "NOPROPOSAL"] {
        assert!(explain(line).is_empty(), "{line}: {:?}", explain(line).first());
    }
    // Hostile sizes and bytes end.
    assert!(explain(&"6".repeat(1 << 20)).is_empty());
    let _ = explain(&"エラー691\u{0}".repeat(9999));
}

/// Each number of a pattern stands alone.
#[test]
fn parts_are_found_in_their_order() {
    assert!(holds("error code: 809.", "code*809"));
    assert!(!holds("809 is the code", "code*809"));
    assert!(!holds("code 1809", "code*809"));
    assert!(holds("code 1809, code 809", "code*809"));
}
