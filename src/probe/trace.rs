//! `trace`: the routers on the way, by ICMP echo with growing hop limits.
//!
//! ```text
//! payload    token 16 (one for the run) | !sequence 2 | padding
//! sequence   base + 2 × (hop − 1) + try
//! ```
//! Invariant: all requests of a run have the same checksum, since load balancers hash it (Paris
//! traceroute: Augustin et al., IMC 2006): the payload carries the complement of the sequence number,
//! so their sum never changes. A router is asked again only after [`PATIENCE`], so at most once a
//! second, and at most twice a run: its answers are rate limited (RFC 1812, 4.3.2.8).
//!
//! A router that quotes less than 16 bytes of a request quotes no token, and is shown as silent.

use std::net::IpAddr;
use std::time::Duration;

use super::icmp::{TOKEN, refusal, routing};
use super::{Event, Exchange, Flow, Form, Handled, IcmpError, KindInfo, Mismatch, Spec, Start, Step, Transport};
use crate::entropy::Draw as _;
use crate::sample::{Carrier, Outcome, Reason, Report, Text};
use crate::time::Timestamp;
use crate::wire::icmp::{Echo, Message};

/// How long a router may take before it is asked again, or given up.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long a run takes at the most.
pub const LIMIT: Duration = Duration::from_secs(10);
/// Requests a hop gets, at the most.
const TRIES: u8 = 2;
/// Requests under way at once.
const WINDOW: usize = 3;
/// Hops tried beyond the last one that answered.
const SILENT: usize = 5;
/// Length of the payload in bytes; 64 with the ICMP header, as `ping` sends.
const PAYLOAD: usize = 56;

/// What `trace` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The highest hop limit tried, at least 1.
    pub max_hops: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_hops: 30 }
    }
}

static FORMS: &[Form] = &[Form { name: "path", charges: &[], packets: 30, rare: false }];

/// The kind `trace`.
pub static INFO: KindInfo = KindInfo {
    name: "trace",
    port: 0,
    interval: Duration::from_secs(60),
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

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let max_hops = usize::from(spec.settings.trace.max_hops.max(1));
    Box::new(Path {
        peer: start.peer,
        token: start.entropy.array(),
        identifier: start.entropy.u16(),
        base: start.entropy.u16(),
        end: start.now + LIMIT,
        hops: vec![Hop::default(); max_hops],
        sending: None,
        destination: None,
        refused: None,
        failed: None,
        phase: Phase::Running,
    })
}

/// What is known of one hop.
#[derive(Debug, Clone, Copy, Default)]
struct Hop {
    /// When each of its requests left (or was about to).
    sent: [Option<Timestamp>; TRIES as usize],
    tries: u8,
    answer: Option<(Option<IpAddr>, Duration)>,
}

impl Hop {
    /// When the last request is no longer waited for.
    fn patience_ends(&self) -> Option<Timestamp> {
        self.sent.iter().flatten().max().map(|sent| *sent + PATIENCE)
    }

    fn is_under_way(&self, now: Timestamp) -> bool {
        self.answer.is_none() && self.patience_ends().is_some_and(|end| now < end)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Reported,
}

struct Path {
    peer: IpAddr,
    token: [u8; TOKEN],
    identifier: u16,
    /// Sequence number of the first try of the first hop.
    base: u16,
    end: Timestamp,
    hops: Vec<Hop>,
    /// Hop and try of the request that is just being sent.
    sending: Option<(usize, usize)>,
    /// Index of the nearest hop at which the destination answered.
    destination: Option<usize>,
    /// Index of the nearest hop that refused, and the refusal.
    refused: Option<(usize, Report)>,
    /// Our own fault.
    failed: Option<Report>,
    phase: Phase,
}

impl Path {
    /// Hops that may be asked: up to the destination, and not far beyond the last that answered.
    fn reach(&self) -> usize {
        let last = self.hops.iter().rposition(|hop| hop.answer.is_some()).map_or(0, |last| last + 1);
        let known = self.destination.into_iter().chain(self.refused.as_ref().map(|(hop, _)| *hop)).min();
        known.map_or(last + SILENT, |end| end + 1).min(self.hops.len())
    }

    /// The next request to send, as hop and try.
    fn next(&self, now: Timestamp) -> Option<(usize, usize)> {
        let hops = self.hops.get(..self.reach())?;
        if hops.iter().filter(|hop| hop.is_under_way(now)).count() >= WINDOW {
            return None;
        }
        hops.iter()
            .position(|hop| hop.answer.is_none() && hop.tries < TRIES && !hop.is_under_way(now))
            .and_then(|index| hops.get(index).map(|hop| (index, usize::from(hop.tries))))
    }

    /// When the next request under way is given up.
    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let hops = self.hops.get(..self.reach())?;
        hops.iter().filter(|hop| hop.is_under_way(now)).filter_map(Hop::patience_ends).min()
    }

    fn sequence(&self, index: usize, attempt: usize) -> u16 {
        let offset = index.saturating_mul(usize::from(TRIES)).saturating_add(attempt);
        self.base.wrapping_add(u16::try_from(offset).unwrap_or(0))
    }

    /// Hop and try of a sequence number, if such a request was sent.
    fn locate(&self, sequence: u16) -> Option<(usize, usize)> {
        let offset = usize::from(sequence.wrapping_sub(self.base));
        let (index, attempt) = (offset / usize::from(TRIES), offset % usize::from(TRIES));
        self.hops.get(index)?.sent.get(attempt)?.map(|_| (index, attempt))
    }

