//! `IKEv1` messages, phase 1 (RFC 2408 §3, RFC 2409, RFC 3947 §3.2).
//!
//! ```text
//! header 28 (version 1.0) | payload | payload | …
//! SA: DOI 4 | situation 4 | proposal: 0/2 | 0 | length 2 | number | protocol | SPI size | transforms | SPI
//!                           transform: 0/3 | 0 | length 2 | number | id | 0 0 | attributes
//! ```
//!
//! Invariant: unknown payloads, attributes and notifications survive; a message with the E flag is kept
//! as the bytes it is.

#[cfg(test)]
mod tests;

use super::ike::{Attribute, Chain, ExchangeType, Header, RawPayload, Spi, Version, close, codes, flags};
use super::ike::{AttributeValue, frame, framed, more};
use super::{Error, Reader, Why};

const PROTOCOL: &str = "ikev1";

/// The `IPsec` DOI (RFC 2407 §4.2).
pub const IPSEC_DOI: u32 = 1;
/// The situation "identity only" (RFC 2407 §4.2.1).
pub const SIT_IDENTITY_ONLY: u32 = 1;
/// The transform `KEY_IKE` (RFC 2407 §4.4.2).
pub const KEY_IKE: u8 = 1;
/// The protocol `PROTO_ISAKMP` (RFC 2407 §4.4.1).
pub const PROTO_ISAKMP: u8 = 1;

codes! {
    /// Payload type of `IKEv1` (RFC 2408 §3.1; NAT-D: RFC 3947 §3.2).
    pub struct PayloadType(u8) {
        NONE = 0 "none",
        SA = 1 "sa",
        KE = 4 "ke",
        ID = 5 "id",
        CERT = 6 "cert",
        CERTREQ = 7 "certreq",
        HASH = 8 "hash",
        SIG = 9 "sig",
        NONCE = 10 "nonce",
        NOTIFICATION = 11 "notification",
        DELETE = 12 "delete",
        VENDOR_ID = 13 "vendor_id",
        NAT_D = 20 "nat_d",
        NAT_D_DRAFT = 130 "nat_d_draft",
    }

    /// Phase 1 attribute (RFC 2409 appendix A).
    pub struct AttributeType(u16) {
        ENCRYPTION = 1 "encryption",
        HASH = 2 "hash",
        AUTHENTICATION = 3 "authentication",
        GROUP = 4 "group",
        LIFE_TYPE = 11 "life_type",
        LIFE_DURATION = 12 "life_duration",
        KEY_LENGTH = 14 "key_length",
    }

    /// Encryption algorithm of phase 1 (RFC 2409 appendix A; AES: RFC 3602 §5.3).
    pub struct Encryption(u16) {
        DES_CBC = 1 "des",
        TRIPLE_DES_CBC = 5 "3des",
        AES_CBC = 7 "aes",
        PRIVATE_USE = 65280 "private_use",
    }

    /// Hash algorithm of phase 1 (RFC 2409 appendix A; SHA-2: RFC 4868 §2.6).
    pub struct Hash(u16) {
        MD5 = 1 "md5",
        SHA = 2 "sha1",
        SHA2_256 = 4 "sha256",
        SHA2_384 = 5 "sha384",
        SHA2_512 = 6 "sha512",
    }

    /// Authentication method of phase 1 (RFC 2409 appendix A; hybrid and XAUTH: their drafts).
    pub struct Authentication(u16) {
        PRE_SHARED_KEY = 1 "psk",
        DSS_SIGNATURES = 2 "dss_sig",
        RSA_SIGNATURES = 3 "rsa_sig",
        HYBRID_INIT_RSA = 64221 "hybrid_rsa",
        XAUTH_INIT_PRE_SHARED = 65001 "xauth_psk",
        XAUTH_INIT_RSA = 65005 "xauth_rsa",
    }

    /// Notify message type of `IKEv1` (RFC 2408 §3.14.1).
    pub struct NotifyType(u16) {
        INVALID_PAYLOAD_TYPE = 1 "invalid_payload_type",
        DOI_NOT_SUPPORTED = 2 "doi_not_supported",
        INVALID_COOKIE = 4 "invalid_cookie",
        INVALID_MAJOR_VERSION = 5 "invalid_major_version",
        INVALID_EXCHANGE_TYPE = 7 "invalid_exchange_type",
        ATTRIBUTES_NOT_SUPPORTED = 13 "attributes_not_supported",
        NO_PROPOSAL_CHOSEN = 14 "no_proposal_chosen",
        BAD_PROPOSAL_SYNTAX = 15 "bad_proposal_syntax",
        PAYLOAD_MALFORMED = 16 "payload_malformed",
        INVALID_KEY_INFORMATION = 17 "invalid_key_information",
        INVALID_ID_INFORMATION = 18 "invalid_id_information",
        AUTHENTICATION_FAILED = 24 "authentication_failed",
        R_U_THERE = 36136 "r_u_there",
        R_U_THERE_ACK = 36137 "r_u_there_ack",
    }
}

