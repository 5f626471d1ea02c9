//! The block `capacity` of a target: what it and its line can carry, as its operator knows it.
//!
//! Invariant: nothing is guessed. What is not declared is not known, except what a default is named for.

use std::fmt;
use std::str::FromStr;

use super::check::Check;
use super::problem::KeyPath;
pub use super::raw::{Cipher, Tunnel, TunnelProtocol as Protocol};
use super::{Vpn, raw};

/// A rate in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Rate(u64);

/// The largest rate that may be written: 100 Tbit/s.
const MOST: f64 = 1e14;

impl Rate {
    /// A rate of so many bits per second.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bits per second.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What is left after `used`; zero if nothing is.
    #[must_use]
    pub const fn less(self, used: Self) -> Self {
        Self(self.0.saturating_sub(used.0))
    }
}

/// With the largest unit in which it is a whole number: `1500Mbps`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("Gbps", 1_000_000_000), ("Mbps", 1_000_000), ("kbps", 1000)];
        match units.into_iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}bps", self.0),
        }
    }
}

/// Why a text is no rate: a hint for its writer.
impl FromStr for Rate {
    type Err = &'static str;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and MOST")]
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRITE: &str = "a number and its unit, for example 100Mbps, 1.5Gbps";
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        if unit.contains('B') {
            return Err("a rate is in bits: a byte is 8 of them, so 10MB/s is 80Mbps");
        }
        let factor = match unit.to_ascii_lowercase().as_str() {
            "bps" | "bit/s" | "b/s" => 1.0,
            "kbps" | "kbit/s" | "kb/s" => 1e3,
            "mbps" | "mbit/s" | "mb/s" => 1e6,
            "gbps" | "gbit/s" | "gb/s" => 1e9,
            "tbps" | "tbit/s" | "tb/s" => 1e12,
            _ => return Err(WRITE),
        };
        let number: f64 = number.parse().map_err(|_| WRITE)?;
        let bits = (number * factor).round();
        if (0.0..=MOST).contains(&bits) { Ok(Self(bits as u64)) } else { Err("at most 100Tbps") }
    }
}

impl Protocol {
    /// Whether there is a choice of ciphers that changes the size of packets, and what it is unless said.
    #[must_use]
    pub const fn usual_cipher(self) -> Option<Cipher> {
        match self {
            Self::Ipsec | Self::IpsecNatt | Self::L2tpIpsec => Some(Cipher::Cbc),
            Self::OpenvpnUdp | Self::OpenvpnTcp => Some(Cipher::Gcm),
            Self::Tls | Self::Dtls | Self::Sstp | Self::Wireguard => None,
        }
    }

    /// Whether it is carried by TCP.
    #[must_use]
    pub const fn over_tcp(self) -> bool {
        matches!(self, Self::OpenvpnTcp | Self::Tls | Self::Sstp)
    }
}

/// What a concentrator and its line can carry. What is not declared is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The line into the site, and what everything else takes of it.
    pub down: Option<(Rate, Rate)>,
    /// The line out of the site, and what everything else takes of it.
    pub up: Option<(Rate, Rate)>,
    /// Whether people's traffic with Teams goes through the VPN.
    pub tunnel: Tunnel,
    /// Whether it leaves the site over the same line again.
    pub hairpin: bool,
    /// What carries people's packets, if that is known: then also for a what-if of a full tunnel.
    pub protocol: Option<Protocol>,
    /// How they are encrypted, where that matters.
    pub cipher: Option<Cipher>,
    /// The most tunnels it can have at once.
    pub max_sessions: Option<u32>,
    /// The most tunnels it may have at once.
    pub licences: Option<u32>,
    /// How many of them are not for the people in question.
    pub reserved_sessions: u32,
}

