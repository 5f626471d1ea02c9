//! What carries a trace: the packets of one protocol, and which of them an answer is about.
//!
//! - Any kind of probe over UDP: each packet is the first flight of an exchange of that kind, with ids of
//!   its own, so the destination answers in protocol and its answer tells the hop limit. An exchange that
//!   was answered is carried on to its end, so that what it opened at the peer is closed again.
//! - ICMP echo: one token a run. The payload holds the complement of the sequence number, so that all
//!   requests have one checksum, which load balancers hash.
//! - TCP: a connection attempt from one local port, one at a time.
//!
//! Invariant: what load balancers hash (addresses, protocol, ports; the checksum of ICMP) is the same for
//! all packets of a run.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::icmp::{TOKEN, draw_token, routing};
use super::super::{Event, Exchange, Form, Handled, Mismatch, Spec, Start, Step, Transport};
use crate::entropy::{Draw as _, Generator};
use crate::time::{Timestamp, WallTime};
use crate::wire::icmp::{Echo, Message};

/// Length of an echo's payload in bytes; 64 with the ICMP header, as `ping` sends.
const PAYLOAD: usize = 56;
/// Stands for the hop limit of packets that are to reach the peer.
const WHOLE: u8 = 0;
/// From how many quoted bytes on a packet is told from another.
const TELLING: usize = 8;

/// Which packet an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The one of this number.
    Packet(usize),
    /// One of ours; it cannot be told which.
    SomePacket,
    /// None of ours.
    Nothing(Mismatch),
}

pub(super) enum Carrier {
    Echo(Box<Echoes>),
    Probe(Box<Flights>),
    Syn { port: u16 },
}

impl Carrier {
    /// The transport it starts on.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Echo(_) => Transport::Icmp,
            Self::Probe(flights) => flights.transport,
            // The first connection is opened with the first packet.
            Self::Syn { .. } => Transport::None,
        }
    }

    /// Makes packet `number` with this hop limit.
    pub fn packet(&mut self, number: usize, ttl: u8, now: Timestamp, out: &mut Vec<u8>) -> Step {
        match self {
            Self::Echo(echoes) => echoes.request(number, out),
            Self::Probe(flights) => flights.first(ttl, now, out),
            Self::Syn { port } => return Step::Open(Transport::Syn { port: *port, ttl }),
        }
        Step::SendTtl(ttl)
    }

    /// Makes packet `number` with this many bytes behind the IP and UDP (or ICMP) headers.
    pub fn padded(&mut self, number: usize, length: usize, now: Timestamp, out: &mut Vec<u8>) {
        match self {
            Self::Echo(echoes) => echoes.padded(number, length, out),
            Self::Probe(flights) => {
                flights.first(WHOLE, now, out);
                flights.pad(length, out);
            }
            Self::Syn { .. } => {}
        }
    }

    /// Passes on what became of the packet made last.
    pub fn sent(&mut self, event: Event<'_>, at: Timestamp) {
        if let Self::Probe(flights) = self {
            flights.sent(event, at);
        }
    }

    /// Which packet a datagram of the peer answers.
    pub fn reply(&mut self, from: SocketAddr, bytes: &[u8], at: Timestamp) -> About {
        match self {
            Self::Echo(echoes) => echoes.reply(from.ip(), bytes),
            Self::Probe(flights) => flights.reply(from, bytes, at),
            Self::Syn { .. } => About::Nothing(Mismatch::Unexpected),
        }
    }

    /// Which packet an ICMP error is about, and how many bytes of the original datagram precede `quoted`.
    pub fn quoted(&self, quoted: &[u8]) -> About {
        match self {
            Self::Echo(echoes) => echoes.quoted(quoted),
            Self::Probe(flights) => flights.quoted(quoted),
            // Each attempt has a socket of its own, and no two are open at once.
            Self::Syn { .. } => About::SomePacket,
        }
    }

    /// How many bytes of the original datagram the kernel does not hand over.
    pub fn skipped(&self, v6: bool) -> usize {
        let header = if v6 { 40 } else { 20 };
        header + if matches!(self, Self::Probe(_)) { 8 } else { 0 }
    }
}

/// Echo requests with one token.
pub(super) struct Echoes {
    peer: IpAddr,
    token: [u8; TOKEN],
    identifier: u16,
    /// The sequence number of packet 0.
    base: u16,
    sent: usize,
}

