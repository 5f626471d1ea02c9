//! `trace`: the routers on the way, by packets with growing hop limits, on the flow of a VPN.
//!
//! ```text
//!   Walk     which hop is asked when, whose an answer is     knows no protocol
//!   Carrier  packets of a kind of probe, and their answers   knows no path
//!   Trace    the exchange around both                        PathSeen in its findings
//! ```
//! Load balancers and filters go by protocol and ports, so a path is that of a flow: the trace sends what
//! the VPN's own clients send, from one port to the VPN's port, and the destination answers in protocol.
//!
//! Invariant: a hop that does not answer is silent, never lossy: routers answer a limited number of such
//! packets (RFC 1812, 4.3.2.8), and forward the others all the same.

use std::net::IpAddr;
use std::time::Duration;

use super::{Event, Exchange, Flow, Form, Handled, IcmpError, KindInfo, Mismatch, Spec, Start, Step, Transport};
use super::{Charge, Kind};
use crate::sample::path::{HopSeen, Label, PathEnd, PathSeen};
use crate::sample::{self, Outcome, Reason, Report, Text};
use crate::time::Timestamp;
use crate::wire::icmp::extension::label_stack;

mod carrier;
mod mtu;
pub mod overhead;
mod walk;

use carrier::{About, Carrier, Echoes, Flights};
pub use walk::{LEAD, PATIENCE};
use walk::{Answer, Pace, Walk, Who};

/// How long a run takes at the most.
pub const LIMIT: Duration = Duration::from_secs(10);
/// The same for a thorough run.
pub const DEEP_LIMIT: Duration = Duration::from_secs(25);

/// What `trace` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The highest hop limit tried, at least 1.
    pub max_hops: u8,
    /// The probe whose flow is followed; ICMP echo if there is none.
    pub over: Option<Box<Spec>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_hops: 30, over: None }
    }
}

/// How the packets of a probe can be sent with a hop limit of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    Tcp,
}

/// The kinds whose flow can be followed, the one to choose first in front.
const WAYS: &[(&str, Way)] = &[
    ("ike", Way::Udp),
    ("ike_natt", Way::Udp),
    ("ikev1", Way::Udp),
    ("ikev1_natt", Way::Udp),
    ("openvpn_udp", Way::Udp),
    ("wireguard", Way::Udp),
    ("tls", Way::Tcp),
    ("sslvpn", Way::Tcp),
    ("openvpn_tcp", Way::Tcp),
    ("l2tp", Way::Udp),
    ("tcp", Way::Tcp),
];

/// The kinds whose flow a trace can follow, beside ICMP echo; the one to choose first in front.
pub fn carriers() -> impl Iterator<Item = Kind> {
    WAYS.iter().filter_map(|(name, _)| Kind::named(name))
}

fn way(spec: &Spec) -> Option<Way> {
    WAYS.iter().find(|(name, _)| *name == spec.kind.name).map(|(_, way)| *way)
}

const fn form(name: &'static str, charges: &'static [Charge], packets: u32) -> Form {
    Form { name, charges, packets, rare: false }
}

/// The search of the path's MTU, now and then.
const MTU: Form = Form { name: "mtu", charges: &[], packets: 10, rare: true };

// What a form costs is what reaches the peer: most packets of a trace end at routers.
static PATH: [Form; 2] = [form("path", &[], 5), MTU];
/// One packet at a time, so that no more than one of them reaches the peer.
static PATH_TCP: [Form; 2] = [form("path", &[Charge::TcpConnection], 3), MTU];
static PATH_L2TP: [Form; 2] = [form("path", &[Charge::L2tpTunnel], 3), MTU];
static PATH_OPENVPN: [Form; 2] = [form("path", &[Charge::OpenvpnReset], 1), MTU];

/// The thorough one: silent hops are asked more often, and more of them in a row are passed over. On
/// request only, in no list.
pub static DEEP: Form = form("deep", &[], 5);

