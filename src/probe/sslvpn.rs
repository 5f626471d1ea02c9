//! `sslvpn`: whether it is the SSL VPN that it should be, or some web server.
//!
//! ```text
//! anyconnect     POST / with a config-auth document          ◀── config-auth
//! sstp           SSTP_DUPLEX_POST                            ◀── 200, length 2^64 - 1
//!                Call Connect Request                        ◀── Call Connect Ack   Call Abort ──▶
//! fortinet       GET /remote/login                           ◀── its cookie or page
//! globalprotect  POST …/prelogin.esp (gateway, then portal)  ◀── prelogin-response
//! pulse          GET / with an upgrade to IF-T/TLS           ◀── 101
//! softether      POST /vpnsvc/connect.cgi                    ◀── a pack with its hello
//! openvpn        a hard reset, without TLS                   ◀── the server's reset
//! ```
//! A declared flavour is asked in its own words, on one connection. If none is declared, the recurring form
//! only looks at the front page (`greeting`), and now and then the rare one asks them all (`identify`), on
//! one connection and one more for OpenVPN.
//!
//! Invariants: a web server that does not speak the declared flavour is `wrong_flavour`, never up. No
//! credentials, no cookie of a session, no request that an honest client would not begin with. ocserv
//! bans who connects more often than every 15 s, so the interval is 60 s.
//!
//! MS-SSTP 3.2.4, 4.1; the requests of the others are those that openconnect and their own clients begin
//! with.

mod flavour;

use std::net::IpAddr;
use std::time::Duration;

use super::certificate::Roots;
use super::conversation::{Conversation, MAX_INBOX, Script, Stream};
use super::http::{self, nonsense};
use super::secure::Secure;
use super::{Charge, Exchange, Flow, Form, KindInfo, Spec, Start};
use crate::entropy::Draw as _;
use crate::sample::{Carrier, Outcome, Phase, Reason, Report, Text};
use crate::time::WallTime;
use crate::wire::http::Head;
use crate::wire::openvpn::{Frames, Opcode, Packet, frame};
use crate::wire::sstp::{self, Message, message};

pub use flavour::Flavour;

/// What `sslvpn` needs to know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// What it should be; nothing: whatever it is.
    pub flavour: Option<Flavour>,
    /// The name asked for, instead of the target's own.
    pub server_name: Option<String>,
    /// Which roots the chain is judged against.
    pub roots: Roots,
}

const TLS: &[Charge] = &[Charge::TcpConnection, Charge::TlsHandshake];

static DECLARED: &[Form] = &[Form { name: "declared", charges: TLS, packets: 12, rare: false }];
static OPENVPN: &[Form] = &[Form {
    name: "declared",
    charges: &[Charge::TcpConnection, Charge::OpenvpnReset],
    packets: 6,
    rare: false,
}];
static ANY: &[Form] = &[
    Form { name: "greeting", charges: TLS, packets: 10, rare: false },
    Form {
        name: "identify",
        charges: &[Charge::TcpConnection, Charge::TcpConnection, Charge::TlsHandshake, Charge::OpenvpnReset],
        packets: 30,
        rare: true,
    },
];

/// The kind `sslvpn`.
pub static INFO: KindInfo = KindInfo {
    name: "sslvpn",
    port: 443,
    interval: Duration::from_secs(60),
    flow: Flow::Fresh,
    carrier: Carrier::Tcp,
    forms: |spec| match spec.settings.sslvpn.flavour {
        None => ANY,
        Some(Flavour::Openvpn) => OPENVPN,
        Some(_) => DECLARED,
    },
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::ConnectionRefused,
        Reason::ConnectionReset,
        Reason::CertExpired,
        Reason::CertNotYetValid,
        Reason::CertNameMismatch,
        Reason::CertUntrusted,
        Reason::TlsAlert,
        Reason::TlsLegacy,
        Reason::HttpStatus,
        Reason::WrongAnswer,
        Reason::WrongFlavour,
        Reason::ProtocolError,
        Reason::KeyRequired,
    ],
    phases: &[Phase::Connect, Phase::TcpKernel, Phase::Handshake, Phase::FirstByte],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let settings = &spec.settings.sslvpn;
    let name = settings.server_name.clone().or_else(|| spec.host.clone());
    let script = Ask {
        host: http::authority(name.as_deref(), start.peer, spec.port, true),
        name,
        peer: start.peer,
        roots: settings.roots.clone(),
        wall: start.wall,
        declared: settings.flavour,
        questions: flavour::questions(settings.flavour, start.form.name == "identify"),
        next: 0,
        asked: Vec::new(),
        session: start.entropy.array(),
        correlation: start.entropy.array(),
        heads: None,
        tunnel: Tunnel::None,
        certificate: None,
    };
    if settings.flavour == Some(Flavour::Openvpn) {
        return Box::new(Conversation::new(spec.port, &start, None, script));
    }
    Box::new(match script.secure() {
        Some(secure) => Conversation::new(spec.port, &start, Some(secure), script),
        None => Conversation::broken(spec.port, &start, script),
    })
}

