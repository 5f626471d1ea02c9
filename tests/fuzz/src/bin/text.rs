//! Targets: see `vpnprobe_fuzz::text`.
#![no_main]

vpnprobe_fuzz::targets! {
    "certificate" => text::certificate,
    "roots" => text::roots,
    "config" => text::config,
    "webfile" => text::webfile,
    "words" => text::words,
    "journal_line" => text::journal_line,
    "journal" => text::journal,
    "state" => text::state,
    "incident" => text::incident,
    "seen" => text::seen,
    "explain" => text::explain,
}
