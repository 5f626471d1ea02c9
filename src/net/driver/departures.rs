//! When packets left: the kernel's own time of each send, as far as it tells.
//!
//! ```text
//!   sendmmsg: 0 1 2 … ─▶ driver of the interface ─▶ error queue: (0, time) (1, time) …
//! ```
//!
//! Our own reading of the clock is earlier by all that the kernel does until a packet is on its way; a batch
//! has one reading for all. What the kernel numbers is told by the order of our sends. It counts some that
//! failed and not others, so after a failure the count is begun anew. A socket with a peer of its own sends one
//! packet at a time, whose time is there when the call returns.
//! Invariants: a time is taken only if it fits our own reading; whoever gets none keeps that.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::socket::MsgFlags;
use socket2::Socket;

use super::super::receive::{Batch, Queued};
use super::super::socket;
use super::arrivals::believe;
use super::{Channel, Driver, Event, FlowState, Owner, Pending, Receiver, Run, Timestamp};

/// The most sends that are waited for; of those before them nothing will come.
const MOST: usize = 8192;
/// How much later than our reading a packet may leave. Beyond it the number belongs to another.
const LONGEST: Duration = Duration::from_secs(2);
/// So many entries of an error queue are looked at for the one that belongs to a send.
const LOOKS: usize = 4;
/// How much earlier: two clocks are read one after the other, and stepped by as much as is believed.
const EARLIEST: Duration = Duration::from_micros(100);

/// What left over one socket, in the order of the kernel's numbers.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// The number of the first of `sent`.
    first: u32,
    /// Runs (index, generation), and nothing where no time is wanted.
    sent: VecDeque<Option<(u32, u32)>>,
    /// The kernel's count is not known any more.
    lost: bool,
}

impl Departures {
    /// Those of a socket whose kernel does not count yet.
    pub fn unknown() -> Self {
        Self { lost: true, ..Self::default() }
    }

    /// A packet was sent.
    pub fn sent(&mut self, whose: Option<(u32, u32)>) {
        if self.sent.len() >= MOST {
            self.sent.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.sent.push_back(whose);
    }

    /// One could not be sent: the kernel may have counted it.
    pub fn failed(&mut self) {
        self.lost = true;
    }

    /// Whose packet has that number, asked once.
    fn take(&mut self, number: u32) -> Option<(u32, u32)> {
        let place = number.wrapping_sub(self.first) as usize;
        if self.lost || place >= self.sent.len() {
            return None;
        }
        let whose = self.sent.drain(..=place).next_back().flatten();
        self.first = number.wrapping_add(1);
        whose
    }

    /// Whether anybody waits for a time.
    pub fn are_due(&self) -> bool {
        !self.sent.is_empty()
    }
}

impl Driver {
    /// Begins the kernel's count anew where it is not known.
    pub(super) fn count_sends(&mut self, index: usize) {
        let Some(shared) = self.icmp.get_mut(index) else { return };
        if !shared.departures.lost {
            return;
        }
        shared.departures = Departures::default();
        if let Some(socket) = &shared.socket {
            // Without it our own readings stay.
            shared.departures.lost = socket::stamp_sends(socket).is_err();
        }
    }

    /// Empties the error queue of a shared socket: times of sends, and ICMP errors.
    pub(super) fn read_departures(&mut self, index: usize) {
        let mut batch = std::mem::replace(&mut self.batch, Batch::empty());
        let (now, offset) = self.errors_now();
        for _ in 0..super::READS_PER_SHARED / Batch::MOST {
            let Some(shared) = self.icmp.get_mut(index) else { break };
            let Some(socket) = &shared.socket else { break };
            let expected = shared.departures.sent.len();
            let Ok(more) = batch.receive(socket, MsgFlags::MSG_ERRQUEUE, expected) else { break };
            // A raw socket gets the same errors as packets, with more of what they quote.
            for error in batch.errors().filter(|_| !shared.raw) {
                self.pending.push(Pending::new(Owner::Icmp(index), &error, (now, offset)));
            }
            for (number, stamp) in batch.departures() {
                let whose = self.icmp.get_mut(index).and_then(|shared| shared.departures.take(number));
                if let (Some(whose), Some(offset)) = (whose, offset)
                    && let Some(left) = believe(Some(stamp), offset, now)
                {
                    self.left(whose, left);
                }
            }
            if !more {
                break;
            }
        }
        self.batch = batch;
    }

