//! The pre-shared keys that wrap control packets, and the files they come in.
//!
//! Invariant: no key is ever shown: [`Keys`] prints as its kind only, and no error quotes a line.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const STATIC_BEGIN: &str = "-----BEGIN OpenVPN Static key V1-----";
const STATIC_END: &str = "-----END OpenVPN Static key V1-----";
const V2_BEGIN: &str = "-----BEGIN OpenVPN tls-crypt-v2 client key-----";
const V2_END: &str = "-----END OpenVPN tls-crypt-v2 client key-----";
const V2_SERVER: &str = "-----BEGIN OpenVPN tls-crypt-v2 server key-----";

/// The shortest wrapped client key: tag 32, key 256, metadata type 1, length 2.
const WRAPPED_MIN: usize = 32 + KEY_LEN + 1 + 2;
/// The longest one (`TLS_CRYPT_V2_MAX_WKC_LEN`).
const WRAPPED_MAX: usize = 1024;
const KEY_LEN: usize = 256;

/// Why a text is not the key it should be. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The first line of the key is not there.
    #[error("no line \"{0}\" in it")]
    NoBegin(&'static str),
    /// The last line of the key is not there.
    #[error("the key starts at line {begin}, but no line \"{end}\" follows")]
    NoEnd {
        /// Where it starts.
        begin: usize,
        /// What is missing.
        end: &'static str,
    },
    /// It is the key file of the other end.
    #[error("line {0}: this is the server's tls-crypt-v2 key; the client's is needed")]
    ServerKey(usize),
    /// A line is not hexadecimal.
    #[error("line {0}: not hexadecimal")]
    NotHex(usize),
    /// The text between the lines is not base64.
    #[error("the key that starts at line {0} is not base64")]
    NotBase64(usize),
    /// The key is too short or too long.
    #[error("the key has {got} bytes, {want} are needed")]
    Length {
        /// How many it has.
        got: usize,
        /// How many it needs.
        want: usize,
    },
    /// The second part of a tls-crypt-v2 client key has not the length that its last two bytes say.
    #[error("the wrapped part of the client key has {0} bytes, which contradicts its own length field")]
    Wrapped(usize),
    /// There is no such direction.
    #[error("the key direction is {0}; it is 0, 1, or left out on both ends")]
    Direction(u8),
}

/// The hash of `tls-auth`: OpenVPN's option `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digest {
    /// The default of OpenVPN.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// The digest of that name, as OpenVPN spells it (`SHA1`, `sha-256`, …), in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sha1" | "sha-1" => Some(Self::Sha1),
            "sha256" | "sha-256" | "sha2-256" => Some(Self::Sha256),
            "sha512" | "sha-512" | "sha2-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The length of its tags in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// How the control packets of a server are wrapped, with the keys. Plain by default.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Keys(pub(super) Kind);

#[derive(Clone, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Plain,
    Auth {
        key: Arc<StaticKey>,
        direction: Option<u8>,
        digest: Digest,
    },
    Crypt(Arc<StaticKey>),
    CryptV2 {
        key: Arc<StaticKey>,
        wrapped: Arc<[u8]>,
    },
}

/// A static key: cipher and HMAC of one direction, then of the other.
#[derive(PartialEq, Eq)]
pub(super) struct StaticKey(pub(super) [[u8; 64]; 4]);

impl Keys {
    /// No wrapping.
    #[must_use]
    pub const fn plain() -> Self {
        Self(Kind::Plain)
    }

    /// `tls-auth` with the text of a static key file. The direction is the one in *this* end's
    /// configuration: 1 at a client, 0 at a server, or nothing at both.
    ///
    /// # Errors
    /// If the text is no static key file or the direction is another number.
    pub fn tls_auth(text: &str, direction: Option<u8>, digest: Digest) -> Result<Self, KeyError> {
        if let Some(wrong) = direction.filter(|direction| *direction > 1) {
            return Err(KeyError::Direction(wrong));
        }
        Ok(Self(Kind::Auth { key: Arc::new(StaticKey::from_text(text)?), direction, digest }))
    }

