//! The sockets around the responders: one thread, one task a socket or connection.
//!
//! Invariant: a service that the story silences neither receives nor sends; connections are limited in
//! number and in time.

use std::cell::{Cell, RefCell};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use super::certificate::Certificates;
use super::dns::Zone;
use super::ike::{Ike, IkePort};
use super::l2tp::L2tp;
use super::openvpn::{OpenvpnTcp, OpenvpnUdp, Setup};
use super::{Call, Responder, Sockets};
use crate::demo::story::{Scene, Service, Story};
use crate::entropy::Entropy;
use crate::net::clock::SystemClock;
use crate::time::{Clock as _, Timestamp};

/// The most connections of all services at once.
const CONNECTIONS: usize = 128;
/// How long a connection may last.
const LASTS: Duration = Duration::from_secs(60);
/// Larger than any datagram.
const DATAGRAM: usize = 65_536;
/// The longest request for a page that is read.
const REQUEST: usize = 16 * 1024;

/// Time, story and randomness, as all tasks share them.
pub(super) struct Stage {
    clock: SystemClock,
    told: Duration,
    story: Story,
    entropy: RefCell<Box<dyn Entropy>>,
    connections: Cell<usize>,
}

impl Stage {
    pub(super) fn new(clock: SystemClock, told: Duration, story: Story, entropy: Box<dyn Entropy>) -> Self {
        Self { clock, told, story, entropy: RefCell::new(entropy), connections: Cell::new(0) }
    }

    fn scene(&self) -> Scene {
        self.story.at(self.clock.now().since(Timestamp::ZERO).saturating_add(self.told))
    }

    fn call<R>(&self, from: SocketAddr, local: SocketAddr, work: impl FnOnce(&mut Call<'_>) -> R) -> R {
        let mut entropy = self.entropy.borrow_mut();
        work(&mut Call {
            from,
            local,
            now: self.clock.now(),
            wall: self.clock.wall(),
            scene: self.scene(),
            entropy: &mut **entropy,
        })
    }

    async fn until(&self, time: Timestamp) {
        if time == Timestamp::FAR {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(time.since(self.clock.now())).await;
    }
}

/// Serves until it is stopped.
pub(super) fn run(
    sockets: Sockets,
    stage: Stage,
    ike: Ike,
    setup: Setup,
    certificates: Certificates,
    stop: &Notify,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let stage = Rc::new(stage);
        let ike = Rc::new(RefCell::new(ike));
        let openvpn = OpenvpnUdp::new(setup.clone(), &mut **stage.entropy.borrow_mut());
        let port = |marker| IkePort { ike: ike.clone(), marker };
        let udp = |socket, service, responder: Box<dyn Responder>| -> io::Result<()> {
            spawn_local(datagrams(UdpSocket::from_std(socket)?, service, responder, stage.clone()));
            Ok(())
        };
        udp(sockets.ike, Service::Ike, Box::new(port(false)))?;
        udp(sockets.ike_natt, Service::IkeNatt, Box::new(port(true)))?;
        udp(sockets.l2tp, Service::L2tp, Box::new(L2tp::new()))?;
        udp(sockets.openvpn_udp, Service::OpenvpnUdp, Box::new(openvpn))?;
        udp(sockets.dns_udp, Service::Dns, Box::new(Zone::new()))?;

        spawn_local(connections(TcpListener::from_std(sockets.openvpn_tcp)?, stage.clone(), {
            move |stream, stage| openvpn_connection(stream, OpenvpnTcp::new(setup.clone()), stage)
        }));
        let certificates = Rc::new(certificates);
        spawn_local(connections(TcpListener::from_std(sockets.tls)?, stage.clone(), {
            move |stream, stage| page(stream, certificates.clone(), stage)
        }));
        let zone = Rc::new(Zone::new());
        spawn_local(connections(TcpListener::from_std(sockets.dns_tcp)?, stage.clone(), {
            move |stream, _| questions(stream, zone.clone())
        }));
        stop.notified().await;
        Ok(())
    })
}

