//! A small VPN concentrator that lives in a thread: every port answers in its real protocol.
//!
//! ```text
//! UDP  500, 4500  IKEv2 and IKEv1     UDP, TCP 1194  OpenVPN      (or whatever ports it is given)
//! UDP  1701       L2TP                TCP      443   HTTPS
//! UDP, TCP 53     DNS
//! ```
//!
//! The responders are pure: datagram, time and randomness in, datagrams out. The sockets are around
//! them, in this file. Invariant: nobody ever gets in: no credentials exist. What a peer sends is
//! bounded in memory, and nothing it sends ends the thread.

pub mod certificate;
mod dns;
mod ike;
mod ikev1;
mod l2tp;
mod openvpn;
mod serve;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Notify;

use super::story::{Scene, Story};
use crate::entropy::Entropy;
use crate::net::clock::SystemClock;
use crate::time::{Timestamp, WallTime};
use crate::wire::openvpn::Keys;

/// What a responder is told beside the datagram.
struct Call<'a> {
    from: SocketAddr,
    /// Our own address and port.
    local: SocketAddr,
    now: Timestamp,
    wall: WallTime,
    scene: Scene,
    entropy: &'a mut dyn Entropy,
}

/// A datagram to send unasked.
struct Reply {
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// A service over datagrams.
trait Responder {
    /// What to send back to where the datagram came from.
    fn answer(&mut self, datagram: &[u8], call: &mut Call<'_>) -> Vec<Vec<u8>>;

    /// What to send because of the time.
    fn due(&mut self, _now: Timestamp) -> Vec<Reply> {
        Vec::new()
    }

    /// When [`Self::due`] has something to send next.
    fn timer(&self) -> Timestamp {
        Timestamp::FAR
    }
}

/// HMAC-SHA-256 over the parts.
fn mac(secret: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256>>::new(&hmac_key(secret));
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The secret, padded to a block as HMAC does it (RFC 2104 §2).
fn hmac_key(secret: &[u8; 32]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block.iter_mut().zip(secret).for_each(|(to, from)| *to = *from);
    block
}

/// The ports of a concentrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// UDP: IKE without marker.
    pub ike: u16,
    /// UDP: IKE with the non-ESP marker.
    pub ike_natt: u16,
    /// UDP: L2TP.
    pub l2tp: u16,
    /// UDP: OpenVPN.
    pub openvpn_udp: u16,
    /// TCP: OpenVPN.
    pub openvpn_tcp: u16,
    /// TCP: HTTPS.
    pub tls: u16,
    /// UDP and TCP: DNS.
    pub dns: u16,
}

impl Ports {
    /// Those of the standards; below 1024 the system may refuse them.
    pub const STANDARD: Self = Self {
        ike: 500,
        ike_natt: 4500,
        l2tp: 1701,
        openvpn_udp: 1194,
        openvpn_tcp: 1194,
        tls: 443,
        dns: 53,
    };

    /// Those of the demo: the same, ten thousand higher, which needs no right.
    pub const DEMO: Self = Self {
        ike: 10500,
        ike_natt: 14500,
        l2tp: 11701,
        openvpn_udp: 11194,
        openvpn_tcp: 11194,
        tls: 10443,
        dns: 10053,
    };

    /// Any that are free.
    pub const ANY: Self =
        Self { ike: 0, ike_natt: 0, l2tp: 0, openvpn_udp: 0, openvpn_tcp: 0, tls: 0, dns: 0 };
}

/// How a concentrator is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its address.
    pub address: IpAddr,
    /// The ports it is wanted on; 0 for any.
    pub ports: Ports,
    /// Whether a port that is taken is replaced by one that is free, or is an error.
    pub elsewhere: bool,
    /// What goes wrong with it.
    pub story: Story,
    /// How its OpenVPN wraps control packets: plain, `tls-auth` or `tls-crypt`.
    pub keys: Keys,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Ports::DEMO,
            elsewhere: true,
            story: Story::Loop,
            keys: Keys::plain(),
        }
    }
}

/// The sockets, bound.
struct Sockets {
    ike: UdpSocket,
    ike_natt: UdpSocket,
    l2tp: UdpSocket,
    openvpn_udp: UdpSocket,
    openvpn_tcp: TcpListener,
    tls: TcpListener,
    dns_udp: UdpSocket,
    dns_tcp: TcpListener,
}

