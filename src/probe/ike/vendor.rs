//! Vendor ids in words, for both versions (RFC 7296 §3.12, RFC 2408 §3.16).
//!
//! Most are MD5 of a text: those are computed here from the text. Some are text themselves.
//! Invariant: an id is only a hint; nothing but what is shown to people depends on one.

use md5::{Digest, Md5};

use crate::sample::{Details, Text};

/// Texts whose MD5, cut to so many bytes, is a vendor id; what may follow is a version or capabilities.
static HASHED: &[(&str, usize, &str)] = &[
    ("RFC 3947", 16, "NAT-T (RFC 3947)"),
    ("draft-ietf-ipsec-nat-t-ike-03", 16, "NAT-T (draft 03)"),
    ("draft-ietf-ipsec-nat-t-ike-02\n", 16, "NAT-T (draft 02)"),
    ("draft-ietf-ipsec-nat-t-ike-02", 16, "NAT-T (draft 02)"),
    ("draft-ietf-ipsec-nat-t-ike-01", 16, "NAT-T (draft 01)"),
    ("draft-ietf-ipsec-nat-t-ike-00", 16, "NAT-T (draft 00)"),
    ("draft-ietf-ipsra-isakmp-xauth-06.txt", 8, "XAUTH"),
    ("FRAGMENTATION", 16, "fragmentation"),
    ("CISCO-UNITY", 14, "Cisco Unity"),
    ("MS NT5 ISAKMPOAKLEY", 16, "Microsoft Windows"),
    ("MS-Negotiation Discovery Capable", 16, "Microsoft negotiation discovery"),
    ("Vid-Initial-Contact", 16, "Microsoft initial contact"),
    ("IKE CGA version 1", 16, "IKE CGA version 1"),
    ("GSSAPI", 16, "GSSAPI"),
    ("strongSwan", 16, "strongSwan"),
];

/// Ids known only by their bytes, as prefixes.
static BYTES: &[(&[u8], &str)] = &[
    // RFC 3706 §5.1: major and minor version follow.
    (b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57", "dead peer detection"),
    (b"\x1d\x6e\x17\x8f\x6c\x2c\x0b\xe2\x84\x98\x54\x65\x45\x0f\xe9\xd4", "FortiGate"),
    (
        b"\xf4\xed\x19\xe0\xc1\x14\xeb\x51\x6f\xaa\xac\x0e\xe3\x7d\xaf\x28\x07\xb4\x38\x1f",
        "Check Point",
    ),
    (
        b"\x69\x93\x69\x22\x87\x41\xc6\xd4\xca\x09\x4c\x93\xe2\x42\xc9\xde\x19\xe7\xb7\xc6",
        "NetScreen",
    ),
];

/// Which maker a name, or an id that is text, stands for.
static MAKERS: &[(&str, &str)] = &[
    ("Cisco", "Cisco"),
    ("CISCO", "Cisco"),
    ("FLEXVPN", "Cisco"),
    ("FortiGate", "Fortinet"),
    ("Check Point", "Check Point"),
    ("NetScreen", "Juniper"),
    ("Microsoft", "Microsoft"),
    ("strongSwan", "strongSwan"),
];

/// The name of a vendor id, if it is a known one.
pub(crate) fn name(id: &[u8]) -> Option<&'static str> {
    let hashed = HASHED.iter().find(|(text, len, _)| {
        let hash: [u8; 16] = Md5::digest(text.as_bytes()).into();
        hash.get(..*len).is_some_and(|prefix| id.starts_with(prefix))
    });
    let known = BYTES.iter().find(|(prefix, _)| id.starts_with(prefix));
    hashed.map(|(.., name)| *name).or(known.map(|(_, name)| *name))
}

/// The bytes of the id that is MD5 of `text`.
pub(crate) fn hashed(text: &str) -> Vec<u8> {
    Md5::digest(text.as_bytes()).to_vec()
}

/// The id in words: its name, else itself if it is text, else hexadecimal.
pub(crate) fn describe(id: &[u8]) -> Text {
    match name(id) {
        Some(name) => name.into(),
        None if id.len() >= 4 && id.iter().all(|byte| matches!(byte, b' '..=b'~')) => Text::from_bytes(id),
        None => Text::hex(id),
    }
}

/// Puts the ids into the details: `vendor_ids`, and `vendor` if one of them names a maker.
pub(crate) fn record<'a>(ids: impl Iterator<Item = &'a [u8]>, details: &mut Details) {
    let words: Vec<Text> = ids.map(describe).collect();
    let maker =
        words.iter().find_map(|word| MAKERS.iter().find(|(prefix, _)| word.as_str().starts_with(prefix)));
    if let Some((_, maker)) = maker {
        details.text("vendor", *maker);
    }
    if !words.is_empty() {
        details.list("vendor_ids", words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_named_by_computation() {
        // RFC 3947 §3.1 prints this one; XAUTH and DPD as the real strongSwan sends them.
        let id = b"\x4a\x13\x1c\x81\x07\x03\x58\x45\x5c\x57\x28\xf2\x0e\x95\x45\x2f";
        assert_eq!(describe(id).as_str(), "NAT-T (RFC 3947)");
        assert_eq!(hashed("RFC 3947"), id);
        assert_eq!(describe(b"\x09\x00\x26\x89\xdf\xd6\xb7\x12").as_str(), "XAUTH");
        let dpd = b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57\x01\x00";
        assert_eq!(describe(dpd).as_str(), "dead peer detection");
    }

    #[test]
    fn unknown_ids_are_text_or_hexadecimal_and_makers_are_recognised() {
        assert_eq!(describe(b"\x00\x01\xfe").as_str(), "0001fe");
        let mut details = Details::default();
        record([b"\x01\x02".as_slice(), b"CISCO-DELETE-REASON"].into_iter(), &mut details);
        assert_eq!(details.get_text("vendor"), Some("Cisco"));
        record([b"".as_slice()].into_iter(), &mut details);
    }
}
