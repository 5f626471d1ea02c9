//! `tls`: a handshake as a VPN client makes it, and what the server's certificate says.
//!
//! ```text
//! SYN ──▶ ◀── SYN/ACK   ClientHello ──▶ ◀── ServerHello … Finished   Finished, close_notify ──▶
//! └───── connect ─────┘ └─────────────── handshake ──────────────┘
//!                       └─── rtt ────┘ (to the server's first byte)
//! ```
//! Invariant: a bad certificate does not end the handshake; it is a finding of an answered exchange.
//! An alert is an answer, too. At most [`MAX_RECEIVED`] bytes are taken from a server.
//!
//! RFC 8446, RFC 5246, RFC 6066 (3: server name). The connection is rustls's own, fed by hand: it speaks
//! TLS 1.2 (ECDHE only) and 1.3, and what is older shows as `tls_legacy`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConnection, Error, ProtocolVersion};

use super::certificate::{self, Recorder, Roots};
use super::{Charge, Event, Exchange, Flow, Form, Handled, KindInfo, Spec, Start, Step, Transport, icmp};
use crate::sample::{Carrier, Fault, Outcome, Phase, Reason, Report};
use crate::time::{Timestamp, WallTime};

/// The most bytes taken from a server before its handshake is over. rustls holds each message below
/// 64 KiB; with it that bounds the chain.
pub const MAX_RECEIVED: usize = 96 * 1024;

/// What `tls` needs to know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The name asked for (SNI) and looked for in the certificate, instead of the target's own.
    pub server_name: Option<String>,
    /// Which roots the chain is judged against.
    pub roots: Roots,
    /// Protocols offered by ALPN; none by default.
    pub alpn: Vec<String>,
}

static FORMS: &[Form] = &[Form {
    name: "handshake",
    charges: &[Charge::TcpConnection, Charge::TlsHandshake],
    packets: 8,
    rare: false,
}];

/// The kind `tls`.
pub static INFO: KindInfo = KindInfo {
    name: "tls",
    port: 443,
    interval: Duration::from_secs(60),
    flow: Flow::Fresh,
    carrier: Carrier::Tcp,
    forms: |_| FORMS,
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::ConnectionRefused,
        Reason::ConnectionReset,
        Reason::CertExpired,
        Reason::CertNotYetValid,
        Reason::CertNameMismatch,
        Reason::CertUntrusted,
        Reason::TlsAlert,
        Reason::TlsLegacy,
        Reason::ProtocolError,
    ],
    phases: &[Phase::Connect, Phase::Handshake],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let settings = &spec.settings.tls;
    let name = settings.server_name.clone().or_else(|| spec.host.clone());
    let recorder = Recorder::new(start.wall);
    let alpn: Vec<&[u8]> = settings.alpn.iter().map(String::as_bytes).collect();
    let config = certificate::client_config(recorder.clone(), start.wall, &alpn);
    let connection = server_name(name.as_deref(), start.peer)
        .and_then(|name| ClientConnection::new(config, name).ok().map(Box::new));
    let state = if connection.is_some() {
        State::Running
    } else {
        // A name that is none, or ALPN that is too long: the configuration's checks refuse both.
        State::Decided(Report::new(Outcome::Unsent(Fault::Internal)))
    };
    Box::new(Handshake {
        port: spec.port,
        name,
        roots: settings.roots.clone(),
        wall: start.wall,
        begun: start.now,
        deadline: start.now + start.timeout,
        recorder,
        connection,
        connected: None,
        hello: None,
        first: None,
        received: 0,
        icmp: None,
        state,
    })
}

/// What the handshake is begun with: the name, or the address, for which no SNI is sent.
fn server_name(name: Option<&str>, peer: IpAddr) -> Option<ServerName<'static>> {
    match name {
        Some(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        None => Some(ServerName::IpAddress(peer.into())),
    }
}

enum State {
    Running,
    Decided(Report),
    /// The result is told; what rustls still wants to send (Finished, an alert) goes out.
    Closing,
    Ended,
}

struct Handshake {
    port: u16,
    name: Option<String>,
    roots: Roots,
    wall: WallTime,
    begun: Timestamp,
    deadline: Timestamp,
    recorder: Arc<Recorder>,
    connection: Option<Box<ClientConnection>>,
    connected: Option<Timestamp>,
    /// When the `ClientHello` left.
    hello: Option<Timestamp>,
    /// When the server's first byte came.
    first: Option<Timestamp>,
    received: usize,
    /// What an ICMP error said of the open connection; told if nothing better comes.
    icmp: Option<Report>,
    state: State,
}

impl Handshake {
    fn decide(&mut self, mut report: Report) {
        if !matches!(self.state, State::Running) {
            return;
        }
        if let Some(connected) = self.connected {
            report.phases.insert(0, (Phase::Connect, connected.since(self.begun)));
        }
        self.state = State::Decided(report);
    }

    /// A report of something the server said, with the time its first byte took.
    fn answered(&self, outcome: Outcome) -> Report {
        let mut report = Report::new(outcome);
        if outcome.received() == Some(true) {
            report.rtt = self.hello.and_then(|hello| self.first.map(|first| first.since(hello)));
        }
        report
    }

