//! Stub: the configuration's own file replaces this one.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

/// What to do with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Check the file and everything it names; exits 2 if anything is wrong
    Check,
    /// Print the configuration with every default filled in, secrets left out
    Show {
        /// Print the closed sets of words used as label values instead
        #[arg(long)]
        enums: bool,
    },
    /// Print the JSON Schema of the file, for editors
    Schema,
}

/// Runs the command on the configuration in `file`.
pub fn run(_: &ConfigCommand, file: &Path, _: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let problem = crate::config::Config::load(file, std::env::vars()).err();
    let _ = writeln!(err, "{}", problem.map_or_else(String::new, |it| it.to_string()));
    ExitCode::from(2)
}
