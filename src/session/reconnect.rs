//! How long to wait before a session is set up again.
//!
//! Invariant: a peer that refuses our credentials is left alone for longer and longer, to an hour:
//! gateways lock accounts and addresses out.

use std::time::Duration;

use super::Teardown;
use crate::time::Timestamp;

/// How long a session must have been up to count as a good one.
const GOOD: Duration = Duration::from_secs(60);

/// The pauses between attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconnect {
    failures: u32,
}

impl Reconnect {
    /// The pause after a session that ended `at` for that reason, up `since`. The budget of the peer's
    /// address may hold it back for longer.
    pub fn pause(&mut self, why: Teardown, since: Option<Timestamp>, at: Timestamp) -> Duration {
        if since.is_some_and(|since| at.since(since) >= GOOD) {
            self.failures = 0;
        }
        let (first, longest) = match why {
            Teardown::AuthFailed | Teardown::PeerUnverified => (300, 3600),
            Teardown::Refused => (60, 1800),
            Teardown::NoAnswer => (15, 600),
            Teardown::RekeyRefused | Teardown::Expired | Teardown::LocalStop => (1, 60),
            Teardown::PeerDeleted | Teardown::LivenessTimeout | Teardown::LocalFault => (5, 300),
        };
        let doubled = first * (1_u64 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        Duration::from_secs(doubled.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_limit_and_a_good_session_forgives() {
        let mut reconnect = Reconnect::default();
        let mut pause = |why, up: u64| {
            let since = (up > 0).then_some(Timestamp::ZERO);
            reconnect.pause(why, since, Timestamp::from_secs(up)).as_secs()
        };
        assert_eq!([(); 5].map(|()| pause(Teardown::AuthFailed, 0)), [300, 600, 1200, 2400, 3600]);
        assert_eq!(pause(Teardown::LivenessTimeout, 3600), 5);
        assert_eq!(pause(Teardown::LivenessTimeout, 10), 10);
        assert_eq!(pause(Teardown::RekeyRefused, 3600), 1);
        for _ in 0..100 {
            assert!(pause(Teardown::NoAnswer, 0) <= 600);
        }
    }
}
