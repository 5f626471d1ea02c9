//! Another timer for a profile, in the words of its vendor.
//!
//! Invariant: a changed profile follows the rules of a configured one; what a vendor's box would ignore
//! is refused, not ignored.

use std::time::Duration;

use crate::detect::dpd::{Mode, Profile};

const LEAST: Duration = Duration::from_millis(100);
const DAY: Duration = Duration::from_secs(86_400);
const TRIES: u8 = 100;
/// As in the configuration: more idle times than this in a timeout are not worth counting.
const PINGS: usize = 64;

/// What of a profile a word sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Idle,
    Retry,
    Tries,
    /// Transmissions after the first.
    Retransmissions,
    Backoff,
    RetryLimit,
    Timeout,
}

use Field::{Backoff, Idle, Retransmissions, Retry, RetryLimit, Timeout, Tries};

/// The words of the profiles themselves, which the configuration has too, and their short forms.
const OWN: &[(&str, &[Field])] = &[
    ("idle", &[Idle]),
    ("retry", &[Retry]),
    ("tries", &[Tries]),
    ("retry_count", &[Tries]),
    ("backoff", &[Backoff]),
    ("retry_limit", &[RetryLimit]),
    ("limit", &[RetryLimit]),
    ("timeout", &[Timeout]),
];

/// How the vendors call them: the profiles whose name begins so, the word, what it sets there.
const VENDORS: &[(&str, &str, &[Field])] = &[
    ("fortigate", "dpd-retrycount", &[Tries]),
    // One number is both: how long nothing was heard, and from one question to the next.
    ("fortigate", "dpd-retryinterval", &[Idle, Retry]),
    ("strongswan", "dpd_delay", &[Idle]),
    ("strongswan", "retransmit_timeout", &[Retry]),
    ("strongswan", "retransmit_base", &[Backoff]),
    ("strongswan", "retransmit_tries", &[Retransmissions]),
    ("strongswan", "retransmit_limit", &[RetryLimit]),
    ("cisco_asa", "threshold", &[Idle]),
    ("cisco_ios", "keepalive", &[Idle]),
    ("juniper", "interval", &[Idle, Retry]),
    ("juniper", "threshold", &[Tries]),
    ("paloalto_monitor", "interval", &[Idle, Retry]),
    ("paloalto_monitor", "threshold", &[Tries]),
    ("openvpn", "ping", &[Idle]),
    ("openvpn", "ping-restart", &[Timeout]),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Time(Duration),
    Count(u8),
    Factor(f64),
}

/// `NAME[,key=value…]`: a profile, and what is to be different.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The profile's name.
    pub name: String,
    /// The changes as they were written, `key value`, for people; empty if there are none.
    pub words: String,
    edits: Vec<(Field, Value)>,
}

/// Reads a change.
///
/// # Errors
/// What is wrong with it, and what there is instead.
impl std::str::FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default().trim().to_owned();
        let (mut words, mut edits) = (Vec::new(), Vec::new());
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?}: expected KEY=VALUE"))?;
            let (key, value) = (key.trim(), value.trim());
            if name == "fortigate_ikev2" && key.starts_with("dpd-") {
                return Err(format!(
                    "{key}: with IKEv2 a FortiGate keeps to its own schedule, whatever this says"
                ));
            }
            for field in fields(&name, key)? {
                edits.push((*field, field.value(value).map_err(|why| format!("{key}={value}: {why}"))?));
            }
            words.push(format!("{key} {value}"));
        }
        Ok(Self { name, words: words.join(", "), edits })
    }
}

fn fields(name: &str, key: &str) -> Result<&'static [Field], String> {
    let vendors = || VENDORS.iter().filter(|(begin, ..)| name.starts_with(begin));
    let vendor = vendors().find(|(_, word, _)| *word == key).map(|(_, _, fields)| *fields);
    let own = || OWN.iter().find(|(word, _)| *word == key).map(|(_, fields)| *fields);
    vendor.or_else(own).ok_or_else(|| {
        let own = OWN.iter().map(|(word, _)| *word);
        let known: Vec<&str> = own.chain(vendors().map(|(_, word, _)| *word)).collect();
        format!("{key:?} is no timer of {name}; there are: {}", known.join(", "))
    })
}

