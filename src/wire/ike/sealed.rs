//! What is inside SK and SKF payloads (RFC 7296 §3.14, RFC 5282, RFC 7383 §2.5).
//!
//! ```text
//! header 28 | generic header 4 [| fragment 2 | of 2] | IV | payloads | padding | pad length | ICV
//! ╰────────────── authenticated (GCM: as associated data) ─╯ ╰───────── encrypted ─────────╯
//! ```
//!
//! Invariant: the ICV is compared in constant time, before anything it protects is looked at; what
//! does not fit it yields [`Why::BadTag`] and nothing else.

use std::fmt;

use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::ids::{Integ, PayloadType, Prf};
use super::{Header, Message, PROTOCOL, encode_chain, read_chain};
use crate::wire::{Error, Reader, Why};

const BLOCK: usize = 16;
const GCM_IV: usize = 8;
const GCM_TAG: usize = 16;

/// HMAC of the parts one after the other; nothing for a function this program does not compute.
pub(crate) fn hmac(function: Prf, key: &[u8], parts: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
    fn run<M: Mac + hmac::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
        let mut mac = <M as hmac::KeyInit>::new_from_slice(key).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(Zeroizing::new(mac.finalize().into_bytes().to_vec()))
    }
    match function {
        Prf::HMAC_SHA1 => run::<Hmac<Sha1>>(key, parts),
        Prf::HMAC_SHA2_256 => run::<Hmac<Sha256>>(key, parts),
        Prf::HMAC_SHA2_384 => run::<Hmac<Sha384>>(key, parts),
        Prf::HMAC_SHA2_512 => run::<Hmac<Sha512>>(key, parts),
        _ => None,
    }
}

/// The hash of an integrity algorithm, and to how many bytes its HMAC is cut (RFC 4868, RFC 2404).
const fn integrity(function: Integ) -> Option<(Prf, usize)> {
    match function {
        Integ::HMAC_SHA1_96 => Some((Prf::HMAC_SHA1, 12)),
        Integ::HMAC_SHA2_256_128 => Some((Prf::HMAC_SHA2_256, 16)),
        Integ::HMAC_SHA2_384_192 => Some((Prf::HMAC_SHA2_384, 24)),
        Integ::HMAC_SHA2_512_256 => Some((Prf::HMAC_SHA2_512, 32)),
        _ => None,
    }
}

/// Keys and algorithms of one direction of an IKE SA. They are wiped when it is dropped.
pub struct Protection(Cipher);

enum Cipher {
    /// AES-GCM with a 16-byte ICV (RFC 5282).
    Gcm { key: Zeroizing<Vec<u8>>, salt: Zeroizing<[u8; 4]> },
    /// AES-CBC with an HMAC (RFC 3602, RFC 7296 §3.14).
    Cbc { key: Zeroizing<Vec<u8>>, mac: Prf, icv: usize, mac_key: Zeroizing<Vec<u8>> },
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Cipher::Gcm { .. } => "Protection(AES-GCM, keys withheld)",
            Cipher::Cbc { .. } => "Protection(AES-CBC, keys withheld)",
        })
    }
}

/// What an encrypted message turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A whole message, with the payloads that were inside.
    Whole(Message),
    /// One of several parts.
    Fragment(Fragment),
}

/// A decrypted part of a message (RFC 7383 §2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The header it came with, the same in all parts but for the length.
    pub header: Header,
    /// Which part it is, from 1 on.
    pub number: u16,
    /// How many there are.
    pub total: u16,
    /// Type of the first payload; only the first part has it.
    pub first: PayloadType,
    /// The part's bytes of the chain of payloads.
    pub data: Vec<u8>,
}

impl Fragment {
    /// The message whose parts, in order, have these bytes; `self` is the first part.
    ///
    /// # Errors
    /// What is wrong with the chain of payloads.
    pub fn assemble(&self, bytes: &[u8]) -> Result<Message, Error> {
        Ok(Message::with(&self.header, read_chain(self.first, Reader::new(PROTOCOL, bytes))?))
    }
}

impl Protection {
    /// AES-GCM with a 16-byte ICV. `key` is 16 or 32 bytes and the salt of 4 (RFC 5282 §7.1).
    #[must_use]
    pub fn gcm(key: &[u8]) -> Option<Self> {
        let (key, salt) = key.split_last_chunk::<4>()?;
        matches!(key.len(), 16 | 32)
            .then(|| Self(Cipher::Gcm { key: Zeroizing::new(key.to_vec()), salt: Zeroizing::new(*salt) }))
    }

