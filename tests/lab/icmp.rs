//! ICMP echo, with the raw socket and with the kernel's ping socket.

use crate::harness::{CONC, Lab};

fn walk(lab: &Lab, through: &[&str]) {
    let config = |address| {
        lab.config(
            "icmp.yml",
            &format!("targets:\n  hq:\n    address: \"{address}\"\n    probes: {{icmp: {{timeout: 1s}}}}\n"),
        )
    };
    for (address, family) in CONC.into_iter().zip(["ip protocol icmp", "ip6 nexthdr ipv6-icmp"]) {
        let file = config(address);
        for (fault, said) in [
            ("", "icmp answered"),
            ("drop", "icmp lost no_answer"),
            ("admin", "icmp refused admin_prohibited"),
        ] {
            if !fault.is_empty() {
                lab.script(&format!("fault {fault} iifname lan {family}"));
            }
            let arguments =
                ["check", "--target", "hq", "--config.file", file.to_str().unwrap(), "--format", "json"];
            let mut command = lab.command("client", "env");
            let output =
                command.args(through).arg(env!("CARGO_BIN_EXE_vpnprobe")).args(arguments).output().unwrap();
            let json = serde_json::from_slice(&output.stdout);
            let json = json.unwrap_or_else(|e| panic!("{e}: {}", crate::harness::both(&output)));
            crate::harness::Check { json, code: output.status.code().unwrap() }.says(&[said]);
            lab.script("clear");
        }
    }
}

#[test]
fn raw_socket() {
    walk(&Lab::up(), &[]);
}

#[test]
fn ping_socket_without_any_right() {
    let lab = Lab::up();
    let output =
        lab.command("client", "sysctl").args(["-qw", "net.ipv4.ping_group_range=0 0"]).output().unwrap();
    assert!(output.status.success());
    walk(&lab, &["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
}
