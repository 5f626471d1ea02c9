//! The messages of MS-SSTP's section 4, and the errors.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// MS-SSTP 2.2.9: a request for PPP.
const REQUEST: &str = "1001000e 0001 0001 0001 0006 0001";
/// MS-SSTP 2.2.10: bitmask of hashes 3 (SHA-1, SHA-256) and a nonce of 32 octets.
const ACK: &str = "10010030 0002 0001 0004 0028 000000 03
    000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f";

#[test]
fn the_messages_of_the_standard() {
    let mut bytes = Vec::new();
    Message::connect().encode(&mut bytes);
    assert_eq!(bytes, hex(REQUEST));
    assert_eq!(Message::decode(&bytes), Ok(Message::connect()));
    let ack = Message::decode(&hex(ACK)).unwrap();
    assert_eq!(ack.kind, message::CALL_CONNECT_ACK);
    let binding = ack.attribute(attribute::CRYPTO_BINDING_REQUEST).unwrap();
    assert_eq!((binding.len(), binding[3]), (36, 3));
    // 2.2.13: an abort has its status in 20 octets.
    let mut bytes = Vec::new();
    Message::abort().encode(&mut bytes);
    assert_eq!(bytes, hex("10010014 0005 0001 0002 000c 000000 00 00000000"));
}

#[test]
fn every_proper_prefix_is_an_error() {
    let whole = hex(ACK);
    for length in 0..whole.len() {
        assert!(Message::decode(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_is_no_control_message_is_an_error() {
    for bad in ["485454502f", "10000008 0001 0000", "10010004", "10010010 0002 0001 0004 0003 00000000"] {
        assert!(Message::decode(&hex(bad)).is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), head: bool) {
        let mut all = if head { hex("10010030 0002 0001") } else { Vec::new() };
        all.extend(bytes);
        if let Ok(message) = Message::decode(&all) {
            let mut again = Vec::new();
            message.encode(&mut again);
            proptest::prop_assert_eq!(Message::decode(&again), Ok(message));
        }
    }
}
