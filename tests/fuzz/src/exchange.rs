//! Each kind of probe, fed with what a peer, a router or somebody else might send.
//!
//! ```text
//! input   mode 1 | frames (src/frames.rs)
//! mode    10000000  somebody who does not see what we send: nothing of his may pass for an answer
//!         00001111  which form, and which settings
//!         01110000  how many forms further
//! what    00001111  an event (`Heard`)
//! ```
//!
//! Where the exchange gets its replies from an ICMP socket, the checksum of each is put right, or hardly one
//! would be looked at.
//!
//! What must hold: it reports exactly once, ends in bounded steps, waits for a time that comes, and takes
//! nothing for an answer that was made up by somebody who does not see what we send.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use vpnprobe::entropy::Generator;
use vpnprobe::probe::{
    Event, Exchange, Form, Handled, IcmpError, Kind, Settings, Spec, Start, Step, Transport,
};
use vpnprobe::sample::{Fault, Outcome, Reason};
use vpnprobe::time::{Timestamp, WallTime};

use crate::frames::{BLIND, Frame};
use crate::wire::put_checksum;
use crate::{Targets, canary};

/// The targets here.
pub const TARGETS: Targets = &[
    ("probe_icmp", icmp),
    ("probe_ike", ike),
    ("probe_ike_natt", ike_natt),
    ("probe_ikev1", ikev1),
    ("probe_ikev1_natt", ikev1_natt),
    ("probe_l2tp", l2tp),
    ("probe_openvpn_udp", openvpn_udp),
    ("probe_openvpn_tcp", openvpn_tcp),
    ("probe_tcp", tcp),
    ("probe_tls", tls),
    ("probe_dns", dns),
    ("probe_http", http),
    ("probe_rdp", rdp),
    ("probe_stun", stun),
    ("probe_sslvpn", sslvpn),
    ("probe_wireguard", wireguard),
    ("probe_trace", trace),
];

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 40000);
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most frames of an input that are looked at.
const MOST: usize = 24;

macro_rules! kinds {
    ($($name:ident)+) => {
        $(
            #[doc = concat!("The kind `", stringify!($name), "`.")]
            pub fn $name(bytes: &[u8]) {
                walk(stringify!($name), &|_, _| {}, bytes);
            }
        )+
    };
}

kinds! { ike ike_natt ikev1 ikev1_natt l2tp openvpn_udp openvpn_tcp tcp tls rdp stun icmp }

/// The kind `dns`, with the settings that change what a good answer is.
pub fn dns(bytes: &[u8]) {
    use vpnprobe::probe::dns::{RecordType, Via, View};
    let settings = |mode: u8, all: &mut Settings| {
        all.dns.name = (mode & 1 != 0).then(|| "intranet.example.test".to_owned());
        all.dns.transport = if mode & 2 != 0 { Via::Tcp } else { Via::Udp };
        all.dns.view = if mode & 4 != 0 { View::Hijack } else { View::Answer };
        all.dns.record = if mode & 8 != 0 { RecordType::AAAA } else { RecordType::A };
    };
    walk("dns", &settings, bytes);
}

/// The kind `http`, in clear text.
pub fn http(bytes: &[u8]) {
    walk("http", &|_, all| all.http.tls = false, bytes);
}

/// The kind `sslvpn`: declared as OpenVPN in clear text, or whatever it is inside TLS.
pub fn sslvpn(bytes: &[u8]) {
    use vpnprobe::probe::sslvpn::Flavour;
    let settings = |mode: u8, all: &mut Settings| {
        all.sslvpn.flavour = (mode & 2 != 0).then_some(Flavour::Openvpn);
    };
    walk("sslvpn", &settings, bytes);
}

/// The kind `wireguard`, with keys and without.
pub fn wireguard(bytes: &[u8]) {
    let settings = |mode: u8, all: &mut Settings| {
        if mode & 1 != 0 {
            // The base point of curve 25519 as a public key: valid, and nobody's.
            let mut public = [0; 32];
            public[0] = 9;
            all.wireguard = vpnprobe::probe::wireguard::Settings::new([0x40; 32], public, None);
        }
    };
    walk("wireguard", &settings, bytes);
}

/// The kind `trace`, over ICMP and over each kind that can carry it.
pub fn trace(bytes: &[u8]) {
    let settings = |mode: u8, all: &mut Settings| {
        all.trace.max_hops = 12;
        all.trace.over = (mode & 1 != 0)
            .then(|| vpnprobe::probe::trace::carriers().nth(usize::from(mode >> 1 & 7)))
            .flatten()
            .map(|kind| Box::new(spec(kind, Settings::default())));
    };
    walk("trace", &settings, bytes);
}

