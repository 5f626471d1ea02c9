//! One way to one member, and what its probes say together about a port.
//!
//! Invariant: a fault of ours is the weakest of all signs; it never outweighs what a peer or the network
//! said.

use std::net::IpAddr;

use super::keepalive::{self, Keepalive};
use super::{Evidence, Note, Observed, Said, Status, StepReason};
use crate::config::{Inside, Target, Vpn};
use crate::probe::openvpn;
use crate::sample::{Fault, Outcome, Reason};

/// What the ladder needs of a target as declared.
#[expect(clippy::struct_excessive_bools, reason = "each says whether one thing is configured")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// Its name.
    pub target: String,
    /// The VPNs it serves; none if nothing is declared.
    pub vpn: Vec<Vpn>,
    /// Name and port of each probe.
    pub ports: Vec<(String, u16)>,
    /// Whether an `OpenVPN` pre-shared key is configured.
    pub openvpn_key: bool,
    /// Whether the site's own `IKEv2` proposals are configured.
    pub ike_proposals: bool,
    /// Whether the site's own `IKEv1` proposals are configured.
    pub ikev1_proposals: bool,
    /// What keeps its sessions known on the way while they are idle.
    pub keepalives: Vec<Keepalive>,
    /// What is behind its tunnel.
    pub inside: Option<Inside>,
    /// Whether its probes leave through that tunnel, on purpose.
    pub through_tunnel: bool,
}

impl Declared {
    /// What `target` declares.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let plain = openvpn::Keys::plain();
        Self {
            target: target.name.clone(),
            vpn: target.vpn.clone(),
            ports: target.probes.iter().map(|spec| (spec.name.clone(), spec.port)).collect(),
            openvpn_key: target.probes.iter().any(|spec| spec.settings.openvpn.keys != plain),
            ike_proposals: target.probes.iter().any(|spec| !spec.settings.ike.proposals.is_empty()),
            ikev1_proposals: target.probes.iter().any(|spec| !spec.settings.ikev1.proposals.is_empty()),
            keepalives: keepalive::declared(target),
            inside: target.inside.as_deref().cloned(),
            through_tunnel: target.inside.as_ref().is_some_and(|inside| {
                inside.egress.is_some() && inside.egress.as_ref() == target.egress.first()
            }),
        }
    }

    /// The port that the probe asked.
    pub fn port(&self, observed: &Observed) -> u16 {
        self.ports
            .iter()
            .find(|(name, _)| *name == observed.probe)
            .map_or(observed.kind.port, |(_, port)| *port)
    }

    /// The port in the words of a firewall's administrator: `UDP 500`.
    pub fn label(&self, observed: &Observed) -> String {
        match observed.kind.name {
            "icmp" | "trace" => "ping".to_owned(),
            "tcp" | "tls" | "openvpn_tcp" | "http" | "rdp" | "sslvpn" => {
                format!("TCP {}", self.port(observed))
            }
            _ => format!("UDP {}", self.port(observed)),
        }
    }
}

/// What an outcome says of a service, from the strongest evidence to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answers, and what it answers is bad for the user.
    Objects(Reason),
    /// It answers.
    Speaks,
    /// It answers "no".
    Denies(Reason),
    /// An ICMP error or a reset.
    Blocked(Reason),
    /// Nothing.
    Silent,
    /// Not evidence.
    Fault(Fault),
}

impl Sign {
    /// What `outcome` says.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered(None) => Self::Speaks,
            Outcome::Answered(Some(reason)) => Self::Objects(reason),
            Outcome::Unsent(fault) => Self::Fault(fault),
            Outcome::Refused(reason) | Outcome::Lost(reason) => match reason {
                Reason::NoAnswer => Self::Silent,
                Reason::FullOrThrottled => Self::Objects(reason),
                _ if reason.is_reply() => Self::Denies(reason),
                _ => Self::Blocked(reason),
            },
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Objects(_) => 0,
            Self::Speaks => 1,
            Self::Denies(_) => 2,
            Self::Blocked(_) => 3,
            Self::Silent => 4,
            Self::Fault(_) => 5,
        }
    }

    /// Whether what answers is the service that was asked for.
    #[must_use]
    pub const fn service(self) -> bool {
        match self {
            Self::Objects(_) | Self::Speaks => true,
            Self::Denies(reason) => {
                !matches!(reason, Reason::WrongFlavour | Reason::WrongAnswer | Reason::ProtocolError)
            }
            _ => false,
        }
    }
}

/// What several probes of one port say together.
pub struct Heard<'a> {
    /// The strongest of their signs.
    pub sign: Sign,
    /// Whose that is.
    pub best: &'a Observed,
    /// The port, for people.
    pub label: String,
    /// All of them.
    pub all: Vec<&'a Observed>,
}

impl Heard<'_> {
    /// What a step that rests on it says so.
    pub fn evidence(&self) -> Vec<Evidence> {
        self.all.iter().map(|observed| Evidence::of(observed)).collect()
    }
}

