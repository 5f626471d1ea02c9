//! Runs exchanges over sockets: hands them events with the time they happened, does what they ask for.
//!
//! A *flow* is what a series keeps (a pinned UDP socket, or nothing); a *run* is one exchange on it.
//! Invariant: each run ends in exactly one [`Happening::Done`], whatever the peer, the network or this
//! host does. Packets are offered to the newest run first; what nobody takes is counted.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use socket2::Socket;

use super::clock::SystemClock;
use super::drops::{Drops, Table};
use super::fault;
use super::poller::{self, Poller, Ready, Waker};
use super::receive::{Batch, QueuedError, Receiver};
use super::share::Share;
use super::socket;
use crate::agenda::Agenda;
use crate::config::Egress;
use crate::entropy::{Draw as _, Entropy};
use crate::probe::{Event, Exchange, Form, Handled, IcmpError, Mismatch, Spec, Start, Step, Transport};
use crate::sample::{Fault, Outcome, Phase, Reason, Report, SeriesId};
use crate::time::{Clock, Timestamp, WallTime};

mod arrivals;
mod departures;
mod flows;
mod past;
mod patience;
mod sends;
mod shared;
mod steps;
mod streams;
mod tokens;
mod ways;

use flows::FlowState;
use past::{Past, Whose};
use patience::Patience;
pub use shared::IcmpAccess;
use shared::SharedIcmp;
use tokens::Tokens;

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
/// Boxes of runs kept for the next.
const SPARE: usize = 256;

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

enum Channel {
    Closed,
    Icmp(usize),
    Pinned,
    Udp { socket: Socket, port: u16, connected: bool, drops: Drops },
    Tcp { socket: Socket, connected: bool, unsent: Vec<u8>, watching: bool },
}

