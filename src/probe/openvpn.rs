//! OpenVPN servers, over UDP and TCP: does one answer, and until when is its certificate good?
//!
//! ```text
//!   reset   HARD_RESET_CLIENT ──▶
//!                              ◀── HARD_RESET_SERVER, acknowledging ours    answered; nothing more
//!   tls     … then             ──▶ ClientHello …
//!                              ◀── … Certificate …                          judged
//!                     TLS alert ──▶                                          so that it forgets us
//! ```
//!
//! A server of 2.6 or later answers a reset over UDP without keeping anything; an older one keeps a
//! session for a minute, and each TCP connection is one while it lasts. While a server keeps a session
//! for our port it answers the next reset from there with a bare acknowledgement: an answer, too.
//!
//! Invariant: over UDP only a packet that is wrapped with our key and names our session counts. With
//! the wrong key, or without the key it wants, a healthy server is as silent as a dead one.
//! Sources: see [`crate::wire::openvpn`].

mod channel;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;

use self::channel::{Channel, Peers};
use super::certificate::{Judgement, Recorder, Roots, client_config};
use super::{
    Charge, Event, Exchange, Flow, Form, Handled, IcmpError, KindInfo, Mismatch, Spec, Start, Step, Transport,
};
use crate::entropy::{Draw, Entropy};
use crate::sample::{Carrier, Fault, Outcome, Phase, Reason, Report};
use crate::time::{Timestamp, WallTime};
use crate::wire::openvpn::{Frames, Opcode, Packet, SessionId, Side, Wrapping, frame};

pub use crate::wire::openvpn::{Digest, KeyError, Keys};

/// What is needed to talk to an OpenVPN server. By default nothing is wrapped and trust is not judged:
/// nearly every OpenVPN server has a private certificate authority.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How its control packets are wrapped.
    pub keys: Keys,
    /// Which roots its certificate is judged against.
    pub roots: Roots,
    /// Which name its certificate must have; the name is not judged if there is none.
    pub server_name: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keys: Keys::plain(), roots: Roots::None, server_name: None }
    }
}

/// How long a server keeps a session that does not go on (`hand-window`).
const HAND_WINDOW: Duration = Duration::from_secs(60);
/// How many timeouts a handshake may last, each from the last news on.
const HANDSHAKE_TIMEOUTS: u32 = 5;

static FORMS_UDP: &[Form] = &[
    Form { name: "reset", charges: &[Charge::OpenvpnReset], packets: 1, rare: false },
    Form { name: "tls", charges: &[Charge::OpenvpnReset, Charge::TlsHandshake], packets: 8, rare: true },
];

static FORMS_TCP: &[Form] = &[
    Form {
        name: "reset",
        charges: &[Charge::OpenvpnReset, Charge::TcpConnection],
        packets: 5,
        rare: false,
    },
    Form {
        name: "tls",
        charges: &[Charge::OpenvpnReset, Charge::TcpConnection, Charge::TlsHandshake],
        packets: 16,
        rare: true,
    },
];

/// The kind `openvpn_udp`.
pub static INFO_UDP: KindInfo = KindInfo {
    name: "openvpn_udp",
    port: 1194,
    interval: Duration::from_secs(10),
    flow: Flow::PinnedUdp,
    carrier: Carrier::Udp,
    forms: |_| FORMS_UDP,
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::CertExpired,
        Reason::CertNotYetValid,
        Reason::CertNameMismatch,
        Reason::CertUntrusted,
        Reason::TlsAlert,
        Reason::TlsLegacy,
        Reason::FullOrThrottled,
        Reason::ProtocolError,
    ],
    phases: &[],
    begin: |spec, start| Box::new(Run::begin(spec, start, false)),
};

/// The kind `openvpn_tcp`.
pub static INFO_TCP: KindInfo = KindInfo {
    name: "openvpn_tcp",
    port: 1194,
    interval: Duration::from_secs(10),
    flow: Flow::Fresh,
    carrier: Carrier::Tcp,
    forms: |_| FORMS_TCP,
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::ConnectionRefused,
        Reason::CertExpired,
        Reason::CertNotYetValid,
        Reason::CertNameMismatch,
        Reason::CertUntrusted,
        Reason::TlsAlert,
        Reason::TlsLegacy,
        Reason::FullOrThrottled,
        Reason::ProtocolError,
        Reason::KeyRequired,
    ],
    phases: &[Phase::Connect, Phase::TcpKernel, Phase::FirstByte],
    begin: |spec, start| Box::new(Run::begin(spec, start, true)),
};

/// What the form `tls` needs beside.
struct Judging {
    settings: Settings,
    wall: WallTime,
    recorder: Arc<Recorder>,
}

