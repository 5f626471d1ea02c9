use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A 68-byte SCCRQ that xl2tpd 1.3.18 answered, made by a program other than this one.
const SCCRQ: &str = "c8020044000000000000000080080000000000018008000000020100800a0000000300000003800e0000000776706e70726f6265800800000009e43880080000000a0004";
/// Sent by xl2tpd 1.3.18 as LNS without a tunnel secret; captured with tcpdump.
const SCCRP: &str = "c80200637abf00000000000180080000000000028008000000020100800a0000000300000003800a00000004000000000008000000060690800800000007766d00130000000878656c6572616e63652e636f6d8008000000090bbb80080000000a0004";
/// The same with a tunnel secret: Challenge and Challenge Response.
const SCCRP_CHALLENGE: &str = "c802008fc2b700000000000180080000000000028008000000020100800a0000000300000003800a00000004000000000008000000060690800800000007766d00130000000878656c6572616e63652e636f6d800800000009338f80080000000a000480160000000d891171a3402ecc589c2a538e5126732f80160000000b6bcdd5a0168dc66a0b8ce07cf72b36da";
/// Zero-length body of xl2tpd 1.3.18, captured.
const ZLB: &str = "c802000c7abf000000010002";
/// Incoming-Call-Reply of xl2tpd 1.3.18, captured: a message within a session.
const ICRP: &str = "c802001c7abf335400010003800800000000000b80080000000ecc59";
/// Call-Disconnect-Notify of xl2tpd 1.3.18, captured: Result Code 1 with error 0.
const CDN: &str = "c80200267abf335400020004800800000000000e800a000000010001000080080000000ecc59";

const GOLDEN: [&str; 6] = [SCCRQ, SCCRP, SCCRP_CHALLENGE, ZLB, ICRP, CDN];

#[test]
fn golden_messages_survive_both_ways_and_no_prefix_is_one() {
    for golden in GOLDEN {
        let bytes = hex(golden);
        let message = Message::decode(&bytes).unwrap();
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(again, bytes);
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err(), "{end} bytes of {golden}");
        }
    }
}

#[test]
fn the_reply_tells_who_it_is() {
    let reply = Message::decode(&hex(SCCRP)).unwrap();
    assert_eq!((reply.tunnel_id, reply.ns, reply.nr), (0x7abf, 0, 1));
    assert_eq!(reply.message_type(), Some(message::SCCRP));
    assert_eq!(reply.number(attribute::ASSIGNED_TUNNEL_ID), Some(0x0bbb));
    assert_eq!(reply.number(attribute::FIRMWARE_REVISION), Some(0x0690));
    assert_eq!(reply.bytes(attribute::HOST_NAME), Some(b"vm".as_slice()));
    assert_eq!(reply.bytes(attribute::VENDOR_NAME), Some(b"xelerance.com".as_slice()));
    assert_eq!(reply.avp(attribute::CHALLENGE), None);
    let reply = Message::decode(&hex(SCCRP_CHALLENGE)).unwrap();
    assert_eq!(reply.bytes(attribute::CHALLENGE).map(<[u8]>::len), Some(16));
}

#[test]
fn result_codes_have_an_error_and_a_text_or_not() {
    let cdn = Message::decode(&hex(CDN)).unwrap();
    assert_eq!(cdn.result_code(), Some(ResultCode { result: 1, error: Some(0), text: b"" }));
    let with = |value: &[u8]| Message {
        avps: vec![Avp::mandatory(attribute::RESULT_CODE, value)],
        ..Message::default()
    };
    assert_eq!(
        with(b"\x00\x02\x00\x04full").result_code(),
        Some(ResultCode { result: 2, error: Some(4), text: b"full" })
    );
    assert_eq!(with(&[0, 4]).result_code(), Some(ResultCode { result: 4, error: None, text: b"" }));
    assert_eq!(with(&[4]).result_code(), None);
    assert_eq!(with(&[0, 4]).message_type(), None);
}

#[test]
fn hidden_values_are_kept_and_never_read() {
    // The SCCRP with the H bit (0x40) of its Assigned Tunnel ID set, by hand.
    let bytes = hex(&SCCRP.replace("8008000000090bbb", "c008000000090bbb"));
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.number(attribute::ASSIGNED_TUNNEL_ID), None);
    assert_eq!(message.bytes(attribute::ASSIGNED_TUNNEL_ID), None);
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn data_messages_other_versions_and_wrong_lengths_are_refused() {
    for (from, to) in
        [("c802", "4802"), ("c802", "c803"), ("c802", "c002"), ("000c", "000b"), ("000c", "000d")]
    {
        assert!(Message::decode(&hex(&ZLB.replacen(from, to, 1))).is_err(), "{to}");
    }
    // An AVP shorter than its own header.
    assert!(Message::decode(&hex("c802001400000000000000008005000000000001")).is_err());
    let padded = [hex(ZLB), vec![0; 6]].concat();
    assert_eq!(Message::decode(&padded), Message::decode(&hex(ZLB)));
}

fn avp() -> impl Strategy<Value = Avp> {
    (any::<bool>(), any::<bool>(), any::<u16>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..=1017))
        .prop_map(|(mandatory, hidden, vendor, attribute, value)| Avp {
            mandatory,
            hidden,
            vendor,
            attribute,
            value,
        })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
        let _ = Message::decode(&[hex("c8020050").as_slice(), &bytes].concat());
    }

    #[test]
    fn what_is_written_is_read(
        tunnel_id: u16, session_id: u16, ns: u16, nr: u16,
        avps in prop::collection::vec(avp(), 0..8),
    ) {
        let message = Message { tunnel_id, session_id, ns, nr, avps };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }
}
