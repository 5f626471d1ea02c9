//! What is behind a concentrator: pages of nginx, the remote desktop of xrdp, the STUN of coturn.

use serde_json::Value;

use crate::harness::{CONC, Lab, until};
use crate::ways::Way;

const PAGE: &str = "    http: {host: vpn.example.test, ca_file: STATE/pki/ca.crt}\n";

fn details(check: &crate::harness::Check) -> Value {
    check.json["probes"][0]["details"].clone()
}

#[test]
fn pages() {
    let way = Way { start: "nginx", server: "nginx", kind: "http", packets: "tcp dport 443", ..Way::UDP };
    let lab = Way { settings: PAGE, ..way }.walk();
    let mut wrong = Vec::new();
    for (more, probe, said, status) in [
        ("path: /there", "", "http answered", 200),
        ("path: /there, follow: false", "", "http answered", 302),
        ("path: /away", "", "http answered", 302),
        ("path: /away, status: [200]", "", "http refused http_status", 302),
        ("path: /missing", "", "http refused http_status", 404),
        ("path: /missing, status: [404]", "", "http answered", 404),
        ("path: /", "port: 8443", "http answered cert_expired", 200),
        ("path: /", "port: 8445", "http answered cert_name_mismatch", 200),
        // nginx says 400 to who speaks in the clear where it expects TLS.
        ("scheme: http", "port: 443", "http refused http_status", 400),
    ] {
        let block = PAGE.replace('}', &format!(", {more}}}"));
        let check = lab.check_probe(CONC[0], "http", probe, &block);
        wrong.extend(check.mismatch(&[said]).map(|text| format!("{more}: {text}")));
        if details(&check)["status"] != status {
            wrong.push(format!("{more}: {:#}", details(&check)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Without a configuration there is no private authority to trust.
    let bare = lab.check(&[CONC[0], "--probe", "http"]);
    bare.says(&["icmp answered", "http answered cert_untrusted"]);
    assert_eq!(bare.step("ports"), "failed cert_untrusted");
}

#[test]
fn remote_desktop() {
    let way = Way { start: "xrdp", server: "xrdp", kind: "rdp", packets: "tcp dport 3389", ..Way::UDP };
    let lab = way.walk();
    let check = lab.check_probe(CONC[0], "rdp", "", "");
    assert_eq!(details(&check)["security"], "tls", "{:#}", details(&check));
    assert_eq!(details(&check)["subject"], "CN=server, O=Lab");
    // Without a configuration, too.
    let bare = lab.check(&[CONC[0], "--probe", "rdp"]);
    bare.says(&["icmp answered", "rdp answered"]);
    assert_eq!((bare.verdict(), bare.step("ports")), ("ok", "ok".to_owned()));
    lab.check(&[CONC[0], "--probe", "rdp:3390"]).says(&["icmp answered", "rdp refused connection_refused"]);
    let trusted = "    rdp: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}\n";
    let check = lab.check_probe(CONC[0], "rdp", "", trusted);
    check.says(&["rdp answered"]);
    assert_eq!(details(&check)["trusted"], true);
    let other = trusted.replace("vpn.", "desktop.");
    lab.check_probe(CONC[0], "rdp", "", &other).says(&["rdp answered cert_name_mismatch"]);
    lab.script("stop xrdp");
    lab.script("start xrdp rdp");
    let check = lab.check_probe(CONC[0], "rdp", "", "");
    check.says(&["rdp answered"]);
    let details = details(&check);
    assert!(details["security"] == "rdp" || details["negotiation_failure"].is_string(), "{details:#}");
}

#[test]
fn binding() {
    let way = Way { start: "coturn", server: "coturn", kind: "stun", packets: "udp dport 3478", ..Way::UDP };
    let lab = way.walk();
    let check = lab.check_probe(CONC[0], "stun", "", "");
    lab.check(&[CONC[0], "--probe", "stun"]).says(&["icmp answered", "stun answered"]);
    let mapped = details(&check)["mapped_address"].as_str().unwrap_or_default().to_owned();
    assert!(mapped.starts_with("192.0.2.10:"), "{:#}", details(&check));
    assert_eq!(details(&check)["nat"], false);
    // Behind a NAT of the first router the server sees another address and port.
    lab.script("exec r1 nft add table ip nat");
    lab.script("exec r1 nft add chain ip nat post { type nat hook postrouting priority 100 ; }");
    lab.script("exec r1 nft add rule ip nat post oifname wan masquerade random");
    let check = lab.check_probe(CONC[0], "stun", "", "");
    check.says(&["stun answered"]);
    assert_eq!(details(&check)["nat"], true, "{:#}", details(&check));
    let mapped = details(&check)["mapped_address"].as_str().unwrap_or_default().to_owned();
    assert!(mapped.starts_with("198.51.100.1:"), "{mapped}");
}

const SSL: &str = "    sslvpn: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}\n";

/// The block with a declared flavour.
fn declared(flavour: &str) -> String {
    SSL.replace('}', &format!(", flavour: {flavour}}}"))
}

#[test]
fn anyconnect() {
    let block = declared("anyconnect");
    let way = Way { start: "ocserv", server: "ocserv", kind: "sslvpn", packets: "tcp dport 443", ..Way::UDP };
    let lab = Way { settings: &block, ..way }.walk();
    let check = lab.check_probe(CONC[0], "sslvpn", "", SSL);
    check.says(&["sslvpn answered"]);
    assert_eq!(details(&check)["flavour"], "anyconnect", "{:#}", details(&check));
    lab.check_probe(CONC[0], "sslvpn", "", &declared("fortinet")).says(&["sslvpn refused wrong_flavour"]);
}

#[test]
fn sstp() {
    let block = declared("sstp");
    let way = Way { start: "sstpd", server: "sstpd", kind: "sslvpn", packets: "tcp dport 443", ..Way::UDP };
    let lab = Way { settings: &block, ..way }.walk();
    let check = lab.check_probe(CONC[0], "sslvpn", "", &block);
    assert_eq!(details(&check)["call"], "acknowledged", "{:#}", details(&check));
    lab.check_probe(CONC[0], "sslvpn", "", &declared("anyconnect"));
    let log = lab.read("sstpd.log");
    assert!(!log.contains("Traceback"), "{log}");
}

/// SoftEther also speaks OpenVPN at the same port.
#[test]
fn softether() {
    let lab = Lab::with(&["softether"]);
    let trust = "    sslvpn: {verify: false, server_name: vpn.example.test}\n";
    let mut wrong = Vec::new();
    for flavour in ["softether", "openvpn"] {
        let block = trust.replace('}', &format!(", flavour: {flavour}}}"));
        let check = lab.check_probe(CONC[0], "sslvpn", "", &block);
        if details(&check)["flavour"] != flavour {
            wrong.push(format!("{flavour}: {:?} {:#}", check.results(), details(&check)));
        }
    }
    let check = lab.check_probe(CONC[0], "sslvpn", "", trust);
    if details(&check)["flavour"] != "softether" {
        wrong.push(format!("identify: {:?} {:#}", check.results(), details(&check)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A web server is no VPN, whatever it is asked.
#[test]
fn a_web_server() {
    let lab = Lab::with(&["nginx"]);
    let mut wrong = Vec::new();
    for flavour in ["anyconnect", "sstp", "fortinet", "globalprotect", "pulse", "softether", "openvpn"] {
        let check = lab.check_probe(CONC[0], "sslvpn", "", &declared(flavour));
        if check.results() != ["sslvpn refused wrong_flavour"] || details(&check)["flavour"] != "web_server" {
            wrong.push(format!("{flavour}: {:?} {:#}", check.results(), details(&check)));
        }
    }
    let check = lab.check_probe(CONC[0], "sslvpn", "", SSL);
    if check.results() != ["sslvpn answered"] || details(&check)["flavour"] != "web_server" {
        wrong.push(format!("identify: {:?} {:#}", check.results(), details(&check)));
    }
    let check = lab.check_probe(CONC[0], "sslvpn", "port: 8443", &declared("anyconnect"));
    wrong.extend(check.mismatch(&["sslvpn refused wrong_flavour"]));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// wireguard-go answers the peer it knows; to anyone else it is silent, as it must be.
#[test]
fn wireguard() {
    let lab = Lab::with(&["wireguard"]);
    let public = lab.read("wireguard/server.pub").trim().to_owned();
    let block = |key: &str| {
        format!(
            "    wireguard: {{private_key_file: STATE/wireguard/{key}, public_key: {public}, preshared_key_file: STATE/wireguard/psk}}\n"
        )
    };
    let (good, wrong) = (block("client.key"), block("wrong.key"));
    for address in CONC {
        lab.check_probe(address, "wireguard", "", &good).says(&["wireguard answered"]);
        lab.check_probe(address, "wireguard", "", &wrong).says(&["wireguard lost no_answer"]);
        let unkeyed = lab.check_probe(address, "wireguard", "", "");
        unkeyed.says(&["wireguard unsent"]);
        assert_eq!(details(&unkeyed)["key_required"], true);
    }
    for (fault, said) in [
        ("drop", "wireguard lost no_answer"),
        ("admin", "wireguard refused admin_prohibited"),
        ("port", "wireguard refused port_unreachable"),
    ] {
        lab.script(&format!("fault {fault} udp dport 51820"));
        lab.check_probe(CONC[0], "wireguard", "", &good).says(&[said]);
        lab.script("clear");
    }
    lab.script("freeze wireguard");
    lab.check_probe(CONC[0], "wireguard", "", &good).says(&["wireguard lost no_answer"]);
    lab.script("thaw wireguard");
    lab.check_probe(CONC[0], "wireguard", "", &good).says(&["wireguard answered"]);
    lab.script("stop wireguard");
    lab.check_probe(CONC[0], "wireguard", "", "").says(&["wireguard refused port_unreachable"]);
}

const OFFICE: &str = "\
defaults: {interval: 2s, timeout: 1s}
egress: {office: {interface: ovpn-client}}
targets:
  hq:
    address: 203.0.113.10
    vpn: [openvpn]
    probes: {openvpn_tcp: {enabled: false}, trace: {enabled: false}}
    inside:
      egress: office
      dns: [10.20.0.53]
      names: [inside.example.test]
      hosts: [\"tcp://10.20.0.80:80\"]
      interval: 5s
";

/// The daemon asks inside as `check` does: what ends there is a failed step, and a tunnel that is not up is
/// no fault of what is behind it.
#[test]
fn the_daemon_asks_inside() {
    const CONNECT: &str = "start openvpn_client";
    const ROUTE: &str = "exec client ip route add 10.20.0.0/16 dev ovpn-client";
    let lab = Lab::up();
    for words in
        ["office", "start openvpn udp plain", "start inside/unbound", "start inside/nginx", CONNECT, ROUTE]
    {
        lab.script(words);
    }
    let mut daemon = lab.serve(OFFICE);
    daemon.ready();
    let is = |step: &str, status: &str| {
        let labels = [&*format!("step=\"{step}\""), &*format!("status=\"{status}\"")];
        daemon.metrics().sum("vpnprobe_step_status", &labels) == Some(1.0)
    };
    let both = |names: &str, hosts: &str| {
        until(&format!("names {names}, hosts {hosts}"), 40, || {
            is("inside_names", names) && is("inside_hosts", hosts)
        });
    };
    both("ok", "ok");
    lab.script("stop inside_unbound");
    both("failed", "ok");
    lab.script("start inside/unbound");
    both("ok", "ok");
    lab.script("stop openvpn_client");
    both("unknown", "unknown");
    lab.script(CONNECT);
    lab.script(ROUTE);
    both("ok", "ok");
    let status = daemon.request("GET", "/api/v1/status").unwrap().1;
    assert!(status.contains("dns://10.20.0.53/inside.example.test"), "{status}");
    daemon.stop();
}
