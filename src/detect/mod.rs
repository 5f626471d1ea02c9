//! Detectors: pure folds of samples into what they mean over time.
//!
//! ```text
//!   Sample ─▶ Evidence ─▶ Order ─▶ Loss · Jitter · Liveness (state, outage) · Flap ─▶ Transition
//!             (else nothing)       └──────────────── one Watch a series ────────┘
//! ```
//!
//! Invariant: a sample that is no evidence ([`Outcome::Unsent`](crate::sample::Outcome::Unsent)) changes
//! nothing.

mod about;
pub mod binding;
mod cause;
pub mod collector;
pub mod dpd;
pub mod evidence;
pub mod flap;
pub mod incident;
mod incidents;
pub mod jitter;
pub mod kept;
pub mod liveness;
pub mod loss;
pub mod mapping;
pub mod pair;
pub mod path;
mod pool;
pub mod recent;
pub mod recorder;
mod turn;
pub mod watch;
mod witness;

#[cfg(test)]
mod world;

pub use about::{About, AboutRef};
pub use collector::{Bearing, Collector, Found, Input, Placed, Track};
pub use evidence::Evidence;
pub use incident::{Incident, Stage};
pub use kept::Knowledge;
pub use watch::{Transition, Watch};
