//! A responder for the first message of `IKEv1` main mode.
//!
//! Invariant: pure; the table of half-open sessions is [`super::ike`]'s.
//! Sources: RFC 2408 §3.14, §4.5; RFC 2409 §5; RFC 3706 §5.1; RFC 3947 §3.1.

use md5::{Digest, Md5};

use super::Call;
use crate::entropy::Draw;
use crate::wire::ike::{ExchangeType, Group, Spi, flags};
use crate::wire::ikev1::{
    AttributeType, Authentication, Encryption, Hash, Message, NotifyType, Payload, Proposal, Transform,
};

/// Encryption algorithms that are accepted, with their key lengths in bits.
static ENCRYPTION: &[(Encryption, Option<u32>)] =
    &[(Encryption::AES_CBC, Some(256)), (Encryption::AES_CBC, Some(128)), (Encryption::TRIPLE_DES_CBC, None)];
static HASHES: &[Hash] = &[Hash::SHA, Hash::SHA2_256];
static METHODS: &[Authentication] = &[
    Authentication::PRE_SHARED_KEY,
    Authentication::RSA_SIGNATURES,
    Authentication::XAUTH_INIT_PRE_SHARED,
    Authentication::XAUTH_INIT_RSA,
];
static GROUPS: &[Group] = &[Group::MODP_2048, Group::MODP_1024];

/// The vendor id of dead peer detection, version 1.0 (RFC 3706 §5.1).
const DPD: [u8; 16] = *b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57\x01\x00";

/// The answer to a message, if there is one, and whether a session is half-open with it.
pub(super) fn answer(bytes: &[u8], call: &mut Call<'_>) -> Option<(Vec<u8>, bool)> {
    let header = crate::wire::ike::Header::decode(bytes).ok()?;
    if header.responder != Spi::ZERO || header.flags & flags::ENCRYPTION != 0 || header.message_id != 0 {
        return None;
    }
    let responder = Spi(call.entropy.array());
    let message_id = call.entropy.u32() | 1;
    let refuse = |kind| {
        let refusal = Message::informational(header.initiator, responder, message_id, kind);
        Some((refusal.to_bytes(), false))
    };
    match header.exchange {
        ExchangeType::ID_PROT => {}
        // Whoever answers it hands out what the pre-shared key can be guessed from.
        ExchangeType::AGGRESSIVE => return refuse(NotifyType::AUTHENTICATION_FAILED),
        ExchangeType::INFORMATIONAL_V1 => return None,
        _ => return refuse(NotifyType::INVALID_EXCHANGE_TYPE),
    }
    let Ok(message) = Message::decode(bytes) else {
        return refuse(NotifyType::PAYLOAD_MALFORMED);
    };
    let proposals = message.payloads.iter().find_map(|payload| match payload {
        Payload::Sa(proposals) => Some(proposals),
        _ => None,
    });
    let chosen = proposals.into_iter().flatten().find_map(|proposal| {
        let transform = proposal.transforms.iter().find(|transform| accepted(transform))?;
        Some(Proposal { transforms: vec![transform.clone()], ..proposal.clone() })
    });
    let Some(chosen) = chosen else {
        return refuse(NotifyType::NO_PROPOSAL_CHOSEN);
    };
    let mut xauth = Md5::digest(b"draft-ietf-ipsra-isakmp-xauth-06.txt").to_vec();
    xauth.truncate(8);
    let payloads = vec![
        Payload::Sa(vec![chosen]),
        Payload::VendorId(xauth),
        Payload::VendorId(DPD.to_vec()),
        Payload::VendorId(Md5::digest(b"RFC 3947").to_vec()),
    ];
    Some((Message::phase_1(header.initiator, responder, header.exchange, payloads).to_bytes(), true))
}

fn accepted(transform: &Transform) -> bool {
    let has = |kind, values: &[u16]| {
        transform.attribute(kind).is_some_and(|value| values.iter().any(|known| u32::from(*known) == value))
    };
    let encryption = ENCRYPTION.iter().any(|(id, bits)| {
        transform.attribute(AttributeType::ENCRYPTION) == Some(u32::from(id.0))
            && transform.attribute(AttributeType::KEY_LENGTH) == *bits
    });
    encryption
        && has(AttributeType::HASH, &HASHES.iter().map(|hash| hash.0).collect::<Vec<_>>())
        && has(AttributeType::AUTHENTICATION, &METHODS.iter().map(|method| method.0).collect::<Vec<_>>())
        && has(AttributeType::GROUP, &GROUPS.iter().map(|group| group.0).collect::<Vec<_>>())
}