impl Echoes {
    pub fn new(start: &mut Start<'_>) -> Self {
        Self {
            peer: start.peer,
            token: draw_token(start),
            identifier: start.entropy.u16(),
            base: start.entropy.u16(),
            sent: 0,
        }
    }

    pub fn token(&self) -> Option<u64> {
        routing(&self.token)
    }

    fn request(&mut self, number: usize, out: &mut Vec<u8>) {
        self.padded(number, PAYLOAD, out);
    }

    fn padded(&mut self, number: usize, length: usize, out: &mut Vec<u8>) {
        self.sent = self.sent.max(number.saturating_add(1));
        let sequence = self.base.wrapping_add(u16::try_from(number).unwrap_or(u16::MAX));
        self.encode(self.identifier, sequence, length, out);
    }

    /// The padding is zeros, so that its length changes nothing in the checksum.
    fn encode(&self, identifier: u16, sequence: u16, length: usize, out: &mut Vec<u8>) {
        let mut payload = self.token.to_vec();
        payload.extend((!sequence).to_be_bytes());
        payload.resize(length.max(payload.len()), 0);
        Echo { reply: false, identifier, sequence, payload: &payload }.encode(self.peer.is_ipv6(), out);
    }

    /// The number of the packet with that sequence number, if it was sent.
    fn number(&self, sequence: u16) -> About {
        let number = usize::from(sequence.wrapping_sub(self.base));
        if number < self.sent { About::Packet(number) } else { About::Nothing(Mismatch::Token) }
    }

    fn reply(&self, from: IpAddr, bytes: &[u8]) -> About {
        if from != self.peer {
            return About::Nothing(Mismatch::Source);
        }
        match Message::decode(self.peer.is_ipv6(), bytes) {
            Ok(Message::Echo(echo)) if !echo.payload.starts_with(&self.token) => {
                About::Nothing(Mismatch::Token)
            }
            Ok(Message::Echo(echo)) if echo.reply => self.number(echo.sequence),
            Ok(_) => About::Nothing(Mismatch::Unexpected),
            Err(_) => About::Nothing(Mismatch::Malformed),
        }
    }

    fn quoted(&self, quoted: &[u8]) -> About {
        let v6 = self.peer.is_ipv6();
        let Some(echo) = Echo::quoted(v6, quoted) else { return About::Nothing(Mismatch::Malformed) };
        let seen = echo.payload.get(..TOKEN).unwrap_or(echo.payload);
        if seen.len() >= TELLING {
            if !self.token.starts_with(seen) {
                return About::Nothing(Mismatch::Token);
            }
            return self.number(echo.sequence);
        }
        // The router quotes the header alone (RFC 792: 64 bits). The checksum in it covers the token, and
        // an identifier that the kernel may have put in.
        let mut ours = Vec::new();
        self.encode(echo.identifier, echo.sequence, PAYLOAD, &mut ours);
        if v6 || ours.get(..8) != quoted.get(..8) {
            return About::Nothing(Mismatch::Token);
        }
        self.number(echo.sequence)
    }
}

/// Exchanges of a kind of probe, one a packet.
pub(super) struct Flights {
    spec: Spec,
    transport: Transport,
    peer: IpAddr,
    wall: WallTime,
    timeout: Duration,
    entropy: Generator,
    sent: Vec<Flight>,
    /// The one that the next [`Event::Sent`] or [`Event::Failed`] is for.
    sending: Option<usize>,
}

struct Flight {
    ttl: u8,
    exchange: Box<dyn Exchange>,
    bytes: Vec<u8>,
    /// Its packet was answered by the peer, so it goes on to its end.
    answered: bool,
    over: bool,
}

impl Flights {
    pub fn new(spec: &Spec, start: &mut Start<'_>) -> Self {
        let mut flights = Self {
            spec: spec.clone(),
            transport: Transport::None,
            peer: start.peer,
            wall: start.wall,
            timeout: start.timeout,
            entropy: Generator::seeded(start.entropy.u64()),
            sent: Vec::new(),
            sending: None,
        };
        flights.transport = flights.make(0, start.now).transport();
        flights
    }

    /// An exchange of the gentlest form, or of another gentle one: a box may be silent to one of them.
    fn make(&mut self, which: usize, now: Timestamp) -> Box<dyn Exchange> {
        let forms = (self.spec.kind.forms)(&self.spec);
        let mut gentle: Vec<&'static Form> = forms.iter().take_while(|form| form.stateless()).collect();
        // The cheapest one for an IKE responder: it reads no further than the header.
        gentle.sort_by_key(|form| form.name != "version");
        let place = which.checked_rem(gentle.len()).unwrap_or(0);
        let Some(form) = gentle.get(place).copied().or(forms.first()) else { return Box::new(Nothing) };
        let start = Start {
            now,
            wall: self.wall,
            peer: self.peer,
            local: None,
            timeout: self.timeout,
            form,
            token: 0,
            entropy: &mut self.entropy,
        };
        (self.spec.kind.begin)(&self.spec, start)
    }

