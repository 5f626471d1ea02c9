//! vpnprobe against real servers in network namespaces. Run by `tests/run.sh`, as root, two at a time.
//!
//! `calm` takes ten minutes and stands first by its name, so that the others run beside it.
#![expect(clippy::disallowed_methods, reason = "a lab runs in real time")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_cmp,
    reason = "a test may panic; counters are whole"
)]

mod calm;
mod dashboards;
mod degraded;
mod demo;
mod dns;
mod dpd;
mod egress;
mod far;
mod faults;
mod harness;
mod hostile;
mod icmp;
mod ike;
mod input;
mod inside;
mod isolation;
mod l2tp;
mod nat;
mod openvpn;
mod overflow;
mod overload;
mod own_faults;
mod path;
mod prometheus;
mod reference;
mod reroute;
mod routes;
mod serve;
mod session;
mod soak;
mod threads;
mod tls;
mod twin;
mod ways;
