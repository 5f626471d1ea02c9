//! `wireguard`: a handshake initiation, and the response that proves it was read.
//!
//! ```text
//! keyed      initiation ──▶ ◀── response        answered
//!                           ◀── cookie reply    answered, under load
//! unkeyed    initiation ──▶ (nothing)           the healthy state: proves nothing
//! ```
//! Invariant: WireGuard answers only peers it knows, so without a key of a peer of its own a silence is
//! no evidence; an ICMP error always is. With the key, a reply counts only if it opens with what our
//! initiation left behind.
//!
//! The WireGuard paper, 5.4 (messages), 5.1 (silence), 5.3 (cookies). Each answered initiation leaves a
//! session at the peer for at most 180 s; the peer wants 5 s between two. The timestamp must grow: two
//! probers need two peers. A valid initiation moves the peer's endpoint to us: never use a user's key.

mod noise;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::datagram::{Datagram, Question};
use super::{Charge, Exchange, Flow, Form, KindInfo, Mismatch, Spec, Start};
use crate::entropy::Draw as _;
use crate::sample::{Carrier, Fault, Outcome, Reason, Report};
use crate::time::WallTime;
use crate::wire::wireguard::Reply;

/// What `wireguard` needs to know.
#[derive(Clone, Default)]
pub struct Settings {
    /// The keys of a peer of our own; nothing: silence is what must be expected.
    keys: Option<noise::Keys>,
}

impl Settings {
    /// With our own private key, the server's public key, and the pre-shared key if there is one.
    #[must_use]
    pub fn new(private: [u8; 32], peer: [u8; 32], preshared: Option<[u8; 32]>) -> Self {
        let preshared = Zeroizing::new(preshared.unwrap_or_default());
        Self { keys: Some(noise::Keys { private: StaticSecret::from(private), peer, preshared }) }
    }

    /// Reads a key as `wg` writes it: 32 octets in Base64.
    #[must_use]
    pub fn key(text: &str) -> Option<[u8; 32]> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
        bytes.as_slice().try_into().ok()
    }

    /// Whether there is a key.
    #[must_use]
    pub const fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    fn parts(&self) -> Option<([u8; 32], [u8; 32], [u8; 32])> {
        let keys = self.keys.as_ref()?;
        Some((PublicKey::from(&keys.private).to_bytes(), keys.peer, *keys.preshared))
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_keyed() { "Settings(keyed)" } else { "Settings(unkeyed)" })
    }
}

static KEYED: &[Form] =
    &[Form { name: "handshake", charges: &[Charge::WireguardHandshake], packets: 1, rare: false }];
static UNKEYED: &[Form] = &[Form { name: "unkeyed", charges: &[], packets: 1, rare: false }];

/// The kind `wireguard`.
pub static INFO: KindInfo = KindInfo {
    name: "wireguard",
    port: 51820,
    interval: Duration::from_secs(10),
    flow: Flow::PinnedUdp,
    carrier: Carrier::Udp,
    forms: |spec| if spec.settings.wireguard.is_keyed() { KEYED } else { UNKEYED },
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
    ],
    phases: &[],
    begin,
};

/// The time as TAI64N (libtai): octets that grow with it. Ten leap seconds were added by 1972.
fn tai64n(wall: WallTime) -> [u8; 12] {
    let seconds = u64::try_from(wall.as_unix_secs()).unwrap_or(0).saturating_add(0x4000_0000_0000_000a);
    let nanos = u32::try_from(wall.as_unix_nanos().rem_euclid(1_000_000_000)).unwrap_or(0);
    let mut out = [0; 12];
    let octets = seconds.to_be_bytes().into_iter().chain(nanos.to_be_bytes());
    for (to, from) in out.iter_mut().zip(octets) {
        *to = from;
    }
    out
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let settings = &spec.settings.wireguard;
    let strangers = || noise::Keys {
        private: StaticSecret::from(start.entropy.array()),
        peer: start.entropy.array(),
        preshared: Zeroizing::default(),
    };
    let (keyed, keys) = (settings.is_keyed(), settings.keys.clone().unwrap_or_else(strangers));
    let sender = start.entropy.u32();
    let pending = noise::initiate(&keys, start.entropy.array(), sender, &tai64n(start.wall));
    Box::new(Datagram::new(spec.port, &start, Handshake { keyed, keys, sender, pending }))
}

struct Handshake {
    keyed: bool,
    keys: noise::Keys,
    /// Our name for the session.
    sender: u32,
    pending: noise::Pending,
}

impl Question for Handshake {
    fn request(&self) -> &[u8] {
        &self.pending.message
    }

    fn answer(&self, bytes: &[u8]) -> Result<Report, Mismatch> {
        let reply = Reply::decode(bytes).map_err(|_| {
            // What the peer sends inside the session it has opened now, or its own initiation.
            let known = matches!(bytes.first_chunk(), Some([1 | 4, 0, 0, 0]));
            if known { Mismatch::Unexpected } else { Mismatch::Malformed }
        })?;
        if reply.receiver() != self.sender || !noise::proves(&self.pending, &self.keys, &reply) {
            return Err(Mismatch::Token);
        }
        let mut report = Report::new(Outcome::OK);
        if matches!(reply, Reply::Cookie { .. }) {
            report.findings().under_load = true;
            report.findings().details.flag("under_load", true);
        }
        Ok(report)
    }

    fn silence(&self) -> Report {
        if self.keyed {
            return Report::new(Outcome::Lost(Reason::NoAnswer));
        }
        let mut report = Report::new(Outcome::Unsent(Fault::ExpectedSilence));
        report.findings().details.flag("key_required", true);
        report
    }
}

#[cfg(test)]
mod tests;