enum Stage {
    /// TCP: the connection is not open yet.
    Connecting,
    /// The reset is to be sent.
    Reset,
    /// The answer to the reset is awaited.
    Answer,
    /// TLS runs.
    Handshake(Box<Channel>),
    /// The result is to be reported.
    Verdict(Report, Option<Box<Channel>>),
    /// It has been; the session is taken leave of.
    Leaving(Box<Channel>),
    /// Nothing is left to do.
    Done,
}

struct Run {
    tcp: bool,
    port: u16,
    peer: IpAddr,
    timeout: Duration,
    wrapping: Wrapping,
    session: SessionId,
    /// Set for the form `tls`.
    judging: Option<Judging>,
    stage: Stage,
    deadline: Timestamp,
    /// The handshake ends here whatever comes.
    latest: Timestamp,
    begun: Timestamp,
    connected: Option<Timestamp>,
    sent: Option<Timestamp>,
    answered: Option<Timestamp>,
    /// The server's session, once it has answered.
    remote: Option<SessionId>,
    /// Whether anything new came after the answer to the reset.
    heard: bool,
    frames: Frames,
}

impl Run {
    fn begin(spec: &Spec, start: Start<'_>, tcp: bool) -> Self {
        let settings = &spec.settings.openvpn;
        // Packets carry 32 bits of Unix time, to the year 2106.
        let time = u32::try_from(start.wall.as_unix_secs()).unwrap_or(0);
        Self {
            tcp,
            port: spec.port,
            peer: start.peer,
            timeout: start.timeout,
            wrapping: Wrapping::new(settings.keys.clone(), Side::Client, time),
            session: draw_session(start.entropy),
            judging: start.form.rare.then(|| Judging {
                settings: settings.clone(),
                wall: start.wall,
                recorder: Recorder::new(start.wall),
            }),
            stage: if tcp { Stage::Connecting } else { Stage::Reset },
            deadline: start.now + start.timeout,
            latest: Timestamp::FAR,
            begun: start.now,
            connected: None,
            sent: None,
            answered: None,
            remote: None,
            heard: false,
            frames: Frames::default(),
        }
    }

    fn settle(&mut self, report: Report) {
        self.stage = Stage::Verdict(report, None);
    }

    fn report(&self, outcome: Outcome) -> Report {
        let mut report = Report::new(outcome);
        if let Some(connected) = self.connected {
            report.phases.push((Phase::Connect, connected.since(self.begun)));
        }
        if let (Some(sent), Some(answered)) = (self.sent, self.answered) {
            report.rtt = Some(answered.since(sent));
            if self.tcp {
                report.phases.push((Phase::FirstByte, answered.since(sent)));
            }
            report.findings().details.text("wrapping", self.wrapping.keys().name());
        }
        report
    }

    fn refuse(&mut self, reason: Reason, note: &str) {
        let mut report = self.report(Outcome::Refused(reason));
        if !note.is_empty() {
            report.findings().details.text("note", note);
        }
        // Who sends an alert has ended the session.
        if reason != Reason::TlsAlert {
            self.keep_half_open(&mut report);
        }
        self.settle(report);
    }

    /// A server that has seen our ClientHello over UDP keeps the session for a while.
    fn keep_half_open(&self, report: &mut Report) {
        if !self.tcp && matches!(self.stage, Stage::Handshake(_)) {
            report.findings().half_open_left = Some(HAND_WINDOW);
        }
    }

    /// The time is up.
    fn expire(&mut self) {
        match self.stage {
            Stage::Handshake(_) if !self.heard => {
                self.refuse(
                    Reason::FullOrThrottled,
                    "the reset was answered and nothing after it: full, throttling, or it dislikes our TLS",
                );
            }
            Stage::Handshake(_) => {
                let mut report = self.report(Outcome::Lost(Reason::NoAnswer));
                report.findings().details.text("note", "the TLS handshake began and did not end in time");
                self.keep_half_open(&mut report);
                self.settle(report);
            }
            _ => {
                let mut report = self.report(Outcome::Lost(Reason::NoAnswer));
                if !self.tcp {
                    let note = match self.wrapping.keys().name() {
                        "plain" => {
                            "a server that wants a key (tls-auth, tls-crypt) and a dead one look the same"
                        }
                        _ => "a wrong key and a dead server look the same",
                    };
                    report.findings().details.text("note", note);
                }
                self.settle(report);
            }
        }
    }

    fn send(&mut self, packet: &Packet, out: &mut Vec<u8>) -> Step {
        let mut bytes = Vec::new();
        self.wrapping.wrap(packet, &mut bytes);
        if self.tcp {
            frame(&bytes, out);
        } else {
            out.append(&mut bytes);
        }
        Step::Send
    }

