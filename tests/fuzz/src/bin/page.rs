//! See `vpnprobe_fuzz::page`.
#![no_main]
vpnprobe_fuzz::target!(page::page);
