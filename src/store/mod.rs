//! What outlives the process: the detectors' state and the recorded incidents, in `state_dir`.
//!
//! ```text
//!   state_dir/lock                 held while a daemon runs
//!            /state.json           the detectors and budgets, every 30 s and at stop
//!            /incidents/ID.json    one incident each, written anew when it changes
//!
//!   engine ──Feed (bounded)──▶ thread "store" ──▶ files
//!                                   └──▶ Shelf ◀── web side
//! ```
//!
//! Nothing here is needed to probe: a disk that is full, missing or read-only is said once in the log,
//! counted, and tried again with the next thing to be written.
//! Invariants: the engine never waits for a file; whenever the process ends, each file is whole; what is
//! read at the start is trusted no more than any other input.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::detect::Incident;
use crate::time::WallTime;

pub mod file;
pub mod shelf;
pub mod state;
pub mod wanted;

pub use shelf::{Shelf, Summary, Unshown};
pub use state::Snapshot;

use crate::time::{Timestamp, nanos};

/// Held while a daemon runs.
const LOCK: &str = "lock";
/// How much may wait to be written.
const WAITING: usize = 256;
/// From one state to the next; longer where it is so large that writing it would be work of its own.
const PAUSE: Duration = Duration::from_secs(30);
/// A state is written no faster than this on average, in bytes a second.
const PACE: u64 = 100_000;

/// What is to be kept, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory; nothing outlives the process without one.
    pub directory: Option<PathBuf>,
    /// The most bytes of incidents in it.
    pub most_bytes: u64,
}

/// Something to be kept.
enum Thing {
    State(Box<Snapshot>),
    Incident(Box<Incident>),
}

/// How the engine hands over what is to be kept. Never waits.
#[derive(Clone)]
pub struct Feed {
    sender: mpsc::SyncSender<Thing>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Nanoseconds from one state to the next.
    pause: AtomicU64,
    keeps_state: bool,
    failed: Box<dyn Fn() + Send + Sync>,
}

impl Feed {
    /// How long after one state the next is wanted; nothing if none is.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        self.shared.keeps_state.then(|| Duration::from_nanos(self.shared.pause.load(Ordering::Relaxed)))
    }

    /// Hands a state over.
    pub fn state(&self, snapshot: Snapshot) {
        self.send(Thing::State(Box::new(snapshot)));
    }

    /// Hands an incident over, new or changed.
    pub fn incident(&self, incident: Box<Incident>) {
        self.send(Thing::Incident(incident));
    }

    fn send(&self, thing: Thing) {
        // A disk that hangs: what does not fit is lost, and counted.
        if self.sender.try_send(thing).is_err() {
            (self.shared.failed)();
        }
    }
}

/// The thread that writes, and the way to end it.
pub struct Store {
    feed: Option<Feed>,
    shelf: Arc<Shelf>,
    ended: mpsc::Receiver<()>,
}

impl Store {
    /// Opens the directory and starts the thread; tells also what the process before this one left.
    /// `failed` is called for everything that could not be written.
    ///
    /// # Errors
    /// When no thread can be made. A directory that cannot be used is no error: it is said in the log.
    pub fn open(
        settings: &Settings,
        wall: WallTime,
        failed: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<(Self, Option<(Timestamp, Snapshot)>)> {
        let used = settings.directory.as_deref().is_some_and(|directory| directory.join(LOCK).exists());
        let lock = settings.directory.as_deref().map(lock);
        let (directory, lock) = match lock {
            Some(Ok(lock)) => (settings.directory.clone(), Some(lock)),
            Some(Err(problem)) => {
                tracing::error!("nothing is kept over a restart: {problem}");
                failed();
                // One that is merely not there yet may come.
                (settings.directory.clone().filter(|_| !problem.taken), None)
            }
            None => (None, None),
        };
        let kept = directory.as_deref().and_then(|directory| load(directory, wall, used));
        let incidents = kept.iter().flat_map(|(_, snapshot)| &snapshot.knowledge.incidents);
        let live: HashSet<String> = incidents.map(|incident| incident.id.clone()).collect();
        let shelf = Arc::new(Shelf::new(directory.clone(), settings.most_bytes));
        let shared = Arc::new(Shared {
            pause: AtomicU64::new(nanos(PAUSE)),
            keeps_state: directory.is_some(),
            failed: Box::new(failed),
        });
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let (end, ended) = mpsc::channel();
        let mut writer =
            Writer { directory, lock, shelf: Arc::clone(&shelf), shared: Arc::clone(&shared), ill: false };
        std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            writer.run(&live, &receiver);
            // Gives the lock back.
            drop(writer);
            let _ = end.send(());
        })?;
        Ok((Self { feed: Some(Feed { sender, shared }), shelf, ended }, kept))
    }

    /// How the engine hands things over.
    #[must_use]
    pub fn feed(&self) -> Option<Feed> {
        self.feed.clone()
    }

    /// The incidents.
    #[must_use]
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    /// Waits until all is written that was handed over, but no longer than this. Every other feed must
    /// have been dropped.
    pub fn close(mut self, at_most: Duration) {
        self.feed = None;
        if self.ended.recv_timeout(at_most).is_err() {
            tracing::warn!("the disk is slow: not all that was known is written");
        }
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("state_dir {}: {why}", .directory.display())]
struct Problem {
    directory: PathBuf,
    why: String,
    /// Another process has it.
    taken: bool,
}

