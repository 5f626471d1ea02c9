//! The list of all targets, with what each starts from: seeds, and the words of its protocol.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::planted::reached;
use crate::seeds::{
    DNS, ICMP, IKE, IKEV1, INCIDENT, L2TP, OPENVPN, SEEN, STUN, WEB, certificates, coalesced, commented,
    configs, contents, entries, exchanges, explained, framed, goldens, heads, journals, marked, netlink,
    notified, pem, prefixed, raw_icmp, requests, sessions, states, tls, unmarked, wireguard, words,
};
use crate::words::{
    CONFIG_WORDS, DER_WORDS, HTTP_WORDS, IKE_WORDS, IKEV1_WORDS, JOURNAL_WORDS, JSON_WORDS, KEY_WORDS,
    OPENVPN_WORDS, STUN_WORDS, TLS_WORDS, WEB_WORDS,
};

/// A target.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The binary that it is in: a few of the same kind, so that few are linked and each stays small.
    pub group: &'static str,
    /// What it reads, for the table.
    pub about: &'static str,
    /// The longest input.
    pub longest: usize,
    /// What it starts from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of what it reads.
    pub words: &'static [&'static [u8]],
}

/// One line a target; a test holds the list and `src/bin` together.
macro_rules! targets {
    ($($group:ident { $($name:ident $longest:literal $about:literal $seeds:expr, $words:expr;)+ })+) => {
        /// All targets.
        pub static TARGETS: &[Target] =
            &[$($(Target {
                name: stringify!($name),
                group: stringify!($group),
                about: $about,
                longest: $longest,
                seeds: || $seeds,
                words: $words,
            },)+)+];
    };
}

