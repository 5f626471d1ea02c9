//! Fuzz targets: one for each parser and each state machine that reads what somebody else wrote.
//!
//! ```text
//! src/bin/GROUP.rs ──▶ src/module.rs   TARGETS by name: what is called, and what must hold
//! src/frames.rs, src/fields.rs, src/spells.rs    how their inputs are changed where a change of any octet would only break them
//! src/list.rs          NAME, GROUP, its seeds (src/seeds.rs) and its dictionary (src/words.rs); `seeds` writes them
//! fuzz.sh              runs them all, guided by coverage
//! tests/mutated.rs     runs them all with so many inputs, made of the seeds and the words: on each change
//! ```
//!
//! Invariants: a target keeps nothing between two inputs (what it computes once is constant), so that an
//! input that fails will fail again alone; it allocates no more than a small multiple of its input; what a
//! parser accepts, it writes and reads again as the same, wherever there is a writer.
//!
//! With the feature `canary` each target has a planted bug: behind the parser's own acceptance, a length
//! and a comparison of 32 bits of the input. fuzz.sh must find each, or its silence about the others proves nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test may panic"
)]

pub mod exchange;
pub mod fields;
pub mod frames;
pub mod list;
pub mod mutate;
pub mod page;
pub mod responder;
pub mod seeds;
pub mod session;
pub mod sockets;
pub mod spells;
pub mod text;
pub mod web;
pub mod wire;
mod words;

/// Targets by their names.
pub type Targets = &'static [(&'static str, fn(&[u8]))];

/// The targets of a binary. It runs the one that it is called as: fuzz.sh gives it a name for each.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! targets {
    ($targets:expr) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            static TARGET: std::sync::OnceLock<fn(&[u8])> = std::sync::OnceLock::new();
            TARGET.get_or_init(|| $crate::called($targets))(bytes);
            $crate::settle();
        });
    };
}

/// Makes a binary change its inputs so that what they are made of stays whole: one of the functions `mutate`.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! mutated {
    ($mutate:path) => {
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
            static SEEDS: std::sync::OnceLock<(String, Vec<Vec<u8>>)> = std::sync::OnceLock::new();
            let (name, seeds) = SEEDS.get_or_init(|| ($crate::name(), $crate::list::seeds(&$crate::name())));
            $mutate(name, seeds, (data, size, most), seed, libfuzzer_sys::fuzzer_mutate)
        });
    };
}

/// What this process was called as.
#[must_use]
pub fn name() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The one of these that this process was called as.
#[must_use]
pub fn called(targets: &[Targets]) -> fn(&[u8]) {
    let called = name();
    let found = targets.iter().copied().flatten().find(|(name, _)| *name == called);
    found.unwrap_or_else(|| panic!("{called} is no target of this binary")).1
}

/// Where planted bugs are: whether an input has come so far, what they have seen of it, and what each waits for.
mod planted {
    use std::cell::Cell;
    #[cfg(feature = "canary")]
    use std::cell::RefCell;

    thread_local! {
        static PASSED: Cell<bool> = const { Cell::new(false) };
        #[cfg(feature = "canary")]
        pub static SEEN: RefCell<Vec<(u32, u32)>> = const { RefCell::new(Vec::new()) };
    }

    /// By itself, so that it stays one comparison of 32 bits, which libFuzzer sees.
    #[cfg(feature = "canary")]
    #[inline(never)]
    pub fn bite(found: u32, planted: u32) {
        use std::hint::black_box;
        assert!(black_box(found) != black_box(planted), "the canary was found");
    }

    pub fn pass(bytes: &[u8], length: usize, at: usize, planted: [u8; 4]) {
        if bytes.len() >= length
            && let Some(four) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>)
        {
            PASSED.set(true);
            #[cfg(feature = "canary")]
            SEEN.with_borrow_mut(|seen| {
                seen.push((u32::from_be_bytes(*four), u32::from_be_bytes(planted)));
            });
            #[cfg(not(feature = "canary"))]
            let _ = (four, planted);
        }
    }

    /// Whether a target comes with these octets to where its planted bug is.
    pub fn reached(target: fn(&[u8]), bytes: &[u8]) -> bool {
        PASSED.set(false);
        target(bytes);
        #[cfg(feature = "canary")]
        SEEN.with_borrow_mut(Vec::clear);
        PASSED.take()
    }
}

/// Where a planted bug is: `bytes` is what a parser made of the input, deep inside. In a build with the
/// feature `canary` a target panics once it is through if there were at least `length` octets and the four
/// from `at` on were right; otherwise it is only noted that an input came so far.
#[inline]
pub fn canary(bytes: &[u8], length: usize, at: usize) {
    planted::pass(bytes, length, at, [0xb7, 0xa3, 0x5e, 0xc9]);
}

/// The same for what is text: the four octets spell `Qz7_`, all of which a name may have.
#[inline]
pub fn text_canary(text: impl AsRef<[u8]>, length: usize, at: usize) {
    planted::pass(text.as_ref(), length, at, *b"Qz7_");
}

/// The end of a target: here its planted bug bites. Not where it was passed, as libFuzzer remembers the last few
/// comparisons only, and the thousands that follow in a deep target would push it out.
#[inline]
pub fn settle() {
    #[cfg(feature = "canary")]
    planted::SEEN.with_borrow_mut(|seen| {
        seen.drain(..).for_each(|(found, planted)| planted::bite(found, planted));
    });
}