/// A message: header and payloads. Length and next-payload fields follow from the payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// CKY-I.
    pub initiator: Spi,
    /// CKY-R; zero in a first message.
    pub responder: Spi,
    /// The exchange type.
    pub exchange: ExchangeType,
    /// [`flags`].
    pub flags: u8,
    /// Zero in phase 1, random in an informational exchange.
    pub message_id: u32,
    /// The payloads, in order; one [`Payload::Encrypted`] if the E flag is set.
    pub payloads: Vec<Payload>,
}

/// The payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// SA (RFC 2408 §3.4) of the `IPsec` DOI with the situation "identity only".
    Sa(Vec<Proposal>),
    /// KE (§3.7): the public value; its group is the SA's.
    KeyExchange(Vec<u8>),
    /// Ni, Nr (§3.13).
    Nonce(Vec<u8>),
    /// `IDii`, `IDir` (RFC 2407 §4.6.2).
    Identification {
        /// ID type: 1 IPv4 address, 2 FQDN, 3 user FQDN, 11 key id.
        kind: u8,
        /// Protocol, or 0 for any.
        protocol: u8,
        /// Port, or 0 for any.
        port: u16,
        /// The identity.
        data: Vec<u8>,
    },
    /// N (RFC 2408 §3.14).
    Notification(Notification),
    /// VID (§3.16).
    VendorId(Vec<u8>),
    /// All after the header of a message with the E flag.
    Encrypted {
        /// Type of the first payload inside.
        inner: PayloadType,
        /// The ciphertext.
        data: Vec<u8>,
    },
    /// Any other payload, as it came.
    Other {
        /// Its type.
        kind: PayloadType,
        /// Its body.
        data: Vec<u8>,
    },
}

/// A notification (RFC 2408 §3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// [`IPSEC_DOI`], or 0.
    pub doi: u32,
    /// [`PROTO_ISAKMP`] in phase 1.
    pub protocol: u8,
    /// Empty, or both cookies.
    pub spi: Vec<u8>,
    /// The type.
    pub kind: NotifyType,
    /// What comes with it.
    pub data: Vec<u8>,
}

/// A proposal; phase 1 has exactly one (RFC 2409 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its number.
    pub number: u8,
    /// [`PROTO_ISAKMP`] in phase 1.
    pub protocol: u8,
    /// Empty in phase 1, or cookies, which mean nothing there.
    pub spi: Vec<u8>,
    /// Alternatives, the best first; an answer has the one it chose. At most 255.
    pub transforms: Vec<Transform>,
}

/// A transform: one whole suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// Its number; an answer repeats it.
    pub number: u8,
    /// [`KEY_IKE`] in phase 1.
    pub id: u8,
    /// The suite.
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// The value of an attribute, if it is there and has at most four bytes.
    #[must_use]
    pub fn attribute(&self, kind: AttributeType) -> Option<u32> {
        self.attributes.iter().find(|attribute| attribute.kind == kind.0)?.number()
    }
}

/// A life duration in seconds, as the attribute pair that says so (RFC 2409 appendix A); four bytes, as
/// implementations are used to.
#[must_use]
pub fn lifetime(seconds: u32) -> [Attribute; 2] {
    let value = AttributeValue::Long(seconds.to_be_bytes().to_vec());
    [
        Attribute::short(AttributeType::LIFE_TYPE.0, 1),
        Attribute { kind: AttributeType::LIFE_DURATION.0, value },
    ]
}

