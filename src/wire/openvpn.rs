//! OpenVPN's control channel: packets, their framing over TCP, and the keys that wrap them.
//!
//! ```text
//!  plain       op·key-id 1 │ session id 8 │ acks 1+4n │ [peer's session id 8] │ packet id 4 │ payload
//!  tls-auth    op·key-id 1 │ session id 8 │ HMAC      │ replay id 4 │ time 4  │ acks …
//!  tls-crypt   op·key-id 1 │ session id 8 │ replay id 4 │ time 4 │ tag 32 │ AES-256-CTR(acks …)
//! ```
//!
//! Invariant: [`Wrapping::unwrap`] gives a packet only if its tag is right; nothing of an
//! unauthenticated body is looked at. There is no RFC: the sources are the OpenVPN wire protocol
//! document (openvpn-rfc) and `doc/tls-crypt-v2.txt` of OpenVPN 2.6.

mod keys;
mod wrap;

#[cfg(test)]
pub(crate) mod tests;

pub use keys::{Digest, KeyError, Keys};
pub use wrap::{Side, Wrapping};

use super::{Error, Reader, Why};

const PROTOCOL: &str = "openvpn";

/// The most acknowledgements a packet carries (`RELIABLE_ACK_SIZE`).
pub const MAX_ACKS: usize = 8;

/// The longest packet taken from a TCP stream, in bytes. Control packets stay below 1.5 KB; the limit
/// makes a stream of another protocol (text starts at 0x2000) fail at its first bytes.
pub const MAX_FRAME: usize = 4096;

/// The names of one end's session: random, never zero.
pub type SessionId = [u8; 8];

/// Replay ids from here on announce early negotiation (`EARLY_NEG_START`): the client can resend its
/// wrapped key in its third packet, so that the server need not keep state from the first one.
pub const EARLY_NEGOTIATION: u32 = 0x0f00_0000;

/// What a control packet is for: the upper five bits of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A new key for a running session.
    SoftResetV1,
    /// A piece of the TLS stream.
    ControlV1,
    /// Only acknowledgements.
    AckV1,
    /// A client starts a session.
    HardResetClientV2,
    /// A server answers it.
    HardResetServerV2,
    /// A client starts a session, with its wrapped key behind (tls-crypt-v2).
    HardResetClientV3,
    /// The first piece of the TLS stream, with the wrapped key behind once more (tls-crypt-v2).
    ControlWkcV1,
}

impl Opcode {
    /// The opcode of that number; nothing if it is no control packet's.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            3 => Self::SoftResetV1,
            4 => Self::ControlV1,
            5 => Self::AckV1,
            7 => Self::HardResetClientV2,
            8 => Self::HardResetServerV2,
            10 => Self::HardResetClientV3,
            11 => Self::ControlWkcV1,
            _ => return None,
        })
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::SoftResetV1 => 3,
            Self::ControlV1 => 4,
            Self::AckV1 => 5,
            Self::HardResetClientV2 => 7,
            Self::HardResetServerV2 => 8,
            Self::HardResetClientV3 => 10,
            Self::ControlWkcV1 => 11,
        }
    }

    /// Whether a wrapped client key follows the packet.
    const fn carries_wrapped_key(self) -> bool {
        matches!(self, Self::HardResetClientV3 | Self::ControlWkcV1)
    }
}

/// A control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is for.
    pub opcode: Opcode,
    /// Which key of the session it negotiates, 0 to 7.
    pub key_id: u8,
    /// The sender's session.
    pub session: SessionId,
    /// The packet ids it acknowledges, and whose they are; nothing if it acknowledges none.
    pub acks: Option<Acks>,
    /// Its own number, from 0 on; not read or written for [`Opcode::AckV1`], where it is 0.
    pub id: u32,
    /// What it carries; empty for [`Opcode::AckV1`].
    pub payload: Vec<u8>,
}

