//! One question and its answer over UDP, as both versions of IKE ask it.
//!
//! ```text
//! Ready ──Send──▶ Flying ──answer, refusal, deadline──▶ Known ──Report──▶ Over
//!   ▲                │
//!   └── ask again ───┘   (COOKIE, INVALID_KE_PAYLOAD; the same once more where silence has to be sure)
//! ```
//!
//! Invariant: a datagram is looked at in this order: who sent it, non-ESP marker, initiator's SPI,
//! place in the exchange, and only then what is in it. What fails any of these changes nothing.
//! Nothing is sent twice unless the dialogue says so, and then at most once more.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::probe::{Event, Exchange, Handled, IcmpError, Mismatch, Start, Step, Transport};
use crate::sample::{Outcome, Report};
use crate::time::Timestamp;
use crate::wire::ike::{Header, NON_ESP_MARKER, Spi, strip_marker};

/// Where the peer is, and how messages are wrapped on that port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    /// The peer's address.
    pub(crate) peer: IpAddr,
    /// The peer's port.
    pub(crate) port: u16,
    /// Whether a non-ESP marker precedes each message (RFC 3948 §2.2).
    pub(crate) marker: bool,
}

impl Envelope {
    /// Appends a message as it goes over the wire.
    pub(crate) fn seal(self, message: &[u8], out: &mut Vec<u8>) {
        if self.marker {
            out.extend(NON_ESP_MARKER);
        }
        out.extend(message);
    }

    /// The message in a datagram of the peer, and its header.
    pub(crate) fn open(self, from: SocketAddr, datagram: &[u8]) -> Result<(&[u8], Header), Mismatch> {
        if from.ip().to_canonical() != self.peer.to_canonical() || from.port() != self.port {
            return Err(Mismatch::Source);
        }
        let message = if self.marker { strip_marker(datagram) } else { Some(datagram) };
        let message = message.ok_or(Mismatch::Unexpected)?;
        let header = Header::decode(message).map_err(|_| Mismatch::Malformed)?;
        Ok((message, header))
    }

    /// Whether an ICMP error that quotes `quoted` can be about a message with this SPI. Routers may
    /// quote as little as nothing of a UDP payload (RFC 792); the kernel then vouches for the flow.
    pub(crate) fn quotes(self, spi: Spi, quoted: &[u8]) -> bool {
        let skip = if self.marker { NON_ESP_MARKER.len() } else { 0 };
        quoted.get(skip..).and_then(|message| message.first_chunk()).is_none_or(|quoted| *quoted == spi.0)
    }

    pub(crate) const fn transport(self) -> Transport {
        Transport::Udp { port: self.port, connected: true }
    }
}

/// What a message means for the exchange it belongs to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Ours, and nothing new (a duplicate).
    Nothing,
    /// Ask again with this message.
    Ask(Vec<u8>),
    /// The result.
    Done(Report),
}

/// The part of an exchange that knows the protocol.
pub(crate) trait Dialogue: Send {
    /// The initiator's SPI.
    fn spi(&self) -> Spi;

    /// Whether a message with our SPI has its place in this exchange, by its header alone.
    fn expects(&self, header: &Header) -> bool;

    /// Takes a message that [`Self::expects`] let pass.
    ///
    /// # Errors
    /// [`Mismatch::Malformed`]; then nothing has changed.
    fn answer(&mut self, message: &[u8]) -> Result<Verdict, Mismatch>;

    /// What to send once more at the deadline, with another timeout to wait, before it counts as silence.
    fn again(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The result when no more comes.
    fn silence(&mut self) -> Report;
}

#[derive(Debug)]
enum State {
    Ready(Vec<u8>),
    Flying,
    Known(Report),
    Over,
}

/// The exchange around a [`Dialogue`].
#[derive(Debug)]
pub(crate) struct Flight<D> {
    envelope: Envelope,
    dialogue: D,
    state: State,
    timeout: Duration,
    deadline: Timestamp,
    /// When the first message left.
    sent: Option<Timestamp>,
    /// From then to the first answer.
    rtt: Option<Duration>,
}

impl<D: Dialogue> Flight<D> {
    /// An exchange that begins by sending `first`.
    pub(crate) fn new(envelope: Envelope, start: &Start<'_>, dialogue: D, first: Vec<u8>) -> Self {
        Self {
            envelope,
            dialogue,
            state: State::Ready(first),
            timeout: start.timeout,
            deadline: start.now + start.timeout,
            sent: None,
            rtt: None,
        }
    }

    const fn open(&self) -> bool {
        matches!(self.state, State::Ready(_) | State::Flying)
    }

    fn finish(&mut self, mut report: Report) {
        if report.outcome.received() == Some(true) {
            report.rtt = self.rtt;
        }
        self.state = State::Known(report);
    }

    fn received(&mut self, from: SocketAddr, bytes: &[u8], at: Timestamp) -> Result<(), Mismatch> {
        let (message, header) = self.envelope.open(from, bytes)?;
        if header.initiator != self.dialogue.spi() {
            return Err(Mismatch::Token);
        }
        if !self.dialogue.expects(&header) {
            return Err(Mismatch::Unexpected);
        }
        if !self.open() {
            return Ok(());
        }
        let verdict = self.dialogue.answer(message)?;
        if let (None, Some(sent), false) = (self.rtt, self.sent, matches!(verdict, Verdict::Nothing)) {
            self.rtt = Some(at.since(sent));
        }
        match verdict {
            Verdict::Nothing => {}
            Verdict::Ask(message) => self.state = State::Ready(message),
            Verdict::Done(report) => self.finish(report),
        }
        Ok(())
    }
}

impl<D: Dialogue> Exchange for Flight<D> {
    fn transport(&self) -> Transport {
        self.envelope.transport()
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        if matches!(self.state, State::Flying) && now >= self.deadline {
            if let Some(message) = self.dialogue.again() {
                self.deadline = now + self.timeout;
                self.state = State::Ready(message);
            } else {
                let report = self.dialogue.silence();
                self.finish(report);
            }
        }
        if matches!(self.state, State::Flying) {
            return Step::Wait(self.deadline);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Ready(message) => {
                self.envelope.seal(&message, out);
                self.state = State::Flying;
                Step::Send
            }
            State::Known(report) => Step::Report(report),
            State::Flying | State::Over => Step::End,
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
            Event::Received { from, bytes } => match self.received(from, bytes, at) {
                Ok(()) => Handled::Taken,
                Err(mismatch) => Handled::NotMine(mismatch),
            },
            Event::Icmp { error, quoted, .. } => {
                if !self.envelope.quotes(self.dialogue.spi(), quoted) {
                    return Handled::NotMine(Mismatch::Token);
                }
                if let (true, IcmpError::Unreachable(reason)) = (self.open(), error) {
                    self.finish(Report::new(Outcome::Refused(reason)));
                }
                Handled::Taken
            }
            Event::Failed(fault) => {
                if self.open() {
                    self.finish(Report::new(Outcome::Unsent(fault)));
                }
                Handled::Taken
            }
            Event::Connected | Event::Closed | Event::Reset => Handled::NotMine(Mismatch::Unexpected),
        }
    }
}
