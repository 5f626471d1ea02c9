//! The composition root: clock, entropy, sockets, threads, reload and shutdown.
//!
//! ```text
//!   main thread (tokio, current thread)            engine thread
//!   signals · web server · name lookups ──Command──▶ Engine::run
//!          ▲                                            │
//!          └────────── metrics (atomics) ◀──────────────┘
//! ```
//! With `engine_threads` the engine has drivers in threads of their own beside it (`net::Pool`).
//!
//! Invariants: a reload builds the whole new configuration before anything of the old one changes; the
//! start waits for no name, no network and no peer; the watchdog is fed by what the engine gets done,
//! not by a timer.

mod ladder;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::{Config, Egress, Loaded};
use crate::engine::{Command, Engine};
use crate::entropy::Generator;
use crate::export::http::{self, App, Guard, Limits};
use crate::export::metrics::Registry;
use crate::journal::{self, Recorder};
use crate::net::clock::SystemClock;
use crate::net::{Drivers, IcmpAccess, listen, raise_descriptor_limit};
use crate::store::{self, Snapshot, Store};
use crate::time::{Clock, Timestamp};

mod loader;
mod lockdown;
mod names;
mod shared;

use loader::Loader;
use lockdown::Lockdown;
use names::look_up_names;
use shared::Shared;

/// What `serve` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServeArgs {
    /// The configuration file.
    pub config_file: PathBuf,
    /// Where to listen instead of what the configuration says; empty for what it says.
    pub listen: Vec<SocketAddr>,
    /// Where to write what the detectors see; nothing for nowhere.
    pub journal: Option<journal::Settings>,
    /// TLS and passwords of the HTTP side; nothing for none.
    pub web_file: Option<PathBuf>,
    /// Whether it may listen beyond this host without them.
    pub unprotected: bool,
    /// Whether it keeps the rights that it was started with.
    pub unsandboxed: bool,
}

/// How long the end waits for the disk.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// How long the engine may go without finishing a turn.
const ENGINE_SILENCE: Duration = Duration::from_secs(5);
/// A start that comes to nothing for a reason the operator can mend.
const MISUSE: u8 = 2;

/// Runs the daemon until it is told to stop.
pub fn serve(args: &ServeArgs) -> ExitCode {
    let (loader, loaded) = match Loader::start(args.config_file.clone()) {
        Ok((loader, Ok(loaded))) => (loader, loaded),
        Err(_) => return ExitCode::FAILURE, // its panic has been told
        Ok((_, Err(problems))) => {
            eprintln!("{problems}");
            return ExitCode::from(MISUSE);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let addresses =
        if args.listen.is_empty() { loaded.config.web.listen.clone() } else { args.listen.clone() };
    let guard = match guard(args.web_file.as_deref(), &addresses, args.unprotected) {
        Ok(guard) => guard,
        Err(problem) => {
            eprintln!("vpnprobe: {problem}");
            return ExitCode::from(MISUSE);
        }
    };
    let mut listeners = Vec::new();
    for address in addresses {
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "; another program has that port: stop it, or choose another with --web.listen-address"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "; ports below 1024 need a right this process lacks: choose a higher one"
                    }
                    _ => "",
                };
                eprintln!("vpnprobe: cannot listen on {address}: {error}{hint}");
                return ExitCode::from(MISUSE);
            }
        }
    }
    let clock = SystemClock::start();
    let mut drivers = match prepare(clock, &loaded.config) {
        Ok(drivers) => drivers,
        Err(error) => {
            eprintln!("vpnprobe: {error}");
            return ExitCode::FAILURE;
        }
    };
    let lockdown = if args.unsandboxed {
        tracing::warn!("rights: all that this process was started with are kept (--sandbox off)");
        None
    } else {
        let journal = args.journal.as_ref().map(|settings| settings.directory.as_path());
        if let Some(directory) = journal {
            // What does not exist cannot be allowed. If it cannot be made, the journal says so.
            let _ = std::fs::create_dir_all(directory);
        }
        let paths = lockdown::paths(&args.config_file, args.web_file.as_deref(), journal, &loaded);
        match Lockdown::enter(&loaded, &mut drivers, &paths) {
            Ok(lockdown) => Some(lockdown),
            Err(problem) => {
                eprintln!("vpnprobe: {problem}");
                return ExitCode::from(MISUSE);
            }
        }
    };
    let base = match Base::open(&loaded.config) {
        Ok(base) => base,
        Err(error) => {
            eprintln!("vpnprobe: {error}");
            return ExitCode::FAILURE;
        }
    };
    drivers.set_clock(base.clock);
    let recorder = match args.journal.clone().map(|settings| start_journal(settings, base.clock)).transpose()
    {
        Ok(recorder) => recorder,
        Err(problem) => {
            eprintln!("vpnprobe: {problem}");
            return ExitCode::from(MISUSE);
        }
    };
    let source = Source::File(args.config_file.clone());
    let loader = Some(loader);
    let start = Start { base, loaded, loader, source, listeners, drivers, recorder, lockdown, guard };
    match run(start, until_signal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vpnprobe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Who is answered at these addresses.
///
/// # Errors
/// What is wrong with the file, or that everybody would be answered.
pub fn guard(file: Option<&Path>, listen: &[SocketAddr], unprotected: bool) -> Result<Guard, String> {
    let guard = match file {
        Some(file) => {
            let (guard, warnings) = Guard::from_file(file)?;
            for warning in warnings {
                tracing::warn!("{}: {warning}", file.display());
            }
            guard
        }
        None => Guard::open(),
    };
    match listen.iter().find(|address| !address.ip().to_canonical().is_loopback()) {
        None => Ok(guard),
        Some(_) if unprotected => Ok(guard),
        Some(_) if guard.protects() => Ok(guard.strict()),
        Some(address) => Err(format!(
            "will not listen on {address}, beyond this host: everyone who reaches it could read all and make it \
             probe; ask for TLS and passwords with --web.config.file (config/web.yml is an example), listen on \
             127.0.0.1, or say --web.allow-unprotected"
        )),
    }
}

/// The sockets' side, ready before any right is given back.
fn prepare(clock: SystemClock, config: &Config) -> io::Result<Drivers> {
    let descriptors = raise_descriptor_limit();
    // Reading the trust store takes a while: before the engine runs, not in its first handshake.
    crate::probe::certificate::native();
    let mut drivers = Drivers::new(clock, config.engine_threads, || Box::new(Generator::from_os()))?;
    tell_rights(config, &mut drivers, descriptors);
    Ok(drivers)
}

fn start_journal(settings: journal::Settings, clock: SystemClock) -> Result<Recorder, String> {
    let directory = settings.directory.clone();
    Recorder::start(settings, Box::new(clock))
        .map_err(|error| format!("cannot write a journal into {}: {error}", directory.display()))
}

/// Where a reload reads from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file, with the environment on top.
    File(PathBuf),
    /// The configuration was made by the program itself and cannot change.
    Fixed,
}

