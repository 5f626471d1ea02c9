//! Names out of a file that live as long as the program, as those of forms and kinds do in the code.
//!
//! Invariant: no more than [`MOST`] short names are ever kept, whatever is read.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// There are a few dozen forms and kinds.
const MOST: usize = 2048;
const LONGEST: usize = 32;

static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The name, kept for good; nothing if it is none, or one too many.
pub(super) fn keep(name: &str) -> Option<&'static str> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(name) {
        return Some(known);
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if known.len() >= MOST || name.is_empty() || name.len() > LONGEST || !name.chars().all(good) {
        return None;
    }
    let kept: &'static str = Box::leak(name.into());
    known.insert(kept);
    Some(kept)
}
