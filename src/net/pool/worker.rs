//! The thread of a driver: follows orders, turns, lays down what happened.
//!
//! Invariant: whatever ends it, the engine is woken and finds it gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::driver::{Driver, FlowId, Happening};
use super::super::poller::Waker;
use super::other::{Desk, New, Order, lock};
use crate::probe::Spec;
use crate::time::Clock as _;

/// The longest sleep: the sign of life waits no longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Happenings that may lie before the engine. They are waited for then, as if it were its own driver.
const MOST_RESULTS: usize = 1 << 17;

/// Runs until it is told to finish and has, or until the engine is no more.
///
/// # Errors
/// When the kernel refuses to wait for events.
pub(super) fn run(driver: Driver, desk: &Desk, engine: &Waker) -> io::Result<()> {
    let _gone = Gone { desk, engine };
    Worker { driver, flows: Vec::new(), happenings: Vec::new(), followed: 0, finishing: false }
        .run(desk, engine)
}

/// Says at its end that the thread has ended, also by a panic.
struct Gone<'a> {
    desk: &'a Desk,
    engine: &'a Waker,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.desk.gone.store(true, Ordering::Release);
        self.engine.wake();
    }
}

struct Worker {
    driver: Driver,
    /// The flows by the engine's numbers, and what runs on each.
    flows: Vec<Option<(FlowId, Arc<Spec>)>>,
    happenings: Vec<Happening>,
    followed: u64,
    finishing: bool,
}

impl Worker {
    fn run(&mut self, desk: &Desk, engine: &Waker) -> io::Result<()> {
        let mut orders = Vec::new();
        while !desk.left.load(Ordering::Acquire) {
            std::mem::swap(&mut orders, &mut *lock(&desk.orders));
            self.fetch(&orders);
            for order in orders.drain(..) {
                self.follow(order);
                self.followed += 1;
            }
            let ended = self.finishing && self.driver.unfinished() == 0;
            if !ended {
                let until = self.driver.clock().now() + LONGEST_SLEEP;
                self.driver.turn(until, &mut self.happenings)?;
            }
            while self.lay_down(desk, engine) > MOST_RESULTS && !desk.left.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            desk.turned.store(self.driver.clock().now().as_nanos(), Ordering::Relaxed);
            if ended {
                break;
            }
        }
        Ok(())
    }

    fn follow(&mut self, order: Order) {
        let out = &mut self.happenings;
        match order {
            Order::Open(number, new) => {
                let New { peer, port, kind, egress, spec } = *new;
                let flow = self.driver.open(peer, port, kind, egress);
                let place = number as usize;
                if place >= self.flows.len() {
                    self.flows.resize_with(place + 1, || None);
                }
                if let Some(entry) = self.flows.get_mut(place) {
                    *entry = Some((flow, spec));
                }
            }
            Order::Begin { flow, tag, timeout } => {
                if let Some(Some((flow, spec))) = self.flows.get(flow as usize) {
                    let make = |start: crate::probe::Start<'_>| (spec.kind.begin)(spec, start);
                    self.driver.begin_with(*flow, tag, timeout, make, out);
                }
            }
            Order::Renew(flow) => {
                if let Some(Some((flow, _))) = self.flows.get(flow as usize) {
                    self.driver.renew(*flow);
                }
            }
            Order::Close(flow) => {
                if let Some((flow, _)) = self.flows.get_mut(flow as usize).and_then(Option::take) {
                    self.driver.close(flow, out);
                }
            }
            Order::Tick(tick) => self.driver.set_tick(tick),
            Order::Patience(patience) => self.driver.set_patience(patience),
            Order::Finish => self.finishing = true,
        }
    }

    /// Has the flows that orders are about come into the caches, side by side.
    fn fetch(&self, orders: &[Order]) {
        let mut sum = 0;
        for order in orders {
            if let Order::Begin { flow, .. } = order
                && let Some(Some((flow, spec))) = self.flows.get(*flow as usize)
            {
                sum ^= self.driver.fetch(*flow) ^ u64::from(spec.port);
            }
        }
        std::hint::black_box(sum);
    }

    /// Gives the engine what has happened. How much lies there then.
    fn lay_down(&mut self, desk: &Desk, engine: &Waker) -> usize {
        let mut there = lock(&desk.results);
        there.followed = self.followed;
        let asleep = there.happenings.is_empty() && !self.happenings.is_empty();
        if asleep {
            std::mem::swap(&mut there.happenings, &mut self.happenings);
        } else {
            there.happenings.append(&mut self.happenings);
        }
        let lies = there.happenings.len();
        drop(there);
        if asleep {
            engine.wake();
        }
        lies
    }
}
