//! The shared ICMP sockets: what they let pass, and whose a packet is.
//!
//! Routing looks only at the eight token bytes that follow the ICMP header (of the answer itself, or of
//! the packet an error quotes); the exchange then checks the whole token, sequence and address.

use std::net::IpAddr;

use socket2::SockFilter;

use crate::probe::IcmpError;
use crate::probe::icmp::icmp_error;
use crate::wire::{Error, Reader};

// Classic BPF. A raw IPv4 socket sees the IP header first, a raw ICMPv6 socket does not.
pub(super) const LOAD_HEADER_LENGTH: u16 = 0xb1; // ldx 4*([k]&0xf)
pub(super) const LOAD_BYTE_INDEXED: u16 = 0x50; // ldb [x+k]
pub(super) const LOAD_BYTE: u16 = 0x30; // ldb [k]
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const RETURN: u16 = 0x06;

/// Echo replies, unreachable and time exceeded; not the requests of others.
pub(super) const FILTER_V4: &[SockFilter] = &[
    SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
    SockFilter::new(LOAD_BYTE_INDEXED, 0, 0, 0),
    SockFilter::new(JUMP_IF_EQUAL, 3, 0, 0),
    SockFilter::new(JUMP_IF_EQUAL, 2, 0, 3),
    SockFilter::new(JUMP_IF_EQUAL, 1, 0, 11),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, 0xffff),
];

/// Echo replies, unreachable, packet too big and time exceeded.
pub(super) const FILTER_V6: &[SockFilter] = &[
    SockFilter::new(LOAD_BYTE, 0, 0, 0),
    SockFilter::new(JUMP_IF_EQUAL, 4, 0, 129),
    SockFilter::new(JUMP_IF_EQUAL, 3, 0, 1),
    SockFilter::new(JUMP_IF_EQUAL, 2, 0, 2),
    SockFilter::new(JUMP_IF_EQUAL, 1, 0, 3),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, 0xffff),
];

/// What a packet on a shared socket is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// An echo reply: the ICMP message from its type on.
    Reply { token: u64, message: &'a [u8] },
    /// An error about one of our packets; `quoted` is that packet from its ICMP header on.
    Error { token: u64, error: IcmpError, destination: IpAddr, quoted: &'a [u8] },
}

/// Reads what a raw socket received.
pub(super) fn read(v6: bool, bytes: &[u8]) -> Result<Packet<'_>, Error> {
    let mut outer = Reader::new("icmp", bytes);
    if !v6 {
        skip_ipv4(&mut outer)?;
    }
    let message = outer.rest();
    let mut reader = Reader::new("icmp", message);
    let (kind, code) = (reader.u8()?, reader.u8()?);
    reader.u16()?; // checksum: the kernel has checked it
    let info = reader.u32()?;
    if kind == if v6 { 129 } else { 0 } {
        return Ok(Packet::Reply { token: token(&mut reader)?, message });
    }
    let destination = if v6 { skip_ipv6(&mut reader)? } else { skip_ipv4(&mut reader)? };
    let quoted = reader.rest();
    let mut inner = Reader::new("icmp", quoted);
    inner.take(8)?;
    Ok(Packet::Error {
        token: token(&mut inner)?,
        error: icmp_error(v6, kind, code, next_hop(v6, info)),
        destination,
        quoted,
    })
}

/// From how many quoted bytes on the token's start is among them.
pub(super) const TELLING: usize = 16;

/// An error that a raw socket received and that quotes a header of an echo request and no token.
pub(super) fn headers(v6: bool, bytes: &[u8]) -> Option<(IcmpError, &[u8])> {
    let mut outer = Reader::new("icmp", bytes);
    if !v6 {
        skip_ipv4(&mut outer).ok()?;
    }
    let (kind, code) = (outer.u8().ok()?, outer.u8().ok()?);
    outer.u16().ok()?; // checksum: the kernel has checked it
    let info = outer.u32().ok()?;
    if kind == if v6 { 129 } else { 0 } {
        return None;
    }
    if v6 { skip_ipv6(&mut outer) } else { skip_ipv4(&mut outer) }.ok()?;
    let quoted = outer.rest();
    (8..TELLING).contains(&quoted.len()).then(|| (icmp_error(v6, kind, code, next_hop(v6, info)), quoted))
}

