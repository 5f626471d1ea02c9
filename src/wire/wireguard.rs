//! WireGuard's handshake messages (the WireGuard paper, section 5.4), integers little-endian.
//!
//! ```text
//! 1 initiation  | 1 0 0 0 | sender 4 | ephemeral 32 | static 32+16 | timestamp 12+16 | mac1 16 | mac2 16 |
//! 2 response    | 2 0 0 0 | sender 4 | receiver 4 | ephemeral 32 | nothing 0+16 | mac1 16 | mac2 16 |
//! 3 cookie      | 3 0 0 0 | receiver 4 | nonce 24 | cookie 16+16 |
//! ```
//! Invariant: each message has exactly one length. What is encrypted stays so here.

#[cfg(test)]
mod tests;

use super::{Error, Reader, Why};

const PROTOCOL: &str = "wireguard";

/// Length of an initiation.
pub const INITIATION: usize = 148;
/// Where its `mac1` begins: what that covers.
pub const BEFORE_MAC1: usize = 116;
/// Length of a response.
pub const RESPONSE: usize = 92;

/// A handshake initiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiation {
    /// The sender's name for the session.
    pub sender: u32,
    /// Its ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Its static public key, sealed.
    pub sealed_static: [u8; 48],
    /// The time, sealed.
    pub sealed_timestamp: [u8; 28],
    /// What proves that the sender knows whom it asks.
    pub mac1: [u8; 16],
    /// What proves that it got a cookie; zeros without one.
    pub mac2: [u8; 16],
}

/// What may come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A handshake response.
    Response {
        /// The peer's name for the session.
        sender: u32,
        /// Ours, repeated.
        receiver: u32,
        /// The peer's ephemeral public key.
        ephemeral: [u8; 32],
        /// Nothing, sealed: the proof.
        sealed_nothing: [u8; 16],
        /// As in the initiation.
        mac1: [u8; 16],
        /// As in the initiation.
        mac2: [u8; 16],
    },
    /// A cookie reply: the peer is under load.
    Cookie {
        /// Our name for the session, repeated.
        receiver: u32,
        /// What the cookie is sealed with.
        nonce: [u8; 24],
        /// The cookie, sealed.
        sealed_cookie: [u8; 32],
    },
}

impl Initiation {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([1, 0, 0, 0]);
        out.extend(self.sender.to_le_bytes());
        out.extend(self.ephemeral);
        out.extend(self.sealed_static);
        out.extend(self.sealed_timestamp);
        out.extend(self.mac1);
        out.extend(self.mac2);
    }

    /// Reads an initiation.
    ///
    /// # Errors
    /// If it is none, or has another length.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let wrong = reader.error(Why::BadValue("type"));
        if reader.array()? != [1, 0, 0, 0] {
            return Err(wrong);
        }
        let message = Self {
            sender: u32::from_le_bytes(reader.array()?),
            ephemeral: reader.array()?,
            sealed_static: reader.array()?,
            sealed_timestamp: reader.array()?,
            mac1: reader.array()?,
            mac2: reader.array()?,
        };
        if reader.is_empty() { Ok(message) } else { Err(reader.error(Why::BadLength)) }
    }
}

impl Reply {
    /// Reads a response or a cookie reply.
    ///
    /// # Errors
    /// If it is neither, or has another length.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let wrong = reader.error(Why::BadValue("type"));
        let reply = match reader.array()? {
            [2, 0, 0, 0] => Self::Response {
                sender: u32::from_le_bytes(reader.array()?),
                receiver: u32::from_le_bytes(reader.array()?),
                ephemeral: reader.array()?,
                sealed_nothing: reader.array()?,
                mac1: reader.array()?,
                mac2: reader.array()?,
            },
            [3, 0, 0, 0] => Self::Cookie {
                receiver: u32::from_le_bytes(reader.array()?),
                nonce: reader.array()?,
                sealed_cookie: reader.array()?,
            },
            _ => return Err(wrong),
        };
        if reader.is_empty() { Ok(reply) } else { Err(reader.error(Why::BadLength)) }
    }

    /// Our name for the session, as repeated.
    #[must_use]
    pub const fn receiver(&self) -> u32 {
        match self {
            Self::Response { receiver, .. } | Self::Cookie { receiver, .. } => *receiver,
        }
    }
}
