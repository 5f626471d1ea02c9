//! Tests that need no privilege, no network and no other program.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod layering;
