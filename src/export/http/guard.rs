//! Who is answered: TLS, passwords and headers by a web configuration file.
//!
//! The file and what it names are looked at again before a connection is taken, at most once a second: a
//! renewed certificate and a new password need no reload. Invariants: what is broken or would lay the
//! listeners open changes nothing, the old settings stay in force and the log says so; a password is
//! compared on a thread of its own, one at a time, and an unknown name costs what a known one does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::tls;
use crate::config::WebFile;

/// How long the files are believed to be as they were.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Logins that are remembered, of each kind.
const REMEMBERED: usize = 100;
/// No password is longer: bcrypt reads 72 bytes.
const LONGEST: usize = 1024;

/// What is asked of clients now.
pub(super) struct Settings {
    /// TLS; nothing for plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    users: BTreeMap<String, String>,
    protects: bool,
}

/// The guard of the listeners.
pub struct Guard {
    file: Option<PathBuf>,
    /// Whether a file that protects nothing is refused.
    strict: bool,
    now: Mutex<Now>,
    /// bcrypt is made to be slow: one at a time leaves the other core to the probes.
    comparing: Arc<Semaphore>,
    logins: Mutex<Logins>,
}

struct Now {
    settings: Arc<Settings>,
    /// What each file was when it was read.
    seen: Vec<Seen>,
    files: Vec<PathBuf>,
    looked: Option<Instant>,
}

type Seen = Option<(SystemTime, u64)>;

/// Digests of logins that were compared. Those that were right do not make way for wrong ones.
#[derive(Default)]
struct Logins {
    right: BTreeSet<[u8; 32]>,
    wrong: BTreeSet<[u8; 32]>,
}

/// What a request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Granted,
    Refused,
}

impl Guard {
    /// No TLS, no passwords.
    #[must_use]
    pub fn open() -> Self {
        let settings = Settings { tls: None, headers: Vec::new(), users: BTreeMap::new(), protects: false };
        Self::new(None, settings, Vec::new())
    }

    /// What a web configuration file says. Gives what is doubtful beside it.
    ///
    /// # Errors
    /// What is wrong with it or with what it names.
    pub fn from_file(file: &Path) -> Result<(Self, Vec<String>), String> {
        let (settings, files, warnings) = load(file)?;
        Ok((Self::new(Some(file.to_owned()), settings, files), warnings))
    }

    fn new(file: Option<PathBuf>, settings: Settings, files: Vec<PathBuf>) -> Self {
        let seen = files.iter().map(|file| seen(file)).collect();
        Self {
            file,
            strict: false,
            now: Mutex::new(Now { settings: Arc::new(settings), seen, files, looked: None }),
            comparing: Arc::new(Semaphore::new(1)),
            logins: Mutex::default(),
        }
    }

    /// Whether only those who show a password or a certificate are answered, over TLS.
    #[must_use]
    pub fn protects(&self) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).settings.protects
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).settings.tls.is_some()
    }

    /// From now on a file that protects nothing is refused.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The settings in force, read again if a file has changed. Blocks for reading a few small files then.
    #[expect(clippy::disallowed_methods, reason = "the pace of looking at files, no measurement")]
    pub(super) fn settings(&self) -> Arc<Settings> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &self.file else { return Arc::clone(&now.settings) };
        if now.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) {
            return Arc::clone(&now.settings);
        }
        now.looked = Some(Instant::now());
        let found: Vec<Seen> = now.files.iter().map(|file| seen(file)).collect();
        if found != now.seen {
            now.seen = found;
            match load(file) {
                Ok((settings, ..)) if self.strict && !settings.protects => {
                    tracing::error!(
                        "{}: would lay listeners beyond loopback open; the old settings stay in force",
                        file.display()
                    );
                }
                Ok((settings, files, warnings)) => {
                    for warning in warnings {
                        tracing::warn!("{}: {warning}", file.display());
                    }
                    tracing::info!("{}: read again", file.display());
                    now.seen = files.iter().map(|file| seen(file)).collect();
                    now.files = files;
                    now.settings = Arc::new(settings);
                }
                Err(problem) => tracing::error!("{problem}; the old settings stay in force"),
            }
        }
        Arc::clone(&now.settings)
    }

    /// Whether a request may be answered.
    pub(super) async fn entry(&self, settings: &Settings, headers: &HeaderMap) -> Entry {
        if settings.users.is_empty() {
            return Entry::Granted;
        }
        let Some((user, password)) = headers.get(AUTHORIZATION).and_then(basic) else {
            return Entry::Refused;
        };
        let known = settings.users.get(&user);
        // Somebody's hash in place of nobody's: the time it takes tells nothing.
        let Some(hash) = known.or_else(|| settings.users.values().next()).cloned() else {
            return Entry::Refused;
        };
        let login = digest(&[user.as_bytes(), hash.as_bytes(), &password]);
        {
            let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
            if logins.right.contains(&login) {
                return Entry::Granted;
            }
            if logins.wrong.contains(&login) {
                return Entry::Refused;
            }
        }
        let known = known.is_some();
        let Ok(turn) = Arc::clone(&self.comparing).acquire_owned().await else { return Entry::Refused };
        // The turn goes with the work: a client that hangs up starts no second comparison beside it.
        let compared = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(&password, &hash).unwrap_or(false);
            drop(turn);
            right
        });
        let right = compared.await.unwrap_or(false) && known;
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if right { &mut logins.right } else { &mut logins.wrong };
        if kind.len() >= REMEMBERED {
            kind.pop_first(); // which one that is, the digest decides: any
        }
        kind.insert(login);
        if right { Entry::Granted } else { Entry::Refused }
    }
}

/// Name and password of an `Authorization` header (RFC 7617, section 2).
fn basic(value: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > LONGEST {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at_checked(colon)?;
    Some((String::from_utf8(user.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

/// The process keeps no password, only this.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn seen(file: &Path) -> Seen {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(file: &Path) -> Result<(Settings, Vec<PathBuf>, Vec<String>), String> {
    let mut web = WebFile::read(file)?;
    let mut warnings = std::mem::take(&mut web.warnings);
    let at = |problem: String| format!("{}: {problem}", file.display());
    let tls = web.tls.as_ref().map(|written| tls::load(written, &mut warnings)).transpose().map_err(at)?;
    let mut headers = Vec::new();
    for (name, value) in &web.headers {
        let value = HeaderValue::from_str(value)
            .map_err(|_| at(format!("http_server_config.headers.{name}: cannot stand in a header")))?;
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.push((name, value));
        }
    }
    let mut files = vec![file.to_owned()];
    files.extend(web.files().map(Path::to_owned));
    let protects = web.protects();
    Ok((Settings { tls, headers, users: web.users, protects }, files, warnings))
}
