//! Mutated packets for every parser and every exchange, from a fixed seed: nothing that comes from the
//! network may bring the program down, and nothing made up may pass for an answer.
//!
//! The seeds are the golden vectors. `--long` runs a hundred times as many inputs.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod exchanges;
mod journal;
mod mutate;
mod parsers;

/// How many inputs each parser gets.
fn inputs() -> u64 {
    100_000 * if std::env::var_os("VPNPROBE_LONG").is_some() { 100 } else { 1 }
}

/// Runs `check` with many inputs; a panic in it fails with the input that did it.
fn each_input(seed: u64, seeds: &[Vec<u8>], inputs: u64, check: impl Fn(&[u8])) {
    let mut mutator = mutate::Mutator::new(seed, seeds);
    for n in 0..inputs {
        let input = mutator.input();
        let check = std::panic::AssertUnwindSafe(|| check(&input));
        if std::panic::catch_unwind(check).is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("input {n}: {hex}");
        }
    }
}

/// A run that finds nothing proves something only if it would have found what is there.
#[test]
fn a_planted_bug_is_found() {
    let seeds = [(0u8..64).collect::<Vec<u8>>()];
    let found = std::panic::catch_unwind(|| {
        each_input(1, &seeds, 100_000, |bytes| {
            // A length taken at its word, behind a byte that has to be right.
            if bytes.len() > 24 && bytes[16] == 0x10 {
                let length = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
                let _ = bytes[20..].get(..length).map(|body| body[3]);
            }
        });
    });
    assert!(found.is_err());
}
