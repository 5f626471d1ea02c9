//! Stub: the engine's own file replaces this one.

use std::io;
use std::net::IpAddr;

use crate::config::{Address, Config, Target};
pub use crate::diagnose::survey::{Observed, Survey};
use crate::time::WallTime;

/// How a survey is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often a stateless probe is tried until it is answered.
    pub attempts: u32,
    /// Whether the proposals are audited, one suite a datagram.
    pub audit: bool,
    /// Whether IKEv1 aggressive mode is tried.
    pub aggressive: bool,
}

/// Probes every member of the target: each stateless probe `attempts` times until answered,
/// state-opening ones once. Blocking.
///
/// # Errors
/// When this host cannot even wait for events.
pub fn survey(_: &Config, target: &Target, _: &Options) -> io::Result<Survey> {
    let host = target.addresses.first().map_or_else(String::new, |address| match address {
        Address::Ip(ip) => ip.to_string(),
        Address::Name(name) => name.clone(),
    });
    let resolved = host.parse::<IpAddr>().map(|ip| vec![ip]).map_err(|_| "stub".to_owned());
    Ok(Survey { time: WallTime::default(), host, resolved, routes: Vec::new(), observed: Vec::new() })
}
