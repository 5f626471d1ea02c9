//! The floor of the benchmark: what it costs at the least to send an echo request to each target once an
//! interval and to take its reply in. One thread, one socket, one array; a tick of 5 ms from 200 sends a
//! second on, as vpnprobe has it. It names no cause, keeps no history and serves nothing.
//!
//! `floor FILE INTERVAL_US`: addresses one a line. On SIGTERM's arrival it just ends; every second it writes
//! `sent received mean_us` since its start to standard output.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bare loop")]

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

const TICK: Duration = Duration::from_millis(5);

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let file = arguments.next().unwrap();
    let interval = Duration::from_micros(arguments.next().unwrap().parse().unwrap());
    let targets: Vec<Ipv4Addr> =
        std::fs::read_to_string(file).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::ICMPV4)).unwrap();
    socket.set_recv_buffer_size(8 << 20).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
    let peers: Vec<socket2::SockAddr> = targets.iter().map(|ip| SocketAddrV4::new(*ip, 0).into()).collect();
    let mut counts = vec![[0_u64; 22]; targets.len()];
    let gap = interval.div_f64(targets.len() as f64);
    let gather = gap < Duration::from_millis(5);
    let (start, mut next, mut told) = (Instant::now(), 0_u64, 0);
    let (mut sent, mut received, mut sum) = (0_u64, 0_u64, 0_u64);
    let mut packet = [0_u8; 64];
    packet[0] = 8;
    let (mut buffer, mut control) = ([0_u8; 2048], vec![0_u8; 128]);
    loop {
        let now = start.elapsed();
        while gap.mul_f64(next as f64) <= now {
            let target = u32::try_from(next % targets.len() as u64).unwrap();
            packet[16..20].copy_from_slice(&target.to_be_bytes());
            packet[24..32].copy_from_slice(&unix_nanos().to_be_bytes());
            sent += u64::from(socket.send_to(&packet, &peers[target as usize]).is_ok());
            next += 1;
        }
        loop {
            let mut iov = [IoSliceMut::new(&mut buffer)];
            let Ok(message) =
                recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::empty())
            else {
                break;
            };
            let at = message.cmsgs().unwrap().find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(at) => {
                    Some(at.tv_sec().cast_unsigned() * 1_000_000_000 + at.tv_nsec().cast_unsigned())
                }
                _ => None,
            });
            let target = u32::from_be_bytes(buffer[16..20].try_into().unwrap()) as usize;
            let left = u64::from_be_bytes(buffer[24..32].try_into().unwrap());
            let rtt = at.unwrap_or_else(unix_nanos).saturating_sub(left);
            counts[target][(rtt / 50_000 + 1).ilog2().min(21) as usize] += 1;
            received += 1;
            sum += rtt;
        }
        if start.elapsed().as_secs() > told {
            told = start.elapsed().as_secs();
            let mean = sum as f64 / received.max(1) as f64 / 1e3;
            println!("{sent} {received} {mean:.1}");
        }
        // A reply that is on its way is taken in at the next tick, or in time for the next send.
        let due = gap.mul_f64(next as f64).saturating_sub(start.elapsed());
        std::thread::sleep(if gather { due.max(TICK) } else { due });
    }
}

fn unix_nanos() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}
