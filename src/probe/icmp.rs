//! `icmp`: an echo request, and whether its reply comes.
//!
//! ```text
//! payload   token 16 (random) | padding up to the configured size
//! ```
//! Invariant: a reply counts only if it comes from the peer with our sequence number and all 16 bytes
//! of the token. The identifier is not compared: datagram ICMP sockets replace it.
//!
//! RFC 792, RFC 4443. Also here, for all kinds: what ICMP errors mean.

use std::net::IpAddr;
use std::time::Duration;

use super::{Event, Exchange, Flow, Form, Handled, IcmpError, KindInfo, Mismatch, Spec, Start, Step, Transport};
use crate::entropy::Draw as _;
use crate::sample::{Carrier, Outcome, Reason, Report};
use crate::time::Timestamp;
use crate::wire::icmp::{Echo, Message};

/// Length of the random token at the start of each payload, in bytes.
pub(super) const TOKEN: usize = 16;

/// A payload of this length or less needs no allocation.
const USUAL: usize = 64;

/// The most payload that fits an IPv4 datagram: 65535 less 20 (IP) and 8 (ICMP).
const MAX_SIZE: u16 = 65_507;

/// What `icmp` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Length of the payload in bytes; less than 16 is taken as 16.
    pub size: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { size: 56 }
    }
}

static FORMS: &[Form] = &[Form { name: "echo", charges: &[], packets: 1, rare: false }];

/// The kind `icmp`.
pub static INFO: KindInfo = KindInfo {
    name: "icmp",
    port: 0,
    interval: Duration::from_secs(5),
    flow: Flow::SharedIcmp,
    carrier: Carrier::Icmp,
    forms: |_| FORMS,
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
    ],
    phases: &[],
    begin,
};

/// What an ICMP (`is_v6`: `ICMPv6`) error says, by type and code; `mtu` is the next hop's, 0 if not said.
///
/// IANA registries of ICMP parameters; RFC 1812 (5.2.7.1) for what the codes of type 3 mean.
#[must_use]
pub const fn icmp_error(is_v6: bool, ty: u8, code: u8, mtu: u32) -> IcmpError {
    let reason = match (is_v6, ty, code) {
        (false, 11, 0) | (true, 3, 0) => return IcmpError::TimeExceeded,
        (false, 3, 4) | (true, 2, _) => return IcmpError::TooBig(mtu),
        // 5: source route failed; 6, 7: unknown; 8: isolated; 11, 12: not for this type of service.
        // v6 2: beyond the scope of the source address.
        (false, 3, 0 | 5 | 6 | 11) | (true, 1, 0 | 2) => Reason::NetUnreachable,
        (false, 3, 1 | 7 | 8 | 12) | (true, 1, 3) => Reason::HostUnreachable,
        // 2: protocol unreachable. It, too, is the host itself saying that nothing listens.
        (false, 3, 2 | 3) | (true, 1, 4) => Reason::PortUnreachable,
        (false, 3, 9 | 10 | 13..=15) | (true, 1, 1 | 5 | 6) => Reason::AdminProhibited,
        _ => return IcmpError::Other(ty, code),
    };
    IcmpError::Unreachable(reason)
}

/// The report that an ICMP error ends an exchange with; nothing for one that does not (a packet too
/// big, of which the kernel or the next exchange takes care).
pub(super) fn refusal(from: Option<IpAddr>, error: IcmpError) -> Option<Report> {
    let (reason, text) = match error {
        IcmpError::Unreachable(reason) => (reason, None),
        IcmpError::TimeExceeded => (Reason::HostUnreachable, Some("time exceeded")),
        IcmpError::TooBig(_) | IcmpError::Other(..) => return None,
    };
    let mut report = Report::new(Outcome::Refused(reason));
    if let Some(from) = from {
        report.findings().details.text("icmp_from", from.to_string().as_str());
    }
    if let Some(text) = text {
        report.findings().details.text("icmp", text);
    }
    Some(report)
}

/// A token for echo requests.
pub(super) fn draw_token(start: &mut Start<'_>) -> [u8; TOKEN] {
    let mut token = start.entropy.array();
    if let Some(first) = token.first_chunk_mut() {
        *first = start.token.to_be_bytes();
    }
    token
}

/// What the driver routes echo replies and quoted requests by: the start of the token.
pub(super) fn routing(token: &[u8; TOKEN]) -> Option<u64> {
    token.first_chunk().copied().map(u64::from_be_bytes)
}

