//! Reading journals that may be torn, damaged or made up.
//!
//! A program that is ended by force leaves a last line without an end: that is said and ignored. Any
//! other line that cannot be read is an error with its number, unless the reader is lenient: then it is
//! counted and left out.
//! Invariant: never more than one line is held in memory, and no line is longer than [`LONGEST`].

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::write::is_journal;
use super::{Entry, Unreadable, parse};

/// The longest line: a series with 64 profiles of 255 waits, and some room.
pub const LONGEST: usize = 512 * 1024;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The file system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// There is nothing to read.
    #[error("{}: no journal in this directory: its files are named vpnprobe-….jsonl", path.display())]
    Empty {
        /// Where.
        path: PathBuf,
    },
    /// It does not begin as a journal does.
    #[error("{}: not a journal of vpnprobe: {why}", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What is there instead.
        why: Unreadable,
    },
    /// A line is damaged.
    #[error("{}:{line}: {why}; --lenient leaves such lines out", path.display())]
    Line {
        /// Where.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: Unreadable,
    },
}

/// The files of a journal, in their order.
#[derive(Debug)]
pub struct Files(Vec<PathBuf>);

impl Files {
    /// One file, or all of a directory.
    ///
    /// # Errors
    /// If there is nothing to read.
    pub fn of(path: &Path) -> Result<Self, Trouble> {
        let failed = |error| Trouble::Io { path: path.to_owned(), error };
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Ok(Self(vec![path.to_owned()]));
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if is_journal(&entry.file_name()) {
                files.push(entry.path());
            }
        }
        if files.is_empty() {
            return Err(Trouble::Empty { path: path.to_owned() });
        }
        files.sort();
        Ok(Self(files))
    }

    /// Their paths, in their order.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

/// One file, entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    path: PathBuf,
    input: R,
    lenient: bool,
    line: u64,
    buffer: Vec<u8>,
    begun: bool,
    skipped: u64,
    torn: bool,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn open(path: &Path, lenient: bool) -> Result<Self, Trouble> {
        let file = File::open(path).map_err(|error| Trouble::Io { path: path.to_owned(), error })?;
        Ok(Self::new(path.to_owned(), BufReader::with_capacity(64 * 1024, file), lenient))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads `input`, which errors call `path`.
    pub const fn new(path: PathBuf, input: R, lenient: bool) -> Self {
        Self { path, input, lenient, line: 0, buffer: Vec::new(), begun: false, skipped: 0, torn: false }
    }

    /// Lines that were left out.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the last line is torn off.
    pub const fn torn(&self) -> bool {
        self.torn
    }

    /// The next entry; nothing at the end. The first is a header.
    ///
    /// # Errors
    /// If a line cannot be read and the reader is not lenient.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Trouble> {
        loop {
            let whole = self.read_line().map_err(|error| Trouble::Io { path: self.path.clone(), error })?;
            if !whole && (self.buffer.is_empty() || (!self.begun && self.maybe_header())) {
                // One without even a header was begun just before the end.
                self.torn |= !self.buffer.is_empty() || !self.begun;
                return Ok(None);
            }
            let parsed = if self.buffer.len() > LONGEST {
                Err(Unreadable(format!("longer than {LONGEST} octets").into()))
            } else {
                parse(&self.buffer)
            };
            match parsed {
                Ok(entry) if self.begun || matches!(entry, Entry::Header(_)) => {
                    self.begun = true;
                    return Ok(Some(entry));
                }
                Ok(_) => return Err(self.foreign(Unreadable("its first line is no header".into()))),
                Err(why) if !self.begun => return Err(self.foreign(why)),
                Err(_) if !whole => {
                    self.torn = true;
                    return Ok(None);
                }
                Err(_) if self.lenient => self.skipped += 1,
                Err(why) => return Err(Trouble::Line { path: self.path.clone(), line: self.line, why }),
            }
        }
    }

    /// Whether this may be a torn header.
    fn maybe_header(&self) -> bool {
        let start = b"{\"journal\":";
        let common = self.buffer.len().min(start.len());
        parse(&self.buffer).is_err() && self.buffer.get(..common) == start.get(..common)
    }

    fn foreign(&self, why: Unreadable) -> Trouble {
        Trouble::Foreign { path: self.path.clone(), why }
    }

    /// Reads up to the end of a line, and drops what is longer than any; false if the end is missing.
    fn read_line(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        self.line += 1;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = available.iter().position(|octet| *octet == b'\n');
            let (piece, used) = match end {
                Some(end) => (available.get(..end).unwrap_or_default(), end + 1),
                None => (available, available.len()),
            };
            let room = (LONGEST + 1).saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(piece.get(..room).unwrap_or(piece));
            let over = used == 0;
            self.input.consume(used);
            if end.is_some() || over {
                return Ok(end.is_some());
            }
        }
    }
}
