//! One trial of how long a NAT, or a stateful firewall, remembers a flow that is idle.
//!
//! ```text
//!   X  ── Open ──▶     3 s     ── Settle ──▶  idle            X hears it: it lived
//!   Y                                            ── Ask ──▶   silence: is it forgotten?
//!   X                                                         ── Reopen ──▶
//!   Y                                                             ── Check ──▶  X hears it: forgotten
//! ```
//! X stays silent; Y asks the server to answer to the port that X is mapped to (RESPONSE-PORT). The answer
//! takes the way of X's flow, so it passes only if that is still known. Silence alone proves nothing: the
//! same question has to be answered through a mapping that was just made.
//!
//! A VPN's flow is one that has gone both ways for a while, which a NAT may remember for longer than one
//! question and its answer: Linux calls it a stream after two seconds. So X asks twice before it rests.
//! Invariant: X sends nothing between its second answer and Y's last question.
//!
//! RFC 5780 (4.6: binding lifetime; 7.5: RESPONSE-PORT).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::{Event, Exchange, Form, Handled, Mismatch, Start, Step, Transport, icmp};
use crate::entropy::Draw as _;
use crate::sample::binding::{Binding, Unmeasured};
use crate::sample::{Outcome, Reason, Report};
use crate::time::Timestamp;
use crate::wire::stun::{Message, message};

/// On request only, in no list. What it costs: each of the five questions is asked three times at the most.
pub static LIFETIME: Form = Form { name: "lifetime", charges: &[], packets: 15, rare: false };

/// From the first question of X to the second: Linux tells a stream by two seconds.
const SETTLE: Duration = Duration::from_secs(3);
/// From one try to the next.
const GAP: Duration = Duration::from_millis(500);
/// How often a question is asked.
const TRIES: usize = 3;

/// What is asked, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Settle,
    Ask,
    Reopen,
    Check,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Open, Self::Settle, Self::Ask, Self::Reopen, Self::Check];

    /// Whether it is Y that asks.
    const fn beside(self) -> bool {
        matches!(self, Self::Ask | Self::Check)
    }
}

enum State {
    /// Nothing is asked before this time.
    Until(Timestamp, Stage),
    /// Asked so often; the next try, or the end of all, is at this time.
    Asking(Stage, usize, Timestamp),
    Decided(Report),
    Ended,
}

/// The exchange.
pub struct Trial {
    peer: IpAddr,
    port: u16,
    idle: Duration,
    timeout: Duration,
    /// By stage and try: which question is answered tells when it was asked.
    transactions: [[[u8; 12]; TRIES]; 5],
    /// When each try of the present stage left.
    sent: Vec<Timestamp>,
    /// The port that X is mapped to.
    mapped: u16,
    /// When X's flow began to rest: at the earliest, and at the latest.
    rested: (Timestamp, Timestamp),
    /// When Y asked through the old mapping for the last time, if it did.
    asked: Option<Timestamp>,
    /// The longest round trip of a question of X.
    rtt: Duration,
    state: State,
}

impl Trial {
    /// One that leaves the flow alone for `idle`. It takes some five seconds longer than that.
    pub fn begin(port: u16, idle: Duration, start: Start<'_>) -> Self {
        let mut transactions = [[[0; 12]; TRIES]; 5];
        for transaction in transactions.iter_mut().flatten() {
            *transaction = start.entropy.array();
        }
        Self {
            peer: start.peer,
            port,
            idle,
            timeout: start.timeout,
            transactions,
            sent: Vec::with_capacity(TRIES),
            mapped: 0,
            rested: (start.now, start.now),
            asked: None,
            rtt: Duration::ZERO,
            state: State::Until(start.now, Stage::Open),
        }
    }

    fn decide(&mut self, report: Report) {
        if matches!(self.state, State::Until(..) | State::Asking(..)) {
            self.state = State::Decided(report);
        }
    }

    fn found(&mut self, binding: Binding) {
        let outcome = match binding {
            Binding::Lived(_) | Binding::Forgotten(_) => Outcome::OK,
            Binding::Unmeasured(_) => Outcome::Refused(Reason::WrongAnswer),
        };
        let mut report = Report::new(outcome);
        report.findings().binding = Some(binding);
        self.decide(report);
    }

