//! Runs exchanges over sockets: hands them events with the time they happened, does what they ask for.
//!
//! A *flow* is what a series keeps (a pinned UDP socket, or nothing); a *run* is one exchange on it.
//! Invariant: each run ends in exactly one [`Happening::Done`], whatever the peer, the network or this
//! host does. Packets are offered to the newest run first; what nobody takes is counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use socket2::Socket;

use super::clock::SystemClock;
use super::poller::{Poller, Ready, Waker};
use super::socket::{self, Receiver};
use super::{fault, icmp};
use crate::config::Egress;
use crate::entropy::Entropy;
use crate::probe::{Event, Exchange, Flow, Form, Handled, IcmpError, Mismatch, Spec, Start, Step, Transport};
use crate::sample::{Fault, Outcome, Reason, Report, SeriesId};
use crate::time::{Clock, Timestamp};

/// How much later than planned a wake-up must be to count as a stall of ours.
const STALL: Duration = Duration::from_millis(500);
/// How far wall and monotonic clock may drift apart between two turns before stamps are distrusted.
const CLOCK_STEP: Duration = Duration::from_millis(1);
/// How long stamps stay distrusted after the wall clock was stepped.
const DISTRUST: Duration = Duration::from_secs(10);
/// Packets read from one flow in one turn, so that a flood delays nobody else.
const READS_PER_FLOW: usize = 64;
/// The same for the sockets that all targets share.
const READS_PER_SHARED: usize = 8192;
/// More polls than any honest exchange needs between two waits.
const POLLS: usize = 256;

/// Names a flow of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowId(u32);

/// What a run is called by, handed back with its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Whose run it is.
    pub series: SeriesId,
    /// Which slot of the series.
    pub seq: u64,
    /// When the schedule wanted it.
    pub due: Timestamp,
    /// Its form.
    pub form: &'static Form,
}

/// What a turn of the driver brought.
#[derive(Debug)]
pub enum Happening {
    /// A run has its result.
    Done {
        /// Which run.
        tag: Tag,
        /// When its first packet left, if one did.
        sent: Option<Timestamp>,
        /// When the result was known.
        done: Timestamp,
        /// The result.
        report: Report,
    },
    /// A reply came after its run had been given up.
    Late(SeriesId),
    /// A reply came twice.
    Duplicate(SeriesId),
    /// A packet that is nobody's.
    Unmatched(Mismatch),
    /// The kernel dropped this many packets before we read them.
    Overflow(u64),
    /// A packet's time is our reading, not the kernel's stamp.
    ClockFallback,
}

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

struct FlowState {
    peer: IpAddr,
    port: u16,
    kind: Flow,
    egress: Arc<Egress>,
    pinned: Option<Socket>,
    runs: Vec<u32>,
    drops: Drops,
}

/// Overflow of one socket: what the kernel counted, and how many losses it may still explain.
#[derive(Default)]
struct Drops {
    seen: u32,
    unexplained: u64,
}

impl Drops {
    fn note(&mut self, count: u32) -> u64 {
        let new = u64::from(count.wrapping_sub(self.seen));
        self.seen = count;
        self.unexplained += new;
        new
    }

    fn explain(&mut self) -> bool {
        let explains = self.unexplained > 0;
        self.unexplained = self.unexplained.saturating_sub(1);
        explains
    }
}

struct SharedIcmp {
    egress: Arc<Egress>,
    v6: bool,
    raw: bool,
    socket: Socket,
    drops: Drops,
}

enum Channel {
    Closed,
    Icmp(usize),
    Pinned,
    Udp { socket: Socket, port: u16, connected: bool },
    Tcp { socket: Socket, connected: bool, unsent: Vec<u8>, watching: bool },
}

struct Run {
    flow: FlowId,
    tag: Tag,
    exchange: Box<dyn Exchange>,
    channel: Channel,
    timeout: Duration,
    began: Timestamp,
    sent: Option<Timestamp>,
    reported: Option<Outcome>,
    ended: bool,
    wait: Timestamp,
    generation: u32,
}

/// Whose event a key of the poller names.
#[derive(Clone, Copy)]
enum Owner {
    Icmp(usize),
    Flow(u32),
    Run(u32),
}

impl Owner {
    fn key(self) -> u64 {
        match self {
            Self::Icmp(index) => 1 << 32 | index as u64,
            Self::Flow(index) => 2 << 32 | u64::from(index),
            Self::Run(index) => 3 << 32 | u64::from(index),
        }
    }

    fn of(key: u64) -> Option<Self> {
        let index = u32::try_from(key & 0xffff_ffff).ok()?;
        match key >> 32 {
            1 => Some(Self::Icmp(index as usize)),
            2 => Some(Self::Flow(index)),
            3 => Some(Self::Run(index)),
            _ => None,
        }
    }
}

