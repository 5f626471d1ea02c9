//! From what is written to what is meant: every rule beyond type and range, all problems at once.
//!
//! A value that breaks a rule is reported and replaced by its default, so that the rest can still be
//! judged; the configuration made from it is thrown away then.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use super::layers::Places;
use super::problem::{KeyPath, Problem};
use super::{Config, Loaded, Problems, Web, dpd, egress, raw, sets, target};
use crate::budget::Limits;
use crate::detect::flap::Damping;

const DAY: Duration = Duration::from_secs(86_400);
/// The bounds of an interval.
pub(super) const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), DAY);
/// The bounds of a timeout.
pub(super) const TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
/// The bounds of the interval of full exchanges.
pub(super) const FULL_INTERVAL: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(7 * 86_400));
/// The shortest time between half-open sessions: strongSwan, for one, keeps each for 30 s.
const HALF_OPEN: Duration = Duration::from_secs(35);
/// The bounds of the half-life of flaps.
const HALF_LIFE: (Duration, Duration) = (Duration::from_secs(60), DAY);
/// The space that incidents may take unless said otherwise.
pub(super) const STATE_MAX_SIZE: u64 = 64 << 20;
/// The bounds of the space that incidents may take.
const STATE_SIZE: (u64, u64) = (1 << 20, 100 << 30);
/// The most histogram buckets: each is a series per probe.
const BUCKETS: usize = 30;

/// What has been found so far, and what is needed to say where.
pub(super) struct Check<'a> {
    pub places: &'a Places,
    /// What relative paths start from.
    pub directory: &'a Path,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl<'a> Check<'a> {
    pub fn new(places: &'a Places, directory: &'a Path) -> Self {
        Self { places, directory, problems: Vec::new(), warnings: Vec::new() }
    }

    fn at_value(&self, path: &KeyPath, rule: String, hint: Option<String>) -> Problem {
        let spot = self.places.get(path).filter(|spot| !spot.wrong);
        let place = spot.map_or_else(|| self.places.nearest(path), |spot| spot.place.clone());
        let value = spot.and_then(|spot| spot.text.clone());
        Problem { place, path: self.places.as_written(path), value, rule, hint }
    }

    fn at_key(&self, path: &KeyPath, rule: String, hint: Option<String>) -> Problem {
        Problem { place: self.places.nearest(path), path: path.clone(), value: None, rule, hint }
    }

    /// The value at `path` is wrong.
    pub fn wrong(&mut self, path: &KeyPath, rule: impl Into<String>, hint: &str) {
        let problem = self.at_value(path, rule.into(), hinted(hint));
        // One value may stand for several targets.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The key at `path`, or what is missing below it, is wrong.
    pub fn wrong_key(&mut self, path: &KeyPath, rule: impl Into<String>, hint: &str) {
        let problem = self.at_key(path, rule.into(), hinted(hint));
        self.problems.push(problem);
    }

    /// What stands at `path` works, but perhaps not as meant.
    pub fn doubt(&mut self, path: &KeyPath, rule: impl Into<String>, hint: &str) {
        let problem = self.at_key(path, rule.into(), hinted(hint));
        if !self.warnings.contains(&problem) {
            self.warnings.push(problem);
        }
    }

    /// A duration within bounds.
    pub fn duration(
        &mut self,
        path: &KeyPath,
        written: Option<&raw::Duration>,
        (min, max): (Duration, Duration),
    ) -> Option<Duration> {
        let text = &written?.0;
        match humantime::parse_duration(text) {
            Ok(duration) if (min..=max).contains(&duration) => return Some(duration),
            Ok(_) => self.wrong(path, format!("must be from {} to {}", short(min), short(max)), ""),
            Err(_) if text.trim().parse::<f64>().is_ok() => {
                self.wrong(
                    path,
                    "must be a duration",
                    &format!("write the unit, for example {}s", text.trim()),
                );
            }
            Err(_) => {
                self.wrong(path, "must be a duration", "a number and its unit, for example 5s, 100ms, 1h");
            }
        }
        None
    }

    /// Whether a name chosen by the user may be a label.
    pub fn label(&mut self, path: &KeyPath, name: &str) {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            self.wrong_key(
                path,
                "the name must be 1 to 64 of the characters A-Z a-z 0-9 . _ -",
                "it is a label of every metric",
            );
        }
    }

    /// Reports what a list has twice.
    pub fn doubled<T: PartialEq>(&mut self, path: &KeyPath, items: &[T]) {
        for (index, item) in items.iter().enumerate() {
            if items.iter().take(index).any(|earlier| earlier == item) {
                self.wrong(&path.item(index), "is there twice", "remove one");
            }
        }
    }

    /// A path as the file means it: relative paths start at the file's directory.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The text of a file, at most a mebibyte.
    pub fn file(&mut self, path: &KeyPath, file: &Path) -> Option<String> {
        match read_text(&self.absolute(file)) {
            Ok(text) => Some(text),
            Err(Unreadable(why, hint)) => {
                self.wrong(path, format!("the file cannot be used: {why}"), hint);
                None
            }
        }
    }

    /// The text of a file that nobody else should read.
    pub fn secret(&mut self, path: &KeyPath, file: &Path) -> Option<String> {
        let text = self.file(path, file)?;
        let mode = std::fs::metadata(self.absolute(file)).ok()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let hint = format!("chmod 600 {}", self.absolute(file).display());
            self.doubt(
                path,
                format!("the key file is open to others than its owner (mode {mode:04o})"),
                &hint,
            );
        }
        Some(text)
    }
}