struct Run {
    flow: FlowId,
    tag: Tag,
    exchange: Box<dyn Exchange>,
    channel: Channel,
    /// The socket of [`Step::SendBeside`].
    beside: Option<Socket>,
    timeout: Duration,
    began: Timestamp,
    sent: Option<Timestamp>,
    reported: Option<Outcome>,
    ended: bool,
    wait: Timestamp,
    generation: u32,
    /// Its packets are never fragmented.
    whole: bool,
    /// The round trip of its first TCP connection, by the kernel.
    round_trip: Option<Duration>,
    /// The local port that its TCP connections with a hop limit come from.
    local_port: u16,
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

impl Pending {
    /// `now` is the time, and what turns a kernel's stamp into ours while that can be believed.
    fn new(owner: Owner, queued: &QueuedError<'_>, (now, offset): (Timestamp, Option<i64>)) -> Self {
        Self {
            owner,
            error: queued.error,
            from: queued.offender,
            quoted: queued.quoted.to_vec(),
            at: offset.and_then(|offset| arrivals::believe(queued.stamp, offset, now)).unwrap_or(now),
        }
    }
}

/// Runs exchanges over sockets.
pub struct Driver {
    clock: SystemClock,
    entropy: Box<dyn Entropy>,
    poller: Poller,
    receiver: Receiver,
    /// A second set of buffers for error queues, which are read while a packet is being handled.
    errors: Receiver,
    /// Room for what the shared sockets bring at once.
    batch: Batch,
    tokens: Tokens,
    flows: Vec<Option<FlowState>>,
    free_flows: Vec<u32>,
    runs: Vec<Option<Box<Run>>>,
    free_runs: Vec<u32>,
    generations: u32,
    /// When runs want to be polled: index and generation. What has gone or waits for another time is stale.
    timers: Agenda<(u32, u32)>,
    /// Runs that have ended and are known a while longer, roughly in the order of their times: nobody is
    /// woken for them.
    lingering: VecDeque<(Timestamp, u32, u32)>,
    /// Boxes of runs that are over, for the next.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
    spare: Vec<Box<Run>>,
    icmp: Vec<SharedIcmp>,
    /// Where the ways out are that sockets are open in.
    places: Vec<ways::Known>,
    /// Runs that know their echo requests by the header alone.
    header_readers: Vec<u32>,
    ready: Vec<Ready>,
    pending: Vec<Pending>,
    out: Vec<u8>,
    /// Packets for the shared sockets, one behind the other, and whose they are (index, generation, length): they
    /// leave with one call when all that is due has been begun.
    outbox: (Vec<u8>, Vec<(u32, u32, usize)>),
    tick: Duration,
    /// Being woken ends a tick: another driver sets its beat.
    led: bool,
    patience: Patience,
    woke: Timestamp,
    streams: usize,
    /// Wall minus monotonic clock, in nanoseconds, at the last turn.
    offset: i64,
    distrust_until: Timestamp,
    stall: (Timestamp, Timestamp),
    /// When the last turn ended.
    turned: Timestamp,
    /// What the kernel dropped at all sockets, when it was last asked.
    dropped: Table,
}

impl Driver {
    /// A driver without flows.
    ///
    /// # Errors
    /// When the kernel gives no epoll or event descriptor.
    pub fn new(clock: SystemClock, mut entropy: Box<dyn Entropy>) -> io::Result<Self> {
        let (mono, wall) = clock.both();
        let tokens = Tokens::new(entropy.array());
        Ok(Self {
            clock,
            entropy,
            poller: Poller::new()?,
            receiver: Receiver::new(),
            errors: Receiver::new(),
            batch: Batch::new(),
            tokens,
            flows: Vec::new(),
            free_flows: Vec::new(),
            runs: Vec::new(),
            free_runs: Vec::new(),
            generations: 0,
            timers: Agenda::default(),
            lingering: VecDeque::new(),
            spare: Vec::new(),
            icmp: Vec::new(),
            places: Vec::new(),
            header_readers: Vec::new(),
            ready: Vec::new(),
            pending: Vec::new(),
            out: Vec::with_capacity(2048),
            outbox: (Vec::new(), Vec::new()),
            tick: Duration::ZERO,
            led: false,
            patience: Patience::NONE,
            woke: mono,
            streams: 0,
            offset: offset(mono, wall.as_unix_nanos()),
            distrust_until: Timestamp::ZERO,
            stall: (Timestamp::ZERO, Timestamp::ZERO),
            turned: mono,
            dropped: Table::default(),
        })
    }

    /// The clock that stamps everything.
    pub fn clock(&self) -> SystemClock {
        self.clock
    }

    /// Lets the clock count on from another beginning. Only before the first flow.
    pub fn set_clock(&mut self, clock: SystemClock) {
        let (mono, wall) = clock.both();
        self.clock = clock;
        self.offset = offset(mono, wall.as_unix_nanos());
        (self.woke, self.turned) = (mono, mono);
    }

    /// Makes it one of several: it takes this share of the host's ICMP. One that is `led` works whenever it is
    /// woken, also within a tick. Only before the first socket.
    pub(super) fn join(&mut self, share: Share, led: bool) {
        (self.tokens.share, self.led) = (share, led);
    }

    /// The source of randomness.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        &mut *self.entropy
    }

    /// Ends a sleep of [`Driver::turn`], from any thread.
    pub fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// How long to gather work before waking for it; kernel stamps keep the times exact meanwhile. Ticks are
    /// multiples of this, so that what is due each second leaves each second equally late.
    pub fn set_tick(&mut self, tick: Duration) {
        self.tick = tick;
    }

    /// Whether it gathers work now. Parts of a stream are timed by our own reading, and cannot wait.
    fn ticks(&self) -> bool {
        self.tick > Duration::ZERO && self.streams == 0
    }

    /// What was due by then is to be begun now: by the last tick, however long after it we woke, or what is due
    /// about a tick would leave now with this one and now with the next.
    pub fn due_by(&self, now: Timestamp) -> Timestamp {
        if self.ticks() { now.floor(self.tick) } else { now }
    }

    /// How many runs still have something to clean up at their peer, or no result yet.
    pub fn unfinished(&self) -> usize {
        self.runs.iter().flatten().filter(|run| !run.ended).count()
    }

