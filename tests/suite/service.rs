//! The program as a service: who is answered, and what is left of its rights. Every daemon here runs in
//! its sandbox, as by default.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::unistd::Pid;
use vpnprobe::export::client::{self, Access, Url};
use vpnprobe::export::http::Guard;
use vpnprobe::net::sandbox;

const VPNPROBE: &str = env!("CARGO_BIN_EXE_vpnprobe");
/// bcrypt of "right", cost 4.
pub const RIGHT: &str = "$2b$04$cByGL0VMgM.VOy9xldCFMuiLd6DjvCcNirUHmU7NPIG/WQfOKYWpK";

/// A folder with a configuration, and a certificate and key in `name.crt` and `name.key`.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = "targets: {here: {address: 127.0.0.1, probes: {icmp: {interval: 100ms}}}}\n";
    fs::write(folder.path().join("vpnprobe.yml"), config).unwrap();
    certificate(folder.path(), "server");
    folder
}

pub fn certificate(folder: &Path, name: &str) {
    let (crt, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(crt)
        .output()
        .expect("openssl is missing; Debian has it in the package openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A daemon in a folder, whose `vpnprobe.yml` it runs with.
pub struct Daemon {
    pub child: Child,
    pub port: u16,
    log: PathBuf,
}

impl Daemon {
    pub fn start(folder: &Path, more: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = folder.join("log");
        let child = Command::new(VPNPROBE)
            .args(["serve", "--config.file"])
            .arg(folder.join("vpnprobe.yml"))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, port, log };
        for _ in 0..600 {
            if daemon.log().contains("listening on") {
                return daemon;
            }
            assert!(daemon.child.try_wait().unwrap().is_none(), "{}", daemon.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("does not listen: {}", daemon.log());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn get(&self, scheme: &str, access: &Access, path: &str) -> Result<String, String> {
        let url: Url = format!("{scheme}://localhost:{}", self.port).parse().unwrap();
        client::get(&url, access, path).map(|body| String::from_utf8(body).unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["20", VPNPROBE, "serve", "--config.file"]).arg(folder.join("vpnprobe.yml"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The files of the corpus: what promtool takes is taken, what it refuses is refused.
#[test]
fn a_web_config_is_judged_as_promtool_does() {
    let folder = folder();
    let tls = "tls_server_config: {cert_file: server.crt, key_file: server.key";
    let user = format!("basic_auth_users: {{a: '{RIGHT}'}}");
    let mut corpus: Vec<String> = [
        "",
        "# nothing\n",
        "{}",
        "tls_server_config:\n",
        "basic_auth_users: {}",
        "http_server_config: {http2: false}",
        "http_server_config: {http2: yes}",
        "http_server_config: {http2: maybe}",
        "http_server_config: {headers: {X-Frame-Options: deny}}",
        "http_server_config: {headers: {X-Frame-Options: sameorigin, X-XSS-Protection: anything}}",
        "http_server_config: {headers: {X-Frame-Options: allow}}",
        "http_server_config: {headers: {X-Content-Type-Options: nosniff}}",
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
        "http_server_config: {headers: {Strict-Transport-Security: max-age=1, Content-Security-Policy: x}}",
        "http_server_config: {headers: {X-Other: a}}",
        "http_server_config: {headers: {x-frame-options: deny}}",
        "http_server_config: {header: {}}",
        "hey: hallo",
        "just words",
        "[1, 2]",
        "a: b: c",
        "tls_server_config: {cert_file: server.crt}",
        "tls_server_config: {key_file: server.key}",
        "tls_server_config: {cert_file: '', key_file: ''}",
        "tls_server_config: {cert_file: '', key_file: server.key}",
        "tls_server_config: {cert_file: none.crt, key_file: server.key}",
        "tls_server_config: {cert_file: server.crt, key_file: none.key}",
        "tls_server_config: {cert_file: server.key, key_file: server.key}",
        "tls_server_config: {cert_file: server.crt, key_file: other.key}",
        "tls_server_config: {cert: x, key: y}",
        "tls_server_config: {client_auth_type: RequireAnyClientCert}",
        "tls_server_config: {min_version: TLS12}",
        "tls_server_config: {min_version: TLS9}",
        "basic_auth_users: {a: short}",
        "basic_auth_users: {a: }",
        "basic_auth_users: {a: 'not a hash, but it is as long as a hash of bcrypt is, at least'}",
        "basic_auth_users: {a: '$3y$10$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefg'}",
        "basic_auth_users: {a: '$2y$03$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefg'}",
        "basic_auth_users: {a: '$2y$32$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefg'}",
        "basic_auth_users: [a]",
        "rate_limit: {burst: 1}",
    ]
    .map(str::to_owned)
    .to_vec();
    for more in [
        "",
        ", client_auth_type: NoClientCert",
        ", client_auth_type: RequestClientCert",
        ", client_auth_type: RequireClientCert",
        ", client_auth_type: RequireAnyClientCert, client_ca_file: server.crt",
        ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: server.crt",
        ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.crt",
        ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: none.crt",
        ", client_auth_type: Sometimes",
        ", client_ca_file: server.crt",
        ", client_auth_type: NoClientCert, client_ca_file: server.crt",
        ", min_version: TLS13",
        ", min_version: TLS10",
        ", max_version: TLS12",
        ", min_version: 1.2",
        ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
        ", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_AES_128_GCM_SHA256]",
        ", cipher_suites: [TLS_NOTHING]",
        ", cipher_suites: TLS_AES_128_GCM_SHA256",
        ", curve_preferences: [X25519, CurveP256, CurveP521]",
        ", curve_preferences: [CurveP257]",
        ", prefer_server_cipher_suites: false",
        ", prefer_server_cipher_suites: perhaps",
        ", cert_file: server.crt",
        ", ocsp: true",
    ] {
        corpus.push(format!("{tls}{more}}}"));
    }
    corpus.extend([user.clone(), format!("{tls}}}\n{user}"), format!("{user}\n{user}")]);
    certificate(folder.path(), "other");
    let mut taken = 0;
    for text in &corpus {
        let file = folder.path().join("web.yml");
        fs::write(&file, text).unwrap();
        let promtool = Command::new("promtool").args(["check", "web-config"]).arg(&file).output();
        let promtool = promtool.expect("promtool is missing; Debian has it in the package prometheus");
        let ours = Guard::from_file(&file).map(|(_, warnings)| warnings);
        assert_eq!(
            promtool.status.success(),
            ours.is_ok(),
            "{text}\n{}\n{ours:?}",
            String::from_utf8_lossy(&promtool.stderr)
        );
        if let Err(problem) = &ours {
            assert!(problem.starts_with(&file.display().to_string()), "{problem}");
        }
        taken += usize::from(ours.is_ok());
    }
    assert!(taken > 20 && corpus.len() - taken > 20, "{taken} of {}", corpus.len());
}

#[test]
fn the_example_is_good() {
    let folder = folder();
    fs::copy(folder.path().join("server.crt"), folder.path().join("vpnprobe.crt")).unwrap();
    fs::copy(folder.path().join("server.key"), folder.path().join("vpnprobe.key")).unwrap();
    let file = folder.path().join("web.yml");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/config/web.yml"), &file).unwrap();
    let (guard, warnings) = Guard::from_file(&file).unwrap();
    assert!(guard.protects() && warnings.is_empty(), "{warnings:?}");
}

#[test]
fn behind_tls_and_a_password() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let text = format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{a: '{RIGHT}'}}\n\
         http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    );
    fs::write(at("web.yml"), text).unwrap();
    let daemon = Daemon::start(folder.path(), &["--web.config.file", at("web.yml").to_str().unwrap()]);
    fs::write(at("right"), "right\n").unwrap();
    fs::write(at("wrong"), "wrong\n").unwrap();
    let login = |user: &str, file: &str| Access {
        ca_file: Some(at("server.crt")),
        login: Some((user.to_owned(), at(file))),
    };
    for path in ["/metrics", "/-/healthy", "/", "/config"] {
        for _ in 0..2 {
            daemon.get("https", &login("a", "right"), path).unwrap();
        }
        for nobody in
            [login("a", "wrong"), login("b", "right"), Access { login: None, ..login("a", "right") }]
        {
            let refused = daemon.get("https", &nobody, path).unwrap_err();
            assert!(refused.contains("asks for a name and a password"), "{refused}");
        }
    }
    daemon.get("http", &login("a", "right"), "/metrics").unwrap_err();
    let unknown = Access { ca_file: None, ..login("a", "right") };
    assert!(daemon.get("https", &unknown, "/metrics").unwrap_err().contains("not who it should be"));

    // A renewed certificate, with no reload.
    let old = fs::read(at("server.crt")).unwrap();
    certificate(folder.path(), "server");
    fs::write(at("old.crt"), old).unwrap();
    for _ in 0..100 {
        if daemon.get("https", &login("a", "right"), "/metrics").is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.get("https", &login("a", "right"), "/metrics").unwrap();
    daemon.get("https", &Access { ca_file: Some(at("old.crt")), ..login("a", "right") }, "/").unwrap_err();

    // A broken file changes nothing.
    fs::write(at("web.yml"), "basic_auth_users: {a: x}").unwrap();
    for _ in 0..100 {
        daemon.get("https", &login("a", "right"), "/metrics").unwrap();
        if daemon.log().contains("the old settings stay in force") {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{}", daemon.log());
}

#[test]
fn beyond_this_host_only_with_tls_and_passwords() {
    let folder = folder();
    let file = folder.path().join("web.yml");
    let web = ["--web.config.file", file.to_str().unwrap()];
    for (text, address) in [
        (None, "0.0.0.0:0"),
        (None, ":0"),
        (None, "[::]:0"),
        (None, "192.0.2.1:0"),
        (Some("tls_server_config: {cert_file: server.crt, key_file: server.key}".to_owned()), "0.0.0.0:0"),
        (Some(format!("basic_auth_users: {{a: '{RIGHT}'}}")), "0.0.0.0:0"),
    ] {
        let mut arguments = vec!["--web.listen-address=127.0.0.1:0".to_owned()];
        arguments.push(format!("--web.listen-address={address}"));
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
            arguments.extend(web.map(str::to_owned));
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let said = serve(folder.path(), &arguments);
        let text = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(2), "{text}");
        assert!(text.contains("will not listen on") && text.contains("--web.allow-unprotected"), "{text}");
    }
    drop(Daemon::start(folder.path(), &["--web.listen-address=0.0.0.0:0", "--web.allow-unprotected"]));
}

/// Also of root, as which the tests run, nothing is left but what the sockets can do.
#[test]
fn rights_are_given_back() {
    let folder = folder();
    let daemon = Daemon::start(folder.path(), &[]);
    let pid = daemon.child.id();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["CapInh:\t0", "CapPrm:\t0", "CapEff:\t0", "CapAmb:\t0", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            let found = status.lines().find(|found| found.starts_with(&line[..7])).unwrap();
            let found = found.replace("0000000000000000", "0");
            assert_eq!(found, line, "{status}");
        }
    }
    assert!(daemon.log().contains("rights: all capabilities are given back"), "{}", daemon.log());
    // Its ICMP goes on.
    let answered = |line: &str| line.starts_with("vpnprobe_probe_up{") && line.ends_with(" 1");
    for _ in 0..600 {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        if answer.lines().any(answered) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no ping is answered: {}", daemon.log());
}

/// The same process image again, this time to be locked in.
#[test]
fn what_is_locked_out_stays_out() {
    const INSIDE: &str = "VPNPROBE_TEST_INSIDE";
    if let Some(folder) = std::env::var_os(INSIDE) {
        let folder = PathBuf::from(folder);
        let paths = sandbox::Paths { read: Vec::new(), write: vec![folder.join("ours")], namespaces: false };
        let held = sandbox::enter(&paths).unwrap();
        assert!(held.calls && held.files.is_some(), "{held:?}");
        fs::write(folder.join("ours/file"), "a").unwrap();
        fs::rename(folder.join("ours/file"), folder.join("ours/other")).unwrap();
        assert_eq!(fs::read_to_string(folder.join("ours/other")).unwrap(), "a");
        assert!(!fs::read_to_string("/etc/passwd").unwrap().is_empty());
        for outside in [fs::read(folder.join("secret")), fs::read("/bin/sh")] {
            assert_eq!(outside.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        }
        fs::write(folder.join("new"), "a").unwrap_err();
        fs::write("/etc/vpnprobe-test", "a").unwrap_err();
        // A packet socket: not a family of ours.
        let packets = socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::DGRAM, None);
        assert_eq!(packets.unwrap_err().raw_os_error(), Some(38)); // ENOSYS
        TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        println!("all held");
        // Does not come back, neither as that program nor as this one.
        panic!("{}", Command::new("/bin/true").exec());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("ours")).unwrap();
    fs::write(folder.path().join("secret"), "a").unwrap();
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "service::what_is_locked_out_stays_out", "--nocapture", "--test-threads=1"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&inside.stdout) + String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.signal() == Some(31) && text.contains("all held"), "{text}"); // SIGSYS
}

const SANDBOXED: &str = "VPNPROBE_TEST_SANDBOXED";

/// Locks the engine of a test in, if this is the run of the tests that is to be so.
pub fn enter_if_told() {
    if std::env::var_os(SANDBOXED).is_some() {
        let temporary = std::env::temp_dir();
        let paths =
            sandbox::Paths { read: vec![temporary.clone()], write: vec![temporary], namespaces: false };
        let held = sandbox::enter(&paths).unwrap();
        assert!(held.calls && held.files.is_some(), "{held:?}");
        println!("locked in");
    }
}

/// All tests of the engine again, each of them locked in.
#[test]
fn the_engine_works_when_locked_in() {
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["engine::", "--nocapture"])
        .env(SANDBOXED, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&inside.stdout) + String::from_utf8_lossy(&inside.stderr);
    let said = |line: &&str| line.starts_with("test engine::") && !line.contains("has been running");
    let tests = text.lines().filter(said).count();
    assert!(inside.status.success() && tests > 5 && text.matches("locked in").count() >= tests, "{text}");
}
