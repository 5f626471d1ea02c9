//! What detectors need to know of a series: as it is told, as it is held, and as it is shown.
//!
//! Invariant: what is shown of a series is what was told of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Pool;
use crate::sample::Carrier;

/// What detectors need to know of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The target's name.
    pub target: String,
    /// The member's slot.
    pub member: u8,
    /// The member's address, once it is known.
    pub address: Option<IpAddr>,
    /// The probe's name.
    pub probe: String,
    /// The probe's kind.
    pub kind: &'static str,
    /// The way out.
    pub egress: String,
    /// What carries it.
    pub carrier: Carrier,
    /// The port it goes to; 0 if it has none.
    pub port: u16,
    /// From one probe to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// The same, lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name of `About`")]
pub struct AboutRef<'a> {
    pub target: &'a str,
    pub member: u8,
    pub address: Option<IpAddr>,
    pub probe: &'a str,
    pub kind: &'static str,
    pub egress: &'a str,
    pub carrier: Carrier,
    pub port: u16,
    pub interval: Duration,
    pub timeout: Duration,
}

impl About {
    /// It, lent.
    #[must_use]
    pub fn lent(&self) -> AboutRef<'_> {
        let Self { target, probe, egress, .. } = self;
        let Self { member, address, kind, carrier, port, interval, timeout, .. } = *self;
        AboutRef { target, member, address, probe, kind, egress, carrier, port, interval, timeout }
    }
}

impl From<AboutRef<'_>> for About {
    fn from(lent: AboutRef<'_>) -> Self {
        let AboutRef { target, member, address, probe, kind, egress, carrier, port, interval, timeout } =
            lent;
        let [target, probe, egress] = [target, probe, egress].map(str::to_owned);
        Self { target, member, address, probe, kind, egress, carrier, port, interval, timeout }
    }
}

/// The same, as ten thousand series hold it: what one probe of all targets has in common is held once.
#[derive(Debug, Clone)]
pub(super) struct Held {
    target: Arc<str>,
    common: Arc<Common>,
    address: Option<IpAddr>,
    member: u8,
}

/// What one probe of all targets has in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Common {
    probe: String,
    kind: &'static str,
    egress: String,
    carrier: Carrier,
    port: u16,
    interval: Duration,
    timeout: Duration,
}

impl Held {
    /// Holds that; `target` is its target's name.
    pub(super) fn new(about: &About, target: Arc<str>, pool: &mut Pool<Common>) -> Self {
        let AboutRef { member, address, probe, kind, egress, carrier, port, interval, timeout, .. } =
            about.lent();
        let [probe, egress] = [probe, egress].map(str::to_owned);
        let common = pool.share(Common { probe, kind, egress, carrier, port, interval, timeout });
        Self { target, common, address, member }
    }

    /// Holds it no longer.
    pub(super) fn release(self, pool: &mut Pool<Common>) {
        pool.release(self.common);
    }

    pub(super) const fn target(&self) -> &Arc<str> {
        &self.target
    }

    pub(super) fn timeout(&self) -> Duration {
        self.common.timeout
    }

    pub(super) fn interval(&self) -> Duration {
        self.common.interval
    }

    pub(super) fn lent(&self) -> AboutRef<'_> {
        let Self { target, common, address, member } = self;
        let Common { probe, egress, kind, carrier, port, interval, timeout } = &**common;
        AboutRef {
            target,
            member: *member,
            address: *address,
            probe,
            kind,
            egress,
            carrier: *carrier,
            port: *port,
            interval: *interval,
            timeout: *timeout,
        }
    }
}