    fn receive(&mut self, mut bytes: &[u8], at: Timestamp) {
        let Some(connection) = self.connection.as_mut().filter(|_| matches!(self.state, State::Running)) else {
            return;
        };
        self.first.get_or_insert(at);
        self.received = self.received.saturating_add(bytes.len());
        let mut result = Ok(());
        while result.is_ok() && !bytes.is_empty() && connection.is_handshaking() {
            result = match connection.read_tls(&mut bytes) {
                Ok(0) | Err(_) => Err(Error::PeerSentOversizedRecord),
                Ok(_) => connection.process_new_packets().map(drop),
            };
        }
        let handshaking = connection.is_handshaking();
        match result {
            Err(error) => {
                let report = self.failed(&error);
                self.decide(report);
            }
            Ok(()) if !handshaking => {
                let report = self.finished(at);
                self.decide(report);
            }
            Ok(()) if self.received > MAX_RECEIVED => {
                let report = self.failed(&Error::PeerSentOversizedRecord);
                self.decide(report);
            }
            Ok(()) => {}
        }
    }

    /// The handshake is over.
    fn finished(&self, at: Timestamp) -> Report {
        let mut report = self.certified(None);
        if let Some(hello) = self.hello {
            report.phases.push((Phase::Handshake, at.since(hello)));
        }
        report
    }

    /// An answer with a certificate: the judgement's reason, else this one.
    fn certified(&self, otherwise: Option<Reason>) -> Report {
        let judgement = self.recorder.judge(&self.roots, self.name.as_deref(), self.wall);
        let reason = judgement.as_ref().and_then(|judgement| judgement.reason).or(otherwise);
        let mut report = self.answered(Outcome::Answered(reason));
        if let Some(judgement) = judgement {
            judgement.note(report.findings());
        }
        let Some(connection) = &self.connection else { return report };
        let details = &mut report.findings().details;
        if let Some(version) = connection.protocol_version() {
            details.text("tls_version", version_text(version).as_str());
        }
        if let Some(suite) = connection.negotiated_cipher_suite() {
            details.text("cipher_suite", format!("{:?}", suite.suite()).as_str());
        }
        if let Some(protocol) = connection.alpn_protocol() {
            details.text("alpn", crate::sample::Text::from_bytes(protocol));
        }
        report
    }

    fn has_weak_key(&self) -> bool {
        self.recorder.judge(&Roots::None, None, self.wall).is_some_and(|judgement| judgement.has_weak_key())
    }

    /// The handshake cannot go on.
    fn failed(&self, error: &Error) -> Report {
        let mut report = match error {
            Error::AlertReceived(alert) => {
                let mut report = if self.recorder.client_certificate_requested() {
                    // All is well as far as one comes without a certificate of one's own.
                    self.certified(None)
                } else if legacy(*alert) {
                    self.answered(Outcome::Refused(Reason::TlsLegacy))
                } else {
                    self.answered(Outcome::Refused(Reason::TlsAlert))
                };
                report.findings().details.text("alert", alert_text(*alert).as_str());
                return report;
            }
            Error::PeerIncompatible(_) => self.answered(Outcome::Refused(Reason::TlsLegacy)),
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
            _ => self.answered(Outcome::Refused(Reason::ProtocolError)),
        };
        report.findings().details.text("error", error.to_string().as_str());
        report
    }

    fn silence(&mut self) -> Report {
        let mut report = self.icmp.take().unwrap_or(Report::new(Outcome::Lost(Reason::NoAnswer)));
        if self.connected.is_some() {
            let stage = if self.first.is_some() { "handshake" } else { "server_hello" };
            report.findings().details.text("waited_for", stage);
        }
        report
    }
}

impl Exchange for Handshake {
    fn transport(&self) -> Transport {
        Transport::Tcp { port: self.port }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Running if now >= self.deadline => {
                let report = self.silence();
                self.state = State::Running;
                self.decide(report);
                self.poll(now, out)
            }
            State::Running => {
                self.state = State::Running;
                if self.connected.is_some() && self.take_output(out) {
                    return Step::Send;
                }
                Step::Wait(self.deadline)
            }
            State::Decided(report) => {
                self.state = State::Closing;
                Step::Report(report)
            }
            State::Closing => {
                if let Some(connection) = &mut self.connection
                    && self.connected.is_some()
                    && !connection.is_handshaking()
                {
                    connection.send_close_notify();
                }
                if self.connected.is_some() && self.take_output(out) { Step::Send } else { Step::End }
            }
            State::Ended => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Connected => {
                self.connected.get_or_insert(at);
            }
            Event::Sent => {
                self.hello.get_or_insert(at);
            }
            Event::Received { bytes, .. } => self.receive(bytes, at),
            Event::Closed => {
                self.lost_connection(Reason::ConnectionReset);
            }
            Event::Reset if self.connected.is_some() => self.lost_connection(Reason::ConnectionReset),
            Event::Reset => self.lost_connection(Reason::ConnectionRefused),
            Event::Icmp { from, error, .. } => {
                let report = icmp::refusal(from, error);
                if self.connected.is_some() {
                    // A connection outlives such errors (RFC 1122, 4.2.3.9).
                    self.icmp = report.or(self.icmp.take());
                } else if let Some(report) = report {
                    self.decide(report);
                }
            }
            Event::Failed(fault) => self.decide(Report::new(Outcome::Unsent(fault))),
        }
        Handled::Taken
    }
}

impl Handshake {
    /// Moves what rustls wants to send to `out`; whether there was anything.
    fn take_output(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        while connection.wants_write() {
            if !matches!(connection.write_tls(out), Ok(1..)) {
                break;
            }
        }
        !out.is_empty()
    }

    fn lost_connection(&mut self, reason: Reason) {
        self.decide(Report::new(Outcome::Refused(reason)));
        // Nothing can be sent any more.
        self.connection = None;
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

#[cfg(test)]
mod tests;
