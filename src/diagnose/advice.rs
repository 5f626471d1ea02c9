//! What to do about a cause: the entries of `advice/entries.yml`, and which log lines mean them.
//!
//! Invariant: the texts are data, English and Japanese side by side, so that a translator needs no code; a
//! test holds every step and reason, and every cause that the field names, to an entry.

use std::sync::LazyLock;

use serde::Deserialize;

use super::{Lang, Status, StepReason, StepResult};
use crate::words;

words! {
    /// The causes that the field itself lists for a VPN that does not connect, or drops.
    pub enum FieldCause {
        /// A firewall outside.
        OuterFirewall = "outer_firewall",
        /// A user's name or password.
        Credentials = "credentials",
        /// The certificate's dates.
        CertificateExpired = "certificate_expired",
        /// The certificate's name.
        CertificateName = "certificate_name",
        /// Phase 1.
        Phase1Mismatch = "phase1_mismatch",
        /// Phase 2.
        Phase2Mismatch = "phase2_mismatch",
        /// NAT traversal off, or UDP 4500 blocked.
        NattOff = "natt_off",
        /// A NAT that breaks ESP.
        EspBrokenByNat = "esp_broken_by_nat",
        /// A route of the split tunnel.
        SplitTunnelRoute = "split_tunnel_route",
        /// DNS inside.
        InsideDns = "inside_dns",
        /// A firewall inside.
        InsideFirewall = "inside_firewall",
        /// The same network at home and in the office.
        SameSubnet = "same_subnet",
        /// The limit of connections.
        ConnectionLimit = "connection_limit",
        /// Keepalives, dead peer detection.
        DpdKeepalive = "dpd_keepalive",
        /// Loss on the path.
        UnstablePath = "unstable_path",
        /// The radio link.
        Wifi4g = "wifi_4g",
        /// A restart or the load of the box.
        BoxRestartOrLoad = "box_restart_or_load",
    }
}

/// A text in both languages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Both {
    en: String,
    ja: String,
}

impl Both {
    /// The text.
    #[must_use]
    pub fn text(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Ja => &self.ja,
        }
    }
}

/// One cause: how to check it, and how to read what the check shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// Which of the field's causes it is.
    #[serde(default)]
    pub field: Option<String>,
    /// The steps and reasons it belongs to: `step reason`.
    #[serde(default)]
    pub at: Vec<String>,
    /// The sentences that mean it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// In a few words.
    pub title: Both,
    /// What it is.
    pub cause: Both,
    /// How to check it.
    pub check: Both,
    /// Commands for Windows, one a line.
    pub windows: String,
    /// Commands for Linux, one a line.
    pub linux: String,
    /// Commands of Cisco's, one a line, where they apply.
    #[serde(default)]
    pub cisco: Option<String>,
    /// What is shown when all is well.
    pub good: String,
    /// What is shown when it is not.
    pub bad: String,
    /// How to read that.
    pub read: Both,
    /// What cannot be known from here.
    #[serde(default)]
    pub unknown: Option<Both>,
}

/// A text of a log, and what it means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    text: String,
    entry: String,
    source: String,
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    // A file that does not load fails the tests, not the user.
    serde_saphyr::from_str(text).unwrap_or_default()
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| read(include_str!("advice/entries.yml")));
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| read(include_str!("advice/patterns.yml")));

/// All entries.
#[must_use]
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The entry of that name.
#[must_use]
pub fn named(id: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.id == id)
}

/// What to do about a step: by the sentence it says first or one that calls for attention (of one that
/// works: by any), else by its reason.
#[must_use]
pub fn of(step: &StepResult) -> Option<&'static Entry> {
    let works = step.status == Status::Ok;
    let telling =
        step.said.iter().enumerate().filter(|(place, said)| works || *place == 0 || said.note.attention());
    let by_note = telling
        .map(|(_, said)| format!("{:?}", said.note))
        .find_map(|note| ENTRIES.iter().find(|entry| entry.notes.contains(&note)));
    by_note.or_else(|| {
        let at = format!("{} {}", step.step, step.reason.map(StepReason::as_str)?);
        let exact = ENTRIES.iter().find(|entry| entry.at.contains(&at));
        // The same reason means the same at another step, unless that has an entry of its own.
        let reason = at.split_once(' ').map(|(_, reason)| format!(" {reason}"))?;
        exact.or_else(|| ENTRIES.iter().find(|entry| entry.at.iter().any(|at| at.ends_with(&reason))))
    })
}

/// What fills the slots of commands and samples.
#[derive(Debug, Clone, Default)]
pub struct Slots(Vec<(&'static str, String)>);

impl Slots {
    /// With a slot filled.
    #[must_use]
    pub fn with(mut self, slot: &'static str, value: impl Into<String>) -> Self {
        self.0.push((slot, value.into()));
        self
    }

    /// Fills a text; a slot without a value is its name in capitals.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for name in ["host", "address", "source", "port"] {
            let value = self.0.iter().find(|(slot, _)| *slot == name);
            let value = value.map_or_else(|| name.to_ascii_uppercase(), |(_, value)| value.clone());
            filled = filled.replace(&format!("{{{name}}}"), &value);
        }
        filled
    }
}

/// What a line of a log means.
#[derive(Debug, Clone, Copy)]
pub struct Meaning {
    /// The entry.
    pub entry: &'static Entry,
    /// The text that was found.
    pub text: &'static str,
    /// Where that text comes from.
    pub source: &'static str,
}

/// What a text means, the best first; at most three entries. A text of several lines is looked through.
#[must_use]
pub fn explain(text: &str) -> Vec<Meaning> {
    let text: String = text.chars().take(1 << 16).collect::<String>().to_lowercase();
    let mut found: Vec<&'static Pattern> =
        PATTERNS.iter().filter(|pattern| text.lines().any(|line| holds(line, &pattern.text))).collect();
    found.sort_by_key(|pattern| std::cmp::Reverse(pattern.text.chars().count()));
    let mut meanings: Vec<Meaning> = Vec::new();
    for pattern in found {
        let known = meanings.iter().any(|meaning| meaning.entry.id == pattern.entry);
        if let (false, Some(entry)) = (known, named(&pattern.entry)) {
            meanings.push(Meaning { entry, text: &pattern.text, source: &pattern.source });
        }
    }
    meanings.truncate(3);
    meanings
}

/// Whether a line, in small letters, holds the parts of a pattern in their order.
fn holds(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    for part in pattern.to_lowercase().split('*').filter(|part| !part.is_empty()) {
        match find(rest, part) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

/// What comes after a part; a number stands alone.
fn find<'a>(line: &'a str, part: &str) -> Option<&'a str> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mut from = 0;
    while let Some(place) = line.get(from..)?.find(part) {
        let begin = from.checked_add(place)?;
        let end = begin.checked_add(part.len())?;
        let (before, after) = (line.get(..begin)?, line.get(end..)?);
        let joined = (digit(part.chars().next()) && digit(before.chars().next_back()))
            || (digit(part.chars().next_back())
                && after.chars().next().is_some_and(|c| c.is_ascii_hexdigit() && !c.is_whitespace()));
        if !joined {
            return Some(after);
        }
        from = begin.checked_add(part.chars().next()?.len_utf8())?;
    }
    None
}

#[cfg(test)]
mod coverage;
#[cfg(test)]
mod tests;