    /// Which source address packets to `peer` leave from.
    ///
    /// # Errors
    /// The fault that keeps them from leaving.
    pub fn source_towards(peer: IpAddr, egress: &Egress) -> Result<IpAddr, Fault> {
        socket::source_towards(peer, egress).map_err(|error| fault::of_send(&error))
    }

    /// Begins an exchange on a flow. Its result comes out of this or a later [`Driver::turn`].
    pub fn begin(&mut self, flow: FlowId, tag: Tag, spec: &Spec, out: &mut Vec<Happening>) {
        self.begin_with(flow, tag, spec.timeout, |start| (spec.kind.begin)(spec, start), out);
    }

    /// The same for an exchange that is no probe's: `make` makes it. `timeout` is how long it stays
    /// known after its end.
    pub fn begin_with(
        &mut self,
        flow: FlowId,
        tag: Tag,
        timeout: Duration,
        make: impl FnOnce(Start<'_>) -> Box<dyn Exchange>,
        out: &mut Vec<Happening>,
    ) {
        let now = self.clock.now();
        let refuse = |fault, out: &mut Vec<Happening>| {
            out.push(Happening::Done {
                tag,
                sent: None,
                done: now,
                report: Report::new(Outcome::Unsent(fault)),
            });
        };
        if let Err(fault) = self.is_there(flow) {
            return refuse(fault, out);
        }
        let pinned = match self.pin(flow) {
            Ok(local) => local,
            Err(error) => return refuse(fault::of_open(&error), out),
        };
        let Some(state) = self.flows.get(flow.0 as usize).and_then(Option::as_ref) else {
            return refuse(Fault::Internal, out);
        };
        let peer = state.peer;
        let token = self.tokens.begin(flow, self.entropy.u32());
        let start = Start {
            now,
            wall: self.wall_at(now),
            peer,
            local: pinned,
            timeout,
            form: tag.form,
            token,
            entropy: &mut *self.entropy,
        };
        let exchange = make(start);
        self.generations = self.generations.wrapping_add(1);
        let run = Run {
            flow,
            tag,
            exchange,
            channel: Channel::Closed,
            beside: None,
            timeout,
            began: now,
            sent: None,
            reported: None,
            ended: false,
            wait: Timestamp::FAR,
            generation: self.generations,
            whole: false,
            round_trip: None,
            local_port: 0,
        };
        let transport = run.exchange.transport();
        let knows_headers = run.exchange.knows_headers();
        let run = match self.spare.pop() {
            Some(mut spare) => {
                *spare = run;
                spare
            }
            None => Box::new(run),
        };
        let index = insert(&mut self.runs, &mut self.free_runs, run);
        if let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) {
            state.runs.push(index);
        }
        if knows_headers {
            self.header_readers.push(index);
        }
        let Some(mut run) = self.take_run(index) else { return };
        self.open_channel(index, &mut run, transport, now);
        self.advance(index, run, out);
        self.hand_out_pending(out);
    }

