//! The hermetic suite: no network beyond loopback, no privilege.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod check;
mod config;
mod demo;
mod differential;
mod engine;
mod hostile;
mod layering;
mod metrics;
mod prometheus;
mod ready;
mod replay;
mod rights;
mod secrets;
mod service;
mod shipped;
mod slow;
mod state;
mod unit;
