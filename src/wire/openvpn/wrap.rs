//! Wrapping and unwrapping control packets with a pre-shared key, for either end.
//!
//! Invariant: tags are compared in constant time, before anything behind them is used.

use aes::cipher::{Key, KeyInit, KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::keys::{Digest, Keys, Kind, StaticKey};
use super::{EARLY_NEGOTIATION, Error, Opcode, PROTOCOL, Packet, first_byte};
use crate::wire::{Reader, Why};

type Aes256Ctr = ctr::Ctr128BE<aes::Aes256>;

/// Opcode and session id, which stay readable in every wrapping.
const HEADER: usize = 9;
/// The tag of tls-crypt.
const TAG: usize = 32;

/// Which end of the session we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that sends the first reset.
    Client,
    /// The one that answers it.
    Server,
}

/// One session's wrapping: the keys, which end we are, and the counter of what we sent.
#[derive(Debug)]
pub struct Wrapping {
    keys: Keys,
    side: Side,
    /// Unix time of the session's start, in seconds: with the replay id it makes each packet unique.
    time: u32,
    replay: u32,
}

impl Wrapping {
    /// For a session that starts at this Unix time (seconds).
    ///
    /// A server with tls-crypt-v2 keys is one that knows this client's key beforehand: it does not
    /// open wrapped keys.
    #[must_use]
    pub const fn new(keys: Keys, side: Side, time: u32) -> Self {
        let replay = match (&keys.0, side) {
            (Kind::CryptV2 { .. }, Side::Client) => EARLY_NEGOTIATION,
            _ => 0,
        };
        Self { keys, side, time, replay }
    }

    /// The opcode with which a client starts a session.
    #[must_use]
    pub const fn reset(&self) -> Opcode {
        match self.keys.0 {
            Kind::CryptV2 { .. } => Opcode::HardResetClientV3,
            _ => Opcode::HardResetClientV2,
        }
    }

    /// The keys.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    #[cfg(test)]
    pub(super) const fn set_replay(&mut self, replay: u32) {
        self.replay = replay;
    }

    /// Appends the packet as it goes into a datagram. Each call counts the replay id on, so a
    /// retransmission is wrapped anew.
    pub fn wrap(&mut self, packet: &Packet, out: &mut Vec<u8>) {
        let mut plain = Vec::with_capacity(HEADER + 32 + packet.payload.len());
        packet.encode(&mut plain);
        if self.keys.0 == Kind::Plain {
            out.append(&mut plain);
            return;
        }
        self.replay = self.replay.wrapping_add(1);
        let stamp = (u64::from(self.replay) << 32 | u64::from(self.time)).to_be_bytes();
        let (header, body) = plain.split_at_mut_checked(HEADER).unwrap_or_default();
        match &self.keys.0 {
            Kind::Plain => {}
            Kind::Auth { key, direction, digest } => {
                let tag = auth_tag(*digest, auth_key(key, *direction, true), &[&stamp, header, body]);
                for part in [&*header, &tag, &stamp, &*body] {
                    out.extend_from_slice(part);
                }
            }
            Kind::Crypt(key) | Kind::CryptV2 { key, .. } => {
                let (cipher, hmac) = crypt_keys(key, self.side);
                let tag: [u8; TAG] =
                    mac::<Hmac<Sha256>>(hmac, &[header, &stamp, body]).finalize().into_bytes().into();
                apply_keystream(cipher, &tag, body);
                for part in [&*header, &stamp, &tag, &*body] {
                    out.extend_from_slice(part);
                }
            }
        }
        if let Kind::CryptV2 { wrapped, .. } = &self.keys.0
            && self.side == Side::Client
            && packet.opcode.carries_wrapped_key()
        {
            out.extend_from_slice(wrapped);
        }
    }