fn spec(kind: Kind, settings: Settings) -> Spec {
    Spec {
        name: kind.name.to_owned(),
        kind,
        port: kind.port,
        interval: Duration::from_secs(5),
        timeout: TIMEOUT,
        full_interval: Duration::from_mins(1),
        host: None,
        settings: settings.into(),
    }
}

/// The kinds whose answers carry at least 64 bits that only somebody who saw the question can know.
const UNGUESSABLE: &[&str] =
    &["ike", "ike_natt", "ikev1", "ikev1_natt", "openvpn_udp", "stun", "icmp", "wireguard"];

/// Where the planted bug of a kind is, once the exchange has taken what was heard: in a reply or in what an ICMP
/// error quotes, how long that is at least, and four octets in it that are the peer's own to choose.
pub(crate) struct Planted {
    quoted: bool,
    length: usize,
    pub(crate) at: usize,
}

/// Where that of the target of this name is.
pub(crate) fn planted(target: &str) -> Planted {
    let (quoted, length, at) = match target.strip_prefix("probe_").unwrap_or(target) {
        // Behind the token in the payload.
        "icmp" => (false, 32, 24),
        // In the responder's cookie or SPI, behind the marker.
        "ike_natt" | "ikev1_natt" => (false, 20, 16),
        // In the value of the third attribute, behind type and version.
        "l2tp" => (false, 38, 34),
        // In the server's session id; over TCP behind the length.
        "openvpn_udp" => (false, 22, 2),
        "openvpn_tcp" => (false, 24, 4),
        // Behind the question.
        "dns" => (false, 48, 40),
        // The value of the first attribute, behind the transaction id: an address.
        "stun" => (false, 32, 28),
        // Nobody can answer without the keys, but a router may quote all 148 octets and more.
        "wireguard" => (true, 152, 148),
        // Behind the header that is quoted.
        "trace" => (true, 48, 40),
        // In the responder's cookie or SPI; in a stream, anywhere.
        _ => (false, 20, 12),
    };
    Planted { quoted, length, at }
}

