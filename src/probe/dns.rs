//! `dns`: one question to one server, over UDP or TCP, and what became of it.
//!
//! ```text
//! udp   query ──▶ ◀── answer                       rtt
//!                 ◀── answer with TC   SYN, query ──▶ ◀── whole answer
//! tcp   SYN, length 2 + query ──▶ ◀── length 2 + answer
//! ```
//! Invariant: a datagram is ours only if its id, its QR bit and its question are (RFC 5452, 9.1); only
//! then is it parsed further. No resolver library: it would ask twice and hide a loss.
//!
//! Beside whether a name exists it can be asked which view the resolver gives: see [`View`].
//!
//! RFC 1035 (4.1, 4.2), RFC 6891 (EDNS), RFC 5001 (NSID), RFC 8914 (extended errors), RFC 7766 (TCP).

mod view;

use std::net::IpAddr;
use std::time::Duration;

pub use hickory_proto::rr::RecordType;
pub use view::View;
use hickory_proto::op::{Edns, Message, OpCode, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption, NSIDPayload};
use hickory_proto::rr::{Name, RData};

use super::{Charge, Event, Exchange, Flow, Form, Handled, KindInfo, Mismatch, Spec, Start, Step, Transport, icmp};
use crate::entropy::{Draw as _, Entropy};
use crate::sample::{Carrier, Details, Fault, Outcome, Phase, Reason, Report, Text};
use crate::time::Timestamp;
use crate::words;

/// What we say we can receive over UDP (the DNS flag day 2020's value: never fragmented).
const UDP_PAYLOAD: u16 = 1232;
/// Option code of extended errors.
const EXTENDED_ERROR: u16 = 15;
/// Length of the header.
const HEADER: usize = 12;

words! {
    /// What carries the question.
    pub enum Via {
        /// UDP, and TCP after it if the answer does not fit.
        Udp = "udp",
        /// TCP at once.
        Tcp = "tcp",
    }
}

/// What `dns` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name asked for; nothing: the name servers of the root, which every recursive server knows.
    pub name: Option<String>,
    /// The type asked for with it.
    pub record: RecordType,
    /// What carries the question.
    pub transport: Via,
    /// Whether the question has an EDNS record.
    pub edns: bool,
    /// The addresses that may be answered; if there are any, no other may.
    pub expect: Vec<IpAddr>,
    /// What a good answer is. For [`View::Hijack`] the name asked for is a random one below `name`, or below
    /// `invalid.`.
    pub view: View,
}

impl Default for Settings {
    fn default() -> Self {
        Self { name: None, record: RecordType::A, transport: Via::Udp, edns: true, expect: Vec::new(), view: View::Answer }
    }
}

static UDP: &[Form] = &[Form { name: "udp", charges: &[], packets: 1, rare: false }];
static TCP: &[Form] = &[Form { name: "tcp", charges: &[Charge::TcpConnection], packets: 6, rare: false }];

/// The kind `dns`.
pub static INFO: KindInfo = KindInfo {
    name: "dns",
    port: 53,
    interval: Duration::from_secs(5),
    flow: Flow::Fresh,
    carrier: Carrier::Udp,
    forms: |spec| match spec.settings.dns.transport {
        Via::Udp => UDP,
        Via::Tcp => TCP,
    },
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::ConnectionRefused,
        Reason::ConnectionReset,
        Reason::WrongAnswer,
        Reason::Nxdomain,
        Reason::Nodata,
        Reason::Servfail,
        Reason::DnsRefused,
        Reason::ProtocolError,
    ],
    phases: &[Phase::Connect, Phase::TcpKernel, Phase::FirstByte],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let settings = &spec.settings.dns;
    let (name, record) = match &settings.name {
        _ if settings.view == View::Hijack => (random_name(settings, start.entropy), settings.record),
        Some(name) => (Name::from_ascii(name).ok(), settings.record),
        None => (Some(Name::root()), RecordType::NS),
    };
    let query = name.and_then(|name| query(name, record, start.entropy.u16(), settings.edns));
    let state = if query.is_some() {
        State::Begun
    } else {
        // A name that is none: the configuration's check refuses it.
        State::Decided(Report::new(Outcome::Unsent(Fault::Internal)))
    };
    Box::new(Ask {
        peer: start.peer,
        port: spec.port,
        record,
        view: settings.view,
        expect: settings.expect.clone(),
        query: query.unwrap_or_default(),
        timeout: start.timeout,
        deadline: start.now + start.timeout,
        tcp: (start.form.name == "tcp").then(|| Stream::new(start.now)),
        sent: None,
        over_udp: None,
        icmp: None,
        state,
    })
}

