//! One probe of one address, tried form by form until it has told what it can: how `check`, `init` and
//! the looks inside of the daemon ask.
//!
//! Invariant: what is answered is not asked again, and what opens state is asked once.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::survey::Observed;
use crate::net::FlowId;
use crate::probe::{Form, Spec, ike, ikev1};
use crate::sample::{Fault, Outcome, Reason, Report};

/// When a form has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// First, all cases at once: it leaves no state at the peer.
    Gentle,
    /// Then, one case after the other, so that no concentrator meets two of our handshakes at a time.
    Stateful,
    /// Last, and only because it was asked for.
    Requested,
}

/// One probe of one member over one way out, and what is still to be tried.
pub(super) struct Case {
    pub spec: Arc<Spec>,
    pub member: u8,
    pub address: IpAddr,
    pub egress: String,
    pub flow: FlowId,
    pub todo: VecDeque<(Turn, &'static Form)>,
    pub best: Option<(&'static str, Report)>,
}

impl Case {
    /// Every form that the kind runs by itself is to be tried: a stateless one `attempts` times, what opens
    /// state once. `rare`: those also that the daemon runs now and then.
    pub fn fill(&mut self, attempts: u32, rare: bool) {
        self.best = None;
        self.todo.clear();
        for form in (self.spec.kind.forms)(&self.spec).iter().filter(|form| rare || !form.rare) {
            // What a stateless probe does now and then (the path MTU) comes after its answer.
            let (turn, times) = if form.stateless() && !form.rare {
                (Turn::Gentle, attempts.max(1))
            } else {
                (Turn::Stateful, 1)
            };
            self.todo.extend(std::iter::repeat_n((turn, form), times as usize));
        }
    }

    /// Whether something has come back.
    pub fn received(&self) -> bool {
        self.best.as_ref().is_some_and(|(_, report)| report.outcome.received() == Some(true))
    }

    /// What it has come to.
    pub fn observed(&self) -> Observed {
        let (form, report) =
            self.best.clone().unwrap_or(("none", Report::new(Outcome::Unsent(Fault::Budget))));
        Observed {
            probe: self.spec.name.clone(),
            kind: self.spec.kind,
            member: self.member,
            address: self.address,
            egress: self.egress.clone(),
            form,
            report,
        }
    }

    /// Keeps the report that tells most, and what all forms found out.
    pub fn learn(&mut self, form: &'static Form, mut report: Report) {
        let received = report.outcome.received() == Some(true);
        if received {
            // What is answered needs no second try, nor another gentle form.
            self.todo.retain(|(turn, _)| *turn != Turn::Gentle);
        }
        let Some((best_form, best)) = self.best.take() else {
            self.best = Some((form.name, report));
            return;
        };
        if form.name == ike::AUDIT.name || form.name == ikev1::AGGRESSIVE.name {
            // Asked for beside the probe: what it found is added, and nothing of the probe's is replaced.
            let mut best = best;
            if let Some(extra) = report.findings {
                let mut details = extra.details;
                details.merge(&best.findings().details.clone());
                best.findings().details = details;
            }
            self.best = Some((best_form, best));
            return;
        }
        let better = match (weight(best.outcome), weight(report.outcome)) {
            // A full form that is refused, or shows a bad certificate, says more than the gentle one did.
            (old, new) if form.rare && received && report.outcome.reason().is_some() => new >= old,
            (old, new) => new > old,
        };
        if better {
            if let Some(findings) = &best.findings {
                let mut details = findings.details.clone();
                if let Some(newer) = &report.findings {
                    details.merge(&newer.details);
                }
                report.findings().details = details;
            }
            if report.rtt.is_none() || form.rare {
                report.rtt = best.rtt.or(report.rtt);
            }
            self.best = Some((form.name, report));
        } else {
            let mut best = best;
            if let Some(newer) = &report.findings {
                let findings = best.findings();
                findings.details.merge(&newer.details);
                findings.under_load |= newer.under_load;
                findings.half_open_left = findings.half_open_left.or(newer.half_open_left);
                findings.certificate_not_after =
                    findings.certificate_not_after.or(newer.certificate_not_after);
            }
            self.best = Some((best_form, best));
        }
    }
}

/// How much an outcome tells.
fn weight(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Unsent(_) => 0,
        Outcome::Lost(Reason::NoAnswer) => 1,
        Outcome::Lost(_) => 2,
        Outcome::Refused(reason) if !reason.is_reply() => 3,
        Outcome::Refused(_) | Outcome::Answered(_) => 4,
    }
}