    /// Reads a datagram of the other end.
    ///
    /// # Errors
    /// [`Why::BadTag`] if it was not wrapped with our key (or not at all); else as
    /// [`Packet::decode`]. Offsets behind the header count in the unwrapped packet.
    pub fn unwrap(&self, bytes: &[u8]) -> Result<Packet, Error> {
        let mut reader = Reader::new(PROTOCOL, bytes);
        let header: [u8; HEADER] = match self.keys.0 {
            Kind::Plain => return Packet::decode(bytes),
            _ => reader.array()?,
        };
        let (opcode, _) = first_byte(&mut Reader::new(PROTOCOL, &header))?;
        let mut plain = header.to_vec();
        match &self.keys.0 {
            Kind::Plain => {}
            Kind::Auth { key, direction, digest } => {
                let tag = reader.take(digest.len())?;
                let wrong = reader.error(Why::BadTag);
                let stamp: [u8; 8] = reader.array()?;
                let body = reader.rest();
                let key = auth_key(key, *direction, false);
                if !auth_tag_fits(*digest, key, &[&stamp, &header, body], tag) {
                    return Err(wrong);
                }
                plain.extend_from_slice(body);
            }
            Kind::Crypt(key) | Kind::CryptV2 { key, .. } => {
                let stamp: [u8; 8] = reader.array()?;
                let wrong = reader.error(Why::BadTag);
                let tag: [u8; TAG] = reader.array()?;
                let mut body = reader.rest();
                if matches!(self.keys.0, Kind::CryptV2 { .. }) && opcode.carries_wrapped_key() {
                    body = without_wrapped_key(body).ok_or(reader.error(Why::BadLength))?;
                }
                let mut body = body.to_vec();
                let (cipher, hmac) = crypt_keys(
                    key,
                    match self.side {
                        Side::Client => Side::Server,
                        Side::Server => Side::Client,
                    },
                );
                apply_keystream(cipher, &tag, &mut body);
                mac::<Hmac<Sha256>>(hmac, &[&header, &stamp, &body]).verify_slice(&tag).map_err(|_| wrong)?;
                plain.append(&mut body);
            }
        }
        Packet::decode(&plain)
    }
}

/// The key of what we send, or of what we receive.
const fn auth_key(key: &StaticKey, direction: Option<u8>, send: bool) -> &[u8; 64] {
    let [_, first, _, second] = &key.0;
    match (direction, send) {
        (Some(1), true) | (Some(0), false) => second,
        _ => first,
    }
}

/// The cipher and HMAC keys of what that side sends.
const fn crypt_keys(key: &StaticKey, sender: Side) -> (&[u8; 64], &[u8; 64]) {
    let [cipher_server, hmac_server, cipher_client, hmac_client] = &key.0;
    match sender {
        Side::Client => (cipher_client, hmac_client),
        Side::Server => (cipher_server, hmac_server),
    }
}

/// An HMAC over the parts with as many bytes of the key as the digest is long: OpenVPN uses no more.
fn mac<M: Mac + KeyInit>(key: &[u8; 64], parts: &[&[u8]]) -> M {
    // Zeros up to the block length do not change an HMAC's key.
    let mut block = Key::<M>::default();
    block.iter_mut().zip(key.iter().take(M::output_size())).for_each(|(to, from)| *to = *from);
    let mut mac = <M as KeyInit>::new(&block);
    parts.iter().for_each(|part| mac.update(part));
    mac
}

fn auth_tag(digest: Digest, key: &[u8; 64], parts: &[&[u8]]) -> Vec<u8> {
    match digest {
        Digest::Sha1 => mac::<Hmac<Sha1>>(key, parts).finalize().into_bytes().to_vec(),
        Digest::Sha256 => mac::<Hmac<Sha256>>(key, parts).finalize().into_bytes().to_vec(),
        Digest::Sha512 => mac::<Hmac<Sha512>>(key, parts).finalize().into_bytes().to_vec(),
    }
}

fn auth_tag_fits(digest: Digest, key: &[u8; 64], parts: &[&[u8]], tag: &[u8]) -> bool {
    match digest {
        Digest::Sha1 => mac::<Hmac<Sha1>>(key, parts).verify_slice(tag).is_ok(),
        Digest::Sha256 => mac::<Hmac<Sha256>>(key, parts).verify_slice(tag).is_ok(),
        Digest::Sha512 => mac::<Hmac<Sha512>>(key, parts).verify_slice(tag).is_ok(),
    }
}

/// AES-256-CTR with the first half of the tag as its start; both directions of the cipher.
fn apply_keystream(key: &[u8; 64], tag: &[u8; TAG], body: &mut [u8]) {
    let (mut cipher_key, mut start) = ([0; 32], [0; 16]);
    cipher_key.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    start.iter_mut().zip(tag).for_each(|(to, from)| *to = *from);
    Aes256Ctr::new(&cipher_key.into(), &start.into()).apply_keystream(body);
}

/// What is before a wrapped key, whose last two bytes tell its length.
fn without_wrapped_key(body: &[u8]) -> Option<&[u8]> {
    let len = usize::from(u16::from_be_bytes(*body.last_chunk::<2>()?));
    body.len().checked_sub(len).and_then(|end| body.get(..end))
}
