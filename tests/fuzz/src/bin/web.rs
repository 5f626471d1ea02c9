//! Targets: see `vpnprobe_fuzz::web`.
#![no_main]

vpnprobe_fuzz::targets!(&[vpnprobe_fuzz::web::TARGETS]);
vpnprobe_fuzz::mutated!(vpnprobe_fuzz::fields::mutate);
