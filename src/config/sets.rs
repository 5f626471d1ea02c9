//! Ready-made targets: what every user of a service would have to look up.
//!
//! Invariant: a set only stands for targets that could be written by hand, and `config show` prints them
//! so; a target of the same name that is written by hand wins.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{Check, INTERVAL, TIMEOUT};
use super::problem::{KeyPath, suggestion};
use super::raw;

/// The hosts of Microsoft's sign-in (Microsoft 365 endpoints, id 56). Their page for discovery (OpenID
/// Connect Discovery 1.0, section 4) is public, small, and answered without a redirect.
const MICROSOFT_SIGNIN: [&str; 3] = ["login.microsoftonline.com", "login.microsoft.com", "login.windows.net"];
const DISCOVERY: &str = "/common/v2.0/.well-known/openid-configuration";

const NAMES: [&str; 1] = ["microsoft_signin"];

/// The targets that the file's sets stand for: name, what is meant, and where it is written.
pub(super) fn targets(file: &raw::File, check: &mut Check<'_>) -> Vec<(String, raw::Target, KeyPath)> {
    let mut targets = Vec::new();
    for (name, written) in &file.sets {
        let path = KeyPath::default().key("sets").key(name);
        if !NAMES.contains(&name.as_str()) {
            check.wrong_key(&path, "no such set", &suggestion(name, NAMES));
            continue;
        }
        let interval = check.duration(&path.key("interval"), written.interval.as_ref(), INTERVAL);
        let timeout = check.duration(&path.key("timeout"), written.timeout.as_ref(), TIMEOUT);
        let signin = || raw::Probe {
            interval: Some(interval.unwrap_or(Duration::from_secs(60)).into()),
            timeout: Some(timeout.unwrap_or(Duration::from_secs(5)).into()),
            blocks: raw::Blocks {
                http: Some(Box::new(raw::Http {
                    path: Some(DISCOVERY.to_owned()),
                    status: Some(vec![200]),
                    ..raw::Http::default()
                })),
                ..raw::Blocks::default()
            },
            ..raw::Probe::default()
        };
        for host in MICROSOFT_SIGNIN.into_iter().filter(|host| !file.targets.contains_key(*host)) {
            let target = raw::Target {
                address: Some(raw::OneOrMany::One(host.to_owned())),
                max_members: Some(written.max_members.unwrap_or(2)),
                egress: written.egress.clone(),
                probes: Some(BTreeMap::from([("http".to_owned(), Box::new(signin()))])),
                ..raw::Target::default()
            };
            targets.push((host.to_owned(), target, path.clone()));
        }
    }
    targets
}