/// An ICMP error taken from a queue, to be handed to its run.
struct Pending {
    owner: Owner,
    error: IcmpError,
    from: Option<IpAddr>,
    quoted: Vec<u8>,
    at: Timestamp,
}

/// Runs exchanges over sockets.
pub struct Driver {
    clock: SystemClock,
    entropy: Box<dyn Entropy>,
    poller: Poller,
    receiver: Receiver,
    /// A second set of buffers for error queues, which are read while a packet is being handled.
    errors: Receiver,
    flows: Vec<Option<FlowState>>,
    free_flows: Vec<u32>,
    runs: Vec<Option<Run>>,
    free_runs: Vec<u32>,
    generations: u32,
    timers: BinaryHeap<Reverse<(Timestamp, u32, u32)>>,
    icmp: Vec<SharedIcmp>,
    tokens: HashMap<u64, u32>,
    ready: Vec<Ready>,
    pending: Vec<Pending>,
    out: Vec<u8>,
    tick: Duration,
    woke: Timestamp,
    streams: usize,
    /// Wall minus monotonic clock, in nanoseconds, at the last turn.
    offset: i64,
    distrust_until: Timestamp,
    stall: (Timestamp, Timestamp),
}

impl Driver {
    /// A driver without flows.
    ///
    /// # Errors
    /// When the kernel gives no epoll or event descriptor.
    pub fn new(clock: SystemClock, entropy: Box<dyn Entropy>) -> io::Result<Self> {
        let (mono, wall) = clock.both();
        Ok(Self {
            clock,
            entropy,
            poller: Poller::new()?,
            receiver: Receiver::new(),
            errors: Receiver::new(),
            flows: Vec::new(),
            free_flows: Vec::new(),
            runs: Vec::new(),
            free_runs: Vec::new(),
            generations: 0,
            timers: BinaryHeap::new(),
            icmp: Vec::new(),
            tokens: HashMap::new(),
            ready: Vec::new(),
            pending: Vec::new(),
            out: Vec::with_capacity(2048),
            tick: Duration::ZERO,
            woke: mono,
            streams: 0,
            offset: offset(mono, wall.as_unix_nanos()),
            distrust_until: Timestamp::ZERO,
            stall: (Timestamp::ZERO, Timestamp::ZERO),
        })
    }

    /// The clock that stamps everything.
    pub fn clock(&self) -> SystemClock {
        self.clock
    }

