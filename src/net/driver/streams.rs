//! TCP connections of runs: opened, read, written as room comes, and what ends them.
//!
//! Invariant: an ICMP error about a connection is told with its own type and code, and ends none that is open.

use std::io;

use super::super::socket::flush;
use super::super::{fault, tcp_info};
use super::arrivals::{believe, queue_errors};
use super::{Channel, Clock, Driver, Event, Happening, Owner, READS_PER_FLOW, Ready, Run, Timestamp};

impl Driver {
    pub(super) fn read_stream(
        &mut self,
        index: u32,
        mut run: Box<Run>,
        ready: Ready,
        out: &mut Vec<Happening>,
    ) {
        let now = self.clock.now();
        let peer = self.peer_and_port(&run);
        let Channel::Tcp { socket, connected, unsent, watching } = &mut run.channel else {
            self.put_back(index, run);
            return;
        };
        if !*connected {
            match socket.take_error() {
                Ok(None) if ready.writable && !ready.error => {
                    *connected = true;
                    // Of one with a hop limit the trace tells more.
                    if run.round_trip.is_none() && run.local_port == 0 {
                        run.round_trip = tcp_info::round_trip(socket);
                    }
                    let _ = flush(socket, unsent);
                    if unsent.is_empty()
                        && self.poller.modify(&*socket, Owner::Run(index).key(), false).is_ok()
                    {
                        *watching = false;
                    }
                    run.exchange.handle(Event::Connected, now);
                }
                Ok(None) if ready.error => {
                    self.queued_errors(index, &mut run, now);
                }
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => {
                    self.stream_failed(index, &mut run, &error, now);
                }
            }
            self.advance(index, run, out);
            return;
        }
        if ready.writable {
            let _ = flush(socket, unsent);
        }
        if ready.readable || ready.error {
            for _ in 0..READS_PER_FLOW {
                let Channel::Tcp { socket, .. } = &run.channel else { break };
                match self.receiver.receive(socket) {
                    Ok(arrival) if arrival.bytes.is_empty() => {
                        run.exchange.handle(Event::Closed, now);
                        // A closed stream stays readable: it is not watched any more.
                        self.unwatch(&run);
                        break;
                    }
                    Ok(arrival) => {
                        let stamp = arrival.stamp;
                        let at =
                            if now < self.distrust_until { None } else { believe(stamp, self.offset, now) };
                        let event = Event::Received { from: peer, bytes: arrival.bytes };
                        run.exchange.handle(event, at.unwrap_or(now));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        // An ICMP error does not end an open stream; anything else does.
                        if self.stream_failed(index, &mut run, &error, now) {
                            self.unwatch(&run);
                        }
                        break;
                    }
                }
            }
        }
        if ready.error {
            self.queued_errors(index, &mut run, now);
        }
        self.watch_writes(index, &mut run);
        self.advance(index, run, out);
    }

    /// Hands a stream's exchange the ICMP errors of its queue; tells whether there were any.
    fn queued_errors(&mut self, index: u32, run: &mut Run, now: Timestamp) -> bool {
        let Channel::Tcp { socket, .. } = &run.channel else { return false };
        let mut queued = Vec::new();
        let (_, offset) = self.errors_now();
        queue_errors(&mut self.errors, socket, Owner::Run(index), (now, offset), &mut queued);
        for error in &queued {
            let event = Event::Icmp { from: error.from, error: error.error, quoted: &error.quoted };
            run.exchange.handle(event, error.at);
        }
        !queued.is_empty()
    }

    pub(super) fn unwatch(&self, run: &Run) {
        if let Channel::Tcp { socket, .. } = &run.channel {
            self.poller.remove(socket);
        }
    }

    /// Tells a stream's exchange what its socket's error means. Whether that is the end of the stream.
    pub(super) fn stream_failed(
        &mut self,
        index: u32,
        run: &mut Run,
        error: &io::Error,
        now: Timestamp,
    ) -> bool {
        // The queue has the ICMP error's own type and code; the error number is only its shadow.
        if self.queued_errors(index, run, now) {
            return false;
        }
        let (event, ended) = match fault::of_socket(error) {
            fault::Verdict::Reset => (Event::Reset, true),
            fault::Verdict::Icmp(error) => (Event::Icmp { from: None, error, quoted: &[] }, false),
            fault::Verdict::Ours(fault) => (Event::Failed(fault), true),
        };
        run.exchange.handle(event, now);
        ended
    }

    /// Watches a stream for room to write exactly while something is unsent.
    pub(super) fn watch_writes(&mut self, index: u32, run: &mut Run) {
        if let Channel::Tcp { socket, connected: true, unsent, watching } = &mut run.channel {
            let want = !unsent.is_empty();
            if want != *watching && self.poller.modify(&*socket, Owner::Run(index).key(), want).is_ok() {
                *watching = want;
            }
        }
    }
}
