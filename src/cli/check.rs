//! `vpnprobe check`: one target, now, step by step.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{UNKNOWN, USAGE, answer, complain};
use crate::config::{Config, Target};
use crate::diagnose::{Diagnosis, Lang, Survey, counsel, diagnose, render};
use crate::engine::survey::{Options, survey};

/// The arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// A name or address to check, without a configuration: every kind of probe, nothing declared
    #[arg(value_name = "HOST", required_unless_present = "target", conflicts_with = "target")]
    pub host: Option<String>,
    /// A target of the configuration file
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// The language of the texts
    #[arg(long, default_value = "en", value_parser = lang)]
    pub lang: Lang,
    /// Add a block to paste into a ticket, at the end of the text
    #[arg(long)]
    pub ticket: bool,
    /// How often a probe without an answer is tried
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub attempts: u32,
    /// Ask which proposals the concentrator accepts, one suite a datagram; takes minutes
    #[arg(long)]
    pub audit: bool,
    /// Ask whether it answers aggressive mode of IKE version 1; an answer is a finding
    #[arg(long)]
    pub aggressive: bool,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// One line, and the exit codes of Nagios.
    Nagios,
}

pub(super) fn lang(word: &str) -> Result<Lang, String> {
    word.parse().map_err(|()| "expected en or ja".to_owned())
}

impl Check {
    /// Checks, prints, and says with which code to exit.
    pub fn run(&self, file: &Path) -> u8 {
        let (config, target) = match self.target(file) {
            Ok(found) => found,
            Err(problem) => {
                complain(&problem);
                // Nagios would read 2 as "critical": an unusable command line is unknown to it.
                return if self.format == Format::Nagios { UNKNOWN } else { USAGE };
            }
        };
        let options = Options { attempts: self.attempts, audit: self.audit, aggressive: self.aggressive };
        let survey = match survey(&config, &target, &options) {
            Ok(survey) => survey,
            Err(error) => {
                complain(&format!("cannot probe from this host: {error}"));
                return UNKNOWN;
            }
        };
        let diagnosis = diagnose(&survey, &target);
        let (text, code) = print(&diagnosis, &survey, self.format, self.lang);
        let text = if self.ticket && self.format == Format::Text {
            format!("{text}\n{}", counsel::ticket(&diagnosis, &survey))
        } else {
            text
        };
        answer(&text, code)
    }

    fn target(&self, file: &Path) -> Result<(Config, Arc<Target>), String> {
        let config = match (&self.host, &self.target) {
            (Some(host), _) => Config::single(host).map_err(|problems| problems.to_string())?,
            _ => {
                Config::load(file, crate::config::environment())
                    .map_err(|problems| problems.to_string())?
                    .config
            }
        };
        let found = match &self.target {
            None => config.targets.first(),
            Some(name) => config.targets.iter().find(|target| target.name == *name),
        };
        if let Some(found) = found.cloned() {
            return Ok((config, found));
        }
        let known: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
        let name = self.target.as_deref().unwrap_or_default();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(format!("{}: no target is named {name}; there is: {known}", file.display()))
    }
}

/// What to print, and with which code to exit.
pub fn print(diagnosis: &Diagnosis, survey: &Survey, format: Format, lang: Lang) -> (String, u8) {
    match format {
        Format::Text => (render::text(diagnosis, survey, lang), render::exit_code(diagnosis)),
        Format::Nagios => (render::nagios(diagnosis, survey, lang), render::nagios_code(diagnosis)),
        Format::Json => match render::json(diagnosis, survey, lang) {
            Ok(text) => (text, render::exit_code(diagnosis)),
            Err(error) => (format!("{{\"error\":\"{}\"}}\n", error.to_string().escape_default()), UNKNOWN),
        },
    }
}
