//! A conversation over one TCP connection, in the clear or inside TLS: what `tls`, `http`, `rdp` and
//! `sslvpn` have in common.
//!
//! ```text
//! SYN ──▶ ◀── SYN/ACK   (ClientHello ──▶ ◀── … Finished)   question ──▶ ◀── answer   close_notify, FIN ──▶
//! └───── connect ─────┘ └────────── handshake ─────────┘   └── first byte ─┘
//! ```
//! A [`Script`] says what is asked and judges what is answered; the [`Conversation`] connects, encrypts,
//! times and ends.
//!
//! Invariants: the script is called only while there is no report yet, and its first report is the only
//! one. What a peer says is kept as far as the script has not taken it, and never beyond [`MAX_INBOX`].

use std::time::Duration;

use super::secure::Secure;
use super::{Event, Exchange, Handled, Start, Step, Transport, icmp};
use crate::sample::{Fault, Outcome, Phase, Reason, Report};
use crate::time::Timestamp;

/// The most bytes that wait for the script; what comes beyond is counted and dropped.
pub const MAX_INBOX: usize = 64 * 1024;

/// What is asked, and what the answers mean.
pub trait Script: Send {
    /// The way is open: the connection, and TLS on it if that was begun. Called again when TLS, or
    /// another connection, that the script has asked for is open.
    fn opened(&mut self, stream: &mut Stream) -> Option<Report>;

    /// There are new bytes in [`Stream::inbox`].
    fn received(&mut self, stream: &mut Stream) -> Option<Report>;

    /// TLS did not come up; `failed` is what that means unless the script knows better, or asks for another
    /// connection.
    fn failed(&mut self, stream: &mut Stream, failed: Report) -> Option<Report> {
        let _ = stream;
        Some(failed)
    }

    /// The peer has ended the open connection; `failed` is what that means unless the script knows better.
    fn ended(&mut self, stream: &mut Stream, failed: Report) -> Option<Report> {
        let _ = stream;
        Some(failed)
    }

    /// The time is up; `silence` is what that means unless the script knows better.
    fn silent(&mut self, stream: &Stream, silence: Report) -> Report {
        let _ = stream;
        silence
    }

    /// The last word to the peer, once the result is told.
    fn farewell(&mut self, stream: &mut Stream) {
        let _ = stream;
    }
}

/// A question that was asked, and when its answer began.
#[derive(Debug, Clone, Copy, Default)]
struct Question {
    sent: Option<Timestamp>,
    first: Option<Timestamp>,
}

/// The connection as the script sees it.
pub struct Stream {
    /// What the peer has said and the script has not taken yet.
    pub inbox: Vec<u8>,
    /// How many bytes the peer has said in all, those of TLS's own not counted.
    pub heard: usize,
    begun: Timestamp,
    connected: bool,
    /// The peer has ended: nothing can be sent any more.
    gone: bool,
    reopen: bool,
    secure: Option<Secure>,
    outbox: Vec<u8>,
    question: Question,
    hello: Option<Timestamp>,
    connect: Option<Duration>,
    handshake: Option<Duration>,
}

impl Stream {
    fn new(begun: Timestamp, secure: Option<Secure>) -> Self {
        Self {
            inbox: Vec::new(),
            heard: 0,
            begun,
            connected: false,
            gone: false,
            reopen: false,
            secure,
            outbox: Vec::new(),
            question: Question::default(),
            hello: None,
            connect: None,
            handshake: None,
        }
    }

    /// Asks something; [`Self::rtt`] is about this question from now on.
    pub fn ask(&mut self, bytes: &[u8]) {
        self.question = Question::default();
        self.say(bytes);
    }

    /// Says something more.
    pub fn say(&mut self, bytes: &[u8]) {
        match &mut self.secure {
            Some(secure) => secure.write(bytes),
            None => self.outbox.extend(bytes),
        }
    }

    /// Begins TLS on the open connection; the script is called when it is up.
    pub fn encrypt(&mut self, secure: Secure) {
        self.question = Question::default();
        self.inbox.clear();
        self.secure = Some(secure);
    }