    fn request(&self, sequence: u16, out: &mut Vec<u8>) {
        let mut payload = self.token.to_vec();
        payload.extend((!sequence).to_be_bytes());
        payload.resize(PAYLOAD, 0);
        let echo = Echo { reply: false, identifier: self.identifier, sequence, payload: &payload };
        echo.encode(self.peer.is_ipv6(), out);
    }

    /// Takes an answer for a request; the hop, if it is the first.
    fn answer(&mut self, sequence: u16, from: Option<IpAddr>, at: Timestamp) -> Option<usize> {
        let (index, attempt) = self.locate(sequence)?;
        let hop = self.hops.get_mut(index)?;
        if self.phase == Phase::Running && hop.answer.is_none() {
            let sent = hop.sent.get(attempt).copied().flatten().unwrap_or(at);
            hop.answer = Some((from, at.since(sent)));
        }
        Some(index)
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
        if !echo.payload.starts_with(&self.token) {
            return Handled::NotMine(Mismatch::Token);
        }
        if !echo.reply {
            return Handled::NotMine(Mismatch::Unexpected);
        }
        let Some(index) = self.answer(echo.sequence, Some(from), at) else {
            return Handled::NotMine(Mismatch::Token);
        };
        if self.phase == Phase::Running {
            self.destination = Some(self.destination.map_or(index, |known| known.min(index)));
        }
        Handled::Taken
    }

    fn error(&mut self, from: Option<IpAddr>, error: IcmpError, quoted: &[u8], at: Timestamp) -> Handled {
        let Some(echo) = Echo::quoted(self.peer.is_ipv6(), quoted) else {
            return Handled::NotMine(Mismatch::Malformed);
        };
        let seen = echo.payload.get(..TOKEN).unwrap_or(echo.payload);
        if seen.len() < 8 || !self.token.starts_with(seen) {
            return Handled::NotMine(Mismatch::Token);
        }
        let Some(index) = self.answer(echo.sequence, from, at) else {
            return Handled::NotMine(Mismatch::Token);
        };
        let nearer = self.refused.as_ref().is_none_or(|(hop, _)| index < *hop);
        if self.phase == Phase::Running
            && nearer
            && error != IcmpError::TimeExceeded
            && let Some(report) = refusal(from, error)
        {
            self.refused = Some((index, report));
        }
        Handled::Taken
    }

    fn report(&mut self) -> Report {
        let refused = self.refused.take();
        let end = match (self.destination, &refused) {
            (Some(end), _) => Some(end),
            (None, Some((end, _))) => Some(*end),
            (None, None) => self.hops.iter().rposition(|hop| hop.answer.is_some()),
        };
        let found = self.hops.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
        let mut report = match (self.destination.and_then(|end| self.hops.get(end)), refused) {
            (Some(Hop { answer: Some((_, rtt)), .. }), _) => Report::timed(Outcome::OK, *rtt),
            (_, Some((_, report))) => report,
            _ => Report::new(Outcome::Lost(Reason::NoAnswer)),
        };
        let findings = report.findings();
        findings.hops = found.iter().map(|hop| hop.answer.and_then(|(from, _)| from)).collect();
        findings.details.number("hop_count", i64::try_from(found.len()).unwrap_or(i64::MAX));
        findings.details.list("hops", found.iter().zip(1_u32..).map(|(hop, number)| line(number, hop)));
        report
    }
}

/// A hop as people read it.
fn line(number: u32, hop: &Hop) -> Text {
    let text = match hop.answer {
        Some((from, rtt)) => {
            let from = from.map_or_else(|| "?".to_owned(), |from| from.to_string());
            format!("{number} {from} {:.1} ms", rtt.as_secs_f64() * 1e3)
        }
        None => format!("{number} *"),
    };
    Text::from(text.as_str())
}

impl Exchange for Path {
    fn transport(&self) -> Transport {
        Transport::Icmp
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        if self.phase == Phase::Reported {
            return Step::End;
        }
        if self.failed.is_none() && now < self.end {
            if let Some((index, attempt)) = self.next(now) {
                self.request(self.sequence(index, attempt), out);
                self.sending = Some((index, attempt));
                if let Some(hop) = self.hops.get_mut(index) {
                    hop.tries += 1;
                    if let Some(sent) = hop.sent.get_mut(attempt) {
                        *sent = Some(now);
                    }
                }
                return Step::SendTtl(u8::try_from(index + 1).unwrap_or(u8::MAX));
            }
            if let Some(change) = self.next_change(now) {
                return Step::Wait(change.min(self.end));
            }
        }
        let report = self.failed.take().unwrap_or_else(|| self.report());
        self.phase = Phase::Reported;
        Step::Report(report)
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => {
                if let Some((index, attempt)) = self.sending.take()
                    && let Some(sent) = self.hops.get_mut(index).and_then(|hop| hop.sent.get_mut(attempt))
                {
                    *sent = Some(at);
                }
                Handled::Taken
            }
            Event::Received { from, bytes } => self.reply(from.ip(), bytes, at),
            Event::Icmp { from, error, quoted } => self.error(from, error, quoted, at),
            Event::Failed(fault) => {
                self.failed.get_or_insert(Report::new(Outcome::Unsent(fault)));
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
mod tests;
