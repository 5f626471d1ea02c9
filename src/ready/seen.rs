//! What a running daemon knows of one target: the part of its `/api/v1/status` that is needed here.
//!
//! Invariant: a field that a daemon of another version does not have is unknown, never an error.

use serde::Deserialize;

use crate::detect::recent::Recent;

/// The status document.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Document {
    /// When it was made.
    pub time: String,
    /// Whether the daemon is ready.
    pub ready: bool,
    /// Its targets.
    pub targets: Vec<SeenTarget>,
}

/// A target.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SeenTarget {
    /// Its name.
    pub target: String,
    /// Its state: up, degraded, down, unknown.
    pub state: String,
    /// Its probes.
    pub probes: Vec<SeenProbe>,
}

/// A probe of a member over an egress.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SeenProbe {
    /// The probe's name.
    pub probe: String,
    /// What it does.
    pub kind: String,
    /// The member's slot.
    pub member: u8,
    /// The way out.
    pub egress: String,
    /// How long until it is stable again; nothing if it is not flapping.
    pub stable_in_seconds: Option<f64>,
    /// The last hour.
    pub recent: Option<Recent>,
}

impl SeenProbe {
    /// Whether it speaks a VPN's protocol over UDP, as people's packets go.
    #[must_use]
    pub fn vpn_over_udp(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "ike" | "ike_natt" | "ikev1" | "ikev1_natt" | "l2tp" | "openvpn_udp" | "wireguard"
        )
    }

    /// Whether it tells anything of the way that people's packets take.
    #[must_use]
    pub fn on_the_way(&self) -> bool {
        self.vpn_over_udp() || self.kind == "icmp"
    }

    /// The last hour, if there is evidence of the last minutes in it.
    #[must_use]
    pub fn fresh(&self) -> Option<&Recent> {
        let recent = self.recent.as_ref()?;
        (recent.age_seconds <= (recent.interval_seconds * 5.0).max(300.0)).then_some(recent)
    }
}
