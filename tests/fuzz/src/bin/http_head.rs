//! See `vpnprobe_fuzz::wire`.
#![no_main]
vpnprobe_fuzz::target!(wire::http_head);
