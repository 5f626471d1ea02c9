//! From the blocks of a protocol, of the target and of the probe, to the settings of a kind.
//!
//! A key of the probe's block wins over the same key of the target's block.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::check::Check;
use super::problem::{KeyPath, suggestion};
use super::raw;
use crate::probe::certificate::{RootStore, Roots};
use crate::probe::dns::{Via, View};
use crate::probe::openvpn::{Digest, Keys};
use crate::probe::sslvpn::Flavour;
use crate::probe::{Kind, Settings, Spec, wireguard};

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

/// The block that a kind reads; nothing for `tcp` and `stun`.
fn block_of(kind: Kind) -> Option<&'static str> {
    match kind.name {
        "ike" | "ike_natt" => Some("ike"),
        "ikev1" | "ikev1_natt" => Some("ikev1"),
        "openvpn_udp" | "openvpn_tcp" => Some("openvpn"),
        "l2tp" | "tls" | "dns" | "http" | "sslvpn" | "wireguard" | "rdp" | "icmp" | "trace" => {
            Some(kind.name)
        }
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
        ("http", blocks.http.is_some()),
        ("sslvpn", blocks.sslvpn.is_some()),
        ("wireguard", blocks.wireguard.is_some()),
        ("rdp", blocks.rdp.is_some()),
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
        Some("ike") => shown.ike = Some(ike(from, check, &mut settings).into()),
        Some("ikev1") => shown.ikev1 = Some(ikev1(from, check, &mut settings).into()),
        Some("l2tp") => shown.l2tp = Some(l2tp(from, check, &mut settings).into()),
        Some("openvpn") => shown.openvpn = Some(openvpn(from, check, &mut settings).into()),
        Some("tls") => shown.tls = Some(tls(from, check, &mut settings).into()),
        Some("dns") => shown.dns = Some(dns(from, check, &mut settings).into()),
        Some("http") => shown.http = Some(http(from, check, &mut settings).into()),
        Some("rdp") => shown.rdp = Some(rdp(from, check, &mut settings).into()),
        Some("sslvpn") => shown.sslvpn = Some(sslvpn(from, check, &mut settings).into()),
        Some("wireguard") => shown.wireguard = Some(wireguard(from, check, &mut settings).into()),
        Some("icmp") => shown.icmp = Some(icmp(from, &mut settings).into()),
        Some("trace") => shown.trace = Some(trace(from, &mut settings).into()),
        _ => {}
    }
    (settings, shown)
}

/// The proposals of a list that are ones.
fn proposals<P: FromStr<Err: Display>>(
    written: Option<&Vec<String>>,
    path: &KeyPath,
    check: &mut Check<'_>,
) -> Vec<P> {
    if written.is_some_and(Vec::is_empty) {
        check.wrong_key(path, "must hold at least one proposal", "leave it out for a broad offer");
    }
    let mut good = Vec::new();
    for (index, text) in written.into_iter().flatten().enumerate() {
        match text.parse::<P>() {
            Ok(proposal) => good.push(proposal),
            Err(why) => check.wrong(&path.item(index), "is no proposal", &why.to_string()),
        }
    }
    good
}

