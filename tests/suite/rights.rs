//! What the program says of its rights at the start, when it has none: what it may do, what it may not, and
//! the command that would allow it.

use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};

/// The daemon without any capability: also root has none when nothing is left in the bounding set.
fn powerless(config: &str) -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vpnprobe.yml"), config).unwrap();
    let program = env!("CARGO_BIN_EXE_vpnprobe");
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(["serve", "--web.listen-address=127.0.0.1:0", "--config.file"]);
    command.arg(folder.path().join("vpnprobe.yml")).stdin(Stdio::null());
    (folder, command)
}

#[test]
fn a_way_out_that_needs_a_right_is_refused_with_the_command() {
    for (egress, why, right, drop_in, command) in [
        (
            "mark: 7",
            "mark needs",
            "CAP_NET_ADMIN",
            "systemd/mark.conf",
            "setcap cap_net_raw,cap_net_admin+ep",
        ),
        (
            "namespace: none",
            "namespace needs",
            "CAP_SYS_ADMIN",
            "systemd/namespace.conf",
            "setcap cap_net_raw,cap_sys_admin+ep",
        ),
    ] {
        let config = format!(
            "egress: {{other: {{{egress}}}}}\ntargets: {{hq: {{address: 127.0.0.1, egress: [other], probes: {{dns: {{}}}}}}}}\n"
        );
        let (_folder, mut daemon) = powerless(&config);
        let said = daemon.output().expect("setpriv is missing; Debian has it in the package util-linux");
        let text = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(2), "{text}");
        for part in ["egress.other", why, right, drop_in, command] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        let file = format!("{}/{drop_in}", env!("CARGO_MANIFEST_DIR"));
        assert!(
            fs::read_to_string(&file).unwrap().contains(&format!("AmbientCapabilities={right}")),
            "{file}"
        );
    }
}

/// Everything else goes on without, and what is missing for ping is said.
#[test]
fn what_is_not_allowed_is_said_with_the_command() {
    let (_folder, mut daemon) =
        powerless("targets: {hq: {address: 127.0.0.1, probes: {icmp: {}, dns: {}}}}\n");
    let child = daemon.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut child = Ended(child);
    let (mut log, mut byte) = (Vec::new(), [0; 512]);
    let mut stderr = child.0.stderr.take().unwrap();
    while !String::from_utf8_lossy(&log).contains("listening on") {
        let length = stderr.read(&mut byte).unwrap();
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&log));
        log.extend(&byte[..length]);
    }
    let log = String::from_utf8(log).unwrap();
    let icmp = log.lines().find(|line| line.contains("ICMP: ")).unwrap();
    assert!(icmp.contains("datagram sockets") || icmp.contains("not allowed"), "{log}");
    assert!(icmp.contains("setcap cap_net_raw+ep \"$(command -v vpnprobe)\""), "{log}");
    for part in ["rights: all capabilities are given back", "files: may read", "system calls: filtered"] {
        assert!(log.contains(part), "{part} is not in: {log}");
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
