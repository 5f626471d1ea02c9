//! L2TP concentrators: does one let us open a tunnel?
//!
//! ```text
//!   SCCRQ (our tunnel id, random) ──▶
//!                                 ◀── SCCRP  answered: reported at once
//!   StopCCN, again after 1 s      ──▶
//!                                 ◀── ZLB    nothing is left at the peer
//! ```
//!
//! Behind IPsec a concentrator drops what comes in clear text: silence is healthy there, and an answer
//! from the Internet is a finding.
//!
//! Invariant: a tunnel that the peer opened for us is closed, even if its answer came too late to
//! count. The reply may come from another port (RFC 2661 section 8.1): the peer's address and our
//! random tunnel id decide whose it is. Sections: 3.1, 4.4, 5.1, 5.7, 5.8, 6.1, 6.2, 6.4.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{
    Charge, Event, Exchange, Flow, Form, Handled, IcmpError, KindInfo, Mismatch, Spec, Start, Step, Transport,
};
use crate::entropy::Draw;
use crate::sample::{Carrier, Outcome, Reason, Report, Text};
use crate::time::Timestamp;
use crate::wire::l2tp::{Avp, Message, attribute, message};

/// How an L2TP concentrator is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether it serves L2TP inside IPsec only, so that silence in clear text is healthy.
    pub behind_ipsec: bool,
    /// The host name we tell it.
    pub host_name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { behind_ipsec: false, host_name: "vpnprobe".to_owned() }
    }
}

static FORMS: &[Form] =
    &[Form { name: "tunnel", charges: &[Charge::L2tpTunnel], packets: 2, rare: false }];

/// The kind `l2tp`.
pub static INFO: KindInfo = KindInfo {
    name: "l2tp",
    port: 1701,
    interval: Duration::from_secs(60),
    flow: Flow::Fresh,
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
        Reason::FullOrThrottled,
        Reason::ProtocolError,
    ],
    phases: &[],
    begin: |spec, start| Box::new(Run::begin(spec, start)),
};

/// From one StopCCN to the next (section 5.8).
const RESEND: Duration = Duration::from_secs(1);
/// How often StopCCN is sent again.
const RESENDS: u8 = 2;
/// How long a peer keeps a tunnel that we cannot close: five retransmissions of its SCCRP.
const TUNNEL_LEFT: Duration = Duration::from_secs(31);

/// The tunnel that the peer has opened.
#[derive(Debug, Clone, Copy)]
struct Tunnel {
    /// What the peer calls it.
    id: u16,
    /// The port it answers from.
    port: u16,
}

#[derive(Debug, Clone, Copy)]
enum Cleanup {
    /// Nothing came in time; what still comes until then is closed.
    Linger { until: Timestamp },
    /// StopCCN is to be sent.
    Stop { tunnel: Tunnel, resends: u8, until: Timestamp },
    /// Its acknowledgement is awaited.
    Stopped { tunnel: Tunnel, resends: u8, again: Timestamp, until: Timestamp },
    /// The peer's StopCCN is to be acknowledged.
    Acknowledge { tunnel: Tunnel, ns: u16 },
    /// Nothing is left to do.
    Done,
}

struct Run {
    port: u16,
    peer: IpAddr,
    timeout: Duration,
    settings: Settings,
    tunnel_id: u16,
    asked: bool,
    sent: Option<Timestamp>,
    deadline: Timestamp,
    /// A zero-length body came: the peer is there, and has not answered yet.
    acknowledged: bool,
    report: Option<Report>,
    /// Set with the result.
    cleanup: Option<Cleanup>,
}

impl Run {
    fn begin(spec: &Spec, start: Start<'_>) -> Self {
        Self {
            port: spec.port,
            peer: start.peer,
            timeout: start.timeout,
            settings: spec.settings.l2tp.clone(),
            tunnel_id: start.entropy.u16().max(1),
            asked: false,
            sent: None,
            deadline: start.now + start.timeout,
            acknowledged: false,
            report: None,
            cleanup: None,
        }
    }

    fn settle(&mut self, report: Report, cleanup: Cleanup) {
        self.report = Some(report);
        self.cleanup = Some(cleanup);
    }

    fn request(&self) -> Message {
        Message {
            avps: vec![
                Avp::number(attribute::MESSAGE_TYPE, message::SCCRQ),
                Avp::number(attribute::PROTOCOL_VERSION, 0x0100),
                // Synchronous and asynchronous framing.
                Avp::mandatory(attribute::FRAMING_CAPABILITIES, [0, 0, 0, 3]),
                Avp::mandatory(attribute::HOST_NAME, self.settings.host_name.as_bytes()),
                Avp::number(attribute::ASSIGNED_TUNNEL_ID, self.tunnel_id),
                Avp::number(attribute::RECEIVE_WINDOW_SIZE, 4),
            ],
            ..Message::default()
        }
    }

