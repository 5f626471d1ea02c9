//! The ICMP sockets that all flows of a family and a way out share.
//!
//! Invariant: one socket each, raw where that is allowed, else a datagram one.

use std::io;
use std::sync::Arc;

use socket2::Socket;

use super::super::drops::Drops;
use super::super::receive::Batch;
use super::super::socket;
use super::departures::Departures;
use super::{Driver, Owner, Timestamp};
use crate::config::Egress;

/// What ICMP this process may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IcmpAccess {
    /// A raw socket (CAP_NET_RAW).
    Raw,
    /// A datagram socket (`net.ipv4.ping_group_range`).
    Datagram,
    /// Neither.
    Denied,
}

/// The most that stands before an ICMP message that arrives: an IPv4 header with options.
const LONGEST_HEADERS: usize = 60;

pub(super) struct SharedIcmp {
    pub(super) egress: Arc<Egress>,
    pub(super) v6: bool,
    pub(super) raw: bool,
    /// None where the way out is no more.
    pub(super) socket: Option<Socket>,
    pub(super) drops: Drops,
    /// Runs that still want an answer.
    pub(super) waiting: usize,
    /// When its packets left.
    pub(super) departures: Departures,
    /// Until when answers may come that are too long for a batch.
    pub(super) long_until: Timestamp,
}

impl SharedIcmp {
    /// Whether the answer to a message of this length, which is as long, is too long for a batch.
    pub(super) const fn is_long(length: usize) -> bool {
        length + LONGEST_HEADERS > Batch::EACH
    }
}

impl Driver {
    /// Which ICMP this process may speak in a family out of `egress`. What socket that takes is open from
    /// now on.
    pub fn icmp_access(&mut self, v6: bool, egress: &Arc<Egress>) -> IcmpAccess {
        match self.shared_icmp(v6, egress).map(|index| self.icmp.get(index)) {
            Ok(Some(shared)) if shared.raw => IcmpAccess::Raw,
            Ok(Some(_)) => IcmpAccess::Datagram,
            _ => IcmpAccess::Denied,
        }
    }

    pub(super) fn shared_icmp(&mut self, v6: bool, egress: &Arc<Egress>) -> io::Result<usize> {
        let known = self.icmp.iter().position(|shared| shared.v6 == v6 && shared.egress == *egress);
        if let Some(index) = known
            && self.icmp.get(index).is_some_and(|shared| shared.socket.is_some())
        {
            return Ok(index);
        }
        self.look_at(egress);
        let (socket, raw) = match socket::icmp(v6, true, egress, self.tokens.share) {
            Ok(socket) => (socket, true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (socket::icmp(v6, false, egress, self.tokens.share)?, false)
            }
            Err(error) => return Err(error),
        };
        let index = known.unwrap_or(self.icmp.len());
        self.poller.add(&socket, Owner::Icmp(index).key(), false)?;
        let (egress, drops) = (Arc::clone(egress), Drops::default());
        // Those that wait at the one that is gone are still to be told.
        let waiting = known.and_then(|index| self.icmp.get(index)).map_or(0, |old| old.waiting);
        let departures = Departures::unknown();
        let long_until =
            known.and_then(|index| self.icmp.get(index)).map_or(Timestamp::ZERO, |old| old.long_until);
        let socket = Some(socket);
        let shared = SharedIcmp { egress, v6, raw, socket, drops, waiting, departures, long_until };
        match self.icmp.get_mut(index) {
            Some(old) => *old = shared,
            None => self.icmp.push(shared),
        }
        self.count_sends(index);
        self.heed_patience(index);
        Ok(index)
    }
}
