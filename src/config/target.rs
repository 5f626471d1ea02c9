//! Targets and their probes: what a VPN stands for, what overrides it, and the address rules.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, Defaults, FULL_INTERVAL, INTERVAL, TIMEOUT};
use super::problem::{KeyPath, near, one_of, suggestion};
use super::settings::{self, Written};
use super::{Address, Egress, Family, Target, Vpn, capacity, dpd, inside, pace, raw, session};
use crate::budget::Limits;
use crate::probe::{Kind, Settings, Spec, trace};

/// The most addresses a target may have.
pub(super) const MAX_MEMBERS: u8 = 8;
/// The most probes of a target: each is a set of series.
const MAX_PROBES: usize = 64;

/// What is settled outside the targets.
pub(super) struct Around<'a> {
    pub defaults: &'a Defaults,
    pub budget: &'a Limits,
    pub egress: &'a BTreeMap<String, Egress>,
    pub profiles: &'a dpd::Profiles,
    settings: Shared<Settings>,
    specs: Shared<Spec>,
    ways_out: Shared<Vec<String>>,
}

/// What was made so far, as much as may well come again: ten thousand targets share a few.
struct Shared<T>(RefCell<Vec<Arc<T>>>);

impl<T: PartialEq> Shared<T> {
    const MOST: usize = 32;

