//! Reading the configuration at the start, in a thread that lends its memory to the engine's.
//!
//! To check ten thousand targets takes more memory for a moment than to probe them. The allocator keeps memory
//! by thread, and gives what a thread had to the next one that needs some. So this thread stays until the
//! engine's is to begin: no other comes in between. And it stays until what it freed has been free for so
//! long that the allocator gives it back to the kernel: at the thread's end, or never.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::{Config, Loaded, Problems, environment};

/// From the last piece that was freed to the moment when memory is given back: 10 ms, and 1 ms more for each
/// piece, of which a segment of mimalloc's has 512 at most.
const GIVEN_BACK: Duration = Duration::from_millis(600);
/// So many targets leave enough to wait for.
const MANY: usize = 1000;

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
            let loaded = Config::load(&path, environment());
            let many = loaded.as_ref().is_ok_and(|loaded| loaded.config.targets.len() >= MANY);
            // Who asked waits for it.
            let _ = give.send(loaded);
            let _ = left.recv();
            if many {
                std::thread::sleep(GIVEN_BACK);
            }
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
