//! `stun`: a binding request, and from which address and port the server saw it come.
//!
//! The flow is pinned, as a VPN client's is. So an address that changes between two samples means that a
//! NAT on the way has forgotten the mapping and made another: what kills a session without a word.
//!
//! Invariant: an answer counts only with our random transaction id, and a fingerprint that is there must
//! fit.
//!
//! RFC 8489 (6.3.3: processing of answers; 14: attributes).

use std::net::SocketAddr;
use std::time::Duration;

use super::datagram::{Datagram, Question};
use super::{Exchange, Flow, Form, KindInfo, Mismatch, Spec, Start};
use crate::entropy::Draw as _;
use crate::sample::{Carrier, Mapped, Outcome, Reason, Report, Text};
use crate::wire::stun::{Message, attribute, message};

pub mod lifetime;

/// What `stun` needs to know: nothing beyond the port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {}

static FORMS: &[Form] = &[Form { name: "binding", charges: &[], packets: 1, rare: false }];

/// The kind `stun`.
pub static INFO: KindInfo = KindInfo {
    name: "stun",
    port: 3478,
    interval: Duration::from_secs(5),
    flow: Flow::PinnedUdp,
    carrier: Carrier::Udp,
    forms: |_| FORMS,
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::AuthFailed,
        Reason::WrongAnswer,
        Reason::ProtocolError,
    ],
    phases: &[],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let transaction = start.entropy.array();
    let mut request = Vec::new();
    Message::request(transaction).encode(&mut request);
    Box::new(Datagram::new(spec.port, &start, Binding { local: start.local, transaction, request }))
}

struct Binding {
    /// Our own address and port.
    local: Option<SocketAddr>,
    transaction: [u8; 12],
    request: Vec<u8>,
}

impl Question for Binding {
    fn request(&self) -> &[u8] {
        &self.request
    }

    fn answer(&self, bytes: &[u8]) -> Result<Report, Mismatch> {
        let answer = Message::decode(bytes).map_err(|_| Mismatch::Malformed)?;
        if answer.transaction != self.transaction {
            return Err(Mismatch::Token);
        }
        if !matches!(answer.kind, message::SUCCESS | message::ERROR) {
            return Err(Mismatch::Unexpected);
        }
        let mapped = answer.mapped_address();
        let outcome = match (answer.kind, mapped, answer.error_code()) {
            (message::SUCCESS, Some(_), _) => Outcome::OK,
            (message::ERROR, _, Some((401, _))) => Outcome::Refused(Reason::AuthFailed),
            (message::ERROR, _, Some(_)) => Outcome::Refused(Reason::WrongAnswer),
            _ => Outcome::Refused(Reason::ProtocolError),
        };
        let mut report = Report::new(outcome);
        let findings = report.findings();
        if let Some(software) = answer.attribute(attribute::SOFTWARE) {
            findings.details.text("software", Text::from_bytes(software));
        }
        if let Some((code, text)) = answer.error_code() {
            findings.details.number("error_code", code);
            findings.details.text("error", Text::from_bytes(text));
        }
        if let Some(address) = mapped {
            findings.details.text("mapped_address", address.to_string().as_str());
            findings.mapped = Some(Mapped { local: self.local, address });
        }
        if let Some((local, mapped)) = self.local.zip(mapped) {
            findings.details.text("local_address", local.to_string().as_str());
            findings.details.flag("nat", local != mapped);
        }
        Ok(report)
    }

    fn silence(&self) -> Report {
        Report::new(Outcome::Lost(Reason::NoAnswer))
    }
}

#[cfg(test)]
mod tests;
