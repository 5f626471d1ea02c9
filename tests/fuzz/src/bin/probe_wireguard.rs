//! See `vpnprobe_fuzz::exchange`.
#![no_main]
vpnprobe_fuzz::target!(exchange::wireguard);
