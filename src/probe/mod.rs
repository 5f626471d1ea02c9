//! Exchanges: one run of a probe with one address, as a pure state machine.
//!
//! ```text
//!           Start                     Event (stamped at the socket)
//!   spec ───────────▶ Box<dyn Exchange> ◀──────────────────────────── net
//!                          │ poll(now, out) until Wait or End
//!                          ▼
//!        Send · SendTtl · SendTo · SendBeside · Open · Wait(deadline) · Report(result) · End
//! ```
//!
//! The contract: after [`begin`](KindInfo::begin) and after every [`Exchange::handle`] the driver calls
//! [`Exchange::poll`] until it says [`Step::Wait`] or [`Step::End`]; it calls it again at the time it
//! was told to wait for. Each exchange reports exactly once. After its report it may still clean up
//! (close a tunnel it opened); after [`Step::End`] it is only offered packets that came late, so that
//! it can tell whose they are.
//!
//! Invariants: no clock, no socket, no operating-system randomness. An exchange decides first whether
//! a packet answers it (address, protocol ids, token), and only then parses it further. A packet that
//! is not its own changes nothing. Times are never compared with anything but times handed in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::entropy::Entropy;
use crate::sample::{Carrier, Fault, Phase, Reason, Report};
use crate::time::{Timestamp, WallTime};
use crate::words;

/// What carries an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// ICMP or ICMPv6 echo, through the sockets that all exchanges share.
    Icmp,
    /// One UDP flow to this port. `connected`: only this port of the peer may answer.
    Udp {
        /// The peer's port.
        port: u16,
        /// Whether replies from other ports of the peer are dropped by the kernel.
        connected: bool,
    },
    /// A new TCP connection to this port.
    Tcp {
        /// The peer's port.
        port: u16,
    },
    /// A new TCP connection to this port whose packets have this hop limit; all such of one exchange come
    /// from the same local port, so no two may be open at once.
    Syn {
        /// The peer's port.
        port: u16,
        /// The hop limit.
        ttl: u8,
    },
    /// A UDP flow of its own to this port, or ICMP echo through the shared sockets if that is 0; its packets
    /// are never fragmented, whatever the kernel has learnt of the path.
    Whole {
        /// The peer's port.
        port: u16,
    },
    /// None yet.
    None,
}

/// What an exchange wants next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Send what is in `out`: one datagram, or the next bytes of the stream.
    Send,
    /// Send what is in `out` as one datagram with this time to live (hop limit).
    SendTtl(u8),
    /// Send what is in `out` as one datagram to this port of the peer, from the same socket.
    SendTo(u16),
    /// Send what is in `out` as one datagram to the peer from a second socket beside the first; what comes
    /// there goes to [`Exchange::beside`]. For UDP only.
    SendBeside,
    /// Leave the transport and open this one; [`Event::Connected`] follows for TCP.
    Open(Transport),
    /// Nothing until an event comes, or until this time.
    Wait(Timestamp),
    /// The result. Comes exactly once.
    Report(Report),
    /// Nothing more to do; the transport may be closed.
    End,
}

/// Which ICMP error came for one of our packets, in the words of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
    /// The hop limit ran out on the way.
    TimeExceeded,
    /// A destination unreachable message, as the reason it stands for.
    Unreachable(Reason),
    /// The packet was too big; the next hop takes this many bytes (0 if not said).
    TooBig(u32),
    /// Any other, by type and code.
    Other(u8, u8),
}

