//! `tls`: a handshake as a VPN client makes it, and what the server's certificate says.
//!
//! ```text
//! SYN ──▶ ◀── SYN/ACK   ClientHello ──▶ ◀── ServerHello … Finished   Finished, close_notify ──▶
//! └───── connect ─────┘ └─────────────── handshake ──────────────┘
//!                       └─── rtt ────┘ (to the server's first byte)
//! ```
//! Invariant: a bad certificate does not end the handshake; it is a finding of an answered exchange.
//! An alert is an answer, too; see [`super::secure`].

use std::time::Duration;

use super::certificate::Roots;
use super::conversation::{Conversation, Script, Stream};
use super::secure::Secure;
use super::{Charge, Exchange, Flow, Form, KindInfo, Spec, Start};
use crate::sample::{Carrier, Phase, Reason, Report};

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
    phases: &[Phase::Connect, Phase::TcpKernel, Phase::Handshake],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let settings = &spec.settings.tls;
    let name = settings.server_name.clone().or_else(|| spec.host.clone());
    let secure = Secure::new(name, start.peer, settings.roots.clone(), &settings.alpn, start.wall);
    Box::new(match secure {
        Some(secure) => Conversation::new(spec.port, &start, Some(secure), Handshake),
        None => Conversation::broken(spec.port, &start, Handshake),
    })
}

/// Nothing is asked beyond the handshake.
struct Handshake;

impl Script for Handshake {
    fn opened(&mut self, stream: &mut Stream) -> Option<Report> {
        stream.secure().map(|secure| stream.timed(secure.certified(None)))
    }

    fn received(&mut self, _: &mut Stream) -> Option<Report> {
        None
    }
}

#[cfg(test)]
mod tests;
