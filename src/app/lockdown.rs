//! Giving back what is not needed once the sockets are open, and saying what that leaves.
//!
//! Invariant: a configuration that needs a right which is not there, at the start or after a reload, is
//! refused by the name of the way out; nothing works by half.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, Egress, Loaded};
use crate::net::rights::{Rights, reduce, refusal};
use crate::net::sandbox::{self, Files, Held, Paths};
use crate::net::{Drivers, IcmpAccess};

/// What has been given back.
pub(super) struct Lockdown {
    kept: Rights,
    /// The ways out whose ICMP sockets are open.
    opened: Vec<Egress>,
}

impl Lockdown {
    /// Gives everything back but what `loaded` needs. Comes before the first thread.
    ///
    /// # Errors
    /// For people: which way out needs what, or what the kernel refuses.
    pub fn enter(loaded: &Loaded, drivers: &mut Drivers, paths: &Paths) -> Result<Self, String> {
        let config = &loaded.config;
        let kept = Rights::held().needed(config).map_err(|missing| refusal(&missing))?;
        let mut opened = Vec::new();
        for egress in config.egress.values() {
            let egress = Arc::new(egress.clone());
            // A family that this host does not have is no fault.
            let access = [false, true].map(|v6| drivers.icmp_access(v6, &egress));
            if access.iter().any(|access| *access != IcmpAccess::Denied) {
                opened.push(Egress::clone(&egress));
            }
        }
        reduce(kept).map_err(|error| {
            format!("cannot give rights back: {error}; --sandbox off starts with all it was given")
        })?;
        let held = sandbox::enter(paths)
            .map_err(|error| format!("cannot lock itself in: {error}; --sandbox off starts without"))?;
        tell(kept, held, paths);
        Ok(Self { kept, opened })
    }

    /// Whether a new configuration can do with what is left.
    ///
    /// # Errors
    /// For people: which way out needs what.
    pub fn allows(&self, config: &Config) -> Result<(), String> {
        let after = |egress: &str, why: &str, right: &str| {
            format!(
                "egress.{egress}: {why} needs {right}, which was given back at the start; restart vpnprobe to use it"
            )
        };
        self.kept.needed(config).map_err(|missing| {
            let told: Vec<_> =
                missing.iter().map(|missing| after(&missing.egress, missing.why, missing.right)).collect();
            told.join("\n")
        })?;
        if self.kept.raw() {
            return Ok(());
        }
        for target in &config.targets {
            let icmp = target.probes.iter().any(|spec| matches!(spec.kind.name, "icmp" | "trace"));
            for name in target.egress.iter().filter(|_| icmp) {
                let Some(egress) = config.egress.get(name) else { continue };
                // One that was denied from the start stays so, and that was said then.
                if !self.opened.contains(egress) && !self.opened.is_empty() {
                    return Err(after(name, "icmp over a way out that is new", "CAP_NET_RAW"));
                }
            }
        }
        Ok(())
    }
}

fn tell(kept: Rights, held: Held, paths: &Paths) {
    if kept.is_empty() {
        tracing::info!("rights: all capabilities are given back; no new ones can be gained");
    } else {
        tracing::info!("rights: kept {kept} for the ways out that need it; no new ones can be gained");
    }
    let list = |paths: &[PathBuf]| {
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        if paths.is_empty() { "nothing".to_owned() } else { paths.join(", ") }
    };
    match held.files {
        Some(files) => tracing::info!(
            "files: may read the system's settings and {}; may write {}{}",
            list(&paths.read),
            list(&paths.write),
            if files == Files::Part { " (this kernel restricts less than newer ones)" } else { "" }
        ),
        None => tracing::warn!("files: this kernel has no Landlock, so only their modes protect them"),
    }
    if held.calls {
        tracing::info!("system calls: filtered; no program can be started");
    } else {
        tracing::warn!("system calls: not filtered on this architecture");
    }
}

/// The files that the daemon reads again and those that it writes.
pub(super) fn paths(
    config_file: &Path,
    web_file: Option<&Path>,
    journal: Option<&Path>,
    loaded: &Loaded,
) -> Paths {
    let mut read = BTreeSet::new();
    let parent = |file: &Path| match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    // Folders, not files: a file that is replaced is another one.
    read.insert(parent(config_file));
    read.extend(loaded.files().iter().map(|file| parent(file)));
    if let Some(file) = web_file {
        read.insert(parent(file));
        // One that cannot be read has been refused before.
        if let Ok(web) = crate::config::WebFile::read(file) {
            read.extend(web.files().map(parent));
        }
    }
    read.extend(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
    let config = &loaded.config;
    let mut write: Vec<PathBuf> = journal.iter().map(|path| path.to_path_buf()).collect();
    // One that is not there yet may come: then it is made in what is there.
    let state = config.state_dir.iter().flat_map(|path| path.ancestors()).find(|path| path.exists());
    write.extend(state.map(Path::to_owned));
    let namespaces = config.egress.values().any(|egress| egress.namespace.is_some());
    if namespaces && !Path::new("/run/netns").exists() {
        // The first one that is ever made makes this folder.
        read.insert(PathBuf::from("/run"));
    }
    Paths { read: read.into_iter().collect(), write, namespaces }
}