/// What happened to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// What the last [`Step::Send`] asked for has left, at the event's time. Over [`Transport::Icmp`] it may
    /// be told again, when the kernel says better when that was.
    Sent,
    /// The TCP connection is open.
    Connected,
    /// A datagram, or the next bytes of the stream.
    Received {
        /// Who sent it.
        from: SocketAddr,
        /// The payload. For ICMP: the ICMP message from its type on.
        bytes: &'a [u8],
    },
    /// An ICMP error that the kernel, or the quoted packet, ties to this exchange's transport.
    Icmp {
        /// The router or host that sent it, if known.
        from: Option<IpAddr>,
        /// What it says.
        error: IcmpError,
        /// What it quotes: the payload of our datagram as far as the router copied it (ICMP: from the
        /// ICMP header on); may be empty.
        quoted: &'a [u8],
    },
    /// The peer closed the stream in order.
    Closed,
    /// The peer refused or reset the stream.
    Reset,
    /// We could not do what the last step asked for.
    Failed(Fault),
}

words! {
    /// Why a packet is nobody's: a closed set, a metric label.
    pub enum Mismatch {
        /// No exchange expects a packet from there.
        Source = "source",
        /// The ids or the random token are not ours.
        Token = "token",
        /// It is no message of the protocol.
        Malformed = "malformed",
        /// It is a message of the protocol that does not belong in this exchange.
        Unexpected = "unexpected",
    }
}

/// Whether an event was the exchange's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It was, and may have changed its state.
    Taken,
    /// It was not, and changed nothing.
    NotMine(Mismatch),
}

/// One run of a probe with one address.
pub trait Exchange: Send {
    /// The transport it starts on.
    fn transport(&self) -> Transport;

    /// What it wants next. Bytes to send are appended to `out`, which the driver hands in empty.
    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step;

    /// Takes note of an event that happened `at`.
    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled;

    /// Takes note of a datagram that came to the socket of [`Step::SendBeside`] `at`.
    fn beside(&mut self, _from: SocketAddr, _bytes: &[u8], _at: Timestamp) -> Handled {
        Handled::NotMine(Mismatch::Unexpected)
    }

    /// What shared ICMP sockets find this exchange by: the first eight bytes of the payload of each
    /// echo request it sends, in replies and quoted in errors. Nothing for other transports.
    fn token(&self) -> Option<u64> {
        None
    }

    /// Whether it knows its echo requests by their headers alone, which is all that some routers quote.
    fn knows_headers(&self) -> bool {
        false
    }
}

/// What an exchange is given to begin with.
pub struct Start<'a> {
    /// The time now.
    pub now: Timestamp,
    /// The wall time now: for certificates and replay windows only.
    pub wall: WallTime,
    /// The member's address.
    pub peer: IpAddr,
    /// Our own address and port on the flow, if the transport is open already (connected UDP).
    pub local: Option<SocketAddr>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Which form to run; one of [`KindInfo::forms`].
    pub form: &'static Form,
    /// What the token of its echo requests begins with: random to everybody but the driver, which finds the
    /// flow by it.
    pub token: u64,
    /// Where ids and tokens come from.
    pub entropy: &'a mut dyn Entropy,
}

words! {
    /// What opening state at a concentrator is charged as.
    pub enum Charge {
        /// A half-open IKE session.
        HalfOpen = "half_open",
        /// An L2TP tunnel.
        L2tpTunnel = "l2tp_tunnel",
        /// An OpenVPN hard reset.
        OpenvpnReset = "openvpn_reset",
        /// A TCP connection.
        TcpConnection = "tcp_connection",
        /// A TLS handshake.
        TlsHandshake = "tls_handshake",
        /// A WireGuard session.
        WireguardHandshake = "wireguard_handshake",
    }
}

/// One way to run a probe, and what it costs the concentrator.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// Its name in samples and JSON, for example `"version"`.
    pub name: &'static str,
    /// What it opens at the peer; empty for a form that leaves no state behind.
    pub charges: &'static [Charge],
    /// How many packets we send for it, at the most, in the good case.
    pub packets: u32,
    /// Whether it is also run now and then beside the recurring form, for what only it finds out.
    pub rare: bool,
}

impl Form {
    /// Whether it leaves no state at the peer, so that its schedule never backs off.
    #[must_use]
    pub const fn stateless(&self) -> bool {
        self.charges.is_empty()
    }
}

