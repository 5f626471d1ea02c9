//! Receiving with what the kernel knows of a packet: when it arrived, how many were dropped before it; and from
//! the error queue of a socket ICMP errors with the packet they quote, and when our own packets left.
//!
//! Invariant: buffers are used again and hold what was received last, no longer than until the next.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, recvmsg,
};
use socket2::Socket;

use crate::probe::IcmpError;
use crate::probe::icmp::icmp_error;

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
