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
/// How often a mutation is drawn again that moved something or changed too little.
const DRAWS: usize = 8;

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

/// Changes `data[..size]` to an input of at most `most` octets and returns its length: with `change`, or while a
/// spell lasts that way a seed, of which mostly nothing moves.
pub fn mutate(
    _: &str,
    seeds: &[Vec<u8>],
    (data, size, most): (&mut [u8], usize, usize),
    random: u32,
    change: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let Some(spell) = seed(seeds).filter(|spell| spell.len() <= most) else {
        return change(data, size, most);
    };
    let size = spell.len();
    // Not of 32 bits, as in `frames::mutate`.
    let random = random as usize;
    for _ in 0..[0, DRAWS, DRAWS, DRAWS][random & 3] {
        data[..size].copy_from_slice(spell);
        if change(data, size, size) == size && changed(spell, &data[..size], 1 + 2 * (random >> 2 & 1)) {
            return size;
        }
    }
    data[..size].copy_from_slice(spell);
    change(data, size, most)
}

/// Whether that is a change, and of at least so many octets.
pub fn changed(before: &[u8], after: &[u8], least: usize) -> bool {
    before.iter().zip(after).filter(|(before, after)| before != after).take(least).count() == least
}
