//! `IKEv2` messages (RFC 7296 §3), and the header and payload chain that `IKEv1` shares.
//!
//! ```text
//! UDP 500:                 header 28 | payload | payload | …
//! UDP 4500: marker 00×4 |  header 28 | payload | payload | …
//! payload:  next 1 | C, reserved 1 | length 2 | body
//! ```
//!
//! Invariant: payloads of unknown type, transforms and notifications with unknown numbers survive
//! decoding and encoding; reserved bits are ignored on receipt and sent as zero (§2.5).
//! What is inside an encrypted payload (SK, SKF) stays bytes until [`Protection`] opens it.

mod auth;
mod header;
mod ids;
mod sa;
mod sealed;
#[cfg(test)]
mod tests;

pub use auth::{AUTH_PSK, Delete, Identity, IdentityType, read_auth, write_auth};
pub use header::{
    Attribute, AttributeValue, Chain, Header, NON_ESP_MARKER, RawPayload, Spi, Version, nat_detection,
    strip_marker,
};
pub(crate) use header::{close, frame, framed};
pub(crate) use ids::codes;
pub use ids::{
    Encr, ExchangeType, Group, Integ, NotifyType, PayloadType, Prf, ProtocolId, TransformType, flags,
};
pub(crate) use sa::more;
pub use sa::{Proposal, Transform};
pub(crate) use sealed::hmac;
pub use sealed::{Fragment, Opened, Protection};

use super::{Error, Reader, Why};

const PROTOCOL: &str = "ikev2";

/// A message: header and payloads. Length and next-payload fields follow from the payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The initiator's SPI.
    pub initiator: Spi,
    /// The responder's SPI; zero in a first request and in error answers.
    pub responder: Spi,
    /// The version; [`Version::V2`] but for a version ping.
    pub version: Version,
    /// The exchange type.
    pub exchange: ExchangeType,
    /// [`flags`].
    pub flags: u8,
    /// The message id.
    pub message_id: u32,
    /// The payloads, in order.
    pub payloads: Vec<Payload>,
}

/// A payload and its C bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Whether a receiver that does not know the type must reject the message.
    pub critical: bool,
    /// What is in it.
    pub body: Body,
}

/// The payloads' bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// SA (§3.3): at least one proposal.
    Sa(Vec<Proposal>),
    /// KE (§3.4).
    KeyExchange {
        /// The group of the value.
        group: Group,
        /// The public value.
        data: Vec<u8>,
    },
    /// Ni, Nr (§3.9): 16 to 256 bytes in honest messages.
    Nonce(Vec<u8>),
    /// N (§3.10).
    Notify(Notify),
    /// V (§3.12).
    VendorId(Vec<u8>),
    /// SK or SKF (§3.14, RFC 7383 §2.5): always the last payload.
    Encrypted {
        /// [`PayloadType::SK`] or [`PayloadType::SKF`].
        kind: PayloadType,
        /// Type of the first payload inside.
        inner: PayloadType,
        /// IV, ciphertext and checksum; SKF: the fragment numbers before them.
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

/// A notification (§3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The SA's protocol, if the notification is about one; peers differ, ignore it on receipt.
    pub protocol: ProtocolId,
    /// The SA's SPI, if it is about one.
    pub spi: Vec<u8>,
    /// The type.
    pub kind: NotifyType,
    /// What comes with it.
    pub data: Vec<u8>,
}

impl Notify {
    /// One that is about no existing SA, as all of `IKE_SA_INIT` are.
    #[must_use]
    pub fn new(kind: NotifyType, data: impl Into<Vec<u8>>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Vec::new(), kind, data: data.into() }
    }

    /// The group of `INVALID_KE_PAYLOAD` (§3.10.1): two bytes.
    #[must_use]
    pub fn wanted_group(&self) -> Option<Group> {
        let data = <[u8; 2]>::try_from(self.data.as_slice()).ok()?;
        (self.kind == NotifyType::INVALID_KE_PAYLOAD).then(|| Group(u16::from_be_bytes(data)))
    }
}

impl From<Body> for Payload {
    fn from(body: Body) -> Self {
        Self { critical: false, body }
    }
}

impl From<Notify> for Payload {
    fn from(notify: Notify) -> Self {
        Body::Notify(notify).into()
    }
}

