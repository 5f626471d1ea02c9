//! The vocabulary of the host's own routing: what is asked of the kernel, and what it says.
//!
//! ```text
//!   config (prefixes, tunnel) ─▶ Questions ──net::route──▶ Ways ──diagnose::way──▶ steps
//! ```
//!
//! Invariant: a way is what a *lookup* answered, with policy rules, marks and metrics in it; no table is
//! ever read and interpreted here. Pure: no socket, no clock.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::words;

/// A network: an address and how many of its leading bits count. The other bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// An address as a number, at the top of 128 bits, and how many bits it has.
const fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => ((v4.to_bits() as u128) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

const fn of_bits(bits: u128, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32))
    }
}

const fn mask(length: u8) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (128 - if length > 128 { 128 } else { length as u32 }) }
}

impl Prefix {
    /// The network of `address` with this length, which is cut to what the family has.
    #[must_use]
    pub const fn new(address: IpAddr, length: u8) -> Self {
        let (number, most) = bits(address);
        let length = if length > most { most } else { length };
        Self { address: of_bits(number & mask(length), address.is_ipv6()), length }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether the address is in it.
    #[must_use]
    pub const fn contains(self, address: IpAddr) -> bool {
        let (number, _) = bits(address);
        address.is_ipv6() == self.address.is_ipv6() && number & mask(self.length) == bits(self.address).0
    }

    /// What both have in common: the smaller of them, if it is inside the other.
    #[must_use]
    pub const fn overlap(self, other: Self) -> Option<Self> {
        let (large, small) = if self.length <= other.length { (self, other) } else { (other, self) };
        if large.contains(small.address) { Some(small) } else { None }
    }

    /// A first and a last address that a host may have: not those of the network and of the broadcast,
    /// where it has such.
    #[must_use]
    pub const fn ends(self) -> (IpAddr, IpAddr) {
        let (first, most) = bits(self.address);
        let v6 = self.address.is_ipv6();
        let one = 1_u128 << (128 - most as u32);
        let last = first | (!mask(self.length) & mask(most));
        let spare = if most.saturating_sub(self.length) >= 2 { one } else { 0 };
        (of_bits(first | spare, v6), of_bits(last - spare, v6))
    }

    /// The class A, B or C network of an IPv4 address (RFC 791 section 3.2): what Windows routes into a
    /// tunnel by itself. Nothing for multicast and IPv6.
    #[must_use]
    pub const fn classful(address: IpAddr) -> Option<Self> {
        let IpAddr::V4(v4) = address else { return None };
        match v4.octets()[0] {
            0..=127 => Some(Self::new(address, 8)),
            128..=191 => Some(Self::new(address, 16)),
            192..=223 => Some(Self::new(address, 24)),
            _ => None,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is no network: a hint for its writer.
impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRITE: &str = "for example 10.20.0.0/16";
        let (address, length) = text.split_once('/').ok_or_else(|| match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("write {text}/32 for one host"),
            Ok(IpAddr::V6(_)) => format!("write {text}/128 for one host"),
            Err(_) => WRITE.to_owned(),
        })?;
        let address: IpAddr = address.parse().map_err(|_| WRITE.to_owned())?;
        let most = if address.is_ipv6() { 128 } else { 32 };
        let length: u8 = length
            .parse()
            .ok()
            .filter(|length| *length <= most)
            .ok_or_else(|| format!("the length is a number from 0 to {most}"))?;
        let prefix = Self::new(address, length);
        if prefix.address == address {
            Ok(prefix)
        } else {
            Err(format!("the network of that length is {prefix}"))
        }
    }
}

words! {
    /// What a link is, as far as the kernel tells.
    pub enum LinkKind {
        /// To ourselves.
        Loopback = "loopback",
        /// A wire.
        Ethernet = "ethernet",
        /// Radio.
        Wifi = "wifi",
        /// A mobile modem.
        Wwan = "wwan",
        /// A program's tunnel: OpenVPN, openconnect, wireguard-go.
        Tun = "tun",
        /// The kernel's WireGuard.
        Wireguard = "wireguard",
        /// PPP: PPPoE, or L2TP and SSTP above it.
        Ppp = "ppp",
        /// A tunnel of the kernel: IPIP, GRE, SIT, VTI, XFRM.
        Tunnel = "tunnel",
        /// A bridge, a bond, a VLAN, a cable between namespaces.
        Virtual = "virtual",
        /// Something else.
        Other = "other",
    }
}

/// A link of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Whether it is up and has its carrier.
    pub up: bool,
    /// Its own addresses, and the network that each is on.
    pub addresses: Vec<(IpAddr, Prefix)>,
}

/// Where a packet would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The link it would leave through.
    pub link: String,
    /// What that is.
    pub kind: LinkKind,
    /// The next router; none if the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The address it would be sent from.
    pub source: Option<IpAddr>,
    /// The table that decided.
    pub table: u32,
    /// The route that decided, if the kernel tells.
    pub route: Option<Prefix>,
    /// Whether the destination is an address of this host.
    pub local: bool,
}

