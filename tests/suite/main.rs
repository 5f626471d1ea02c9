//! The hermetic suite: no network beyond loopback, no privilege.

mod check;
mod layering;
mod metrics;
