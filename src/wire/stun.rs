//! STUN binding requests and their answers (RFC 8489), and RESPONSE-PORT (RFC 5780, 7.5).
//!
//! ```text
//! |0 0|  Message Type 14  |     Message Length 16     |
//! |              Magic Cookie 0x2112a442              |
//! |               Transaction ID (96 bits)            |
//! | type 16 | length 16 | value, padded to 4 octets   |  each attribute
//! ```
//! Invariant: an attribute that is not understood survives as bytes. A fingerprint that does not fit is an
//! error, one that is missing is not.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Error, Reader, Why};

const PROTOCOL: &str = "stun";

/// What every message has in its second word (section 5).
pub const COOKIE: u32 = 0x2112_a442;
/// Length of the header.
pub const HEADER: usize = 20;
/// The most attributes read from one message.
const MAX_ATTRIBUTES: usize = 64;
/// What the CRC-32 of a fingerprint is mixed with (section 14.7): "STUN".
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Message types of the method Binding (section 5, 18.1).
pub mod message {
    /// A request.
    pub const REQUEST: u16 = 0x0001;
    /// A success response.
    pub const SUCCESS: u16 = 0x0101;
    /// An error response.
    pub const ERROR: u16 = 0x0111;
}

/// Attribute types (section 18.3).
pub mod attribute {
    /// MAPPED-ADDRESS.
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    /// ERROR-CODE.
    pub const ERROR_CODE: u16 = 0x0009;
    /// RESPONSE-PORT (RFC 5780, 7.5).
    pub const RESPONSE_PORT: u16 = 0x0027;
    /// XOR-MAPPED-ADDRESS.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// SOFTWARE.
    pub const SOFTWARE: u16 = 0x8022;
    /// FINGERPRINT.
    pub const FINGERPRINT: u16 = 0x8028;
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type: class and method.
    pub kind: u16,
    /// The transaction it belongs to.
    pub transaction: [u8; 12],
    /// Type and value of each attribute, without the fingerprint.
    pub attributes: Vec<(u16, Vec<u8>)>,
    /// Whether it had, or is to have, a fingerprint.
    pub fingerprint: bool,
}

impl Message {
    /// A binding request with a fingerprint.
    #[must_use]
    pub const fn request(transaction: [u8; 12]) -> Self {
        Self { kind: message::REQUEST, transaction, attributes: Vec::new(), fingerprint: true }
    }

    /// The same, to be answered to that port of the address it comes from (RFC 5780, 7.5). Without a
    /// fingerprint, as coturn's own client sends it.
    #[must_use]
    pub fn request_to_port(transaction: [u8; 12], port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        let attributes = vec![(attribute::RESPONSE_PORT, vec![high, low, 0, 0])];
        Self { attributes, fingerprint: false, ..Self::request(transaction) }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// If it is none, a length is wrong, or the fingerprint does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let wrong = reader.error(Why::BadValue("message type"));
        let kind = reader.u16()?;
        if kind & 0xc000 != 0 {
            return Err(wrong);
        }
        let wrong = reader.error(Why::BadLength);
        let length = usize::from(reader.u16()?);
        let cookie = reader.error(Why::BadValue("magic cookie"));
        if reader.u32()? != COOKIE {
            return Err(cookie);
        }
        let transaction = reader.array()?;
        if !length.is_multiple_of(4) || length != reader.remaining() {
            return Err(if length > reader.remaining() { reader.error(Why::Truncated) } else { wrong });
        }
        let mut message = Self { kind, transaction, attributes: Vec::new(), fingerprint: false };
        while !reader.is_empty() {
            let before = bytes.len().saturating_sub(reader.remaining());
            let kind = reader.u16()?;
            let length = usize::from(reader.u16()?);
            let value = reader.take(length)?;
            if kind == attribute::FINGERPRINT {
                let expected = crc32(bytes.get(..before).unwrap_or_default()) ^ FINGERPRINT_XOR;
                if value != expected.to_be_bytes() {
                    return Err(reader.error(Why::BadTag));
                }
                // It is the last one (section 14.7); what follows is ignored.
                message.fingerprint = true;
                break;
            }
            reader.take(length.next_multiple_of(4).saturating_sub(length))?;
            if message.attributes.len() == MAX_ATTRIBUTES {
                return Err(reader.error(Why::TooMany));
            }
            message.attributes.push((kind, value.to_vec()));
        }
        Ok(message)
    }

    /// Appends the message. Attributes that would make it longer than 65,535 bytes are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        for (kind, value) in &self.attributes {
            let padded = value.len().next_multiple_of(4);
            let Ok(length) = u16::try_from(value.len()) else { continue };
            if body.len() + padded + 4 > 65_000 {
                continue;
            }
            body.extend(kind.to_be_bytes());
            body.extend(length.to_be_bytes());
            body.extend(value);
            body.resize(body.len() + padded - value.len(), 0);
        }
        let whole = body.len() + if self.fingerprint { 8 } else { 0 };
        let mut message = self.kind.to_be_bytes().to_vec();
        message.extend(u16::try_from(whole).unwrap_or(u16::MAX).to_be_bytes());
        message.extend(COOKIE.to_be_bytes());
        message.extend(self.transaction);
        message.extend(body);
        if self.fingerprint {
            let sum = crc32(&message) ^ FINGERPRINT_XOR;
            message.extend(attribute::FINGERPRINT.to_be_bytes());
            message.extend([0, 4]);
            message.extend(sum.to_be_bytes());
        }
        out.extend(message);
    }

    /// The value of the first attribute of that type.
    #[must_use]
    pub fn attribute(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(other, _)| *other == kind).map(|(_, value)| value.as_slice())
    }

    /// What the peer saw as the source of the request: XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS (sections
    /// 14.1, 14.2).
    #[must_use]
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        let mut key = COOKIE.to_be_bytes().to_vec();
        key.extend(self.transaction);
        self.attribute(attribute::XOR_MAPPED_ADDRESS)
            .and_then(|value| address(value, &key))
            .or_else(|| self.attribute(attribute::MAPPED_ADDRESS).and_then(|value| address(value, &[0; 16])))
    }

    /// Code and text of an error (section 14.8).
    #[must_use]
    pub fn error_code(&self) -> Option<(u16, &[u8])> {
        match self.attribute(attribute::ERROR_CODE)? {
            [_, _, class, number, text @ ..] => Some((u16::from(class & 7) * 100 + u16::from(*number), text)),
            _ => None,
        }
    }
}

/// Reads an address whose port and octets are mixed with `key`.
fn address(value: &[u8], key: &[u8]) -> Option<SocketAddr> {
    let mut reader = Reader::new(PROTOCOL, value);
    let [_, family] = reader.array().ok()?;
    let mix = |octets: &mut [u8]| {
        for (octet, key) in octets.iter_mut().zip(key) {
            *octet ^= key;
        }
    };
    let mut port: [u8; 2] = reader.array().ok()?;
    mix(&mut port);
    let ip = match family {
        1 => {
            let mut octets: [u8; 4] = reader.array().ok()?;
            mix(&mut octets);
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        2 => {
            let mut octets: [u8; 16] = reader.array().ok()?;
            mix(&mut octets);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    reader.is_empty().then(|| SocketAddr::new(ip, u16::from_be_bytes(port)))
}

/// The CRC-32 of ITU-T V.42, as Ethernet has it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}