fn hinted(hint: &str) -> Option<String> {
    (!hint.is_empty()).then(|| hint.to_owned())
}

/// Why a file cannot be used, and what to do.
struct Unreadable(String, &'static str);

fn read_text(file: &Path) -> Result<String, Unreadable> {
    let failed = |error: &std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "relative paths start at the directory of the configuration file",
            std::io::ErrorKind::PermissionDenied => "let the user that vpnprobe runs as read it",
            _ => "",
        };
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Unreadable(why, hint)
    };
    // Asked before it is opened: opening a pipe would wait for its writer.
    let about = std::fs::metadata(file).map_err(|error| failed(&error))?;
    if !about.is_file() {
        return Err(Unreadable("it is no regular file".to_owned(), ""));
    }
    if about.len() > 1 << 20 {
        return Err(Unreadable(
            "it is larger than 1 MiB".to_owned(),
            "name the file with the key or certificate alone",
        ));
    }
    let bytes = std::fs::read(file).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|_| Unreadable("it is not text".to_owned(), "use the PEM form"))
}

/// A duration with its largest exact unit: `90s`, `1m`, `100ms`.
pub(super) fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    let exact = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
        .into_iter()
        .find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    match exact {
        Some((name, unit)) if duration.subsec_nanos().is_multiple_of(1_000_000) => {
            format!("{}{name}", millis / unit)
        }
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// The times of probes that do not say otherwise.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    pub interval: Duration,
    pub timeout: Duration,
    pub full_interval: Duration,
}

