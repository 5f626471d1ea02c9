//! The form `mtu`: the largest packet that gets through whole, and whether larger ones vanish silently.
//!
//! ```text
//!   floor answered? ─▶ 1500 answered? ─▶ done
//!                         ├ "too big, N" ─▶ try N
//!                         └ silence ─▶ halve the gap between answered and silent, then confirm both
//! ```
//! Packets carry DF, and the kernel is told to ignore what it has learnt (IP_PMTUDISC_PROBE). Over IKE a
//! message of major version 3, padded: every responder refuses it with a small answer, so only our
//! direction is measured. Else ICMP echo, whose answer is as large. A size counts as silent after
//! [`TRIES`] packets; a black hole is told only after [`CONFIRM`] more rounds in which the larger size was
//! silent and the smaller one answered.
//!
//! Invariants: one packet under way at a time; a size is believed only if a packet of it was answered.
//!
//! RFC 1191, RFC 8201 (what routers tell); RFC 8899 (probing where they do not); RFC 2923, 2.1 (the black
//! hole).

use std::net::IpAddr;
use std::time::Duration;

use super::carrier::{About, Carrier, Echoes};
use super::{Event, Exchange, Handled, IcmpError, Mismatch, Start, Step, Transport};
use crate::sample::path::MtuSeen;
use crate::sample::{Fault, Outcome, Reason, Report};
use crate::time::Timestamp;

/// The largest size tried: Ethernet's.
const CEILING: u16 = 1500;
/// What every host takes whole: RFC 1122, 3.3.2 and RFC 8200, 5.
const FLOOR_V4: u16 = 576;
const FLOOR_V6: u16 = 1280;
/// Below these a router's word is not believed (RFC 1191, 3; RFC 8201, 4).
const LEAST_V4: u32 = 68;
const LEAST_V6: u32 = 1280;
/// Packets of a size before it counts as silent.
const TRIES: u8 = 3;
/// Rounds of both sizes before a black hole is told.
const CONFIRM: u8 = 2;
/// How long a search takes at the most.
const LIMIT: Duration = Duration::from_secs(60);
/// Bounds of the wait for an answer: three round trips, but within these.
const SHORTEST: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(1);

/// Why nothing larger gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    /// Nothing larger was tried, or it is Ethernet's own limit.
    Nothing,
    Told(Option<IpAddr>),
    OwnInterface,
    Silence,
}

/// The search: which size next, and what follows from the answers.
#[derive(Debug)]
pub(super) struct Search {
    /// The largest size that was answered; 0 before the first.
    good: u16,
    /// The smallest that did not get through; one more than the ceiling before the first.
    bad: u16,
    above: Above,
    /// What a router, or the kernel, gave as the limit.
    hint: Option<u16>,
    floor: u16,
    least: u32,
    tries: u8,
    confirmed: u8,
    /// In a confirming round: whether the larger size is the one being tried.
    larger: bool,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send(u16),
    Found(MtuSeen),
    /// Not even the smallest size is answered, or the answers contradict each other.
    Nothing,
}

impl Search {
    pub fn new(v6: bool) -> Self {
        Self {
            good: 0,
            bad: CEILING + 1,
            above: Above::Nothing,
            hint: None,
            floor: if v6 { FLOOR_V6 } else { FLOOR_V4 },
            least: if v6 { LEAST_V6 } else { LEAST_V4 },
            tries: 0,
            confirmed: 0,
            larger: true,
        }
    }

    fn size(&self) -> u16 {
        if self.good == 0 {
            return self.floor;
        }
        if self.bad - self.good <= 1 {
            return if self.larger { self.bad } else { self.good };
        }
        if let Some(hint) = self.hint.filter(|hint| self.good < *hint && *hint < self.bad) {
            return hint;
        }
        if self.bad > CEILING { CEILING } else { self.good + (self.bad - self.good) / 2 }
    }

    pub fn next(&self, over: &'static str) -> Next {
        let closed = self.good > 0 && self.bad - self.good <= 1;
        if closed && (self.above != Above::Silence || self.confirmed >= CONFIRM) {
            let told_by = match self.above {
                Above::Told(from) => from,
                _ => None,
            };
            return Next::Found(MtuSeen {
                bytes: self.good,
                black_hole: self.above == Above::Silence,
                told_by,
                own_interface: self.above == Above::OwnInterface,
                over,
            });
        }
        if self.tries >= TRIES { Next::Nothing } else { Next::Send(self.size()) }
    }

