//! IKE against strongSwan: both versions, both ports, both families.

use crate::harness::{CONC, Lab};
use crate::ways::Way;

/// What the lab's strongSwan accepts, for both versions.
pub const ACCEPTED: &str =
    "    ike: {proposals: [aes256-sha256-modp2048]}\n    ikev1: {proposals: [aes256-sha256-modp2048]}\n";
/// What it refuses.
const REFUSED: &str =
    "    ike: {proposals: [aes128-sha1-modp1024]}\n    ikev1: {proposals: [aes128-sha1-modp1024]}\n";

const KINDS: [&str; 2] = ["ike", "ike_natt"];
const KINDS_V1: [&str; 2] = ["ikev1", "ikev1_natt"];

/// The policy check tells an accepted proposal from a refused one. Part of every run with strongSwan: an
/// answer to a version ping alone would prove little.
#[track_caller]
pub fn policy(lab: &Lab, kinds: &[&str]) {
    for address in CONC {
        for kind in kinds {
            lab.check_probe(address, kind, "", ACCEPTED).says(&[&format!("{kind} answered")]);
            lab.check_probe(address, kind, "", REFUSED)
                .says(&[&format!("{kind} refused no_proposal_chosen")]);
            // Half-open SAs of one run are not the next one's.
            lab.script("stop strongswan");
            lab.script("start strongswan");
        }
    }
}

fn walk(kind: &str, port: u16) {
    let lab = Way {
        start: "strongswan",
        server: "strongswan",
        kind,
        settings: ACCEPTED,
        packets: &format!("udp dport {port}"),
        ..Way::UDP
    }
    .walk();
    policy(&lab, &[kind]);
}

#[test]
fn ike_on_500() {
    walk("ike", 500);
}

#[test]
fn ike_on_4500() {
    walk("ike_natt", 4500);
}

#[test]
fn ikev1_on_500() {
    walk("ikev1", 500);
}

#[test]
fn ikev1_on_4500() {
    walk("ikev1_natt", 4500);
}

/// A site with another policy: elliptic curves and an AEAD cipher.
#[test]
fn policy_of_a_modern_site() {
    let lab = Lab::with(&["strongswan aes256gcm16-prfsha384-ecp384"]);
    let modern = "    ike: {proposals: [aes256gcm16-prfsha384-ecp384]}\n";
    for kind in KINDS {
        lab.check_probe(CONC[0], kind, "", modern).says(&[&format!("{kind} answered")]);
        lab.check_probe(CONC[0], kind, "", ACCEPTED).says(&[&format!("{kind} refused no_proposal_chosen")]);
    }
}

/// Without a configuration: everything on the two ports is found, and the contract's fields are there.
#[test]
fn check_of_a_host() {
    let lab = Lab::with(&["strongswan"]);
    for address in CONC {
        let check = lab.check(&[address]);
        assert_eq!(check.json["schema"], 1);
        assert_eq!(check.json["target"], address);
        assert_eq!(check.verdict(), "ok", "{:#}", check.json);
        assert_eq!(check.code, 0);
        assert_eq!(check.step("ports"), "ok");
        assert_eq!(check.step("authenticate"), "skipped");
        let results = check.results();
        for kind in KINDS {
            assert!(results.contains(&format!("{kind} answered")), "{results:?}");
        }
        for probe in check.json["probes"].as_array().unwrap() {
            for field in [
                "probe",
                "kind",
                "member",
                "address",
                "egress",
                "outcome",
                "reason",
                "rtt_seconds",
                "details",
            ] {
                assert!(probe.get(field).is_some(), "{field}: {probe:#}");
            }
            assert_eq!(probe["address"], address);
        }
        lab.script("stop strongswan");
        lab.script("start strongswan");
    }
}

/// NAT-T filtered while port 500 answers: the user's VPN fails although "the box answers".
#[test]
fn only_4500_is_filtered() {
    let lab = Lab::with(&["strongswan"]);
    lab.script("fault drop udp dport 4500");
    let check = lab.check_target(&format!("    address: {}\n    vpn: [ipsec]\n{ACCEPTED}", CONC[0]));
    let results = check.results();
    assert!(results.contains(&"ike answered".to_owned()), "{results:?}");
    assert!(!results.contains(&"ike_natt answered".to_owned()), "{results:?}");
    assert_ne!(check.verdict(), "ok", "{:#}", check.json);
    lab.script("clear");
    lab.script("stop strongswan");
    lab.script("start strongswan");
    policy(&lab, &KINDS_V1);
}
