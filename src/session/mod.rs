//! Long-lived sessions.
mod dh;
mod keys;
