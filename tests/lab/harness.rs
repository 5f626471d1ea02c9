//! One test's lab: namespaces with real servers in them, and vpnprobe run beside them.
//!
//! Invariants: every command has a time limit; a lab's namespaces, processes and files go when the
//! [`Lab`] is dropped; what is missing on the machine fails the test that needs it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

/// The concentrator's addresses.
pub const CONC: [&str; 2] = ["203.0.113.10", "2001:db8:3::10"];

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lab.sh");
/// The program under test: that of this build, or another build of it that `VPNPROBE_BIN` names.
fn vpnprobe() -> String {
    std::env::var("VPNPROBE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_vpnprobe").to_owned())
}
const WEB: &str = "127.0.0.1:10069";

/// Whether the long runs were asked for (`tests/run.sh --long`).
pub fn long() -> bool {
    std::env::var_os("VPNPROBE_LONG").is_some()
}

/// A network of namespaces of its own; see `lab.sh`.
pub struct Lab {
    name: String,
    state: PathBuf,
}

impl Lab {
    /// Brings the network up, without servers.
    ///
    /// # Panics
    /// If a prerequisite is missing: a test that cannot run must not pass.
    pub fn up() -> Self {
        Self::new("up")
    }

    /// A chain of so many routers instead of two.
    pub fn chain(routers: u8) -> Self {
        Self::new(&format!("up {routers}"))
    }

    /// The same over cables whose length `lab.sh wire` sets.
    pub fn wired(routers: u8) -> Self {
        Self::new(&format!("up {routers} wired"))
    }

    fn new(up: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        assert!(rustix::process::geteuid().is_root(), "the lab needs root: run tests/run.sh");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // One lab may stand while all the others come and go, in this process: a letter would come round.
        let letter = |at: usize| char::from(b"abcdefghijklmnopqrstuvwxyz"[at % 26]);
        let name = format!("v{}{}{}", std::process::id(), letter(number / 26), letter(number));
        let state = std::env::temp_dir().join("vpnprobe-lab").join(&name);
        let lab = Self { name, state };
        lab.script(up);
        lab
    }

    /// Brings the network up with these servers, one command line each: `"openvpn udp plain"`.
    pub fn with(servers: &[&str]) -> Self {
        let lab = Self::up();
        for server in servers {
            lab.script(&format!("start {server}"));
        }
        lab
    }

    /// Runs `lab.sh` with these words.
    pub fn script(&self, words: &str) -> String {
        let mut command = limited(60, SCRIPT);
        command.args(words.split_whitespace());
        command.env("LAB", &self.name).env("LAB_STATE", &self.state);
        let output = run(&mut command);
        assert!(output.status.success(), "lab.sh {words}: {}", both(&output));
        text(&output.stdout)
    }

    /// The same for what may fail; whether it did not.
    pub fn try_script(&self, words: &str) -> bool {
        let mut command = limited(60, SCRIPT);
        command.args(words.split_whitespace()).env("LAB", &self.name).env("LAB_STATE", &self.state);
        run(&mut command).status.success()
    }

    /// A file of the lab.
    pub fn path(&self, file: &str) -> PathBuf {
        self.state.join(file)
    }

