//! `vpnprobe replay`: a journal told to the detectors again, with other settings.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{USAGE, answer, complain};
use crate::journal::Files;
use crate::replay::{Change, Replay as Run, Rules};

mod render;

/// The arguments of `replay`.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// A file of a journal, or the directory of `serve --journal`
    #[arg(value_name = "FILE|DIR")]
    pub path: PathBuf,
    /// A profile of dead peer detection, and which of its timers to change: idle, retry, tries, backoff,
    /// retry_limit, timeout, or as the vendor has it (fortigate_ikev1,dpd-retrycount=5); may be repeated
    #[arg(long = "profile", value_name = "NAME[,KEY=VALUE...]", value_parser = change)]
    pub profiles: Vec<Change>,
    /// An outage takes this long without a reply
    #[arg(long = "outage.down", value_name = "TIME", value_parser = time)]
    pub down: Option<Duration>,
    /// An outage takes so many losses in a row
    #[arg(long = "outage.misses", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub misses: Option<u32>,
    /// An outage is over after this long with replies
    #[arg(long = "outage.up", value_name = "TIME", value_parser = time)]
    pub up: Option<Duration>,
    /// The half-life of the penalty of flaps
    #[arg(long = "flap.half-life", value_name = "TIME", value_parser = half_life)]
    pub half_life: Option<Duration>,
    /// The penalty from which on a probe is flapping
    #[arg(long = "flap.suppress", value_name = "N")]
    pub suppress: Option<u32>,
    /// The penalty below which it is no longer
    #[arg(long = "flap.reuse", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub reuse: Option<u32>,
    /// The highest penalty
    #[arg(long = "flap.ceiling", value_name = "N")]
    pub ceiling: Option<u32>,
    /// Only this target
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Leave damaged lines out, and say how many
    #[arg(long)]
    pub lenient: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn change(text: &str) -> Result<Change, String> {
    text.parse()
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| *time <= Duration::from_secs(86_400))
        .ok_or_else(|| "expected a time up to a day, for example 20s or 1m30s".to_owned())
}

fn half_life(text: &str) -> Result<Duration, String> {
    time(text)
        .ok()
        .filter(|time| *time >= Duration::from_secs(60))
        .ok_or_else(|| "expected a time from 1m to 1d".to_owned())
}

impl Replay {
    /// Replays, prints, and says with which code to exit.
    pub fn run(&self) -> u8 {
        match self.replay() {
            Ok(text) => answer(&text, 0),
            Err(problem) => {
                complain(&problem);
                USAGE
            }
        }
    }

    /// What to print.
    ///
    /// # Errors
    /// What is wrong with the journal, or with the changes.
    pub fn replay(&self) -> Result<String, String> {
        let files = Files::of(&self.path).map_err(|trouble| trouble.to_string())?;
        let mut run = Run::new(self.rules());
        run.run(&files, self.lenient).map_err(|error| error.to_string())?;
        self.check(&run)?;
        Ok(match self.format {
            Format::Text => render::text(&run, self),
            Format::Json => render::json(&run, self),
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            down: self.down,
            misses: self.misses,
            up: self.up,
            half_life: self.half_life,
            suppress: self.suppress,
            reuse: self.reuse,
            ceiling: self.ceiling,
            profiles: self.profiles.clone(),
        }
    }

    /// What was asked for and is not there.
    fn check(&self, run: &Run) -> Result<(), String> {
        let path = self.path.display();
        if run.extent().runs == 0 {
            return Err(format!("{path}: not a journal of vpnprobe: it ends before its first line does"));
        }
        let tallies = run.before().tallies();
        if let Some(target) = &self.target
            && !tallies.keys().any(|(known, ..)| known == target)
        {
            return Err(format!("{path}: nothing in it is about a target {target}"));
        }
        let mut known: Vec<&str> =
            tallies.values().flat_map(|tally| &tally.drops).map(|drops| drops.label.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        for change in &self.profiles {
            if known.is_empty() {
                return Err(format!("{path}: none of its probes feeds a profile of dead peer detection"));
            }
            if !known.contains(&change.name.as_str()) {
                let known = known.join(", ");
                return Err(format!("no profile is named {}; in {path} there are: {known}", change.name));
            }
        }
        Ok(())
    }
}
