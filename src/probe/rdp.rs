//! `rdp`: which security a remote desktop server agrees to, and its certificate.
//!
//! ```text
//! X.224 request, RDP_NEG_REQ ──▶ ◀── confirmation, RDP_NEG_RSP   ClientHello ──▶ ◀── … Finished   close
//!                            └───────── rtt ────────┘
//! ```
//! Invariant: nothing is sent that names a user, and CredSSP is never begun: no logon fails for us.
//!
//! MS-RDPBCGR 1.3.1.1, 2.2.1.1, 2.2.1.2. A failure code is an answer: the service is up, and wants another
//! security than TLS or network level authentication. Its certificate is self-signed as a rule, so trust
//! and name are judged only on request; its dates always are.

use std::net::IpAddr;
use std::time::Duration;

use super::certificate::Roots;
use super::conversation::{Conversation, Script, Stream};
use super::http::nonsense;
use super::secure::Secure;
use super::{Charge, Exchange, Flow, Form, KindInfo, Spec, Start};
use crate::sample::{Carrier, Outcome, Phase, Reason, Report};
use crate::time::WallTime;
use crate::wire::rdp::{self, Negotiation, Packet, protocol};

/// What `rdp` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name asked for by SNI; it is looked for in the certificate only if roots are given.
    pub server_name: Option<String>,
    /// Which roots the chain is judged against; by default none.
    pub roots: Roots,
}

impl Default for Settings {
    fn default() -> Self {
        Self { server_name: None, roots: Roots::None }
    }
}

static FORMS: &[Form] = &[Form {
    name: "negotiate",
    charges: &[Charge::TcpConnection, Charge::TlsHandshake],
    packets: 9,
    rare: false,
}];

/// The kind `rdp`.
pub static INFO: KindInfo = KindInfo {
    name: "rdp",
    port: 3389,
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
    phases: &[Phase::Connect, Phase::TcpKernel, Phase::Handshake, Phase::FirstByte],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let settings = spec.settings.rdp.clone();
    let judged = settings.roots != Roots::None;
    let name = settings.server_name.or_else(|| spec.host.clone().filter(|_| judged));
    let script =
        Negotiate { name, roots: settings.roots, peer: start.peer, wall: start.wall, agreed: None };
    Box::new(Conversation::new(spec.port, &start, None, script))
}

/// What the server has confirmed.
struct Agreed {
    report: Report,
}

struct Negotiate {
    name: Option<String>,
    roots: Roots,
    peer: IpAddr,
    wall: WallTime,
    agreed: Option<Agreed>,
}

impl Negotiate {
    /// What the confirmation says, and whether TLS comes next.
    fn confirmed(packet: Packet, stream: &Stream) -> (Report, bool) {
        let mut report = Report::new(Outcome::OK);
        let details = &mut report.findings().details;
        let mut tls = false;
        match packet.negotiation {
            Negotiation::Response(flags, chosen) => {
                let other = || format!("protocol {chosen}");
                let name = rdp::protocol_name(chosen).map_or_else(other, str::to_owned);
                details.text("security", name.as_str());
                details.number("server_flags", flags);
                tls = chosen != protocol::RDP;
            }
            Negotiation::Failure(code) => {
                let other = || format!("failure {code}");
                let name = rdp::failure_name(code).map_or_else(other, str::to_owned);
                details.text("negotiation_failure", name.as_str());
            }
            // Windows XP and Server 2003 without updates, and RDP's own security.
            Negotiation::None | Negotiation::Request(_) => details.text("security", "rdp"),
        }
        let mut report = stream.timed(report);
        report.phases.extend(stream.rtt().map(|took| (Phase::FirstByte, took)));
        (report, tls)
    }

    /// Adds what is known of the certificate, or why nothing is, to what was agreed.
    fn with(agreed: Agreed, tls: Report) -> Report {
        let mut report = agreed.report;
        if let Some(findings) = tls.findings {
            report.findings().details.merge(&findings.details);
            report.findings().certificate_not_after = findings.certificate_not_after;
        }
        // The service has answered already; what TLS came to is a finding of that.
        report.outcome = Outcome::Answered(tls.outcome.reason());
        report
    }
}

impl Script for Negotiate {
    fn opened(&mut self, stream: &mut Stream) -> Option<Report> {
        if let Some(agreed) = self.agreed.take() {
            let certified = stream.secure().map(|secure| secure.certified(None));
            return Some(Self::with(agreed, certified.unwrap_or(Report::new(Outcome::OK))));
        }
        let wanted = protocol::SSL | protocol::HYBRID | protocol::HYBRID_EX;
        let mut bytes = Vec::new();
        Packet { confirm: false, source: 0, negotiation: Negotiation::Request(wanted) }.encode(&mut bytes);
        stream.ask(&bytes);
        None
    }

    fn received(&mut self, stream: &mut Stream) -> Option<Report> {
        match Packet::length(&stream.inbox) {
            Ok(Some(length)) if stream.inbox.len() >= length => {}
            Ok(_) => return None,
            Err(error) => return Some(nonsense(stream, &error.to_string())),
        }
        let packet = match Packet::decode(&stream.inbox) {
            Ok(packet) if packet.confirm => packet,
            Ok(_) => return Some(nonsense(stream, "a request where a confirmation is due")),
            Err(error) => return Some(nonsense(stream, &error.to_string())),
        };
        let (report, tls) = Self::confirmed(packet, stream);
        if !tls {
            return Some(report);
        }
        let secure = Secure::new(self.name.clone(), self.peer, self.roots.clone(), &[], self.wall);
        let Some(secure) = secure else { return Some(report) };
        stream.encrypt(secure);
        self.agreed = Some(Agreed { report });
        None
    }

    fn failed(&mut self, _: &mut Stream, failed: Report) -> Option<Report> {
        Some(match self.agreed.take() {
            Some(agreed) => Self::with(agreed, failed),
            None => failed,
        })
    }

    fn silent(&mut self, _: &Stream, mut silence: Report) -> Report {
        silence.findings().details.text("waited_for", "confirmation");
        silence
    }
}

#[cfg(test)]
mod tests;
