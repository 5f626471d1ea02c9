//! Messages of a real handshake are with the probe's tests, which have the keys; here their shape.

use super::*;

fn initiation() -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend((4..148).map(|octet: u8| octet));
    bytes
}

#[test]
fn the_fields_stand_where_the_paper_has_them() {
    let bytes = initiation();
    let message = Initiation::decode(&bytes).unwrap();
    assert_eq!(message.sender, u32::from_le_bytes([4, 5, 6, 7]));
    assert_eq!((message.ephemeral[0], message.sealed_static[0], message.sealed_timestamp[0]), (8, 40, 88));
    assert_eq!((message.mac1[0], message.mac2[0]), (116, 132));
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn each_message_has_one_length() {
    let with = |kind: u8, length: usize| {
        let mut bytes = vec![7; length];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    };
    for (kind, length) in [(2, RESPONSE), (3, 64)] {
        assert_eq!(Reply::decode(&with(kind, length)).unwrap().receiver(), 0x0707_0707);
        for other in (4..length).chain([length + 1]) {
            assert!(Reply::decode(&with(kind, other)).is_err(), "{other}");
        }
    }
    for length in (4..INITIATION).chain([INITIATION + 1]) {
        assert!(Initiation::decode(&with(1, length)).is_err(), "{length}");
    }
    assert!(Reply::decode(&with(4, 64)).is_err());
    assert!(Reply::decode(&[]).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..160)) {
        let _ = (Reply::decode(&bytes), Initiation::decode(&bytes));
    }
}
