//! See `vpnprobe_fuzz::sockets`.
#![no_main]
vpnprobe_fuzz::target!(sockets::netlink);