impl Field {
    fn value(self, text: &str) -> Result<Value, String> {
        match self {
            Idle | Retry | RetryLimit | Timeout => {
                let time = time(text)?;
                if !(LEAST..=DAY).contains(&time) {
                    return Err("must be from 100ms to 1d".to_owned());
                }
                Ok(Value::Time(time))
            }
            Tries | Retransmissions => {
                let least = if self == Tries { 2 } else { 1 };
                let count = text.parse().ok().filter(|count| (least..=TRIES).contains(count));
                count.map(Value::Count).ok_or_else(|| format!("must be a number from {least} to {TRIES}"))
            }
            Backoff => {
                let factor = text.parse().ok().filter(|factor| (1.0..=10.0).contains(factor));
                factor.map(Value::Factor).ok_or_else(|| "must be a number from 1 to 10".to_owned())
            }
        }
    }
}

/// A number alone is seconds, as the vendors have it.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .or_else(|| humantime::parse_duration(text).ok())
        .ok_or_else(|| "expected seconds or a time, for example 10 or 500ms".to_owned())
}

impl Change {
    /// What to call the profile when it is changed.
    #[must_use]
    pub fn label(&self) -> String {
        if self.words.is_empty() { self.name.clone() } else { format!("{} with {}", self.name, self.words) }
    }

    /// The profile with these changes.
    ///
    /// # Errors
    /// If they do not go with it.
    pub fn apply(&self, base: &Profile) -> Result<Profile, String> {
        if self.edits.is_empty() {
            return Ok(base.clone());
        }
        let last = |field: Field| {
            self.edits.iter().rev().find(|(other, _)| *other == field).map(|(_, value)| *value)
        };
        let time = |field| {
            last(field).and_then(|value| if let Value::Time(time) = value { Some(time) } else { None })
        };
        let idle = time(Idle).unwrap_or(base.idle);
        let only = |meant: &[Field]| {
            let wrong = self.edits.iter().any(|(field, _)| !meant.contains(field));
            if wrong {
                Err(format!("{}: not all of these mean something with mode {}", self.label(), base.mode))
            } else {
                Ok(())
            }
        };
        if base.mode == Mode::Keepalive {
            only(&[Idle, Timeout])?;
            let timeout = time(Timeout).unwrap_or(base.idle + base.patience());
            let profile = Profile::keepalive(&base.name, idle, timeout, base.source);
            if profile.validate().is_err() || profile.waits.len() > PINGS {
                return Err(format!(
                    "{}: the timeout must be more than 2 and at most 65 idle times",
                    self.label()
                ));
            }
            return Ok(profile);
        }
        only(&[Idle, Retry, Tries, Retransmissions, Backoff, RetryLimit])?;
        let Some(mut schedule) = Schedule::of(base) else {
            // A list of waits that no rule makes: there is nothing to change in it but the idle time.
            only(&[Idle])?;
            return Ok(Profile { idle, ..base.clone() });
        };
        for (field, value) in &self.edits {
            match (field, value) {
                (Retry, Value::Time(retry)) => schedule.retry = *retry,
                (RetryLimit, Value::Time(limit)) => schedule.limit = *limit,
                (Backoff, Value::Factor(backoff)) => schedule.backoff = *backoff,
                (Tries, Value::Count(tries)) => schedule.tries = *tries,
                (Retransmissions, Value::Count(more)) => schedule.tries = more + 1,
                _ => {}
            }
        }
        Ok(Profile { idle, ..schedule.profile(base) })
    }
}

/// The rule behind a row of waits.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    retry: Duration,
    tries: u8,
    backoff: f64,
    limit: Duration,
}

