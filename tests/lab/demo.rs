//! The demo's concentrator against programs we did not write, or it and our probes could agree in the
//! same error; and the demo itself as its reader runs it: without rights and without a network.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Lab, Metrics, text, until};

const VPNPROBE: &str = env!("CARGO_BIN_EXE_vpnprobe");
/// A namespace with a loopback device and nothing else: every port is free there.
const VOID: &str = "void";
const USER: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// `vpnprobe demo` in the void.
struct Demo<'a> {
    lab: &'a Lab,
    child: Child,
    started: Instant,
}

impl<'a> Demo<'a> {
    fn start(lab: &'a Lab, through: &[&str], arguments: &[&str]) -> Self {
        // Where another user may read it.
        let program = lab.path("vpnprobe");
        if !program.exists() {
            std::fs::copy(VPNPROBE, &program).unwrap();
            std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        }
        let (out, log) =
            (File::create(lab.path("demo.out")).unwrap(), File::create(lab.path("demo.log")).unwrap());
        let namespace = lab.namespace(VOID);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace]).args(through).arg(program).arg("demo").args(arguments);
        command.stdin(Stdio::null()).stdout(out).stderr(log);
        Self { lab, started: Instant::now(), child: command.spawn().unwrap() }
    }

    /// Only the concentrator, on the ports of the standards, always well.
    fn concentrator(lab: &'a Lab, arguments: &[&str]) -> Self {
        let all = [&["--concentrator-only", "--standard-ports", "--story", "none"], arguments].concat();
        let demo = Self::start(lab, &[], &all);
        until("the concentrator answers", 10, || demo.said().contains("the concentrator answers"));
        demo
    }

    fn said(&self) -> String {
        self.lab.read("demo.out") + &self.lab.read("demo.log")
    }

    /// Runs a command line beside it.
    fn run(&self, words: &str) -> String {
        self.lab.run(VOID, words)
    }

    /// Its authority's certificate, as it shows it; the path of the file.
    fn authority(&self) -> String {
        let chain = self.run("openssl s_client -connect 127.0.0.1:443 -showcerts");
        let last = chain.rfind("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{chain}"));
        let pem = &chain[last..];
        let end = pem.find("-----END CERTIFICATE-----").unwrap() + "-----END CERTIFICATE-----\n".len();
        std::fs::write(self.lab.path("demo-ca.pem"), &pem[..end]).unwrap();
        self.lab.path("demo-ca.pem").display().to_string()
    }

    /// A scrape; an empty one as long as nothing listens.
    fn metrics(&self) -> Metrics {
        let scrape = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect("127.0.0.1:10069")?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: 127.0.0.1:10069\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        Metrics(self.lab.within(VOID, || scrape().unwrap_or_default()))
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Demo<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- demo\n{}", self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn has(output: &str, words: &[&str]) {
    for word in words {
        assert!(output.contains(word), "no {word:?} in:\n{output}");
    }
}

#[test]
fn ike_scan() {
    let lab = Lab::up();
    let demo = Demo::concentrator(&lab, &[]);
    let ask = |words: &str| demo.run(&format!("ike-scan {words} --sport=0 127.0.0.1"));
    let accepted = "--trans=(1=7,14=256,2=4,3=1,4=14)";
    has(
        &ask(accepted),
        &["Main Mode Handshake returned", "Hash=SHA2-256", "Dead Peer Detection v1.0", "XAUTH", "RFC 3947"],
    );
    has(&ask("--trans=1,1,1,1"), &["NO-PROPOSAL-CHOSEN"]);
    has(&ask("--aggressive --id=group"), &["AUTHENTICATION-FAILED"]);
    has(&ask(&format!("--nat-t {accepted}")), &["Main Mode Handshake returned"]);
    // Its default offer has the right suite, and a KE payload of group 2, which is refused.
    has(&ask("--ikev2"), &["INVALID_KE_PAYLOAD"]);
    has(
        &ask("--ikev2 --dhgroup=14"),
        &["IKEv2 SA_INIT Handshake returned", "Encr=AES_CBC", "DH_Group=14:modp2048"],
    );
    // That was the third half-open session of the address: as with strongSwan, the fourth needs a cookie.
    has(&ask("--ikev2 --dhgroup=14"), &["COOKIE"]);
}

