//! A handshake with wireguard-go 20220316 (captured): with these keys, ephemeral key and time it accepted
//! the initiation, and under load it answered another one with a cookie reply.

use super::*;
use crate::entropy::Generator;
use crate::probe::conversation::tests::spec;
use crate::probe::{Event, Handled, IcmpError, Settings as All, Step};
use crate::time::Timestamp;

const INITIATION: &str = "0100000004030201675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52fd681fc07926e3e98\
        db1e75fbe837df55dc8c47198ec6461fe3699e6cea51df153203c8753678da5e18497696a9a29b594f5f8572e0871300\
        87cd8420b7219f9205337e254c9df04a2ddd3daf1b0a8200ba6032aaf1663192b78f2755000000000000000000000000\
        00000000";
const RESPONSE: &str = "02000000280021a504030201eb9f3d2760d6c6eb629c98013e6ec84d1c12e6926817221bc0bf93c642e61b21e8c7e283\
        0be61236d2f9ea96aa1c63bcc4d1e51c8f5d3c15b97acdb995c82aac00000000000000000000000000000000";
/// Under load, to an initiation of which `mac1` was good and the rest random.
const COOKIE: &str = "03000000a6000000e63f743042bda9124719324443c0f31f44fbd99133cdd6cf2ce22761cdb26956f5727de8aa3e4a9b\
        13a75b2068b11a80c3f3919b84e12b6d";
const COOKIE_MAC1: &str = "32f21a3a8e74b905c9898ce6a0147bb6";
/// 2026-11-22T00:00:00Z.
const WALL: WallTime = WallTime::from_unix_secs(1_795_305_600);
const T0: Timestamp = Timestamp::from_secs(10);

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// 32 octets that count up.
fn from(first: u8) -> [u8; 32] {
    std::array::from_fn(|n| first + u8::try_from(n).unwrap())
}

fn keys() -> noise::Keys {
    // What `wg pubkey` makes of the server's private key, 0 to 31.
    let peer = Settings::key("j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8=\n").unwrap();
    assert_eq!(PublicKey::from(&StaticSecret::from(from(0))).to_bytes(), peer);
    noise::Keys { private: StaticSecret::from(from(0x20)), peer, preshared: Zeroizing::new(from(0x40)) }
}

fn pending() -> noise::Pending {
    noise::initiate(&keys(), from(0x60), 0x0102_0304, &tai64n(WALL))
}

#[test]
fn the_initiation_is_the_one_that_was_accepted() {
    assert_eq!(pending().message, hex(INITIATION));
}

#[test]
fn the_response_proves_and_nothing_else_does() {
    let bytes = hex(RESPONSE);
    assert!(noise::proves(&pending(), &keys(), &Reply::decode(&bytes).unwrap()));
    // The ephemeral key and the sealed nothing: bit 255 of a public key is ignored (RFC 7748, 5).
    for at in (12..60).filter(|at| *at != 43) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(!noise::proves(&pending(), &keys(), &Reply::decode(&changed).unwrap()), "{at}");
    }
    let reply = Reply::decode(&bytes).unwrap();
    let other = noise::Keys { preshared: Zeroizing::default(), ..keys() };
    assert!(!noise::proves(&pending(), &other, &reply), "without the pre-shared key");
    let later = noise::initiate(&keys(), from(0x60), 0x0102_0304, &tai64n(WallTime::from_unix_secs(1_795_305_601)));
    assert!(!noise::proves(&later, &keys(), &reply), "another initiation");
}

#[test]
fn a_cookie_reply_proves_for_its_own_initiation_only() {
    let reply = Reply::decode(&hex(COOKIE)).unwrap();
    let mut mac1: [u8; 16] = hex(COOKIE_MAC1).try_into().unwrap();
    assert!(noise::proves(&noise::Pending::of_mac1(mac1), &keys(), &reply));
    mac1[0] ^= 1;
    assert!(!noise::proves(&noise::Pending::of_mac1(mac1), &keys(), &reply));
}

#[test]
fn the_time_is_tai64n() {
    // The epoch and its ten leap seconds (libtai's tai64n format: 2^62 is 1970 in TAI).
    assert_eq!(tai64n(WallTime::from_unix_secs(0)), [0x40, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0]);
    assert_eq!(tai64n(WallTime::from_unix_nanos(1_000_000_005))[7..], [11, 0, 0, 0, 5]);
}

#[test]
fn keys_are_read_as_wg_writes_them() {
    assert_eq!(Settings::key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), Some(from(0)));
    for bad in ["", "AAAA", "not a key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ=="] {
        assert_eq!(Settings::key(bad), None, "{bad}");
    }
    let settings = Settings::new(from(0x20), from(0), None);
    assert_eq!(format!("{settings:?}"), "Settings(keyed)");
    assert!(settings != Settings::default() && settings == settings.clone());
}

