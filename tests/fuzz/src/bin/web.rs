//! Targets: see `vpnprobe_fuzz::web`.
#![no_main]

vpnprobe_fuzz::targets! {
    "http_server" => web::http_server,
    "page" => page::page,
}