    /// A packet of this size was answered.
    pub fn answered(&mut self, size: u16) {
        self.tries = 0;
        if size >= self.bad {
            // Loss had looked like a limit: what lies above is open again.
            self.bad = CEILING + 1;
            self.above = Above::Nothing;
            self.confirmed = 0;
            self.larger = true;
            self.hint = None;
        } else if self.bad - self.good <= 1 && size == self.good {
            self.larger = true;
            self.confirmed += 1;
        }
        self.good = self.good.max(size);
    }

    /// A packet of this size was not answered in time.
    pub fn silent(&mut self, size: u16) {
        self.tries += 1;
        if self.tries < TRIES || self.good == 0 {
            return;
        }
        if size == self.good {
            return; // it contradicts itself: `next` gives up
        }
        self.tries = 0;
        if size == self.bad {
            self.larger = false;
        } else {
            self.limit(size, Above::Silence);
        }
    }

    /// A router says that this size is too big and the next link takes `mtu` (0: not said), or our own kernel
    /// refuses to send it (no `from`).
    pub fn too_big(&mut self, size: u16, mtu: u32, from: Option<IpAddr>) {
        self.tries = 0;
        let above = if from.is_some() { Above::Told(from) } else { Above::OwnInterface };
        if size > self.good {
            self.limit(size, above);
        }
        if let Ok(mtu) = u16::try_from(mtu)
            && u32::from(mtu) >= self.least
            && (self.good..size).contains(&mtu)
        {
            self.hint = Some(mtu);
            if mtu >= self.good && mtu + 1 < self.bad {
                self.limit(mtu + 1, above);
            }
        }
    }

    /// Our own interface takes no more than this.
    pub fn own_limit(&mut self, mtu: u32) {
        if let Ok(mtu) = u16::try_from(mtu)
            && u32::from(mtu) >= self.least
            && mtu >= self.good
            && mtu < self.bad
        {
            self.hint = Some(mtu);
            self.limit(mtu + 1, Above::OwnInterface);
        }
    }

    fn limit(&mut self, bad: u16, above: Above) {
        self.bad = self.bad.min(bad);
        self.above = above;
        self.confirmed = 0;
        self.larger = false;
    }
}

/// The exchange around a [`Search`].
pub(super) struct Mtu {
    peer: IpAddr,
    carrier: Carrier,
    /// What to fall back to where the VPN's own protocol does not answer.
    echoes: Option<Echoes>,
    /// What the shared sockets know the echoes by.
    token: Option<u64>,
    over: &'static str,
    port: u16,
    search: Search,
    packets: usize,
    flight: Option<Flight>,
    rtt: Option<Duration>,
    end: Timestamp,
    failed: Option<Fault>,
    reported: bool,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    number: usize,
    size: u16,
    sent: Timestamp,
}