impl Proposal {
    /// The one proposal of phase 1.
    #[must_use]
    pub const fn phase_1(transforms: Vec<Transform>) -> Self {
        Self { number: 1, protocol: PROTO_ISAKMP, spi: Vec::new(), transforms }
    }

    fn read_all(mut reader: Reader<'_>) -> Result<Vec<Self>, Error> {
        let mut proposals = Vec::new();
        loop {
            let more = more(&mut reader, 2)?;
            proposals.push(Self::read(framed(&mut reader, 4)?)?);
            if !more {
                break;
            }
            if proposals.len() >= 255 {
                return Err(reader.error(Why::TooMany));
            }
        }
        if reader.is_empty() { Ok(proposals) } else { Err(reader.error(Why::BadLength)) }
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, Error> {
        let number = reader.u8()?;
        let protocol = reader.u8()?;
        let spi_size = reader.u8()?;
        let count = usize::from(reader.u8()?);
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        let mut transforms = Vec::new();
        while transforms.len() < count {
            let more = more(&mut reader, 3)?;
            let mut body = framed(&mut reader, 4)?;
            let number = body.u8()?;
            let id = body.u8()?;
            body.u16()?;
            transforms.push(Transform { number, id, attributes: Attribute::read_all(body)? });
            if more != (transforms.len() < count) {
                return Err(reader.error(Why::BadValue("transform count")));
            }
        }
        if reader.is_empty() {
            Ok(Self { number, protocol, spi, transforms })
        } else {
            Err(reader.error(Why::BadLength))
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let size = u8::try_from(self.spi.len()).unwrap_or(u8::MAX);
        let count = u8::try_from(self.transforms.len()).unwrap_or(u8::MAX);
        out.extend([self.number, self.protocol, size, count]);
        out.extend(&self.spi);
        for (left, transform) in (0..self.transforms.len()).rev().zip(&self.transforms) {
            frame(out, [if left > 0 { 3 } else { 0 }, 0], |out| {
                out.extend([transform.number, transform.id, 0, 0]);
                for attribute in &transform.attributes {
                    attribute.encode(out);
                }
            });
        }
    }
}

impl Payload {
    /// Its payload type.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::KeyExchange(_) => PayloadType::KE,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Identification { .. } => PayloadType::ID,
            Self::Notification(_) => PayloadType::NOTIFICATION,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::Encrypted { inner: kind, .. } | Self::Other { kind, .. } => *kind,
        }
    }

    fn read(raw: RawPayload<'_>) -> Result<Self, Error> {
        let mut body = raw.body;
        Ok(match PayloadType(raw.kind) {
            PayloadType::SA => {
                let whole = body.clone();
                let (doi, situation) = (body.u32()?, body.u32()?);
                if doi == IPSEC_DOI && situation == SIT_IDENTITY_ONLY {
                    Self::Sa(Proposal::read_all(body)?)
                } else {
                    // Other situations have labels of a length only they know.
                    Self::Other { kind: PayloadType::SA, data: whole.clone().rest().to_vec() }
                }
            }
            PayloadType::KE => Self::KeyExchange(body.rest().to_vec()),
            PayloadType::NONCE => Self::Nonce(body.rest().to_vec()),
            PayloadType::ID => Self::Identification {
                kind: body.u8()?,
                protocol: body.u8()?,
                port: body.u16()?,
                data: body.rest().to_vec(),
            },
            PayloadType::NOTIFICATION => {
                let doi = body.u32()?;
                let protocol = body.u8()?;
                let spi_size = usize::from(body.u8()?);
                let kind = NotifyType(body.u16()?);
                let spi = body.take(spi_size)?.to_vec();
                Self::Notification(Notification { doi, protocol, spi, kind, data: body.rest().to_vec() })
            }
            PayloadType::VENDOR_ID => Self::VendorId(body.rest().to_vec()),
            kind => Self::Other { kind, data: body.rest().to_vec() },
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sa(proposals) => {
                out.extend(IPSEC_DOI.to_be_bytes());
                out.extend(SIT_IDENTITY_ONLY.to_be_bytes());
                for (left, proposal) in (0..proposals.len()).rev().zip(proposals) {
                    frame(out, [if left > 0 { 2 } else { 0 }, 0], |out| proposal.encode(out));
                }
            }
            Self::Identification { kind, protocol, port, data } => {
                out.extend([*kind, *protocol]);
                out.extend(port.to_be_bytes());
                out.extend(data);
            }
            Self::Notification(notification) => {
                out.extend(notification.doi.to_be_bytes());
                let size = u8::try_from(notification.spi.len()).unwrap_or(u8::MAX);
                out.extend([notification.protocol, size]);
                out.extend(notification.kind.0.to_be_bytes());
                out.extend(&notification.spi);
                out.extend(&notification.data);
            }
            Self::KeyExchange(data)
            | Self::Nonce(data)
            | Self::VendorId(data)
            | Self::Encrypted { data, .. }
            | Self::Other { data, .. } => out.extend(data),
        }
    }
}

impl Message {
    /// A message of phase 1 in the clear: of the initiator if `responder` is zero.
    #[must_use]
    pub const fn phase_1(
        initiator: Spi,
        responder: Spi,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
    ) -> Self {
        Self { initiator, responder, exchange, flags: 0, message_id: 0, payloads }
    }