    fn question(&self, stage: Stage, tried: usize) -> Vec<u8> {
        let transaction = self.transactions.get(stage as usize).and_then(|all| all.get(tried));
        let transaction = transaction.copied().unwrap_or_default();
        let message = if stage.beside() {
            Message::request_to_port(transaction, self.mapped)
        } else {
            Message::request(transaction)
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    }

    /// What the silence after the last try of a stage means.
    fn silent(&mut self, stage: Stage, now: Timestamp) {
        match stage {
            Stage::Ask => {
                self.asked = self.sent.last().copied();
                self.state = State::Until(now, Stage::Reopen);
            }
            Stage::Check => self.found(Binding::Unmeasured(Unmeasured::Unheard)),
            // The server or the way to it: no evidence about a mapping.
            Stage::Open | Stage::Settle | Stage::Reopen => {
                self.decide(Report::new(Outcome::Lost(Reason::NoAnswer)));
            }
        }
    }

    /// Which question this answers, if it is one of ours.
    fn question_of(&self, from: SocketAddr, bytes: &[u8]) -> Result<(Message, Stage, usize), Mismatch> {
        if from.ip() != self.peer {
            return Err(Mismatch::Source);
        }
        let answer = Message::decode(bytes).map_err(|_| Mismatch::Malformed)?;
        let of = |stage: &Stage| {
            let tries = self.transactions.get(*stage as usize)?;
            Some((*stage, tries.iter().position(|transaction| *transaction == answer.transaction)?))
        };
        let (stage, tried) = Stage::ALL.iter().find_map(of).ok_or(Mismatch::Token)?;
        if !matches!(answer.kind, message::SUCCESS | message::ERROR) {
            return Err(Mismatch::Unexpected);
        }
        Ok((answer, stage, tried))
    }

    /// X was answered.
    fn hear(&mut self, answer: &Message, stage: Stage, tried: usize, at: Timestamp) {
        match self.state {
            State::Asking(now, ..) if now == stage => {}
            // An answer that comes again while X rests has refreshed its mapping.
            State::Until(_, Stage::Ask) if !stage.beside() => return self.rest(at),
            // One through the old mapping that comes when there may be a new one: which of them it took
            // cannot be known.
            State::Asking(Stage::Reopen | Stage::Check, ..) if stage == Stage::Ask => {
                return self.decide(Report::new(Outcome::Lost(Reason::NoAnswer)));
            }
            _ => return,
        }
        let sent = self.sent.get(tried).copied().unwrap_or(at);
        if stage == Stage::Ask {
            return self.found(Binding::Lived(sent.since(self.rested.1)));
        }
        if let (Stage::Check, Some(asked)) = (stage, self.asked) {
            return self.found(Binding::Forgotten(asked.since(self.rested.0) + self.rtt));
        }
        let Some(mapped) = answer.mapped_address().filter(|_| answer.kind == message::SUCCESS) else {
            return self.decide(Report::new(Outcome::Refused(Reason::WrongAnswer)));
        };
        self.mapped = mapped.port();
        self.rtt = self.rtt.max(at.since(sent));
        let first = self.sent.first().copied().unwrap_or(at);
        match stage {
            Stage::Open => self.state = State::Until(first + SETTLE, Stage::Settle),
            Stage::Settle => {
                self.rested.0 = first;
                self.rest(at);
            }
            _ => self.state = State::Until(at, Stage::Check),
        }
    }

    fn rest(&mut self, at: Timestamp) {
        self.rested.1 = at;
        self.state = State::Until(at + self.idle, Stage::Ask);
    }
}

impl Exchange for Trial {
    fn transport(&self) -> Transport {
        Transport::Udp { port: self.port, connected: true }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Until(at, stage) if now >= at => {
                    self.sent.clear();
                    self.state = State::Asking(stage, 0, now);
                }
                last @ State::Asking(stage, TRIES, at) if now >= at => {
                    self.state = last;
                    self.silent(stage, now);
                }
                State::Asking(stage, tried, at) if now >= at => {
                    let last = tried + 1 == TRIES;
                    self.state =
                        State::Asking(stage, tried + 1, now + if last { self.timeout } else { GAP });
                    out.extend(self.question(stage, tried));
                    return if stage.beside() { Step::SendBeside } else { Step::Send };
                }
                State::Decided(report) => return Step::Report(report),
                State::Ended => return Step::End,
                waiting @ (State::Until(at, _) | State::Asking(_, _, at)) => {
                    self.state = waiting;
                    return Step::Wait(at);
                }
            }
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => self.sent.push(at),
            Event::Received { from, bytes } => match self.question_of(from, bytes) {
                Ok((answer, stage, tried)) => self.hear(&answer, stage, tried, at),
                Err(why) => return Handled::NotMine(why),
            },
            Event::Icmp { from, error, .. } => {
                if let Some(report) = icmp::refusal(from, error) {
                    self.decide(report);
                }
            }
            Event::Failed(fault) => self.decide(Report::new(Outcome::Unsent(fault))),
            Event::Connected | Event::Closed | Event::Reset => {}
        }
        Handled::Taken
    }

    /// Y was answered: the server did not do what RESPONSE-PORT asks for.
    fn beside(&mut self, from: SocketAddr, bytes: &[u8], _at: Timestamp) -> Handled {
        match self.question_of(from, bytes) {
            Ok((answer, ..)) => {
                let refused = answer.kind == message::ERROR;
                let why = if refused { Unmeasured::Refused } else { Unmeasured::Ignored };
                self.found(Binding::Unmeasured(why));
                Handled::Taken
            }
            Err(why) => Handled::NotMine(why),
        }
    }
}

#[cfg(test)]
mod tests;