    /// The same, shared with whoever has the same.
    fn share(&self, value: T) -> Arc<T> {
        let mut known = self.0.borrow_mut();
        if let Some(same) = known.iter().find(|known| ***known == value) {
            return Arc::clone(same);
        }
        let new = Arc::new(value);
        if known.len() < Self::MOST {
            known.push(Arc::clone(&new));
        }
        new
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<'a> Around<'a> {
    pub fn new(
        defaults: &'a Defaults,
        budget: &'a Limits,
        egress: &'a BTreeMap<String, Egress>,
        profiles: &'a dpd::Profiles,
    ) -> Self {
        let (settings, specs, ways_out) = (Shared::default(), Shared::default(), Shared::default());
        Self { defaults, budget, egress, profiles, settings, specs, ways_out }
    }
}

/// The texts of a value that may be one or many, with their paths.
pub(super) fn items<'a>(value: Option<&'a raw::OneOrMany>, path: &KeyPath) -> Vec<(KeyPath, &'a str)> {
    match value {
        None => Vec::new(),
        Some(raw::OneOrMany::One(text)) => vec![(path.clone(), text)],
        Some(raw::OneOrMany::Many(texts)) => {
            texts.iter().enumerate().map(|(index, text)| (path.item(index), text.as_str())).collect()
        }
    }
}

/// One target, and the same with every default filled in.
pub(super) fn target(
    name: &str,
    file: &raw::Target,
    around: &Around<'_>,
    check: &mut Check<'_>,
    path: &KeyPath,
) -> (Target, raw::Target) {
    let family = file.family.unwrap_or(Family::Any);
    let max_members = file.max_members.unwrap_or(MAX_MEMBERS);
    let mut addresses = addresses(file, family, max_members, check, path);
    addresses.shrink_to_fit();
    let vpn = vpn(file, check, path);
    let egress = egress(file, around, check, path);
    let host = addresses.iter().find_map(|address| match address {
        Address::Name(name) => Some(name.clone()),
        Address::Ip(_) => None,
    });
    let (specs, mut shown) = probes(file, &vpn, host.as_deref(), around, check, path);
    pace::judge(&specs, &egress, around.budget, check, path);
    shown.address = Some(raw::OneOrMany::Many(addresses.iter().map(ToString::to_string).collect()));
    shown.family = Some(family);
    shown.max_members = Some(max_members);
    shown.vpn.clone_from(&file.vpn);
    shown.egress = Some(egress.clone());
    let (session, shown_session) = session::session(file.session.as_deref(), check, path);
    shown.session = shown_session.map(Box::new);
    let probes: Box<[Arc<Spec>]> = specs.into_iter().map(|(spec, _)| around.specs.share(spec)).collect();
    let egress = around.ways_out.share(egress);
    let dpd = around.profiles.of_target(file.dpd.as_ref(), &probes, check, &path.key("dpd"));
    shown.dpd.clone_from(&file.dpd);
    let (capacity, shown_capacity) = capacity::capacity(file.capacity.as_deref(), &vpn, check, path);
    shown.capacity = shown_capacity.map(Box::new);
    let (inside, shown_inside) = inside::inside(file.inside.as_deref(), around.egress, check, path);
    shown.inside = shown_inside.map(Box::new);
    let (inside, capacity) = (inside.map(Box::new), capacity.map(Box::new));
    let name = name.to_owned();
    let target =
        Target { name, addresses, family, max_members, vpn, egress, probes, inside, session, capacity, dpd };
    (target, shown)
}

fn addresses(
    file: &raw::Target,
    family: Family,
    max_members: u8,
    check: &mut Check<'_>,
    path: &KeyPath,
) -> Vec<Address> {
    let path_of = path.key("address");
    let written = items(file.address.as_ref(), &path_of);
    let mut addresses = Vec::new();
    for (path, text) in &written {
        match address(text) {
            Ok(Address::Ip(ip))
                if (family == Family::Ipv4 && ip.is_ipv6()) || (family == Family::Ipv6 && ip.is_ipv4()) =>
            {
                check.wrong(
                    path,
                    format!("is no {family} address"),
                    "change \"family\", or remove the address",
                );
            }
            Ok(address) if addresses.contains(&address) => check.wrong(path, "is there twice", "remove one"),
            Ok(address) => addresses.push(address),
            Err((rule, hint)) => check.wrong(path, rule, hint),
        }
    }
    if written.is_empty() && !check.left_out(&path_of) {
        check.wrong_key(
            path,
            "\"address\" is missing",
            "add the concentrator's name or address, for example address: vpn.example.com",
        );
    }
    if written.len() > usize::from(max_members) {
        check.wrong_key(
            &path_of,
            format!("has {} entries, but max_members is {max_members}", written.len()),
            if max_members < MAX_MEMBERS { "raise max_members" } else { "make two targets of it" },
        );
    }
    addresses
}

/// Reads a name or an address; else the rule that is broken, and a hint.
fn address(text: &str) -> Result<Address, (&'static str, &'static str)> {
    const RULE: &str = "must be a host name or an IP address";
    if let Ok(ip) = text.parse::<IpAddr>() {
        let several = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]);
        return if several { Err(("must be the address of one host", "")) } else { Ok(Address::Ip(ip)) };
    }
    let hint = if text.is_empty() {
        "it is empty"
    } else if text.contains("://") {
        "write the host alone, without \"https://\""
    } else if text.contains('/') {
        "a network or a path is no host"
    } else if text.contains('%') {
        "an address with a zone is not supported"
    } else if text.starts_with('[') && text.ends_with(']') {
        "write the address without brackets"
    } else if text.contains('[')
        || text.parse::<std::net::SocketAddr>().is_ok()
        || text.matches(':').count() == 1
    {
        "write the host alone; a port belongs to a probe, for example probes: {tls: {port: 10443}}"
    } else if !text.is_ascii() {
        "write an international name in its xn-- form"
    } else if text.contains(char::is_whitespace) {
        "write several as a list: [a, b]"
    } else {
        ""
    };
    let labels = || text.strip_suffix('.').unwrap_or(text).split('.');
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let named = text.len() <= 253
        && labels().all(|label| (1..=63).contains(&label.len()) && label.chars().all(good))
        && !labels().next_back().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    if named && hint.is_empty() { Ok(Address::Name(text.to_owned())) } else { Err((RULE, hint)) }
}

fn vpn(file: &raw::Target, check: &mut Check<'_>, path: &KeyPath) -> Vec<Vpn> {
    let written = file.vpn.as_deref().unwrap_or_default();
    check.doubled(&path.key("vpn"), written);
    written.to_vec()
}

fn egress(file: &raw::Target, around: &Around<'_>, check: &mut Check<'_>, path: &KeyPath) -> Vec<String> {
    let Some(names) = &file.egress else { return vec!["default".to_owned()] };
    let path = path.key("egress");
    if names.is_empty() && !check.broken_below(&path) {
        check.wrong_key(&path, "must name at least one way out", "for example [default]");
    }
    check.doubled(&path, names);
    for (index, name) in names.iter().enumerate() {
        if !around.egress.contains_key(name) {
            let known = around.egress.keys().map(String::as_str);
            let hint = match near(name, known.clone()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!(
                    "declare it below \"egress:\" at the top level, or write {}",
                    one_of(&known.collect::<Vec<_>>())
                ),
            };
            check.wrong(&path.item(index), "no such egress", &hint);
        }
    }
    names.clone()
}

