//! The configuration: what the rest of the program is given, checked and complete.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::Limits;
use crate::probe::Spec;
use crate::words;

/// A whole, checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The targets, in the order of their names.
    pub targets: Vec<Arc<Target>>,
    /// The named ways out; `default` is always there.
    pub egress: BTreeMap<String, Egress>,
    /// What a concentrator's address is spared from.
    pub budget: Limits,
    /// Upper bounds of the round-trip histograms, in seconds, ascending.
    pub buckets: Vec<f64>,
    /// Where state survives a restart; none if not set.
    pub state_dir: Option<PathBuf>,
    /// The HTTP side.
    pub web: Web,
}

/// A concentrator or an inside host.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name: the label `target`.
    pub name: String,
    /// Where it is.
    pub addresses: Vec<Address>,
    /// Which address families of a name are probed.
    pub family: Family,
    /// How many members it may have at once.
    pub max_members: u8,
    /// Which VPNs it serves, as declared.
    pub vpn: Vec<Vpn>,
    /// Over which ways out it is probed, by name.
    pub egress: Vec<String>,
    /// Its probes, each with a name of its own.
    pub probes: Vec<Spec>,
}

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A literal address.
    Ip(IpAddr),
    /// A name; every address behind it is a member.
    Name(String),
}

words! {
    /// Which address families of a name are probed.
    pub enum Family {
        /// Both, each address a member of its own.
        Any = "any",
        /// IPv4 only.
        Ipv4 = "ipv4",
        /// IPv6 only.
        Ipv6 = "ipv6",
    }
}

words! {
    /// A VPN that a target serves; each stands for the probes of its ports.
    pub enum Vpn {
        /// IKE on UDP 500 and 4500.
        Ipsec = "ipsec",
        /// IKE on UDP 500 and 4500, L2TP on UDP 1701 inside it.
        L2tpIpsec = "l2tp-ipsec",
        /// TLS on TCP 443.
        SslVpn = "ssl-vpn",
        /// OpenVPN on UDP and TCP 1194.
        Openvpn = "openvpn",
    }
}

/// A named way out of this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Egress {
    /// Bind to this interface.
    pub interface: Option<String>,
    /// Send from this address.
    pub source: Option<IpAddr>,
}

/// The HTTP side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// How long a `/probe` request may take if the scraper does not say.
    pub probe_timeout: Duration,
}

// Stub from here on: the configuration's own file has these.

/// What is wrong with a configuration.
#[derive(Debug)]
pub struct Problems(String);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
}

impl Config {
    /// Stub.
    pub fn load(
        path: &std::path::Path,
        _: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Problems> {
        Err(Problems(format!("{}: loading is a stub", path.display())))
    }

    /// Stub.
    pub fn single(host: &str) -> Result<Self, Problems> {
        let address = host.parse().map_or_else(|_| Address::Name(host.to_owned()), Address::Ip);
        let target = Target {
            name: host.to_owned(),
            addresses: vec![address],
            family: Family::Any,
            max_members: 8,
            vpn: Vec::new(),
            egress: vec!["default".to_owned()],
            probes: Vec::new(),
        };
        let second = Duration::from_secs(1);
        let budget = Limits {
            packets_per_second: 10,
            packets_burst: 10,
            half_open_interval: second,
            l2tp_interval: second,
            openvpn_interval: second,
            tcp_per_minute: 6,
            tls_per_minute: 6,
        };
        let web = Web { listen: Vec::new(), probe_timeout: second };
        let egress = BTreeMap::from([("default".to_owned(), Egress::default())]);
        Ok(Self {
            targets: vec![Arc::new(target)],
            egress,
            budget,
            buckets: Vec::new(),
            state_dir: None,
            web,
        })
    }
}