/// strongSwan as a client: it computes with the public values it gets, so they must be real ones.
#[test]
fn strongswan() {
    let lab = Lab::up();
    let demo = Demo::concentrator(&lab, &[]);
    let folder = lab.path("initiator");
    std::fs::create_dir(&folder).unwrap();
    let here = folder.display();
    let vici = format!("unix://{here}/vici");
    let connection = |name: &str, version, port, proposals| {
        format!(
            "  {name} {{\n version = {version}\n remote_addrs = 127.0.0.1\n remote_port = {port}\n proposals = {proposals}\n \
             local {{\n auth = psk\n id = a\n }}\n remote {{\n auth = psk\n id = b\n }}\n children {{\n c {{\n }}\n }}\n }}\n"
        )
    };
    let connections = [
        connection("curve", 2, 4500, "aes256gcm16-prfsha384-ecp384"),
        connection("montgomery", 2, 4500, "aes256-sha256-x25519"),
        connection("main_mode", 1, 500, "aes256-sha256-modp2048"),
    ];
    let swanctl =
        format!("connections {{\n{}}}\nsecrets {{\n ike {{\n secret = x\n }}\n}}\n", connections.concat());
    std::fs::write(folder.join("swanctl.conf"), swanctl).unwrap();
    std::fs::write(
        folder.join("strongswan.conf"),
        format!(
            "charon-systemd {{\n load = random nonce openssl gcrypt kdf kernel-libipsec kernel-netlink socket-default vici\n \
             port = 0\n port_nat_t = 0\n plugins {{\n vici {{\n socket = {vici}\n }}\n }}\n}}\n"
        ),
    )
    .unwrap();
    // Copies, for the profiles of AppArmor know the installed paths only.
    let script = format!(
        "cd {here} && cp \"$(command -v charon-systemd)\" \"$(command -v swanctl)\" . && \
         export SWANCTL_DIR={here} STRONGSWAN_CONF={here}/strongswan.conf && \
         {{ timeout 30 ./charon-systemd >charon.log 2>&1 & }} && charon=$! && \
         for n in $(seq 50); do ./swanctl --stats --uri {vici} >/dev/null 2>&1 && break; sleep 0.1; done; \
         ./swanctl --load-all --uri {vici}; \
         for c in curve montgomery main_mode; do \
         timeout 10 ./swanctl --initiate --ike $c --timeout 1 --uri {vici}; done; kill $charon"
    );
    let output = lab.command(VOID, "sh").args(["-c", &script]).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    has(
        &said,
        &[
            "parsed IKE_SA_INIT response 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(CHDLESS_SUP) N(MULT_AUTH) V ]",
            "selected proposal: IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384",
            "selected proposal: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519",
            "generating IKE_AUTH request 1",
            "parsed ID_PROT response 0 [ SA V V V ]",
            "selected proposal: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
        ],
    );
    drop(demo);
}

#[test]
fn openvpn() {
    let lab = Lab::up();
    let key = lab.path("static.key").display().to_string();
    has(
        &(lab.run(VOID, &format!("openvpn --genkey secret {key}")) + &lab.read("static.key")),
        &["OpenVPN Static key V1"],
    );
    std::fs::write(lab.path("login"), "user\npassword\n").unwrap();
    let login = lab.path("login").display().to_string();
    for (server, client) in [
        (vec![], String::new()),
        (vec!["--openvpn-tls-crypt", &key], format!("--tls-crypt {key}")),
        (vec!["--openvpn-tls-auth", &key], format!("--tls-auth {key} 1")),
    ] {
        let demo = Demo::concentrator(&lab, &server);
        let authority = demo.authority();
        for proto in ["udp", "tcp-client"] {
            let log = demo.run(&format!(
                "timeout --preserve-status -s INT 20 openvpn --client --dev null --proto {proto} --remote 127.0.0.1 1194 \
                 --nobind --ca {authority} --auth-user-pass {login} --remote-cert-tls server \
                 --verify-x509-name demo.vpnprobe.test name --connect-retry-max 1 --verb 3 --disable-dco {client}"
            ));
            has(
                &log,
                &[
                    "TLS: Initial packet from",
                    "VERIFY OK: depth=0, CN=demo.vpnprobe.test",
                    "Control Channel: TLSv1.3",
                    "Peer Connection Initiated",
                    "AUTH: Received control message: AUTH_FAILED",
                ],
            );
        }
        demo.stop();
    }
}

