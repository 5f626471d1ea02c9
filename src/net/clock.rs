//! The one reader of the clocks.

use std::time::{Instant, SystemTime};

use crate::time::{Clock, Timestamp, WallTime};

/// The machine's clocks. Monotonic time counts from when this was made, or on from where an earlier
/// process would be by now.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
    from: Timestamp,
}

impl SystemClock {
    /// Starts counting.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
    pub fn start() -> Self {
        Self { start: Instant::now(), from: Timestamp::ZERO }
    }

    /// The same machine's clocks, but the monotonic one is at `from` when this one would be at zero.
    #[must_use]
    pub const fn counting_from(self, from: Timestamp) -> Self {
        Self { from, ..self }
    }

    /// Monotonic and wall time, read together.
    pub(super) fn both(&self) -> (Timestamp, WallTime) {
        (self.now(), self.wall())
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
    fn now(&self) -> Timestamp {
        let elapsed = Instant::now().saturating_duration_since(self.start);
        self.from + elapsed
    }

    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    fn wall(&self) -> WallTime {
        let nanos = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, i64::wrapping_neg),
        };
        WallTime::from_unix_nanos(nanos)
    }
}
