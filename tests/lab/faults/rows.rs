//! The rows of the fault table, in the order they are run. A row leaves its lab as it found it.

/// One fault.
pub struct Row {
    /// What is wrong, for people; never for `check`.
    pub what: &'static str,
    /// Rows with the same letter are easily taken for each other. They share their configuration.
    pub beside: &'static str,
    /// What `check` knows: the configuration.
    pub config: &'static str,
    /// What else must run first, in words of `lab.sh`.
    pub before: &'static [&'static str],
    /// How the fault is made.
    pub fault: &'static [&'static str],
    /// How it is taken away; what the firewalls were told goes by itself.
    pub undo: &'static [&'static str],
    /// The step it is about.
    pub step: &'static str,
    /// The true verdict: `VERDICT: STEP STATUS REASON`.
    pub says: &'static str,
    /// What the text of that step must not leave out, above all what cannot be known.
    pub tells: &'static str,
}

const ROW: Row = Row {
    what: "",
    beside: "",
    config: "",
    before: &[],
    fault: &[],
    undo: &[],
    step: "ports",
    says: "",
    tells: "",
};

const IPSEC: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
    probes: {trace: {enabled: false}}
";
/// With its path looked at.
const TRACED: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
";
/// With an account of its own at the gateway.
const ACCOUNT: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
    probes: {trace: {enabled: false}}
    session: {psk_file: STATE/session.psk, local_id: probe.example.test, remote_id: vpn.example.test}
";
const BY_NAME: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: only4.example.test
    vpn: [ipsec]
    ike: {proposals: [aes256-sha256-modp2048]}
    probes: {trace: {enabled: false}}
";
const ANYCONNECT: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [ssl-vpn]
    tls: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}
    sslvpn: {flavour: anyconnect, server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}
    probes: {tls: {timeout: 3s}, sslvpn: {timeout: 3s}, trace: {enabled: false}}
";
const TLS_CRYPT: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [openvpn]
    openvpn: {tls_crypt_file: STATE/openvpn/ta.key}
    probes: {openvpn_tcp: {enabled: false}, trace: {enabled: false}}
";
const NO_KEY: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    vpn: [openvpn]
    probes: {openvpn_tcp: {enabled: false}, trace: {enabled: false}}
";

/// Three labs at once: most of a row's time is spent waiting for what does not come.
pub const LABS: [&[Row]; 3] = [IPSEC_ROWS, TLS_ROWS, OFFICE_ROWS];

