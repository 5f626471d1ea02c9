//! The hermetic suite: no network beyond loopback, no privilege, no other program.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod layering;
mod metrics;
