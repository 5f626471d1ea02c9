//! The hermetic suite: no network beyond loopback, no privilege, no other program.

mod config;
mod layering;
mod metrics;
