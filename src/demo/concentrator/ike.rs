//! A responder for the first exchange of `IKEv2`, and the door to the one of `IKEv1`.
//!
//! ```text
//! version above 2 ─▶ INVALID_MAJOR_VERSION      no proposal fits ─▶ NO_PROPOSAL_CHOSEN
//! too many half-open ─▶ COOKIE, then silence    other group      ─▶ INVALID_KE_PAYLOAD
//!                                               else             ─▶ SA, KE, Nr, notifications
//! ```
//!
//! Half-open sessions are counted as strongSwan counts them: the fourth of an address within 30 s needs
//! a cookie, the sixth is not answered. Invariant: what is kept is bounded; an answer without session
//! keeps nothing. Nothing is ever encrypted: public values are valid, but nobody knows their secret.
//! Sources: RFC 7296 §1.2, §1.3, §2.5, §2.6, §2.23, §3.4; RFC 6023; RFC 7383.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Call, Responder, ikev1, mac};
use crate::entropy::{Draw, Entropy};
use crate::time::Timestamp;
use crate::wire::ike::{
    Body, Encr, ExchangeType, Group, Header, Integ, Message, NON_ESP_MARKER, Notify, NotifyType, Payload,
    Prf, Proposal, Spi, Transform, TransformType, flags, nat_detection, strip_marker,
};

/// How long a session stays half-open (strongSwan's `half_open_timeout`).
const HALF_OPEN: Duration = Duration::from_secs(30);
/// From so many half-open sessions of an address on, a cookie is wanted (`cookie_threshold_ip`).
const COOKIE_FROM: usize = 3;
/// From so many on, nothing is answered (`block_threshold`).
const SILENT_FROM: usize = 5;
/// The most half-open sessions of all addresses.
const MOST: usize = 1000;

/// One suite that is accepted.
struct Suite {
    encr: Encr,
    bits: u16,
    /// None with an AEAD.
    integ: Option<Integ>,
    prf: Prf,
    group: Group,
}

const fn cbc(bits: u16, integ: Integ, prf: Prf, group: Group) -> Suite {
    Suite { encr: Encr::AES_CBC, bits, integ: Some(integ), prf, group }
}

const fn gcm(bits: u16, prf: Prf, group: Group) -> Suite {
    Suite { encr: Encr::AES_GCM_16, bits, integ: None, prf, group }
}

static SUITES: &[Suite] = &[
    gcm(256, Prf::HMAC_SHA2_384, Group::ECP_384),
    gcm(256, Prf::HMAC_SHA2_256, Group::ECP_256),
    cbc(256, Integ::HMAC_SHA2_256_128, Prf::HMAC_SHA2_256, Group::MODP_2048),
    cbc(128, Integ::HMAC_SHA2_256_128, Prf::HMAC_SHA2_256, Group::MODP_2048),
    cbc(256, Integ::HMAC_SHA2_256_128, Prf::HMAC_SHA2_256, Group::X25519),
    cbc(256, Integ::HMAC_SHA1_96, Prf::HMAC_SHA1, Group::MODP_2048),
];

/// A session whose first message was answered.
struct HalfOpen {
    address: IpAddr,
    request: Vec<u8>,
    answer: Vec<u8>,
    until: Timestamp,
}

/// Both versions, one table of half-open sessions.
pub(super) struct Ike {
    secret: [u8; 32],
    half_open: Vec<HalfOpen>,
}

