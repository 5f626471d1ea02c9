//! The host's own routing, asked of the kernel by rtnetlink: which way *would* a packet go.
//!
//! Lookups (`RTM_GETROUTE` with destination, mark, link and source), not tables: policy rules, metrics and
//! several tables are the kernel's business. Each lookup is asked twice, once for the way and once
//! (`RTM_F_FIB_MATCH`) for the route that decided. Nothing is ever sent to the destination.
//! Invariants: needs no right, but to ask in another network namespace; never blocks a thread (the tasks belong to the caller's runtime); what the
//! kernel would not tell is [`NoWay::Untold`], never a missing route.
//!
//! rtnetlink(7), RFC 3549.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia,
};
use rtnetlink::{Error, Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::socket::within;
use crate::route::{
    Around, INTERNET, Inside, Leaving, Link, LinkKind, Looked, Lookup, NoWay, Prefix, Questions, Way, Ways,
    samples,
};

/// How long the kernel may take for one answer: it never does, but a task must not hang on it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Changes come in bursts: this long a quiet ends one …
const QUIET: Duration = Duration::from_millis(200);
/// … and this long it may last.
const LONGEST_BURST: Duration = Duration::from_secs(1);
/// What changes a way: links, addresses, routes and rules.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// A connection to ask by. Belongs to the runtime it was opened in.
pub struct Asker {
    handle: Handle,
    task: AbortHandle,
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The links of this host at one moment, by index, and as they are shown: those that are not loopback, by name.
#[derive(Debug, Default)]
pub struct Links {
    all: HashMap<u32, Link>,
    /// All targets share them.
    shown: Arc<[Link]>,
}

impl Links {
    fn new(all: HashMap<u32, Link>) -> Self {
        let mut shown: Vec<Link> =
            all.values().filter(|link| link.kind != LinkKind::Loopback).cloned().collect();
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        Self { all, shown: shown.into() }
    }
}

impl Asker {
    /// Opens one, inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> io::Result<Self> {
        Self::open_in(None)
    }

    /// The same in the network namespace of that name, which it keeps alive. Needs `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    /// Also when there is no such namespace, or no right to enter it.
    pub fn open_in(namespace: Option<&str>) -> io::Result<Self> {
        let (connection, handle, _) = within(namespace, new_connection)?;
        Ok(Self { handle, task: tokio::spawn(connection).abort_handle() })
    }

    /// All links and their addresses.
    ///
    /// # Errors
    /// When the kernel does not tell them.
    pub async fn links(&self) -> io::Result<Links> {
        let patient = async {
            let mut links = HashMap::new();
            let mut all = std::pin::pin!(self.handle.link().get().execute());
            while let Some(message) = all.try_next().await? {
                links.extend(link(&message).map(|link| (message.header.index, link)));
            }
            let mut all = std::pin::pin!(self.handle.address().get().execute());
            while let Some(message) = all.try_next().await? {
                let Some(link) = links.get_mut(&message.header.index) else { continue };
                // On a link between two the local address is ours, and "address" is the other end's.
                let own = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(address) => Some(*address),
                    _ => None,
                });
                let shown = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                });
                if let Some(own) = own.or(shown) {
                    let network = Prefix::new(shown.unwrap_or(own), message.header.prefix_len);
                    link.addresses.push((own, network));
                }
            }
            Ok::<_, Error>(links)
        };
        match timeout(PATIENCE, patient).await {
            Ok(Ok(links)) => Ok(Links::new(links)),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Where a packet to `to` would go.
    pub async fn way(&self, links: &Links, to: IpAddr, leaving: &Leaving) -> Lookup {
        let index = match &leaving.interface {
            Some(name) => {
                let found = links.all.iter().find(|(_, link)| link.name == *name);
                Some(*found.ok_or(NoWay::Egress)?.0)
            }
            None => None,
        };
        if leaving.source.is_some_and(|source| source.is_ipv6() != to.is_ipv6()) {
            return Err(NoWay::Egress);
        }
        let message = question(to, index, leaving, RouteFlags::LookupTable);
        let answer = self.ask(message).await?;
        let mut way = read(links, &answer)?;
        let matched = question(to, index, leaving, RouteFlags::LookupTable | RouteFlags::FibMatch);
        // An old kernel does not know this question; the way is the same without its answer.
        way.route = self.ask(matched).await.ok().map(|route| destination(&route));
        Ok(way)
    }

    async fn ask(&self, message: RouteMessage) -> Result<RouteMessage, NoWay> {
        let mut answers = std::pin::pin!(self.handle.route().get(message).execute());
        match timeout(PATIENCE, answers.try_next()).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Err(Error::NetlinkError(refusal))) => {
                Err(match Errno::from_raw(refusal.raw_code().saturating_abs()) {
                    Errno::ENETUNREACH | Errno::ESRCH => NoWay::NoRoute,
                    Errno::EHOSTUNREACH => NoWay::Unreachable,
                    Errno::EACCES => NoWay::Prohibited,
                    Errno::EINVAL => NoWay::Blackhole,
                    Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ENETDOWN => NoWay::Egress,
                    _ => NoWay::Untold,
                })
            }
            Ok(Ok(None) | Err(_)) | Err(_) => Err(NoWay::Untold),
        }
    }

    /// The ways to the members of a target from another network namespace.
    async fn members_elsewhere(namespace: &str, questions: &Questions) -> Vec<Looked> {
        let there = match Self::open_in(Some(namespace)) {
            Ok(asker) => asker.links().await.map(|links| (asker, links)).map_err(|_| NoWay::Untold),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NoWay::Egress),
            Err(_) => Err(NoWay::Untold),
        };
        let mut members = Vec::new();
        for to in &questions.members {
            let way = match &there {
                Ok((asker, links)) => asker.way(links, *to, &questions.leaving).await,
                Err(why) => Err(*why),
            };
            members.push(Looked { to: *to, way });
        }
        members
    }

    /// Asks all that is to be known for a target.
    pub async fn ways(&self, links: &Links, questions: &Questions) -> Ways {
        let Questions { members, leaving, namespace, .. } = questions;
        let looked = match namespace {
            Some(namespace) => Self::members_elsewhere(namespace, questions).await,
            None => {
                let mut looked = Vec::with_capacity(members.len());
                for to in members {
                    looked.push(Looked { to: *to, way: self.way(links, *to, leaving).await });
                }
                looked
            }
        };
        let around = self.around(links, questions).await;
        Ways { around: Arc::new(around), members: looked.into() }
    }

    async fn around(&self, links: &Links, questions: &Questions) -> Around {
        let Questions { tunnel, prefixes, hosts, namespace, .. } = questions;
        let (tunnel, namespace) = (tunnel.clone(), namespace.clone());
        let mut around = Around { tunnel, namespace, links: Arc::clone(&links.shown), ..Around::default() };
        if around.tunnel.is_none() && prefixes.is_empty() {
            return around;
        }
        let ordinary = Leaving::default();
        for prefix in prefixes {
            let mut inside = Inside { prefix: *prefix, ways: Vec::new() };
            for to in samples(*prefix, hosts, &around.links, around.tunnel.as_deref()) {
                inside.ways.push(Looked { to, way: self.way(links, to, &ordinary).await });
            }
            around.inside.push(inside);
        }
        if let Some(prefix) = around.tunnel_class() {
            let mut class = Inside { prefix, ways: Vec::new() };
            for to in samples(prefix, &[], &[], None) {
                class.ways.push(Looked { to, way: self.way(links, to, &ordinary).await });
            }
            around.class = Some(class);
        }
        for to in INTERNET {
            around.internet.push(Looked { to, way: self.way(links, to, &ordinary).await });
        }
        around
    }
}

