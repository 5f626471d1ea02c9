//! The binary: an exit code, nothing else.

use std::process::ExitCode;

/// Gives back what the check of a large configuration took for a moment; the C library's keeps it, at the start
/// and at each reload.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vpnprobe::cli::run(std::env::args_os())
}
