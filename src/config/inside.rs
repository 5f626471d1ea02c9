//! The block `inside` of a target: what is behind its tunnel, and what should go into it.
//!
//! Invariant: nothing is guessed. Without a named tunnel no way is judged, and what is not listed is not
//! probed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::check::Check;
use super::problem::{KeyPath, suggestion};
use super::{Egress, Tunnel, raw};
use crate::probe::certificate::Roots;
use crate::probe::dns::View;
use crate::probe::{Kind, Settings, Spec};
use crate::route::Prefix;

/// How often the daemon asks the resolvers and hosts if nothing is said.
const INTERVAL: Duration = Duration::from_secs(60);
/// The bounds of that.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// The most inside networks of a target.
const MOST: usize = 64;
/// The most resolvers, names, hosts of it.
const FEW: usize = 8;

/// What is behind a target's tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// The way out that is the tunnel, by name.
    pub egress: Option<String>,
    /// The tunnel's interface: that of its way out.
    pub interface: Option<String>,
    /// What should go through it, as declared.
    pub tunnel: Option<Tunnel>,
    /// Its networks.
    pub prefixes: Vec<Prefix>,
    /// Its resolvers.
    pub dns: Vec<IpAddr>,
    /// The names they must know.
    pub names: Vec<String>,
    /// Its hosts that must answer.
    pub hosts: Vec<Host>,
    /// How often the daemon asks the resolvers and hosts.
    pub interval: Duration,
}

/// A host inside, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As it is written: the name of its probe.
    pub written: String,
    /// Where it is.
    pub address: IpAddr,
    /// `icmp`, `tcp`, `rdp` or `http`.
    pub kind: Kind,
    /// Its port; 0 for ICMP.
    pub port: u16,
    /// With `http`: whether inside TLS.
    pub tls: bool,
}

impl Host {
    /// Reads `rdp://10.20.0.10`, `tcp://10.20.0.10:445`, `https://[2001:db8::1]:8443`.
    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (name, usual, tls) = match scheme {
            "icmp" => ("icmp", 0, false),
            "tcp" => ("tcp", 0, false),
            "rdp" => ("rdp", 3389, false),
            "http" => ("http", 80, false),
            "https" => ("http", 443, true),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (address, port) = match rest.parse::<SocketAddr>() {
            Ok(both) if name != "icmp" && both.port() != 0 => (both.ip(), both.port()),
            Ok(_) => return None,
            Err(_) => (rest.trim_start_matches('[').trim_end_matches(']').parse().ok()?, usual),
        };
        let complete = port != 0 || name == "icmp";
        let kind = Kind::named(name).filter(|_| complete)?;
        Some(Self { written: text.to_owned(), address, kind, port, tls })
    }
}

impl Default for Inside {
    fn default() -> Self {
        Self {
            egress: None,
            interface: None,
            tunnel: None,
            prefixes: Vec::new(),
            dns: Vec::new(),
            names: Vec::new(),
            hosts: Vec::new(),
            interval: INTERVAL,
        }
    }
}

impl Inside {
    /// Whether a resolver is asked for a name.
    #[must_use]
    pub fn asks_names(&self) -> bool {
        !self.dns.is_empty() && !self.names.is_empty()
    }

    /// What is asked inside: each resolver for each name, then the hosts. The certificates of hosts are
    /// not judged: as a rule they are from a private authority.
    #[must_use]
    pub fn probes(&self, timeout: Duration) -> Vec<(IpAddr, Spec)> {
        let spec = |name: String, kind: Kind, port, settings| Spec {
            name,
            kind,
            port,
            interval: kind.interval,
            timeout,
            full_interval: kind.interval,
            host: None,
            settings: Arc::new(settings),
        };
        let mut probes = Vec::new();
        for (server, name) in self.dns.iter().flat_map(|it| self.names.iter().map(move |name| (it, name))) {
            let Some(kind) = Kind::named("dns") else { continue };
            let mut settings = Settings::default();
            settings.dns.name = Some(name.clone());
            settings.dns.view = View::Inside;
            probes.push((*server, spec(format!("dns://{server}/{name}"), kind, kind.port, settings)));
        }
        for host in &self.hosts {
            let mut settings = Settings::default();
            settings.http.tls = host.tls;
            settings.http.roots = Roots::None;
            // That something answers is enough: a page that wants a login is no fault.
            settings.http.status = (200..500).collect();
            settings.http.follow = false;
            probes.push((host.address, spec(host.written.clone(), host.kind, host.port, settings)));
        }
        probes
    }
}

/// What `inside` says, and the same as it is shown.
pub(super) fn inside(
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
    let tunnel = file.tunnel;
    let prefixes = prefixes(file.prefixes.as_deref().unwrap_or_default(), check, &path.key("prefixes"));
    let dns = dns(file.dns.as_deref().unwrap_or_default(), check, &path.key("dns"));
    let names = names(file.names.as_deref().unwrap_or_default(), check, &path.key("names"));
    if !names.is_empty() && dns.is_empty() && !check.broken_below(&path.key("dns")) {
        check.wrong_key(
            &path.key("names"),
            "are asked of the resolvers inside, and none is named",
            "add \"dns\", for example dns: [10.20.0.53]",
        );
    }
    let hosts = hosts(file.hosts.as_deref().unwrap_or_default(), check, &path.key("hosts"));
    let written = file.interval.as_ref();
    let interval = check.duration(&path.key("interval"), written, INTERVALS).unwrap_or(INTERVAL);
    if *file == raw::Inside::default() && !check.broken_below(&path) {
        check.wrong_key(
            &path,
            "says nothing",
            "list the networks behind the tunnel: prefixes: [10.20.0.0/16]",
        );
    }
    (
        Some(Inside {
            egress: file.egress.clone(),
            interface,
            tunnel,
            prefixes,
            dns,
            names,
            hosts,
            interval,
        }),
        Some(raw::Inside { interval: Some(interval.into()), ..file.clone() }),
    )
}

fn dns(written: &[String], check: &mut Check<'_>, path: &KeyPath) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for (index, text) in written.iter().enumerate() {
        match text.parse() {
            Ok(address) => all.push(address),
            Err(_) => {
                check.wrong(&path.item(index), "must be the address of a resolver", "for example 10.20.0.53")
            }
        }
    }
    few(written, check, path);
    all
}

fn names(written: &[String], check: &mut Check<'_>, path: &KeyPath) -> Vec<String> {
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    for (index, text) in written.iter().enumerate() {
        if text.len() > 253 || !text.strip_suffix('.').unwrap_or(text).split('.').all(good) {
            check.wrong(&path.item(index), "must be a name", "for example intranet.example.com");
        }
    }
    few(written, check, path);
    written.to_vec()
}

fn hosts(written: &[String], check: &mut Check<'_>, path: &KeyPath) -> Vec<Host> {
    let mut all = Vec::new();
    for (index, text) in written.iter().enumerate() {
        match Host::read(text) {
            Some(host) => all.push(host),
            None => check.wrong(
                &path.item(index),
                "must be icmp, tcp, rdp, http or https, \"://\", and an address (tcp with its port)",
                "for example rdp://10.20.0.10 or tcp://10.20.0.20:445; a name is judged below \"names\"",
            ),
        }
    }
    few(written, check, path);
    all
}

/// Each entry is asked in every check.
fn few(written: &[String], check: &mut Check<'_>, path: &KeyPath) {
    if written.len() > FEW {
        check.wrong_key(path, format!("more than {FEW} entries"), "keep those that tell most");
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