words! {
    /// Why there is no way.
    pub enum NoWay {
        /// No route.
        NoRoute = "no_route",
        /// A route that says so: unreachable.
        Unreachable = "unreachable",
        /// A route or rule that says so: prohibit.
        Prohibited = "prohibited",
        /// A route that drops in silence.
        Blackhole = "blackhole",
        /// The link or the source address to be used does not exist.
        Egress = "egress",
        /// The kernel would not tell.
        Untold = "untold",
    }
}

/// The answer to one lookup.
pub type Lookup = Result<Way, NoWay>;

/// A destination, and where it would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Where to.
    pub to: IpAddr,
    /// The answer.
    pub way: Lookup,
}

/// Looked up for a packet that an ordinary program sends: as JSON one object, the way's or the refusal's.
impl Serialize for Looked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            to: IpAddr,
            #[serde(flatten)]
            way: Option<&'a Way>,
            #[serde(skip_serializing_if = "Option::is_none")]
            refused: Option<NoWay>,
        }
        Row { to: self.to, way: self.way.as_ref().ok(), refused: self.way.as_ref().err().copied() }
            .serialize(serializer)
    }
}

/// How the probes of a target leave: what a lookup needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Leaving {
    /// Through this link.
    pub interface: Option<String>,
    /// From this address.
    pub source: Option<IpAddr>,
    /// With this firewall mark.
    pub mark: Option<u32>,
}

/// What is asked for one target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Questions {
    /// Its members' addresses.
    pub members: Vec<IpAddr>,
    /// How its probes leave.
    pub leaving: Leaving,
    /// The network namespace that they leave from, if it is another one.
    pub namespace: Option<String>,
    /// The link that is its tunnel, if one is declared.
    pub tunnel: Option<String>,
    /// Its inside networks.
    pub prefixes: Vec<Prefix>,
    /// Addresses behind it that are to be asked for by themselves.
    pub hosts: Vec<IpAddr>,
}

/// What the kernel said for one target. Times are those of the asking, all at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Ways {
    /// What does not depend on its members; targets that declare the same may share it.
    #[serde(flatten, serialize_with = "shared")]
    pub around: Arc<Around>,
    /// The ways to the members, as the probes leave.
    pub members: Box<[Looked]>,
}

fn shared<S: Serializer>(around: &Arc<Around>, serializer: S) -> Result<S::Ok, S::Error> {
    (**around).serialize(serializer)
}

/// The host's links, and what an ordinary program's packets would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Around {
    /// The tunnel's link, if one is declared: its name.
    pub tunnel: Option<String>,
    /// The links of this host that are not loopback; all targets that were asked for at once share them.
    #[serde(serialize_with = "sequence")]
    pub links: Arc<[Link]>,
    /// The network namespace that the ways to the members are of, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The ways into the inside networks, as an ordinary program's packets go.
    pub inside: Vec<Inside>,
    /// The ways into the class A, B or C network of the tunnel's own address, if it has one: what Windows
    /// routes into a tunnel by itself.
    pub class: Option<Inside>,
    /// The ways to the rest of the world.
    pub internet: Vec<Looked>,
}

fn sequence<S: Serializer>(links: &Arc<[Link]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(links.iter())
}

/// The ways into one inside network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inside {
    /// The network.
    pub prefix: Prefix,
    /// Its ends, the hosts named in it, and an address of each local network that overlaps it.
    pub ways: Vec<Looked>,
}

/// Addresses of the Internet whose ways stand for all of it; nothing is ever sent there. Two of IPv4, in
/// either half: `redirect-gateway def1` is two routes. These are root name servers' and a public resolver's.
pub const INTERNET: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)),
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
];

impl Around {
    /// Whether the tunnel is there, is up, and has an address.
    #[must_use]
    pub fn tunnel_up(&self) -> bool {
        self.tunnel_link().is_some_and(|link| link.up && !link.addresses.is_empty())
    }

    /// The class network of the tunnel's own IPv4 address, if it is larger than the network it is on.
    #[must_use]
    pub fn tunnel_class(&self) -> Option<Prefix> {
        let own = self.tunnel_link()?.addresses.iter().find(|(address, _)| address.is_ipv4())?;
        Prefix::classful(own.0).filter(|class| class.length() < own.1.length())
    }

    /// The tunnel's link, if it exists.
    #[must_use]
    pub fn tunnel_link(&self) -> Option<&Link> {
        let name = self.tunnel.as_ref()?;
        self.links.iter().find(|link| link.name == *name)
    }
}

/// The addresses whose ways tell how `prefix` is reached: its ends, the `hosts` in it, and one in each
/// local network that overlaps it, all of them none of our own.
#[must_use]
pub fn samples(prefix: Prefix, hosts: &[IpAddr], links: &[Link], tunnel: Option<&str>) -> Vec<IpAddr> {
    let own =
        |address: IpAddr| links.iter().any(|link| link.addresses.iter().any(|(own, _)| *own == address));
    let mut all = Vec::new();
    let mut add = |address: IpAddr| {
        if !all.contains(&address) && !own(address) {
            all.push(address);
        }
    };
    let (first, last) = prefix.ends();
    add(first);
    add(last);
    hosts.iter().filter(|host| prefix.contains(**host)).for_each(|host| add(*host));
    for (_, network) in overlaps(prefix, links, tunnel) {
        let (first, last) = network.ends();
        add(if own(first) { last } else { first });
    }
    all
}