impl Body {
    /// Its payload type.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::KeyExchange { .. } => PayloadType::KE,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::Encrypted { kind, .. } | Self::Other { kind, .. } => *kind,
        }
    }

    fn read(raw: RawPayload<'_>) -> Result<Self, Error> {
        let mut body = raw.body;
        Ok(match PayloadType(raw.kind) {
            PayloadType::SA => Self::Sa(Proposal::read_all(body)?),
            PayloadType::KE => {
                let group = Group(body.u16()?);
                body.u16()?;
                Self::KeyExchange { group, data: body.rest().to_vec() }
            }
            PayloadType::NONCE => Self::Nonce(body.rest().to_vec()),
            PayloadType::NOTIFY => {
                let protocol = ProtocolId(body.u8()?);
                let spi_size = usize::from(body.u8()?);
                let kind = NotifyType(body.u16()?);
                let spi = body.take(spi_size)?.to_vec();
                Self::Notify(Notify { protocol, spi, kind, data: body.rest().to_vec() })
            }
            PayloadType::VENDOR_ID => Self::VendorId(body.rest().to_vec()),
            kind @ (PayloadType::SK | PayloadType::SKF) => {
                Self::Encrypted { kind, inner: PayloadType(raw.next), data: body.rest().to_vec() }
            }
            kind => Self::Other { kind, data: body.rest().to_vec() },
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sa(proposals) => Proposal::encode_all(proposals, out),
            Self::KeyExchange { group, data } => {
                out.extend(group.0.to_be_bytes());
                out.extend([0, 0]);
                out.extend(data);
            }
            Self::Notify(notify) => {
                out.extend([notify.protocol.0, u8::try_from(notify.spi.len()).unwrap_or(u8::MAX)]);
                out.extend(notify.kind.0.to_be_bytes());
                out.extend(&notify.spi);
                out.extend(&notify.data);
            }
            Self::Nonce(data)
            | Self::VendorId(data)
            | Self::Encrypted { data, .. }
            | Self::Other { data, .. } => out.extend(data),
        }
    }
}

/// Reads a chain of payloads whose first one is of the type `first`.
fn read_chain(first: PayloadType, reader: Reader<'_>) -> Result<Vec<Payload>, Error> {
    let mut payloads = Vec::new();
    let mut chain = Chain::new(first.0, reader);
    while let Some(raw) = chain.payload()? {
        let critical = raw.critical;
        let body = Body::read(raw)?;
        if matches!(body, Body::Encrypted { .. }) {
            chain.stop();
        }
        payloads.push(Payload { critical, body });
    }
    Ok(payloads)
}

/// Appends payloads, each with the type of the next one.
fn encode_chain(payloads: &[Payload], out: &mut Vec<u8>) {
    let following = payloads.iter().skip(1).map(|payload| payload.body.kind());
    for (payload, next) in payloads.iter().zip(following.chain([PayloadType::NONE])) {
        let next = if let Body::Encrypted { inner, .. } = &payload.body { *inner } else { next };
        frame(out, [next.0, if payload.critical { 0x80 } else { 0 }], |out| payload.body.encode(out));
    }
}

impl Message {
    /// A request of an initiator's `IKE_SA_INIT`.
    #[must_use]
    pub const fn init_request(initiator: Spi, payloads: Vec<Payload>) -> Self {
        Self {
            initiator,
            responder: Spi::ZERO,
            version: Version::V2,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: flags::INITIATOR,
            message_id: 0,
            payloads,
        }
    }

    /// A responder's answer to an `IKE_SA_INIT`; `responder` is zero in error answers and COOKIE.
    #[must_use]
    pub const fn init_answer(initiator: Spi, responder: Spi, payloads: Vec<Payload>) -> Self {
        Self {
            initiator,
            responder,
            version: Version::V2,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: flags::RESPONSE,
            message_id: 0,
            payloads,
        }
    }

    /// Reads one message, without non-ESP marker, of any version from 2 on.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (header, reader) = Header::open(PROTOCOL, bytes)?;
        if header.version.major() < 2 {
            return Err(Error { protocol: PROTOCOL, at: 17, why: Why::BadValue("version") });
        }
        let payloads = read_chain(PayloadType(header.next), reader)?;
        Ok(Self::with(&header, payloads))
    }

    /// A message of that header with these payloads.
    const fn with(header: &Header, payloads: Vec<Payload>) -> Self {
        Self {
            initiator: header.initiator,
            responder: header.responder,
            version: header.version,
            exchange: header.exchange,
            flags: header.flags,
            message_id: header.message_id,
            payloads,
        }
    }

    /// Appends the message, without non-ESP marker.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.header(self.first()).encode(out);
        encode_chain(&self.payloads, out);
        close(out, start);
    }

    /// Type of the first payload.
    fn first(&self) -> PayloadType {
        self.payloads.first().map_or(PayloadType::NONE, |payload| payload.body.kind())
    }

    /// Its header; the length is still zero.
    const fn header(&self, next: PayloadType) -> Header {
        Header {
            initiator: self.initiator,
            responder: self.responder,
            next: next.0,
            version: self.version,
            exchange: self.exchange,
            flags: self.flags,
            message_id: self.message_id,
            length: 0,
        }
    }

    /// The message as bytes, without non-ESP marker.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The notifications, in order.
    pub fn notifies(&self) -> impl Iterator<Item = &Notify> {
        self.payloads.iter().filter_map(|payload| match &payload.body {
            Body::Notify(notify) => Some(notify),
            _ => None,
        })
    }

    /// The first notification of that type.
    #[must_use]
    pub fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    /// The proposals of the first SA payload: in an answer, the one chosen.
    #[must_use]
    pub fn proposals(&self) -> Option<&[Proposal]> {
        self.payloads.iter().find_map(|payload| match &payload.body {
            Body::Sa(proposals) => Some(proposals.as_slice()),
            _ => None,
        })
    }

    /// The vendor ids, in order.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.payloads.iter().filter_map(|payload| match &payload.body {
            Body::VendorId(id) => Some(id.as_slice()),
            _ => None,
        })
    }
}