#[test]
fn xl2tpd() {
    let lab = Lab::up();
    let demo = Demo::concentrator(&lab, &[]);
    let path = |file: &str| lab.path(file).display().to_string();
    let (config, secrets, control) = (path("lac.conf"), path("lac.secrets"), path("lac.control"));
    std::fs::write(
        &config,
        "[global]\nlisten-addr = 127.0.0.2\ndebug avp = yes\n[lac demo]\nlns = 127.0.0.1\nname = client\n\
         pppoptfile = /dev/null\nautodial = yes\n",
    )
    .unwrap();
    std::fs::write(&secrets, "").unwrap();
    let log = demo.run(&format!(
        "timeout --preserve-status 6 xl2tpd -D -c {config} -s {secrets} -p {} -C {control}",
        path("lac.pid")
    ));
    has(
        &log,
        &[
            "peer reports hostname 'demo.vpnprobe.test'",
            "Connection established to 127.0.0.1, 1701",
            // The call is refused in the protocol, and the connection then closed by the client.
            "Call-Disconnect-Notify",
        ],
    );
}

#[test]
fn openssl() {
    let lab = Lab::up();
    let demo = Demo::concentrator(&lab, &[]);
    let authority = demo.authority();
    let ask = |more: &str| {
        demo.run(&format!(
            "openssl s_client -connect 127.0.0.1:443 -servername demo.vpnprobe.test -CAfile {authority} {more}"
        ))
    };
    has(&ask("-verify_hostname demo.vpnprobe.test"), &["Verify return code: 0 (ok)", "TLSv1.3"]);
    has(&ask("-verify_hostname vpn.example.test"), &["ostname mismatch"]);
    has(&ask("-tls1_2"), &["Verify return code: 0 (ok)", "TLSv1.2"]);
    let request = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -connect 127.0.0.1:443 -CAfile {authority}"
    );
    let page = lab.command(VOID, "sh").args(["-c", &request]).output().unwrap();
    let page = text(&page.stdout);
    has(&page, &["HTTP/1.1 200 OK", "The concentrator of the vpnprobe demo"]);
}

#[test]
fn dig() {
    let lab = Lab::up();
    let demo = Demo::concentrator(&lab, &[]);
    for (question, said) in [
        ("www.demo.vpnprobe.test A", &["status: NOERROR", "192.0.2.80", "flags: qr aa"][..]),
        ("www.demo.vpnprobe.test A +noedns", &["status: NOERROR", "192.0.2.80"]),
        ("WWW.Demo.vpnprobe.TEST AAAA", &["status: NOERROR", "2001:db8::80"]),
        ("demo.vpnprobe.test NS +tcp", &["status: NOERROR", "ns.demo.vpnprobe.test.", "(TCP)"]),
        ("demo.vpnprobe.test TXT", &["vpnprobe demo"]),
        ("ns.demo.vpnprobe.test TXT", &["status: NOERROR", "ANSWER: 0", "SOA"]),
        ("nothing.demo.vpnprobe.test A", &["status: NXDOMAIN", "SOA"]),
        ("example.com A", &["status: REFUSED"]),
        ("large.demo.vpnprobe.test TXT +bufsize=512 +ignore", &["flags: qr aa tc", "ANSWER: 0"]),
        ("large.demo.vpnprobe.test TXT", &["retrying in TCP mode", "ANSWER: 1"]),
    ] {
        let output = demo.run(&format!("dig @127.0.0.1 +tries=1 +time=2 {question}"));
        has(&output, said);
        assert!(!output.contains("malformed") && !output.contains("Warning"), "{output}");
    }
}

/// The README's promise: within 30 s of the start, whoever runs it, every probe has been answered; also
/// when ports are taken, and then that is said.
#[test]
fn every_probe_is_answered_without_rights_or_network() {
    let lab = Lab::up();
    let taken = lab.within(VOID, || UdpSocket::bind("127.0.0.1:10500").unwrap());
    let demo = Demo::start(&lab, USER, &[]);
    let all = ["ike", "ike_natt", "l2tp", "openvpn_udp", "openvpn_tcp", "tls", "dns"];
    let answered = |metrics: &Metrics, probe: &str| {
        let labels = [format!("probe=\"{probe}\"")];
        metrics.sum("vpnprobe_probe_rtt_seconds_count", &[&labels[0]]).unwrap_or(0.0) >= 1.0
    };
    until("every probe is answered", 30, || {
        let metrics = demo.metrics();
        all.iter().all(|probe| answered(&metrics, probe))
    });
    assert!(demo.started.elapsed() < Duration::from_secs(30));
    has(
        &demo.said(),
        &["port 10500 (udp) is taken: ike is on ", "http://127.0.0.1:10069/metrics", "00:00 all is well"],
    );
    drop(taken);
    demo.stop();
    let left =
        text(&Command::new("ip").args(["netns", "pids", &lab.namespace(VOID)]).output().unwrap().stdout);
    assert_eq!(left.trim(), "", "something is left behind");
}
