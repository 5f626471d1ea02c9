//! Faults behind a real tunnel.

use super::{ROW, Row};

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
pub const ROWS: &[Row] = &[
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
