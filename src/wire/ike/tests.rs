//! Golden vectors: bytes of programs that are not ours, captured between strongSwan 5.9.8 and
//! ike-scan 1.9.5 or a second strongSwan, one datagram a file; and those of the RFCs.

use proptest::prelude::*;

use super::*;

/// A vector of `tests/golden/ike/`.
macro_rules! golden {
    ($name:literal) => {
        unhex(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ike/", $name, ".hex")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn vectors() -> Vec<Vec<u8>> {
    vec![
        golden!("ike-scan-sa-init"),
        golden!("strongswan-request"),
        golden!("strongswan-cookie"),
        golden!("strongswan-request-cookie"),
        golden!("strongswan-invalid-ke-payload"),
        golden!("strongswan-request-cookie-ecp384"),
        golden!("strongswan-sa-ecp384"),
        golden!("strongswan-sa-modp1024"),
        strip_marker(&golden!("strongswan-natt-ike-auth")).unwrap().to_vec(),
        strip_marker(&golden!("strongswan-natt-ike-auth-answer")).unwrap().to_vec(),
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
fn a_request_of_ike_scan_says_what_it_offers() {
    let message = Message::decode(&golden!("ike-scan-sa-init")).unwrap();
    assert_eq!((message.exchange, message.flags), (ExchangeType::IKE_SA_INIT, flags::INITIATOR));
    assert_eq!(message.responder, Spi::ZERO);
    let proposal = &message.proposals().unwrap()[0];
    assert_eq!((proposal.number, proposal.protocol, proposal.transforms.len()), (1, ProtocolId::IKE, 11));
    assert_eq!(proposal.transforms[0], Transform::encr(Encr::AES_CBC, Some(256)));
    assert_eq!(proposal.transforms[0].key_length(), Some(256));
    assert_eq!(proposal.transforms[10], Transform::dh(Group::MODP_2048));
    let Body::KeyExchange { group, data } = &message.payloads[1].body else { panic!() };
    assert_eq!((*group, data.len()), (Group::MODP_1024, 128));
}

#[test]
fn answers_of_strongswan_are_told_apart() {
    let cookie = Message::decode(&golden!("strongswan-cookie")).unwrap();
    assert_eq!(cookie.notify(NotifyType::COOKIE).unwrap().data.len(), 24);
    assert_eq!((cookie.responder, cookie.flags), (Spi::ZERO, flags::RESPONSE));

    let other_group = Message::decode(&golden!("strongswan-invalid-ke-payload")).unwrap();
    let notify = other_group.notify(NotifyType::INVALID_KE_PAYLOAD).unwrap();
    assert_eq!(notify.wanted_group(), Some(Group::ECP_384));

    let sa = Message::decode(&golden!("strongswan-sa-ecp384")).unwrap();
    assert_eq!(
        sa.proposals().unwrap()[0].transforms,
        [
            Transform::encr(Encr::AES_GCM_16, Some(256)),
            Transform::prf(Prf::HMAC_SHA2_384),
            Transform::dh(Group::ECP_384)
        ]
    );
    assert!(sa.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED).is_some());
}

#[test]
fn an_encrypted_payload_stays_closed_and_ends_the_chain() {
    let datagram = golden!("strongswan-natt-ike-auth");
    let message = Message::decode(strip_marker(&datagram).unwrap()).unwrap();
    let [Payload { body: Body::Encrypted { kind, inner, data }, .. }] = message.payloads.as_slice() else {
        panic!("one payload");
    };
    assert_eq!((*kind, *inner, data.len()), (PayloadType::SK, PayloadType::ID_I, 201));
}

/// RFC 7296 §2.5 and §3.1 by hand, and strongSwan 5.9.8's answer as it came.
#[test]
fn a_version_ping_is_a_bare_header() {
    let mut ping = Message::init_request(Spi([1, 2, 3, 4, 5, 6, 7, 8]), Vec::new());
    ping.version = Version(0x30);
    let bytes = unhex("0102030405060708 0000000000000000 00302208 00000000 0000001c");
    assert_eq!(ping.to_bytes(), bytes);
    assert_eq!(Message::decode(&bytes).unwrap(), ping);
    let answer = unhex("0102030405060708 0000000000000000 29202220 00000000 00000024 00000008 00000005");
    let message = Message::decode(&answer).unwrap();
    assert!(message.notify(NotifyType::INVALID_MAJOR_VERSION).is_some());
    assert_eq!(message.to_bytes(), answer);
}

/// SHA-1(0102030405060708 | 0^8 | c0000201 | 01f4), computed with Python's hashlib.
#[test]
fn nat_detection_hashes_spis_address_and_port() {
    let spi = Spi([1, 2, 3, 4, 5, 6, 7, 8]);
    let hash = nat_detection(spi, Spi::ZERO, "192.0.2.1".parse().unwrap(), 500);
    assert_eq!(hash.to_vec(), unhex("644b4575455bd6fcc1efe2be8162a9218e448e5f"));
}

/// The DESTINATION hash that strongSwan computed over our address, and port 500, in its request.
#[test]
fn nat_detection_agrees_with_strongswan() {
    let request = Message::decode(&golden!("strongswan-request")).unwrap();
    let theirs = request.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).unwrap();
    let hash = nat_detection(request.initiator, Spi::ZERO, "203.0.113.10".parse().unwrap(), 500);
    assert_eq!(theirs.data, hash);
}

#[test]
fn lengths_that_lie_are_refused() {
    let good = golden!("strongswan-cookie");
    for (at, value, why) in [
        (31, 3, Why::BadLength),
        (31, 255, Why::Truncated),
        (27, 27, Why::BadLength),
        (27, 61, Why::Truncated),
        (17, 0x10, Why::BadValue("version")),
        (16, 0, Why::BadLength),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Message::decode(&bad).unwrap_err().why, why, "byte {at} = {value}");
    }
    let mut long = Message::init_request(Spi([1; 8]), Vec::new());
    long.payloads = vec![Body::VendorId(Vec::new()).into(); Chain::MAX + 1];
    assert_eq!(Message::decode(&long.to_bytes()).unwrap_err().why, Why::TooMany);
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value = prop_oneof![
        any::<u16>().prop_map(AttributeValue::Short),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(AttributeValue::Long),
    ];
    (0u16..0x8000, value).prop_map(|(kind, value)| Attribute { kind, value })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let transform = (any::<u8>(), any::<u16>(), prop::collection::vec(attribute(), 0..3))
        .prop_map(|(kind, id, attributes)| Transform { kind: TransformType(kind), id, attributes });
    (
        any::<u8>(),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 0..9),
        prop::collection::vec(transform, 0..6),
    )
        .prop_map(|(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        })
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        prop::collection::vec(proposal(), 1..4).prop_map(Body::Sa),
        (any::<u16>(), bytes()).prop_map(|(group, data)| Body::KeyExchange { group: Group(group), data }),
        bytes().prop_map(Body::Nonce),
        bytes().prop_map(Body::VendorId),
        (any::<u8>(), bytes(), any::<u16>(), bytes()).prop_map(|(protocol, spi, kind, data)| {
            Body::Notify(Notify { protocol: ProtocolId(protocol), spi, kind: NotifyType(kind), data })
        }),
        (54u8..=255, bytes()).prop_map(|(kind, data)| Body::Other { kind: PayloadType(kind), data }),
    ]
}

prop_compose! {
    fn message()(
        initiator: [u8; 8], responder: [u8; 8], version in 0x20u8..=255, exchange: u8, flags: u8, message_id: u32,
        payloads in prop::collection::vec((any::<bool>(), body()), 0..6),
        sealed in prop::option::of((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))),
    ) -> Message {
        let mut payloads: Vec<_> =
            payloads.into_iter().map(|(critical, body)| Payload { critical, body }).collect();
        payloads.extend(sealed.map(|(inner, data)| {
            Body::Encrypted { kind: PayloadType::SK, inner: PayloadType(inner), data }.into()
        }));
        Message {
            initiator: Spi(initiator),
            responder: Spi(responder),
            version: Version(version),
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
        let _ = Header::decode(&bytes);
    }

    #[test]
    fn bent_captures_decode_or_do_not(which in 0usize..10, at: prop::sample::Index, value: u8) {
        let mut bytes = vectors()[which].clone();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.to_bytes()), Ok(message));
        }
    }
}
