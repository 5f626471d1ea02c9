//! Targets: see `vpnprobe_fuzz::wire`.
#![no_main]

vpnprobe_fuzz::targets!(&[vpnprobe_fuzz::wire::TARGETS]);
vpnprobe_fuzz::mutated!(vpnprobe_fuzz::spells::mutate);
