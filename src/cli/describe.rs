//! `vpnprobe describe`, hidden: the man pages and shell completions that the packages ship, made by the
//! program itself, so that they cannot be stale.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate_to};

use super::{Cli, USAGE, complain};

/// The arguments of `describe`.
#[derive(Debug, Clone, Args)]
pub struct Describe {
    /// Where to write them
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

impl Describe {
    /// Writes `*.1`, and completions for bash, zsh and fish.
    pub fn run(&self) -> u8 {
        match write(&self.directory) {
            Ok(()) => 0,
            Err(error) => {
                complain(&format!("cannot write into {}: {error}", self.directory.display()));
                USAGE
            }
        }
    }
}

fn write(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "vpnprobe", directory)?;
    }
    Ok(())
}