fn link(message: &LinkMessage) -> Option<Link> {
    let mut name = None;
    let mut info = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::LinkInfo(all) => {
                info = all.iter().find_map(|it| match it {
                    LinkInfo::Kind(kind) => Some(kind.clone()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let name = name?;
    let kind = kind(&name, message.header.link_layer_type, info.as_ref());
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    Some(Link { name, kind, up, addresses: Vec::new() })
}

fn kind(name: &str, layer: LinkLayerType, info: Option<&InfoKind>) -> LinkKind {
    match (layer, info) {
        (LinkLayerType::Loopback, _) => LinkKind::Loopback,
        (_, Some(InfoKind::Tun)) => LinkKind::Tun,
        (_, Some(InfoKind::Wireguard)) => LinkKind::Wireguard,
        (_, Some(InfoKind::Wwan | InfoKind::RmNet)) => LinkKind::Wwan,
        (LinkLayerType::Ppp, _) => LinkKind::Ppp,
        (_, Some(InfoKind::Other(kind))) if kind == "ovpn" || kind == "ovpn-dco" => LinkKind::Tun,
        (
            _,
            Some(
                InfoKind::IpIp
                | InfoKind::Ip6Tnl
                | InfoKind::SitTun
                | InfoKind::GreTun
                | InfoKind::GreTun6
                | InfoKind::GreTap
                | InfoKind::GreTap6
                | InfoKind::Vti
                | InfoKind::Vti6
                | InfoKind::Xfrm,
            ),
        ) => LinkKind::Tunnel,
        (_, Some(_)) => LinkKind::Virtual,
        (LinkLayerType::Ether, None) => {
            let of = Path::new("/sys/class/net").join(name);
            if of.join("phy80211").exists() || of.join("wireless").exists() {
                LinkKind::Wifi
            } else {
                LinkKind::Ethernet
            }
        }
        _ => LinkKind::Other,
    }
}

fn question(to: IpAddr, link: Option<u32>, leaving: &Leaving, flags: RouteFlags) -> RouteMessage {
    let mut message = RouteMessage::default();
    let whole = if to.is_ipv6() { 128 } else { 32 };
    message.header.address_family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.destination_prefix_length = whole;
    message.header.flags = flags;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to)));
    if let Some(source) = leaving.source {
        message.header.source_prefix_length = whole;
        message.attributes.push(RouteAttribute::Source(RouteAddress::from(source)));
    }
    message.attributes.extend(link.map(RouteAttribute::Oif));
    message.attributes.extend(leaving.mark.map(RouteAttribute::Mark));
    message
}

const fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// The way that an answer tells.
fn read(links: &Links, answer: &RouteMessage) -> Lookup {
    match answer.header.kind {
        RouteType::BlackHole => return Err(NoWay::Blackhole),
        RouteType::Unreachable => return Err(NoWay::Unreachable),
        RouteType::Prohibit => return Err(NoWay::Prohibited),
        _ => {}
    }
    let mut way = Way {
        link: String::new(),
        kind: LinkKind::Other,
        gateway: None,
        source: None,
        table: answer.header.table.into(),
        route: None,
        local: answer.header.kind == RouteType::Local,
    };
    for attribute in &answer.attributes {
        match attribute {
            RouteAttribute::Oif(index) => {
                let link = links.all.get(index).ok_or(NoWay::Untold)?;
                way.link.clone_from(&link.name);
                way.kind = link.kind;
            }
            RouteAttribute::Gateway(router) => way.gateway = address(router),
            RouteAttribute::Via(RouteVia::Inet(router)) => way.gateway = Some((*router).into()),
            RouteAttribute::Via(RouteVia::Inet6(router)) => way.gateway = Some((*router).into()),
            RouteAttribute::PrefSource(source) => way.source = address(source),
            RouteAttribute::Table(table) => way.table = *table,
            _ => {}
        }
    }
    if way.link.is_empty() { Err(NoWay::Untold) } else { Ok(way) }
}

/// The destination of a route; without one it is the default route.
fn destination(route: &RouteMessage) -> Prefix {
    let found = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(to) => address(to),
        _ => None,
    });
    let any = if route.header.address_family == AddressFamily::Inet6 {
        IpAddr::from([0; 16])
    } else {
        IpAddr::from([0; 4])
    };
    Prefix::new(found.unwrap_or(any), route.header.destination_prefix_length)
}

