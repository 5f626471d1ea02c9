//! One way to one member: what its probes say together about each service.
//!
//! Invariant: a service is failed only on an explicit "no", on an authentic answer that is bad for the
//! user, or on silence beside another sign of life; silence alone, and any fault of ours, is unknown.

use std::net::IpAddr;

use super::{Evidence, LadderReason, Note, Observed, Said, Status, StepReason};
use crate::config::{Target, Vpn};
use crate::sample::{Fault, Outcome, Phase, Reason};

/// What the ladder needs of a target as declared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// Its name.
    pub target: String,
    /// The VPNs it serves; none if nothing is declared.
    pub vpn: Vec<Vpn>,
    /// Name and port of each probe.
    pub ports: Vec<(String, u16)>,
    /// Whether an OpenVPN pre-shared key is configured.
    pub openvpn_key: bool,
    /// Whether the site's own IKEv2 proposals are configured.
    pub ike_proposals: bool,
    /// Whether the site's own IKEv1 proposals are configured.
    pub ikev1_proposals: bool,
}

impl Declared {
    /// What `target` declares.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let plain = crate::probe::Settings::default();
        Self {
            target: target.name.clone(),
            vpn: target.vpn.clone(),
            ports: target.probes.iter().map(|spec| (spec.name.clone(), spec.port)).collect(),
            openvpn_key: target.probes.iter().any(|spec| spec.settings.openvpn != plain.openvpn),
            ike_proposals: target.probes.iter().any(|spec| spec.settings.ike != plain.ike),
            ikev1_proposals: target.probes.iter().any(|spec| spec.settings.ikev1 != plain.ikev1),
        }
    }

    fn port(&self, observed: &Observed) -> u16 {
        self.ports
            .iter()
            .find(|(name, _)| *name == observed.probe)
            .map_or(observed.kind.port, |(_, port)| *port)
    }

    /// The port in the words of a firewall's administrator: `UDP 500`.
    pub fn label(&self, observed: &Observed) -> String {
        match observed.kind.name {
            "icmp" | "trace" => "ping".to_owned(),
            "tcp" | "tls" | "openvpn_tcp" => format!("TCP {}", self.port(observed)),
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
    fn evidence(&self) -> Vec<Evidence> {
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

    fn answering(ports: Vec<String>, remark: Option<Said>) -> Self {
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

    /// The IKE ports: version 1 and 2 together, 500 and 4500 apart.
    pub fn ike(&self) -> Option<Judged> {
        let plain = self.kinds(&["ike", "ikev1"]);
        let natt = self.kinds(&["ike_natt", "ikev1_natt"]);
        let all: Vec<&Heard<'_>> = plain.iter().chain(natt.iter()).collect();
        let evidence = all.iter().flat_map(|heard| heard.evidence()).collect();
        let ports = |note| {
            let named = |heard: &Option<Heard<'_>>| {
                heard.as_ref().map_or(String::new(), |heard| self.declared.port(heard.best).to_string())
            };
            self.say(note).with("port500", named(&plain)).with("port4500", named(&natt))
        };
        let judged = match (&plain, &natt) {
            (None, None) => return None,
            (Some(plain), Some(natt)) if plain.sign.service() && natt.sign == Sign::Silent => {
                Judged::new(Status::Failed, ports(Note::NattBlocked)).because(LadderReason::NattBlocked)
            }
            (Some(plain), Some(natt)) if natt.sign.service() && plain.sign == Sign::Silent => {
                Judged::new(Status::Failed, ports(Note::IkePortSilent)).because(Reason::NoAnswer)
            }
            _ => {
                let load = all.iter().any(|heard| heard.all.iter().any(|seen| under_load(seen)));
                let remark = load.then(|| self.say(Note::UnderLoad));
                self.together(&all, remark, (Note::IkeSilent, Note::IkeSilentUnknown))
            }
        };
        Some(judged.on(evidence))
    }

    /// OpenVPN: either of UDP and TCP is enough.
    pub fn openvpn(&self) -> Option<Judged> {
        let udp = self.kinds(&["openvpn_udp"]);
        let tcp = self.kinds(&["openvpn_tcp"]);
        let both: Vec<&Heard<'_>> = udp.iter().chain(tcp.iter()).collect();
        let first = both.first()?;
        let evidence = both.iter().flat_map(|heard| heard.evidence()).collect();
        let full = both.iter().find(|heard| heard.sign == Sign::Objects(Reason::FullOrThrottled));
        let wanted = both.iter().find(|heard| heard.sign == Sign::Denies(Reason::KeyRequired));
        let good = both.iter().find(|heard| {
            heard.sign.service()
                && !matches!(heard.sign, Sign::Objects(_) | Sign::Denies(Reason::KeyRequired))
        });
        let objection = both.iter().find_map(|heard| match heard.sign {
            Sign::Objects(reason) if reason != Reason::FullOrThrottled => Some((heard, reason)),
            _ => None,
        });
        let silent_udp = udp.as_ref().filter(|heard| heard.sign == Sign::Silent);
        let judged = if let Some((heard, reason)) = objection {
            self.certificate(heard, reason)
        } else if let Some(heard) = good {
            let other = both.iter().find(|other| matches!(other.sign, Sign::Silent | Sign::Blocked(_)));
            let remark = other.map(|other| self.say(Note::OtherSilent).with("ports", &other.label));
            Judged::answering(vec![heard.label.clone()], remark)
        } else if let Some(heard) = full {
            Judged::new(Status::Failed, self.say(Note::Throttled).with("ports", &heard.label))
                .because(Reason::FullOrThrottled)
        } else if let Some(heard) = wanted {
            let remark = self.say(Note::OpenvpnKeyWanted).with("ports", &heard.label);
            Judged::answering(vec![heard.label.clone()], Some(remark))
        } else if let (Some(heard), false) = (silent_udp, self.declared.openvpn_key) {
            // Without the key, silence over UDP is what a healthy server does, whatever TCP says.
            Judged::new(Status::Unknown, self.say(Note::OpenvpnSilentNoKey).with("ports", &heard.label))
                .because(Reason::NoAnswer)
        } else {
            let port = self.declared.port(first.best).to_string();
            let mut judged = self.together(&both, None, (Note::OpenvpnSilentKey, Note::OpenvpnSilentUnknown));
            judged.said = judged.said.into_iter().map(|said| said.with("port", &port)).collect();
            judged
        };
        Some(judged.on(evidence))
    }

    /// A TLS service, with the TCP probes of the same port.
    pub fn tls(&self, probe: &str) -> Option<Judged> {
        let heard = self.heard(|observed| observed.kind.name == "tls" && observed.probe == probe)?;
        let port = self.declared.port(heard.best);
        let connected =
            heard.all.iter().any(|seen| seen.report.phases.iter().any(|(phase, _)| *phase == Phase::Connect))
                || self.seen.iter().any(|seen| {
                    seen.kind.name == "tcp"
                        && self.declared.port(seen) == port
                        && seen.report.outcome.serving() == Some(true)
                });
        let say = |note| self.say(note).with("ports", &heard.label).with("port", port.to_string());
        let judged = match heard.sign {
            Sign::Speaks => Judged::answering(vec![heard.label.clone()], None),
            Sign::Objects(Reason::TlsLegacy) | Sign::Denies(Reason::TlsLegacy) => {
                Judged::answering(vec![heard.label.clone()], Some(say(Note::TlsLegacy)))
                    .because(Reason::TlsLegacy)
            }
            Sign::Denies(Reason::TlsAlert) => {
                let alert = detail(heard.best, &["tls_alert", "alert"]);
                Judged::new(Status::Failed, say(Note::TlsAlert).with("detail", alert))
                    .because(Reason::TlsAlert)
            }
            Sign::Objects(reason) => self.certificate(&heard, reason),
            Sign::Silent if connected => {
                Judged::new(Status::Failed, say(Note::TlsSilent)).because(Reason::NoAnswer)
            }
            _ => self.tcp_port(&heard),
        };
        Some(judged.on(heard.evidence()))
    }

    /// A plain TCP port.
    pub fn tcp(&self, probe: &str) -> Option<Judged> {
        let heard = self.heard(|observed| observed.kind.name == "tcp" && observed.probe == probe)?;
        Some(self.tcp_port(&heard).on(heard.evidence()))
    }

    fn tcp_port(&self, heard: &Heard<'_>) -> Judged {
        let port = self.declared.port(heard.best).to_string();
        let mut judged = self.together(&[heard], None, (Note::TcpSilent, Note::TcpSilentUnknown));
        judged.said = judged.said.into_iter().map(|said| said.with("port", &port)).collect();
        judged
    }

    /// An answer that is bad for the user: a certificate, as a rule.
    fn certificate(&self, heard: &Heard<'_>, reason: Reason) -> Judged {
        let note = if is_certificate(reason) { Note::Certificate } else { Note::WrongService };
        let said = self
            .say(note)
            .with("ports", &heard.label)
            .with("port", self.declared.port(heard.best).to_string())
            .with("detail", not_after(heard.best))
            .reason(reason);
        Judged::new(Status::Failed, said).because(reason)
    }

    /// Ports that must all answer: the worst of them decides, an explicit "no" before silence.
    fn together(&self, ports: &[&Heard<'_>], remark: Option<Said>, silence: (Note, Note)) -> Judged {
        let named = |pick: &dyn Fn(Sign) -> bool| {
            let mut labels: Vec<&str> = Vec::new();
            for heard in ports.iter().filter(|heard| pick(heard.sign)) {
                if !labels.contains(&heard.label.as_str()) {
                    labels.push(&heard.label);
                }
            }
            labels.join(", ")
        };
        let life = self.life();
        let of = |rank: &dyn Fn(Sign) -> Option<Reason>| ports.iter().find_map(|heard| rank(heard.sign));
        if let Some(reason) = of(&|sign| match sign {
            Sign::Denies(reason) if !sign.service() => Some(reason),
            _ => None,
        }) {
            let said =
                self.say(Note::WrongService).with("ports", named(&|sign| sign == Sign::Denies(reason)));
            return Judged::new(Status::Failed, said.reason(reason)).because(reason);
        }
        if let Some(reason) = of(&|sign| if let Sign::Blocked(reason) = sign { Some(reason) } else { None }) {
            let (status, note) = match reason {
                Reason::AdminProhibited => (Status::Failed, Note::PortFiltered),
                Reason::ConnectionReset => (Status::Failed, Note::PortReset),
                Reason::HostUnreachable | Reason::NetUnreachable if life.is_none() => {
                    (Status::Unknown, Note::PortsUnreached)
                }
                _ => (Status::Failed, Note::PortClosed),
            };
            let said =
                self.say(note).with("ports", named(&|sign| sign == Sign::Blocked(reason))).reason(reason);
            return Judged::new(status, said).because(reason);
        }
        if ports.iter().any(|heard| heard.sign == Sign::Silent) {
            let (status, note) =
                if life.is_some() { (Status::Failed, silence.0) } else { (Status::Unknown, silence.1) };
            let said = self.say(note).with("ports", named(&|sign| sign == Sign::Silent));
            return Judged::new(status, said.with("life", life.unwrap_or_default()))
                .because(Reason::NoAnswer);
        }
        if let Some(fault) = ports
            .iter()
            .find_map(|heard| if let Sign::Fault(fault) = heard.sign { Some(fault) } else { None })
        {
            let said =
                self.say(Note::PortsFault).with("ports", named(&|sign| matches!(sign, Sign::Fault(_))));
            return Judged::new(Status::Unknown, said.fault(fault)).fault(fault);
        }
        Judged::answering(ports.iter().map(|heard| heard.label.clone()).collect(), remark)
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
