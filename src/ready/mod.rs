//! Will it hold? So many people in Teams at once, against what is declared and what the probes saw.
//!
//! ```text
//!   Question (people, profile) ─┐
//!   Capacity (declared) ────────┼─▶ judge ─▶ Item (one a check) ─▶ Readiness ─▶ text, JSON
//!   SeenTarget (the daemon's) ──┘
//! ```
//!
//! Invariants: pure. What was not declared, not seen or cannot be seen at that probe rate is said to be
//! so and never counts as good; what is known to be too little is no-go, whatever else is unknown.

use crate::config::{Capacity, Family, Protocol, Target, Tunnel};
use crate::words;

mod lines;
pub mod packets;
mod path;
pub mod render;
pub mod seen;
mod sessions;
pub mod teams;

#[cfg(test)]
mod tests;

use packets::{Outer, Stream};
use seen::SeenTarget;
use teams::{Call, Medium, Profile};

words! {
    /// What is looked at, in this order.
    pub enum Check {
        /// Tunnels at once.
        Sessions = "sessions",
        /// The line into the site.
        LineDown = "line_down",
        /// The line out of the site.
        LineUp = "line_up",
        /// The target's state now.
        State = "state",
        /// Whether it comes and goes.
        Flapping = "flapping",
        /// Round-trip times.
        Rtt = "rtt",
        /// Loss in any 15 s.
        Loss = "loss",
        /// Jitter in any 15 s.
        Jitter = "jitter",
        /// Loss in any 200 ms.
        BurstLoss = "burst_loss",
        /// Packets out of order.
        Reordering = "reordering",
        /// Demands for cookies.
        Cookies = "cookies",
        /// OpenVPN servers that answer the reset and nothing more.
        ResetOnly = "reset_only",
        /// Whether handshakes take longer than they did.
        HandshakeTime = "handshake_time",
    }
}

words! {
    /// What a check comes to.
    pub enum Status {
        /// It holds.
        Ok = "ok",
        /// It may not hold.
        AtRisk = "at_risk",
        /// It does not hold.
        NoGo = "no_go",
        /// It is not known, and could be.
        Unknown = "unknown",
        /// Probes at this rate cannot tell.
        NotMeasurable = "not_measurable",
        /// It does not matter here.
        NotApplicable = "not_applicable",
    }
}

words! {
    /// What it all comes to.
    pub enum Verdict {
        /// As far as it can be judged, it will hold.
        Go = "go",
        /// It may not hold.
        AtRisk = "at_risk",
        /// It will not hold.
        NoGo = "no_go",
        /// Too much is unknown.
        Unknown = "unknown",
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// How many people, all of them through the VPN.
    pub people: u32,
    /// What they do.
    pub profile: Profile,
    /// In what kind of call.
    pub call: Call,
    /// How many of them send pictures or a screen at once; nothing for all.
    pub sending: Option<u32>,
    /// What goes through the VPN, if not what is declared.
    pub tunnel: Option<Tunnel>,
}

/// A sentence in each language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// In English.
    pub en: String,
    /// In Japanese.
    pub ja: String,
}

fn say(en: impl Into<String>, ja: impl Into<String>) -> Said {
    Said { en: en.into(), ja: ja.into() }
}

/// One check, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Which.
    pub check: Check,
    /// How it went.
    pub status: Status,
    /// Why.
    pub said: Said,
    /// How many people it holds at the most, if that can be counted.
    pub holds: Option<u64>,
    /// What was found, in the unit of `limit`.
    pub value: Option<f64>,
    /// What it was held against: people, bits per second, seconds, or a share.
    pub limit: Option<f64>,
    /// The series that decided it: probe, member, egress.
    pub series: Option<(String, u8, String)>,
}

impl Item {
    fn new(check: Check, status: Status, said: Said) -> Self {
        Self { check, status, said, holds: None, value: None, limit: None, series: None }
    }

    fn figures(self, value: f64, limit: f64) -> Self {
        Self { value: Some(value), limit: Some(limit), ..self }
    }

    fn holding(self, holds: u64) -> Self {
        Self { holds: Some(holds), ..self }
    }
}