fn ike(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Ike {
    let (written, path) = pick!(from, ike.proposals);
    settings.ike.proposals = proposals(written, &path, check).into();
    raw::Ike { proposals: written.cloned() }
}

fn ikev1(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Ikev1 {
    let (written, path) = pick!(from, ikev1.proposals);
    settings.ikev1.proposals = proposals(written, &path, check);
    let (aggressive_id, path) = pick!(from, ikev1.aggressive_id);
    if aggressive_id.is_some_and(|id| id.is_empty() || id.len() > 255) {
        check.wrong(&path, "must have 1 to 255 bytes", "");
    }
    settings.ikev1.aggressive_id = aggressive_id.cloned();
    raw::Ikev1 { proposals: written.cloned(), aggressive_id: aggressive_id.cloned() }
}

fn l2tp(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::L2tp {
    let (behind_ipsec, _) = pick!(from, l2tp.behind_ipsec);
    settings.l2tp.behind_ipsec = behind_ipsec.copied().unwrap_or(from.behind_ipsec);
    let (host_name, path) = pick!(from, l2tp.host_name);
    if let Some(name) = host_name {
        if name.is_empty() || name.len() > 64 || !name.chars().all(|c| c.is_ascii_graphic()) {
            check.wrong(&path, "must be 1 to 64 printable ASCII characters", "");
        }
        settings.l2tp.host_name.clone_from(name);
    }
    raw::L2tp {
        behind_ipsec: Some(settings.l2tp.behind_ipsec),
        host_name: Some(settings.l2tp.host_name.clone()),
    }
}

/// The roots in the file at `path`.
fn roots(file: Option<&PathBuf>, path: &KeyPath, check: &mut Check<'_>) -> Option<Roots> {
    let text = check.file(path, file?)?;
    match RootStore::from_pem(&text) {
        Ok(store) => Some(Roots::Pem(Arc::new(store))),
        Err(why) => {
            check.wrong(path, format!("the file cannot be used: {why}"), "");
            None
        }
    }
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

fn openvpn(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Openvpn {
    // A probe with a key of its own does not get the target's as well.
    let own = key_files(from.probe.openvpn.as_deref());
    let (files, path) = if own.is_empty() {
        (key_files(from.target.openvpn.as_deref()), from.target_path.key("openvpn"))
    } else {
        (own, from.probe_path.key("openvpn"))
    };
    for ((first, _), (key, _)) in files.iter().take(1).cycle().zip(files.iter().skip(1)) {
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
        let path = path.key(key);
        let text = check.secret(&path, file);
        let shown_file = Some(check.absolute(file));
        let keys = |text: String| match *key {
            "tls_auth_file" => Keys::tls_auth(&text, direction.copied(), digest(auth)),
            "tls_crypt_file" => Keys::tls_crypt(&text),
            _ => Keys::tls_crypt_v2(&text),
        };
        match text.map(keys) {
            None => {}
            Some(Ok(keys)) => settings.openvpn.keys = keys,
            Some(Err(why)) => check.wrong(&path, format!("the file cannot be used: {why}"), ""),
        }
        match *key {
            "tls_auth_file" => {
                shown.tls_auth_file = shown_file;
                shown.auth = Some(auth.copied().unwrap_or(raw::Auth::Sha1));
            }
            "tls_crypt_file" => shown.tls_crypt_file = shown_file,
            _ => shown.tls_crypt_v2_file = shown_file,
        }
    }
    let (ca, path) = pick!(from, openvpn.ca_file);
    if let Some(roots) = roots(ca, &path, check) {
        settings.openvpn.roots = roots;
    }
    shown.ca_file = ca.map(|file| check.absolute(file));
    let (server_name, path) = pick!(from, openvpn.server_name);
    server_name_rule(server_name, &path, check);
    settings.openvpn.server_name = server_name.cloned();
    shown.server_name = server_name.cloned();
    shown
}

fn digest(auth: Option<&raw::Auth>) -> Digest {
    match auth {
        None | Some(raw::Auth::Sha1) => Digest::Sha1,
        Some(raw::Auth::Sha256) => Digest::Sha256,
        Some(raw::Auth::Sha512) => Digest::Sha512,
    }
}

fn server_name_rule(name: Option<&String>, path: &KeyPath, check: &mut Check<'_>) {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if name.is_some_and(|name| name.is_empty() || name.len() > 253 || name.contains(bad)) {
        check.wrong(path, "must be a host name", "write the name that the certificate is for");
    }
}

fn tls(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Tls {
    let (server_name, path) = pick!(from, tls.server_name);
    server_name_rule(server_name, &path, check);
    settings.tls.server_name = server_name.cloned();
    let (verify, _) = pick!(from, tls.verify);
    let (ca, path) = pick!(from, tls.ca_file);
    let (roots, verify) = trust((verify, ca), &path, check);
    settings.tls.roots = roots;
    raw::Tls {
        server_name: server_name.cloned(),
        ca_file: ca.map(|file| check.absolute(file)),
        verify: Some(verify),
    }
}

/// The record types that can be asked for.
const RECORDS: &[&str] = &["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];

fn dns(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Dns {
    let settings = &mut settings.dns;
    let (name, path) = pick!(from, dns.name);
    if let Some(name) = name {
        let labels = name.strip_suffix('.').unwrap_or(name).split('.');
        let good =
            |label: &str| (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_graphic());
        if name != "." && (name.len() > 253 || !labels.clone().all(good)) {
            check.wrong(
                &path,
                "must be a domain name",
                "labels of 1 to 63 characters with dots between them",
            );
        }
        settings.name = Some(name.clone());
    }
    let (record, path) = pick!(from, dns.record);
    if let Some(record) = record {
        let upper = record.to_ascii_uppercase();
        match upper.parse() {
            Ok(record) if RECORDS.contains(&upper.as_str()) => settings.record = record,
            _ => check.wrong(&path, "no such record type", &suggestion(record, RECORDS.iter().copied())),
        }
    }
    let (transport, _) = pick!(from, dns.transport);
    if let Some(transport) = transport {
        settings.transport = match transport {
            raw::DnsTransport::Udp => Via::Udp,
            raw::DnsTransport::Tcp => Via::Tcp,
        };
    }
    let (edns, _) = pick!(from, dns.edns);
    settings.edns = edns.copied().unwrap_or(settings.edns);
    let (expect, path) = pick!(from, dns.expect);
    for (index, text) in expect.into_iter().flatten().enumerate() {
        match text.parse() {
            Ok(address) => settings.expect.push(address),
            Err(_) => check.wrong(&path.item(index), "must be an IP address", ""),
        }
    }
    let (view, view_path) = pick!(from, dns.view);
    settings.view = match view {
        None | Some(raw::DnsView::Answer) => View::Answer,
        Some(raw::DnsView::Inside) => View::Inside,
        Some(raw::DnsView::Leak) => View::Leak,
        Some(raw::DnsView::Hijack) => View::Hijack,
        Some(raw::DnsView::Intercept) => View::Intercept,
    };
    if matches!(settings.view, View::Inside | View::Leak) && name.is_none() {
        check.wrong(&view_path, "needs \"name\"", "name a host that only the inside knows");
    }
    if expect.is_some() && !matches!(settings.view, View::Answer | View::Inside) {
        check.wrong(
            &view_path,
            "cannot be asked together with \"expect\"",
            "remove \"expect\": no answer is good",
        );
    }
    raw::Dns {
        view: Some(view.copied().unwrap_or(raw::DnsView::Answer)),
        name: name.cloned(),
        record: Some(settings.record.to_string()),
        transport: Some(match settings.transport {
            Via::Udp => raw::DnsTransport::Udp,
            Via::Tcp => raw::DnsTransport::Tcp,
        }),
        edns: Some(settings.edns),
        expect: expect.cloned(),
    }
}

/// The roots that `ca_file` and `verify` of a block stand for.
fn trust(
    (verify, ca): (Option<&bool>, Option<&PathBuf>),
    path: &KeyPath,
    check: &mut Check<'_>,
) -> (Roots, bool) {
    let verify = verify.copied().unwrap_or(true);
    let named = roots(ca, path, check);
    if verify {
        return (named.unwrap_or_default(), verify);
    }
    if ca.is_some() {
        check.doubt(path, "is not used, for \"verify\" is false", "remove one of the two");
    }
    (Roots::None, verify)
}

fn http(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Http {
    let settings = &mut settings.http;
    let (scheme, _) = pick!(from, http.scheme);
    settings.tls = !matches!(scheme, Some(raw::Scheme::Http));
    let (host, path) = pick!(from, http.host);
    server_name_rule(host, &path, check);
    settings.host = host.cloned();
    let (page, path) = pick!(from, http.path);
    if let Some(page) = page {
        if !page.starts_with('/') || page.len() > 1024 || !page.chars().all(|c| c.is_ascii_graphic()) {
            check.wrong(
                &path,
                "must be a path of at most 1024 printable characters that begins with /",
                "write a blank as %20",
            );
        }
        settings.path.clone_from(page);
    }
    let (status, path) = pick!(from, http.status);
    check.doubled(&path, status.map(Vec::as_slice).unwrap_or_default());
    settings.status = status.cloned().unwrap_or_default();
    let (follow, _) = pick!(from, http.follow);
    settings.follow = follow.copied().unwrap_or(true);
    let (verify, _) = pick!(from, http.verify);
    let (ca, path) = pick!(from, http.ca_file);
    let (roots, verify) = trust((verify, ca), &path, check);
    settings.roots = roots;
    raw::Http {
        scheme: Some(if settings.tls { raw::Scheme::Https } else { raw::Scheme::Http }),
        host: host.cloned(),
        path: Some(settings.path.clone()),
        status: status.cloned(),
        follow: Some(settings.follow),
        ca_file: ca.map(|file| check.absolute(file)),
        verify: Some(verify),
    }
}

fn rdp(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Rdp {
    let (server_name, path) = pick!(from, rdp.server_name);
    server_name_rule(server_name, &path, check);
    settings.rdp.server_name = server_name.cloned();
    let (ca, path) = pick!(from, rdp.ca_file);
    if let Some(roots) = roots(ca, &path, check) {
        settings.rdp.roots = roots;
    }
    raw::Rdp { server_name: server_name.cloned(), ca_file: ca.map(|file| check.absolute(file)) }
}

fn sslvpn(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Sslvpn {
    let settings = &mut settings.sslvpn;
    let (flavour, _) = pick!(from, sslvpn.flavour);
    settings.flavour = flavour.map(|flavour| match flavour {
        raw::Flavour::Anyconnect => Flavour::Anyconnect,
        raw::Flavour::Sstp => Flavour::Sstp,
        raw::Flavour::Fortinet => Flavour::Fortinet,
        raw::Flavour::Globalprotect => Flavour::Globalprotect,
        raw::Flavour::Pulse => Flavour::Pulse,
        raw::Flavour::Softether => Flavour::Softether,
        raw::Flavour::Openvpn => Flavour::Openvpn,
    });
    let (server_name, path) = pick!(from, sslvpn.server_name);
    server_name_rule(server_name, &path, check);
    settings.server_name = server_name.cloned();
    let (verify, _) = pick!(from, sslvpn.verify);
    let (ca, path) = pick!(from, sslvpn.ca_file);
    let (roots, verify) = trust((verify, ca), &path, check);
    settings.roots = roots;
    raw::Sslvpn {
        flavour: flavour.copied(),
        server_name: server_name.cloned(),
        ca_file: ca.map(|file| check.absolute(file)),
        verify: Some(verify),
    }
}

/// What is wrong with a text that should be a key of WireGuard.
const NO_KEY: &str = "must be a key: 44 characters of Base64, as wg writes it";

/// The key in a file.
fn wireguard_key(file: Option<&PathBuf>, path: &KeyPath, check: &mut Check<'_>) -> Option<[u8; 32]> {
    let text = check.secret(path, file?)?;
    let key = wireguard::Settings::key(&text);
    if key.is_none() {
        check.wrong(
            path,
            "the file cannot be used: it does not hold one key",
            "44 characters of Base64, as \"wg genkey\" writes it",
        );
    }
    key
}

fn wireguard(from: &Written<'_>, check: &mut Check<'_>, settings: &mut Settings) -> raw::Wireguard {
    let (private, private_path) = pick!(from, wireguard.private_key_file);
    let private_key = wireguard_key(private, &private_path, check);
    let (public, public_path) = pick!(from, wireguard.public_key);
    let public_key = public.and_then(|text| wireguard::Settings::key(text));
    if public.is_some() && public_key.is_none() {
        check.wrong(&public_path, NO_KEY, "it is the server's, \"wg show\" prints it");
    }
    let (preshared, preshared_path) = pick!(from, wireguard.preshared_key_file);
    let preshared_key = wireguard_key(preshared, &preshared_path, check);
    match (private, public) {
        (Some(_), None) => {
            check.wrong(&private_path, "is of no use without \"public_key\"", "add the server's public key");
        }
        (None, Some(_)) => {
            check.wrong(
                &public_path,
                "is of no use without \"private_key_file\"",
                "add a peer for the probe to the server, and name its key",
            );
        }
        (None, None) if preshared.is_some() => {
            check.wrong(&preshared_path, "is of no use without \"private_key_file\" and \"public_key\"", "");
        }
        _ => {}
    }
    if let (Some(private), Some(public)) = (private_key, public_key) {
        settings.wireguard = wireguard::Settings::new(private, public, preshared_key);
    }
    raw::Wireguard {
        private_key_file: private.map(|file| check.absolute(file)),
        public_key: public.cloned(),
        preshared_key_file: preshared.map(|file| check.absolute(file)),
    }
}

fn icmp(from: &Written<'_>, settings: &mut Settings) -> raw::Icmp {
    let (size, _) = pick!(from, icmp.size);
    settings.icmp.size = size.copied().unwrap_or(settings.icmp.size);
    raw::Icmp { size: Some(settings.icmp.size) }
}

fn trace(from: &Written<'_>, settings: &mut Settings) -> raw::Trace {
    let (max_hops, _) = pick!(from, trace.max_hops);
    settings.trace.max_hops = max_hops.copied().unwrap_or(settings.trace.max_hops);
    let (over, _) = pick!(from, trace.over);
    // Which probe that is, is looked up when all of the target's are known.
    raw::Trace { max_hops: Some(settings.trace.max_hops), over: over.cloned() }
}
