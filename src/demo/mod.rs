//! `vpnprobe demo`: a concentrator on loopback, the daemon that probes it, and a story of faults.
//!
//! ```text
//! concentrator thread ◀── loopback, real protocols ──▶ engine thread ──▶ web thread: /metrics
//!          └──────── the story: what is on, and the sentence about it ────▶ stdout
//! ```
//!
//! Invariant: needs no right, no network, no file and no free port in particular: what is taken is
//! replaced, and that is said.

pub mod concentrator;
pub mod story;

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::Daemon;
use crate::config::{Config, Loaded, Problems};
use crate::entropy::Generator;
use crate::net::clock::SystemClock;
use crate::net::listen;
use crate::time::{Clock as _, Timestamp};
use crate::wire::openvpn::{Digest, Keys};
use concentrator::{Concentrator, Options, Ports};
use story::{Clock, Story};

/// The demo's configuration.
pub const CONFIG: &str = include_str!("../../config/demo.yml");

/// Where the HTTP side listens unless told otherwise.
const WEB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10069);

/// The exit code of a wrong usage or configuration.
const USAGE: u8 = 2;

/// What `demo` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DemoArgs {
    /// Where the HTTP side listens instead of the default; empty for the default.
    pub listen: Vec<SocketAddr>,
    /// What goes wrong with the concentrator.
    pub story: Story,
    /// Only the concentrator, for other programs to talk to.
    pub concentrator_only: bool,
    /// The concentrator is on the ports of the standards, or nowhere.
    pub standard_ports: bool,
    /// The concentrator's address, if it is not the default one.
    pub address: Option<IpAddr>,
    /// A static key file with which the concentrator's OpenVPN wraps control packets (tls-crypt).
    pub openvpn_tls_crypt: Option<PathBuf>,
    /// The same with tls-auth: SHA1, key direction 0 here and 1 at the client.
    pub openvpn_tls_auth: Option<PathBuf>,
}

impl DemoArgs {
    fn keys(&self) -> io::Result<Keys> {
        let read = |file: &Path| {
            std::fs::read_to_string(file)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
        };
        let keys = match (&self.openvpn_tls_crypt, &self.openvpn_tls_auth) {
            (Some(file), _) => Keys::tls_crypt(&read(file)?),
            (None, Some(file)) => Keys::tls_auth(&read(file)?, Some(0), Digest::Sha1),
            (None, None) => Ok(Keys::plain()),
        };
        keys.map_err(io::Error::other)
    }

    fn options(&self) -> io::Result<Options> {
        let options = Options::default();
        Ok(Options {
            address: self.address.unwrap_or(options.address),
            ports: if self.standard_ports { Ports::STANDARD } else { options.ports },
            elsewhere: !self.standard_ports,
            story: self.story,
            keys: self.keys()?,
        })
    }
}

/// The demo's configuration with the ports and the address that the concentrator has.
///
/// # Errors
/// If `config/demo.yml` does not fit the program.
pub fn config(address: IpAddr, ports: Ports) -> Result<Loaded, Problems> {
    let port = |probe: &str, port: u16| {
        (format!("VPNPROBE__TARGETS__DEMO__PROBES__{}__PORT", probe.to_uppercase()), port.to_string())
    };
    let variables = [
        ("VPNPROBE__TARGETS__DEMO__ADDRESS".to_owned(), address.to_string()),
        port("ike", ports.ike),
        port("ike_natt", ports.ike_natt),
        port("l2tp", ports.l2tp),
        port("openvpn_udp", ports.openvpn_udp),
        port("openvpn_tcp", ports.openvpn_tcp),
        port("tls", ports.tls),
        port("dns", ports.dns),
    ];
    Config::load_text(Path::new("demo.yml"), CONFIG, variables)
}

