//! The walls of a house that is one crate: imports point one way, and each outside crate has its rooms.
//!
//! The source is read as tokens, without comments and literals, and without its own unit tests (they may
//! look anywhere). What a module may import is a closed list: a new module has to be entered here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module and the modules it may import.
const MODULES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    (
        "cli",
        &[
            "app", "demo", "engine", "config", "journal", "replay", "ready", "detect", "diagnose", "net",
            "export", "budget", "probe", "session", "route", "store", "sample", "time", "entropy",
        ],
    ),
    (
        "app",
        &[
            "engine", "config", "schedule", "budget", "probe", "session", "detect", "diagnose", "net",
            "export", "journal", "route", "store", "sample", "time", "entropy",
        ],
    ),
    (
        "engine",
        &[
            "config", "schedule", "budget", "probe", "session", "detect", "diagnose", "net", "export",
            "journal", "route", "store", "sample", "time", "entropy",
        ],
    ),
    ("demo", &["app", "wire", "net", "config", "sample", "time", "entropy"]),
    ("export", &["config", "probe", "session", "detect", "diagnose", "route", "store", "sample", "time"]),
    ("diagnose", &["config", "probe", "session", "detect", "route", "store", "sample", "time"]),
    ("ready", &["config", "detect", "diagnose", "sample", "time"]),
    ("config", &["probe", "session", "budget", "detect", "route", "sample", "time"]),
    ("net", &["config", "probe", "wire", "route", "agenda", "sample", "time", "entropy"]),
    ("probe", &["wire", "sample", "time", "entropy"]),
    ("session", &["wire", "sample", "time", "entropy"]),
    ("store", &["budget", "detect", "sample", "time"]),
    ("replay", &["journal", "detect", "sample", "time"]),
    ("journal", &["detect", "sample", "time"]),
    ("detect", &["sample", "time"]),
    ("budget", &["probe", "sample", "time"]),
    ("schedule", &["agenda", "sample", "time", "entropy"]),
    ("agenda", &["time"]),
    ("sample", &["time"]),
    ("route", &["sample"]),
    ("wire", &[]),
    ("time", &[]),
    ("entropy", &[]),
];

