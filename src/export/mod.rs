//! What the outside sees: metrics, status as JSON, and a page, served over HTTP.
//!
//! ```text
//!   engine thread                          web thread
//!   record(sample) ──▶ atomics ──▶ Registry::expose ────▶ http ──▶ scraper, browser, operator
//! ```
//!
//! Invariant: a scrape never keeps the engine waiting. It writes relaxed atomics, which a scrape only
//! reads; the last hour of a series is locked for the microsecond it takes to sum it up. The crates `prometheus` and `hyper` are known here and nowhere else.

pub mod client;
pub mod http;
pub mod metrics;
pub mod page;
pub mod paths;
pub mod status;
