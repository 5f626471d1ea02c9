//! Targets: see `vpnprobe_fuzz::text` and `vpnprobe_fuzz::page`.
#![no_main]

vpnprobe_fuzz::targets!(&[vpnprobe_fuzz::text::TARGETS, vpnprobe_fuzz::page::TARGETS]);
vpnprobe_fuzz::mutated!(vpnprobe_fuzz::fields::mutate);
