//! How long a NAT remembers an idle flow: which trials narrow it down.
//!
//! Each trial leaves a flow idle for a time of our choice and finds it remembered or forgotten. The times
//! double until one is forgotten, then halve the rest between.
//! Invariants: that it lived is proved by one trial; that it was forgotten is believed when two trials say
//! it, since loss can look like it. What contradicts a proof is dropped. The trials are few, whatever they
//! show.
//!
//! RFC 5780 (4.6: the search); RFC 4787 (4.3: two minutes at the least, five by recommendation).

use std::fmt;
use std::time::Duration;

use crate::sample::binding::{Binding, Unmeasured};
use crate::words;

words! {
    /// Which bound of a time that is known to lie between two.
    pub enum Bound {
        /// It is this long or longer.
        AtLeast = "at_least",
        /// It is this long or shorter.
        AtMost = "at_most",
    }
}

/// How long a flow may be idle and is still remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// This long at the least; nothing before the first trial that found it remembered.
    pub at_least: Option<Duration>,
    /// This long at the most; nothing if it was never found forgotten twice.
    pub at_most: Option<Duration>,
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |time: Duration| time.as_secs_f64();
        match (self.at_least, self.at_most) {
            (Some(low), Some(high)) => write!(f, "{:.1} s to {:.1} s", secs(low), secs(high)),
            (Some(low), None) => write!(f, "{:.1} s or longer", secs(low)),
            (None, Some(high)) => write!(f, "{:.1} s or shorter", secs(high)),
            (None, None) => f.write_str("not known yet"),
        }
    }
}

/// One search.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The longest that lived: as asked for, and as measured.
    lived: Option<(Duration, Duration)>,
    /// What was forgotten, as asked for and as measured, the shortest first.
    forgotten: Vec<(Duration, Duration)>,
    trials: u32,
    /// Trials in a row that showed nothing.
    failed: u32,
    unmeasured: Option<Unmeasured>,
}

impl Search {
    /// The first time tried. With its doubles it stays clear of the round figures that NATs have.
    pub const FIRST: Duration = Duration::from_secs(6);
    /// The longest: no keepalive is rarer.
    pub const LONGEST: Duration = Duration::from_secs(384);
    /// The most trials.
    pub const TRIALS: u32 = 24;
    /// So many in a row without a result end it.
    const FAILED: u32 = 4;
    /// Closer than this to each other the bounds are close enough.
    const CLOSE: Duration = Duration::from_secs(1);