/// What socket a series keeps between its exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The shared ICMP sockets.
    SharedIcmp,
    /// One connected UDP socket, kept open: a stable flow, as a VPN client has.
    PinnedUdp,
    /// A new socket for each exchange.
    Fresh,
}

/// What the rest of the program knows of a kind of probe.
#[derive(Debug)]
pub struct KindInfo {
    /// Its name in the configuration and, by default, the label `probe`.
    pub name: &'static str,
    /// The port probed unless the configuration says another; 0 for ICMP.
    pub port: u16,
    /// How often it runs unless the configuration says another.
    pub interval: Duration,
    /// The socket it keeps.
    pub flow: Flow,
    /// What carries its packets.
    pub carrier: Carrier,
    /// Its forms for these settings: recurring candidates from the gentlest on, then the rare ones.
    /// The first one is tried first. Never empty.
    pub forms: fn(&Spec) -> &'static [Form],
    /// The reasons its exchanges can report.
    pub reasons: &'static [Reason],
    /// The phases its exchanges can time.
    pub phases: &'static [Phase],
    /// Begins an exchange.
    pub begin: fn(&Spec, Start<'_>) -> Box<dyn Exchange>,
}

/// A probe of a target as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The label `probe`.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// The peer's port; 0 for ICMP.
    pub port: u16,
    /// From one exchange to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// From one rare full form to the next.
    pub full_interval: Duration,
    /// The target's host name as written in the configuration, if it is a name (for SNI and the
    /// certificate's name).
    pub host: Option<String>,
    /// What its kind needs; many probes share the same.
    pub settings: Arc<Settings>,
}

impl Spec {
    /// What socket it keeps, and the port that is connected to.
    #[must_use]
    pub fn flow(&self) -> (Flow, u16) {
        if self.kind.name == trace::INFO.name {
            return trace::flow(&self.settings.trace);
        }
        (self.kind.flow, self.port)
    }

    /// What carries its packets.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        match &self.settings.trace.over {
            Some(over) if self.kind.name == trace::INFO.name => over.kind.carrier,
            _ => self.kind.carrier,
        }
    }
}

/// A kind of probe: an entry of the [`KINDS`] list.
#[derive(Clone, Copy)]
pub struct Kind(&'static KindInfo);

impl Kind {
    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|info| info.name == name).map(|info| Self(info))
    }

    /// All kinds, in the order they are listed to people.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|info| Self(info))
    }
}

impl std::ops::Deref for Kind {
    type Target = KindInfo;

    fn deref(&self) -> &KindInfo {
        self.0
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Kind {}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

/// Lists the kinds: one line a kind. Adding one is this line and its file.
macro_rules! kinds {
    ($($module:ident { $($info:path),+ })+) => {
        $(pub mod $module;)+

        /// Every kind of probe.
        pub static KINDS: &[&KindInfo] = &[$($(&$info),+),+];

        /// What the kinds need to know beyond address, port and times, one block a protocol.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Settings {
            $(
                #[doc = concat!("Settings of `", stringify!($module), "`.")]
                pub $module: $module::Settings,
            )+
        }
    };
}

kinds! {
    icmp { icmp::INFO }
    ike { ike::INFO, ike::INFO_NATT }
    ikev1 { ikev1::INFO, ikev1::INFO_NATT }
    l2tp { l2tp::INFO }
    openvpn { openvpn::INFO_UDP, openvpn::INFO_TCP }
    tcp { tcp::INFO }
    tls { tls::INFO }
    dns { dns::INFO }
    http { http::INFO }
    rdp { rdp::INFO }
    stun { stun::INFO }
    sslvpn { sslvpn::INFO }
    wireguard { wireguard::INFO }
    trace { trace::INFO }
}

pub mod certificate;
pub mod conversation;
mod datagram;
pub mod forms;
pub mod secure;
