//! Fuzz targets: one for each parser and each state machine that reads what somebody else wrote.
//!
//! ```text
//! src/bin/GROUP.rs ── NAME => module::function ──▶ src/module.rs   what is called, and what must hold
//! src/list.rs      NAME, GROUP, its seeds and its dictionary; `seeds` writes them, fuzz.sh runs them all
//! ```
//!
//! Invariants: a target keeps nothing between two inputs (what it computes once is constant), so that an
//! input that fails will fail again alone; it allocates no more than a small multiple of its input; what a
//! parser accepts, it writes and reads again as the same, wherever there is a writer.
//!
//! With the feature `canary` each target has a planted bug: behind the parser's own acceptance, a length
//! and a comparison of 32 bits. fuzz.sh must find each, or its silence about the others proves nothing.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[cfg(all(feature = "canary", not(fuzzing)))]
compile_error!("the feature `canary` plants bugs: it is for tests/fuzz/fuzz.sh alone");

pub mod exchange;
pub mod list;
pub mod page;
pub mod responder;
pub mod seeds;
pub mod session;
pub mod sockets;
pub mod text;
pub mod web;
pub mod wire;

/// The targets of a binary. It runs the one that it is called as: fuzz.sh gives it a name for each.
#[macro_export]
macro_rules! targets {
    ($($name:literal => $module:ident :: $function:ident,)+) => {
        fn target() -> fn(&[u8]) {
            match $crate::called().as_str() {
                $($name => $crate::$module::$function,)+
                other => panic!("{other}: the targets here are {}", [$($name),+].join(" ")),
            }
        }

        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            static TARGET: std::sync::OnceLock<fn(&[u8])> = std::sync::OnceLock::new();
            TARGET.get_or_init(target)(bytes);
        });
    };
}

/// The name that this process was called by.
#[must_use]
pub fn called() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where a planted bug would be: `bytes` is what a parser made of the input, deep inside. In a build with
/// the feature `canary` it panics if there are at least `length` octets and the four from `at` on are
/// right; otherwise it is nothing.
#[inline]
pub fn canary(bytes: &[u8], length: usize, at: usize) {
    #[cfg(feature = "canary")]
    {
        if bytes.len() >= length
            && let Some(four) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>)
            && u32::from_be_bytes(*four) == 0xb7a3_5ec9
        {
            panic!("the canary was found");
        }
    }
    #[cfg(not(feature = "canary"))]
    let _ = (bytes, length, at);
}

/// The same for what is text: the four octets spell `Qz7&`.
#[inline]
pub fn text_canary(text: &str, length: usize, at: usize) {
    #[cfg(feature = "canary")]
    {
        if text.len() >= length
            && let Some(four) = text.as_bytes().get(at..).and_then(<[u8]>::first_chunk::<4>)
            && u32::from_be_bytes(*four) == u32::from_be_bytes(*b"Qz7&")
        {
            panic!("the canary was found");
        }
    }
    #[cfg(not(feature = "canary"))]
    let _ = (text, length, at);
}