impl Mtu {
    /// A search over `carrier` to that port, or over ICMP echo if there is none.
    pub fn new(carrier: Option<(Carrier, &'static str, u16)>, start: &mut Start<'_>) -> Self {
        let echoes = Echoes::new(start);
        let token = echoes.token();
        let (carrier, over, port, echoes) = match carrier {
            Some((carrier, over, port)) => (carrier, over, port, Some(echoes)),
            None => (Carrier::Echo(Box::new(echoes)), "icmp", 0, None),
        };
        Self {
            peer: start.peer,
            carrier,
            echoes,
            token,
            over,
            port,
            search: Search::new(start.peer.is_ipv6()),
            packets: 0,
            flight: None,
            rtt: None,
            end: start.now + LIMIT,
            failed: None,
            reported: false,
        }
    }

    fn wait(&self) -> Duration {
        self.rtt.map_or(LONGEST, |rtt| (rtt * 3).clamp(SHORTEST, LONGEST))
    }

    fn report(&mut self, report: Report) -> Step {
        self.reported = true;
        Step::Report(report)
    }

    fn found(&mut self, seen: MtuSeen) -> Step {
        let mut report = Report::new(Outcome::OK);
        report.rtt = self.rtt;
        let findings = report.findings();
        findings.details.number("path_mtu", seen.bytes);
        findings.details.flag("mtu_black_hole", seen.black_hole);
        findings.details.text("mtu_over", seen.over);
        if let Some(from) = seen.told_by {
            findings.details.text("mtu_told_by", from.to_string().as_str());
        }
        findings.mtu = Some(seen);
        self.report(report)
    }

    fn headers(&self) -> usize {
        if self.peer.is_ipv6() { 48 } else { 28 }
    }
}

impl Exchange for Mtu {
    fn transport(&self) -> Transport {
        Transport::Whole { port: self.port }
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        if self.reported {
            return Step::End;
        }
        if let Some(fault) = self.failed {
            return self.report(Report::new(Outcome::Unsent(fault)));
        }
        if now >= self.end {
            return self.report(Report::new(Outcome::Lost(Reason::NoAnswer)));
        }
        if let Some(flight) = self.flight {
            let until = flight.sent + self.wait();
            if now < until {
                return Step::Wait(until);
            }
            self.flight = None;
            self.search.silent(flight.size);
        }
        match self.search.next(self.over) {
            Next::Found(seen) => self.found(seen),
            Next::Nothing => match self.echoes.take().filter(|_| self.rtt.is_none()) {
                Some(echoes) => {
                    self.carrier = Carrier::Echo(Box::new(echoes));
                    (self.over, self.port, self.packets) = ("icmp", 0, 0);
                    self.search = Search::new(self.peer.is_ipv6());
                    Step::Open(Transport::Whole { port: 0 })
                }
                None => self.report(Report::new(Outcome::Lost(Reason::NoAnswer))),
            },
            Next::Send(size) => {
                let length = usize::from(size).saturating_sub(self.headers());
                self.carrier.padded(self.packets, length, now, out);
                self.flight = Some(Flight { number: self.packets, size, sent: now });
                self.packets += 1;
                Step::Send
            }
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => {
                if let Some(flight) = &mut self.flight {
                    flight.sent = at;
                }
                self.carrier.sent(event, at);
                Handled::Taken
            }
            Event::Received { from, bytes } => match self.carrier.reply(from, bytes, at) {
                About::Nothing(why) => Handled::NotMine(why),
                about => {
                    if let Some(flight) = self.flight.filter(|flight| About::Packet(flight.number) == about) {
                        let took = at.since(flight.sent);
                        self.rtt = Some(self.rtt.map_or(took, |known| known.max(took)));
                        self.search.answered(flight.size);
                        self.flight = None;
                    }
                    Handled::Taken
                }
            },
            Event::Icmp { from, error: IcmpError::TooBig(mtu), quoted } => {
                if from.is_none() {
                    // The send failed, too: this only tells by how much.
                    self.search.own_limit(mtu);
                    return Handled::Taken;
                }
                if let About::Nothing(why) = self.carrier.quoted(quoted) {
                    return Handled::NotMine(why);
                }
                if let Some(flight) = self.flight {
                    self.search.too_big(flight.size, mtu, from);
                    self.flight = None;
                }
                Handled::Taken
            }
            Event::Icmp { quoted, .. } => match self.carrier.quoted(quoted) {
                // Nothing listens there, or a router refuses: for this protocol that is silence.
                About::Packet(_) | About::SomePacket => Handled::Taken,
                About::Nothing(why) => Handled::NotMine(why),
            },
            Event::Failed(Fault::LocalMtu) => {
                if let Some(flight) = self.flight.take() {
                    self.search.too_big(flight.size, 0, None);
                }
                self.carrier.sent(event, at);
                Handled::Taken
            }
            Event::Failed(fault) => {
                self.failed.get_or_insert(fault);
                Handled::Taken
            }
            Event::Connected | Event::Closed | Event::Reset => Handled::NotMine(Mismatch::Unexpected),
        }
    }

    fn token(&self) -> Option<u64> {
        self.token
    }