/// A daemon that runs in threads of its own.
pub struct Running {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<io::Result<()>>>,
    addresses: Vec<SocketAddr>,
}

/// Starts a daemon beside the caller.
pub struct Daemon;

impl Daemon {
    /// Probes what `loaded` says, and serves HTTP on `listeners`.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(loaded: Loaded, listeners: Vec<TcpListener>) -> io::Result<Running> {
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("web".to_owned()).spawn(move || {
            let base = Base::open(&loaded.config)?;
            let drivers = prepare(base.clock, &loaded.config)?;
            let start = Start {
                base,
                loaded,
                loader: None,
                source: Source::Fixed,
                listeners,
                drivers,
                recorder: None,
                lockdown: None,
                guard: Guard::open(),
            };
            run(start, |_| async move { stopped.notified().await })
        })?;
        Ok(Running { stop, thread: Some(thread), addresses })
    }
}

impl Running {
    /// Where HTTP is served.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends it: cleans up at the peers, within 2 s.
    ///
    /// # Errors
    /// What made the daemon fail while it ran.
    pub fn stop(mut self) -> io::Result<()> {
        self.stop.notify_one();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the web thread panicked")),
            None => Ok(()),
        }
    }
}

/// What everything else stands on.
struct Base {
    clock: SystemClock,
    registry: Registry,
    store: Store,
    /// What an earlier process knew, and where its clock would be by now.
    kept: Option<(Timestamp, Snapshot)>,
}

impl Base {
    /// Goes on where an earlier process ended, if it left something and that is of use.
    fn open(config: &Config) -> io::Result<Self> {
        let clock = SystemClock::start();
        let settings =
            store::Settings { directory: config.state_dir.clone(), most_bytes: config.state_max_size };
        // Nothing is written before there is something to count that by.
        let counts = Arc::new(OnceLock::<Registry>::new());
        let registry = Arc::clone(&counts);
        let failed = move || {
            if let Some(registry) = registry.get() {
                registry.own().state_write_failed();
            }
        };
        let (store, kept) = Store::open(&settings, clock.wall(), failed)?;
        let clock = kept.as_ref().map_or(clock, |(begin, _)| clock.counting_from(*begin));
        let registry = counts.get_or_init(|| Registry::new(Arc::new(clock))).clone();
        Ok(Self { clock, registry, store, kept })
    }
}

/// All that a run begins with.
struct Start {
    base: Base,
    loaded: Loaded,
    loader: Option<Loader>,
    source: Source,
    listeners: Vec<TcpListener>,
    drivers: Drivers,
    recorder: Option<Recorder>,
    lockdown: Option<Lockdown>,
    guard: Guard,
}

