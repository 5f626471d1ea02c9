//! Opening sockets with what every measurement needs, and sending from them.
//!
//! Invariant: a socket stamps what arrives, counts what it drops, and reports ICMP errors, or it is not opened.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    TimestampingFlag, sendmmsg, sendmsg, setsockopt, sockopt,
};
use rustix::net;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::host::beside_reserved;
use super::share::Share;
use crate::config::Egress;

/// Where `ip netns` keeps named network namespaces.
const NAMESPACES: &str = "/run/netns";
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
/// Room for the answers of one long tick; the kernel grants at most `net.core.rmem_max`.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// Shared sockets take the answers of all targets.
const SHARED_RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// A UDP socket out of `egress`, connected to `peer` if `connected`.
pub(super) fn udp(peer: SocketAddr, connected: bool, egress: &Egress) -> io::Result<Socket> {
    let socket = new(egress, Domain::for_address(peer), Type::DGRAM.nonblocking(), Protocol::UDP)?;
    prepare(&socket, peer.ip(), egress, RECEIVE_BUFFER)?;
    // Also unconnected a socket here has one peer only, so an ICMP error cannot hit another's send.
    report_errors(&socket, peer.is_ipv6())?;
    // Without it we know only when packets arrive, and go by our own reading of when they left.
    let _ = stamp_both_ways(&socket, TimestampingFlag::empty());
    if connected {
        aim(&socket, peer)?;
    }
    Ok(socket)
}

/// Connects a datagram socket, which sends nothing. EACCES is a route that is prohibited here, and no lack of
/// rights as at opening.
fn aim(socket: &Socket, peer: SocketAddr) -> io::Result<()> {
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EACCES as i32) => {
            Err(nix::errno::Errno::ENETUNREACH.into())
        }
        result => result,
    }
}

/// A TCP socket out of `egress` whose connection to `peer` has been started. `limited`: its hop limit, and
/// the local port to start from (0 is any).
pub(super) fn tcp(peer: SocketAddr, egress: &Egress, limited: Option<(u8, u16)>) -> io::Result<Socket> {
    let socket = new(egress, Domain::for_address(peer), Type::STREAM.nonblocking(), Protocol::TCP)?;
    let (hops, port) = limited.map_or((None, 0), |(hops, port)| (Some(u32::from(hops)), port));
    prepare_at(&socket, peer.ip(), egress, 0, port)?;
    match hops {
        Some(hops) if peer.is_ipv6() => socket.set_unicast_hops_v6(hops)?,
        Some(hops) => socket.set_ttl_v4(hops)?,
        None => {}
    }
    report_errors(&socket, peer.is_ipv6())?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EACCES as i32) => {
            Err(nix::errno::Errno::ENETUNREACH.into())
        }
        Err(error) => Err(error),
        Ok(()) => Ok(socket),
    }
}

/// An ICMP socket for a family: raw, with a filter that lets this share of answers and errors pass, or a
/// datagram one.
pub(super) fn icmp(v6: bool, raw: bool, egress: &Egress, share: Share) -> io::Result<Socket> {
    let (domain, protocol, any): (_, _, IpAddr) = if v6 {
        (Domain::IPV6, Protocol::ICMPV6, Ipv6Addr::UNSPECIFIED.into())
    } else {
        (Domain::IPV4, Protocol::ICMPV4, Ipv4Addr::UNSPECIFIED.into())
    };
    let kind = if raw { Type::RAW } else { Type::DGRAM };
    let socket = new(egress, domain, kind.nonblocking(), protocol)?;
    // An address that comes later is not to need a right that is gone by then.
    match egress.source {
        Some(IpAddr::V4(_)) => socket.set_freebind_v4(true)?,
        Some(IpAddr::V6(_)) => socket.set_freebind_v6(true)?,
        None => {}
    }
    prepare(&socket, any, egress, SHARED_RECEIVE_BUFFER)?;
    if raw {
        share.filter(&socket, v6)?;
    }
    // A raw socket gets ICMP errors as packets anyway; without this option the kernel would not tell that
    // its send queue was full.
    report_errors(&socket, v6)?;
    Ok(socket)
}

/// A UDP socket out of `egress` connected to `peer` whose packets are never fragmented, whatever the kernel has
/// learnt of the path.
pub(super) fn whole_udp(peer: SocketAddr, egress: &Egress) -> io::Result<Socket> {
    let socket = udp(peer, true, egress)?;
    if peer.is_ipv6() {
        net::sockopt::set_ipv6_mtu_discover(&socket, net::sockopt::Ipv6PathMtuDiscovery::PROBE)?;
    } else {
        net::sockopt::set_ip_mtu_discover(&socket, net::sockopt::Ipv4PathMtuDiscovery::PROBE)?;
    }
    Ok(socket)
}