/// How far an SSTP call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    None,
    /// The call is requested.
    Requested,
    /// The server has answered it, and keeps it until it is told.
    Open,
}

struct Ask {
    /// What stands in `Host`.
    host: String,
    name: Option<String>,
    peer: IpAddr,
    roots: Roots,
    wall: WallTime,
    declared: Option<Flavour>,
    questions: &'static [flavour::Question],
    /// Which of them is next.
    next: usize,
    /// Which flavours were asked.
    asked: Vec<Text>,
    /// Our id for OpenVPN; not 0.
    session: [u8; 8],
    /// Our id for SSTP.
    correlation: [u8; 16],
    /// The last head that was answered, for the record.
    heads: Option<Head>,
    tunnel: Tunnel,
    /// What TLS and the certificate came to, once that connection is left.
    certificate: Option<Report>,
}

impl Ask {
    fn secure(&self) -> Option<Secure> {
        Secure::new(self.name.clone(), self.peer, self.roots.clone(), &[], self.wall)
    }

    /// Asks the next question, if there is one.
    fn ask(&mut self, stream: &mut Stream) -> bool {
        let Some(question) = self.questions.get(self.next) else { return false };
        let flavour = question.flavour;
        self.next = self.next.saturating_add(1);
        if let Some(flavour) = flavour
            && self.asked.last().map(Text::as_str) != Some(flavour.as_str())
        {
            self.asked.push(Text::from(flavour.as_str()));
        }
        if flavour == Some(Flavour::Openvpn) {
            if stream.secure().is_some() {
                self.certificate = stream.secure().map(|secure| secure.certified(None));
                stream.reopen(None);
            }
            self.reset(stream);
        } else {
            stream.ask(&question.bytes(&self.host, &self.correlation));
        }
        true
    }

    /// OpenVPN's hard reset, which waits for the connection if that is not open yet.
    fn reset(&self, stream: &mut Stream) {
        let packet = Packet {
            opcode: Opcode::HardResetClientV2,
            key_id: 0,
            session: self.session.map(|octet| octet | 1),
            acks: None,
            id: 0,
            payload: Vec::new(),
        };
        let (mut bytes, mut framed) = (Vec::new(), Vec::new());
        packet.encode(&mut bytes);
        frame(&bytes, &mut framed);
        stream.ask(&framed);
    }

    /// The result: what it is, and whether that is what it should be.
    fn found(&self, flavour: Option<Flavour>, stream: &Stream) -> Report {
        let mut report = match (&self.certificate, stream.secure()) {
            (Some(report), _) if report.outcome.serving() == Some(true) => report.clone(),
            (None, Some(secure)) => secure.certified(None),
            _ => Report::new(Outcome::OK),
        };
        if let Some(head) = &self.heads {
            http::note(head, &mut report);
        }
        let failed = self.heads.as_ref().is_some_and(|head| head.status >= 500);
        let wrong = match (self.declared, flavour) {
            (Some(declared), Some(found)) => (declared != found).then_some(Reason::WrongFlavour),
            // A fault of the server, rather than another kind of server.
            (Some(_), None) if failed => Some(Reason::HttpStatus),
            (Some(_), None) => Some(Reason::WrongFlavour),
            (None, _) => None,
        };
        if let Some(reason) = wrong {
            report.outcome = Outcome::Refused(reason);
        }
        let details = &mut report.findings().details;
        let other = if self.heads.is_some() || stream.inbox.starts_with(b"HTTP/") { "web_server" } else { "other" };
        details.text("flavour", flavour.map_or(other, Flavour::as_str));
        if let Some(declared) = self.declared {
            details.text("declared", declared.as_str());
        } else if !self.asked.is_empty() {
            details.list("asked", self.asked.iter().cloned());
        }
        let mut report = stream.timed(report);
        report.phases.extend(stream.rtt().map(|took| (Phase::FirstByte, took)));
        report
    }

