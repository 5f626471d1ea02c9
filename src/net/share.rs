//! Which part of the host's ICMP a driver takes, where several run.
//!
//! A raw socket is given a copy of every ICMP packet of the host. The kernel itself tells the drivers' packets
//! apart, by a mark in the token of their echo requests, which answers repeat and errors quote.
//!
//! ```text
//!   token   hidden flow 4 | random 28 bits, mark 4 bits        marks 0, 1, … : the drivers in threads of
//!                                                              their own; all others: the engine's
//! ```
//! Invariant: each packet that a driver alone would read is read by exactly one of them, a stranger's too, so
//! that what is nobody's is counted once. (But an error that quotes nothing is read by none.)

use std::io;

use socket2::{SockFilter, Socket};

use super::icmp::{
    FILTER_V4, FILTER_V6, JUMP_IF_EQUAL, LOAD_BYTE, LOAD_BYTE_INDEXED, LOAD_HEADER_LENGTH, RETURN,
};

/// Where the mark is in the last octet of the random half of a token's beginning.
const MARK: u8 = 0xf;
/// The most drivers that can be told apart.
pub(super) const MOST: u8 = MARK + 1;

// Classic BPF: what `icmp.rs` has, and these.
const LOAD: u16 = 0x00; // ld k
const LOAD_LENGTH: u16 = 0x80; // ld len
const ADD: u16 = 0x04; // add k
const ADD_INDEX: u16 = 0x0c; // add x
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const TO_INDEX: u16 = 0x07; // tax
const FROM_INDEX: u16 = 0x87; // txa
const JUMP: u16 = 0x05;
const JUMP_IF_ABOVE: u16 = 0x25; // jgt k
const JUMP_IF_NOT_BELOW: u16 = 0x35; // jge k
const JUMP_IF_ABOVE_INDEX: u16 = 0x2d; // jgt x

/// The marks that a driver takes: from the first to the last. Its own requests bear the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    first: u8,
    last: u8,
}

impl Share {
    /// Everything: there is one driver.
    pub const ALL: Self = Self { first: 0, last: MARK };

    /// That of one of so many drivers (at most [`MOST`]); 0 is the engine's own, which takes all that no other does.
    pub const fn of(driver: u8, drivers: u8) -> Self {
        match driver.checked_sub(1) {
            None => Self { first: drivers.saturating_sub(1), last: MARK },
            Some(mark) => Self { first: mark, last: mark },
        }
    }

    /// The random half of a token's beginning, marked as ours.
    pub fn mark(self, random: u32) -> u32 {
        if self == Self::ALL {
            return random;
        }
        random & !u32::from(MARK) | u32::from(self.last)
    }

    /// Has a raw socket of a family let only this share pass.
    pub fn filter(self, socket: &Socket, v6: bool) -> io::Result<()> {
        if self == Self::ALL {
            return socket.attach_filter(if v6 { FILTER_V6 } else { FILTER_V4 });
        }
        let mut program = Vec::new();
        if v6 {
            program.extend(WHERE_V6)
        } else {
            program.extend(WHERE_V4)
        }
        program.extend(self.judge());
        socket.attach_filter(&program)
    }

    /// Lets a packet pass by the mark, whose place is in A. One that is too short to have one passes if others
    /// that belong to nobody do.
    fn judge(self) -> [SockFilter; 9] {
        let too_short = if self.last == MARK { 4 } else { 5 };
        [
            op(TO_INDEX, 0),
            op(LOAD_LENGTH, 0),
            SockFilter::new(JUMP_IF_ABOVE_INDEX, 0, too_short, 0),
            op(LOAD_BYTE_INDEXED, 0),
            op(AND, u32::from(MARK)),
            SockFilter::new(JUMP_IF_NOT_BELOW, 0, 2, u32::from(self.first)),
            SockFilter::new(JUMP_IF_ABOVE, 1, 0, u32::from(self.last)),
            op(RETURN, 0xffff),
            op(RETURN, 0),
        ]
    }
}

/// Where the mark of an echo reply, or of what an error quotes, is: behind 8 octets of ICMP and 7 of the token.
const WHERE_V4: [SockFilter; 17] = [
    op(LOAD_HEADER_LENGTH, 0),
    op(LOAD_BYTE_INDEXED, 0),
    SockFilter::new(JUMP_IF_EQUAL, 3, 0, 0),
    SockFilter::new(JUMP_IF_EQUAL, 5, 0, 3),
    SockFilter::new(JUMP_IF_EQUAL, 4, 0, 11),
    op(RETURN, 0),
    op(FROM_INDEX, 0),
    op(ADD, 8 + 7),
    op(JUMP, 8),
    // The quoted packet begins 8 octets later, with a header of its own.
    op(FROM_INDEX, 0),
    op(ADD, 8),
    op(TO_INDEX, 0),
    op(LOAD_BYTE_INDEXED, 0),
    op(AND, 0xf),
    op(SHIFT_LEFT, 2),
    op(ADD_INDEX, 0),
    op(ADD, 8 + 7),
];

