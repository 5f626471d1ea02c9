//! Dead peer detection as data: how long a vendor's box waits, asks, and gives up.
//!
//! All of them are one machine. After `idle` of silence a round of transmissions begins; any answer ends
//! it and `idle` runs anew; when the last wait of an unanswered round is over, the session is torn down.
//!
//! ```text
//!   answer      idle       1st   wait   2nd    wait    3rd    wait    torn down
//!     |---------------------|-----------|---------------|----------------|
//!                           |<- shortest lethal silence |
//!                           |<-------------- patience ------------------>|
//! ```
//!
//! A keepalive with a timeout (OpenVPN) is the same: each ping the peer sends is a transmission, and
//! what is left of the timeout after the last one is the last wait.
//! Invariant: a profile has at least two transmissions, and no wait is zero.
//! RFC 3706 (IKEv1 DPD) and RFC 7296 section 2.4 (IKEv2 liveness) leave all numbers to the vendor; where
//! each profile's come from stands beside it.

use std::time::Duration;

use crate::words;

words! {
    /// When a box asks at all.
    pub enum Mode {
        /// Only while it has something to send and hears nothing: a session nobody uses is left alone.
        OnDemand = "on_demand",
        /// Whenever it has heard nothing for the idle time.
        Periodic = "periodic",
        /// The peer sends by itself, and silence for too long ends the session.
        Keepalive = "keepalive",
    }
}

/// The timers of one kind of dead peer detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name: the label `profile`.
    pub name: String,
    /// When it asks.
    pub mode: Mode,
    /// From the last sign of life to the first transmission of a round.
    pub idle: Duration,
    /// The wait after each transmission; the session is torn down at the end of the last one.
    pub waits: Vec<Duration>,
    /// Where the numbers come from.
    pub source: &'static str,
}

/// Why a profile cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// One lost packet would end the session: nothing that a probe beside it could foretell.
    #[error("needs at least two transmissions")]
    TooFew,
    /// A time is zero.
    #[error("needs times above zero")]
    Zero,
}

impl Profile {
    /// The name of the one that stands for the target's real session.
    pub const SESSION: &str = "session";

    /// Asks `tries` times, `retry` apart at first and `backoff` times as long after each, never more
    /// than `limit`.
    #[must_use]
    pub fn asking(
        name: &str,
        mode: Mode,
        idle: Duration,
        (retry, tries, backoff, limit): (Duration, u8, f64, Duration),
        source: &'static str,
    ) -> Self {
        let mut wait = retry;
        let mut waits = Vec::new();
        for _ in 0..tries {
            waits.push(wait.min(limit));
            wait = Duration::try_from_secs_f64(wait.as_secs_f64() * backoff).unwrap_or(limit).min(limit);
        }
        Self { name: name.to_owned(), mode, idle, waits, source }
    }

    /// Torn down after `timeout` without a packet from a peer that sends one every `ping`. A packet that
    /// is due at the very end comes too late.
    #[must_use]
    pub fn keepalive(name: &str, ping: Duration, timeout: Duration, source: &'static str) -> Self {
        let mut waits = Vec::new();
        let mut left = timeout.saturating_sub(ping);
        while left > Duration::ZERO && !ping.is_zero() {
            waits.push(left.min(ping));
            left = left.saturating_sub(ping);
        }
        Self { name: name.to_owned(), mode: Mode::Keepalive, idle: ping, waits, source }
    }

    /// Whether it can be judged at all.
    ///
    /// # Errors
    /// With fewer than two transmissions, or a time of zero.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.idle.is_zero() || self.waits.iter().any(Duration::is_zero) {
            return Err(Invalid::Zero);
        }
        if self.waits.len() < 2 { Err(Invalid::TooFew) } else { Ok(()) }
    }

    /// From the first transmission of a round to its last: the shortest silence that can end a session.
    #[must_use]
    pub fn shortest_lethal(&self) -> Duration {
        let all_but_last = self.waits.len().saturating_sub(1);
        self.waits.iter().take(all_but_last).sum()
    }

    /// From the first transmission to the teardown.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.waits.iter().sum()
    }

    /// The silence that ends every session, whatever its phase.
    #[must_use]
    pub fn surely_lethal(&self) -> Duration {
        self.idle + self.shortest_lethal()
    }

    /// The coarsest probe interval that can tell what would have happened: two probes in the shortest
    /// silence that can end a session, so that a single lost probe never looks like one; and one at least
    /// to each idle time.
    #[must_use]
    pub fn coarsest_interval(&self) -> Duration {
        (self.shortest_lethal() / 2).min(self.idle)
    }

    /// The built-in profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        built_in().into_iter().find(|profile| profile.name == name)
    }
}

/// The built-in profiles that judge every target unless the configuration says otherwise.
pub const USUAL: &[&str] = &[
    "cisco_asa",
    "cisco_ios",
    "anyconnect",
    "strongswan",
    "fortigate_ikev1",
    "fortigate_ikev2",
    "paloalto",
    "openvpn",
    "wireguard",
    "aws",
];

