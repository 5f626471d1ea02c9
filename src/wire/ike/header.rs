//! The header and the payload chain that both versions share.
//!
//! Invariant: reading a header looks at 28 bytes and nothing else, so that a packet is matched by its
//! SPI before anything in it is parsed.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use super::ids::ExchangeType;
use crate::wire::{Error, Reader, Why};

/// The four zero bytes before an IKE message on UDP port 4500 (RFC 3948 §2.2); not counted in any
/// length or hash.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The message behind a non-ESP marker; nothing if the datagram does not begin with one (then it is
/// ESP or a keepalive).
#[must_use]
pub fn strip_marker(datagram: &[u8]) -> Option<&[u8]> {
    datagram.strip_prefix(&NON_ESP_MARKER)
}

/// An SPI of the header (`IKEv1`: a cookie).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Spi(pub [u8; 8]);

impl Spi {
    /// Not known yet: the responder's SPI in a first request.
    pub const ZERO: Self = Self([0; 8]);
}

/// A version byte: major version in the upper half, minor in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u8);

impl Version {
    /// `IKEv1`.
    pub const V1: Self = Self(0x10);
    /// `IKEv2`.
    pub const V2: Self = Self(0x20);

    /// The major version.
    #[must_use]
    pub const fn major(self) -> u8 {
        self.0 >> 4
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 & 0x0f)
    }
}

/// The header (RFC 7296 §3.1, RFC 2408 §3.1), 28 bytes.
///
/// ```text
///  SPIi 8 | SPIr 8 | next payload 1 | version 1 | exchange 1 | flags 1 | message id 4 | length 4
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The initiator's SPI (`IKEv1`: CKY-I).
    pub initiator: Spi,
    /// The responder's SPI (`IKEv1`: CKY-R).
    pub responder: Spi,
    /// Type of the first payload; its numbers depend on the version.
    pub next: u8,
    /// The version.
    pub version: Version,
    /// The exchange type.
    pub exchange: ExchangeType,
    /// [`flags`](super::flags).
    pub flags: u8,
    /// The message id.
    pub message_id: u32,
    /// Length of the whole message in bytes, header included, non-ESP marker not.
    pub length: u32,
}

impl Header {
    /// Its length in bytes.
    pub const LEN: usize = 28;

    /// Reads the first 28 bytes; [`Self::length`] is not compared with anything.
    ///
    /// # Errors
    /// [`Why::Truncated`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(&mut Reader::new("ike", bytes))
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            initiator: Spi(reader.array()?),
            responder: Spi(reader.array()?),
            next: reader.u8()?,
            version: Version(reader.u8()?),
            exchange: ExchangeType(reader.u8()?),
            flags: reader.u8()?,
            message_id: reader.u32()?,
            length: reader.u32()?,
        })
    }

    /// Reads a header and what its length says belongs to it.
    pub(crate) fn open<'a>(protocol: &'static str, bytes: &'a [u8]) -> Result<(Self, Reader<'a>), Error> {
        let mut reader = Reader::new(protocol, bytes);
        let header = Self::read(&mut reader)?;
        let body = usize::try_from(header.length)
            .ok()
            .and_then(|length| length.checked_sub(Self::LEN))
            .ok_or(reader.error(Why::BadLength))?;
        let part = reader.part(body)?;
        if !reader.is_empty() {
            return Err(reader.error(Why::BadLength));
        }
        Ok((header, part))
    }

    /// Appends the 28 bytes as they are; the caller sees to the length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.initiator.0);
        out.extend(self.responder.0);
        out.extend([self.next, self.version.0, self.exchange.0, self.flags]);
        out.extend(self.message_id.to_be_bytes());
        out.extend(self.length.to_be_bytes());
    }
}

/// A payload whose body is not read yet.
#[derive(Debug, Clone)]
pub struct RawPayload<'a> {
    /// Its type.
    pub kind: u8,
    /// The C bit (`IKEv1`: reserved).
    pub critical: bool,
    /// Type of the payload after it; of the first one inside it, if it is encrypted.
    pub next: u8,
    /// Its body.
    pub body: Reader<'a>,
}

