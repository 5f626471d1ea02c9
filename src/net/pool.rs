//! Several drivers as one: the engine's own, and others in threads of their own (`engine_threads`).
//!
//! ```text
//!   engine ─ open, begin, close ─▶ own Driver                      as if there were no other
//!                             └──▶ Desk ─ orders ──▶ Driver ─▶ network    thread "driver-1", …
//!   engine ◀───────────────────── Desk ◀─ results ─┘
//! ```
//! Which driver has a series is told by its address. What passes over a desk does so once a turn of the one who
//! gives it, with one wake, however much it is.
//! Invariants: the happenings of a series keep their order; a thread that ends unasked ends the engine; with one
//! thread nothing is shared, queued or locked.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::clock::SystemClock;
use super::driver::{Driver, FlowId, Happening, IcmpAccess, Tag};
use super::poller::Waker;
use super::share::{self, Share};
use crate::config::Egress;
use crate::entropy::Entropy;
use crate::probe::{Flow, Spec, trace};
use crate::sample::{Fault, Outcome, Report};
use crate::time::{Clock, Timestamp};

mod other;
mod worker;

use other::{New, Order, Other};

/// The most drivers that can run together.
pub const MOST_DRIVERS: u8 = share::MOST;
/// Of so many parts of what a probe costs one is the engine's, as measured with pings; the others are a driver's.
const PARTS: usize = 7;

/// Drivers that do not run yet, so that their sockets can be opened while there are rights to.
pub struct Drivers(Vec<Driver>);

impl Drivers {
    /// So many, from 1 to [`MOST_DRIVERS`]. `entropy` makes each its source of randomness.
    ///
    /// # Errors
    /// When the kernel gives no epoll or event descriptor.
    pub fn new(
        clock: SystemClock,
        count: u8,
        mut entropy: impl FnMut() -> Box<dyn Entropy>,
    ) -> io::Result<Self> {
        let count = count.clamp(1, MOST_DRIVERS);
        let one = |number| {
            let mut driver = Driver::new(clock, entropy())?;
            if count > 1 {
                driver.join(Share::of(number, count), number > 0);
            }
            Ok(driver)
        };
        (0..count).map(one).collect::<io::Result<_>>().map(Self)
    }

    /// Which ICMP this process may speak in a family out of `egress`. The sockets that all of them need for that
    /// are open from now on.
    pub fn icmp_access(&mut self, v6: bool, egress: &Arc<Egress>) -> IcmpAccess {
        let mut all = self.0.iter_mut().map(|driver| driver.icmp_access(v6, egress));
        let first = all.next().unwrap_or(IcmpAccess::Denied);
        all.for_each(drop);
        first
    }

    /// Lets their clock count on from another beginning.
    pub fn set_clock(&mut self, clock: SystemClock) {
        self.0.iter_mut().for_each(|driver| driver.set_clock(clock));
    }

    /// Starts the threads of all but the first.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(self) -> io::Result<Pool> {
        let mut drivers = self.0.into_iter();
        let own = drivers.next().ok_or(io::ErrorKind::InvalidInput)?;
        let mut pool = Pool::from(own);
        for (driver, number) in drivers.zip(1_u8..) {
            let engine = pool.own.waker();
            pool.others.push(Other::start(driver, number, engine)?);
        }
        Ok(pool)
    }
}

/// Names what a series keeps, in whichever driver that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// A flow of the engine's own driver.
    Own(FlowId),
    /// One of another's.
    Other {
        /// Which other, from 0 on.
        driver: u8,
        /// Which of its flows.
        flow: u32,
    },
}

/// A moment in the orders to a driver: once it has passed, nothing comes any more of what was closed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    driver: u8,
    orders: u64,
}

/// The drivers of an engine.
pub struct Pool {
    own: Driver,
    others: Vec<Other>,
}

impl From<Driver> for Pool {
    fn from(own: Driver) -> Self {
        Self { own, others: Vec::new() }
    }
}

impl Pool {
    /// The engine's own driver: for all that wants an answer at once, or hands in what it made.
    pub fn own(&mut self) -> &mut Driver {
        &mut self.own
    }

    /// The clock of all of them.
    pub fn clock(&self) -> SystemClock {
        self.own.clock()
    }

