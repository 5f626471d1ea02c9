//! The other end of a session, with its own half of the mathematics.

use super::*;

/// A responder of one SA.
pub(super) struct Responder {
    pub psk: Vec<u8>,
    pub id: Identity,
    pub group: Group,
    pub gcm: bool,
    pub childless: bool,
    pub cookie: bool,
    pub entropy: Generator,
    pub spi: Spi,
    pub keyed: Option<Box<Keyed>>,
    pub lifetime: Option<u32>,
    pub requests: u32,
    pub seen: Vec<Message>,
    pub first: Vec<u8>,
}

pub(super) struct Keyed {
    pub ours: Protection,
    pub theirs: Protection,
    pub prf: Prf,
    pub sk_pi: Vec<u8>,
    pub sk_pr: Vec<u8>,
    pub nonce_i: Vec<u8>,
    pub nonce_r: Vec<u8>,
    pub second: Vec<u8>,
    pub initiator: Spi,
}

impl Responder {
    pub fn new(group: Group, gcm: bool) -> Self {
        Self {
            psk: b"lab-psk".to_vec(),
            id: Identity::from_text("vpn.example.test"),
            group,
            gcm,
            childless: true,
            cookie: false,
            entropy: Generator::seeded(7),
            spi: Spi([9; 8]),
            keyed: None,
            lifetime: None,
            requests: 0,
            seen: Vec::new(),
            first: Vec::new(),
        }
    }

    pub fn suite(&self) -> Vec<Transform> {
        let dh = Transform::dh(self.group);
        if self.gcm {
            vec![Transform::encr(Encr::AES_GCM_16, Some(128)), Transform::prf(Prf::HMAC_SHA2_384), dh]
        } else {
            vec![
                Transform::encr(Encr::AES_CBC, Some(256)),
                Transform::prf(Prf::HMAC_SHA2_256),
                Transform::integ(Integ::HMAC_SHA2_256_128),
                dh,
            ]
        }
    }

    /// Takes a datagram; returns the answer, if there is one.
    pub fn take(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let bytes = strip_marker(datagram)?;
        let header = Header::decode(bytes).unwrap();
        if header.exchange == ExchangeType::IKE_SA_INIT {
            return Some(marked(&self.init(bytes)));
        }
        let keyed = self.keyed.as_ref()?;
        let Opened::Whole(message) = keyed.theirs.open(bytes).unwrap() else { panic!("whole") };
        self.seen.push(message.clone());
        if message.flags & flags::RESPONSE != 0 {
            return None;
        }
        let payloads = if message.exchange == ExchangeType::IKE_AUTH { self.auth(&message) } else { vec![] };
        Some(self.sealed(message.exchange, flags::RESPONSE, message.message_id, payloads))
    }

    pub fn init(&mut self, bytes: &[u8]) -> Vec<u8> {
        let request = Message::decode(bytes).unwrap();
        let answer = |spi, payloads| Message::init_answer(request.initiator, spi, payloads).to_bytes();
        if self.cookie && request.notify(NotifyType::COOKIE).is_none() {
            return answer(Spi::ZERO, vec![Notify::new(NotifyType::COOKIE, [5; 20]).into()]);
        }
        let (group, theirs) = request
            .payloads
            .iter()
            .find_map(|payload| match &payload.body {
                Body::KeyExchange { group, data } => Some((*group, data.clone())),
                _ => None,
            })
            .unwrap();
        if group != self.group {
            let wanted = self.group.0.to_be_bytes();
            return answer(Spi::ZERO, vec![Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted).into()]);
        }
        let nonce_i = request
            .payloads
            .iter()
            .find_map(|payload| match &payload.body {
                Body::Nonce(nonce) => Some(nonce.clone()),
                _ => None,
            })
            .unwrap();
        let pair = KeyPair::draw(group, &mut self.entropy).unwrap();
        let chosen = Proposal::ike(if self.gcm { 1 } else { 2 }, self.suite());
        let nonce_r = self.entropy.bytes(32);
        let mut payloads: Vec<Payload> = vec![
            Body::Sa(vec![chosen.clone()]).into(),
            Body::KeyExchange { group, data: pair.public().to_vec() }.into(),
            Body::Nonce(nonce_r.clone()).into(),
        ];
        if self.childless {
            payloads.push(Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, []).into());
        }
        let second = answer(self.spi, payloads);
        let suite = Suite::of(&chosen).unwrap();
        let keys = Keys::derive(
            suite,
            &Ingredients {
                nonce_i: &nonce_i,
                nonce_r: &nonce_r,
                shared: &pair.agree(&theirs).unwrap(),
                spi_i: request.initiator,
                spi_r: self.spi,
            },
        )
        .unwrap();
        self.first = bytes.to_vec();
        self.keyed = Some(Box::new(Keyed {
            ours: keys.of_responder,
            theirs: keys.of_initiator,
            prf: suite.prf(),
            sk_pi: keys.sk_pi.to_vec(),
            sk_pr: keys.sk_pr.to_vec(),
            nonce_i,
            nonce_r,
            second: second.clone(),
            initiator: request.initiator,
        }));
        second
    }

    pub fn auth(&self, message: &Message) -> Vec<Payload> {
        let keyed = self.keyed.as_ref().unwrap();
        let body = |wanted| {
            message.payloads.iter().find_map(move |payload| match &payload.body {
                Body::Other { kind, data } if *kind == wanted => Some(data.clone()),
                _ => None,
            })
        };
        let id = body(PayloadType::ID_I).unwrap();
        let auth = body(PayloadType::AUTH).unwrap();
        let expected = proof(keyed.prf, b"lab-psk", &self.first, &keyed.nonce_r, &keyed.sk_pi, &id).unwrap();
        if read_auth(&auth).unwrap() != (AUTH_PSK, expected.as_slice()) {
            return vec![Notify::new(NotifyType::AUTHENTICATION_FAILED, []).into()];
        }
        let id = self.id.to_bytes();
        let ours = proof(keyed.prf, &self.psk, &keyed.second, &keyed.nonce_i, &keyed.sk_pr, &id).unwrap();
        let mut payloads: Vec<Payload> = vec![
            Body::Other { kind: PayloadType::ID_R, data: id }.into(),
            write_auth(AUTH_PSK, &ours).into(),
        ];
        if message.proposals().is_some() {
            payloads.push(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, []).into());
        }
        if let Some(lifetime) = self.lifetime {
            payloads.push(Notify::new(NotifyType::AUTH_LIFETIME, lifetime.to_be_bytes()).into());
        }
        payloads
    }

    pub fn sealed(&mut self, exchange: ExchangeType, flags: u8, id: u32, payloads: Vec<Payload>) -> Vec<u8> {
        let keyed = self.keyed.as_ref().unwrap();
        let message = Message {
            initiator: keyed.initiator,
            responder: self.spi,
            version: Version::V2,
            exchange,
            flags,
            message_id: id,
            payloads,
        };
        let iv = self.entropy.bytes(16);
        marked(&keyed.ours.seal(&message, &iv))
    }

    /// A new request of its own.
    pub fn ask(&mut self, exchange: ExchangeType, payloads: Vec<Payload>) -> Vec<u8> {
        let id = self.requests;
        self.requests += 1;
        self.sealed(exchange, 0, id, payloads)
    }
}
