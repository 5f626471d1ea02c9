//! Dead peer detection: what a vendor's box would have done with a user's session, told from probes.
//!
//! Invariant: silence of ours is no evidence, and where the probes are too coarse there is no verdict.

mod feed;
mod profiles;
mod survival;

#[cfg(test)]
mod tests;

pub use feed::Feed;
pub use profiles::{Invalid, Mode, Profile, USUAL, built_in};
pub use survival::{Survival, TooCoarse, Verdict};