    /// One wrapped packet of the peer, whatever carried it.
    fn take(&mut self, bytes: &[u8], at: Timestamp) -> Handled {
        let Ok(packet) = self.wrapping.unwrap(bytes) else {
            // Its first byte tells whether it could be a control packet with another wrapping.
            let other_key = bytes.first().is_some_and(|byte| Opcode::from_number(byte >> 3).is_some());
            return self.foreign(if other_key { Mismatch::Token } else { Mismatch::Malformed });
        };
        if packet.acks.as_ref().is_some_and(|acks| acks.session != self.session) {
            return self.foreign(Mismatch::Token);
        }
        match (self.remote, &packet.acks) {
            (None, None) => self.foreign(Mismatch::Token),
            (Some(remote), _) if remote != packet.session => self.foreign(Mismatch::Token),
            (None, Some(acks)) => {
                // A server that keeps an older session for our port only acknowledges.
                let expected = packet.opcode == Opcode::HardResetServerV2
                    || packet.opcode == Opcode::AckV1 && self.judging.is_none();
                if !expected || !acks.ids.contains(&0) {
                    return self.foreign(Mismatch::Unexpected);
                }
                self.answer(&packet, at);
                Handled::Taken
            }
            (Some(_), _) => {
                self.go_on(packet, at);
                Handled::Taken
            }
        }
    }

    /// Over TCP nobody else can write into our stream: what is not for us is a broken protocol.
    fn foreign(&mut self, mismatch: Mismatch) -> Handled {
        if !self.tcp {
            return Handled::NotMine(mismatch);
        }
        if !self.is_over() {
            self.refuse(Reason::ProtocolError, "");
        }
        Handled::Taken
    }

    fn answer(&mut self, packet: &Packet, at: Timestamp) {
        self.remote = Some(packet.session);
        if !matches!(self.stage, Stage::Answer) {
            return;
        }
        self.answered = Some(at);
        let Some(judging) = &self.judging else {
            let report = self.report(Outcome::OK);
            return self.settle(report);
        };
        let wrapped_key = packet.wants_wrapped_key().then(|| self.wrapping.keys().wrapped_len());
        let channel = Channel::new(
            Peers { ours: self.session, theirs: packet.session },
            client_config(judging.recorder.clone(), judging.wall, &[]),
            self.peer,
            wrapped_key.filter(|len| *len > 0),
            !self.tcp,
        );
        match channel {
            Ok(channel) => {
                self.deadline = at + self.timeout;
                self.latest = at + self.timeout * HANDSHAKE_TIMEOUTS;
                self.stage = Stage::Handshake(Box::new(channel));
            }
            Err(_) => self.settle(Report::new(Outcome::Unsent(Fault::Internal))),
        }
    }

    /// A packet of the server's session after its answer.
    fn go_on(&mut self, packet: Packet, at: Timestamp) {
        let (Stage::Handshake(channel), Some(judging)) = (&mut self.stage, &self.judging) else { return };
        let result = channel.receive(packet);
        if !matches!(result, Ok(false)) {
            self.heard = true;
            self.deadline = (at + self.timeout).min(self.latest);
        }
        if let Err(error) = result {
            let reason = match error {
                rustls::Error::AlertReceived(_) => Reason::TlsAlert,
                rustls::Error::PeerIncompatible(_) => Reason::TlsLegacy,
                _ => Reason::ProtocolError,
            };
            return self.refuse(reason, &error.to_string());
        }
        let Settings { roots, server_name, .. } = &judging.settings;
        if channel.proved()
            && let Some(judgement) = judging.recorder.judge(roots, server_name.as_deref(), judging.wall)
        {
            let version = channel.version();
            self.certified(&judgement, version, at);
        }
    }