/// One member over one egress.
pub struct Unit<'a> {
    /// The member's slot.
    pub member: u8,
    /// Its address.
    pub address: IpAddr,
    /// The way out.
    pub egress: &'a str,
    /// Where we send from, if known.
    pub source: Option<IpAddr>,
    /// The name or address as declared.
    pub host: &'a str,
    /// What is declared.
    pub declared: &'a Declared,
    /// What its probes saw.
    pub seen: Vec<&'a Observed>,
}

/// What is judged of one service of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// How it went.
    pub status: Status,
    /// Why.
    pub reason: Option<StepReason>,
    /// Our own fault, if that is why.
    pub fault: Option<Fault>,
    /// What is to be told.
    pub said: Vec<Said>,
    /// The ports that answer.
    pub ports: Vec<String>,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

impl Judged {
    /// A judgement with its sentence.
    pub fn new(status: Status, said: Said) -> Self {
        Self { status, reason: None, fault: None, said: vec![said], ports: Vec::new(), evidence: Vec::new() }
    }

    /// With its reason.
    pub fn because(mut self, reason: impl Into<StepReason>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With our fault.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// With what it rests on.
    pub fn on(mut self, evidence: Vec<Evidence>) -> Self {
        self.evidence = evidence;
        self
    }

    /// Ports that answer, and what else is to be told.
    pub fn answering(ports: Vec<String>, remark: Option<Said>) -> Self {
        Self {
            status: Status::Ok,
            reason: None,
            fault: None,
            said: remark.into_iter().collect(),
            ports,
            evidence: Vec::new(),
        }
    }
}

impl<'a> Unit<'a> {
    /// A sentence with what is known of the unit filled in.
    pub fn say(&self, note: Note) -> Said {
        let source = self.source.map_or_else(|| "?".to_owned(), |source| source.to_string());
        Said::new(note)
            .with("host", self.host)
            .with("address", self.address.to_string())
            .with("source", source)
    }

    /// What the probes that `pick` takes say together.
    pub fn heard(&self, pick: impl Fn(&Observed) -> bool) -> Option<Heard<'a>> {
        let all: Vec<&Observed> = self.seen.iter().copied().filter(|observed| pick(observed)).collect();
        let sign = |observed: &Observed| Sign::of(observed.report.outcome);
        let best = all.iter().copied().min_by_key(|observed| sign(observed).rank())?;
        Some(Heard { sign: sign(best), best, label: self.declared.label(best), all })
    }

    /// What the probes of these kinds say together.
    pub fn kinds(&self, kinds: &[&str]) -> Option<Heard<'a>> {
        self.heard(|observed| kinds.contains(&observed.kind.name))
    }

    /// What shows that the host, or something with its address, is there: replies, and the refusals that
    /// only it or a firewall before it sends.
    pub fn life(&self) -> Option<String> {
        let mut labels: Vec<String> = Vec::new();
        let mut living: Vec<&Observed> =
            self.seen.iter().copied().filter(|observed| alive(observed)).collect();
        living
            .sort_by_key(|observed| (observed.kind.name != "icmp", Sign::of(observed.report.outcome).rank()));
        for observed in living {
            let label = self.declared.label(observed);
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels.truncate(4);
        (!labels.is_empty()).then(|| labels.join(", "))
    }
}

/// Whether something with the target's address sent this.
pub fn alive(observed: &Observed) -> bool {
    // A trace is answered by the routers on the way, too.
    observed.kind.name != "trace"
        && match Sign::of(observed.report.outcome) {
            Sign::Objects(_) | Sign::Speaks | Sign::Denies(_) => true,
            Sign::Blocked(reason) => {
                matches!(
                    reason,
                    Reason::PortUnreachable | Reason::ConnectionRefused | Reason::ConnectionReset
                )
            }
            Sign::Silent | Sign::Fault(_) => false,
        }
}

/// Whether the peer asked for a cookie.
pub fn under_load(observed: &Observed) -> bool {
    observed
        .report
        .findings
        .as_ref()
        .is_some_and(|findings| findings.under_load || findings.details.is("under_load"))
}

/// Whether the reason is about a certificate.
pub const fn is_certificate(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::CertExpired | Reason::CertNotYetValid | Reason::CertNameMismatch | Reason::CertUntrusted
    )
}

/// ` (notAfter DATE)`, if a certificate was seen.
pub fn not_after(observed: &Observed) -> String {
    let until = observed.report.findings.as_ref().and_then(|findings| findings.certificate_not_after);
    until.map_or_else(String::new, |until| {
        let text = until.to_string();
        format!(" (notAfter {})", text.split('T').next().unwrap_or(&text))
    })
}

/// The first of these details as ` (…)`, or nothing.
pub fn detail(observed: &Observed, keys: &[&str]) -> String {
    let details = observed.report.findings.as_ref().map(|findings| &findings.details);
    let text = details.and_then(|details| keys.iter().find_map(|key| details.get_text(key)));
    text.map_or_else(String::new, |text| format!(" ({text})"))
}

/// Our own fault, if that is all there is.
pub const fn fault(observed: &Observed) -> Option<Fault> {
    match observed.report.outcome {
        Outcome::Unsent(fault) => Some(fault),
        _ => None,
    }
}

/// A judgement of what was not tried, because the step before was not passed.
pub fn untried() -> Judged {
    Judged::new(Status::Unknown, Said::new(Note::NotTried))
}