async fn datagrams(socket: UdpSocket, service: Service, mut responder: Box<dyn Responder>, stage: Rc<Stage>) {
    let Ok(local) = socket.local_addr() else { return };
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let timer = responder.timer();
        let replies: Vec<(SocketAddr, Vec<u8>)> = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((len, from)) if !stage.scene().silences(service) => {
                    let datagram = buffer.get(..len).unwrap_or_default();
                    let answers = stage.call(from, local, |call| responder.answer(datagram, call));
                    answers.into_iter().map(|bytes| (from, bytes)).collect()
                }
                Ok(_) => Vec::new(),
                Err(_) => {
                    // An error of an earlier send; should it stay, this loop must not spin.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Vec::new()
                }
            },
            () = stage.until(timer) => {
                let due = responder.due(stage.clock.now());
                due.into_iter().map(|reply| (reply.to, reply.bytes)).collect()
            }
        };
        if stage.scene().silences(service) {
            continue;
        }
        for (to, bytes) in replies {
            // A reply that cannot be sent is a lost one; protocols over UDP live with that.
            let _ = socket.send_to(&bytes, to).await;
        }
    }
}

async fn connections<F: Future<Output = io::Result<()>> + 'static>(
    listener: TcpListener,
    stage: Rc<Stage>,
    serve: impl Fn(TcpStream, Rc<Stage>) -> F,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if stage.connections.get() >= CONNECTIONS {
            continue;
        }
        stage.connections.set(stage.connections.get() + 1);
        let serving = tokio::time::timeout(LASTS, serve(stream, stage.clone()));
        let stage = stage.clone();
        spawn_local(async move {
            // How a connection ended concerns the client only.
            let _ = serving.await;
            stage.connections.set(stage.connections.get().saturating_sub(1));
        });
    }
}

async fn openvpn_connection(
    mut stream: TcpStream,
    mut server: OpenvpnTcp,
    stage: Rc<Stage>,
) -> io::Result<()> {
    let (from, local) = (stream.peer_addr()?, stream.local_addr()?);
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    loop {
        let len = stream.read(&mut buffer).await?;
        let bytes = buffer.get(..len).unwrap_or_default();
        let answer = stage.call(from, local, |call| server.receive(bytes, call));
        match answer {
            Some(answer) if len > 0 => stream.write_all(&answer).await?,
            _ => return Ok(()),
        }
    }
}

const PAGE: &str = "<!doctype html><title>vpnprobe demo</title><p>The concentrator of the vpnprobe demo.\n";

async fn page(mut stream: TcpStream, certificates: Rc<Certificates>, stage: Rc<Stage>) -> io::Result<()> {
    let config = if stage.scene().certificate_expired() { &certificates.expired } else { &certificates.good };
    let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut buffer = vec![0; 4096];
    let mut request = Vec::new();
    loop {
        let len = stream.read(&mut buffer).await?;
        let mut bytes = buffer.get(..len).unwrap_or_default();
        let mut failed = len == 0;
        while !failed && !bytes.is_empty() {
            failed = tls.read_tls(&mut bytes)? == 0;
            match tls.process_new_packets() {
                Ok(state) => {
                    let mut text = vec![0; state.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut text)?;
                    request.append(&mut text);
                    failed |= state.peer_has_closed();
                }
                Err(_) => failed = true,
            }
        }
        let whole = request.windows(4).any(|four| four == b"\r\n\r\n");
        if whole {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{PAGE}",
                PAGE.len()
            );
            tls.writer().write_all(answer.as_bytes())?;
            tls.send_close_notify();
        }
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out)?;
        }
        stream.write_all(&out).await?;
        if whole || failed || request.len() > REQUEST {
            return stream.shutdown().await;
        }
    }
}

/// DNS over TCP (RFC 7766): each message has its length before it; several may follow each other.
async fn questions(mut stream: TcpStream, zone: Rc<Zone>) -> io::Result<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        let Some(answer) = zone.answer(&query, false) else { return Ok(()) };
        let mut bytes = u16::try_from(answer.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
        bytes.extend(answer);
        stream.write_all(&bytes).await?;
    }
}
