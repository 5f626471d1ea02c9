//! Stub: the composition root replaces this file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `serve` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServeArgs {
    /// The configuration file.
    pub config_file: PathBuf,
    /// Where to listen instead of what the configuration says; empty for what it says.
    pub listen: Vec<SocketAddr>,
}

/// Runs the daemon until it is told to stop.
pub fn serve(_: &ServeArgs) -> ExitCode {
    tracing::error!("serve is a stub");
    ExitCode::from(3)
}
