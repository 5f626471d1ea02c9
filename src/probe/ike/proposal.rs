//! An IKE proposal in the spelling of strongSwan, for example `aes256-sha256-modp2048`.
//!
//! Invariant: what `Display` prints, `FromStr` reads as the same value.

use std::fmt;
use std::str::FromStr;

use crate::wire::ike as wire;
use crate::wire::ike::{Encr, Group, Integ, Prf, Transform};

/// Algorithms of each type; the peer chooses one of each. Never without encryption, pseudorandom
/// function and group; integrity algorithms exactly if the encryption is no AEAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    encr: Vec<Cipher>,
    integ: Vec<Integ>,
    prf: Vec<Prf>,
    groups: Vec<Group>,
}

/// An encryption algorithm and, if it has several, its key length in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cipher {
    id: Encr,
    bits: Option<u16>,
}

impl Cipher {
    const fn aead(self) -> bool {
        matches!(
            self.id,
            Encr::AES_GCM_8 | Encr::AES_GCM_12 | Encr::AES_GCM_16 | Encr::CHACHA20_POLY1305
        )
    }
}

const fn cipher(id: Encr, bits: u16) -> Cipher {
    Cipher { id, bits: if bits == 0 { None } else { Some(bits) } }
}

/// Spellings; the first of several for the same algorithm is the one printed.
static CIPHERS: &[(&str, Cipher)] = &[
    ("aes128", cipher(Encr::AES_CBC, 128)),
    ("aes192", cipher(Encr::AES_CBC, 192)),
    ("aes256", cipher(Encr::AES_CBC, 256)),
    ("aes", cipher(Encr::AES_CBC, 128)),
    ("aes128ctr", cipher(Encr::AES_CTR, 128)),
    ("aes192ctr", cipher(Encr::AES_CTR, 192)),
    ("aes256ctr", cipher(Encr::AES_CTR, 256)),
    ("aes128gcm16", cipher(Encr::AES_GCM_16, 128)),
    ("aes192gcm16", cipher(Encr::AES_GCM_16, 192)),
    ("aes256gcm16", cipher(Encr::AES_GCM_16, 256)),
    ("aes128gcm", cipher(Encr::AES_GCM_16, 128)),
    ("aes192gcm", cipher(Encr::AES_GCM_16, 192)),
    ("aes256gcm", cipher(Encr::AES_GCM_16, 256)),
    ("aes128gcm12", cipher(Encr::AES_GCM_12, 128)),
    ("aes256gcm12", cipher(Encr::AES_GCM_12, 256)),
    ("aes128gcm8", cipher(Encr::AES_GCM_8, 128)),
    ("aes256gcm8", cipher(Encr::AES_GCM_8, 256)),
    ("chacha20poly1305", cipher(Encr::CHACHA20_POLY1305, 0)),
    ("3des", cipher(Encr::TRIPLE_DES, 0)),
    ("des", cipher(Encr::DES, 0)),
];

static INTEGRITY: &[(&str, Integ, Prf)] = &[
    ("sha1", Integ::HMAC_SHA1_96, Prf::HMAC_SHA1),
    ("sha", Integ::HMAC_SHA1_96, Prf::HMAC_SHA1),
    ("sha256", Integ::HMAC_SHA2_256_128, Prf::HMAC_SHA2_256),
    ("sha2_256", Integ::HMAC_SHA2_256_128, Prf::HMAC_SHA2_256),
    ("sha384", Integ::HMAC_SHA2_384_192, Prf::HMAC_SHA2_384),
    ("sha2_384", Integ::HMAC_SHA2_384_192, Prf::HMAC_SHA2_384),
    ("sha512", Integ::HMAC_SHA2_512_256, Prf::HMAC_SHA2_512),
    ("sha2_512", Integ::HMAC_SHA2_512_256, Prf::HMAC_SHA2_512),
    ("md5", Integ::HMAC_MD5_96, Prf::HMAC_MD5),
];

static PRFS: &[Prf] =
    &[Prf::HMAC_SHA1, Prf::HMAC_SHA2_256, Prf::HMAC_SHA2_384, Prf::HMAC_SHA2_512, Prf::HMAC_MD5];

static GROUPS: &[Group] = &[
    Group::MODP_768,
    Group::MODP_1024,
    Group::MODP_1536,
    Group::MODP_2048,
    Group::MODP_3072,
    Group::MODP_4096,
    Group::MODP_6144,
    Group::MODP_8192,
    Group::ECP_256,
    Group::ECP_384,
    Group::ECP_521,
    Group::X25519,
    Group::X448,
];

/// The group of that name; `curve25519` is `x25519`.
pub(crate) fn group(name: &str) -> Option<Group> {
    match name {
        "curve25519" => Some(Group::X25519),
        "curve448" => Some(Group::X448),
        _ => GROUPS.iter().copied().find(|group| group.name() == Some(name)),
    }
}

