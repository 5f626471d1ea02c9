//! The head of an HTTP/1.1 response (RFC 9112 sections 4 and 5), read with `httparse`.
//!
//! Invariant: a head is at most [`MAX_HEAD`] bytes and [`MAX_HEADERS`] fields; the body is never read here.

#[cfg(test)]
mod tests;

use super::{Error, Why};

const PROTOCOL: &str = "http";

/// The most bytes of a head, its empty line included.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most fields of a head.
pub const MAX_HEADERS: usize = 96;

/// A response's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code, three digits.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Vec<u8>,
    /// The fields, names in lower case, in the order they came.
    pub fields: Vec<(String, Vec<u8>)>,
    /// How many bytes the head takes, its empty line included.
    pub length: usize,
    /// The minor version: 0 or 1.
    pub minor: u8,
}

impl Head {
    /// Reads a head at the start of `bytes`; nothing if it is not whole yet.
    ///
    /// # Errors
    /// If it is no head of HTTP/1, or too long.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let window = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        let wrong = |why| Error { protocol: PROTOCOL, at: 0, why };
        let length = match response.parse(window) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => return Err(wrong(Why::TooMany)),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => {
                return Err(wrong(match error {
                    httparse::Error::TooManyHeaders => Why::TooMany,
                    httparse::Error::Version => Why::BadValue("version"),
                    httparse::Error::Status => Why::BadValue("status"),
                    httparse::Error::HeaderName => Why::BadValue("field name"),
                    httparse::Error::HeaderValue => Why::BadValue("field value"),
                    httparse::Error::NewLine => Why::BadValue("line end"),
                    httparse::Error::Token => Why::BadValue("token"),
                }));
            }
        };
        let status = response.code.filter(|code| (100..=999).contains(code));
        let field = |field: &httparse::Header<'_>| (field.name.to_ascii_lowercase(), field.value.to_vec());
        Ok(Some(Self {
            status: status.ok_or(wrong(Why::BadValue("status")))?,
            reason: response.reason.unwrap_or_default().as_bytes().to_vec(),
            fields: response.headers.iter().map(field).collect(),
            length,
            minor: response.version.unwrap_or(1),
        }))
    }

    /// The first field of that name (in lower case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    /// The same as text, if it is ASCII.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.field(name)?).ok()?;
        text.is_ascii().then_some(text.trim())
    }

    /// How long the body is, if the head says so in one number (RFC 9112 section 6.2).
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.text("content-length")?.parse().ok()
    }

    /// How long the body is that begins `bytes` (RFC 9112 section 6.3); nothing while that is not known.
    ///
    /// # Errors
    /// If its chunks are broken.
    pub fn body_length(&self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        if (100..200).contains(&self.status) || matches!(self.status, 204 | 304) {
            return Ok(Some(0));
        }
        let coding = self.text("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if !coding.ends_with("chunked") {
            return Ok(self.content_length().and_then(|length| usize::try_from(length).ok()));
        }
        let mut at = 0usize;
        // Each turn passes one chunk, which has six bytes at the least.
        while let Some(rest) = bytes.get(at..) {
            let wrong = Error { protocol: PROTOCOL, at: self.length.saturating_add(at), why: Why::BadLength };
            let (line, size) = match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete(found)) => found,
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(_) => return Err(wrong),
            };
            let size = usize::try_from(size).map_err(|_| wrong)?;
            // A trailer is not read: without one an empty line ends the body.
            let after =
                at.checked_add(line).and_then(|at| at.checked_add(size)).and_then(|at| at.checked_add(2));
            let after = after.ok_or(wrong)?;
            let end = bytes.get(after.saturating_sub(2)..after);
            match (size, end) {
                (_, None) => return Ok(None),
                (0, Some(b"\r\n")) => return Ok(Some(after)),
                (_, Some(b"\r\n")) => at = after,
                _ => return Err(wrong),
            }
        }
        Ok(None)
    }

    /// Whether the connection stays open for another question (RFC 9112 section 9.3).
    #[must_use]
    pub fn stays_open(&self) -> bool {
        let said = self.text("connection").unwrap_or_default().to_ascii_lowercase();
        let has = |word: &str| said.split(',').any(|other| other.trim() == word);
        if self.minor == 0 { has("keep-alive") } else { !has("close") }
    }
}
