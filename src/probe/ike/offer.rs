//! What we offer: the decoy of the policy check, broad offers, and public values.
//!
//! The policy check ("KE decoy"): the site's proposals come first, with groups g; a last proposal that
//! nobody can accept (private-use encryption) has another group h, and the KE payload is of h. A
//! responder that accepts a proposal must then answer `INVALID_KE_PAYLOAD` with a g (RFC 7296 §1.3,
//! §3.4), one that accepts none `NO_PROPOSAL_CHOSEN`; neither computes anything or keeps any state.
//!
//! Invariant: no key is ever derived from a public value made here. Nobody knows its private value.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use super::proposal::Proposal;
pub(crate) use super::proposal::group as group_named;
use crate::entropy::{Draw, Entropy};
use crate::wire::ike::{
    Body, Encr, Group, Notify, NotifyType, Payload, Prf, Spi, Transform, nat_detection,
};
use crate::wire::ike::{self as wire};

/// Groups for the KE payload of a decoy, the ones every box knows first.
const DECOY_GROUPS: [Group; 9] = [
    Group::MODP_2048,
    Group::MODP_1024,
    Group::ECP_256,
    Group::MODP_1536,
    Group::X25519,
    Group::ECP_384,
    Group::MODP_3072,
    Group::MODP_4096,
    Group::ECP_521,
];

/// The offer when the site's own proposals are not known. Without group 2 as the first choice of
/// anything: that group is left to the decoy.
static BROAD: [&str; 2] = [
    "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-prfsha1\
     -modp2048-ecp256-ecp384-x25519-ecp521-modp3072-modp4096-modp1536",
    "aes256-aes192-aes128-3des-sha256-sha384-sha512-sha1\
     -modp2048-ecp256-ecp384-x25519-ecp521-modp3072-modp4096-modp1536",
];

/// The built-in offer; `weak` adds group 2.
pub(crate) fn broad(weak: bool) -> Arc<[Proposal]> {
    static OFFERS: LazyLock<[Arc<[Proposal]>; 2]> = LazyLock::new(|| {
        ["", "-modp1024"]
            .map(|tail| BROAD.iter().filter_map(|text| format!("{text}{tail}").parse().ok()).collect())
    });
    let [usual, with_weak] = &*OFFERS;
    Arc::clone(if weak { with_weak } else { usual })
}

/// A group that none of the proposals has.
pub(crate) fn decoy_group(proposals: &[Proposal]) -> Option<Group> {
    let taken = |group: &Group| proposals.iter().any(|proposal| proposal.groups().contains(group));
    DECOY_GROUPS.into_iter().find(|group| !taken(group))
}

/// The SA payload of the proposals, with a decoy of the group `decoy` behind them.
pub(crate) fn sa(proposals: &[Proposal], decoy: Option<Group>) -> Payload {
    let mut list: Vec<_> =
        (1..u8::MAX).zip(proposals).map(|(number, proposal)| proposal.to_wire(number)).collect();
    if let Some(group) = decoy {
        let number = u8::try_from(list.len() + 1).unwrap_or(u8::MAX);
        let transforms = vec![
            Transform::encr(Encr::DECOY, None),
            Transform::prf(Prf::HMAC_SHA2_256),
            Transform::dh(group),
        ];
        list.push(wire::Proposal::ike(number, transforms));
    }
    Body::Sa(list).into()
}

/// Random bytes, enough for a public value of any group; drawn once so that a second request may need
/// another group.
pub(crate) struct KeyPool(Vec<u8>);

impl KeyPool {
    /// Draws them.
    pub(crate) fn draw(entropy: &mut dyn Entropy) -> Self {
        Self(entropy.bytes(1024))
    }

    /// None, for an exchange that has no KE payload.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// The KE payload of a policy check, which no honest responder computes with: random bytes of the
    /// right length.
    pub(crate) fn decoy(&self, group: Group) -> Payload {
        Body::KeyExchange { group, data: self.bytes(group.public_len().unwrap_or(256)) }.into()
    }

    /// A KE payload with [`Self::public_value`].
    pub(crate) fn key_exchange(&self, group: Group) -> Payload {
        Body::KeyExchange { group, data: self.public_value(group) }.into()
    }

    /// A public value that a responder's checks let pass: of a NIST curve its base point, of X25519 a
    /// random one, of a MODP group a random square. Those primes begin with 64 one bits (RFC 2409 §6,
    /// RFC 3526 §2), so the square of a number of half their length is below them; and strongSwan's
    /// main and aggressive mode refuse values that are not squares.
    pub(crate) fn public_value(&self, group: Group) -> Vec<u8> {
        let len = group.public_len().unwrap_or(256);
        match group {
            Group::ECP_256 => ECP_256_BASE.to_vec(),
            Group::ECP_384 => ECP_384_BASE.to_vec(),
            Group::ECP_521 => ECP_521_BASE.to_vec(),
            Group::X25519 | Group::X448 => {
                // Little-endian (RFC 7748 §5).
                let mut value = self.bytes(len);
                if let Some(top) = value.last_mut() {
                    *top &= 0x3f;
                }
                value
            }
            _ => {
                let mut root = self.bytes(len / 2);
                if let Some(top) = root.first_mut() {
                    *top = (*top & 0x7f) | 0x40;
                }
                square(&root)
            }
        }
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        self.0.get(..len).unwrap_or(&self.0).to_vec()
    }
}