    fn stop(&self, tunnel: Tunnel) -> Message {
        Message {
            tunnel_id: tunnel.id,
            session_id: 0,
            ns: 1,
            nr: 1,
            avps: vec![
                Avp::number(attribute::MESSAGE_TYPE, message::STOP_CCN),
                Avp::number(attribute::ASSIGNED_TUNNEL_ID, self.tunnel_id),
                // 1: a general request to clear the connection.
                Avp::number(attribute::RESULT_CODE, 1),
            ],
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let outcome = if self.settings.behind_ipsec && !self.acknowledged {
            Outcome::Unsent(crate::sample::Fault::ExpectedSilence)
        } else {
            Outcome::Lost(Reason::NoAnswer)
        };
        let mut report = Report::new(outcome);
        if self.acknowledged {
            report.findings().details.flag("acknowledged_only", true);
        }
        self.settle(report, Cleanup::Linger { until: now + self.timeout });
    }

    fn answered(&mut self, reply: &Message, port: u16, at: Timestamp) {
        let rtt = self.sent.map(|sent| at.since(sent));
        let Some(id) = reply.number(attribute::ASSIGNED_TUNNEL_ID).filter(|id| *id != 0) else {
            let mut report = Report::new(Outcome::Refused(Reason::ProtocolError));
            report.rtt = rtt;
            report.findings().half_open_left = Some(TUNNEL_LEFT);
            report.findings().details.text("note", "its reply names no tunnel id, so it cannot be closed");
            return self.settle(report, Cleanup::Done);
        };
        let mut report = Report::new(Outcome::OK);
        report.rtt = rtt;
        let details = &mut report.findings().details;
        for (key, attribute) in [("host_name", attribute::HOST_NAME), ("vendor", attribute::VENDOR_NAME)] {
            if let Some(name) = reply.bytes(attribute) {
                details.text(key, Text::from_bytes(name));
            }
        }
        if let Some(firmware) = reply.number(attribute::FIRMWARE_REVISION) {
            details.number("firmware", firmware);
        }
        details.flag("challenge", reply.avp(attribute::CHALLENGE).is_some());
        details.flag("clear_text", true);
        if port != self.port {
            details.number("answered_from_port", port);
        }
        let tunnel = Tunnel { id, port };
        self.settle(report, Cleanup::Stop { tunnel, resends: 0, until: at + self.timeout });
    }

    fn refused(&mut self, stop: &Message, port: u16, at: Timestamp) {
        let result = stop.result_code();
        // Section 4.4.2: result 2 is a general error; its error 4 is a lack of resources.
        let reason = match result.map(|code| (code.result, code.error)) {
            Some((4, _)) => Reason::AuthFailed,
            Some((5, _)) => Reason::ProtocolError,
            Some((2, Some(4))) => Reason::FullOrThrottled,
            _ => Reason::WrongAnswer,
        };
        let mut report = Report::new(Outcome::Refused(reason));
        report.rtt = self.sent.map(|sent| at.since(sent));
        let details = &mut report.findings().details;
        if let Some(code) = result {
            details.number("result_code", code.result);
            if let Some(error) = code.error {
                details.number("error_code", error);
            }
            if !code.text.is_empty() {
                details.text("message", Text::from_bytes(code.text));
            }
        }
        details.flag("clear_text", true);
        let id = stop.number(attribute::ASSIGNED_TUNNEL_ID).unwrap_or(0);
        self.settle(report, Cleanup::Acknowledge { tunnel: Tunnel { id, port }, ns: stop.ns });
    }

    fn take(&mut self, from: SocketAddr, bytes: &[u8], at: Timestamp) -> Handled {
        let Ok(reply) = Message::decode(bytes) else { return Handled::NotMine(Mismatch::Malformed) };
        if reply.tunnel_id != self.tunnel_id {
            return Handled::NotMine(Mismatch::Token);
        }
        if !self.asked {
            return Handled::NotMine(Mismatch::Unexpected);
        }
        let kind = reply.message_type();
        match (self.cleanup, kind) {
            (None, Some(message::SCCRP)) => self.answered(&reply, from.port(), at),
            (None, Some(message::STOP_CCN)) => self.refused(&reply, from.port(), at),
            (None, _) if reply.is_zero_length_body() => self.acknowledged = true,
            (None, _) => return Handled::NotMine(Mismatch::Unexpected),
            // Too late to count, and yet a tunnel.
            (Some(Cleanup::Linger { until }), Some(message::SCCRP)) => {
                if let Some(id) = reply.number(attribute::ASSIGNED_TUNNEL_ID).filter(|id| *id != 0) {
                    let tunnel = Tunnel { id, port: from.port() };
                    self.cleanup = Some(Cleanup::Stop { tunnel, resends: 0, until });
                }
            }
            // Our SCCRQ and our StopCCN are acknowledged: all messages before 2.
            (Some(Cleanup::Stopped { .. }), _) if reply.nr >= 2 => self.cleanup = Some(Cleanup::Done),
            (Some(Cleanup::Stopped { tunnel, .. }), Some(message::STOP_CCN)) => {
                self.cleanup = Some(Cleanup::Acknowledge { tunnel, ns: reply.ns });
            }
            (Some(_), _) => {}
        }
        Handled::Taken
    }

    fn send(&self, message: &Message, port: u16, out: &mut Vec<u8>) -> Step {
        message.encode(out);
        if port == self.port { Step::Send } else { Step::SendTo(port) }
    }

    /// An ICMP error that quotes our SCCRQ so far that it shows our tunnel id is judged by it.
    fn quotes_us(&self, quoted: &[u8]) -> bool {
        let mut request = Vec::new();
        self.request().encode(&mut request);
        let shared = quoted.len().min(request.len());
        self.cleanup.is_some() || quoted.get(..shared) == request.get(..shared)
    }
}

impl Exchange for Run {
    fn transport(&self) -> Transport {
        Transport::Udp { port: self.port, connected: false }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        if !self.asked && self.cleanup.is_none() {
            self.asked = true;
            self.deadline = now + self.timeout;
            self.request().encode(out);
            return Step::Send;
        }
        if self.cleanup.is_none() && now >= self.deadline {
            self.expire(now);
        }
        if let Some(report) = self.report.take() {
            return Step::Report(report);
        }
        match self.cleanup {
            None => Step::Wait(self.deadline),
            Some(Cleanup::Linger { until }) if now < until => Step::Wait(until),
            Some(Cleanup::Stop { tunnel, resends, until }) => {
                self.cleanup = Some(Cleanup::Stopped { tunnel, resends, again: now + RESEND, until });
                self.send(&self.stop(tunnel), tunnel.port, out)
            }
            Some(Cleanup::Stopped { again, until, .. }) if now < again.min(until) => {
                Step::Wait(again.min(until))
            }
            Some(Cleanup::Stopped { tunnel, resends, again, until }) if now >= again && resends < RESENDS => {
                let resends = resends.saturating_add(1);
                self.cleanup = Some(Cleanup::Stopped { tunnel, resends, again: now + RESEND, until });
                self.send(&self.stop(tunnel), tunnel.port, out)
            }
            Some(Cleanup::Acknowledge { tunnel, ns }) => {
                self.cleanup = Some(Cleanup::Done);
                let ack =
                    Message { tunnel_id: tunnel.id, ns: 1, nr: ns.wrapping_add(1), ..Message::default() };
                self.send(&ack, tunnel.port, out)
            }
            Some(Cleanup::Linger { .. } | Cleanup::Stopped { .. } | Cleanup::Done) => {
                self.cleanup = Some(Cleanup::Done);
                Step::End
            }
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => {
                if self.sent.is_none() {
                    self.sent = Some(at);
                    self.deadline = at + self.timeout;
                }
                Handled::Taken
            }
            Event::Received { from, .. } if from.ip() != self.peer => Handled::NotMine(Mismatch::Source),
            Event::Received { from, bytes } => self.take(from, bytes, at),
            Event::Icmp { quoted, .. } if !self.quotes_us(quoted) => Handled::NotMine(Mismatch::Token),
            Event::Icmp { error: IcmpError::Unreachable(reason), .. } if self.cleanup.is_none() => {
                self.settle(Report::new(Outcome::Refused(reason)), Cleanup::Done);
                Handled::Taken
            }
            Event::Failed(fault) => {
                // While cleaning up there is nothing more that could be done.
                if self.cleanup.is_none() {
                    self.report = Some(Report::new(Outcome::Unsent(fault)));
                }
                self.cleanup = Some(Cleanup::Done);
                Handled::Taken
            }
            Event::Icmp { .. } | Event::Connected | Event::Closed | Event::Reset => Handled::Taken,
        }
    }
}
