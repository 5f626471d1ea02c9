//! Inputs for a run without libFuzzer: seeds, changed a little.
//!
//! Invariant: the same inputs for the same arguments.

use vpnprobe::entropy::{Draw as _, Generator};

/// Makes inputs from seeds and words.
pub struct Mutator<'a> {
    entropy: Generator,
    seeds: &'a [Vec<u8>],
    words: &'a [&'a [u8]],
    longest: usize,
}

impl<'a> Mutator<'a> {
    /// Inputs of no more than `longest` octets.
    #[must_use]
    pub fn new(seeds: &'a [Vec<u8>], words: &'a [&'a [u8]], longest: usize) -> Self {
        assert!(!seeds.is_empty(), "no seeds");
        Self { entropy: Generator::seeded(1), seeds, words, longest }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.entropy.below(bound as u64)).unwrap()
    }

    fn seed(&mut self) -> Vec<u8> {
        let at = self.below(self.seeds.len());
        self.seeds[at].clone()
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        if self.below(32) == 0 {
            let length = self.below(self.longest.min(200));
            return self.entropy.bytes(length);
        }
        let mut bytes = self.seed();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes);
        }
        bytes.truncate(self.longest);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        const OCTETS: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 4];
        if bytes.is_empty() {
            bytes.extend(self.seed());
            return;
        }
        let at = self.below(bytes.len());
        let until = at + self.below((bytes.len() - at).min(64) + 1);
        match self.below(10) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = OCTETS[self.below(OCTETS.len())],
            2 => bytes[at] = self.entropy.array::<1>()[0],
            // Lengths and types are two octets, big-endian: small ones, and those near the end.
            3 if at + 1 < bytes.len() => {
                let value = match self.below(3) {
                    0 => self.below(40),
                    1 => (bytes.len() - at).saturating_sub(self.below(8)),
                    _ => 0xffff - self.below(8),
                };
                bytes[at..at + 2].copy_from_slice(&u16::try_from(value & 0xffff).unwrap().to_be_bytes());
            }
            4 => bytes.truncate(at),
            5 => {
                let length = self.below(40);
                bytes.extend(self.entropy.bytes(length));
            }
            6 => drop(bytes.drain(at..until)),
            7 => {
                let piece = bytes[at..until].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            8 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                let until = if self.below(2) == 0 { at } else { (at + word.len()).min(bytes.len()) };
                drop(bytes.splice(at..until, word.iter().copied()));
            }
            _ => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
}
