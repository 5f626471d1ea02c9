use proptest::prelude::*;

use super::*;

/// The 2048-bit static key 00 01 02 … ff.
pub(crate) const STATIC_KEY: &str = include_str!("../../../tests/golden/openvpn/static.key");
/// Made by `openvpn --genkey tls-crypt-v2-client` of OpenVPN 2.6.14 for the captures beside it.
pub(crate) const V2_KEY: &str = include_str!("../../../tests/golden/openvpn/v2-client.key");

macro_rules! capture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/golden/openvpn/", $name, ".hex"))
    };
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Who sent each packet of a capture, and its bytes.
fn packets(capture: &str) -> Vec<(Side, Vec<u8>)> {
    let lines = capture.lines().filter(|line| !line.starts_with('#'));
    let packets: Vec<_> = lines
        .map(|line| match line.split_once(' ').unwrap() {
            ("C", bytes) => (Side::Client, hex(bytes)),
            (_, bytes) => (Side::Server, hex(bytes)),
        })
        .collect();
    assert_eq!(packets.len(), 7);
    packets
}

/// A capture with the keys of its client and of its server.
fn captures() -> Vec<(&'static str, Keys, Keys)> {
    let auth = |direction, digest| Keys::tls_auth(STATIC_KEY, direction, digest).unwrap();
    let crypt = Keys::tls_crypt(STATIC_KEY).unwrap();
    let v2 = Keys::tls_crypt_v2(V2_KEY).unwrap();
    vec![
        (capture!("plain"), Keys::plain(), Keys::plain()),
        (capture!("tls-auth-sha1"), auth(Some(1), Digest::Sha1), auth(Some(0), Digest::Sha1)),
        (capture!("tls-auth-sha256"), auth(Some(1), Digest::Sha256), auth(Some(0), Digest::Sha256)),
        (capture!("tls-auth-sha512"), auth(None, Digest::Sha512), auth(None, Digest::Sha512)),
        (capture!("tls-crypt"), crypt.clone(), crypt),
        (capture!("tls-crypt-v2"), v2.clone(), v2),
    ]
}

/// Wraps a packet as its sender did: with the replay id and time of the wire.
fn rewrap(keys: &Keys, side: Side, wire: &[u8], packet: &Packet) -> Vec<u8> {
    let at = match &keys.0 {
        keys::Kind::Plain => 0,
        keys::Kind::Auth { digest, .. } => 9 + digest.len(),
        _ => 9,
    };
    let word = |at: usize| u32::from_be_bytes(wire[at..at + 4].try_into().unwrap());
    let mut wrapping = Wrapping::new(keys.clone(), side, word(at + 4));
    wrapping.set_replay(word(at).wrapping_sub(1));
    let mut out = Vec::new();
    wrapping.wrap(packet, &mut out);
    out
}

#[test]
fn captured_sessions_are_unwrapped_and_wrapped_again() {
    for (capture, client, server) in captures() {
        let all = packets(capture);
        let mut sessions = [None, None];
        for (sender, wire) in &all {
            let (keys, receiver) = match sender {
                Side::Client => (&client, Wrapping::new(server.clone(), Side::Server, 0)),
                Side::Server => (&server, Wrapping::new(client.clone(), Side::Client, 0)),
            };
            let packet = receiver.unwrap(wire).unwrap();
            assert_eq!(rewrap(keys, *sender, wire, &packet), *wire);

            let own = usize::from(*sender == Side::Server);
            assert_eq!(*sessions[own].get_or_insert(packet.session), packet.session);
            if let Some(acks) = &packet.acks {
                assert_eq!(Some(acks.session), sessions[1 - own]);
            }
            if matches!(packet.opcode, Opcode::ControlV1 | Opcode::ControlWkcV1) {
                assert!(packet.id > 0);
            }
        }
        let reset = Wrapping::new(server.clone(), Side::Server, 0).unwrap(&all[0].1).unwrap();
        assert_eq!(reset.opcode, Wrapping::new(client.clone(), Side::Client, 0).reset());
        let answer = Wrapping::new(client.clone(), Side::Client, 0).unwrap(&all[1].1).unwrap();
        assert_eq!(answer.opcode, Opcode::HardResetServerV2);
        assert_eq!(answer.acks, Some(Acks { ids: vec![0], session: reset.session }));
        assert_eq!(answer.wants_wrapped_key(), client.name() == "tls-crypt-v2");
        // The ClientHello is the start of the TLS stream.
        let hello = Wrapping::new(server.clone(), Side::Server, 0).unwrap(&all[2].1).unwrap();
        assert!(hello.payload.starts_with(&[0x16, 3, 1]));
    }
}