/// Does one `send` on a socket that others use, too, of a packet that is never fragmented, whatever the kernel
/// has learnt of the path.
pub(super) fn in_one_piece(
    socket: &Socket,
    v6: bool,
    send: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if v6 {
        let usual = net::sockopt::ipv6_mtu_discover(socket)?;
        net::sockopt::set_ipv6_mtu_discover(socket, net::sockopt::Ipv6PathMtuDiscovery::PROBE)?;
        let sent = send();
        net::sockopt::set_ipv6_mtu_discover(socket, usual)?;
        return sent;
    }
    let usual = net::sockopt::ip_mtu_discover(socket)?;
    net::sockopt::set_ip_mtu_discover(socket, net::sockopt::Ipv4PathMtuDiscovery::PROBE)?;
    let sent = send();
    net::sockopt::set_ip_mtu_discover(socket, usual)?;
    sent
}

/// Which address of ours packets to `peer` would leave from.
pub(super) fn source_towards(peer: IpAddr, egress: &Egress) -> io::Result<IpAddr> {
    let peer = SocketAddr::new(peer, 9);
    let socket = new(egress, Domain::for_address(peer), Type::DGRAM, Protocol::UDP)?;
    prepare(&socket, peer.ip(), egress, 0)?;
    socket.connect(&peer.into())?;
    local_address(&socket).map(|address| address.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Our own address and port of a bound or connected socket.
pub(super) fn local_address(socket: &Socket) -> Option<SocketAddr> {
    socket.local_addr().ok().and_then(|address| address.as_socket())
}

/// A socket in the network namespace of `egress`. A socket stays where it was made, whoever uses it.
fn new(egress: &Egress, domain: Domain, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    within(egress.namespace.as_deref(), || Socket::new(domain, kind, Some(protocol)))
        .and_then(beside_reserved)
}

/// Does something in the network namespace of that name, or here without one. Needs `CAP_SYS_ADMIN`.
pub(super) fn within<T>(namespace: Option<&str>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(name) = namespace else { return work() };
    let there = File::open(Path::new(NAMESPACES).join(name))?;
    let here = File::open(OWN_NAMESPACE)?;
    setns(there, CloneFlags::CLONE_NEWNET)?;
    let result = work();
    // The right to go there is the right to come back; all other probes would leave the wrong way else.
    #[expect(clippy::expect_used, reason = "going on in the wrong network would blame it for our fault")]
    setns(here, CloneFlags::CLONE_NEWNET).expect("this thread cannot return to its network namespace");
    result
}

/// Which namespace and which interface a way out is now, by numbers that another one of the same name does
/// not have as long as a socket of ours holds on to the old one (0: there is none, or none is named), and
/// whether its source address is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    namespace: u64,
    interface: u32,
    source: bool,
}

impl Place {
    /// Whether the source address that is named is ours.
    pub const fn has_source(self) -> bool {
        self.source
    }

    /// Whether sockets that were opened in the one are of use in the other.
    pub fn keeps_sockets(self, other: Self) -> bool {
        (self.namespace, self.interface) == (other.namespace, other.interface)
    }
}

/// The place of `egress` now. Cheap, where no interface is named.
pub(super) fn place(egress: &Egress) -> Place {
    let namespace = egress
        .namespace
        .as_ref()
        .map_or(0, |name| std::fs::metadata(Path::new(NAMESPACES).join(name)).map_or(0, |file| file.ino()));
    let interface = egress
        .interface
        .as_deref()
        .map_or(0, |name| within(egress.namespace.as_deref(), || Ok(if_nametoindex(name)?)).unwrap_or(0));
    let source = egress.source.is_some_and(|source| {
        let address = SocketAddr::new(source, 0);
        let socket = new(egress, Domain::for_address(address), Type::DGRAM, Protocol::UDP);
        socket.is_ok_and(|socket| socket.bind(&address.into()).is_ok())
    });
    Place { namespace, interface, source }
}

fn prepare(socket: &Socket, peer: IpAddr, egress: &Egress, receive_buffer: usize) -> io::Result<()> {
    prepare_at(socket, peer, egress, receive_buffer, 0)
}

fn prepare_at(
    socket: &Socket,
    peer: IpAddr,
    egress: &Egress,
    receive_buffer: usize,
    port: u16,
) -> io::Result<()> {
    // A raw ICMPv6 socket is of one family anyway, and refuses the option.
    if peer.is_ipv6() && socket.r#type()? != Type::RAW {
        socket.set_only_v6(true)?;
    }
    if receive_buffer > 0 {
        socket.set_recv_buffer_size(receive_buffer)?;
    }
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(socket, sockopt::RxqOvfl, &1)?;
    if let Some(mark) = egress.mark {
        socket.set_mark(mark)?;
    }
    if let Some(interface) = &egress.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(source) = egress.source {
        if source.is_ipv6() != peer.is_ipv6() {
            return Err(nix::errno::Errno::EADDRNOTAVAIL.into());
        }
        socket.bind(&SockAddr::from(SocketAddr::new(source, port)))?;
    } else if port > 0 {
        socket.set_reuse_address(true)?;
        let any: IpAddr =
            if peer.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        socket.bind(&SockAddr::from(SocketAddr::new(any, port)))?;
    }
    Ok(())
}

