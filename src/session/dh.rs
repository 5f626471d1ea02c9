//! Diffie-Hellman key exchange (RFC 7296 §2.12, §3.4).
//!
//! Invariant: a public value of the peer is checked before anything is computed with it (RFC 6989,
//! RFC 8031 §3); secrets are wiped when dropped.

use std::fmt;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U256, U2048};
use p256::elliptic_curve::sec1::ToSec1Point;
use zeroize::{Zeroize, Zeroizing};

use crate::entropy::{Draw, Entropy};
use crate::wire::ike::Group;

/// The prime of the 2048-bit MODP group (RFC 3526 §3); its generator is 2.
const MODP_2048: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
    020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
    98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
    9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
    3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF";

/// One exchange's key pair.
pub(super) struct KeyPair {
    secret: Secret,
    public: Vec<u8>,
}

enum Secret {
    X25519(x25519_dalek::StaticSecret),
    Ecp256(p256::SecretKey),
    Ecp384(p384::SecretKey),
    Modp2048(Exponent),
}

/// A 256-bit exponent: more than twice the group's strength (RFC 3526 §8).
struct Exponent(U256);

impl Drop for Exponent {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("group", &self.group()).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// The groups it can be of, the most wanted first.
    pub(super) const GROUPS: [Group; 4] = [Group::X25519, Group::ECP_256, Group::ECP_384, Group::MODP_2048];

    /// Draws one of a group of [`Self::GROUPS`].
    pub(super) fn draw(group: Group, entropy: &mut dyn Entropy) -> Option<Self> {
        let len = match group {
            Group::X25519 | Group::ECP_256 | Group::MODP_2048 => 32,
            Group::ECP_384 => 48,
            _ => return None,
        };
        // A number beyond a curve's order is as rare as a broken generator is likely.
        (0..8).find_map(|_| Self::of(group, &Zeroizing::new(entropy.bytes(len))))
    }

    /// The pair of this secret, big-endian (X25519: as RFC 7748 has it).
    fn of(group: Group, secret: &[u8]) -> Option<Self> {
        Some(match group {
            Group::X25519 => {
                let secret = x25519_dalek::StaticSecret::from(<[u8; 32]>::try_from(secret).ok()?);
                let public = x25519_dalek::PublicKey::from(&secret).as_bytes().to_vec();
                Self { secret: Secret::X25519(secret), public }
            }
            Group::ECP_256 => {
                let secret = p256::SecretKey::from_slice(secret).ok()?;
                let public = secret.public_key().to_sec1_point(false).as_bytes().get(1..)?.to_vec();
                Self { secret: Secret::Ecp256(secret), public }
            }
            Group::ECP_384 => {
                let secret = p384::SecretKey::from_slice(secret).ok()?;
                let public = secret.public_key().to_sec1_point(false).as_bytes().get(1..)?.to_vec();
                Self { secret: Secret::Ecp384(secret), public }
            }
            Group::MODP_2048 => {
                let exponent = Exponent(U256::from_be_slice(<&[u8; 32]>::try_from(secret).ok()?));
                let public = power(&U2048::from_u8(2), &exponent).to_vec();
                Self { secret: Secret::Modp2048(exponent), public }
            }
            _ => return None,
        })
    }

    pub(super) const fn group(&self) -> Group {
        match self.secret {
            Secret::X25519(_) => Group::X25519,
            Secret::Ecp256(_) => Group::ECP_256,
            Secret::Ecp384(_) => Group::ECP_384,
            Secret::Modp2048(_) => Group::MODP_2048,
        }
    }

    /// What the KE payload carries.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret g^ir; nothing if the peer's value is none of the group, or a weak one.
    pub(super) fn agree(&self, theirs: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if theirs.len() != self.group().public_len()? {
            return None;
        }
        // Points go without the 04 of SEC 1 in a KE payload, and only x is the secret (RFC 5903 §7).
        let point = || [&[4], theirs].concat();
        Some(match &self.secret {
            Secret::X25519(secret) => {
                let theirs = x25519_dalek::PublicKey::from(<[u8; 32]>::try_from(theirs).ok()?);
                let shared = secret.diffie_hellman(&theirs);
                shared.was_contributory().then(|| Zeroizing::new(shared.as_bytes().to_vec()))?
            }
            Secret::Ecp256(secret) => {
                let theirs = p256::PublicKey::from_sec1_bytes(&point()).ok()?;
                Zeroizing::new(secret.diffie_hellman(&theirs).raw_secret_bytes().to_vec())
            }
            Secret::Ecp384(secret) => {
                let theirs = p384::PublicKey::from_sec1_bytes(&point()).ok()?;
                Zeroizing::new(secret.diffie_hellman(&theirs).raw_secret_bytes().to_vec())
            }
            Secret::Modp2048(exponent) => {
                let theirs = U2048::from_be_slice(theirs);
                let last = U2048::from_be_hex(MODP_2048).wrapping_sub(&U2048::ONE);
                if theirs <= U2048::ONE || theirs >= last {
                    return None;
                }
                Zeroizing::new(power(&theirs, exponent).to_vec())
            }
        })
    }
}

/// base^exponent in the 2048-bit group, padded to its length; takes the same time for all exponents.
fn power(base: &U2048, exponent: &Exponent) -> Zeroizing<[u8; 256]> {
    let params = FixedMontyParams::new_vartime(Odd::<U2048>::from_be_hex(MODP_2048));
    let result = FixedMontyForm::new(base, &params).pow(&exponent.0).retrieve();
    let mut bytes = Zeroizing::new([0; 256]);
    for (place, byte) in bytes.iter_mut().zip(result.to_be_bytes().as_ref()) {
        *place = *byte;
    }
    bytes
}

#[cfg(test)]
mod tests;