#[test]
fn no_prefix_of_a_captured_packet_passes_for_one() {
    for (capture, client, server) in captures() {
        for (sender, wire) in packets(capture) {
            let receiver = match sender {
                Side::Client => Wrapping::new(server.clone(), Side::Server, 0),
                Side::Server => Wrapping::new(client.clone(), Side::Client, 0),
            };
            for end in 0..wire.len() {
                let got = receiver.unwrap(&wire[..end]);
                // Without a tag only the fixed fields can be missed: a payload has no end of its own.
                let open = client == Keys::plain() && end >= wire.len() - payload_len(&wire);
                assert_eq!(got.is_err(), !open, "{end} bytes of {}", client.name());
            }
        }
    }
}

fn payload_len(plain: &[u8]) -> usize {
    Packet::decode(plain).unwrap().payload.len()
}

#[test]
fn a_changed_byte_or_another_key_is_noticed() {
    for (capture, client, server) in captures().split_off(1) {
        let (_, wire) = &packets(capture)[1];
        let receiver = Wrapping::new(client.clone(), Side::Client, 0);
        for at in 1..wire.len() {
            let mut bytes = wire.clone();
            bytes[at] ^= 0x10;
            assert_eq!(receiver.unwrap(&bytes).unwrap_err().why, Why::BadTag, "byte {at}");
        }
        let other = STATIC_KEY.replace("40414243", "40414244").replace("00010203", "00010204");
        let other = match &server.0 {
            keys::Kind::Auth { digest, .. } => Keys::tls_auth(&other, Some(1), *digest),
            _ => Keys::tls_crypt(&other),
        };
        let receiver = Wrapping::new(other.unwrap(), Side::Client, 0);
        assert_eq!(receiver.unwrap(wire).unwrap_err().why, Why::BadTag);
    }
}

/// Key 00..ff, session id 01..08, replay id 1, time 0x65000000: resets of another implementation, which
/// OpenVPN 2.6.14 answered.
#[test]
fn resets_are_as_another_implementation_writes_them() {
    let reset = Packet {
        opcode: Opcode::HardResetClientV2,
        key_id: 0,
        session: [1, 2, 3, 4, 5, 6, 7, 8],
        acks: None,
        id: 0,
        payload: Vec::new(),
    };
    for (keys, expected) in [
        (Keys::plain(), "3801020304050607080000000000"),
        (
            Keys::tls_auth(STATIC_KEY, Some(1), Digest::Sha1).unwrap(),
            "380102030405060708602941d9a95a08dd2d0892de37cd48c0953c774200000001650000000000000000",
        ),
        (
            Keys::tls_crypt(STATIC_KEY).unwrap(),
            "3801020304050607080000000165000000cfccca8dc0e5aba43f54ed925ae825837d70281fd40c461fdde5ff4c89d0c5bb677280b699",
        ),
    ] {
        let mut out = Vec::new();
        Wrapping::new(keys.clone(), Side::Client, 0x6500_0000).wrap(&reset, &mut out);
        assert_eq!(out, hex(expected));
        // A server with tls-auth has direction 0.
        let keys = if keys.name() == "tls-auth" {
            Keys::tls_auth(STATIC_KEY, Some(0), Digest::Sha1).unwrap()
        } else {
            keys
        };
        assert_eq!(Wrapping::new(keys, Side::Server, 0).unwrap(&out), Ok(reset.clone()));
    }
}