fn report_errors(socket: &Socket, v6: bool) -> io::Result<()> {
    if v6 {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    }
    Ok(())
}

/// Sends one datagram, to `to` if the socket is not connected, with a hop limit of its own if there is one.
pub(super) fn datagram(
    socket: &Socket,
    bytes: &[u8],
    to: Option<SocketAddr>,
    ttl: Option<u8>,
) -> io::Result<()> {
    let Some(ttl) = ttl else {
        return match to {
            Some(to) => socket.send_to(bytes, &to.into()).map(drop),
            None => socket.send(bytes).map(drop),
        };
    };
    let ttl = i32::from(ttl);
    let v6 = to.map_or_else(
        || socket.domain().is_ok_and(|domain| domain == socket2::Domain::IPV6),
        |to| to.is_ipv6(),
    );
    let control = if v6 { ControlMessage::Ipv6HopLimit(&ttl) } else { ControlMessage::Ipv4Ttl(&ttl) };
    let to = to.map(SockaddrStorage::from);
    sendmsg(socket.as_raw_fd(), &[io::IoSlice::new(bytes)], &[control], MsgFlags::empty(), to.as_ref())?;
    Ok(())
}

/// Sends datagrams, as many as the kernel takes with one call: of none the error of the first.
pub(super) fn datagrams(socket: &Socket, v6: bool, all: &[(&[u8], IpAddr)]) -> io::Result<usize> {
    let slices: Vec<_> = all.iter().map(|(bytes, _)| [io::IoSlice::new(bytes)]).collect();
    let to = |peer: &IpAddr| SocketAddr::new(*peer, 0);
    if v6 {
        send_all(
            socket,
            &slices,
            all.iter().map(|(_, peer)| match to(peer) {
                SocketAddr::V6(peer) => Some(SockaddrIn6::from(peer)),
                SocketAddr::V4(_) => None,
            }),
        )
    } else {
        send_all(
            socket,
            &slices,
            all.iter().map(|(_, peer)| match to(peer) {
                SocketAddr::V4(peer) => Some(SockaddrIn::from(peer)),
                SocketAddr::V6(_) => None,
            }),
        )
    }
}

fn send_all<S: SockaddrLike + Copy>(
    socket: &Socket,
    slices: &[[io::IoSlice<'_>; 1]],
    to: impl Iterator<Item = Option<S>>,
) -> io::Result<usize> {
    let to: Vec<_> = to.collect();
    let mut headers = MultiHeaders::preallocate(slices.len(), None);
    Ok(sendmmsg(socket.as_raw_fd(), &mut headers, slices, &to, [], MsgFlags::empty())?.count())
}

/// Has the kernel tell when each packet left, by the number of the packet since this call, from 0 on. In
/// place of what it said before.
pub(super) fn stamp_sends(socket: &Socket) -> io::Result<()> {
    // The count begins anew only with the option.
    setsockopt(socket, sockopt::Timestamping, &TimestampingFlag::empty())?;
    stamp_both_ways(socket, TimestampingFlag::SOF_TIMESTAMPING_OPT_ID)
}

/// Has the kernel tell when packets left and arrived.
fn stamp_both_ways(socket: &Socket, more: TimestampingFlag) -> io::Result<()> {
    let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
    setsockopt(socket, sockopt::Timestamping, &(flags | more))?;
    Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &false)?)
}

/// Sends what a stream's socket takes of `unsent`.
pub(super) fn flush(socket: &Socket, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match socket.send(unsent) {
            Ok(sent) => drop(unsent.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
