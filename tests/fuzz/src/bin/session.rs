//! Targets: see `vpnprobe_fuzz::session`.
#![no_main]

vpnprobe_fuzz::targets!(&[vpnprobe_fuzz::session::TARGETS]);
vpnprobe_fuzz::mutated!(vpnprobe_fuzz::frames::mutate);
