//! The mutator, and where its seeds come from.

use std::fs;
use std::path::Path;

use vpnprobe::entropy::{Draw as _, Generator};

/// The most bytes of an input: more than any datagram we would ask for.
const MAX: usize = 4096;

/// Makes inputs from seeds.
pub struct Mutator<'a> {
    entropy: Generator,
    seeds: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    /// The same inputs for the same arguments. `seeds` may not be empty.
    pub fn new(seed: u64, seeds: &'a [Vec<u8>]) -> Self {
        assert!(!seeds.is_empty(), "no golden vectors to begin with");
        Self { entropy: Generator::seeded(seed), seeds }
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
            let length = self.below(200);
            return self.entropy.bytes(length);
        }
        let mut bytes = self.seed();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes);
        }
        bytes.truncate(MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        const BYTES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 4];
        let at = self.below(bytes.len().max(1));
        let until = at + self.below(bytes.len().saturating_sub(at).min(64) + 1);
        if bytes.is_empty() {
            bytes.extend(self.seed());
            return;
        }
        match self.below(9) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = BYTES[self.below(BYTES.len())],
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
            _ => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
}

/// The golden vectors in these files and folders of the project: every hexadecimal word of at least
/// twelve octets.
pub fn goldens(paths: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut paths: Vec<_> =
        paths.iter().map(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).collect();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        for word in fs::read_to_string(&path).unwrap().split(|c: char| !c.is_ascii_hexdigit()) {
            if word.len() >= 24 && word.len().is_multiple_of(2) {
                let octet = |at| u8::from_str_radix(&word[at..at + 2], 16).unwrap();
                found.push((0..word.len()).step_by(2).map(octet).collect());
            }
        }
    }
    found.sort();
    found
}
