//! A bad network that can be told how: what IKE asks of it goes on to the concentrator, and what comes back
//! is delayed, doubled, mutilated or forged. The kernel of the labs cannot do that to packets on their way.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::Lab;

/// What it does to answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Manner {
    Clean,
    /// Half the timeout.
    Delayed,
    /// Beyond the timeout.
    TooLate,
    /// Between nothing and 400 ms, each time another.
    Jitter,
    /// Each second one comes after the next.
    Reordered,
    Doubled,
    /// One bit of what it answers to is another.
    Corrupt,
    Truncated,
    /// A thousand datagrams of nonsense before each.
    Flooded,
    /// Forgeries before each: of another exchange, and of other lengths.
    Forged,
    /// It comes from another address.
    WrongHost,
}

const MANNERS: [Manner; 11] = [
    Manner::Clean,
    Manner::Delayed,
    Manner::TooLate,
    Manner::Jitter,
    Manner::Reordered,
    Manner::Doubled,
    Manner::Corrupt,
    Manner::Truncated,
    Manner::Flooded,
    Manner::Forged,
    Manner::WrongHost,
];

/// The relay; it ends with this value.
pub struct Relay {
    manner: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    front: UdpSocket,
    back: UdpSocket,
    other: UdpSocket,
    /// Who asked, by the SPI.
    askers: HashMap<[u8; 8], SocketAddr>,
    waiting: Vec<(Instant, Vec<u8>, SocketAddr)>,
    held: Option<(Vec<u8>, SocketAddr)>,
    answers: u32,
}

impl Relay {
    /// Before the concentrator, on the router next to it.
    pub fn start(lab: &Lab) -> Self {
        let (front, back, other) = lab.within("r2", || {
            let back = UdpSocket::bind("203.0.113.1:0").unwrap();
            back.connect("203.0.113.10:500").unwrap();
            (UdpSocket::bind("203.0.113.1:500").unwrap(), back, UdpSocket::bind("198.51.100.2:500").unwrap())
        });
        front.set_nonblocking(true).unwrap();
        back.set_nonblocking(true).unwrap();
        let (manner, stop) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let (told, stopped) = (Arc::clone(&manner), Arc::clone(&stop));
        let mut work =
            Work { front, back, other, askers: HashMap::new(), waiting: Vec::new(), held: None, answers: 0 };
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                work.turn(MANNERS[usize::from(told.load(Ordering::Relaxed))]);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { manner, stop, thread: Some(thread) }
    }

    pub fn be(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Work {
    fn turn(&mut self, manner: Manner) {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = self.front.recv_from(&mut bytes) {
            let Some(spi) = bytes.first_chunk::<8>() else { continue };
            if self.askers.len() > 10_000 {
                self.askers.clear();
            }
            self.askers.insert(*spi, from);
            let _ = self.back.send(&bytes[..length]);
        }
        while let Ok(length) = self.back.recv(&mut bytes) {
            let Some(to) = bytes.first_chunk::<8>().and_then(|spi| self.askers.get(spi)) else { continue };
            self.answer(manner, bytes[..length].to_vec(), *to);
        }
        let (due, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(at, ..)| *at <= Instant::now());
        self.waiting = waiting;
        let due: Vec<(Instant, Vec<u8>, SocketAddr)> = due;
        for (_, answer, to) in due {
            self.send(&answer, to);
        }
    }

    fn answer(&mut self, manner: Manner, mut answer: Vec<u8>, to: SocketAddr) {
        self.answers = self.answers.wrapping_add(1);
        let mut later =
            |millis| self.waiting.push((Instant::now() + Duration::from_millis(millis), answer.clone(), to));
        match manner {
            Manner::Clean => self.send(&answer, to),
            Manner::Delayed => later(500),
            Manner::TooLate => later(1300),
            Manner::Jitter => later(u64::from(self.answers * 37 % 5) * 100),
            Manner::Reordered => match self.held.take() {
                None => self.held = Some((answer, to)),
                Some((before, its)) => {
                    self.send(&answer, to);
                    self.send(&before, its);
                }
            },
            Manner::Doubled => (0..3).for_each(|_| self.send(&answer, to)),
            Manner::Corrupt => {
                answer[5] ^= 0x10;
                self.send(&answer, to);
            }
            Manner::Truncated => self.send(&answer[..20], to),
            Manner::Flooded => {
                for n in 0..1000 {
                    let mut nonsense = answer.clone();
                    nonsense[n % 8] ^= 0x5a;
                    self.send(&nonsense, to);
                }
                self.send(&answer, to);
            }
            Manner::Forged => {
                let mut other = answer.clone();
                other[0] ^= 0xff;
                self.send(&other, to);
                self.send(&[other, vec![0; 100]].concat(), to);
                self.send(&[0xff; 40], to);
                self.send(&[], to);
                self.send(&answer, to);
            }
            Manner::WrongHost => drop(self.other.send_to(&answer, to)),
        }
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) {
        let _ = self.front.send_to(bytes, to);
    }
}