/// Runs the embedded concentrator and the daemon that probes it, until told to stop.
pub fn run(args: &DemoArgs) -> ExitCode {
    match demo(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "vpnprobe: demo: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn demo(args: &DemoArgs) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        // Watched before anything is started, so that a stop in the middle is a clean one.
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let options = args.options()?;
    let listeners = if args.concentrator_only { Vec::new() } else { web(&args.listen)? };
    let clock = SystemClock::start();
    let concentrator = Concentrator::start(&options, clock, Duration::ZERO, Box::new(Generator::from_os()))?;
    let ports = concentrator.ports();
    say(&moved(options.ports, ports));
    let daemon = if args.concentrator_only {
        say(&format!("the concentrator answers on {}: {}\n", options.address, listed(ports)));
        None
    } else {
        let loaded =
            config(options.address, ports).map_err(|problems| io::Error::other(problems.to_string()))?;
        let daemon = Daemon::start(loaded, listeners)?;
        say(&greeting(daemon.addresses(), options.address, ports));
        Some(daemon)
    };
    runtime.block_on(async {
        tokio::select! {
            () = tell(options.story, clock) => {}
            _ = signals.0.recv() => {}
            _ = signals.1.recv() => {}
        }
    });
    say("stopping\n");
    let ended = daemon.map_or(Ok(()), crate::app::Running::stop);
    concentrator.stop();
    ended
}

/// Tells each chapter as it begins; never ends.
async fn tell(story: Story, clock: SystemClock) {
    let mut from = Duration::ZERO;
    while let Some((begins, chapter)) = story.next(from) {
        tokio::time::sleep((Timestamp::ZERO + begins).since(clock.now())).await;
        say(&format!("{} {}\n", Clock(begins), chapter.sentence));
        from = begins + Duration::from_nanos(1);
    }
    std::future::pending().await
}

/// The sockets of the HTTP side: where told, else the default port or the next one that is free.
fn web(wanted: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    /// So many ports are tried before the system is asked for any.
    const NEXT: u16 = 20;
    let at = |address| {
        listen(address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
    };
    if !wanted.is_empty() {
        return wanted.iter().map(|address| at(*address)).collect();
    }
    let ports = (WEB.port()..WEB.port().saturating_add(NEXT)).chain([0]);
    let mut error = None;
    for port in ports {
        match at(SocketAddr::new(WEB.ip(), port)) {
            Ok(listener) => {
                if port != WEB.port() {
                    say(&format!("port {} is taken: the web side is on another one\n", WEB.port()));
                }
                return Ok(vec![listener]);
            }
            Err(other) => error = Some(other),
        }
    }
    Err(error.unwrap_or(io::ErrorKind::AddrInUse.into()))
}

/// Names and numbers of the ports, with their transports.
fn named(ports: Ports) -> [(&'static str, &'static str, u16); 7] {
    [
        ("ike", "udp", ports.ike),
        ("ike_natt", "udp", ports.ike_natt),
        ("l2tp", "udp", ports.l2tp),
        ("openvpn_udp", "udp", ports.openvpn_udp),
        ("openvpn_tcp", "tcp", ports.openvpn_tcp),
        ("tls", "tcp", ports.tls),
        ("dns", "udp and tcp", ports.dns),
    ]
}

fn listed(ports: Ports) -> String {
    named(ports).map(|(name, transport, port)| format!("{name} {transport} {port}")).join(", ")
}

/// What to say of ports that were taken.
fn moved(wanted: Ports, got: Ports) -> String {
    let pairs = named(wanted).into_iter().zip(named(got));
    let moved = pairs.filter(|((.., wanted), (.., got))| *wanted != 0 && wanted != got);
    moved
        .map(|((name, transport, wanted), (.., got))| {
            format!("port {wanted} ({transport}) is taken: {name} is on {got}\n")
        })
        .collect()
}

fn greeting(web: &[SocketAddr], address: IpAddr, ports: Ports) -> String {
    let mut text = format!(
        "vpnprobe demo: a concentrator on {address} and the daemon that probes it; nothing leaves this host\n\
         probes   {}\n",
        listed(ports)
    );
    for address in web {
        text += &format!("metrics  http://{address}/metrics\nstatus   http://{address}/\n");
    }
    text + "stop     Ctrl-C\n"
}

/// Prints at once. A reader that has gone does not stop the demo.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
