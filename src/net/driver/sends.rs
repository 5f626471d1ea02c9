//! Bytes on their way: those for the shared sockets together, with one call for many, all others one by one.
//!
//! Invariant: whoever's packet left is told so, and whoever's did not is told why; an ICMP error about an earlier
//! packet, which a send is the first to meet, is not taken for its own.

use std::io;
use std::net::SocketAddr;

use smallvec::SmallVec;
use socket2::Socket;

use super::super::receive::Batch;
use super::super::socket::{datagram, flush};
use super::super::{fault, socket};
use super::arrivals::queue_errors;
use super::departures::{left_at, own_socket};
use super::shared::SharedIcmp;
use super::ways::GONE;
use super::{Channel, Clock, Driver, Event, Happening, Owner, Run};

/// How often a send is tried again that failed for an error of an earlier packet.
const SEND_TRIES: u8 = 4;

impl Driver {
    /// Sends what has gathered for the shared sockets, many with one call.
    pub(super) fn transmit_outbox(&mut self, out: &mut Vec<Happening>) {
        if self.outbox.1.is_empty() {
            return;
        }
        let (mut all, mut whose) = std::mem::take(&mut self.outbox);
        let mut from = 0;
        let mut left = whose.as_slice();
        while let Some((first, _)) = left.split_first() {
            let begun = self.transmit_together(left, all.get(from..).unwrap_or_default(), out);
            let (done, rest) = left.split_at(begun.min(left.len()));
            from += done.iter().map(|(.., length)| length).sum::<usize>();
            left = rest;
            if begun == 0 {
                // Alone it is told why not.
                let (index, generation, length) = *first;
                let bytes = all.get(from..from + length).unwrap_or_default();
                if let Some(mut run) = self.take_run(index) {
                    if run.ended || run.generation != generation {
                        self.put_back(index, run);
                    } else {
                        self.send(index, &mut run, bytes, None, None);
                        self.advance(index, run, out);
                    }
                }
                from += length;
                left = left.get(1..).unwrap_or_default();
            }
        }
        all.clear();
        whose.clear();
        if self.outbox.1.is_empty() {
            self.outbox = (all, whose);
        }
    }

    /// Sends the first packets of the outbox, as many as have one socket, with one call. How many left.
    fn transmit_together(
        &mut self,
        whose: &[(u32, u32, usize)],
        bytes: &[u8],
        out: &mut Vec<Happening>,
    ) -> usize {
        let shared_of = |run: &Run| match run.channel {
            Channel::Icmp(shared) if !run.ended => Some(shared),
            _ => None,
        };
        let (mut packets, mut rest, mut shared) = (SmallVec::<[_; Batch::MOST]>::new(), bytes, None);
        for (index, generation, length) in whose.iter().take(Batch::MOST) {
            let Some(run) = self.run_ref(*index).filter(|run| run.generation == *generation) else { break };
            let (Some(own), Some(state)) =
                (shared_of(run), self.flows.get(run.flow.0 as usize).and_then(Option::as_ref))
            else {
                break;
            };
            let Some((packet, after)) = rest.split_at_checked(*length) else { break };
            if SharedIcmp::is_long(*length) {
                break;
            }
            if *shared.get_or_insert(own) != own {
                break;
            }
            packets.push((packet, state.peer));
            rest = after;
        }
        let Some(index) = shared.filter(|_| packets.len() > 1) else { return 0 };
        self.count_sends(index);
        let Some((Some(socket), v6)) = self.icmp.get(index).map(|shared| (&shared.socket, shared.v6)) else {
            return 0;
        };
        let before = self.clock.now();
        let sent = socket::datagrams(socket, v6, &packets).unwrap_or(0);
        let took = self.clock.now().since(before);
        if let Some(shared) = self.icmp.get_mut(index) {
            for (index, generation, _) in whose.iter().take(sent) {
                shared.departures.sent(Some((*index, *generation)));
            }
            if sent < packets.len() {
                shared.departures.failed();
            }
        }
        // Until the kernel's own times are read, each has its share of what all of them took.
        let each = took / u32::try_from(sent.max(1)).unwrap_or(u32::MAX);
        let mut at = before;
        for (index, ..) in whose.iter().take(sent) {
            let Some(mut run) = self.take_run(*index) else { continue };
            run.sent.get_or_insert(at);
            run.exchange.handle(Event::Sent, at);
            self.advance(*index, run, out);
            at = at + each;
        }
        sent
    }

