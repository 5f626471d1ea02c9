//! See `vpnprobe_fuzz::text`.
#![no_main]
vpnprobe_fuzz::target!(text::explain);