    /// AES-CBC. `key` is 16, 24 or 32 bytes; `mac_key` as long as the hash's output.
    #[must_use]
    pub fn cbc(key: &[u8], function: Integ, mac_key: &[u8]) -> Option<Self> {
        let (mac, icv) = integrity(function)?;
        let (key, mac_key) = (Zeroizing::new(key.to_vec()), Zeroizing::new(mac_key.to_vec()));
        matches!(key.len(), 16 | 24 | 32).then_some(Self(Cipher::Cbc { key, mac, icv, mac_key }))
    }

    /// Length of the IV of each message: 8 bytes for GCM, which must never come twice; 16 for CBC,
    /// which nobody must be able to foretell.
    #[must_use]
    pub const fn iv_len(&self) -> usize {
        match self.0 {
            Cipher::Gcm { .. } => GCM_IV,
            Cipher::Cbc { .. } => BLOCK,
        }
    }

    /// Whether the IV may be a counter.
    #[must_use]
    pub const fn counts(&self) -> bool {
        matches!(self.0, Cipher::Gcm { .. })
    }

    /// The message with its payloads inside an SK payload. An IV of another length than
    /// [`Self::iv_len`] is cut, or filled up with zeros.
    #[must_use]
    pub fn seal(&self, message: &Message, iv: &[u8]) -> Vec<u8> {
        let mut inner = Zeroizing::new(Vec::new());
        encode_chain(&message.payloads, &mut inner);
        let mut header = message.header(PayloadType::SK);
        self.wrap(&mut header, message.first(), &[], &inner, iv)
    }

    /// One part of a message inside an SKF payload.
    #[must_use]
    pub fn seal_fragment(&self, fragment: &Fragment, iv: &[u8]) -> Vec<u8> {
        let mut header = Header { next: PayloadType::SKF.0, ..fragment.header };
        let mut place = fragment.number.to_be_bytes().to_vec();
        place.extend(fragment.total.to_be_bytes());
        self.wrap(&mut header, fragment.first, &place, &fragment.data, iv)
    }