    /// A file's text; empty if there is none.
    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    /// Writes a configuration; `STATE` in it becomes the lab's folder.
    pub fn config(&self, file: &str, yaml: &str) -> PathBuf {
        let (path, new) = (self.path(file), self.path(&format!("{file}.new")));
        std::fs::write(&new, yaml.replace("STATE", &self.state.display().to_string())).unwrap();
        // At once: who reads it while it is written would find no targets, or half of them.
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// The name of a namespace of the lab.
    pub fn namespace(&self, role: &str) -> String {
        format!("{}-{role}", self.name)
    }

    /// A command inside a namespace of the lab.
    pub fn command(&self, role: &str, program: impl AsRef<Path>) -> Command {
        let mut command = limited(120, "ip");
        command.args(["netns", "exec", &format!("{}-{role}", self.name)]).arg(program.as_ref());
        command
    }

    /// Runs a command line inside a namespace; its exit status does not matter.
    pub fn run(&self, role: &str, words: &str) -> String {
        let mut words = words.split_whitespace();
        let mut command = self.command(role, words.next().unwrap());
        both(&run(command.args(words)))
    }

    /// `vpnprobe` with these arguments in the client's namespace.
    pub fn vpnprobe(&self, arguments: &[&str]) -> Output {
        run(self.command("client", vpnprobe()).args(arguments))
    }

    /// `vpnprobe check … --format json`.
    pub fn check(&self, arguments: &[&str]) -> Check {
        let mut all = vec!["check"];
        all.extend(arguments);
        all.extend(["--format", "json"]);
        let output = self.vpnprobe(&all);
        let json = serde_json::from_slice(&output.stdout);
        let json: Value = json.unwrap_or_else(|e| panic!("check {arguments:?}: {e}: {}", both(&output)));
        Check { json, code: output.status.code().unwrap() }
    }

    /// Checks one target given by the YAML lines of its block, each indented by four blanks.
    pub fn check_target(&self, block: &str) -> Check {
        let file = self.config("check.yml", &format!("targets:\n  hq:\n{block}"));
        self.check(&["--target", "hq", "--config.file", file.to_str().unwrap()])
    }

    /// Checks one probe of an address: `settings` are YAML lines of the target, `probe` is the flow
    /// mapping of the probe beside its timeout.
    pub fn check_probe(&self, address: &str, kind: &str, probe: &str, settings: &str) -> Check {
        let comma = if probe.is_empty() { "" } else { ", " };
        // Without any delay on the way an ICMP error finds a TCP socket locked by its own connect(), and
        // counts only when the SYN is repeated after a second.
        let tcp = matches!(kind, "tcp" | "tls" | "openvpn_tcp" | "http" | "rdp" | "sslvpn")
            || settings.contains("transport: tcp");
        let timeout = if tcp { 3 } else { 1 };
        self.check_target(&format!(
            "    address: \"{address}\"\n{settings}    probes: {{{kind}: {{timeout: {timeout}s{comma}{probe}}}}}\n"
        ))
    }

    /// Does something in a thread that lives in a namespace; sockets opened there stay in it.
    pub fn within<T: Send>(&self, role: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}-{role}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `vpnprobe serve` in the client's namespace.
    pub fn serve(&self, yaml: &str) -> Daemon<'_> {
        self.serve_as("client", &[], yaml)
    }

