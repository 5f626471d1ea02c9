//! Names to addresses, beside the measurements and never inside a round-trip time.
//!
//! Invariants: at most one lookup per name and time to live, and no more often than every 5 s; the last
//! good answer stands while lookups fail; nobody waits for a lookup to start.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;

use crate::config::Family;

/// The shortest pause between two lookups of a name, and the first one after a failure.
const SHORTEST: Duration = Duration::from_secs(5);
/// The longest pause, whatever the time to live says.
const LONGEST: Duration = Duration::from_secs(3600);
/// The longest pause after failures.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What a lookup found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Every address of the wanted families, sorted.
    pub addresses: Vec<IpAddr>,
    /// When to ask again.
    pub again_in: Duration,
}

/// Asks the host's resolvers, with `/etc/hosts` first.
#[derive(Clone)]
pub struct Resolver {
    inner: Option<TokioResolver>,
    why_not: String,
}

impl Resolver {
    /// Reads the host's settings. Without usable settings every lookup fails, and says why.
    #[must_use]
    pub fn from_system() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.cache_size = 0; // the pace of asking is decided here
            options.attempts = 1;
            options.timeout = Duration::from_secs(3);
            builder.build()
        });
        match built {
            Ok(inner) => Self { inner: Some(inner), why_not: String::new() },
            Err(error) => Self { inner: None, why_not: format!("no usable resolver settings: {error}") },
        }
    }

    /// All addresses of a name.
    ///
    /// # Errors
    /// A text for people: what the resolvers said.
    pub async fn lookup(&self, name: &str, family: Family) -> Result<Resolved, String> {
        let resolver = self.inner.as_ref().ok_or_else(|| self.why_not.clone())?;
        let found = resolver.lookup_ip(name).await.map_err(|error| said(name, &error))?;
        let mut addresses: Vec<IpAddr> = found
            .iter()
            .filter(|address| match family {
                Family::Any => true,
                Family::Ipv4 => address.is_ipv4(),
                Family::Ipv6 => address.is_ipv6(),
            })
            .collect();
        addresses.sort();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(format!("nodata: {name} has no address of the family {family}"));
        }
        let ttl = found
            .as_lookup()
            .answers()
            .iter()
            .filter(|record| matches!(record.data, RData::A(_) | RData::AAAA(_)))
            .map(|record| record.ttl)
            .min()
            .unwrap_or(0);
        let again_in = Duration::from_secs(u64::from(ttl)).clamp(SHORTEST, LONGEST);
        Ok(Resolved { addresses, again_in })
    }
}

/// What a failed lookup says, with the reason's word first where there is one.
fn said(name: &str, error: &NetError) -> String {
    let code = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        _ => return format!("{name}: {error}"),
    };
    match code {
        ResponseCode::NXDomain => format!("nxdomain: {name} does not exist"),
        ResponseCode::NoError => format!("nodata: {name} has no address"),
        ResponseCode::ServFail => format!("servfail: the resolver failed on {name}"),
        ResponseCode::Refused => format!("dns_refused: the resolver refuses to answer for {name}"),
        other => format!("{name}: the resolver says {other}"),
    }
}

/// How long to wait after the n-th failure in a row.
#[must_use]
pub fn retry_after(failures: u32) -> Duration {
    SHORTEST
        .saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(LONGEST_AFTER_FAILURE)
}
