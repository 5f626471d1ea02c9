//! What many series have in common, each thing once.
//!
//! Invariant: nothing stays in it that nobody has, if whoever has something gives it back.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Pool<T>(HashSet<Arc<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Pool<T> {
    /// This thing, or the same one that is there already.
    pub(super) fn share(&mut self, thing: T) -> Arc<T> {
        if let Some(known) = self.0.get(&thing) {
            return Arc::clone(known);
        }
        let new = Arc::new(thing);
        self.0.insert(Arc::clone(&new));
        new
    }

    /// Takes a thing back, and forgets it if nobody else has it.
    pub(super) fn release(&mut self, thing: Arc<T>) {
        // The pool's own and this one.
        if Arc::strong_count(&thing) <= 2 {
            self.0.remove(&thing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_held_once_and_forgotten_with_the_last_that_has_it() {
        let mut pool = Pool::default();
        let (one, same, other) = (pool.share("a"), pool.share("a"), pool.share("b"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        pool.release(one);
        assert_eq!(pool.0.len(), 2);
        pool.release(same);
        assert_eq!(pool.0.len(), 1);
    }
}
