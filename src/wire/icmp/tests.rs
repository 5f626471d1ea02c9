//! Vectors: iputils `ping` and BIND's `dig` on Linux 6.x between network namespaces, written down by
//! tcpdump; requests and replies are iputils', errors the Linux kernel's (9 to 12 by nftables `reject`).

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// `ping -s 24`: request and reply, IPv4 and IPv6.
const ECHO: [(bool, bool, u16, &str); 4] = [
    (false, false, 0x0137, "08003f60013700016156026b0000000006560100000000001011121314151617"),
    (false, true, 0x0137, "00004760013700016156026b0000000006560100000000001011121314151617"),
    (true, false, 0x0139, "8000eb50013900016156026b0000000086720100000000001011121314151617"),
    (true, true, 0x0139, "8100ea50013900016156026b0000000086720100000000001011121314151617"),
];

/// Family, type, code, protocol quoted, first bytes of its payload, message.
const PROBLEM: [(bool, u8, u8, u8, &str, &str); 6] = [
    // ping -t 1
    (
        false,
        11,
        0,
        1,
        "08000a5101380001",
        "0b00f4ff00000000450000343780400001014434c000020acb00710a08000a51013800016156026b000000003b640100000000001011121314151617",
    ),
    (
        true,
        3,
        0,
        58,
        "80006b42013a0001",
        "0300533c00000000600ab3e200203a0120010db800010000000000000000001020010db800030000000000000000001080006b42013a00016156026b0000000006800100000000001011121314151617",
    ),
    // dig -p 9, a closed port
    (
        false,
        3,
        3,
        17,
        "9e2d00090032fe58",
        "03035e2a0000000045000046d19100003e11ad00c000020acb00710a9e2d00090032fe58b71a012000010000000000010178000001000100002904d000000000000c000a0008c0be9d6ef6a4ec72",
    ),
    (
        true,
        1,
        4,
        17,
        "9a3e000900325bd9",
        "01046a0100000000600ad71c0032113e20010db800010000000000000000001020010db80003000000000000000000109a3e000900325bd9c9b6012000010000000000010178000001000100002904d000000000000c000a00080b4e8940028533cc",
    ),
    // dig -p 7777, rejected by a filter
    (
        false,
        3,
        13,
        17,
        "c8431e610032fe58",
        "030dce020000000045000046141900003f116979c000020acb00710ac8431e610032fe583415012000010000000000010178000001000100002904d000000000000c000a0008413ebc8cab5062de",
    ),
    (
        true,
        1,
        1,
        17,
        "d0791e6100325bd9",
        "010102cb0000000060061c980032113f20010db800010000000000000000001020010db8000300000000000000000010d0791e6100325bd926ea012000010000000000010178000001000100002904d000000000000c000a0008158a8235d274d0b6",
    ),
];

#[test]
fn echoes_of_ping_go_both_ways() {
    for (v6, reply, identifier, hex) in ECHO {
        let wire = bytes(hex);
        let Ok(Message::Echo(echo)) = Message::decode(v6, &wire) else { panic!("{hex}") };
        assert_eq!((echo.reply, echo.identifier, echo.sequence), (reply, identifier, 1));
        assert_eq!(echo.payload.len(), 24);
        let mut again = Vec::new();
        echo.encode(v6, &mut again);
        let mut expected = wire.clone();
        if v6 {
            // The kernel's to write.
            expected[2..4].fill(0);
        }
        assert_eq!(again, expected);
    }
}

#[test]
fn every_prefix_of_an_echo_is_an_error_or_shorter() {
    for (v6, _, _, hex) in ECHO {
        let wire = bytes(hex);
        for end in 0..wire.len() {
            match Message::decode(v6, &wire[..end]) {
                Ok(Message::Echo(echo)) => assert!(v6 && end >= 8 && echo.payload.len() == end - 8),
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(!v6 && end > 0 || end < 8, "{error}"),
            }
        }
    }
}

#[test]
fn errors_of_the_kernel_are_read_with_what_they_quote() {
    for (v6, kind, code, protocol, head, hex) in PROBLEM {
        let wire = bytes(hex);
        let Ok(Message::Problem(problem)) = Message::decode(v6, &wire) else { panic!("{hex}") };
        assert_eq!((problem.kind, problem.code, problem.mtu), (kind, code, 0));
        let quoted = problem.quoted.unwrap();
        assert_eq!(quoted.protocol, protocol);
        assert!(quoted.payload.starts_with(&bytes(head)), "{hex}");
        let (source, destination) =
            if v6 { ("2001:db8:1::10", "2001:db8:3::10") } else { ("192.0.2.10", "203.0.113.10") };
        assert_eq!(quoted.source, source.parse::<IpAddr>().unwrap());
        assert_eq!(quoted.destination, destination.parse::<IpAddr>().unwrap());
    }
}

