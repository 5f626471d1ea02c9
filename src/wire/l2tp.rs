//! L2TP version 2 control messages (RFC 2661 sections 3.1, 4.1, 4.4, 5.8).
//!
//! ```text
//!  0                   1                   2                   3
//!  |T|L|x x|S|x|O|P|x x x x|  Ver  |            Length             |
//!  |           Tunnel ID           |          Session ID           |
//!  |              Ns               |              Nr               |
//!  |M|H| rsvd  |      Length       |           Vendor ID           |  each AVP
//!  |        Attribute Type         |        Attribute Value …
//! ```
//!
//! Invariant: an AVP that is not understood survives as bytes, a hidden one (section 4.3) too: nothing
//! here knows the tunnel's secret.

#[cfg(test)]
mod tests;

use super::{Error, Reader, Why};

const PROTOCOL: &str = "l2tp";

/// T, L and S set, version 2: what every control message starts with (section 3.1).
const CONTROL: u16 = 0xc802;
/// The bits of the first word that a receiver must find as in [`CONTROL`]: T, L, S, O, P, version.
const CHECKED: u16 = 0xcb0f;
const HEADER_LEN: usize = 12;
const AVP_HEADER_LEN: usize = 6;
const MANDATORY: u16 = 0x8000;
const HIDDEN: u16 = 0x4000;
const LENGTH: u16 = 0x03ff;

/// The most AVPs read from one message.
const MAX_AVPS: usize = 128;

/// Message types (section 3.2).
pub mod message {
    /// Start-Control-Connection-Request.
    pub const SCCRQ: u16 = 1;
    /// Start-Control-Connection-Reply.
    pub const SCCRP: u16 = 2;
    /// Stop-Control-Connection-Notification.
    pub const STOP_CCN: u16 = 4;
}

/// Attribute types of vendor 0 (section 4.4).
pub mod attribute {
    /// Message Type, always the first.
    pub const MESSAGE_TYPE: u16 = 0;
    /// Result Code.
    pub const RESULT_CODE: u16 = 1;
    /// Protocol Version.
    pub const PROTOCOL_VERSION: u16 = 2;
    /// Framing Capabilities.
    pub const FRAMING_CAPABILITIES: u16 = 3;
    /// Firmware Revision.
    pub const FIRMWARE_REVISION: u16 = 6;
    /// Host Name.
    pub const HOST_NAME: u16 = 7;
    /// Vendor Name.
    pub const VENDOR_NAME: u16 = 8;
    /// Assigned Tunnel ID.
    pub const ASSIGNED_TUNNEL_ID: u16 = 9;
    /// Receive Window Size.
    pub const RECEIVE_WINDOW_SIZE: u16 = 10;
    /// Challenge: the sender wants proof of the tunnel's secret.
    pub const CHALLENGE: u16 = 11;
}

/// A control message. Without AVPs it is a zero-length body: a bare acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The tunnel as the receiver named it; 0 if it has not yet.
    pub tunnel_id: u16,
    /// The session as the receiver named it; 0 for what concerns the whole tunnel.
    pub session_id: u16,
    /// The number of this message; a zero-length body has the number of the next one.
    pub ns: u16,
    /// The number of the message expected next.
    pub nr: u16,
    /// What it says, Message Type first.
    pub avps: Vec<Avp>,
}

/// An attribute-value pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avp {
    /// M: a receiver that does not know the attribute must give up the session or tunnel.
    pub mandatory: bool,
    /// H: the value is hidden by the tunnel's secret.
    pub hidden: bool,
    /// 0 for the attributes of the standard, else whose it is (SMI enterprise number).
    pub vendor: u16,
    /// Its type.
    pub attribute: u16,
    /// The value, at most 1017 bytes; more are cut when written.
    pub value: Vec<u8>,
}

/// The value of Result Code (section 4.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCode<'a> {
    /// The result; what it means depends on the message.
    pub result: u16,
    /// The general error, mostly with result 2.
    pub error: Option<u16>,
    /// A text for people; may be empty.
    pub text: &'a [u8],
}

impl Avp {
    /// A mandatory AVP of the standard.
    #[must_use]
    pub fn mandatory(attribute: u16, value: impl Into<Vec<u8>>) -> Self {
        Self { mandatory: true, hidden: false, vendor: 0, attribute, value: value.into() }
    }

