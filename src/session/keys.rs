//! From the shared secret to the keys of an IKE SA (RFC 7296 §2.13, §2.14), and to the proof that
//! somebody knows the pre-shared key (§2.15).

use std::fmt;

use zeroize::Zeroizing;

use crate::wire::ike::{Encr, Integ, Prf, Proposal, Protection, Spi, Transform, TransformType, hmac};

/// The algorithms of an IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suite {
    /// AES key length in bytes.
    key: usize,
    /// The pseudorandom function.
    prf: Prf,
    /// The integrity algorithm; none with AES-GCM.
    integ: Option<Integ>,
}

impl Suite {
    /// The suite of a proposal that has one transform of each type; nothing if we cannot do it.
    pub(super) fn of(chosen: &Proposal) -> Option<Self> {
        let only = |kind: TransformType| {
            let mut found = chosen.transforms.iter().filter(|transform| transform.kind == kind);
            found.next().filter(|_| found.next().is_none())
        };
        let encr = only(TransformType::ENCR)?;
        let prf = Prf(only(TransformType::PRF)?.id);
        prf_len(prf)?;
        let key = usize::from(encr.key_length()?) / 8;
        let integ = only(TransformType::INTEG).map(|transform| Integ(transform.id));
        let suite = match (Encr(encr.id), integ) {
            (Encr::AES_GCM_16, None | Some(Integ(0))) => Self { key, prf, integ: None },
            (Encr::AES_CBC, Some(integ)) => Self { key, prf, integ: Some(integ) },
            _ => return None,
        };
        suite.integ.is_none_or(|integ| integ_len(integ).is_some()).then_some(suite)
    }

    pub(super) const fn prf(&self) -> Prf {
        self.prf
    }
}

/// What is offered: AES-GCM first, then AES-CBC with HMAC-SHA2; every hash as PRF.
pub(super) fn offer(groups: &[crate::wire::ike::Group]) -> Vec<Proposal> {
    let prfs = [Prf::HMAC_SHA2_256, Prf::HMAC_SHA2_384, Prf::HMAC_SHA2_512];
    let integs = [Integ::HMAC_SHA2_256_128, Integ::HMAC_SHA2_384_192, Integ::HMAC_SHA2_512_256];
    let with = |encr: Encr, integs: &[Integ]| -> Vec<Transform> {
        [256, 128]
            .map(|bits| Transform::encr(encr, Some(bits)))
            .into_iter()
            .chain(prfs.map(Transform::prf))
            .chain(integs.iter().copied().map(Transform::integ))
            .chain(groups.iter().copied().map(Transform::dh))
            .collect()
    };
    vec![Proposal::ike(1, with(Encr::AES_GCM_16, &[])), Proposal::ike(2, with(Encr::AES_CBC, &integs))]
}

/// Output length of a pseudorandom function, in bytes.
const fn prf_len(prf: Prf) -> Option<usize> {
    match prf {
        Prf::HMAC_SHA1 => Some(20),
        Prf::HMAC_SHA2_256 => Some(32),
        Prf::HMAC_SHA2_384 => Some(48),
        Prf::HMAC_SHA2_512 => Some(64),
        _ => None,
    }
}

/// Key length of an integrity algorithm, in bytes.
const fn integ_len(integ: Integ) -> Option<usize> {
    match integ {
        Integ::HMAC_SHA1_96 => Some(20),
        Integ::HMAC_SHA2_256_128 => Some(32),
        Integ::HMAC_SHA2_384_192 => Some(48),
        Integ::HMAC_SHA2_512_256 => Some(64),
        _ => None,
    }
}

/// prf+ (§2.13): so many bytes.
fn prf_plus(prf: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(len + 64));
    let mut last = Zeroizing::new(Vec::new());
    for round in 1..=u8::MAX {
        if out.len() >= len {
            break;
        }
        let mut parts = vec![last.as_slice()];
        parts.extend(seed);
        let round = [round];
        parts.push(&round);
        last = hmac(prf, key, &parts)?;
        out.extend_from_slice(&last);
    }
    out.truncate(len);
    (out.len() == len).then_some(out)
}

/// What both ends have put into the key exchange.
pub(super) struct Ingredients<'a> {
    pub(super) nonce_i: &'a [u8],
    pub(super) nonce_r: &'a [u8],
    /// g^ir.
    pub(super) shared: &'a [u8],
    pub(super) spi_i: Spi,
    pub(super) spi_r: Spi,
}

/// The keys of an IKE SA; of `SK_d` nothing is ever derived here.
pub(super) struct Keys {
    /// What the initiator seals with.
    pub(super) of_initiator: Protection,
    /// What the responder seals with.
    pub(super) of_responder: Protection,
    pub(super) sk_pi: Zeroizing<Vec<u8>>,
    pub(super) sk_pr: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(withheld)")
    }
}

/// SKEYSEED and the seven keys (§2.14), in the order `SK_d` ai ar ei er pi pr.
fn seven(suite: Suite, from: &Ingredients<'_>) -> Option<[Zeroizing<Vec<u8>>; 7]> {
    let nonces = [from.nonce_i, from.nonce_r].concat();
    let skeyseed = hmac(suite.prf, &nonces, &[from.shared])?;
    let prf = prf_len(suite.prf)?;
    let mac = suite.integ.map_or(Some(0), integ_len)?;
    // AES-GCM takes a salt of four bytes from behind its key (RFC 5282 §7.1).
    let encr = suite.key + if suite.integ.is_none() { 4 } else { 0 };
    let lengths = [prf, mac, mac, encr, encr, prf, prf];
    let stream = prf_plus(
        suite.prf,
        &skeyseed,
        &[from.nonce_i, from.nonce_r, &from.spi_i.0, &from.spi_r.0],
        lengths.iter().sum(),
    )?;
    let mut rest = stream.as_slice();
    Some(lengths.map(|len| {
        let (key, after) = rest.split_at_checked(len).unwrap_or_default();
        rest = after;
        Zeroizing::new(key.to_vec())
    }))
}

impl Keys {
    pub(super) fn derive(suite: Suite, from: &Ingredients<'_>) -> Option<Self> {
        let [_, ai, ar, ei, er, sk_pi, sk_pr] = seven(suite, from)?;
        let protection = |encr: &[u8], mac: &[u8]| match suite.integ {
            None => Protection::gcm(encr),
            Some(integ) => Protection::cbc(encr, integ, mac),
        };
        Some(Self { of_initiator: protection(&ei, &ai)?, of_responder: protection(&er, &ar)?, sk_pi, sk_pr })
    }
}

/// The proof of a pre-shared key (§2.15): prf(prf(PSK, "Key Pad for IKEv2"), message | nonce |
/// prf(`SK_p`, identity)). `message` is the prover's own `IKE_SA_INIT` message, `nonce` the other end's.
pub(super) fn proof(
    prf: Prf,
    psk: &[u8],
    message: &[u8],
    nonce: &[u8],
    sk_p: &[u8],
    identity: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let key = hmac(prf, psk, &[b"Key Pad for IKEv2"])?;
    let macked = hmac(prf, sk_p, &[identity])?;
    hmac(prf, &key, &[message, nonce, &macked])
}

#[cfg(test)]
mod tests;
