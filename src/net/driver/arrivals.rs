//! What arrives: read, stamped, and handed to the exchange it belongs to.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::MsgFlags;
use socket2::Socket;

use super::super::receive::{Arrival, Batch, Queued};
use super::super::{fault, icmp};
use super::{
    Channel, Clock, Driver, Drops, Duration, Event, Fault, FlowState, Handled, Happening, Mismatch, Outcome,
    Owner, POLLS, Pending, READS_PER_FLOW, READS_PER_SHARED, Ready, Receiver, Run, Timestamp, Whose,
};

/// How often a read that failed is tried again at once.
const READ_TRIES: usize = 3;

impl Driver {
    pub(super) fn hand_out_pending(&mut self, out: &mut Vec<Happening>) {
        for _ in 0..POLLS {
            let Some(pending) = self.pending.pop() else { return };
            let event = Event::Icmp { from: pending.from, error: pending.error, quoted: &pending.quoted };
            match pending.owner {
                Owner::Icmp(_) => {
                    match icmp::token_of(&pending.quoted).and_then(|token| self.whose(token)) {
                        Some(Whose::Run(index)) => self.offer(&[index], event, pending.at, out),
                        Some(Whose::Past(_)) => {} // it is over
                        None => self.offer_headers(&pending.quoted, event, pending.at, out),
                    }
                }
                Owner::Flow(flow) => {
                    let runs = self.runs_of(flow);
                    self.offer(&runs, event, pending.at, out);
                }
                Owner::Run(index) => self.offer(&[index], event, pending.at, out),
            }
        }
        self.pending.clear();
    }

