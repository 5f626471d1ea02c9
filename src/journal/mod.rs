//! The journal: all that the detectors were told, on disk, to be told again.
//!
//! ```text
//!   engine thread                               writer thread
//!   Input ─▶ Intake ─▶ Collector
//!              └─▶ Recorder ──bounded channel──▶ Writer ─▶ DIR/vpnprobe-….jsonl ─▶ Reader
//! ```
//!
//! One JSON text a line: people send these files, so they are to be looked at with the tools people
//! have. A sample is an array of some 60 octets; what is rare has words. Each file begins with a header
//! that ties the monotonic clock to the wall's, and with the series that there are: it can be read when
//! those before it are gone.
//! Invariants: the engine never waits for the disk, and what it could not hand over is counted in a gap
//! record; only what a detector looks at is written, so no secret and nothing a peer said.

use std::borrow::Cow;

use crate::detect::liveness::Thresholds;
use crate::detect::path::Sight;
use crate::detect::{Bearing, Input, Placed};
use crate::sample::{Report, Sample, SeriesId};
use crate::time::{Timestamp, WallTime};

mod line;
mod name;
mod read;
mod recorder;
mod write;

#[cfg(test)]
mod tests;

pub use line::{parse, write_header, write_record};
pub use read::{Files, LONGEST, Reader, Trouble};
pub use recorder::{Intake, Recorder};
pub use write::Settings;

/// The version of the format; a reader refuses later ones. The first had no records of paths.
pub const SCHEMA: u32 = 2;

/// How every file begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The version of the program that wrote it.
    pub version: String,
    /// When that program began to write: the same in all its files.
    pub run: WallTime,
    /// Counts the files of a run, from 1.
    pub file: u32,
    /// The wall clock when the file was begun.
    pub wall: WallTime,
    /// The monotonic clock at the same moment.
    pub now: Timestamp,
    /// What was an outage.
    pub outage: Thresholds,
}

impl Header {
    /// The wall clock at a point of the monotonic one.
    #[must_use]
    pub fn wall(&self, at: Timestamp) -> WallTime {
        let nanos = |time: u64| i128::from(time);
        let wall = i128::from(self.wall.as_unix_nanos()) + nanos(at.as_nanos()) - nanos(self.now.as_nanos());
        WallTime::from_unix_nanos(i64::try_from(wall).unwrap_or(if wall < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// One thing the detectors were told, or were not.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// [`Input::Place`].
    Place {
        /// Its number.
        series: SeriesId,
        /// What it is.
        placed: Box<Placed>,
        /// Since when.
        now: Timestamp,
        /// It is there already, and is told again for whoever begins with this file.
        again: bool,
    },
    /// [`Input::Remove`].
    Remove {
        /// Its number.
        series: SeriesId,
        /// Since when.
        now: Timestamp,
    },
    /// [`Input::Sample`], without what no detector looks at.
    Sample(Sample, Bearing),
    /// [`Input::Path`].
    Path {
        /// The series of the traces.
        series: SeriesId,
        /// What it showed.
        sight: Sight,
    },
    /// [`Input::Tick`].
    Tick {
        /// The monotonic time.
        now: Timestamp,
        /// The wall time.
        wall: WallTime,
    },
    /// Here some samples are missing: the disk was too slow, or full.
    Gap {
        /// How many.
        lost: u64,
    },
}

impl Record {
    /// What is to be written of an input.
    #[must_use]
    pub fn of(input: &Input<'_>) -> Self {
        match *input {
            Input::Place { series, placed, now } => {
                Self::Place { series, placed: Box::new(placed.clone()), now, again: false }
            }
            Input::Remove { series, now } => Self::Remove { series, now },
            Input::Path { series, sight } => Self::Path { series, sight },
            Input::Tick { now, wall } => Self::Tick { now, wall },
            Input::Sample(sample, bearing) => {
                let Sample { series, seq, form, due, sent, done, .. } = *sample;
                let report = Report { rtt: sample.report.rtt, ..Report::new(sample.report.outcome) };
                Self::Sample(Sample { series, seq, form, due, sent, done, report }, bearing)
            }
        }
    }

    /// What a collector is to be told; nothing of a gap.
    #[must_use]
    pub fn input(&self) -> Option<Input<'_>> {
        Some(match self {
            Self::Place { series, placed, now, .. } => Input::Place { series: *series, placed, now: *now },
            Self::Remove { series, now } => Input::Remove { series: *series, now: *now },
            Self::Sample(sample, bearing) => Input::Sample(sample, *bearing),
            Self::Path { series, sight } => Input::Path { series: *series, sight: *sight },
            Self::Tick { now, wall } => Input::Tick { now: *now, wall: *wall },
            Self::Gap { .. } => return None,
        })
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A file begins.
    Header(Header),
    /// What happened next.
    Record(Record),
}

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub Cow<'static, str>);
