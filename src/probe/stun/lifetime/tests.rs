//! Trials through a NAT that is simulated, before servers of all manners.

use proptest::prelude::*;

use super::*;
use crate::detect::binding::{Lifetime, Search};
use crate::entropy::Generator;
use crate::time::WallTime;
use crate::wire::stun::attribute;

/// What the server does with RESPONSE-PORT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Answers,
    /// 420 to whoever asked.
    Refuses,
    /// An answer to whoever asked.
    Ignores,
    /// Nothing at all.
    Dead,
}

/// A NAT, the ways before and behind it, and a server.
struct World {
    now: Timestamp,
    random: Generator,
    server: Server,
    /// What a stream lives for.
    lifetime: Duration,
    /// What a mapping lives for before it is a stream.
    young: Duration,
    /// Whether what comes in refreshes a mapping.
    inbound: bool,
    one_way: Duration,
    /// Packets lost of a thousand, on each part of the way.
    loss: u64,
    /// X's mapping: its port, when it was made, until when it lives.
    mapping: Option<(u16, Timestamp, Timestamp)>,
    next_port: u16,
    arrivals: Vec<(Timestamp, Packet)>,
    packets: u32,
}

/// What is under way, and where it will be.
enum Packet {
    /// At the NAT, from X or Y.
    Out { beside: bool, bytes: Vec<u8> },
    /// At the NAT, for X, at this port.
    In { port: u16, bytes: Vec<u8> },
    /// At Y.
    Beside(Vec<u8>),
    /// At X.
    Home(Vec<u8>),
}

const SERVER: ([u8; 4], u16) = ([203, 0, 113, 10], 3478);
const T0: Timestamp = Timestamp::from_secs(100);

impl World {
    fn new(server: Server, lifetime: Duration, seed: u64) -> Self {
        Self {
            now: T0,
            random: Generator::seeded(seed),
            server,
            lifetime,
            young: lifetime,
            inbound: true,
            one_way: Duration::from_millis(5),
            loss: 0,
            mapping: None,
            next_port: 50_000,
            arrivals: Vec::new(),
            packets: 0,
        }
    }

    fn put(&mut self, after: Duration, packet: Packet) {
        if self.random.below(1000) >= self.loss {
            self.arrivals.push((self.now + after, packet));
        }
    }

    /// The port X has now, if it has one; what passes refreshes it.
    fn pass(&mut self, out: bool) -> Option<u16> {
        let now = self.now;
        if self.mapping.is_some_and(|(_, _, until)| until < now) {
            self.mapping = None;
        }
        if self.mapping.is_none() && out {
            self.next_port += 1;
            self.mapping = Some((self.next_port, now, now));
        }
        let (port, made, until) = self.mapping?;
        let stream = now.since(made) > Duration::from_secs(2);
        if out || self.inbound {
            let lives = if stream { self.lifetime } else { self.young };
            self.mapping = Some((port, made, until.max(now + lives)));
        }
        Some(port)
    }

    /// The server's answer, as coturn 4.6.1 sends it, without what it says of itself.
    fn answer(&mut self, request: &[u8], source: u16) -> Option<(u16, Vec<u8>)> {
        let request = Message::decode(request).unwrap();
        let asked = request.attribute(attribute::RESPONSE_PORT);
        let asked = asked.map(|value| u16::from_be_bytes([value[0], value[1]]));
        let mapped = |port: u16| {
            let [high, low] = port.to_be_bytes();
            (attribute::MAPPED_ADDRESS, vec![0, 1, high, low, 198, 51, 100, 1])
        };
        let (kind, attributes, to) = match (self.server, asked) {
            (Server::Dead, _) => return None,
            (Server::Answers, Some(port)) => (message::SUCCESS, vec![mapped(source)], port),
            (Server::Refuses, Some(_)) => {
                (message::ERROR, vec![(attribute::ERROR_CODE, vec![0, 0, 4, 20])], source)
            }
            _ => (message::SUCCESS, vec![mapped(source)], source),
        };
        let answer = Message { kind, transaction: request.transaction, attributes, fingerprint: false };
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        Some((to, bytes))
    }

    /// Y's own port at the NAT.
    const BESIDE: u16 = 49_999;