/// All built-in profiles. Where a vendor has it off by default, the times are those its guides set.
#[must_use]
pub fn built_in() -> Vec<Profile> {
    use Mode::{OnDemand, Periodic};
    let secs = Duration::from_secs;
    let even = |retry: u64, tries: u8| (secs(retry), tries, 1.0, secs(retry));
    let listed = |name: &str, mode, idle, waits: &[u64], source| Profile {
        name: name.to_owned(),
        mode,
        idle: secs(idle),
        waits: waits.iter().copied().map(secs).collect(),
        source,
    };
    vec![
        Profile::asking(
            "cisco_asa",
            Periodic,
            secs(10),
            even(2, 3),
            "isakmp keepalive threshold 10 retry 2, the LAN-to-LAN default; three, not configurable: 16 s. \
             Second-hand (williampeters, networkhunt)",
        ),
        Profile::asking(
            "cisco_asa_remote",
            Periodic,
            secs(300),
            even(2, 3),
            "isakmp keepalive threshold 300 retry 2, the remote-access default: 306 s. Second-hand",
        ),
        Profile::asking(
            "cisco_ios",
            OnDemand,
            secs(10),
            even(3, 5),
            "crypto isakmp keepalive 10 3 (off by default): mode from the IOS guide; five, second-hand: 25 s",
        ),
        Profile::asking(
            "anyconnect",
            Periodic,
            secs(30),
            even(15, 2),
            "DPD of 30 s, asked again after half of it, dead after two (openconnect does the same); \
             second-hand (it-output.com), range from the ASA guide",
        ),
        Profile::asking(
            "strongswan",
            Periodic,
            secs(30),
            (secs(4), 6, 1.8, Duration::MAX),
            "retransmit_timeout 4.0, retransmit_base 1.8, retransmit_tries 5: 165 s, strongswan.conf(5); \
             dpd_delay is off by default, 30 s is usual",
        ),
        Profile::asking(
            "fortigate_ikev1",
            OnDemand,
            secs(20),
            even(20, 3),
            "dpd on-demand, dpd-retryinterval 20, dpd-retrycount 3: 60 s, Fortinet ta-p/192616",
        ),
        listed(
            "fortigate_ikev2",
            OnDemand,
            20,
            &[3, 6, 12, 24, 48],
            "retransmissions 3+6+12+24+48: 93 s, whatever the DPD settings say, Fortinet ta-p/294932",
        ),
        listed(
            "paloalto",
            Periodic,
            5,
            &[5, 10, 20, 40, 60, 60, 60, 60, 60, 60],
            "IKEv2 liveness check every 5 s, ten tries, 5+10+20+40+60x6: 435 s, PAN-OS documentation",
        ),
        Profile::asking(
            "paloalto_monitor",
            Periodic,
            secs(3),
            even(3, 5),
            "tunnel monitor: ping every 3 s, threshold 5: 15 s. Second-hand",
        ),
        Profile::keepalive(
            "openvpn",
            secs(10),
            secs(60),
            "keepalive 10 60 on the server, so ping 10, ping-restart 60 on the client: OpenVPN's \
             link-options.rst and ping.h",
        ),
        Profile::asking(
            "wireguard",
            OnDemand,
            secs(15),
            even(5, 18),
            "KEEPALIVE_TIMEOUT 10 + REKEY_TIMEOUT 5, then a handshake every 5 s for REKEY_ATTEMPT_TIME 90 s: \
             wireguard-go constants.go; its few tenths of jitter left out",
        ),
        Profile::asking(
            "aws",
            Periodic,
            secs(10),
            even(10, 3),
            "Site-to-Site VPN: dead 30 s after the first failed keep-alive, 40 s in all, AWS documentation",
        ),
        Profile::asking(
            "juniper_srx",
            Periodic,
            secs(10),
            even(10, 5),
            "dead-peer-detection interval 10 threshold 5, as in Juniper's guide: 50 s",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the vendors' own pages add up to: from the last sign of life, or from the first question,
    /// to the teardown.
    #[test]
    fn the_sums_are_those_of_the_vendors() {
        let named = |name: &str| Profile::named(name).unwrap();
        let in_all = |name| (named(name).idle + named(name).patience()).as_secs();
        assert_eq!(in_all("cisco_asa"), 16);
        assert_eq!(in_all("cisco_asa_remote"), 306);
        assert_eq!(in_all("cisco_ios"), 25);
        assert_eq!(in_all("anyconnect"), 60);
        assert_eq!(in_all("openvpn"), 60);
        assert_eq!(in_all("aws"), 40);
        let asking = |name| named(name).patience().as_secs();
        assert_eq!(asking("strongswan"), 165);
        assert_eq!(asking("fortigate_ikev1"), 60);
        assert_eq!(asking("fortigate_ikev2"), 93);
        assert_eq!(asking("paloalto"), 435);
        assert_eq!(asking("paloalto_monitor"), 15);
        assert_eq!(asking("wireguard"), 90);
        assert_eq!(asking("juniper_srx"), 50);
        // strongswan.conf(5): each retransmission's time from the start, 4/11/24/47/89/165.
        let mut sum = Duration::ZERO;
        let times = named("strongswan").waits.into_iter().map(|wait| {
            sum += wait;
            sum.as_secs()
        });
        assert_eq!(times.collect::<Vec<_>>(), [4, 11, 24, 47, 89, 165]);
    }

    #[test]
    fn built_in_profiles_are_valid_and_their_names_are_their_own() {
        let all = built_in();
        for (at, profile) in all.iter().enumerate() {
            assert_eq!(profile.validate(), Ok(()), "{}", profile.name);
            assert!(!profile.source.is_empty());
            assert!(all.iter().take(at).all(|other| other.name != profile.name));
        }
        assert!(USUAL.iter().all(|name| Profile::named(name).is_some()));
    }

    #[test]
    fn a_ping_at_the_very_end_comes_too_late() {
        let ping = |timeout| {
            Profile::keepalive("p", Duration::from_secs(10), Duration::from_secs(timeout), "").waits.len()
        };
        assert_eq!((ping(60), ping(61), ping(10), ping(0)), (5, 6, 0, 0));
    }
}