/// Crates, and the modules that may use them. What is not listed may be used anywhere.
const CRATES: &[(&[&str], &[&str])] = &[
    (&["tokio"], &["net", "export", "engine", "app", "cli", "demo"]),
    (&["socket2", "nix", "rustix", "rtnetlink", "futures_util"], &["net"]),
    (&["rustls"], &["net", "probe", "demo", "export"]),
    (&["hyper", "hyper_util", "http_body_util"], &["net", "export"]),
    (&["prometheus", "protobuf"], &["export"]),
    (&["flate2"], &["export", "config"]),
    (
        &["tracing"],
        &["net", "export", "engine", "app", "cli", "demo", "config", "diagnose", "journal", "store"],
    ),
    (&["tracing_subscriber", "clap", "clap_complete", "clap_mangen", "sd_notify"], &["app", "cli"]),
    (&["pnet", "hickory_proto"], &["wire", "probe", "session", "demo", "net"]),
    (&["hickory_resolver"], &["net"]),
    (&["httparse"], &["wire"]),
    (
        &[
            "aes",
            "blake2",
            "chacha20poly1305",
            "aes_gcm",
            "cbc",
            "ctr",
            "hmac",
            "md5",
            "sha1",
            "subtle",
            "x25519_dalek",
            "p256",
            "p384",
            "crypto_bigint",
        ],
        &["wire", "probe", "session", "demo"],
    ),
    (&["sha2"], &["wire", "probe", "session", "store", "demo", "export"]),
    (&["tokio_rustls", "bcrypt"], &["export"]),
    (&["landlock", "seccompiler", "libc"], &["net"]),
    (&["x509_parser"], &["probe"]),
    (&["rcgen"], &["demo"]),
    (&["rand"], &["entropy"]),
    (&["serde_saphyr"], &["config", "cli", "diagnose"]),
    (&["askama"], &["export"]),
];

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for file in files("src", &["rs"]) {
        let relative = file.strip_prefix(root().join("src")).unwrap();
        wrong.extend(violations(relative, &fs::read_to_string(&file).unwrap()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_ignored_or_unsafe() {
    for file in files("src", &["rs"]).into_iter().chain(files("tests", &["rs"])) {
        let tokens = tokens(&fs::read_to_string(&file).unwrap());
        assert!(!tokens.iter().any(|token| token == "unsafe"), "{}: unsafe", file.display());
        let ignored = tokens.windows(3).any(|three| three[..2] == ["#", "["] && three[2] == "ignore");
        assert!(!ignored, "{}: a test that does not run", file.display());
    }
}

/// A path of one machine is wrong on every other.
#[test]
fn no_path_of_a_machine() {
    let homes = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/tmp/", "wt")];
    for file in files("", &["rs", "sh", "toml", "yml", "yaml", "md", "json", "service", "conf"]) {
        // What npm fetched for the dashboards is not ours.
        if file.components().any(|part| part.as_os_str() == "node_modules") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for home in homes {
            assert!(!text.contains(home), "{} has {home}", file.display());
        }
    }
}

/// The checker is worth nothing unless it sees what is planted.
#[test]
fn planted_violations_are_seen() {
    let planted: &[(&str, &str, usize)] = &[
        ("wire/ike.rs", "use crate::sample::Reason;", 1),
        ("wire/ike.rs", "use std::fmt; use super::Error; use pnet::packet::Packet;", 0),
        ("wire/ike/sa.rs", "fn f() { super::super::super::probe::begin() }", 1),
        ("probe/ike.rs", "use crate::{wire::ike, net::clock, config};", 2),
        ("probe/ike.rs", "use crate::{wire::{Error, net}, time};", 0),
        ("probe/ike.rs", "fn f() { tracing::info!(\"x\"); tokio::spawn(g()); }", 2),
        (
            "probe/ike.rs",
            "// use crate::net;\n/* tokio::x /* */ tokio::y */ const S: &str = \"crate::net\";",
            0,
        ),
        (
            "probe/ike.rs",
            "const S: &str = r#\"a \" crate::net\"#; const C: char = '\"'; use crate::net::x;",
            1,
        ),
        ("probe/ike.rs", "#[cfg(test)]\nmod tests { use crate::net::clock; mod x { } }\nuse crate::app;", 1),
        ("probe/ike/tests.rs", "use crate::net::clock;", 0),
        ("detect/loss.rs", "use crate::probe::Spec;", 1),
        ("budget.rs", "use super::net::clock;", 1),
        ("export/http.rs", "use hyper::server; use prometheus::Registry;", 0),
        ("engine/mod.rs", "use prometheus::Registry; pub(in crate::app) fn f() {}", 2),
        ("main.rs", "fn main() { vpnprobe::cli::main() }", 0),
        ("main.rs", "fn main() { vpnprobe::engine::main() }", 1),
        ("novel.rs", "", 1),
    ];
    for (path, source, expected) in planted {
        let found = violations(Path::new(path), source);
        assert_eq!(found.len(), *expected, "{path}: {source}: {found:?}");
    }
}

/// What is wrong with one file of `src`, given by its path in there.
fn violations(path: &Path, source: &str) -> Vec<String> {
    let mut module: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_str().unwrap().into()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    if module.iter().any(|part| part == "tests") {
        return Vec::new();
    }
    let here = module[0].clone();
    let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == here) else {
        return vec![format!("{}: the module {here} has no place in the list", path.display())];
    };
    let tokens = without_tests(&tokens(source));
    let mut wrong = BTreeSet::new();
    for imported in imported_modules(&module, &tokens) {
        let known = MODULES.iter().any(|(name, _)| *name == imported);
        if known && imported != here && here != "lib" && !allowed.contains(&imported.as_str()) {
            wrong.insert(format!("{}: {here} may not import {imported}", path.display()));
        }
    }
    for (crates, rooms) in CRATES {
        for name in crates.iter().filter(|name| uses_crate(&tokens, name)) {
            if !rooms.contains(&here.as_str()) {
                wrong.insert(format!("{}: the crate {name} has no place in {here}", path.display()));
            }
        }
    }
    wrong.into_iter().collect()
}

/// The modules under the crate's root that paths of a file lead to.
fn imported_modules(module: &[String], tokens: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = at == 0 || tokens[at - 1] != "::";
        let mut next = at + 1;
        // How deep below the root the path is that has been read so far.
        let depth = match tokens[at].as_str() {
            "crate" | "vpnprobe" if starts => Some(0),
            "super" if starts => {
                let mut up = 1;
                while tokens.get(next).is_some_and(|t| t == "::")
                    && tokens.get(next + 1).is_some_and(|t| t == "super")
                {
                    up += 1;
                    next += 2;
                }
                module.len().checked_sub(up)
            }
            _ => None,
        };
        if depth == Some(0) && tokens.get(next).is_some_and(|token| token == "::") {
            found.extend(heads(&tokens[next + 1..]));
        }
        at = next;
    }
    found
}

/// The first names of what follows a `::`: one, or those of a group.
fn heads(tokens: &[String]) -> Vec<String> {
    if tokens.first().is_none_or(|token| token != "{") {
        return tokens.first().cloned().into_iter().collect();
    }
    let mut found = Vec::new();
    let mut depth = 0;
    for pair in tokens.windows(2) {
        match pair[0].as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (pair[0] == "{" || pair[0] == ",") {
            found.push(pair[1].clone());
        }
    }
    found
}

/// Whether a path begins with this crate.
fn uses_crate(tokens: &[String], name: &str) -> bool {
    (0..tokens.len()).any(|at| {
        let before = at.checked_sub(1).map_or("", |before| &tokens[before]);
        let after = tokens.get(at + 1).map_or("", String::as_str);
        // `pub mod tls;` declares, `self::tls::x` and `.ctr::<T>()` are somebody else's.
        tokens[at] == name && !["::", "mod", "."].contains(&before) && (after == "::" || before == "use")
    })
}

/// The tokens without `#[cfg(test)] mod … { … }`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        if rest.len() > attribute.len() && rest[..attribute.len()] == attribute {
            let mut depth = 0;
            let end = rest.iter().position(|token| {
                depth += i32::from(token == "{") - i32::from(token == "}");
                depth == 0 && (token == "}" || token == ";")
            });
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        } else {
            kept.push(first.clone());
            rest = &rest[1..];
        }
    }
    kept
}