/// What the block means, and the same with every default filled in.
pub(super) fn capacity(
    file: Option<&raw::Capacity>,
    vpn: &[Vpn],
    check: &mut Check<'_>,
    path: &KeyPath,
) -> (Option<Capacity>, Option<raw::Capacity>) {
    let Some(file) = file else { return (None, None) };
    let path = path.key("capacity");
    let down = line(("down", file.down.as_ref()), ("down_used", file.down_used.as_ref()), check, &path);
    let up = line(("up", file.up.as_ref()), ("up_used", file.up_used.as_ref()), check, &path);
    let tunnel = file.tunnel.unwrap_or(Tunnel::Full);
    if file.hairpin.is_some() && tunnel == Tunnel::Split {
        let hint = "people reach Teams past the site then";
        check.wrong_key(&path.key("hairpin"), "means nothing with tunnel: split", hint);
    }
    let protocol = file.protocol.or_else(|| usual(vpn));
    if protocol.is_none() && tunnel == Tunnel::Full && !check.left_out(&path.key("protocol")) {
        check.wrong_key(
            &path,
            "\"protocol\" is missing, and the target declares no vpn",
            "say what carries people's packets, for example protocol: ipsec_natt; each has another overhead",
        );
    }
    let usual_cipher = protocol.and_then(Protocol::usual_cipher);
    if let (Some(protocol), Some(_), None) = (protocol, file.cipher, usual_cipher) {
        let hint = "its packets have one size; remove it";
        check.wrong_key(&path.key("cipher"), format!("means nothing with protocol {protocol}"), hint);
    }
    let cipher = usual_cipher.map(|usual| file.cipher.unwrap_or(usual));
    let reserved = file.reserved_sessions.unwrap_or(0);
    let least = [("max_sessions", file.max_sessions), ("licences", file.licences)];
    let least = least.into_iter().filter_map(|(key, most)| Some((most?, key))).min();
    match least {
        Some((most, key)) if reserved >= most => check.wrong(
            &path.key("reserved_sessions"),
            format!("must be below {key}, which is {most}"),
            "else nobody can dial in",
        ),
        None if file.reserved_sessions.is_some() && !check.broken_below(&path) => check.wrong_key(
            &path.key("reserved_sessions"),
            "means nothing without max_sessions or licences",
            "add the limit of which they are taken",
        ),
        _ => {}
    }
    let none = file.down.is_none() && file.up.is_none() && least.is_none();
    if none && !check.broken_below(&path) {
        check.wrong_key(
            &path,
            "declares no limit",
            "add down and up (for example 1Gbps), and max_sessions or licences",
        );
    }
    let shown = raw::Capacity {
        hairpin: (tunnel == Tunnel::Full).then(|| file.hairpin.unwrap_or(true)),
        tunnel: Some(tunnel),
        protocol,
        cipher,
        ..file.clone()
    };
    let capacity = Capacity {
        down,
        up,
        tunnel,
        hairpin: file.hairpin.unwrap_or(true),
        protocol,
        cipher,
        max_sessions: file.max_sessions,
        licences: file.licences,
        reserved_sessions: reserved,
    };
    (Some(capacity), Some(shown))
}

/// A line: its rate, and what of it is used.
fn line(
    whole: (&str, Option<&raw::Rate>),
    used: (&str, Option<&raw::Rate>),
    check: &mut Check<'_>,
    path: &KeyPath,
) -> Option<(Rate, Rate)> {
    let rate = read(&path.key(whole.0), whole.1, check);
    let taken = read(&path.key(used.0), used.1, check);
    if whole.1.is_none() && used.1.is_some() && !check.left_out(&path.key(whole.0)) {
        check.wrong_key(
            &path.key(used.0),
            format!("means nothing without {}", whole.0),
            "add the rate of the line of which it is taken",
        );
    }
    let (rate, taken) = (rate?, taken.unwrap_or_default());
    if rate.bits() == 0 {
        check.wrong(&path.key(whole.0), "must be above 0", "");
        return None;
    }
    if taken >= rate {
        check.wrong(
            &path.key(used.0),
            format!("must be below {}, which is {rate}", whole.0),
            "else nothing is left for anybody",
        );
    }
    Some((rate, taken))
}

fn read(path: &KeyPath, written: Option<&raw::Rate>, check: &mut Check<'_>) -> Option<Rate> {
    match written?.0.parse() {
        Ok(rate) => Some(rate),
        Err(hint) => {
            check.wrong(path, "must be a rate", hint);
            None
        }
    }
}

/// What carries people's packets, of several VPNs the one that makes small packets the largest.
fn usual(vpn: &[Vpn]) -> Option<Protocol> {
    // Sizes of a packet of 145 bytes: 244, 234, 228, 197 (see `ready::packets`).
    [
        (Vpn::L2tpIpsec, Protocol::L2tpIpsec),
        (Vpn::SslVpn, Protocol::Tls),
        (Vpn::Ipsec, Protocol::IpsecNatt),
        (Vpn::Openvpn, Protocol::OpenvpnUdp),
        (Vpn::Wireguard, Protocol::Wireguard),
    ]
    .into_iter()
    .find_map(|(served, protocol)| vpn.contains(&served).then_some(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bits_with_a_unit() {
        for (text, bits) in [
            ("100Mbps", 100_000_000),
            ("1.5 Gbit/s", 1_500_000_000),
            ("512kbps", 512_000),
            ("0bps", 0),
            ("1Tbps", 1_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Rate::from_bits(bits)), "{text}");
        }
        for bad in
            ["", "100", "Mbps", "-1Mbps", "1e3Mbps", "10MB/s", "10 MBps", "1.2.3Mbps", "101Tbps", "1 mile"]
        {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!(Rate::from_bits(1_500_000_000).to_string(), "1500Mbps");
        assert_eq!(Rate::from_bits(0).to_string(), "0bps");
    }
}
