//! Opening sockets with what every measurement needs, and receiving with what the kernel knows:
//! arrival time, overflow count, ICMP errors with the packet they quote.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6,
    SockaddrLike, SockaddrStorage, TimestampingFlag, recvmmsg, recvmsg, sendmmsg, sendmsg, setsockopt,
    sockopt,
};
use rustix::net;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::host::beside_reserved;
use crate::config::Egress;
use crate::probe::IcmpError;
use crate::probe::icmp::icmp_error;

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

/// An ICMP socket for a family: raw, with a filter that lets answers and errors pass, or a datagram one.
pub(super) fn icmp(v6: bool, raw: bool, egress: &Egress) -> io::Result<Socket> {
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
        socket.attach_filter(if v6 { super::icmp::FILTER_V6 } else { super::icmp::FILTER_V4 })?;
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

/// One received packet or piece of a stream.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub bytes: &'a [u8],
    /// The sender, for datagrams.
    pub from: Option<SocketAddr>,
    /// When the kernel received it: wall clock, nanoseconds since 1970.
    pub stamp: Option<i64>,
    /// How many packets the socket has dropped in its life, modulo 2^32, if any.
    pub dropped: Option<u32>,
}

/// An entry of a socket's error queue.
#[derive(Debug)]
pub(super) enum Queued<'a> {
    /// An ICMP error.
    Error(QueuedError<'a>),
    /// One of our packets left: wall clock, nanoseconds since 1970.
    Left(i64),
    /// Nothing that is asked for.
    Other,
}

/// One ICMP error from a socket's error queue.
#[derive(Debug)]
pub(super) struct QueuedError<'a> {
    pub error: IcmpError,
    pub offender: Option<IpAddr>,
    /// What is quoted of the packet, from the payload on (ICMP sockets: from the ICMP header on).
    pub quoted: &'a [u8],
    /// When the kernel received it: wall clock, nanoseconds since 1970.
    pub stamp: Option<i64>,
}

/// What came with a packet.
#[derive(Debug, Clone, Copy, Default)]
struct Control {
    stamp: Option<i64>,
    dropped: Option<u32>,
    error: Option<(IcmpError, Option<IpAddr>)>,
    /// It is no packet, but says when one of ours left: which of the socket's.
    left: Option<u32>,
}

impl Control {
    fn of<S>(message: &RecvMsg<'_, '_, S>) -> io::Result<Self> {
        let mut all = Self::default();
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmTimestampns(at) => all.stamp = Some(nanos(at)),
                ControlMessageOwned::ScmTimestampsns(at) => {
                    all.stamp = Some(nanos(at.system)).filter(|at| *at > 0);
                }
                ControlMessageOwned::RxqOvfl(count) => all.dropped = Some(count),
                ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)
                    if error.ee_origin == ORIGIN_TIMESTAMPING =>
                {
                    all.left = Some(error.ee_data);
                }
                // The packet did not even leave: it is larger than the interface takes.
                ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)
                    if error.ee_origin == ORIGIN_LOCAL && error.ee_errno == EMSGSIZE =>
                {
                    all.error = Some((IcmpError::TooBig(error.ee_info), None));
                }
                ControlMessageOwned::Ipv4RecvErr(error, offender) if error.ee_origin == ORIGIN_ICMP => {
                    let from = offender.map(|a| IpAddr::V4(Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr))));
                    all.error = Some((icmp_error(false, error.ee_type, error.ee_code, error.ee_info), from));
                }
                ControlMessageOwned::Ipv6RecvErr(error, offender) if error.ee_origin == ORIGIN_ICMP6 => {
                    let from = offender.map(|a| IpAddr::V6(Ipv6Addr::from(a.sin6_addr.s6_addr)));
                    all.error = Some((icmp_error(true, error.ee_type, error.ee_code, error.ee_info), from));
                }
                _ => {}
            }
        }
        Ok(all)
    }
}

/// Buffers for receiving, used again for each packet.
pub(super) struct Receiver {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl Receiver {
    pub fn new() -> Self {
        Self { bytes: vec![0; 65_536], control: vec![0; 512] }
    }

    /// A receiver without buffers, to stand in while the real one is in use.
    pub fn empty() -> Self {
        Self { bytes: Vec::new(), control: Vec::new() }
    }

    fn one(
        &mut self,
        socket: impl AsFd,
        flags: MsgFlags,
    ) -> io::Result<(&[u8], Option<SocketAddr>, Control)> {
        let (len, from, control) = {
            let mut iov = [IoSliceMut::new(&mut self.bytes)];
            let socket = socket.as_fd().as_raw_fd();
            let message = recvmsg::<SockaddrStorage>(socket, &mut iov, Some(&mut self.control), flags)?;
            (message.bytes, message.address.as_ref().and_then(address), Control::of(&message)?)
        };
        Ok((self.bytes.get(..len).unwrap_or_default(), from, control))
    }

