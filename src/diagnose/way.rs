//! The ways that packets would take, held against what is declared: the inside networks into the tunnel,
//! the rest of the world as intended, and the concentrator never through its own tunnel.
//!
//! | seen | status, reason |
//! |---|---|
//! | the concentrator's way goes into its own tunnel, and nothing answers | `route` failed, `default_route_via_tunnel` |
//! | the same, and something answers | `route` ok with that reason: the probes measure the tunnel |
//! | the tunnel's interface is not there, is down, or has no address | unknown: the VPN is not up here |
//! | part of an inside network goes to a local network with its addresses | failed, `same_subnet` |
//! | a local network has addresses of the inside, and the tunnel wins | ok with `same_subnet`: the local ones are cut off |
//! | part of an inside network goes another way, or none | failed, `inside_route_missing` |
//! | declared full, and IPv4 goes another way | failed, `default_route_not_via_tunnel` |
//! | declared full, IPv4 does, and IPv6 goes another way | ok with that reason: a leak |
//! | declared split, and the Internet goes into the tunnel | failed, `default_route_via_tunnel` |
//! | no tunnel is named | unknown with `same_subnet` if networks overlap, else skipped |
//!
//! Invariant: each row rests on lookups of single addresses; a network counts as routed only if every
//! address asked for in it is.

use std::net::IpAddr;

use super::unit::{Judged, alive};
use super::{LadderReason, Note, Said, Status, Survey};
use crate::config::{Inside, Tunnel};
use crate::route::{self, Around, Link, Looked, NoWay, Prefix, Way};
use crate::sample::{Fault, Outcome};

/// The step `inside_routes`.
pub fn inside_routes(declared: Option<&Inside>, around: Option<&Around>) -> Judged {
    let Some(declared) = declared else {
        return Judged::new(Status::Skipped, Said::new(Note::InsideSkipped));
    };
    let Some(around) = around else {
        return Judged::new(Status::Unknown, Said::new(Note::WaysUntold)).fault(Fault::Internal);
    };
    let Some(tunnel) = &declared.interface else { return without_tunnel(around) };
    let link = around.tunnel_link().filter(|link| link.up && !link.addresses.is_empty());
    let Some(link) = link else {
        let said = Said::new(Note::TunnelDown).with("tunnel", tunnel);
        return Judged::new(Status::Unknown, said).fault(Fault::Egress);
    };
    let mut found = Found { tunnel: link, bad: Vec::new(), remarks: Vec::new(), untold: false };
    for inside in &around.inside {
        found.network(inside, around);
    }
    let world = found.internet(declared.tunnel, around);
    found.judge(declared, around, world)
}

fn without_tunnel(around: &Around) -> Judged {
    let mut said = Vec::new();
    for inside in &around.inside {
        for (link, network) in route::overlaps(inside.prefix, &around.links, None) {
            said.push(overlap(Note::SameSubnetUntold, inside.prefix, network, link));
        }
    }
    if said.is_empty() {
        return Judged::new(Status::Skipped, Said::new(Note::NoTunnelNamed));
    }
    Judged { said, ..Judged::new(Status::Unknown, Said::new(Note::NoTunnelNamed)) }
        .because(LadderReason::SameSubnet)
}

fn overlap(note: Note, prefix: Prefix, network: Prefix, link: &Link) -> Said {
    Said::new(note)
        .with("prefix", prefix.to_string())
        .with("network", network.to_string())
        .with("link", &link.name)
}

/// What is found, for one tunnel.
struct Found<'a> {
    tunnel: &'a Link,
    /// What fails the step, and why.
    bad: Vec<(LadderReason, Said)>,
    /// What is to be looked at although it works.
    remarks: Vec<(LadderReason, Said)>,
    untold: bool,
}