/// In front of an `IPsec` concentrator, and the concentrator.
const IPSEC_ROWS: &[Row] = &[
    Row {
        what: "the outer firewall drops UDP 500",
        beside: "a",
        config: IPSEC,
        before: &["start strongswan"],
        fault: &["exec r4 nft add rule inet firewall forward udp dport 500 drop"],
        says: "failed: ports failed no_answer",
        ..ROW
    },
    Row {
        what: "the box is down",
        beside: "a",
        config: IPSEC,
        fault: &["exec conc ip link set eth0 arp off", "exec r4 ip neigh flush dev lan"],
        undo: &["exec conc ip link set eth0 arp on", "exec r4 ip neigh flush dev lan"],
        step: "reach",
        says: "failed: reach failed host_unreachable",
        ..ROW
    },
    Row {
        what: "the path is cut and nobody says so",
        beside: "a",
        config: IPSEC,
        fault: &["exec r4 nft add rule inet firewall forward drop"],
        step: "reach",
        says: "unknown: reach unknown no_answer",
        tells: "cannot be told apart",
        ..ROW
    },
    Row {
        what: "the outer firewall refuses all, and says so",
        beside: "a",
        config: IPSEC,
        fault: &["exec r4 nft add rule inet firewall forward reject with icmpx admin-prohibited"],
        step: "reach",
        says: "failed: reach failed admin_prohibited",
        ..ROW
    },
    Row {
        what: "UDP 4500 is dropped: no NAT traversal",
        beside: "b",
        config: IPSEC,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 4500 drop"],
        says: "failed: ports failed natt_blocked",
        ..ROW
    },
    Row {
        what: "ESP in UDP 4500 is dropped, IKE passes (only a full session could see it)",
        beside: "b",
        config: IPSEC,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 4500 @th,64,32 != 0 drop"],
        step: "tunnel",
        says: "ok: tunnel skipped",
        tells: "takes credentials",
        ..ROW
    },
    Row {
        what: "the IKE daemon hangs",
        beside: "c",
        config: IPSEC,
        fault: &["freeze strongswan"],
        undo: &["thaw strongswan"],
        says: "failed: ports failed no_answer",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "the IKE daemon has ended",
        beside: "c",
        config: IPSEC,
        fault: &["stop strongswan"],
        undo: &["start strongswan"],
        says: "failed: ports failed port_unreachable",
        ..ROW
    },
    Row {
        what: "phase 1: other proposals",
        beside: "d",
        config: IPSEC,
        fault: &["stop strongswan", "start strongswan aes128-sha1-modp1536"],
        undo: &["stop strongswan", "start strongswan"],
        step: "tunnel",
        says: "failed: tunnel failed no_proposal_chosen",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "phase 1: the box does not know our address (looks the same, and is told so)",
        beside: "d",
        config: IPSEC,
        fault: &["stop strongswan", "start strongswan aes256-sha256-modp2048 allow default 192.0.2.99"],
        undo: &["stop strongswan", "start strongswan"],
        step: "tunnel",
        says: "failed: tunnel failed no_proposal_chosen",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "the box has another pre-shared key",
        beside: "e",
        config: ACCOUNT,
        fault: &["stop strongswan", "start strongswan aes256-sha256-modp2048 allow default %any another-psk"],
        undo: &["stop strongswan", "start strongswan"],
        step: "authenticate",
        says: "failed: authenticate failed auth_failed",
        ..ROW
    },
    Row {
        what: "phase 2: other proposals (only a full session could see it)",
        beside: "e",
        config: ACCOUNT,
        fault: &["stop strongswan", "start strongswan aes256-sha256-modp2048 allow 3des-md5"],
        undo: &["stop strongswan", "start strongswan"],
        step: "tunnel",
        says: "ok: tunnel skipped",
        tells: "takes credentials",
        ..ROW
    },
    Row {
        what: "the path takes no packet above 1000 bytes, and nobody says so",
        beside: "k",
        config: TRACED,
        fault: &["exec r4 nft add rule inet firewall forward meta length > 1000 drop"],
        step: "tunnel",
        says: "failed: tunnel failed mtu_black_hole",
        ..ROW
    },
    Row {
        what: "each fourth packet is lost",
        beside: "k",
        config: TRACED,
        fault: &["exec r4 nft add rule inet firewall forward numgen inc mod 4 == 3 drop"],
        says: "ok: ports ok",
        ..ROW
    },
    Row {
        what: "this host has no route",
        config: IPSEC,
        fault: &["exec client ip route del default"],
        undo: &["exec client ip route add default via 192.0.2.1"],
        step: "route",
        says: "failed: route failed",
        ..ROW
    },
    Row {
        what: "the name does not exist",
        beside: "f",
        config: BY_NAME,
        before: &["start unbound", "resolver 203.0.113.10"],
        fault: &["stop unbound", "start unbound only4"],
        undo: &["stop unbound", "start unbound"],
        step: "name",
        says: "failed: name failed nxdomain",
        ..ROW
    },
    Row {
        what: "our resolver does not answer",
        beside: "f",
        config: BY_NAME,
        fault: &["stop unbound"],
        undo: &["start unbound"],
        step: "name",
        says: "unknown: name unknown",
        tells: "resolver",
        ..ROW
    },
    Row {
        what: "the box has many half-open sessions, and asks for cookies: loaded, and alive",
        beside: "c",
        config: IPSEC,
        before: &["stop strongswan", "start strongswan"],
        fault: &[
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
            "exec client ike-scan --sport=0 --retry=1 --trans=7/256,4,1,14 203.0.113.10",
        ],
        undo: &["stop strongswan", "start strongswan"],
        says: "ok: ports ok",
        tells: "many half-open",
        ..ROW
    },
];

