//! The commands, one file each: arguments in, an exit code out.
//!
//! Results go to stdout, logs and complaints to stderr. Exit codes: 0 good, 1 the thing checked is bad,
//! 2 usage or configuration, 3 unknown (with `--format nagios`: 0 ok, 1 degraded, 2 failed, 3 unknown).
//! Invariant: a reader that goes away (`| head`) changes neither the work nor the exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use crate::export::client::Access;

pub mod check;
pub mod config;
pub mod demo;
pub mod describe;
pub mod explain;
pub mod incidents;
pub mod init;
mod log;
pub mod ready;
pub mod replay;
pub mod trace;

/// The default of `--config.file`.
pub const CONFIG_FILE: &str = "vpnprobe.yml";

/// The exit code of a wrong usage or configuration.
pub const USAGE: u8 = 2;

/// The exit code if nothing can be said.
pub const UNKNOWN: u8 = 3;

/// Tests VPN concentrators in their own protocols and exports what they answer to Prometheus
#[derive(Debug, Parser)]
#[command(name = "vpnprobe", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The configuration file [default: vpnprobe.yml]
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
    /// Check the configuration file and exit
    #[arg(long = "config.check", global = true)]
    pub config_check: bool,
    /// The least level that is logged [default: info for serve and demo, else warn]
    #[arg(long = "log.level", value_name = "LEVEL", value_enum, global = true)]
    pub log_level: Option<Level>,
    /// How log lines are written
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
}

impl Common {
    /// The configuration file, the default if none is named.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config_file.clone().unwrap_or_else(|| PathBuf::from(CONFIG_FILE))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Probe the configured targets all day and serve what they answer to Prometheus
    Serve(Serve),
    /// Show it at work: an embedded concentrator on loopback, and the daemon that probes it
    Demo(demo::Demo),
    /// Check one target now: which step fails, and why
    Check(check::Check),
    /// Say what a line of a log or an error means, and what to do
    Explain(explain::Explain),
    /// What was recorded around outages, refusals and flaps
    Incidents {
        /// What to do with it.
        #[command(subcommand)]
        command: incidents::IncidentsCommand,
    },
    /// Show the way to a host on the flow of its VPN
    Trace(trace::Trace),
    /// Say whether so many people in Teams will hold: capacity, and what the probes saw
    Ready(ready::Ready),
    /// Look at a host and print a configuration for what answers
    Init(init::Init),
    /// Run a journal of `serve --journal` again, with other thresholds or timers of dead peer detection
    Replay(replay::Replay),
    /// Write man pages and shell completions
    #[command(hide = true)]
    Describe(describe::Describe),
    /// Check, show or describe the configuration
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
}

/// The arguments of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Where to listen, instead of what the configuration says; may be repeated
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = listen_address)]
    pub listen: Vec<SocketAddr>,
    /// TLS, passwords and headers of the HTTP side: a file as Prometheus' exporter-toolkit has it
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_file: Option<PathBuf>,
    /// Listen beyond this host also without TLS and passwords
    #[arg(long = "web.allow-unprotected")]
    pub unprotected: bool,
    /// Whether it gives back the rights it does not need, and locks itself in
    #[arg(long, value_name = "MODE", value_enum, default_value = "on")]
    pub sandbox: Sandbox,
    /// Write all that the detectors see into files of this directory, for `vpnprobe replay`
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// What that directory may hold; the oldest files go first
    #[arg(long = "journal.max-size", value_name = "MIB", default_value_t = 1024, requires = "journal",
        value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub journal_size: u64,
}

/// How a running daemon lets one in.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// Who may have signed its certificate, or that certificate itself [default: the system's roots]
    #[arg(long = "url.ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A name of its basic_auth_users
    #[arg(long = "url.user", value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// Where that one's password is
    #[arg(long = "url.password-file", value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
}

impl AccessArgs {
    /// The same as the client takes it.
    #[must_use]
    pub fn access(&self) -> Access {
        Access { ca_file: self.ca_file.clone(), login: self.user.clone().zip(self.password_file.clone()) }
    }
}

/// Whether the daemon locks itself in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sandbox {
    /// Capabilities given back, files and system calls restricted.
    On,
    /// As it was started.
    Off,
}

/// A level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What stops the work.
    Error,
    /// What an administrator should know.
    Warn,
    /// What happens.
    Info,
    /// How it happens.
    Debug,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `127.0.0.1:10069`, `[::1]:10069`, or `:10069` for every address.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| "expected ADDRESS:PORT, for example 127.0.0.1:10069 or :10069".to_owned())
}

