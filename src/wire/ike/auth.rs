//! The payloads that say who somebody is, prove it, and end it: IDi and `IDr` (RFC 7296 §3.5),
//! AUTH (§3.8), D (§3.11).

use std::fmt;
use std::net::IpAddr;

use super::ids::{ProtocolId, codes};
use super::{Body, PROTOCOL, PayloadType};
use crate::wire::{Error, Reader, Why};

codes! {
    /// What an identity is (RFC 7296 §3.5).
    pub struct IdentityType(u8) {
        IPV4_ADDR = 1 "ipv4_addr",
        FQDN = 2 "fqdn",
        RFC822_ADDR = 3 "rfc822_addr",
        IPV6_ADDR = 5 "ipv6_addr",
        DER_ASN1_DN = 9 "der_asn1_dn",
        KEY_ID = 11 "key_id",
    }
}

/// Who an end says it is (RFC 7296 §3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub kind: IdentityType,
    /// The identity itself.
    pub data: Vec<u8>,
}

impl Identity {
    /// As strongSwan reads it: an address is one, with an `@` it is an RFC 822 address, else a name.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => Self { kind: IdentityType::IPV4_ADDR, data: ip.octets().to_vec() },
            Ok(IpAddr::V6(ip)) => Self { kind: IdentityType::IPV6_ADDR, data: ip.octets().to_vec() },
            Err(_) if text.contains('@') => {
                Self { kind: IdentityType::RFC822_ADDR, data: text.as_bytes().to_vec() }
            }
            Err(_) => Self { kind: IdentityType::FQDN, data: text.as_bytes().to_vec() },
        }
    }

    /// Reads the body of an IDi or `IDr` payload: type 1 | reserved 3 | identity.
    ///
    /// # Errors
    /// [`Why::Truncated`].
    pub fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, body);
        let kind = IdentityType(reader.u8()?);
        reader.take(3)?;
        Ok(Self { kind, data: reader.rest().to_vec() })
    }

    /// The body of the payload. AUTH is computed over the one that was sent, reserved bytes included.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.kind.0, 0, 0, 0];
        out.extend(&self.data);
        out
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.data.as_slice();
        match self.kind {
            IdentityType::IPV4_ADDR | IdentityType::IPV6_ADDR => {
                let ip = <[u8; 4]>::try_from(octets)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
                ip.map_or(Ok(()), |ip| write!(f, "{ip}"))
            }
            _ => write!(f, "{}", octets.escape_ascii()),
        }
    }
}

/// The authentication method of a pre-shared key (RFC 7296 §3.8).
pub const AUTH_PSK: u8 = 2;

/// Method and data of the body of an AUTH payload: method 1 | reserved 3 | data.
///
/// # Errors
/// [`Why::Truncated`].
pub fn read_auth(body: &[u8]) -> Result<(u8, &[u8]), Error> {
    let mut reader = Reader::new(PROTOCOL, body);
    let method = reader.u8()?;
    reader.take(3)?;
    Ok((method, reader.rest()))
}

/// An AUTH payload.
#[must_use]
pub fn write_auth(method: u8, data: &[u8]) -> Body {
    let mut body = vec![method, 0, 0, 0];
    body.extend(data);
    Body::Other { kind: PayloadType::AUTH, data: body }
}

/// A D payload (RFC 7296 §3.11): protocol 1 | SPI size 1 | number of SPIs 2 | SPIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Which protocol's SAs; [`ProtocolId::IKE`] is the SA that the message itself belongs to.
    pub protocol: ProtocolId,
    /// The SPIs; none for the IKE SA.
    pub spis: Vec<Vec<u8>>,
}

impl Delete {
    /// The IKE SA that carries the message.
    pub const IKE_SA: Self = Self { protocol: ProtocolId::IKE, spis: Vec::new() };

    /// Reads the body of a D payload.
    ///
    /// # Errors
    /// [`Why::Truncated`], [`Why::BadLength`].
    pub fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(PROTOCOL, body);
        let protocol = ProtocolId(reader.u8()?);
        let size = usize::from(reader.u8()?);
        let count = usize::from(reader.u16()?);
        if size == 0 && protocol != ProtocolId::IKE && count > 0 {
            return Err(reader.error(Why::BadLength));
        }
        let mut spis = Vec::new();
        while size > 0 && spis.len() < count {
            spis.push(reader.take(size)?.to_vec());
        }
        if reader.is_empty() { Ok(Self { protocol, spis }) } else { Err(reader.error(Why::BadLength)) }
    }

    /// The payload.
    #[must_use]
    pub fn body(&self) -> Body {
        let size = self.spis.first().map_or(0, Vec::len);
        let mut data = vec![self.protocol.0, u8::try_from(size).unwrap_or(u8::MAX)];
        data.extend(u16::try_from(self.spis.len()).unwrap_or(u16::MAX).to_be_bytes());
        data.extend(self.spis.iter().flatten());
        Body::Other { kind: PayloadType::DELETE, data }
    }
}