    /// An informational message in the clear that tells of an error in phase 1.
    #[must_use]
    pub fn informational(initiator: Spi, responder: Spi, message_id: u32, kind: NotifyType) -> Self {
        let spi = [initiator.0, responder.0].concat();
        let notification =
            Notification { doi: IPSEC_DOI, protocol: PROTO_ISAKMP, spi, kind, data: Vec::new() };
        Self {
            initiator,
            responder,
            exchange: ExchangeType::INFORMATIONAL_V1,
            flags: 0,
            message_id,
            payloads: vec![Payload::Notification(notification)],
        }
    }

    /// Reads one message, without non-ESP marker.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (header, mut reader) = Header::open(PROTOCOL, bytes)?;
        if header.version.major() != 1 {
            return Err(Error { protocol: PROTOCOL, at: 17, why: Why::BadValue("version") });
        }
        let mut payloads = Vec::new();
        if header.flags & flags::ENCRYPTION != 0 {
            let inner = PayloadType(header.next);
            payloads.push(Payload::Encrypted { inner, data: reader.rest().to_vec() });
        } else {
            let mut chain = Chain::new(header.next, reader);
            while let Some(raw) = chain.payload()? {
                payloads.push(Payload::read(raw)?);
            }
        }
        Ok(Self {
            initiator: header.initiator,
            responder: header.responder,
            exchange: header.exchange,
            flags: header.flags,
            message_id: header.message_id,
            payloads,
        })
    }

    /// Appends the message, without non-ESP marker.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        Header {
            initiator: self.initiator,
            responder: self.responder,
            next: self.payloads.first().map_or(PayloadType::NONE, Payload::kind).0,
            version: Version::V1,
            exchange: self.exchange,
            flags: self.flags,
            message_id: self.message_id,
            length: 0,
        }
        .encode(out);
        let following = self.payloads.iter().skip(1).map(Payload::kind);
        for (payload, next) in self.payloads.iter().zip(following.chain([PayloadType::NONE])) {
            if matches!(payload, Payload::Encrypted { .. }) {
                payload.encode(out);
            } else {
                frame(out, [next.0, 0], |out| payload.encode(out));
            }
        }
        close(out, start);
    }

    /// The message as bytes, without non-ESP marker.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The first notification.
    #[must_use]
    pub fn notification(&self) -> Option<&Notification> {
        self.payloads.iter().find_map(|payload| match payload {
            Payload::Notification(notification) => Some(notification),
            _ => None,
        })
    }

    /// The first transform of the SA payload: in an answer, the one chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Transform> {
        self.payloads.iter().find_map(|payload| match payload {
            Payload::Sa(proposals) => proposals.first()?.transforms.first(),
            _ => None,
        })
    }

    /// The vendor ids, in order.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.payloads.iter().filter_map(|payload| match payload {
            Payload::VendorId(id) => Some(id.as_slice()),
            _ => None,
        })
    }
}
