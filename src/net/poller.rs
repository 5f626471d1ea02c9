//! One wait for everything: epoll over all sockets, and a waker for other threads.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// The key it was added with.
    pub key: u64,
    /// There is something to read, or the end of the stream.
    pub readable: bool,
    /// There is room to write, or a connection attempt has ended.
    pub writable: bool,
    /// There is an error, or something in the error queue.
    pub error: bool,
}

const WAKE: u64 = u64::MAX;
/// Events taken in one wait; more are there at the next.
pub(super) const BATCH: usize = 256;

pub(super) struct Poller {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
}

/// Ends the driver's sleep, from any thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Ends the sleep; several calls before it is noticed count as one.
    pub fn wake(&self) {
        // Fails only when the counter is full, and then the sleep ends anyway.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &*wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, wake })
    }

    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Watches a socket for input and errors, and for room to write if `writable`.
    pub fn add(&self, socket: impl AsFd, key: u64, writable: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(key), flags(writable))?)
    }

    /// Changes whether room to write is watched for.
    pub fn modify(&self, socket: impl AsFd, key: u64, writable: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(key), flags(writable))?)
    }

    /// Watches a socket no longer.
    pub fn remove(&self, socket: impl AsFd) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Sleeps until another thread wakes us, or the time is over, whatever is ready meanwhile. The wake itself is
    /// left for the next wait.
    pub fn nap(&self, sleep: Duration) {
        let timeout = timespec(sleep);
        // A signal that ends it early does no harm.
        let _ = poll(&mut [PollFd::new(&*self.wake, PollFlags::IN)], Some(&timeout));
    }

    /// Sleeps until something is ready, another thread wakes us, or the time is over.
    pub fn wait(&self, sleep: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout = timespec(sleep);
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); BATCH];
        let (events, _) = match epoll::wait(&self.epoll, &mut buffer[..], Some(&timeout)) {
            Ok(events) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let (flags, data) = (event.flags, event.data);
            if data.u64() == WAKE {
                let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
                continue;
            }
            ready.push(Ready {
                key: data.u64(),
                readable: flags
                    .intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::RDHUP),
                writable: flags.intersects(epoll::EventFlags::OUT),
                error: flags.intersects(epoll::EventFlags::ERR),
            });
        }
        Ok(())
    }
}

fn timespec(sleep: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(sleep.subsec_nanos()),
    }
}

fn flags(writable: bool) -> epoll::EventFlags {
    let input = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
    if writable { input | epoll::EventFlags::OUT } else { input }
}