    /// The engine's source of randomness.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        self.own.entropy()
    }

    /// Up to when what is due is to be begun now, as [`Driver::due_by`] says.
    pub fn due_by(&self, now: Timestamp) -> Timestamp {
        self.own.due_by(now)
    }

    /// Ends a sleep of [`Pool::turn`], from any thread.
    pub fn waker(&self) -> Waker {
        self.own.waker()
    }

    /// A flow of a series to `peer`: `kind` and port of it, and what runs on it. All of one peer are one
    /// driver's; those that trace are the engine's own, which alone is told of errors that quote no token.
    pub fn open(
        &mut self,
        peer: IpAddr,
        (kind, port): (Flow, u16),
        spec: &Arc<Spec>,
        egress: &Arc<Egress>,
    ) -> Line {
        let place = if spec.kind.name == trace::INFO.name { 0 } else { place(peer, self.others.len()) };
        let other =
            place.checked_sub(1).and_then(|at| Some((u8::try_from(at).ok()?, self.others.get_mut(at)?)));
        let Some((driver, other)) = other else {
            return Line::Own(self.own.open(peer, port, kind, Arc::clone(egress)));
        };
        let flow = other.open(New { peer, port, kind, egress: Arc::clone(egress), spec: Arc::clone(spec) });
        Line::Other { driver, flow }
    }

    /// Begins an exchange as `spec` says, which is what its flow was opened for but for the timeout.
    pub fn begin(&mut self, line: Line, tag: Tag, spec: &Spec, out: &mut Vec<Happening>) {
        match line {
            Line::Own(flow) => self.own.begin(flow, tag, spec, out),
            Line::Other { driver, flow } => {
                let Some(other) = self.others.get_mut(usize::from(driver)) else { return };
                if other.is_full() {
                    let report = Report::new(Outcome::Unsent(Fault::Stalled));
                    let done = self.own.clock().now();
                    return out.push(Happening::Done { tag, sent: None, done, report });
                }
                other.order(Order::Begin { flow, tag, timeout: spec.timeout });
            }
        }
    }

    /// Gives a flow a new source port from its next run on.
    pub fn renew(&mut self, line: Line) {
        match line {
            Line::Own(flow) => self.own.renew(flow),
            Line::Other { driver, flow } => self.order(driver, Order::Renew(flow)),
        }
    }

    /// Lets go of a flow, as [`Driver::close`] does.
    pub fn close(&mut self, line: Line, out: &mut Vec<Happening>) {
        match line {
            Line::Own(flow) => self.own.close(flow, out),
            Line::Other { driver, flow } => {
                if let Some(other) = self.others.get_mut(usize::from(driver)) {
                    other.close(flow);
                }
            }
        }
    }

    /// After which moment nothing comes any more of a flow that has just been closed; nothing does now if it was
    /// the own driver's.
    pub fn fence(&self, line: Line) -> Option<Fence> {
        let Line::Other { driver, .. } = line else { return None };
        let other = self.others.get(usize::from(driver))?;
        Some(Fence { driver, orders: other.given() })
    }

    /// Whether that moment is over.
    pub fn has_passed(&self, fence: Fence) -> bool {
        self.others.get(usize::from(fence.driver)).is_none_or(|other| other.followed() >= fence.orders)
    }

    /// Reads a little of what a flow keeps, where that is ours to read. The number says nothing.
    pub fn fetch(&self, line: Line) -> u64 {
        match line {
            Line::Own(flow) => self.own.fetch(flow),
            Line::Other { .. } => 0,
        }
    }

    /// How long to gather work before waking for it.
    pub fn set_tick(&mut self, tick: Duration) {
        self.own.set_tick(tick);
        self.others.iter_mut().for_each(|other| other.order(Order::Tick(tick)));
    }

    /// How long answers may lie where nothing else is to be done.
    pub fn set_patience(&mut self, patience: Duration) {
        self.own.set_patience(patience);
        self.others.iter_mut().for_each(|other| other.set_patience(patience));
    }

    /// Hands out what has been ordered, sleeps until `until` or until something happens, and takes what did.
    ///
    /// # Errors
    /// When the kernel refuses a driver to wait, or a thread has ended.
    pub fn turn(&mut self, until: Timestamp, out: &mut Vec<Happening>) -> io::Result<()> {
        self.others.iter_mut().for_each(Other::hand_over);
        self.own.turn(until, out)?;
        self.others.iter_mut().try_for_each(|other| other.collect(out))
    }

    /// When the driver that is furthest behind last finished a turn.
    pub fn turned(&self) -> Timestamp {
        let running = self.others.iter().filter(|other| other.runs());
        running.map(Other::turned).fold(self.own.clock().now(), Ord::min)
    }

    /// Has all of them end when nothing is unfinished any more.
    pub fn finish(&mut self) {
        self.others.iter_mut().for_each(|other| other.order(Order::Finish));
    }

    /// How much is still to be done: runs of the own driver, and others that have not ended.
    pub fn unfinished(&self) -> usize {
        self.own.unfinished() + self.others.iter().filter(|other| other.runs()).count()
    }

    fn order(&mut self, driver: u8, order: Order) {
        if let Some(other) = self.others.get_mut(usize::from(driver)) {
            other.order(order);
        }
    }
}

/// Which driver has the series of an address: 0 is the engine's own. That has fewer, so that all threads have as
/// much to do: what the engine itself does for all of them, and nothing beside it from seven threads on.
fn place(peer: IpAddr, others: usize) -> usize {
    if others == 0 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    peer.hash(&mut hasher);
    let own = PARTS.saturating_sub(others + 1);
    let all = u64::try_from(own + PARTS * others).unwrap_or(1);
    let at = usize::try_from(hasher.finish() % all).unwrap_or(0);
    at.checked_sub(own).map_or(0, |at| 1 + at / PARTS)
}

#[cfg(test)]
mod tests;