#[test]
fn tls_crypt_v2_announces_early_negotiation_and_sends_its_key_along() {
    let keys = Keys::tls_crypt_v2(V2_KEY).unwrap();
    let mut wrapping = Wrapping::new(keys.clone(), Side::Client, 0);
    let mut out = Vec::new();
    let packet = Packet {
        opcode: wrapping.reset(),
        key_id: 0,
        session: [9; 8],
        acks: None,
        id: 0,
        payload: Vec::new(),
    };
    wrapping.wrap(&packet, &mut out);
    assert_eq!(out[0], 10 << 3);
    assert_eq!(out[9..13], hex("0f000001"));
    assert_eq!(out.len(), 54 + keys.wrapped_len());
}

#[test]
fn key_files_are_refused_with_a_clear_text() {
    let text = |result: Result<Keys, KeyError>| result.unwrap_err().to_string();
    assert_eq!(text(Keys::tls_crypt("")), r#"no line "-----BEGIN OpenVPN Static key V1-----" in it"#);
    assert_eq!(
        text(Keys::tls_crypt(&STATIC_KEY.replace("-----END", "-----DNE"))),
        r#"the key starts at line 4, but no line "-----END OpenVPN Static key V1-----" follows"#
    );
    assert_eq!(text(Keys::tls_crypt(&STATIC_KEY.replace("0f\n", "0g\n"))), "line 5: not hexadecimal");
    assert_eq!(text(Keys::tls_crypt(&STATIC_KEY.replace("0f\n", "0\n"))), "line 5: not hexadecimal");
    assert_eq!(
        text(Keys::tls_crypt(&STATIC_KEY.replace("0f\n", "\n"))),
        "the key has 255 bytes, 256 are needed"
    );
    assert_eq!(
        text(Keys::tls_auth(STATIC_KEY, Some(2), Digest::Sha1)),
        "the key direction is 2; it is 0, 1, or left out on both ends"
    );
    assert_eq!(
        text(Keys::tls_crypt_v2(STATIC_KEY)),
        r#"no line "-----BEGIN OpenVPN tls-crypt-v2 client key-----" in it"#
    );
    assert_eq!(
        text(Keys::tls_crypt_v2(&V2_KEY.replace("client key", "server key"))),
        "line 1: this is the server's tls-crypt-v2 key; the client's is needed"
    );
    assert_eq!(
        text(Keys::tls_crypt_v2(&V2_KEY.replacen('\n', "\n!", 1))),
        "the key that starts at line 1 is not base64"
    );
    let mut lines: Vec<_> = V2_KEY.lines().collect();
    lines.remove(2);
    assert!(matches!(Keys::tls_crypt_v2(&lines.join("\n")), Err(KeyError::Wrapped(_))));
    lines.drain(2..lines.len() - 1);
    assert!(matches!(Keys::tls_crypt_v2(&lines.join("\n")), Err(KeyError::Length { want: 547, .. })));
}

#[test]
fn keys_are_read_with_what_people_have_around_them() {
    let windows = STATIC_KEY.replace('\n', "\r\n");
    let inline = format!("<tls-crypt>\n{STATIC_KEY}</tls-crypt>\n");
    let upper = STATIC_KEY.replace("0a0b", "0A0B");
    for text in [&windows, &inline, &upper] {
        assert_eq!(Keys::tls_crypt(text), Keys::tls_crypt(STATIC_KEY));
    }
    assert_eq!(Digest::named("SHA256"), Some(Digest::Sha256));
    assert_eq!(Digest::named("md5"), None);
}

#[test]
fn keys_do_not_show_themselves() {
    let keys = Keys::tls_crypt(STATIC_KEY).unwrap();
    assert_eq!(format!("{keys:?}"), "Keys(tls-crypt)");
}

#[test]
fn frames_come_out_whatever_the_pieces() {
    let mut stream = Vec::new();
    let all = packets(capture!("plain"));
    all.iter().for_each(|(_, packet)| frame(packet, &mut stream));
    for size in [1, 2, 3, 7, 100, stream.len()] {
        let mut frames = Frames::default();
        let mut got = Vec::new();
        for piece in stream.chunks(size) {
            frames.push(piece);
            while let Some(packet) = frames.next_packet().unwrap() {
                got.push(packet);
            }
        }
        assert!(frames.is_empty());
        assert!(got.iter().eq(all.iter().map(|(_, packet)| packet)));
    }
}

#[test]
fn other_streams_are_noticed_at_their_first_bytes() {
    for start in
        [b"SSH-2.0".as_slice(), b"HTTP/1.1", b"\x15\x03\x03\x00\x02", b"\0\0", b"\0\x0e\x30", b"220 "]
    {
        let mut frames = Frames::default();
        frames.push(start);
        assert!(frames.next_packet().is_err(), "{start:?}");
    }
}

#[test]
fn the_request_for_the_wrapped_key_is_found_behind_other_values() {
    let answer = |payload: &[u8]| Packet {
        opcode: Opcode::HardResetServerV2,
        key_id: 0,
        session: [1; 8],
        acks: None,
        id: 0,
        payload: payload.to_vec(),
    };
    assert!(answer(&hex("000100020001")).wants_wrapped_key());
    assert!(answer(&hex("00070001ff000100020003")).wants_wrapped_key());
    for no in ["", "000100020000", "0001000200", "00010001", "0007ffff", "000200020001"] {
        assert!(!answer(&hex(no)).wants_wrapped_key(), "{no}");
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let opcodes = prop::sample::select(vec![
        Opcode::SoftResetV1,
        Opcode::ControlV1,
        Opcode::AckV1,
        Opcode::HardResetClientV2,
        Opcode::HardResetServerV2,
        Opcode::HardResetClientV3,
        Opcode::ControlWkcV1,
    ]);
    let payload = prop::collection::vec(any::<u8>(), 0..1200);
    let acks = prop::collection::vec(any::<u32>(), 1..=MAX_ACKS);
    (opcodes, 0..8u8, any::<SessionId>(), any::<bool>(), acks, any::<SessionId>(), any::<u32>(), payload)
        .prop_map(|(opcode, key_id, session, has_acks, ids, remote, id, payload)| {
            let acks_only = opcode == Opcode::AckV1;
            Packet {
                opcode,
                key_id,
                session,
                acks: (has_acks || acks_only).then_some(Acks { ids, session: remote }),
                id: if acks_only { 0 } else { id },
                payload: if acks_only { Vec::new() } else { payload },
            }
        })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), which in 0..6usize) {
        let (_, client, server) = captures().swap_remove(which);
        let _ = Wrapping::new(client, Side::Client, 0).unwrap(&bytes);
        let _ = Wrapping::new(server, Side::Server, 0).unwrap(&bytes);
        let mut frames = Frames::default();
        frames.push(&bytes);
        while let Ok(Some(_)) = frames.next_packet() {}
    }

    #[test]
    fn no_key_text_panics(text: String) {
        let _ = Keys::tls_crypt(&STATIC_KEY.replace("0f\n", &text));
        let _ = Keys::tls_crypt_v2(&V2_KEY.replacen('\n', &text, 2));
    }

    #[test]
    fn what_is_wrapped_is_unwrapped(packet in packet(), which in 0..6usize, time: u32) {
        let (_, client, server) = captures().swap_remove(which);
        for (sender, receiver, side) in [(&client, &server, Side::Client), (&server, &client, Side::Server)] {
            if side == Side::Server && packet.opcode.carries_wrapped_key() {
                continue;
            }
            let other = if side == Side::Client { Side::Server } else { Side::Client };
            let mut wire = Vec::new();
            Wrapping::new(sender.clone(), side, time).wrap(&packet, &mut wire);
            let got = Wrapping::new(receiver.clone(), other, 0).unwrap(&wire);
            prop_assert_eq!(got.as_ref(), Ok(&packet));
        }
    }
}