/// The local networks that overlap `prefix`, not counting the tunnel's own, with the link each is on.
pub fn overlaps<'a>(
    prefix: Prefix,
    links: &'a [Link],
    tunnel: Option<&'a str>,
) -> impl Iterator<Item = (&'a Link, Prefix)> {
    let others = links.iter().filter(move |link| tunnel != Some(link.name.as_str()));
    others.flat_map(move |link| {
        // A host's own address alone is no network that others are on.
        let shared = link.addresses.iter().filter(|(address, local)| local.length() < bits(*address).1);
        let shared = shared.filter(|(address, _)| !link_local(*address));
        shared.filter_map(move |(_, local)| prefix.overlap(*local)).map(move |network| (link, network))
    })
}

const fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_is_written_with_its_host_bits_zero() {
        assert_eq!(net("10.20.0.0/16").to_string(), "10.20.0.0/16");
        assert_eq!(net("0.0.0.0/0").to_string(), "0.0.0.0/0");
        assert_eq!(net("fd00::/8").to_string(), "fd00::/8");
        for (bad, hint) in [
            ("10.20.0.1/16", "the network of that length is 10.20.0.0/16"),
            ("10.20.0.1", "write 10.20.0.1/32 for one host"),
            ("10.20.0.0/33", "the length is a number from 0 to 32"),
            ("intranet/8", "for example 10.20.0.0/16"),
            ("", "for example 10.20.0.0/16"),
        ] {
            assert_eq!(bad.parse::<Prefix>(), Err(hint.to_owned()), "{bad}");
        }
    }

    #[test]
    fn what_is_in_a_prefix_and_what_two_have_in_common() {
        assert!(net("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(!net("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(!net("0.0.0.0/0").contains(ip("::1")), "families are apart");
        assert_eq!(net("10.0.0.0/8").overlap(net("10.1.2.0/24")), Some(net("10.1.2.0/24")));
        assert_eq!(net("10.1.2.0/24").overlap(net("10.0.0.0/8")), Some(net("10.1.2.0/24")));
        assert_eq!(net("10.1.2.0/24").overlap(net("10.1.3.0/24")), None);
        assert_eq!(net("0.0.0.0/0").overlap(net("::/0")), None);
    }

    #[test]
    fn the_ends_are_addresses_of_hosts() {
        for (prefix, first, last) in [
            ("192.168.1.0/24", "192.168.1.1", "192.168.1.254"),
            ("10.0.0.8/30", "10.0.0.9", "10.0.0.10"),
            ("10.0.0.8/31", "10.0.0.8", "10.0.0.9"),
            ("10.0.0.8/32", "10.0.0.8", "10.0.0.8"),
            ("0.0.0.0/0", "0.0.0.1", "255.255.255.254"),
            ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:fffe"),
            ("fd00::1/128", "fd00::1", "fd00::1"),
        ] {
            assert_eq!(net(prefix).ends(), (ip(first), ip(last)), "{prefix}");
        }
    }

    /// RFC 791 section 3.2: the leading bits 0, 10 and 110.
    #[test]
    fn classes_as_they_were() {
        for (address, class) in
            [("10.8.0.6", "10.0.0.0/8"), ("172.20.1.9", "172.20.0.0/16"), ("192.168.10.7", "192.168.10.0/24")]
        {
            assert_eq!(Prefix::classful(ip(address)), Some(net(class)));
        }
        assert_eq!(Prefix::classful(ip("224.0.0.1")), None);
        assert_eq!(Prefix::classful(ip("fd00::1")), None);
    }

    #[test]
    fn samples_reach_into_every_local_network_that_overlaps() {
        let link = |name: &str, address: &str, length| Link {
            name: name.to_owned(),
            kind: LinkKind::Ethernet,
            up: true,
            addresses: vec![(ip(address), Prefix::new(ip(address), length))],
        };
        let links = [
            link("eth0", "10.1.2.1", 24),
            link("eth1", "172.16.0.9", 24),
            link("tun0", "10.8.0.6", 24),
            link("lone", "10.9.9.9", 32),
        ];
        let sampled = samples(net("10.0.0.0/8"), &[ip("10.20.0.53"), ip("192.0.2.1")], &links, Some("tun0"));
        // eth0's first address is ours, so its last stands for the network.
        assert_eq!(sampled, ["10.0.0.1", "10.255.255.254", "10.20.0.53", "10.1.2.254"].map(ip));
        assert_eq!(overlaps(net("10.0.0.0/8"), &links, Some("tun0")).count(), 1);
        assert_eq!(overlaps(net("10.0.0.0/8"), &links, None).count(), 2);
    }
}