/// The square of a big-endian number, twice as long.
fn square(root: &[u8]) -> Vec<u8> {
    let mut sum = vec![0_u8; root.len() * 2];
    // As on paper, from the last digit on: shift by one digit for each digit of the multiplier.
    for (shift, factor) in root.iter().rev().enumerate() {
        let mut carry = 0_u16;
        let mut digits = root.iter().rev();
        for place in sum.iter_mut().rev().skip(shift) {
            // At most 255 + 255 * 255 + 255 = 65535.
            let product = u16::from(*factor) * u16::from(digits.next().copied().unwrap_or(0));
            let [high, low] = (u16::from(*place) + product + carry).to_be_bytes();
            *place = low;
            carry = u16::from(high);
        }
    }
    sum
}

/// The two NAT detection notifications of a request. Without a known local address the source hash is
/// over zeros, and the peer believes us to be behind NAT, which harms nothing.
pub(crate) fn nat_detection_of(spi: Spi, local: Option<SocketAddr>, peer: SocketAddr) -> [Payload; 2] {
    let source = local.map_or([0; 20], |local| nat_detection(spi, Spi::ZERO, local.ip(), local.port()));
    let destination = nat_detection(spi, Spi::ZERO, peer.ip(), peer.port());
    [
        Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source).into(),
        Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, destination).into(),
    ]
}

/// A random SPI; never zero (RFC 7296 §3.1).
pub(crate) fn draw_spi(entropy: &mut dyn Entropy) -> Spi {
    let mut spi: [u8; 8] = entropy.array();
    if spi == [0; 8] {
        spi = [1; 8];
    }
    Spi(spi)
}

/// The base point of P-256, x then y (SEC 2 §2.4.2, RFC 5903 §7).
static ECP_256_BASE: [u8; 64] = [
    0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5,
    0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0,
    0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2,
    0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
    0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68,
    0x37, 0xbf, 0x51, 0xf5,
];

/// The base point of P-384 (SEC 2 §2.5.1).
static ECP_384_BASE: [u8; 96] = [
    0xaa, 0x87, 0xca, 0x22, 0xbe, 0x8b, 0x05, 0x37, 0x8e, 0xb1, 0xc7, 0x1e,
    0xf3, 0x20, 0xad, 0x74, 0x6e, 0x1d, 0x3b, 0x62, 0x8b, 0xa7, 0x9b, 0x98,
    0x59, 0xf7, 0x41, 0xe0, 0x82, 0x54, 0x2a, 0x38, 0x55, 0x02, 0xf2, 0x5d,
    0xbf, 0x55, 0x29, 0x6c, 0x3a, 0x54, 0x5e, 0x38, 0x72, 0x76, 0x0a, 0xb7,
    0x36, 0x17, 0xde, 0x4a, 0x96, 0x26, 0x2c, 0x6f, 0x5d, 0x9e, 0x98, 0xbf,
    0x92, 0x92, 0xdc, 0x29, 0xf8, 0xf4, 0x1d, 0xbd, 0x28, 0x9a, 0x14, 0x7c,
    0xe9, 0xda, 0x31, 0x13, 0xb5, 0xf0, 0xb8, 0xc0, 0x0a, 0x60, 0xb1, 0xce,
    0x1d, 0x7e, 0x81, 0x9d, 0x7a, 0x43, 0x1d, 0x7c, 0x90, 0xea, 0x0e, 0x5f,
];

/// The base point of P-521 (SEC 2 §2.6.1).
static ECP_521_BASE: [u8; 132] = [
    0x00, 0xc6, 0x85, 0x8e, 0x06, 0xb7, 0x04, 0x04, 0xe9, 0xcd, 0x9e, 0x3e,
    0xcb, 0x66, 0x23, 0x95, 0xb4, 0x42, 0x9c, 0x64, 0x81, 0x39, 0x05, 0x3f,
    0xb5, 0x21, 0xf8, 0x28, 0xaf, 0x60, 0x6b, 0x4d, 0x3d, 0xba, 0xa1, 0x4b,
    0x5e, 0x77, 0xef, 0xe7, 0x59, 0x28, 0xfe, 0x1d, 0xc1, 0x27, 0xa2, 0xff,
    0xa8, 0xde, 0x33, 0x48, 0xb3, 0xc1, 0x85, 0x6a, 0x42, 0x9b, 0xf9, 0x7e,
    0x7e, 0x31, 0xc2, 0xe5, 0xbd, 0x66, 0x01, 0x18, 0x39, 0x29, 0x6a, 0x78,
    0x9a, 0x3b, 0xc0, 0x04, 0x5c, 0x8a, 0x5f, 0xb4, 0x2c, 0x7d, 0x1b, 0xd9,
    0x98, 0xf5, 0x44, 0x49, 0x57, 0x9b, 0x44, 0x68, 0x17, 0xaf, 0xbd, 0x17,
    0x27, 0x3e, 0x66, 0x2c, 0x97, 0xee, 0x72, 0x99, 0x5e, 0xf4, 0x26, 0x40,
    0xc5, 0x50, 0xb9, 0x01, 0x3f, 0xad, 0x07, 0x61, 0x35, 0x3c, 0x70, 0x86,
    0xa2, 0x72, 0xc2, 0x40, 0x88, 0xbe, 0x94, 0x76, 0x9f, 0xd1, 0x66, 0x50,
];


#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_as_on_paper() {
        assert_eq!(square(&[0xff]), [0xfe, 0x01]);
        assert_eq!(square(&[0x12, 0x34]), [0x01, 0x4b, 0x5a, 0x90]);
        assert_eq!(square(&[0xff; 3]), [0xff, 0xff, 0xfe, 0, 0, 1]);
    }
}
