//! Targets: see `vpnprobe_fuzz::sockets`.
#![no_main]

vpnprobe_fuzz::targets! {
    "icmp_socket" => sockets::icmp_socket,
    "netlink" => sockets::netlink,
}
