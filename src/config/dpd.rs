//! Dead peer detection: the profiles a user may name, his own among them, and which probe feeds them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, short};
use super::problem::{KeyPath, suggestion};
use super::raw;
use crate::detect::dpd::{Mode, Profile, Survival, TooCoarse, built_in};
use crate::probe::Spec;

const DAY: Duration = Duration::from_secs(86_400);
const LEAST: Duration = Duration::from_millis(100);
const RETRY: (Duration, Duration) = (LEAST, Duration::from_secs(3600));
/// The most profiles of a target: each is three series of every address and way out.
const MOST: usize = 32;

/// Whose dead peer detection is replayed on which probe of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dpd {
    /// The name of the probe.
    pub from: String,
    /// The profiles; targets that name none share one list.
    pub profiles: Arc<[Profile]>,
}

/// The names of the built-in profiles.
#[must_use]
pub fn dpd_profiles() -> Vec<String> {
    built_in().into_iter().map(|profile| profile.name).collect()
}

/// A built-in profile as people read it.
#[derive(Debug, serde::Serialize)]
pub struct Timers {
    mode: Mode,
    /// From the last sign of life to the first question.
    idle: String,
    /// After each question; with the end of the last one the session is torn down.
    waits: Vec<String>,
    /// The shortest silence that can end a session, and the one that ends each, whatever its phase.
    can_end_a_session: String,
    ends_every_session: String,
    /// The longest interval of a probe that can tell.
    probe_every: String,
    source: &'static str,
}

/// The built-in profiles, by name: their timers, and where these come from.
#[must_use]
pub fn dpd_timers() -> BTreeMap<String, Timers> {
    let timers = |profile: Profile| Timers {
        mode: profile.mode,
        idle: short(profile.idle),
        waits: profile.waits.iter().copied().map(short).collect(),
        can_end_a_session: short(profile.shortest_lethal()),
        ends_every_session: short(profile.surely_lethal()),
        probe_every: short(profile.coarsest_interval()),
        source: profile.source,
    };
    built_in().into_iter().map(|profile| (profile.name.clone(), timers(profile))).collect()
}

/// All profiles that may be named, and those of a target that names none.
pub(super) struct Profiles {
    all: BTreeMap<String, Profile>,
    usual: Arc<[Profile]>,
}

impl Profiles {
    /// What the whole file says.
    pub fn read(file: &raw::File, check: &mut Check<'_>) -> Self {
        let path = KeyPath::default().key("dpd_profiles");
        let mut all: BTreeMap<_, _> =
            built_in().into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        for (name, written) in &file.dpd_profiles {
            let path = path.key(name);
            check.label(&path, name);
            if all.contains_key(name) || name == Profile::SESSION {
                check.wrong_key(&path, "is the name of a built-in profile", "choose another name");
            }
            // One that is wrong is still one that may be named: its mistake is told once.
            let profile = profile(name, written, check, &path);
            let known = profile.or_else(|| Profile::named("strongswan"));
            all.extend(known.map(|profile| (name.clone(), profile)));
        }
        let path = KeyPath::default().key("defaults").key("dpd_profiles");
        let mut profiles = Self { all, usual: Arc::new([]) };
        profiles.usual = profiles.named(file.defaults.dpd_profiles.as_deref(), check, &path).into();
        profiles
    }

    fn named(&self, names: Option<&[String]>, check: &mut Check<'_>, path: &KeyPath) -> Vec<Profile> {
        let names = names.unwrap_or_default();
        check.doubled(path, names);
        if names.len() > MOST {
            check.wrong_key(
                path,
                format!("more than {MOST} profiles"),
                "each is three series of every address",
            );
        }
        let mut found = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.all.get(name) {
                Some(profile) => found.push(profile.clone()),
                None => {
                    let hint = suggestion(name, self.all.keys().map(String::as_str));
                    check.wrong(&path.item(index), "no such profile", &hint);
                }
            }
        }
        found
    }

    /// What a target says, and what follows from its probes.
    pub fn of_target(
        &self,
        written: Option<&raw::Dpd>,
        probes: &[Arc<Spec>],
        check: &mut Check<'_>,
        path: &KeyPath,
    ) -> Option<Dpd> {
        let from_path = path.key("from");
        let named = written.and_then(|written| written.from.as_deref());
        let probe = match named {
            Some(name) => {
                let probe = probes.iter().find(|probe| probe.name == name);
                if probe.is_none() {
                    let hint = suggestion(name, probes.iter().map(|probe| probe.name.as_str()));
                    check.wrong(&from_path, "no such probe of this target", &hint);
                }
                probe
            }
            None => fastest(probes),
        };
        let own = written.and_then(|written| written.profiles.as_deref());
        let profiles_path = path.key("profiles");
        let profiles = match own {
            Some(_) => self.named(own, check, &profiles_path).into(),
            None => Arc::clone(&self.usual),
        };
        let Some(probe) = probe else {
            if own.is_some() && named.is_none() {
                check.wrong_key(
                    path,
                    "the target has no VPN probe over UDP to feed the profiles",
                    "name another probe with \"from\"",
                );
            }
            return None;
        };
        // Of those that nobody named for this target, the metrics alone say that they are not judged.
        if own.is_some() {
            for profile in profiles.iter() {
                if let Err(TooCoarse { interval, coarsest }) = Survival::new(profile, probe.interval) {
                    check.doubt(
                        &profiles_path,
                        format!(
                            "{} has no verdict: probe {} runs every {}, and {} or less is needed",
                            profile.name,
                            probe.name,
                            short(interval),
                            short(coarsest)
                        ),
                        "shorten its interval, or name a faster probe with \"from\"",
                    );
                }
            }
        }
        Some(Dpd { from: probe.name.clone(), profiles })
    }
}

