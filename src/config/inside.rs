//! The block `inside` of a target: what is behind its tunnel, and what should go into it.
//!
//! Invariant: nothing is guessed. Without a named tunnel no way is judged, and what is not listed is not
//! probed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::check::Check;
use super::problem::{KeyPath, suggestion};
use super::{Egress, Tunnel, raw};
use crate::route::Prefix;
use crate::words;

/// The most inside networks of a target.
const MOST: usize = 64;

/// What is behind a target's tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inside {
    /// The way out that is the tunnel, by name.
    pub egress: Option<String>,
    /// The tunnel's interface: that of its way out.
    pub interface: Option<String>,
    /// What should go through it, as declared.
    pub tunnel: Option<Tunnel>,
    /// Its networks.
    pub prefixes: Vec<Prefix>,
    /// The targets that its resolvers became, by name.
    pub resolvers: Vec<String>,
    /// The targets that its hosts became, by name.
    pub hosts: Vec<String>,
    /// The addresses among both.
    pub addresses: Vec<IpAddr>,
}

words! {
    /// What something behind a tunnel is there for.
    pub enum Role {
        /// It resolves names.
        Resolver = "resolver",
        /// It is to be reached.
        Host = "host",
    }
}

impl Inside {
    /// The targets that are behind it, by name, with what each is there for.
    pub fn behind(&self) -> impl Iterator<Item = (Role, &String)> {
        let resolvers = self.resolvers.iter().map(|name| (Role::Resolver, name));
        resolvers.chain(self.hosts.iter().map(|name| (Role::Host, name)))
    }
}

/// What `inside` says, and the same as it is shown.
pub(super) fn inside(
    target: &str,
    file: Option<&raw::Inside>,
    egress: &BTreeMap<String, Egress>,
    check: &mut Check<'_>,
    path: &KeyPath,
) -> (Option<Inside>, Option<raw::Inside>) {
    let Some(file) = file else { return (None, None) };
    let path = path.key("inside");
    let path_of = path.key("egress");
    let mut interface = None;
    match file.egress.as_ref().map(|name| (name, egress.get(name))) {
        Some((_, None)) => {
            let written = file.egress.as_deref().unwrap_or_default();
            let hint = suggestion(written, egress.keys().map(String::as_str));
            check.wrong(&path_of, "no such egress", &hint);
        }
        Some((name, Some(way))) => {
            interface.clone_from(&way.interface);
            if way.interface.is_none() || way.namespace.is_some() {
                check.wrong(
                    &path_of,
                    "must be an egress with an interface, in this network namespace",
                    &format!("the tunnel's own, for example egress: {{{name}: {{interface: tun0}}}}"),
                );
            }
        }
        None => {
            if file.tunnel.is_some() && !check.left_out(&path_of) {
                check.wrong(
                    &path.key("tunnel"),
                    "says what goes through a tunnel, and no tunnel is named",
                    "add \"egress\", the name of the tunnel's way out",
                );
            }
        }
    }
    let tunnel = file.tunnel.map(|tunnel| match tunnel {
        raw::Tunnel::Full => Tunnel::Full,
        raw::Tunnel::Split => Tunnel::Split,
    });
    let prefixes = prefixes(file.prefixes.as_deref().unwrap_or_default(), check, &path.key("prefixes"));
    if *file == raw::Inside::default() && !check.broken_below(&path) {
        check.wrong_key(
            &path,
            "says nothing",
            "list the networks behind the tunnel: prefixes: [10.20.0.0/16]",
        );
    }
    let mut inside = Inside { egress: file.egress.clone(), interface, tunnel, prefixes, ..Inside::default() };
    for written in file.dns.iter().flatten() {
        inside.resolvers.push(named(target, "dns", written));
        inside.addresses.extend(written.parse::<IpAddr>());
    }
    for host in file.hosts.iter().flatten().filter_map(|written| Host::read(written).ok()) {
        let name = named(target, "host", host.address);
        if !inside.hosts.contains(&name) {
            inside.hosts.push(name);
            inside.addresses.extend(host.address.parse::<IpAddr>());
        }
    }
    (Some(inside), Some(file.clone()))
}

/// The name of the target that a resolver or a host of `target` becomes.
fn named(target: &str, role: &str, address: &str) -> String {
    format!("{target}.{role}.{}", address.replace(':', "-"))
}

