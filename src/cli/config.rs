//! `vpnprobe config`: check the file, show what it means, describe what it may say.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use crate::config::{Config, Family, Vpn, raw};
use crate::detect::binding::Bound;
use crate::detect::incident::{Cause, IncidentKind};
use crate::detect::liveness::State;
use crate::detect::path::FirstHop;
use crate::diagnose::{LadderReason, Status, Step, Verdict};
use crate::probe::trace::overhead::Tunnel;
use crate::probe::{Charge, Kind, Mismatch};
use crate::route::{LinkKind, NoWay};
use crate::sample::path::PathEnd;
use crate::sample::{Fault, Phase, Reason};
use crate::session::Teardown;

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
        /// Print the built-in profiles of dead peer detection instead: their timers, and their source
        #[arg(long, conflicts_with = "enums")]
        profiles: bool,
    },
    /// Print the JSON Schema of the file, for editors
    Schema,
}

/// Exit code for a configuration that is wrong.
const WRONG: u8 = 2;

/// Runs the command on the configuration in `file`. Results go to `out`, problems and warnings to
/// `err`.
pub fn run(command: &ConfigCommand, file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let text = match command {
        ConfigCommand::Schema => Ok(schema()),
        ConfigCommand::Show { enums: true, .. } => Ok(enums()),
        ConfigCommand::Show { profiles: true, .. } => {
            Ok(crate::config::to_yaml(&crate::config::dpd_timers()))
        }
        ConfigCommand::Show { .. } | ConfigCommand::Check => Config::load(file, crate::config::environment())
            .map(|loaded| {
                for warning in &loaded.warnings {
                    let _ = writeln!(err, "warning: {warning}");
                }
                if *command == ConfigCommand::Check {
                    summary(file, &loaded.config)
                } else {
                    loaded.to_yaml()
                }
            }),
    };
    match text {
        // A reader that went away (`| head`) is no failure of the configuration.
        Ok(text) => {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            let _ = writeln!(err, "{problems}");
            ExitCode::from(WRONG)
        }
    }
}

fn summary(file: &Path, config: &Config) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let probes = config.targets.iter().map(|target| target.probes.len()).sum();
    format!("{}: ok, {}, {}\n", file.display(), count(config.targets.len(), "target"), count(probes, "probe"))
}

/// The JSON Schema of the file.
pub fn schema() -> String {
    let schema = schemars::schema_for!(raw::File);
    serde_json::to_string_pretty(&schema).map_or_else(|error| error.to_string(), |text| text + "\n")
}

/// The closed sets of words, as YAML: name of the set, its words.
pub fn enums() -> String {
    macro_rules! sets {
        ($($name:literal: $set:ty,)+) => {
            [$(($name, <$set>::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>()),)+]
        };
    }
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::from(sets! {
        "bound": Bound,
        "cause": Cause,
        "charge": Charge,
        "family": Family,
        "fault": Fault,
        "first_hop": FirstHop,
        "ladder_reason": LadderReason,
        "incident_kind": IncidentKind,
        "link_kind": LinkKind,
        "mismatch": Mismatch,
        "no_way": NoWay,
        "path_end": PathEnd,
        "phase": Phase,
        "reason": Reason,
        "state": State,
        "status": Status,
        "step": Step,
        "teardown": Teardown,
        "tunnel": Tunnel,
        "verdict": Verdict,
        "vpn": Vpn,
    });
    all.insert("kind", Kind::all().map(|kind| kind.name).collect());
    let profiles = crate::config::dpd_profiles();
    all.insert("profile", profiles.iter().map(String::as_str).collect());
    all.insert("outcome", vec!["answered", "refused", "lost", "unsent"]);
    crate::config::to_yaml(&all)
}
