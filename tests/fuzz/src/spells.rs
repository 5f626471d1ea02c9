//! Spells: for a while every mutation begins with the same seed.
//!
//! What coverage keeps of an input is the shortest that goes the same way: what is in a field of no consequence
//! is soon gone, and so is the second of two that are alike. And libFuzzer puts right what was compared in the
//! run before, which helps only where that was of nearly the same input.
//!
//! Invariant: the same spells in each run.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many mutations a spell lasts.
const LENGTH: usize = 128;

/// The seed of the spell, if it is one of the half that have one; every other of them the last seed, which is
/// the one with the most in it.
pub fn seed(seeds: &[Vec<u8>]) -> Option<&Vec<u8>> {
    static MUTATIONS: AtomicUsize = AtomicUsize::new(0);
    let spell = MUTATIONS.fetch_add(1, Ordering::Relaxed) / LENGTH;
    match spell % 4 {
        0 => seeds.last(),
        2 => seeds.get(spell / 4 % seeds.len().max(1)),
        _ => None,
    }
}

/// Whether that is a change, and of at least so many octets.
pub fn changed(before: &[u8], after: &[u8], least: usize) -> bool {
    before.iter().zip(after).filter(|(before, after)| before != after).count() >= least
}