    /// Leaves this connection and opens another to the same port, with or without TLS.
    pub fn reopen(&mut self, secure: Option<Secure>) {
        self.inbox.clear();
        self.outbox.clear();
        self.question = Question::default();
        self.hello = None;
        self.connected = false;
        self.gone = false;
        self.reopen = true;
        self.secure = secure;
    }

    /// TLS, if there is any.
    #[must_use]
    pub const fn secure(&self) -> Option<&Secure> {
        self.secure.as_ref()
    }

    /// From the last question (or `ClientHello`) to the first byte of its answer.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        Some(self.question.first?.since(self.question.sent?))
    }

    /// A report with the round-trip time, if the outcome is an authentic reply.
    #[must_use]
    pub fn timed(&self, mut report: Report) -> Report {
        if report.rtt.is_none() && report.outcome.received() == Some(true) {
            report.rtt = self.rtt();
        }
        report
    }

    fn is_handshaking(&self) -> bool {
        self.secure.as_ref().is_some_and(Secure::is_handshaking)
    }

    fn take_output(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.connected || self.gone {
            return false;
        }
        match &mut self.secure {
            Some(secure) => secure.take_output(out),
            None => out.append(&mut self.outbox),
        }
        !out.is_empty()
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.heard = self.heard.saturating_add(bytes.len());
        let room = MAX_INBOX.saturating_sub(self.inbox.len());
        self.inbox.extend(bytes.iter().take(room));
    }
}

enum State {
    Running,
    Decided(Report),
    /// The result is told; what is still to be said (Finished, an alert, a farewell) goes out.
    Closing,
    Ended,
}

/// A [`Script`] as an exchange.
pub struct Conversation<S> {
    port: u16,
    deadline: Timestamp,
    stream: Stream,
    script: S,
    /// What an ICMP error said of the open connection; told if nothing better comes.
    icmp: Option<Report>,
    state: State,
}

impl<S: Script> Conversation<S> {
    /// Begins with a connection to `port`, inside TLS if `secure` is given.
    pub fn new(port: u16, start: &Start<'_>, secure: Option<Secure>, script: S) -> Self {
        Self {
            port,
            deadline: start.now + start.timeout,
            stream: Stream::new(start.now, secure),
            script,
            icmp: None,
            state: State::Running,
        }
    }

    /// One that only tells that it could not begin, for a fault of ours.
    pub fn broken(port: u16, start: &Start<'_>, script: S) -> Self {
        let mut broken = Self::new(port, start, None, script);
        broken.state = State::Decided(Report::new(Outcome::Unsent(Fault::Internal)));
        broken
    }

    fn decide(&mut self, mut report: Report) {
        if !matches!(self.state, State::Running) {
            return;
        }
        let parts = [(Phase::Connect, self.stream.connect), (Phase::Handshake, self.stream.handshake)];
        let known = parts.into_iter().filter_map(|(phase, took)| Some((phase, took?)));
        report.phases = known.chain(report.phases).collect();
        self.state = State::Decided(report);
    }

    fn settle(&mut self, report: Option<Report>) {
        if let Some(report) = report {
            self.decide(report);
        }
    }

    fn opened(&mut self) {
        let report = self.script.opened(&mut self.stream);
        self.settle(report);
    }

    fn receive(&mut self, mut bytes: &[u8], at: Timestamp) {
        if !matches!(self.state, State::Running) || self.stream.gone || !self.stream.connected {
            return;
        }
        if self.stream.is_handshaking() {
            self.stream.question.first.get_or_insert(at);
            let Some(secure) = &mut self.stream.secure else { return };
            if let Err(error) = secure.handshake(&mut bytes) {
                let report = secure.failed(&error);
                let report = self.stream.timed(report);
                let report = self.script.failed(&mut self.stream, report);
                return self.settle(report);
            }
            if secure.is_handshaking() {
                return;
            }
            self.stream.handshake = self.stream.hello.map(|hello| at.since(hello));
            self.opened();
            if !matches!(self.state, State::Running) {
                return;
            }
        }
        let before = self.stream.heard;
        let mut ended = false;
        match &mut self.stream.secure {
            None => self.stream.keep(bytes),
            Some(secure) => {
                let mut clear = Vec::new();
                let result = secure.receive(bytes, &mut clear);
                let failed = result.as_ref().err().map(|error| secure.failed(error));
                self.stream.keep(&clear);
                ended = result == Ok(true);
                if let Some(report) = failed {
                    // What was said before the alert still counts.
                    self.hear(before, at);
                    return self.end(report);
                }
            }
        }
        self.hear(before, at);
        if ended && !self.stream.reopen {
            self.end(Report::new(Outcome::Refused(Reason::ConnectionReset)));
        }
    }

