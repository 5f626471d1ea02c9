//! Stub.
pub mod survey;
