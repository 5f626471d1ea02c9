//! The other end of an IKE SA, computed once: what a responder answers to the one `IKE_SA_INIT` request that
//! a session with this seed sends, and the keys that follow. A second implementation of RFC 7296 §2.13 to
//! §2.15, so that what both take for right is not merely the same mistake.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use vpnprobe::entropy::Generator;
use vpnprobe::session::{Action, Identity, Plan, Psk, Session};
use vpnprobe::time::Timestamp;
use vpnprobe::wire::ike::{
    AUTH_PSK, Body, Encr, ExchangeType, Group, Message, NON_ESP_MARKER, Notify, NotifyType, Payload,
    PayloadType, Prf, Proposal, Protection, Spi, Transform, Version, flags, write_auth,
};
use x25519_dalek::{PublicKey, StaticSecret};

const PSK: &[u8] = b"fuzz-psk";
const NONCE: [u8; 32] = [0x5a; 32];
const SPI: Spi = Spi([9; 8]);
/// When every session begins.
pub const BEGIN: Timestamp = Timestamp::from_secs(100);

/// What the responder has after the first exchange.
pub struct Responder {
    /// The initiator's SPI.
    pub initiator: Spi,
    /// Our own.
    pub responder: Spi,
    /// Its answer to `IKE_SA_INIT`, marker included.
    pub init: Vec<u8>,
    /// Its answer to `IKE_AUTH` with the right proof, marker included.
    pub auth: Vec<u8>,
    /// What it seals with.
    pub seals: Protection,
}

/// A new session, always the same.
pub fn session() -> Session {
    static PLAN: OnceLock<Arc<Plan>> = OnceLock::new();
    let second = Duration::from_secs(1);
    let plan = PLAN.get_or_init(|| {
        Arc::new(Plan {
            psk: Psk::from_text("fuzz-psk\n"),
            local: Identity::from_text("probe.example.test"),
            remote: Some(Identity::from_text("vpn.example.test")),
            interval: 10 * second,
            retransmit: vec![second, 2 * second, 4 * second],
        })
    });
    let peer = SocketAddr::from(([192, 0, 2, 1], Plan::PORT));
    Session::new(plan.clone(), peer, None, Box::new(Generator::seeded(3)), BEGIN).unwrap()
}

/// The responder of [`session`].
pub fn responder() -> &'static Responder {
    static RESPONDER: OnceLock<Responder> = OnceLock::new();
    RESPONDER.get_or_init(compute)
}

fn prf(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn prf_plus(key: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
    let (mut out, mut last) = (Vec::new(), Vec::new());
    for round in 1..=u8::MAX {
        last = prf(key, &[&last, seed, &[round]]);
        out.extend_from_slice(&last);
        if out.len() >= length {
            break;
        }
    }
    out.truncate(length);
    out
}

/// A datagram: the non-ESP marker and a message.
#[must_use]
pub fn marked(message: &[u8]) -> Vec<u8> {
    [&NON_ESP_MARKER, message].concat()
}

fn compute() -> Responder {
    let mut request = Vec::new();
    assert_eq!(session().poll(BEGIN, &mut request), Action::Send);
    let message = Message::decode(&request[4..]).unwrap();
    let (mut nonce, mut theirs) = (Vec::new(), Vec::new());
    for payload in &message.payloads {
        match &payload.body {
            Body::Nonce(data) => nonce.clone_from(data),
            Body::KeyExchange { group: Group::X25519, data } => theirs.clone_from(data),
            _ => {}
        }
    }
    let secret = StaticSecret::from([0x33; 32]);
    let shared = secret.diffie_hellman(&PublicKey::from(<[u8; 32]>::try_from(theirs).unwrap()));
    let chosen = vec![
        Transform::encr(Encr::AES_GCM_16, Some(128)),
        Transform::prf(Prf::HMAC_SHA2_256),
        Transform::dh(Group::X25519),
    ];
    let payloads: Vec<Payload> = vec![
        Body::Sa(vec![Proposal::ike(1, chosen)]).into(),
        Body::KeyExchange { group: Group::X25519, data: PublicKey::from(&secret).as_bytes().to_vec() }.into(),
        Body::Nonce(NONCE.to_vec()).into(),
        Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, []).into(),
    ];
    let init = Message::init_answer(message.initiator, SPI, payloads).to_bytes();

    let skeyseed = prf(&[&nonce[..], &NONCE].concat(), &[shared.as_bytes()]);
    let seed = [&nonce[..], &NONCE, &message.initiator.0, &SPI.0].concat();
    // SK_d 32, no SK_a, SK_ei and SK_er 16 and a salt of 4 each, SK_pi and SK_pr 32 each.
    let keys = prf_plus(&skeyseed, &seed, 32 + 20 + 20 + 32 + 32);
    let seals = Protection::gcm(&keys[52..72]).unwrap();
    let sk_pr = &keys[104..136];
    let id = Identity::from_text("vpn.example.test").to_bytes();
    let key = prf(PSK, &[b"Key Pad for IKEv2"]);
    let proof = prf(&key, &[&init, &nonce, &prf(sk_pr, &[&id])]);
    let answer = Message {
        initiator: message.initiator,
        responder: SPI,
        version: Version::V2,
        exchange: ExchangeType::IKE_AUTH,
        flags: flags::RESPONSE,
        message_id: 1,
        payloads: vec![
            Body::Other { kind: PayloadType::ID_R, data: id }.into(),
            write_auth(AUTH_PSK, &proof).into(),
        ],
    };
    let auth = marked(&seals.seal(&answer, &[0xee; 8]));
    Responder { initiator: message.initiator, responder: SPI, init: marked(&init), auth, seals }
}