    /// Nothing has been recognised on this connection: another question, or the end.
    fn unrecognised(&mut self, stream: &mut Stream, open: bool) -> Option<Report> {
        while let Some(question) = self.questions.get(self.next) {
            if (open || question.flavour == Some(Flavour::Openvpn)) && self.ask(stream) {
                return None;
            }
            self.next = self.next.saturating_add(1);
        }
        Some(self.found(None, stream))
    }

    fn asking(&self) -> Option<&'static flavour::Question> {
        self.questions.get(self.next.checked_sub(1)?)
    }

    /// An answer of HTTP, as far as it is there.
    fn page(&mut self, stream: &mut Stream) -> Option<Report> {
        let question = self.asking()?;
        let head = match Head::decode(&stream.inbox) {
            Ok(Some(head)) => head,
            Ok(None) => return None,
            Err(error) => return Some(nonsense(stream, &error.to_string())),
        };
        let body = stream.inbox.get(head.length..).unwrap_or_default();
        let seen = flavour::recognise(question.flavour, &head, body);
        let length = head.body_length(body).ok().flatten().filter(|length| *length <= MAX_INBOX);
        let whole = length.is_some_and(|length| body.len() >= length) || stream.inbox.len() >= MAX_INBOX;
        if (100..200).contains(&head.status) && head.status != 101 {
            let length = head.length.min(stream.inbox.len());
            stream.inbox.drain(..length);
            return self.page(stream);
        }
        let open = head.stays_open() && length.is_some();
        let after = head.length.saturating_add(length.unwrap_or(0)).min(stream.inbox.len());
        self.heads = Some(head);
        match seen {
            Some(Flavour::Sstp) => {
                stream.inbox.drain(..after);
                stream.inbox.clear();
                let mut bytes = Vec::new();
                Message::connect().encode(&mut bytes);
                self.tunnel = Tunnel::Requested;
                stream.say(&bytes);
                None
            }
            Some(flavour) => Some(self.found(Some(flavour), stream)),
            // More of the body may tell; an end of the connection will call again.
            None if !whole => None,
            None => {
                stream.inbox.drain(..after);
                self.unrecognised(stream, open)
            }
        }
    }

    /// The answer to the Call Connect Request.
    fn call(&mut self, stream: &mut Stream) -> Option<Report> {
        match Message::length(&stream.inbox) {
            Ok(Some(length)) if stream.inbox.len() >= length => {}
            Ok(_) => return None,
            Err(error) => return Some(nonsense(stream, &error.to_string())),
        }
        let answer = match Message::decode(&stream.inbox) {
            Ok(answer) => answer,
            Err(error) => return Some(nonsense(stream, &error.to_string())),
        };
        self.tunnel = Tunnel::Open;
        let mut report = self.found(Some(Flavour::Sstp), stream);
        let details = &mut report.findings().details;
        if let Some(binding) = answer.attribute(sstp::attribute::CRYPTO_BINDING_REQUEST)
            && let Some(hashes) = binding.get(3)
        {
            details.number("hash_protocols", *hashes);
        }
        let call = match answer.kind {
            message::CALL_CONNECT_ACK => "acknowledged",
            message::CALL_CONNECT_NAK => "refused",
            _ => "unexpected",
        };
        details.text("call", call);
        if answer.kind != message::CALL_CONNECT_ACK && report.outcome == Outcome::OK {
            report.outcome = Outcome::Refused(Reason::WrongAnswer);
        }
        Some(report)
    }

    /// What an OpenVPN server says to the reset; anything else is none.
    fn openvpn(&mut self, stream: &mut Stream) -> Option<Report> {
        let mut frames = Frames::default();
        frames.push(&stream.inbox);
        let packet = match frames.next_packet() {
            Ok(None) if stream.inbox.len() < 256 => return None,
            Ok(Some(bytes)) => Packet::decode(&bytes).ok(),
            Ok(None) | Err(_) => None,
        };
        let ours = self.session.map(|octet| octet | 1);
        let answered = packet.is_some_and(|packet| {
            packet.opcode == Opcode::HardResetServerV2
                && packet.acks.is_some_and(|acks| acks.session == ours)
        });
        if answered {
            return Some(self.found(Some(Flavour::Openvpn), stream));
        }
        let wrong = self.found(None, stream);
        Some(self.before(wrong))
    }

    /// What was known before OpenVPN was tried; else this.
    fn before(&mut self, otherwise: Report) -> Report {
        match self.certificate.take() {
            Some(report) if self.heads.is_none() => report,
            Some(report) => {
                self.certificate = Some(report);
                otherwise
            }
            None => otherwise,
        }
    }

    fn on_openvpn(&self) -> bool {
        self.asking().is_some_and(|question| question.flavour == Some(Flavour::Openvpn))
    }
}

