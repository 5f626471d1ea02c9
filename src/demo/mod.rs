//! `vpnprobe demo`.

pub mod concentrator;
pub mod story;

use std::net::SocketAddr;
use std::process::ExitCode;

/// What `demo` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DemoArgs {
    /// Where the HTTP side listens instead of the default; empty for the default.
    pub listen: Vec<SocketAddr>,
}

/// Runs the embedded concentrator and the daemon that probes it.
pub fn run(_: &DemoArgs) -> ExitCode {
    tracing::error!("demo is a stub");
    ExitCode::from(3)
}
