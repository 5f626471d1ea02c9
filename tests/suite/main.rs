//! The hermetic tests.

mod config;
