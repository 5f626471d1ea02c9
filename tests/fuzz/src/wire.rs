//! Each parser of `wire`: whatever it accepts, it writes and reads again as the same.

use std::sync::OnceLock;

use vpnprobe::wire::openvpn::{Digest, Frames, Keys, Packet, Side, Wrapping};
use vpnprobe::wire::{http, icmp, ike, ikev1, l2tp, rdp, sstp, stun, wireguard};

use crate::{Targets, canary, seeds};

/// The targets here.
pub const TARGETS: Targets = &[
    ("ike", ike),
    ("ike_sealed", ike_sealed),
    ("ikev1", ikev1),
    ("l2tp", l2tp),
    ("openvpn", openvpn),
    ("openvpn_frames", openvpn_frames),
    ("stun", stun),
    ("rdp", rdp),
    ("sstp", sstp),
    ("wireguard", wireguard),
    ("http_head", http_head),
    ("icmp", icmp),
];

/// Reads, writes and reads again.
macro_rules! again {
    ($type:ty, $bytes:expr) => {{
        let Ok(message) = <$type>::decode($bytes) else { return };
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(<$type>::decode(&written).as_ref(), Ok(&message));
        message
    }};
}

/// A message of IKEv2.
pub fn ike(bytes: &[u8]) {
    let message = again!(ike::Message, bytes);
    let _ = (message.proposals(), message.vendor_ids().count());
    for notify in message.notifies() {
        let _ = (notify.wanted_group(), notify.kind.is_error());
        canary(&notify.data, 12, 4);
    }
}

/// What a peer that has the keys may put into an encrypted payload, and into its parts.
pub fn ike_sealed(bytes: &[u8]) {
    static KEYS: OnceLock<[ike::Protection; 2]> = OnceLock::new();
    let protections = KEYS.get_or_init(|| {
        [
            ike::Protection::gcm(&[7; 36]).unwrap(),
            ike::Protection::cbc(&[7; 32], ike::Integ::HMAC_SHA2_256_128, &[8; 32]).unwrap(),
        ]
    });
    let Ok(header) = ike::Header::decode(bytes) else { return };
    let data = bytes.get(ike::Header::LEN..).unwrap_or_default();
    let first = ike::PayloadType(header.next);
    let _ = ike::Identity::decode(data);
    let _ = ike::read_auth(data);
    let _ = ike::Delete::decode(data);
    // Which of the two: a bit that has no other meaning.
    let protection = &protections[usize::from(header.initiator.0[7] & 1)];
    let _ = protection.open(bytes);
    let fragment = ike::Fragment { header, number: 1, total: 1, first, data: data.to_vec() };
    let sealed = protection.seal_fragment(&fragment, &[1; 16]);
    if header.version.major() >= 2 {
        let Ok(ike::Opened::Fragment(opened)) = protection.open(&sealed) else { panic!("a fragment") };
        assert_eq!((opened.number, opened.total, opened.first), (1, 1, first));
        if let Ok(message) = opened.assemble(&opened.data) {
            let whole = protection.seal(&message, &[2; 16]);
            let Ok(ike::Opened::Whole(opened)) = protection.open(&whole) else { panic!("a whole message") };
            assert_eq!(opened, message);
            for notify in opened.notifies() {
                canary(&notify.data, 12, 4);
            }
        }
    }
}

/// A message of IKEv1.
pub fn ikev1(bytes: &[u8]) {
    let message = again!(ikev1::Message, bytes);
    let _ = message.chosen();
    for id in message.vendor_ids() {
        canary(id, 12, 4);
    }
    if let Some(notification) = message.notification() {
        canary(&notification.data, 12, 4);
    }
}

/// A control message of L2TP.
pub fn l2tp(bytes: &[u8]) {
    let message = again!(l2tp::Message, bytes);
    let _ = (message.message_type(), message.result_code(), message.is_zero_length_body());
    for avp in &message.avps {
        canary(&avp.value, 10, 2);
    }
}

