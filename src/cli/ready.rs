//! `vpnprobe ready`: will so many people hold?

use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{UNKNOWN, USAGE, answer, complain};
use crate::config::{Config, Target, Tunnel};
use crate::diagnose::Lang;
use crate::export::client::{self, Url};
use crate::net::clock::SystemClock;
use crate::ready::render::{self, Asked};
use crate::ready::seen::{Document, SeenTarget};
use crate::ready::teams::{Call, Profile};
use crate::ready::{Question, Said, judge};
use crate::time::Clock as _;

/// The arguments of `ready`.
#[derive(Debug, Clone, Args)]
pub struct Ready {
    /// How many people, all of them through the VPN
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub people: u32,
    /// What they do in Teams: audio, video, sharing, or several joined by +; then :minimum, :recommended
    /// (if nothing is said) or :best. Sound is always counted
    #[arg(long, value_name = "MEDIA[:QUALITY]")]
    pub profile: Profile,
    /// A target of the configuration file [default: the one that has a capacity]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// What kind of call: meeting or one-to-one
    #[arg(long, default_value = "meeting", value_parser = word::<Call>, value_name = "KIND")]
    pub call: Call,
    /// How many of them send pictures or their screen at once [default: all]
    #[arg(long, value_name = "N")]
    pub sending: Option<u32>,
    /// As if the tunnel were full or split, whatever the configuration says
    #[arg(long, value_parser = word::<Tunnel>, value_name = "MODE")]
    pub tunnel: Option<Tunnel>,
    /// The running daemon [default: http:// and web.listen_address]
    #[arg(long, value_name = "URL")]
    pub url: Option<Url>,
    /// How that daemon lets one in
    #[command(flatten)]
    pub access: super::AccessArgs,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// The language of the texts
    #[arg(long, default_value = "en", value_parser = word::<Lang>)]
    pub lang: Lang,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// A word of a closed set.
trait Word: Sized + Copy + std::str::FromStr + 'static {
    const WORDS: &'static str;
}

impl Word for Call {
    const WORDS: &'static str = "expected meeting or one-to-one";
}

impl Word for Tunnel {
    const WORDS: &'static str = "expected full or split";
}

impl Word for Lang {
    const WORDS: &'static str = "expected en or ja";
}

fn word<W: Word>(text: &str) -> Result<W, &'static str> {
    text.parse().map_err(|_| W::WORDS)
}

impl Ready {
    /// Judges, prints, and says with which code to exit.
    pub fn run(&self, file: &Path) -> u8 {
        if self.sending.is_some_and(|sending| sending > self.people) {
            complain("--sending is more than --people");
            return USAGE;
        }
        let (config, target) = match self.target(file) {
            Ok(found) => found,
            Err(problem) => {
                complain(&problem);
                return USAGE;
            }
        };
        let question = Question {
            people: self.people,
            profile: self.profile.clone(),
            call: self.call,
            sending: self.sending,
            tunnel: self.tunnel,
        };
        let (asked, seen) = self.ask(&config, &target);
        let ready = judge(&question, &target, seen.as_ref());
        let time = SystemClock::start().wall();
        match self.format {
            Format::Text => answer(&render::text(&ready, &asked, time, self.lang), ready.exit_code()),
            Format::Json => match render::json(&ready, &asked, time, self.lang) {
                Ok(text) => answer(&text, ready.exit_code()),
                Err(error) => {
                    complain(&format!("the answer cannot be made: {error}"));
                    UNKNOWN
                }
            },
        }
    }

    fn target(&self, file: &Path) -> Result<(Config, Arc<Target>), String> {
        let loaded =
            Config::load(file, crate::config::environment()).map_err(|problems| problems.to_string())?;
        let config = loaded.config;
        let names = |targets: &[&Arc<Target>]| {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let all: Vec<_> = config.targets.iter().collect();
        let declared: Vec<_> = all.iter().copied().filter(|target| target.capacity.is_some()).collect();
        let found = match (&self.target, &declared[..], &all[..]) {
            (Some(name), ..) => all.iter().copied().find(|target| target.name == *name).ok_or_else(|| {
                format!("{}: no target is named {name}; there is: {}", file.display(), names(&all))
            }),
            (None, [one], _) | (None, [], [one]) => Ok(*one),
            (None, [], _) => Err(format!(
                "{}: no target has a capacity; name one with --target: {}",
                file.display(),
                names(&all)
            )),
            (None, several, _) => Err(format!(
                "{}: several targets have a capacity; name one with --target: {}",
                file.display(),
                names(several)
            )),
        };
        let found = Arc::clone(found?);
        Ok((config, found))
    }

    /// What the daemon knows of the target, or why nothing is known.
    fn ask(&self, config: &Config, target: &Target) -> (Asked, Result<SeenTarget, Said>) {
        let listens = config.web.listen.first().copied();
        let Some(url) = self.url.clone().or_else(|| listens.map(Url::of_listener)) else {
            let asked =
                Asked { url: String::new(), answered: false, error: Some("no URL".into()), time: None };
            return (asked, Err(unanswered()));
        };
        let mut asked = Asked { url: url.to_string(), answered: false, error: None, time: None };
        // A target's name needs no escape: letters, digits, '.', '_' and '-'.
        let document =
            client::get(&url, &self.access.access(), &format!("/api/v1/status?target={}", target.name))
                .and_then(|body| {
                    serde_json::from_slice::<Document>(&body)
                        .map_err(|error| format!("{url} answers something else than a status: {error}"))
                });
        match document {
            Err(error) => {
                asked.error = Some(error);
                (asked, Err(unanswered()))
            }
            Ok(document) => {
                asked.time = Some(document.time);
                let found = document.targets.into_iter().find(|seen| seen.target == target.name);
                asked.answered = found.is_some();
                if found.is_none() {
                    asked.error = Some(format!("the daemon at {url} has no target {}", target.name));
                }
                (asked, found.ok_or_else(unanswered))
            }
        }
    }
}

fn unanswered() -> Said {
    Said {
        en: "Not known: no daemon told anything of this target.".to_owned(),
        ja: "不明: 稼働中のデーモンからこの対象の測定結果を取得できません。".to_owned(),
    }
}
