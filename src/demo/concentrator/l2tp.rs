//! An L2TP network server: control connections come up and are kept; calls are refused.
//!
//! ```text
//! SCCRQ ─▶ SCCRP, again after 1, 2, 4, 8 s until acknowledged    SCCCN, HELLO ─▶ ZLB
//! ICRQ, OCRQ ─▶ CDN (no facilities here)                         StopCCN ─▶ ZLB, forgotten after 31 s
//! ```
//!
//! Invariant: at most [`MOST`] tunnels; one that says nothing for [`IDLE`] goes.
//! Sources: RFC 2661 §5.1, §5.5, §5.7, §5.8, §6.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Call, Reply, Responder};
use crate::entropy::Draw;
use crate::time::Timestamp;
use crate::wire::l2tp::{Avp, Message, attribute, message};

/// The most tunnels.
const MOST: usize = 256;
/// A tunnel without any message for so long is gone; HELLOs come every minute by default (§6.5).
const IDLE: Duration = Duration::from_secs(150);
/// A closed tunnel still acknowledges a repeated StopCCN for a full retransmission cycle (§5.7).
const LINGER: Duration = Duration::from_secs(31);
/// How often a message is sent (§5.8 suggests five retransmissions).
const TRIES: u32 = 5;

const OCRQ: u16 = 7;
const ICRQ: u16 = 10;
const CDN: u16 = 14;
/// Assigned Session ID.
const ASSIGNED_SESSION_ID: u16 = 14;

/// A message that is not acknowledged yet.
struct Flying {
    message: Message,
    tries: u32,
    due: Timestamp,
}

struct Tunnel {
    peer: SocketAddr,
    /// Our name for it, in messages to us.
    ours: u16,
    /// The peer's name for it.
    theirs: u16,
    /// Number of our next message.
    ns: u16,
    /// Number of the peer's next message.
    nr: u16,
    flying: Vec<Flying>,
    /// When it is forgotten.
    until: Timestamp,
}

/// The server.
pub(super) struct L2tp {
    tunnels: Vec<Tunnel>,
}

impl L2tp {
    pub(super) fn new() -> Self {
        Self { tunnels: Vec::new() }
    }

    fn open(&mut self, request: &Message, call: &mut Call<'_>) -> Vec<Vec<u8>> {
        let Some(theirs) = request.number(attribute::ASSIGNED_TUNNEL_ID).filter(|id| *id != 0) else {
            return Vec::new();
        };
        if let Some(tunnel) =
            self.tunnels.iter_mut().find(|tunnel| tunnel.peer == call.from && tunnel.theirs == theirs)
        {
            return vec![tunnel.acknowledgement()];
        }
        if self.tunnels.len() >= MOST {
            return Vec::new();
        }
        let ours = loop {
            let id = call.entropy.u16();
            if id != 0 && !self.tunnels.iter().any(|tunnel| tunnel.ours == id) {
                break id;
            }
        };
        let mut tunnel = Tunnel {
            peer: call.from,
            ours,
            theirs,
            ns: 0,
            nr: request.ns.wrapping_add(1),
            flying: Vec::new(),
            until: call.now + IDLE,
        };
        let reply = tunnel.send(
            vec![
                Avp::number(attribute::MESSAGE_TYPE, message::SCCRP),
                Avp::mandatory(attribute::PROTOCOL_VERSION, [1, 0]),
                Avp::mandatory(attribute::FRAMING_CAPABILITIES, [0, 0, 0, 3]),
                Avp::mandatory(attribute::HOST_NAME, "demo.vpnprobe.test"),
                Avp { mandatory: false, ..Avp::mandatory(attribute::VENDOR_NAME, "vpnprobe demo") },
                Avp::number(attribute::ASSIGNED_TUNNEL_ID, ours),
                Avp::number(attribute::RECEIVE_WINDOW_SIZE, 4),
            ],
            0,
            call.now,
        );
        self.tunnels.push(tunnel);
        vec![reply]
    }
}

impl Tunnel {
    fn send(&mut self, avps: Vec<Avp>, session_id: u16, now: Timestamp) -> Vec<u8> {
        let message = Message { tunnel_id: self.theirs, session_id, ns: self.ns, nr: self.nr, avps };
        self.ns = self.ns.wrapping_add(1);
        let bytes = to_bytes(&message);
        self.flying.push(Flying { message, tries: 1, due: now + Duration::from_secs(1) });
        bytes
    }

    fn acknowledgement(&self) -> Vec<u8> {
        to_bytes(&Message { tunnel_id: self.theirs, ns: self.ns, nr: self.nr, ..Message::default() })
    }

    fn receive(&mut self, message: &Message, now: Timestamp) -> Vec<Vec<u8>> {
        // Acknowledged is what is before `nr`, in the arithmetic of sequence numbers (§5.8).
        self.flying.retain(|flying| flying.message.ns.wrapping_sub(message.nr) < 0x8000);
        self.until = self.until.max(now + IDLE);
        if message.is_zero_length_body() {
            return Vec::new();
        }
        if message.ns != self.nr {
            // A repeated message is acknowledged again; one from the future waits for its turn.
            let old = self.nr.wrapping_sub(message.ns) < 0x8000;
            return if old { vec![self.acknowledgement()] } else { Vec::new() };
        }
        self.nr = self.nr.wrapping_add(1);
        match message.message_type() {
            Some(message::STOP_CCN) => {
                self.flying.clear();
                self.until = now + LINGER;
            }
            Some(ICRQ | OCRQ) => {
                let session = message.number(ASSIGNED_SESSION_ID).unwrap_or(0);
                let avps = vec![
                    Avp::number(attribute::MESSAGE_TYPE, CDN),
                    // 4: no appropriate facilities, for now (§4.4.2).
                    Avp::number(attribute::RESULT_CODE, 4),
                    Avp::number(ASSIGNED_SESSION_ID, 1),
                ];
                return vec![self.send(avps, session, now)];
            }
            _ => {}
        }
        vec![self.acknowledgement()]
    }
}

fn to_bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

impl Responder for L2tp {
    fn answer(&mut self, datagram: &[u8], call: &mut Call<'_>) -> Vec<Vec<u8>> {
        self.tunnels.retain(|tunnel| tunnel.until > call.now);
        let Ok(message) = Message::decode(datagram) else { return Vec::new() };
        if message.tunnel_id == 0 {
            return match message.message_type() {
                Some(message::SCCRQ) => self.open(&message, call),
                _ => Vec::new(),
            };
        }
        let tunnel = self
            .tunnels
            .iter_mut()
            .find(|tunnel| tunnel.ours == message.tunnel_id && tunnel.peer.ip() == call.from.ip());
        tunnel.map(|tunnel| tunnel.receive(&message, call.now)).unwrap_or_default()
    }

    fn due(&mut self, now: Timestamp) -> Vec<Reply> {
        let mut replies = Vec::new();
        self.tunnels.retain_mut(|tunnel| {
            for flying in tunnel.flying.iter_mut().filter(|flying| flying.due <= now) {
                if flying.tries >= TRIES {
                    return false;
                }
                flying.due = now + Duration::from_secs(1 << flying.tries);
                flying.tries += 1;
                let message = Message { nr: tunnel.nr, ..flying.message.clone() };
                replies.push(Reply { to: tunnel.peer, bytes: to_bytes(&message) });
            }
            tunnel.until > now
        });
        replies
    }

    fn timer(&self) -> Timestamp {
        let flying = self.tunnels.iter().flat_map(|tunnel| &tunnel.flying);
        flying.map(|flying| flying.due).min().unwrap_or(Timestamp::FAR)
    }
}