/// The same, where the socket sees no IP header, and the quoted one has 40 octets.
const WHERE_V6: [SockFilter; 9] = [
    op(LOAD_BYTE, 0),
    SockFilter::new(JUMP_IF_EQUAL, 4, 0, 129),
    SockFilter::new(JUMP_IF_EQUAL, 5, 0, 1),
    SockFilter::new(JUMP_IF_EQUAL, 4, 0, 2),
    SockFilter::new(JUMP_IF_EQUAL, 3, 0, 3),
    op(RETURN, 0),
    op(LOAD, 8 + 7),
    op(JUMP, 1),
    op(LOAD, 8 + 40 + 8 + 7),
];

const fn op(code: u16, k: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, k)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Which of these drivers the kernel lets read a packet: a filter is the same for any socket.
    fn readers(drivers: u8, v6: bool, packet: &[u8]) -> Vec<u8> {
        let reads = |driver: &u8| {
            let (here, there) = UnixDatagram::pair().unwrap();
            there.set_nonblocking(true).unwrap();
            let there = Socket::from(std::os::fd::OwnedFd::from(there));
            let share = if drivers == 1 { Share::ALL } else { Share::of(*driver, drivers) };
            share.filter(&there, v6).unwrap();
            let there = UnixDatagram::from(std::os::fd::OwnedFd::from(there));
            // A packet that the filter refuses is an error of the sender's here.
            let _ = here.send(packet);
            there.recv(&mut [0; 256]).is_ok_and(|read| read == packet.len())
        };
        (0..drivers).filter(reads).collect()
    }

    const IP: [u8; 20] = [0x45, 0, 0, 60, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 10];

    fn echo(kind: u8, token: u64) -> Vec<u8> {
        let mut message = vec![kind, 0, 0xab, 0xcd, 0x12, 0x34, 0, 1];
        message.extend(token.to_be_bytes());
        message.extend([7; 24]);
        message
    }

    /// RFC 792 and RFC 4443: answers and errors of requests that drivers sent, with IPv4 options and without.
    #[test]
    fn a_packet_is_read_by_whose_request_it_is_about() {
        for drivers in [1, 2, 3, MOST] {
            for driver in 0..drivers {
                let share = if drivers == 1 { Share::ALL } else { Share::of(driver, drivers) };
                let token = u64::from(share.mark(0x8765_4321));
                let mut options = IP.to_vec();
                options[0] = 0x46;
                options.extend([1, 1, 1, 0]);
                let reply = [&options[..], &echo(0, token)].concat();
                assert_eq!(readers(drivers, false, &reply), [driver]);
                for (outer, inner) in [(&IP[..], &IP[..]), (&options, &IP), (&IP, &options)] {
                    let error = [outer, &[3, 1, 0, 0, 0, 0, 0, 0], inner, &echo(8, token)].concat();
                    assert_eq!(readers(drivers, false, &error), [driver]);
                    let error = [outer, &[11, 0, 0, 0, 0, 0, 0, 0], inner, &echo(8, token)[..16]].concat();
                    assert_eq!(readers(drivers, false, &error), [driver]);
                }
                assert_eq!(readers(drivers, true, &echo(129, token)), [driver]);
                for kind in [1, 2, 3] {
                    let error = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0x60; 40], &echo(128, token)].concat();
                    assert_eq!(readers(drivers, true, &error), [driver]);
                }
            }
        }
    }

    /// Answers to another program, whatever they begin with, and what is too short to say whose it is.
    #[test]
    fn a_strangers_packet_is_read_once() {
        for drivers in [1, 2, 3, MOST] {
            for mark in 0..=u64::from(MARK) {
                let reply = [&IP[..], &echo(0, mark)].concat();
                assert_eq!(readers(drivers, false, &reply).len(), 1);
                assert_eq!(readers(drivers, true, &echo(129, mark)).len(), 1);
            }
            let short = [&IP[..], &echo(0, 0)[..15]].concat();
            assert_eq!(readers(drivers, false, &short), [0]);
            assert_eq!(readers(drivers, true, &echo(129, 0)[..15]), [0]);
            let error = [&IP[..], &[3, 1, 0, 0, 0, 0, 0, 0], &IP, &echo(8, 0)[..8]].concat();
            assert_eq!(readers(drivers, false, &error), [0], "the least quote");
            let error = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[0x60; 40], &echo(128, 0)[..8]].concat();
            assert_eq!(readers(drivers, true, &error), [0]);
        }
    }

    #[test]
    fn requests_of_others_pass_nowhere() {
        for drivers in [1, 2, 3] {
            for mark in 0..=u64::from(MARK) {
                assert!(readers(drivers, false, &[&IP[..], &echo(8, mark)].concat()).is_empty());
                assert!(readers(drivers, true, &echo(128, mark)).is_empty());
            }
        }
    }

    #[test]
    fn one_driver_marks_nothing() {
        assert_eq!(Share::ALL.mark(0x1234_5678), 0x1234_5678);
        assert_eq!(Share::of(0, 3).mark(0x1234_5678), 0x1234_567f);
        assert_eq!(Share::of(2, 3).mark(0x1234_5678), 0x1234_5671);
    }
}
