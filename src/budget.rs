//! What a concentrator's address is spared from: one budget over all probes and targets.

use std::time::Duration;

/// The limits of a concentrator's address. A rate is so many in any `per`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Packets of all probes together, per second on average.
    pub packets_per_second: u32,
    /// Packets that may go out at once.
    pub packets_burst: u32,
    /// From one half-open IKE session to the next; never more than one at once.
    pub half_open_interval: Duration,
    /// From one L2TP tunnel to the next.
    pub l2tp_interval: Duration,
    /// From one OpenVPN hard reset to the next.
    pub openvpn_interval: Duration,
    /// TCP connections in any minute.
    pub tcp_per_minute: u32,
    /// TLS handshakes in any minute.
    pub tls_per_minute: u32,
}
