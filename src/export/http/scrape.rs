//! A scrape as the body of an answer: made while it is sent, compressed if the client asks for it.
//!
//! Invariants: of an answer, no more than what the client takes is made ahead, apart from one family of
//! protobuf; between two pieces the web thread may turn to other clients.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body, Bytes, Frame};

use crate::export::metrics::{Exposition, Step};

/// The body of an answer to a scrape.
pub(super) struct Scrape {
    exposition: Exposition,
    gzip: Option<GzEncoder<Vec<u8>>>,
    ended: bool,
}

/// Compressed bytes that are worth sending.
const ENOUGH: usize = 16 * 1024;

impl Scrape {
    pub(super) fn new(exposition: Exposition, gzip: bool) -> Self {
        // The fastest level: lines repeat so much that a better one gains little and costs much.
        let gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Self { exposition, gzip, ended: false }
    }

    /// Makes the next bytes; empty if that takes another call.
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        match (self.exposition.step(), &mut self.gzip) {
            (Step::Chunk(chunk), None) => Some(chunk),
            (Step::Chunk(chunk), Some(gzip)) => {
                // Writing to memory cannot fail.
                let _ = gzip.write_all(&chunk);
                let made = gzip.get_mut();
                Some(if made.len() < ENOUGH { Vec::new() } else { std::mem::take(made) })
            }
            (Step::More, _) => Some(Vec::new()),
            (Step::End, gzip) => {
                self.ended = true;
                gzip.take().and_then(|gzip| gzip.finish().ok())
            }
        }
    }
}

impl Body for Scrape {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Small pieces are made at once; then whoever else waits has a turn.
        for _ in 0..16 {
            match self.next() {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
                None => return Poll::Ready(None),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