/// What one medium of one person takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Which medium.
    pub medium: Medium,
    /// From the person.
    pub up: Stream,
    /// To the person.
    pub down: Stream,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Readiness {
    /// The target's name.
    pub target: String,
    /// What was asked.
    pub question: Question,
    /// What goes through the VPN.
    pub tunnel: Tunnel,
    /// What it is carried by, with a full tunnel.
    pub outer: Option<Outer>,
    /// What each person takes.
    pub loads: Vec<Load>,
    /// All checks, in their order.
    pub items: Vec<Item>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// Judges. `seen` is what the daemon knows of the target, or why nothing is known.
#[must_use]
pub fn judge(question: &Question, target: &Target, seen: Result<&SeenTarget, &Said>) -> Readiness {
    let capacity = target.capacity.as_deref();
    let declared = capacity.map_or(Tunnel::Full, |capacity| capacity.tunnel);
    let tunnel = question.tunnel.unwrap_or(declared);
    let outer = match tunnel {
        Tunnel::Split => None,
        Tunnel::Full => capacity.and_then(|capacity| outer(capacity, target)),
    };
    let load = |medium: &Medium| {
        let (up, down) = Stream::both(*medium, question.profile.quality, question.call, outer);
        Load { medium: *medium, up, down }
    };
    let loads: Vec<Load> = question.profile.media.iter().map(load).collect();
    let mut items = vec![sessions::judge(question.people, capacity)];
    items.extend(lines::judge(question, capacity, tunnel, outer, &loads));
    items.extend(path::judge(tunnel, seen));
    let verdict = verdict(&items);
    let question = question.clone();
    Readiness { target: target.name.clone(), question, tunnel, outer, loads, items, verdict }
}

fn outer(capacity: &Capacity, target: &Target) -> Option<Outer> {
    let protocol: Protocol = capacity.protocol?;
    let literal = |address: &crate::config::Address| match address {
        crate::config::Address::Ip(ip) => ip.is_ipv6(),
        crate::config::Address::Name(_) => false,
    };
    let ipv6 = target.family == Family::Ipv6 || target.addresses.iter().all(literal);
    Some(Outer { protocol, cipher: capacity.cipher, ipv6 })
}

/// What is too little is so whatever else is unknown; what is unknown may be worse than a risk.
fn verdict(items: &[Item]) -> Verdict {
    let any = |status| items.iter().any(|item| item.status == status);
    match () {
        () if any(Status::NoGo) => Verdict::NoGo,
        () if any(Status::Unknown) => Verdict::Unknown,
        () if any(Status::AtRisk) => Verdict::AtRisk,
        () => Verdict::Go,
    }
}

impl Readiness {
    /// The check that decides: of those of the verdict's status the one that holds the fewest people, and
    /// of those that cannot be counted the first. Of a go, the limit that is met next.
    #[must_use]
    pub fn deciding(&self) -> Option<&Item> {
        let status = match self.verdict {
            Verdict::Go => Status::Ok,
            Verdict::AtRisk => Status::AtRisk,
            Verdict::NoGo => Status::NoGo,
            Verdict::Unknown => Status::Unknown,
        };
        let counted = self.items.iter().filter(|item| item.status == status && item.holds.is_some());
        let uncounted = self.items.iter().find(|item| item.status == status);
        match self.verdict {
            // Of what is unknown, nothing can be counted.
            Verdict::Unknown => uncounted,
            _ => counted.min_by_key(|item| item.holds).or(uncounted),
        }
    }

    /// How many people all limits that are known hold; nothing if none is.
    #[must_use]
    pub fn holds(&self) -> Option<u64> {
        self.items.iter().filter_map(|item| item.holds).min()
    }

    /// How many more than those asked for; negative if they are too many.
    #[must_use]
    pub fn headroom(&self) -> Option<i64> {
        let holds = i64::try_from(self.holds()?).unwrap_or(i64::MAX);
        Some(holds - i64::from(self.question.people))
    }

    /// The checks that probes at this rate cannot judge.
    pub fn not_measurable(&self) -> impl Iterator<Item = Check> {
        self.items.iter().filter(|item| item.status == Status::NotMeasurable).map(|item| item.check)
    }

    /// 0 go, 1 at risk or no-go, 3 unknown.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Go => 0,
            Verdict::AtRisk | Verdict::NoGo => 1,
            Verdict::Unknown => 3,
        }
    }
}