/// A name that nobody has registered: 64 random bits below the zone.
fn random_name(settings: &Settings, entropy: &mut dyn Entropy) -> Option<Name> {
    let zone = settings.name.as_deref().unwrap_or("invalid");
    Name::from_ascii(format!("{:016x}.{zone}", entropy.u64())).ok()
}

/// A question, encoded; nothing if the name is too long.
fn query(mut name: Name, record: RecordType, id: u16, edns: bool) -> Option<Vec<u8>> {
    name.set_fqdn(true);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, record));
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_version(0);
        edns.options_mut().insert(EdnsOption::NSID(NSIDPayload::new(Vec::new()).ok()?));
        message.set_edns(edns);
    }
    message.to_vec().ok()
}

enum State {
    Begun,
    /// A truncated answer came: the question goes over TCP next.
    Opening,
    Waiting,
    Decided(Report),
    Ended,
}

/// The TCP side of an exchange.
struct Stream {
    opened: Timestamp,
    connected: Option<Timestamp>,
    /// When the question left.
    sent: Option<Timestamp>,
    /// When the first byte of the answer came.
    first: Option<Timestamp>,
    buffer: Vec<u8>,
}

impl Stream {
    const fn new(opened: Timestamp) -> Self {
        Self { opened, connected: None, sent: None, first: None, buffer: Vec::new() }
    }

    /// The message, once all of it is there.
    fn message(&self) -> Option<&[u8]> {
        let (length, rest) = self.buffer.split_first_chunk()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    }
}

struct Ask {
    peer: IpAddr,
    port: u16,
    record: RecordType,
    view: View,
    expect: Vec<IpAddr>,
    query: Vec<u8>,
    timeout: Duration,
    deadline: Timestamp,
    tcp: Option<Stream>,
    /// When the datagram left.
    sent: Option<Timestamp>,
    /// The round trip of a truncated answer over UDP.
    over_udp: Option<Duration>,
    /// What an ICMP error said of the open connection.
    icmp: Option<Report>,
    state: State,
}

impl Ask {
    /// Whose a message is, by its header and question alone.
    fn is_mine(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        let ([h0, h1, flags, low], [q0, q1]) = match bytes.first_chunk::<HEADER>() {
            Some([h0, h1, flags, low, q0, q1, ..]) => ([*h0, *h1, *flags, *low], [*q0, *q1]),
            None => return Err(Mismatch::Malformed),
        };
        let id = self.query.get(..2).unwrap_or_default();
        if id != [h0, h1] {
            return Err(Mismatch::Token);
        }
        // QR is set and the operation is a query.
        if flags & 0xf8 != 0x80 {
            return Err(Mismatch::Unexpected);
        }
        let question = self.question();
        let there = bytes.get(HEADER..HEADER + question.len());
        if [q0, q1] == [0, 1] && there.is_some_and(|there| same_question(there, question)) {
            return Ok(());
        }
        // Whoever cannot read the question need not repeat it (FORMERR, NOTIMP).
        if [q0, q1] == [0, 0] && matches!(low & 0x0f, 1 | 4) {
            return Ok(());
        }
        Err(Mismatch::Token)
    }

    /// Our question as encoded: name, type, class.
    fn question(&self) -> &[u8] {
        let rest = self.query.get(HEADER..).unwrap_or_default();
        let mut at = 0;
        while let Some(length) = rest.get(at).copied().filter(|length| *length != 0) {
            at += 1 + usize::from(length);
        }
        rest.get(..at + 5).unwrap_or(rest)
    }

    fn decide(&mut self, mut report: Report) {
        if !matches!(self.state, State::Begun | State::Waiting) {
            return;
        }
        if let Some(udp) = self.over_udp {
            report.rtt = report.outcome.received().and(Some(udp));
            let details = &mut report.findings().details;
            details.flag("truncated", true);
            // The service answers; what is wrong is that the whole answer cannot be had over TCP.
            if report.outcome.received() == Some(false) {
                report.outcome = Outcome::Answered(report.outcome.reason());
            }
        }
        if let Some(stream) = &self.tcp {
            let part = |to: Option<Timestamp>, from: Option<Timestamp>| Some(to?.since(from?));
            let connect = part(stream.connected, Some(stream.opened)).map(|took| (Phase::Connect, took));
            let first = part(stream.first, stream.sent).map(|took| (Phase::FirstByte, took));
            report.phases.extend(connect.into_iter().chain(first));
        }
        self.state = State::Decided(report);
    }

