//! How long a NAT remembers a flow that is idle, as one trial of it showed (RFC 5780, 4.6).
//!
//! Invariant: what lived is timed from the last packet that can have refreshed the mapping to the question
//! that was answered through it, and what was forgotten the other way round: both bounds hold whatever the
//! packets took on the way.

use std::time::Duration;

use crate::words;

words! {
    /// Why the server cannot be used to measure it.
    pub enum Unmeasured {
        /// It refuses RESPONSE-PORT (RFC 5780, 7.5): mostly 420, Unknown Attribute.
        Refused = "refused",
        /// It answers to where the question came from, as if RESPONSE-PORT were not there.
        Ignored = "ignored",
        /// Its answer does not even come to a mapping that is fresh.
        Unheard = "unheard",
    }
}

impl Unmeasured {
    /// The same, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Refused => "the server refuses RESPONSE-PORT",
            Self::Ignored => "the server lacks RESPONSE-PORT",
            Self::Unheard => "no answer comes to another port than the one that asks",
        }
    }
}

/// What one trial showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The mapping was still there after being idle for this long, at the least.
    Lived(Duration),
    /// It was not there any more after being idle for this long, at the most.
    Forgotten(Duration),
    /// This server cannot tell.
    Unmeasured(Unmeasured),
}
