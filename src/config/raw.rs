//! The configuration as it is written: what a key is called, what type its value has, what it is for.
//!
//! These types are the one description of the file. The JSON Schema is made from them, and the check
//! of the tree follows that schema; so a key that is not here is refused, and its comment here is what
//! `vpnprobe config schema` tells an editor.
//! Invariant: nothing is judged here beyond the type and the range of a single value.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod blocks;
mod values;

pub use blocks::{Blocks, Dns, Http, Icmp, Ike, Ikev1, L2tp, Openvpn, Rdp, Sslvpn, Tls, Trace, Wireguard};
pub use values::{
    Auth, Cipher, DnsTransport, DnsView, DpdMode, Duration, Family, Flavour, OneOrMany, Rate, Scheme, Size,
    Tunnel, TunnelProtocol, Vpn,
};

/// The configuration of vpnprobe.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "vpnprobe.yml")]
pub struct File {
    /// What holds for every probe that does not say otherwise.
    pub defaults: Defaults,
    /// The concentrators and hosts to probe, by name; the name is the label `target`.
    pub targets: BTreeMap<String, Box<Target>>,
    /// Ready-made targets, by the name of their set: microsoft_signin, which is the hosts that Microsoft's
    /// sign-in needs.
    pub sets: BTreeMap<String, Set>,
    /// Named ways out of this host; `default`, whatever the routing table says, is always there.
    pub egress: BTreeMap<String, Egress>,
    /// Pairs of ways out by name; the name is the label `pair`. Every target that is probed over both
    /// is probed over them at the same instants, and the results are compared.
    pub pairs: BTreeMap<String, Pair>,
    /// What each address of a concentrator is spared from, over all its probes together.
    pub budget: Budget,
    /// Timers of dead peer detection beside the built-in ones, by name; the name is the label `profile`.
    pub dpd_profiles: BTreeMap<String, DpdProfile>,
    /// Directory for what is to survive a restart: what is known of every series, and the recorded
    /// incidents. Without one nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// The most space that recorded incidents may take there, from 1MiB to 100GiB; the oldest go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_max_size: Option<Size>,
    /// In how many threads probes are sent and received; more than 1 (the default) helps only where one is busy
    /// all the time. Heeded at start only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub engine_threads: Option<u8>,
    /// The HTTP side.
    pub web: Web,
}

/// What holds for every probe that does not say otherwise.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// From one exchange to the next, for the kinds that run every 5 s on their own (they leave no
    /// state behind); from 100ms to 1d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How long an answer may take; from 10ms to 1m. It may be longer than the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// From one full exchange to the next, for the kinds whose recurring exchange is a gentler one;
    /// from 10s to 7d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_interval: Option<Duration>,
    /// Upper bounds of the round-trip histograms, in seconds, ascending; at most 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Vec<f64>>,
    /// How flaps are damped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
    /// Whose dead peer detection is replayed on every target with a VPN, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpd_profiles: Option<Vec<String>>,
}

/// How flaps are damped (RFC 2439): each time a service falls silent or comes back adds 1000 to its
/// penalty.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flap {
    /// After this long without a flap half of the penalty is left; from 1m to 1d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<Duration>,
    /// From this penalty on a series is flapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub suppress: Option<u32>,
    /// Below this penalty it is stable again; less than suppress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub reuse: Option<u32>,
    /// No penalty is higher; not less than suppress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub ceiling: Option<u32>,
}

/// A concentrator, or an inside host.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Where it is: a name (every address behind it is probed), an address, or a list of either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<OneOrMany>,
    /// Which address families of a name are probed; default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// How many addresses it may have at once; default 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub max_members: Option<u8>,
    /// Which VPNs it serves; each stands for the probes of its ports, and icmp and trace join them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpn: Option<Vec<Vpn>>,
    /// Over which ways out it is probed, by name; default [default].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<String>>,
    /// Whose dead peer detection is replayed on which probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpd: Option<Dpd>,
    /// Settings for its probes, one block a protocol.
    #[serde(flatten)]
    pub blocks: Blocks,
    /// What it and its line can carry, for `vpnprobe ready`; not known unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Box<Capacity>>,
    /// What is behind its tunnel; nothing is judged of that unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Box<Inside>>,
    /// One real IKEv2 session, as the yardstick beside the probes; none unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<Session>>,
    /// More probes, or changes to those the VPNs stand for, by name; the name is the label `probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<BTreeMap<String, Box<Probe>>>,
}

/// What is behind a target's tunnel, and what should go into it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Inside {
    /// The tunnel: the name of a way out with its interface. This host's routes are held against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// What should go through it: everything (full), or only the networks below (split). Not judged unless
    /// this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// The networks inside, for example 10.20.0.0/16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Vec<String>>,
    /// The resolvers inside, by address. They are asked over the egress above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<String>>,
    /// The names that they must resolve to inside addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Hosts inside that must answer: icmp://, tcp://, rdp://, http:// or https:// and an address,
    /// for example rdp://10.20.0.10 or tcp://10.20.0.20:445.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// How often `serve` asks the resolvers and hosts; default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
}

/// What a concentrator and its line can carry.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Capacity {
    /// The rate of the line into the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<Rate>,
    /// The rate of the line out of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<Rate>,
    /// What everything else takes of it at the hour in question, into the site; default 0bps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_used: Option<Rate>,
    /// The same out of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_used: Option<Rate>,
    /// Whether people's traffic with Teams goes through the VPN; default full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// With a full tunnel: whether that traffic leaves the site over the same line again, and so counts
    /// twice; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<bool>,
    /// What carries people's packets; default is that of the target's VPNs which makes small packets the
    /// largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TunnelProtocol>,
    /// How they are encrypted, for the protocols where that changes their size; default cbc, and gcm for
    /// OpenVPN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<Cipher>,
    /// The most tunnels it can have at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_sessions: Option<u32>,
    /// The most tunnels it may have at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub licences: Option<u32>,
    /// How many of them are not for the people in question; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub reserved_sessions: Option<u32>,
}