/// Why a text is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// A part between two hyphens is no algorithm known here.
    #[error(
        "unknown algorithm `{part}`: known are, for example, aes128, aes256, aes256gcm16, \
         chacha20poly1305, 3des; sha1, sha256, sha384, sha512; prfsha256; modp1024, modp2048, ecp256, x25519"
    )]
    Unknown {
        /// The part.
        part: String,
    },
    /// A type of algorithm is missing.
    #[error("no {what}, for example `{example}`")]
    Missing {
        /// Which type.
        what: &'static str,
        /// One of that type.
        example: &'static str,
    },
    /// Encryption with and without built-in integrity in one proposal.
    #[error("`{aead}` has integrity of its own and cannot stand beside `{plain}`: make two proposals")]
    Mixed {
        /// The one with.
        aead: String,
        /// The one without.
        plain: String,
    },
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

impl FromStr for Proposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let missing = |what, example| ProposalError::Missing { what, example };
        let mut proposal =
            Self { encr: Vec::new(), integ: Vec::new(), prf: Vec::new(), groups: Vec::new() };
        let mut derived = Vec::new();
        for part in text.trim().split('-') {
            let name = part.trim().to_ascii_lowercase();
            if let Some((_, cipher)) = CIPHERS.iter().find(|(known, _)| *known == name) {
                add(&mut proposal.encr, *cipher);
            } else if let Some((_, integ, prf)) = INTEGRITY.iter().find(|(known, ..)| *known == name) {
                add(&mut proposal.integ, *integ);
                add(&mut derived, *prf);
            } else if let Some(prf) = PRFS.iter().find(|prf| prf.name() == Some(name.as_str())) {
                add(&mut proposal.prf, *prf);
            } else if let Some(group) = group(&name) {
                add(&mut proposal.groups, group);
            } else {
                return Err(ProposalError::Unknown { part: part.to_owned() });
            }
        }
        let first = *proposal.encr.first().ok_or(missing("encryption algorithm", "aes256"))?;
        if let Some(other) = proposal.encr.iter().copied().find(|cipher| cipher.aead() != first.aead()) {
            let (aead, plain) = if first.aead() { (first, other) } else { (other, first) };
            return Err(ProposalError::Mixed { aead: aead.to_string(), plain: plain.to_string() });
        }
        // As strongSwan does: a hash names the pseudorandom function too, and beside an AEAD only that.
        if proposal.prf.is_empty() {
            proposal.prf = derived;
        }
        if first.aead() {
            proposal.integ.clear();
            if proposal.prf.is_empty() {
                return Err(missing("pseudorandom function", "prfsha256"));
            }
        } else if proposal.integ.is_empty() {
            return Err(missing("integrity algorithm", "sha256"));
        }
        if proposal.groups.is_empty() {
            return Err(missing("Diffie-Hellman group", "modp2048"));
        }
        Ok(proposal)
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (CIPHERS.iter().find(|(_, known)| known == self), self.bits) {
            (Some((name, _)), _) => f.pad(name),
            (None, Some(bits)) => write!(f, "encr{}_{bits}", self.id.0),
            (None, None) => write!(f, "encr{}", self.id.0),
        }
    }
}

fn derived(integ: Integ) -> Option<Prf> {
    INTEGRITY.iter().find(|(_, known, _)| *known == integ).map(|(.., prf)| *prf)
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.encr.iter().map(ToString::to_string).collect();
        parts.extend(self.integ.iter().map(|integ| word(integ.name(), "integ", integ.0)));
        if !self.integ.iter().copied().map(derived).eq(self.prf.iter().copied().map(Some)) {
            parts.extend(self.prf.iter().map(|prf| word(prf.name(), "prf", prf.0)));
        }
        parts.extend(self.groups.iter().map(|group| word(group.name(), "group", group.0)));
        f.pad(&parts.join("-"))
    }
}

fn word(name: Option<&str>, kind: &str, number: u16) -> String {
    name.map_or_else(|| format!("{kind}{number}"), str::to_owned)
}

impl Proposal {
    /// Its groups, in order.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// As the SA payload has it (RFC 7296 §3.3).
    #[must_use]
    pub fn to_wire(&self, number: u8) -> wire::Proposal {
        let encr = self.encr.iter().map(|cipher| Transform::encr(cipher.id, cipher.bits));
        let transforms = encr
            .chain(self.prf.iter().map(|prf| Transform::prf(*prf)))
            .chain(self.integ.iter().map(|integ| Transform::integ(*integ)))
            .chain(self.groups.iter().map(|group| Transform::dh(*group)))
            .collect();
        wire::Proposal::ike(number, transforms)
    }

    /// What an SA payload says; algorithms unknown here are printed by their numbers.
    #[must_use]
    pub fn from_wire(proposal: &wire::Proposal) -> Self {
        let mut known = Self { encr: Vec::new(), integ: Vec::new(), prf: Vec::new(), groups: Vec::new() };
        for transform in &proposal.transforms {
            match transform.kind {
                wire::TransformType::ENCR => {
                    known.encr.push(Cipher { id: Encr(transform.id), bits: transform.key_length() });
                }
                wire::TransformType::PRF => known.prf.push(Prf(transform.id)),
                wire::TransformType::INTEG => known.integ.push(Integ(transform.id)),
                wire::TransformType::DH => known.groups.push(Group(transform.id)),
                _ => {}
            }
        }
        known
    }
}
