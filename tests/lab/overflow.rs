//! Receive buffers that overflow: what the kernel drops at our own sockets is never the network's fault, and
//! we count what it counts.
//!
//! A thousand peers on the loopback of a namespace, where nothing can be lost on the way. Now and then one
//! sends thousands of datagrams before its answer, far more than a socket's buffer holds, and the answer is
//! dropped with them. Half of the probes give up before the next answer could tell of it.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vpnprobe::net::raise_descriptor_limit;

use crate::harness::{Lab, long, until};

const PEERS: u16 = 1000;
/// Datagrams of nonsense in a flood.
const FLOOD: usize = 2000;
/// A peer that has not looked for so long may be too late.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many answers of all peers between two floods.
const APART: u64 = 150;

/// The peers; they end with this value.
struct Peers {
    stop: Arc<AtomicBool>,
    calm: Arc<AtomicBool>,
    floods: Arc<AtomicU64>,
    /// Answers that may have waited for so long that their probe has given up: this machine was busy.
    slow: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

fn address(peer: u16) -> Ipv4Addr {
    let [high, low] = peer.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

impl Peers {
    fn start(lab: &Lab) -> Self {
        raise_descriptor_limit();
        let sockets: Vec<UdpSocket> = lab.within("void", || {
            (1..=PEERS).map(|peer| UdpSocket::bind((address(peer), 500)).unwrap()).collect()
        });
        sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        let mut peers = Self {
            stop: Arc::default(),
            calm: Arc::default(),
            floods: Arc::default(),
            slow: Arc::default(),
            thread: None,
        };
        let (stop, calm, floods) =
            (Arc::clone(&peers.stop), Arc::clone(&peers.calm), Arc::clone(&peers.floods));
        let slow = Arc::clone(&peers.slow);
        peers.thread = Some(std::thread::spawn(move || {
            let (mut bytes, mut answers) = ([0; 2048], 0_u64);
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let mut looked = [Instant::now(); 2];
            while !stop.load(Ordering::Relaxed) {
                looked = [Instant::now(), looked[0]];
                let mut asked: Vec<_> =
                    sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
                poll(&mut asked, Some(&wait)).unwrap();
                let asked = asked.iter().zip(&sockets).filter(|(poll, _)| !poll.revents().is_empty());
                for (_, socket) in asked {
                    let Ok((28.., from)) = socket.recv_from(&mut bytes) else { continue };
                    answers += 1;
                    if answers % APART == 0 && !calm.load(Ordering::Relaxed) {
                        floods.fetch_add(1, Ordering::Relaxed);
                        (0..FLOOD).for_each(|_| drop(socket.send_to(&[0x5a; 64], from)));
                    }
                    let _ = socket.send_to(&answer(&bytes), from);
                    slow.fetch_add(u64::from(looked[1].elapsed() > PATIENCE), Ordering::Relaxed);
                }
            }
        }));
        peers
    }
}

/// What strongSwan 5.9.8 answers to a message of a major version it does not know, with the initiator's SPI.
fn answer(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..8].to_vec();
    answer.extend([0; 8]);
    answer.extend([0x29, 0x20, 0x22, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x24, 0, 0, 0, 8, 0, 0, 0, 5]);
    answer
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Ten thousand probes, or a million in a long run, or as many as `VPNPROBE_PROBES` says.
#[test]
fn what_the_kernel_drops_is_ours() {
    let asked = std::env::var("VPNPROBE_PROBES").ok().and_then(|probes| probes.parse().ok());
    let wanted: f64 = asked.unwrap_or(if long() { 1_000_000.0 } else { 10_000.0 });
    let lab = Lab::up();
    let peers = Peers::start(&lab);
    let mut config = String::from("budget: {packets_per_second: 1000, packets_burst: 1000}\ntargets:\n");
    for peer in 1..=PEERS {
        // Shorter than from one probe to the next, or longer.
        let timeout = if peer % 2 == 0 { "900ms" } else { "3s" };
        config += &format!(
            "  t{peer}: {{address: {}, probes: {{ike: {{interval: 1s, timeout: {timeout}}}, \
             icmp: {{enabled: false}}, trace: {{enabled: false}}}}}}\n",
            address(peer)
        );
    }
    let mut daemon = lab.serve_as("void", &[], &config);
    daemon.ready_within(Duration::from_secs(60));
    let seconds = if wanted > 10_000.0 { 40 * 60 } else { 120 };
    until("so many probes", seconds, || {
        std::thread::sleep(Duration::from_millis(500));
        daemon.metrics().get("vpnprobe_probes_total", &[]) >= wanted
    });
    peers.calm.store(true, Ordering::Relaxed);
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/{}/net/{file}", daemon.pid().as_raw_nonzero())).unwrap()
    };
    let kernel = || {
        // Of all sockets of the namespace, those that are closed by now as well.
        let snmp = read("snmp");
        let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp:")).map(str::split_whitespace);
        let (names, values) = (udp.next().unwrap(), udp.next().unwrap());
        let full = names.zip(values).filter(|(name, _)| ["RcvbufErrors", "MemErrors"].contains(name));
        let all: f64 = full.map(|(_, value)| value.parse::<f64>().unwrap()).sum();
        // The sockets of the peers have no peer themselves.
        let sockets = read("udp");
        let theirs = sockets.lines().filter(|line| line.contains(" 00000000:0000 07 "));
        all - theirs.map(|line| line.split_whitespace().last().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    // The last drops of a socket are told by the packets that come after them.
    let told = || daemon.metrics().get("vpnprobe_receive_overflow_total", &[]);
    let patience = Instant::now() + Duration::from_secs(60);
    while told() != kernel() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (metrics, dropped, counted) = (daemon.metrics(), kernel(), told());
    let probes = metrics.get("vpnprobe_probes_total", &[]);
    let excused = metrics.sum("vpnprobe_probe_unsent_total", &["fault=\"receive_overflow\""]).unwrap_or(0.0);
    let stalled = metrics.sum("vpnprobe_probe_unsent_total", &["fault=\"stalled\""]).unwrap_or(0.0);
    // Not what these peers answer to the rare forms, which no IKE daemon would: that came.
    let lost = metrics.sum("vpnprobe_probe_failures_total", &["reason=\"no_answer\""]).unwrap_or(0.0);
    let slow = peers.slow.load(Ordering::Relaxed);
    println!(
        "{probes} probes, {} floods: the kernel dropped {dropped}, {counted} are counted; {excused} answers were \
         dropped, {stalled} came while we were starved, {slow} may have come from a peer that was starved, and {lost} were lost",
        peers.floods.load(Ordering::Relaxed)
    );
    assert_eq!(counted, dropped, "not all that the kernel dropped is counted");
    assert!(dropped > 1000.0, "the floods overflow nothing");
    assert!(lost <= f64::from(u32::try_from(slow).unwrap()), "{lost} blamed on the network");
    daemon.stop();
}
