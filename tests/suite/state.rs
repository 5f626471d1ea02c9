//! What outlives the process, with the real program: restarts, kills, and the incidents it leaves.
//! No assertion looks at how long anything took.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vpnprobe::journal::{Files, Reader};
use vpnprobe::net::clock::SystemClock;
use vpnprobe::store::{Snapshot, state};
use vpnprobe::time::{Clock as _, Timestamp, WallTime};

/// An IKE responder that answers, or is silent. What it says to a message of a major version it does not
/// know was captured from strongSwan 5.9.8; the initiator's SPI is put in.
struct Responder {
    port: u16,
    answers: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (answers, stop) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (answering, stopped) = (Arc::clone(&answers), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
                if len >= 28 && answering.load(Ordering::Relaxed) {
                    let mut answer = bytes[..8].to_vec();
                    answer.extend([0; 8]);
                    answer
                        .extend([0x29, 0x20, 0x22, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x24, 0, 0, 0, 8, 0, 0, 0, 5]);
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { port, answers, stop, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpnprobe"));
    command.env_clear();
    command
}

/// A daemon; what it logs is read so that it never waits for a reader.
struct Daemon {
    child: Child,
    web: SocketAddr,
    log: JoinHandle<String>,
}

impl Daemon {
    fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    fn start_with(config: &Path, more: &[&std::ffi::OsStr]) -> Self {
        let mut child = program()
            .args(["serve", "--web.listen-address", "127.0.0.1:0", "--config.file"])
            .arg(config)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut read = String::new();
        let web = loop {
            let begin = read.len();
            assert_ne!(log.read_line(&mut read).unwrap(), 0, "it ended: {read}");
            if let Some((_, web)) = read[begin..].split_once("listening on http://") {
                break web.trim_end().trim_end_matches('/').parse().unwrap();
            }
        };
        let log = std::thread::spawn(move || {
            let _ = log.read_to_string(&mut read);
            read
        });
        let daemon = Self { child, web, log };
        // It heeds signals once it serves.
        assert_eq!(daemon.get("/-/healthy").0, 200);
        daemon
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Ends it, and tells what it logged.
    fn end(mut self, signal: Signal) -> String {
        self.signal(signal);
        self.child.wait().unwrap();
        self.log.join().unwrap()
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.web).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.web).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The value of the only metric of this name.
    fn metric(&self, name: &str) -> Option<f64> {
        let (_, metrics) = self.get("/metrics");
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// Waits until something is there; three minutes are "never".
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1800 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("never: {what}");
}

struct Bench {
    directory: tempfile::TempDir,
    responder: Responder,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap(), responder: Responder::start() };
        let yaml = format!(
            "state_dir: state\nbudget: {{packets_per_second: 100}}\ntargets:\n  hq:\n    address: 127.0.0.1\n    probes:\n      ike: \
             {{port: {}, interval: 500ms, timeout: 300ms}}\n    dpd: {{profiles: [cisco_asa]}}\n",
            bench.responder.port
        );
        std::fs::write(bench.config(), yaml).unwrap();
        bench
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("vpnprobe.yml")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// What `vpnprobe incidents …` says of the directory.
    fn incidents(&self, arguments: &[&str]) -> Output {
        program().arg("incidents").args(arguments).arg("--config.file").arg(self.config()).output().unwrap()
    }

    fn listed(&self) -> Vec<Value> {
        let said = self.incidents(&["list", "--format", "json"]);
        if said.status.code() == Some(3) {
            return Vec::new(); // not made yet
        }
        assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
        let list: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(list["schema"], 1);
        list["incidents"].as_array().unwrap().clone()
    }
}

/// The whole life of an incident, over a `kill -9`, a stop and a freeze in the middle of the outage.
#[test]
fn an_outage_over_restarts_is_one_incident() {
    let bench = Bench::new();
    let daemon = Daemon::start(&bench.config());
    until("the first answer", || (daemon.metric("vpnprobe_probe_up{")? > 0.5).then_some(()));
    bench.responder.answers.store(false, Ordering::Relaxed);
    let outage = |daemon: &Daemon| {
        let (_, list) = daemon.get("/api/v1/incidents?target=hq&since=1h&limit=10");
        let list: Value = serde_json::from_str(&list).unwrap();
        list["incidents"].as_array().unwrap().first().cloned()
    };
    let first = until("the incident", || outage(&daemon));
    // It may have begun with a teardown, before it was an outage.
    until("the outage", || (daemon.metric("vpnprobe_probe_up{")? < 0.5).then_some(()));
    // With the incident comes the state, some seconds later.
    let old = |state: &Snapshot| state.monotonic.since(Timestamp::ZERO) > Duration::from_secs(20);
    until("the state", || state_of(&bench.state()).filter(old));
    let since = |daemon: &Daemon| {
        let (_, status) = daemon.get("/api/v1/status?target=hq");
        let status: Value = serde_json::from_str(&status).unwrap();
        let time = |it: &Value| serde_json::from_value(it["state_since"].clone()).unwrap();
        let since = |it: &Value| (it["state"].clone(), time(it));
        [since(&status["targets"][0]), since(&status["targets"][0]["probes"][0])]
    };
    let fell: [(Value, WallTime); 2] = since(&daemon);
    daemon.end(Signal::SIGKILL);
    assert_eq!(bench.listed().len(), 1);

    let daemon = Daemon::start(&bench.config());
    let up = until("a state", || daemon.metric("vpnprobe_probe_up{"));
    assert!(up < 0.5, "it is down still, not anew");
    for ((state, at), (before, then)) in since(&daemon).iter().zip(&fell) {
        let apart = (at.as_unix_seconds_f64() - then.as_unix_seconds_f64()).abs();
        assert!(
            state == "down" && before == "down" && apart < 0.5,
            "{state} since {at}, was {before} since {then}"
        );
    }
    let again = until("the incident", || outage(&daemon));
    assert_eq!((&again["id"], &again["began"]), (&first["id"], &first["began"]));
    daemon.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    daemon.signal(Signal::SIGCONT);
    let log = daemon.end(Signal::SIGTERM);
    assert!(log.contains("going on with what was known of 1 series"), "{log}");

    bench.responder.answers.store(true, Ordering::Relaxed);
    let daemon = Daemon::start(&bench.config());
    until("up", || (daemon.metric("vpnprobe_probe_up{")? > 0.5).then_some(()));
    assert_eq!(daemon.metric("vpnprobe_outage_duration_seconds_count{"), Some(1.0));
    assert_eq!(daemon.metric("vpnprobe_state_write_failures_total"), Some(0.0));
    let flaps = daemon.metric("vpnprobe_flaps_total{").unwrap();
    assert!(flaps <= 1.0, "back up is one flap: {flaps}");
    // No restart tore a session down again.
    assert_eq!(daemon.metric("vpnprobe_dpd_timeouts_total{"), Some(0.0));
    let (status, body) = daemon.get(&format!("/api/v1/incidents/{}", first["id"].as_str().unwrap()));
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["id"], first["id"]);
    assert_eq!(daemon.get("/api/v1/incidents/20260101T000000000Z-hq-0001").0, 404);
    assert_eq!(daemon.get("/api/v1/incidents?limit=x").0, 400);
    assert!(daemon.get("/").1.contains("Latest incidents"));
    let url = format!("http://{}", daemon.web);
    let asked = program().args(["incidents", "list", "--url", &url]).output().unwrap();
    assert!(String::from_utf8_lossy(&asked.stdout).contains(first["id"].as_str().unwrap()), "{asked:?}");
    daemon.end(Signal::SIGTERM);

    let listed = bench.listed();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let id = listed[0]["id"].as_str().unwrap();
    let shown = bench.incidents(&["show", id]);
    let text = String::from_utf8(shown.stdout).unwrap();
    for part in [id, "hq: ", "Cause", "ike", "127.0.0.1", "every 0.5 s", "cisco_asa"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let japanese = bench.incidents(&["show", id, "--lang", "ja"]);
    assert!(String::from_utf8(japanese.stdout).unwrap().contains("原因"));
    let incident: Value =
        serde_json::from_slice(&bench.incidents(&["show", id, "--format", "json"]).stdout).unwrap();
    assert_eq!(incident["dpd"][0]["sure"], 1, "{}", incident["dpd"]);
    let fates = incident["series"][0]["samples"]["fates"].as_str().unwrap();
    assert!(fates.contains("o...."), "{fates}");
    for (arguments, code) in [
        (&["show", "nothing"][..], 2),
        (&["show", "20260101T000000000Z-hq-0001"], 2),
        (&["list", "--since", "x"], 2),
    ] {
        assert_eq!(bench.incidents(arguments).status.code(), Some(code), "{arguments:?}");
    }
    // A directory that was never one is said to be so.
    let said = program().args(["incidents", "list", "--state-dir", "/nonexistent"]).output().unwrap();
    assert_eq!(said.status.code(), Some(3));
}

fn state_of(directory: &Path) -> Option<Snapshot> {
    let bytes = std::fs::read(directory.join(state::FILE)).ok()?;
    let wall = SystemClock::start().wall();
    Some(Snapshot::from_bytes(&bytes, wall).unwrap_or_else(|why| panic!("{why}")).1)
}

/// Whenever it is killed, the file is whole.
#[test]
fn a_kill_at_any_moment_leaves_whole_files() {
    let bench = Bench::new();
    for n in 0..24_u64 {
        let mut daemon = Daemon::start(&bench.config());
        daemon.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_micros(n * n * 40));
        let _ = daemon.child.kill();
        daemon.child.wait().unwrap();
        let log = daemon.log.join().unwrap();
        assert!(!log.contains("damaged") && !log.contains("ERROR"), "{log}");
        state_of(&bench.state());
        let names = std::fs::read_dir(bench.state()).unwrap().map(|entry| entry.unwrap().file_name());
        let bad: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".bad")).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
    // The last one ends in its own time.
    Daemon::start(&bench.config()).end(Signal::SIGTERM);
    assert!(state_of(&bench.state()).is_some());
    let log = Daemon::start(&bench.config()).end(Signal::SIGTERM);
    assert!(log.contains("going on with what was known of 1 series"), "{log}");
}

/// Killed at random moments while incidents begin and end, again and again: what is on the disk can be read
/// each time, and the next start says what is lost. Twenty times, or two hundred in a long run.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long a start takes is printed for people")]
fn killed_again_and_again() {
    let kills = if std::env::var_os("VPNPROBE_LONG").is_some_and(|long| !long.is_empty()) { 200 } else { 20 };
    let bench = Bench::new();
    let yaml = std::fs::read_to_string(bench.config()).unwrap();
    // A session that is surely gone after a second of silence: incidents all the time.
    let yaml = yaml.replace("[cisco_asa]", "[hasty]").replace("500ms", "100ms").replace("300ms", "100ms")
        + "dpd_profiles: {hasty: {idle: 300ms, retry: 200ms, tries: 3}}\n";
    std::fs::write(bench.config(), yaml).unwrap();
    let journal = bench.directory.path().join("journal");
    let mut random = kills_seed();
    println!("seed {random}");
    let (mut said, mut lost, mut saved, mut stood, mut torn, mut slowest) = (0, 0, 0, 0, 0, Duration::ZERO);
    for n in 0..kills {
        let begun = std::time::Instant::now();
        let daemon = Daemon::start_with(&bench.config(), &["--journal".as_ref(), journal.as_os_str()]);
        slowest = slowest.max(begun.elapsed());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Now and then so late that the state was saved.
        let wait = Duration::from_millis((random >> 33) % if n % 10 == 5 { 12_000 } else { 3000 });
        // Silence in the middle, so that it is killed before, in and after an incident.
        bench.responder.answers.store(true, Ordering::Relaxed);
        std::thread::sleep(wait / 6);
        bench.responder.answers.store(false, Ordering::Relaxed);
        std::thread::sleep(wait * 4 / 6);
        bench.responder.answers.store(true, Ordering::Relaxed);
        std::thread::sleep(wait / 6);
        if n == kills - 1 {
            // However slow this host is, one of them has left a state.
            until("a state", || state_of(&bench.state()));
        }
        let log = daemon.end(Signal::SIGKILL);
        assert!(!log.contains("damaged") && !log.contains("ERROR") && !log.contains("panicked"), "{log}");
        if n > 0 {
            assert!(log.contains("the process before this one did not come to its end"), "{log}");
            said += 1;
            lost += usize::from(log.contains("left nothing"));
        }
        saved += usize::from(state_of(&bench.state()).is_some());
        let incidents = bench.listed();
        let open = incidents.iter().filter(|incident| incident["state"] == "open").count();
        assert!(open <= 1, "{incidents:?}");
        stood += open;
        for incident in &incidents {
            let id = incident["id"].as_str().unwrap();
            let shown = bench.incidents(&["show", id]);
            assert_eq!(shown.status.code(), Some(0), "{id}: {}", String::from_utf8_lossy(&shown.stderr));
        }
        for path in Files::of(&journal).unwrap().paths().iter().rev().take(1) {
            let mut reader = Reader::open(path, false).unwrap();
            while reader.next_entry().unwrap_or_else(|trouble| panic!("{trouble}")).is_some() {}
            torn += usize::from(reader.torn());
        }
        let names = std::fs::read_dir(bench.state()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".bad")));
        if incidents.len() > 40 {
            // Each is shown each time: not ever more of them.
            std::fs::remove_dir_all(bench.state().join("incidents")).unwrap();
        }
    }
    let replayed = program().arg("replay").arg(&journal).output().unwrap();
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    println!(
        "{kills} of {kills} kills: all files could be read; {said} starts said what was lost ({lost} of them all); \
         {saved} left a state, {stood} an incident that was not over, {torn} a torn last line; the slowest start took {} ms",
        slowest.as_millis()
    );
    assert!(stood > 0 && saved > 0, "no kill met an incident, or a state");
    // An end in order is told from a kill.
    Daemon::start(&bench.config()).end(Signal::SIGTERM);
    let log = Daemon::start(&bench.config()).end(Signal::SIGTERM);
    assert!(!log.contains("did not come to its end"), "{log}");
}

/// From `VPNPROBE_SEED`, or another one each time.
fn kills_seed() -> u64 {
    let given = std::env::var("VPNPROBE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| SystemClock::start().wall().as_unix_nanos().cast_unsigned())
}

/// A file that is no state is set aside, and nothing is the matter.
#[test]
fn rubbish_in_the_state_directory_stops_no_start() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.state()).unwrap();
    std::fs::write(bench.state().join(state::FILE), b"\x1b[31mrubbish\n\xff").unwrap();
    let log = Daemon::start(&bench.config()).end(Signal::SIGTERM);
    assert!(log.contains("beginning with nothing known") && log.contains("state.json.bad"), "{log}");
    assert!(!log.contains('\x1b'));
    assert!(state_of(&bench.state()).is_some());
}
