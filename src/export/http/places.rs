//! The places for answers that cost something, and who has them.
//!
//! Invariants: no more are held than there are, and one address leaves at least one to all others; a
//! place comes back when what holds it is dropped.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A fixed number of places.
#[derive(Clone)]
pub(super) struct Places {
    most: usize,
    held: Arc<Mutex<Vec<IpAddr>>>,
}

/// One place, given back when dropped.
pub(super) struct Place {
    from: IpAddr,
    held: Arc<Mutex<Vec<IpAddr>>>,
}

impl Places {
    pub fn new(most: usize) -> Self {
        Self { most, held: Arc::default() }
    }

    /// A place for a client at `from`, if there is one for it.
    pub fn take(&self, from: IpAddr) -> Option<Place> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.iter().filter(|holder| **holder == from).count();
        if held.len() >= self.most || own >= (self.most - 1).max(1) {
            return None;
        }
        held.push(from);
        Some(Place { from, held: Arc::clone(&self.held) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = held.iter().position(|holder| *holder == self.from) {
            held.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_a_place_to_others() {
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let places = Places::new(4);
        let mut held: Vec<_> = (0..3).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none());
        held.push(places.take(other).unwrap());
        assert!(places.take(other).is_none() && places.take(one).is_none());
        held.remove(0);
        assert!(places.take(other).is_some());
        drop(held);
        assert_eq!(places.held.lock().unwrap().len(), 0);
        // A single place is for whoever comes.
        let single = Places::new(1);
        let place = single.take(one).unwrap();
        assert!(single.take(other).is_none());
        drop(place);
        assert!(single.take(other).is_some());
        assert!(Places::new(0).take(one).is_none());
    }
}
