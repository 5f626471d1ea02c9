//! What the kernel hands over: packets of raw ICMP sockets, and answers of netlink.

use vpnprobe::net::fuzz;

use crate::{Targets, canary, text_canary};

/// The targets here.
pub const TARGETS: Targets = &[("icmp_socket", icmp_socket), ("netlink", netlink)];

/// A packet of a raw ICMP socket: the family, then the packet.
pub fn icmp_socket(bytes: &[u8]) {
    let Some((family, packet)) = bytes.split_first() else { return };
    if let Some((token, quoted)) = fuzz::icmp(family & 1 != 0, packet) {
        canary(&token.to_be_bytes(), 8, 2);
        assert!(quoted.len() <= packet.len());
    }
}

/// A message of rtnetlink: what it is about, then the message.
pub fn netlink(bytes: &[u8]) {
    let Some((what, message)) = bytes.split_first() else { return };
    if what & 1 == 0 {
        if let Some(link) = fuzz::link(message) {
            text_canary(&link.name, 8, 2);
        }
    } else if let Ok(way) = fuzz::way(message)
        && let Some(prefix) = way.route
    {
        assert!(prefix.length() <= 128);
    }
}
