//! vpnprobe: tests VPN concentrators in their own protocols and exports what they answer.
//!
//! One sample's way, forward only: `schedule` yields a slot → `probe` makes an exchange → `net` drives
//! it, stamping sends and receives → outcome → sample → the engine folds it through `detect` → metrics
//! and page. Nothing flows back: an outcome never moves the next send of a stateless probe.
//!
//! Imports point one way, and a test holds them to it:
//! `main → cli → app → engine → {config, schedule, budget, probe, detect, diagnose, net, export, store, journal}`;
//! `cli → replay → journal → detect`;
//! `probe, session → wire, sample, time, entropy`; `detect, schedule, budget → sample, time`; `net, schedule → agenda → time`; `wire → std`;
//! `route` is a vocabulary as `sample` is.

// `fuzzing` opens a few private readers to tests/fuzz: no build that is shipped has it.
#[cfg(all(feature = "fuzzing", not(debug_assertions)))]
compile_error!("the feature `fuzzing` is for tests/fuzz/fuzz.sh, whose profile keeps its assertions");

pub mod agenda;
pub mod app;
pub mod budget;
pub mod cli;
pub mod config;
pub mod demo;
pub mod detect;
pub mod diagnose;
pub mod engine;
pub mod entropy;
pub mod export;
pub mod journal;
pub mod net;
pub mod probe;
pub mod ready;
pub mod replay;
pub mod route;
pub mod sample;
pub mod schedule;
pub mod session;
pub mod store;
pub mod time;
pub mod wire;
