//! What an error number of this host means: a table, so that no fault of ours becomes the network's.

use std::io;

use nix::errno::Errno;

use crate::probe::IcmpError;
use crate::sample::{Fault, Reason};

/// What a failed socket call says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something at our own end.
    Ours(Fault),
    /// The peer reset or refused the stream.
    Reset,
    /// The kernel passes on an ICMP error; its queue may tell more.
    Icmp(IcmpError),
}

/// Judges the error of opening, binding or sending.
pub(super) fn of_send(error: &io::Error) -> Fault {
    match errno(error) {
        Errno::EPERM => Fault::LocalFirewall,
        // EACCES is a `prohibit` route here: rights are asked for at opening.
        Errno::EACCES | Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EINVAL => {
            Fault::NoRoute
        }
        // ENOENT: there is no network namespace of that name (yet).
        Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENXIO | Errno::ENOENT => Fault::Egress,
        Errno::EMSGSIZE => Fault::LocalMtu,
        Errno::ENOBUFS
        | Errno::EAGAIN
        | Errno::ENOMEM
        | Errno::EMFILE
        | Errno::ENFILE
        | Errno::EADDRINUSE => Fault::Resource,
        _ => Fault::Internal,
    }
}

/// Judges the error of opening a socket: there EPERM and EACCES are about our rights.
pub(super) fn of_open(error: &io::Error) -> Fault {
    match errno(error) {
        Errno::EPERM | Errno::EACCES => Fault::Permission,
        Errno::EAFNOSUPPORT => Fault::NoRoute,
        _ => of_send(error),
    }
}

/// Judges an error that a connected socket reports after the fact.
pub(super) fn of_socket(error: &io::Error) -> Verdict {
    match errno(error) {
        Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE => Verdict::Reset,
        Errno::EHOSTUNREACH | Errno::EHOSTDOWN => {
            Verdict::Icmp(IcmpError::Unreachable(Reason::HostUnreachable))
        }
        Errno::ENETUNREACH => Verdict::Icmp(IcmpError::Unreachable(Reason::NetUnreachable)),
        Errno::EACCES | Errno::EPERM => Verdict::Icmp(IcmpError::Unreachable(Reason::AdminProhibited)),
        _ => Verdict::Ours(of_send(error)),
    }
}

/// Whether an asynchronous error, and not the send itself, made a send fail.
pub(super) fn may_be_queued(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EACCES
            | Errno::EMSGSIZE
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
    )
}

/// Whether a read failed for a fault of this host, so that what arrived may still lie in the socket.
pub(super) fn is_deaf(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::WouldBlock && !may_be_queued(error)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_of_a_send_is_ours() {
        let cases = [
            (Errno::EPERM, Fault::LocalFirewall),
            (Errno::ENETUNREACH, Fault::NoRoute),
            (Errno::EHOSTUNREACH, Fault::NoRoute),
            (Errno::EACCES, Fault::NoRoute),
            (Errno::EINVAL, Fault::NoRoute),
            (Errno::EADDRNOTAVAIL, Fault::Egress),
            (Errno::EMSGSIZE, Fault::LocalMtu),
            (Errno::ENOBUFS, Fault::Resource),
            (Errno::EMFILE, Fault::Resource),
            (Errno::EIO, Fault::Internal),
        ];
        for (errno, fault) in cases {
            assert_eq!(of_send(&errno.into()), fault, "{errno}");
        }
        assert_eq!(of_open(&Errno::EPERM.into()), Fault::Permission);
    }
}