/// Runs the command line and says how it went.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // To Nagios 2 is "critical"; what could not even begin is unknown to it.
    let usage = if arguments.iter().any(|word| word == "nagios") { UNKNOWN } else { USAGE };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with 0, the rest to stderr; neither may panic.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(usage) } else { ExitCode::SUCCESS };
        }
    };
    let daemon = matches!(cli.command, Some(Command::Serve(_) | Command::Demo(_)));
    log_to_stderr(&cli.common, daemon);
    let file = cli.common.config_file();
    if cli.common.config_check && matches!(cli.command, None | Some(Command::Serve(_))) {
        if let Some(Command::Serve(Serve { web_file: Some(web), .. })) = &cli.command
            && let Err(problem) = crate::export::http::Guard::from_file(web)
        {
            complain(&problem);
            return ExitCode::from(USAGE);
        }
        return run_config(&config::ConfigCommand::Check, &file);
    }
    match cli.command {
        Some(Command::Serve(serve)) => {
            let size = serve.journal_size << 20;
            let journal = serve.journal.map(|directory| crate::journal::Settings::new(directory, size));
            crate::app::serve(&crate::app::ServeArgs {
                config_file: file,
                listen: serve.listen,
                journal,
                web_file: serve.web_file,
                unprotected: serve.unprotected,
                unsandboxed: serve.sandbox == Sandbox::Off,
            })
        }
        Some(Command::Demo(demo)) => demo.run(),
        Some(Command::Check(check)) => ExitCode::from(check.run(&file)),
        Some(Command::Explain(explain)) => ExitCode::from(explain.run()),
        Some(Command::Incidents { command }) => {
            ExitCode::from(command.run(&file, cli.common.config_file.is_some()))
        }
        Some(Command::Trace(trace)) => ExitCode::from(trace.run(&file)),
        Some(Command::Ready(ready)) => ExitCode::from(ready.run(&file)),
        Some(Command::Init(init)) => ExitCode::from(init.run()),
        Some(Command::Replay(replay)) => ExitCode::from(replay.run()),
        Some(Command::Describe(describe)) => ExitCode::from(describe.run()),
        Some(Command::Config { command }) => run_config(&command, &file),
        None => {
            let help = Cli::command().render_help();
            let _ = write!(io::stderr(), "{help}");
            ExitCode::from(USAGE)
        }
    }
}

fn run_config(command: &config::ConfigCommand, file: &std::path::Path) -> ExitCode {
    config::run(command, file, &mut io::stdout().lock(), &mut io::stderr().lock())
}

fn log_to_stderr(common: &Common, daemon: bool) {
    let level = match common.log_level {
        Some(Level::Error) => LevelFilter::ERROR,
        Some(Level::Debug) => LevelFilter::DEBUG,
        Some(Level::Info) => LevelFilter::INFO,
        None if daemon => LevelFilter::INFO,
        Some(Level::Warn) | None => LevelFilter::WARN,
    };
    let json = matches!(common.log_format, LogFormat::Json);
    let writer = move || -> Box<dyn Write> {
        if daemon { Box::new(log::Lines { json }) } else { Box::new(io::stderr()) }
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    // A second call, in a test, keeps the first log.
    let _ = if json { log.json().flatten_event(true).try_init() } else { log.with_ansi(false).try_init() };
}

/// Writes a result to stdout. `code` if it got there or nobody reads any more, else [`UNKNOWN`].
fn answer(text: &str, code: u8) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            complain(&format!("cannot write to stdout: {error}"));
            UNKNOWN
        }
    }
}

/// A complaint on stderr.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "vpnprobe: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(listen_address(":10069"), Ok("[::]:10069".parse().unwrap()));
        assert_eq!(listen_address("127.0.0.1:1"), Ok("127.0.0.1:1".parse().unwrap()));
        assert!(listen_address("10069").is_err());
    }

    #[test]
    fn flags_with_dots_stand_before_or_after_the_command() {
        for line in [
            "vpnprobe --config.file a.yml serve --web.listen-address :1",
            "vpnprobe serve --config.file a.yml --config.check --log.level debug --log.format json",
            "vpnprobe --config.file=a.yml --config.check",
            "vpnprobe check --target hq --config.file a.yml --format nagios --lang ja",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.common.config_file(), PathBuf::from("a.yml"), "{line}");
        }
    }
}
