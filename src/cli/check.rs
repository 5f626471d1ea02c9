//! `vpnprobe check`: one target, now, step by step.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{UNKNOWN, USAGE, answer, complain};
use crate::config::{Config, Target};
use crate::diagnose::{Diagnosis, Lang, Survey, counsel, diagnose, render};
use crate::engine::survey::{Options, survey};
use crate::net::rights;
use crate::probe::Kind;

/// The arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// A name or address to check, without a configuration: every kind of probe, nothing declared
    #[arg(value_name = "HOST", required_unless_present = "target", conflicts_with = "target")]
    pub host: Option<String>,
    /// A target of the configuration file
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Ask HOST in this way only (and by ping), for what is no VPN or needs a port of its own: http, rdp,
    /// stun, tls:8443, ...; may be repeated. http is https, but at port 80
    #[arg(long = "probe", value_name = "KIND[:PORT]", requires = "host", value_parser = wanted)]
    pub probes: Vec<Wanted>,
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

/// A way to ask a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// How.
    pub kind: Kind,
    /// Another port than the usual one.
    pub port: Option<u16>,
}

fn wanted(word: &str) -> Result<Wanted, String> {
    let (name, port) = word.split_once(':').map_or((word, None), |(name, port)| (name, Some(port)));
    let Some(kind) = Kind::named(name) else {
        let known: Vec<&str> = Kind::all().map(|kind| kind.name).collect();
        return Err(format!("there is no such kind of probe; there is: {}", known.join(", ")));
    };
    if kind.name == "wireguard" {
        return Err("a WireGuard server answers none but its peers, so this takes a peer's keys, which do not \
                    belong on a command line; put them into files, write a target with vpn: [wireguard] and \
                    wireguard: {private_key_file: FILE, public_key: KEY} into the configuration file, and check \
                    that with --target NAME"
            .to_owned());
    }
    let port = match port {
        Some(_) if kind.port == 0 => return Err(format!("{name} has no port")),
        Some(port) => match port.parse() {
            Ok(port @ 1..) => Some(port),
            _ => return Err("expected a port from 1 to 65535 after the colon".to_owned()),
        },
        None => None,
    };
    Ok(Wanted { kind, port })
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
        let found = self.target(file);
        let (config, target) = match found.and_then(|(c, t)| rights::allows(&c, &t).map(|()| (c, t))) {
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
            (Some(host), _) if self.probes.is_empty() => {
                Config::single(host).map_err(|problems| problems.to_string())?
            }
            (Some(host), _) => {
                // A second sign of life: silence alone says nothing.
                let ping = Kind::named("icmp").map(|kind| (kind, None));
                let asked = self.probes.iter().map(|wanted| (wanted.kind, wanted.port));
                Config::of_kinds(host, ping.into_iter().chain(asked))
                    .map_err(|problems| problems.to_string())?
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_ask_are_read_or_what_is_wrong_is_said() {
        let http = wanted("http").unwrap();
        assert_eq!((http.kind.name, http.port), ("http", None));
        assert_eq!(wanted("tls:8443").unwrap().port, Some(8443));
        for (word, said) in [
            ("https", "there is: icmp, ike,"),
            ("icmp:1", "icmp has no port"),
            ("rdp:0", "from 1 to 65535"),
            ("rdp:65536", "from 1 to 65535"),
            ("rdp:", "from 1 to 65535"),
            ("wireguard", "wireguard: {private_key_file: FILE, public_key: KEY} into the configuration file"),
        ] {
            let error = wanted(word).unwrap_err();
            assert!(error.contains(said), "{word}: {error}");
        }
    }

    #[test]
    fn what_is_asked_of_a_host_is_what_was_wanted_and_ping() {
        let check = |words: &[&str]| {
            let probes = words.iter().map(|word| wanted(word).unwrap()).collect();
            let host = Some("192.0.2.1".to_owned());
            Check {
                host,
                target: None,
                probes,
                format: Format::Text,
                lang: Lang::En,
                ticket: false,
                attempts: 1,
                audit: false,
                aggressive: false,
            }
        };
        let (_, target) = check(&["http:80", "rdp"]).target(Path::new("")).unwrap();
        let asked: Vec<_> = target.probes.iter().map(|spec| (spec.name.as_str(), spec.port)).collect();
        assert_eq!(asked, [("icmp", 0), ("http", 80), ("rdp", 3389)]);
        assert!(!target.probes[1].settings.http.tls);
        let (_, target) = check(&[]).target(Path::new("")).unwrap();
        assert!(target.probes.iter().all(|spec| spec.kind.name != "http"));
    }
}
