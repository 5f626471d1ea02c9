//! What a survey saw: the input of the ladder. `engine::survey` makes it, tests write it by hand.

use std::net::IpAddr;

use crate::probe::Kind;
use crate::route::Ways;
use crate::sample::{Fault, Report};
use crate::session::Teardown;
use crate::time::WallTime;

/// One probe's result in a survey.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The label `probe`.
    pub probe: String,
    /// What it does.
    pub kind: Kind,
    /// The member's slot, from 1 on.
    pub member: u8,
    /// The member's address.
    pub address: IpAddr,
    /// The way out it took, by name.
    pub egress: String,
    /// The form of the exchange.
    pub form: &'static str,
    /// The result.
    pub report: Report,
}

/// What a survey of one target saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// When it began.
    pub time: WallTime,
    /// The target's address as written: a name or a literal.
    pub host: String,
    /// The addresses, or why there are none. The text begins with the reason's word where there is one
    /// (`nxdomain: …`, `nodata: …`, `servfail: …`); any other text leaves it open.
    pub resolved: Result<Vec<IpAddr>, String>,
    /// Per member: the source address the host would use, or why it cannot send.
    pub routes: Vec<(IpAddr, Result<IpAddr, Fault>)>,
    /// The ways that packets would take, if the kernel was asked.
    pub ways: Option<Ways>,
    /// What the probes saw, in the order they ran.
    pub observed: Vec<Observed>,
    /// What the hosts and resolvers behind the tunnel answered; `probe` is how they were asked.
    pub inside: Vec<Observed>,
    /// What signing in as the configured session came to: whether without a child, or why not. Nothing
    /// if no session is configured.
    pub session: Option<Result<bool, Teardown>>,
}
