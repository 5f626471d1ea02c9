//! The systemd unit, judged by `systemd-analyze`.

use std::process::Command;

/// 14 is an exposure of 1.4, `OK`. A missing `systemd-analyze` is a failure: `tests/run.sh` installs it.
#[test]
fn the_unit_is_hardened() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/vpnprobe.service");
    let said = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=14", unit])
        .output()
        .expect("systemd-analyze is missing; Debian has it in the package systemd");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}

/// All that `verify` may find is that the program is not installed here.
#[test]
fn the_unit_is_understood() {
    let unit =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/vpnprobe.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/vpnprobe serve "));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vpnprobe.service");
    std::fs::write(&file, unit.replace("ExecStart=/usr/bin/vpnprobe ", "ExecStart=/bin/sh ")).unwrap();
    let said = Command::new("systemd-analyze").arg("verify").arg(&file).output();
    let said = said.expect("systemd-analyze is missing; Debian has it in the package systemd");
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stderr)), (Some(0), "".into()));
}
