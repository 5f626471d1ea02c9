//! The diagnosis: which step of the ladder fails, why, and what to try next.
//!
//! ```text
//!   Survey (what every probe saw, once) + Target (what is declared) ──ladder──▶ Diagnosis
//!                                                       Diagnosis ──text, render──▶ people, JSON, Nagios
//! ```
//!
//! The ladder is the field's own order of troubleshooting: name, route, reach, ports, authenticate,
//! tunnel, inside. Invariants: pure, no clock and no socket; a fault of ours is never evidence against
//! a target; silence alone is never a failure, a second probe must show that the host is there.

use crate::sample::{Fault, Outcome, Reason};
use crate::time::WallTime;
use crate::words;

pub mod advice;
pub mod counsel;
pub mod incident;
mod incident_words;
mod inside;
mod keepalive;
mod ladder;
mod notes;
pub mod render;
mod rungs;
mod service;
pub mod survey;
pub mod text;
mod unit;
mod way;

pub use ladder::diagnose;
pub use survey::{Observed, Survey};
pub use text::{Lang, Note, Said};

words! {
    /// A rung of the ladder. Their order is the order they are climbed in.
    pub enum Step {
        /// The name has addresses.
        Name = "name",
        /// This host has a way there.
        Route = "route",
        /// Packets get to the box and back.
        Reach = "reach",
        /// The VPN's ports answer in their own protocol.
        Ports = "ports",
        /// The credentials are accepted.
        Authenticate = "authenticate",
        /// The tunnel comes up.
        Tunnel = "tunnel",
        /// The inside networks are routed into the tunnel.
        InsideRoutes = "inside_routes",
        /// The inside names resolve.
        InsideNames = "inside_names",
        /// The inside hosts answer.
        InsideHosts = "inside_hosts",
    }
}

words! {
    /// How a step went.
    pub enum Status {
        /// It works.
        Ok = "ok",
        /// It does not.
        Failed = "failed",
        /// It cannot be told from here.
        Unknown = "unknown",
        /// It was not tried: nothing is declared for it, or no credentials.
        Skipped = "skipped",
    }
}

words! {
    /// What it comes to.
    pub enum Verdict {
        /// The target works, as far as it was tested.
        Ok = "ok",
        /// A step failed.
        Failed = "failed",
        /// It cannot be told from here.
        Unknown = "unknown",
    }
}

words! {
    /// The reasons that only a step has, because they take more than one probe to see.
    pub enum LadderReason {
        /// UDP 500 answers and UDP 4500 does not.
        NattBlocked = "natt_blocked",
        /// The IKE session lives and its ESP packets do not pass.
        EspBlocked = "esp_blocked",
        /// The default route goes into the tunnel, and should not.
        DefaultRouteViaTunnel = "default_route_via_tunnel",
        /// The default route does not go into the tunnel, and should.
        DefaultRouteNotViaTunnel = "default_route_not_via_tunnel",
        /// An inside network is not routed into the tunnel.
        InsideRouteMissing = "inside_route_missing",
        /// The local network and an inside network have the same addresses.
        SameSubnet = "same_subnet",
        /// Large packets vanish without a message.
        MtuBlackHole = "mtu_black_hole",
        /// The inside refuses us.
        InsideDenied = "inside_denied",
        /// The inside resolver does not answer through the tunnel.
        ResolverUnreachable = "resolver_unreachable",
        /// An inside name is asked, or answered, outside.
        NameLeak = "name_leak",
        /// Somebody in between answers instead.
        CaptiveOrHijacked = "captive_or_hijacked",
        /// The concentrator takes no more sessions.
        SessionLimit = "session_limit",
    }
}

/// Why a step went as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepReason {
    /// What a probe reported.
    Probe(Reason),
    /// What several probes show together.
    Ladder(LadderReason),
}

impl StepReason {
    /// Its spelling in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe(reason) => reason.as_str(),
            Self::Ladder(reason) => reason.as_str(),
        }
    }
}

impl From<Reason> for StepReason {
    fn from(reason: Reason) -> Self {
        Self::Probe(reason)
    }
}

impl From<LadderReason> for StepReason {
    fn from(reason: LadderReason) -> Self {
        Self::Ladder(reason)
    }
}

/// One probe's result that a step rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The label `probe`.
    pub probe: String,
    /// The member's slot, from 1 on.
    pub member: u8,
    /// What it saw.
    pub outcome: Outcome,
}

impl Evidence {
    fn of(observed: &Observed) -> Self {
        Self { probe: observed.probe.clone(), member: observed.member, outcome: observed.report.outcome }
    }
}

/// How one step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepResult {
    /// Which step.
    pub step: Step,
    /// How it went.
    pub status: Status,
    /// Why; with [`Status::Ok`], what is wrong although it works.
    pub reason: Option<StepReason>,
    /// What went wrong at our own end, if that is why it is not known.
    pub fault: Option<Fault>,
    /// What is to be told, the main thing first. Never empty.
    pub said: Vec<Said>,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

impl StepResult {
    /// The text for people, one or several sentences on one line.
    #[must_use]
    pub fn text(&self, lang: Lang) -> String {
        let mut text = String::new();
        for said in &self.said {
            if !text.is_empty() && lang == Lang::En {
                text.push(' ');
            }
            text.push_str(&said.text(lang));
        }
        text
    }

    /// Whether it says something that an administrator should look at.
    #[must_use]
    pub fn attention(&self) -> bool {
        self.status == Status::Ok
            && (self.reason.is_some() || self.said.iter().any(|said| said.note.attention()))
    }
}

/// What one survey of one target comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The target's name.
    pub target: String,
    /// When the survey began.
    pub time: WallTime,
    /// What it comes to.
    pub verdict: Verdict,
    /// The first step that failed.
    pub failed_step: Option<Step>,
    /// Every step, in their order.
    pub steps: Vec<StepResult>,
    /// What this survey could not know, by the names of entries of [`advice`].
    pub not_known: Vec<&'static str>,
}

impl Diagnosis {
    /// Adds up the steps. `declared`: whether a VPN is declared, so that its ports decide.
    fn new(target: String, time: WallTime, declared: bool, steps: Vec<StepResult>) -> Self {
        let failed_step = steps.iter().find(|step| step.status == Status::Failed).map(|step| step.step);
        let deciding = if declared { Step::Ports } else { Step::Reach };
        let works = steps.iter().any(|step| step.step == deciding && step.status == Status::Ok);
        let verdict = match failed_step {
            Some(_) => Verdict::Failed,
            None if works => Verdict::Ok,
            None => Verdict::Unknown,
        };
        Self { target, time, verdict, failed_step, steps, not_known: Vec::new() }
    }

    /// The result of a step.
    #[must_use]
    pub fn step(&self, step: Step) -> Option<&StepResult> {
        self.steps.iter().find(|result| result.step == step)
    }

    /// Whether it works and an administrator should look at it all the same.
    #[must_use]
    pub fn degraded(&self) -> bool {
        self.verdict == Verdict::Ok && self.steps.iter().any(StepResult::attention)
    }
}

#[cfg(test)]
mod tests;
