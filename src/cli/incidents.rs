//! `vpnprobe incidents`: what was recorded, from the state directory or from a running daemon.
//!
//! Invariant: the directory is only read, so it does not matter whether a daemon uses it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{UNKNOWN, USAGE, answer, complain};
use crate::config::Config;
use crate::detect::Incident;
use crate::diagnose::{Lang, incident};
use crate::export::client::{Access, Url, get};
use crate::net::clock::SystemClock;
use crate::store::Summary;
use crate::store::shelf::{self, Unshown, is_id};
use crate::store::wanted::{Wanted, since};
use crate::time::{Clock as _, WallTime};

/// Where the shipped unit has its state.
const USUAL: &str = "/var/lib/vpnprobe";

/// What to do with the recorded incidents.
#[derive(Debug, Clone, Subcommand)]
pub enum IncidentsCommand {
    /// List them, the newest first
    List(List),
    /// Show one: what was seen before, during and after, its cause, and what dead peer detection did
    Show(Show),
}

/// Where they are, and how to print them.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// The language of the texts
    #[arg(long, default_value = "en", value_parser = super::check::lang)]
    pub lang: Lang,
    /// The state directory [default: state_dir of the configuration file, else /var/lib/vpnprobe]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub state_dir: Option<PathBuf>,
    /// Ask a running daemon instead, for example http://127.0.0.1:10069
    #[arg(long, value_name = "URL")]
    pub url: Option<Url>,
    /// How that daemon lets one in
    #[command(flatten)]
    pub access: super::AccessArgs,
}

/// The arguments of `incidents list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Where they are, and how to print them.
    #[command(flatten)]
    pub common: Common,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Only those that began then or later: 2026-11-22T05:00:00Z, or an age such as 24h
    #[arg(long, value_name = "TIME", value_parser = began)]
    pub since: Option<WallTime>,
    /// Only those of this target
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
}

/// The arguments of `incidents show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Which one: its id, as the list shows it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where they are, and how to print them.
    #[command(flatten)]
    pub common: Common,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn began(text: &str) -> Result<WallTime, String> {
    let expected = || "expected a time such as 2026-11-22T05:00:00Z, or an age such as 24h".to_owned();
    since(text, SystemClock::start().wall()).ok_or_else(expected)
}

/// As `/api/v1/incidents` has it.
#[derive(Serialize, Deserialize)]
struct Listed {
    schema: u32,
    total: usize,
    incidents: Vec<Summary>,
}

/// Where incidents are read from.
enum Source {
    Directory(PathBuf),
    Daemon(Url, Access),
}

/// What went wrong, and with which code to exit.
struct Wrong(String, u8);

impl IncidentsCommand {
    /// Prints, and says with which code to exit. `named`: somebody named the configuration file.
    pub fn run(&self, file: &Path, named: bool) -> u8 {
        let common = match self {
            Self::List(List { common, .. }) | Self::Show(Show { common, .. }) => common,
        };
        let printed = Source::of(common, file, named).and_then(|source| match self {
            Self::List(list) => list.print(&source),
            Self::Show(show) => show.print(&source),
        });
        match printed {
            Ok(text) => answer(&text, 0),
            Err(Wrong(why, code)) => {
                complain(&why);
                code
            }
        }
    }
}

impl List {
    fn print(&self, source: &Source) -> Result<String, Wrong> {
        let wanted = Wanted { limit: self.limit.into(), since: self.since, target: self.target.clone() };
        let (total, incidents) = wanted.of(source.list()?);
        match self.common.format {
            Format::Text => Ok(incident::list(&incidents, self.common.lang)),
            Format::Json => json(&Listed { schema: 1, total, incidents }),
        }
    }
}

impl Show {
    fn print(&self, source: &Source) -> Result<String, Wrong> {
        if !is_id(&self.id) {
            return Err(Wrong(
                format!("{:?} is no id of an incident; `incidents list` shows them", self.id),
                USAGE,
            ));
        }
        let incident = source.show(&self.id)?;
        match self.common.format {
            Format::Text => Ok(incident::show(&incident, self.common.lang)),
            Format::Json => json(&incident),
        }
    }
}

impl Source {
    fn of(common: &Common, file: &Path, named: bool) -> Result<Self, Wrong> {
        if let Some(url) = &common.url {
            return Ok(Self::Daemon(url.clone(), common.access.access()));
        }
        if let Some(directory) = &common.state_dir {
            return Ok(Self::Directory(directory.clone()));
        }
        if named || file.exists() {
            let loaded = Config::load(file, crate::config::environment());
            let loaded = loaded.map_err(|problems| Wrong(problems.to_string(), USAGE))?;
            if let Some(directory) = loaded.config.state_dir {
                return Ok(Self::Directory(directory));
            }
        }
        if Path::new(USUAL).is_dir() {
            return Ok(Self::Directory(PathBuf::from(USUAL)));
        }
        let why = "no state directory: name it with --state-dir, name a configuration file that has state_dir \
                   with --config.file, or ask a running daemon with --url http://127.0.0.1:10069";
        Err(Wrong(why.to_owned(), USAGE))
    }

    fn list(&self) -> Result<Vec<Summary>, Wrong> {
        match self {
            Self::Directory(directory) => {
                let unreadable = |error: std::io::Error| {
                    Wrong(format!("cannot read {}: {error}", shelf::folder(directory).display()), UNKNOWN)
                };
                if !directory.is_dir() {
                    return Err(unreadable(std::io::ErrorKind::NotFound.into()));
                }
                let found = shelf::look(directory).map_err(unreadable)?;
                for (path, why) in &found.bad {
                    complain(&format!("{}: {why}", path.display()));
                }
                Ok(found.incidents.into_iter().rev().map(|(summary, _)| summary).collect())
            }
            Self::Daemon(url, access) => {
                let listed: Listed = ask(url, access, "/api/v1/incidents?limit=1000")?;
                Ok(listed.incidents)
            }
        }
    }

    fn show(&self, id: &str) -> Result<Incident, Wrong> {
        match self {
            Self::Directory(directory) => shelf::read(directory, id).map_err(|why| {
                let code = if matches!(why, Unshown::None) { USAGE } else { UNKNOWN };
                Wrong(format!("{id} in {}: {why}", shelf::folder(directory).display()), code)
            }),
            Self::Daemon(url, access) => ask(url, access, &format!("/api/v1/incidents/{id}")),
        }
    }
}

fn ask<T: for<'de> Deserialize<'de>>(url: &Url, access: &Access, path: &str) -> Result<T, Wrong> {
    let content = get(url, access, path).map_err(|why| Wrong(why, UNKNOWN))?;
    serde_json::from_slice(&content).map_err(|error| Wrong(format!("{url}{path}: {error}"), UNKNOWN))
}

fn json(value: &impl Serialize) -> Result<String, Wrong> {
    match serde_json::to_string(value) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(Wrong(error.to_string(), UNKNOWN)),
    }
}