/// The forms for the flow that is followed.
fn forms(spec: &Spec) -> &'static [Form] {
    let Some(over) = &spec.settings.trace.over else { return &PATH };
    match (over.kind.name, way(over)) {
        ("l2tp", _) => &PATH_L2TP,
        ("openvpn_udp", _) => &PATH_OPENVPN,
        (_, Some(Way::Tcp)) => &PATH_TCP,
        _ => &PATH,
    }
}

/// The kind `trace`.
pub static INFO: KindInfo = KindInfo {
    name: "trace",
    port: 0,
    interval: Duration::from_secs(60),
    flow: Flow::SharedIcmp,
    carrier: sample::Carrier::Icmp,
    forms,
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::ConnectionRefused,
    ],
    phases: &[],
    begin: |spec, start| {
        if start.form.name == MTU.name { Box::new(search(spec, start)) } else { Box::new(begin(spec, start, None)) }
    },
};

/// Takes what is known so far, each time that becomes more.
pub type Tap = Box<dyn FnMut(&PathSeen) + Send>;

/// A trace that shows itself while it runs.
pub fn begin_shown(spec: &Spec, start: Start<'_>, tap: Tap) -> Box<dyn Exchange> {
    Box::new(begin(spec, start, Some(tap)))
}

/// What a trace's flow needs of its driver: the socket to keep, and the port it is connected to.
#[must_use]
pub fn flow(settings: &Settings) -> (Flow, u16) {
    match &settings.over {
        Some(over) if way(over) == Some(Way::Udp) && over.kind.name != "l2tp" => (Flow::PinnedUdp, over.port),
        Some(over) => (Flow::Fresh, over.port),
        None => (Flow::SharedIcmp, 0),
    }
}

/// The search runs over IKE where that is the VPN's, else over ICMP echo: the others answer no padding.
fn search(spec: &Spec, mut start: Start<'_>) -> mtu::Mtu {
    let ike = |over: &&Spec| matches!(over.kind.name, "ike" | "ike_natt");
    let carrier = spec.settings.trace.over.as_deref().filter(ike).map(|over| {
        (Carrier::Probe(Box::new(Flights::new(over, &mut start))), over.kind.name, over.port)
    });
    mtu::Mtu::new(carrier, &mut start)
}

/// The form of the search of the path's MTU.
#[must_use]
pub fn mtu_form(spec: &Spec) -> Option<&'static Form> {
    forms(spec).iter().find(|form| form.name == MTU.name)
}

fn begin(spec: &Spec, mut start: Start<'_>, tap: Option<Tap>) -> Trace {
    let settings = &spec.settings.trace;
    let (peer, now) = (start.peer, start.now);
    let deep = start.form.name == DEEP.name;
    let over = settings.over.as_deref();
    let (carrier, serial) = match over.and_then(|over| way(over).map(|way| (over, way))) {
        Some((over, Way::Udp)) => {
            (Carrier::Probe(Box::new(Flights::new(over, &mut start))), !stateless(over))
        }
        Some((over, Way::Tcp)) => (Carrier::Syn { port: over.port }, true),
        None => (Carrier::Echo(Box::new(Echoes::new(&mut start))), false),
    };
    let pace = Pace {
        max_hops: usize::from(settings.max_hops.max(1)),
        lead: LEAD,
        silent: if deep { 10 } else { 5 },
        tries: if deep { 3 } else { 2 },
        serial,
    };
    Trace {
        peer,
        over: over.map_or("icmp", |over| over.kind.name),
        port: over.map_or(0, |over| over.port),
        flow: start.local.map(|local| local.port()),
        deep,
        carrier,
        walk: Walk::new(pace),
        end: now + if deep { DEEP_LIMIT } else { LIMIT },
        sending: None,
        failed: None,
        reported: false,
        tap,
    }
}