    /// How long the next trial is to leave its flow idle; nothing if there is nothing more to learn.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        if self.unmeasured.is_some() || self.trials >= Self::TRIALS || self.failed >= Self::FAILED {
            return None;
        }
        let lived = self.lived.map(|(asked, _)| asked);
        let Some((shortest, _)) = self.forgotten.first().copied() else {
            let next = lived.map_or(Self::FIRST, |lived| lived * 2);
            return (next <= Self::LONGEST).then_some(next);
        };
        let low = lived.unwrap_or_default();
        let gap = shortest.saturating_sub(low);
        if gap <= Self::CLOSE.max(low / 8) {
            let sure = self.forgotten.iter().filter(|(asked, _)| *asked == shortest).count() > 1;
            return (!sure).then_some(shortest);
        }
        Some(low + gap / 2)
    }

    /// Takes in what a trial of this time showed; nothing if it is no evidence.
    pub fn take(&mut self, idle: Duration, seen: Option<Binding>) {
        self.trials += 1;
        self.failed += 1;
        match seen {
            None => return,
            Some(Binding::Unmeasured(why)) => self.unmeasured = Some(why),
            Some(Binding::Lived(time)) => {
                let (asked, measured) = self.lived.unwrap_or_default();
                self.lived = Some((asked.max(idle), measured.max(time)));
            }
            Some(Binding::Forgotten(time)) => {
                self.forgotten.push((idle, time));
                self.forgotten.sort_unstable();
            }
        }
        self.failed = 0;
        if let Some((asked, measured)) = self.lived {
            self.forgotten.retain(|(idle, time)| *idle > asked && *time > measured);
        }
    }

    /// What is known so far.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let mut times: Vec<Duration> = self.forgotten.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        // The second shortest: what was forgotten within the shortest is so within it, too.
        Lifetime { at_least: self.lived.map(|(_, time)| time), at_most: times.get(1).copied() }
    }

    /// Why this server cannot tell, if it cannot.
    #[must_use]
    pub const fn unmeasured(&self) -> Option<Unmeasured> {
        self.unmeasured
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Searches a NAT with that lifetime; `seen` says what a trial shows instead of the truth.
    fn search(lifetime: Duration, mut seen: impl FnMut(Duration, Binding) -> Option<Binding>) -> Search {
        let mut search = Search::default();
        while let Some(idle) = search.next() {
            let truth = if idle < lifetime {
                Binding::Lived(idle)
            } else {
                Binding::Forgotten(idle + Duration::from_secs(1))
            };
            search.take(idle, seen(idle, truth));
            assert!(search.trials <= Search::TRIALS);
        }
        search
    }

    #[test]
    fn thirty_seconds() {
        let mut asked = Vec::new();
        let found = search(secs(30), |idle, truth| {
            asked.push(idle.as_millis());
            Some(truth)
        });
        // The last one is asked twice.
        assert_eq!(asked, [6000, 12_000, 24_000, 48_000, 36_000, 30_000, 27_000, 30_000]);
        assert_eq!(found.lifetime(), Lifetime { at_least: Some(secs(27)), at_most: Some(secs(31)) });
    }

    #[test]
    fn no_nat_has_no_upper_bound() {
        let found = search(secs(100_000), |_, truth| Some(truth));
        assert_eq!(found.lifetime(), Lifetime { at_least: Some(secs(384)), at_most: None });
        assert_eq!((found.trials, found.unmeasured()), (7, None));
    }

    #[test]
    fn what_looked_forgotten_once_is_refuted() {
        let mut once = true;
        let found = search(secs(50), |idle, truth| {
            let lie = idle == secs(24) && std::mem::take(&mut once);
            Some(if lie { Binding::Forgotten(secs(25)) } else { truth })
        });
        let Lifetime { at_least, at_most } = found.lifetime();
        assert!(at_least > Some(secs(40)) && at_least <= Some(secs(50)), "{at_least:?}");
        assert!(at_most >= Some(secs(50)) && at_most < Some(secs(60)), "{at_most:?}");
    }

    #[test]
    fn a_server_that_cannot_tell_is_asked_once() {
        let found = search(secs(50), |_, _| Some(Binding::Unmeasured(Unmeasured::Ignored)));
        assert_eq!((found.trials, found.unmeasured()), (1, Some(Unmeasured::Ignored)));
        assert_eq!(found.lifetime(), Lifetime::default());
    }

    #[test]
    fn an_outage_ends_it_and_keeps_what_was_proved() {
        let mut left = 2;
        let found = search(secs(50), |_, truth| {
            left -= i32::from(left > 0);
            (left > 0).then_some(truth)
        });
        assert_eq!(found.trials, 1 + Search::FAILED);
        assert_eq!(found.lifetime(), Lifetime { at_least: Some(secs(6)), at_most: None });
    }

    proptest! {
        #[test]
        fn the_bounds_hold_and_are_close(millis in 100u64..600_000, silent in any::<u32>()) {
            let lifetime = Duration::from_millis(millis);
            let mut trial = 0;
            let found = search(lifetime, |_, truth| {
                trial += 1;
                (silent >> (trial % 16) & 0b111 != 0b111).then_some(truth)
            });
            let Lifetime { at_least, at_most } = found.lifetime();
            prop_assert!(at_least.is_none_or(|low| low <= lifetime));
            prop_assert!(at_most.is_none_or(|high| high >= lifetime));
            if silent == 0 {
                let (low, high) = (at_least.unwrap_or_default(), at_most.unwrap_or(Duration::MAX));
                let close = high.saturating_sub(low) <= secs(2).max(low / 8) + secs(1);
                prop_assert!(close || low >= Search::LONGEST, "{low:?} {high:?}");
            }
        }

        /// Whatever trials say, there are few, and none is longer than the longest.
        #[test]
        fn a_search_ends(said in prop::collection::vec((any::<bool>(), 0u64..1_000_000), 32)) {
            let mut said = said.into_iter();
            let found = search(secs(1), |idle, _| {
                assert!(idle <= Search::LONGEST);
                let (lived, millis) = said.next()?;
                let time = Duration::from_millis(millis);
                Some(if lived { Binding::Lived(time) } else { Binding::Forgotten(time) })
            });
            let Lifetime { at_least, at_most } = found.lifetime();
            prop_assert!(at_least.is_none() || at_most.is_none_or(|high| Some(high) > at_least));
        }
    }
}
