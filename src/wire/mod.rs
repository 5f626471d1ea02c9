//! Wire formats: bytes in, value out, and back. Pure; nothing here knows a socket or a clock.
//!
//! Each protocol's file holds its message type with
//! `decode(&[u8]) -> Result<Message, Error>` and `encode(&self, &mut Vec<u8>)`.
//! Invariants: no input panics; every loop is bounded by the input; unknown code points survive as
//! numbers; nothing is indexed, everything is read through [`Reader`].

pub mod http;
pub mod ike;
pub mod ikev1;
pub mod l2tp;
pub mod openvpn;
pub mod rdp;
pub mod sstp;
pub mod stun;
pub mod wireguard;

use std::fmt;

pub mod icmp;

/// Why bytes are not a message: which protocol, at which offset, and what is wrong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// The format that was being read, for example `"ikev2"`.
    pub protocol: &'static str,
    /// Offset in the datagram or stream, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub why: Why,
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The bytes end before the field does.
    Truncated,
    /// A length field contradicts the bytes around it.
    BadLength,
    /// A field has a value that the standard forbids; the text names the field.
    BadValue(&'static str),
    /// There are more items than any honest message has.
    TooMany,
    /// An authentication tag does not fit the bytes.
    BadTag,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} message, offset {}: ", self.protocol, self.at)?;
        match self.why {
            Why::Truncated => f.write_str("ends too early"),
            Why::BadLength => f.write_str("a length field is wrong"),
            Why::BadValue(field) => write!(f, "{field} has a forbidden value"),
            Why::TooMany => f.write_str("too many items"),
            Why::BadTag => f.write_str("the authentication tag is wrong"),
        }
    }
}

impl std::error::Error for Error {}

/// A cursor over received bytes. Every read is checked; an error knows its offset.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    protocol: &'static str,
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` as a message of `protocol`.
    #[must_use]
    pub const fn new(protocol: &'static str, bytes: &'a [u8]) -> Self {
        Self { protocol, rest: bytes, at: 0 }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether all bytes are read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error at the current offset.
    #[must_use]
    pub const fn error(&self, why: Why) -> Error {
        Error { protocol: self.protocol, at: self.at, why }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Why::Truncated`] if fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(self.error(Why::Truncated))?;
        self.rest = rest;
        self.at += n;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Why::Truncated`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.error(Why::Truncated))?;
        self.rest = rest;
        self.at += N;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Why::Truncated`] if none is left.
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    /// The next two bytes, big-endian.
    ///
    /// # Errors
    /// [`Why::Truncated`] if fewer are left.
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes, big-endian.
    ///
    /// # Errors
    /// [`Why::Truncated`] if fewer are left.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// All that is left.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.at += rest.len();
        self.rest = &[];
        rest
    }

    /// A reader over the next `n` bytes only, with offsets that still count from the start.
    ///
    /// # Errors
    /// [`Why::Truncated`] if fewer are left.
    pub fn part(&mut self, n: usize) -> Result<Self, Error> {
        let at = self.at;
        let rest = self.take(n)?;
        Ok(Self { protocol: self.protocol, rest, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_checked_and_errors_know_their_offset() {
        let mut reader = Reader::new("test", &[1, 2, 3, 4, 5]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        let mut part = reader.part(1).unwrap();
        assert_eq!(part.u16(), Err(Error { protocol: "test", at: 3, why: Why::Truncated }));
        assert_eq!(part.u8(), Ok(4));
        assert!(part.is_empty());
        assert_eq!(reader.u32().unwrap_err().to_string(), "test message, offset 4: ends too early");
        assert_eq!(reader.rest(), [5]);
    }
}
