//! Echo requests that are over: what of them is known a while longer.
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

/// A run that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub flow: FlowId,
    pub series: SeriesId,
    /// Whether it ended with an answer.
    pub answered: bool,
}

impl Driver {
    /// Keeps a token until `until`.
    pub(super) fn remember(&mut self, token: u64, past: Past, until: Timestamp) {
        self.tokens.insert(token, Whose::Past(past));
        self.past.push_back((until, token));
    }

    /// Forgets the tokens whose time has come.
    pub(super) fn forget_past(&mut self, now: Timestamp) {
        while let Some((_, token)) = self.past.front().copied().filter(|(until, _)| *until <= now) {
            self.past.pop_front();
            if matches!(self.tokens.get(&token), Some(Whose::Past(_))) {
                self.tokens.remove(&token);
            }
        }
    }

    /// Tells what a reply with such a token is: late, or there twice.
    pub(super) fn again(&self, past: Past, from: IpAddr, out: &mut Vec<Happening>) {
        let flow = self.flows.get(past.flow.0 as usize).and_then(Option::as_ref);
        out.push(match flow {
            Some(flow) if flow.closing => Happening::Unmatched(Mismatch::Token),
            Some(flow) if flow.peer != from => Happening::Unmatched(Mismatch::Source),
            Some(_) if past.answered => Happening::Duplicate(past.series),
            Some(_) => Happening::Late(past.series),
            None => Happening::Unmatched(Mismatch::Token),
        });
    }

    /// Where the packets with such a token went.
    pub(super) fn peer_of_token(&self, whose: Whose) -> Option<IpAddr> {
        match whose {
            Whose::Run(run) => self.peer_of(run),
            Whose::Past(past) => {
                self.flows.get(past.flow.0 as usize).and_then(Option::as_ref).map(|flow| flow.peer)
            }
        }
    }
}
