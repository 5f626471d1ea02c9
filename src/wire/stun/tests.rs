//! The test vectors of RFC 5769 (SHORT-TERM requests and responses), and the errors.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// RFC 5769, 2.1.
const REQUEST: &str = "0001 0058 2112a442 b7e7a701bc34d686fa87dfae 8022 0010 5354554e207465737420636c69656e74
    0024 0004 6e0001ff 8029 0008 932ff9b151263b36 0006 0009 6576746a3a68367659 202020
    0008 0014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 8028 0004 e57a3bcf";
/// RFC 5769, 2.2.
const V4: &str = "0101 003c 2112a442 b7e7a701bc34d686fa87dfae 8022 000b 7465737420766563746f7220
    0020 0008 0001a147e112a643 0008 0014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 8028 0004 c07d4c96";
/// RFC 5769, 2.3.
const V6: &str = "0101 0048 2112a442 b7e7a701bc34d686fa87dfae 8022 000b 7465737420766563746f7220
    0020 0014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9 0008 0014 a382954e4be67bf11784c97c8292c275bfe3ed41
    8028 0004 c8fb0b4c";

#[test]
fn the_vectors_of_rfc_5769() {
    let request = Message::decode(&hex(REQUEST)).unwrap();
    assert_eq!((request.kind, request.fingerprint), (message::REQUEST, true));
    assert_eq!(request.attribute(attribute::SOFTWARE), Some(&b"STUN test client"[..]));
    for (vector, address) in [(V4, "192.0.2.1:32853"), (V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")] {
        let answer = Message::decode(&hex(vector)).unwrap();
        assert_eq!((answer.kind, answer.transaction), (message::SUCCESS, request.transaction));
        assert_eq!(answer.mapped_address(), Some(address.parse().unwrap()));
        assert_eq!(answer.attribute(attribute::SOFTWARE), Some(&b"test vector"[..]));
    }
}

/// What coturn 4.6.1 answered over both families (captured).
#[test]
fn a_real_server() {
    let v4 = hex("010100482112a442000102030405060708090a0b002000080001a513e112a6480001000800018401c000020a
        802b000800010d96cb00710a802c000800010d97cb00710a80220014436f7475726e2d342e362e312027476f72737427");
    let v6 = hex("010100782112a442000102030405060708090a0b002000140002961a0113a9fa000002030405060708090a1b
        000100140002b70820010db8000100000000000000000010802b001400020d9620010db8000300000000000000000010
        802c001400020d9720010db800030000000000000000001080220014436f7475726e2d342e362e312027476f72737427");
    for (bytes, address) in [(v4, "192.0.2.10:33793"), (v6, "[2001:db8:1::10]:46856")] {
        let answer = Message::decode(&bytes).unwrap();
        assert_eq!(answer.mapped_address(), Some(address.parse().unwrap()));
        assert_eq!(answer.attribute(attribute::SOFTWARE), Some(&b"Coturn-4.6.1 'Gorst'"[..]));
    }
}

/// What coturn 4.6.1's client of RFC 5780 (`turnutils_natdiscovery -t -T 3`) sent from its second socket, and
/// what the server answered to the first one (captured).
#[test]
fn an_answer_to_another_port() {
    let asked = hex("00010008 2112a442 39fc7f32fa7e7360bd13c376 0027 0004 ae92 0000");
    let transaction = asked[8..20].try_into().unwrap();
    let mut ours = Vec::new();
    Message::request_to_port(transaction, 44_690).encode(&mut ours);
    assert_eq!(ours, asked);
    let answered =
        hex("010100482112a44239fc7f32fa7e7360bd13c376002000080001981de112a648000100080001b90fc000020a
        802b000800010d96cb00710a802c000800010d97cb00710b80220014436f7475726e2d342e362e312027476f72737427");
    let answer = Message::decode(&answered).unwrap();
    assert_eq!((answer.kind, answer.transaction), (message::SUCCESS, transaction));
    assert_eq!(answer.mapped_address(), Some("192.0.2.10:47375".parse().unwrap()));
}

#[test]
fn what_is_written_has_the_fingerprint_of_the_vector() {
    // The vectors' padding is blanks, ours zeros, so only a request without text can be compared whole.
    let message = Message::request([7; 12]);
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    assert_eq!(bytes.len(), HEADER + 8);
    assert_eq!(Message::decode(&bytes), Ok(message));
    // The CRC's own check value (ITU-T V.42 as catalogued: "123456789").
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn every_proper_prefix_is_an_error() {
    let whole = hex(V4);
    for length in 0..whole.len() {
        assert!(Message::decode(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_was_changed_on_the_way_is_seen() {
    let whole = hex(V4);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        let read = Message::decode(&changed);
        // But for the fingerprint's own type or length there is nothing that it does not cover.
        assert!(read.is_err() || !read.unwrap().fingerprint, "{at}");
    }
}

#[test]
fn an_error_tells_its_code() {
    let text = hex("0111 000c 2112a442 000102030405060708090a0b 0009 0008 00000401 4e6f2121");
    let message = Message::decode(&text).unwrap();
    assert_eq!(message.error_code(), Some((401, &b"No!!"[..])));
    assert_eq!(message.mapped_address(), None);
}

#[test]
fn an_old_server_says_it_in_the_clear() {
    let text = hex("0101 000c 2112a442 000102030405060708090a0b 0001 0008 0001 1234 c0000201");
    assert_eq!(Message::decode(&text).unwrap().mapped_address(), Some("192.0.2.1:4660".parse().unwrap()));
    let bad_family = hex("0101 000c 2112a442 000102030405060708090a0b 0001 0008 0003 1234 c0000201");
    assert_eq!(Message::decode(&bad_family).unwrap().mapped_address(), None);
}

proptest::proptest! {
    #[test]
    fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120), head: bool) {
        let mut all = if head { hex("0101 0008 2112a442 000102030405060708090a0b") } else { Vec::new() };
        all.extend(bytes);
        if let Ok(message) = Message::decode(&all) {
            let mut again = Vec::new();
            message.encode(&mut again);
            proptest::prop_assert_eq!(Message::decode(&again), Ok(message));
        }
    }
}
