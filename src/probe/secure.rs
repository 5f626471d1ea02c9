//! TLS as our probes speak it: every certificate is accepted, recorded, and judged when all is over.
//!
//! Invariant: a bad certificate does not end a handshake; it is a finding of an answered exchange. An
//! alert is an answer, too. At most [`MAX_RECEIVED`] bytes are taken from a server before its handshake
//! is over.
//!
//! RFC 8446, RFC 5246, RFC 6066 (3: server name). The connection is rustls's own, fed by hand: it speaks
//! TLS 1.2 (ECDHE only) and 1.3, and what is older shows as `tls_legacy`.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConnection, Error, ProtocolVersion};

use super::certificate::{self, Recorder, Roots};
use crate::sample::{Fault, Outcome, Reason, Report, Text};
use crate::time::WallTime;

/// The most bytes taken from a server before its handshake is over. rustls holds each message below
/// 64 KiB; with it that bounds the chain.
pub const MAX_RECEIVED: usize = 96 * 1024;

/// One TLS connection, our side.
pub struct Secure {
    connection: Box<ClientConnection>,
    recorder: Arc<Recorder>,
    /// What the certificate must be for; nothing: its name is not judged.
    name: Option<String>,
    roots: Roots,
    wall: WallTime,
    /// Bytes taken before the handshake was over.
    received: usize,
}

impl Secure {
    /// A connection to be opened to `name` (sent as SNI), or to the address if there is no name. Nothing
    /// if the name is none, or ALPN is too long: the configuration's checks refuse both.
    #[must_use]
    pub fn new(
        name: Option<String>,
        peer: IpAddr,
        roots: Roots,
        alpn: &[String],
        wall: WallTime,
    ) -> Option<Self> {
        let recorder = Recorder::new(wall);
        let alpn: Vec<&[u8]> = alpn.iter().map(String::as_bytes).collect();
        let config = certificate::client_config(recorder.clone(), wall, &alpn);
        let server = match &name {
            Some(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok()?,
            None => ServerName::IpAddress(peer.into()),
        };
        let connection = Box::new(ClientConnection::new(config, server).ok()?);
        Some(Self { connection, recorder, name, roots, wall, received: 0 })
    }

    /// Whether the handshake is not over yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes as much of the stream as the handshake needs; the rest stays in `bytes`.
    ///
    /// # Errors
    /// When the handshake cannot go on.
    pub fn handshake(&mut self, bytes: &mut &[u8]) -> Result<(), Error> {
        self.received = self.received.saturating_add(bytes.len());
        while !bytes.is_empty() && self.is_handshaking() {
            match self.connection.read_tls(bytes) {
                Ok(0) | Err(_) => return Err(Error::PeerSentOversizedRecord),
                Ok(_) => {
                    self.connection.process_new_packets()?;
                }
            }
        }
        if self.is_handshaking() && self.received > MAX_RECEIVED {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok(())
    }

    /// Appends to `clear` what these bytes of the stream say, and what was said beside the end of the
    /// handshake. Whether the peer has ended in order.
    ///
    /// # Errors
    /// When the peer breaks the protocol, or ends with an alert.
    pub fn receive(&mut self, mut bytes: &[u8], clear: &mut Vec<u8>) -> Result<bool, Error> {
        loop {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = self.connection.reader().read(&mut piece) {
                clear.extend(piece.iter().take(length));
            }
            if bytes.is_empty() {
                return Ok(self.connection.process_new_packets()?.peer_has_closed());
            }
            match self.connection.read_tls(&mut bytes) {
                Ok(0) => return Ok(true),
                Err(_) => return Err(Error::PeerSentOversizedRecord),
                Ok(_) => {
                    self.connection.process_new_packets()?;
                }
            }
        }
    }

    /// Encrypts these bytes, to be taken by [`Self::take_output`].
    pub fn write(&mut self, bytes: &[u8]) {
        // Into memory: it cannot fail. What exceeds rustls's buffer of 64 KiB is left out; we say less.
        let _ = self.connection.writer().write_all(bytes);
    }

    /// Says that we end in order.
    pub fn close(&mut self) {
        if !self.is_handshaking() {
            self.connection.send_close_notify();
        }
    }

    /// Appends what is to be sent to `out`.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            if !matches!(self.connection.write_tls(out), Ok(1..)) {
                break;
            }
        }
    }

    /// An answer with what the certificate has against it, else with this reason; and what was agreed.
    pub fn certified(&self, otherwise: Option<Reason>) -> Report {
        let judgement = self.recorder.judge(&self.roots, self.name.as_deref(), self.wall);
        let reason = judgement.as_ref().and_then(|judgement| judgement.reason).or(otherwise);
        let mut report = Report::new(Outcome::Answered(reason));
        if let Some(judgement) = judgement {
            judgement.note(report.findings());
        }
        let details = &mut report.findings().details;
        if let Some(version) = self.connection.protocol_version() {
            details.text("tls_version", version_text(version).as_str());
        }
        if let Some(suite) = self.connection.negotiated_cipher_suite() {
            details.text("cipher_suite", format!("{:?}", suite.suite()).as_str());
        }
        if let Some(protocol) = self.connection.alpn_protocol() {
            details.text("alpn", Text::from_bytes(protocol));
        }
        report
    }

    fn has_weak_key(&self) -> bool {
        self.recorder.judge(&Roots::None, None, self.wall).is_some_and(|judgement| judgement.has_weak_key())
    }

    /// What an error means, without times.
    pub fn failed(&self, error: &Error) -> Report {
        let mut report = match error {
            Error::AlertReceived(alert) => {
                let mut report = if self.recorder.client_certificate_requested() {
                    // All is well as far as one comes without a certificate of one's own.
                    self.certified(None)
                } else if legacy(*alert) {
                    Report::new(Outcome::Refused(Reason::TlsLegacy))
                } else {
                    Report::new(Outcome::Refused(Reason::TlsAlert))
                };
                report.findings().details.text("alert", alert_text(*alert).as_str());
                return report;
            }
            Error::PeerIncompatible(_) => Report::new(Outcome::Refused(Reason::TlsLegacy)),
            // The key is not the certificate's. Everything else about a certificate is only bad form:
            // a version 1 certificate, an algorithm that rustls no longer takes, a key too short.
            Error::InvalidCertificate(why)
                if !matches!(why, CertificateError::BadSignature) || self.has_weak_key() =>
            {
                self.certified(Some(Reason::CertUntrusted))
            }
            Error::FailedToGetRandomBytes | Error::FailedToGetCurrentTime | Error::EncryptError => {
                Report::new(Outcome::Unsent(Fault::Internal))
            }
            _ => Report::new(Outcome::Refused(Reason::ProtocolError)),
        };
        report.findings().details.text("error", error.to_string().as_str());
        report
    }
}

/// Alerts that old servers answer our `ClientHello` with.
const fn legacy(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
    )
}

fn version_text(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The alert's name as RFC 8446 (6) spells it, or its number.
fn alert_text(alert: AlertDescription) -> String {
    let mut text = String::new();
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && text.chars().last().is_some_and(|last| last.is_ascii_lowercase()) {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text.replace("unrecognised", "unrecognized")
}
