//! An OpenVPN server: the reset answered without keeping anything, then TLS, then a clean refusal.
//!
//! ```text
//! HARD_RESET_CLIENT ─▶ HARD_RESET_SERVER (session id by MAC)     nothing kept
//! CONTROL, ACK with that id ─▶ a session: TLS ─▶ keys exchanged ─▶ PUSH_REQUEST ─▶ AUTH_FAILED
//! ```
//!
//! Invariant: a session over UDP exists only for an address that has repeated an id we gave it; at most
//! [`MOST`] of them; one without news for [`IDLE`] goes.
//! Sources: as [`crate::wire::openvpn`]; the key exchange and push messages as in `ssl.c` and `push.c`
//! of OpenVPN 2.6.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};

use super::{Call, Reply, Responder, mac};
use crate::entropy::{Draw, Entropy};
use crate::time::{Timestamp, WallTime};
use crate::wire::openvpn::{Acks, Frames, Keys, Opcode, Packet, SessionId, Side, Wrapping, frame};

/// The most sessions over UDP.
const MOST: usize = 64;
/// A handshake that does not go on is given up (`hand-window`).
const IDLE: Duration = Duration::from_secs(60);
/// For how long a session id that we gave may be repeated, in seconds, at the least.
const ID_WINDOW: i64 = 30;
/// The most bytes of TLS in one packet.
const PIECE: usize = 1100;
/// The most of our packets in flight.
const WINDOW: usize = 4;
/// The most acknowledgements in one packet.
const ACKS: usize = 4;
/// How far ahead of the next packet one is kept.
const AHEAD: u32 = 12;
/// From one transmission of a packet to the next.
const RETRANSMIT: Duration = Duration::from_secs(1);
/// The most bytes of decrypted text that wait for their end.
const MOST_TEXT: usize = 16 * 1024;

/// Before the random numbers of a key exchange: four zero bytes, method 2.
const KEY_METHOD_2: [u8; 5] = [0, 0, 0, 0, 2];
/// A client's random numbers: 48 and twice 32 bytes.
const CLIENT_RANDOM: usize = 112;
/// What we say our options are; clients compare and at most warn.
const OPTIONS: &[u8] =
    b"V4,dev-type tun,tun-mtu 1500,cipher AES-256-GCM,auth [null-digest],key-method 2,tls-server\0";

/// How the server is set up.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) keys: Keys,
    pub(super) tls: Arc<ServerConfig>,
}

impl Setup {
    fn wrapping(&self, wall: WallTime) -> Wrapping {
        Wrapping::new(self.keys.clone(), Side::Server, u32::try_from(wall.as_unix_secs()).unwrap_or(0))
    }
}

/// A packet of ours that is not acknowledged yet.
struct Flying {
    id: u32,
    payload: Vec<u8>,
    due: Timestamp,
}

/// How far a session has come.
#[derive(PartialEq, Eq)]
enum Stage {
    /// The client's part of the key exchange is awaited.
    Keys,
    /// Its request for a configuration is.
    Push,
    /// It has been refused.
    Refused,
}

/// One client.
struct Session {
    ours: SessionId,
    theirs: SessionId,
    wrapping: Wrapping,
    tls: ServerConnection,
    /// TLS bytes that are not in a packet yet.
    unsent: Vec<u8>,
    /// What the client said inside TLS, as far as it is not understood yet.
    text: Vec<u8>,
    stage: Stage,
    /// Whether lost packets are our business: not over TCP.
    retransmits: bool,
    next_id: u32,
    flying: VecDeque<Flying>,
    expected: u32,
    early: BTreeMap<u32, Vec<u8>>,
    owed: VecDeque<u32>,
    until: Timestamp,
}

impl Session {
    /// A session whose resets are exchanged, the client's acknowledged with ours.
    fn new(
        setup: &Setup,
        (ours, theirs): (SessionId, SessionId),
        wrapping: Wrapping,
        retransmits: bool,
    ) -> Option<Self> {
        Some(Self {
            ours,
            theirs,
            wrapping,
            tls: ServerConnection::new(setup.tls.clone()).ok()?,
            unsent: Vec::new(),
            text: Vec::new(),
            stage: Stage::Keys,
            retransmits,
            next_id: 1,
            flying: VecDeque::new(),
            expected: 1,
            early: BTreeMap::new(),
            owed: VecDeque::new(),
            until: Timestamp::FAR,
        })
    }