impl Script for Ask {
    fn opened(&mut self, stream: &mut Stream) -> Option<Report> {
        // The reset for OpenVPN was asked when its connection was.
        if !self.on_openvpn() {
            self.ask(stream);
        }
        None
    }

    fn received(&mut self, stream: &mut Stream) -> Option<Report> {
        if self.on_openvpn() {
            self.openvpn(stream)
        } else if self.tunnel == Tunnel::Requested {
            self.call(stream)
        } else {
            self.page(stream)
        }
    }

    fn failed(&mut self, stream: &mut Stream, failed: Report) -> Option<Report> {
        // Who does not speak TLS at all may be OpenVPN.
        let last = self.questions.len().saturating_sub(1);
        let identify = self.questions.get(last).is_some_and(|question| question.flavour == Some(Flavour::Openvpn));
        let refused = matches!(
            failed.outcome,
            Outcome::Refused(Reason::ProtocolError | Reason::ConnectionReset)
        );
        if identify && refused && !self.on_openvpn() {
            self.certificate = Some(Report { rtt: None, ..failed });
            stream.reopen(None);
            self.next = last;
            self.ask(stream);
            return None;
        }
        Some(failed)
    }

    fn ended(&mut self, stream: &mut Stream, failed: Report) -> Option<Report> {
        if self.on_openvpn() {
            // Without its key a server hangs up, as a web server does.
            let report = if self.declared.is_some() {
                stream.timed(Report::new(Outcome::Refused(Reason::KeyRequired)))
            } else {
                self.found(None, stream)
            };
            return Some(self.before(report));
        }
        // A body that ends with the connection, or that was cut: what was seen of it counts.
        match Head::decode(&stream.inbox) {
            Ok(Some(head)) => {
                self.heads = Some(head);
                self.unrecognised(stream, false)
            }
            _ if self.heads.is_some() && self.tunnel == Tunnel::None && self.declared.is_none() => {
                self.unrecognised(stream, false)
            }
            _ => Some(failed),
        }
    }

    fn silent(&mut self, stream: &Stream, mut silence: Report) -> Report {
        // What was recognised, or at least answered, before the silence is the better news.
        if self.declared.is_none() && (self.heads.is_some() || self.certificate.is_some()) {
            let report = self.found(None, stream);
            return self.before(report);
        }
        let stage = if self.tunnel == Tunnel::Requested { "call_connect_ack" } else { "answer" };
        silence.findings().details.text("waited_for", stage);
        silence
    }

    fn farewell(&mut self, stream: &mut Stream) {
        if self.tunnel == Tunnel::Open {
            let mut bytes = Vec::new();
            Message::abort().encode(&mut bytes);
            stream.say(&bytes);
        }
    }
}

#[cfg(test)]
mod tests;
