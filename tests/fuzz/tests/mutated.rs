//! Every target with its seeds and so many inputs made of them: what each change is held against. What
//! goes deeper is fuzz.sh's.
//!
//! `cargo test -p vpnprobe-fuzz --test mutated [-- NAME...]`; `VPNPROBE_FUZZ_INPUTS` is how many.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use vpnprobe_fuzz::list::{MODULES, TARGETS, Target};
use vpnprobe_fuzz::mutate::Mutator;

fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| only.is_empty() || only.iter().any(|name| name == target.name))
        .collect();
    assert!(planted_bug_is_found(), "a planted bug was not found");
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let inputs = inputs(target.name);
                    let input =
                        failing(&(target.seeds)(), target.words, target.longest, inputs, run(target.name));
                    if let Some(input) = input {
                        failed.fetch_add(1, Ordering::Relaxed);
                        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                        println!("{} ... FAILED with {hex}", target.name);
                    } else {
                        println!("{} ... ok ({inputs} inputs)", target.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let word = if failed == 0 && !chosen.is_empty() { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed", chosen.len() - failed);
    if word == "ok" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(name: &str) -> fn(&[u8]) {
    MODULES.iter().flat_map(|(_, targets)| *targets).find(|(other, _)| *other == name).unwrap().1
}

/// How many inputs: fewer for the targets of which each takes long in a debug build.
fn inputs(name: &str) -> u32 {
    let all = std::env::var("VPNPROBE_FUZZ_INPUTS").map_or(10_000, |count| count.parse().unwrap());
    match name {
        "config" | "page" | "probe_wireguard" | "session" => all / 50,
        _ => all,
    }
}

/// The first input that a target fails with.
fn failing(
    seeds: &[Vec<u8>],
    words: &[&[u8]],
    longest: usize,
    inputs: u32,
    target: impl Fn(&[u8]),
) -> Option<Vec<u8>> {
    let seeds: Vec<_> = seeds.iter().filter(|seed| seed.len() <= longest).cloned().collect();
    let mut mutator = Mutator::new(&seeds, words, longest);
    let made = (0..inputs).map(|_| mutator.input());
    seeds.iter().cloned().chain(made).find(|input| catch_unwind(AssertUnwindSafe(|| target(input))).is_err())
}

/// A run that finds nothing proves something only if it would have found what is there: here a length taken
/// at its word, behind an octet that has to be right.
fn planted_bug_is_found() -> bool {
    let seeds = [(0u8..64).collect::<Vec<u8>>()];
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = failing(&seeds, &[], 512, 100_000, |bytes| {
        if let Some([0x10, _, high, low, body @ ..]) = bytes.get(16..) {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            assert!(length <= body.len(), "the planted bug");
        }
    });
    std::panic::set_hook(hook);
    found.is_some()
}
