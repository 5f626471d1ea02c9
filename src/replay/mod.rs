//! A record told to the detectors again, as it was and with other settings, and what that changes.
//!
//! ```text
//!   journal ─▶ Replay ─┬─▶ Side: as recorded ─┐
//!                      └─▶ Side: as changed  ─┴─▶ compare
//! ```
//!
//! Invariants: the same record and settings give the same answer; what is missing from a record is a
//! hole, of which nothing is concluded.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::PathBuf;

use crate::detect::About;
use crate::journal::{Entry, Files, Header, Reader, Record, Trouble};
use crate::sample::SeriesId;
use crate::time::WallTime;

mod change;
mod compare;
mod side;
mod tally;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use compare::{Difference, compare, outages};
pub use side::{Key, Rules, Side};
pub use tally::{Drops, Judged, Span, Tally, between, total};

/// Why a record cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The changes do not go with it.
    #[error("{0}")]
    Change(String),
}

/// How much there is of a record, and what is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extent {
    /// Files that were read.
    pub files: u64,
    /// Runs of the daemon in them.
    pub runs: u64,
    /// The version that wrote the last of them.
    pub version: String,
    /// Samples.
    pub samples: u64,
    /// When the first sample was due.
    pub first: Option<WallTime>,
    /// When the last one was.
    pub last: Option<WallTime>,
    /// Samples that the daemon could not write down.
    pub lost: u64,
    /// Damaged lines that were left out.
    pub skipped: u64,
    /// Samples of a series that the record does not tell of.
    pub strangers: u64,
    /// Files between two others that are not there.
    pub missing: u64,
    /// Files whose last line is torn off.
    pub torn: Vec<PathBuf>,
}

/// The replay.
#[derive(Debug)]
pub struct Replay {
    before: Side,
    after: Option<Side>,
    header: Option<Header>,
    /// The series of the record, and the number each has here: those of a file may be any.
    numbers: HashMap<SeriesId, (SeriesId, About)>,
    free: Vec<SeriesId>,
    extent: Extent,
}

impl Replay {
    /// Judges as the record says, and by the rules beside it if they change anything.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let after = (!rules.is_empty()).then(|| Side::new(rules.clone(), true));
        Self {
            before: Side::new(rules, false),
            after,
            header: None,
            numbers: HashMap::new(),
            free: Vec::new(),
            extent: Extent::default(),
        }
    }

    /// Replays all files, in their order, to the end.
    ///
    /// # Errors
    /// If one cannot be read, or a change does not go with what is in there.
    pub fn run(&mut self, files: &Files, lenient: bool) -> Result<(), Error> {
        for path in files.paths() {
            let mut reader = Reader::open(path, lenient)?;
            self.read(&mut reader)?;
            if reader.torn() {
                self.extent.torn.push(path.clone());
            }
        }
        self.finish();
        Ok(())
    }

    /// Replays one file.
    ///
    /// # Errors
    /// If it cannot be read, or a change does not go with what is in there.
    pub fn read<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<(), Error> {
        self.extent.files += 1;
        while let Some(entry) = reader.next_entry()? {
            match entry {
                Entry::Header(header) => self.begin(header),
                Entry::Record(record) => self.feed(record).map_err(Error::Change)?,
            }
        }
        self.extent.skipped += reader.skipped();
        Ok(())
    }

    /// Counts what is not over as it stands.
    pub fn finish(&mut self) {
        for side in self.sides() {
            side.finish();
        }
    }

    /// What was found as the record says.
    #[must_use]
    pub const fn before(&self) -> &Side {
        &self.before
    }

    /// What was found with the changes; nothing if there are none.
    #[must_use]
    pub const fn after(&self) -> Option<&Side> {
        self.after.as_ref()
    }

    /// How much of a record there was.
    #[must_use]
    pub const fn extent(&self) -> &Extent {
        &self.extent
    }

    fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.before).chain(&mut self.after)
    }

    fn begin(&mut self, header: Header) {
        self.extent.version.clone_from(&header.version);
        let same = self.header.as_ref().filter(|last| last.run == header.run && last.outage == header.outage);
        match same.map(|last| last.file) {
            Some(last) => {
                self.extent.missing += u64::from(header.file.saturating_sub(last.saturating_add(1)));
                for side in self.sides() {
                    side.go_on(&header);
                }
            }
            None => {
                self.extent.runs += 1;
                self.numbers.clear();
                self.free.clear();
                for side in self.sides() {
                    side.restart(&header);
                }
            }
        }
        self.header = Some(header);
    }

    fn feed(&mut self, mut record: Record) -> Result<(), String> {
        match &mut record {
            Record::Place { series, placed, now, again } => {
                // Of one that is there already, nothing changes. If it is another one, what ended the
                // first is in a file that is missing.
                let other = self.numbers.get(series).filter(|(_, about)| *again && *about != placed.about);
                if let Some((number, _)) = other.cloned() {
                    self.numbers.remove(series);
                    self.free.push(number);
                    self.tell(&Record::Remove { series: number, now: *now })?;
                }
                let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
                let Self { numbers, free, .. } = self;
                let mut new = || free.pop().unwrap_or(SeriesId(next));
                let entry = numbers.entry(*series).or_insert_with(|| (new(), placed.about.clone()));
                entry.1 = placed.about.clone();
                *series = entry.0;
            }
            Record::Remove { series, .. } => {
                let Some((number, _)) = self.numbers.remove(series) else { return Ok(()) };
                self.free.push(number);
                *series = number;
            }
            Record::Sample(sample, _) => {
                self.extent.samples += 1;
                let Some((number, _)) = self.numbers.get(&sample.series) else {
                    self.extent.strangers += 1;
                    return Ok(());
                };
                sample.series = *number;
                let at = self.header.as_ref().map(|header| header.wall(sample.due));
                self.extent.first = self.extent.first.or(at);
                self.extent.last = at;
            }
            Record::Path { series, .. } => {
                let Some((number, _)) = self.numbers.get(series) else {
                    self.extent.strangers += 1;
                    return Ok(());
                };
                *series = *number;
            }
            Record::Tick { .. } => {}
            Record::Gap { lost } => self.extent.lost = self.extent.lost.saturating_add(*lost),
        }
        self.tell(&record)
    }

    fn tell(&mut self, record: &Record) -> Result<(), String> {
        self.sides().try_for_each(|side| side.feed(record))
    }
}
