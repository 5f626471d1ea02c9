//! The hermetic suite: no network beyond loopback, no privilege.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod metrics;
mod unit;
