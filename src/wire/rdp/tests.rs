//! The example packets of MS-RDPBCGR 4.1, and what real servers said.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A confirmation as Windows sends it (MS-RDPBCGR 4.1.2: class 0, source reference 0x1234), with TLS chosen.
const CONFIRM: &str = "03000013 0ed00000123400 0200080001000000";

#[test]
fn the_examples_of_the_standard() {
    let packet = Packet::decode(&hex(CONFIRM)).unwrap();
    assert_eq!(
        packet,
        Packet { confirm: true, source: 0x1234, negotiation: Negotiation::Response(0, protocol::SSL) }
    );
    // A server from before the negotiation.
    let old = Packet::decode(&hex("0300000b 06d00000123400")).unwrap();
    assert_eq!(old, Packet { confirm: true, source: 0x1234, negotiation: Negotiation::None });
    let failure = Packet::decode(&hex("03000013 0ed00000123400 0300080005000000")).unwrap();
    assert_eq!(failure.negotiation, Negotiation::Failure(5));
    assert_eq!(failure_name(5), Some("HYBRID_REQUIRED_BY_SERVER"));
}

/// What xrdp 0.9.21 answered, the session set to negotiate (captured).
#[test]
fn a_real_server() {
    let packet = Packet::decode(&hex("030000130ed000001234000201080001000000")).unwrap();
    assert_eq!(packet.negotiation, Negotiation::Response(1, protocol::SSL));
}

#[test]
fn the_request_is_as_clients_send_it() {
    // MS-RDPBCGR 2.2.1.1 without a cookie, asking for TLS, CredSSP and its extension.
    let request = hex("03000013 0ee00000000000 010008000b000000");
    let packet = Packet { confirm: false, source: 0, negotiation: Negotiation::Request(11) };
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    assert_eq!((bytes, Packet::decode(&request)), (request, Ok(packet)));
}

#[test]
fn every_proper_prefix_is_an_error() {
    let whole = hex(CONFIRM);
    for length in 0..whole.len() {
        assert!(Packet::decode(&whole[..length]).is_err(), "{length}");
    }
    assert_eq!(Packet::length(&whole[..3]), Ok(None));
    assert_eq!(Packet::length(&whole), Ok(Some(19)));
}

#[test]
fn what_is_no_confirmation_is_an_error() {
    for bad in [
        "535348",                                   // SSH
        "03000300",                                 // too long
        "03000006 01d0",                            // too short
        "03000013 0dd00000123400 0200080001000000", // X.224's own length
        "03000013 0e800000123400 0200080001000000", // a disconnect request
        "03000013 0ed00000123400 0200090001000000", // the negotiation's length
        "03000013 0ed00000123400 0100080001000000", // a request in a confirmation
    ] {
        assert!(Packet::decode(&hex(bad)).is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), head: bool) {
        let mut all = if head { hex("03000013 0ed0") } else { Vec::new() };
        all.extend(bytes);
        if let Ok(packet) = Packet::decode(&all) {
            let mut again = Vec::new();
            packet.encode(&mut again);
            proptest::prop_assert_eq!(Packet::decode(&again), Ok(packet));
        }
    }
}
