//! The first two packets of a remote desktop connection: X.224 with RDP's negotiation in them.
//!
//! ```text
//! | 3 | 0 | length 2 (big-endian) |                                     TPKT, RFC 1006 section 6
//! | LI | code | dst-ref 2 | src-ref 2 | class |                         X.224, ITU-T X.224 section 13
//! | type | flags | 8 0 | value 4 (little-endian) |                      MS-RDPBCGR 2.2.1.1.1, 2.2.1.2.1
//! ```
//! Invariant: nothing beyond these fields is read, and a packet is at most [`MAX`] bytes.

#[cfg(test)]
mod tests;

use super::{Error, Reader, Why};

const PROTOCOL: &str = "rdp";

/// The longest packet that is read: a confirmation has 11 or 19 bytes.
pub const MAX: usize = 256;

const CONNECTION_REQUEST: u8 = 0xe0;
const CONNECTION_CONFIRM: u8 = 0xd0;
const NEG_REQ: u8 = 1;
const NEG_RSP: u8 = 2;
const NEG_FAILURE: u8 = 3;

/// Security protocols (MS-RDPBCGR 2.2.1.1.1): bits.
pub mod protocol {
    /// RDP's own, without TLS.
    pub const RDP: u32 = 0;
    /// TLS.
    pub const SSL: u32 = 1;
    /// `CredSSP`: network level authentication.
    pub const HYBRID: u32 = 2;
    /// RDSTLS.
    pub const RDSTLS: u32 = 4;
    /// `CredSSP` with early user authorization.
    pub const HYBRID_EX: u32 = 8;
    /// Microsoft Entra authentication.
    pub const AAD: u32 = 16;
}

/// What the negotiation in a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiation {
    /// Nothing: a server from before there was one.
    None,
    /// The protocols asked for.
    Request(u32),
    /// The protocol chosen, and the server's flags.
    Response(u8, u32),
    /// Why there is none, by number.
    Failure(u32),
}

/// A connection request or its confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Whether it is a confirmation.
    pub confirm: bool,
    /// The source reference; 0 in a request.
    pub source: u16,
    /// What it negotiates.
    pub negotiation: Negotiation,
}

impl Packet {
    /// How long the packet at the start of `bytes` is; nothing until that is there.
    ///
    /// # Errors
    /// If it is no TPKT, or longer than [`MAX`].
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        if reader.is_empty() {
            return Ok(None);
        }
        let wrong = reader.error(Why::BadValue("version"));
        if reader.u8()? != 3 {
            return Err(wrong);
        }
        let Ok([_, high, low]) = reader.array() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if (7..=MAX).contains(&length) { Ok(Some(length)) } else { Err(reader.error(Why::BadLength)) }
    }

    /// Reads one packet; what follows its own length is ignored.
    ///
    /// # Errors
    /// If it ends too early, or is no connection request or confirmation.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let length = Self::length(bytes)?.ok_or(Reader::new(PROTOCOL, bytes).error(Why::Truncated))?;
        let mut reader = reader.part(length)?;
        reader.take(4)?;
        let wrong = reader.error(Why::BadLength);
        if usize::from(reader.u8()?) != length.saturating_sub(5) {
            return Err(wrong);
        }
        let wrong = reader.error(Why::BadValue("code"));
        // The low half is the credit, 0 in class 0.
        let confirm = match reader.u8()? & 0xf0 {
            CONNECTION_REQUEST => false,
            CONNECTION_CONFIRM => true,
            _ => return Err(wrong),
        };
        reader.u16()?;
        let source = reader.u16()?;
        reader.u8()?;
        if reader.is_empty() {
            return Ok(Self { confirm, source, negotiation: Negotiation::None });
        }
        let wrong = reader.error(Why::BadValue("negotiation"));
        let kind = reader.u8()?;
        let flags = reader.u8()?;
        if u16::from_le_bytes(reader.array()?) != 8 {
            return Err(wrong);
        }
        let value = u32::from_le_bytes(reader.array()?);
        let negotiation = match (kind, confirm) {
            (NEG_REQ, false) => Negotiation::Request(value),
            (NEG_RSP, true) => Negotiation::Response(flags, value),
            (NEG_FAILURE, true) => Negotiation::Failure(value),
            _ => return Err(wrong),
        };
        Ok(Self { confirm, source, negotiation })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let negotiation = match self.negotiation {
            Negotiation::None => None,
            Negotiation::Request(value) => Some((NEG_REQ, 0, value)),
            Negotiation::Response(flags, value) => Some((NEG_RSP, flags, value)),
            Negotiation::Failure(value) => Some((NEG_FAILURE, 0, value)),
        };
        let length: u8 = if negotiation.is_some() { 19 } else { 11 };
        out.extend([3, 0, 0, length, length - 5]);
        out.push(if self.confirm { CONNECTION_CONFIRM } else { CONNECTION_REQUEST });
        out.extend([0, 0]);
        out.extend(self.source.to_be_bytes());
        out.push(0);
        if let Some((kind, flags, value)) = negotiation {
            out.extend([kind, flags, 8, 0]);
            out.extend(value.to_le_bytes());
        }
    }
}

/// The name of a chosen protocol.
#[must_use]
pub const fn protocol_name(protocol: u32) -> Option<&'static str> {
    Some(match protocol {
        protocol::RDP => "rdp",
        protocol::SSL => "tls",
        protocol::HYBRID => "nla",
        protocol::RDSTLS => "rdstls",
        protocol::HYBRID_EX => "nla_ex",
        protocol::AAD => "entra",
        _ => return None,
    })
}

/// The name of a failure, in the standard's spelling (MS-RDPBCGR 2.2.1.2.2).
#[must_use]
pub const fn failure_name(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "SSL_REQUIRED_BY_SERVER",
        2 => "SSL_NOT_ALLOWED_BY_SERVER",
        3 => "SSL_CERT_NOT_ON_SERVER",
        4 => "INCONSISTENT_FLAGS",
        5 => "HYBRID_REQUIRED_BY_SERVER",
        6 => "SSL_WITH_USER_AUTH_REQUIRED_BY_SERVER",
        7 => "ENTRAAUTH_REQUIRED_BY_SERVER",
        _ => return None,
    })
}