/// Begun, sent, and its datagram.
fn begun(settings: Settings) -> (Box<dyn Exchange>, Vec<u8>) {
    let spec = spec("wireguard", None, All { wireguard: settings, ..All::default() });
    let start = Start {
        now: T0,
        wall: WALL,
        peer: "203.0.113.10".parse().unwrap(),
        local: None,
        timeout: spec.timeout,
        form: &(spec.kind.forms)(&spec)[0],
        token: 0,
        entropy: &mut Generator::seeded(3),
    };
    let mut exchange = (spec.kind.begin)(&spec, start);
    let mut out = Vec::new();
    assert_eq!(exchange.poll(T0, &mut out), Step::Send);
    exchange.handle(Event::Sent, T0);
    assert_eq!(out.len(), crate::wire::wireguard::INITIATION);
    (exchange, out)
}

fn keyed() -> Settings {
    Settings { keys: Some(keys()) }
}

#[test]
fn silence_proves_something_only_with_a_key() {
    let silence = |settings| {
        let (mut exchange, _) = begun(settings);
        let end = T0 + Duration::from_secs(2);
        assert_eq!(exchange.poll(T0, &mut Vec::new()), Step::Wait(end));
        let Step::Report(report) = exchange.poll(end, &mut Vec::new()) else { panic!("no report") };
        assert_eq!(exchange.poll(end, &mut Vec::new()), Step::End);
        report
    };
    assert_eq!(silence(keyed()), Report::new(Outcome::Lost(Reason::NoAnswer)));
    let unkeyed = silence(Settings::default());
    assert_eq!(unkeyed.outcome, Outcome::Unsent(Fault::ExpectedSilence));
    assert!(unkeyed.findings.unwrap().details.is("key_required"));
}

#[test]
fn what_is_not_ours_changes_nothing_and_icmp_is_evidence() {
    for settings in [keyed(), Settings::default()] {
        let (mut exchange, sent) = begun(settings);
        let from = "203.0.113.10:51820".parse().unwrap();
        let mut echoed = hex(RESPONSE);
        // Our own name for the session, and yet no proof.
        echoed[8..12].copy_from_slice(&sent[4..8]);
        for (bytes, why) in [
            (hex(RESPONSE), Mismatch::Token),
            (echoed, Mismatch::Token),
            (hex(COOKIE), Mismatch::Token),
            (sent.clone(), Mismatch::Unexpected),
            (b"hello".to_vec(), Mismatch::Malformed),
        ] {
            let event = Event::Received { from, bytes: &bytes };
            assert_eq!(exchange.handle(event, T0), Handled::NotMine(why));
        }
        let error = IcmpError::Unreachable(Reason::PortUnreachable);
        let earlier = Event::Icmp { from: None, error, quoted: &hex(INITIATION) };
        assert_eq!(exchange.handle(earlier, T0), Handled::NotMine(Mismatch::Token));
        exchange.handle(Event::Icmp { from: None, error, quoted: &sent }, T0);
        let step = exchange.poll(T0, &mut Vec::new());
        assert_eq!(step, Step::Report(Report::new(Outcome::Refused(Reason::PortUnreachable))));
    }
}

#[test]
fn a_proof_is_an_answer() {
    for (reply, under_load) in [(RESPONSE, false), (COOKIE, true)] {
        let bytes = hex(reply);
        let sender = Reply::decode(&bytes).unwrap().receiver();
        let pending = if under_load { noise::Pending::of_mac1(hex(COOKIE_MAC1).try_into().unwrap()) } else { pending() };
        let start = Start {
            now: T0,
            wall: WALL,
            peer: "203.0.113.10".parse().unwrap(),
            local: None,
            timeout: Duration::from_secs(2),
            form: &KEYED[0],
            token: 0,
            entropy: &mut Generator::seeded(7),
        };
        let mut exchange =
            Datagram::new(51820, &start, Handshake { keyed: true, keys: keys(), sender, pending });
        assert_eq!(exchange.poll(T0, &mut Vec::new()), Step::Send);
        exchange.handle(Event::Sent, T0);
        let from = "203.0.113.10:51820".parse().unwrap();
        let event = Event::Received { from, bytes: &bytes };
        assert_eq!(exchange.handle(event, T0 + Duration::from_millis(4)), Handled::Taken);
        let Step::Report(report) = exchange.poll(T0, &mut Vec::new()) else { panic!("no report") };
        assert_eq!((report.outcome, report.rtt), (Outcome::OK, Some(Duration::from_millis(4))));
        assert_eq!(report.findings.is_some_and(|findings| findings.under_load), under_load);
    }
}
