//! From the blocks of a protocol, of the target and of the probe, to the settings of a kind.
//!
//! A key of the probe's block wins over the same key of the target's block.

use std::path::PathBuf;

use super::check::Check;
use super::problem::{KeyPath, suggestion};
use super::raw;
use crate::probe::{Kind, Settings, Spec};

/// Where the settings of one probe are written.
pub(super) struct Written<'a> {
    pub target: &'a raw::Blocks,
    pub target_path: KeyPath,
    pub probe: &'a raw::Blocks,
    pub probe_path: KeyPath,
    /// Whether the target's VPN says that L2TP is inside IPsec.
    pub behind_ipsec: bool,
}

impl<'a> Written<'a> {
    fn pick<V>(
        &self,
        block: &str,
        key: &str,
        value: impl Fn(&'a raw::Blocks) -> Option<&'a V>,
    ) -> (Option<&'a V>, KeyPath) {
        match value(self.probe) {
            Some(found) => (Some(found), self.probe_path.key(block).key(key)),
            None => (value(self.target), self.target_path.key(block).key(key)),
        }
    }
}

/// The value of a key, and its path.
macro_rules! pick {
    ($from:expr, $block:ident . $key:ident) => {
        $from.pick(stringify!($block), stringify!($key), |blocks| {
            blocks.$block.as_ref().and_then(|block| block.$key.as_ref())
        })
    };
}

/// The block that a kind reads; nothing for `tcp`.
fn block_of(kind: Kind) -> Option<&'static str> {
    match kind.name {
        "ike" | "ike_natt" => Some("ike"),
        "ikev1" | "ikev1_natt" => Some("ikev1"),
        "openvpn_udp" | "openvpn_tcp" => Some("openvpn"),
        "l2tp" | "tls" | "dns" | "icmp" | "trace" => Some(kind.name),
        _ => None,
    }
}

fn blocks(blocks: &raw::Blocks) -> Vec<&'static str> {
    let there = [
        ("ike", blocks.ike.is_some()),
        ("ikev1", blocks.ikev1.is_some()),
        ("l2tp", blocks.l2tp.is_some()),
        ("openvpn", blocks.openvpn.is_some()),
        ("tls", blocks.tls.is_some()),
        ("dns", blocks.dns.is_some()),
        ("icmp", blocks.icmp.is_some()),
        ("trace", blocks.trace.is_some()),
    ];
    there.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

/// Reports blocks of a probe that its kind does not read.
pub(super) fn foreign_blocks(from: &Written<'_>, kind: Kind, check: &mut Check<'_>) {
    let own = block_of(kind);
    for block in blocks(from.probe) {
        if own != Some(block) {
            let hint = own.map_or("remove it".to_owned(), |own| format!("its settings are in \"{own}\""));
            check.wrong_key(
                &from.probe_path.key(block),
                format!("a probe of kind {} does not read this", kind.name),
                &hint,
            );
        }
    }
}

/// Warns of blocks of a target that none of its probes reads.
pub(super) fn unused_blocks(
    written: &raw::Blocks,
    specs: &[(Spec, KeyPath)],
    check: &mut Check<'_>,
    path: &KeyPath,
) {
    for block in blocks(written) {
        if !specs.iter().any(|(spec, _)| block_of(spec.kind) == Some(block)) {
            check.doubt(
                &path.key(block),
                "none of the target's probes reads this",
                "declare the VPN in \"vpn\", or add a probe",
            );
        }
    }
}

/// The settings of one probe, and the same as it is shown.
pub(super) fn settings(kind: Kind, from: &Written<'_>, check: &mut Check<'_>) -> (Settings, raw::Blocks) {
    let (mut settings, mut shown) = (Settings::default(), raw::Blocks::default());
    match block_of(kind) {
        Some("ike") => shown.ike = Some(ike(from, check, &mut settings)),
        Some("ikev1") => shown.ikev1 = Some(ikev1(from, check, &mut settings)),
        Some("l2tp") => shown.l2tp = Some(l2tp(from, check, &mut settings)),
        Some("openvpn") => shown.openvpn = Some(openvpn(from, check, &mut settings)),
        Some("tls") => shown.tls = Some(tls(from, check, &mut settings)),
        Some("dns") => shown.dns = Some(dns(from, check, &mut settings)),
        Some("icmp") => shown.icmp = Some(icmp(from, check, &mut settings)),
        Some("trace") => shown.trace = Some(trace(from, check, &mut settings)),
        _ => {}
    }
    (settings, shown)
}

fn ike(from: &Written<'_>, _check: &mut Check<'_>, _settings: &mut Settings) -> raw::Ike {
    let (proposals, _path) = pick!(from, ike.proposals);
    raw::Ike { proposals: proposals.cloned() }
}

fn ikev1(from: &Written<'_>, check: &mut Check<'_>, _settings: &mut Settings) -> raw::Ikev1 {
    let (proposals, _path) = pick!(from, ikev1.proposals);
    let (aggressive_id, path) = pick!(from, ikev1.aggressive_id);
    if aggressive_id.is_some_and(|id| id.is_empty() || id.len() > 255) {
        check.wrong(&path, "must have 1 to 255 bytes", "");
    }
    raw::Ikev1 { proposals: proposals.cloned(), aggressive_id: aggressive_id.cloned() }
}

fn l2tp(from: &Written<'_>, check: &mut Check<'_>, _settings: &mut Settings) -> raw::L2tp {
    let (behind_ipsec, _) = pick!(from, l2tp.behind_ipsec);
    let (host_name, path) = pick!(from, l2tp.host_name);
    if host_name
        .is_some_and(|name| name.is_empty() || name.len() > 64 || !name.chars().all(|c| c.is_ascii_graphic()))
    {
        check.wrong(&path, "must be 1 to 64 printable ASCII characters", "");
    }
    let behind_ipsec = behind_ipsec.copied().unwrap_or(from.behind_ipsec);
    raw::L2tp { behind_ipsec: Some(behind_ipsec), host_name: host_name.cloned() }
}

