//! Settings of the kinds of probes, as they are written: one block a protocol.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auth, DnsTransport, DnsView, Flavour, Scheme};

/// Settings of probes, one block a protocol.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Blocks {
    /// For `ike` and `ike_natt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike: Option<Box<Ike>>,
    /// For `ikev1` and `ikev1_natt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ikev1: Option<Box<Ikev1>>,
    /// For `l2tp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2tp: Option<Box<L2tp>>,
    /// For `openvpn_udp` and `openvpn_tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openvpn: Option<Box<Openvpn>>,
    /// For `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<Tls>>,
    /// For `dns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<Dns>>,
    /// For `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<Http>>,
    /// For `sslvpn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sslvpn: Option<Box<Sslvpn>>,
    /// For `wireguard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<Box<Wireguard>>,
    /// For `rdp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdp: Option<Box<Rdp>>,
    /// For `icmp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Box<Icmp>>,
    /// For `trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<Trace>>,
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
    /// The probe of the target whose flow is followed, by name, or `icmp`; default: the VPN's own if one is
    /// declared, else `icmp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
}
