//! `state.json`: what the detectors know, for the process after this one.
//!
//! ```text
//!   {"schema":1,"bytes":18734,"sha256":"9f86…"}
//!   {"wall":…,"monotonic":…,"knowledge":{"series":[…],"incidents":[…]},"budget":{…}}
//! ```
//!
//! The first line says whether the second is whole. Times are on the monotonic clock of the process that
//! wrote it; `wall` and `monotonic` are one moment on both clocks. The next process begins to count
//! where this one would be by now: so every time in the file stays true, and the pause is nothing but a
//! hole in the evidence.
//! Invariant: the clock never goes back over a restart; a file that is not whole, not of this schema or
//! too old changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::budget::KeptBudget;
use crate::detect::kept::{Knowledge, OLDEST};
use crate::time::{Timestamp, WallTime};

/// The version of the file's form. A file of another one is not read.
pub const SCHEMA: u32 = 1;
/// The name of the file.
pub const FILE: &str = "state.json";
/// No file of ours is larger: ten thousand series with ten profiles each.
pub const LARGEST: u64 = 256 << 20;

/// What is kept of the engine over a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// When this was so, by the wall clock; nanoseconds since 1970.
    wall: i64,
    /// When this was so, by the clock that all other times are on.
    pub monotonic: Timestamp,
    /// What the detectors know.
    pub knowledge: Knowledge,
    /// What was drawn from the budgets.
    pub budget: KeptBudget,
    /// Whether that was the end: nothing was learnt after it.
    #[serde(default)]
    pub ended: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    schema: u32,
    bytes: usize,
    sha256: String,
}

/// What the first line of every version has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// Why a file of state is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It was cut short or changed, or never was one.
    #[error("it is damaged ({0})")]
    Damaged(String),
    /// Another version of the program wrote it.
    #[error("it has schema {0}, and this version reads schema {SCHEMA}")]
    Schema(u32),
    /// The wall clock says that it has not been written yet.
    #[error("the wall clock was set back since it was written, so nobody knows how long ago that was")]
    ClockSetBack,
    /// It is too old.
    #[error("it is {} min old, and after {} min what went on meanwhile is anyone's guess", .0.as_secs() / 60, OLDEST.as_secs() / 60)]
    Old(Duration),
}

impl Unusable {
    /// Whether the file is worth a look by somebody who knows.
    pub const fn is_bad(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Schema(_))
    }
}

impl Snapshot {
    /// What is so at a moment that both clocks tell.
    #[must_use]
    pub fn new(monotonic: Timestamp, wall: WallTime, knowledge: Knowledge, budget: KeptBudget) -> Self {
        Self { wall: wall.as_unix_nanos(), monotonic, knowledge, budget, ended: false }
    }

    /// As the file has it.
    ///
    /// # Errors
    /// Of the encoder; no value here has one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::to_vec(self)?;
        let header = Header { schema: SCHEMA, bytes: body.len(), sha256: sum(&body) };
        let mut out = serde_json::to_vec(&header)?;
        out.push(b'\n');
        out.extend(body);
        out.push(b'\n');
        Ok(out)
    }

    /// Reads a file, and tells where the monotonic clock has to begin.
    ///
    /// # Errors
    /// [`Unusable`] says why nothing of it may be used.
    pub fn from_bytes(bytes: &[u8], wall: WallTime) -> Result<(Timestamp, Self), Unusable> {
        let damaged = |why: &str| Unusable::Damaged(why.to_owned());
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no first line"))?;
        let (header, body) = bytes.split_at(end);
        // A later schema may have another header altogether.
        let Version { schema } = serde_json::from_slice(header).map_err(|_| damaged("its first line"))?;
        if schema != SCHEMA {
            return Err(Unusable::Schema(schema));
        }
        let header: Header = serde_json::from_slice(header).map_err(|_| damaged("its first line"))?;
        let body = body.trim_ascii();
        if body.len() != header.bytes {
            return Err(damaged("cut short"));
        }
        if sum(body) != header.sha256 {
            return Err(damaged("its checksum"));
        }
        let state: Self =
            serde_json::from_slice(body).map_err(|error| Unusable::Damaged(error.to_string()))?;
        let pause = wall.as_unix_nanos().checked_sub(state.wall).and_then(|pause| u64::try_from(pause).ok());
        let pause = Duration::from_nanos(pause.ok_or(Unusable::ClockSetBack)?);
        if pause > OLDEST {
            return Err(Unusable::Old(pause));
        }
        // Ten years is a long time for a process; beyond it the numbers are nonsense.
        if state.monotonic.since(Timestamp::ZERO) > Duration::from_secs(10 * 365 * 86_400) {
            return Err(damaged("its clock"));
        }
        Ok((state.monotonic + pause, state))
    }
}

fn sum(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WALL: WallTime = WallTime::from_unix_secs(1_795_305_600);

    fn file() -> Vec<u8> {
        let at = Timestamp::from_secs(1000);
        Snapshot::new(at, WALL, Knowledge::default(), KeptBudget::default()).to_bytes().unwrap()
    }

    fn after(seconds: u64) -> WallTime {
        WALL.after(Duration::from_secs(seconds))
    }

    #[test]
    fn the_clock_goes_on_where_it_would_be() {
        let (begin, state) = Snapshot::from_bytes(&file(), after(90)).unwrap();
        assert_eq!((begin, state.monotonic), (Timestamp::from_secs(1090), Timestamp::from_secs(1000)));
    }

    #[test]
    fn what_is_old_or_from_the_future_is_not_used() {
        assert_eq!(
            Snapshot::from_bytes(&file(), after(3601)).unwrap_err(),
            Unusable::Old(Duration::from_secs(3601))
        );
        let early = WALL.before(Duration::from_secs(1));
        assert_eq!(Snapshot::from_bytes(&file(), early).unwrap_err(), Unusable::ClockSetBack);
        let later = String::from_utf8(file()).unwrap().replacen("\"schema\":1", "\"schema\":2,\"new\":[]", 1);
        assert_eq!(Snapshot::from_bytes(later.as_bytes(), after(1)).unwrap_err(), Unusable::Schema(2));
    }

    #[test]
    fn every_proper_prefix_is_damaged() {
        let file = file();
        // The line break at the very end may be missing.
        for end in 0..file.len() - 1 {
            let error = Snapshot::from_bytes(&file[..end], after(1)).unwrap_err();
            assert!(matches!(error, Unusable::Damaged(_)), "{end}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_seen(place in any::<prop::sample::Index>(), by in 1_u8..=255) {
            let whole = file();
            let mut bytes = whole.clone();
            let place = place.index(bytes.len() - 1);
            bytes[place] = bytes[place].wrapping_add(by);
            match Snapshot::from_bytes(&bytes, after(1)) {
                // White space is nothing.
                Ok(_) => prop_assert!(bytes[place].is_ascii_whitespace() || place < whole.iter().position(|b| *b == b'\n').unwrap()),
                Err(error) => prop_assert!(error.is_bad()),
            }
        }

        #[test]
        fn rubbish_is_damaged(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Snapshot::from_bytes(&bytes, after(1)).is_err());
        }
    }
}
