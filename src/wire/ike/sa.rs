//! The `IKEv2` security association payload: proposals and their transforms (RFC 7296 §3.3).
//!
//! ```text
//! proposal:  0 last, 2 more | 0 | length 2 | number | protocol | SPI size | transforms | SPI | …
//! transform: 0 last, 3 more | 0 | length 2 | type | 0 | id 2 | attributes
//! ```

use super::header::{Attribute, frame, framed};
use super::ids::{Encr, Group, Integ, Prf, ProtocolId, TransformType};
use crate::wire::{Error, Reader, Why};

/// One proposal: what the responder may choose one transform of each type from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Counts from 1; an answer repeats the number of the proposal it chose.
    pub number: u8,
    /// The protocol it is for.
    pub protocol: ProtocolId,
    /// The sender's SPI; empty in `IKE_SA_INIT`.
    pub spi: Vec<u8>,
    /// At most 255.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// Which type it is of.
    pub kind: TransformType,
    /// Its number among those of its type.
    pub id: u16,
    /// Key length and whatever else there is.
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// An encryption algorithm, with its key length in bits if it has several.
    #[must_use]
    pub fn encr(id: Encr, bits: Option<u16>) -> Self {
        let attributes = bits.map(|bits| Attribute::short(Attribute::KEY_LENGTH, bits)).into_iter().collect();
        Self { kind: TransformType::ENCR, id: id.0, attributes }
    }

    /// A pseudorandom function.
    #[must_use]
    pub const fn prf(id: Prf) -> Self {
        Self { kind: TransformType::PRF, id: id.0, attributes: Vec::new() }
    }

    /// An integrity algorithm.
    #[must_use]
    pub const fn integ(id: Integ) -> Self {
        Self { kind: TransformType::INTEG, id: id.0, attributes: Vec::new() }
    }

    /// A Diffie-Hellman group.
    #[must_use]
    pub const fn dh(id: Group) -> Self {
        Self { kind: TransformType::DH, id: id.0, attributes: Vec::new() }
    }

    /// The key length in bits, if said.
    #[must_use]
    pub fn key_length(&self) -> Option<u16> {
        let attribute = self.attributes.iter().find(|attribute| attribute.kind == Attribute::KEY_LENGTH)?;
        attribute.number().and_then(|bits| u16::try_from(bits).ok())
    }
}

impl Proposal {
    /// The most proposals a payload may have: their number is one byte, from 1.
    pub const MAX: usize = 255;

    /// A proposal for an IKE SA, as `IKE_SA_INIT` has it.
    #[must_use]
    pub const fn ike(number: u8, transforms: Vec<Transform>) -> Self {
        Self { number, protocol: ProtocolId::IKE, spi: Vec::new(), transforms }
    }

    pub(super) fn read_all(mut reader: Reader<'_>) -> Result<Vec<Self>, Error> {
        let mut proposals = Vec::new();
        loop {
            let more = more(&mut reader, 2)?;
            proposals.push(Self::read(framed(&mut reader, 4)?)?);
            if !more {
                break;
            }
            if proposals.len() >= Self::MAX {
                return Err(reader.error(Why::TooMany));
            }
        }
        if reader.is_empty() { Ok(proposals) } else { Err(reader.error(Why::BadLength)) }
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, Error> {
        let number = reader.u8()?;
        let protocol = ProtocolId(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = usize::from(reader.u8()?);
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        let mut transforms = Vec::new();
        while transforms.len() < count {
            let more = more(&mut reader, 3)?;
            let mut body = framed(&mut reader, 4)?;
            let kind = TransformType(body.u8()?);
            body.u8()?;
            let id = body.u16()?;
            transforms.push(Transform { kind, id, attributes: Attribute::read_all(body)? });
            if more != (transforms.len() < count) {
                return Err(reader.error(Why::BadValue("transform count")));
            }
        }
        if reader.is_empty() {
            Ok(Self { number, protocol, spi, transforms })
        } else {
            Err(reader.error(Why::BadLength))
        }
    }

    pub(super) fn encode_all(proposals: &[Self], out: &mut Vec<u8>) {
        for (left, proposal) in (0..proposals.len()).rev().zip(proposals) {
            frame(out, [if left > 0 { 2 } else { 0 }, 0], |out| proposal.encode(out));
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let size = u8::try_from(self.spi.len()).unwrap_or(u8::MAX);
        let count = u8::try_from(self.transforms.len()).unwrap_or(u8::MAX);
        out.extend([self.number, self.protocol.0, size, count]);
        out.extend(&self.spi);
        for (left, transform) in (0..self.transforms.len()).rev().zip(&self.transforms) {
            frame(out, [if left > 0 { 3 } else { 0 }, 0], |out| {
                out.extend([transform.kind.0, 0]);
                out.extend(transform.id.to_be_bytes());
                for attribute in &transform.attributes {
                    attribute.encode(out);
                }
            });
        }
    }
}

/// Reads "0 last or `word` more" and the reserved byte.
pub(crate) fn more(reader: &mut Reader<'_>, word: u8) -> Result<bool, Error> {
    let wrong = reader.error(Why::BadValue("last substructure"));
    let more = match reader.u8()? {
        0 => false,
        value if value == word => true,
        _ => return Err(wrong),
    };
    reader.u8()?;
    Ok(more)
}