impl Schedule {
    /// The rule that makes a profile's waits, if there is one: each so many times the one before, up to
    /// a limit.
    fn of(profile: &Profile) -> Option<Self> {
        let (first, second) = (*profile.waits.first()?, *profile.waits.get(1)?);
        let backoff = second.div_duration_f64(first);
        let end = profile.waits.iter().rev().take(2).copied().collect::<Vec<_>>();
        let limited = backoff > 1.0 && end.first() == end.get(1);
        let limit = if limited { *end.first()? } else { DAY };
        let tries = u8::try_from(profile.waits.len()).ok()?;
        let schedule = Self { retry: first, tries, backoff, limit };
        let again = schedule.profile(profile);
        let near = |(one, other): (&Duration, &Duration)| one.abs_diff(*other) < Duration::from_micros(1);
        (again.waits.len() == profile.waits.len() && again.waits.iter().zip(&profile.waits).all(near))
            .then_some(schedule)
    }

    fn profile(&self, base: &Profile) -> Profile {
        let Self { retry, tries, backoff, limit } = *self;
        Profile::asking(&base.name, base.mode, base.idle, (retry, tries, backoff, limit), base.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::dpd::built_in;

    fn changed(text: &str) -> Result<Vec<u64>, String> {
        let change: Change = text.parse()?;
        let profile = change.apply(&Profile::named(&change.name).unwrap())?;
        let times = std::iter::once(profile.idle).chain(profile.waits);
        Ok(times.map(|time| u64::try_from(time.as_millis()).unwrap()).collect())
    }

    /// Idle time, then the waits. strongSwan's sixth try: strongswan.conf(5), 4.0 · 1.8^n.
    #[test]
    fn vendors_words_set_what_they_set_there() {
        assert_eq!(
            changed("fortigate_ikev1,dpd-retrycount=5").unwrap(),
            [20_000, 20_000, 20_000, 20_000, 20_000, 20_000]
        );
        assert_eq!(changed("fortigate_ikev1,dpd-retryinterval=5").unwrap(), [5000, 5000, 5000, 5000]);
        assert_eq!(changed("cisco_asa,threshold=30,retry=5").unwrap(), [30_000, 5000, 5000, 5000]);
        assert_eq!(changed("cisco_ios,tries=2,idle=500ms").unwrap(), [500, 3000, 3000]);
        assert_eq!(changed("strongswan,retransmit_tries=2").unwrap(), [30_000, 4000, 7200, 12_960]);
        assert_eq!(
            changed("strongswan,retransmit_base=1,retransmit_tries=3,dpd_delay=10").unwrap(),
            [10_000, 4000, 4000, 4000, 4000]
        );
        assert_eq!(changed("juniper_srx,interval=20,threshold=3").unwrap(), [20_000, 20_000, 20_000, 20_000]);
        assert_eq!(changed("openvpn,ping=5,ping-restart=12").unwrap(), [5000, 5000, 2000]);
        assert_eq!(changed("fortigate_ikev2,tries=3").unwrap(), [20_000, 3000, 6000, 12_000]);
        assert_eq!(changed("paloalto,tries=12").unwrap()[8..], [60_000, 60_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn what_does_not_go_is_refused_with_what_there_is() {
        for (text, words) in [
            ("fortigate_ikev2,dpd-retrycount=5", "keeps to its own schedule"),
            ("cisco_ios,dpd-retrycount=5", "there are: idle, retry, tries"),
            ("cisco_ios,tries", "expected KEY=VALUE"),
            ("cisco_ios,tries=1", "from 2 to 100"),
            ("cisco_ios,retry=1ms", "from 100ms to 1d"),
            ("cisco_ios,retry=-1", "expected seconds or a time"),
            ("cisco_ios,retry=1e999", "expected seconds or a time"),
            ("cisco_ios,backoff=NaN", "from 1 to 10"),
            ("cisco_ios,timeout=60", "mean something with mode on_demand"),
            ("openvpn,retry=3", "mean something with mode keepalive"),
            ("openvpn,timeout=15", "more than 2"),
        ] {
            let error = changed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn every_built_in_schedule_follows_a_rule() {
        for profile in built_in().into_iter().filter(|profile| profile.mode != Mode::Keepalive) {
            assert!(Schedule::of(&profile).is_some(), "{}", profile.name);
        }
        let odd = [1, 5, 2].map(Duration::from_secs).to_vec();
        let odd = Profile { waits: odd, ..Profile::named("aws").unwrap() };
        assert!(Schedule::of(&odd).is_none());
    }
}
