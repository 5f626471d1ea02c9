//! Extensions of ICMP errors: the MPLS labels a packet had.
//!
//! ```text
//! original datagram, padded with zeros to >= 128 | version 4 = 2, reserved 12 | checksum 2 | objects
//! object   length 2 | class 1 | type 1 | payload       class 1, type 1: entries of a label stack
//! entry    label 20 | traffic class 3 | bottom 1 | TTL 8
//! ```
//! The kernel hands over what an error quotes without the ICMP header and so without the length of the
//! original datagram. The extension is found by what it is: at 128 bytes (RFC 4884, 5.5: where old routers
//! put it without a length, and where nearly all do), or further on at a multiple of four, where its
//! checksum and its objects must fit the rest exactly.
//!
//! Invariant: what is no whole, consistent extension yields nothing. RFC 4884 (7, 8), RFC 4950, RFC 3032.

use pnet::packet::util::checksum;

use crate::wire::Reader;

/// One entry of a label stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The label, 20 bits.
    pub label: u32,
    /// The traffic class, 3 bits.
    pub class: u8,
    /// Whether it is the bottom of the stack.
    pub bottom: bool,
    /// Its time to live.
    pub ttl: u8,
}

/// Where the original datagram ends at the least.
const ORIGINAL: usize = 128;
/// How far beyond it an extension is looked for.
const FURTHEST: usize = 576;

/// The label stack that an error tells. `quoted` is what follows the first `skipped` bytes of the original
/// datagram: 28 for an IPv4 header and a UDP header.
#[must_use]
pub fn label_stack(quoted: &[u8], skipped: usize) -> Vec<Entry> {
    let first = ORIGINAL.saturating_sub(skipped);
    let mut at = first;
    while let Some(rest) = quoted.get(at..).filter(|rest| rest.len() >= 8 && at <= FURTHEST) {
        if let Some(found) = structure(rest, at == first) {
            return found;
        }
        at += 4;
    }
    Vec::new()
}

fn structure(bytes: &[u8], usual_place: bool) -> Option<Vec<Entry>> {
    let mut reader = Reader::new("icmp extension", bytes);
    if reader.u8().ok()? >> 4 != 2 {
        return None;
    }
    reader.u8().ok()?;
    let sum = reader.u16().ok()?;
    // Zero: no checksum was sent (RFC 4884, 7).
    let proven = if sum == 0 { usual_place } else { checksum(bytes, usize::MAX) == 0 };
    if !proven || bytes.len() > usize::from(u16::MAX) {
        return None;
    }
    let mut stack = Vec::new();
    while !reader.is_empty() {
        let length = usize::from(reader.u16().ok()?).checked_sub(4)?;
        let (class, kind) = (reader.u8().ok()?, reader.u8().ok()?);
        let mut payload = Reader::new("icmp extension", reader.take(length).ok()?);
        if (class, kind) != (1, 1) {
            continue;
        }
        while !payload.is_empty() {
            let entry = payload.u32().ok()?;
            let [.., ttl] = entry.to_be_bytes();
            stack.push(Entry {
                label: entry >> 12,
                class: u8::try_from((entry >> 9) & 7).ok()?,
                bottom: entry & 0x100 != 0,
                ttl,
            });
        }
    }
    Some(stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Laid out by hand after RFC 4884 (7, 8) and RFC 4950 (3): label 24016, class 0, bottom, TTL 1.
    /// The checksum by hand, too: 2000 + 0008 + 0101 + 05dd + 0101 = 27e7, inverted d818.
    const MPLS: [u8; 12] = [0x20, 0, 0xd8, 0x18, 0, 8, 1, 1, 0x05, 0xdd, 0x01, 0x01];

    fn quoted(pad: usize, extension: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; pad];
        bytes.extend(extension);
        bytes
    }

    #[test]
    fn a_label_is_read_where_old_and_new_routers_put_it() {
        let entry = Entry { label: 24016, class: 0, bottom: true, ttl: 1 };
        for pad in [100, 104, 200] {
            assert_eq!(label_stack(&quoted(pad, &MPLS), 28), [entry], "{pad}");
        }
    }

    #[test]
    fn no_part_of_one_is_one() {
        let whole = quoted(100, &MPLS);
        for len in 0..whole.len() {
            assert!(label_stack(&whole[..len], 28).is_empty(), "{len} bytes");
        }
        let mut wrong = whole;
        wrong[111] ^= 1;
        assert!(label_stack(&wrong, 28).is_empty());
        assert!(label_stack(&[0x20; 4000], 28).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, skipped in 0usize..200) {
            let _ = label_stack(&bytes, skipped);
        }
    }
}
