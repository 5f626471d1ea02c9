//! Long-lived authenticated sessions, as pure state machines: the yardstick beside the probes.
//!
//! A probe guesses what a user's session would have lived through; a session knows. It is one IKE SA
//! with no Child SA: no ESP, no address, nothing but the dead peer detection that tears users down.
//!
//! ```text
//! Opening ──IKE_SA_INIT──▶ Proving ──IKE_AUTH, the peer's AUTH verified──▶ Up ──▶ Closing ──▶ Over
//!    │                        │                                            │ liveness, the peer's
//!    └────── refused, silent ─┴─────── no proof ────────▶ Over             ▼ requests, DELETE
//! ```
//!
//! Invariants: nothing is called up before the responder has proved that it knows the key (RFC 7296
//! §2.15). Only what is authentic counts: silence after the whole retransmission schedule ends a
//! session, an ICMP error or an unprotected notification never does (§2.4). Our own stalls and unsent
//! packets are told apart from the peer's silence. `INITIAL_CONTACT` is never sent: it would throw out
//! whoever shares the identity.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::time::Timestamp;
pub use crate::wire::ike::Identity;
use crate::words;

mod dh;
mod initiator;
mod keys;
mod reconnect;
mod sa;
#[cfg(test)]
mod tests;
mod timeline;

pub use reconnect::Reconnect;
pub use timeline::{Action, Rejected, Session};

words! {
    /// Why a session ended, or never came up. A closed set: it is a metric label.
    pub enum Teardown {
        /// The peer deleted the SA.
        PeerDeleted = "peer_deleted",
        /// The peer answered none of the transmissions of a liveness check.
        LivenessTimeout = "liveness_timeout",
        /// The peer wanted to rekey the SA, which we refuse: we deleted it to begin anew.
        RekeyRefused = "rekey_refused",
        /// The lifetime that the peer announced is over: we deleted the SA to begin anew.
        Expired = "expired",
        /// We were told to stop, or the configuration changed.
        LocalStop = "local_stop",
        /// This host stalled, or could not send: no evidence about the peer.
        LocalFault = "local_fault",
        /// Setting up: the peer refused our credentials.
        AuthFailed = "auth_failed",
        /// Setting up: the peer did not prove that it knows the key, or is not who it should be.
        PeerUnverified = "peer_unverified",
        /// Setting up: no usable answer came.
        NoAnswer = "no_answer",
        /// Setting up: the peer refused, for example none of the proposals suits it.
        Refused = "refused",
    }
}

impl Teardown {
    /// Whether it ends a session that was up; the others say why none came up. [`Self::LocalStop`] and
    /// [`Self::LocalFault`] may be either.
    #[must_use]
    pub const fn ends(self) -> bool {
        matches!(self, Self::PeerDeleted | Self::LivenessTimeout | Self::RekeyRefused | Self::Expired)
    }
}

/// A pre-shared key. It is wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Psk(Zeroizing<Vec<u8>>);

impl Psk {
    /// The key in the text of a file: without the line end that editors add.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let text = text.strip_suffix('\n').unwrap_or(text);
        Self(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).as_bytes().to_vec()))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(withheld)")
    }
}

/// What a session is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The pre-shared key.
    pub psk: Psk,
    /// Who we are; nobody else may use this identity.
    pub local: Identity,
    /// Who the peer must be; anyone who knows the key if not set.
    pub remote: Option<Identity>,
    /// From one liveness check to the next.
    pub interval: Duration,
    /// How long each transmission of a request waits for its answer: the first one, then each
    /// repetition. After the last one the peer counts as dead. Never empty.
    pub retransmit: Vec<Duration>,
}

impl Plan {
    /// The port of IKE with NAT traversal, where a session lives from its first packet on
    /// (RFC 7296 §2.23).
    pub const PORT: u16 = 4500;
    /// The default of [`Self::interval`].
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// The default of [`Self::retransmit`]: dead after 15 s.
    pub const RETRANSMIT: [Duration; 4] =
        [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
}

/// What is to be told about a session, in the order it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The peer has proved itself: the session is up.
    Up {
        /// When.
        at: Timestamp,
        /// Whether the SA is childless by agreement (RFC 6023); else its child was refused.
        childless: bool,
    },
    /// A liveness check was sent for the first time.
    Asked,
    /// It was answered; with the round trip if that was the answer to the first transmission.
    Alive(Option<Duration>),
    /// One transmission of it was not answered in its time.
    Lost,
    /// The session is over, or will be as soon as the peer has been told.
    Down {
        /// When it was no longer up; for a liveness timeout, when the last wait ran out.
        at: Timestamp,
        /// Why.
        why: Teardown,
        /// Since when it had been up; nothing if it never was.
        since: Option<Timestamp>,
    },
}
