//! See `vpnprobe_fuzz::web`.
#![no_main]
vpnprobe_fuzz::target!(web::http_server);
