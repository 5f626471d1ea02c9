//! See `vpnprobe_fuzz::session`.
#![no_main]
vpnprobe_fuzz::target!(session::session_input);
