//! Reading the configuration at the start, in a thread that lends its memory to the engine's.
//!
//! To check ten thousand targets takes more memory for a moment than to probe them. The C library keeps memory
//! by thread, and gives what a thread had to the next one that begins. So this thread stays until the engine's
//! is to begin: no other comes in between.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::config::{Config, Loaded, Problems, environment};

/// The thread that has read it.
pub(super) struct Loader {
    thread: JoinHandle<()>,
    stay: mpsc::Sender<()>,
}

impl Loader {
    /// Reads the configuration at `path`, with the environment on top.
    ///
    /// # Errors
    /// There is no thread to be had, or it panicked.
    pub fn start(path: PathBuf) -> io::Result<(Self, Result<Loaded, Problems>)> {
        let (give, take) = mpsc::channel();
        let (stay, left) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("loader".to_owned()).spawn(move || {
            // Who asked waits for it.
            let _ = give.send(Config::load(&path, environment()));
            let _ = left.recv();
        })?;
        let loaded = take.recv().map_err(io::Error::other)?;
        Ok((Self { thread, stay }, loaded))
    }

    /// Ends the thread.
    pub fn leave(self) {
        drop(self.stay);
        // It has nothing left to panic about.
        let _ = self.thread.join();
    }
}