    fn knows_headers(&self) -> bool {
        matches!(self.carrier, Carrier::Echo(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    /// Who says that a packet is too big.
    #[derive(Clone, Copy)]
    enum Says {
        Router,
        Kernel,
        Nobody,
    }

    /// Searches a path that carries `mtu` bytes; who says so if more come, and how many of the packets
    /// that fit are lost all the same.
    fn search(v6: bool, mtu: u16, says: Says, lost: impl Fn(usize) -> bool) -> (Next, usize) {
        let mut search = Search::new(v6);
        for packets in 0..1000 {
            match search.next("icmp") {
                Next::Send(size) if size > mtu => match says {
                    Says::Router => search.too_big(size, mtu.into(), ROUTER),
                    Says::Kernel => search.too_big(size, mtu.into(), None),
                    Says::Nobody => search.silent(size),
                },
                Next::Send(size) if lost(packets) => search.silent(size),
                Next::Send(size) => search.answered(size),
                end => return (end, packets),
            }
        }
        panic!("it ends");
    }

    fn seen(bytes: u16, black_hole: bool, told_by: Option<IpAddr>, own_interface: bool) -> Next {
        Next::Found(MtuSeen { bytes, black_hole, told_by, own_interface, over: "icmp" })
    }

    #[test]
    fn every_size_is_found_however_it_is_told() {
        for v6 in [false, true] {
            let floor = if v6 { FLOOR_V6 } else { FLOOR_V4 };
            assert_eq!(search(v6, CEILING, Says::Nobody, |_| false), (seen(CEILING, false, None, false), 2));
            for mtu in floor..CEILING {
                let (found, packets) = search(v6, mtu, Says::Router, |_| false);
                assert_eq!(found, seen(mtu, false, ROUTER, false));
                assert!(packets <= 3, "{mtu}: {packets}");
                let (found, _) = search(v6, mtu, Says::Kernel, |_| false);
                assert_eq!(found, seen(mtu, false, None, true));
                let (found, packets) = search(v6, mtu, Says::Nobody, |_| false);
                assert_eq!(found, seen(mtu, true, None, false), "{mtu}");
                assert!(packets <= 50, "{mtu}: {packets}");
            }
            assert_eq!(search(v6, floor - 1, Says::Nobody, |_| false).0, Next::Nothing);
        }
    }

    /// The shared sockets find a search by the token that its echoes begin with.
    #[test]
    fn its_echoes_carry_its_token() {
        let peer = IpAddr::from([203, 0, 113, 10]);
        let mut start = Start {
            now: Timestamp::from_secs(10),
            wall: crate::time::WallTime::from_unix_nanos(0),
            peer,
            local: None,
            timeout: Duration::from_secs(2),
            form: &super::super::MTU,
            token: 0,
            entropy: &mut crate::entropy::Generator::seeded(7),
        };
        let mut search = Mtu::new(None, &mut start);
        assert_eq!(search.transport(), Transport::Whole { port: 0 });
        assert!(search.knows_headers());
        for size in [FLOOR_V4, CEILING] {
            let mut out = Vec::new();
            assert_eq!(search.poll(start.now, &mut out), Step::Send);
            assert_eq!(out.len(), usize::from(size) - 20);
            assert_eq!(out[8..16], search.token().unwrap().to_be_bytes());
            // RFC 1071: an echo reply differs in its type alone, so its checksum is 0x800 more.
            out[0] = 0;
            let sum = u32::from(u16::from_be_bytes([out[2], out[3]])) + 0x800;
            let sum = u16::try_from(sum % 0xffff).unwrap().to_be_bytes();
            out[2..4].copy_from_slice(&sum);
            search.handle(Event::Sent, start.now);
            let from = std::net::SocketAddr::new(peer, 0);
            let answer = Event::Received { from, bytes: &out };
            assert_eq!(search.handle(answer, start.now), Handled::Taken);
        }
    }

    #[test]
    fn loss_is_no_black_hole() {
        for phase in 0..3 {
            let (found, _) = search(false, CEILING, Says::Nobody, |packet| packet % 3 == phase);
            assert_eq!(found, seen(CEILING, false, None, false));
            let (found, _) = search(false, 1400, Says::Nobody, |packet| packet % 3 == phase);
            assert_eq!(found, seen(1400, true, None, false));
        }
        // A run of losses that looks like a limit at first, and answers when it is to be confirmed.
        let (found, _) = search(false, CEILING, Says::Nobody, |packet| (1..10).contains(&packet));
        assert_eq!(found, seen(CEILING, false, None, false));
    }

    #[test]
    fn a_router_that_lies_is_not_believed() {
        for lie in [0, 1, 67, 1500, 9000, u32::MAX] {
            let mut search = Search::new(false);
            search.answered(576);
            search.too_big(1500, lie, ROUTER);
            assert_eq!(search.next("icmp"), Next::Send(1038), "{lie}");
        }
    }
}
