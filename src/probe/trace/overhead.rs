//! What a path's MTU leaves inside each kind of tunnel: a pure table.
//!
//! ```text
//! ESP        outer IP | [UDP 8] | SPI, sequence 8 | IV | inner packet, padding, length 1, next 1 | ICV
//! L2TP       … | UDP 8 | L2TP 8 | PPP 4 | inner packet      in ESP transport mode: no second outer IP
//! OpenVPN    outer IP | UDP 8 | opcode and peer id 4 | packet id 4 | tag 16 | inner packet
//! WireGuard  outer IP | UDP 8 | type, receiver, counter 16 | inner packet | tag 16
//! ```
//! ESP: RFC 4303, 2 (padding to 4 bytes with AEAD, to the block with CBC: RFC 3602, 2; GCM: RFC 4106, 3;
//! SHA2-256-128: RFC 4868), RFC 3948 (UDP). L2TP: RFC 2661, 3.1 (flags, length, tunnel, session) and
//! RFC 1661 with both fields uncompressed. OpenVPN: P_DATA_V2 with an AEAD cipher. WireGuard: its paper,
//! 5.4.6; it pads the inner packet to 16 bytes, but never beyond the MTU.
//!
//! Invariant: a result is the largest inner IP packet that crosses whole.

use serde::Serialize;

use crate::words;

words! {
    /// A kind of tunnel with its usual ciphers.
    pub enum Tunnel {
        /// ESP, AES-GCM with a tag of 16 bytes.
        EspGcm = "esp_gcm",
        /// The same in UDP 4500.
        EspGcmNatt = "esp_gcm_natt",
        /// ESP, AES-CBC with HMAC-SHA2-256-128.
        EspCbc = "esp_cbc_sha256",
        /// The same in UDP 4500.
        EspCbcNatt = "esp_cbc_sha256_natt",
        /// L2TP in ESP transport mode in UDP 4500, AES-CBC with HMAC-SHA2-256-128.
        L2tpIpsec = "l2tp_ipsec_natt",
        /// OpenVPN over UDP with an AEAD cipher.
        Openvpn = "openvpn_udp",
        /// WireGuard.
        Wireguard = "wireguard",
    }
}

/// What fits into a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Inner {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// The largest inner IP packet, in bytes.
    pub mtu: u16,
    /// The MSS for TCP over IPv4 in it: 20 bytes of IP and 20 of TCP less.
    pub mss: u16,
}

const UDP: u16 = 8;

impl Tunnel {
    /// The largest inner IP packet on a path with this MTU, with an outer header of IPv4 or IPv6.
    #[must_use]
    pub fn inner_mtu(self, path: u16, outer_v6: bool) -> u16 {
        let payload = path.saturating_sub(if outer_v6 { 40 } else { 20 });
        match self {
            Self::EspGcm => esp(payload, 8, 4, 16),
            Self::EspGcmNatt => esp(payload.saturating_sub(UDP), 8, 4, 16),
            Self::EspCbc => esp(payload, 16, 16, 16),
            Self::EspCbcNatt => esp(payload.saturating_sub(UDP), 16, 16, 16),
            // Transport mode: what ESP carries is the UDP datagram of L2TP, without an IP header.
            Self::L2tpIpsec => esp(payload.saturating_sub(UDP), 16, 16, 16).saturating_sub(UDP + 8 + 4),
            Self::Openvpn => payload.saturating_sub(UDP + 4 + 4 + 16),
            Self::Wireguard => payload.saturating_sub(UDP + 16 + 16),
        }
    }
}

/// What ESP carries in so many bytes behind the outer header: the ciphertext is a multiple of `block` and
/// ends in two bytes of its own.
fn esp(payload: u16, iv: u16, block: u16, icv: u16) -> u16 {
    let cipher = payload.saturating_sub(8 + iv + icv);
    (cipher - cipher % block).saturating_sub(2)
}

/// What fits into each kind of tunnel on a path with this MTU.
#[must_use]
pub fn inner(path: u16, outer_v6: bool) -> Vec<Inner> {
    let row = |tunnel: &Tunnel| {
        let mtu = tunnel.inner_mtu(path, outer_v6);
        Inner { tunnel: *tunnel, mtu, mss: mtu.saturating_sub(40) }
    };
    Tunnel::ALL.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the project's protocol facts (section H5), which was computed from the RFCs' formulas
    /// apart from this code. WireGuard: wg-quick's 1420 is the IPv6 figure.
    #[test]
    fn the_usual_paths() {
        for (path, expected) in [
            (1500, [1446, 1438, 1438, 1422, 1402, 1448, 1440]),
            (1492, [1438, 1430, 1422, 1422, 1402, 1440, 1432]),
            (1454, [1398, 1390, 1390, 1374, 1354, 1402, 1394]),
        ] {
            let row: Vec<u16> = inner(path, false).iter().map(|it| it.mtu).collect();
            assert_eq!(row, expected, "{path}");
        }
        assert_eq!(Tunnel::Wireguard.inner_mtu(1500, true), 1420);
    }

    /// By construction: the outer packet of the result fits, and that of one byte more does not.
    #[test]
    fn a_byte_more_would_not_fit() {
        let outer = |inner: u16, iv: u16, block: u16, icv: u16| {
            20 + 8 + iv + (inner + 2).div_ceil(block) * block + icv
        };
        for path in 576..=1500 {
            for (tunnel, iv, block) in [(Tunnel::EspGcm, 8, 4), (Tunnel::EspCbc, 16, 16)] {
                let inner = tunnel.inner_mtu(path, false);
                assert!(outer(inner, iv, block, 16) <= path && outer(inner + 1, iv, block, 16) > path);
            }
        }
    }

    #[test]
    fn no_path_is_too_small_to_compute() {
        for path in [0, 1, 20, 60, u16::MAX] {
            assert_eq!(inner(path, true).len(), Tunnel::ALL.len());
        }
    }
}
