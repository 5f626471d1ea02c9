//! The writer: a thread of its own that owns the directory.
//!
//! A file is done when it is large or old; the oldest ones go when the directory gets too large. A disk
//! that refuses is tried again after a while, with a new file; what came meanwhile is a gap.
//! Invariants: no file is ever written to by two programs; a file that is done is on the disk before
//! the next is begun; only files of ours are ever deleted.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{Header, Record, write_header, write_record};
use crate::detect::Placed;
use crate::detect::liveness::Thresholds;
use crate::sample::SeriesId;
use crate::time::{Clock, Timestamp, WallTime};

const PREFIX: &str = "vpnprobe-";
const SUFFIX: &str = ".jsonl";
/// What was written is with the kernel after this time, and tried again after ten times that.
const FLUSH: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(10);

/// Where a journal is kept, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory; made if it is not there.
    pub directory: PathBuf,
    /// The oldest files go when the directory has more octets than this.
    pub most: u64,
    /// A file is done when it has so many octets of its own.
    pub file: u64,
    /// And when it is so old.
    pub age: Duration,
}

impl Settings {
    /// What a directory may hold unless something else is said: 1 GiB, some 15 million samples.
    pub const MOST: u64 = 1 << 30;
    /// Less makes no sense.
    pub const LEAST: u64 = 1 << 20;

    /// A directory that holds `most` octets, in files of an hour at most.
    #[must_use]
    pub fn new(directory: PathBuf, most: u64) -> Self {
        let most = most.max(Self::LEAST);
        Self { directory, most, file: (most / 16).min(64 << 20), age: Duration::from_secs(3600) }
    }
}

