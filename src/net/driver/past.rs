//! Echo requests: whose an answer is, and what is known a while longer of those that are over.
//!
//! The first eight bytes of an echo request's payload are its *route*: the number of its flow under a mask that only
//! we can make of the random half. What arrives on a socket that all share leads to its flow without a table
//! of all that is under way, and to others the token is random from its first bit.
//!
//! ```text
//!   route   flow ⊕ mask 4 | random 4        mask = keyed hash of the random half
//! ```
//!
//! An answer that comes late or twice is told from a stranger's by its token. Only that is kept, not the run:
//! at ten thousand requests a second and three seconds of memory the runs themselves would be most of what
//! the driver holds, and none would be used again while it is still in a cache.
//! Invariant: nothing here brings about a result; a token is forgotten at its time.

use std::hash::{DefaultHasher, Hasher as _};
use std::net::IpAddr;

use super::{Driver, FlowId, Happening, Mismatch, SeriesId, Timestamp};

/// Whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// That of a run.
    Run(u32),
    /// That of one that is over.
    Past(Past),
}

/// A run that is over, in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub token: u64,
    /// When it is forgotten.
    pub until: Timestamp,
    pub series: SeriesId,
    /// Whether it ended with an answer.
    pub answered: bool,
}

/// Hides the numbers of flows in tokens.
pub(super) struct Routes {
    key: [u8; 16],
}

impl Routes {
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The start of a token for this flow.
    pub fn to(&self, flow: FlowId, random: u32) -> u64 {
        u64::from(flow.0 ^ self.mask(random)) << 32 | u64::from(random)
    }

    /// The flow that a token names, whoever made it up.
    pub fn flow(&self, token: u64) -> FlowId {
        let (hidden, random) = halves(token);
        FlowId(hidden ^ self.mask(random))
    }

    fn mask(&self, random: u32) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key);
        hasher.write_u32(random);
        halves(hasher.finish()).1
    }
}

const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, (word & 0xffff_ffff) as u32)
}

impl Driver {
    /// Keeps the token of a run that is over.
    pub(super) fn remember(&mut self, flow: FlowId, past: Past) {
        let now = self.woke;
        if let Some(state) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) {
            state.past.retain(|known| known.until > now);
            state.past.push(past);
        }
    }

    /// Whose a token is, if anybody's.
    pub(super) fn whose(&self, token: u64) -> Option<Whose> {
        let state = self.flows.get(self.routes.flow(token).0 as usize)?.as_ref()?;
        let has_it = |run: &u32| self.run_ref(*run).is_some_and(|run| run.exchange.token() == Some(token));
        if let Some(run) = state.runs.iter().copied().find(has_it) {
            return Some(Whose::Run(run));
        }
        let past = state.past.iter().find(|past| past.token == token && past.until > self.woke)?;
        Some(Whose::Past(*past))
    }

    /// Tells what a reply with such a token is: late, or there twice.
    pub(super) fn again(&self, past: Past, from: IpAddr, out: &mut Vec<Happening>) {
        let flow = self.flows.get(self.routes.flow(past.token).0 as usize).and_then(Option::as_ref);
        out.push(match flow {
            Some(flow) if flow.closing => Happening::Unmatched(Mismatch::Token),
            Some(flow) if flow.peer != from => Happening::Unmatched(Mismatch::Source),
            Some(_) if past.answered => Happening::Duplicate(past.series),
            Some(_) => Happening::Late(past.series),
            None => Happening::Unmatched(Mismatch::Token),
        });
    }

    /// Where the packets with such a token went, if there are any.
    pub(super) fn peer_of_token(&self, token: u64) -> Option<IpAddr> {
        self.whose(token)?;
        self.flows.get(self.routes.flow(token).0 as usize).and_then(Option::as_ref).map(|flow| flow.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_its_flow_and_tells_nobody_else() {
        let (mine, other) = (Routes::new([1; 16]), Routes::new([2; 16]));
        for (flow, random) in (0..10_000).zip((0u32..).map(|n| n.wrapping_mul(0x9e37_79b9))) {
            assert_eq!(mine.flow(mine.to(FlowId(flow), random)), FlowId(flow));
        }
        let found = (0..10_000).filter(|n| other.flow(mine.to(FlowId(7), *n)) == FlowId(7)).count();
        let seen: std::collections::HashSet<_> = (0..10_000).map(|n| mine.to(FlowId(7), n) >> 32).collect();
        assert!(found < 3 && seen.len() > 9_990, "{found} {}", seen.len());
    }
}
