//! The round trip of a TCP connection as the kernel timed it.
//!
//! Our own connect time ends when we wake up, and has each repetition of the SYN in it, a second and more. The
//! kernel's is from the SYN that was answered to its answer: of a repeated one it is known only by the
//! timestamps (RFC 7323, 4.1) of both ends, to the millisecond, and unknown without them (RFC 6298, 3).
//!
//! tcp(7), `TCP_INFO`.

use std::time::Duration;

use nix::sys::socket::GetSockOpt as _;
use nix::{getsockopt_impl, sockopt_impl};
use socket2::Socket;

/// Words of `struct tcp_info` up to `tcpi_rtt`, the last one. Every kernel has these, in this order; how many
/// follow differs.
const WORDS: usize = 18;

sockopt_impl!(
    /// The beginning of `struct tcp_info`.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u32; WORDS]
);

/// The round trip that the kernel knows of a connection; nothing if it knows none.
pub(super) fn round_trip(socket: &Socket) -> Option<Duration> {
    let [.., micros] = TcpInfo.get(socket).ok()?;
    (micros > 0).then(|| Duration::from_micros(micros.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Protocol, Type};

    use super::*;

    #[test]
    fn a_connection_has_a_round_trip_and_a_mere_socket_has_none() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        assert_eq!(round_trip(&socket), None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.connect(&listener.local_addr().unwrap().into()).unwrap();
        let took = round_trip(&socket).unwrap();
        assert!(took > Duration::ZERO, "{took:?}");
    }
}
