//! Connections: who is let in, how long a request may take, how it ends.
//!
//! Invariants: at most [`Limits::connections`] are open and [`Limits::per_address`] from one address;
//! when they are full, the oldest one that is not being answered gives way, so that idle connections
//! keep nobody out. Who waits is let in by turns of the addresses, so that a crowd at one delays
//! nobody at another; of the crowd the latest wait. A request whose answer is not all sent in [`Limits::request`] loses its
//! connection. Nothing here waits for the engine.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::places::Place;
use super::{App, Client};

/// What a client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a request's head may take, and how long a connection may be idle.
    pub header: Duration,
    /// From the end of a request's head to the last byte of its answer.
    pub request: Duration,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request target.
    pub target_bytes: usize,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one address.
    pub per_address: usize,
    /// Connections of one address that wait to be let in; there the oldest gives way.
    pub waiting: usize,
    /// Answers that read the whole registry, at once; one address leaves one of them to all others.
    pub scrapes: usize,
    /// `/probe` requests at once.
    pub probes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            request: Duration::from_secs(10),
            headers: 100,
            head_bytes: 16 * 1024,
            target_bytes: 2048,
            connections: 64,
            per_address: 8,
            waiting: 64,
            scrapes: 4,
            probes: 8,
        }
    }
}

/// Serves `app` on these listeners until `shutdown` is done; then requests that are being answered get
/// one more second. Runs on the tokio runtime it is called on.
///
/// # Errors
/// A listener cannot be used with tokio; nothing is served then.
pub async fn serve(
    listeners: Vec<std::net::TcpListener>,
    app: Arc<App>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut sockets = Vec::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        sockets.push(TcpListener::from_std(listener)?);
    }
    let table = Arc::new(Table::default());
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for socket in sockets {
        tasks.spawn(accept(socket, Arc::clone(&app), Arc::clone(&table), stopped.clone()));
    }
    drop(stopped);
    shutdown.await;
    let _ = stop.send(true);
    // Each connection holds a receiver for as long as it lives.
    let _ = tokio::time::timeout(Duration::from_secs(1), stop.closed()).await;
    tasks.shutdown().await;
    Ok(())
}

async fn accept(socket: TcpListener, app: Arc<App>, table: Arc<Table>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut waiting = Waiting::default();
    while !*stop.borrow() {
        while connections.try_join_next().is_some() {}
        if waiting.0.is_empty() {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = told(&mut stop) => break,
            };
            let Ok((stream, from)) = accepted else {
                // Out of descriptors, most likely: wait for some to come back.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            waiting.add(stream, from, &app.limits);
        }
        // All who have come are taken in before one of them is let in: that costs next to nothing.
        while let Some((stream, from)) = at_once(&socket).await {
            waiting.add(stream, from, &app.limits);
        }
        for (stream, from) in waiting.round() {
            if let Some(admitted) = table.admit(from, &app.limits) {
                let stopped = stop.clone();
                connections.spawn(connection(stream, Arc::clone(&app), admitted, stopped));
            }
        }
        // Lets the new connections read their requests before the next ones can displace them.
        tokio::task::yield_now().await;
    }
    drop(socket);
    drop(waiting);
    drop(stop);
    while connections.join_next().await.is_some() {}
}

