//! Detectors: pure folds of samples into what they mean over time.
//!
//! Invariant: a sample that is no evidence ([`Outcome::Unsent`](crate::sample::Outcome::Unsent)) changes
//! nothing.

pub mod dpd;
pub mod liveness;