/// The configuration that a file means.
pub(super) fn config(file: &raw::File, check: Check<'_>) -> Result<Loaded, Problems> {
    let mut check = check;
    let top = KeyPath::default();
    let (defaults, buckets) = defaults(&file.defaults, &mut check, &top.key("defaults"));
    let written = file.defaults.flap.clone().unwrap_or_default();
    let flap = flap(&written, &mut check, &top.key("defaults").key("flap"));
    let budget = budget(&file.budget, &mut check, &top.key("budget"));
    let egress = egress::named(&file.egress, &mut check, &top.key("egress"));
    let pairs = egress::pairs(&file.pairs, &egress, &mut check, &top.key("pairs"));
    let web = web(&file.web, &mut check, &top.key("web"));
    let state_dir = file.state_dir.as_ref().map(|path| check.absolute(path));
    let state_max_size = size(file.state_max_size.as_ref(), &mut check, &top.key("state_max_size"));
    let engine_threads = file.engine_threads.unwrap_or(1);
    let (mut targets, mut shown, mut files) = (Vec::new(), BTreeMap::new(), Vec::new());
    let profiles = dpd::Profiles::read(file, &mut check);
    let around = target::Around::new(&defaults, &budget, &egress, &profiles);
    for (name, written) in &file.targets {
        let path = top.key("targets").key(name);
        check.label(&path, name);
        let (target, effective) = target::target(name, written, &around, &mut check, &path);
        targets.push(std::sync::Arc::new(target));
        named_files(&effective, &mut files);
        shown.insert(name.clone(), Box::new(effective));
    }
    for (name, written, path) in sets::targets(file, &mut check) {
        let (target, effective) = target::target(&name, &written, &around, &mut check, &path);
        targets.push(std::sync::Arc::new(target));
        named_files(&effective, &mut files);
        shown.insert(name, Box::new(effective));
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    if targets.is_empty() {
        check.doubt(&top.key("targets"), "no targets: nothing is probed", "add one below \"targets:\"");
    }
    let mut effective = raw::File {
        defaults: raw::Defaults {
            interval: Some(defaults.interval.into()),
            timeout: Some(defaults.timeout.into()),
            full_interval: Some(defaults.full_interval.into()),
            buckets: Some(buckets.clone()),
            flap: Some(raw::Flap::from(&flap)),
            dpd_profiles: file.defaults.dpd_profiles.clone(),
        },
        targets: BTreeMap::new(),
        // They are among the targets now.
        sets: BTreeMap::new(),
        egress: egress.iter().map(|(name, egress)| (name.clone(), egress::shown(egress))).collect(),
        pairs: file.pairs.clone(),
        budget: raw::Budget::from(&budget),
        dpd_profiles: file.dpd_profiles.clone(),
        state_dir: state_dir.clone(),
        state_max_size: Some(shown_size(state_max_size)),
        engine_threads: Some(engine_threads),
        web: raw::Web::from(&web),
    };
    let Check { problems, mut warnings, .. } = check;
    warnings.sort();
    if let Some(problems) = Problems::some(problems) {
        return Err(problems);
    }
    let config = Config {
        targets,
        egress,
        pairs,
        budget,
        buckets,
        flap,
        state_dir,
        state_max_size,
        engine_threads,
        web,
    };
    named_files(&effective, &mut files);
    effective.targets = shown;
    files.sort();
    files.dedup();
    let effective = deflated(&super::to_yaml(&effective));
    Ok(Loaded { config, warnings, effective, files })
}

/// The files that a part of the configuration names.
fn named_files(part: &impl Serialize, found: &mut Vec<PathBuf>) {
    fn collect(value: &serde_json::Value, found: &mut Vec<PathBuf>) {
        match value {
            serde_json::Value::Object(table) => {
                for (key, value) in table {
                    match value.as_str() {
                        Some(file) if key.ends_with("_file") => found.push(PathBuf::from(file)),
                        _ => collect(value, found),
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    collect(&serde_json::to_value(part).unwrap_or_default(), found);
}

fn deflated(text: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Memory takes all.
    let _ = encoder.write_all(text.as_bytes());
    let mut all = encoder.finish().unwrap_or_default();
    all.shrink_to_fit();
    all
}

const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A size within bounds; where it is none, the default.
fn size(written: Option<&raw::Size>, check: &mut Check<'_>, path: &KeyPath) -> u64 {
    let Some(raw::Size(text)) = written else { return STATE_MAX_SIZE };
    let parsed = UNITS.iter().find_map(|(unit, bytes)| {
        let number: u64 = text.trim().strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes)
    });
    let (least, most) = STATE_SIZE;
    match parsed {
        Some(bytes) if (least..=most).contains(&bytes) => return bytes,
        Some(_) => check.wrong(path, "must be from 1MiB to 100GiB", ""),
        None => check.wrong(path, "must be a size", "a whole number and its unit, for example 64MiB or 2GiB"),
    }
    STATE_MAX_SIZE
}

fn shown_size(bytes: u64) -> raw::Size {
    let unit = UNITS.iter().rev().find(|(_, unit)| bytes.is_multiple_of(*unit));
    raw::Size(unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit)))
}

fn defaults(file: &raw::Defaults, check: &mut Check<'_>, path: &KeyPath) -> (Defaults, Vec<f64>) {
    let mut duration = |key: &str, written, bounds, otherwise| {
        check.duration(&path.key(key), written, bounds).unwrap_or(Duration::from_secs(otherwise))
    };
    let times = Defaults {
        interval: duration("interval", file.interval.as_ref(), INTERVAL, 5),
        timeout: duration("timeout", file.timeout.as_ref(), TIMEOUT, 2),
        full_interval: duration("full_interval", file.full_interval.as_ref(), FULL_INTERVAL, 3600),
    };
    let buckets = file.buckets.clone().unwrap_or_default();
    let path = path.key("buckets");
    if buckets.is_empty() || buckets.len() > BUCKETS {
        check.wrong_key(&path, format!("must be 1 to {BUCKETS} bounds"), "each is a series of every probe");
    }
    let mut below = 0.0;
    for (index, bound) in buckets.iter().enumerate() {
        if !bound.is_finite() || *bound <= 0.0 {
            check.wrong(
                &path.item(index),
                "must be above 0 and finite",
                "bounds are in seconds; +Inf is added by itself",
            );
        } else if *bound <= below {
            check.wrong(
                &path.item(index),
                format!("must be above {below}, the bound before it"),
                "write the bounds in ascending order",
            );
        }
        below = *bound;
    }
    (times, buckets)
}

fn flap(file: &raw::Flap, check: &mut Check<'_>, path: &KeyPath) -> Damping {
    let usual = Damping::default();
    let half_life = check.duration(&path.key("half_life"), file.half_life.as_ref(), HALF_LIFE);
    let damping = Damping {
        half_life: half_life.unwrap_or(usual.half_life),
        suppress: file.suppress.unwrap_or(usual.suppress),
        reuse: file.reuse.unwrap_or(usual.reuse),
        ceiling: file.ceiling.unwrap_or(usual.ceiling),
    };
    let Damping { suppress, reuse, ceiling, .. } = damping;
    if reuse >= suppress {
        check.wrong(
            &path.key("reuse"),
            format!("must be below suppress, which is {suppress}"),
            "else flapping ends as soon as it begins",
        );
    }
    if ceiling < suppress {
        check.wrong(
            &path.key("ceiling"),
            format!("must be at least suppress, which is {suppress}"),
            "else nothing ever counts as flapping",
        );
    }
    damping
}

fn budget(file: &raw::Budget, check: &mut Check<'_>, path: &KeyPath) -> Limits {
    let half_open_path = path.key("half_open_interval");
    let half_open = check.duration(&half_open_path, file.half_open_interval.as_ref(), (Duration::ZERO, DAY));
    if half_open.is_some_and(|interval| interval < HALF_OPEN) {
        check.wrong(
            &half_open_path,
            "must be at least 35s",
            "a concentrator keeps a half-open session for about 30s, and strongSwan shuts out an address that has 5 of them",
        );
    }
    let usual = Limits::default();
    let limits = Limits {
        packets_per_second: file.packets_per_second.unwrap_or(usual.packets_per_second),
        packets_burst: file.packets_burst.unwrap_or(usual.packets_burst),
        half_open_interval: half_open.unwrap_or(usual.half_open_interval),
        l2tp_per_minute: file.l2tp_per_minute.unwrap_or(usual.l2tp_per_minute),
        openvpn_per_minute: file.openvpn_per_minute.unwrap_or(usual.openvpn_per_minute),
        tcp_per_minute: file.tcp_per_minute.unwrap_or(usual.tcp_per_minute),
        tls_per_minute: file.tls_per_minute.unwrap_or(usual.tls_per_minute),
        wireguard_per_minute: file.wireguard_per_minute.unwrap_or(usual.wireguard_per_minute),
    };
    if limits.tls_per_minute > limits.tcp_per_minute {
        check.doubt(
            &path.key("tls_per_minute"),
            format!(
                "never reached: each TLS handshake is a TCP connection, and tcp_per_minute is {}",
                limits.tcp_per_minute
            ),
            "raise tcp_per_minute, or lower this",
        );
    }
    limits
}

fn web(file: &raw::Web, check: &mut Check<'_>, path: &KeyPath) -> Web {
    let written = file.listen_address.as_ref();
    let path_of = path.key("listen_address");
    let mut listen: Vec<SocketAddr> = Vec::new();
    for (path, text) in target::items(written, &path_of) {
        match text.parse() {
            Ok(address) if listen.contains(&address) => check.wrong(&path, "is there twice", "remove one"),
            Ok(address) => listen.push(address),
            Err(_) => {
                let digits = text.trim_start_matches(':');
                let hint = if digits.parse::<u16>().is_ok() {
                    format!("write [::]:{digits} for all addresses, or 127.0.0.1:{digits} for this host only")
                } else if text.parse::<IpAddr>().is_ok() {
                    "add the port, for example 127.0.0.1:10069 or [::1]:10069".to_owned()
                } else {
                    "for example 127.0.0.1:10069 or [::]:10069; a name will not do".to_owned()
                };
                check.wrong(&path, "must be an address and a port", &hint);
            }
        }
    }
    let bounds = (Duration::from_millis(100), Duration::from_secs(300));
    let probe_timeout = check.duration(&path.key("probe_timeout"), file.probe_timeout.as_ref(), bounds);
    Web { listen, probe_timeout: probe_timeout.unwrap_or(Duration::from_secs(10)) }
}

impl Check<'_> {
    /// Whether a value at or below `path` was left out because it is wrong.
    pub fn broken_below(&self, path: &KeyPath) -> bool {
        self.places.broken_below(path)
    }
}
