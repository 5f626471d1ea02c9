//! What the probes of one unit say together about each service.
//!
//! Invariant: a service is failed only on an explicit "no", on an authentic answer that is bad for the
//! user, or on silence beside another sign of life; silence alone, and any fault of ours, is unknown.

use super::unit::{Heard, Judged, Sign, Unit, detail, is_certificate, not_after, under_load};
use super::{LadderReason, Note, Observed, Said, Status, keepalive};
use crate::sample::{Detail, Fault, Phase, Reason};

impl Unit<'_> {
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
        // A silence on 4500 counts only in a version of IKE that answers on 500, and the reverse.
        let versions = [["ike", "ike_natt"], ["ikev1", "ikev1_natt"]];
        let sign = |kind: &str| self.kinds(&[kind]).map(|heard| heard.sign);
        let speaks = |kind| sign(kind).is_some_and(Sign::service);
        let silent = |kind| sign(kind) == Some(Sign::Silent);
        let split = |speaking: usize, mute: usize| {
            let at =
                |version: &[&'static str; 2], port: usize| version.get(port).copied().unwrap_or_default();
            !versions.iter().any(|version| speaks(at(version, mute)))
                && versions.iter().any(|version| speaks(at(version, speaking)) && silent(at(version, mute)))
        };
        let untried = versions.iter().find(|[plain, natt]| speaks(plain) && sign(natt).is_none());
        let judged = match (&plain, &natt) {
            (None, None) => return None,
            (Some(_), Some(_)) if split(0, 1) => {
                Judged::new(Status::Failed, ports(Note::NattBlocked)).because(LadderReason::NattBlocked)
            }
            (Some(_), Some(_)) if split(1, 0) => {
                Judged::new(Status::Failed, ports(Note::IkePortSilent)).because(Reason::NoAnswer)
            }
            (Some(plain), Some(natt))
                if natt.sign == Sign::Silent
                    && let Some([_, probe]) = untried =>
            {
                Judged::answering(
                    vec![plain.label.clone()],
                    Some(ports(Note::NattNotTried).with("probe", *probe)),
                )
            }
            _ => {
                let load = all.iter().any(|heard| heard.all.iter().any(|seen| under_load(seen)));
                let remark = load.then(|| self.say(Note::UnderLoad));
                let judged = self.together(&all, remark, (Note::IkeSilent, Note::IkeSilentUnknown));
                // It is up, and it is busy.
                match judged.status {
                    Status::Ok if load => judged.because(Reason::FullOrThrottled),
                    _ => judged,
                }
            }
        };
        Some(judged.on(evidence))
    }

    /// `OpenVPN`: either of UDP and TCP is enough.
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
            // Something is there; that it speaks OpenVPN is not proven.
            Judged::answering(Vec::new(), Some(remark))
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

    /// `WireGuard`: it answers peers it knows and nobody else.
    pub fn wireguard(&self) -> Option<Judged> {
        let heard = self.kinds(&["wireguard"])?;
        let say = |note| self.say(note).with("ports", &heard.label);
        let judged = match heard.sign {
            Sign::Fault(Fault::ExpectedSilence) => {
                Judged::new(Status::Unknown, say(Note::WireguardNoKey)).because(Reason::KeyRequired)
            }
            Sign::Speaks if under_load(heard.best) => {
                Judged::answering(vec![heard.label.clone()], Some(say(Note::WireguardLoad)))
            }
            _ => {
                let port = self.declared.port(heard.best).to_string();
                let silence = (Note::WireguardSilent, Note::WireguardSilentUnknown);
                let mut judged = self.together(&[&heard], None, silence);
                judged.said = judged.said.into_iter().map(|said| said.with("port", &port)).collect();
                judged
            }
        };
        Some(judged.on(heard.evidence()))
    }

    /// One of the services with a greeting of its own: `sslvpn`, `http`, `rdp`, `stun`.
    pub fn service(&self, kind: &str, probe: &str) -> Option<Judged> {
        let heard = self.heard(|observed| observed.kind.name == kind && observed.probe == probe)?;
        let port = self.declared.port(heard.best).to_string();
        let say = |note| self.say(note).with("ports", &heard.label).with("port", &port);
        let text = |key: &str| {
            let details = heard.best.report.findings.as_ref().map(|findings| &findings.details);
            details.and_then(|details| details.get_text(key)).unwrap_or("?").to_owned()
        };
        let judged = match heard.sign {
            Sign::Denies(Reason::WrongFlavour) => {
                let said =
                    say(Note::WrongFlavour).with("detail", text("flavour")).with("way", text("declared"));
                Judged::new(Status::Failed, said).because(Reason::WrongFlavour)
            }
            Sign::Denies(Reason::HttpStatus) => {
                let said = say(Note::HttpStatus).with("detail", Self::status(heard.best));
                Judged::new(Status::Failed, said).because(Reason::HttpStatus)
            }
            Sign::Denies(Reason::TlsAlert) => {
                let alert = detail(heard.best, &["tls_alert", "alert"]);
                Judged::new(Status::Failed, say(Note::TlsAlert).with("detail", alert))
                    .because(Reason::TlsAlert)
            }
            Sign::Objects(Reason::TlsLegacy) | Sign::Denies(Reason::TlsLegacy) => {
                Judged::answering(vec![heard.label.clone()], Some(say(Note::TlsLegacy)))
                    .because(Reason::TlsLegacy)
            }
            // A remote desktop's certificate is its own affair: its dates are told and fail nobody.
            Sign::Objects(reason) if kind == "rdp" && is_certificate(reason) => {
                let said = say(Note::CertificateFound).with("detail", not_after(heard.best)).reason(reason);
                Judged::answering(vec![heard.label.clone()], Some(said)).because(reason)
            }
            Sign::Objects(reason) => self.certificate(&heard, reason),
            Sign::Speaks if kind == "stun" => {
                let details = heard.best.report.findings.as_ref().map(|findings| &findings.details);
                let behind = details.filter(|details| details.is("nat"));
                let said = behind.map(|_| say(Note::BehindNat).with("detail", text("mapped_address")));
                let mut judged = Judged::answering(vec![heard.label.clone()], said);
                let lifetime =
                    details.and_then(|details| keepalive::judge(details, &self.declared.keepalives));
                judged.said.extend(lifetime);
                judged
            }
            Sign::Silent if heard.label.starts_with("TCP") && Self::connected(&heard) => {
                Judged::new(Status::Failed, say(Note::TlsSilent)).because(Reason::NoAnswer)
            }
            _ => self.tcp_port(&heard),
        };
        Some(judged.on(heard.evidence()))
    }

    fn connected(heard: &Heard<'_>) -> bool {
        heard.all.iter().any(|seen| seen.report.phases.iter().any(|(phase, _)| *phase == Phase::Connect))
    }

    /// `404`, and to where it sends us, if it does.
    fn status(seen: &Observed) -> String {
        let Some(findings) = &seen.report.findings else { return "?".to_owned() };
        let status = match findings.details.get("status") {
            Some(Detail::Number(status)) => status.to_string(),
            _ => "?".to_owned(),
        };
        match findings.details.get_text("location") {
            Some(location) => format!("{status}, {location}"),
            None => status,
        }
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
        let note = match reason {
            Reason::CertUntrusted => Note::CertificateUntrusted,
            _ if is_certificate(reason) => Note::Certificate,
            _ => Note::WrongService,
        };
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
