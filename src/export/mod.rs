//! What the outside sees: metrics, status as JSON, and a page, served over HTTP.
//!
//! ```text
//!   engine thread                          web thread
//!   record(sample) ──▶ atomics ──▶ Registry::encode_* ──▶ http ──▶ scraper, browser, operator
//! ```
//!
//! Invariant: the engine never waits for the web side. It writes relaxed atomics; a scrape only reads
//! them. The crates `prometheus` and `hyper` are known here and nowhere else.

pub mod http;
pub mod metrics;
pub mod page;
pub mod paths;
pub mod status;
