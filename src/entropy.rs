//! Randomness, injected: unguessable in production, seeded in tests.
//!
//! Invariant: this file is the only one that asks the operating system for random bytes. SPIs,
//! session ids, tokens and phases all come through [`Entropy`], so that a reply cannot be forged by
//! someone off the path, and a simulation can be run again.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A source of random bytes.
pub trait Entropy: Send {
    /// Fills `bytes` with random bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// Values drawn from any [`Entropy`].
pub trait Draw: Entropy {
    /// `N` random bytes.
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// `len` random bytes.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// A random 16-bit value, zero included.
    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.array())
    }

    /// A random 32-bit value, zero included.
    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.array())
    }

    /// A random 64-bit value, zero included.
    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.array())
    }

    /// A value below `bound`, near enough to uniform for schedules (not for keys); 0 if `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

impl<E: Entropy + ?Sized> Draw for E {}

/// A cryptographically strong generator.
pub struct Generator(StdRng);

impl Generator {
    /// Seeded by the operating system.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
    pub fn from_os() -> Self {
        Self(rand::make_rng())
    }

    /// The same bytes each time: for tests and simulations, or with a seed that another source drew.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }
}

impl Entropy for Generator {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
