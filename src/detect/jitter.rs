//! Jitter: RFC 3550, section 6.4.1, over consecutive round-trip times.
//!
//! ```text
//!   D = RTT(i) - RTT(i-1)        J += (|D| - J) / 16
//! ```
//!
//! It is the variation of the whole round trip, about 1.4 to 2 times that of one way.
//! Invariant: only two answers with no loss or refusal between them make a D.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::nanos;

/// The jitter of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Jitter {
    /// The form, and its time in nanoseconds.
    last: Option<(&'static str, u64)>,
    /// Not a number while it is not known.
    seconds: f64,
}

/// What is kept of it over a restart.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    seconds: Option<f64>,
}

impl From<Kept> for Jitter {
    fn from(Kept { seconds }: Kept) -> Self {
        Self { last: None, seconds: seconds.unwrap_or(f64::NAN) }
    }
}

impl From<Jitter> for Kept {
    fn from(jitter: Jitter) -> Self {
        Self { seconds: jitter.seconds() }
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Kept::default().into()
    }
}

impl Jitter {
    /// Whether this can have been so.
    pub(super) fn plausible(&self) -> bool {
        self.seconds().is_none_or(|seconds| (0.0..=86_400.0).contains(&seconds))
    }

    /// The jitter in seconds; nothing before two answers in a row.
    #[must_use]
    pub const fn seconds(&self) -> Option<f64> {
        if self.seconds.is_nan() { None } else { Some(self.seconds) }
    }

    /// Takes a result in. Forms of an exchange have times of their own: they are not compared.
    pub fn observe(&mut self, form: &'static str, rtt: Option<Duration>) {
        let now = rtt.map(|rtt| (form, nanos(rtt)));
        if let (Some((before, earlier)), Some((form, rtt))) = (self.last, now)
            && before == form
        {
            let d = Duration::from_nanos(rtt.abs_diff(earlier)).as_secs_f64();
            let jitter = self.seconds().unwrap_or(0.0);
            self.seconds = jitter + (d - jitter) / 16.0;
        }
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(rtts: &[Option<u64>]) -> Option<f64> {
        let mut jitter = Jitter::default();
        for rtt in rtts {
            jitter.observe("x", rtt.map(Duration::from_millis));
        }
        jitter.seconds()
    }

    /// RFC 3550, appendix A.8: j += (1/16) * (|d| - j), from 0.
    #[test]
    fn the_formula_of_rfc_3550() {
        assert_eq!(played(&[Some(20)]), None);
        assert!((played(&[Some(20), Some(36)]).unwrap() - 0.001).abs() < 1e-12);
        let expected = 0.001 + (0.016 - 0.001) / 16.0;
        assert!((played(&[Some(20), Some(36), Some(20)]).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_loss_makes_no_difference_across_its_gap() {
        assert_eq!(played(&[Some(20), None, Some(900)]), None);
        assert_eq!(played(&[Some(20), Some(36), None, Some(900)]), played(&[Some(20), Some(36)]));
    }

    #[test]
    fn forms_are_not_compared() {
        let mut jitter = Jitter::default();
        for (form, rtt) in [("version", 10), ("init", 80), ("version", 10)] {
            jitter.observe(form, Some(Duration::from_millis(rtt)));
        }
        assert_eq!(jitter.seconds(), None);
    }
}
