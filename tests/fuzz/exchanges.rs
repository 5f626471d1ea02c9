//! Each exchange, fed with mutated answers: it reports exactly once, ends in bounded steps, and takes
//! nothing made up for an answer.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use vpnprobe::entropy::Generator;
use vpnprobe::probe::{Event, Exchange, Form, IcmpError, Kind, Spec, Start, Step, Transport};
use vpnprobe::sample::{Outcome, Reason};
use vpnprobe::time::{Timestamp, WallTime};

use crate::mutate::{Mutator, goldens};
use crate::{each_input, inputs};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));
const TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn ike() {
    never_answered("ike", &["tests/golden/ike"]);
    never_answered("ike_natt", &["tests/golden/ike"]);
}

#[test]
fn ikev1() {
    never_answered("ikev1", &["tests/golden/ikev1"]);
    never_answered("ikev1_natt", &["tests/golden/ikev1"]);
}

#[test]
fn l2tp() {
    // Its ids have 16 bits: now and then one is guessed, as it could be on the wire.
    walk("l2tp", &["src/wire/l2tp/tests.rs"]);
}

#[test]
fn openvpn() {
    never_answered("openvpn_udp", &["tests/golden/openvpn"]);
    never_answered("openvpn_tcp", &["tests/golden/openvpn"]);
}

#[test]
fn tls() {
    never_answered("tls", &["tests/golden/openvpn"]);
}

#[test]
fn dns() {
    walk("dns", &["tests/golden/openvpn"]);
}

#[test]
fn inside() {
    never_answered("stun", &["src/wire/stun/tests.rs"]);
    never_answered("rdp", &["tests/golden/openvpn"]);
    never_answered("http", &["tests/golden/openvpn"]);
}

#[test]
fn sslvpn() {
    never_answered("sslvpn", &["src/wire/sstp/tests.rs"]);
}

#[test]
fn wireguard() {
    never_answered("wireguard", &["src/probe/wireguard/tests.rs"]);
}

#[test]
fn icmp() {
    never_answered("icmp", &["tests/golden/openvpn"]);
    walk("trace", &["tests/golden/openvpn"]);
}

fn never_answered(kind: &str, paths: &[&str]) {
    let answered = walk(kind, paths);
    assert_eq!(answered, 0, "{kind} took something made up for an answer");
}

/// How many exchanges ended well by what somebody made up who does not see what we send.
fn walk(kind: &str, paths: &[&str]) -> u64 {
    let kind = Kind::named(kind).unwrap();
    let spec = Spec {
        name: kind.name.to_owned(),
        kind,
        port: kind.port,
        interval: Duration::from_secs(5),
        timeout: TIMEOUT,
        full_interval: Duration::from_secs(60),
        host: None,
        settings: Arc::default(),
    };
    let goldens = goldens(paths);
    let answered = Cell::new(0);
    let number = Cell::new(0);
    // Eight packets an exchange.
    each_input(u64::from(kind.port), &goldens, inputs() / 40, |bytes| {
        let n = number.replace(number.get() + 1);
        let forms = (kind.forms)(&spec);
        let form = &forms[usize::try_from(n).unwrap() % forms.len()];
        let mut run = Run::begin(&spec, form, n);
        run.receive(bytes);
        // Half of them are fed by somebody who sees what we send: he may answer in the peer's name, but
        // not bring us down. The others only know what was once said to somebody else.
        let sees = n % 2 == 1;
        let mut seeds = goldens.clone();
        if sees {
            seeds.truncate(4);
            seeds.extend(std::iter::repeat_n(run.sent.clone(), 8));
        }
        let mut mutator = Mutator::new(n, &seeds);
        for _ in 0..7 {
            run.receive(&mutator.input());
        }
        run.icmp(&mutator.input());
        let outcome = run.end();
        if !sees {
            answered.set(answered.get() + u64::from(matches!(outcome, Outcome::Answered(_))));
            // Nor has he refused anything in the peer's name.
            if run.stream.is_none() && kind.name.starts_with("ike") {
                assert_eq!(outcome, Outcome::Lost(Reason::NoAnswer), "{}", form.name);
            }
        }
    });
    answered.get()
}

/// One exchange, its clock and what it has said.
struct Run {
    exchange: Box<dyn Exchange>,
    now: Timestamp,
    wake: Option<Timestamp>,
    sent: Vec<u8>,
    reports: Vec<Outcome>,
    ended: bool,
    from: SocketAddr,
    /// The port, if it is a stream.
    stream: Option<u16>,
}

impl Run {
    fn begin(spec: &Spec, form: &'static Form, seed: u64) -> Self {
        let mut entropy = Generator::seeded(seed);
        let now = Timestamp::from_secs(1000);
        let start = Start {
            now,
            wall: WallTime::from_unix_secs(1_800_000_000),
            peer: PEER,
            local: Some(SocketAddr::new(IpAddr::from([192, 0, 2, 10]), 40000)),
            timeout: TIMEOUT,
            form,
            entropy: &mut entropy,
        };
        let exchange = (spec.kind.begin)(spec, start);
        let (port, stream) = match exchange.transport() {
            Transport::Icmp | Transport::None => (0, None),
            Transport::Udp { port, .. } | Transport::Syn { port, .. } | Transport::Whole { port } => {
                (port, None)
            }
            Transport::Tcp { port } => (port, Some(port)),
        };
        let from = SocketAddr::new(PEER, port);
        let mut run = Self {
            exchange,
            now,
            wake: None,
            sent: vec![0],
            reports: Vec::new(),
            ended: false,
            from,
            stream,
        };
        run.poll();
        if stream.is_some() {
            run.event(Event::Connected);
        }
        run
    }

    fn poll(&mut self) {
        for _ in 0..200 {
            if self.ended {
                return;
            }
            let mut out = Vec::new();
            match self.exchange.poll(self.now, &mut out) {
                Step::Send | Step::SendTtl(_) | Step::SendTo(_) | Step::SendBeside => {
                    self.sent = out;
                    self.exchange.handle(Event::Sent, self.now);
                }
                Step::Open(transport) => {
                    if matches!(transport, Transport::Tcp { .. }) {
                        self.exchange.handle(Event::Connected, self.now);
                    }
                }
                Step::Wait(until) => {
                    self.wake = Some(until);
                    return;
                }
                Step::Report(report) => self.reports.push(report.outcome),
                Step::End => self.ended = true,
            }
        }
        panic!("200 steps without a wait");
    }

    fn event(&mut self, event: Event<'_>) {
        self.now = self.now + Duration::from_millis(1);
        self.exchange.handle(event, self.now);
        self.poll();
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.event(Event::Received { from: self.from, bytes });
    }

    fn icmp(&mut self, quoted: &[u8]) {
        self.event(Event::Icmp {
            from: None,
            error: IcmpError::Other(quoted.first().copied().unwrap_or(0), 0),
            quoted,
        });
    }

    /// Lets the time pass until it has ended.
    fn end(&mut self) -> Outcome {
        for _ in 0..200 {
            if self.ended {
                assert_eq!(self.reports.len(), 1, "reports: {:?}", self.reports);
                return self.reports[0];
            }
            let wake = self.wake.expect("it waits");
            self.now = self.now.max(wake) + Duration::from_millis(1);
            self.poll();
        }
        panic!("not ended after 200 waits");
    }
}
