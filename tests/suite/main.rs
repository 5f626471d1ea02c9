//! The hermetic suite: no network beyond loopback, no privilege.

mod metrics;
