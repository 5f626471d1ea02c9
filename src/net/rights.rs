//! What this process may do: which capabilities its ways out need, and giving back all others.
//!
//! ```text
//!   default, source     none: the raw ICMP sockets are opened before the rights go, also for a source
//!                       address that comes later
//!   interface + ICMP    CAP_NET_RAW: a device that comes later needs a new raw socket
//!   mark                CAP_NET_ADMIN, or CAP_NET_RAW from Linux 5.17 on
//!   namespace           CAP_SYS_ADMIN, with ICMP also CAP_NET_RAW: each socket is opened in there
//! ```
//!
//! Invariant: rights only shrink. They are a thread's own: [`reduce`] comes before the first thread.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use nix::sys::resource::{Resource, setrlimit};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use socket2::{Domain, Socket, Type};

use crate::config::{Config, Egress, Target};

/// Capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(CapabilitySet);

/// All that a way out can need.
const NAMED: &[(CapabilitySet, &str)] = &[
    (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
];

/// A way out that needs a right which is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The way out.
    pub egress: String,
    /// Why it needs it.
    pub why: &'static str,
    /// What it needs.
    pub right: &'static str,
}

impl Rights {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(CapabilitySet::empty())
    }

    /// Those that this thread can use now.
    #[must_use]
    pub fn held() -> Self {
        Self(capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective))
    }

    /// Whether raw sockets can be opened.
    #[must_use]
    pub fn raw(self) -> bool {
        self.0.contains(CapabilitySet::NET_RAW)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Of these, what the ways out that `config` uses need.
    ///
    /// # Errors
    /// The ways out that need what is not among these.
    pub fn needed(self, config: &Config) -> Result<Self, Vec<Missing>> {
        let mut needed = CapabilitySet::empty();
        let mut missing = Vec::new();
        for (name, egress) in &config.egress {
            let using = || config.targets.iter().filter(|target| target.egress.contains(name));
            if using().next().is_none() {
                continue;
            }
            let mut probes = using().flat_map(|target| &target.probes);
            let icmp = probes.any(|spec| matches!(spec.kind.name, "icmp" | "trace"));
            if icmp && (egress.interface.is_some() || egress.namespace.is_some()) {
                // Without it there are datagram sockets, where the host allows them: no reason to refuse.
                needed |= self.0 & CapabilitySet::NET_RAW;
            }
            if egress.mark.is_some() {
                let can = [CapabilitySet::NET_ADMIN, CapabilitySet::NET_RAW];
                match can.into_iter().find(|right| self.0.contains(*right) && may_mark(egress)) {
                    Some(right) => needed |= right,
                    None => {
                        missing.push(Missing { egress: name.clone(), why: "mark", right: "CAP_NET_ADMIN" })
                    }
                }
            }
            if egress.namespace.is_some() {
                needed |= self.0 & CapabilitySet::SYS_ADMIN;
                if !self.0.contains(CapabilitySet::SYS_ADMIN) {
                    missing.push(Missing { egress: name.clone(), why: "namespace", right: "CAP_SYS_ADMIN" });
                }
            }
        }
        if missing.is_empty() { Ok(Self(needed)) } else { Err(missing) }
    }
}

/// Which of these ways out cannot be used, and the commands that would allow it.
#[must_use]
pub fn refusal(missing: &[Missing]) -> String {
    let told = missing.iter().map(|missing| {
        format!(
            "egress.{}: {} needs {}; allow it with the drop-in systemd/{}.conf, or with: \
             setcap cap_net_raw,{}+ep \"$(command -v vpnprobe)\"",
            missing.egress,
            missing.why,
            missing.right,
            missing.why,
            missing.right.to_ascii_lowercase()
        )
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Whether this process may use the ways out of one target.
///
/// # Errors
/// For people: which it may not, and what would allow it.
pub fn allows(config: &Config, target: &Arc<Target>) -> Result<(), String> {
    let alone = Config { targets: vec![Arc::clone(target)], ..config.clone() };
    Rights::held().needed(&alone).map(drop).map_err(|missing| refusal(&missing))
}

/// Before Linux 5.17 `CAP_NET_RAW` does not do.
fn may_mark(egress: &Egress) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None);
    socket.is_ok_and(|socket| egress.mark.is_none_or(|mark| socket.set_mark(mark).is_ok()))
}

impl std::fmt::Display for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut words = String::new();
        for (_, name) in NAMED.iter().filter(|(right, _)| self.0.contains(*right)) {
            let space = if words.is_empty() { "" } else { " " };
            let _ = write!(words, "{space}{name}");
        }
        f.write_str(&words)
    }
}

/// Gives back every right but `kept`, for good: also a program that this one could start gets none. No
/// core dump is written from now on, and no other process of this user may look inside.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn reduce(kept: Rights) -> io::Result<()> {
    // A service manager may forbid this call, and has set the limit itself then.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    clear_ambient_capability_set()?;
    // As long as CAP_SETPCAP is there; without it nothing is gained by what stays in this set, for
    // no_new_privs closes the way back.
    for bit in 0..64_u32 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if !kept.0.contains(one) && remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    let sets = capabilities(None)?;
    let left = sets.permitted & kept.0;
    set_capabilities(
        None,
        CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() },
    )?;
    set_no_new_privs(true)?;
    Ok(())
}