/// Whether a file of that name is part of a journal.
pub(super) fn is_journal(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// The file that is written now.
struct Current {
    out: BufWriter<File>,
    /// Octets beyond what every file begins with.
    written: u64,
    begun: Timestamp,
    flushed: Timestamp,
}

/// The writer.
pub(super) struct Writer {
    settings: Settings,
    clock: Box<dyn Clock>,
    /// Held as long as the directory is ours.
    _lock: File,
    run: WallTime,
    files: u32,
    current: Option<Current>,
    /// All series there are, for the files to come.
    standing: BTreeMap<SeriesId, (Box<Placed>, Timestamp)>,
    /// Samples that are in no file.
    lost: u64,
    /// After a failure: not before.
    again: Timestamp,
    line: Vec<u8>,
}

impl Writer {
    /// Takes the directory, and begins the first file.
    ///
    /// # Errors
    /// If that is not possible, or another program has it.
    pub fn new(settings: Settings, clock: Box<dyn Clock>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&settings.directory)?;
        let path = settings.directory.join(".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        if lock.try_lock().is_err() {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another vpnprobe writes its journal there",
            ));
        }
        let run = clock.wall();
        let mut writer = Self {
            settings,
            clock,
            _lock: lock,
            run,
            files: 0,
            current: None,
            standing: BTreeMap::new(),
            lost: 0,
            again: Timestamp::ZERO,
            line: Vec::new(),
        };
        writer.begin()?;
        Ok(writer)
    }

    /// Writes what comes until nothing can come any more.
    pub fn run(mut self, records: &Receiver<Record>) {
        loop {
            match records.recv_timeout(FLUSH) {
                Ok(record) => self.take(record),
                Err(RecvTimeoutError::Timeout) => self.attempt(Current::flush),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(current) = self.current.take()
            && let Err(error) = current.end()
        {
            tracing::error!("the end of the journal may be missing: {error}");
        }
    }

    fn take(&mut self, record: Record) {
        self.rotate();
        match &record {
            Record::Place { series, placed, now, .. } => {
                self.standing.insert(*series, (placed.clone(), *now));
            }
            Record::Remove { series, .. } => {
                self.standing.remove(series);
            }
            Record::Sample(..) | Record::Path { .. } | Record::Tick { .. } | Record::Gap { .. } => {}
        }
        if self.current.is_none() {
            self.lost += match record {
                Record::Sample(..) | Record::Path { .. } => 1,
                Record::Gap { lost } => lost,
                _ => 0,
            };
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        // Writing to memory cannot fail.
        let _ = write_record(&record, &mut line);
        self.attempt(|current, now| current.write(&line, now));
        self.line = line;
    }

    /// Does something to the current file; one that fails is left as it is.
    fn attempt(&mut self, act: impl FnOnce(&mut Current, Timestamp) -> io::Result<()>) {
        let now = self.clock.now();
        let Some(current) = &mut self.current else { return };
        if let Err(error) = act(current, now) {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        tracing::error!(
            "the journal in {} cannot be written: {error}; trying again in {} s",
            self.settings.directory.display(),
            RETRY.as_secs()
        );
        self.current = None;
        self.again = self.clock.now() + RETRY;
    }

    /// Begins the next file if it is time.
    fn rotate(&mut self) {
        let now = self.clock.now();
        match &self.current {
            Some(current)
                if current.written < self.settings.file && now.since(current.begun) < self.settings.age =>
            {
                return;
            }
            Some(_) => {
                if let Some(Err(error)) = self.current.take().map(Current::end) {
                    return self.fail(&error);
                }
            }
            None if now < self.again => return,
            None => {}
        }
        if let Err(error) = self.begin() {
            self.fail(&error);
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.prune()?;
        let out = loop {
            self.files += 1;
            match OpenOptions::new().create_new(true).write(true).mode(0o600).open(self.path()) {
                Ok(file) => break BufWriter::with_capacity(64 * 1024, file),
                // The clock was set back, or an earlier run began in the same second.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.files < 10_000 => {}
                Err(error) => {
                    self.files -= 1;
                    return Err(error);
                }
            }
        };
        let (wall, now) = (self.clock.wall(), self.clock.now());
        let mut current = Current { out, written: 0, begun: now, flushed: now };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let (run, file, outage) = (self.run, self.files, Thresholds::OUTAGE);
        write_header(&Header { version, run, file, wall, now, outage }, &mut current.out)?;
        for (series, (placed, now)) in &self.standing {
            let (series, placed) = (*series, placed.clone());
            write_record(&Record::Place { series, placed, now: *now, again: true }, &mut current.out)?;
        }
        if self.lost > 0 {
            write_record(&Record::Gap { lost: self.lost }, &mut current.out)?;
            self.lost = 0;
        }
        current.out.flush()?;
        self.current = Some(current);
        Ok(())
    }

    /// Names sort as time goes: the second the run began, then the count of its files.
    fn path(&self) -> PathBuf {
        let second = self.run.to_string();
        let digits = second.chars().filter(char::is_ascii_alphanumeric).take(15);
        let name: String = digits.collect();
        self.settings.directory.join(format!("{PREFIX}{name}Z-{:06}{SUFFIX}", self.files))
    }

    /// Makes room for a file.
    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.settings.directory)? {
            let entry = entry?;
            if is_journal(&entry.file_name()) {
                files.push((entry.path(), entry.metadata()?.len()));
            }
        }
        files.sort();
        let mut held: u64 = files.iter().map(|(_, size)| size).sum();
        for (path, size) in files {
            if held.saturating_add(self.settings.file) <= self.settings.most {
                break;
            }
            fs::remove_file(path)?;
            held = held.saturating_sub(size);
        }
        Ok(())
    }
}

impl Current {
    fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        self.out.write_all(line)?;
        self.written += line.len() as u64;
        if now.since(self.flushed) >= FLUSH { self.flush(now) } else { Ok(()) }
    }

    fn flush(&mut self, now: Timestamp) -> io::Result<()> {
        self.flushed = now;
        self.out.flush()
    }

    fn end(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_data()
    }
}