    pub(super) fn send(
        &mut self,
        index: u32,
        run: &mut Run,
        bytes: &[u8],
        ttl: Option<u8>,
        port: Option<u16>,
    ) {
        // With several packets under way the error of another may come in between.
        let mut tries = 0;
        if let Channel::Icmp(shared) = run.channel {
            self.count_sends(shared);
        }
        loop {
            let at = self.clock.now();
            match self.transmit(index, run, bytes, ttl, port) {
                Ok(()) => {
                    let now = self.errors_now();
                    let left = |own| left_at(&mut self.errors, own, now, at, &mut self.pending);
                    let at = own_socket(&self.flows, index, run).map_or(at, left);
                    run.sent.get_or_insert(at);
                    run.exchange.handle(Event::Sent, at);
                    self.watch_writes(index, run);
                    return;
                }
                Err(error) if tries < SEND_TRIES && fault::may_be_queued(&error) => {
                    // An ICMP error about an earlier packet makes this send fail; it says nothing of this one.
                    tries += 1;
                    self.drain_errors(index, run);
                }
                Err(error) => {
                    run.exchange.handle(Event::Failed(fault::of_send(&error)), at);
                    return;
                }
            }
        }
    }

    fn transmit(
        &mut self,
        index: u32,
        run: &mut Run,
        bytes: &[u8],
        ttl: Option<u8>,
        port: Option<u16>,
    ) -> io::Result<()> {
        let state =
            self.flows.get(run.flow.0 as usize).and_then(Option::as_ref).ok_or(io::ErrorKind::NotFound)?;
        let peer = state.peer;
        match &mut run.channel {
            Channel::Closed => Err(io::ErrorKind::NotConnected.into()),
            Channel::Icmp(shared) => {
                let shared = self.icmp.get_mut(*shared).ok_or(io::ErrorKind::NotFound)?;
                let socket = shared.socket.as_ref().ok_or(GONE)?;
                let send = || datagram(socket, bytes, Some(SocketAddr::new(peer, 0)), ttl);
                let result = if run.whole { socket::in_one_piece(socket, shared.v6, send) } else { send() };
                match result {
                    // A trace times its packets itself, and a search for the MTU none.
                    Ok(()) => {
                        let plain = ttl.is_none() && !run.whole;
                        shared.departures.sent(plain.then_some((index, run.generation)));
                    }
                    Err(_) => shared.departures.failed(),
                }
                if SharedIcmp::is_long(bytes.len()) {
                    shared.long_until = shared.long_until.max(self.clock.now() + run.timeout);
                }
                result
            }
            Channel::Pinned => {
                let socket = &state.pinned.as_ref().ok_or(GONE)?.socket;
                datagram(socket, bytes, None, ttl)
            }
            Channel::Udp { socket, port: own, connected, .. } => {
                let to = port.unwrap_or(*own);
                datagram(socket, bytes, (!*connected).then_some(SocketAddr::new(peer, to)), ttl)
            }
            Channel::Tcp { socket, unsent, connected, .. } => {
                unsent.extend_from_slice(bytes);
                if *connected { flush(socket, unsent) } else { Ok(()) }
            }
        }
    }

    /// Sends from the second socket of a run, which opens with its first packet.
    pub(super) fn send_beside(&mut self, index: u32, run: &mut Run, bytes: &[u8]) {
        let at = self.clock.now();
        if run.beside.is_none() {
            match self.open_beside(index, run) {
                Ok(socket) => run.beside = Some(socket),
                Err(error) => {
                    run.exchange.handle(Event::Failed(fault::of_open(&error)), at);
                    return;
                }
            }
        }
        let Some(socket) = &run.beside else { return };
        let mut sent = datagram(socket, bytes, None, None);
        if sent.as_ref().is_err_and(fault::may_be_queued) {
            // An ICMP error about an earlier packet makes this send fail.
            let now = self.errors_now();
            queue_errors(&mut self.errors, socket, Owner::Run(index), now, &mut self.pending);
            sent = datagram(socket, bytes, None, None);
        }
        let now = self.errors_now();
        let (event, at) = match sent {
            Ok(()) => {
                let own = (Owner::Run(index), socket);
                (Event::Sent, left_at(&mut self.errors, own, now, at, &mut self.pending))
            }
            Err(error) => (Event::Failed(fault::of_send(&error)), at),
        };
        run.exchange.handle(event, at);
    }

    fn open_beside(&self, index: u32, run: &Run) -> io::Result<Socket> {
        let state = self.flows.get(run.flow.0 as usize).and_then(Option::as_ref);
        let state = state.ok_or(io::ErrorKind::NotFound)?;
        let socket = socket::udp(SocketAddr::new(state.peer, state.port), true, &state.egress)?;
        self.poller.add(&socket, Owner::Run(index).key(), false)?;
        Ok(socket)
    }
}
