//! The configuration: what the rest of the program is given, checked and complete.
//!
//! ```text
//! files, environment ──yaml──▶ trees ──shape──▶ layers ──merge──▶ raw::File ──check──▶ Config
//!                                         └──────── Places ─────────────────────┘
//! ```
//!
//! Invariant: there is a [`Config`] only if nothing at all is wrong; else there is every problem at
//! once, each with the place it was written at.

mod capacity;
mod check;
mod dpd;
mod egress;
mod inside;
mod layers;
mod pace;
mod problem;
pub mod raw;
mod session;
mod sets;
mod settings;
mod shape;
mod target;
mod webfile;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::ZlibDecoder;
use serde::Serialize;

use crate::budget::Limits;
use crate::detect::flap::Damping;
use crate::probe::{Kind, Spec};
use crate::session::Plan;

pub use capacity::{Capacity, Cipher, Protocol, Rate, Tunnel};
pub use dpd::{Dpd, Timers, dpd_profiles, dpd_timers};
pub use inside::Inside;
pub use layers::{PREFIX, environment};
pub use problem::{KeyPath, Place, Problem, Problems, Step};
pub use raw::{Family, Vpn};
pub use webfile::{ClientAuth, WebFile, WebTls};

/// A whole, checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The targets, in the order of their names.
    pub targets: Vec<Arc<Target>>,
    /// The named ways out; `default` is always there.
    pub egress: BTreeMap<String, Egress>,
    /// Pairs of them, by name.
    pub pairs: Vec<Pair>,
    /// What a concentrator's address is spared from.
    pub budget: Limits,
    /// Upper bounds of the round-trip histograms, in seconds, ascending.
    pub buckets: Vec<f64>,
    /// How flaps are damped.
    pub flap: Damping,
    /// Where state survives a restart; none if not set.
    pub state_dir: Option<PathBuf>,
    /// The most bytes of recorded incidents in it.
    pub state_max_size: u64,
    /// In how many threads probes are sent and received.
    pub engine_threads: u8,
    /// The HTTP side.
    pub web: Web,
}

impl Config {
    /// No targets, and every default.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            targets: Vec::new(),
            egress: BTreeMap::from([("default".to_owned(), Egress::default())]),
            pairs: Vec::new(),
            budget: Limits::default(),
            buckets: vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0],
            flap: Damping::default(),
            state_dir: None,
            state_max_size: check::STATE_MAX_SIZE,
            engine_threads: 1,
            web: Web {
                listen: vec![SocketAddr::from(([127, 0, 0, 1], 10069))],
                probe_timeout: Duration::from_secs(10),
            },
        }
    }
}

/// A concentrator or an inside host.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name: the label `target`.
    pub name: String,
    /// Where it is.
    pub addresses: Vec<Address>,
    /// Which address families of a name are probed.
    pub family: Family,
    /// How many members it may have at once.
    pub max_members: u8,
    /// Which VPNs it serves, as declared.
    pub vpn: Vec<Vpn>,
    /// Over which ways out it is probed, by name.
    pub egress: Arc<Vec<String>>,
    /// Its probes, each with a name of its own; many targets share the same.
    pub probes: Box<[Arc<Spec>]>,
    /// What is behind its tunnel, as declared.
    pub inside: Option<Box<Inside>>,
    /// The real session that is kept with its first member, if one is.
    pub session: Option<Arc<Plan>>,
    /// What it and its line can carry, as declared.
    pub capacity: Option<Box<Capacity>>,
    /// Whose dead peer detection is replayed on which of them; none if no probe speaks a VPN's protocol
    /// over UDP and none was named.
    pub dpd: Option<Dpd>,
}

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A literal address.
    Ip(IpAddr),
    /// A name; every address behind it is a member.
    Name(String),
}

/// The kinds of probe that are for hosts behind a concentrator, or mean nothing without settings: a host of
/// which nothing is declared is not asked so.
const INSIDE: &[&str] = &["http", "rdp", "stun", "wireguard"];

