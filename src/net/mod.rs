//! The only sockets and clock reads of the program.
//!
//! ```text
//!   engine ──begin(flow, exchange)──▶ Driver ──▶ flows (pinned UDP, fresh UDP, TCP) ─▶ network
//!      ◀───────── Happening ─────────   │  ───▶ shared ICMP sockets (one per family and egress)
//!                                      Poller (epoll, one wake for many)
//! ```
//!
//! With several threads the engine has a [`Pool`] of drivers before it.
//!
//! Invariants: receives are stamped by the kernel where it can, and a stamp is believed only while wall
//! and monotonic clock agree; errors are attributed to the flow they belong to; a fault of this host is
//! reported as such and never as a result of the peer.

pub mod clock;
pub mod driver;
mod drops;
mod fault;
mod host;
mod icmp;
mod poller;
mod pool;
mod receive;
pub mod resolve;
pub mod rights;
pub mod route;
pub mod sandbox;
mod share;
mod socket;
mod tcp_info;
pub mod way;

pub use driver::{Driver, FlowId, Happening, IcmpAccess, Tag};
pub use host::{has_room, listen, raise_descriptor_limit};
pub use poller::Waker;
pub use pool::{Drivers, Fence, Line, MOST_DRIVERS, Pool};

/// What the fuzz targets read as the driver would.
#[cfg(feature = "fuzzing")]
pub mod fuzz {
    use super::icmp::{self, Packet};
    pub use super::route::fuzz::{link, way};

    /// The token of a packet of a raw ICMP socket, and what it says or quotes.
    pub fn icmp(v6: bool, bytes: &[u8]) -> Option<(u64, &[u8])> {
        let _ = (icmp::headers(v6, bytes), icmp::token_of(bytes));
        match icmp::read(v6, bytes).ok()? {
            Packet::Reply { token, message } => Some((token, message)),
            Packet::Error { token, quoted, .. } => Some((token, quoted)),
        }
    }
}