targets! {
    wire {
    ike 2048 "IKEv2 messages" goldens(IKE), IKE_WORDS;
    ike_sealed 2048 "IKEv2 encrypted payloads, opened" notified([goldens(IKE), unmarked(goldens(IKE))].concat()), IKE_WORDS;
    ikev1 2048 "IKEv1 messages" goldens(IKEV1), IKEV1_WORDS;
    l2tp 1024 "L2TP control messages" goldens(L2TP), &[b"\xc8\x02", b"\x80\x08\x00\x00\x00\x00", b"\x00\x08", b"\x00\x0c"];
    openvpn 1536 "OpenVPN control packets, all wrappings" goldens(OPENVPN), OPENVPN_WORDS;
    openvpn_frames 2048 "OpenVPN over TCP" prefixed(1, framed(goldens(OPENVPN))), OPENVPN_WORDS;
    stun 1024 "STUN messages" goldens(STUN), STUN_WORDS;
    rdp 256 "RDP negotiation" goldens(&["src/wire/rdp/tests.rs"]), &[b"\x03\x00\x00\x13\x0e\xd0", b"\x02\x00\x08\x00", b"\x03\x00\x08\x00", b"\x01\x00\x08\x00"];
    sstp 512 "SSTP control messages" goldens(&["src/wire/sstp/tests.rs"]), &[b"\x10\x01", b"\x00\x04\x00\x28", b"\x00\x02\x00\x14"];
    wireguard 256 "WireGuard handshake messages" [goldens(&["src/probe/wireguard/tests.rs", "src/wire/wireguard/tests.rs"]), wireguard()].concat(), &[b"\x01\x00\x00\x00", b"\x02\x00\x00\x00", b"\x03\x00\x00\x00"];
    http_head 4096 "HTTP answers" heads(), HTTP_WORDS;
    icmp 512 "ICMP messages and what they quote" goldens(ICMP), &[b"\x08\x00", b"\x81\x00", b"\x0b\x00", b"\x20\x00"];
    }
    sockets {
    icmp_socket 512 "packets of raw ICMP sockets" prefixed(0, raw_icmp()), &[b"\x45\x00", b"\x03\x0d", b"\x0b\x00"];
    netlink 2048 "rtnetlink answers" netlink(), &[b"\x03\x00eth0\x00", b"\x08\x00\x01\x00", b"\x08\x00\x04\x00", b"\x0c\x00\x12\x00"];
    }
    probe {
    probe_icmp 1024 "the exchange icmp" exchanges("probe_icmp", goldens(ICMP)), &[b"\x00\x00"];
    probe_ike 2048 "the exchange ike" exchanges("probe_ike", goldens(IKE)), IKE_WORDS;
    probe_ike_natt 2048 "the exchange ike_natt" exchanges("probe_ike_natt", marked(goldens(IKE))), IKE_WORDS;
    probe_ikev1 2048 "the exchange ikev1" exchanges("probe_ikev1", goldens(IKEV1)), IKEV1_WORDS;
    probe_ikev1_natt 2048 "the exchange ikev1_natt" exchanges("probe_ikev1_natt", marked(goldens(IKEV1))), IKEV1_WORDS;
    probe_l2tp 1024 "the exchange l2tp" exchanges("probe_l2tp", goldens(L2TP)), &[b"\xc8\x02", b"\x80\x08\x00\x00\x00\x00"];
    probe_openvpn_udp 2048 "the exchange openvpn_udp" exchanges("probe_openvpn_udp", goldens(OPENVPN)), OPENVPN_WORDS;
    probe_openvpn_tcp 2048 "the exchange openvpn_tcp" exchanges("probe_openvpn_tcp", framed(goldens(OPENVPN))), OPENVPN_WORDS;
    probe_tcp 512 "the exchange tcp" exchanges("probe_tcp", vec![b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec()]), &[];
    probe_tls 4096 "the exchange tls" exchanges("probe_tls", tls()), TLS_WORDS;
    probe_dns 1024 "the exchange dns" exchanges("probe_dns", goldens(DNS)), &[b"\xc0\x0c", b"\x00\x01\x00\x01", b"\x85\x80", b"\x00\x00\x29"];
    probe_http 4096 "the exchange http" exchanges("probe_http", heads()), HTTP_WORDS;
    probe_rdp 512 "the exchange rdp" exchanges("probe_rdp", coalesced(goldens(&["src/wire/rdp/tests.rs"]))), &[b"\x03\x00\x00\x13\x0e\xd0"];
    probe_stun 1024 "the exchange stun" exchanges("probe_stun", goldens(STUN)), STUN_WORDS;
    probe_sslvpn 4096 "the exchange sslvpn" exchanges("probe_sslvpn", [tls(), framed(goldens(OPENVPN))].concat()), TLS_WORDS;
    probe_wireguard 3072 "the exchange wireguard" exchanges("probe_wireguard", goldens(&["src/probe/wireguard/tests.rs"])), &[b"\x02\x00\x00\x00", b"\x03\x00\x00\x00"];
    probe_trace 3072 "the exchange trace, all carriers" exchanges("probe_trace", [goldens(ICMP), goldens(IKE)].concat()), &[];
    }
    session {
    session 4096 "an IKE session whose peer has the keys" sessions(), IKE_WORDS;
    }
    text {
    openvpn_keys 4096 "OpenVPN key files" commented(contents(&["tests/golden/openvpn"], ".key")), KEY_WORDS;
    certificate 4096 "certificate chains" certificates(), DER_WORDS;
    roots 4096 "root certificates in PEM" pem(), &[b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n", b"MII"];
    config 4096 "the configuration" [contents(&["tests/config", "config/vpnprobe.yml"], ".yml"), configs()].concat(), CONFIG_WORDS;
    webfile 2048 "the web configuration" [contents(&["config"], "web.yml"), vec![WEB.to_vec()]].concat(), WEB_WORDS;
    words 256 "single values and flags" words(), &[b",tries=", b",retry=", b"aes256gcm16", b"-prfsha256", b"-ecp256", b"http://", b"Mbit", b"text/plain;version=0.0.4", b"q=0.5"];
    journal_line 2048 "lines of a journal" entries(), JOURNAL_WORDS;
    journal 8192 "journals, replayed" journals(), JOURNAL_WORDS;
    state 8192 "kept state" states(), JSON_WORDS;
    incident 4096 "incident records" vec![INCIDENT.to_vec()], JSON_WORDS;
    seen 4096 "the status document, as `ready` reads it" vec![SEEN.to_vec()], JSON_WORDS;
    explain 1024 "texts to explain" explained(), &[b"NO_PROPOSAL_CHOSEN", b"error 809", b"AUTHENTICATION_FAILED", b"timed out"];
    page 512 "remote text on its way out" vec![b"strongSwan".to_vec(), b"<script>alert(1)</script>\"\\\n\x1b[31m".to_vec(), "\u{202e}x\u{2066}".into(), b"strongSwan 5.9.8, charon".to_vec()], &[b"<", b"\"", b"\\", b"\n", b"\x1b[", b"\xe2\x80\xae", b"&lt;"];
    }
    web {
    http_server 4096 "requests to the web listener" requests(), HTTP_WORDS;
    }
}

/// What the target of this name starts from. The last, with which most spells begin, is one that it takes for
/// good, if there is one: of what is refused at once nothing that is changed has any consequence.
#[must_use]
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else { return Vec::new() };
    let mut seeds = (target.seeds)();
    let found = MODULES.iter().flat_map(|(_, targets)| *targets).find(|(other, _)| *other == name);
    if let Some((_, run)) = found
        && let Some(taken) =
            seeds.iter().rposition(|seed| seed.len() <= target.longest && reached(*run, seed))
    {
        let last = seeds.remove(taken);
        seeds.push(last);
    }
    seeds
}