#[test]
fn every_prefix_of_an_error_is_an_error_or_quotes_less() {
    for (v6, _, _, _, _, hex) in PROBLEM {
        let wire = bytes(hex);
        let whole = if v6 { 48 } else { 28 };
        for end in 0..wire.len() {
            match Message::decode(v6, &wire[..end]) {
                Ok(Message::Problem(problem)) => {
                    // (What is quoted here sums up to nothing, so ICMPv4's checksum holds at times.)
                    assert_eq!(problem.quoted.is_some(), end >= whole);
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(!v6 || end < 8, "{error}"),
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut wire = bytes(ECHO[1].3);
    wire[9] ^= 1;
    let error = Message::decode(false, &wire).unwrap_err();
    assert_eq!(error, Error { protocol: "icmp", at: 2, why: Why::BadValue("checksum") });
}

#[test]
fn extensions_are_not_taken_for_payload() {
    // RFC 4884 (4, 5.1): length in the sixth byte, in words; the original padded to 128 bytes, then an
    // extension with an MPLS label (RFC 4950).
    let inner = bytes(PROBLEM[0].5);
    let mut wire = inner[..8].to_vec();
    wire[2..4].fill(0);
    wire[5] = 32;
    wire.extend(&inner[8..]);
    wire.resize(8 + 128, 0);
    wire.extend(bytes("20000000000801010003e101"));
    let sum = checksum(&wire, 1);
    wire[2..4].copy_from_slice(&sum.to_be_bytes());
    let Ok(Message::Problem(problem)) = Message::decode(false, &wire) else { panic!() };
    assert_eq!(problem.quoted.unwrap().payload.len(), 128 - 20);
}

#[test]
fn the_next_hops_mtu_is_told() {
    // RFC 1191 (4): the low 16 bits of the second word; RFC 4443 (3.2): all 32.
    let mut wire = bytes("0304000000000578");
    let sum = checksum(&wire, 1);
    wire[2..4].copy_from_slice(&sum.to_be_bytes());
    let Ok(Message::Problem(problem)) = Message::decode(false, &wire) else { panic!() };
    assert_eq!((problem.mtu, problem.quoted), (1400, None));
    let wire = bytes("0200000000000500");
    let Ok(Message::Problem(problem)) = Message::decode(true, &wire) else { panic!() };
    assert_eq!(problem.mtu, 1280);
}

#[test]
fn extension_headers_before_the_payload_are_skipped() {
    // RFC 8200 (4.3, 4.5): hop-by-hop options of 8 bytes, then a fragment header, then UDP.
    let mut wire = bytes(PROBLEM[3].5);
    let payload = wire.split_off(48);
    wire[8 + 6] = 0;
    wire.extend(bytes("2c00010400000000"));
    wire.extend(bytes("1100000000000001"));
    wire.extend(&payload);
    let Ok(Message::Problem(problem)) = Message::decode(true, &wire) else { panic!() };
    let quoted = problem.quoted.unwrap();
    assert_eq!((quoted.protocol, quoted.payload), (17, &payload[..]));
}

#[test]
fn a_quoted_request_may_be_cut_anywhere() {
    let wire = bytes(ECHO[0].3);
    for end in 0..wire.len() {
        let quoted = Echo::quoted(false, &wire[..end]);
        assert_eq!(quoted.map(|echo| echo.payload.len()), end.checked_sub(8));
    }
    assert_eq!(Echo::quoted(true, &wire), None, "an ICMPv4 request is no ICMPv6 request");
    assert_eq!(Echo::quoted(false, &bytes(ECHO[1].3)), None, "a reply is no request");
}

proptest! {
    #[test]
    fn no_bytes_panic(v6: bool, wire in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(v6, &wire);
        let _ = Echo::quoted(v6, &wire);
    }

    #[test]
    fn no_bytes_behind_a_good_checksum_panic(
        kind in prop::sample::select(vec![3_u8, 11, 12]),
        mut wire in prop::collection::vec(any::<u8>(), 8..300),
    ) {
        wire[0] = kind;
        let sum = checksum(&wire, 1);
        wire[2..4].copy_from_slice(&sum.to_be_bytes());
        prop_assert!(Message::decode(false, &wire).is_ok());
    }

    #[test]
    fn echoes_go_both_ways(
        v6: bool, reply: bool, identifier: u16, sequence: u16,
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let echo = Echo { reply, identifier, sequence, payload: &payload };
        let mut wire = Vec::new();
        echo.encode(v6, &mut wire);
        prop_assert_eq!(Message::decode(v6, &wire), Ok(Message::Echo(echo)));
    }
}
