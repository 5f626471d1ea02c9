//! The recorded incidents: one file each, the oldest go when there are too many.
//!
//! Without a directory, and while a file cannot be written, the latest are kept in memory instead.
//! Invariants: what is listed can be shown; however many incidents there are, memory and disk hold a
//! bounded number of them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::file;
use crate::detect::Incident;
use crate::detect::incident::{self, Cause, IncidentKind, IncidentState};
use crate::time::WallTime;

/// The most incidents on disk.
pub const MOST: usize = 1000;
/// The most that are held in memory, and their size in all.
const HELD: usize = 50;
const HELD_BYTES: u64 = 8 << 20;
/// No incident is larger: its recorder sees to that.
const LARGEST: u64 = 16 << 20;
/// Files that were set aside are for somebody to look at, but not for ever.
const BAD: usize = 8;
/// The longest id.
const ID: usize = 105;

/// The head of an incident, as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of the incident's JSON shape.
    pub schema: u32,
    /// Its id, which sorts by time.
    pub id: String,
    /// The target's name.
    pub target: String,
    /// What it is.
    pub kind: IncidentKind,
    /// Whether it is over.
    pub state: IncidentState,
    /// When it began.
    pub began: WallTime,
    /// When it ended.
    pub ended: Option<WallTime>,
    /// From the one to the other.
    pub seconds: Option<f64>,
    /// Its cause, once it is judged.
    pub cause: Option<Cause>,
}

impl From<&Incident> for Summary {
    fn from(incident: &Incident) -> Self {
        Self {
            schema: incident.schema,
            id: incident.id.clone(),
            target: incident.target.clone(),
            kind: incident.kind,
            state: incident.state,
            began: incident.began,
            ended: incident.ended,
            seconds: incident.seconds,
            cause: incident.cause,
        }
    }
}

/// Why an incident cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Unshown {
    /// There is none.
    #[error("there is no incident of this id")]
    None,
    /// The file system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not one of ours.
    #[error("the file is no incident: {0}")]
    Damaged(String),
}

/// Whether a word can be the id of an incident, and so the name of its file.
#[must_use]
pub fn is_id(word: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    word.len() <= ID && word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(good)
}

/// Where the files of incidents are.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("incidents")
}

fn name(id: &str) -> String {
    format!("{id}.json")
}

/// The incident of a file.
///
/// # Errors
/// [`Unshown`] says what is wrong with it.
pub fn read(state_dir: &Path, id: &str) -> Result<Incident, Unshown> {
    if !is_id(id) {
        return Err(Unshown::None);
    }
    let content = file::read(&folder(state_dir).join(name(id)), LARGEST)?.ok_or(Unshown::None)?;
    parse(&content, id)
}

fn parse<T: for<'de> Deserialize<'de>>(content: &[u8], id: &str) -> Result<T, Unshown> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
        id: String,
    }
    let damaged = |error: serde_json::Error| Unshown::Damaged(error.to_string());
    let head: Head = serde_json::from_slice(content).map_err(damaged)?;
    if head.schema != incident::SCHEMA {
        return Err(Unshown::Damaged(format!("schema {} is of another version", head.schema)));
    }
    if head.id != id {
        return Err(Unshown::Damaged("its name is not its id".to_owned()));
    }
    serde_json::from_slice(content).map_err(damaged)
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Found {
    /// The incidents with the sizes of their files, the oldest first.
    pub incidents: Vec<(Summary, u64)>,
    /// Files that cannot be read, and why.
    pub bad: Vec<(PathBuf, Unshown)>,
    /// Files that were set aside before, the oldest first.
    pub aside: Vec<PathBuf>,
    /// Files that were left behind in the middle of being written.
    pub unfinished: Vec<PathBuf>,
}

