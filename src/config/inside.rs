//! The block `inside` of a target: what is behind its tunnel, and what should go into it.
//!
//! Invariant: nothing is guessed. Without a named tunnel no way is judged, and what is not listed is not
//! probed.

use std::collections::BTreeMap;

use super::check::Check;
use super::problem::{KeyPath, suggestion};
use super::{Egress, Tunnel, raw};
use crate::route::Prefix;

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
    (Some(Inside { egress: file.egress.clone(), interface, tunnel, prefixes }), Some(file.clone()))
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