/// Words, `::` and single signs; comments, strings and characters are left out.
fn tokens(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if c.is_alphanumeric() || c == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(rest[..length].to_owned());
            length
        } else {
            let length = if rest.starts_with("::") { 2 } else { c.len_utf8() };
            if !c.is_whitespace() {
                found.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    found
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string or character literal at the start of the text; a lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            rest.trim_start_matches('#').starts_with('"') && (prefix.ends_with('r') || rest.starts_with('"'))
        })
    });
    if let Some(prefix) = prefix {
        let body = &text[prefix.len()..];
        let hashes = body.len() - body.trim_start_matches('#').len();
        let start = prefix.len() + hashes + 1;
        if prefix.ends_with('r') {
            let end = format!("\"{}", "#".repeat(hashes));
            return text[start..].find(&end).map(|at| start + at + end.len());
        }
        return Some(start + escaped(&text[start..], '"'));
    }
    let body = text.strip_prefix("b'").or_else(|| text.strip_prefix('\''))?;
    let start = text.len() - body.len();
    let mut chars = body.chars();
    let first = chars.next()?;
    (first == '\\' || chars.next() == Some('\'')).then(|| start + escaped(body, '\''))
}

/// The length up to and with the closing quote.
fn escaped(text: &str, quote: char) -> usize {
    let mut skip = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if skip => skip = false,
            '\\' => skip = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files with these extensions under a folder of the project.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", ".git", "corpus", "artifacts"].contains(&name) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extensions.iter().any(|e| extension == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
