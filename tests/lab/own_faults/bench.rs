//! A daemon that writes a journal, what it probes, and the hands that make faults.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vpnprobe::detect::Bearing;
use vpnprobe::journal::{Entry, Files, Header, Reader, Record};
use vpnprobe::net::clock::SystemClock;
use vpnprobe::sample::{Outcome, SeriesId};
use vpnprobe::time::{Clock as _, WallTime};

use super::relay::Relay;
use crate::harness::{Daemon, Lab, until};

/// `hq` is a real concentrator; `far` is the same behind a relay that can be told to be a bad network.
pub const CONFIG: &str = "\
defaults: {interval: 500ms, timeout: 1s}
budget: {packets_per_second: 1000, packets_burst: 1000}
state_dir: STATE/kept
targets:
  hq:
    address: 203.0.113.10
    ike: {proposals: [aes256-sha256-modp2048]}
    dns: {name: vpn.example.test, record: A}
    probes: {icmp: {}, ike: {}, ike_natt: {}, dns: {}, trace: {enabled: false}}
  far:
    address: 203.0.113.1
    ike: {proposals: [aes256-sha256-modp2048]}
    probes: {far: {kind: ike}, icmp: {enabled: false}, trace: {enabled: false}}
";
/// The names of its probes.
pub const PROBES: [&str; 5] = ["icmp", "ike", "ike_natt", "dns", "far"];
pub const INTERVAL: Duration = Duration::from_millis(500);
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// One result of a probe.
pub struct Heard {
    pub probe: String,
    pub due: WallTime,
    /// `answered`, `lost no_answer`, `unsent no_route`.
    pub word: String,
}

/// The lab, the daemon and the faults under way.
pub struct Bench<'a> {
    pub lab: &'a Lab,
    pub daemon: Daemon<'a>,
    pub relay: Relay,
    tracer: RefCell<Option<Child>>,
}

impl<'a> Bench<'a> {
    pub fn new(lab: &'a Lab) -> Self {
        let relay = Relay::start(lab);
        let journal = lab.path("journal");
        let mut daemon = lab.serve_with("client", &[], &["--journal", journal.to_str().unwrap()], CONFIG);
        daemon.ready();
        let bench = Self { lab, daemon, relay, tracer: RefCell::default() };
        let start = now();
        until("all are answered", 60, || {
            let heard = bench.heard();
            PROBES.iter().all(|probe| {
                let mine: Vec<_> = heard.iter().filter(|it| it.probe == *probe && it.due >= start).collect();
                mine.iter().rev().take(4).filter(|it| it.word == "answered").count() == 4
            })
        });
        bench
    }

    /// Ends it as systemd does.
    pub fn end(self) {
        kill_process(self.daemon.pid(), Signal::TERM).unwrap();
        until("it has ended", 5, || self.daemon.request("GET", "/-/healthy").is_err());
    }

    /// All that the detectors were told so far, but what is about a flow only.
    pub fn heard(&self) -> Vec<Heard> {
        heard(&self.lab.path("journal"))
    }

    /// A command line in the client's namespace, which must succeed.
    pub fn client(&self, words: &str) {
        self.lab.script(&format!("exec client {words}"));
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.daemon.pid(), signal).unwrap();
    }

    /// Makes system calls of the engine fail: `("sendto,sendmsg", "error=ENOBUFS")`.
    pub fn fail(&self, calls: &str, how: &str) {
        let log = self.lab.path("strace.log");
        let mut command = Command::new("strace");
        command.args([
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:{how}"),
        ]);
        let threads = engine(self.daemon.pid());
        for thread in &threads {
            command.args(["-p", thread]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let tracer = command.spawn().expect("strace");
        assert!(self.tracer.replace(Some(tracer)).is_none(), "one tracer at a time");
        until("strace is attached", 10, || {
            self.lab.read("strace.log").matches("attached").count() == threads.len()
        });
    }

    /// Lets them succeed again.
    pub fn mend(&self) {
        let mut tracer = self.tracer.take().unwrap();
        kill_process(Pid::from_child(&tracer), Signal::TERM).unwrap();
        tracer.wait().unwrap();
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if let Some(mut tracer) = self.tracer.take() {
            let _ = kill_process(Pid::from_child(&tracer), Signal::TERM);
            let _ = tracer.wait();
        }
    }
}

/// The threads that own the sockets: with `engine_threads` (`VPNPROBE__ENGINE_THREADS`) there are several.
fn engine(pid: Pid) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let owns = |path: &PathBuf| {
        let name = fs::read_to_string(path.join("comm")).unwrap();
        name.trim() == "engine" || name.starts_with("driver-")
    };
    let owners = tasks.map(|task| task.unwrap().path()).filter(owns);
    owners.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The wall clock.
pub fn now() -> WallTime {
    SystemClock::start().wall()
}

/// `answered`, `lost no_answer`, `unsent no_route`.
fn word(outcome: Outcome) -> String {
    let mut word = outcome.as_str().to_owned();
    if let Outcome::Unsent(fault) = outcome {
        write!(word, " {fault}").unwrap();
    } else if let Some(reason) = outcome.reason() {
        write!(word, " {reason}").unwrap();
    }
    word
}

/// What a journal says of the targets so far.
pub fn heard(directory: &Path) -> Vec<Heard> {
    let Ok(files) = Files::of(directory) else { return Vec::new() };
    let mut heard = Vec::new();
    for path in files.paths() {
        let mut reader = Reader::open(path, false).unwrap();
        let mut places: HashMap<SeriesId, String> = HashMap::new();
        let mut header: Option<Header> = None;
        while let Some(entry) = reader.next_entry().unwrap_or_else(|trouble| panic!("{trouble}")) {
            match entry {
                Entry::Header(begun) => header = Some(begun),
                Entry::Record(Record::Place { series, placed, .. }) => {
                    places.insert(series, placed.about.probe.clone());
                }
                Entry::Record(Record::Sample(sample, Bearing::Target)) => heard.push(Heard {
                    probe: places[&sample.series].clone(),
                    due: header.as_ref().unwrap().wall(sample.due),
                    word: word(sample.report.outcome),
                }),
                Entry::Record(Record::Gap { lost }) => panic!("{lost} samples are not in the journal"),
                Entry::Record(_) => {}
            }
        }
    }
    heard
}

/// What each probe said of what was due, and was done, between two moments.
pub fn between(heard: &[Heard], from: WallTime, to: WallTime) -> BTreeMap<String, BTreeSet<String>> {
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let last = i64::try_from(TIMEOUT.as_nanos()).unwrap();
    for it in heard {
        if it.due >= from && it.due.as_unix_nanos() + last <= to.as_unix_nanos() {
            said.entry(it.probe.clone()).or_default().insert(it.word.clone());
        }
    }
    said
}
