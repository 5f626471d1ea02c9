//! L2TP against xl2tpd.

use crate::harness::{CONC, Lab};
use crate::ways::Way;

#[test]
fn l2tp_on_1701() {
    Way {
        start: "xl2tpd",
        server: "xl2tpd",
        kind: "l2tp",
        packets: "udp dport 1701",
        addresses: &CONC[..1],
        ..Way::UDP
    }
    .walk();
}

/// The tunnel that a probe opened is closed: xl2tpd holds none afterwards.
#[test]
fn nothing_is_left_behind() {
    let lab = Lab::with(&["xl2tpd"]);
    for _ in 0..3 {
        lab.check_probe(CONC[0], "l2tp", "", "").says(&["l2tp answered"]);
    }
    let log = lab.read("xl2tpd.log");
    let opened = log.matches("control_finish: Connection established").count();
    let closed =
        log.matches("Connection closed").count() + log.matches("control_finish: Connection closed").count();
    assert!(closed >= opened.max(3), "{log}");
}

/// Behind IPsec, silence in clear text is the healthy state and so proves nothing.
#[test]
fn silence_behind_ipsec_is_no_loss() {
    let lab = Lab::with(&["strongswan"]);
    lab.script("fault drop udp dport 1701");
    let check = lab.check_target(&format!(
        "    address: {}\n    vpn: [l2tp-ipsec]\n{}",
        CONC[0],
        crate::ike::ACCEPTED
    ));
    let results = check.results();
    assert!(results.iter().any(|result| result.starts_with("l2tp unsent")), "{results:?}");
    assert_eq!(check.verdict(), "ok", "{:#}", check.json);
}