/// The probes that a VPN stands for.
const fn implied(vpn: Vpn) -> &'static [&'static str] {
    match vpn {
        Vpn::Ipsec => &["ike", "ike_natt"],
        // L2TP/IPsec (RFC 3193) is IKEv1 in practice: a box that speaks only that is silent to IKEv2.
        Vpn::L2tpIpsec => &["ikev1", "ikev1_natt", "l2tp"],
        Vpn::SslVpn => &["tls"],
        Vpn::Openvpn => &["openvpn_udp", "openvpn_tcp"],
        Vpn::Wireguard => &["wireguard"],
    }
}

/// The probes with the paths of their entries, and the target as it is shown.
fn probes(
    file: &raw::Target,
    vpn: &[Vpn],
    host: Option<&str>,
    around: &Around<'_>,
    check: &mut Check<'_>,
    path: &KeyPath,
) -> (Vec<(Spec, KeyPath)>, raw::Target) {
    let nothing = BTreeMap::new();
    let entries = file.probes.as_ref().unwrap_or(&nothing);
    let path_of = path.key("probes");
    let mut names: Vec<&str> = vpn.iter().flat_map(|vpn| implied(*vpn)).copied().collect();
    // One more handshake a minute, so only for who says what it must be.
    if vpn.contains(&Vpn::SslVpn) && file.blocks.sslvpn.is_some() {
        names.push("sslvpn");
    }
    if !vpn.is_empty() || entries.is_empty() {
        names.extend(["icmp", "trace"]);
    }
    names.extend(entries.keys().map(String::as_str));
    let none = Box::default();
    let (mut specs, mut shown) = (Vec::new(), BTreeMap::new());
    for name in names {
        if shown.contains_key(name) {
            continue;
        }
        let entry = entries.get(name).unwrap_or(&none);
        let path = path_of.key(name);
        check.label(&path, name);
        let Some(kind) = kind(name, entry, check, &path) else {
            continue;
        };
        let written = Written {
            target: &file.blocks,
            target_path: path_around(&path),
            probe: &entry.blocks,
            probe_path: path.clone(),
            behind_ipsec: vpn.contains(&Vpn::L2tpIpsec),
        };
        settings::foreign_blocks(&written, kind, check);
        let (spec, effective) = probe(name, kind, entry, host, around, &written, check);
        if effective.enabled != Some(false) {
            specs.push((spec, path));
        }
        shown.insert(name.to_owned(), Box::new(effective));
    }
    if specs.len() > MAX_PROBES {
        check.wrong_key(&path_of, format!("more than {MAX_PROBES} probes"), "make two targets of it");
    }
    if specs.is_empty() && check.problems.is_empty() {
        check.wrong_key(path, "has no probe left", "enable one, or remove the target");
    }
    settings::unused_blocks(&file.blocks, &specs, check, path);
    follow(&mut specs, &mut shown, file, !vpn.is_empty(), check);
    specs.sort_by_key(|(spec, _)| (Kind::all().position(|kind| kind == spec.kind), spec.name.clone()));
    (specs, raw::Target { probes: Some(shown), ..raw::Target::default() })
}

/// Gives each trace the probe whose flow it follows.
fn follow(
    specs: &mut [(Spec, KeyPath)],
    shown: &mut BTreeMap<String, Box<raw::Probe>>,
    file: &raw::Target,
    declared: bool,
    check: &mut Check<'_>,
) {
    let others: Vec<Spec> = specs.iter().map(|(spec, _)| spec.clone()).collect();
    let kinds: Vec<Kind> = trace::carriers().collect();
    let rank = |spec: &Spec| kinds.iter().position(|kind| *kind == spec.kind);
    for (spec, path) in specs.iter_mut().filter(|(spec, _)| spec.kind.name == trace::INFO.name) {
        let Some(block) = shown.get_mut(&spec.name).and_then(|probe| probe.blocks.trace.as_mut()) else {
            continue;
        };
        let chosen = match block.over.as_deref() {
            Some("icmp") => None,
            Some(name) => {
                let found = others.iter().find(|other| other.name == name && rank(other).is_some());
                if found.is_none() {
                    let own = file.probes.as_ref().and_then(|all| all.get(&spec.name));
                    let own =
                        own.and_then(|probe| probe.blocks.trace.as_ref()).is_some_and(|it| it.over.is_some());
                    let block = if own { path.clone() } else { path_around(path) };
                    let known: Vec<&str> = others
                        .iter()
                        .filter(|other| rank(other).is_some())
                        .map(|it| it.name.as_str())
                        .collect();
                    let known: Vec<&str> = known.into_iter().chain(["icmp"]).collect();
                    let rule = "is no probe of this target whose flow can be followed";
                    check.wrong(
                        &block.key("trace").key("over"),
                        rule,
                        &suggestion(name, known.iter().copied()),
                    );
                }
                found
            }
            None if declared => {
                others.iter().filter(|other| rank(other).is_some()).min_by_key(|other| rank(other))
            }
            None => None,
        };
        block.over = Some(chosen.map_or("icmp", |chosen| chosen.name.as_str()).to_owned());
        Arc::make_mut(&mut spec.settings).trace.over = chosen.map(|chosen| Box::new(chosen.clone()));
    }
}

