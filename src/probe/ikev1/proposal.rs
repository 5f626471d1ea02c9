//! A phase 1 suite in the spelling of strongSwan, for example `aes256-sha256-modp2048`.
//!
//! Invariant: what `Display` prints, `FromStr` reads as the same value.

use std::fmt;
use std::str::FromStr;

use crate::probe::ike::offer::group_named;
use crate::wire::ike::{Attribute, Group};
use crate::wire::ikev1::{
    AttributeType, Authentication, Encryption, Hash, KEY_IKE, Transform, lifetime,
};

/// One suite of phase 1, without the authentication method: all usual ones are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    encryption: Encryption,
    bits: Option<u16>,
    hash: Hash,
    group: Group,
}

/// Why a text is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// A part between two hyphens is no algorithm of `IKEv1` known here.
    #[error(
        "unknown algorithm `{part}` for IKEv1: known are aes128, aes192, aes256, 3des, des; \
         md5, sha1, sha256, sha384, sha512; modp1024, modp1536, modp2048, ecp256 and so on"
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
    /// Two of a type: a suite of `IKEv1` has exactly one of each.
    #[error("`{part}` is a second {what}: an IKEv1 proposal has exactly one, write two proposals")]
    Second {
        /// The second one.
        part: String,
        /// Which type.
        what: &'static str,
    },
}

static CIPHERS: &[(&str, Encryption, Option<u16>)] = &[
    ("aes128", Encryption::AES_CBC, Some(128)),
    ("aes192", Encryption::AES_CBC, Some(192)),
    ("aes256", Encryption::AES_CBC, Some(256)),
    ("aes", Encryption::AES_CBC, Some(128)),
    ("3des", Encryption::TRIPLE_DES_CBC, None),
    ("des", Encryption::DES_CBC, None),
];

static HASHES: &[(&str, Hash)] = &[
    ("md5", Hash::MD5),
    ("sha1", Hash::SHA),
    ("sha", Hash::SHA),
    ("sha256", Hash::SHA2_256),
    ("sha2_256", Hash::SHA2_256),
    ("sha384", Hash::SHA2_384),
    ("sha2_384", Hash::SHA2_384),
    ("sha512", Hash::SHA2_512),
    ("sha2_512", Hash::SHA2_512),
];

fn set<T>(slot: &mut Option<T>, value: T, part: &str, what: &'static str) -> Result<(), ProposalError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ProposalError::Second { part: part.to_owned(), what }),
    }
}

impl FromStr for Proposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let (mut cipher, mut hash, mut group) = (None, None, None);
        for part in text.trim().split('-') {
            let name = part.trim().to_ascii_lowercase();
            if let Some((_, id, bits)) = CIPHERS.iter().find(|(known, ..)| *known == name) {
                set(&mut cipher, (*id, *bits), part, "encryption algorithm")?;
            } else if let Some((_, id)) = HASHES.iter().find(|(known, _)| *known == name) {
                set(&mut hash, *id, part, "hash")?;
            } else if let Some(id) = group_named(&name) {
                set(&mut group, id, part, "group")?;
            } else {
                return Err(ProposalError::Unknown { part: part.to_owned() });
            }
        }
        let missing = |what, example| ProposalError::Missing { what, example };
        let (encryption, bits) = cipher.ok_or(missing("encryption algorithm", "aes256"))?;
        let hash = hash.ok_or(missing("hash", "sha256"))?;
        let group = group.ok_or(missing("Diffie-Hellman group", "modp2048"))?;
        Ok(Self { encryption, bits, hash, group })
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = CIPHERS.iter().find(|(_, id, bits)| (*id, *bits) == (self.encryption, self.bits));
        let cipher = match (known, self.bits) {
            (Some((name, ..)), _) => (*name).to_owned(),
            (None, Some(bits)) => format!("encryption{}_{bits}", self.encryption.0),
            (None, None) => format!("encryption{}", self.encryption.0),
        };
        f.pad(&format!("{cipher}-{}-{}", self.hash, self.group))
    }
}

/// A phase 1 lifetime that boxes commonly accept, in seconds.
const LIFETIME: u32 = 28_800;

impl Proposal {
    /// Its group.
    pub(super) const fn group(self) -> Group {
        self.group
    }

    /// As one transform of the SA payload, with this number and method (RFC 2409 appendix A).
    #[must_use]
    pub fn to_wire(self, number: u8, method: Authentication) -> Transform {
        let mut attributes = vec![Attribute::short(AttributeType::ENCRYPTION.0, self.encryption.0)];
        attributes.extend(self.bits.map(|bits| Attribute::short(AttributeType::KEY_LENGTH.0, bits)));
        attributes.extend([
            Attribute::short(AttributeType::HASH.0, self.hash.0),
            Attribute::short(AttributeType::AUTHENTICATION.0, method.0),
            Attribute::short(AttributeType::GROUP.0, self.group.0),
        ]);
        attributes.extend(lifetime(LIFETIME));
        Transform { number, id: KEY_IKE, attributes }
    }

    /// What a transform says; numbers unknown here are printed as such, missing ones as 0.
    #[must_use]
    pub fn from_wire(transform: &Transform) -> Self {
        let value = |kind| transform.attribute(kind).and_then(|value| u16::try_from(value).ok());
        Self {
            encryption: Encryption(value(AttributeType::ENCRYPTION).unwrap_or(0)),
            bits: value(AttributeType::KEY_LENGTH),
            hash: Hash(value(AttributeType::HASH).unwrap_or(0)),
            group: Group(value(AttributeType::GROUP).unwrap_or(0)),
        }
    }

    /// A suite that no honest box accepts, so that asking leaves nothing behind: encryption of the
    /// private range.
    pub(super) const fn unacceptable() -> Self {
        Self { encryption: Encryption::PRIVATE_USE, bits: None, hash: Hash::SHA, group: Group::MODP_1024 }
    }
}
