//! Golden vectors: bytes captured between ike-scan 1.9.5 and strongSwan 5.9.8, one datagram a file.

use proptest::prelude::*;

use super::*;
use crate::wire::ike::strip_marker;

macro_rules! golden {
    ($name:literal) => {
        unhex(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ikev1/", $name, ".hex")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Those of port 4500 come with their non-ESP marker.
fn vectors() -> Vec<Vec<u8>> {
    vec![
        golden!("ike-scan-main-mode"),
        golden!("ike-scan-main-mode-dpd"),
        golden!("ike-scan-aggressive"),
        golden!("strongswan-main-mode-2"),
        golden!("strongswan-no-proposal-chosen"),
        golden!("strongswan-authentication-failed"),
        strip_marker(&golden!("ike-scan-natt")).unwrap().to_vec(),
        strip_marker(&golden!("strongswan-natt-main-mode-2")).unwrap().to_vec(),
    ]
}

#[test]
fn every_capture_decodes_and_encodes_to_itself() {
    for vector in vectors() {
        assert_eq!(Message::decode(&vector).unwrap().to_bytes(), vector);
    }
}

#[test]
fn every_proper_prefix_is_an_error_and_so_is_a_byte_more() {
    for mut vector in vectors() {
        for len in 0..vector.len() {
            assert!(Message::decode(&vector[..len]).is_err(), "{len} of {}", vector.len());
        }
        vector.push(0);
        assert_eq!(Message::decode(&vector).unwrap_err().why, Why::BadLength);
    }
}

#[test]
fn the_transforms_of_ike_scan_are_read() {
    let message = Message::decode(&golden!("ike-scan-main-mode")).unwrap();
    let Payload::Sa(proposals) = &message.payloads[0] else { panic!() };
    assert_eq!(proposals[0].transforms.len(), 8);
    let first = &proposals[0].transforms[0];
    assert_eq!(first.attribute(AttributeType::ENCRYPTION), Some(u32::from(Encryption::TRIPLE_DES_CBC.0)));
    assert_eq!(first.attribute(AttributeType::LIFE_DURATION), Some(28800));
    assert_eq!(first.attribute(AttributeType::KEY_LENGTH), None);
}

#[test]
fn the_choice_and_the_vendor_ids_of_strongswan_are_read() {
    let message = Message::decode(&golden!("strongswan-main-mode-2")).unwrap();
    let chosen = message.chosen().unwrap();
    assert_eq!(chosen.attribute(AttributeType::KEY_LENGTH), Some(256));
    assert_eq!(chosen.attribute(AttributeType::GROUP), Some(14));
    assert_eq!(chosen.attribute(AttributeType::LIFE_DURATION), Some(28800));
    assert_eq!(message.vendor_ids().count(), 2);
}

#[test]
fn refusals_of_strongswan_are_read_and_can_be_made() {
    let bytes = golden!("strongswan-no-proposal-chosen");
    let message = Message::decode(&bytes).unwrap();
    let notification = message.notification().unwrap();
    assert_eq!((notification.kind, notification.spi.len()), (NotifyType::NO_PROPOSAL_CHOSEN, 16));
    let made = Message::informational(
        message.initiator,
        message.responder,
        message.message_id,
        NotifyType::NO_PROPOSAL_CHOSEN,
    );
    assert_eq!(made.to_bytes(), bytes);
    let failed = Message::decode(&golden!("strongswan-authentication-failed")).unwrap();
    assert_eq!(failed.notification().unwrap().kind, NotifyType::AUTHENTICATION_FAILED);
}

fn payload() -> impl Strategy<Value = Payload> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let attribute = (0u16..0x8000, any::<u16>()).prop_map(|(kind, value)| Attribute::short(kind, value));
    let transform = (any::<u8>(), any::<u8>(), prop::collection::vec(attribute, 0..5), any::<u32>())
        .prop_map(|(number, id, mut attributes, seconds)| {
            attributes.extend(lifetime(seconds));
            Transform { number, id, attributes }
        });
    let proposal = (any::<u8>(), any::<u8>(), bytes(), prop::collection::vec(transform, 0..6))
        .prop_map(|(number, protocol, spi, transforms)| Proposal { number, protocol, spi, transforms });
    prop_oneof![
        prop::collection::vec(proposal, 1..3).prop_map(Payload::Sa),
        bytes().prop_map(Payload::KeyExchange),
        bytes().prop_map(Payload::Nonce),
        bytes().prop_map(Payload::VendorId),
        (any::<u8>(), any::<u8>(), any::<u16>(), bytes()).prop_map(|(kind, protocol, port, data)| {
            Payload::Identification { kind, protocol, port, data }
        }),
        (any::<u32>(), any::<u8>(), bytes(), any::<u16>(), bytes()).prop_map(
            |(doi, protocol, spi, kind, data)| {
                Payload::Notification(Notification { doi, protocol, spi, kind: NotifyType(kind), data })
            }
        ),
        (14u8..=255, bytes()).prop_map(|(kind, data)| Payload::Other { kind: PayloadType(kind), data }),
    ]
}

prop_compose! {
    fn message()(
        initiator: [u8; 8], responder: [u8; 8], exchange: u8, message_id: u32,
        payloads in prop::collection::vec(payload(), 0..6),
        sealed in prop::option::of((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))),
    ) -> Message {
        let (flags, payloads) = match sealed {
            Some((inner, data)) => {
                (flags::ENCRYPTION, vec![Payload::Encrypted { inner: PayloadType(inner), data }])
            }
            None => (0, payloads),
        };
        Message {
            initiator: Spi(initiator),
            responder: Spi(responder),
            exchange: ExchangeType(exchange),
            flags,
            message_id,
            payloads,
        }
    }
}

proptest! {
    #[test]
    fn any_message_survives_the_wire(message in message()) {
        prop_assert_eq!(Message::decode(&message.to_bytes()), Ok(message));
    }

    #[test]
    fn any_bytes_decode_or_do_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn bent_captures_decode_or_do_not(which in 0usize..8, at: prop::sample::Index, value: u8) {
        let mut bytes = vectors()[which].clone();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.to_bytes()), Ok(message));
        }
    }
}