    /// Tells a run when its packet left, if that fits what it was told before.
    fn left(&mut self, (index, generation): (u32, u32), left: Timestamp) {
        let Some(mut run) = self.take_run(index) else { return };
        let fits = run.sent.is_some_and(|sent| left + EARLIEST >= sent && left <= sent + LONGEST);
        if run.generation == generation && run.reported.is_none() && fits {
            run.sent = Some(left);
            run.exchange.handle(Event::Sent, left);
        }
        self.put_back(index, run);
    }
}

/// When the packet left that has just been sent over a UDP socket; our own reading from before it where a queue of
/// the interface holds it back, or the kernel does not tell. ICMP errors that lie before it are set aside.
pub(super) fn left_at(
    receiver: &mut Receiver,
    (owner, socket): (Owner, &Socket),
    (now, offset): (Timestamp, Option<i64>),
    before: Timestamp,
    pending: &mut Vec<Pending>,
) -> Timestamp {
    for _ in 0..LOOKS {
        match receiver.queued(socket) {
            Ok(Queued::Left(stamp)) => {
                let left = offset.and_then(|offset| believe(Some(stamp), offset, now));
                if let Some(left) = left.filter(|left| *left + EARLIEST >= before) {
                    return left;
                }
            }
            Ok(Queued::Error(error)) => pending.push(Pending::new(owner, &error, (now, offset))),
            Ok(Queued::Other) => {}
            Err(_) => break,
        }
    }
    before
}

/// The UDP socket a run sends from, and whose events it has.
pub(super) fn own_socket<'a>(
    flows: &'a [Option<FlowState>],
    index: u32,
    run: &'a Run,
) -> Option<(Owner, &'a Socket)> {
    match &run.channel {
        Channel::Pinned => {
            let state = flows.get(run.flow.0 as usize).and_then(Option::as_ref)?;
            Some((Owner::Flow(run.flow.0), &state.pinned.as_ref()?.socket))
        }
        Channel::Udp { socket, .. } => Some((Owner::Run(index), socket)),
        Channel::Icmp(_) | Channel::Tcp { .. } | Channel::Closed => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Arc;

    use super::super::{Clock as _, Exchange, Handled, SeriesId, Step, SystemClock, Tag, Transport};
    use super::*;
    use crate::config::Egress;
    use crate::entropy::Generator;
    use crate::probe::Flow;
    use crate::probe::stun::lifetime::LIFETIME;

    #[test]
    fn the_time_of_a_datagram_is_there_when_its_send_returns() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let peer = UdpSocket::bind(any).unwrap();
            let socket = socket::udp(peer.local_addr().unwrap(), true, &Egress::default()).unwrap();
            let mut errors = Receiver::new();
            for _ in 0..2 {
                socket::datagram(&socket, b"IKE", None, None).unwrap();
                assert!(matches!(errors.queued(&socket), Ok(Queued::Left(stamp)) if stamp > 0));
                assert!(errors.queued(&socket).is_err(), "one of each");
            }
        }
    }

    /// Sends once from each of its two sockets, and waits.
    struct Beside {
        port: u16,
        steps: std::vec::IntoIter<Step>,
    }

    impl Exchange for Beside {
        fn transport(&self) -> Transport {
            Transport::Udp { port: self.port, connected: true }
        }

        fn poll(&mut self, _: Timestamp, out: &mut Vec<u8>) -> Step {
            out.extend(b"STUN");
            self.steps.next().unwrap_or(Step::Wait(Timestamp::FAR))
        }

        fn handle(&mut self, _: Event<'_>, _: Timestamp) -> Handled {
            Handled::Taken
        }
    }

    #[test]
    fn a_packet_that_left_wakes_nobody() {
        let clock = SystemClock::start();
        let mut driver = Driver::new(clock, Box::new(Generator::seeded(1))).unwrap();
        let listening = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = listening.local_addr().unwrap();
        let flow = driver.open(peer.ip(), peer.port(), Flow::Fresh, Arc::default());
        let tag = Tag { series: SeriesId(0), seq: 0, due: clock.now(), form: &LIFETIME };
        let mut out = Vec::new();
        let steps = vec![Step::SendBeside, Step::Send, Step::SendBeside].into_iter();
        driver.begin_with(
            flow,
            tag,
            Duration::from_secs(9),
            |_| Box::new(Beside { port: peer.port(), steps }),
            &mut out,
        );
        let (end, mut turns) = (clock.now() + Duration::from_millis(200), 0);
        while clock.now() < end {
            driver.turn(end, &mut out).unwrap();
            turns += 1;
        }
        assert!(turns < 5 && out.is_empty(), "{turns} turns: {out:?}");
    }

    #[test]
    fn numbers_are_told_by_the_order_of_sends() {
        let mut departures = Departures::default();
        for index in 0..3 {
            departures.sent(Some((index, 7)));
        }
        departures.sent(None);
        assert_eq!(departures.take(1), Some((1, 7)));
        assert_eq!(departures.take(0), None, "earlier ones are not told any more");
        assert_eq!(departures.take(4), None, "nothing was sent with that number");
        assert_eq!((departures.take(2), departures.take(3)), (Some((2, 7)), None));
        assert!(!departures.are_due());
    }

    #[test]
    fn numbers_begin_again_and_lists_end() {
        let mut departures = Departures { first: u32::MAX, ..Departures::default() };
        departures.sent(Some((1, 1)));
        departures.sent(Some((2, 2)));
        assert_eq!((departures.take(u32::MAX), departures.take(0)), (Some((1, 1)), Some((2, 2))));
        for index in (0..).take(MOST + 5) {
            departures.sent(Some((index, 0)));
        }
        assert_eq!(departures.sent.len(), MOST);
        assert_eq!(departures.take(6), Some((5, 0)));
        departures.failed();
        assert_eq!(departures.take(7), None, "the kernel's count is not known");
    }
}