    fn datagram(&mut self, from: IpAddr, bytes: &[u8], at: Timestamp) -> Handled {
        if from != self.peer {
            return Handled::NotMine(Mismatch::Source);
        }
        if let Err(why) = self.is_mine(bytes) {
            return Handled::NotMine(why);
        }
        if self.over_udp.is_some() || !matches!(self.state, State::Begun | State::Waiting) {
            return Handled::Taken;
        }
        let rtt = at.since(self.sent.unwrap_or(at));
        // TC: the rest may be anything, so it is not even read.
        if bytes.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            self.over_udp = Some(rtt);
            self.tcp = Some(Stream::new(at));
            self.deadline = at + self.timeout;
            self.state = State::Opening;
        } else {
            let report = self.judge(bytes, rtt);
            self.decide(report);
        }
        Handled::Taken
    }

    fn stream(&mut self, bytes: &[u8], at: Timestamp) {
        let Some(stream) = &mut self.tcp else { return };
        if !matches!(self.state, State::Waiting) {
            return;
        }
        let first = *stream.first.get_or_insert(at);
        // One message and its length is the most that is kept.
        let room = (2 + usize::from(u16::MAX)).saturating_sub(stream.buffer.len());
        stream.buffer.extend(bytes.iter().take(room));
        let rtt = first.since(stream.sent.unwrap_or(first));
        let Some(message) = self.tcp.as_ref().and_then(Stream::message) else { return };
        let report = if self.is_mine(message).is_ok() {
            self.judge(message, rtt)
        } else {
            // The stream is ours alone, so this is the server's own nonsense.
            Report::timed(Outcome::Refused(Reason::ProtocolError), rtt)
        };
        self.decide(report);
    }

    fn judge(&self, bytes: &[u8], rtt: Duration) -> Report {
        let Some(message) = decode(bytes) else {
            let mut report = Report::timed(Outcome::Refused(Reason::ProtocolError), rtt);
            report.findings().details.text("error", "the answer cannot be read");
            return report;
        };
        let mut report = Report::timed(self.verdict(&message), rtt);
        let details = &mut report.findings.get_or_insert_default().details;
        note(&message, details);
        if let Some(question) = message.queries.first().filter(|_| self.view != View::Answer) {
            details.text("asked", question.name().to_string().as_str());
        }
        let addresses: Vec<IpAddr> = message.answers.iter().filter_map(|answer| address(&answer.data)).collect();
        report.outcome = view::judge(self.view, report.outcome, &addresses, !self.expect.is_empty(), details);
        report
    }

    fn verdict(&self, message: &Message) -> Outcome {
        let refused = match message.metadata.response_code {
            ResponseCode::NoError => None,
            ResponseCode::NXDomain => Some(Reason::Nxdomain),
            ResponseCode::ServFail => Some(Reason::Servfail),
            ResponseCode::Refused => Some(Reason::DnsRefused),
            _ => Some(Reason::ProtocolError),
        };
        if let Some(reason) = refused {
            return Outcome::Refused(reason);
        }
        if !message.answers.iter().any(|answer| answer.record_type() == self.record) {
            return Outcome::Refused(Reason::Nodata);
        }
        let unexpected = message
            .answers
            .iter()
            .filter(|answer| answer.record_type() == self.record)
            .any(|answer| !address(&answer.data).is_some_and(|ip| self.expect.contains(&ip)));
        if !self.expect.is_empty() && unexpected {
            return Outcome::Refused(Reason::WrongAnswer);
        }
        Outcome::OK
    }

    fn silence(&mut self) -> Report {
        // Where no resolver is, silence is the healthy state.
        let silence = match self.view {
            View::Intercept => Outcome::Unsent(Fault::ExpectedSilence),
            _ => Outcome::Lost(Reason::NoAnswer),
        };
        self.icmp.take().unwrap_or(Report::new(silence))
    }
}

/// Whether two encoded questions are the same, letters of the name in either case.
fn same_question(a: &[u8], b: &[u8]) -> bool {
    // A length byte is at most 63, below every letter, so folding the whole name is safe.
    let fold = |question: &[u8]| question.split_last_chunk::<4>().map(|(n, t)| (n.to_ascii_lowercase(), *t));
    fold(a) == fold(b)
}