    pub(super) fn read_icmp(&mut self, index: usize, ready: Ready, out: &mut Vec<Happening>) {
        // First, so that answers are timed by when their requests left.
        if ready.error || self.icmp.get(index).is_some_and(|shared| shared.departures.are_due()) {
            self.read_departures(index);
        }
        if ready.error
            && let Some(socket) = self.icmp.get(index).and_then(|shared| shared.socket.as_ref())
        {
            // An error whose queue entry was dropped for want of room would keep the socket ready for ever.
            let _ = socket.take_error();
        }
        if !ready.readable {
            return;
        }
        let mut batch = std::mem::replace(&mut self.batch, Batch::empty());
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::empty());
        let (mut read, mut failed, mut deaf) = (0, 0, false);
        while read < READS_PER_SHARED {
            let Some(shared) = self.icmp.get(index) else { break };
            let Some(socket) = shared.socket.as_ref() else { break };
            let headed = shared.raw && !shared.v6;
            let result = if shared.long_until < self.woke {
                batch.receive(socket, MsgFlags::empty(), shared.waiting).map(|more| {
                    let routed = |arrival: Arrival<'_>| icmp::routed(headed, arrival.bytes);
                    self.fetch_arrivals(batch.arrivals().filter_map(routed));
                    batch.arrivals().for_each(|arrival| self.arrived(index, &arrival, out));
                    (batch.taken(), more)
                })
            } else {
                receiver.receive(socket).map(|arrival| {
                    self.arrived(index, &arrival, out);
                    (1, true)
                })
            };
            match result {
                Ok((count, more)) => {
                    read += count;
                    if !more {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An error that is queued, told once.
                Err(error) if fault::may_be_queued(&error) => read += 1,
                // A fault of this host, which may be over at once; else the next turn tries again.
                Err(_) if failed < READ_TRIES => failed += 1,
                Err(_) => {
                    deaf = true;
                    break;
                }
            }
        }
        self.receiver = receiver;
        self.batch = batch;
        if let Some(shared) = self.icmp.get_mut(index) {
            shared.drops.deaf = deaf.then_some(Fault::Resource);
        }
    }

    /// Has what is known of these tokens come into the caches, side by side.
    fn fetch_arrivals(&self, tokens: impl Iterator<Item = u64>) {
        let mut sum = 0;
        for token in tokens {
            sum ^= self.fetch(self.tokens.flow(token));
        }
        std::hint::black_box(sum);
    }

    /// Hands out what arrived on a shared socket.
    fn arrived(&mut self, index: usize, arrival: &Arrival<'_>, out: &mut Vec<Happening>) {
        let Some(shared) = self.icmp.get_mut(index) else { return };
        let (v6, raw) = (shared.v6, shared.raw);
        if let Some(count) = arrival.dropped {
            let new = shared.drops.note(count, self.clock.now());
            if new > 0 {
                out.push(Happening::Overflow(new));
            }
        }
        let at = self.stamp(arrival.stamp, out);
        let Some(from) = arrival.from else { return };
        let (token, event) = if raw {
            let Ok(packet) = icmp::read(v6, arrival.bytes) else {
                if let Some((error, quoted)) = icmp::headers(v6, arrival.bytes) {
                    let event = Event::Icmp { from: Some(from.ip()), error, quoted };
                    self.offer_headers(quoted, event, at, out);
                } else {
                    // Answers to other programs on this host may be shorter than a token of ours.
                    out.push(Happening::Unmatched(Mismatch::Malformed));
                }
                return;
            };
            match packet {
                icmp::Packet::Reply { token, message } => {
                    (Some(token), Event::Received { from, bytes: message })
                }
                icmp::Packet::Error { token, error, destination, quoted } => {
                    // The quoted packet must have gone to the peer of the run it claims to be about.
                    let ours = self.peer_of_token(token) == Some(destination);
                    (ours.then_some(token), Event::Icmp { from: Some(from.ip()), error, quoted })
                }
            }
        } else {
            (icmp::token_of(arrival.bytes), Event::Received { from, bytes: arrival.bytes })
        };
        match token.and_then(|token| self.whose(token)) {
            Some(Whose::Run(run)) => self.offer(&[run], event, at, out),
            Some(Whose::Past(past)) => {
                if matches!(event, Event::Received { .. }) {
                    self.again(past, from.ip(), out);
                }
            }
            None => out.push(Happening::Unmatched(Mismatch::Token)),
        }
    }

    /// Offers an error that quotes no token to those that know their packets by the header.
    fn offer_headers(&mut self, quoted: &[u8], event: Event<'_>, at: Timestamp, out: &mut Vec<Happening>) {
        if quoted.is_empty() {
            // Our own kernel: a packet was too large for its interface, which its send has told as well.
        } else if quoted.len() < icmp::TELLING && !self.header_readers.is_empty() {
            let readers = self.header_readers.clone();
            self.offer(&readers, event, at, out);
        } else {
            out.push(Happening::Unmatched(Mismatch::Token));
        }
    }

    pub(super) fn read_flow(&mut self, flow: u32, ready: Ready, out: &mut Vec<Happening>) {
        if ready.error {
            self.drain_flow(flow);
        }
        if ready.readable {
            self.read_socket(flow, FlowState::current, out);
            self.read_socket(flow, FlowState::before, out);
        }
    }

    fn read_socket(
        &mut self,
        flow: u32,
        which: fn(&mut FlowState) -> Option<(&Socket, &mut Drops)>,
        out: &mut Vec<Happening>,
    ) {
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::empty());
        let (mut packets, mut octets, mut deaf) = (0, 0, false);
        let due = self.answer_is_due(flow);
        for _ in 0..READS_PER_FLOW {
            if packets == 1 && due && !self.answer_is_due(flow) {
                break; // it was the answer: what else is there makes the socket ready again
            }
            let Some(state) = self.flows.get_mut(flow as usize).and_then(Option::as_mut) else { break };
            let Some((socket, drops)) = which(state) else { break };
            let result = receiver.receive(socket);
            deaf = result.as_ref().is_err_and(fault::is_deaf);
            let arrival = match result {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // The kernel repeats a queued error here once; the queue itself tells whose it is.
                    self.drain_flow(flow);
                    continue;
                }
            };
            if let Some(count) = arrival.dropped {
                let new = drops.note(count, self.clock.now());
                if new > 0 {
                    out.push(Happening::Overflow(new));
                }
            }
            (packets, octets) = (packets + 1, octets + arrival.bytes.len());
            let at = self.stamp(arrival.stamp, out);
            let Some(from) = arrival.from else { continue };
            let runs = self.runs_of(flow);
            self.offer(&runs, Event::Received { from, bytes: arrival.bytes }, at, out);
        }
        self.receiver = receiver;
        let now = self.clock.now();
        let state = self.flows.get_mut(flow as usize).and_then(Option::as_mut);
        if let Some((_, drops)) = state.and_then(which) {
            drops.read(packets, octets, now);
            drops.deaf = unread(deaf, packets);
        }
    }

    /// Whether a run of a flow still wants something.
    fn answer_is_due(&self, flow: u32) -> bool {
        let state = self.flows.get(flow as usize).and_then(Option::as_ref);
        state.is_some_and(|state| {
            state.runs.iter().any(|run| self.run_ref(*run).is_some_and(|run| !run.ended))
        })
    }

    /// The time now, and what turns a kernel's stamp into ours while that can be believed.
    pub(super) fn errors_now(&self) -> (Timestamp, Option<i64>) {
        let now = self.clock.now();
        (now, (now >= self.distrust_until).then_some(self.offset))
    }

    fn drain_flow(&mut self, flow: u32) {
        let now = self.errors_now();
        for which in [FlowState::current, FlowState::before] {
            let state = self.flows.get_mut(flow as usize).and_then(Option::as_mut);
            let Some((socket, drops)) = state.and_then(which) else { continue };
            let deaf = queue_errors(&mut self.errors, socket, Owner::Flow(flow), now, &mut self.pending);
            drops.deaf = deaf.then_some(Fault::Resource);
        }
    }

    pub(super) fn read_run(&mut self, index: u32, ready: Ready, out: &mut Vec<Happening>) {
        let Some(run) = self.take_run(index) else { return };
        if matches!(run.channel, Channel::Tcp { .. }) {
            self.read_stream(index, run, ready, out);
            return;
        }
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::empty());
        let now = self.errors_now();
        let Channel::Udp { socket, .. } = &run.channel else {
            self.receiver = receiver;
            self.put_back(index, run);
            return;
        };
        let Ok(socket) = socket.try_clone() else {
            self.receiver = receiver;
            self.put_back(index, run);
            return;
        };
        let beside = run.beside.as_ref().and_then(|beside| beside.try_clone().ok());
        self.put_back(index, run);
        if ready.error {
            queue_errors(&mut self.errors, &socket, Owner::Run(index), now, &mut self.pending);
        }
        let (mut packets, mut octets, mut deaf) = (0, 0, false);
        for _ in 0..READS_PER_FLOW {
            let result = receiver.receive(&socket);
            deaf = result.as_ref().is_err_and(fault::is_deaf);
            let arrival = match result {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    queue_errors(&mut self.errors, &socket, Owner::Run(index), now, &mut self.pending);
                    continue;
                }
            };
            (packets, octets) = (packets + 1, octets + arrival.bytes.len());
            if let Some(count) = arrival.dropped {
                let now = self.clock.now();
                let new = self.own_drops(index).map_or(0, |drops| drops.note(count, now));
                if new > 0 {
                    out.push(Happening::Overflow(new));
                }
            }
            let at = self.stamp(arrival.stamp, out);
            let Some(from) = arrival.from else { continue };
            let peer = self.peer_of(index);
            if peer != Some(from.ip()) {
                out.push(Happening::Unmatched(Mismatch::Source));
                continue;
            }
            self.offer(&[index], Event::Received { from, bytes: arrival.bytes }, at, out);
        }
        if let Some(beside) = beside {
            if ready.error {
                queue_errors(&mut self.errors, &beside, Owner::Run(index), now, &mut self.pending);
            }
            self.read_beside(index, &beside, &mut receiver, out);
        }
        self.receiver = receiver;
        let now = self.clock.now();
        if let Some(drops) = self.own_drops(index) {
            drops.read(packets, octets, now);
            drops.deaf = unread(deaf, packets);
        }
    }

    /// The overflow of a run that has a UDP socket of its own.
    fn own_drops(&mut self, index: u32) -> Option<&mut Drops> {
        match &mut self.runs.get_mut(index as usize)?.as_mut()?.channel {
            Channel::Udp { drops, .. } => Some(drops),
            _ => None,
        }
    }

    /// Reads the second socket of a run.
    fn read_beside(
        &mut self,
        index: u32,
        socket: &Socket,
        receiver: &mut Receiver,
        out: &mut Vec<Happening>,
    ) {
        for _ in 0..READS_PER_FLOW {
            let arrival = match receiver.receive(socket) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    let now = self.errors_now();
                    queue_errors(&mut self.errors, socket, Owner::Run(index), now, &mut self.pending);
                    continue;
                }
            };
            let at = self.stamp(arrival.stamp, out);
            let Some(from) = arrival.from else { continue };
            let Some(mut run) = self.take_run(index) else { return };
            match run.exchange.beside(from, arrival.bytes, at) {
                Handled::NotMine(why) => {
                    out.push(Happening::Unmatched(why));
                    self.put_back(index, run);
                }
                Handled::Taken if run.ended => self.put_back(index, run),
                Handled::Taken => self.advance(index, run, out),
            }
        }
    }

    /// Offers an event to runs, in their order, until one takes it.
    pub(super) fn offer(&mut self, runs: &[u32], event: Event<'_>, at: Timestamp, out: &mut Vec<Happening>) {
        let mut mismatch = Mismatch::Source;
        for index in runs {
            let Some(mut run) = self.take_run(*index) else { continue };
            match run.exchange.handle(event, at) {
                Handled::NotMine(why) => {
                    mismatch = why;
                    self.put_back(*index, run);
                }
                Handled::Taken => {
                    if run.ended {
                        if matches!(event, Event::Received { .. }) && !self.closing(run.flow) {
                            let duplicate = run.reported.and_then(Outcome::received) == Some(true);
                            let series = run.tag.series;
                            out.push(if duplicate {
                                Happening::Duplicate(series)
                            } else {
                                Happening::Late(series)
                            });
                        }
                        self.put_back(*index, run);
                    } else {
                        self.advance(*index, run, out);
                    }
                    return;
                }
            }
        }
        out.push(Happening::Unmatched(mismatch));
    }

    /// When a packet arrived: the kernel's stamp where it can be believed.
    pub(super) fn stamp(&self, stamp: Option<i64>, out: &mut Vec<Happening>) -> Timestamp {
        // What arrived before this turn needs no clock to be believed.
        if self.woke >= self.distrust_until
            && let Some(at) = monotonic(stamp, self.offset).filter(|at| *at <= self.woke)
        {
            return at;
        }
        let now = self.clock.now();
        let believed = if now < self.distrust_until { None } else { believe(stamp, self.offset, now) };
        believed.unwrap_or_else(|| {
            out.push(Happening::ClockFallback);
            now
        })
    }

    /// The runs of a flow, the newest first.
    pub(super) fn runs_of(&self, flow: u32) -> Vec<u32> {
        self.flows
            .get(flow as usize)
            .and_then(Option::as_ref)
            .map(|state| state.runs.iter().rev().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn peer_of(&self, index: u32) -> Option<IpAddr> {
        let run = self.run_ref(index)?;
        self.flows.get(run.flow.0 as usize).and_then(Option::as_ref).map(|state| state.peer)
    }

    pub(super) fn peer_and_port(&self, run: &Run) -> SocketAddr {
        let state = self.flows.get(run.flow.0 as usize).and_then(Option::as_ref);
        state.map_or_else(
            || SocketAddr::new(IpAddr::from([0; 4]), 0),
            |state| SocketAddr::new(state.peer, state.port),
        )
    }
}

fn monotonic(stamp: Option<i64>, offset: i64) -> Option<Timestamp> {
    Some(Timestamp::from_nanos(u64::try_from(stamp?.checked_sub(offset)?).ok()?))
}

/// A kernel stamp as monotonic time, unless it lies in the future or too far in the past to be true.
pub(super) fn believe(stamp: Option<i64>, offset: i64, now: Timestamp) -> Option<Timestamp> {
    let at = monotonic(stamp, offset)?;
    // The two clocks are read one after the other: a few microseconds of future are rounding.
    if at > now + Duration::from_micros(100) { None } else { Some(at.min(now)) }
}

/// Why a socket may have more than was read.
fn unread(deaf: bool, packets: usize) -> Option<Fault> {
    let flooded = (packets >= READS_PER_FLOW).then_some(Fault::ReceiveOverflow);
    if deaf { Some(Fault::Resource) } else { flooded }
}

/// Takes the ICMP errors that are queued at a socket; whether a fault of this host left some there.
pub(super) fn queue_errors(
    receiver: &mut Receiver,
    socket: &Socket,
    owner: Owner,
    now: (Timestamp, Option<i64>),
    pending: &mut Vec<Pending>,
) -> bool {
    let mut deaf = false;
    for _ in 0..READS_PER_FLOW {
        match receiver.queued(socket) {
            Ok(Queued::Error(error)) => pending.push(Pending::new(owner, &error, now)),
            // Of one that a queue of the interface had held back: whoever sent it did not wait to be told.
            Ok(Queued::Left(_) | Queued::Other) => {}
            Err(error) => {
                deaf = fault::is_deaf(&error);
                break;
            }
        }
    }
    // An error whose queue entry was dropped for want of room would keep the socket ready for ever.
    let _ = socket.take_error();
    deaf
}