    fn first(&mut self, ttl: u8, now: Timestamp, out: &mut Vec<u8>) {
        // The first packets of all hops have one form, a hop that was silent to it is asked in another.
        let which = self.sent.iter().filter(|flight| flight.ttl == ttl && ttl != WHOLE).count();
        let mut exchange = self.make(which, now);
        // A kind that opens with anything else than a datagram cannot be carried; the configuration and
        // the command line offer none.
        let _ = exchange.poll(now, out);
        self.sending = Some(self.sent.len());
        self.sent.push(Flight { ttl, exchange, bytes: out.clone(), answered: false, over: false });
    }

    /// Pads the IKE message made last to that length, and says so in its header (RFC 7296, 3.1: the
    /// length is at offset 24). It is of a major version that no responder reads beyond the header.
    fn pad(&mut self, length: usize, out: &mut Vec<u8>) {
        let Some(flight) = self.sent.last_mut() else { return };
        // RFC 3948, 2.2: on port 4500 four zero bytes precede it.
        let marker = if out.starts_with(&[0; 4]) { 4 } else { 0 };
        out.resize(length.max(out.len()), 0);
        let told = u32::try_from(out.len() - marker).unwrap_or(u32::MAX);
        if let Some(field) = out.get_mut(marker + 24..marker + 28) {
            field.copy_from_slice(&told.to_be_bytes());
        }
        flight.bytes.clone_from(out);
    }

    fn reply(&mut self, from: SocketAddr, bytes: &[u8], at: Timestamp) -> About {
        if from.ip() != self.peer {
            return About::Nothing(Mismatch::Source);
        }
        let mut why = Mismatch::Token;
        for (number, flight) in self.sent.iter_mut().enumerate() {
            match flight.exchange.handle(Event::Received { from, bytes }, at) {
                Handled::Taken => {
                    flight.answered = true;
                    return About::Packet(number);
                }
                Handled::NotMine(mismatch) => why = mismatch,
            }
        }
        About::Nothing(why)
    }

    fn quoted(&self, quoted: &[u8]) -> About {
        if quoted.len() < TELLING {
            return About::SomePacket;
        }
        let fits = |flight: &Flight| {
            let shared = quoted.len().min(flight.bytes.len());
            quoted.get(..shared) == flight.bytes.get(..shared)
        };
        let mut fitting = (0..self.sent.len()).filter(|number| self.sent.get(*number).is_some_and(fits));
        match (fitting.next(), fitting.next()) {
            (Some(number), None) => About::Packet(number),
            (Some(_), Some(_)) => About::SomePacket,
            (None, _) => About::Nothing(Mismatch::Token),
        }
    }

    /// Tells the exchange whose packet it was that it has left, or could not.
    pub fn sent(&mut self, event: Event<'_>, at: Timestamp) {
        if let Some(flight) = self.sending.take().and_then(|number| self.sent.get_mut(number)) {
            flight.exchange.handle(event, at);
        }
    }

    /// What the exchanges that were answered still have to do.
    pub fn carry_on(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Step> {
        let mut wait = None;
        for (number, flight) in self.sent.iter_mut().enumerate() {
            while flight.answered && !flight.over {
                match flight.exchange.poll(now, out) {
                    Step::Report(_) => {}
                    Step::End | Step::Open(_) => flight.over = true,
                    Step::Wait(until) => {
                        wait = Some(wait.map_or(until, |known: Timestamp| known.min(until)));
                        break;
                    }
                    send => {
                        self.sending = Some(number);
                        return Some(send);
                    }
                }
            }
        }
        wait.map(Step::Wait)
    }
}

/// Stands in for a kind without forms.
struct Nothing;

impl Exchange for Nothing {
    fn transport(&self) -> Transport {
        Transport::None
    }

    fn poll(&mut self, _: Timestamp, _: &mut Vec<u8>) -> Step {
        Step::End
    }

    fn handle(&mut self, _: Event<'_>, _: Timestamp) -> Handled {
        Handled::NotMine(Mismatch::Unexpected)
    }
}