/// Tells when this host's links, addresses, routes or rules have changed.
pub struct Changes {
    news: BoxStream<'static, ()>,
    /// A change was heard of and not told yet.
    heard: bool,
    task: AbortHandle,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Changes {
    /// Begins to listen, inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> io::Result<Self> {
        let (connection, _, messages) = new_multicast_connection(&GROUPS)?;
        Ok(Self {
            news: messages.map(drop).boxed(),
            heard: false,
            task: tokio::spawn(connection).abort_handle(),
        })
    }

    /// Waits for the next change, and for the end of the burst that it is part of; then `true`. `false` if
    /// none can come any more. Whoever gives up waiting is told the next time.
    pub async fn next(&mut self) -> bool {
        if !self.heard && self.news.next().await.is_none() {
            return false;
        }
        self.heard = true;
        let quiet = async { while let Ok(Some(())) = timeout(QUIET, self.news.next()).await {} };
        let _ = timeout(LONGEST_BURST, quiet).await;
        self.heard = false;
        true
    }
}

/// Asks once, outside of any runtime. Blocking, for milliseconds.
///
/// # Errors
/// When the kernel gives no netlink socket, or does not tell its links.
pub fn ask(questions: &Questions) -> io::Result<Ways> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asker = Asker::open()?;
        let links = asker.links().await?;
        Ok(asker.ways(&links, questions).await)
    })
}