/// The same with an SSL VPN and with `OpenVPN`.
const TLS_ROWS: &[Row] = &[
    Row {
        what: "the certificate has expired",
        beside: "g",
        config: ANYCONNECT,
        before: &["start ocserv"],
        fault: &["stop ocserv", "start ocserv expired"],
        undo: &["stop ocserv", "start ocserv"],
        says: "failed: ports failed cert_expired",
        ..ROW
    },
    Row {
        what: "the certificate is for another name",
        beside: "g",
        config: ANYCONNECT,
        fault: &["stop ocserv", "start ocserv other"],
        undo: &["stop ocserv", "start ocserv"],
        says: "failed: ports failed cert_name_mismatch",
        ..ROW
    },
    Row {
        what: "a plain web server has taken TCP 443",
        beside: "h",
        config: ANYCONNECT,
        fault: &["stop ocserv", "start nginx"],
        undo: &["stop nginx", "start ocserv"],
        says: "failed: ports failed wrong_flavour",
        ..ROW
    },
    Row {
        what: "the SSL VPN has ended",
        beside: "h",
        config: ANYCONNECT,
        fault: &["stop ocserv"],
        undo: &["start ocserv"],
        says: "failed: ports failed connection_refused",
        ..ROW
    },
    Row {
        what: "TCP 443 is dropped",
        beside: "h",
        config: ANYCONNECT,
        fault: &["exec r4 nft add rule inet firewall forward tcp dport 443 drop"],
        says: "failed: ports failed no_answer",
        ..ROW
    },
    Row {
        what: "a user's password is wrong (no user's password is known here)",
        config: ANYCONNECT,
        fault: &["exec conc sed -i s/^alice:/alicia:/ STATE/ocserv/passwd"],
        undo: &["exec conc sed -i s/^alicia:/alice:/ STATE/ocserv/passwd"],
        step: "authenticate",
        says: "ok: authenticate skipped",
        tells: "No credentials",
        ..ROW
    },
    Row {
        what: "the server has another tls-crypt key",
        beside: "i",
        config: TLS_CRYPT,
        before: &["stop ocserv", "start openvpn udp tls-crypt"],
        fault: &["stop openvpn_udp", "start openvpn udp tls-crypt-v2"],
        undo: &["stop openvpn_udp", "start openvpn udp tls-crypt"],
        says: "failed: ports failed no_answer",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "UDP 1194 is dropped (looks the same, and is told so)",
        beside: "i",
        config: TLS_CRYPT,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 1194 drop"],
        says: "failed: ports failed no_answer",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "the OpenVPN server has ended",
        beside: "i",
        config: TLS_CRYPT,
        fault: &["stop openvpn_udp"],
        undo: &["start openvpn udp tls-crypt"],
        says: "failed: ports failed port_unreachable",
        ..ROW
    },
    Row {
        what: "the server wants a key, and none is configured here",
        beside: "j",
        config: NO_KEY,
        before: &["stop openvpn_udp", "start openvpn udp plain"],
        fault: &["stop openvpn_udp", "start openvpn udp tls-crypt"],
        undo: &["stop openvpn_udp", "start openvpn udp plain"],
        says: "unknown: ports unknown no_answer",
        tells: "to tell them apart",
        ..ROW
    },
    Row {
        what: "UDP 1194 is dropped, and no key is configured here",
        beside: "j",
        config: NO_KEY,
        fault: &["exec r4 nft add rule inet firewall forward udp dport 1194 drop"],
        says: "unknown: ports unknown no_answer",
        tells: "to tell them apart",
        ..ROW
    },
    Row {
        what: "the OpenVPN server is full",
        config: NO_KEY,
        fault: &["stop openvpn_udp", "start openvpn udp plain 5 15 1", "start openvpn_client"],
        undo: &["stop openvpn_client", "stop openvpn_udp", "start openvpn udp plain"],
        says: "failed: ports failed full_or_throttled",
        ..ROW
    },
    Row {
        what: "the SSL VPN hangs",
        beside: "h",
        config: ANYCONNECT,
        before: &["stop openvpn_udp", "start ocserv"],
        fault: &["freeze ocserv"],
        undo: &["thaw ocserv"],
        says: "failed: ports failed no_answer",
        ..ROW
    },
];