    fn certified(&mut self, judgement: &Judgement, version: Option<ProtocolVersion>, at: Timestamp) {
        let mut report = self.report(Outcome::Answered(judgement.reason));
        let findings = report.findings();
        judgement.note(findings);
        if let Some(version) = version {
            let name = match version {
                ProtocolVersion::TLSv1_3 => "TLS 1.3",
                ProtocolVersion::TLSv1_2 => "TLS 1.2",
                _ => "other",
            };
            findings.details.text("tls_version", name);
        }
        if let Some(answered) = self.answered {
            let millis = at.since(answered).as_millis();
            findings.details.number("handshake_ms", i64::try_from(millis).unwrap_or(i64::MAX));
        }
        // Over TCP the end of the connection is the end of the session.
        let leaving = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Handshake(mut channel) if !self.tcp => {
                channel.abort();
                Some(channel)
            }
            _ => None,
        };
        self.stage = Stage::Verdict(report, leaving);
    }

    /// Whether the result is known.
    const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Verdict(..) | Stage::Leaving(_) | Stage::Done)
    }

    fn take_stream(&mut self, bytes: &[u8], at: Timestamp) -> Handled {
        if self.is_over() {
            return Handled::Taken;
        }
        self.frames.push(bytes);
        loop {
            match self.frames.next_packet() {
                Ok(Some(packet)) => {
                    self.take(&packet, at);
                    if self.is_over() {
                        return Handled::Taken;
                    }
                }
                Ok(None) => return Handled::Taken,
                Err(_) => return self.foreign(Mismatch::Malformed),
            }
        }
    }

    /// The stream has ended, in order or not.
    fn hung_up(&mut self, reset: bool) -> Handled {
        match self.stage {
            Stage::Connecting if reset => self.refuse(Reason::ConnectionRefused, ""),
            Stage::Connecting | Stage::Reset | Stage::Answer if self.frames.is_empty() => self.refuse(
                Reason::KeyRequired,
                "it hangs up before it answers: it wants another key, or it is full",
            ),
            Stage::Handshake(_) if !self.heard => self.refuse(
                Reason::FullOrThrottled,
                "the reset was answered and nothing after it: full, throttling, or it dislikes our TLS",
            ),
            Stage::Verdict(..) | Stage::Leaving(_) | Stage::Done => {}
            _ => self.refuse(Reason::ProtocolError, "it hangs up in the middle"),
        }
        Handled::Taken
    }

    /// An ICMP error that quotes so much that it shows the session is judged by it.
    fn quotes_us(&self, quoted: &[u8]) -> bool {
        self.tcp || quoted.get(1..9).is_none_or(|session| session == self.session)
    }
}

fn draw_session(entropy: &mut dyn Entropy) -> SessionId {
    let session: SessionId = entropy.array();
    // All zeros mean "no session".
    if session == [0; 8] { [1; 8] } else { session }
}

impl Exchange for Run {
    fn transport(&self) -> Transport {
        if self.tcp {
            Transport::Tcp { port: self.port }
        } else {
            Transport::Udp { port: self.port, connected: true }
        }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        let waiting = matches!(self.stage, Stage::Connecting | Stage::Answer | Stage::Handshake(_));
        if waiting && now >= self.deadline {
            self.expire();
        }
        match &mut self.stage {
            Stage::Connecting | Stage::Answer => Step::Wait(self.deadline),
            Stage::Reset => {
                self.stage = Stage::Answer;
                self.deadline = now + self.timeout;
                let reset = Packet {
                    opcode: self.wrapping.reset(),
                    key_id: 0,
                    session: self.session,
                    acks: None,
                    id: 0,
                    payload: Vec::new(),
                };
                self.send(&reset, out)
            }
            Stage::Handshake(channel) => match channel.next_packet(now) {
                Some(packet) => self.send(&packet, out),
                None => Step::Wait(self.deadline.min(channel.timer())),
            },
            Stage::Verdict(..) => match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Verdict(report, channel) => {
                    if let Some(channel) = channel {
                        self.stage = Stage::Leaving(channel);
                    }
                    Step::Report(report)
                }
                _ => Step::End,
            },
            Stage::Leaving(channel) => match channel.next_packet(now) {
                Some(packet) => self.send(&packet, out),
                None => {
                    self.stage = Stage::Done;
                    Step::End
                }
            },
            Stage::Done => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        let over = self.is_over();
        match event {
            Event::Sent => {
                if self.sent.is_none() && matches!(self.stage, Stage::Answer) {
                    self.sent = Some(at);
                    self.deadline = at + self.timeout;
                }
                Handled::Taken
            }
            Event::Connected => {
                if matches!(self.stage, Stage::Connecting) {
                    self.connected = Some(at);
                    self.stage = Stage::Reset;
                }
                Handled::Taken
            }
            Event::Received { from, .. } if from.ip() != self.peer || from.port() != self.port => {
                Handled::NotMine(Mismatch::Source)
            }
            Event::Received { bytes, .. } if self.tcp => self.take_stream(bytes, at),
            Event::Received { bytes, .. } => self.take(bytes, at),
            Event::Icmp { quoted, .. } if !self.quotes_us(quoted) => Handled::NotMine(Mismatch::Token),
            Event::Icmp { error: IcmpError::Unreachable(reason), .. } => {
                // Over an open stream the kernel goes on by itself; so do we.
                if !over && (!self.tcp || matches!(self.stage, Stage::Connecting)) {
                    self.refuse(reason, "");
                }
                Handled::Taken
            }
            Event::Icmp { .. } => Handled::Taken,
            Event::Closed => self.hung_up(false),
            Event::Reset => self.hung_up(true),
            Event::Failed(fault) => {
                if !over {
                    self.settle(Report::new(Outcome::Unsent(fault)));
                }
                Handled::Taken
            }
        }
    }
}