/// Makes the directory if need be, and keeps other daemons out of it.
fn lock(directory: &Path) -> Result<File, Problem> {
    let problem = |why: String, taken| Problem { directory: directory.to_owned(), why, taken };
    let failed = |error: io::Error| problem(format!("{error}; {}", advice(&error)), false);
    fs::create_dir_all(directory).map_err(failed)?;
    let path = directory.join(LOCK);
    let file = File::options().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(problem("another vpnprobe uses it; give each daemon a directory of its own".to_owned(), true))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What to do about it.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "let the user that vpnprobe runs as write there; under systemd use StateDirectory="
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "it is read-only for this process; under systemd use StateDirectory="
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk",
        _ => "it is tried again whenever there is something to write",
    }
}

/// What the process before this one knew, and where the clock has to begin. `used`: there was one.
fn load(directory: &Path, wall: WallTime, used: bool) -> Option<(Timestamp, Snapshot)> {
    let path = directory.join(state::FILE);
    let bytes = match file::read(&path, state::LARGEST) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            if used {
                tracing::warn!(
                    "the process before this one did not come to its end, and left nothing: what it learnt is lost"
                );
            }
            return None;
        }
        Err(error) => {
            tracing::warn!("{}: {error}; beginning with nothing known", path.display());
            return None;
        }
    };
    match Snapshot::from_bytes(&bytes, wall) {
        Ok((begin, state)) => {
            let pause = begin.since(state.monotonic).as_secs();
            let known = format!("going on with what was known of {} series", state.knowledge.series.len());
            if state.ended {
                tracing::info!("{known} {pause} s ago");
            } else {
                tracing::warn!(
                    "the process before this one did not come to its end: {known} {pause} s ago; what it learnt \
                     after that is lost"
                );
            }
            Some((begin, state))
        }
        Err(why) => {
            let moved = why.is_bad().then(|| file::set_aside(&path));
            let moved = match moved {
                Some(Ok(moved)) => format!("; it is now {}", moved.display()),
                _ => String::new(),
            };
            tracing::warn!("{}: {why}; beginning with nothing known{moved}", path.display());
            None
        }
    }
}

/// What the thread has.
struct Writer {
    directory: Option<PathBuf>,
    /// Held while it lives.
    lock: Option<File>,
    shelf: Arc<Shelf>,
    shared: Arc<Shared>,
    /// The last thing could not be written.
    ill: bool,
}

impl Writer {
    fn run(&mut self, live: &HashSet<String>, things: &mpsc::Receiver<Thing>) {
        if let Some(directory) = self.directory.clone() {
            let taken = self.shelf.take_stock(&directory, live);
            self.judge(&directory, taken);
        }
        while let Ok(first) = things.recv() {
            // Of what waits, the last state says it all.
            let mut state = None;
            for thing in std::iter::once(first).chain(things.try_iter()) {
                match thing {
                    Thing::State(snapshot) => state = Some(snapshot),
                    Thing::Incident(incident) => self.shelf.put(*incident),
                }
            }
            let Some(directory) = self.directory.clone() else { continue };
            if self.lock.is_none() {
                match lock(&directory) {
                    Ok(lock) => self.lock = Some(lock),
                    Err(_) => {
                        (self.shared.failed)();
                        continue;
                    }
                }
            }
            let mut written = self.shelf.write();
            if let Some(snapshot) = state {
                written = written.and(self.save(&directory, &snapshot));
            }
            self.judge(&directory, written);
        }
    }

    fn save(&self, directory: &Path, snapshot: &Snapshot) -> io::Result<()> {
        let content = snapshot.to_bytes().map_err(io::Error::other)?;
        let pause = Duration::from_secs(content.len() as u64 / PACE).max(PAUSE);
        self.shared.pause.store(nanos(pause), Ordering::Relaxed);
        file::write(directory, state::FILE, &content)
    }

    /// Says once that writing fails, and once that it does no longer.
    fn judge(&mut self, directory: &Path, written: io::Result<()>) {
        let directory = directory.display();
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.ill) {
                    tracing::info!("state_dir {directory}: can be written again");
                }
            }
            Err(error) => {
                (self.shared.failed)();
                if !std::mem::replace(&mut self.ill, true) {
                    tracing::error!(
                        "state_dir {directory}: {error}; {}. Probing goes on; a restart now would lose what is known",
                        advice(&error)
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
