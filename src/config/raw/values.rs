//! Single values, as they are written: numbers with units, one or many texts, closed sets of words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A size: a whole number and a unit, for example 512KiB, 64MiB, 2GiB.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("examples" = ["64MiB", "2GiB"]))]
pub struct Size(pub String);

/// A duration: a number and a unit, for example 100ms, 5s, 1m 30s, 1h, 1d.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("format" = "duration", "examples" = ["5s", "100ms", "1h"]))]
pub struct Duration(pub String);

/// A rate in bits: a number and a unit, for example 100Mbps, 1.5Gbps, 512kbps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("format" = "rate", "examples" = ["100Mbps", "1Gbps"]))]
pub struct Rate(pub String);

/// One text, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A closed set of words, spelt as in the file.
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ })+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant,)+ }

        crate::spelt! { $name { $($variant = $word,)+ } }
    )+ };
}

choices! {
    /// Which address families of a name are probed.
    Family {
        /// Both; each address is a member of its own.
        Any = "any",
        /// IPv4 only.
        Ipv4 = "ipv4",
        /// IPv6 only.
        Ipv6 = "ipv6",
    }
    /// A VPN that a target serves.
    Vpn {
        /// IKE: probes `ike` (UDP 500) and `ike_natt` (UDP 4500).
        Ipsec = "ipsec",
        /// L2TP inside IPsec: probes `ike`, `ike_natt`, `ikev1` and `l2tp` (UDP 1701).
        L2tpIpsec = "l2tp-ipsec",
        /// TLS: probe `tls` (TCP 443), and `sslvpn` if its block is there.
        SslVpn = "ssl-vpn",
        /// OpenVPN: probes `openvpn_udp` and `openvpn_tcp` (1194).
        Openvpn = "openvpn",
        /// WireGuard: probe `wireguard` (UDP 51820).
        Wireguard = "wireguard",
    }
    /// The digest of `tls-auth`.
    Auth {
        /// HMAC-SHA1, the default of OpenVPN.
        Sha1 = "SHA1",
        /// HMAC-SHA256.
        Sha256 = "SHA256",
        /// HMAC-SHA512.
        Sha512 = "SHA512",
    }
    /// When dead peer detection asks.
    DpdMode {
        /// Only while there is something to send and nothing comes back.
        OnDemand = "on_demand",
        /// Whenever nothing has come for the idle time.
        Periodic = "periodic",
        /// The peer sends by itself, and silence for `timeout` ends the session.
        Keepalive = "keepalive",
    }
    /// What goes through a VPN.
    Tunnel {
        /// Everything.
        Full = "full",
        /// Only what is inside; people reach Teams over their own lines.
        Split = "split",
    }
    /// What carries people's packets through a VPN.
    TunnelProtocol {
        /// ESP in tunnel mode.
        Ipsec = "ipsec",
        /// The same inside UDP 4500, as it is behind a NAT.
        IpsecNatt = "ipsec_natt",
        /// L2TP in ESP in transport mode, inside UDP 4500.
        L2tpIpsec = "l2tp_ipsec",
        /// OpenVPN over UDP.
        OpenvpnUdp = "openvpn_udp",
        /// OpenVPN over TCP.
        OpenvpnTcp = "openvpn_tcp",
        /// TLS 1.2 over TCP, framed as AnyConnect does.
        Tls = "tls",
        /// DTLS 1.2, framed as AnyConnect does.
        Dtls = "dtls",
        /// PPP over TLS.
        Sstp = "sstp",
        /// `WireGuard`.
        Wireguard = "wireguard",
    }
    /// How packets are encrypted.
    Cipher {
        /// AES-CBC with an HMAC.
        Cbc = "cbc",
        /// AES-GCM.
        Gcm = "gcm",
    }
    /// What an SSL VPN speaks.
    Flavour {
        /// Cisco AnyConnect (Secure Client), ocserv.
        Anyconnect = "anyconnect",
        /// Microsoft SSTP.
        Sstp = "sstp",
        /// Fortinet.
        Fortinet = "fortinet",
        /// Palo Alto GlobalProtect.
        Globalprotect = "globalprotect",
        /// Pulse, Ivanti Connect Secure.
        Pulse = "pulse",
        /// SoftEther.
        Softether = "softether",
        /// OpenVPN over TCP.
        Openvpn = "openvpn",
    }
    /// How a page is asked for.
    Scheme {
        /// Inside TLS.
        Https = "https",
        /// In the clear.
        Http = "http",
    }
    /// What a good answer of DNS is.
    DnsView {
        /// The name exists.
        Answer = "answer",
        /// The name has inside addresses (RFC 1918, 4193, 6598), or those of `expect`.
        Inside = "inside",
        /// The name is an inside one and the resolver outside: it does not exist there.
        Leak = "leak",
        /// A random name below `name` (default `invalid`) does not exist.
        Hijack = "hijack",
        /// Nobody answers, for there is no resolver at that address.
        Intercept = "intercept",
    }
    /// Over what DNS is asked.
    DnsTransport {
        /// UDP.
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
    }
}

impl OneOrMany {
    /// The texts.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(crate::config::check::short(duration))
    }
}
