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

/// The configuration of vpnprobe.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "vpnprobe.yml")]
pub struct File {
    /// What holds for every probe that does not say otherwise.
    pub defaults: Defaults,
    /// The concentrators and hosts to probe, by name; the name is the label `target`.
    pub targets: BTreeMap<String, Target>,
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
    /// Directory for what is to survive a restart; this version keeps nothing there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
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
    pub capacity: Option<Capacity>,
    /// One real IKEv2 session, as the yardstick beside the probes; none unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// More probes, or changes to those the VPNs stand for, by name; the name is the label `probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<BTreeMap<String, Box<Probe>>>,
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

/// Settings of probes, one block a protocol.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Blocks {
    /// For `ike` and `ike_natt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike: Option<Ike>,
    /// For `ikev1` and `ikev1_natt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ikev1: Option<Ikev1>,
    /// For `l2tp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2tp: Option<L2tp>,
    /// For `openvpn_udp` and `openvpn_tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openvpn: Option<Openvpn>,
    /// For `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// For `dns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// For `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// For `sslvpn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sslvpn: Option<Sslvpn>,
    /// For `wireguard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<Wireguard>,
    /// For `rdp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdp: Option<Rdp>,
    /// For `icmp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// For `trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// Settings of `ike` and `ike_natt`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ike {
    /// What to offer, in strongSwan's spelling, for example aes256-sha256-modp2048; default is a
    /// broad offer of our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposals: Option<Vec<String>>,
}

/// Settings of `ikev1` and `ikev1_natt`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ikev1 {
    /// What to offer, in strongSwan's spelling, for example aes256-sha1-modp1024; default is a broad
    /// offer of our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposals: Option<Vec<String>>,
    /// Ask in aggressive mode as this identity (group name). An answer is a finding: it lets anyone
    /// guess the pre-shared key offline. Not done unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggressive_id: Option<String>,
}

/// Settings of `l2tp`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct L2tp {
    /// Whether the server takes L2TP only inside IPsec, so that silence in clear text is its healthy
    /// state; default true for `vpn: [l2tp-ipsec]`, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_ipsec: Option<bool>,
    /// The host name we give; default vpnprobe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
}

/// Settings of `openvpn_udp` and `openvpn_tcp`; at most one of the three key files.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Openvpn {
    /// File with the static key of a server with `tls-auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_auth_file: Option<PathBuf>,
    /// The client's key direction, as in its `key-direction`; not set if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub key_direction: Option<u8>,
    /// The digest of `tls-auth`, as in the client's `auth`; default SHA1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// File with the static key of a server with `tls-crypt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_crypt_file: Option<PathBuf>,
    /// File with a client key for a server with `tls-crypt-v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_crypt_v2_file: Option<PathBuf>,
    /// PEM file with the certificate authority of the server; trust is not judged if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The name expected in the server's certificate; any if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Settings of `tls`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The name sent as SNI and expected in the certificate; default is the target's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// PEM file with the certificate authority of the server; default is the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether the certificate must end at a trusted authority; default true. Its expiry and name are
    /// judged in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
}

/// Settings of `dns`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The name to ask for; default is the name servers of the root, which every recursive server knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The record type to ask for it; default A.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Over what to ask; default udp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<DnsTransport>,
    /// Whether to ask with EDNS; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edns: Option<bool>,
    /// The addresses that may be answered; any may be if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Vec<String>>,
    /// What a good answer is; default answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<DnsView>,
}

/// Settings of `http`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Whether to ask inside TLS; default https, on port 443 (http: 80).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host to ask for, in the request and as SNI; default is the target's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path to ask for; default /.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The statuses that are good; default is any from 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 200, max = 599)))]
    pub status: Option<Vec<u16>>,
    /// Whether redirects to the same host are followed; default true. Those to another host never are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// PEM file with the certificate authority of the server; default is the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether the certificate must end at a trusted authority; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
}

/// Settings of `sslvpn`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sslvpn {
    /// What it must be: any other is `wrong_flavour`. Found out if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavour: Option<Flavour>,
    /// The name asked for and expected in the certificate; default is the target's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// PEM file with the certificate authority of the server; default is the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether the certificate must end at a trusted authority; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
}

/// Settings of `wireguard`: the keys of a peer of the probe's own. Without them silence is what must be
/// expected, and proves nothing.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wireguard {
    /// File with the private key of the probe's own peer, as `wg genkey` writes it. Nobody else may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<PathBuf>,
    /// The server's public key, as `wg` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// File with the pre-shared key, if the peer has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preshared_key_file: Option<PathBuf>,
}

/// Settings of `rdp`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rdp {
    /// The name sent as SNI and, with `ca_file`, expected in the certificate; default is the target's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// PEM file with the certificate authority of the server; trust and name are not judged if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Settings of `icmp`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Icmp {
    /// Bytes of payload; default 56.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 1472))]
    pub size: Option<u16>,
}

/// Settings of `trace`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trace {
    /// How far to look; default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_hops: Option<u8>,
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
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant,)+ }
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
        /// TLS: probe `tls` (TCP 443).
        SslVpn = "ssl-vpn",
        /// OpenVPN: probes `openvpn_udp` and `openvpn_tcp` (1194).
        Openvpn = "openvpn",
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

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(super::check::short(duration))
    }
}