    /// The source of randomness.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        &mut *self.entropy
    }

    /// Ends a sleep of [`Driver::turn`], from any thread.
    pub fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// How long to gather work before waking for it; kernel stamps keep the times exact meanwhile.
    pub fn set_tick(&mut self, tick: Duration) {
        self.tick = tick;
    }

    /// How many runs have no result yet.
    pub fn in_flight(&self) -> usize {
        self.runs.iter().flatten().filter(|run| run.reported.is_none()).count()
    }

    /// How many runs still have something to clean up at their peer, or no result yet.
    pub fn unfinished(&self) -> usize {
        self.runs.iter().flatten().filter(|run| !run.ended).count()
    }

    /// Which ICMP this process may speak in a family.
    pub fn icmp_access(&mut self, v6: bool) -> IcmpAccess {
        match self.shared_icmp(v6, &Arc::new(Egress::default())).map(|index| self.icmp.get(index)) {
            Ok(Some(shared)) if shared.raw => IcmpAccess::Raw,
            Ok(Some(_)) => IcmpAccess::Datagram,
            _ => IcmpAccess::Denied,
        }
    }

    /// Which source address packets to `peer` leave from.
    ///
    /// # Errors
    /// The fault that keeps them from leaving.
    pub fn source_towards(peer: IpAddr, egress: &Egress) -> Result<IpAddr, Fault> {
        socket::source_towards(peer, egress).map_err(|error| fault::of_send(&error))
    }

    /// A flow to `peer`. Its socket opens with its first run, and opens again after a fault of ours.
    pub fn open(&mut self, peer: IpAddr, port: u16, kind: Flow, egress: Arc<Egress>) -> FlowId {
        let state =
            FlowState { peer, port, kind, egress, pinned: None, runs: Vec::new(), drops: Drops::default() };
        let index = insert(&mut self.flows, &mut self.free_flows, state);
        FlowId(index)
    }

    /// Closes a flow; runs without a result end as cancelled.
    pub fn close(&mut self, flow: FlowId, out: &mut Vec<Happening>) {
        let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::take) else { return };
        for index in state.runs {
            let now = self.clock.now();
            if let Some(run) = self.take_run(index) {
                if run.reported.is_none() {
                    out.push(Happening::Done {
                        tag: run.tag,
                        sent: run.sent,
                        done: now,
                        report: Report::new(Outcome::Unsent(Fault::Cancelled)),
                    });
                }
                self.forget(index, &run);
            }
        }
        self.free_flows.push(flow.0);
    }

    /// Begins an exchange on a flow. Its result comes out of this or a later [`Driver::turn`].
    pub fn begin(&mut self, flow: FlowId, tag: Tag, spec: &Spec, out: &mut Vec<Happening>) {
        let now = self.clock.now();
        let refuse = |fault, out: &mut Vec<Happening>| {
            out.push(Happening::Done {
                tag,
                sent: None,
                done: now,
                report: Report::new(Outcome::Unsent(fault)),
            });
        };
        let pinned = match self.pin(flow) {
            Ok(local) => local,
            Err(error) => return refuse(fault::of_open(&error), out),
        };
        let Some(state) = self.flows.get(flow.0 as usize).and_then(Option::as_ref) else {
            return refuse(Fault::Internal, out);
        };
        let peer = state.peer;
        let start = Start {
            now,
            wall: self.clock.wall(),
            peer,
            local: pinned,
            timeout: spec.timeout,
            form: tag.form,
            entropy: &mut *self.entropy,
        };
        let exchange = (spec.kind.begin)(spec, start);
        self.generations = self.generations.wrapping_add(1);
        let run = Run {
            flow,
            tag,
            exchange,
            channel: Channel::Closed,
            timeout: spec.timeout,
            began: now,
            sent: None,
            reported: None,
            ended: false,
            wait: Timestamp::FAR,
            generation: self.generations,
        };
        let transport = run.exchange.transport();
        let token = run.exchange.token();
        let index = insert(&mut self.runs, &mut self.free_runs, run);
        if let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) {
            state.runs.push(index);
        }
        if let Some(token) = token {
            self.tokens.insert(token, index);
        }
        let Some(mut run) = self.take_run(index) else { return };
        self.open_channel(index, &mut run, transport);
        self.advance(index, run, out);
        self.hand_out_pending(out);
    }

    /// Sleeps until `until`, or until something happens, and handles what did.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn turn(&mut self, until: Timestamp, out: &mut Vec<Happening>) -> io::Result<()> {
        let next = self.timers.peek().map_or(until, |Reverse((at, _, _))| until.min(*at));
        let mut now = self.clock.now();
        let mut planned = next.max(now);
        if self.tick > Duration::ZERO && self.streams == 0 {
            let gathered = self.woke + self.tick;
            planned = planned.max(gathered);
            if gathered > now {
                std::thread::sleep(gathered.since(now));
                now = self.clock.now();
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(next.since(now), &mut ready)?;
        let (now, wall) = self.clock.both();
        self.woke = now;
        if now.since(planned) >= STALL {
            self.stall = (planned, now);
        }
        let offset = offset(now, wall.as_unix_nanos());
        if Duration::from_nanos(offset.abs_diff(self.offset)) > CLOCK_STEP {
            self.distrust_until = now + DISTRUST;
        }
        self.offset = offset;
        // All that has arrived is read before any deadline is looked at: after a stall of ours, answers
        // that were in time are in the buffers.
        for event in &ready {
            match Owner::of(event.key) {
                Some(Owner::Icmp(index)) => self.read_icmp(index, *event, out),
                Some(Owner::Flow(index)) => self.read_flow(index, *event, out),
                Some(Owner::Run(index)) => self.read_run(index, *event, out),
                None => {}
            }
        }
        self.ready = ready;
        self.hand_out_pending(out);
        self.run_timers(self.clock.now(), out);
        self.hand_out_pending(out);
        Ok(())
    }

    fn run_timers(&mut self, now: Timestamp, out: &mut Vec<Happening>) {
        while let Some(Reverse((at, index, generation))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let due = self.run_ref(index).is_some_and(|run| run.generation == generation && run.wait == at);
            if !due {
                continue;
            }
            let Some(mut run) = self.take_run(index) else { continue };
            run.wait = Timestamp::FAR;
            if run.ended {
                self.forget(index, &run);
            } else {
                self.advance(index, run, out);
            }
        }
    }

    /// Opens the flow's pinned socket if it has none, and tells its local address.
    fn pin(&mut self, flow: FlowId) -> io::Result<Option<SocketAddr>> {
        let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) else {
            return Ok(None);
        };
        if state.kind != Flow::PinnedUdp {
            return Ok(None);
        }
        if state.pinned.is_none() {
            let socket = socket::udp(SocketAddr::new(state.peer, state.port), true, &state.egress)?;
            self.poller.add(&socket, Owner::Flow(flow.0).key(), false)?;
            state.drops = Drops::default();
            state.pinned = Some(socket);
        }
        Ok(state.pinned.as_ref().and_then(socket::local_address))
    }

    fn open_channel(&mut self, index: u32, run: &mut Run, transport: Transport) {
        self.close_channel(run);
        let now = self.clock.now();
        match self.channel(index, run.flow, transport) {
            Ok(channel) => {
                if matches!(channel, Channel::Tcp { .. }) {
                    self.streams += 1;
                    run.sent.get_or_insert(now);
                }
                run.channel = channel;
            }
            Err(fault) => {
                run.exchange.handle(Event::Failed(fault), now);
            }
        }
    }

    fn channel(&mut self, index: u32, flow: FlowId, transport: Transport) -> Result<Channel, Fault> {
        let state = self.flows.get(flow.0 as usize).and_then(Option::as_ref).ok_or(Fault::Internal)?;
        let (peer, egress) = (state.peer, Arc::clone(&state.egress));
        let pinned = state.pinned.is_some();
        let opened = match transport {
            Transport::Icmp => self.shared_icmp(peer.is_ipv6(), &egress).map(Channel::Icmp),
            Transport::Udp { connected: true, port } if pinned && port == state.port => Ok(Channel::Pinned),
            Transport::Udp { port, connected } => {
                socket::udp(SocketAddr::new(peer, port), connected, &egress).and_then(|socket| {
                    self.poller.add(&socket, Owner::Run(index).key(), false)?;
                    Ok(Channel::Udp { socket, port, connected })
                })
            }
            Transport::Tcp { port } => socket::tcp(SocketAddr::new(peer, port), &egress).and_then(|socket| {
                self.poller.add(&socket, Owner::Run(index).key(), true)?;
                Ok(Channel::Tcp { socket, connected: false, unsent: Vec::new(), watching: true })
            }),
        };
        opened.map_err(|error| match transport {
            // Starting a connection sends its first packet.
            Transport::Tcp { .. } => fault::of_send(&error),
            _ => fault::of_open(&error),
        })
    }

    fn close_channel(&mut self, run: &mut Run) {
        if matches!(run.channel, Channel::Tcp { .. }) {
            self.streams = self.streams.saturating_sub(1);
        }
        run.channel = Channel::Closed; // closing a descriptor takes it out of the poller
    }

    fn shared_icmp(&mut self, v6: bool, egress: &Arc<Egress>) -> io::Result<usize> {
        if let Some(index) = self.icmp.iter().position(|shared| shared.v6 == v6 && shared.egress == *egress) {
            return Ok(index);
        }
        let (socket, raw) = match socket::icmp(v6, true, egress) {
            Ok(socket) => (socket, true),
            Err(_) => (socket::icmp(v6, false, egress)?, false),
        };
        let index = self.icmp.len();
        self.poller.add(&socket, Owner::Icmp(index).key(), false)?;
        self.icmp.push(SharedIcmp { egress: Arc::clone(egress), v6, raw, socket, drops: Drops::default() });
        Ok(index)
    }

    /// Polls a run until it waits, and puts it back unless it is over.
    fn advance(&mut self, index: u32, mut run: Run, out: &mut Vec<Happening>) {
        let mut now = self.clock.now();
        for _ in 0..POLLS {
            let mut bytes = std::mem::take(&mut self.out);
            bytes.clear();
            let step = run.exchange.poll(now, &mut bytes);
            match step {
                Step::Send => self.send(index, &mut run, &bytes, None, None),
                Step::SendTtl(ttl) => self.send(index, &mut run, &bytes, Some(ttl), None),
                Step::SendTo(port) => self.send(index, &mut run, &bytes, None, Some(port)),
                Step::Open(transport) => self.open_channel(index, &mut run, transport),
                Step::Wait(until) => {
                    self.out = bytes;
                    self.wait(index, &mut run, until);
                    self.put_back(index, run);
                    return;
                }
                Step::Report(report) => self.report(&mut run, now, report, out),
                Step::End => {
                    self.out = bytes;
                    self.end(index, run, now, out);
                    return;
                }
            }
            self.out = bytes;
            now = self.clock.now();
        }
        // An exchange that never waits is a defect of ours.
        self.report(&mut run, now, Report::new(Outcome::Unsent(Fault::Internal)), out);
        self.end(index, run, now, out);
    }

    fn wait(&mut self, index: u32, run: &mut Run, until: Timestamp) {
        if run.wait != until {
            run.wait = until;
            self.timers.push(Reverse((until, index, run.generation)));
        }
    }

    fn report(&mut self, run: &mut Run, now: Timestamp, mut report: Report, out: &mut Vec<Happening>) {
        if run.reported.is_some() {
            return;
        }
        if report.outcome == Outcome::Lost(Reason::NoAnswer) {
            let (from, to) = self.stall;
            if run.began < to && now > from && to > Timestamp::ZERO {
                report.outcome = Outcome::Unsent(Fault::Stalled);
            } else if self.drops_of(run).is_some_and(Drops::explain) {
                report.outcome = Outcome::Unsent(Fault::ReceiveOverflow);
            }
        }
        if matches!(report.outcome, Outcome::Unsent(Fault::NoRoute | Fault::Egress | Fault::Permission))
            && let Some(state) = self.flows.get_mut(run.flow.0 as usize).and_then(Option::as_mut)
        {
            state.pinned = None; // addresses or routes have changed: the next run binds anew
        }
        run.reported = Some(report.outcome);
        out.push(Happening::Done { tag: run.tag, sent: run.sent, done: now, report });
    }

    fn drops_of(&mut self, run: &Run) -> Option<&mut Drops> {
        match run.channel {
            Channel::Icmp(index) => self.icmp.get_mut(index).map(|shared| &mut shared.drops),
            Channel::Pinned => {
                self.flows.get_mut(run.flow.0 as usize).and_then(Option::as_mut).map(|state| &mut state.drops)
            }
            _ => None,
        }
    }

    /// Ends a run: a datagram flow lingers, to tell late replies and duplicates from strangers.
    fn end(&mut self, index: u32, mut run: Run, now: Timestamp, out: &mut Vec<Happening>) {
        if run.reported.is_none() {
            self.report(&mut run, now, Report::new(Outcome::Unsent(Fault::Internal)), out);
        }
        run.ended = true;
        match run.channel {
            Channel::Icmp(_) | Channel::Pinned | Channel::Udp { .. } => {
                let until = now + run.timeout;
                self.wait(index, &mut run, until);
                self.put_back(index, run);
            }
            Channel::Closed | Channel::Tcp { .. } => {
                self.close_channel(&mut run);
                self.forget(index, &run);
            }
        }
    }

    fn send(&mut self, index: u32, run: &mut Run, bytes: &[u8], ttl: Option<u8>, port: Option<u16>) {
        let mut tried_again = false;
        loop {
            let at = self.clock.now();
            match self.transmit(run, bytes, ttl, port) {
                Ok(()) => {
                    run.sent.get_or_insert(at);
                    run.exchange.handle(Event::Sent, at);
                    self.watch_writes(index, run);
                    return;
                }
                Err(error) if !tried_again && fault::may_be_queued(&error) => {
                    // An ICMP error about an earlier packet makes this send fail; it says nothing of this one.
                    tried_again = true;
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
            Channel::Icmp(index) => {
                let shared = self.icmp.get(*index).ok_or(io::ErrorKind::NotFound)?;
                datagram(&shared.socket, bytes, Some(SocketAddr::new(peer, 0)), ttl)
            }
            Channel::Pinned => {
                let socket = state.pinned.as_ref().ok_or(io::ErrorKind::NotConnected)?;
                datagram(socket, bytes, None, ttl)
            }
            Channel::Udp { socket, port: own, connected } => {
                let to = port.unwrap_or(*own);
                datagram(socket, bytes, (!*connected).then_some(SocketAddr::new(peer, to)), ttl)
            }
            Channel::Tcp { socket, unsent, connected, .. } => {
                unsent.extend_from_slice(bytes);
                if *connected { flush(socket, unsent) } else { Ok(()) }
            }
        }
    }

    /// Watches a stream for room to write exactly while something is unsent.
    fn watch_writes(&mut self, index: u32, run: &mut Run) {
        if let Channel::Tcp { socket, connected: true, unsent, watching } = &mut run.channel {
            let want = !unsent.is_empty();
            if want != *watching && self.poller.modify(&*socket, Owner::Run(index).key(), want).is_ok() {
                *watching = want;
            }
        }
    }

    /// Empties the error queue of a run's socket into the pending list.
    fn drain_errors(&mut self, index: u32, run: &Run) {
        let owner = match &run.channel {
            Channel::Icmp(shared) => Owner::Icmp(*shared),
            Channel::Pinned => Owner::Flow(run.flow.0),
            _ => Owner::Run(index),
        };
        let socket = match &run.channel {
            Channel::Icmp(shared) => self.icmp.get(*shared).map(|shared| &shared.socket),
            Channel::Pinned => self
                .flows
                .get(run.flow.0 as usize)
                .and_then(Option::as_ref)
                .and_then(|state| state.pinned.as_ref()),
            Channel::Udp { socket, .. } | Channel::Tcp { socket, .. } => Some(socket),
            Channel::Closed => None,
        };
        if let Some(socket) = socket {
            queue_errors(&mut self.errors, socket, owner, self.clock.now(), &mut self.pending);
            let _ = socket.take_error();
        }
    }

    fn hand_out_pending(&mut self, out: &mut Vec<Happening>) {
        for _ in 0..POLLS {
            let Some(pending) = self.pending.pop() else { return };
            let event = Event::Icmp { from: pending.from, error: pending.error, quoted: &pending.quoted };
            match pending.owner {
                Owner::Icmp(_) => {
                    match icmp::token_of(&pending.quoted).and_then(|t| self.tokens.get(&t).copied()) {
                        Some(index) => self.offer(&[index], event, pending.at, out),
                        None => out.push(Happening::Unmatched(Mismatch::Token)),
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

    fn read_icmp(&mut self, index: usize, ready: Ready, out: &mut Vec<Happening>) {
        if ready.error
            && let Some(shared) = self.icmp.get(index)
        {
            queue_errors(
                &mut self.errors,
                &shared.socket,
                Owner::Icmp(index),
                self.clock.now(),
                &mut self.pending,
            );
        }
        if !ready.readable {
            return;
        }
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::empty());
        for _ in 0..READS_PER_SHARED {
            let Some(shared) = self.icmp.get_mut(index) else { break };
            let (v6, raw) = (shared.v6, shared.raw);
            let Ok(arrival) = receiver.receive(&shared.socket) else { break };
            if let Some(count) = arrival.dropped {
                let new = shared.drops.note(count);
                if new > 0 {
                    out.push(Happening::Overflow(new));
                }
            }
            let at = self.stamp(arrival.stamp, out);
            let Some(from) = arrival.from else { continue };
            if !raw {
                let owner = icmp::token_of(arrival.bytes).and_then(|token| self.tokens.get(&token).copied());
                match owner {
                    Some(run) => {
                        self.offer(&[run], Event::Received { from, bytes: arrival.bytes }, at, out);
                    }
                    None => out.push(Happening::Unmatched(Mismatch::Token)),
                }
                continue;
            }
            let Ok(packet) = icmp::read(v6, arrival.bytes) else {
                // Answers to other programs on this host may be shorter than a token of ours.
                out.push(Happening::Unmatched(Mismatch::Malformed));
                continue;
            };
            let (token, event) = match packet {
                icmp::Packet::Reply { token, message } => (token, Event::Received { from, bytes: message }),
                icmp::Packet::Error { token, error, destination, quoted } => {
                    // The quoted packet must have gone to the peer of the run it claims to be about.
                    let ours =
                        self.tokens.get(&token).and_then(|run| self.peer_of(*run)) == Some(destination);
                    if !ours {
                        out.push(Happening::Unmatched(Mismatch::Token));
                        continue;
                    }
                    (token, Event::Icmp { from: Some(from.ip()), error, quoted })
                }
            };
            match self.tokens.get(&token).copied() {
                Some(run) => self.offer(&[run], event, at, out),
                None => out.push(Happening::Unmatched(Mismatch::Token)),
            }
        }
        self.receiver = receiver;
    }

    fn read_flow(&mut self, flow: u32, ready: Ready, out: &mut Vec<Happening>) {
        let now = self.clock.now();
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::empty());
        if ready.error {
            self.drain_flow(flow, now);
        }
        if ready.readable {
            for _ in 0..READS_PER_FLOW {
                let Some(socket) = self.pinned(flow) else { break };
                let arrival = match receiver.receive(socket) {
                    Ok(arrival) => arrival,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        // The kernel repeats a queued error here once; the queue itself tells whose it is.
                        self.drain_flow(flow, now);
                        continue;
                    }
                };
                if let Some(count) = arrival.dropped {
                    let new = self
                        .flows
                        .get_mut(flow as usize)
                        .and_then(Option::as_mut)
                        .map_or(0, |state| state.drops.note(count));
                    if new > 0 {
                        out.push(Happening::Overflow(new));
                    }
                }
                let at = self.stamp(arrival.stamp, out);
                let Some(from) = arrival.from else { continue };
                let runs = self.runs_of(flow);
                self.offer(&runs, Event::Received { from, bytes: arrival.bytes }, at, out);
            }
        }
        self.receiver = receiver;
    }

    fn drain_flow(&mut self, flow: u32, now: Timestamp) {
        let state = self.flows.get(flow as usize).and_then(Option::as_ref);
        if let Some(socket) = state.and_then(|state| state.pinned.as_ref()) {
            queue_errors(&mut self.errors, socket, Owner::Flow(flow), now, &mut self.pending);
        }
    }

    fn read_run(&mut self, index: u32, ready: Ready, out: &mut Vec<Happening>) {
        let Some(run) = self.take_run(index) else { return };
        if matches!(run.channel, Channel::Tcp { .. }) {
            self.read_stream(index, run, ready, out);
            return;
        }
        let mut receiver = std::mem::replace(&mut self.receiver, Receiver::empty());
        let now = self.clock.now();
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
        self.put_back(index, run);
        if ready.error {
            queue_errors(&mut self.errors, &socket, Owner::Run(index), now, &mut self.pending);
        }
        for _ in 0..READS_PER_FLOW {
            let arrival = match receiver.receive(&socket) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    queue_errors(&mut self.errors, &socket, Owner::Run(index), now, &mut self.pending);
                    continue;
                }
            };
            let at = self.stamp(arrival.stamp, out);
            let Some(from) = arrival.from else { continue };
            let peer = self.peer_of(index);
            if peer != Some(from.ip()) {
                out.push(Happening::Unmatched(Mismatch::Source));
                continue;
            }
            self.offer(&[index], Event::Received { from, bytes: arrival.bytes }, at, out);
        }
        self.receiver = receiver;
    }

    fn read_stream(&mut self, index: u32, mut run: Run, ready: Ready, out: &mut Vec<Happening>) {
        let now = self.clock.now();
        let peer = self.peer_and_port(&run);
        let Channel::Tcp { socket, connected, unsent, watching } = &mut run.channel else {
            self.put_back(index, run);
            return;
        };
        if !*connected {
            match socket.take_error() {
                Ok(None) if ready.writable && !ready.error => {
                    *connected = true;
                    let _ = flush(socket, unsent);
                    if unsent.is_empty()
                        && self.poller.modify(&*socket, Owner::Run(index).key(), false).is_ok()
                    {
                        *watching = false;
                    }
                    run.exchange.handle(Event::Connected, now);
                }
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => {
                    self.stream_failed(index, &mut run, &error, now);
                }
            }
            self.advance(index, run, out);
            return;
        }
        if ready.writable {
            let _ = flush(socket, unsent);
        }
        if ready.readable || ready.error {
            for _ in 0..READS_PER_FLOW {
                let Channel::Tcp { socket, .. } = &run.channel else { break };
                match self.receiver.receive(socket) {
                    Ok(arrival) if arrival.bytes.is_empty() => {
                        run.exchange.handle(Event::Closed, now);
                        // A closed stream stays readable: it is not watched any more.
                        self.unwatch(&run);
                        break;
                    }
                    Ok(arrival) => {
                        let stamp = arrival.stamp;
                        let at =
                            if now < self.distrust_until { None } else { believe(stamp, self.offset, now) };
                        let event = Event::Received { from: peer, bytes: arrival.bytes };
                        run.exchange.handle(event, at.unwrap_or(now));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.stream_failed(index, &mut run, &error, now);
                        self.unwatch(&run);
                        break;
                    }
                }
            }
        }
        self.watch_writes(index, &mut run);
        self.advance(index, run, out);
    }

    fn unwatch(&self, run: &Run) {
        if let Channel::Tcp { socket, .. } = &run.channel {
            self.poller.remove(socket);
        }
    }

    fn stream_failed(&mut self, index: u32, run: &mut Run, error: &io::Error, now: Timestamp) {
        if let Channel::Tcp { socket, .. } = &run.channel {
            let mut queued = Vec::new();
            queue_errors(&mut self.errors, socket, Owner::Run(index), now, &mut queued);
            // The queue has the ICMP error's own type and code; the error number is only its shadow.
            if let Some(first) = queued.first() {
                let event = Event::Icmp { from: first.from, error: first.error, quoted: &first.quoted };
                run.exchange.handle(event, now);
                return;
            }
        }
        let event = match fault::of_socket(error) {
            fault::Verdict::Reset => Event::Reset,
            fault::Verdict::Icmp(error) => Event::Icmp { from: None, error, quoted: &[] },
            fault::Verdict::Ours(fault) => Event::Failed(fault),
        };
        run.exchange.handle(event, now);
    }

    /// Offers an event to runs, in their order, until one takes it.
    fn offer(&mut self, runs: &[u32], event: Event<'_>, at: Timestamp, out: &mut Vec<Happening>) {
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
                        if matches!(event, Event::Received { .. }) {
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
    fn stamp(&self, stamp: Option<i64>, out: &mut Vec<Happening>) -> Timestamp {
        let now = self.clock.now();
        let believed = if now < self.distrust_until { None } else { believe(stamp, self.offset, now) };
        believed.unwrap_or_else(|| {
            out.push(Happening::ClockFallback);
            now
        })
    }

    fn pinned(&self, flow: u32) -> Option<&Socket> {
        self.flows.get(flow as usize).and_then(Option::as_ref).and_then(|state| state.pinned.as_ref())
    }

    /// The runs of a flow, the newest first.
    fn runs_of(&self, flow: u32) -> Vec<u32> {
        self.flows
            .get(flow as usize)
            .and_then(Option::as_ref)
            .map(|state| state.runs.iter().rev().copied().collect())
            .unwrap_or_default()
    }

    fn peer_of(&self, index: u32) -> Option<IpAddr> {
        let run = self.run_ref(index)?;
        self.flows.get(run.flow.0 as usize).and_then(Option::as_ref).map(|state| state.peer)
    }

    fn peer_and_port(&self, run: &Run) -> SocketAddr {
        let state = self.flows.get(run.flow.0 as usize).and_then(Option::as_ref);
        state.map_or_else(
            || SocketAddr::new(IpAddr::from([0; 4]), 0),
            |state| SocketAddr::new(state.peer, state.port),
        )
    }

    fn run_ref(&self, index: u32) -> Option<&Run> {
        self.runs.get(index as usize).and_then(Option::as_ref)
    }

    fn take_run(&mut self, index: u32) -> Option<Run> {
        self.runs.get_mut(index as usize).and_then(Option::take)
    }

    fn put_back(&mut self, index: u32, run: Run) {
        if let Some(slot) = self.runs.get_mut(index as usize) {
            *slot = Some(run);
        }
    }

    /// Lets go of a run that was taken out.
    fn forget(&mut self, index: u32, run: &Run) {
        if let Some(token) = run.exchange.token() {
            self.tokens.remove(&token);
        }
        if matches!(run.channel, Channel::Tcp { .. }) {
            self.streams = self.streams.saturating_sub(1);
        }
        if let Some(state) = self.flows.get_mut(run.flow.0 as usize).and_then(Option::as_mut) {
            state.runs.retain(|other| *other != index);
        }
        self.free_runs.push(index);
    }
}

fn insert<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(index) = free.pop()
        && let Some(slot) = slots.get_mut(index as usize)
    {
        *slot = Some(value);
        return index;
    }
    slots.push(Some(value));
    u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
}

fn offset(mono: Timestamp, wall: i64) -> i64 {
    wall.saturating_sub(i64::try_from(mono.as_nanos()).unwrap_or(i64::MAX))
}

/// A kernel stamp as monotonic time, unless it lies in the future or too far in the past to be true.
fn believe(stamp: Option<i64>, offset: i64, now: Timestamp) -> Option<Timestamp> {
    let at = Timestamp::from_nanos(u64::try_from(stamp?.checked_sub(offset)?).ok()?);
    // The two clocks are read one after the other: a few microseconds of future are rounding.
    if at > now + Duration::from_micros(100) { None } else { Some(at.min(now)) }
}

fn queue_errors(
    receiver: &mut Receiver,
    socket: &Socket,
    owner: Owner,
    now: Timestamp,
    pending: &mut Vec<Pending>,
) {
    for _ in 0..READS_PER_FLOW {
        match receiver.queued_error(socket) {
            Ok(Some(queued)) => pending.push(Pending {
                owner,
                error: queued.error,
                from: queued.offender,
                quoted: queued.quoted.to_vec(),
                at: now,
            }),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

fn datagram(socket: &Socket, bytes: &[u8], to: Option<SocketAddr>, ttl: Option<u8>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let Some(ttl) = ttl else {
        return match to {
            Some(to) => socket.send_to(bytes, &to.into()).map(drop),
            None => socket.send(bytes).map(drop),
        };
    };
    let ttl = i32::from(ttl);
    let v6 = to.map_or_else(
        || socket.domain().is_ok_and(|domain| domain == socket2::Domain::IPV6),
        |to| to.is_ipv6(),
    );
    let control = if v6 { ControlMessage::Ipv6HopLimit(&ttl) } else { ControlMessage::Ipv4Ttl(&ttl) };
    let to = to.map(SockaddrStorage::from);
    sendmsg(socket.as_raw_fd(), &[io::IoSlice::new(bytes)], &[control], MsgFlags::empty(), to.as_ref())?;
    Ok(())
}

fn flush(socket: &Socket, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match socket.send(unsent) {
            Ok(sent) => drop(unsent.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
