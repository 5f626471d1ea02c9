//! What a trace saw of a path, and a search of its MTU: values for JSON, the page and logs.
//!
//! Invariant: addresses of routers stand here and never in a label.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Reason;
use crate::words;

words! {
    /// How a traced path ended.
    pub enum PathEnd {
        /// The destination answered in the protocol of the trace.
        Reached = "reached",
        /// The destination, or a router, said no.
        Refused = "refused",
        /// Nothing answered beyond the last hop shown: a filter, a host that is off, or a service that
        /// is rightly silent look the same.
        Silent = "silent",
    }
}

/// One entry of an MPLS label stack (RFC 3032, 2.1), as a router reports it (RFC 4950).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The label, 20 bits.
    pub label: u32,
    /// The traffic class, 3 bits.
    pub class: u8,
    /// Whether it is the bottom of the stack.
    pub bottom: bool,
    /// Its time to live.
    pub ttl: u8,
}

/// One answer of a hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopAnswer {
    /// Who answered; nothing if the kernel did not say.
    pub address: Option<IpAddr>,
    /// From the packet to its answer, in seconds in JSON.
    #[serde(rename = "rtt_seconds", serialize_with = "seconds")]
    pub rtt: Duration,
    /// The MPLS labels that the packet had, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// One hop of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopSeen {
    /// The hop limit that ends there, from 1 on.
    pub ttl: u8,
    /// How many packets were sent with it. More than answers came is no loss: routers limit how often
    /// they answer (RFC 1812, 4.3.2.8).
    pub asked: u8,
    /// What came back; empty for a silent hop.
    pub answers: Vec<HopAnswer>,
}

impl HopSeen {
    /// The first address that answered.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.answers.iter().find_map(|answer| answer.address)
    }
}

/// A path as one trace saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathSeen {
    /// The kind of probe whose flow was followed: `ike`, `tls`, `icmp`, …
    pub over: &'static str,
    /// The destination.
    pub peer: IpAddr,
    /// Its port; 0 for ICMP.
    pub port: u16,
    /// The local port, if the flow is kept from one trace to the next: load balancers go by it.
    pub flow: Option<u16>,
    /// The hops in order, the destination last if it was reached.
    pub hops: Vec<HopSeen>,
    /// How it ended.
    pub end: PathEnd,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// Whether packets go in circles: some router answers at three hop limits or more.
    pub looping: bool,
    /// Routers that answered quoting so little that their place could not be told.
    pub unplaced: Vec<IpAddr>,
    /// How many packets were sent.
    pub packets: u32,
    /// From the first packet to the last answer that mattered, in seconds in JSON.
    #[serde(rename = "took_seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// Whether it was the thorough one of an outage.
    pub deep: bool,
}

impl PathSeen {
    /// How many hops it is to the destination; nothing if that did not answer.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        (self.end == PathEnd::Reached).then_some(self.hops.len())
    }

    /// The last hop that answered, if any.
    #[must_use]
    pub fn last(&self) -> Option<&HopSeen> {
        self.hops.iter().rev().find(|hop| !hop.answers.is_empty())
    }
}

/// The MTU of a path as one search found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MtuSeen {
    /// The largest IP packet that was answered, in bytes.
    pub bytes: u16,
    /// Whether larger ones vanish without a word, so that TCP hangs and tunnels stall.
    pub black_hole: bool,
    /// The router that said it can take no more; nothing if none did.
    pub told_by: Option<IpAddr>,
    /// Whether our own interface is the limit.
    pub own_interface: bool,
    /// `ike` (our direction only: the answer is small) or `icmp` (both: the answer is as large).
    pub over: &'static str,
}

/// Which way packets to a peer leave this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Way {
    /// The interface, if it could be told.
    pub interface: Option<String>,
    /// Whether that is a tunnel: TUN, WireGuard, PPP, IP in IP, GRE.
    pub tunnel: bool,
    /// The host's default gateway on that interface.
    pub gateway: Option<IpAddr>,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