/// Looks through a directory; one that is not there holds nothing.
///
/// # Errors
/// Those of the file system.
pub fn look(state_dir: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let entries = match fs::read_dir(folder(state_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if file::is_unfinished(file_name) {
            found.unfinished.push(path);
        } else if file::is_bad(file_name) {
            found.aside.push(path);
        } else if let Some(id) = file_name.strip_suffix(".json").filter(|id| is_id(id)) {
            let read = file::read(&path, LARGEST).map_err(Unshown::Io);
            let content = match read {
                Ok(Some(content)) => content,
                Ok(None) => continue, // gone meanwhile
                Err(error) => {
                    found.bad.push((path, error));
                    continue;
                }
            };
            match parse(&content, id) {
                Ok(summary) => found.incidents.push((summary, content.len() as u64)),
                Err(error) => found.bad.push((path, error)),
            }
        }
    }
    found.incidents.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    found.aside.sort();
    Ok(found)
}

/// One incident on the shelf.
#[derive(Debug)]
struct Book {
    summary: Summary,
    bytes: u64,
    /// The whole of it, while it is in no file.
    held: Option<Arc<Incident>>,
}

/// All incidents that are known. The store writes, the web side reads.
#[derive(Debug, Default)]
pub struct Shelf {
    directory: Option<PathBuf>,
    /// The most bytes on disk.
    most_bytes: u64,
    books: Mutex<BTreeMap<String, Book>>,
}

impl Shelf {
    pub(super) fn new(directory: Option<PathBuf>, most_bytes: u64) -> Self {
        Self { directory, most_bytes, books: Mutex::default() }
    }

    /// The newest, the newest first.
    #[must_use]
    pub fn latest(&self, most: usize) -> Vec<Summary> {
        self.books().values().rev().take(most).map(|book| book.summary.clone()).collect()
    }

    fn books(&self) -> MutexGuard<'_, BTreeMap<String, Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All incidents, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Summary> {
        self.books().values().rev().map(|book| book.summary.clone()).collect()
    }

    /// One incident. Reads a file: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`Unshown`] says why it cannot be shown.
    pub fn show(&self, id: &str) -> Result<Incident, Unshown> {
        let held = match self.books().get(id) {
            None => return Err(Unshown::None),
            Some(book) => book.held.clone(),
        };
        match (held, &self.directory) {
            (Some(incident), _) => Ok(Incident::clone(&incident)),
            (None, Some(directory)) => read(directory, id),
            (None, None) => Err(Unshown::None),
        }
    }

    /// Takes up what earlier processes left in the directory. What is open and not among `live`, which
    /// go on, is closed: its end was not seen.
    pub(super) fn take_stock(&self, directory: &Path, live: &HashSet<String>) -> io::Result<()> {
        let found = look(directory)?;
        for path in &found.unfinished {
            let _ = fs::remove_file(path);
        }
        let mut aside = found.aside;
        for (path, why) in found.bad {
            // A disk that cannot be read today may be tomorrow; what is in the file says no for good.
            if matches!(why, Unshown::Damaged(_)) {
                let moved = file::set_aside(&path)?;
                tracing::warn!("{}: {why}; it is now {}", path.display(), moved.display());
                aside.push(moved);
            }
        }
        for path in aside.iter().rev().skip(BAD) {
            let _ = fs::remove_file(path);
        }
        let mut orphans = Vec::new();
        let mut books = self.books();
        for (summary, bytes) in found.incidents {
            if summary.state == IncidentState::Open && !live.contains(&summary.id) {
                orphans.push(summary.id.clone());
            }
            books.entry(summary.id.clone()).or_insert(Book { summary, bytes, held: None });
        }
        drop(books);
        for id in orphans {
            // One that cannot be read stays as it is.
            if let Ok(mut incident) = read(directory, &id) {
                incident.state = IncidentState::Closed;
                self.put(incident);
            }
        }
        self.make_room();
        self.write()
    }

    /// Puts an incident there, or the new form of one that is there; it is held until it is
    /// [written](Self::write).
    pub(super) fn put(&self, incident: Incident) {
        debug_assert!(is_id(&incident.id), "{}", incident.id);
        if !is_id(&incident.id) {
            return;
        }
        // An estimate, until its file says it exactly: so much a sample.
        let samples: usize = incident.series.iter().map(|series| series.samples.at.len()).sum();
        let bytes = 4096 + 32 * samples as u64;
        let summary = Summary::from(&incident);
        let id = incident.id.clone();
        self.books().insert(id, Book { summary, bytes, held: Some(Arc::new(incident)) });
        self.make_room();
    }

    /// Writes what is held; of what cannot be written, the first error.
    pub(super) fn write(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let waiting: Vec<_> = self.books().values().filter_map(|book| book.held.clone()).collect();
        for incident in waiting {
            let content = serde_json::to_vec(&*incident).map_err(io::Error::other)?;
            file::write(&folder(directory), &name(&incident.id), &content)?;
            if let Some(book) = self.books().get_mut(&incident.id) {
                book.bytes = content.len() as u64;
                book.held = None;
            }
            self.make_room();
        }
        Ok(())
    }

    /// Lets the oldest go, those that are over first.
    fn make_room(&self) {
        let mut books = self.books();
        loop {
            let held = books.values().filter(|book| book.held.is_some());
            let (held, held_bytes) = held.fold((0, 0), |(n, bytes), book| (n + 1, bytes + book.bytes));
            let written = books.values().filter(|book| book.held.is_none());
            let bytes: u64 = written.map(|book| book.bytes).sum();
            let memory_full = held > HELD || held_bytes > HELD_BYTES;
            let disk_full = self.directory.is_some() && (books.len() > MOST || bytes > self.most_bytes);
            if !memory_full && !disk_full || books.len() <= 1 {
                return;
            }
            let may_go = |book: &Book| book.held.is_some() || !memory_full;
            let over = |book: &Book| book.summary.state == IncidentState::Closed;
            let newest = books.keys().next_back().cloned();
            let mut oldest = books.iter().filter(|(id, book)| may_go(book) && Some(*id) != newest.as_ref());
            let goes = oldest.clone().find(|(_, book)| over(book)).or_else(|| oldest.next());
            let Some(id) = goes.map(|(id, _)| id.clone()) else { return };
            books.remove(&id);
            if let Some(directory) = &self.directory {
                // At worst it is there again after the next start, and goes then.
                let _ = fs::remove_file(folder(directory).join(name(&id)));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
