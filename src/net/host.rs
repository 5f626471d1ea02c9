//! What this host gives the process: listeners and descriptors.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel grants at most `net.core.somaxconn`. With a shorter
/// queue a burst of clients makes the next one's first packet be dropped, and repeated only a second later.
const BACKLOG: i32 = 4096;

/// Of an answer the kernel holds at most twice this for a client that does not read.
const SEND_BUFFER: usize = 256 * 1024;

/// A listener at `address`, also while the host does not have that address yet (at boot).
///
/// # Errors
/// The port is taken, or not allowed.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` means every address of both families, any other only itself.
        socket.set_only_v6(!address.ip().is_unspecified())?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    // Handed down to each connection: what a client does not read is not made ahead.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Descriptors that no probe may take: for the web side, for files, for the resolver.
const RESERVED: u64 = 80;
/// The first of them.
static CEILING: AtomicI32 = AtomicI32::new(i32::MAX);

/// Asks for as many descriptors as the host allows, and tells how many those are. Some are kept from the
/// probes from now on.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    let limit =
        if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    CEILING.store(i32::try_from(limit - RESERVED.min(limit / 2)).unwrap_or(i32::MAX), Relaxed);
    limit
}

/// A socket of a probe, unless it has one of the descriptors that are kept for others: the kernel hands out
/// the lowest that is free, so then all others are taken.
pub(super) fn beside_reserved(socket: Socket) -> io::Result<Socket> {
    if socket.as_raw_fd() >= CEILING.load(Relaxed) {
        Err(nix::errno::Errno::EMFILE.into())
    } else {
        Ok(socket)
    }
}

/// Whether a page can be written there without waiting for whoever reads it. Where that cannot be known, it
/// can.
pub fn has_room(out: impl AsFd) -> bool {
    let mut asked = [PollFd::new(&out, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).map_or(true, |ready| ready > 0)
}
