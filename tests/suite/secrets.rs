//! No secret leaves: canaries are planted wherever the program takes a secret, and looked for in all that
//! it says and writes, in any spelling that a program would use.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use vpnprobe::config::Config;
use vpnprobe::demo::concentrator::{Concentrator, Options, Ports};
use vpnprobe::demo::story::Story;
use vpnprobe::entropy::Generator;
use vpnprobe::export::client::Access;
use vpnprobe::net::clock::SystemClock;
use vpnprobe::wire::openvpn::Keys;

use crate::service::{Daemon, certificate};

const PASSWORD: &str = "canary-Fw7pQ2xk9LbT";
const PSK: &str = "canary psk \u{9375} 4mZs8RtYvB";

/// Something that nobody may see, in all its spellings.
struct Canary {
    name: &'static str,
    needles: Vec<Vec<u8>>,
}

impl Canary {
    /// Every stretch of `LENGTH` bytes of it, as bytes, hexadecimal, base64 and a list of numbers.
    fn new(name: &'static str, secret: &[u8]) -> Self {
        const LENGTH: usize = 9;
        assert!(secret.len() >= LENGTH, "{name}");
        let mut needles = Vec::new();
        for piece in secret.windows(LENGTH) {
            let hex = |upper: bool| -> String {
                let digits =
                    piece.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") });
                digits.collect()
            };
            let list = format!("{piece:?}");
            let spaced: Vec<_> = piece.iter().map(|b| format!("{b:02x}")).collect();
            needles.extend([
                piece.to_vec(),
                hex(false).into_bytes(),
                hex(true).into_bytes(),
                spaced.join(" ").into_bytes(),
                spaced.join(":").into_bytes(),
                BASE64_STANDARD.encode(piece).into_bytes(),
                list.trim_matches(['[', ']']).as_bytes().to_vec(),
            ]);
        }
        Self { name, needles }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        // By their first two bytes, and then in full: there are thousands of them.
        let mut begins = vec![Vec::new(); 1 << 16];
        for needle in &self.needles {
            begins[usize::from(needle[0]) << 8 | usize::from(needle[1])].push(needle);
        }
        (0..text.len().saturating_sub(1)).any(|at| {
            let here = &begins[usize::from(text[at]) << 8 | usize::from(text[at + 1])];
            here.iter().any(|needle| text[at..].starts_with(needle))
        })
    }
}

struct Cage {
    folder: tempfile::TempDir,
    canaries: Vec<Canary>,
}

/// Bytes that nothing else has by chance.
fn bytes<const N: usize>(seed: u32) -> [u8; N] {
    let mut state = seed;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
}

fn static_key(key: &[u8]) -> String {
    let lines: Vec<String> =
        key.chunks(16).map(|line| line.iter().map(|b| format!("{b:02x}")).collect()).collect();
    let (begin, end) = ("-----BEGIN OpenVPN Static key V1-----", "-----END OpenVPN Static key V1-----");
    format!("{begin}\n{}\n{end}\n", lines.join("\n"))
}