/// A control packet of OpenVPN, without wrapping and with every wrapping.
pub fn openvpn(bytes: &[u8]) {
    static WRAPPINGS: OnceLock<[Wrapping; 4]> = OnceLock::new();
    let wrappings = WRAPPINGS.get_or_init(|| {
        let (key, v2) = (
            seeds::text("tests/golden/openvpn/static.key"),
            seeds::text("tests/golden/openvpn/v2-client.key"),
        );
        [
            Keys::plain(),
            Keys::tls_auth(&key, Some(1), Digest::Sha1).unwrap(),
            Keys::tls_crypt(&key).unwrap(),
            Keys::tls_crypt_v2(&v2).unwrap(),
        ]
        .map(|keys| Wrapping::new(keys, Side::Client, 1_700_000_000))
    });
    for wrapping in wrappings {
        let _ = wrapping.unwrap(bytes);
    }
    let packet = again!(Packet, bytes);
    canary(&packet.payload, 16, 4);
}

/// OpenVPN over TCP: the same packets, however the stream is cut.
pub fn openvpn_frames(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let mut whole = Frames::default();
    whole.push(stream);
    let mut packets = Vec::new();
    while let Ok(Some(packet)) = whole.next_packet() {
        canary(&packet, 20, 8);
        packets.push(packet);
    }
    let mut parts = Frames::default();
    let mut found = 0;
    'parts: for part in stream.chunks(usize::from(*cut).max(1)) {
        parts.push(part);
        loop {
            match parts.next_packet() {
                Ok(Some(packet)) => {
                    assert_eq!(packets.get(found), Some(&packet));
                    found += 1;
                }
                Ok(None) => break,
                Err(_) => break 'parts,
            }
        }
    }
    assert_eq!(found, packets.len());
}

/// A message of STUN.
pub fn stun(bytes: &[u8]) {
    let message = again!(stun::Message, bytes);
    let _ = (message.mapped_address(), message.error_code());
    for attribute in &message.attributes {
        canary(&attribute.1, 8, 0);
    }
}

/// A connection request or confirmation of RDP.
pub fn rdp(bytes: &[u8]) {
    let packet = again!(rdp::Packet, bytes);
    let _ = rdp::Packet::length(bytes);
    match packet.negotiation {
        rdp::Negotiation::Response(_, word)
        | rdp::Negotiation::Failure(word)
        | rdp::Negotiation::Request(word) => {
            let _ = (rdp::protocol_name(word), rdp::failure_name(word));
            canary(&word.to_be_bytes(), 4, 0);
        }
        rdp::Negotiation::None => {}
    }
}

/// A control message of SSTP.
pub fn sstp(bytes: &[u8]) {
    let _ = sstp::Message::length(bytes);
    let message = again!(sstp::Message, bytes);
    for attribute in &message.attributes {
        canary(&attribute.1, 8, 2);
    }
}

/// A handshake message of WireGuard.
pub fn wireguard(bytes: &[u8]) {
    if let Ok(reply) = wireguard::Reply::decode(bytes) {
        canary(&reply.receiver().to_be_bytes(), 4, 0);
    }
    let _ = again!(wireguard::Initiation, bytes);
}

/// The head of an answer of HTTP, and how long its body is.
pub fn http_head(bytes: &[u8]) {
    if let Ok(Some(head)) = http::Head::decode(bytes) {
        let _ = head.body_length(bytes.get(head.length..).unwrap_or_default());
        let _ = (head.content_length(), head.stays_open());
        if let Some(server) = head.field("server") {
            canary(server, 8, 2);
        }
    }
}

/// An ICMP message and what it quotes. The checksum is put right as well, or hardly an input would come
/// past it.
pub fn icmp(bytes: &[u8]) {
    let mut summed = bytes.to_vec();
    put_checksum(&mut summed);
    for bytes in [bytes, &summed] {
        for v6 in [false, true] {
            if let Ok(icmp::Message::Echo(echo)) = icmp::Message::decode(v6, bytes) {
                let mut again = Vec::new();
                echo.encode(v6, &mut again);
                // What is not kept is the checksum of ICMPv6, which the kernel fills in.
                assert_eq!(icmp::Message::decode(v6, &again).as_ref(), Ok(&icmp::Message::Echo(echo)));
                canary(&again, 32, 16);
            }
            let _ = icmp::Echo::quoted(v6, bytes);
            let _ = icmp::extension::label_stack(bytes, if v6 { 48 } else { 28 });
        }
    }
}

/// Puts the checksum of an ICMP message right.
pub fn put_checksum(message: &mut [u8]) {
    if message.len() >= 4 {
        message[2..4].fill(0);
        let sum = checksum(message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
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
