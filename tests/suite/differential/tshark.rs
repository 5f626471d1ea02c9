//! Packets in a capture file, and what tshark shows of them.

use std::collections::BTreeMap;
use std::process::Command;

/// What a field must show, all its occurrences in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Numbers(Vec<u64>),
    Octets(Vec<Vec<u8>>),
    Text(String),
}

/// A packet, how tshark is to call it, and what it is to show.
pub struct Case {
    pub about: String,
    pub packet: Vec<u8>,
    pub fields: Vec<(&'static str, Shown)>,
}

/// The transport that a message goes in.
#[derive(Debug, Clone, Copy)]
pub enum Over {
    Udp(u16),
    Tcp(u16),
    Icmp,
}

/// An IPv4 packet (RFC 791) with the message in it. Each has a port of its own, so that no two are taken for
/// parts of one conversation.
pub fn packet(over: Over, number: usize, message: &[u8]) -> Vec<u8> {
    let source = u16::try_from(20_000 + number % 40_000).unwrap().to_be_bytes();
    let (protocol, header) = match over {
        Over::Udp(port) => {
            let length = u16::try_from(8 + message.len()).unwrap().to_be_bytes();
            (17, [&source[..], &port.to_be_bytes(), &length, &[0, 0]].concat())
        }
        Over::Tcp(port) => {
            let rest = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
            (6, [&source[..], &port.to_be_bytes(), &rest].concat())
        }
        Over::Icmp => (1, Vec::new()),
    };
    let length = u16::try_from(20 + header.len() + message.len()).unwrap().to_be_bytes();
    let mut ip = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    ip.extend([192, 0, 2, 10, 203, 0, 113, 10]);
    let mut sum: u32 = ip.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [ip, header, message.to_vec()].concat()
}

/// What is asked of every packet beside its own fields: whether anything is malformed, and the expert's
/// opinions of it.
const ALWAYS: [&str; 3] = ["_ws.malformed", "_ws.expert.severity", "_ws.expert.message"];
/// From this severity on an opinion is an error (epan/proto.h: `PI_ERROR`); below are warnings and notes.
const ERROR: u64 = 0x0080_0000;

/// Holds every case against what tshark shows.
pub fn check(cases: &[Case]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("packets.pcap");
    // A classic capture file of raw IP (LINKTYPE_RAW, 101).
    let mut capture = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 101] {
        capture.extend(word.to_ne_bytes());
    }
    // The version is two words of 16 bits.
    capture[4..8].copy_from_slice(&[2_u16.to_ne_bytes(), 4_u16.to_ne_bytes()].concat());
    for (number, case) in cases.iter().enumerate() {
        let length = u32::try_from(case.packet.len()).unwrap();
        for word in [1_800_000_000 + u32::try_from(number).unwrap(), 0, length, length] {
            capture.extend(word.to_ne_bytes());
        }
        capture.extend(&case.packet);
    }
    std::fs::write(&file, capture).unwrap();
    let mut names: Vec<&str> = ALWAYS.to_vec();
    for (name, _) in cases.iter().flat_map(|case| &case.fields) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let mut command = Command::new("tshark");
    // Which wrapping OpenVPN has it cannot know, and would guess from the first octets: here there is none.
    command.args(["-o", "openvpn.tls_auth_detection_override:TRUE"]);
    command.args([
        "-n",
        "-T",
        "fields",
        "-E",
        "separator=/t",
        "-E",
        "occurrence=a",
        "-E",
        "aggregator=|",
        "-r",
    ]);
    command.arg(&file).args(names.iter().flat_map(|name| ["-e", name]));
    // Nobody's preferences, and no home to look for them in.
    let shown = command.env("HOME", directory.path()).output();
    let shown = shown.expect("tshark is missing; Debian has it in the package tshark");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), cases.len(), "tshark shows another number of packets");
    let mut wrong = Vec::new();
    for (case, line) in cases.iter().zip(lines) {
        let values: BTreeMap<&str, &str> = names.iter().copied().zip(line.split('\t')).collect();
        wrong.extend(differences(case, &values));
    }
    let count = wrong.len();
    wrong.truncate(8);
    assert!(wrong.is_empty(), "{count} of {} packets; the first:\n{}", cases.len(), wrong.join("\n"));
}

fn differences(case: &Case, values: &BTreeMap<&str, &str>) -> Option<String> {
    let mut wrong = Vec::new();
    let errors = numbers(values[ALWAYS[1]]).unwrap_or_default();
    if !values[ALWAYS[0]].is_empty() || errors.iter().any(|severity| *severity >= ERROR) {
        wrong.push(format!("malformed {:?}: {:?}", values[ALWAYS[0]], values[ALWAYS[2]]));
    }
    for (name, expected) in &case.fields {
        let text = values[name];
        let same = match expected {
            Shown::Numbers(expected) => numbers(text).is_some_and(|found| found == *expected),
            Shown::Octets(expected) => {
                let hex =
                    |octets: &Vec<u8>| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
                text.replace(':', "") == expected.iter().map(hex).collect::<Vec<_>>().join("|")
            }
            Shown::Text(expected) => text == expected,
        };
        if !same {
            wrong.push(format!("{name}: {text:?}, expected {expected:x?}"));
        }
    }
    let hex: String = case.packet.iter().map(|octet| format!("{octet:02x}")).collect();
    (!wrong.is_empty()).then(|| format!("{}: {}\n    {hex}", case.about, wrong.join("; ")))
}

/// Decimal, hexadecimal, or true and false.
fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split('|')
        .filter(|word| !word.is_empty())
        .map(|word| match (word, word.strip_prefix("0x")) {
            ("True", _) => Some(1),
            ("False", _) => Some(0),
            (_, Some(hex)) => u64::from_str_radix(hex, 16).ok(),
            (word, None) => word.parse().ok(),
        })
        .collect()
}