impl Sockets {
    /// Binds them, and tells which ports it became.
    fn bind(options: &Options) -> io::Result<(Self, Ports)> {
        let bind = |port, what| Bind { address: options.address, port, what, elsewhere: options.elsewhere };
        let wanted = options.ports;
        let ike = bind(wanted.ike, "IKE").udp()?;
        let ike_natt = bind(wanted.ike_natt, "IKE NAT-T").udp()?;
        let l2tp = bind(wanted.l2tp, "L2TP").udp()?;
        let openvpn_udp = bind(wanted.openvpn_udp, "OpenVPN").udp()?;
        let openvpn_tcp = bind(wanted.openvpn_tcp, "OpenVPN").tcp()?;
        let tls = bind(wanted.tls, "HTTPS").tcp()?;
        let (dns_udp, dns_tcp) = bind(wanted.dns, "DNS").both()?;
        let ports = Ports {
            ike: ike.local_addr()?.port(),
            ike_natt: ike_natt.local_addr()?.port(),
            l2tp: l2tp.local_addr()?.port(),
            openvpn_udp: openvpn_udp.local_addr()?.port(),
            openvpn_tcp: openvpn_tcp.local_addr()?.port(),
            tls: tls.local_addr()?.port(),
            dns: dns_udp.local_addr()?.port(),
        };
        Ok((Self { ike, ike_natt, l2tp, openvpn_udp, openvpn_tcp, tls, dns_udp, dns_tcp }, ports))
    }
}

/// One port to bind.
struct Bind {
    address: IpAddr,
    port: u16,
    what: &'static str,
    elsewhere: bool,
}

impl Bind {
    fn udp(&self) -> io::Result<UdpSocket> {
        let socket = self.try_ports("UDP", UdpSocket::bind)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn tcp(&self) -> io::Result<TcpListener> {
        let socket = self.try_ports("TCP", TcpListener::bind)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// The same port for both.
    fn both(&self) -> io::Result<(UdpSocket, TcpListener)> {
        /// A free UDP port may be taken in TCP; so many times in a row it is not.
        const TRIES: u32 = 16;
        let pair = |at: SocketAddr| {
            let udp = UdpSocket::bind(at)?;
            let tcp = TcpListener::bind(udp.local_addr()?)?;
            Ok((udp, tcp))
        };
        let (udp, tcp) = self.try_ports("UDP and TCP", |at| {
            let mut tries = if at.port() == 0 { TRIES } else { 1 };
            loop {
                tries -= 1;
                match pair(at) {
                    Err(_) if tries > 0 => {}
                    result => return result,
                }
            }
        })?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok((udp, tcp))
    }

    fn try_ports<S>(
        &self,
        transport: &str,
        mut bind: impl FnMut(SocketAddr) -> io::Result<S>,
    ) -> io::Result<S> {
        let at = SocketAddr::new(self.address, self.port);
        let named = |error: &io::Error| {
            io::Error::new(error.kind(), format!("{transport} {at} for {}: {error}", self.what))
        };
        bind(at).or_else(|error| {
            if self.elsewhere && self.port != 0 {
                bind(SocketAddr::new(self.address, 0)).map_err(|_| named(&error))
            } else {
                Err(named(&error))
            }
        })
    }
}

/// A running concentrator; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Concentrator {
    ports: Ports,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Concentrator {
    /// Binds its ports and starts its thread. Its story is `told` along already at the clock's zero.
    ///
    /// # Errors
    /// A port that cannot be bound, or a thread that cannot be started.
    pub fn start(
        options: &Options,
        clock: SystemClock,
        told: Duration,
        mut entropy: Box<dyn Entropy>,
    ) -> io::Result<Self> {
        let (sockets, ports) = Sockets::bind(options)?;
        let certificates = {
            use crate::time::Clock as _;
            certificate::Certificates::new(clock.wall(), &[options.address.to_string()])?
        };
        let setup = openvpn::Setup { keys: options.keys.clone(), tls: certificates.good.clone() };
        let ike = ike::Ike::new(&mut *entropy);
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let story = options.story;
        let thread = std::thread::Builder::new().name("concentrator".to_owned()).spawn(move || {
            let stage = serve::Stage::new(clock, told, story, entropy);
            if let Err(error) = serve::run(sockets, stage, ike, setup, certificates, &stopped) {
                tracing::error!(%error, "the concentrator ended");
            }
        })?;
        Ok(Self { ports, stop, thread: Some(thread) })
    }

    /// The ports it is on.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Ends it, and waits until it has.
    pub fn stop(self) {}
}

impl Drop for Concentrator {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; there is nothing left to save.
            let _ = thread.join();
        }
    }
}