    /// `tls-crypt` with the text of a static key file.
    ///
    /// # Errors
    /// If the text is no static key file.
    pub fn tls_crypt(text: &str) -> Result<Self, KeyError> {
        Ok(Self(Kind::Crypt(Arc::new(StaticKey::from_text(text)?))))
    }

    /// `tls-crypt-v2` with the text of a client key file.
    ///
    /// # Errors
    /// If the text is no tls-crypt-v2 client key.
    pub fn tls_crypt_v2(text: &str) -> Result<Self, KeyError> {
        if let Some((number, _)) = lines(text).find(|(_, line)| *line == V2_SERVER) {
            return Err(KeyError::ServerKey(number));
        }
        let (begin, body) = between(text, V2_BEGIN, V2_END)?;
        let body: String = body.into_iter().map(|(_, line)| line).collect();
        let bytes = STANDARD.decode(body).map_err(|_| KeyError::NotBase64(begin))?;
        let Some((key, wrapped)) = bytes.split_first_chunk::<KEY_LEN>() else {
            return Err(KeyError::Length { got: bytes.len(), want: KEY_LEN + WRAPPED_MIN });
        };
        let said = wrapped.last_chunk::<2>().map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
        if said != wrapped.len() || !(WRAPPED_MIN..=WRAPPED_MAX).contains(&said) {
            return Err(KeyError::Wrapped(wrapped.len()));
        }
        Ok(Self(Kind::CryptV2 { key: Arc::new(StaticKey::new(key)), wrapped: wrapped.into() }))
    }

    /// `plain`, `tls-auth`, `tls-crypt` or `tls-crypt-v2`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.0 {
            Kind::Plain => "plain",
            Kind::Auth { .. } => "tls-auth",
            Kind::Crypt(_) => "tls-crypt",
            Kind::CryptV2 { .. } => "tls-crypt-v2",
        }
    }

    /// How many bytes of wrapped client key follow some packets.
    #[must_use]
    pub fn wrapped_len(&self) -> usize {
        match &self.0 {
            Kind::CryptV2 { wrapped, .. } => wrapped.len(),
            _ => 0,
        }
    }
}

/// The kind only, never a key.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.name())
    }
}

impl StaticKey {
    fn new(bytes: &[u8; KEY_LEN]) -> Self {
        let mut slots = [[0; 64]; 4];
        for (slot, part) in slots.iter_mut().zip(bytes.as_chunks::<64>().0) {
            *slot = *part;
        }
        Self(slots)
    }

    fn from_text(text: &str) -> Result<Self, KeyError> {
        let (_, body) = between(text, STATIC_BEGIN, STATIC_END)?;
        let mut bytes = Vec::with_capacity(KEY_LEN);
        for (number, line) in body {
            let (pairs, odd) = line.as_bytes().as_chunks::<2>();
            for [high, low] in pairs {
                let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) else {
                    return Err(KeyError::NotHex(number));
                };
                bytes.push((high << 4) | low);
            }
            if !odd.is_empty() {
                return Err(KeyError::NotHex(number));
            }
        }
        match <&[u8; KEY_LEN]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Self::new(key)),
            Err(_) => Err(KeyError::Length { got: bytes.len(), want: KEY_LEN }),
        }
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Number and trimmed text of each line.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(str::trim))
}

type Lines<'a> = Vec<(usize, &'a str)>;

/// The line number of `begin`, and the lines from there to `end`. What stands before (comments, the
/// tags of an inline file) does not matter.
fn between<'a>(
    text: &'a str,
    begin: &'static str,
    end: &'static str,
) -> Result<(usize, Lines<'a>), KeyError> {
    let mut rest = lines(text);
    let (start, _) = rest.find(|(_, line)| *line == begin).ok_or(KeyError::NoBegin(begin))?;
    let mut body = Vec::new();
    for (number, line) in rest {
        if line == end {
            return Ok((start, body));
        }
        body.push((number, line));
    }
    Err(KeyError::NoEnd { begin: start, end })
}
