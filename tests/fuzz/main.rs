//! Mutated packets for every parser: nothing that comes from the network may bring it down.

#[test]
fn placeholder() {}