    fn arrive(&mut self, packet: Packet, trial: &mut Trial) {
        let from = SERVER.into();
        match packet {
            Packet::Out { beside, bytes } => {
                let source = if beside { Self::BESIDE } else { self.pass(true).unwrap() };
                if let Some((to, bytes)) = self.answer(&bytes, source) {
                    let back = self.one_way * 2;
                    let lost = self.random.below(1000) < self.loss;
                    if !lost && to == Self::BESIDE {
                        self.put(back, Packet::Beside(bytes));
                    } else if !lost {
                        self.put(back, Packet::In { port: to, bytes });
                    }
                }
            }
            Packet::In { port, bytes } => {
                let known = self.mapping.is_some_and(|(own, _, until)| own == port && until >= self.now);
                if known && self.pass(false).is_some() {
                    self.put(Duration::from_millis(1), Packet::Home(bytes));
                }
            }
            Packet::Home(bytes) => {
                trial.handle(Event::Received { from, bytes: &bytes }, self.now);
            }
            Packet::Beside(bytes) => {
                trial.beside(from, &bytes, self.now);
            }
        }
    }

    /// One trial, from a new socket.
    fn trial(&mut self, idle: Duration) -> Report {
        self.mapping = None;
        let mut entropy = Generator::seeded(self.random.below(u64::MAX));
        let start = Start {
            now: self.now,
            wall: WallTime::default(),
            peer: IpAddr::from(SERVER.0),
            local: None,
            timeout: Duration::from_secs(2),
            form: &LIFETIME,
            token: 0,
            entropy: &mut entropy,
        };
        let mut trial = Trial::begin(SERVER.1, idle, start);
        let before = self.packets;
        loop {
            let mut bytes = Vec::new();
            match trial.poll(self.now, &mut bytes) {
                step @ (Step::Send | Step::SendBeside) => {
                    trial.handle(Event::Sent, self.now);
                    self.packets += 1;
                    let beside = step == Step::SendBeside;
                    self.put(Duration::from_millis(1), Packet::Out { beside, bytes });
                }
                Step::Wait(until) => {
                    assert!(until > self.now, "it waits for the past");
                    self.arrivals.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
                    match self.arrivals.last().map(|(at, _)| *at) {
                        Some(at) if at <= until => {
                            self.now = self.now.max(at);
                            let (_, packet) = self.arrivals.pop().unwrap();
                            self.arrive(packet, &mut trial);
                        }
                        _ => self.now = until,
                    }
                }
                Step::Report(report) => {
                    assert_eq!(trial.poll(self.now, &mut bytes), Step::End);
                    assert!(self.packets - before <= LIFETIME.packets);
                    self.arrivals.clear();
                    return report;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn search(&mut self) -> Search {
        let mut search = Search::default();
        while let Some(idle) = search.next() {
            let report = self.trial(idle);
            search.take(idle, report.findings.and_then(|findings| findings.binding));
        }
        search
    }
}

fn binding(report: &Report) -> Binding {
    report.findings.as_ref().and_then(|findings| findings.binding).unwrap_or_else(|| panic!("{report:?}"))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_mapping_that_lives_and_one_that_is_forgotten() {
    let mut world = World::new(Server::Answers, 30 * SECOND, 1);
    let lived = world.trial(20 * SECOND);
    assert_eq!((lived.outcome, binding(&lived)), (Outcome::OK, Binding::Lived(20 * SECOND)));
    assert_eq!(world.packets, 3, "two questions of X, one of Y");
    let forgotten = world.trial(31 * SECOND);
    let Binding::Forgotten(time) = binding(&forgotten) else { panic!("{forgotten:?}") };
    // Two more questions half a second apart, and the round trip.
    assert!(time > 32 * SECOND && time < 33 * SECOND, "{time:?}");
}

/// Linux keeps what has gone both ways for two seconds for longer; a VPN is such a flow.
#[test]
fn it_is_a_stream_that_is_measured() {
    let mut world = World { young: 10 * SECOND, ..World::new(Server::Answers, 120 * SECOND, 2) };
    assert_eq!(binding(&world.trial(100 * SECOND)), Binding::Lived(100 * SECOND));
    // Where the young ones do not even live until then, the second question makes a new one.
    world.young = SECOND;
    assert!(matches!(binding(&world.trial(5 * SECOND)), Binding::Forgotten(_)));
}

#[test]
fn servers_that_cannot_tell() {
    for (server, why) in [(Server::Refuses, Unmeasured::Refused), (Server::Ignores, Unmeasured::Ignored)] {
        let mut world = World::new(server, 30 * SECOND, 3);
        let report = world.trial(6 * SECOND);
        assert_eq!(report.outcome, Outcome::Refused(Reason::WrongAnswer));
        assert_eq!(binding(&report), Binding::Unmeasured(why));
        assert_eq!(world.search().unmeasured(), Some(why));
    }
}

/// A NAT that gives each flow another address of its own: the server answers Y's, not X's.
#[test]
fn an_answer_that_never_comes_proves_nothing() {
    let mut world = World::new(Server::Answers, Duration::ZERO, 4);
    world.inbound = false;
    world.one_way = Duration::from_micros(1);
    let report = world.trial(6 * SECOND);
    // With a lifetime of nothing not even X's own answers come back.
    assert_eq!(report, Report::new(Outcome::Lost(Reason::NoAnswer)));
    let dead = World::new(Server::Dead, 30 * SECOND, 4).trial(6 * SECOND);
    assert_eq!(dead, Report::new(Outcome::Lost(Reason::NoAnswer)));
}

#[test]
fn what_is_not_ours_changes_nothing() {
    let mut entropy = Generator::seeded(5);
    let start = Start {
        now: T0,
        wall: WallTime::default(),
        peer: IpAddr::from(SERVER.0),
        local: None,
        timeout: SECOND,
        form: &LIFETIME,
        token: 0,
        entropy: &mut entropy,
    };
    let mut trial = Trial::begin(SERVER.1, SECOND, start);
    let mut request = Vec::new();
    assert_eq!(trial.poll(T0, &mut request), Step::Send);
    trial.handle(Event::Sent, T0);
    let from = SERVER.into();
    for (bytes, why) in [
        (request.clone(), Mismatch::Unexpected),
        (request[..request.len() - 1].to_vec(), Mismatch::Malformed),
        ({ let mut other = request[..20].to_vec(); (other[3], other[9]) = (0, other[9] ^ 1); other }, Mismatch::Token),
    ] {
        assert_eq!(trial.handle(Event::Received { from, bytes: &bytes }, T0), Handled::NotMine(why));
        assert_eq!(trial.beside(from, &bytes, T0), Handled::NotMine(why));
    }
    let stranger = "203.0.113.99:3478".parse().unwrap();
    assert_eq!(
        trial.handle(Event::Received { from: stranger, bytes: &request }, T0),
        Handled::NotMine(Mismatch::Source)
    );
    assert_eq!(trial.poll(T0, &mut Vec::new()), Step::Wait(T0 + GAP));
}

/// Two hundred NATs behind a tenth of loss on each part of the way: what is told holds.
#[test]
fn searches_under_loss() {
    let (mut told, mut wrong, mut packets) = (0, 0, 0);
    for seed in 0..200 {
        let lifetime = Duration::from_millis(4000 + seed * 2500);
        let mut world = World::new(Server::Answers, lifetime, seed);
        world.loss = 25;
        let Lifetime { at_least, at_most } = world.search().lifetime();
        assert!(at_least.is_none_or(|low| low <= lifetime), "{lifetime:?}: {at_least:?}");
        told += usize::from(at_least.is_some());
        wrong += usize::from(at_most.is_some_and(|high| high < lifetime));
        packets = packets.max(world.packets);
    }
    assert_eq!((told, wrong), (200, 0));
    assert!(packets < 150, "{packets}");
}

proptest! {
    /// Whatever is lost, and however long the way is, what is told of a trial holds.
    #[test]
    fn what_a_trial_tells_holds(
        lifetime in 4_000u64..200_000, idle in 500u64..200_000, one_way in 1u64..900, loss in 0u64..300,
        inbound: bool, seed: u64,
    ) {
        let lifetime = Duration::from_millis(lifetime);
        let mut world = World::new(Server::Answers, lifetime, seed);
        world.one_way = Duration::from_millis(one_way) / 2;
        (world.loss, world.inbound) = (loss, inbound);
        let report = world.trial(Duration::from_millis(idle));
        match report.findings.and_then(|findings| findings.binding) {
            Some(Binding::Lived(time)) => prop_assert!(time <= lifetime),
            Some(Binding::Forgotten(time)) if loss == 0 => prop_assert!(time >= lifetime),
            Some(Binding::Unmeasured(_)) => prop_assert!(loss > 0),
            None => prop_assert!(loss > 0 || report.outcome == Outcome::Lost(Reason::NoAnswer)),
            _ => {}
        }
    }
}
