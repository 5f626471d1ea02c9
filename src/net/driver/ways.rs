//! Ways out that come and go under a running prober.
//!
//! A socket stays where it was opened: with an interface that is deleted it is dead, also when another one
//! of that name comes; a namespace that is deleted lives on, unseen, as long as a socket is in it. So each
//! place is known by number, and what was opened in another one is closed.
//! Invariant: a probe whose way out was not there while it was under way says nothing about its peer.

use std::sync::Arc;

use nix::errno::Errno;

use super::{Driver, Fault, FlowId, Run, Timestamp};
use crate::config::Egress;
use crate::net::fault;
use crate::net::socket::{self, Place};
use crate::time::Clock as _;

/// Where a way out is, and since when that is known.
pub(super) struct Known {
    egress: Arc<Egress>,
    place: Place,
    since: Timestamp,
}

/// What a send over a socket that was closed here fails with.
pub(super) const GONE: Errno = Errno::ENODEV;

impl Driver {
    /// Closes what was opened where the way out is no more; when it was last seen to have moved, if it has.
    pub(super) fn look_at(&mut self, egress: &Arc<Egress>) -> Timestamp {
        if egress.namespace.is_none() && egress.interface.is_none() && egress.source.is_none() {
            return Timestamp::ZERO;
        }
        let (place, now) = (socket::place(egress), self.clock.now());
        match self.places.iter_mut().find(|known| known.egress == *egress) {
            Some(known) if known.place == place => return known.since,
            Some(known) => {
                let keeps = known.place.keeps_sockets(place);
                (known.place, known.since) = (place, now);
                if keeps {
                    return now;
                }
            }
            None => {
                self.places.push(Known { egress: Arc::clone(egress), place, since: Timestamp::ZERO });
                return Timestamp::ZERO;
            }
        }
        for flow in self.flows.iter_mut().flatten().filter(|flow| flow.egress == *egress) {
            (flow.pinned, flow.previous) = (None, None);
        }
        for shared in self.icmp.iter_mut().filter(|shared| shared.egress == *egress) {
            shared.socket = None;
        }
        now
    }

    /// Whether the way out of a flow is there, where the kernel would send without a word if it is not: in a
    /// namespace that was deleted, and from an IPv6 address that is ours no more. (The latter would also
    /// have the routers on the way wait for an answer of that address, after it has come back.)
    pub(super) fn is_there(&mut self, flow: FlowId) -> Result<(), Fault> {
        let Some(state) = self.flows.get(flow.0 as usize).and_then(Option::as_ref) else { return Ok(()) };
        let from_v6 = state.egress.source.is_some_and(|source| source.is_ipv6());
        if state.egress.namespace.is_none() && !from_v6 {
            return Ok(());
        }
        let egress = Arc::clone(&state.egress);
        self.look_at(&egress);
        let known = self.places.iter().find(|known| known.egress == egress);
        if known.is_some_and(|known| from_v6 && !known.place.has_source()) {
            return Err(Fault::Egress);
        }
        Ok(())
    }

    /// What is wrong with the way out of a run that came to nothing, if something is.
    pub(super) fn way_fault(&mut self, run: &Run) -> Option<Fault> {
        let state = self.flows.get(run.flow.0 as usize).and_then(Option::as_ref)?;
        let (peer, egress) = (state.peer, Arc::clone(&state.egress));
        if *egress == Egress::default() {
            return None;
        }
        let moved = self.look_at(&egress);
        if moved > Timestamp::ZERO && moved >= run.began {
            return Some(Fault::Egress);
        }
        let error = socket::source_towards(peer, &egress).err()?;
        let denied = error.raw_os_error() == Some(Errno::EPERM as i32);
        Some(if denied { Fault::Permission } else { fault::of_send(&error) })
    }
}