/// What the fuzz targets read as [`Asker`] would.
#[cfg(feature = "fuzzing")]
pub mod fuzz {
    use rtnetlink::packet_core::Parseable as _;

    use super::{
        HashMap, Link, LinkKind, LinkMessage, Links, Lookup, NoWay, RouteMessage, destination, read,
    };

    /// The link of a message.
    pub fn link(bytes: &[u8]) -> Option<Link> {
        super::link(&LinkMessage::parse(bytes).ok()?)
    }

    /// The way of an answer, on a host whose links are all called `link`, and the route that it may be.
    pub fn way(bytes: &[u8]) -> Lookup {
        let message = RouteMessage::parse(bytes).map_err(|_| NoWay::Untold)?;
        let link = Link { name: "link".to_owned(), kind: LinkKind::Other, up: true, addresses: Vec::new() };
        let links = Links::new((0..16).map(|index| (index, link.clone())).collect::<HashMap<_, _>>());
        let mut way = read(&links, &message)?;
        way.route = Some(destination(&message));
        Ok(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every host has its loopback link, and the way to its own address is local.
    #[test]
    fn the_way_to_ourselves_is_known() {
        let to = IpAddr::from([127, 0, 0, 1]);
        let questions = Questions { members: vec![to], ..Questions::default() };
        let ways = ask(&questions).unwrap();
        let [Looked { to: asked, way: Ok(way) }] = &*ways.members else { panic!("{ways:?}") };
        assert_eq!((*asked, way.kind, way.local, way.gateway), (to, LinkKind::Loopback, true, None));
        assert_eq!(way.source, Some(to));
        assert!(ways.around.internet.is_empty(), "nothing was declared, so nothing more is asked");
        assert!(ways.around.links.iter().all(|link| link.kind != LinkKind::Loopback));
    }

    #[test]
    fn a_link_that_does_not_exist_is_our_own_fault() {
        let leaving = Leaving { interface: Some("vpnprobe-none".to_owned()), ..Leaving::default() };
        let to = IpAddr::from([127, 0, 0, 1]);
        let ways = ask(&Questions { members: vec![to], leaving, ..Questions::default() }).unwrap();
        assert_eq!(*ways.members, [Looked { to, way: Err(NoWay::Egress) }]);
    }

    #[test]
    fn kinds_by_what_the_kernel_calls_them() {
        let ether = LinkLayerType::Ether;
        let kinds = [
            (LinkLayerType::Loopback, None, LinkKind::Loopback),
            (LinkLayerType::None, Some(InfoKind::Tun), LinkKind::Tun),
            (ether, Some(InfoKind::Tun), LinkKind::Tun),
            (LinkLayerType::None, Some(InfoKind::Wireguard), LinkKind::Wireguard),
            (LinkLayerType::Ppp, None, LinkKind::Ppp),
            (LinkLayerType::Ppp, Some(InfoKind::Other("ppp".to_owned())), LinkKind::Ppp),
            (LinkLayerType::None, Some(InfoKind::Xfrm), LinkKind::Tunnel),
            (ether, Some(InfoKind::Veth), LinkKind::Virtual),
            (ether, Some(InfoKind::Bridge), LinkKind::Virtual),
            (ether, None, LinkKind::Ethernet),
        ];
        for (layer, info, expected) in kinds {
            assert_eq!(kind("vpnprobe-none", layer, info.as_ref()), expected, "{layer:?} {info:?}");
        }
    }
}
