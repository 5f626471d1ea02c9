//! Each parser of `wire`: whatever it accepts, it writes and reads again as the same.

use vpnprobe::wire::openvpn::{Digest, Keys, Packet, Side, Wrapping};
use vpnprobe::wire::{http, icmp, ike, ikev1, l2tp, rdp, sstp, stun, wireguard};

use crate::mutate::goldens;
use crate::{each_input, inputs};

#[test]
fn ike_messages() {
    each_input(1, &goldens(&["tests/golden/ike"]), inputs(), |bytes| {
        if let Ok(message) = ike::Message::decode(bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(ike::Message::decode(&again).as_ref(), Ok(&message));
        }
    });
}

#[test]
fn ikev1_messages() {
    each_input(2, &goldens(&["tests/golden/ikev1"]), inputs(), |bytes| {
        if let Ok(message) = ikev1::Message::decode(bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(ikev1::Message::decode(&again).as_ref(), Ok(&message));
        }
    });
}

#[test]
fn l2tp_messages() {
    each_input(3, &goldens(&["src/wire/l2tp/tests.rs"]), inputs(), |bytes| {
        if let Ok(message) = l2tp::Message::decode(bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(l2tp::Message::decode(&again).as_ref(), Ok(&message));
        }
    });
}

#[test]
fn openvpn_packets() {
    let text = |name: &str| {
        std::fs::read_to_string(format!("{}/tests/golden/openvpn/{name}", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
    };
    let (key, v2) = (text("static.key"), text("v2-client.key"));
    let wrappings = [
        Keys::plain(),
        Keys::tls_auth(&key, Some(1), Digest::Sha1).unwrap(),
        Keys::tls_crypt(&key).unwrap(),
        Keys::tls_crypt_v2(&v2).unwrap(),
    ]
    .map(|keys| Wrapping::new(keys, Side::Client, 1_700_000_000));
    each_input(4, &goldens(&["tests/golden/openvpn"]), inputs(), |bytes| {
        if let Ok(packet) = Packet::decode(bytes) {
            let mut again = Vec::new();
            packet.encode(&mut again);
            assert_eq!(Packet::decode(&again).as_ref(), Ok(&packet));
        }
        for wrapping in &wrappings {
            let _ = wrapping.unwrap(bytes);
        }
    });
}

#[test]
fn inside_messages() {
    each_input(7, &goldens(&["src/wire/stun/tests.rs"]), inputs(), |bytes| {
        if let Ok(message) = stun::Message::decode(bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(stun::Message::decode(&again).as_ref(), Ok(&message));
            let _ = (message.mapped_address(), message.error_code());
        }
    });
    each_input(8, &goldens(&["src/wire/rdp/tests.rs"]), inputs(), |bytes| {
        if let Ok(packet) = rdp::Packet::decode(bytes) {
            let mut again = Vec::new();
            packet.encode(&mut again);
            assert_eq!(rdp::Packet::decode(&again), Ok(packet));
        }
    });
    each_input(9, &goldens(&["src/wire/sstp/tests.rs"]), inputs(), |bytes| {
        if let Ok(message) = sstp::Message::decode(bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(sstp::Message::decode(&again).as_ref(), Ok(&message));
        }
    });
    each_input(10, &goldens(&["src/probe/wireguard/tests.rs"]), inputs(), |bytes| {
        if let Ok(message) = wireguard::Initiation::decode(bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(wireguard::Initiation::decode(&again).as_ref(), Ok(&message));
        }
        let _ = wireguard::Reply::decode(bytes);
    });
    let heads = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n4\r\nWiki\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            .to_vec(),
    ];
    each_input(11, &heads, inputs(), |bytes| {
        if let Ok(Some(head)) = http::Head::decode(bytes) {
            let _ = head.body_length(bytes.get(head.length..).unwrap_or_default());
        }
    });
}

#[test]
fn icmp_messages() {
    // An echo request of ping(8), and what Linux answers to a datagram for a closed port (RFC 792, page
    // 4: the IP header and the first octets of what was sent).
    let echo = "0800c52b1a2b0001c0ffee00000000000000000000000000101112131415161718191a1b1c1d1e1f";
    let unreachable =
        "0303b7b2000000004500002c3039400040110000c000020acb00710a9c4001f40018000011223344556677881011";
    let seeds: Vec<Vec<u8>> = [echo, unreachable]
        .map(|hex| {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        })
        .to_vec();
    each_input(5, &seeds, inputs(), |bytes| {
        // The checksum is put right as well, or hardly an input would come past it.
        let mut summed = bytes.to_vec();
        if summed.len() >= 4 {
            summed[2..4].fill(0);
            let sum = checksum(&summed).to_be_bytes();
            summed[2..4].copy_from_slice(&sum);
        }
        for bytes in [bytes, &summed] {
            for v6 in [false, true] {
                if let Ok(icmp::Message::Echo(echo)) = icmp::Message::decode(v6, bytes) {
                    let mut again = Vec::new();
                    echo.encode(v6, &mut again);
                    // What is not kept is the checksum of ICMPv6, which the kernel fills in.
                    assert_eq!(icmp::Message::decode(v6, &again), Ok(icmp::Message::Echo(echo)));
                }
                let _ = icmp::Echo::quoted(v6, bytes);
                let _ = icmp::extension::label_stack(bytes, if v6 { 48 } else { 28 });
            }
        }
    });
}

/// What a peer that has the keys may put into an encrypted payload, and into its parts.
#[test]
fn ike_sealed_payloads() {
    let protections = [
        ike::Protection::gcm(&[7; 36]).unwrap(),
        ike::Protection::cbc(&[7; 32], ike::Integ::HMAC_SHA2_256_128, &[8; 32]).unwrap(),
    ];
    each_input(6, &goldens(&["tests/golden/ike"]), inputs(), |bytes| {
        let Ok(header) = ike::Header::decode(bytes) else { return };
        let data = bytes.get(ike::Header::LEN..).unwrap_or_default();
        let first = ike::PayloadType(header.next);
        for protection in &protections {
            let _ = protection.open(bytes);
            let fragment = ike::Fragment { header, number: 1, total: 1, first, data: data.to_vec() };
            let sealed = protection.seal_fragment(&fragment, &[1; 16]);
            if header.version.major() >= 2 {
                let Ok(ike::Opened::Fragment(opened)) = protection.open(&sealed) else {
                    panic!("a fragment")
                };
                assert_eq!((opened.number, opened.total, opened.first), (1, 1, first));
                if let Ok(message) = opened.assemble(&opened.data) {
                    let whole = protection.seal(&message, &[2; 16]);
                    assert_eq!(protection.open(&whole), Ok(ike::Opened::Whole(message)));
                }
            }
            let _ = ike::Identity::decode(data);
            let _ = ike::read_auth(data);
            let _ = ike::Delete::decode(data);
        }
    });
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