/// The fastest probe that speaks a VPN's protocol over UDP; of equals the first.
fn fastest(probes: &[Arc<Spec>]) -> Option<&Arc<Spec>> {
    let over_udp = |probe: &&Arc<Spec>| {
        matches!(
            probe.kind.name,
            "ike" | "ike_natt" | "ikev1" | "ikev1_natt" | "l2tp" | "openvpn_udp" | "wireguard"
        )
    };
    probes.iter().filter(over_udp).min_by_key(|probe| probe.interval)
}

/// A profile of the user's own.
fn profile(name: &str, file: &raw::DpdProfile, check: &mut Check<'_>, path: &KeyPath) -> Option<Profile> {
    const SOURCE: &str = "the configuration";
    let (mode, keepalive) = match file.mode {
        None | Some(raw::DpdMode::Periodic) => (Mode::Periodic, false),
        Some(raw::DpdMode::OnDemand) => (Mode::OnDemand, false),
        Some(raw::DpdMode::Keepalive) => (Mode::Keepalive, true),
    };
    let written = [
        ("retry", file.retry.is_some(), !keepalive, true),
        ("tries", file.tries.is_some(), !keepalive, true),
        ("backoff", file.backoff.is_some(), !keepalive, false),
        ("retry_limit", file.retry_limit.is_some(), !keepalive, false),
        ("timeout", file.timeout.is_some(), keepalive, true),
        ("idle", file.idle.is_some(), true, true),
    ];
    for (key, there, meant, needed) in written {
        if there && !meant {
            let hint = if keepalive { "it has idle and timeout" } else { "only keepalive has it" };
            check.wrong_key(&path.key(key), format!("means nothing with mode {mode}"), hint);
        } else if !there && meant && needed && !check.left_out(&path.key(key)) {
            check.wrong_key(path, format!("\"{key}\" is missing"), &format!("mode {mode} needs it"));
        }
    }
    let idle = check.duration(&path.key("idle"), file.idle.as_ref(), (LEAST, DAY));
    if keepalive {
        let timeout = check.duration(&path.key("timeout"), file.timeout.as_ref(), (LEAST * 2, DAY));
        let (idle, timeout) = (idle?, timeout?);
        let profile = Profile::keepalive(name, idle, timeout, SOURCE);
        if profile.validate().is_err() {
            check.wrong(
                &path.key("timeout"),
                format!("must be more than {}, twice the idle time", short(idle * 2)),
                "else one lost packet ends the session, and no probe can foretell that",
            );
            return None;
        }
        if profile.waits.len() > 64 {
            check.wrong(&path.key("timeout"), "must be at most 65 idle times", "");
            return None;
        }
        return Some(profile);
    }
    let retry = check.duration(&path.key("retry"), file.retry.as_ref(), RETRY);
    let limit = check.duration(&path.key("retry_limit"), file.retry_limit.as_ref(), (LEAST, DAY));
    let backoff = file.backoff.unwrap_or(1.0);
    if !(1.0..=10.0).contains(&backoff) {
        check.wrong(&path.key("backoff"), "must be from 1 to 10", "");
        return None;
    }
    let (idle, retry, tries) = (idle?, retry?, file.tries?);
    Some(Profile::asking(name, mode, idle, (retry, tries, backoff, limit.unwrap_or(DAY)), SOURCE))
}
