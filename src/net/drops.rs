//! Packets that the kernel dropped before we read them, socket by socket.
//!
//! What a socket receives says how many were dropped before it. Those dropped after the last packet are told
//! by the next one, which may come too late for the probe whose answer was among them: where a socket was
//! seen to be full while an answer was due, the kernel's own table is asked before anybody is blamed.
//! Invariants: no more losses are explained than packets were dropped, and none by what was dropped before
//! its probe began; the table, which has a line for each
//! socket of the host, is read only after a flood, and at most once a turn.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use socket2::Socket;

use crate::sample::Fault;
use crate::time::Timestamp;

/// Packets, or octets, read at once that may have been queued because the buffer was full. The smallest
/// buffer that we ask for holds some two hundred of the smallest, and twenty of the largest frames.
const MANY: usize = 48;
const LARGE: usize = 48 * 1024;

/// Overflow of one socket: what the kernel counted, and how many losses it may still explain.
#[derive(Default)]
pub(super) struct Drops {
    seen: u32,
    unexplained: u64,
    /// When the last of them were told.
    told: Option<Timestamp>,
    /// When so much was read at once that the buffer may have been full.
    pressed: Option<Timestamp>,
    /// Why what arrived may still lie there, if it may: the last read failed for a fault of this host, or was not
    /// the last that a flood took.
    pub deaf: Option<Fault>,
}

impl Drops {
    /// Takes the kernel's count; how many of these are new.
    pub fn note(&mut self, count: u32, now: Timestamp) -> u64 {
        // What a packet says may be older than what the kernel's table said already.
        let new = count.wrapping_sub(self.seen);
        if new == 0 || new > u32::MAX / 2 {
            return 0;
        }
        self.seen = count;
        self.unexplained += u64::from(new);
        self.told = Some(now);
        u64::from(new)
    }

    /// Whether the loss of a probe that began then is explained by one of them, which explains no other.
    pub fn explain(&mut self, began: Timestamp) -> bool {
        let explains = self.unexplained > 0 && self.told.is_some_and(|at| at >= began);
        if explains {
            self.unexplained -= 1;
        }
        explains
    }

    /// So much was read without the socket being empty in between.
    pub fn read(&mut self, packets: usize, octets: usize, now: Timestamp) {
        if packets >= MANY || octets >= LARGE {
            self.pressed = Some(now);
        }
    }

    /// Whether it may have overflowed since then.
    pub fn doubtful(&self, since: Timestamp) -> bool {
        self.pressed.is_some_and(|at| at >= since)
    }
}

/// The kernel's table of UDP sockets, as it was at one moment.
#[derive(Default)]
pub(super) struct Table {
    at: Option<Timestamp>,
    /// Drops by the socket's inode.
    drops: HashMap<u64, u32>,
}

impl Table {
    /// How many packets were dropped at a socket in all, as it was at `turn` or later; nothing if it is in
    /// another namespace, or of another protocol.
    pub fn dropped(&mut self, socket: &Socket, turn: Timestamp, now: Timestamp) -> Option<u32> {
        if self.at.is_none_or(|at| at < turn) {
            self.drops.clear();
            for file in ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"] {
                let text = fs::read_to_string(file).unwrap_or_default();
                self.drops.extend(text.lines().filter_map(line));
            }
            self.at = Some(now);
        }
        let inode = File::from(OwnedFd::from(socket.try_clone().ok()?)).metadata().ok()?.ino();
        self.drops.get(&inode).copied()
    }
}

/// The inode and the drops of a line: the tenth and the last of its words.
fn line(line: &str) -> Option<(u64, u32)> {
    let mut words = line.split_ascii_whitespace();
    let inode = words.nth(9)?.parse().ok()?;
    let drops = words.next_back()?.parse().ok()?;
    Some((inode, drops))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Linux 6.1.
    #[test]
    fn the_table_is_read() {
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            ";
        assert_eq!(line(head), None);
        let v4 = " 2468: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 17411 2 0000000000000000 744";
        assert_eq!(line(v4), Some((17411, 744)));
        let v6 = "  316: 00000000000000000000000000000000:0222 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1234567 2 0000000000000000 0";
        assert_eq!(line(v6), Some((1_234_567, 0)));
    }

    #[test]
    fn a_drop_explains_one_loss() {
        let at = Timestamp::from_secs;
        let mut drops = Drops::default();
        assert!(!drops.explain(at(0)));
        assert_eq!((drops.note(2, at(5)), drops.note(2, at(6)), drops.note(3, at(7))), (2, 0, 1));
        assert_eq!(drops.note(1, at(7)), 0, "older than what is known");
        assert!(!drops.explain(at(8)), "it began after the last of them");
        assert_eq!([(); 4].map(|()| drops.explain(at(6))), [true, true, true, false]);
        assert!(!drops.doubtful(at(0)));
        drops.read(3, 200, at(1));
        assert!(!drops.doubtful(at(0)));
        drops.read(64, 2000, at(2));
        assert!(drops.doubtful(at(2)) && !drops.doubtful(at(3)));
    }

    #[test]
    fn the_count_goes_round() {
        let (mut drops, now) = (Drops { seen: u32::MAX - 1, ..Drops::default() }, Timestamp::from_secs(1));
        assert_eq!((drops.note(3, now), drops.note(u32::MAX, now)), (5, 0));
    }

    #[test]
    fn a_socket_finds_itself() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (socket, now) = (Socket::from(socket), Timestamp::from_secs(1));
        assert_eq!(Table::default().dropped(&socket, now, now), Some(0));
    }
}
