//! Targets: see `vpnprobe_fuzz::exchange`.
#![no_main]

vpnprobe_fuzz::targets!(&[vpnprobe_fuzz::exchange::TARGETS]);
vpnprobe_fuzz::mutated!(vpnprobe_fuzz::frames::mutate);
