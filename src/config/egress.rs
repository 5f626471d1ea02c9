//! Named ways out of this host, and pairs of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::check::Check;
use super::problem::{KeyPath, suggestion};
use super::{Egress, Pair, raw};

/// The ways out that a file names, and `default`.
pub(super) fn named(
    file: &BTreeMap<String, raw::Egress>,
    check: &mut Check<'_>,
    path: &KeyPath,
) -> BTreeMap<String, Egress> {
    let mut all = BTreeMap::from([("default".to_owned(), Egress::default())]);
    for (name, written) in file {
        let path = path.key(name);
        check.label(&path, name);
        if let Some(interface) = &written.interface {
            let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
            if interface.is_empty() || interface.len() > 15 || interface.contains(bad) {
                check.wrong(
                    &path.key("interface"),
                    "must be the name of an interface, at most 15 characters",
                    "see \"ip link\"",
                );
            }
        }
        let source = written.source.as_ref().and_then(|text| {
            let source: Option<IpAddr> = text.parse().ok();
            if source.is_none_or(|source| source.is_unspecified() || source.is_multicast()) {
                check.wrong(&path.key("source"), "must be an address of this host", "see \"ip address\"");
            }
            source
        });
        if let Some(namespace) = &written.namespace {
            let bad = |c: char| c == '/' || c.is_whitespace() || c.is_control();
            if namespace.is_empty() || namespace.starts_with('.') || namespace.contains(bad) {
                check.wrong(
                    &path.key("namespace"),
                    "must be the name of a network namespace",
                    "see \"ip netns\"",
                );
            }
        }
        let egress = Egress {
            interface: written.interface.clone(),
            source,
            mark: written.mark,
            namespace: written.namespace.clone(),
        };
        if name != "default" && *written == raw::Egress::default() && !check.broken_below(&path) {
            check.wrong_key(
                &path,
                "says no way: it has no interface, source, mark or namespace",
                "give one of them, or use the egress \"default\"",
            );
        }
        all.insert(name.clone(), egress);
    }
    all
}

/// The pairs of them.
pub(super) fn pairs(
    file: &BTreeMap<String, raw::Pair>,
    egress: &BTreeMap<String, Egress>,
    check: &mut Check<'_>,
    path: &KeyPath,
) -> Vec<Pair> {
    let mut all = Vec::new();
    for (name, written) in file {
        let path = path.key(name);
        check.label(&path, name);
        let mut side = |key: &str, written: &Option<String>| {
            let path = path.key(key);
            match written {
                Some(name) if !egress.contains_key(name) => {
                    let hint = suggestion(name, egress.keys().map(String::as_str));
                    check.wrong(&path, "no such egress", &hint);
                }
                None if !check.left_out(&path) => {
                    check.wrong_key(&path, "is missing", "a pair needs two ways out, a and b");
                }
                _ => {}
            }
            written.clone()
        };
        let (a, b) = (side("a", &written.a), side("b", &written.b));
        if a.is_some() && a == b {
            check.wrong(&path.key("b"), "is the same way out as a", "name another one");
        }
        if let (Some(a), Some(b)) = (a, b) {
            all.push(Pair { name: name.clone(), a, b });
        }
    }
    all
}

/// As it is written.
pub(super) fn shown(egress: &Egress) -> raw::Egress {
    raw::Egress {
        interface: egress.interface.clone(),
        source: egress.source.map(|source| source.to_string()),
        mark: egress.mark,
        namespace: egress.namespace.clone(),
    }
}