/// A named way out of this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Egress {
    /// Bind to this interface.
    pub interface: Option<String>,
    /// Send from this address.
    pub source: Option<IpAddr>,
    /// Give packets this firewall mark.
    pub mark: Option<u32>,
    /// Send from this named network namespace.
    pub namespace: Option<String>,
}

/// Two ways out, by name, whose results are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The label `pair`.
    pub name: String,
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
}

/// The HTTP side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// How long a `/probe` request may take if the scraper does not say.
    pub probe_timeout: Duration,
}

/// A configuration that was read, and what else is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What works, but perhaps not as meant.
    pub warnings: Vec<Problem>,
    /// The same as it would be written with every default filled in, as YAML, deflated: it is seldom asked
    /// for. Keys and other secrets are never in it, only the names of their files.
    effective: Vec<u8>,
    files: Vec<PathBuf>,
}

impl Loaded {
    /// Every file that the configuration names: secrets and trusted certificates.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl Config {
    /// Reads `path`, the files of `conf.d` beside it, and what `variables` (name and value of the
    /// environment) say on top.
    ///
    /// # Errors
    /// Every problem at once; of a file that is not YAML, the first.
    pub fn load(
        path: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Problems> {
        Self::of_layers(path, layers::read(path, variables))
    }

    /// The same for a file that the program carries inside: `path` is only what its problems name, and
    /// where relative names in it begin.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_text(
        path: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Problems> {
        Self::of_layers(path, layers::read_text(path, text, variables))
    }

    fn of_layers(path: &Path, layered: layers::Layered) -> Result<Loaded, Problems> {
        let layers::Layered { file, places, problems } = layered;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut check = check::Check::new(&places, directory);
        check.problems = problems;
        let Some(file) = file else {
            return Err(Problems::some(check.problems).unwrap_or_default());
        };
        check::config(&file, check)
    }

    /// A configuration for one host of which nothing is declared: every kind of probe that a concentrator
    /// may answer, at its defaults.
    ///
    /// # Errors
    /// If `host` is neither a name nor an address.
    pub fn single(host: &str) -> Result<Self, Problems> {
        let kinds = Kind::all().filter(|kind| !INSIDE.contains(&kind.name));
        Self::of_kinds(host, kinds.map(|kind| (kind, None)))
    }

    /// The same with these kinds only, at their usual port or another. `http` at port 80 is in the clear.
    ///
    /// # Errors
    /// What is wrong with `host`, or with a port.
    pub fn of_kinds(
        host: &str,
        kinds: impl IntoIterator<Item = (Kind, Option<u16>)>,
    ) -> Result<Self, Problems> {
        let probe = |kind: Kind, port| {
            let clear = (kind.name == "http" && port == Some(80))
                .then(|| Box::new(raw::Http { scheme: Some(raw::Scheme::Http), ..raw::Http::default() }));
            let blocks = raw::Blocks { http: clear, ..raw::Blocks::default() };
            raw::Probe { port, blocks, ..raw::Probe::default() }
        };
        let probes = kinds
            .into_iter()
            .map(|(kind, port)| (kind.name.to_owned(), Box::new(probe(kind, port))))
            .collect();
        let target = raw::Target {
            address: Some(raw::OneOrMany::One(host.to_owned())),
            probes: Some(probes),
            ..raw::Target::default()
        };
        let file = raw::File {
            targets: BTreeMap::from([("host".to_owned(), Box::new(target))]),
            ..raw::File::built_in()
        };
        let places = layers::Places::of_argument(host);
        let loaded =
            check::config(&file, check::Check::new(&places, Path::new(""))).map_err(Problems::of_argument)?;
        let mut config = loaded.config;
        for target in &mut config.targets {
            host.clone_into(&mut Arc::make_mut(target).name);
        }
        Ok(config)
    }
}

impl Loaded {
    /// The effective configuration as YAML; it loads again as the same configuration.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        match ZlibDecoder::new(self.effective.as_slice()).read_to_string(&mut text) {
            Ok(_) => text,
            Err(error) => format!("# {error}\n"), // memory of ours that changed by itself
        }
    }
}

/// A value as YAML.
pub fn to_yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|error| format!("# {error}\n"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