/// The modules that have targets.
pub const MODULES: &[(&str, crate::Targets)] = &[
    ("wire", crate::wire::TARGETS),
    ("sockets", crate::sockets::TARGETS),
    ("exchange", crate::exchange::TARGETS),
    ("session", crate::session::TARGETS),
    ("text", crate::text::TARGETS),
    ("page", crate::page::TARGETS),
    ("web", crate::web::TARGETS),
];

/// Writes to the directory that `VPNPROBE_FUZZ_SEEDS` names: for each target `NAME/` with a file for each
/// seed, and `NAME.dict`; and `list.tsv` with name, longest input, binary and what it reads.
pub fn write(_: &[u8]) {
    let directory = PathBuf::from(std::env::var_os("VPNPROBE_FUZZ_SEEDS").expect("VPNPROBE_FUZZ_SEEDS"));
    let mut list = String::new();
    for target in TARGETS {
        let folder = directory.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (n, seed) in (target.seeds)().iter().filter(|seed| seed.len() <= target.longest).enumerate() {
            fs::write(folder.join(format!("seed-{n:04}")), seed).unwrap();
        }
        // libFuzzer takes no empty dictionary.
        let mut words = String::from("\"\\x00\\x00\"\n");
        for word in target.words {
            let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let _ = writeln!(words, "\"{bytes}\"");
        }
        fs::write(directory.join(format!("{}.dict", target.name)), words).unwrap();
        let _ = writeln!(list, "{}\t{}\t{}\t{}", target.name, target.longest, target.group, target.about);
    }
    fs::write(directory.join("list.tsv"), list).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seed_of_a_target_is_one_that_it_takes() {
        let refused = |(name, run): &&(&str, fn(&[u8]))| !reached(*run, seeds(name).last().unwrap());
        let dead: Vec<_> = MODULES.iter().flat_map(|(_, targets)| *targets).filter(refused).collect();
        assert!(dead.is_empty(), "{dead:?}");
    }

    #[test]
    fn every_target_is_in_its_binary_and_has_seeds() {
        let mut names: Vec<_> =
            MODULES.iter().flat_map(|(_, targets)| targets.iter()).map(|(name, _)| *name).collect();
        let mut listed: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(names, listed);
        for target in TARGETS {
            let file = format!("{}/src/bin/{}.rs", env!("CARGO_MANIFEST_DIR"), target.group);
            let binary = fs::read_to_string(&file).unwrap();
            let modules =
                MODULES.iter().filter(|(_, targets)| targets.iter().any(|(name, _)| *name == target.name));
            for (module, _) in modules {
                assert!(binary.contains(&format!("{module}::TARGETS")), "{} in {file}", target.name);
            }
            let seeds = (target.seeds)();
            assert!(seeds.iter().any(|seed| seed.len() <= target.longest), "{}", target.name);
        }
    }
}
