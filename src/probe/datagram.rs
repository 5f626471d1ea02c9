//! The frame of exchanges that are one datagram and its answer, on a flow that is kept.
//!
//! ```text
//!   Begun ──send──▶ Waiting ──answer, error or silence──▶ Decided ──report──▶ Ended
//! ```
//! Invariant: the datagram is sent once, never again: a repetition would hide a loss. After the report an
//! answer still is told from a stranger's, and changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Event, Exchange, Handled, Mismatch, Start, Step, Transport, icmp};
use crate::sample::{Outcome, Report};
use crate::time::Timestamp;

/// What is asked in one datagram, and what an answer says.
pub(super) trait Question: Send {
    /// The datagram.
    fn request(&self) -> &[u8];

    /// What a datagram of the peer says, without its time.
    ///
    /// # Errors
    /// It answers something else.
    fn answer(&self, bytes: &[u8]) -> Result<Report, Mismatch>;

    /// What it means that nothing came.
    fn silence(&self) -> Report;
}

/// The exchange around a [`Question`].
pub(super) struct Datagram<Q> {
    peer: IpAddr,
    port: u16,
    question: Q,
    timeout: Duration,
    deadline: Timestamp,
    sent: Option<Timestamp>,
    state: State,
}

enum State {
    Begun,
    Waiting,
    Decided(Report),
    Ended,
}

impl<Q: Question> Datagram<Q> {
    /// The question to that port of the peer.
    pub fn new(port: u16, start: &Start<'_>, question: Q) -> Self {
        Self {
            peer: start.peer,
            port,
            question,
            timeout: start.timeout,
            deadline: start.now + start.timeout,
            sent: None,
            state: State::Begun,
        }
    }

    fn decide(&mut self, report: Report) {
        if matches!(self.state, State::Begun | State::Waiting) {
            self.state = State::Decided(report);
        }
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8], at: Timestamp) -> Handled {
        if from.ip() != self.peer {
            return Handled::NotMine(Mismatch::Source);
        }
        match self.question.answer(bytes) {
            Ok(mut report) => {
                if matches!(self.state, State::Waiting) {
                    report.rtt = Some(at.since(self.sent.unwrap_or(at)));
                    self.decide(report);
                }
                Handled::Taken
            }
            Err(mismatch) => Handled::NotMine(mismatch),
        }
    }
}

impl<Q: Question> Exchange for Datagram<Q> {
    fn transport(&self) -> Transport {
        Transport::Udp { port: self.port, connected: true }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun => {
                self.state = State::Waiting;
                self.deadline = now + self.timeout;
                out.extend(self.question.request());
                Step::Send
            }
            State::Waiting if now < self.deadline => {
                self.state = State::Waiting;
                Step::Wait(self.deadline)
            }
            State::Waiting => Step::Report(self.question.silence()),
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
                let request = self.question.request();
                let shared = quoted.len().min(request.len());
                // The flow is kept: an error may be about an earlier sample's datagram.
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
