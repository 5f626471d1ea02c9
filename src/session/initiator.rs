//! The two exchanges that set an IKE SA up (RFC 7296 §1.2), from the initiator's side.
//!
//! Invariants: what an unprotected answer refuses is a hint and never ends the attempt by itself
//! (§2.21.1); a responder may make us ask again [`Opening::PATIENCE`] times at the most.

use std::net::SocketAddr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::dh::KeyPair;
use super::keys::{Ingredients, Keys, Suite, offer, proof};
use super::sa::Sa;
use super::{Plan, Teardown};
use crate::entropy::{Draw, Entropy};
use crate::wire::ike::{
    AUTH_PSK, Body, Encr, Identity, Message, Notify, NotifyType, Payload, PayloadType, Prf, Proposal,
    ProtocolId, Spi, Transform, TransformType, nat_detection, read_auth, write_auth,
};

/// `IKE_SA_INIT`, asked and not answered yet.
#[derive(Debug)]
pub(super) struct Opening {
    spi: Spi,
    nonce: Vec<u8>,
    pair: KeyPair,
    cookie: Option<Vec<u8>>,
    asked_again: u8,
    offer: Vec<Proposal>,
    /// The request as it was sent last: AUTH covers it.
    request: Vec<u8>,
    nat: [Payload; 2],
}

/// What an answer to `IKE_SA_INIT` means.
#[derive(Debug)]
pub(super) enum Opened {
    /// Send the request again, as it is now.
    Again,
    /// The keys are there; the proof is next.
    Keyed(Box<(Sa, Proving)>),
    /// Keep waiting: it may be forged.
    Hint(Teardown),
}

impl Opening {
    /// How often a responder may ask for a cookie or another group.
    const PATIENCE: u8 = 4;

    pub(super) fn new(
        peer: SocketAddr,
        local: Option<SocketAddr>,
        entropy: &mut dyn Entropy,
    ) -> Option<Self> {
        let mut spi: [u8; 8] = entropy.array();
        if spi == [0; 8] {
            spi = [1; 8]; // §3.1: never zero
        }
        let spi = Spi(spi);
        // Without a known address the hash is over nothing, and the peer believes us behind NAT.
        let source = local.map_or([0; 20], |local| nat_detection(spi, Spi::ZERO, local.ip(), local.port()));
        let destination = nat_detection(spi, Spi::ZERO, peer.ip(), peer.port());
        let mut opening = Self {
            spi,
            nonce: entropy.bytes(32),
            pair: KeyPair::draw(KeyPair::GROUPS.first().copied()?, entropy)?,
            cookie: None,
            asked_again: 0,
            offer: offer(&KeyPair::GROUPS),
            request: Vec::new(),
            nat: [
                Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source).into(),
                Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, destination).into(),
            ],
        };
        opening.build();
        Some(opening)
    }

    pub(super) const fn spi(&self) -> Spi {
        self.spi
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    fn build(&mut self) {
        let cookie = self.cookie.clone().map(|cookie| Notify::new(NotifyType::COOKIE, cookie).into());
        let fixed = [
            Body::Sa(self.offer.clone()).into(),
            Body::KeyExchange { group: self.pair.group(), data: self.pair.public().to_vec() }.into(),
            Body::Nonce(self.nonce.clone()).into(),
        ];
        let fragments = Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, []).into();
        let payloads = cookie.into_iter().chain(fixed).chain(self.nat.clone()).chain([fragments]);
        self.request = Message::init_request(self.spi, payloads.collect()).to_bytes();
    }

    /// Takes a message that the header says is an answer to this `IKE_SA_INIT`.
    pub(super) fn answer(&mut self, bytes: &[u8], entropy: &mut dyn Entropy) -> Opened {
        let Ok(message) = Message::decode(bytes) else { return Opened::Hint(Teardown::Refused) };
        if message.proposals().is_some() {
            return self.keyed(&message, bytes).map_or(Opened::Hint(Teardown::Refused), Opened::Keyed);
        }
        let again = self.asked_again < Self::PATIENCE;
        if let (Some(cookie), true) = (message.notify(NotifyType::COOKIE), again)
            && (1..=64).contains(&cookie.data.len())
        {
            self.cookie = Some(cookie.data.clone());
            return self.again();
        }
        let wanted = message.notify(NotifyType::INVALID_KE_PAYLOAD).and_then(Notify::wanted_group);
        if let (Some(group), true) = (wanted, again)
            && group != self.pair.group()
            && let Some(pair) = KeyPair::draw(group, entropy)
        {
            self.pair = pair;
            return self.again();
        }
        Opened::Hint(Teardown::Refused)
    }

    fn again(&mut self) -> Opened {
        self.asked_again += 1;
        self.build();
        Opened::Again
    }

    fn keyed(&self, message: &Message, bytes: &[u8]) -> Option<Box<(Sa, Proving)>> {
        let [chosen] = message.proposals()? else { return None };
        let offered = self.offer.iter().find(|ours| ours.number == chosen.number)?;
        let ours = |transform: &Transform| {
            // An AEAD may come with an integrity algorithm of "none" (§3.3).
            offered.transforms.contains(transform)
                || transform.kind == TransformType::INTEG && transform.id == 0
        };
        if chosen.protocol != ProtocolId::IKE || !chosen.transforms.iter().all(ours) {
            return None;
        }
        if !chosen.transforms.contains(&Transform::dh(self.pair.group())) {
            return None;
        }
        let suite = Suite::of(chosen)?;
        let theirs = message.payloads.iter().find_map(|payload| match &payload.body {
            Body::KeyExchange { group, data } if *group == self.pair.group() => Some(data),
            _ => None,
        })?;
        let nonce = message.payloads.iter().find_map(|payload| match &payload.body {
            Body::Nonce(nonce) if (16..=256).contains(&nonce.len()) => Some(nonce.clone()),
            _ => None,
        })?;
        if message.responder == Spi::ZERO {
            return None;
        }
        let shared = self.pair.agree(theirs)?;
        let from = Ingredients {
            nonce_i: &self.nonce,
            nonce_r: &nonce,
            shared: &shared,
            spi_i: self.spi,
            spi_r: message.responder,
        };
        let Keys { of_initiator, of_responder, sk_pi, sk_pr } = Keys::derive(suite, &from)?;
        let sa = Sa::new(self.spi, message.responder, of_initiator, of_responder);
        let proving = Proving {
            prf: suite.prf(),
            sk_pi,
            sk_pr,
            nonce_i: self.nonce.clone(),
            nonce_r: nonce,
            first: self.request.clone(),
            second: bytes.to_vec(),
            childless: message.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED).is_some(),
        };
        Some(Box::new((sa, proving)))
    }
}

