//! Targets: see `vpnprobe_fuzz::text`.
#![no_main]

vpnprobe_fuzz::targets!(&[vpnprobe_fuzz::text::TARGETS]);
