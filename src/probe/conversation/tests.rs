//! A scripted peer for the kinds that converse, in the clear and inside real TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::entropy::Generator;
use crate::probe::certificate::tests::NOW;
use crate::probe::{Kind, Settings, Spec};

pub(crate) const MILLI: Duration = Duration::from_millis(1);
const START: Timestamp = Timestamp::from_secs(10);

/// The server's side: so many plain answers first, then TLS if there is any.
pub(crate) struct Server {
    pub(crate) plain: usize,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

impl Server {
    pub(crate) const CLEAR: Self = Self { plain: usize::MAX, tls: None };

    pub(crate) fn tls(config: ServerConfig) -> Self {
        Self { plain: 0, tls: Some(Arc::new(config)) }
    }
}

/// A client's exchange with a peer that answers each thing said with `answer`; nothing: the peer hangs up.
pub(crate) struct Talk {
    pub(crate) report: Report,
    /// All that the client said, TLS taken off.
    pub(crate) said: Vec<Vec<u8>>,
    /// How often it connected.
    pub(crate) connections: usize,
}

pub(crate) fn spec(kind: &str, host: Option<&str>, settings: Settings) -> Spec {
    let kind = Kind::named(kind).unwrap();
    Spec {
        name: kind.name.to_owned(),
        kind,
        port: kind.port,
        interval: kind.interval,
        timeout: Duration::from_secs(2),
        full_interval: kind.interval,
        host: host.map(str::to_owned),
        settings: std::sync::Arc::new(settings),
    }
}

/// Runs the form of that index to its end.
pub(crate) fn talk(
    spec: &Spec,
    form: usize,
    server: &Server,
    mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Talk {
    let mut entropy = Generator::seeded(7);
    let start = Start {
        now: START,
        wall: NOW,
        peer: "203.0.113.10".parse().unwrap(),
        local: None,
        timeout: spec.timeout,
        form: &(spec.kind.forms)(spec)[form],
        token: 0,
        entropy: &mut entropy,
    };
    let mut exchange = (spec.kind.begin)(spec, start);
    let from: SocketAddr = "203.0.113.10:443".parse().unwrap();
    let (mut now, mut report, mut said, mut connections) = (START + MILLI, None, Vec::new(), 1);
    let connection = || server.tls.clone().map(|config| ServerConnection::new(config).unwrap());
    let (mut plain, mut tls) = (server.plain, connection());
    exchange.handle(Event::Connected, now);
    for _ in 0..400 {
        let mut out = Vec::new();
        match exchange.poll(now, &mut out) {
            Step::Send => {
                exchange.handle(Event::Sent, now);
                now = now + MILLI;
                let mut back = Vec::new();
                if plain > 0 {
                    said.push(out.clone());
                    plain -= 1;
                    match answer(&out) {
                        Some(bytes) => back = bytes,
                        None => drop(exchange.handle(Event::Closed, now)),
                    }
                } else if let Some(tls) = &mut tls {
                    tls.read_tls(&mut &out[..]).unwrap();
                    let _ = tls.process_new_packets();
                    let mut clear = vec![0; 65_536];
                    let mut hangs_up = false;
                    while let Ok(length @ 1..) = std::io::Read::read(&mut tls.reader(), &mut clear) {
                        said.push(clear[..length].to_vec());
                        match answer(&clear[..length]) {
                            Some(bytes) => std::io::Write::write_all(&mut tls.writer(), &bytes).unwrap(),
                            None => hangs_up = true,
                        }
                    }
                    while tls.wants_write() {
                        tls.write_tls(&mut back).unwrap();
                    }
                    if hangs_up {
                        exchange.handle(Event::Closed, now);
                    }
                }
                if !back.is_empty() {
                    exchange.handle(Event::Received { from, bytes: &back }, now);
                }
            }
            Step::Open(_) => {
                connections += 1;
                (plain, tls) = (server.plain, connection());
                now = now + MILLI;
                exchange.handle(Event::Connected, now);
            }
            Step::Report(it) => assert!(report.replace(it).is_none(), "reported twice"),
            Step::Wait(deadline) => now = deadline,
            Step::End => return Talk { report: report.unwrap(), said, connections },
            step => panic!("{step:?}"),
        }
    }
    panic!("no end");
}

pub(crate) fn detail<'a>(report: &'a Report, key: &str) -> &'a str {
    report.findings.as_ref().and_then(|found| found.details.get_text(key)).unwrap_or_default()
}
