//! Faults in front of an `IPsec` concentrator, and in it.

use super::{ROW, Row};

/// Half-open sessions of one row are not the next one's.
const FRESH: &[&str] = &["stop strongswan", "start strongswan"];
const IPSEC: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
    probes: {trace: {enabled: false}}
";
/// With its path looked at.
const TRACED: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
";
/// With an account of its own at the gateway.
const ACCOUNT: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
    probes: {trace: {enabled: false}}
    session: {psk_file: STATE/session.psk, local_id: probe.example.test, remote_id: vpn.example.test}
";
const BY_NAME: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: only4.example.test
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
    probes: {trace: {enabled: false}}
";
/// In front of an `IPsec` concentrator, and the concentrator.
pub const ROWS: &[Row] = &[
    Row {
        what: "the outer firewall drops UDP 500",
        beside: "a",
        config: IPSEC,
        before: &["start strongswan"],
        fault: &["exec r4 nft add rule inet firewall forward udp dport 500 drop"],
        says: "failed: ports failed no_answer",
        ..ROW
    },
    Row {
        what: "the box is down",
        beside: "a",
        config: IPSEC,
        before: FRESH,
        fault: &["exec conc ip link set eth0 arp off", "exec r4 ip neigh flush dev lan"],
        undo: &["exec conc ip link set eth0 arp on", "exec r4 ip neigh flush dev lan"],
        step: "reach",
        says: "failed: reach failed host_unreachable",
        ..ROW
    },
    Row {
        what: "the path is cut and nobody says so",
        beside: "a",
        config: IPSEC,
        before: FRESH,
        fault: &["exec r4 nft add rule inet firewall forward drop"],
        step: "reach",
        says: "unknown: reach unknown no_answer",
        tells: "cannot be told apart",
        ..ROW
    },
    Row {
        what: "the outer firewall refuses all, and says so",
        beside: "a",
        config: IPSEC,
        before: FRESH,
        fault: &["exec r4 nft add rule inet firewall forward reject with icmpx admin-prohibited"],
        step: "reach",
        says: "failed: reach failed admin_prohibited",
        ..ROW
    },
    Row {
        what: "UDP 4500 is dropped: no NAT traversal",
        beside: "b",
        config: IPSEC,
        before: FRESH,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 4500 drop"],
        says: "failed: ports failed natt_blocked",
        ..ROW
    },
    Row {
        what: "ESP in UDP 4500 is dropped, IKE passes (only a full session could see it)",
        beside: "b",
        config: ACCOUNT,
        before: FRESH,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 4500 @th,64,32 != 0 drop"],
        step: "tunnel",
        says: "ok: tunnel unknown",
        tells: "cannot be known from here",
        ..ROW
    },
    Row {
        what: "the IKE daemon hangs",
        beside: "c",
        config: IPSEC,
        before: FRESH,
        fault: &["freeze strongswan"],
        undo: &["thaw strongswan"],
        says: "failed: ports failed no_answer",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "the IKE daemon has ended",
        beside: "c",
        config: IPSEC,
        before: FRESH,
        fault: &["stop strongswan"],
        undo: &["start strongswan"],
        says: "failed: ports failed port_unreachable",
        ..ROW
    },
    Row {
        what: "phase 1: other proposals",
        beside: "d",
        config: IPSEC,
        before: FRESH,
        fault: &["stop strongswan", "start strongswan aes128-sha1-modp1536"],
        undo: &["stop strongswan", "start strongswan"],
        step: "tunnel",
        says: "failed: tunnel failed no_proposal_chosen",
        tells: "look the same",
    },
    Row {
        what: "phase 1: the box does not know our address (looks the same, and is told so)",
        beside: "d",
        config: IPSEC,
        before: FRESH,
        fault: &["stop strongswan", "start strongswan aes256-sha256-modp2048 allow default 192.0.2.99"],
        undo: &["stop strongswan", "start strongswan"],
        step: "tunnel",
        says: "failed: tunnel failed no_proposal_chosen",
        tells: "look the same",
    },
    Row {
        what: "the box has another pre-shared key",
        beside: "e",
        config: ACCOUNT,
        before: FRESH,
        fault: &["stop strongswan", "start strongswan aes256-sha256-modp2048 allow default %any another-psk"],
        undo: &["stop strongswan", "start strongswan"],
        step: "authenticate",
        says: "failed: authenticate failed auth_failed",
        ..ROW
    },
    Row {
        what: "phase 2: other proposals (only a full session could see it)",
        beside: "e",
        config: ACCOUNT,
        before: FRESH,
        fault: &["stop strongswan", "start strongswan aes256-sha256-modp2048 allow 3des-md5"],
        undo: &["stop strongswan", "start strongswan"],
        step: "tunnel",
        says: "ok: tunnel unknown",
        tells: "cannot be known from here",
    },
    Row {
        what: "the path takes no packet above 1000 bytes, and nobody says so",
        beside: "k",
        config: TRACED,
        before: FRESH,
        fault: &["exec r4 nft add rule inet firewall forward meta length > 1000 drop"],
        step: "tunnel",
        says: "failed: tunnel failed mtu_black_hole",
        ..ROW
    },
    Row {
        what: "each fourth packet is lost",
        beside: "k",
        config: TRACED,
        before: FRESH,
        fault: &["exec r4 nft add rule inet firewall forward numgen inc mod 4 == 3 drop"],
        says: "ok: ports ok",
        ..ROW
    },
    Row {
        what: "this host has no route",
        config: IPSEC,
        before: FRESH,
        fault: &["exec client ip route del default"],
        undo: &["exec client ip route add default via 192.0.2.1"],
        step: "route",
        says: "failed: route failed",
        ..ROW
    },
    Row {
        what: "the name does not exist",
        beside: "f",
        config: BY_NAME,
        before: &["stop strongswan", "start strongswan", "start unbound", "resolver 203.0.113.10"],
        fault: &["stop unbound", "start unbound only4"],
        undo: &["stop unbound", "start unbound"],
        step: "name",
        says: "failed: name failed nxdomain",
        ..ROW
    },
    Row {
        what: "our resolver does not answer",
        beside: "f",
        config: BY_NAME,
        before: FRESH,
        fault: &["stop unbound"],
        undo: &["start unbound"],
        step: "name",
        says: "unknown: name unknown",
        tells: "resolver",
    },
    Row {
        what: "the box has many half-open sessions, and asks for cookies: loaded, and alive",
        beside: "c",
        config: IPSEC,
        before: FRESH,
        fault: &[
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
        ],
        undo: &["stop strongswan", "start strongswan"],
        says: "ok: ports ok full_or_throttled",
        tells: "many half-open",
        ..ROW
    },
    Row {
        what: "the box has too many half-open sessions, and begins no other",
        beside: "c",
        config: IPSEC,
        before: FRESH,
        fault: &[
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
        ],
        undo: &["stop strongswan", "start strongswan"],
        step: "tunnel",
        says: "failed: tunnel failed session_limit",
        tells: "begins no new session",
    },
];
