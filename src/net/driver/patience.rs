//! Answers that may lie a while: read a few at once, when something else is to be done anyway, not each with
//! a wake-up of its own, which costs ten times what the reading does. The kernel's stamps keep their times
//! exact meanwhile.
//!
//! ```text
//!   send ─ answer arrives, and lies ─ send ─ send ─ a deadline, or patience is over: read all
//!     └──────────────────────── patience ────────────────────────┘ at the latest
//! ```
//!
//! Invariant: a deadline is looked at only after all that has arrived was read; whoever cannot wait (a trace
//! that goes by each answer, an exchange asked for by hand) is not made to.

use std::time::Duration;

use super::{Driver, Happening, Owner, Ready, Timestamp};

/// So many answers are worth a read of their own.
const MANY: usize = 32;

/// How long answers on the shared sockets may lie, and whether they do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    allowed: Duration,
    /// The shared sockets wake nobody.
    muted: bool,
    /// When they are read at the latest.
    look_at: Timestamp,
    /// The wall clock was stepped while answers lay: when they came cannot be known.
    pub unsure: bool,
}

impl Patience {
    pub const NONE: Self =
        Self { allowed: Duration::ZERO, muted: false, look_at: Timestamp::FAR, unsure: false };
}

impl Driver {
    /// How long answers on the shared ICMP sockets may lie unread when nothing else is to be done.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience.allowed = patience;
    }

    /// Lets answers lie from now on, or not. When to wake for them at the latest.
    pub(super) fn be_patient(&mut self, now: Timestamp) -> Timestamp {
        let wanted = self.patience.allowed > Duration::ZERO
            && self.tick.is_zero() // which gathers them as well
            && self.header_readers.is_empty()
            && now >= self.distrust_until;
        if wanted != self.patience.muted {
            self.patience.muted = wanted;
            for index in 0..self.icmp.len() {
                self.heed_patience(index);
            }
        }
        if !wanted || self.icmp.iter().all(|shared| shared.waiting == 0) {
            self.patience.look_at = Timestamp::FAR;
        } else if self.patience.look_at <= now || self.patience.look_at == Timestamp::FAR {
            self.patience.look_at = now + self.patience.allowed;
        }
        self.patience.look_at
    }

    /// Has a shared socket wake us or not.
    pub(super) fn heed_patience(&self, index: usize) {
        let Some(socket) = self.icmp.get(index).and_then(|shared| shared.socket.as_ref()) else { return };
        let key = Owner::Icmp(index).key();
        if self.patience.muted {
            // Not even the times of sends, which lie in the error queue, are to wake us.
            self.poller.remove(socket);
        } else if self.poller.modify(socket, key, false).is_err() {
            // What is not watched is read at the next send, at the latest.
            let _ = self.poller.add(socket, key, false);
        }
    }

    /// Reads what lies on muted sockets, when it has lain long enough or something is to be judged by it.
    pub(super) fn read_muted(&mut self, stepped: bool, out: &mut Vec<Happening>) {
        let waiting: usize = self.icmp.iter().map(|shared| shared.waiting).sum();
        let lies = self.patience.look_at > self.woke
            && waiting < MANY
            && self.next_timer().is_none_or(|deadline| deadline > self.woke);
        if !self.patience.muted || lies && !stepped {
            return;
        }
        self.patience.unsure = stepped;
        for index in 0..self.icmp.len() {
            if self.icmp.get(index).is_some_and(|shared| shared.waiting > 0) {
                let key = Owner::Icmp(index).key();
                let ready = Ready { key, readable: true, writable: false, error: false };
                self.read_icmp(index, ready, out);
            }
        }
        self.patience.unsure = false;
    }
}
