//! What is behind a concentrator: pages of nginx, the remote desktop of xrdp, the STUN of coturn.

use serde_json::Value;

use crate::harness::{CONC, Lab};
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
}

#[test]
fn remote_desktop() {
    let way = Way { start: "xrdp", server: "xrdp", kind: "rdp", packets: "tcp dport 3389", ..Way::UDP };
    let lab = way.walk();
    let check = lab.check_probe(CONC[0], "rdp", "", "");
    assert_eq!(details(&check)["security"], "tls", "{:#}", details(&check));
    assert_eq!(details(&check)["subject"], "CN=server, O=Lab");
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