/// Runs engine and web side until `end` says so.
fn run<F, E>(start: Start, end: E) -> io::Result<()>
where
    E: FnOnce(Arc<Shared>) -> F,
    F: Future<Output = ()>,
{
    let Start { base, loaded, loader, source, listeners, drivers, recorder, lockdown, guard } = start;
    let Base { clock, registry, store, kept } = base;
    let mut engine = Engine::new(drivers.start()?, registry.clone());
    if let Some((_, kept)) = kept {
        engine.resume(kept);
    }
    if let Some(feed) = store.feed() {
        engine.keep_in(feed);
    }
    if let Some(recorder) = recorder {
        engine.record(recorder);
    }
    let handle = engine.handle();
    let shared = Arc::new(Shared {
        source,
        lockdown,
        loaded: Mutex::new(Arc::new(loaded)),
        engine: handle.clone(),
        registry: registry.clone(),
        clock,
        shelf: store.shelf(),
        applied: Mutex::new(clock.now()),
        reloaded: Notify::new(),
    });
    let config = shared.config();
    handle.send(Command::Apply(Arc::clone(&config)));
    if let Some(loader) = loader {
        loader.leave();
    }
    let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || engine.run())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let daemon: Arc<dyn http::Daemon> = Arc::clone(&shared) as _;
        let scheme = if guard.speaks_tls() { "https" } else { "http" };
        let app = App::new(registry, daemon, config.web.probe_timeout, Limits::default())
            .with_incidents(Arc::clone(&shared.shelf))
            .behind(guard);
        let app = Arc::new(app);
        let mut tasks = JoinSet::new();
        tasks.spawn(look_up_names(Arc::clone(&shared)));
        tasks.spawn(keep_alive(Arc::clone(&shared)));
        tasks.spawn(ladder::watch(Arc::clone(&shared)));
        for listener in &listeners {
            if let Ok(address) = listener.local_addr() {
                tracing::info!("listening on {scheme}://{address}/");
            }
        }
        notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&summary(&config))]);
        let served = http::serve(listeners, app, end(Arc::clone(&shared))).await;
        notify(&[sd_notify::NotifyState::Stopping]);
        tasks.shutdown().await;
        served
    });
    handle.send(Command::Stop);
    let ended = thread.join().map_err(|_| io::Error::other("the engine panicked"))?;
    store.close(LAST_WRITES);
    runtime.shutdown_background();
    served.and(ended)
}

/// Resolves at SIGTERM or SIGINT; reloads at SIGHUP until then.
async fn until_signal(shared: Arc<Shared>) {
    let signals =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        tracing::error!("signals cannot be watched: reload by POST /-/reload, end by SIGKILL");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => {
                // The error is in the log already.
                let _ = shared.reload_now().await;
            }
        }
    }
}

/// Tells the service manager that probing goes on, for as long as it does.
async fn keep_alive(shared: Arc<Shared>) {
    let period = sd_notify::watchdog_enabled().map_or(Duration::from_secs(10), |timeout| timeout / 3);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    ticks.tick().await; // the first is at once: the engine has done nothing yet
    loop {
        ticks.tick().await;
        match shared.well() {
            Ok(()) => notify(&[sd_notify::NotifyState::Watchdog]),
            Err(why) => tracing::warn!("not well: {why}"),
        }
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(states);
}

fn summary(config: &Config) -> String {
    let probes: usize = config.targets.iter().map(|target| target.probes.len() * target.egress.len()).sum();
    format!("{} targets, {probes} probes", config.targets.len())
}

/// Says once what this process may not do, and the command that would allow it.
fn tell_rights(config: &Config, drivers: &mut Drivers, descriptors: u64) {
    let icmp = config
        .targets
        .iter()
        .flat_map(|target| &target.probes)
        .any(|spec| matches!(spec.kind.name, "icmp" | "trace"));
    if icmp {
        match drivers.icmp_access(false, &Arc::new(Egress::default())) {
            IcmpAccess::Raw => tracing::info!("ICMP: raw sockets"),
            IcmpAccess::Datagram => tracing::info!(
                "ICMP: datagram sockets (no CAP_NET_RAW), whose answers another program of this host could take; \
                 raw ones come with: setcap cap_net_raw+ep \"$(command -v vpnprobe)\""
            ),
            IcmpAccess::Denied => tracing::warn!(
                "ICMP: not allowed, so icmp and trace stay unsent; allow it with: \
                 setcap cap_net_raw+ep \"$(command -v vpnprobe)\", or: sysctl -w net.ipv4.ping_group_range='0 2147483647'"
            ),
        }
    }
    let sockets: usize = config.targets.iter().map(|target| target.probes.len() * target.egress.len()).sum();
    if u64::try_from(sockets).unwrap_or(u64::MAX) + 100 > descriptors {
        tracing::warn!(
            "{sockets} probes may need more than the {descriptors} open files this process may have; \
             raise LimitNOFILE= of the unit, or `ulimit -n`"
        );
    }
}