impl Found<'_> {
    fn through(&self, way: &Way) -> bool {
        way.link == self.tunnel.name
    }

    /// One inside network. Each kind of trouble is told once for it.
    fn network(&mut self, inside: &route::Inside, around: &Around) {
        let prefix = inside.prefix;
        let tunnel = self.tunnel.name.as_str();
        let mut local: Vec<Prefix> = Vec::new();
        let mut missing: Option<&Looked> = None;
        for looked in &inside.ways {
            let shared = route::overlaps(prefix, &around.links, Some(tunnel))
                .find(|(_, network)| network.contains(looked.to));
            match &looked.way {
                Err(NoWay::Untold) => self.untold = true,
                Ok(way) if way.local => {}
                Ok(way) if self.through(way) => {
                    if let Some((link, network)) = shared {
                        let said =
                            overlap(Note::SameSubnetShadowed, prefix, network, link).with("tunnel", tunnel);
                        self.remarks.push((LadderReason::SameSubnet, said));
                    }
                }
                Ok(way) => match shared.filter(|(link, _)| way.gateway.is_none() && link.name == way.link) {
                    Some((_, network)) if local.contains(&network) => {}
                    Some((link, network)) => {
                        local.push(network);
                        let said = overlap(Note::SameSubnet, prefix, network, link)
                            .with("tunnel", tunnel)
                            .with("address", looked.to.to_string());
                        self.bad.push((LadderReason::SameSubnet, said));
                    }
                    None => missing = missing.or(Some(looked)),
                },
                Err(_) => missing = missing.or(Some(looked)),
            }
        }
        if let Some(looked) = missing {
            self.bad.push((LadderReason::InsideRouteMissing, self.missing(prefix, looked, around)));
        }
    }

    fn missing(&self, prefix: Prefix, looked: &Looked, around: &Around) -> Said {
        let note = match &around.class {
            Some(class) if class.prefix.overlap(prefix) == Some(prefix) => Note::ClassRouteMissing,
            Some(class) if class.ways.iter().all(|it| it.way.as_ref().is_ok_and(|way| self.through(way))) => {
                Note::ClassRouteOnly
            }
            _ => Note::InsideRouteMissing,
        };
        let class = around.class.as_ref().map_or_else(String::new, |class| class.prefix.to_string());
        Said::new(note)
            .with("prefix", prefix.to_string())
            .with("tunnel", &self.tunnel.name)
            .with("class", class)
            .with("address", looked.to.to_string())
            .with("way", told(&looked.way))
    }

    /// The way of the rest of the world; tells it, if it is as declared.
    fn internet(&mut self, intent: Option<Tunnel>, around: &Around) -> Option<Said> {
        let family = |v6: bool| around.internet.iter().filter(move |looked| looked.to.is_ipv6() == v6);
        let reached = |v6| family(v6).any(|looked| looked.way.is_ok());
        let into = |looked: &Looked| looked.way.as_ref().is_ok_and(|way| self.through(way));
        let say = |note, looked: &Looked| {
            Said::new(note).with("tunnel", &self.tunnel.name).with("way", told(&looked.way))
        };
        let first = family(false).find(|_| reached(false)).or_else(|| family(true).find(|_| reached(true)));
        match intent {
            Some(Tunnel::Full) => {
                // IPv4 decides, wherever there is any.
                let deciding = !reached(false) && reached(true);
                if let Some(around) = family(deciding).find(|looked| !into(looked)) {
                    let said = say(Note::DefaultNotViaTunnel, around);
                    self.bad.insert(0, (LadderReason::DefaultRouteNotViaTunnel, said));
                    return None;
                }
                if let Some(around) = family(!deciding).find(|looked| looked.way.is_ok() && !into(looked)) {
                    let said = say(Note::Ipv6Around, around);
                    self.remarks.push((LadderReason::DefaultRouteNotViaTunnel, said));
                }
                first.map(|looked| say(Note::InternetFull, looked))
            }
            Some(Tunnel::Split) => {
                if let Some(swallowed) = around.internet.iter().find(|looked| into(looked)) {
                    let said = say(Note::DefaultViaTunnel, swallowed);
                    self.bad.push((LadderReason::DefaultRouteViaTunnel, said));
                    return None;
                }
                first.map(|looked| say(Note::InternetSplit, looked))
            }
            None => first.map(|looked| say(Note::InternetWay, looked)),
        }
    }

    fn judge(self, declared: &Inside, around: &Around, world: Option<Said>) -> Judged {
        let Self { tunnel, bad, remarks, untold } = self;
        let status = match (bad.is_empty(), untold) {
            (false, _) => Status::Failed,
            (true, true) => Status::Unknown,
            (true, false) => Status::Ok,
        };
        let mut said: Vec<Said> = Vec::new();
        if untold {
            said.push(Said::new(Note::WaysUntold));
        }
        if status == Status::Ok && !declared.prefixes.is_empty() {
            let list: Vec<String> = around.inside.iter().map(|inside| inside.prefix.to_string()).collect();
            let routed = Said::new(Note::InsideRoutesOk).with("prefixes", list.join(", "));
            said.push(routed.with("tunnel", &tunnel.name));
        }
        let reason = bad.first().or_else(|| remarks.first()).map(|(reason, _)| *reason);
        let all = bad.into_iter().chain(remarks).map(|(_, it)| it).chain(world);
        all.for_each(|it| {
            if !said.contains(&it) {
                said.push(it);
            }
        });
        let first = Said::new(Note::WaysUntold);
        let mut judged = Judged::new(status, first);
        if !said.is_empty() {
            judged.said = said;
        }
        judged.reason = reason.map(Into::into);
        judged
    }
}

/// A way in a few words that need no translation: `eth0 via 192.0.2.1`.
fn told(way: &Result<Way, NoWay>) -> String {
    match way {
        Ok(Way { link, gateway: Some(router), .. }) => format!("{link} via {router}"),
        Ok(Way { link, gateway: None, .. }) => link.clone(),
        Err(why) => why.as_str().to_owned(),
    }
}

/// What the step `route` says beyond that there is a way: a member whose way goes into its own tunnel.
/// `meant`: the target's probes are to leave through the tunnel.
pub fn own_tunnel(survey: &Survey, meant: bool) -> Option<Judged> {
    // A link of another network namespace is another one, whatever its name.
    let ways = survey.ways.as_ref().filter(|ways| !meant && ways.around.namespace.is_none())?;
    let tunnel = ways.around.tunnel_link()?;
    let inside: Vec<IpAddr> = ways
        .members
        .iter()
        .filter(|looked| looked.way.as_ref().is_ok_and(|way| !way.local && way.link == tunnel.name))
        .map(|looked| looked.to)
        .collect();
    let first = inside.first()?;
    let mut seen = survey.observed.iter().filter(|seen| inside.contains(&seen.address));
    let say = |note| Said::new(note).with("address", first.to_string()).with("tunnel", &tunnel.name);
    let answered = seen.clone().any(alive);
    let evident = seen.any(|seen| !matches!(seen.report.outcome, Outcome::Unsent(_)));
    let judged = if evident && !answered {
        Judged::new(Status::Failed, say(Note::OwnTunnel))
    } else {
        Judged::new(Status::Ok, say(Note::ThroughTunnel))
    };
    Some(judged.because(LadderReason::DefaultRouteViaTunnel))
}

#[cfg(test)]
pub(super) mod tests;