fn begin(spec: &Spec, mut start: Start<'_>) -> Box<dyn Exchange> {
    let token = draw_token(&mut start);
    Box::new(Ping {
        peer: start.peer,
        token,
        size: usize::from(spec.settings.icmp.size.min(MAX_SIZE)).max(TOKEN),
        identifier: start.entropy.u16(),
        sequence: start.entropy.u16(),
        deadline: start.now + start.timeout,
        timeout: start.timeout,
        begun: start.now,
        sent: None,
        state: State::Ready,
        too_big: None,
    })
}

enum State {
    Ready,
    Waiting,
    Decided(Report),
    Reported,
}

struct Ping {
    peer: IpAddr,
    token: [u8; TOKEN],
    /// Length of the payload.
    size: usize,
    identifier: u16,
    sequence: u16,
    timeout: Duration,
    begun: Timestamp,
    deadline: Timestamp,
    sent: Option<Timestamp>,
    state: State,
    too_big: Option<u32>,
}

impl Ping {
    fn decide(&mut self, report: Report) {
        if matches!(self.state, State::Waiting | State::Ready) {
            self.state = State::Decided(report);
        }
    }

    fn reply(&mut self, from: IpAddr, bytes: &[u8], at: Timestamp) -> Handled {
        if from != self.peer {
            return Handled::NotMine(Mismatch::Source);
        }
        let echo = match Message::decode(self.peer.is_ipv6(), bytes) {
            Ok(Message::Echo(echo)) => echo,
            Ok(_) => return Handled::NotMine(Mismatch::Unexpected),
            Err(_) => return Handled::NotMine(Mismatch::Malformed),
        };
        if !echo.payload.starts_with(&self.token) || echo.sequence != self.sequence {
            return Handled::NotMine(Mismatch::Token);
        }
        if !echo.reply {
            // Our own request, which a raw socket on the loopback sees too.
            return Handled::NotMine(Mismatch::Unexpected);
        }
        self.decide(Report::timed(Outcome::OK, at.since(self.sent.unwrap_or(self.begun))));
        Handled::Taken
    }

    fn error(&mut self, from: Option<IpAddr>, error: IcmpError, quoted: &[u8]) -> Handled {
        let ours = Echo::quoted(self.peer.is_ipv6(), quoted).is_some_and(|echo| {
            let seen = echo.payload.get(..TOKEN).unwrap_or(echo.payload);
            seen.len() >= 8 && self.token.starts_with(seen) && echo.sequence == self.sequence
        });
        if !ours {
            return Handled::NotMine(Mismatch::Token);
        }
        if let IcmpError::TooBig(mtu) = error {
            self.too_big = Some(mtu);
        }
        if let Some(report) = refusal(from, error) {
            self.decide(report);
        }
        Handled::Taken
    }

    fn silence(&self) -> Report {
        let mut report = Report::new(Outcome::Lost(Reason::NoAnswer));
        if let Some(mtu) = self.too_big {
            report.findings().details.number("mtu", mtu);
        }
        report
    }
}

impl Exchange for Ping {
    fn transport(&self) -> Transport {
        Transport::Icmp
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.state, State::Reported) {
            State::Ready => {
                let (mut small, mut large) = ([0; USUAL], Vec::new());
                let payload = small.get_mut(..self.size).unwrap_or_else(|| {
                    large.resize(self.size, 0);
                    &mut large
                });
                if let Some(start) = payload.first_chunk_mut() {
                    *start = self.token;
                }
                let (identifier, sequence) = (self.identifier, self.sequence);
                Echo { reply: false, identifier, sequence, payload }.encode(self.peer.is_ipv6(), out);
                self.state = State::Waiting;
                Step::Send
            }
            State::Waiting if now < self.deadline => {
                self.state = State::Waiting;
                Step::Wait(self.deadline)
            }
            State::Waiting => Step::Report(self.silence()),
            State::Decided(report) => Step::Report(report),
            State::Reported => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => {
                if self.sent.replace(at).is_none() {
                    self.deadline = at + self.timeout;
                }
                Handled::Taken
            }
            Event::Received { from, bytes } => self.reply(from.ip(), bytes, at),
            Event::Icmp { from, error, quoted } => self.error(from, error, quoted),
            Event::Failed(fault) => {
                self.decide(Report::new(Outcome::Unsent(fault)));
                Handled::Taken
            }
            Event::Connected | Event::Closed | Event::Reset => Handled::NotMine(Mismatch::Unexpected),
        }
    }

    fn token(&self) -> Option<u64> {
        routing(&self.token)
    }
}

#[cfg(test)]
pub(super) mod tests;