/// The size that the next hop takes, in the second word of an error: for IPv6 the whole word, for IPv4 its
/// low half (RFC 1191).
const fn next_hop(v6: bool, info: u32) -> u32 {
    if v6 { info } else { info & 0xffff }
}

/// The token of an ICMP message that starts with its header.
pub(super) fn token_of(message: &[u8]) -> Option<u64> {
    let mut reader = Reader::new("icmp", message);
    reader.take(8).ok()?;
    token(&mut reader).ok()
}

/// The token of what is most probably an answer, which `headed` has an IPv4 header before it: a hint only.
pub(super) fn routed(headed: bool, bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader::new("icmp", bytes);
    if headed {
        skip_ipv4(&mut reader).ok()?;
    }
    token_of(reader.rest())
}

fn token(reader: &mut Reader<'_>) -> Result<u64, Error> {
    reader.array().map(u64::from_be_bytes)
}

fn skip_ipv4(reader: &mut Reader<'_>) -> Result<IpAddr, Error> {
    let header_length = usize::from(reader.u8()? & 0xf) * 4;
    reader.take(15)?;
    let destination: [u8; 4] = reader.array()?;
    reader.take(header_length.saturating_sub(20))?;
    Ok(destination.into())
}

fn skip_ipv6(reader: &mut Reader<'_>) -> Result<IpAddr, Error> {
    reader.take(24)?;
    reader.array::<16>().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Reason;

    /// Captured with tcpdump on a veth: `ping` to a host behind a router that has no route.
    #[test]
    fn an_error_is_routed_by_the_token_it_quotes() {
        let mut packet = vec![0x45, 0, 0, 0x38, 0, 0, 0, 0, 0x40, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 10];
        packet.extend([3, 13, 0, 0, 0, 0, 0, 0]);
        packet.extend([0x45, 0, 0, 0x54, 0, 0, 0x40, 0, 0x3f, 1, 0, 0, 192, 0, 2, 10, 203, 0, 113, 10]);
        packet.extend([8, 0, 0xab, 0xcd, 0x12, 0x34, 0, 1]);
        packet.extend(0x0102_0304_0506_0708_u64.to_be_bytes());
        let read = super::read(false, &packet).unwrap();
        let Packet::Error { token, error, destination, quoted } = read else { panic!("{read:?}") };
        assert_eq!(token, 0x0102_0304_0506_0708);
        assert_eq!(error, IcmpError::Unreachable(Reason::AdminProhibited));
        assert_eq!(destination, IpAddr::from([203, 0, 113, 10]));
        assert_eq!(quoted.len(), 16);
        for len in 0..packet.len() {
            assert!(super::read(false, &packet[..len]).is_err(), "{len} bytes");
        }
    }

    /// RFC 1191, 4, and RFC 4443, 3.2: where the size of the next hop stands; 64 bits are quoted (RFC 792).
    #[test]
    fn the_least_quote_of_a_packet_that_is_too_big_has_the_size() {
        let mut packet = vec![0x45, 0, 0, 0x38, 0, 0, 0, 0, 0x40, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 10];
        packet.extend([3, 4, 0, 0, 0xff, 0xff, 0x05, 0xae]);
        packet.extend([0x45, 0, 5, 0xdc, 0, 0, 0x40, 0, 0x3f, 1, 0, 0, 192, 0, 2, 10, 203, 0, 113, 10]);
        let header = [8, 0, 0xab, 0xcd, 0x12, 0x34, 0, 1];
        packet.extend(header);
        assert_eq!(headers(false, &packet), Some((IcmpError::TooBig(1454), &header[..])));
        let mut packet = vec![2, 0, 0, 0, 0, 0, 0x05, 0xae];
        packet.extend([0x60, 0, 0, 0, 5, 0xb4, 58, 63]);
        packet.extend([0x20; 32]);
        packet.extend(header);
        assert_eq!(headers(true, &packet), Some((IcmpError::TooBig(1454), &header[..])));
        for len in 0..packet.len() {
            assert_eq!(headers(true, &packet[..len]), None, "{len} bytes");
        }
    }
}
