//! ICMP and `ICMPv6`: echo, and errors with the datagram they quote.
//!
//! ```text
//! echo    type 8/0 (v6 128/129) | code 0 | checksum 2 | identifier 2 | sequence 2 | payload
//! error   type | code | checksum 2 | 4 by type (RFC 4884 length, MTU) | IP header | transport header …
//! ```
//! Invariant: a quoted datagram is cut at the length the router gives (RFC 4884), so that an extension
//! (MPLS labels) is never taken for payload.
//!
//! RFC 792, RFC 4443, RFC 4884 (5: compatibility), RFC 1071 (checksum). `ICMPv6`'s checksum covers the
//! addresses too, so the kernel writes and checks it (RFC 3542, 3.1); here it is 0 and ignored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::util::checksum;

use super::{Error, Reader, Why};

/// The most extension headers read before a quoted IPv6 payload.
const MAX_EXTENSION_HEADERS: usize = 8;

/// An ICMP message, as far as a prober needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// An echo request or reply.
    Echo(Echo<'a>),
    /// An error about a datagram.
    Problem(Problem<'a>),
    /// Any other, by type and code.
    Other(u8, u8),
}

/// An echo request or reply (RFC 792 page 14; RFC 4443, 4.1 and 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Whether it is a reply.
    pub reply: bool,
    /// Identifier. Datagram ICMP sockets replace it on the way out.
    pub identifier: u16,
    /// Sequence number.
    pub sequence: u16,
    /// Data.
    pub payload: &'a [u8],
}

/// An error message: destination unreachable, packet too big, time exceeded, parameter problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem<'a> {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The next hop's MTU in bytes, in the types that have it; 0 if not said.
    pub mtu: u32,
    /// The datagram it is about, if enough of it is there.
    pub quoted: Option<Quoted<'a>>,
}

/// The head of a datagram as an error quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// For whom it was.
    pub destination: IpAddr,
    /// Its protocol number (IANA): 1 ICMP, 6 TCP, 17 UDP, 58 `ICMPv6`.
    pub protocol: u8,
    /// It from its transport header on, as far as the router copied it: often 8 bytes, at times none.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads an ICMP message (`v6`: `ICMPv6`) from its type on.
    ///
    /// # Errors
    /// If it is cut short, or an `ICMPv4` checksum is wrong.
    pub fn decode(v6: bool, bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(if v6 { "icmpv6" } else { "icmp" }, bytes);
        let kind = reader.u8()?;
        let code = reader.u8()?;
        reader.u16()?;
        let rest: [u8; 4] = reader.array()?;
        if bytes.len() > usize::from(u16::MAX) {
            return Err(reader.error(Why::BadLength));
        }
        // Over the whole message, checksum included, the sum is all ones (RFC 1071), here inverted.
        if !v6 && checksum(bytes, usize::MAX) != 0 {
            return Err(Error { at: 2, ..reader.error(Why::BadValue("checksum")) });
        }
        let [i0, i1, s0, s1] = rest;
        let (request, reply) = echo_types(v6);
        if (kind == request || kind == reply) && code == 0 {
            return Ok(Self::Echo(Echo {
                reply: kind == reply,
                identifier: u16::from_be_bytes([i0, i1]),
                sequence: u16::from_be_bytes([s0, s1]),
                payload: reader.rest(),
            }));
        }
        let (mtu, length) = match (v6, kind) {
            (true, 2) => (u32::from_be_bytes(rest), 0),
            (true, 1 | 3) => (0, usize::from(i0) * 8),
            (true, 4) => (0, 0),
            (false, 3) => {
                (if code == 4 { u32::from(u16::from_be_bytes([s0, s1])) } else { 0 }, usize::from(i1) * 4)
            }
            (false, 11 | 12) => (0, usize::from(i1) * 4),
            _ => return Ok(Self::Other(kind, code)),
        };
        let body = reader.rest();
        let original = if length == 0 { body } else { body.get(..length).unwrap_or(body) };
        let quoted = if v6 { quoted_v6(original) } else { quoted_v4(original) };
        Ok(Self::Problem(Problem { kind, code, mtu, quoted }))
    }
}

impl Echo<'_> {
    /// Appends it as an ICMP (`v6`: `ICMPv6`) message, from its type on.
    pub fn encode(&self, v6: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let (request, reply) = echo_types(v6);
        out.extend([if self.reply { reply } else { request }, 0, 0, 0]);
        out.extend(self.identifier.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.payload);
        if !v6 {
            let sum = out.get(start..).map_or(0, |message| checksum(message, 1)).to_be_bytes();
            if let Some(field) = out.get_mut(start + 2..start + 4) {
                field.copy_from_slice(&sum);
            }
        }
    }

    /// Reads the head of an echo request that an error quotes, from its type on. The payload may be
    /// cut anywhere, and the checksum cannot be checked.
    #[must_use]
    pub fn quoted(v6: bool, bytes: &[u8]) -> Option<Echo<'_>> {
        let mut reader = Reader::new("icmp", bytes);
        let kind = reader.u8().ok()?;
        let code = reader.u8().ok()?;
        reader.u16().ok()?;
        let identifier = reader.u16().ok()?;
        let sequence = reader.u16().ok()?;
        (kind == echo_types(v6).0 && code == 0).then(|| Echo {
            reply: false,
            identifier,
            sequence,
            payload: reader.rest(),
        })
    }
}

/// The types of echo request and echo reply.
const fn echo_types(v6: bool) -> (u8, u8) {
    if v6 { (128, 129) } else { (8, 0) }
}

fn quoted_v4(bytes: &[u8]) -> Option<Quoted<'_>> {
    let mut reader = Reader::new("icmp", bytes);
    let first = reader.u8().ok()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    reader.take(8).ok()?;
    let protocol = reader.u8().ok()?;
    reader.take(2).ok()?;
    let source = Ipv4Addr::from(reader.u32().ok()?).into();
    let destination = Ipv4Addr::from(reader.u32().ok()?).into();
    Some(Quoted { source, destination, protocol, payload: bytes.get(header..)? })
}

fn quoted_v6(bytes: &[u8]) -> Option<Quoted<'_>> {
    let mut reader = Reader::new("icmpv6", bytes);
    if reader.u8().ok()? >> 4 != 6 {
        return None;
    }
    reader.take(5).ok()?;
    let mut protocol = reader.u8().ok()?;
    reader.take(1).ok()?;
    let source = Ipv6Addr::from(reader.array::<16>().ok()?).into();
    let destination = Ipv6Addr::from(reader.array::<16>().ok()?).into();
    for _ in 0..MAX_EXTENSION_HEADERS {
        // Hop-by-hop options, routing, destination options; the fragment header has a fixed length.
        if !matches!(protocol, 0 | 43 | 44 | 60) {
            break;
        }
        let next = reader.u8().ok()?;
        let length = reader.u8().ok()?;
        reader.take(if protocol == 44 { 6 } else { usize::from(length) * 8 + 6 }).ok()?;
        protocol = next;
    }
    Some(Quoted { source, destination, protocol, payload: reader.rest() })
}

pub mod extension;

#[cfg(test)]
mod tests;
