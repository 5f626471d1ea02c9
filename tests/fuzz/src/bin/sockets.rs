//! Targets: see `vpnprobe_fuzz::sockets`.
#![no_main]

vpnprobe_fuzz::targets!(&[vpnprobe_fuzz::sockets::TARGETS]);
vpnprobe_fuzz::mutated!(vpnprobe_fuzz::spells::mutate);
