//! Vectors from other implementations: PyCA cryptography 38 (CBC, SKF), and a Python initiator that
//! kept a strongSwan 5.9.8 alive (GCM). Keys are cut from the prf+ stream of `session::keys`' vector.

use proptest::prelude::*;

use super::super::{Body, Delete, ExchangeType, Notify, NotifyType, Payload, Spi, Version, flags};
use super::*;
use crate::wire::ike::ids::ProtocolId;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// prf+ by the RFC's own words, to cut keys from.
fn stream() -> Vec<u8> {
    let key = hmac(Prf::HMAC_SHA2_256, &[[0xaa; 32], [0xbb; 32]].concat(), &[&[0x33; 32]]).unwrap();
    let seed = [&[0xaa; 32][..], &[0xbb; 32], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let seed = [seed, vec![0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]].concat();
    let (mut out, mut last) = (Vec::new(), Vec::new());
    for round in 1..=7u8 {
        last = hmac(Prf::HMAC_SHA2_256, &key, &[&last, &seed, &[round]]).unwrap().to_vec();
        out.extend(&last);
    }
    out
}

fn gcm128() -> Protection {
    Protection::gcm(&stream()[96..116]).unwrap()
}

fn gcm256() -> Protection {
    Protection::gcm(&stream()[96..132]).unwrap()
}

fn cbc256() -> Protection {
    Protection::cbc(&stream()[96..128], Integ::HMAC_SHA2_256_128, &stream()[32..64]).unwrap()
}

fn cbc128() -> Protection {
    Protection::cbc(&stream()[96..112], Integ::HMAC_SHA2_512_256, &stream()[32..96]).unwrap()
}

const ASCENDING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn message(payloads: Vec<Payload>) -> Message {
    Message {
        initiator: Spi([1, 2, 3, 4, 5, 6, 7, 8]),
        responder: Spi([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]),
        version: Version::V2,
        exchange: ExchangeType::INFORMATIONAL,
        flags: flags::INITIATOR,
        message_id: 2,
        payloads,
    }
}

/// Keys, IV, bytes, and what is in them.
fn vectors() -> Vec<(Protection, &'static [u8], Vec<u8>, Message)> {
    vec![
        (
            gcm128(),
            &[0; 8],
            unhex(
                "010203040506070811121314151617182e20250800000002000000390000001d0000000000000000
                 da6cfc925cf7f19a9279c22b34f688352d",
            ),
            message(Vec::new()),
        ),
        (
            cbc256(),
            &ASCENDING,
            unhex(
                "010203040506070811121314151617182e202508000000020000005000000034
                 000102030405060708090a0b0c0d0e0fe0edf6cc6eb75fdd9e26f639c74ee77e
                 30fcb3a879b6192edf81807ff5992862",
            ),
            message(Vec::new()),
        ),
        (
            cbc128(),
            &ASCENDING,
            unhex(
                "010203040506070811121314151617182e20250800000002000000602a000044
                 000102030405060708090a0b0c0d0e0f4d81527e301d0d3552ed54fa011e4bb2
                 128a62fa13f0c2a0727321e7ea7056f5def8a9cdf18438765c797f41db630179",
            ),
            message(vec![Delete::IKE_SA.body().into()]),
        ),
    ]
}

/// An SKF message in two parts, AES-GCM-256, IV 5.
fn parts() -> [Vec<u8>; 2] {
    [
        "010203040506070811121314151617183520250800000002000000402a00002400010002
         00000000000000056bbde1a81d9f477ce4be8cbabd368d2e630c4a6f",
        "010203040506070811121314151617183520250800000002000000420000002600020002
         000000000000000563bce1a870403b784b0567829dae8eba0720c33ea19c",
    ]
    .map(unhex)
}

/// The vector of the delete carries `00 00 00 08 01 00 00 00`.
#[test]
fn vectors_open_and_seal_to_themselves() {
    for (protection, iv, bytes, message) in vectors() {
        assert_eq!(protection.open(&bytes), Ok(Opened::Whole(message.clone())), "{protection:?}");
        assert_eq!(protection.seal(&message, iv), bytes, "{protection:?}");
    }
}

#[test]
fn every_prefix_and_every_flipped_bit_is_refused() {
    for (protection, _, bytes, _) in vectors() {
        for len in 0..bytes.len() {
            assert!(protection.open(&bytes[..len]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(protection.open(&bent).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn another_key_is_a_bad_tag() {
    let all = vectors();
    for (protection, _, _, _) in &all {
        for (other, _, bytes, message) in &all {
            match protection.open(bytes) {
                Ok(opened) => assert_eq!(opened, Opened::Whole(message.clone())),
                Err(error) if format!("{protection:?}") == format!("{other:?}") => {
                    assert_eq!(error.why, Why::BadTag);
                }
                Err(_) => {}
            }
        }
    }
}

#[test]
fn fragments_open_seal_and_assemble() {
    let opened = parts().map(|bytes| match gcm256().open(&bytes).unwrap() {
        Opened::Fragment(fragment) => {
            assert_eq!(gcm256().seal_fragment(&fragment, &[0, 0, 0, 0, 0, 0, 0, 5]), bytes);
            fragment
        }
        Opened::Whole(_) => panic!("a fragment"),
    });
    assert_eq!((opened[0].number, opened[0].total, opened[0].first), (1, 2, PayloadType::DELETE));
    assert_eq!((opened[1].number, opened[1].total, opened[1].first), (2, 2, PayloadType::NONE));
    let whole = opened[0].assemble(&[opened[0].data.clone(), opened[1].data.clone()].concat()).unwrap();
    assert_eq!(whole.payloads, [Delete::IKE_SA.body().into()]);
    let mut bent = parts()[0].clone();
    bent[33] = 3; // the part's number is authenticated
    assert_eq!(gcm256().open(&bent).unwrap_err().why, Why::BadTag);
}

#[test]
fn keys_of_a_wrong_length_and_unknown_functions_are_refused() {
    assert!(Protection::gcm(&[0; 4]).is_none() && Protection::gcm(&[0; 32]).is_none());
    assert!(Protection::cbc(&[0; 15], Integ::HMAC_SHA2_256_128, &[0; 32]).is_none());
    assert!(Protection::cbc(&[0; 16], Integ::HMAC_MD5_96, &[0; 16]).is_none());
    assert!(hmac(Prf::HMAC_MD5, &[], &[]).is_none());
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?} {:?}", Protection::gcm(&[0xab; 20]), cbc256());
    assert!(!shown.contains("171") && !shown.contains("ab, "), "{shown}");
}

/// RFC 7296 §3.5, §3.8, §3.11 by hand.
#[test]
fn identities_proofs_and_deletes_are_as_the_rfc_has_them() {
    use super::super::{AUTH_PSK, Identity, IdentityType, read_auth, write_auth};
    let fqdn = Identity::from_text("probe.test");
    assert_eq!(fqdn.to_bytes(), [b"\x02\0\0\0", &b"probe.test"[..]].concat());
    assert_eq!(Identity::decode(&fqdn.to_bytes()).unwrap().to_string(), "probe.test");
    assert_eq!(Identity::from_text("a@b").kind, IdentityType::RFC822_ADDR);
    assert_eq!(Identity::from_text("192.0.2.1").to_bytes(), [1, 0, 0, 0, 192, 0, 2, 1]);
    assert_eq!(Identity::from_text("2001:db8::1").to_string(), "2001:db8::1");
    let Body::Other { kind, data } = write_auth(AUTH_PSK, &[7; 3]) else { panic!() };
    assert_eq!((kind, data.as_slice()), (PayloadType::AUTH, &[2, 0, 0, 0, 7, 7, 7][..]));
    assert_eq!(read_auth(&data), Ok((2, &[7, 7, 7][..])));
    let child = Delete { protocol: ProtocolId::ESP, spis: vec![vec![1, 2, 3, 4], vec![5, 6, 7, 8]] };
    for (delete, bytes) in [(Delete::IKE_SA, unhex("01000000")), (child, unhex("03040002 01020304 05060708"))]
    {
        let Body::Other { data, .. } = delete.body() else { panic!() };
        assert_eq!(data, bytes);
        assert_eq!(Delete::decode(&bytes), Ok(delete));
        for len in 0..bytes.len() {
            assert!(Delete::decode(&bytes[..len]).is_err());
        }
    }
    assert!(Delete::decode(&unhex("0300ffff")).is_err());
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        which in 0usize..3, iv in prop::collection::vec(any::<u8>(), 16),
        data in prop::collection::vec(any::<u8>(), 0..70), kind: u16, empty: bool,
    ) {
        let payloads = if empty { Vec::new() } else { vec![Notify::new(NotifyType(kind), data).into()] };
        let message = message(payloads);
        let protection = [gcm128(), cbc256(), cbc128()].into_iter().nth(which).unwrap();
        let bytes = protection.seal(&message, &iv);
        prop_assert_eq!(protection.open(&bytes), Ok(Opened::Whole(message)));
    }

    #[test]
    fn any_bytes_open_or_do_not(bytes in prop::collection::vec(any::<u8>(), 0..200), which in 0usize..3) {
        let protection = [gcm128(), cbc256(), cbc128()].into_iter().nth(which).unwrap();
        prop_assert!(protection.open(&bytes).is_err());
    }

    /// A peer that has the keys can put anything inside.
    #[test]
    fn any_inside_opens_or_does_not(inner in prop::collection::vec(any::<u8>(), 0..120), first: u8) {
        let header = message(Vec::new()).header(PayloadType::SK);
        for protection in [gcm128(), cbc256()] {
            let bytes = protection.wrap(&mut header.clone(), PayloadType(first), &[], &inner, &[]);
            let _ = protection.open(&bytes);
        }
    }
}
