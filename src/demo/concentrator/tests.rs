//! Tests of the responders.