    /// Sleeps until `until`, or until something happens, and handles what did.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn turn(&mut self, until: Timestamp, out: &mut Vec<Happening>) -> io::Result<()> {
        self.transmit_outbox(out);
        let next = self.next_timer().map_or(until, |at| until.min(at));
        let mut now = self.clock.now();
        let next = next.min(self.be_patient(now));
        if now.since(self.turned) >= STALL {
            self.stall = (self.turned, now); // stopped, or starved, outside the wait
        }
        let ticks = self.ticks();
        let next = if ticks { next.ceil(self.tick) } else { next };
        let mut planned = next.max(now);
        if ticks {
            let gathered = (self.woke + Duration::from_nanos(1)).ceil(self.tick);
            planned = planned.max(gathered);
            if gathered > now {
                self.gather(gathered.since(now));
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
        let stepped = Duration::from_nanos(offset.abs_diff(self.offset)) > CLOCK_STEP;
        if stepped {
            self.distrust_until = now + DISTRUST;
        }
        self.offset = offset;
        // All that has arrived is read before any deadline is looked at: after a stall of ours, answers
        // that were in time are in the buffers. What stays ready is told again after all others.
        for _ in 0..=self.flows.len() / poller::BATCH {
            for event in &ready {
                match Owner::of(event.key) {
                    Some(Owner::Icmp(index)) => self.read_icmp(index, *event, out),
                    Some(Owner::Flow(index)) => self.read_flow(index, *event, out),
                    Some(Owner::Run(index)) => self.read_run(index, *event, out),
                    None => {}
                }
            }
            if ready.len() + 1 < poller::BATCH {
                break;
            }
            self.poller.wait(Duration::ZERO, &mut ready)?;
        }
        self.ready = ready;
        self.read_muted(stepped, out);
        self.hand_out_pending(out);
        let read = self.clock.now();
        if read.since(now) >= STALL {
            self.stall = (now, read); // what arrived while we were so slow to read is not read yet
        }
        // Not those that became due since: what arrived meanwhile is read in the next turn, before them.
        self.run_timers(now, out);
        self.transmit_outbox(out);
        self.hand_out_pending(out);
        self.turned = self.clock.now();
        Ok(())
    }

    /// Sleeps for the rest of a tick. One that is led leaves its leader, which works at the same instants, time to
    /// wake it with what is to be done, so that it wakes once a tick and not twice.
    fn gather(&self, rest: Duration) {
        if self.led { self.poller.nap(rest + self.tick / 2) } else { std::thread::sleep(rest) }
    }

    fn run_timers(&mut self, now: Timestamp, out: &mut Vec<Happening>) {
        while let Some(at) = self.next_timer().filter(|at| *at <= now) {
            let Some((_, (index, _))) = self.timers.pop() else { break };
            let Some(mut run) = self.take_run(index) else { continue };
            debug_assert_eq!(run.wait, at);
            run.wait = Timestamp::FAR;
            self.advance(index, run, out);
        }
        while let Some((_, index, generation)) = self.lingering.front().copied().filter(|(at, ..)| *at <= now)
        {
            self.lingering.pop_front();
            if self.run_ref(index).is_some_and(|run| run.generation == generation)
                && let Some(run) = self.take_run(index)
            {
                self.forget(index, run);
            }
        }
    }

    /// When the next run wants to be polled.
    fn next_timer(&mut self) -> Option<Timestamp> {
        while let Some((at, (index, generation))) = self.timers.peek() {
            if self.run_ref(index).is_some_and(|run| run.generation == generation && run.wait == at) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    /// The wall time of a moment since the last turn.
    fn wall_at(&self, now: Timestamp) -> WallTime {
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        WallTime::from_unix_nanos(now.saturating_add(self.offset))
    }

    fn run_ref(&self, index: u32) -> Option<&Run> {
        self.runs.get(index as usize).and_then(Option::as_deref)
    }

    fn take_run(&mut self, index: u32) -> Option<Box<Run>> {
        self.runs.get_mut(index as usize).and_then(Option::take)
    }

    fn put_back(&mut self, index: u32, run: Box<Run>) {
        if let Some(slot) = self.runs.get_mut(index as usize) {
            *slot = Some(run);
        }
    }

    /// Lets go of a run that was taken out.
    fn forget(&mut self, index: u32, run: Box<Run>) {
        self.header_readers.retain(|reader| *reader != index);
        self.release(index, run);
    }

    /// Gives back what a run held whose token is nobody's any more.
    fn release(&mut self, index: u32, mut run: Box<Run>) {
        let light = matches!(run.channel, Channel::Icmp(_));
        self.close_channel(&mut run);
        if let Some(state) = self.flows.get_mut(run.flow.0 as usize).and_then(Option::as_mut) {
            state.runs.retain(|other| *other != index);
        }
        self.free_runs.push(index);
        self.drop_closed(run.flow);
        // An echo holds nothing but its token; others may hold keys, and go at once.
        if light && self.spare.len() < SPARE {
            self.spare.push(run);
        }
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