    /// Takes a packet of the client; false if the session is of no more use.
    fn receive(&mut self, packet: Packet, now: Timestamp, entropy: &mut dyn Entropy) -> bool {
        for id in packet.acks.iter().flat_map(|acks| &acks.ids) {
            self.flying.retain(|flying| flying.id != *id);
        }
        self.until = now + IDLE;
        if packet.opcode != Opcode::ControlV1 || packet.id >= self.expected.saturating_add(AHEAD) {
            return true;
        }
        if !self.owed.contains(&packet.id) {
            self.owed.push_back(packet.id);
        }
        if packet.id >= self.expected {
            self.early.insert(packet.id, packet.payload);
        }
        while let Some(payload) = self.early.remove(&self.expected) {
            self.expected = self.expected.saturating_add(1);
            if !self.feed(&payload, entropy) {
                return false;
            }
        }
        true
    }

    fn feed(&mut self, mut bytes: &[u8], entropy: &mut dyn Entropy) -> bool {
        let mut good = true;
        while good && !bytes.is_empty() {
            if !matches!(self.tls.read_tls(&mut bytes), Ok(1..)) {
                break;
            }
            match self.tls.process_new_packets() {
                Ok(state) => {
                    let mut text = vec![0; state.plaintext_bytes_to_read()];
                    good = self.tls.reader().read_exact(&mut text).is_ok();
                    self.text.append(&mut text);
                }
                Err(_) => good = false,
            }
        }
        self.listen(entropy);
        // What TLS still wants to say, an alert perhaps, goes out in any case.
        while self.tls.wants_write() && matches!(self.tls.write_tls(&mut self.unsent), Ok(1..)) {}
        good && self.text.len() <= MOST_TEXT
    }

    /// Understands what the client said inside TLS, and answers it there. Writing to rustls writes to
    /// memory, which does not fail.
    fn listen(&mut self, entropy: &mut dyn Entropy) {
        if self.stage == Stage::Keys && client_keys(&self.text) {
            self.text.clear();
            self.stage = Stage::Push;
            let mut answer = KEY_METHOD_2.to_vec();
            answer.extend(entropy.bytes(64));
            answer.extend(u16::try_from(OPTIONS.len()).unwrap_or(0).to_be_bytes());
            answer.extend(OPTIONS);
            // No user name, no password, no peer information.
            answer.extend([0; 6]);
            let _ = self.tls.writer().write_all(&answer);
        }
        if self.stage == Stage::Push && self.text.starts_with(b"PUSH_REQUEST\0") {
            self.text.clear();
            self.stage = Stage::Refused;
            let _ = self.tls.writer().write_all(b"AUTH_FAILED\0");
        }
    }

    /// The packets to send now, wrapped.
    fn flush(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for flying in self.flying.iter_mut().filter(|flying| flying.due <= now) {
            flying.due = now + RETRANSMIT;
            packets.push((flying.id, flying.payload.clone()));
        }
        while !self.unsent.is_empty() && self.flying.len() < WINDOW {
            let payload: Vec<u8> = self.unsent.drain(..PIECE.min(self.unsent.len())).collect();
            let id = self.next_id;
            self.next_id = self.next_id.saturating_add(1);
            let due = if self.retransmits { now + RETRANSMIT } else { Timestamp::FAR };
            self.flying.push_back(Flying { id, payload: payload.clone(), due });
            packets.push((id, payload));
        }
        let mut out: Vec<Vec<u8>> =
            packets.into_iter().map(|(id, payload)| self.wrap(Opcode::ControlV1, id, payload)).collect();
        while !self.owed.is_empty() {
            out.push(self.wrap(Opcode::AckV1, 0, Vec::new()));
        }
        out
    }

    fn wrap(&mut self, opcode: Opcode, id: u32, payload: Vec<u8>) -> Vec<u8> {
        let ids: Vec<u32> = self.owed.drain(..ACKS.min(self.owed.len())).collect();
        let acks = (!ids.is_empty()).then_some(Acks { ids, session: self.theirs });
        let packet = Packet { opcode, key_id: 0, session: self.ours, acks, id, payload };
        let mut bytes = Vec::new();
        self.wrapping.wrap(&packet, &mut bytes);
        bytes
    }

    fn timer(&self) -> Timestamp {
        self.flying.iter().map(|flying| flying.due).min().unwrap_or(Timestamp::FAR)
    }
}

/// Whether this is a whole key exchange of a client: random numbers, options, user name and password.
fn client_keys(text: &[u8]) -> bool {
    let Some(mut rest) = text.strip_prefix(&KEY_METHOD_2).and_then(|rest| rest.get(CLIENT_RANDOM..)) else {
        return false;
    };
    for _ in 0..3 {
        let Some((len, behind)) = rest.split_first_chunk::<2>() else { return false };
        let Some(behind) = behind.get(usize::from(u16::from_be_bytes(*len))..) else { return false };
        rest = behind;
    }
    true
}

/// The answer to a client's reset.
fn reset(ours: SessionId, theirs: SessionId, wrapping: &mut Wrapping) -> Vec<u8> {
    let packet = Packet {
        opcode: Opcode::HardResetServerV2,
        key_id: 0,
        session: ours,
        acks: Some(Acks { ids: vec![0], session: theirs }),
        id: 0,
        payload: Vec::new(),
    };
    let mut bytes = Vec::new();
    wrapping.wrap(&packet, &mut bytes);
    bytes
}

