//! A thousand slow clients at one address: who comes from another is answered, and the probes go on.
//!
//! A third send a request's head octet by octet, a third ask for all there is and read none of it, a third
//! say nothing or only that they will say nothing. Who is cut off holds its end, and comes again a second
//! later. How long the others wait is printed, not asserted.
#![expect(
    clippy::disallowed_methods,
    clippy::float_cmp,
    reason = "it is timed for people; counters are whole"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use vpnprobe::net::raise_descriptor_limit;

use crate::service::Daemon;

const CLIENTS: usize = 1000;
const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// Each waits so long before it comes again.
const PAUSE: Duration = Duration::from_secs(1);

/// What a client sends first, and again and again.
#[derive(Clone, Copy)]
enum Manner {
    /// Octets of a head that never ends.
    Drips,
    /// Whole requests, and no answer is read.
    NeverReads,
    Silent,
    /// It has ended its side.
    HalfClosed,
}

impl Manner {
    fn of(number: usize) -> Self {
        match number % 6 {
            0 | 1 => Self::Drips,
            2 | 3 => Self::NeverReads,
            4 => Self::Silent,
            _ => Self::HalfClosed,
        }
    }

    fn first(self) -> &'static [u8] {
        match self {
            Self::Drips => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            Self::NeverReads => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            Self::Silent | Self::HalfClosed => b"",
        }
    }

    fn more(self) -> &'static [u8] {
        match self {
            Self::Drips => b"a",
            Self::NeverReads => self.first(),
            Self::Silent | Self::HalfClosed => b"",
        }
    }
}

/// One slow client. One that was cut off holds its end until it comes again.
struct Slow {
    manner: Manner,
    socket: Socket,
    begun: bool,
    cut: Option<Instant>,
}

impl Slow {
    fn new(manner: Manner, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        if matches!(manner, Manner::NeverReads) {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(115) => panic!("{error}"), // EINPROGRESS
            _ => Self { manner, socket, begun: false, cut: None },
        }
    }

    fn connect(&mut self, to: SocketAddr) {
        *self = Self::new(self.manner, to);
    }

    /// Sends what comes next; whether it has been cut off.
    fn act(&mut self) -> bool {
        let socket = &mut self.socket;
        let bytes = if self.begun { self.manner.more() } else { self.manner.first() };
        let cut =
            |error: &std::io::Error| !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected);
        if !bytes.is_empty() {
            match socket.write(bytes) {
                Ok(_) => self.begun = true,
                Err(error) if cut(&error) => return true,
                Err(_) => {}
            }
        }
        if matches!(self.manner, Manner::HalfClosed) && !self.begun {
            self.begun = socket.shutdown(std::net::Shutdown::Write).is_ok();
        }
        if matches!(self.manner, Manner::NeverReads) {
            return false;
        }
        match socket.read(&mut [0; 512]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => cut(&error),
        }
    }
}

/// A thousand of them, until it is dropped.
struct Crowd {
    stop: Arc<AtomicBool>,
    /// How often one was cut off.
    cut: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// All are connecting when this returns.
    fn gather(to: SocketAddr) -> Self {
        let mut all: Vec<Slow> = (0..CLIENTS).map(|n| Slow::new(Manner::of(n), to)).collect();
        let mut crowd = Self { stop: Arc::default(), cut: Arc::default(), thread: None };
        let (stop, cut) = (Arc::clone(&crowd.stop), Arc::clone(&crowd.cut));
        crowd.thread = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for slow in &mut all {
                    if slow.cut.is_some_and(|at| at.elapsed() >= PAUSE) {
                        slow.connect(to);
                    } else if slow.cut.is_none() && slow.act() {
                        cut.fetch_add(1, Ordering::Relaxed);
                        slow.cut = Some(Instant::now());
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }));
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A scrape from another address of this host.
fn scrape(to: SocketAddr) -> (String, Duration) {
    let start = Instant::now();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer, start.elapsed())
}

/// The sum of all series of this name that are a counter or a count.
fn sum(scrape: &str, name: &str) -> f64 {
    let lines = scrape
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn a_thousand_slow_clients_keep_nobody_out() {
    raise_descriptor_limit();
    let folder = crate::service::folder();
    let mut config = String::from("defaults: {interval: 1s}\ntargets:\n");
    for n in 1..=20 {
        config += &format!("  t{n}: {{address: 127.0.1.{n}, probes: {{icmp: {{}}}}}}\n");
    }
    std::fs::write(folder.path().join("vpnprobe.yml"), config).unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon.port));
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    };
    let own = |scrape: &str| {
        ["vpnprobe_missed_slots_total", "vpnprobe_probe_failures_total", "vpnprobe_probe_unsent_total"]
            .map(|name| sum(scrape, name))
    };
    let probed = |scrape: &str| sum(scrape, "vpnprobe_probes_total");
    let lag = |scrape: &str| {
        sum(scrape, "vpnprobe_schedule_lag_seconds_sum") / sum(scrape, "vpnprobe_schedule_lag_seconds_count")
    };
    while probed(&scrape(to).0) < 40.0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (before, alone) = scrape(to);
    let memory_before = memory();

    let crowd = Crowd::gather(to);
    let (mut slowest, mut most, mut last) = (Duration::ZERO, 0.0_f64, before.clone());
    for _ in 0..40 {
        let (answer, took) = scrape(to);
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        slowest = slowest.max(took);
        most = most.max(memory());
        last = answer;
        std::thread::sleep(Duration::from_millis(100));
    }
    let cut = crowd.cut.load(Ordering::Relaxed);
    let grown = (most - memory_before) / MEBIBYTE;
    println!(
        "{CLIENTS} slow clients, {cut} times cut off: a scrape took {:.0} ms at most, {:.0} ms before; memory grew by \
         {grown:.1} MiB; mean schedule lag {:.2} ms, {:.2} ms before",
        slowest.as_secs_f64() * 1e3,
        alone.as_secs_f64() * 1e3,
        lag(&last) * 1e3,
        lag(&before) * 1e3
    );
    assert!(grown < 10.0, "{grown} MiB");
    assert!(cut > CLIENTS / 2, "{cut}: they were let be");
    assert!(probed(&last) > probed(&before) + 20.0, "the probes go on");
    assert_eq!(own(&last), own(&before), "missed slots, failures, faults of our own");
}
