//! The initiator's side of `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, as WireGuard uses it.
//!
//! Names as in the WireGuard paper, section 5.4: `C` the chaining key, `H` the hash, `S` static, `E`
//! ephemeral. Invariant: a reply is true only if it opens with what our own initiation left behind.

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit as _, Mac as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use hmac::SimpleHmac;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::wire::wireguard::{BEFORE_MAC1, Initiation, Reply};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

type Key = Zeroizing<[u8; 32]>;

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Key {
    let mut mac = SimpleHmac::<Blake2s256>::new_from_slice(key).unwrap_or_else(|_| SimpleHmac::new(&[0; 64].into()));
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The first `N` keys of HKDF (RFC 5869) over the chaining key.
fn kdf<const N: usize>(chaining: &[u8; 32], input: &[u8]) -> [Key; N] {
    let root = hmac(chaining, &[input]);
    let mut last: Vec<u8> = Vec::new();
    let mut number = 0u8;
    std::array::from_fn(|_| {
        number = number.saturating_add(1);
        let key = hmac(&root, &[&last, &[number]]);
        last = key.to_vec();
        key
    })
}

/// BLAKE2s with a key and 16 octets of output.
pub(super) fn mac(key: &[u8], bytes: &[u8]) -> [u8; 16] {
    let Ok(mut mac) = Blake2sMac::<U16>::new_from_slice(key) else { return [0; 16] };
    blake2::digest::Update::update(&mut mac, bytes);
    mac.finalize_fixed().into()
}

fn seal<const N: usize>(key: &Key, text: &[u8], hash: &[u8; 32]) -> [u8; N] {
    let cipher = ChaCha20Poly1305::new((&**key).into());
    let sealed = cipher.encrypt(&[0; 12].into(), Payload { msg: text, aad: hash }).unwrap_or_default();
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(sealed) {
        *to = from;
    }
    out
}

/// The keys of both ends, as far as we have them.
#[derive(Clone)]
pub struct Keys {
    /// Our own private key.
    pub private: StaticSecret,
    /// The peer's public key.
    pub peer: [u8; 32],
    /// The pre-shared key; zeros if there is none.
    pub preshared: Key,
}

/// What an initiation leaves behind.
pub(super) struct Pending {
    chaining: Key,
    hash: [u8; 32],
    ephemeral: StaticSecret,
    /// The message as sent.
    pub message: Vec<u8>,
    mac1: [u8; 16],
}

/// Begins a handshake under the session name `sender`, at `timestamp` (TAI64N).
pub(super) fn initiate(keys: &Keys, ephemeral: [u8; 32], sender: u32, timestamp: &[u8; 12]) -> Pending {
    let ephemeral = StaticSecret::from(ephemeral);
    let public = PublicKey::from(&ephemeral).to_bytes();
    let peer = PublicKey::from(keys.peer);
    let chaining = hash(&[CONSTRUCTION]);
    let h = hash(&[&hash(&[&chaining, IDENTIFIER]), &keys.peer]);
    let [chaining] = kdf(&chaining, &public);
    let h = hash(&[&h, &public]);
    let [chaining, key] = kdf(&chaining, ephemeral.diffie_hellman(&peer).as_bytes());
    let sealed_static: [u8; 48] = seal(&key, PublicKey::from(&keys.private).as_bytes(), &h);
    let h = hash(&[&h, &sealed_static]);
    let [chaining, key] = kdf(&chaining, keys.private.diffie_hellman(&peer).as_bytes());
    let sealed_timestamp: [u8; 28] = seal(&key, timestamp, &h);
    let h = hash(&[&h, &sealed_timestamp]);
    let mut message = Initiation {
        sender,
        ephemeral: public,
        sealed_static,
        sealed_timestamp,
        mac1: [0; 16],
        mac2: [0; 16],
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    message.mac1 = mac(&hash(&[b"mac1----", &keys.peer]), bytes.get(..BEFORE_MAC1).unwrap_or_default());
    bytes.clear();
    message.encode(&mut bytes);
    Pending { chaining, hash: h, ephemeral, message: bytes, mac1: message.mac1 }
}

#[cfg(test)]
impl Pending {
    /// One of which only `mac1` is known.
    pub(super) fn of_mac1(mac1: [u8; 16]) -> Self {
        let ephemeral = StaticSecret::from([1; 32]);
        Self { chaining: Key::default(), hash: [0; 32], ephemeral, message: Vec::new(), mac1 }
    }
}

/// Whether a reply proves that the peer is who we asked and has read our initiation.
pub(super) fn proves(pending: &Pending, keys: &Keys, reply: &Reply) -> bool {
    match reply {
        Reply::Response { ephemeral, sealed_nothing, .. } => {
            let theirs = PublicKey::from(*ephemeral);
            let [chaining] = kdf(&pending.chaining, ephemeral);
            let h = hash(&[&pending.hash, ephemeral]);
            let [chaining] = kdf(&chaining, pending.ephemeral.diffie_hellman(&theirs).as_bytes());
            let [chaining] = kdf(&chaining, keys.private.diffie_hellman(&theirs).as_bytes());
            let [_, mixed, key] = kdf(&chaining, &*keys.preshared);
            let h = hash(&[&h, &*mixed]);
            let cipher = ChaCha20Poly1305::new((&*key).into());
            cipher.decrypt(&[0; 12].into(), Payload { msg: sealed_nothing, aad: &h }).is_ok()
        }
        Reply::Cookie { nonce, sealed_cookie, .. } => {
            let key = hash(&[b"cookie--", &keys.peer]);
            let cipher = XChaCha20Poly1305::new(&key.into());
            cipher.decrypt(nonce.into(), Payload { msg: sealed_cookie, aad: &pending.mac1 }).is_ok()
        }
    }
}