/// The targets that resolvers and hosts inside stand for: name, what is meant, and where it is written. A
/// target of the same name that is written by hand wins.
pub(super) fn targets(file: &raw::File, check: &mut Check<'_>) -> Vec<(String, raw::Target, KeyPath)> {
    let mut all: Vec<(String, raw::Target, KeyPath)> = Vec::new();
    for (name, target) in &file.targets {
        let Some(inside) = &target.inside else { continue };
        let path = KeyPath::default().key("targets").key(name).key("inside");
        let through = inside.egress.clone().map(|egress| vec![egress]);
        let resolvers = inside.dns.as_deref().unwrap_or_default();
        let hosts = inside.hosts.as_deref().unwrap_or_default();
        let listed = if resolvers.is_empty() { "hosts" } else { "dns" };
        if through.is_none()
            && !(resolvers.is_empty() && hosts.is_empty())
            && !check.left_out(&path.key("egress"))
        {
            check.wrong_key(
                &path.key(listed),
                "is asked through the tunnel, and no tunnel is named",
                "add \"egress\", the name of the tunnel's way out",
            );
            continue;
        }
        let new = |address: &str, probes| raw::Target {
            address: Some(raw::OneOrMany::One(address.to_owned())),
            max_members: Some(1),
            egress: through.clone(),
            probes: Some(probes),
            ..raw::Target::default()
        };
        let path_of = path.key("dns");
        check.doubled(&path_of, resolvers);
        for (index, written) in resolvers.iter().enumerate() {
            if written.parse::<IpAddr>().is_err() {
                check.wrong(
                    &path_of.item(index),
                    "must be an IP address",
                    "a resolver is asked by its address",
                );
                continue;
            }
            if resolvers.iter().take(index).any(|earlier| earlier == written) {
                continue; // told already
            }
            let probes = questions(inside.names.as_deref().unwrap_or_default());
            all.push((named(name, "dns", written), new(written, probes), path_of.item(index)));
        }
        if resolvers.is_empty() && inside.names.is_some() && !check.broken_below(&path_of) {
            check.wrong(
                &path.key("names"),
                "are names, and no resolver is to be asked for them",
                "add \"dns\"",
            );
        }
        let path_of = path.key("hosts");
        check.doubled(&path_of, hosts);
        for (index, written) in hosts.iter().enumerate() {
            let path = path_of.item(index);
            match Host::read(written) {
                Err(hint) => check.wrong(&path, "must be a host inside", hint),
                Ok(host) => {
                    let (probe, what) = host.probe();
                    let name = named(name, "host", host.address);
                    match all.iter_mut().find(|(other, ..)| *other == name) {
                        Some((_, known, _)) => {
                            known.probes.get_or_insert_default().insert(probe, what);
                        }
                        None => {
                            let target = new(host.address, BTreeMap::from([(probe, what)]));
                            all.push((name, target, path));
                        }
                    }
                }
            }
        }
    }
    all.retain(|(name, ..)| !file.targets.contains_key(name));
    all
}

/// A question for each name; without any, whether the resolver resolves at all.
fn questions(names: &[String]) -> BTreeMap<String, raw::Probe> {
    let ask = |name: &String| raw::Probe {
        kind: Some("dns".to_owned()),
        blocks: raw::Blocks {
            dns: Some(raw::Dns {
                name: Some(name.clone()),
                view: Some(raw::DnsView::Inside),
                ..raw::Dns::default()
            }),
            ..raw::Blocks::default()
        },
        ..raw::Probe::default()
    };
    if names.is_empty() {
        return BTreeMap::from([("dns".to_owned(), raw::Probe::default())]);
    }
    names.iter().map(|name| (name.trim_end_matches('.').to_owned(), ask(name))).collect()
}

/// A host inside, as written: `[KIND://]HOST[:PORT][/PATH]`.
struct Host<'a> {
    kind: &'a str,
    address: &'a str,
    port: Option<u16>,
    path: Option<&'a str>,
}

impl<'a> Host<'a> {
    /// Reads one; else a hint for its writer.
    fn read(text: &'a str) -> Result<Self, &'static str> {
        const WRITE: &str = "write HOST, rdp://HOST, https://HOST/PATH, http://HOST or tcp://HOST:PORT";
        let (kind, rest) = text.split_once("://").unwrap_or(("icmp", text));
        let (place, path) = rest.find('/').map_or((rest, None), |at| {
            let (place, path) = rest.split_at(at);
            (place, Some(path))
        });
        let (address, port) = if place.parse::<IpAddr>().is_ok() {
            (place, None)
        } else if let Some((address, port)) = place.strip_prefix('[').and_then(|it| it.split_once(']')) {
            (address, port.strip_prefix(':'))
        } else {
            place.rsplit_once(':').map_or((place, None), |(address, port)| (address, Some(port)))
        };
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return Err("a port is a number from 1 to 65535"),
        };
        if address.is_empty() || !matches!(kind, "icmp" | "tcp" | "rdp" | "http" | "https") {
            return Err(WRITE);
        }
        match (kind, port, path) {
            ("tcp", None, _) => Err("a TCP port has no default here: write tcp://HOST:PORT"),
            ("icmp", Some(_), _) => Err("a port takes its protocol: write tcp://HOST:PORT or rdp://HOST"),
            ("icmp" | "tcp" | "rdp", _, Some(path)) if path != "/" => Err("only a page has a path"),
            _ => Ok(Self { kind, address, port, path }),
        }
    }

    /// The name of its probe, and the probe.
    fn probe(&self) -> (String, raw::Probe) {
        let web = matches!(self.kind, "http" | "https");
        let http = web.then(|| raw::Http {
            scheme: Some(if self.kind == "http" { raw::Scheme::Http } else { raw::Scheme::Https }),
            path: self.path.map(str::to_owned),
            ..raw::Http::default()
        });
        let probe = raw::Probe {
            kind: Some(if web { "http" } else { self.kind }.to_owned()),
            port: self.port,
            blocks: raw::Blocks { http, ..raw::Blocks::default() },
            ..raw::Probe::default()
        };
        let name = match self.port {
            Some(port) => format!("{}_{port}", self.kind),
            None => self.kind.to_owned(),
        };
        (name, probe)
    }
}

fn prefixes(written: &[String], check: &mut Check<'_>, path: &KeyPath) -> Vec<Prefix> {
    let mut all: Vec<Prefix> = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let path = path.item(index);
        match text.parse::<Prefix>() {
            Ok(prefix) if prefix.length() == 0 => {
                check.wrong(&path, "is everything, not a network inside", "write tunnel: full instead");
            }
            Ok(prefix) if all.contains(&prefix) => check.wrong(&path, "is there twice", "remove one"),
            Ok(prefix) => all.push(prefix),
            Err(hint) => check.wrong(&path, "must be a network", &hint),
        }
    }
    if written.len() > MOST {
        check.wrong_key(path, format!("more than {MOST} networks"), "join neighbours into larger ones");
    }
    all
}