/// Reads a chain of payloads (RFC 7296 §3.2, RFC 2408 §3.2): at most [`Self::MAX`] of them.
#[derive(Debug, Clone)]
pub struct Chain<'a> {
    next: u8,
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Chain<'a> {
    /// The most payloads a message may have; honest ones have fewer than 40.
    pub const MAX: usize = 128;

    /// A chain whose first payload is of the type `next`.
    #[must_use]
    pub const fn new(next: u8, reader: Reader<'a>) -> Self {
        Self { next, left: Self::MAX, reader }
    }

    /// The next payload; nothing at the end of the chain.
    ///
    /// # Errors
    /// [`Why::Truncated`], [`Why::BadLength`] for a length below 4 or bytes after the last payload,
    /// [`Why::TooMany`].
    pub fn payload(&mut self) -> Result<Option<RawPayload<'a>>, Error> {
        if self.next == 0 {
            return if self.reader.is_empty() { Ok(None) } else { Err(self.reader.error(Why::BadLength)) };
        }
        self.left = self.left.checked_sub(1).ok_or(self.reader.error(Why::TooMany))?;
        let kind = self.next;
        let next = self.reader.u8()?;
        let critical = self.reader.u8()? & 0x80 != 0;
        let body = framed(&mut self.reader, 4)?;
        self.next = next;
        Ok(Some(RawPayload { kind, critical, next, body }))
    }

    /// Ends the chain: the payload just read was the last one, whatever its next field says.
    pub(crate) const fn stop(&mut self) {
        self.next = 0;
    }
}

/// Reads a two-byte length that counts `before` bytes already read (its own among them), and hands out
/// the rest of what it covers.
pub(crate) fn framed<'a>(reader: &mut Reader<'a>, before: usize) -> Result<Reader<'a>, Error> {
    let wrong = reader.error(Why::BadLength);
    let length = usize::from(reader.u16()?).checked_sub(before).ok_or(wrong)?;
    reader.part(length)
}

/// Appends `first`, then what `body` appends, with a two-byte length of it all after `first`.
/// A body beyond 65535 bytes cannot be said in the format; its length is then wrong, and the peer will
/// say so. Nothing here builds one.
pub(crate) fn frame(out: &mut Vec<u8>, first: [u8; 2], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(first);
    out.extend([0, 0]);
    body(out);
    let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(field) = out.get_mut(start + 2..start + 4) {
        field.copy_from_slice(&length);
    }
}

/// Writes the length of the message that begins at `start` into its header.
pub(crate) fn close(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(field) = out.get_mut(start + 24..start + 28) {
        field.copy_from_slice(&length);
    }
}

/// An attribute of a transform (RFC 7296 §3.3.5, RFC 2408 §3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its type, 15 bits.
    pub kind: u16,
    /// Its value.
    pub value: AttributeValue,
}

/// The value of an attribute, in the form it was or will be sent in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// Two bytes in place of the length.
    Short(u16),
    /// So many bytes after a length.
    Long(Vec<u8>),
}

impl Attribute {
    /// Key length in bits, in `IKEv2` as in `IKEv1`.
    pub const KEY_LENGTH: u16 = 14;

    /// One in the short form.
    #[must_use]
    pub const fn short(kind: u16, value: u16) -> Self {
        Self { kind: kind & 0x7fff, value: AttributeValue::Short(value) }
    }

    /// Its value as a number, if it has at most four bytes.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match &self.value {
            AttributeValue::Short(value) => Some(u32::from(*value)),
            AttributeValue::Long(bytes) if bytes.len() <= 4 => {
                Some(bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
            }
            AttributeValue::Long(_) => None,
        }
    }

    pub(crate) fn read_all(mut reader: Reader<'_>) -> Result<Vec<Self>, Error> {
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            let head = reader.u16()?;
            let tail = reader.u16()?;
            let value = if head & 0x8000 == 0 {
                AttributeValue::Long(reader.take(usize::from(tail))?.to_vec())
            } else {
                AttributeValue::Short(tail)
            };
            attributes.push(Self { kind: head & 0x7fff, value });
        }
        Ok(attributes)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match &self.value {
            AttributeValue::Short(value) => {
                out.extend((self.kind | 0x8000).to_be_bytes());
                out.extend(value.to_be_bytes());
            }
            AttributeValue::Long(bytes) => {
                out.extend((self.kind & 0x7fff).to_be_bytes());
                out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
                out.extend(bytes);
            }
        }
    }
}

/// The data of `NAT_DETECTION_*_IP` (RFC 7296 §2.23): SHA-1(SPIi | `SPIr` | address | port). In a first
/// request the responder's SPI is zero.
#[must_use]
pub fn nat_detection(initiator: Spi, responder: Spi, address: IpAddr, port: u16) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(initiator.0);
    hash.update(responder.0);
    match address {
        IpAddr::V4(address) => hash.update(address.octets()),
        IpAddr::V6(address) => hash.update(address.octets()),
    }
    hash.update(port.to_be_bytes());
    hash.finalize().into()
}
