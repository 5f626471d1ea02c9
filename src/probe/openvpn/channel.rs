//! The reliable control channel of OpenVPN with a TLS client inside.
//!
//! ```text
//!   rustls ◀─▶ TLS stream, cut into pieces ◀─▶ packets 1, 2, 3 …, acknowledged one by one
//! ```
//!
//! Invariant: bytes reach TLS in the order of their packet ids, each once; at most [`WINDOW`] of our
//! packets are unacknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

use crate::time::Timestamp;
use crate::wire::openvpn::{Acks, Opcode, Packet, SessionId};

/// The most bytes of TLS in one packet, so that it fits any path with its wrapping.
const PIECE: usize = 1100;
/// The least bytes of TLS beside a long wrapped key.
const PIECE_MIN: usize = 128;
/// The most of our packets in flight (OpenVPN allows 6, older ones 4).
const WINDOW: usize = 4;
/// The most acknowledgements in one packet: more make some servers drop it.
const ACKS: usize = 4;
/// How far ahead of the next packet one is kept (OpenVPN's own window is 12).
const AHEAD: u32 = 12;
/// From one transmission of a packet to the next.
const RETRANSMIT: Duration = Duration::from_secs(1);

/// internal_error, "unrelated to the peer" (RFC 8446 section 6.2): a server only closes for an error.
const ALERT: u8 = 80;

/// What a session needs to know to talk.
pub(super) struct Peers {
    /// Our session.
    pub ours: SessionId,
    /// The server's.
    pub theirs: SessionId,
}

/// A packet of ours that is not acknowledged yet.
struct Flying {
    opcode: Opcode,
    id: u32,
    payload: Vec<u8>,
    due: Timestamp,
}

/// The channel after the server's answer to our reset.
pub(super) struct Channel {
    peers: Peers,
    tls: ClientConnection,
    /// TLS bytes that are not in a packet yet.
    unsent: Vec<u8>,
    /// How long the wrapped key is that the first packet has to carry, if it has to.
    wrapped_key: Option<usize>,
    /// Whether lost packets are our business: not over TCP.
    retransmits: bool,
    next_id: u32,
    flying: VecDeque<Flying>,
    expected: u32,
    early: BTreeMap<u32, Vec<u8>>,
    owed: VecDeque<u32>,
}

impl Channel {
    /// A channel whose server has sent its packet 0. `wrapped_key`: the length of the wrapped client
    /// key that the server wants once more.
    pub(super) fn new(
        peers: Peers,
        config: Arc<ClientConfig>,
        peer: IpAddr,
        wrapped_key: Option<usize>,
        retransmits: bool,
    ) -> Result<Self, rustls::Error> {
        // By address, so that no server name is sent: OpenVPN's own clients send none.
        let tls = ClientConnection::new(config, ServerName::from(peer))?;
        let mut channel = Self {
            peers,
            tls,
            unsent: Vec::new(),
            wrapped_key,
            retransmits,
            next_id: 1,
            flying: VecDeque::new(),
            expected: 1,
            early: BTreeMap::new(),
            owed: VecDeque::from([0]),
        };
        channel.collect();
        Ok(channel)
    }

    /// The negotiated version, once it is known.
    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.tls.protocol_version()
    }

    /// Whether the server has proved that the certificate it showed is its own. In TLS 1.2 it signs
    /// in the same flight; in 1.3 its last message proves it.
    pub(super) fn proved(&self) -> bool {
        !self.tls.is_handshaking() || self.version() == Some(ProtocolVersion::TLSv1_2)
    }

    /// Takes a packet of the peer's session; true if it told anything new.
    ///
    /// # Errors
    /// What TLS objects to, an alert of the peer included.
    pub(super) fn receive(&mut self, packet: Packet) -> Result<bool, rustls::Error> {
        let mut news = false;
        for id in packet.acks.iter().flat_map(|acks| &acks.ids) {
            let before = self.flying.len();
            self.flying.retain(|flying| flying.id != *id);
            news |= self.flying.len() < before;
        }
        if packet.opcode == Opcode::AckV1 || packet.id >= self.expected.saturating_add(AHEAD) {
            return Ok(news);
        }
        // A repeated packet is acknowledged again: our acknowledgement was lost.
        if !self.owed.contains(&packet.id) {
            self.owed.push_back(packet.id);
        }
        if packet.id >= self.expected && packet.opcode == Opcode::ControlV1 {
            news |= self.early.insert(packet.id, packet.payload).is_none();
        }
        while let Some(payload) = self.early.remove(&self.expected) {
            self.expected = self.expected.saturating_add(1);
            self.feed(&payload)?;
        }
        Ok(news)
    }

    /// The next packet to send now, if there is one.
    pub(super) fn next_packet(&mut self, now: Timestamp) -> Option<Packet> {
        if !self.unsent.is_empty() && self.flying.len() < WINDOW {
            let (opcode, piece) = match self.wrapped_key.take() {
                Some(len) => (Opcode::ControlWkcV1, PIECE.saturating_sub(len).max(PIECE_MIN)),
                None => (Opcode::ControlV1, PIECE),
            };
            let payload: Vec<u8> = self.unsent.drain(..piece.min(self.unsent.len())).collect();
            let id = self.next_id;
            self.next_id = self.next_id.saturating_add(1);
            let due = if self.retransmits { now + RETRANSMIT } else { Timestamp::FAR };
            self.flying.push_back(Flying { opcode, id, payload: payload.clone(), due });
            return Some(self.packet(opcode, id, payload));
        }
        let lost = self.flying.iter_mut().find(|flying| flying.due <= now).map(|flying| {
            flying.due = now + RETRANSMIT;
            (flying.opcode, flying.id, flying.payload.clone())
        });
        if let Some((opcode, id, payload)) = lost {
            return Some(self.packet(opcode, id, payload));
        }
        (!self.owed.is_empty()).then(|| self.packet(Opcode::AckV1, 0, Vec::new()))
    }

    /// Ends TLS by a fatal alert instead of what was still to be said, in the next packet. A server
    /// whose handshake just stops (or is closed without an error: 2.6.14) keeps the session for a
    /// minute, repeats its packets, and opens no other session for our port.
    pub(super) fn abort(&mut self) {
        // Not encrypted: a server takes alerts so until our first encrypted record (RFC 8446 5.1).
        self.unsent = vec![21, 3, 3, 0, 2, 2, ALERT];
    }

    /// When the next packet must be sent again.
    pub(super) fn timer(&self) -> Timestamp {
        self.flying.iter().map(|flying| flying.due).min().unwrap_or(Timestamp::FAR)
    }

    fn packet(&mut self, opcode: Opcode, id: u32, payload: Vec<u8>) -> Packet {
        let ids: Vec<u32> = self.owed.drain(..ACKS.min(self.owed.len())).collect();
        let acks = (!ids.is_empty()).then_some(Acks { ids, session: self.peers.theirs });
        Packet { opcode, key_id: 0, session: self.peers.ours, acks, id, payload }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        while !bytes.is_empty() {
            match self.tls.read_tls(&mut bytes) {
                // TLS takes no more: it is closed, or the peer sends what nobody reads.
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let result = self.tls.process_new_packets();
            self.collect();
            result?;
        }
        Ok(())
    }

    fn collect(&mut self) {
        while self.tls.wants_write() {
            // Writing to memory does not fail.
            if !matches!(self.tls.write_tls(&mut self.unsent as &mut dyn io::Write), Ok(1..)) {
                break;
            }
        }
    }
}