/// What both proofs are computed from (§2.15).
pub(super) struct Proving {
    prf: Prf,
    sk_pi: Zeroizing<Vec<u8>>,
    sk_pr: Zeroizing<Vec<u8>>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// Our `IKE_SA_INIT` message, the one that was answered.
    first: Vec<u8>,
    /// The responder's.
    second: Vec<u8>,
    childless: bool,
}

impl std::fmt::Debug for Proving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proving").field("childless", &self.childless).finish_non_exhaustive()
    }
}

/// What the answer to `IKE_AUTH` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proved {
    /// The responder is who it should be. With the lifetime it grants, in seconds (RFC 4478).
    Good { lifetime: Option<u32> },
    /// It is not, and must be told (§2.21.2).
    Unverified,
    /// It has ended the attempt itself.
    Over(Teardown),
}

impl Proving {
    /// Whether the SA will have no child by agreement.
    pub(super) const fn childless(&self) -> bool {
        self.childless
    }

    /// The payloads of `IKE_AUTH`.
    pub(super) fn request(&self, plan: &Plan, entropy: &mut dyn Entropy) -> Option<Vec<Payload>> {
        let local = plan.local.to_bytes();
        let auth = proof(self.prf, plan.psk.bytes(), &self.first, &self.nonce_r, &self.sk_pi, &local)?;
        let other = |kind, data| Payload::from(Body::Other { kind, data });
        let mut payloads = vec![other(PayloadType::ID_I, local)];
        if let Some(remote) = &plan.remote {
            payloads.push(other(PayloadType::ID_R, remote.to_bytes()));
        }
        payloads.push(write_auth(AUTH_PSK, &auth).into());
        if !self.childless {
            // A child must be asked for, and shall be refused: the IKE SA stays (§1.2, §2.21.2).
            let transforms = vec![
                Transform::encr(Encr::DECOY, None),
                Transform { kind: TransformType::ESN, id: 0, attributes: Vec::new() },
            ];
            let spi = entropy.bytes(4);
            let child = Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms };
            payloads.push(Body::Sa(vec![child]).into());
            payloads.push(other(PayloadType::TS_I, everything()));
            payloads.push(other(PayloadType::TS_R, everything()));
        }
        Some(payloads)
    }

    /// Takes the opened answer.
    pub(super) fn judge(&self, message: &Message, plan: &Plan) -> Proved {
        let bodies = |wanted: PayloadType| {
            message.payloads.iter().find_map(move |payload| match &payload.body {
                Body::Other { kind, data } if *kind == wanted => Some(data.as_slice()),
                _ => None,
            })
        };
        let (Some(id), Some(auth)) = (bodies(PayloadType::ID_R), bodies(PayloadType::AUTH)) else {
            let refusal = message.notifies().find(|notify| notify.kind.is_error());
            return match refusal.map(|notify| notify.kind) {
                Some(NotifyType::AUTHENTICATION_FAILED) => Proved::Over(Teardown::AuthFailed),
                Some(_) => Proved::Over(Teardown::Refused),
                None => Proved::Unverified,
            };
        };
        if !self.verified(plan, id, auth) {
            return Proved::Unverified;
        }
        let lifetime = message
            .notify(NotifyType::AUTH_LIFETIME)
            .and_then(|notify| notify.data.as_slice().try_into().ok())
            .map(u32::from_be_bytes);
        Proved::Good { lifetime }
    }

    fn verified(&self, plan: &Plan, id: &[u8], auth: &[u8]) -> bool {
        let expected = proof(self.prf, plan.psk.bytes(), &self.second, &self.nonce_i, &self.sk_pr, id);
        let (Some(expected), Ok((AUTH_PSK, proof))) = (expected, read_auth(auth)) else { return false };
        let known = match &plan.remote {
            None => true,
            Some(remote) => Identity::decode(id).is_ok_and(|identity| identity == *remote),
        };
        known && bool::from(expected.ct_eq(proof))
    }
}

/// A traffic selector payload's body for every IPv4 packet (§3.13).
fn everything() -> Vec<u8> {
    // One selector: type 7 (IPv4 range), any protocol, length 16, ports 0 to 65535.
    let mut body = vec![1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 0xff, 0xff];
    body.extend([0, 0, 0, 0, 255, 255, 255, 255]);
    body
}
