//! Echo requests: whose an answer is, and what is known a while longer of those that are over.
//!
//! An answer that comes late or twice is told from a stranger's by its token. Only that is kept, not the run:
//! at ten thousand requests a second and three seconds of memory the runs themselves would be most of what
//! the driver holds, and none would be used again while it is still in a cache.
//! Invariant: nothing here brings about a result; a token is forgotten at its time.

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
        let state = self.flows.get(self.tokens.flow(token).0 as usize)?.as_ref()?;
        let has_it = |run: &u32| self.run_ref(*run).is_some_and(|run| run.exchange.token() == Some(token));
        if let Some(run) = state.runs.iter().copied().find(has_it) {
            return Some(Whose::Run(run));
        }
        let past = state.past.iter().find(|past| past.token == token && past.until > self.woke)?;
        Some(Whose::Past(*past))
    }

    /// Tells what a reply with such a token is: late, or there twice.
    pub(super) fn again(&self, past: Past, from: IpAddr, out: &mut Vec<Happening>) {
        let flow = self.flows.get(self.tokens.flow(past.token).0 as usize).and_then(Option::as_ref);
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
        self.flows.get(self.tokens.flow(token).0 as usize).and_then(Option::as_ref).map(|flow| flow.peer)
    }
}
