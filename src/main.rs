//! The binary: an exit code, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    vpnprobe::cli::run(std::env::args_os())
}