/// Reads a message whose header counts its bytes can really hold.
fn decode(bytes: &[u8]) -> Option<Message> {
    let header = bytes.first_chunk::<HEADER>()?;
    let [.., q0, q1, a0, a1, n0, n1, r0, r1] = *header;
    let questions = usize::from(u16::from_be_bytes([q0, q1]));
    let records: usize = [[a0, a1], [n0, n1], [r0, r1]].map(|n| usize::from(u16::from_be_bytes(n))).iter().sum();
    // A question has 5 bytes at the least, a record 11.
    if questions * 5 + records * 11 > bytes.len() - HEADER || bytes.len() > usize::from(u16::MAX) {
        return None;
    }
    Message::from_vec(bytes).ok()
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

/// Writes down what the answer tells.
fn note(message: &Message, details: &mut Details) {
    details.text("rcode", rcode(message.metadata.response_code).as_str());
    details.flag("authoritative", message.metadata.authoritative);
    let answers = message.answers.iter().take(Details::MAX);
    details.list("answers", answers.map(|answer| {
        Text::from(format!("{} {} {}", answer.name, answer.record_type(), answer.data).as_str())
    }));
    let Some(edns) = &message.edns else { return };
    details.number("edns_payload", edns.max_payload());
    if let Some(EdnsOption::NSID(nsid)) = edns.option(EdnsCode::NSID)
        && !nsid.as_ref().is_empty()
    {
        details.text("nsid", Text::from_bytes(nsid.as_ref()));
    }
    if let Some(EdnsOption::Unknown(_, data)) = edns.option(EdnsCode::from(EXTENDED_ERROR))
        && let Some((code, text)) = data.split_first_chunk()
    {
        let text = String::from_utf8_lossy(text);
        details.text("ede", format!("{} {text}", u16::from_be_bytes(*code)).trim_end());
    }
}

/// The response code as `dig` spells it.
fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::Unknown(number) => format!("RCODE{number}"),
        known => format!("{known:?}").to_ascii_uppercase(),
    }
}

impl Exchange for Ask {
    fn transport(&self) -> Transport {
        match self.tcp {
            Some(_) => Transport::Tcp { port: self.port },
            None => Transport::Udp { port: self.port, connected: true },
        }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun | State::Waiting if now >= self.deadline => {
                let report = self.silence();
                self.state = State::Waiting;
                self.decide(report);
                self.poll(now, out)
            }
            State::Opening => {
                self.state = State::Begun;
                Step::Open(Transport::Tcp { port: self.port })
            }
            State::Begun => match &self.tcp {
                None => {
                    self.state = State::Waiting;
                    out.extend(&self.query);
                    Step::Send
                }
                Some(Stream { connected: Some(_), .. }) => {
                    self.state = State::Waiting;
                    out.extend(u16::try_from(self.query.len()).unwrap_or(u16::MAX).to_be_bytes());
                    out.extend(&self.query);
                    Step::Send
                }
                Some(_) => {
                    self.state = State::Begun;
                    Step::Wait(self.deadline)
                }
            },
            State::Waiting => {
                self.state = State::Waiting;
                Step::Wait(self.deadline)
            }
            State::Decided(report) => Step::Report(report),
            State::Ended => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => {
                if let Some(stream) = &mut self.tcp {
                    stream.sent.get_or_insert(at);
                } else {
                    self.deadline = *self.sent.get_or_insert(at) + self.timeout;
                }
            }
            Event::Connected => {
                if let Some(stream) = &mut self.tcp {
                    stream.connected.get_or_insert(at);
                }
            }
            Event::Received { from, bytes } if self.tcp.is_none() => return self.datagram(from.ip(), bytes, at),
            Event::Received { bytes, .. } => self.stream(bytes, at),
            Event::Icmp { from, error, .. } => {
                let report = icmp::refusal(from, error);
                if self.tcp.as_ref().is_some_and(|stream| stream.connected.is_some()) {
                    // A connection outlives such errors (RFC 1122, 4.2.3.9).
                    self.icmp = report.or(self.icmp.take());
                } else if let Some(report) = report {
                    self.decide(report);
                }
            }
            Event::Reset if self.tcp.as_ref().is_some_and(|stream| stream.connected.is_none()) => {
                self.decide(Report::new(Outcome::Refused(Reason::ConnectionRefused)));
            }
            Event::Closed | Event::Reset => {
                self.decide(Report::new(Outcome::Refused(Reason::ConnectionReset)));
            }
            Event::Failed(fault) => self.decide(Report::new(Outcome::Unsent(fault))),
        }
        Handled::Taken
    }
}

#[cfg(test)]
mod tests;