    /// The next packet or piece of a stream; `WouldBlock` if there is none.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<Arrival<'_>> {
        let (bytes, from, Control { stamp, dropped, .. }) = self.one(socket, MsgFlags::empty())?;
        Ok(Arrival { bytes, from, stamp, dropped })
    }

    /// The next entry of the socket's error queue; `WouldBlock` if there is none.
    pub fn queued(&mut self, socket: impl AsFd) -> io::Result<Queued<'_>> {
        let (quoted, _, Control { stamp, error, left, .. }) = self.one(socket, MsgFlags::MSG_ERRQUEUE)?;
        Ok(match (error, left, stamp) {
            (Some((error, offender)), ..) => Queued::Error(QueuedError { error, offender, quoted, stamp }),
            (None, Some(_), Some(stamp)) => Queued::Left(stamp),
            _ => Queued::Other,
        })
    }
}

/// Packets, or entries of an error queue, taken from one socket with one call.
pub(super) struct Batch {
    bytes: Vec<u8>,
    heads: Vec<(usize, Option<SocketAddr>, Control)>,
}

impl Batch {
    /// The most that is taken at once.
    pub const MOST: usize = 64;
    /// Room for so many that nobody expects.
    const SPARE: usize = 3;
    /// Room for each; what is longer is cut off.
    pub const EACH: usize = 2048;
    /// Room for what the kernel says of each: times, who sent an error, what was dropped.
    const CONTROL: usize = 192;

    pub fn new() -> Self {
        Self { bytes: vec![0; Self::MOST * Self::EACH], heads: Vec::with_capacity(Self::MOST) }
    }

    /// A batch without room, to stand in while the real one is in use.
    pub const fn empty() -> Self {
        Self { bytes: Vec::new(), heads: Vec::new() }
    }

    /// Takes what is there, with room for as many as are expected and some more, and says whether there may
    /// be more than it took; `WouldBlock` if there is nothing.
    pub fn receive(&mut self, socket: &Socket, flags: MsgFlags, expected: usize) -> io::Result<bool> {
        self.heads.clear();
        let room = (expected + Self::SPARE).min(Self::MOST);
        // What the kernel writes into these it does not set back, so they are not used twice.
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(room, Some(vec![0; Self::CONTROL]));
        let chunks = self.bytes.chunks_mut(Self::EACH).take(room);
        let mut slices: Vec<_> = chunks.map(|chunk| [IoSliceMut::new(chunk)]).collect();
        for message in recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)? {
            let control = Control::of(&message)?;
            self.heads.push((message.bytes, message.address.as_ref().and_then(address), control));
        }
        Ok(self.heads.len() == room)
    }

    /// How many it took.
    pub fn taken(&self) -> usize {
        self.heads.len()
    }

    /// The packets that were taken.
    pub fn arrivals(&self) -> impl Iterator<Item = Arrival<'_>> {
        self.heads.iter().zip(self.bytes.chunks(Self::EACH)).map(|((len, from, control), bytes)| Arrival {
            bytes: bytes.get(..*len).unwrap_or(bytes),
            from: *from,
            stamp: control.stamp,
            dropped: control.dropped,
        })
    }

    /// The ICMP errors that were taken from an error queue.
    pub fn errors(&self) -> impl Iterator<Item = QueuedError<'_>> {
        self.heads.iter().zip(self.bytes.chunks(Self::EACH)).filter_map(|((len, _, control), bytes)| {
            let (error, offender) = control.error?;
            let quoted = bytes.get(..*len).unwrap_or(bytes);
            Some(QueuedError { error, offender, quoted, stamp: control.stamp })
        })
    }

    /// Which of the socket's packets left when, from an error queue.
    pub fn departures(&self) -> impl Iterator<Item = (u32, i64)> {
        self.heads.iter().filter_map(|(_, _, control)| Some((control.left?, control.stamp?)))
    }
}

const ORIGIN_LOCAL: u8 = 1; // SO_EE_ORIGIN_LOCAL
const EMSGSIZE: u32 = nix::errno::Errno::EMSGSIZE as u32;
const ORIGIN_ICMP: u8 = 2; // SO_EE_ORIGIN_ICMP
const ORIGIN_ICMP6: u8 = 3; // SO_EE_ORIGIN_ICMP6
const ORIGIN_TIMESTAMPING: u8 = 4; // SO_EE_ORIGIN_TIMESTAMPING

fn nanos(at: nix::sys::time::TimeSpec) -> i64 {
    at.tv_sec().saturating_mul(1_000_000_000).saturating_add(at.tv_nsec())
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    storage.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port()))
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