const SPLIT: &str = "\
defaults: {timeout: 700ms}
egress: {office: {interface: ovpn-client}}
targets:
  hq:
    address: 203.0.113.10
    vpn: [openvpn]
    probes: {openvpn_tcp: {enabled: false}, trace: {enabled: false}}
    inside:
      egress: office
      tunnel: split
      prefixes: [10.20.0.0/16]
      dns: [10.20.0.53]
      names: [inside.example.test]
      hosts: [\"rdp://10.20.0.33\", \"http://10.20.0.80\"]
";
const FULL: &str = "\
defaults: {timeout: 700ms}
egress: {office: {interface: ovpn-client}}
targets:
  hq:
    address: 203.0.113.10
    vpn: [openvpn]
    family: ipv4
    probes: {openvpn_tcp: {enabled: false}, trace: {enabled: false}}
    inside:
      egress: office
      tunnel: full
      prefixes: [10.20.0.0/16]
      dns: [10.20.0.53]
      names: [inside.example.test]
      hosts: [\"rdp://10.20.0.33\", \"http://10.20.0.80\"]
";
/// A resolver inside, asked for a name that does not exist.
const CAPTIVE: &str = "\
defaults: {timeout: 700ms}
egress: {office: {interface: ovpn-client}}
targets:
  hq:
    address: 10.20.0.53
    egress: [office]
    probes: {icmp: {timeout: 700ms}, random: {kind: dns, dns: {view: hijack, name: example.test}}}
";
/// A resolver outside, asked for an inside name.
const LEAK: &str = "\
defaults: {timeout: 700ms}
targets:
  hq:
    address: 203.0.113.10
    probes: {icmp: {timeout: 700ms}, outside: {kind: dns, dns: {view: leak, name: inside.example.test}}}
";
/// The same page over both ways out. OpenVPN lets nothing for its own peer's address into the tunnel.
const BOTH_WAYS: &str = "\
defaults: {timeout: 700ms}
egress: {office: {interface: ovpn-client}}
targets:
  hq:
    address: 203.0.113.11
    egress: [default, office]
    http: {scheme: http, host: vpn.example.test}
    probes: {http: {timeout: 3s}}
";

/// Behind a real tunnel.
const OFFICE_ROWS: &[Row] = &[
    Row {
        what: "the split tunnel has no route to the office",
        beside: "m",
        config: SPLIT,
        before: &[
            "start openvpn udp plain",
            "start inside/unbound",
            "start inside/nginx",
            "start inside/xrdp",
            "start openvpn_client",
            "exec client ip route add 10.20.0.0/16 dev ovpn-client",
        ],
        fault: &["exec client ip route del 10.20.0.0/16 dev ovpn-client"],
        undo: &["exec client ip route add 10.20.0.0/16 dev ovpn-client"],
        step: "inside_routes",
        says: "failed: inside_routes failed inside_route_missing",
        ..ROW
    },
    Row {
        what: "home and office have the same subnet",
        beside: "m",
        config: SPLIT,
        fault: &[
            "exec client ip link add home0 type veth peer name home1",
            "exec client ip link set home1 up",
            "exec client ip addr add 10.20.0.7/24 dev home0",
            "exec client ip link set home0 up",
        ],
        undo: &["exec client ip link del home0"],
        step: "inside_routes",
        says: "failed: inside_routes failed same_subnet",
        tells: "home0",
        ..ROW
    },
    Row {
        what: "all traffic goes into the tunnel, and should not",
        beside: "n",
        config: SPLIT,
        fault: &[
            "exec client ip route add 203.0.113.10 via 192.0.2.1",
            "exec client ip route add 0.0.0.0/1 dev ovpn-client",
            "exec client ip route add 128.0.0.0/1 dev ovpn-client",
        ],
        undo: &[
            "exec client ip route del 0.0.0.0/1 dev ovpn-client",
            "exec client ip route del 128.0.0.0/1 dev ovpn-client",
            "exec client ip route del 203.0.113.10",
        ],
        step: "inside_routes",
        says: "failed: inside_routes failed default_route_via_tunnel",
        ..ROW
    },
    Row {
        what: "all traffic should go into the tunnel, and does not",
        beside: "n",
        config: FULL,
        before: &[
            "exec client ip route add 203.0.113.10 via 192.0.2.1",
            "exec client ip route add 0.0.0.0/1 dev ovpn-client",
            "exec client ip route add 128.0.0.0/1 dev ovpn-client",
        ],
        fault: &[
            "exec client ip route del 0.0.0.0/1 dev ovpn-client",
            "exec client ip route del 128.0.0.0/1 dev ovpn-client",
        ],
        undo: &["exec client ip route del 203.0.113.10"],
        step: "inside_routes",
        says: "failed: inside_routes failed default_route_not_via_tunnel",
        ..ROW
    },
    Row {
        what: "the way to the concentrator goes into its own tunnel",
        beside: "n",
        config: SPLIT,
        fault: &["exec client ip route add 203.0.113.10 dev ovpn-client"],
        undo: &[
            "exec client ip route del 203.0.113.10",
            "stop openvpn_client",
            "start openvpn_client",
            "exec client ip route add 10.20.0.0/16 dev ovpn-client",
        ],
        step: "route",
        says: "failed: route failed default_route_via_tunnel",
        ..ROW
    },
    Row {
        what: "the resolver inside has ended",
        beside: "o",
        config: SPLIT,
        fault: &["stop inside_unbound"],
        undo: &["start inside/unbound"],
        step: "inside_names",
        says: "failed: inside_names failed resolver_unreachable",
        ..ROW
    },
    Row {
        what: "DNS into the tunnel is dropped: names time out",
        beside: "o",
        config: SPLIT,
        fault: &["exec conc nft add rule inet firewall forward meta l4proto { tcp, udp } th dport 53 drop"],
        step: "inside_names",
        says: "failed: inside_names failed resolver_unreachable",
        ..ROW
    },
    Row {
        what: "an inside name has an outside address: another resolver's view",
        beside: "o",
        config: SPLIT,
        fault: &["stop inside_unbound", "start inside/unbound captive"],
        undo: &["stop inside_unbound", "start inside/unbound"],
        step: "inside_names",
        says: "failed: inside_names failed wrong_answer",
        ..ROW
    },
    Row {
        what: "a captive resolver: names that do not exist have an address",
        beside: "o",
        config: CAPTIVE,
        fault: &["stop inside_unbound", "start inside/unbound captive"],
        undo: &["stop inside_unbound", "start inside/unbound"],
        step: "inside_names",
        says: "failed: inside_names failed captive_or_hijacked",
        ..ROW
    },
    Row {
        what: "a resolver outside knows an inside name",
        config: LEAK,
        before: &["start unbound inside"],
        fault: &["stop unbound", "start unbound"],
        undo: &["stop unbound"],
        step: "inside_names",
        says: "failed: inside_names failed name_leak",
        ..ROW
    },
    Row {
        what: "the resolver inside does not know the name",
        beside: "o",
        config: SPLIT,
        fault: &["stop inside_unbound", "start inside/unbound inside"],
        undo: &["stop inside_unbound", "start inside/unbound"],
        step: "inside_names",
        says: "failed: inside_names failed nxdomain",
        ..ROW
    },
    Row {
        what: "the inside firewall denies the VPN's clients",
        beside: "p",
        config: SPLIT,
        fault: &[
            "exec conc nft add rule inet firewall forward ip saddr 10.30.2.0/24 tcp dport 3389 reject with icmpx admin-prohibited",
        ],
        step: "inside_hosts",
        says: "failed: inside_hosts failed inside_denied",
        ..ROW
    },
    Row {
        what: "remote desktop has ended on its host",
        beside: "p",
        config: SPLIT,
        fault: &["stop inside_xrdp"],
        undo: &["start inside/xrdp"],
        step: "inside_hosts",
        says: "failed: inside_hosts failed connection_refused",
        ..ROW
    },
    Row {
        what: "the inside firewall drops the VPN's clients (a host that is off may look the same, and this is told)",
        beside: "p",
        config: SPLIT,
        fault: &["exec conc nft add rule inet firewall forward ip saddr 10.30.2.0/24 tcp dport 3389 drop"],
        step: "inside_hosts",
        says: "failed: inside_hosts failed no_answer",
        tells: "look the same",
        ..ROW
    },
    Row {
        what: "the desktop's host is off",
        beside: "p",
        config: SPLIT,
        before: &["exec conc sysctl -qw net.ipv4.neigh.lan.retrans_time_ms=100"],
        fault: &["exec inside ip addr del 10.20.0.33/16 dev eth0", "exec conc ip neigh flush dev lan"],
        undo: &["exec inside ip addr add 10.20.0.33/16 dev eth0"],
        step: "inside_hosts",
        says: "failed: inside_hosts failed host_unreachable",
        ..ROW
    },
    Row {
        what: "a page works directly, and is 404 through the tunnel",
        config: BOTH_WAYS,
        before: &["start nginx"],
        fault: &[
            "exec conc nft add table ip proxy",
            "exec conc nft add chain ip proxy in { type nat hook prerouting priority -100 ; }",
            "exec conc nft add rule ip proxy in iifname ovpn-udp tcp dport 80 redirect to :8080",
        ],
        undo: &["exec conc nft delete table ip proxy", "stop nginx"],
        says: "failed: ports failed http_status",
        ..ROW
    },
    Row {
        what: "the tunnel is not up",
        beside: "m",
        config: SPLIT,
        fault: &["stop openvpn_client"],
        undo: &["start openvpn_client", "exec client ip route add 10.20.0.0/16 dev ovpn-client"],
        step: "inside_routes",
        says: "ok: inside_routes unknown",
        ..ROW
    },
];
