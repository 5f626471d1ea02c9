//! SSTP control messages (MS-SSTP 2.2.2 to 2.2.13), as they follow the HTTP head on the stream.
//!
//! ```text
//! | version 0x10 | reserved 7, C 1 | reserved 4, length 12 |
//! | message type 16 | number of attributes 16 |
//! | reserved | attribute id | reserved 4, length 12 | value |     each attribute
//! ```
//! Invariant: an attribute that is not understood survives as bytes; a length counts its own header.

#[cfg(test)]
mod tests;

use super::{Error, Reader, Why};

const PROTOCOL: &str = "sstp";
const VERSION: u8 = 0x10;
const LENGTH: u16 = 0x0fff;
const HEADER: usize = 8;

/// What the client asks for (MS-SSTP 2.2.1): method and path of the only request.
pub const REQUEST_LINE: &str = "SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1";
/// The length that request and answer claim: 2^64 - 1.
pub const CONTENT_LENGTH: u64 = u64::MAX;

/// Message types (MS-SSTP 2.2.2).
pub mod message {
    /// `SSTP_MSG_CALL_CONNECT_REQUEST`.
    pub const CALL_CONNECT_REQUEST: u16 = 1;
    /// `SSTP_MSG_CALL_CONNECT_ACK`.
    pub const CALL_CONNECT_ACK: u16 = 2;
    /// `SSTP_MSG_CALL_CONNECT_NAK`.
    pub const CALL_CONNECT_NAK: u16 = 3;
    /// `SSTP_MSG_CALL_ABORT`.
    pub const CALL_ABORT: u16 = 5;
}

/// Attribute ids (MS-SSTP 2.2.4).
pub mod attribute {
    /// `SSTP_ATTRIB_ENCAPSULATED_PROTOCOL_ID`.
    pub const ENCAPSULATED_PROTOCOL: u8 = 1;
    /// `SSTP_ATTRIB_STATUS_INFO`.
    pub const STATUS_INFO: u8 = 2;
    /// `SSTP_ATTRIB_CRYPTO_BINDING_REQ`.
    pub const CRYPTO_BINDING_REQUEST: u8 = 4;
}

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u16,
    /// Id and value of each attribute.
    pub attributes: Vec<(u8, Vec<u8>)>,
}

impl Message {
    /// A Call Connect Request for PPP (MS-SSTP 2.2.9).
    #[must_use]
    pub fn connect() -> Self {
        let ppp = (attribute::ENCAPSULATED_PROTOCOL, vec![0, 1]);
        Self { kind: message::CALL_CONNECT_REQUEST, attributes: vec![ppp] }
    }

    /// A Call Abort without an error (MS-SSTP 2.2.13).
    #[must_use]
    pub fn abort() -> Self {
        // Three reserved octets, no attribute, no error.
        Self { kind: message::CALL_ABORT, attributes: vec![(attribute::STATUS_INFO, vec![0; 8])] }
    }

    /// How long the message at the start of `bytes` is; nothing until that is there.
    ///
    /// # Errors
    /// If it is no control message.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, Error> {
        let wrong = |at, why| Error { protocol: PROTOCOL, at, why };
        match bytes {
            [version, ..] if *version != VERSION => Err(wrong(0, Why::BadValue("version"))),
            [_, control, ..] if *control != 1 => Err(wrong(1, Why::BadValue("C"))),
            [_, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]) & LENGTH);
                if length < HEADER { Err(wrong(2, Why::BadLength)) } else { Ok(Some(length)) }
            }
            _ => Ok(None),
        }
    }

    /// Reads one message; what follows its own length is ignored.
    ///
    /// # Errors
    /// If it ends too early, or a length is impossible.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let length = Self::length(bytes)?.ok_or(reader.error(Why::Truncated))?;
        let mut reader = reader.part(length)?;
        reader.take(4)?;
        let kind = reader.u16()?;
        let count = reader.u16()?;
        let mut attributes = Vec::new();
        for _ in 0..count {
            reader.u8()?;
            let id = reader.u8()?;
            let wrong = reader.error(Why::BadLength);
            let length = usize::from(reader.u16()? & LENGTH);
            attributes.push((id, reader.take(length.checked_sub(4).ok_or(wrong)?)?.to_vec()));
        }
        Ok(Self { kind, attributes })
    }

    /// Appends the message. Attributes that would make it longer than 4095 bytes are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let mut count = 0u16;
        for (id, value) in &self.attributes {
            let Ok(length) = u16::try_from(value.len() + 4) else { continue };
            if HEADER + body.len() + value.len() + 4 > usize::from(LENGTH) {
                continue;
            }
            body.extend([0, *id]);
            body.extend(length.to_be_bytes());
            body.extend(value);
            count = count.saturating_add(1);
        }
        out.extend([VERSION, 1]);
        out.extend(u16::try_from(HEADER + body.len()).unwrap_or(LENGTH).to_be_bytes());
        out.extend(self.kind.to_be_bytes());
        out.extend(count.to_be_bytes());
        out.extend(body);
    }

    /// The value of the first attribute of that id.
    #[must_use]
    pub fn attribute(&self, id: u8) -> Option<&[u8]> {
        self.attributes.iter().find(|(other, _)| *other == id).map(|(_, value)| value.as_slice())
    }
}
