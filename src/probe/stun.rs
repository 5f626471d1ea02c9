//! `stun`: a binding request, and from which address and port the server saw it come.
//!
//! The flow is pinned, as a VPN client's is. So an address that changes between two samples means that a
//! NAT on the way has forgotten the mapping and made another: what kills a session without a word.
//!
//! Invariant: an answer counts only with our random transaction id, and a fingerprint that is there must
//! fit. Each sample is one datagram, never repeated: a repetition would hide a loss.
//!
//! RFC 8489 (6.3.3: processing of answers; 14: attributes).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Event, Exchange, Flow, Form, Handled, KindInfo, Mismatch, Spec, Start, Step, Transport, icmp};
use crate::entropy::Draw as _;
use crate::sample::{Carrier, Mapped, Outcome, Reason, Report, Text};
use crate::time::Timestamp;
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
    Box::new(Bind {
        peer: start.peer,
        port: spec.port,
        local: start.local,
        transaction: start.entropy.array(),
        timeout: start.timeout,
        deadline: start.now + start.timeout,
        sent: None,
        state: State::Begun,
    })
}

enum State {
    Begun,
    Waiting,
    Decided(Report),
    Ended,
}

struct Bind {
    peer: IpAddr,
    port: u16,
    /// Our own address and port.
    local: Option<SocketAddr>,
    transaction: [u8; 12],
    timeout: Duration,
    deadline: Timestamp,
    sent: Option<Timestamp>,
    state: State,
}

impl Bind {
    fn decide(&mut self, report: Report) {
        if matches!(self.state, State::Begun | State::Waiting) {
            self.state = State::Decided(report);
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        Message::request(self.transaction).encode(&mut bytes);
        bytes
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8], at: Timestamp) -> Handled {
        if from.ip() != self.peer {
            return Handled::NotMine(Mismatch::Source);
        }
        let Ok(answer) = Message::decode(bytes) else { return Handled::NotMine(Mismatch::Malformed) };
        if answer.transaction != self.transaction {
            return Handled::NotMine(Mismatch::Token);
        }
        if !matches!(answer.kind, message::SUCCESS | message::ERROR) {
            return Handled::NotMine(Mismatch::Unexpected);
        }
        if matches!(self.state, State::Waiting) {
            let rtt = at.since(self.sent.unwrap_or(at));
            let report = self.judge(&answer, rtt);
            self.decide(report);
        }
        Handled::Taken
    }

    fn judge(&self, answer: &Message, rtt: Duration) -> Report {
        let mapped = answer.mapped_address();
        let outcome = match (answer.kind, mapped, answer.error_code()) {
            (message::SUCCESS, Some(_), _) => Outcome::OK,
            (message::ERROR, _, Some((401, _))) => Outcome::Refused(Reason::AuthFailed),
            (message::ERROR, _, Some(_)) => Outcome::Refused(Reason::WrongAnswer),
            _ => Outcome::Refused(Reason::ProtocolError),
        };
        let mut report = Report::timed(outcome, rtt);
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
        report
    }
}

impl Exchange for Bind {
    fn transport(&self) -> Transport {
        Transport::Udp { port: self.port, connected: true }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun => {
                self.state = State::Waiting;
                self.deadline = now + self.timeout;
                out.extend(self.request());
                Step::Send
            }
            State::Waiting if now < self.deadline => {
                self.state = State::Waiting;
                Step::Wait(self.deadline)
            }
            State::Waiting => Step::Report(Report::new(Outcome::Lost(Reason::NoAnswer))),
            State::Decided(report) => Step::Report(report),
            State::Ended => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => {
                self.deadline = *self.sent.get_or_insert(at) + self.timeout;
            }
            Event::Received { from, bytes } => return self.receive(from, bytes, at),
            Event::Icmp { from, error, quoted } => {
                let request = self.request();
                let shared = quoted.len().min(request.len());
                // The flow is pinned: an error may be about an earlier sample's datagram.
                if quoted.get(..shared) != request.get(..shared) {
                    return Handled::NotMine(Mismatch::Token);
                }
                if let Some(report) = icmp::refusal(from, error) {
                    self.decide(report);
                }
            }
            Event::Failed(fault) => self.decide(Report::new(Outcome::Unsent(fault))),
            Event::Connected | Event::Closed | Event::Reset => {}
        }
        Handled::Taken
    }
}

#[cfg(test)]
mod tests;