fn stateless(over: &Spec) -> bool {
    (over.kind.forms)(over).first().is_some_and(Form::stateless)
}

struct Trace {
    peer: IpAddr,
    over: &'static str,
    port: u16,
    flow: Option<u16>,
    deep: bool,
    carrier: Carrier,
    walk: Walk,
    end: Timestamp,
    /// Number of the packet that is just being sent.
    sending: Option<usize>,
    /// Our own fault.
    failed: Option<Report>,
    reported: bool,
    tap: Option<Tap>,
}

impl Trace {
    fn seen(&self) -> PathSeen {
        let (hops, end, reason, unplaced) = self.walk.seen();
        let times = |one: &HopSeen| hops.iter().filter(|hop| hop.address() == one.address()).count();
        let router = |hop: &&HopSeen| hop.address().is_some_and(|address| address != self.peer);
        let looping = hops.iter().filter(router).any(|hop| times(hop) >= 3);
        PathSeen {
            over: self.over,
            peer: self.peer,
            port: self.port,
            flow: self.flow,
            hops,
            end,
            reason,
            looping,
            unplaced,
            packets: u32::try_from(self.walk.packets()).unwrap_or(u32::MAX),
            took: self.walk.took(),
            deep: self.deep,
        }
    }

    fn show(&mut self) {
        if self.tap.is_some() {
            let seen = self.seen();
            if let Some(tap) = &mut self.tap {
                tap(&seen);
            }
        }
    }

    /// Takes an answer; whether it was ours.
    fn answer(&mut self, about: About, answer: Answer) -> Handled {
        if let About::Nothing(why) = about {
            return Handled::NotMine(why);
        }
        let at = answer.at;
        match (about, self.walk.only(at)) {
            (About::Packet(number), _) => self.walk.answer(number, answer),
            // Attempts to connect are under way one at a time, and each has its own socket.
            (_, Some(number)) if matches!(self.carrier, Carrier::Syn { .. }) => self.walk.answer(number, answer),
            _ => self.walk.loose(answer, at),
        }
        self.show();
        Handled::Taken
    }

    fn error(&mut self, from: Option<IpAddr>, error: IcmpError, quoted: &[u8], at: Timestamp) -> Handled {
        let who = match error {
            IcmpError::TimeExceeded => Who::Router,
            IcmpError::Unreachable(reason) => Who::Refusal(reason),
            // A packet of a trace is small, and what else there is says nothing of the path.
            IcmpError::TooBig(_) | IcmpError::Other(..) => return Handled::NotMine(Mismatch::Unexpected),
        };
        let v6 = self.peer.is_ipv6();
        let labels = label_stack(quoted, self.carrier.skipped(v6))
            .into_iter()
            .map(|it| Label { label: it.label, class: it.class, bottom: it.bottom, ttl: it.ttl })
            .collect();
        let about = self.carrier.quoted(quoted);
        self.answer(about, Answer { who, from, at, labels })
    }

    fn destination(&mut self, who: Who, about: About, at: Timestamp) -> Handled {
        self.answer(about, Answer { who, from: Some(self.peer), at, labels: Vec::new() })
    }

    fn report(&mut self) -> Report {
        let seen = self.seen();
        let rtt = seen.hops.last().and_then(|hop| hop.answers.first()).map(|answer| answer.rtt);
        let mut report = match (seen.end, seen.reason, rtt) {
            (PathEnd::Reached, _, Some(rtt)) => Report::timed(Outcome::OK, rtt),
            (PathEnd::Refused, Some(reason), _) => Report::new(Outcome::Refused(reason)),
            _ => Report::new(Outcome::Lost(Reason::NoAnswer)),
        };
        let findings = report.findings();
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        findings.details.text("over", seen.over);
        findings.details.number("hop_count", number(seen.hops.len()));
        findings.details.list("hops", seen.hops.iter().map(line));
        if !seen.unplaced.is_empty() {
            let addresses = seen.unplaced.iter().map(|address| Text::from(address.to_string().as_str()));
            findings.details.list("unplaced", addresses);
        }
        if seen.end == PathEnd::Refused
            && let Some(from) = seen.last().and_then(HopSeen::address)
        {
            findings.details.text("icmp_from", from.to_string().as_str());
        }
        findings.path = Some(seen);
        report
    }
}

