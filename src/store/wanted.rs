//! Which incidents somebody wants to see.

use std::time::{Duration, SystemTime};

use super::Summary;
use crate::time::WallTime;

/// Which incidents are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// At most so many, the newest.
    pub limit: usize,
    /// That began then or later.
    pub since: Option<WallTime>,
    /// Of this target only.
    pub target: Option<String>,
}

impl Wanted {
    /// How many of a list match, and the newest of them. The list has the newest first.
    #[must_use]
    pub fn of(&self, mut incidents: Vec<Summary>) -> (usize, Vec<Summary>) {
        incidents.retain(|incident| {
            self.since.is_none_or(|since| incident.began >= since)
                && self.target.as_ref().is_none_or(|target| incident.target == *target)
        });
        let total = incidents.len();
        incidents.truncate(self.limit);
        (total, incidents)
    }
}

/// A time (RFC 3339 in UTC), or an age such as `24h` at `now`.
#[must_use]
pub fn since(text: &str, now: WallTime) -> Option<WallTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        return Some(WallTime::from_unix_nanos(i64::try_from(since.as_nanos()).ok()?));
    }
    let age: Duration = humantime::parse_duration(text).ok()?;
    Some(now.before(age))
}
