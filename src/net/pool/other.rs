//! A driver in a thread of its own, as the engine sees it, and the desk between the two.
//!
//! Invariant: an order and what came of it are handed over whole, in their order.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::driver::{Driver, Happening, Tag};
use super::super::poller::Waker;
use super::worker;
use crate::config::Egress;
use crate::probe::{Flow, Spec};
use crate::time::{Clock as _, Timestamp};

/// Orders that may lie before a driver. One that is so far behind is given no more probes: it stands still.
pub(super) const MOST_ORDERS: usize = 1 << 16;

/// What a driver in a thread of its own is told to do.
pub(super) enum Order {
    Open(u32, Box<New>),
    Begin {
        flow: u32,
        tag: Tag,
        timeout: Duration,
    },
    Renew(u32),
    Close(u32),
    Tick(Duration),
    Patience(Duration),
    /// End when nothing is unfinished.
    Finish,
}

/// A flow to be opened.
pub(super) struct New {
    pub peer: IpAddr,
    pub port: u16,
    pub kind: Flow,
    pub egress: Arc<Egress>,
    pub spec: Arc<Spec>,
}

/// Where the engine and a driver leave things for each other.
pub(super) struct Desk {
    pub orders: Mutex<Vec<Order>>,
    pub results: Mutex<Results>,
    /// When the driver last finished a turn.
    pub turned: AtomicU64,
    /// Its thread has ended, and lays down no more results.
    pub gone: AtomicBool,
    /// The engine is no more.
    pub left: AtomicBool,
}

#[derive(Default)]
pub(super) struct Results {
    pub happenings: Vec<Happening>,
    /// How many orders have been followed, since the beginning: all that came of them is there.
    pub followed: u64,
}

/// What lies on a desk is whole, also when its thread panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A driver in a thread of its own, as the engine sees it.
pub(super) struct Other {
    desk: Arc<Desk>,
    waker: Waker,
    /// Nothing once it has ended as it was told to.
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Orders that have not been handed over.
    orders: Vec<Order>,
    /// How many have been given, and how many of them were followed.
    given: u64,
    followed: u64,
    full: bool,
    patience: Duration,
    /// How many flows there were at once, and the numbers of those that are closed.
    flows: u32,
    free: Vec<u32>,
}

impl Other {
    pub fn start(driver: Driver, number: u8, engine: Waker) -> io::Result<Self> {
        let desk = Arc::new(Desk {
            orders: Mutex::default(),
            results: Mutex::default(),
            turned: AtomicU64::new(driver.clock().now().as_nanos()),
            gone: AtomicBool::new(false),
            left: AtomicBool::new(false),
        });
        let waker = driver.waker();
        let there = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name(format!("driver-{number}"))
            .spawn(move || worker::run(driver, &there, &engine))?;
        Ok(Self {
            desk,
            waker,
            thread: Some(thread),
            orders: Vec::new(),
            given: 0,
            followed: 0,
            full: false,
            patience: Duration::ZERO,
            flows: 0,
            free: Vec::new(),
        })
    }

    pub fn order(&mut self, order: Order) {
        self.given += 1;
        self.orders.push(order);
    }

    /// Orders a flow to be opened; its number.
    pub fn open(&mut self, new: New) -> u32 {
        let flow = self.free.pop().unwrap_or_else(|| {
            self.flows += 1;
            self.flows - 1
        });
        self.order(Order::Open(flow, Box::new(new)));
        flow
    }

    /// Orders one to be closed. Its number is free at once: orders are followed in their order.
    pub fn close(&mut self, flow: u32) {
        self.order(Order::Close(flow));
        self.free.push(flow);
    }

    pub fn set_patience(&mut self, patience: Duration) {
        if self.patience != patience {
            self.patience = patience;
            self.order(Order::Patience(patience));
        }
    }

    /// Whether it is so far behind that it is given no more probes.
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// How many orders it was given, and how many of them it has followed.
    pub const fn given(&self) -> u64 {
        self.given
    }

    pub const fn followed(&self) -> u64 {
        self.followed
    }

    /// Whether it has taken all that was handed over.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        lock(&self.desk.orders).is_empty()
    }

    /// Whether its thread has not ended.
    pub const fn runs(&self) -> bool {
        self.thread.is_some()
    }

    /// When it last finished a turn.
    pub fn turned(&self) -> Timestamp {
        Timestamp::from_nanos(self.desk.turned.load(Ordering::Relaxed))
    }

    /// Lays the orders on the desk.
    pub fn hand_over(&mut self) {
        let mut there = lock(&self.desk.orders);
        self.full = there.len() >= MOST_ORDERS;
        if self.orders.is_empty() {
            return;
        }
        let asleep = there.is_empty();
        if asleep {
            std::mem::swap(&mut *there, &mut self.orders);
        } else {
            there.append(&mut self.orders);
        }
        drop(there);
        if asleep {
            self.waker.wake(); // else it has been woken for what lies there
        }
    }

    /// Takes what has happened.
    ///
    /// # Errors
    /// The thread has ended, and not because it was told to.
    pub fn collect(&mut self, out: &mut Vec<Happening>) -> io::Result<()> {
        // Before the results: behind the last of them nothing is laid down.
        let gone = self.desk.gone.load(Ordering::Acquire);
        let mut there = lock(&self.desk.results);
        out.append(&mut there.happenings);
        self.followed = there.followed;
        drop(there);
        match self.thread.take_if(|_| gone).map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("a driver's thread panicked")),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.desk.left.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // whoever lets go of it does not ask
        }
    }
}