/// `targets.hq` of `targets.hq.probes.tls`.
fn path_around(path: &KeyPath) -> KeyPath {
    let mut around = path.clone();
    around.0.truncate(path.0.len().saturating_sub(2));
    around
}

fn kind(name: &str, entry: &raw::Probe, check: &mut Check<'_>, path: &KeyPath) -> Option<Kind> {
    let all: Vec<&str> = Kind::all().map(|kind| kind.name).collect();
    let path_of = path.key("kind");
    match &entry.kind {
        Some(written) => {
            let kind = Kind::named(written);
            if kind.is_none() {
                check.wrong(&path_of, "no such kind of probe", &suggestion(written, all.iter().copied()));
            }
            kind
        }
        None if check.left_out(&path_of) => None,
        None => {
            let kind = Kind::named(name);
            if kind.is_none() {
                let hint = match near(name, all.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"? Else add \"kind\""),
                    None => format!("add \"kind\", {}", one_of(&all)),
                };
                check.wrong_key(path, "has no \"kind\", and its name is none", &hint);
            }
            kind
        }
    }
}

fn probe(
    name: &str,
    kind: Kind,
    entry: &raw::Probe,
    host: Option<&str>,
    around: &Around<'_>,
    from: &Written<'_>,
    check: &mut Check<'_>,
) -> (Spec, raw::Probe) {
    let path = &from.probe_path;
    if entry.port.is_some() && kind.port == 0 {
        check.wrong(&path.key("port"), format!("{} has no port", kind.name), "remove it");
    }
    let usual = Duration::from_secs(5);
    // Runs of a trace must not overlap: routers limit their answers, and some quote too little to tell the
    // runs apart.
    let range = if kind.name == trace::INFO.name { (trace::LIMIT, INTERVAL.1) } else { INTERVAL };
    let interval = check
        .duration(&path.key("interval"), entry.interval.as_ref(), range)
        .unwrap_or(if kind.interval == usual { around.defaults.interval } else { kind.interval });
    let timeout = check.duration(&path.key("timeout"), entry.timeout.as_ref(), TIMEOUT);
    let full = check.duration(&path.key("full_interval"), entry.full_interval.as_ref(), FULL_INTERVAL);
    let (settings, blocks) = settings::settings(kind, from, check);
    let usual_port = if kind.name == "http" && !settings.http.tls { 80 } else { kind.port };
    let spec = Spec {
        name: name.to_owned(),
        kind,
        port: entry.port.unwrap_or(usual_port),
        interval,
        timeout: timeout.unwrap_or(around.defaults.timeout),
        full_interval: full.unwrap_or(around.defaults.full_interval),
        host: host.map(str::to_owned),
        settings: around.settings.share(settings),
    };
    let effective = raw::Probe {
        kind: Some(kind.name.to_owned()),
        port: (kind.port != 0).then_some(spec.port),
        interval: Some(spec.interval.into()),
        timeout: Some(spec.timeout.into()),
        full_interval: Some(spec.full_interval.into()),
        enabled: Some(entry.enabled.unwrap_or(true)),
        blocks,
    };
    (spec, effective)
}

impl Check<'_> {
    /// Whether the value at `path` was written and left out because it is wrong.
    pub fn left_out(&self, path: &KeyPath) -> bool {
        self.places.get(path).is_some_and(|spot| spot.wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_or_an_ip_and_nothing_else() {
        for good in [
            "vpn.example.com",
            "vpn.example.com.",
            "localhost",
            "10.0.0.1",
            "2001:db8::1",
            "a_b.example",
            "1.example",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "10.0.0.256",
            "10.0.0.0/8",
            "https://x",
            "x:443",
            "[::1]",
            "::",
            "224.0.0.1",
            "fe80::1%eth0",
            "a..b",
            "a b",
            "ä.example",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
