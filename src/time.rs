//! Time as a value: a monotonic [`Timestamp`] and the wall clock's [`WallTime`].
//!
//! Invariant: nothing here reads a clock. The one place that does is `net::clock`; every machine is
//! handed `now`, so a test owns time.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as a count of nanoseconds; of more than 584 years, the most there is.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A point on the monotonic clock, in nanoseconds since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of the process.
    pub const ZERO: Self = Self(0);
    /// Later than every time that occurs: "no deadline".
    pub const FAR: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `millis` milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// The point `secs` seconds after the start.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long after `earlier` this is, or nothing if it is before it.
    #[must_use]
    pub fn checked_since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// The first multiple of `step` that is not before this; this itself without a step.
    #[must_use]
    pub fn ceil(self, step: Duration) -> Self {
        Self(self.0.checked_next_multiple_of(nanos(step)).unwrap_or(self.0))
    }

    /// The last multiple of `step` that is not after this; this itself without a step.
    #[must_use]
    pub fn floor(self, step: Duration) -> Self {
        Self(self.0 - self.0.checked_rem(nanos(step)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }
}

/// A point of the wall clock, in nanoseconds since 1970-01-01T00:00:00Z. Never used for durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(i64);

impl WallTime {
    /// The point `nanos` nanoseconds after the epoch.
    #[must_use]
    pub const fn from_unix_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The point `secs` seconds after the epoch.
    #[must_use]
    pub const fn from_unix_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_unix_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Seconds since the epoch with their fraction, as metrics export them.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a metric is a double; microseconds survive until 2255")]
    pub fn as_unix_seconds_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_unix_nanos(self) -> i64 {
        self.0
    }

    /// The point this much later, as far as the wall clock is not set meanwhile.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The point this much earlier, as far as the wall clock was not set meanwhile.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with milliseconds; times before 1970 are shown as 1970.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_nanos(u64::try_from(self.0).unwrap_or(0));
        let shown = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since);
        fmt::Display::fmt(&shown, f)
    }
}

impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From RFC 3339 in UTC.
impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("{text:?} is no RFC 3339 time in UTC from 1970 on"));
        let time = humantime::parse_rfc3339(&text).map_err(|_| wrong())?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| wrong())?;
        i64::try_from(since.as_nanos()).map(Self).map_err(|_| wrong())
    }
}

/// Where `now` comes from; the real one is `net::clock`, tests have one they move by hand.
pub trait Clock: Send + Sync {
    /// The monotonic time.
    fn now(&self) -> Timestamp;
    /// The wall time.
    fn wall(&self) -> WallTime;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::FAR + Duration::from_secs(1), Timestamp::FAR);
        assert_eq!(Timestamp::ZERO - Duration::from_secs(1), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.since(Timestamp::from_secs(1)), Duration::ZERO);
        assert_eq!(Timestamp::ZERO.checked_since(Timestamp::from_secs(1)), None);
    }

    #[test]
    fn ticks_are_multiples_of_their_step() {
        let tick = Duration::from_millis(5);
        let ceil = |nanos| Timestamp::from_nanos(nanos).ceil(tick).as_nanos();
        assert_eq!([0, 1, 5_000_000, 5_000_001].map(ceil), [0, 5_000_000, 5_000_000, 10_000_000]);
        assert_eq!(Timestamp::FAR.ceil(tick), Timestamp::FAR);
        let floor = |nanos| Timestamp::from_nanos(nanos).floor(tick).as_nanos();
        assert_eq!([0, 4_999_999, 5_000_000, 5_000_001].map(floor), [0, 0, 5_000_000, 5_000_000]);
        let any = Timestamp::from_nanos(7);
        assert_eq!((any.ceil(Duration::ZERO), any.floor(Duration::ZERO)), (any, any));
    }

    #[test]
    fn wall_time_is_rfc_3339_utc() {
        // 2026-11-22T00:00:00Z by `date -u -d @1795305600`.
        assert_eq!(WallTime::from_unix_secs(1_795_305_600).to_string(), "2026-11-22T00:00:00.000Z");
        assert_eq!(WallTime::from_unix_nanos(-1).as_unix_secs(), -1);
        let text = "\"2026-11-22T00:00:00.000Z\"";
        let time: WallTime = serde_json::from_str(text).unwrap();
        assert_eq!(
            (time.as_unix_secs(), serde_json::to_string(&time).unwrap()),
            (1_795_305_600, text.into())
        );
        assert!(serde_json::from_str::<WallTime>("\"1969-12-31T23:59:59Z\"").is_err());
        assert!(serde_json::from_str::<WallTime>("\"yesterday\"").is_err());
    }
}