impl Cage {
    fn new() -> Self {
        let mut cage = Self { folder: tempfile::tempdir().unwrap(), canaries: Vec::new() };
        cage.plant("pre-shared key", "hq.psk", PSK.as_bytes(), PSK);
        let key: [u8; 256] = bytes(1);
        cage.plant("tls-crypt", "tc.key", &key, &static_key(&key));
        let key: [u8; 256] = bytes(2);
        cage.plant("tls-auth", "ta.key", &key, &static_key(&key));
        for (name, file, seed) in
            [("private key of WireGuard", "wg.key", 3), ("preshared key of WireGuard", "wg.psk", 4)]
        {
            let key: [u8; 32] = bytes(seed);
            cage.plant(name, file, &key, &BASE64_STANDARD.encode(key));
        }
        cage.plant("password", "password", PASSWORD.as_bytes(), PASSWORD);
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let web = format!(
            "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{ops: '{hash}'}}\n"
        );
        // The salt and the hash proper: `$2b$04$` is no secret.
        cage.plant("hash of the password", "web.yml", &hash.as_bytes()[7..], &web);
        certificate(cage.path(), "server");
        let pem = fs::read_to_string(cage.at("server.key")).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64_STANDARD.decode(body).unwrap();
        // What comes before and after is the same for every key of the curve: RFC 5915, 3; RFC 5958, 2.
        cage.canaries.push(Canary::new("key of the HTTP side", &der[36..68]));
        cage
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn plant(&mut self, name: &'static str, file: &str, secret: &[u8], text: &str) {
        self.write(file, text);
        self.canaries.push(Canary::new(name, secret));
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(file), text).unwrap();
        fs::set_permissions(self.at(file), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// That nothing is in there.
    fn look(&self, whence: &str, text: impl AsRef<[u8]>) {
        for canary in &self.canaries {
            let seen = canary.is_in(text.as_ref());
            assert!(!seen, "{} is in {whence}:\n{}", canary.name, String::from_utf8_lossy(text.as_ref()));
        }
    }

    /// The same for what a command says.
    fn look_at(&self, what: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["30", env!("CARGO_BIN_EXE_vpnprobe")]).args(what).stdin(Stdio::null());
        let said = command.current_dir(self.path()).env("RUST_LOG", "trace").output().unwrap();
        self.look(&what.join(" "), [&said.stdout[..], &said.stderr[..]].concat());
        said
    }
}

/// A search that finds nothing is worth what it would find.
#[test]
fn a_canary_is_seen_in_any_spelling() {
    let key: [u8; 32] = bytes(3);
    let canary = Canary::new("key", &key);
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    for before in 0..4 {
        let before = "x".repeat(before);
        let text = |text: String| format!("{before}{text}").into_bytes();
        for seen in [
            [before.as_bytes(), &key].concat(),
            text(hex.clone()),
            text(hex.to_uppercase()),
            text(BASE64_STANDARD.encode(key)),
            text(BASE64_STANDARD.encode([before.as_bytes(), &key].concat())),
            text(format!("{key:?}")),
            text(format!("{:?}", &key[10..20])),
        ] {
            assert!(canary.is_in(&seen), "{}", String::from_utf8_lossy(&seen));
        }
    }
    assert!(!canary.is_in(&bytes::<4096>(9)));
}

#[test]
fn no_secret_is_told() {
    let cage = Cage::new();
    let keys = Keys::tls_crypt(&fs::read_to_string(cage.at("tc.key")).unwrap()).unwrap();
    let options = Options { ports: Ports::ANY, story: Story::None, keys, ..Options::default() };
    let entropy = Box::new(Generator::from_os());
    let concentrator = Concentrator::start(&options, SystemClock::start(), Duration::ZERO, entropy).unwrap();
    let ports = concentrator.ports();
    cage.write(
        "vpnprobe.yml",
        format!(
            "state_dir: state\n\
             defaults: {{interval: 300ms, timeout: 200ms, full_interval: 1m}}\n\
             budget: {{packets_per_second: 1000, packets_burst: 1000, openvpn_per_minute: 600, tcp_per_minute: 600}}\n\
             targets:\n  hq:\n    address: 127.0.0.1\n    \
             session: {{psk_file: hq.psk, local_id: probe.example.com}}\n    probes:\n      \
             ike: {{port: {}}}\n      \
             openvpn_udp: {{port: {}, interval: 300ms, openvpn: {{tls_crypt_file: tc.key}}}}\n      \
             openvpn_tcp: {{port: {}, interval: 300ms, openvpn: {{tls_auth_file: ta.key, key_direction: 1}}}}\n      \
             wireguard: {{port: {}, interval: 5s, wireguard: {{private_key_file: wg.key, preshared_key_file: wg.psk, public_key: {}}}}}\n",
            ports.ike,
            ports.openvpn_udp,
            ports.openvpn_tcp,
            ports.ike,
            BASE64_STANDARD.encode(bytes::<32>(7))
        ),
    );
    let config = Config::load(&cage.at("vpnprobe.yml"), []).unwrap_or_else(|problems| panic!("{problems}"));
    cage.look("Debug of the configuration", format!("{config:?} {config:#?}"));

    for format in ["text", "json"] {
        let file = |name: &str| cage.at(name).to_str().unwrap().to_owned();
        let (web, journal) = (file("web.yml"), file("journal"));
        let more =
            ["--web.config.file", &web, "--journal", &journal, "--log.level=debug", "--log.format", format];
        let daemon = Daemon::start(cage.path(), &more);
        let access = Access {
            ca_file: Some(cage.at("server.crt")),
            login: Some(("ops".to_owned(), cage.at("password"))),
        };
        let get =
            |path: &str| daemon.get("https", &access, path).unwrap_or_else(|why| panic!("{path}: {why}"));
        // Until the one answers who has our key, and the other has been asked.
        for turn in 0.. {
            let metrics = get("/metrics");
            let up = |line: &str| {
                line.contains("probe=\"openvpn_udp\"")
                    && line.starts_with("vpnprobe_probe_up{")
                    && line.ends_with(" 1")
            };
            if metrics.lines().any(up) && metrics.contains("probe=\"wireguard\"") {
                break;
            }
            assert!(turn < 300, "{metrics}\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        for path in [
            "/metrics",
            "/",
            "/config",
            "/api/v1/status",
            "/api/v1/path",
            "/api/v1/incidents",
            "/sd",
            "/probe?target=hq&module=openvpn_udp",
            "/probe?target=hq&module=openvpn_tcp",
            "/probe?target=hq&module=wireguard",
        ] {
            match daemon.get("https", &access, path) {
                Ok(text) | Err(text) => cage.look(path, text),
            }
        }
        let url = format!("https://localhost:{}", daemon.port());
        let (ca, password) = (file("server.crt"), file("password"));
        let login =
            ["--url", &url, "--url.ca-file", &ca, "--url.user", "ops", "--url.password-file", &password];
        let told = cage.look_at(&[&["incidents", "list"][..], &login].concat());
        assert!(told.status.success(), "{told:?}");
        cage.look_at(&[&["ready", "--people", "3"][..], &login].concat());
        // Reloads of what is right, and of what is not.
        let reload = || {
            let told = |log: &str| log.matches("reloaded: ").count() + log.matches("tc.key").count();
            let before = told(&daemon.log());
            nix::sys::signal::kill(daemon.pid(), nix::sys::signal::Signal::SIGHUP).unwrap();
            // A loaded machine may need long.
            for _ in 0..100 {
                std::thread::sleep(Duration::from_millis(300));
                if told(&daemon.log()) > before {
                    break;
                }
            }
        };
        let right = fs::read(cage.at("tc.key")).unwrap();
        reload();
        cage.write("tc.key", &right[..right.len() / 2]);
        reload();
        cage.write("tc.key", right);
        assert!(daemon.log().contains("tc.key"), "the reload was refused: {}", daemon.log());
        // No core of it can have one.
        let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"]);
        cage.look("the log", daemon.log());
        drop(daemon);
    }
    for folder in ["state", "journal"] {
        for entry in fs::read_dir(cage.at(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                cage.look(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    for what in [
        &["config", "check"][..],
        &["config", "show"],
        &["check", "--target", "hq"],
        &["check", "--target", "hq", "--format", "json"],
        &["check", "--target", "hq", "--ticket"],
    ] {
        let level = ["--log.level", "debug", "--config.file", "vpnprobe.yml"];
        cage.look_at(&[what, &level].concat());
    }
    concentrator.stop();
}

/// What is wrong with a secret is said without a word of it.
#[test]
fn a_broken_secret_is_not_quoted() {
    let cage = Cage::new();
    let public = BASE64_STANDARD.encode(bytes::<32>(7));
    let probe = |rest: &str| format!("targets: {{hq: {{address: 127.0.0.1, {rest}}}}}\n");
    for (file, config) in [
        ("hq.psk", probe("vpn: [ipsec], session: {psk_file: hq.psk, local_id: a}")),
        ("tc.key", probe("probes: {openvpn_udp: {openvpn: {tls_crypt_file: tc.key}}}")),
        ("tc.key", probe("probes: {openvpn_udp: {openvpn: {tls_crypt_v2_file: tc.key}}}")),
        ("ta.key", probe("probes: {openvpn_udp: {openvpn: {tls_auth_file: ta.key}}}")),
        (
            "wg.key",
            probe(&format!(
                "probes: {{wireguard: {{wireguard: {{private_key_file: wg.key, public_key: {public}}}}}}}"
            )),
        ),
        (
            "wg.psk",
            probe(&format!(
                "probes: {{wireguard: {{wireguard: {{private_key_file: wg.key, preshared_key_file: wg.psk, public_key: {public}}}}}}}"
            )),
        ),
        ("hq.psk", probe("probes: {tls: {tls: {ca_file: hq.psk}}}")),
        ("server.key", probe("probes: {tls: {tls: {ca_file: server.key}}}")),
    ] {
        cage.write("vpnprobe.yml", config);
        let right = fs::read(cage.at(file)).unwrap();
        let half = right.len() / 2;
        let turned: Vec<u8> = right.iter().rev().copied().collect();
        let text = String::from_utf8_lossy(&right).into_owned();
        for broken in [
            right.clone(),
            right[..half].to_vec(),
            right[half..].to_vec(),
            [&right[..], &right[..]].concat(),
            turned,
            [b"\xff\xfe", &right[..]].concat(),
            text.replacen('a', "@", 1).into_bytes(),
            text.replace('\n', " ").into_bytes(),
            format!("psk = \"{text}\"").into_bytes(),
            Vec::new(),
        ] {
            cage.write(file, broken);
            cage.look_at(&["config", "check", "--config.file", "vpnprobe.yml", "--log.level", "debug"]);
        }
        cage.write(file, right);
    }
    // Put where its file should be named, or where nothing should be.
    let key = BASE64_STANDARD.encode(bytes::<32>(3));
    for config in [
        probe(&format!("vpn: [ipsec], session: {{psk: '{PSK}', local_id: a}}")),
        probe(&format!("probes: {{wireguard: {{wireguard: {{private_key: {key}, public_key: {public}}}}}}}")),
        probe(&format!("password: {PASSWORD}")),
    ] {
        cage.write("vpnprobe.yml", config);
        let said = cage.look_at(&["config", "check", "--config.file", "vpnprobe.yml"]);
        assert!(!said.status.success(), "{said:?}");
    }
    cage.write("vpnprobe.yml", probe("probes: {icmp: {}}"));
    let web = fs::read_to_string(cage.at("web.yml")).unwrap();
    for broken in [
        web.replace("$2b$04$", "$2b$99$"),
        web.replace('}', ""),
        web.replace("ops:", "ops"),
        web.replace("basic_auth_users", "basic_auth_user"),
        format!("basic_auth_users: {{ops: {PASSWORD}}}"),
        format!("basic_auth_users: [{PASSWORD}]"),
        format!("basic_auth_users: {PASSWORD}"),
    ] {
        cage.write("web.yml", &broken);
        let said = cage.look_at(&[
            "serve",
            "--config.file",
            "vpnprobe.yml",
            "--web.config.file",
            "web.yml",
            "--web.listen-address",
            "127.0.0.1:0",
        ]);
        assert_eq!(said.status.code(), Some(2), "{broken}: {said:?}");
    }
}