/// The probe of a kind with the settings of a mode, made once.
fn kept(name: &'static str, settings: &dyn Fn(u8, &mut Settings), mode: u8) -> Rc<Spec> {
    thread_local! {
        static KEPT: RefCell<HashMap<(&'static str, u8), Rc<Spec>>> = RefCell::default();
    }
    let mode = mode & 0x0f;
    let make = || {
        let mut all = Settings::default();
        settings(mode, &mut all);
        Rc::new(spec(Kind::named(name).unwrap(), all))
    };
    KEPT.with_borrow_mut(|kept| Rc::clone(kept.entry((name, mode)).or_insert_with(make)))
}

fn walk(name: &'static str, settings: &dyn Fn(u8, &mut Settings), input: &[u8]) {
    let Some((&mode, frames)) = input.split_first() else { return };
    let spec = kept(name, settings, mode);
    let forms = (spec.kind.forms)(&spec);
    let form = &forms[usize::from((mode & 0x0f) + (mode >> 4 & 0x07)) % forms.len()];
    let blind = mode & BLIND != 0;
    // What is drawn is the same each time for somebody who sees it, and not to be guessed for the blind.
    let seed = if blind {
        input.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    } else {
        1
    };
    let planted = planted(name);
    let mut run = Run::begin(&spec, form, seed);
    let mut rest = frames;
    for _ in 0..MOST {
        let Some((frame, after)) = Frame::read(rest, true) else { break };
        rest = after;
        run.hear(&frame, blind, &planted);
    }
    let outcome = run.end();
    if blind && UNGUESSABLE.contains(&name) {
        assert!(
            !matches!(outcome, Outcome::Answered(_) | Outcome::Refused(_)) || run.errors,
            "{name} {}: {outcome:?} by somebody who sees nothing",
            form.name
        );
    }
}

/// One exchange, its clock and what it has said.
struct Run {
    exchange: Box<dyn Exchange>,
    now: Timestamp,
    wake: Option<Timestamp>,
    sent: Vec<u8>,
    out: Vec<u8>,
    heard: Vec<u8>,
    reports: Vec<Outcome>,
    ended: bool,
    /// Whether an ICMP error or a reset came, which need no answer of the peer's.
    errors: bool,
    /// Whether replies are ICMP messages, whose checksum somebody has put right.
    summed: bool,
    from: SocketAddr,
}

impl Run {
    fn begin(spec: &Spec, form: &'static Form, seed: u64) -> Self {
        let mut entropy = Generator::seeded(seed);
        let now = Timestamp::from_secs(1000);
        let start = Start {
            now,
            wall: WallTime::from_unix_secs(1_800_000_000),
            peer: PEER,
            local: Some(LOCAL),
            timeout: TIMEOUT,
            form,
            token: seed,
            entropy: &mut entropy,
        };
        let exchange = (spec.kind.begin)(spec, start);
        let transport = exchange.transport();
        let mut run = Self {
            exchange,
            now,
            wake: None,
            sent: Vec::new(),
            out: Vec::new(),
            heard: Vec::new(),
            reports: Vec::new(),
            ended: false,
            errors: false,
            summed: false,
            from: SocketAddr::new(PEER, 0),
        };
        run.opened(transport);
        run.poll();
        run
    }

    fn opened(&mut self, transport: Transport) {
        self.summed = matches!(transport, Transport::Icmp);
        let port = match transport {
            Transport::Icmp | Transport::None => 0,
            Transport::Udp { port, .. }
            | Transport::Syn { port, .. }
            | Transport::Whole { port }
            | Transport::Tcp { port } => port,
        };
        self.from.set_port(port);
        if matches!(transport, Transport::Tcp { .. }) {
            self.exchange.handle(Event::Connected, self.now);
        }
    }

    fn poll(&mut self) {
        for _ in 0..400 {
            if self.ended {
                return;
            }
            self.out.clear();
            match self.exchange.poll(self.now, &mut self.out) {
                Step::Send | Step::SendBeside | Step::SendTtl(_) | Step::SendTo(_) => {
                    std::mem::swap(&mut self.sent, &mut self.out);
                    self.exchange.handle(Event::Sent, self.now);
                }
                Step::Open(transport) => self.opened(transport),
                Step::Wait(until) => {
                    assert!(until < Timestamp::FAR, "it waits for ever");
                    self.wake = Some(until);
                    return;
                }
                Step::Report(report) => self.reports.push(report.outcome),
                Step::End => self.ended = true,
            }
        }
        panic!("400 steps without a wait");
    }

    fn hear(&mut self, frame: &Frame<'_>, blind: bool, planted: &Planted) {
        let mut heard = std::mem::take(&mut self.heard);
        heard.clear();
        heard.extend_from_slice(frame.bytes);
        if let (Some((source, destination, count)), false) = (frame.overlay, blind) {
            let ours = self.sent.get(usize::from(source)..).unwrap_or_default().iter().take(count.into());
            heard.iter_mut().skip(destination.into()).zip(ours).for_each(|(to, from)| *to = *from);
        }
        if self.summed && matches!(frame.what & 0x0f, 0 | 8 | 9 | 13..) {
            put_checksum(&mut heard);
        }
        let bytes = heard.as_slice();
        let quoted = |error| Event::Icmp { from: Some(ROUTER), error, quoted: bytes };
        self.errors |= matches!(frame.what & 0x0f, 1..=6);
        let event = match frame.what & 0x0f {
            1 => quoted(IcmpError::TimeExceeded),
            2 => quoted(IcmpError::Unreachable(Reason::AdminProhibited)),
            3 => quoted(IcmpError::TooBig(frame.bytes.len().try_into().unwrap_or(0))),
            4 => Event::Icmp {
                from: Some(PEER),
                error: IcmpError::Unreachable(Reason::PortUnreachable),
                quoted: bytes,
            },
            5 => Event::Closed,
            6 => Event::Reset,
            7 => Event::Failed(Fault::LocalFirewall),
            8 => Event::Received { from: SocketAddr::new(PEER, 50_000), bytes },
            9 => Event::Received { from: SocketAddr::new(ROUTER, self.from.port()), bytes },
            10 => Event::Icmp {
                from: None,
                error: IcmpError::Other(bytes.len().to_le_bytes()[0], 0),
                quoted: bytes,
            },
            11 => {
                self.wait();
                self.heard = heard;
                return;
            }
            12 => Event::Connected,
            13 => {
                self.now = self.now + Duration::from_millis(1);
                self.exchange.beside(self.from, bytes, self.now);
                self.heard = heard;
                return self.poll();
            }
            _ => Event::Received { from: self.from, bytes },
        };
        let chosen = blind || frame.chose(planted.at, 4, self.sent.len());
        self.now = self.now + Duration::from_millis(1);
        let handled = self.exchange.handle(event, self.now);
        let here = if planted.quoted {
            matches!(event, Event::Icmp { .. })
        } else {
            matches!(event, Event::Received { .. })
        };
        if here && chosen && handled == Handled::Taken {
            canary(bytes, planted.length, planted.at);
        }
        self.heard = heard;
        self.poll();
    }

    /// Lets the time pass that it waits for.
    fn wait(&mut self) {
        if self.ended {
            return;
        }
        let wake = self.wake.expect("it waits");
        self.now = self.now.max(wake) + Duration::from_millis(1);
        self.poll();
    }

    /// Lets the time pass until it has ended.
    fn end(&mut self) -> Outcome {
        for _ in 0..400 {
            if self.ended {
                assert_eq!(self.reports.len(), 1, "reports: {:?}", self.reports);
                return self.reports[0];
            }
            self.wait();
        }
        panic!("not ended after 400 waits");
    }
}