    /// A mandatory AVP of the standard with a 16-bit value.
    #[must_use]
    pub fn number(attribute: u16, value: u16) -> Self {
        Self::mandatory(attribute, value.to_be_bytes())
    }
}

impl Message {
    /// Reads a control message. What follows its own length is ignored.
    ///
    /// # Errors
    /// If it ends too early, is a data message or not version 2, or a length is impossible.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let wrong = reader.error(Why::BadValue("flags and version"));
        if reader.u16()? & CHECKED != CONTROL & CHECKED {
            return Err(wrong);
        }
        let wrong = reader.error(Why::BadLength);
        let len = usize::from(reader.u16()?);
        if len < HEADER_LEN {
            return Err(wrong);
        }
        let mut reader = reader.part(len.saturating_sub(4))?;
        let mut message = Self {
            tunnel_id: reader.u16()?,
            session_id: reader.u16()?,
            ns: reader.u16()?,
            nr: reader.u16()?,
            avps: Vec::new(),
        };
        while !reader.is_empty() {
            if message.avps.len() == MAX_AVPS {
                return Err(reader.error(Why::TooMany));
            }
            message.avps.push(Avp::read(&mut reader)?);
        }
        Ok(message)
    }

    /// Appends the message. AVPs that would make it longer than 65,535 bytes are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        for avp in &self.avps {
            let before = body.len();
            avp.write(&mut body);
            if body.len() > usize::from(u16::MAX) - HEADER_LEN {
                body.truncate(before);
                break;
            }
        }
        let len = u16::try_from(HEADER_LEN.saturating_add(body.len())).unwrap_or(u16::MAX);
        for word in [CONTROL, len, self.tunnel_id, self.session_id, self.ns, self.nr] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.append(&mut body);
    }

    /// Whether it is a bare acknowledgement.
    #[must_use]
    pub const fn is_zero_length_body(&self) -> bool {
        self.avps.is_empty()
    }

    /// Its type, which must be its first AVP (section 4.4.1).
    #[must_use]
    pub fn message_type(&self) -> Option<u16> {
        let first = self.avps.first()?;
        (first.vendor == 0 && first.attribute == attribute::MESSAGE_TYPE).then(|| first.as_u16())?
    }

    /// The AVP of the standard of that type, hidden or not.
    #[must_use]
    pub fn avp(&self, attribute: u16) -> Option<&Avp> {
        self.avps.iter().find(|avp| avp.vendor == 0 && avp.attribute == attribute)
    }

    /// The 16-bit value of that AVP, if it is there, readable and of that length.
    #[must_use]
    pub fn number(&self, attribute: u16) -> Option<u16> {
        self.avp(attribute)?.as_u16()
    }

    /// The bytes of that AVP, if it is there and not hidden.
    #[must_use]
    pub fn bytes(&self, attribute: u16) -> Option<&[u8]> {
        self.avp(attribute).filter(|avp| !avp.hidden).map(|avp| avp.value.as_slice())
    }

    /// Its Result Code.
    #[must_use]
    pub fn result_code(&self) -> Option<ResultCode<'_>> {
        let mut reader = Reader::new(PROTOCOL, self.bytes(attribute::RESULT_CODE)?);
        let result = reader.u16().ok()?;
        Some(ResultCode { result, error: reader.u16().ok(), text: reader.rest() })
    }
}

impl Avp {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let wrong = reader.error(Why::BadLength);
        let word = reader.u16()?;
        let vendor = reader.u16()?;
        let attribute = reader.u16()?;
        let len = usize::from(word & LENGTH).checked_sub(AVP_HEADER_LEN).ok_or(wrong)?;
        Ok(Self {
            mandatory: word & MANDATORY != 0,
            hidden: word & HIDDEN != 0,
            vendor,
            attribute,
            value: reader.take(len)?.to_vec(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let longest = usize::from(LENGTH).saturating_sub(AVP_HEADER_LEN);
        let value = self.value.get(..longest).unwrap_or(&self.value);
        let len = u16::try_from(value.len().saturating_add(AVP_HEADER_LEN)).unwrap_or(LENGTH);
        let flags = if self.mandatory { MANDATORY } else { 0 } | if self.hidden { HIDDEN } else { 0 };
        for word in [flags | len, self.vendor, self.attribute] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(value);
    }

    fn as_u16(&self) -> Option<u16> {
        if self.hidden {
            return None;
        }
        self.value.as_slice().try_into().ok().map(u16::from_be_bytes)
    }
}