    fn wrap(
        &self,
        header: &mut Header,
        first: PayloadType,
        place: &[u8],
        inner: &[u8],
        iv: &[u8],
    ) -> Vec<u8> {
        let iv: Vec<u8> = iv.iter().copied().chain(std::iter::repeat(0)).take(self.iv_len()).collect();
        let mut plain = Zeroizing::new(inner.to_vec());
        let tag = match &self.0 {
            Cipher::Gcm { .. } => {
                plain.push(0);
                GCM_TAG
            }
            Cipher::Cbc { icv, .. } => {
                let pad = (BLOCK - (plain.len() + 1) % BLOCK) % BLOCK;
                let padded = plain.len() + pad;
                plain.resize(padded, 0);
                plain.push(u8::try_from(pad).unwrap_or(0));
                *icv
            }
        };
        let body = 4 + place.len() + iv.len() + plain.len() + tag;
        header.length = u32::try_from(Header::LEN + body).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(Header::LEN + body);
        header.encode(&mut out);
        out.extend([first.0, 0]);
        out.extend(u16::try_from(body).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(place);
        match &self.0 {
            Cipher::Gcm { key, salt } => {
                let sealed = gcm(key, &nonce(salt, &iv), &out, &plain, true).unwrap_or_default();
                out.extend(&iv);
                out.extend(sealed.iter());
            }
            Cipher::Cbc { key, mac, icv, mac_key } => {
                cbc_encrypt(key, &iv, &mut plain);
                out.extend(&iv);
                out.extend(&*plain);
                let tag = hmac(*mac, mac_key, &[&out]).unwrap_or_default();
                out.extend(tag.iter().take(*icv));
            }
        }
        out
    }

    /// Opens a message, without non-ESP marker, whose first payload is SK or SKF.
    ///
    /// # Errors
    /// [`Why::BadTag`] if it was not made with these keys; else what is wrong with its form. Offsets
    /// inside count from the first payload inside.
    pub fn open(&self, bytes: &[u8]) -> Result<Opened, Error> {
        let (header, mut reader) = Header::open(PROTOCOL, bytes)?;
        if header.version.major() < 2 {
            return Err(Error { protocol: PROTOCOL, at: 17, why: Why::BadValue("version") });
        }
        let fragmented = match PayloadType(header.next) {
            PayloadType::SK => false,
            PayloadType::SKF => true,
            _ => return Err(Error { protocol: PROTOCOL, at: 16, why: Why::BadValue("next payload") }),
        };
        let first = PayloadType(reader.u8()?);
        reader.u8()?;
        if usize::from(reader.u16()?) != reader.remaining() + 4 {
            return Err(reader.error(Why::BadLength));
        }
        let place = if fragmented { Some((reader.u16()?, reader.u16()?)) } else { None };
        let before = bytes.len().saturating_sub(reader.remaining());
        let wrong_tag = reader.error(Why::BadTag);
        let mut plain = match &self.0 {
            Cipher::Gcm { key, salt } => {
                let iv = reader.take(GCM_IV)?;
                let associated = bytes.get(..before).unwrap_or_default();
                let sealed = reader.rest();
                if sealed.len() <= GCM_TAG {
                    return Err(reader.error(Why::Truncated));
                }
                gcm(key, &nonce(salt, iv), associated, sealed, false).ok_or(wrong_tag)?
            }
            Cipher::Cbc { key, mac, icv, mac_key } => {
                let iv = reader.take(BLOCK)?;
                let sealed = reader.remaining().checked_sub(*icv).ok_or(reader.error(Why::Truncated))?;
                let mut plain = Zeroizing::new(reader.take(sealed)?.to_vec());
                let covered = bytes.len().checked_sub(*icv).and_then(|end| bytes.get(..end));
                let tag = hmac(*mac, mac_key, &[covered.unwrap_or_default()]).unwrap_or_default();
                let good = tag.get(..*icv).is_some_and(|tag| bool::from(tag.ct_eq(reader.rest())));
                if !good {
                    return Err(wrong_tag);
                }
                if plain.is_empty() || !plain.len().is_multiple_of(BLOCK) {
                    return Err(reader.error(Why::BadLength));
                }
                cbc_decrypt(key, iv, &mut plain);
                plain
            }
        };
        let padding = usize::from(plain.pop().unwrap_or(0));
        let length = plain.len().checked_sub(padding).ok_or(reader.error(Why::BadLength))?;
        plain.truncate(length);
        Ok(match place {
            None => Opened::Whole(Message::with(&header, read_chain(first, Reader::new(PROTOCOL, &plain))?)),
            Some((number, total)) if number == 0 || number > total => {
                return Err(reader.error(Why::BadValue("fragment number")));
            }
            Some((number, total)) => {
                Opened::Fragment(Fragment { header, number, total, first, data: plain.to_vec() })
            }
        })
    }
}

fn nonce(salt: &[u8; 4], iv: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (place, byte) in nonce.iter_mut().zip(salt.iter().chain(iv)) {
        *place = *byte;
    }
    nonce
}

fn gcm(
    key: &[u8],
    nonce: &[u8; 12],
    associated: &[u8],
    text: &[u8],
    seal: bool,
) -> Option<Zeroizing<Vec<u8>>> {
    fn run<C: AeadInOut>(
        cipher: &C,
        nonce: &aes_gcm::aead::Nonce<C>,
        associated: &[u8],
        text: &[u8],
        seal: bool,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(text.to_vec());
        let done = if seal {
            cipher.encrypt_in_place(nonce, associated, &mut *buffer)
        } else {
            cipher.decrypt_in_place(nonce, associated, &mut *buffer)
        };
        done.ok().map(|()| buffer)
    }
    if key.len() == 16 {
        run(&Aes128Gcm::new_from_slice(key).ok()?, nonce.into(), associated, text, seal)
    } else {
        run(&Aes256Gcm::new_from_slice(key).ok()?, nonce.into(), associated, text, seal)
    }
}

fn cbc_encrypt(key: &[u8], iv: &[u8], text: &mut [u8]) {
    fn run(mode: Option<impl BlockModeEncrypt<BlockSize = aes::cipher::consts::U16>>, text: &mut [u8]) {
        let Some(mut mode) = mode else { return };
        for block in text.as_chunks_mut::<BLOCK>().0 {
            mode.encrypt_block(block.into());
        }
    }
    match key.len() {
        16 => run(cbc::Encryptor::<Aes128>::new_from_slices(key, iv).ok(), text),
        24 => run(cbc::Encryptor::<Aes192>::new_from_slices(key, iv).ok(), text),
        _ => run(cbc::Encryptor::<Aes256>::new_from_slices(key, iv).ok(), text),
    }
}

fn cbc_decrypt(key: &[u8], iv: &[u8], text: &mut [u8]) {
    fn run(mode: Option<impl BlockModeDecrypt<BlockSize = aes::cipher::consts::U16>>, text: &mut [u8]) {
        let Some(mut mode) = mode else { return };
        for block in text.as_chunks_mut::<BLOCK>().0 {
            mode.decrypt_block(block.into());
        }
    }
    match key.len() {
        16 => run(cbc::Decryptor::<Aes128>::new_from_slices(key, iv).ok(), text),
        24 => run(cbc::Decryptor::<Aes192>::new_from_slices(key, iv).ok(), text),
        _ => run(cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok(), text),
    }
}

#[cfg(test)]
mod tests;
