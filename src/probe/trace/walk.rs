//! Which hop is asked when, and which answer is whose: the part of a trace that knows no protocol.
//!
//! ```text
//!   known hops | LEAD hops asked ahead | not yet
//!   1 2 3 4    | 5 6 7 8 9             | 10 …       each answer moves the front on
//! ```
//! A front of [`LEAD`] hops is asked at once, and each answer moves it on: no more than `LEAD` − 1 packets
//! pass the end. Wherever on the way the time is spent, two rounds know twice `LEAD` hops: a path of eight
//! routers and its end is known within two round trips also where the first link takes nearly all of them.
//!
//! An answer that quotes too little to tell which packet it is about is *loose*. It belongs to the one
//! packet that is left when all others have been answered; where several are left, the hops in doubt are
//! asked again one at a time.
//!
//! Invariants: no hop is asked twice within [`PATIENCE`] unless an answer of it came and could not be
//! placed; an answer is never placed by guess; one that cannot be placed at all is told as such, so that
//! a router that quotes little does not look silent.
//!
//! Augustin et al., IMC 2006 (Paris traceroute); RFC 1812, 4.3.2.3 and 4.3.2.8 (what routers quote, and
//! that they limit it); RFC 4443, 2.4.

use std::net::IpAddr;
use std::time::Duration;

use crate::sample::Reason;
use crate::sample::path::{HopAnswer, HopSeen, Label, PathEnd};
use crate::time::Timestamp;

/// How long an answer may take before the hop is asked again, or given up.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Hops asked beyond the last one that answered.
pub const LEAD: usize = 5;
/// Packets under way at once, at the most.
const WINDOW: usize = 8;

/// How far and how often hops are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The highest hop limit.
    pub max_hops: usize,
    /// Hops asked ahead, at least 1.
    pub lead: usize,
    /// Silent hops after which nothing more is expected.
    pub silent: usize,
    /// How often a silent hop is asked.
    pub tries: u8,
    /// Whether only one packet may be under way at a time.
    pub serial: bool,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A router at which the hop limit ran out.
    Router,
    /// The destination.
    Destination,
    /// Somebody who refuses to pass the packet on, or the destination that has nothing there.
    Refusal(Reason),
}

/// An answer as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub who: Who,
    pub from: Option<IpAddr>,
    pub at: Timestamp,
    pub labels: Vec<Label>,
}

#[derive(Debug, Clone, Default)]
struct Hop {
    asked: u8,
    /// How often it may still be asked beyond the usual, for its answer could not be placed.
    again: u8,
    answers: Vec<HopAnswer>,
    end: Option<Who>,
}

/// One packet.
#[derive(Debug, Clone, Copy)]
struct Try {
    hop: usize,
    sent: Timestamp,
    /// No answer to it is expected any more: it has come, or could not be placed.
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Walk {
    pace: Pace,
    hops: Vec<Hop>,
    tries: Vec<Try>,
    loose: Vec<Answer>,
    unplaced: Vec<IpAddr>,
    /// One packet at a time from now on.
    serial: bool,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Walk {
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            hops: vec![Hop::default(); pace.max_hops.max(1)],
            tries: Vec::new(),
            loose: Vec::new(),
            unplaced: Vec::new(),
            serial: pace.serial,
            first: None,
            last: None,
        }
    }

    /// Index of the nearest hop at which the path ended.
    fn end(&self) -> Option<usize> {
        self.hops.iter().position(|hop| hop.end.is_some())
    }

    /// How many hops are known up to the last one that answered.
    fn known(&self) -> usize {
        self.hops.iter().rposition(|hop| !hop.answers.is_empty()).map_or(0, |last| last + 1)
    }

    /// How often a hop is asked: again only within what is known, and the first one beyond.
    fn allowed(&self, index: usize, known: usize) -> u8 {
        let usual = if index <= known { self.pace.tries } else { 1 };
        usual.saturating_add(self.hops.get(index).map_or(0, |hop| hop.again))
    }

    fn under_way(&self, index: usize, now: Timestamp) -> bool {
        self.tries.iter().any(|it| it.hop == index && !it.closed && now < it.sent + PATIENCE)
    }

    /// Hops that may be asked: to the end if that is known, else not far beyond the last that answered.
    fn reach(&self, now: Timestamp) -> usize {
        if let Some(end) = self.end() {
            return end + 1;
        }
        let known = self.known();
        let beyond = self.hops.get(known..).unwrap_or_default().iter().enumerate();
        let given_up = beyond
            .take_while(|(offset, hop)| {
                let index = known + offset;
                hop.asked >= self.allowed(index, known) && !self.under_way(index, now)
            })
            .count();
        let lead = if given_up < self.pace.lead { self.pace.lead } else { given_up + 1 };
        (known + lead.min(self.pace.silent)).min(self.hops.len())
    }

    /// The hop to ask now, by index.
    pub fn next(&mut self, now: Timestamp) -> Option<usize> {
        self.settle(now);
        let reach = self.reach(now);
        let known = self.known();
        let waiting = (0..reach).filter(|index| self.waits(*index, now)).count();
        if waiting >= if self.serial { 1 } else { WINDOW } {
            return None;
        }
        (0..reach).find(|index| {
            self.hops.get(*index).is_some_and(|hop| {
                hop.answers.is_empty() && hop.asked < self.allowed(*index, known) && !self.under_way(*index, now)
            })
        })
    }

    /// Whether an answer of that hop is still waited for.
    fn waits(&self, index: usize, now: Timestamp) -> bool {
        self.hops.get(index).is_some_and(|hop| hop.answers.is_empty()) && self.under_way(index, now)
    }