impl Ike {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self { secret: entropy.array(), half_open: Vec::new() }
    }

    /// The answer to a message without marker, if there is one.
    fn message(&mut self, bytes: &[u8], call: &mut Call<'_>) -> Option<Vec<u8>> {
        let header = Header::decode(bytes).ok()?;
        if usize::try_from(header.length) != Ok(bytes.len()) || header.initiator == Spi::ZERO {
            return None;
        }
        self.half_open.retain(|session| session.until > call.now);
        let same = |session: &&HalfOpen| session.address == call.from.ip() && session.request == bytes;
        if let Some(session) = self.half_open.iter().find(same) {
            return Some(session.answer.clone());
        }
        let theirs = self.half_open.iter().filter(|session| session.address == call.from.ip()).count();
        let (answer, opens) = match header.version.major() {
            1 if theirs >= SILENT_FROM => return None,
            1 => ikev1::answer(bytes, call)?,
            2 => self.init(&header, bytes, theirs, call)?,
            _ => {
                let mut answer = refusal(&header, NotifyType::INVALID_MAJOR_VERSION, Vec::new());
                answer.exchange = header.exchange;
                answer.message_id = header.message_id;
                (answer.to_bytes(), false)
            }
        };
        if opens && self.half_open.len() < MOST {
            self.half_open.push(HalfOpen {
                address: call.from.ip(),
                request: bytes.to_vec(),
                answer: answer.clone(),
                until: call.now + HALF_OPEN,
            });
        }
        Some(answer)
    }

    /// The answer to a message of version 2, and whether a session is half-open with it.
    fn init(
        &self,
        header: &Header,
        bytes: &[u8],
        theirs: usize,
        call: &mut Call<'_>,
    ) -> Option<(Vec<u8>, bool)> {
        if header.exchange != ExchangeType::IKE_SA_INIT
            || header.flags & (flags::INITIATOR | flags::RESPONSE) != flags::INITIATOR
            || header.message_id != 0
            || header.responder != Spi::ZERO
        {
            return None;
        }
        let refuse = |kind, data| Some((refusal(header, kind, data).to_bytes(), false));
        let Some(request) = Message::decode(bytes).ok().and_then(Request::of) else {
            return refuse(NotifyType::INVALID_SYNTAX, Vec::new());
        };
        if call.scene.under_load() || theirs >= COOKIE_FROM {
            let cookie = self.cookie(&request, header.initiator, call.from);
            if request.cookie.as_ref() != Some(&cookie) {
                return refuse(NotifyType::COOKIE, cookie);
            }
            if theirs >= SILENT_FROM {
                return None;
            }
        }
        let Some((number, suite)) = choose(&request.proposals, request.group) else {
            return refuse(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new());
        };
        if suite.group != request.group {
            return refuse(NotifyType::INVALID_KE_PAYLOAD, suite.group.0.to_be_bytes().to_vec());
        }
        if suite.group.public_len() != Some(request.public.len()) {
            return refuse(NotifyType::INVALID_SYNTAX, Vec::new());
        }
        let responder = Spi(call.entropy.array());
        let hash = |at: SocketAddr| nat_detection(header.initiator, responder, at.ip(), at.port());
        let payloads = vec![
            Body::Sa(vec![suite.answer(number)]).into(),
            Body::KeyExchange { group: suite.group, data: public_value(suite.group, call.entropy) }.into(),
            Body::Nonce(call.entropy.bytes(32)).into(),
            Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, hash(call.local)).into(),
            Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, hash(call.from)).into(),
            Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, []).into(),
            Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, []).into(),
            Notify::new(NotifyType::MULTIPLE_AUTH_SUPPORTED, []).into(),
            Body::VendorId(b"vpnprobe demo".to_vec()).into(),
        ];
        let payloads: Vec<Payload> = payloads
            .into_iter()
            .filter(|payload: &Payload| {
                // A gateway says that it can fragment only to a client that can (RFC 7383 §2.3).
                request.fragments
                    || !matches!(&payload.body, Body::Notify(notify)
                        if notify.kind == NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)
            })
            .collect();
        Some((Message::init_answer(header.initiator, responder, payloads).to_bytes(), true))
    }

    /// Stateless, as RFC 7296 §2.6 suggests: a MAC of the nonce, the address and the SPI.
    fn cookie(&self, request: &Request, initiator: Spi, from: SocketAddr) -> Vec<u8> {
        mac(&self.secret, &[&request.nonce, from.ip().to_string().as_bytes(), &initiator.0]).to_vec()
    }
}

/// What a first request says.
struct Request {
    /// The cookie, if it is where it must be: first.
    cookie: Option<Vec<u8>>,
    proposals: Vec<Proposal>,
    group: Group,
    public: Vec<u8>,
    nonce: Vec<u8>,
    fragments: bool,
}

impl Request {
    /// Nothing if a payload is missing or a critical one is unknown.
    fn of(message: Message) -> Option<Self> {
        let fragments = message.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some();
        let (mut cookie, mut sa, mut key, mut nonce) = (None, None, None, None);
        for (place, payload) in message.payloads.into_iter().enumerate() {
            match payload.body {
                Body::Notify(notify) if notify.kind == NotifyType::COOKIE && place == 0 => {
                    cookie = Some(notify.data);
                }
                Body::Sa(proposals) => sa = sa.or(Some(proposals)),
                Body::KeyExchange { group, data } => key = key.or(Some((group, data))),
                Body::Nonce(data) if (16..=256).contains(&data.len()) => nonce = nonce.or(Some(data)),
                Body::Other { .. } if payload.critical => return None,
                _ => {}
            }
        }
        let (group, public) = key?;
        Some(Self { cookie, proposals: sa?, group, public, nonce: nonce?, fragments })
    }
}

