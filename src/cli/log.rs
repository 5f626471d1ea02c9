//! The log of a daemon: on stderr, line by line.
//!
//! Invariant: nobody waits for whoever reads it. When the reader stops, lines are left out; how many is the
//! next thing that it gets.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::net::has_room;

/// What a pipe takes at once if it takes anything.
const PIECE: usize = 4096;

/// Lines that nobody got, since the last one that somebody did.
static MISSING: AtomicU64 = AtomicU64::new(0);

/// Takes whole lines for stderr.
pub(super) struct Lines {
    /// Whether each is a JSON text.
    pub json: bool,
}

impl Lines {
    fn note(&self, missing: u64) -> String {
        let text = format!("lines of the log missing here, for nobody read them: {missing}");
        if self.json {
            format!("{{\"level\":\"WARN\",\"message\":\"{text}\"}}\n")
        } else {
            format!("vpnprobe: {text}\n")
        }
    }
}

impl Write for Lines {
    /// One line, as the log hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut out = io::stderr().lock();
        if !has_room(&out) {
            MISSING.fetch_add(1, Relaxed);
            return Ok(line.len());
        }
        let missing = MISSING.swap(0, Relaxed);
        if missing > 0 {
            out.write_all(self.note(missing).as_bytes())?;
        }
        for piece in line.chunks(PIECE) {
            if !has_room(&out) {
                MISSING.fetch_add(1, Relaxed);
                break;
            }
            out.write_all(piece)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
