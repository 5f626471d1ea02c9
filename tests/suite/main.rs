//! Tests that need no privilege, no network and no other program.

mod layering;