    /// Notes that a packet to that hop is being sent; its number, from 0 on.
    pub fn ask(&mut self, index: usize, now: Timestamp) -> usize {
        if let Some(hop) = self.hops.get_mut(index) {
            hop.asked = hop.asked.saturating_add(1);
        }
        self.tries.push(Try { hop: index, sent: now, closed: false });
        self.tries.len() - 1
    }

    /// Notes when a packet really left.
    pub fn left(&mut self, number: usize, at: Timestamp) {
        if let Some(it) = self.tries.get_mut(number) {
            it.sent = at;
            self.first.get_or_insert(at);
        }
    }

    /// Until when nothing happens by itself; nothing if all is known that will be.
    pub fn wake(&self, now: Timestamp) -> Option<Timestamp> {
        let reach = self.reach(now);
        let waited = |it: &&Try| {
            !it.closed && now < it.sent + PATIENCE && (self.waits(it.hop, now) && it.hop < reach)
        };
        self.tries.iter().filter(waited).map(|it| it.sent + PATIENCE).min()
    }

    /// Until when an answer to a packet may still come.
    pub fn linger(&self) -> Option<Timestamp> {
        self.tries.iter().filter(|it| !it.closed).map(|it| it.sent + PATIENCE).max()
    }

    /// The number of the only packet whose answer is waited for, if it is the only one.
    pub fn only(&self, now: Timestamp) -> Option<usize> {
        let mut open = (0..self.tries.len())
            .filter(|number| self.tries.get(*number).is_some_and(|it| !it.closed && now < it.sent + PATIENCE));
        open.next().filter(|_| open.next().is_none())
    }

    /// Takes the answer to a packet.
    pub fn answer(&mut self, number: usize, answer: Answer) {
        let Some(it) = self.tries.get_mut(number) else { return };
        it.closed = true;
        let (index, sent) = (it.hop, it.sent);
        let reached = self.end().is_none_or(|end| index <= end);
        let Some(hop) = self.hops.get_mut(index) else { return };
        if answer.who != Who::Router && hop.end != Some(Who::Destination) {
            hop.end = Some(answer.who);
        }
        hop.answers.push(HopAnswer {
            address: answer.from,
            rtt: answer.at.since(sent),
            labels: answer.labels,
        });
        if reached {
            self.last = self.last.max(Some(answer.at));
        }
    }

    /// Takes an answer that does not tell which packet it is about.
    pub fn loose(&mut self, answer: Answer, now: Timestamp) {
        if self.serial {
            match self.only(now) {
                Some(number) => self.answer(number, answer),
                None => self.unplaced.extend(answer.from),
            }
            return;
        }
        self.loose.push(answer);
        self.settle(now);
    }

    /// Places what can be placed, and goes on packet by packet where that is the only way to know.
    fn settle(&mut self, now: Timestamp) {
        if self.loose.is_empty() {
            return;
        }
        // What passed the end of the path expires nowhere.
        let expired = self.loose.iter().all(|answer| answer.who == Who::Router);
        let end = self.end().filter(|_| expired).unwrap_or(usize::MAX);
        let open: Vec<usize> = (0..self.tries.len())
            .filter(|number| self.tries.get(*number).is_some_and(|it| !it.closed && it.hop < end))
            .collect();
        if let ([number], [_]) = (open.as_slice(), self.loose.as_slice()) {
            let number = *number;
            if let Some(answer) = self.loose.pop() {
                self.answer(number, answer);
            }
            return;
        }
        let in_time = |it: &Try| !it.closed && it.hop < end && now < it.sent + PATIENCE;
        let late = !self.tries.iter().any(in_time);
        if open.len() > self.loose.len() && !late {
            return;
        }
        // All have answered, or will not: which is which only asking one by one can tell.
        self.unplaced.extend(self.loose.drain(..).filter_map(|answer| answer.from));
        self.serial = true;
        for number in open {
            let Some(it) = self.tries.get_mut(number) else { continue };
            it.closed = true;
            if let Some(hop) = self.hops.get_mut(it.hop) {
                hop.again = hop.again.max(hop.asked);
            }
        }
    }

    /// What is known: the hops, how the path ended, and who could not be placed.
    pub fn seen(&self) -> (Vec<HopSeen>, PathEnd, Option<Reason>, Vec<IpAddr>) {
        let end = self.end();
        let shown = end.map_or_else(|| self.known(), |end| end + 1);
        let hops: Vec<HopSeen> = self
            .hops
            .iter()
            .take(shown)
            .zip(1u8..)
            .map(|(hop, ttl)| HopSeen { ttl, asked: hop.asked, answers: hop.answers.clone() })
            .collect();
        let (how, reason) = match end.and_then(|end| self.hops.get(end)).and_then(|hop| hop.end) {
            Some(Who::Destination) => (PathEnd::Reached, None),
            Some(Who::Refusal(reason)) => (PathEnd::Refused, Some(reason)),
            Some(Who::Router) | None => (PathEnd::Silent, None),
        };
        let placed = |address: &IpAddr| {
            hops.iter().flat_map(|hop| &hop.answers).any(|answer| answer.address == Some(*address))
        };
        let loose = self.loose.iter().filter_map(|answer| answer.from);
        let mut unplaced: Vec<IpAddr> =
            self.unplaced.iter().copied().chain(loose).filter(|address| !placed(address)).collect();
        unplaced.sort_unstable();
        unplaced.dedup();
        (hops, how, reason, unplaced)
    }

    /// How many packets were sent.
    pub fn packets(&self) -> usize {
        self.tries.len()
    }

    /// From the first packet to the last answer within the path.
    pub fn took(&self) -> Duration {
        self.last.zip(self.first).map_or(Duration::ZERO, |(last, first)| last.since(first))
    }
}

#[cfg(test)]
mod tests;