/// The server on UDP.
pub(super) struct OpenvpnUdp {
    setup: Setup,
    secret: [u8; 32],
    sessions: Vec<(SocketAddr, Session)>,
}

impl OpenvpnUdp {
    pub(super) fn new(setup: Setup, entropy: &mut dyn Entropy) -> Self {
        Self { setup, secret: entropy.array(), sessions: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The id we give a client; windows count back from the present one.
    fn id(&self, theirs: SessionId, call: &Call<'_>, windows_ago: i64) -> SessionId {
        let window = call.wall.as_unix_secs().div_euclid(ID_WINDOW) - windows_ago;
        let tag = mac(&self.secret, &[&theirs, call.from.to_string().as_bytes(), &window.to_be_bytes()]);
        let mut id = [0; 8];
        id.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
        id
    }

    /// A session for a packet that repeats an id we gave.
    fn begin(&mut self, packet: &Packet, call: &Call<'_>) -> Option<Session> {
        let named = packet.acks.as_ref()?.session;
        let given = (0..=1).any(|ago| self.id(packet.session, call, ago) == named);
        if !given || self.sessions.len() >= MOST {
            return None;
        }
        let mut wrapping = self.setup.wrapping(call.wall);
        // The answer to the reset has used the first replay id.
        reset(named, packet.session, &mut wrapping);
        Session::new(&self.setup, (named, packet.session), wrapping, true)
    }
}

impl Responder for OpenvpnUdp {
    fn answer(&mut self, datagram: &[u8], call: &mut Call<'_>) -> Vec<Vec<u8>> {
        self.sessions.retain(|(_, session)| session.until > call.now);
        let mut wrapping = self.setup.wrapping(call.wall);
        let Ok(packet) = wrapping.unwrap(datagram) else { return Vec::new() };
        if packet.opcode == Opcode::HardResetClientV2 {
            return vec![reset(self.id(packet.session, call, 0), packet.session, &mut wrapping)];
        }
        let known = self
            .sessions
            .iter()
            .position(|(from, session)| *from == call.from && session.theirs == packet.session);
        let index = known.or_else(|| {
            let session = self.begin(&packet, call)?;
            self.sessions.push((call.from, session));
            self.sessions.len().checked_sub(1)
        });
        let Some((_, session)) = index.and_then(|index| self.sessions.get_mut(index)) else {
            return Vec::new();
        };
        let good = session.receive(packet, call.now, call.entropy);
        let out = session.flush(call.now);
        if !good {
            self.sessions.retain(|(from, _)| *from != call.from);
        }
        out
    }

    fn due(&mut self, now: Timestamp) -> Vec<Reply> {
        self.sessions.retain(|(_, session)| session.until > now);
        let mut replies = Vec::new();
        for (to, session) in &mut self.sessions {
            replies.extend(session.flush(now).into_iter().map(|bytes| Reply { to: *to, bytes }));
        }
        replies
    }

    fn timer(&self) -> Timestamp {
        self.sessions.iter().map(|(_, session)| session.timer()).min().unwrap_or(Timestamp::FAR)
    }
}

/// One connection to the server on TCP.
pub(super) struct OpenvpnTcp {
    setup: Setup,
    frames: Frames,
    session: Option<Session>,
}

impl OpenvpnTcp {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, frames: Frames::default(), session: None }
    }

    /// Takes bytes of the client; what to answer, or nothing if the connection is to be closed: it is
    /// not OpenVPN, or not wrapped with our key.
    pub(super) fn receive(&mut self, bytes: &[u8], call: &mut Call<'_>) -> Option<Vec<u8>> {
        self.frames.push(bytes);
        let mut out = Vec::new();
        while let Some(packet) = self.frames.next_packet().ok()? {
            for bytes in self.packet(&packet, call)? {
                frame(&bytes, &mut out);
            }
        }
        Some(out)
    }

    fn packet(&mut self, bytes: &[u8], call: &mut Call<'_>) -> Option<Vec<Vec<u8>>> {
        if let Some(session) = &mut self.session {
            let packet = session.wrapping.unwrap(bytes).ok()?;
            let good = packet.session == session.theirs && session.receive(packet, call.now, call.entropy);
            return good.then(|| session.flush(call.now));
        }
        let mut wrapping = self.setup.wrapping(call.wall);
        let packet = wrapping.unwrap(bytes).ok()?;
        if packet.opcode != Opcode::HardResetClientV2 {
            return None;
        }
        let ours = call.entropy.array();
        let answer = reset(ours, packet.session, &mut wrapping);
        self.session = Some(Session::new(&self.setup, (ours, packet.session), wrapping, false)?);
        Some(vec![answer])
    }
}
