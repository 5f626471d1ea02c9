//! How the token of an echo request leads to its flow.
//!
//! Its first eight bytes are the number of the flow, under a mask that only we can make, and what the mask is made
//! of. What arrives on a socket that all share leads to its flow without a table of all that is under way.
//!
//! ```text
//!   flow ⊕ mask 4 | random 4        mask = keyed hash of the random half
//! ```
//! Invariant: to others a token is random from its first bit (but for the mark of its driver, where several
//! run).

use std::hash::{DefaultHasher, Hasher as _};

use super::FlowId;
use crate::net::share::Share;

/// Makes the beginnings of tokens, and reads them.
pub(super) struct Tokens {
    key: [u8; 16],
    /// Whose they are, among several drivers.
    pub share: Share,
}

impl Tokens {
    pub fn new(key: [u8; 16]) -> Self {
        Self { key, share: Share::ALL }
    }

    /// The beginning of a new token for this flow.
    pub fn begin(&self, flow: FlowId, random: u32) -> u64 {
        let random = self.share.mark(random);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_its_flow_and_tells_nobody_else() {
        let (mine, other) = (Tokens::new([1; 16]), Tokens::new([2; 16]));
        for (flow, random) in (0..10_000).zip((0u32..).map(|n| n.wrapping_mul(0x9e37_79b9))) {
            assert_eq!(mine.flow(mine.begin(FlowId(flow), random)), FlowId(flow));
        }
        let found = (0..10_000).filter(|n| other.flow(mine.begin(FlowId(7), *n)) == FlowId(7)).count();
        let seen: std::collections::HashSet<_> =
            (0..10_000).map(|n| mine.begin(FlowId(7), n) >> 32).collect();
        assert!(found < 3 && seen.len() > 9_990, "{found} {}", seen.len());
    }
}