/// The next connection, if there is one already.
async fn at_once(socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    poll_fn(|cx| match socket.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Connections that are not let in yet, by address.
#[derive(Default)]
struct Waiting(BTreeMap<IpAddr, VecDeque<(TcpStream, SocketAddr)>>);

/// All that wait; who comes beyond that is turned away.
const WAITING: usize = 256;

impl Waiting {
    fn add(&mut self, stream: TcpStream, from: SocketAddr, limits: &Limits) {
        let all: usize = self.0.values().map(VecDeque::len).sum();
        let ip = from.ip().to_canonical();
        let full = self.0.get(&ip).is_some_and(|same| same.len() >= limits.waiting);
        if !full && all >= WAITING {
            return;
        }
        let same = self.0.entry(ip).or_default();
        if full {
            same.pop_front();
        }
        same.push_back((stream, from));
    }

    /// One of each address, the oldest.
    fn round(&mut self) -> Vec<(TcpStream, SocketAddr)> {
        let round = self.0.values_mut().filter_map(VecDeque::pop_front).collect();
        self.0.retain(|_, same| !same.is_empty());
        round
    }
}

/// Resolves when the server is told to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(stream: TcpStream, app: Arc<App>, admitted: Admitted, mut stop: watch::Receiver<bool>) {
    let loopback = stream.local_addr().is_ok_and(|local| local.ip().to_canonical().is_loopback());
    let client = Client { from: admitted.from, loopback };
    let Some(tls) = app.guard.settings().tls.clone() else {
        return converse(stream, client, app, admitted, stop).await;
    };
    let handshake = tokio::time::timeout(app.limits.header, TlsAcceptor::from(tls).accept(stream));
    let state = Arc::clone(&admitted.state);
    let stream = tokio::select! {
        // Errors are the client's, and so is a handshake that does not end.
        stream = handshake => match stream { Ok(Ok(stream)) => stream, _ => return },
        () = state.displaced.notified() => return,
        () = told(&mut stop) => return,
    };
    // A handshake would fill the future of every plain connection too.
    Box::pin(converse(stream, client, app, admitted, stop)).await;
}

/// Answers requests on a connection until it ends.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    client: Client,
    app: Arc<App>,
    admitted: Admitted,
    mut stop: watch::Receiver<bool>,
) {
    let state = Arc::clone(&admitted.state);
    let service = service_fn(|request: Request<Incoming>| {
        state.begin();
        let (app, state) = (Arc::clone(&app), Arc::clone(&state));
        async move {
            let (response, place) = app.guarded_answer(&request, client).await;
            let sending = Sending { state, place };
            Ok::<_, std::convert::Infallible>(response.map(|body| Tracked { body, _sending: sending }))
        }
    });
    let limits = &app.limits;
    let io = Watched { io: TokioIo::new(stream), state: Arc::clone(&state) };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(io, service);
    let mut serving = pin!(serving);
    let mut overdue = pin!(state.overdue(limits.request));
    let mut stopping = false;
    loop {
        tokio::select! {
            // Errors are the client's: it hung up, or it does not speak HTTP.
            _ = &mut serving => break,
            () = &mut overdue => break,
            () = state.displaced.notified() => break,
            () = told(&mut stop), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// One connection to a loopback listener, without a socket, until it ends: for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub async fn one(stream: impl AsyncRead + AsyncWrite + Unpin, app: Arc<App>) {
    let (_stop, stopped) = watch::channel(false);
    let from = SocketAddr::from(([127, 0, 0, 1], 40_000));
    if let Some(admitted) = Arc::new(Table::default()).admit(from, &app.limits) {
        let client = Client { from: admitted.from, loopback: true };
        converse(stream, client, app, admitted, stopped).await;
    }
}

/// The open connections, by age.
#[derive(Default)]
struct Table {
    open: Mutex<BTreeMap<u64, (IpAddr, Arc<State>)>>,
    next: AtomicU64,
}

/// A place in the table, given back when dropped.
struct Admitted {
    id: u64,
    from: IpAddr,
    table: Arc<Table>,
    state: Arc<State>,
}

impl Table {
    /// Makes room for a connection, or refuses it if all others are being answered.
    fn admit(self: &Arc<Self>, from: SocketAddr, limits: &Limits) -> Option<Admitted> {
        let from = from.ip().to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let same = open.values().filter(|(ip, _)| *ip == from).count();
        let full = if same >= limits.per_address { Some(Some(from)) } else { None };
        let full = full.or((open.len() >= limits.connections).then_some(None));
        if let Some(of) = full {
            let idle = |(ip, state): &(IpAddr, Arc<State>)| of.is_none_or(|of| *ip == of) && state.idle();
            let oldest = open.iter().find(|(_, entry)| idle(entry)).map(|(id, _)| *id)?;
            if let Some((_, state)) = open.remove(&oldest) {
                state.displaced.notify_one();
            }
        }
        let id = self.next.fetch_add(1, Relaxed);
        let state = Arc::new(State::default());
        open.insert(id, (from, Arc::clone(&state)));
        Some(Admitted { id, from, table: Arc::clone(self), state })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.table.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What a connection is doing.
#[derive(Default)]
struct State {
    /// [`IDLE`], [`ANSWERING`] or [`SENDING`]. Written by the connection's own task only.
    doing: AtomicU8,
    begun: Notify,
    displaced: Notify,
    /// Held until the answer is all sent.
    places: Mutex<Vec<Place>>,
}

const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const SENDING: u8 = 2;

impl State {
    fn begin(&self) {
        self.doing.store(ANSWERING, Relaxed);
        self.begun.notify_one();
    }

    fn answered(&self, place: Option<Place>) {
        self.doing.store(SENDING, Relaxed);
        self.places.lock().unwrap_or_else(PoisonError::into_inner).extend(place);
    }

    fn flushed(&self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let _ = self.doing.compare_exchange(SENDING, IDLE, Relaxed, Relaxed);
    }

    fn idle(&self) -> bool {
        self.doing.load(Relaxed) == IDLE
    }

    /// Resolves when an answer takes longer than `limit`.
    async fn overdue(&self, limit: Duration) {
        loop {
            self.begun.notified().await;
            while tokio::time::timeout(limit, self.begun.notified()).await.is_ok() {}
            if !self.idle() {
                return;
            }
        }
    }
}

/// Tells when an answer is made: hyper drops its body then, before it flushes the last of it.
struct Sending {
    state: Arc<State>,
    place: Option<Place>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.state.answered(self.place.take());
    }
}

/// A body that holds what must be held until it is made.
struct Tracked<B> {
    body: B,
    _sending: Sending,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells when all that was written is sent.
struct Watched<S> {
    io: TokioIo<S>,
    state: Arc<State>,
}

impl<S: AsyncRead + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> Write for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    /// hyper flushes the stream only when its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() {
            self.state.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