    fn hear(&mut self, before: usize, at: Timestamp) {
        if self.stream.heard > before && matches!(self.state, State::Running) {
            self.stream.question.first.get_or_insert(at);
            let report = self.script.received(&mut self.stream);
            self.settle(report);
        }
    }

    /// The peer has ended the connection.
    fn end(&mut self, failed: Report) {
        if !matches!(self.state, State::Running) {
            return;
        }
        self.stream.gone = true;
        let failed = self.stream.timed(failed);
        let report = if self.stream.is_handshaking() {
            self.script.failed(&mut self.stream, failed)
        } else {
            self.script.ended(&mut self.stream, failed)
        };
        self.settle(report);
    }

    fn silence(&mut self) -> Report {
        let mut report = self.icmp.take().unwrap_or(Report::new(Outcome::Lost(Reason::NoAnswer)));
        if !self.stream.connected {
            return report;
        }
        if self.stream.is_handshaking() {
            let stage = if self.stream.question.first.is_some() { "handshake" } else { "server_hello" };
            report.findings().details.text("waited_for", stage);
            let known = report.clone();
            return self.script.failed(&mut self.stream, report).unwrap_or(known);
        }
        self.script.silent(&self.stream, report)
    }
}

impl<S: Script> Exchange for Conversation<S> {
    fn transport(&self) -> Transport {
        Transport::Tcp { port: self.port }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Running if now >= self.deadline => {
                self.state = State::Running;
                let report = self.silence();
                self.decide(report);
                self.poll(now, out)
            }
            State::Running => {
                self.state = State::Running;
                if std::mem::take(&mut self.stream.reopen) {
                    self.stream.begun = now;
                    Step::Open(Transport::Tcp { port: self.port })
                } else if self.stream.take_output(out) {
                    Step::Send
                } else {
                    Step::Wait(self.deadline)
                }
            }
            State::Decided(report) => {
                self.state = State::Closing;
                if self.stream.connected && !self.stream.is_handshaking() {
                    self.script.farewell(&mut self.stream);
                }
                if let Some(secure) = &mut self.stream.secure
                    && self.stream.connected
                {
                    secure.close();
                }
                Step::Report(report)
            }
            State::Closing if self.stream.take_output(out) => {
                self.state = State::Closing;
                Step::Send
            }
            State::Closing | State::Ended => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Connected if !self.stream.connected => {
                self.stream.connected = true;
                self.stream.connect.get_or_insert(at.since(self.stream.begun));
                if !self.stream.is_handshaking() && matches!(self.state, State::Running) {
                    self.opened();
                }
            }
            Event::Connected => {}
            Event::Sent => {
                self.stream.question.sent.get_or_insert(at);
                if self.stream.is_handshaking() {
                    self.stream.hello.get_or_insert(at);
                }
            }
            Event::Received { bytes, .. } => self.receive(bytes, at),
            Event::Reset if !self.stream.connected => {
                self.stream.gone = true;
                self.decide(Report::new(Outcome::Refused(Reason::ConnectionRefused)));
            }
            Event::Closed | Event::Reset => {
                self.stream.gone = true;
                self.end(Report::new(Outcome::Refused(Reason::ConnectionReset)));
            }
            Event::Icmp { from, error, .. } => {
                let report = icmp::refusal(from, error);
                if self.stream.connected {
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

#[cfg(test)]
pub(crate) mod tests;