/// A hop as people read it.
#[must_use]
pub fn line(hop: &HopSeen) -> Text {
    let mut text = hop.ttl.to_string();
    for answer in &hop.answers {
        let from = answer.address.map_or_else(|| "?".to_owned(), |from| from.to_string());
        let millis = answer.rtt.as_secs_f64() * 1e3;
        text.push_str(&if millis < 1.0 { format!(" {from} {millis:.2} ms") } else { format!(" {from} {millis:.1} ms") });
        for label in &answer.labels {
            text.push_str(&format!(" [MPLS {}]", label.label));
        }
    }
    if hop.answers.is_empty() {
        text.push_str(" *");
    }
    Text::from(text.as_str())
}

impl Exchange for Trace {
    fn transport(&self) -> Transport {
        self.carrier.transport()
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        // What an answered exchange left open at the peer is closed before anything else.
        let mut wait = None;
        if let Carrier::Probe(flights) = &mut self.carrier
            && now < self.end
        {
            match flights.carry_on(now, out) {
                Some(Step::Wait(until)) => wait = Some(until),
                Some(step) => return step,
                None => {}
            }
        }
        if self.reported {
            // Packets that passed the end of the path are answered, too: these are no duplicates.
            let until = self.walk.linger().max(wait).map(|until| until.min(self.end));
            return until.filter(|until| *until > now).map_or(Step::End, Step::Wait);
        }
        if self.failed.is_none() && now < self.end {
            if let Some(hop) = self.walk.next(now) {
                let number = self.walk.ask(hop, now);
                self.sending = Some(number);
                let ttl = u8::try_from(hop + 1).unwrap_or(u8::MAX);
                let step = self.carrier.packet(number, ttl, now, out);
                if matches!(step, Step::Open(_)) {
                    // Opening sends it, and is not reported apart.
                    self.walk.left(number, now);
                    self.sending = None;
                }
                return step;
            }
            if let Some(change) = self.walk.wake(now) {
                return Step::Wait(wait.map_or(change, |until| change.min(until)).min(self.end));
            }
        }
        self.reported = true;
        Step::Report(self.failed.take().unwrap_or_else(|| self.report()))
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        match event {
            Event::Sent => {
                if let Some(number) = self.sending.take() {
                    self.walk.left(number, at);
                }
                self.carrier.sent(event, at);
                Handled::Taken
            }
            Event::Received { from, bytes } => {
                let about = self.carrier.reply(from, bytes, at);
                self.destination(Who::Destination, about, at)
            }
            Event::Icmp { from, error, quoted } => self.error(from, error, quoted, at),
            Event::Connected => self.destination(Who::Destination, About::SomePacket, at),
            Event::Reset => {
                self.destination(Who::Refusal(Reason::ConnectionRefused), About::SomePacket, at)
            }
            Event::Closed => Handled::Taken,
            Event::Failed(fault) => {
                if matches!(self.carrier, Carrier::Probe(_)) && self.sending.is_none() {
                    self.carrier.sent(event, at);
                } else {
                    self.failed.get_or_insert(Report::new(Outcome::Unsent(fault)));
                }
                Handled::Taken
            }
        }
    }

    fn token(&self) -> Option<u64> {
        match &self.carrier {
            Carrier::Echo(echoes) => echoes.token(),
            _ => None,
        }
    }

    fn knows_headers(&self) -> bool {
        matches!(self.carrier, Carrier::Echo(_))
    }
}

#[cfg(test)]
mod tests;
