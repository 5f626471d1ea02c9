//! The hermetic suite: no network beyond loopback, no privilege, no other program.

mod layering;
mod metrics;
