//! The lab itself: programs we did not write get from its servers what the other tests build on. If one
//! of these fails, so may the rest, and not by vpnprobe's fault.

use crate::harness::{CONC, Lab};

#[test]
fn ike_scan() {
    let lab = Lab::with(&["strongswan"]);
    let accepted = lab.run("client", "ike-scan --sport=0 --trans=7/256,4,1,14 203.0.113.10");
    assert!(accepted.contains("Main Mode Handshake returned"), "{accepted}");
    let refused = lab.run("client", "ike-scan --sport=0 --trans=5,1,1,2 203.0.113.10");
    assert!(refused.contains("NO-PROPOSAL-CHOSEN"), "{refused}");
    let refused = lab.run("client", "ike-scan --sport=0 --ikev2 203.0.113.10");
    assert!(refused.contains("NO_PROPOSAL_CHOSEN"), "{refused}");
    assert!(lab.script("vici --stats").contains("1 half-open"));
}

#[test]
fn openvpn() {
    for (proto, wrapping, key) in [
        ("udp", "tls-crypt", "--tls-crypt STATE/openvpn/ta.key"),
        ("tcp-client", "tls-auth", "--tls-auth STATE/openvpn/ta.key 1"),
    ] {
        let lab = Lab::with(&[&format!("openvpn {} {wrapping}", &proto[..3])]);
        let state = lab.path("").display().to_string();
        let words = format!(
            "timeout --preserve-status -s INT 3 openvpn --client --dev null --proto {proto} --remote 203.0.113.10 1194 --nobind \
             --ca STATE/pki/ca.crt --cert STATE/pki/server.crt --key STATE/pki/server.key --ifconfig-noexec --route-noexec \
             --disable-dco {key}"
        );
        let log = lab.run("client", &words.replace("STATE", state.trim_end_matches('/')));
        assert!(log.contains("Initialization Sequence Completed"), "{log}");
    }
}

#[test]
fn openssl_and_dig() {
    let lab = Lab::with(&["nginx", "unbound"]);
    let ca = lab.path("pki/ca.crt");
    for (port, said) in [
        (443, "Verify return code: 0"),
        (8443, "certificate has expired"),
        (8444, "certificate is not yet valid"),
        (8445, "Hostname mismatch"),
    ] {
        for host in [CONC[0].to_owned(), format!("[{}]", CONC[1])] {
            let words = format!(
                "openssl s_client -connect {host}:{port} -CAfile {} -verify_hostname vpn.example.test",
                ca.display()
            );
            let output = lab.run("client", &words);
            assert!(output.to_lowercase().contains(&said.to_lowercase()), "{host} {port}: {output}");
        }
    }
    for address in CONC {
        for (name, said) in [
            ("vpn", "203.0.113.10"),
            ("nothing", "NXDOMAIN"),
            ("servfail", "SERVFAIL"),
            ("refused", "REFUSED"),
            ("silent", "timed out"),
        ] {
            let output = lab.run("client", &format!("dig +time=1 +tries=1 @{address} {name}.example.test"));
            assert!(output.contains(said), "{name}: {output}");
        }
    }
}

/// What a fault looks like to the kernel's own TCP and ping, and that `clear` takes it away.
#[test]
fn faults() {
    let lab = Lab::with(&["nginx"]);
    // Without any delay on the way the ICMP error finds the socket locked by its own connect(), and counts
    // only when the SYN is repeated after a second.
    let connect = "timeout --preserve-status 3 bash -c exec<>/dev/tcp/203.0.113.10/443";
    assert_eq!(lab.run("client", connect), "");
    for (fault, said) in [("reset", "refused"), ("admin", "No route to host"), ("drop", "")] {
        lab.script(&format!("fault {fault} tcp dport 443"));
        let output = lab.run("client", connect);
        assert!(output.contains(said), "{fault}: {output}");
        assert!(lab.script("exec r1 nft list ruleset").contains("counter packets"));
        lab.script("clear");
    }
    assert_eq!(lab.run("client", connect), "");
    assert!(lab.run("client", "ping -c1 -W1 2001:db8:3::14").contains("1 received"));
}