    /// The same in another namespace, started through another program (`setpriv …`).
    pub fn serve_as(&self, role: &'static str, through: &[&str], yaml: &str) -> Daemon<'_> {
        self.serve_with(role, through, &[], yaml)
    }

    /// The same with more arguments.
    pub fn serve_with(&self, role: &'static str, through: &[&str], more: &[&str], yaml: &str) -> Daemon<'_> {
        let config = self.config("serve.yml", yaml);
        let log = File::create(self.path("serve.log")).unwrap();
        let (program, mut words) = (vpnprobe(), through.to_vec());
        words.push(&program);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{role}", self.name)]).args(words);
        command.arg("serve").arg("--config.file").arg(&config).args(["--web.listen-address", WEB]).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.attach(role, command.spawn().unwrap())
    }

    /// A daemon that was started by hand.
    pub fn attach(&self, role: &'static str, child: Child) -> Daemon<'_> {
        Daemon { lab: self, role, started: Instant::now(), child }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = ["serve.log", "strongswan.log"].map(|file| (file, self.read(file)));
            for (file, log) in logs.iter().filter(|(_, log)| !log.is_empty()) {
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!("--- end of {file}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        let mut command = limited(30, SCRIPT);
        let _ = command.arg("down").env("LAB", &self.name).env("LAB_STATE", &self.state).status();
    }
}

/// A command that `timeout` ends.
fn limited(seconds: u32, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", &seconds.to_string(), program]).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert_ne!(output.status.code(), Some(124), "{command:?} ran into its time limit: {}", both(&output));
    output
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command printed.
pub fn both(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// Waits until it is so.
pub fn until(what: &str, seconds: u64, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What `check` printed.
pub struct Check {
    /// The JSON object.
    pub json: Value,
    /// The exit code.
    pub code: i32,
}

impl Check {
    /// What each probe said: `"ike answered"`, `"tls answered cert_expired"`, `"dns lost no_answer"`;
    /// equal words of several members or forms once.
    pub fn results(&self) -> Vec<String> {
        let mut results: Vec<String> = Vec::new();
        for probe in self.json["probes"].as_array().expect("probes") {
            let mut word = format!("{} {}", str(&probe["probe"]), str(&probe["outcome"]));
            if let Some(reason) = probe["reason"].as_str() {
                write!(word, " {reason}").unwrap();
            }
            results.push(word);
        }
        results.sort();
        results.dedup();
        results
    }

    /// What is wrong if the probes did not say exactly this.
    pub fn mismatch(&self, expected: &[&str]) -> Option<String> {
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        (self.results() != expected)
            .then(|| format!("expected {expected:?}, got {:?}\n{:#}", self.results(), self.json["probes"]))
    }

    /// The probes said exactly this.
    #[track_caller]
    pub fn says(&self, expected: &[&str]) {
        if let Some(mismatch) = self.mismatch(expected) {
            panic!("{mismatch}");
        }
    }

    /// The status and the reason of a step: `"failed no_answer"`.
    pub fn step(&self, name: &str) -> String {
        let steps = self.json["steps"].as_array().expect("steps");
        let step = steps.iter().find(|step| step["step"] == name).expect("the step is listed");
        let reason = step["reason"].as_str().unwrap_or_default();
        format!("{} {reason}", str(&step["status"])).trim_end().to_owned()
    }

    /// The verdict.
    pub fn verdict(&self) -> &str {
        str(&self.json["verdict"])
    }
}

fn str(value: &Value) -> &str {
    value.as_str().unwrap_or("null")
}

/// A running `vpnprobe serve`.
pub struct Daemon<'a> {
    lab: &'a Lab,
    role: &'static str,
    started: Instant,
    child: Child,
}

impl Daemon<'_> {
    /// Waits for `/-/ready`, at most this long after the start.
    #[track_caller]
    pub fn ready_within(&mut self, limit: Duration) -> &mut Self {
        loop {
            if self.request("GET", "/-/ready").is_ok_and(|(status, _)| status == 200) {
                return self;
            }
            let took = self.started.elapsed();
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("serve ended with {status}: {}", self.log());
            }
            assert!(took < limit, "not ready after {took:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for `/-/ready` as long as a loaded machine may need.
    #[track_caller]
    pub fn ready(&mut self) -> &mut Self {
        self.ready_within(Duration::from_secs(10))
    }

    /// A request to its web port; the status and the body.
    pub fn request(&self, method: &str, path: &str) -> std::io::Result<(u16, String)> {
        self.lab.within(self.role, || {
            let address: SocketAddr = WEB.parse().unwrap();
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "{method} {path} HTTP/1.0\r\nhost: {WEB}\r\ncontent-length: 0\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            let answer = text(&answer);
            let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
            status.zip(body).ok_or_else(|| std::io::Error::other(answer))
        })
    }

    /// A scrape.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let (status, body) = self.request("GET", "/metrics").unwrap();
        assert_eq!(status, 200, "{body}");
        Metrics(body)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.lab.read("serve.log")
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it has ended; its exit code.
    #[track_caller]
    pub fn ended(&mut self, seconds: u64) -> Option<i32> {
        let mut status = None;
        until("serve has ended", seconds, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Ends it as systemd does.
    #[track_caller]
    pub fn stop(mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let code = self.ended(5);
        assert_eq!(code, Some(0), "{}", self.log());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scrape in the text format.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all series of this name that have all of these labels (`probe="ike"`).
    /// Nothing if there is no such series.
    pub fn sum(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let mut sum = None;
        for line in self.0.lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            if !rest.starts_with(['{', ' ']) || !labels.iter().all(|label| rest.contains(label)) {
                continue;
            }
            let value: f64 = rest.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a number");
            *sum.get_or_insert(0.0) += value;
        }
        sum
    }

    /// The same, where the series must be there.
    #[track_caller]
    pub fn get(&self, name: &str, labels: &[&str]) -> f64 {
        self.sum(name, labels).unwrap_or_else(|| panic!("no {name} with {labels:?} in\n{}", self.0))
    }
}
