//! Vectors: openssl 3 (X25519, P-384), RFC 5903 §8.1 (P-256), Python's `pow` (MODP).

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::entropy::Generator;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn agree(group: Group, a: &str, public_a: &str, b: &str, public_b: &str, shared: &str) {
    let (a, b) = (KeyPair::of(group, &unhex(a)).unwrap(), KeyPair::of(group, &unhex(b)).unwrap());
    assert_eq!(a.public(), unhex(public_a));
    assert_eq!(b.public(), unhex(public_b));
    assert_eq!(*a.agree(b.public()).unwrap(), unhex(shared));
    assert_eq!(*b.agree(a.public()).unwrap(), unhex(shared));
}

#[test]
fn x25519_is_as_openssl_has_it() {
    agree(
        Group::X25519,
        "77076d0a7318a57d3c16c17251b26645df4c2f92ebc0992ac177fba51db92c2a",
        "f8a9535a2d2ff605e8e144d54f4ef5c62313a2055dbb21fddd3fd9c299eb015d",
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        "ec555394277877e3ef665c2af39d396d8572f112cc8ce2af0972cb6a3989406d",
    );
}

#[test]
fn p_256_is_as_rfc_5903_has_it() {
    agree(
        Group::ECP_256,
        "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
        "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180
         5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
        "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
        "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63
         56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
        "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
    );
}

#[test]
fn p_384_is_as_openssl_has_it() {
    agree(
        Group::ECP_384,
        "9cc51abb0058192bee82c51c8ee0c0994ce4a15036e8b13f67e8490cdcacdd5388a13da7dc2d2fe0fa72f4fed4a8c5ec",
        "9d0e62979f42cca28ad8d376815ce9a234941298b642f69756c78e90cfef01c58fe9f886c3a3135adcfa5876daf7d6da
         0cadf69d3fd6eb5bc96f9e2acd95572c1fdbb107ce55e3623e46d00b9eee758bf85afe1c0b6774c197188d57a75aa86a",
        "66d566c7cedc8b20464d97cf1cd49f046b4122d30f87974caa0e86a1e2a92ad56bce4083b205f8e16d8848d52ea118ed",
        "b042519042eb6ba64cd245511fc2df2051450495d17c363d29c402dff13a1cffd685290233886366d0567c6f66b3140e
         960a31c2d627b19e8d1c1ac5121fe063738664ea655dde8b15b6461cb07ee25158004f58f078761f9d57e63182647a9b",
        "9f5ddc3c9d45deff94a393bfe67fc2c8a66e9b5ccd7b267e1ceaab2783e42c3d9d655b34ec96b6757682093befc7676f",
    );
}

/// SHA-256 of `pow(2, x, p)`, `pow(2, y, p)` and `pow(2, x * y, p)` as 256 bytes, with x = 11…11 and
/// y = 22…22 (32 bytes), by Python; p is openssl's `modp_2048`, and follows from pi as RFC 3526 says.
#[test]
fn modp_2048_is_as_python_has_it() {
    let a = KeyPair::of(Group::MODP_2048, &[0x11; 32]).unwrap();
    let b = KeyPair::of(Group::MODP_2048, &[0x22; 32]).unwrap();
    let hash = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    assert_eq!(hash(a.public()), unhex("a25bbf7837f6962b48eebfa9b3eabb556ca982238c8e7fa94e7af29bbf929012"));
    assert_eq!(hash(b.public()), unhex("73b36be73cc74cebfb3011f6514cba6bd74f864934271230bab73876749cb833"));
    let shared = a.agree(b.public()).unwrap();
    assert_eq!(hash(&shared), unhex("f33967491b99ecccbf10d9e8bf48e2317680e6cdaba689e1337fef1127a17369"));
    assert_eq!(shared, b.agree(a.public()).unwrap());
}

#[test]
fn weak_and_foreign_values_are_refused() {
    let mut entropy = Generator::seeded(1);
    let prime = unhex(MODP_2048);
    let less_one = [&prime[..255], &[0xfe]].concat();
    let one = [vec![0; 255], vec![1]].concat();
    for (group, bad) in [
        (Group::X25519, vec![0; 32]),
        (Group::X25519, vec![9; 31]),
        (Group::ECP_256, vec![1; 64]),
        (Group::ECP_384, vec![0; 96]),
        (Group::MODP_2048, vec![0; 256]),
        (Group::MODP_2048, one),
        (Group::MODP_2048, less_one),
        (Group::MODP_2048, prime),
        (Group::MODP_2048, vec![2; 255]),
    ] {
        assert!(KeyPair::draw(group, &mut entropy).unwrap().agree(&bad).is_none(), "{group}");
    }
    assert!(KeyPair::draw(Group::MODP_1024, &mut entropy).is_none());
}

#[test]
fn debug_shows_no_secret() {
    let pair = KeyPair::of(Group::MODP_2048, &[0xab; 32]).unwrap();
    assert_eq!(format!("{pair:?}"), "KeyPair { group: Group(modp2048), .. }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn both_ends_agree(seed: u64, at in 0usize..4) {
        let mut entropy = Generator::seeded(seed);
        let group = KeyPair::GROUPS[at];
        let (a, b) = (KeyPair::draw(group, &mut entropy).unwrap(), KeyPair::draw(group, &mut entropy).unwrap());
        prop_assert_eq!(a.public().len(), group.public_len().unwrap());
        prop_assert_eq!(a.agree(b.public()), b.agree(a.public()));
    }
}
