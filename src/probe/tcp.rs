//! `tcp`: whether a connection can be opened, and how long that takes.
//!
//! Invariant: nothing is sent on the connection; it is closed as soon as it is open.
//!
//! RFC 9293.

use std::time::Duration;

use super::{Event, Exchange, Flow, Form, Handled, KindInfo, Spec, Start, Step, Transport, icmp};
use crate::probe::Charge;
use crate::sample::{Carrier, Outcome, Phase, Reason, Report};
use crate::time::Timestamp;

/// What `tcp` needs to know: nothing beyond the port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {}

static FORMS: &[Form] =
    &[Form { name: "connect", charges: &[Charge::TcpConnection], packets: 3, rare: false }];

/// The kind `tcp`.
pub static INFO: KindInfo = KindInfo {
    name: "tcp",
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
    ],
    phases: &[Phase::Connect, Phase::TcpKernel],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    Box::new(Connect {
        port: spec.port,
        begun: start.now,
        deadline: start.now + start.timeout,
        state: State::Opening,
    })
}

enum State {
    Opening,
    Decided(Report),
    Reported,
}

struct Connect {
    port: u16,
    begun: Timestamp,
    deadline: Timestamp,
    state: State,
}

impl Connect {
    fn decide(&mut self, report: Report) {
        if matches!(self.state, State::Opening) {
            self.state = State::Decided(report);
        }
    }
}

impl Exchange for Connect {
    fn transport(&self) -> Transport {
        Transport::Tcp { port: self.port }
    }

    fn poll(&mut self, now: Timestamp, _: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.state, State::Reported) {
            State::Opening if now < self.deadline => {
                self.state = State::Opening;
                Step::Wait(self.deadline)
            }
            State::Opening => Step::Report(Report::new(Outcome::Lost(Reason::NoAnswer))),
            State::Decided(report) => Step::Report(report),
            State::Reported => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Connected => {
                let took = at.since(self.begun);
                self.decide(Report {
                    phases: vec![(Phase::Connect, took)],
                    ..Report::timed(Outcome::OK, took)
                });
            }
            Event::Reset => self.decide(Report::new(Outcome::Refused(Reason::ConnectionRefused))),
            Event::Icmp { from, error, .. } => {
                if let Some(report) = icmp::refusal(from, error) {
                    self.decide(report);
                }
            }
            Event::Failed(fault) => self.decide(Report::new(Outcome::Unsent(fault))),
            // A greeting, or the end of the connection: it was open, which is all that was asked.
            Event::Sent | Event::Received { .. } | Event::Closed => {}
        }
        Handled::Taken
    }
}

#[cfg(test)]
mod tests;