/// The first offered proposal that has an accepted suite, by its number, and that suite: the one with
/// the group of the KE payload if there is one.
fn choose(offered: &[Proposal], group: Group) -> Option<(u8, &'static Suite)> {
    offered.iter().find_map(|proposal| {
        let fits = || SUITES.iter().filter(|suite| suite.is_in(proposal));
        let suite = fits().find(|suite| suite.group == group).or_else(|| fits().next())?;
        Some((proposal.number, suite))
    })
}

impl Suite {
    fn transforms(&self) -> Vec<Transform> {
        let mut all = vec![Transform::encr(self.encr, Some(self.bits)), Transform::prf(self.prf)];
        all.extend(self.integ.map(Transform::integ));
        all.push(Transform::dh(self.group));
        all
    }

    /// Whether each of its algorithms is offered, and no type of transform is that it lacks.
    fn is_in(&self, offered: &Proposal) -> bool {
        let ours = self.transforms();
        // Type 3, number 0: "no integrity algorithm", as some say beside an AEAD.
        let known = |transform: &Transform| {
            ours.iter().any(|own| own.kind == transform.kind)
                || (transform.kind == TransformType::INTEG && transform.id == 0)
        };
        offered.transforms.iter().all(known) && ours.iter().all(|own| offered.transforms.contains(own))
    }

    fn answer(&self, number: u8) -> Proposal {
        Proposal::ike(number, self.transforms())
    }
}

/// An error without session: the responder's SPI is zero (RFC 7296 §2.6).
fn refusal(header: &Header, kind: NotifyType, data: Vec<u8>) -> Message {
    Message::init_answer(header.initiator, Spi::ZERO, vec![Notify::new(kind, data).into()])
}

/// The base points of P-256 and P-384 (FIPS 186-4 appendix D.1.2), x then y (RFC 5903 §7).
const P256: &[u8; 64] = b"\
    \x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
    \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\
    \x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
    \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";
const P384: &[u8; 96] = b"\
    \xaa\x87\xca\x22\xbe\x8b\x05\x37\x8e\xb1\xc7\x1e\xf3\x20\xad\x74\
    \x6e\x1d\x3b\x62\x8b\xa7\x9b\x98\x59\xf7\x41\xe0\x82\x54\x2a\x38\
    \x55\x02\xf2\x5d\xbf\x55\x29\x6c\x3a\x54\x5e\x38\x72\x76\x0a\xb7\
    \x36\x17\xde\x4a\x96\x26\x2c\x6f\x5d\x9e\x98\xbf\x92\x92\xdc\x29\
    \xf8\xf4\x1d\xbd\x28\x9a\x14\x7c\xe9\xda\x31\x13\xb5\xf0\xb8\xc0\
    \x0a\x60\xb1\xce\x1d\x7e\x81\x9d\x7a\x43\x1d\x7c\x90\xea\x0e\x5f";

/// A public value that an initiator finds valid: a point of the curve, a number below the modulus.
fn public_value(group: Group, entropy: &mut dyn Entropy) -> Vec<u8> {
    match group {
        Group::ECP_256 => P256.to_vec(),
        Group::ECP_384 => P384.to_vec(),
        _ => {
            let mut value = entropy.bytes(group.public_len().unwrap_or(0));
            if let Some(first) = value.first_mut() {
                *first &= 0x7f;
            }
            value
        }
    }
}

/// One port of the responder.
pub(super) struct IkePort {
    pub(super) ike: std::rc::Rc<std::cell::RefCell<Ike>>,
    /// Whether messages have a non-ESP marker there.
    pub(super) marker: bool,
}

impl Responder for IkePort {
    fn answer(&mut self, datagram: &[u8], call: &mut Call<'_>) -> Vec<Vec<u8>> {
        let message = if self.marker { strip_marker(datagram) } else { Some(datagram) };
        let answer = message.and_then(|message| self.ike.borrow_mut().message(message, call));
        let marker: &[u8] = if self.marker { &NON_ESP_MARKER } else { &[] };
        answer.into_iter().map(|answer| [marker, &answer].concat()).collect()
    }
}