/// A real IKEv2 session with a pre-shared key, without Child SA, on UDP 4500 of the target's first
/// address, over its first egress.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// File with the pre-shared key alone, readable by its owner only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psk_file: Option<PathBuf>,
    /// Who we are: a name, an address, or name@domain. Nobody else may use this identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_id: Option<String>,
    /// Who the gateway must be; anyone who knows the key if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// From one liveness check to the next, from 1s to 1h; default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_interval: Option<Duration>,
    /// How long each transmission waits for its answer, from 100ms to 1m each; after the last one the
    /// gateway counts as dead. Default [1s, 2s, 4s, 8s].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmit: Option<Vec<Duration>>,
}

/// One probe of a target.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// What it does; default is the kind of the probe's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The port; default is the kind's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// From one exchange to the next, from 100ms to 1d; default is the kind's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How long an answer may take, from 10ms to 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// From one full exchange to the next, from 10s to 7d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_interval: Option<Duration>,
    /// Whether it runs; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Settings of its kind, instead of the target's.
    #[serde(flatten)]
    pub blocks: Blocks,
}

/// How the targets of a ready-made set are probed.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Set {
    /// Over which ways out, by name; default [default].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<String>>,
    /// From one exchange to the next, from 100ms to 1d; default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How long an answer may take, from 10ms to 1m; default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many addresses of each host are probed; default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub max_members: Option<u8>,
}

/// A named way out of this host: an interface, a source address, or both.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// Send through this interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Send from this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Give packets this firewall mark, which policy routing may go by; needs CAP_NET_ADMIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub mark: Option<u32>,
    /// Send from this named network namespace (`ip netns`); needs CAP_SYS_ADMIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Two ways out to be compared.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pair {
    /// The one, for example the direct way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<String>,
    /// The other, for example the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<String>,
}

/// What each address of a concentrator is spared from, over all its probes together.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Packets of all probes together, per second on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub packets_per_second: Option<u32>,
    /// Packets that may go out at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub packets_burst: Option<u32>,
    /// From one half-open IKE session to the next, at least 35s; there is never more than one at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_open_interval: Option<Duration>,
    /// L2TP tunnels in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub l2tp_per_minute: Option<u32>,
    /// OpenVPN hard resets in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub openvpn_per_minute: Option<u32>,
    /// TCP connections in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub tcp_per_minute: Option<u32>,
    /// TLS handshakes in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub tls_per_minute: Option<u32>,
    /// WireGuard handshakes in any minute; a peer takes one each 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 12))]
    pub wireguard_per_minute: Option<u32>,
}

/// Whose dead peer detection is replayed on which probe of a target.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dpd {
    /// The probe whose answers and losses stand for those of a user's session; default is the fastest
    /// over UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The profiles, by name; default is `defaults.dpd_profiles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
}

/// Timers of dead peer detection.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DpdProfile {
    /// When it asks; default periodic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<DpdMode>,
    /// From the last sign of life to the first question; with keepalive, from one packet of the peer to
    /// the next. From 100ms to 1d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// From the first question to the second, from 100ms to 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Duration>,
    /// How many unanswered questions there are in all, the first included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 64))]
    pub tries: Option<u8>,
    /// By how much each wait is longer than the one before; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<f64>,
    /// The longest wait; any if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_limit: Option<Duration>,
    /// With keepalive: the silence that ends the session, from 200ms to 1d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// The HTTP side.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// Address and port to listen at, or a list of them; the default is this host only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_address: Option<OneOrMany>,
    /// How long a `/probe` request may take if the scraper does not say; from 100ms to 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_timeout: Option<Duration>,
}

impl File {
    /// What holds where nothing is written: the lowest layer.
    pub fn built_in() -> Self {
        let duration = |text: &str| Some(Duration(text.to_owned()));
        let super::Config { buckets, budget, flap, web, .. } = super::Config::empty();
        Self {
            defaults: Defaults {
                interval: duration("5s"),
                timeout: duration("2s"),
                full_interval: duration("1h"),
                buckets: Some(buckets),
                flap: Some(Flap::from(&flap)),
                dpd_profiles: Some(crate::detect::dpd::USUAL.iter().map(ToString::to_string).collect()),
            },
            budget: Budget::from(&budget),
            web: Web::from(&web),
            ..Self::default()
        }
    }
}

impl From<&super::Limits> for Budget {
    fn from(limits: &super::Limits) -> Self {
        Self {
            packets_per_second: Some(limits.packets_per_second),
            packets_burst: Some(limits.packets_burst),
            half_open_interval: Some(limits.half_open_interval.into()),
            l2tp_per_minute: Some(limits.l2tp_per_minute),
            openvpn_per_minute: Some(limits.openvpn_per_minute),
            tcp_per_minute: Some(limits.tcp_per_minute),
            tls_per_minute: Some(limits.tls_per_minute),
            wireguard_per_minute: Some(limits.wireguard_per_minute),
        }
    }
}

impl From<&super::Damping> for Flap {
    fn from(damping: &super::Damping) -> Self {
        Self {
            half_life: Some(damping.half_life.into()),
            suppress: Some(damping.suppress),
            reuse: Some(damping.reuse),
            ceiling: Some(damping.ceiling),
        }
    }
}

impl From<&super::Web> for Web {
    fn from(web: &super::Web) -> Self {
        Self {
            listen_address: Some(OneOrMany::Many(web.listen.iter().map(ToString::to_string).collect())),
            probe_timeout: Some(web.probe_timeout.into()),
        }
    }
}