/// The acknowledgements in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acks {
    /// The packet ids, 1 to [`MAX_ACKS`]; more are not written.
    pub ids: Vec<u32>,
    /// The session of the receiver, whose packets they are.
    pub session: SessionId,
}

impl Packet {
    /// Reads a plain packet.
    ///
    /// # Errors
    /// If it ends too early, is no control packet, or has too many acknowledgements.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let (opcode, key_id) = first_byte(&mut reader)?;
        let session = reader.array()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_ACKS {
            return Err(reader.error(Why::TooMany));
        }
        let ids = (0..count).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()?;
        let acks = if ids.is_empty() { None } else { Some(Acks { ids, session: reader.array()? }) };
        let (id, payload) = if opcode == Opcode::AckV1 {
            if acks.is_none() || !reader.is_empty() {
                return Err(reader.error(Why::BadLength));
            }
            (0, Vec::new())
        } else {
            (reader.u32()?, reader.rest().to_vec())
        };
        Ok(Self { opcode, key_id, session, acks, id, payload })
    }

    /// Appends the plain packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push((self.opcode.number() << 3) | (self.key_id & 7));
        out.extend_from_slice(&self.session);
        let ids = self.acks.iter().flat_map(|acks| acks.ids.iter().take(MAX_ACKS));
        out.push(ids.clone().fold(0, |count: u8, _| count.saturating_add(1)));
        ids.for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
        if let Some(acks) = self.acks.as_ref().filter(|acks| !acks.ids.is_empty()) {
            out.extend_from_slice(&acks.session);
        }
        if self.opcode != Opcode::AckV1 {
            out.extend_from_slice(&self.id.to_be_bytes());
            out.extend_from_slice(&self.payload);
        }
    }

    /// Whether this answer to a reset asks for the wrapped key once more: TLV type 1 (early
    /// negotiation flags) with the lowest bit set in the payload.
    #[must_use]
    pub fn wants_wrapped_key(&self) -> bool {
        let mut reader = Reader::new(PROTOCOL, &self.payload);
        while let (Ok(kind), Ok(len)) = (reader.u16(), reader.u16()) {
            let Ok(mut value) = reader.part(usize::from(len)) else { return false };
            if kind == 1 {
                return value.u16().is_ok_and(|flags| flags & 1 != 0);
            }
        }
        false
    }
}

fn first_byte(reader: &mut Reader<'_>) -> Result<(Opcode, u8), Error> {
    let wrong = reader.error(Why::BadValue("opcode"));
    let byte = reader.u8()?;
    Opcode::from_number(byte >> 3).map(|opcode| (opcode, byte & 7)).ok_or(wrong)
}

/// Appends a packet as it goes over TCP: its length (2 bytes, itself not counted) before it. A packet
/// too long for that is cut.
pub fn frame(packet: &[u8], out: &mut Vec<u8>) {
    let packet = packet.get(..usize::from(u16::MAX)).unwrap_or(packet);
    out.extend_from_slice(&u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(packet);
}

/// Cuts a TCP stream into packets as its bytes come in.
#[derive(Debug, Default)]
pub struct Frames(Vec<u8>);

impl Frames {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Whether no part of a packet is waiting for the rest.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next whole packet, still wrapped; nothing as long as it is not complete.
    ///
    /// # Errors
    /// If no control packet starts here: a length of 0 or above [`MAX_FRAME`], or a wrong opcode. The
    /// stream is of no use after that.
    pub fn next_packet(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut reader = Reader::new(PROTOCOL, &self.0);
        let Ok(len) = reader.u16().map(usize::from) else { return Ok(None) };
        if len == 0 || len > MAX_FRAME {
            return Err(reader.error(Why::BadLength));
        }
        if !reader.is_empty() {
            first_byte(&mut reader.clone())?;
        }
        let Ok(packet) = reader.take(len).map(<[u8]>::to_vec) else { return Ok(None) };
        self.0.drain(..len.saturating_add(2));
        Ok(Some(packet))
    }
}
