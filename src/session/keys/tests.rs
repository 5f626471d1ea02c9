//! Vectors of a Python initiator that kept sessions with strongSwan 5.9.8 and 6.0; the RFCs have none.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ingredients() -> Ingredients<'static> {
    Ingredients {
        nonce_i: &[0xaa; 32],
        nonce_r: &[0xbb; 32],
        shared: &[0x33; 32],
        spi_i: Spi([1, 2, 3, 4, 5, 6, 7, 8]),
        spi_r: Spi([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]),
    }
}

const CBC: Suite = Suite { key: 32, prf: Prf::HMAC_SHA2_256, integ: Some(Integ::HMAC_SHA2_256_128) };

#[test]
fn skeyseed_is_as_computed_elsewhere() {
    let seed = hmac(Prf::HMAC_SHA2_256, &[[0xaa; 32], [0xbb; 32]].concat(), &[&[0x33; 32]]).unwrap();
    assert_eq!(hex(&seed), "db7eb51298f9aea06732606deb7e0f4bdb2d7e3900b07a9881aa9493ab21efb6");
}

#[test]
fn the_seven_keys_are_as_computed_elsewhere() {
    let keys = seven(CBC, &ingredients()).unwrap();
    let begins: Vec<String> = keys.iter().map(|key| hex(&key[..8])).collect();
    assert_eq!(
        begins,
        [
            "df6daab2ef598910",
            "33aa4251cc972b27",
            "3d6b6961aa2f8f4d",
            "8e63b6247af4118a",
            "8e81518fb065d32c",
            "69f9cf77bd520aed",
            "65ed8d4a96eafb75"
        ]
    );
    assert!(keys.iter().all(|key| key.len() == 32));
}

#[test]
fn with_gcm_there_is_a_salt_and_no_integrity_key() {
    let suite = Suite { key: 16, prf: Prf::HMAC_SHA2_256, integ: None };
    let keys = seven(suite, &ingredients()).unwrap();
    assert_eq!(keys.map(|key| key.len()), [32, 0, 0, 20, 20, 32, 32]);
}

#[test]
fn the_proof_is_as_computed_elsewhere() {
    let sk_pi = &seven(CBC, &ingredients()).unwrap()[5];
    let identity = [b"\x02\0\0\0", &b"probe.test"[..]].concat();
    let auth = proof(Prf::HMAC_SHA2_256, b"s3cret-psk", &[1; 40], &[0xbb; 32], sk_pi, &identity).unwrap();
    assert_eq!(hex(&auth), "b2a5639fa2e6ee8453bab0862c23cd525089b2909721b39e89ba2bb23d142463");
}

#[test]
fn a_suite_is_read_from_what_was_chosen() {
    use crate::wire::ike::Group;
    let chosen = |transforms| Suite::of(&Proposal::ike(1, transforms));
    let gcm = || Transform::encr(Encr::AES_GCM_16, Some(256));
    let (prf, dh) = (Transform::prf(Prf::HMAC_SHA2_384), Transform::dh(Group::ECP_384));
    assert_eq!(
        chosen(vec![gcm(), prf.clone(), dh.clone()]),
        Some(Suite { key: 32, prf: Prf::HMAC_SHA2_384, integ: None })
    );
    for bad in [
        vec![gcm(), dh.clone()],
        vec![gcm(), gcm(), prf.clone(), dh.clone()],
        vec![Transform::encr(Encr::AES_CBC, Some(256)), prf.clone(), dh.clone()],
        vec![Transform::encr(Encr::AES_GCM_16, None), prf.clone(), dh.clone()],
        vec![gcm(), prf, Transform::integ(Integ::HMAC_SHA2_256_128), dh],
    ] {
        assert_eq!(chosen(bad), None);
    }
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", Keys::derive(CBC, &ingredients()).unwrap()), "Keys(withheld)");
}
