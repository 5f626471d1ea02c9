//! What series keep between their exchanges: a peer, and perhaps a pinned socket to it.
//!
//! Invariant: a flow that was let go of stays until its last run has cleaned up at the peer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;
use socket2::Socket;

use super::super::drops::Drops;
use super::super::socket;
use super::{Clock, Driver, Fault, FlowId, Happening, Outcome, Owner, Past, Report, insert};
use crate::config::Egress;
use crate::probe::Flow;

pub(super) struct FlowState {
    pub(super) peer: IpAddr,
    pub(super) port: u16,
    pub(super) kind: Flow,
    pub(super) egress: Arc<Egress>,
    pub(super) pinned: Option<Box<Pinned>>,
    /// The socket before this one, for answers that were due on it.
    pub(super) previous: Option<Box<Pinned>>,
    /// Addresses or routes have changed, or a middlebox dropped the flow: the next run binds anew.
    pub(super) stale: bool,
    /// The owner has let go of it; it goes when its last exchange has cleaned up at the peer.
    pub(super) closing: bool,
    pub(super) runs: SmallVec<[u32; 4]>,
    /// Its echo requests that are over, while they are known.
    pub(super) past: SmallVec<[Past; 4]>,
}

/// The socket that a flow keeps. Most of ten thousand flows are pings, and have none.
pub(super) struct Pinned {
    pub(super) socket: Socket,
    /// Our address and port of it.
    local: Option<SocketAddr>,
    drops: Drops,
}

impl FlowState {
    /// Its socket, and what was dropped there.
    pub(super) fn current(&mut self) -> Option<(&Socket, &mut Drops)> {
        self.pinned.as_deref_mut().map(Pinned::parts)
    }

    /// The same of the socket before it.
    pub(super) fn before(&mut self) -> Option<(&Socket, &mut Drops)> {
        self.previous.as_deref_mut().map(Pinned::parts)
    }
}

impl Pinned {
    fn parts(&mut self) -> (&Socket, &mut Drops) {
        (&self.socket, &mut self.drops)
    }
}

impl Driver {
    /// A flow to `peer`. Its socket opens with its first run, and opens again after a fault of ours.
    pub fn open(&mut self, peer: IpAddr, port: u16, kind: Flow, egress: Arc<Egress>) -> FlowId {
        let state = FlowState {
            peer,
            port,
            kind,
            egress,
            pinned: None,
            previous: None,
            stale: false,
            closing: false,
            runs: SmallVec::new(),
            past: SmallVec::new(),
        };
        let index = insert(&mut self.flows, &mut self.free_flows, state);
        FlowId(index)
    }

    /// Reads a little of what a flow keeps. The number says nothing.
    pub fn fetch(&self, flow: FlowId) -> u64 {
        let state = self.flows.get(flow.0 as usize).and_then(Option::as_ref);
        state.map_or(0, |state| {
            u64::from(state.port)
                ^ state.runs.len() as u64
                ^ u64::from(state.peer.is_ipv6())
                ^ u64::from(state.closing)
        })
    }

    /// Lets go of a flow: runs without a result end as cancelled, but go on as far as they have
    /// something to clean up at the peer.
    pub fn close(&mut self, flow: FlowId, out: &mut Vec<Happening>) {
        self.let_go(flow, true, out);
    }

    /// The same at once: for a flow whose runs leave nothing behind at the peer.
    pub fn abandon(&mut self, flow: FlowId, out: &mut Vec<Happening>) {
        self.let_go(flow, false, out);
    }

    fn let_go(&mut self, flow: FlowId, patient: bool, out: &mut Vec<Happening>) {
        let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) else { return };
        state.closing = true;
        let runs = state.runs.clone();
        let now = self.clock.now();
        for index in runs {
            let Some(mut run) = self.take_run(index) else { continue };
            if run.reported.is_none() {
                self.report(&mut run, now, Report::new(Outcome::Unsent(Fault::Cancelled)), out);
            }
            if run.ended || !patient { self.forget(index, run) } else { self.put_back(index, run) }
        }
        self.drop_closed(flow);
    }

    /// Gives a flow a new source port from its next run on.
    pub fn renew(&mut self, flow: FlowId) {
        if let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) {
            state.stale = true;
        }
    }

    /// Frees a flow that was let go of and has no run any more.
    pub(super) fn drop_closed(&mut self, flow: FlowId) {
        let Some(slot) = self.flows.get_mut(flow.0 as usize) else { return };
        if slot.as_ref().is_some_and(|state| state.closing && state.runs.is_empty()) {
            *slot = None;
            self.free_flows.push(flow.0);
        }
    }

    /// Asks the exchanges of a flow what they want next, for something outside them has changed.
    pub fn nudge(&mut self, flow: FlowId, out: &mut Vec<Happening>) {
        for index in self.runs_of(flow.0) {
            let Some(run) = self.take_run(index) else { continue };
            if run.ended { self.put_back(index, run) } else { self.advance(index, run, out) }
        }
        self.hand_out_pending(out);
    }

    /// Opens the flow's pinned socket if it has none, and tells its local address.
    pub(super) fn pin(&mut self, flow: FlowId) -> io::Result<Option<SocketAddr>> {
        let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) else {
            return Ok(None);
        };
        if state.kind != Flow::PinnedUdp {
            return Ok(None);
        }
        if state.stale {
            // Answers that are still due come to the old socket, so that is read until it is replaced.
            state.previous = state.pinned.take();
            state.stale = false;
        }
        if let Some(pinned) = &state.pinned {
            return Ok(pinned.local);
        }
        let egress = Arc::clone(&state.egress);
        self.look_at(&egress);
        let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) else {
            return Ok(None);
        };
        let socket = socket::udp(SocketAddr::new(state.peer, state.port), true, &state.egress)?;
        self.poller.add(&socket, Owner::Flow(flow.0).key(), false)?;
        let local = socket::local_address(&socket);
        state.pinned = Some(Box::new(Pinned { socket, local, drops: Drops::default() }));
        Ok(local)
    }

    pub(super) fn closing(&self, flow: FlowId) -> bool {
        self.flows.get(flow.0 as usize).and_then(Option::as_ref).is_none_or(|state| state.closing)
    }
}