/// The key files of a block, with their keys.
fn key_files(block: Option<&raw::Openvpn>) -> Vec<(&'static str, &PathBuf)> {
    let files = block.map(|block| {
        [
            ("tls_auth_file", block.tls_auth_file.as_ref()),
            ("tls_crypt_file", block.tls_crypt_file.as_ref()),
            ("tls_crypt_v2_file", block.tls_crypt_v2_file.as_ref()),
        ]
    });
    files.into_iter().flatten().filter_map(|(key, file)| Some((key, file?))).collect()
}

fn openvpn(from: &Written<'_>, check: &mut Check<'_>, _settings: &mut Settings) -> raw::Openvpn {
    // A probe with a key of its own does not get the target's as well.
    let own = key_files(from.probe.openvpn.as_ref());
    let (files, path) = if own.is_empty() {
        (key_files(from.target.openvpn.as_ref()), from.target_path.key("openvpn"))
    } else {
        (own, from.probe_path.key("openvpn"))
    };
    for (key, _) in files.iter().skip(1) {
        let (first, _) = files[0];
        check.wrong_key(
            &path.key(key),
            format!("there is \"{first}\" already"),
            "a server uses one of them; keep that one",
        );
    }
    let (direction, direction_path) = pick!(from, openvpn.key_direction);
    let (auth, auth_path) = pick!(from, openvpn.auth);
    let wraps = files.first().map(|(key, _)| *key);
    if wraps != Some("tls_auth_file") {
        for (key, there, path) in
            [("key_direction", direction.is_some(), direction_path), ("auth", auth.is_some(), auth_path)]
        {
            if there {
                check.wrong(
                    &path,
                    format!("\"{key}\" is for tls_auth_file only"),
                    "remove it, or name the file",
                );
            }
        }
    }
    let mut shown = raw::Openvpn { key_direction: direction.copied(), ..raw::Openvpn::default() };
    if let Some((key, file)) = files.first() {
        let _text = check.secret(&path.key(key), file);
        let file = Some(check.absolute(file));
        match *key {
            "tls_auth_file" => {
                shown.tls_auth_file = file;
                shown.auth = Some(auth.copied().unwrap_or(raw::Auth::Sha1));
            }
            "tls_crypt_file" => shown.tls_crypt_file = file,
            _ => shown.tls_crypt_v2_file = file,
        }
    }
    let (ca, path) = pick!(from, openvpn.ca_file);
    let _ca_text = ca.and_then(|file| check.file(&path, file));
    let (server_name, path) = pick!(from, openvpn.server_name);
    server_name_rule(server_name, &path, check);
    shown.ca_file = ca.map(|file| check.absolute(file));
    shown.server_name = server_name.cloned();
    shown
}

fn server_name_rule(name: Option<&String>, path: &KeyPath, check: &mut Check<'_>) {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if name.is_some_and(|name| name.is_empty() || name.len() > 253 || name.contains(bad)) {
        check.wrong(path, "must be a host name", "write the name that the certificate is for");
    }
}

fn tls(from: &Written<'_>, check: &mut Check<'_>, _settings: &mut Settings) -> raw::Tls {
    let (server_name, path) = pick!(from, tls.server_name);
    server_name_rule(server_name, &path, check);
    let (ca, path) = pick!(from, tls.ca_file);
    let _ca_text = ca.and_then(|file| check.file(&path, file));
    let (verify, _) = pick!(from, tls.verify);
    if ca.is_some() && verify == Some(&false) {
        check.doubt(&path, "is not used, for \"verify\" is false", "remove one of the two");
    }
    raw::Tls {
        server_name: server_name.cloned(),
        ca_file: ca.map(|file| check.absolute(file)),
        verify: Some(verify.copied().unwrap_or(true)),
    }
}

/// The record types that can be asked for.
const RECORDS: &[&str] = &["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];

fn dns(from: &Written<'_>, check: &mut Check<'_>, _settings: &mut Settings) -> raw::Dns {
    let (name, _path) = pick!(from, dns.name);
    let (record, path) = pick!(from, dns.record);
    if let Some(record) = record
        && !RECORDS.contains(&record.to_ascii_uppercase().as_str())
    {
        check.wrong(&path, "no such record type", &suggestion(record, RECORDS.iter().copied()));
    }
    let (transport, _) = pick!(from, dns.transport);
    let (edns, _) = pick!(from, dns.edns);
    let (expect, path) = pick!(from, dns.expect);
    for (index, text) in expect.into_iter().flatten().enumerate() {
        if text.parse::<std::net::IpAddr>().is_err() {
            check.wrong(&path.item(index), "must be an IP address", "");
        }
    }
    raw::Dns {
        name: name.cloned(),
        record: record.map(|record| record.to_ascii_uppercase()),
        transport: Some(transport.copied().unwrap_or(raw::DnsTransport::Udp)),
        edns: Some(edns.copied().unwrap_or(true)),
        expect: expect.cloned(),
    }
}

fn icmp(from: &Written<'_>, _check: &mut Check<'_>, _settings: &mut Settings) -> raw::Icmp {
    let (size, _) = pick!(from, icmp.size);
    raw::Icmp { size: size.copied() }
}

fn trace(from: &Written<'_>, _check: &mut Check<'_>, _settings: &mut Settings) -> raw::Trace {
    let (max_hops, _) = pick!(from, trace.max_hops);
    raw::Trace { max_hops: max_hops.copied() }
}
