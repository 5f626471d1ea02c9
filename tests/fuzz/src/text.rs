//! What people and earlier runs write: configuration, state, incidents, journals, and words on the command
//! line. Whatever it is, it is taken or refused, and what is shown of it is shown as text.

use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use vpnprobe::budget::Budget;
use vpnprobe::config::{Config, WebFile};
use vpnprobe::detect::Knowledge;
use vpnprobe::detect::incident::Incident;
use vpnprobe::diagnose::Lang;
use vpnprobe::diagnose::{advice, counsel, incident};
use vpnprobe::journal::{Entry, Intake, Reader, parse, write_header, write_record};
use vpnprobe::probe::certificate::{Recorder, RootStore, Roots};
use vpnprobe::replay::{Change, Replay, Rules};
use vpnprobe::route::Prefix;
use vpnprobe::store::Snapshot;
use vpnprobe::time::WallTime;
use vpnprobe::wire::openvpn::{Digest as AuthDigest, Keys};

use crate::{Targets, text_canary};

/// The targets here.
pub const TARGETS: Targets = &[
    ("openvpn_keys", openvpn_keys),
    ("certificate", certificate),
    ("roots", roots),
    ("config", config),
    ("webfile", webfile),
    ("words", words),
    ("journal_line", journal_line),
    ("journal", journal),
    ("state", state),
    ("incident", incident),
    ("seen", seen),
    ("explain", explain),
];

const WALL: WallTime = WallTime::from_unix_secs(1_795_305_600);

/// The text of a key file of OpenVPN.
pub fn openvpn_keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let good = [
        Keys::tls_auth(text, None, AuthDigest::Sha256).is_ok(),
        Keys::tls_crypt(text).is_ok(),
        Keys::tls_crypt_v2(text).is_ok(),
    ];
    if good.contains(&true) {
        text_canary(text, 64, 0);
    }
}

/// The configuration: an effective configuration loads again as the same.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Nothing in a file's name may lead to what is on this host.
    if text.contains("_file") && text.contains('/') {
        return;
    }
    let path = Path::new("/nonexistent/vpnprobe.yml");
    match Config::load_text(path, text, []) {
        Ok(loaded) => {
            // One in four, as it takes as long as all the rest; which, its own octets say.
            if bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).is_multiple_of(4) {
                let again = Config::load_text(path, &loaded.to_yaml(), []);
                assert_eq!(again.as_ref().map(|again| &again.config), Ok(&loaded.config));
            }
            for target in &loaded.config.targets {
                text_canary(&target.name, 12, 5);
            }
        }
        Err(problems) => {
            let lines = problems.to_string();
            assert!(!lines.is_empty(), "refused, and nobody knows why");
        }
    }
}

/// The file of the web listener.
pub fn webfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match WebFile::parse(text, Path::new("/nonexistent")) {
        Ok(file) => {
            let _ = (file.protects(), file.files().count());
            for name in file.headers.keys() {
                assert!(name.is_ascii());
            }
            if let Some(policy) = file.headers.get("Content-Security-Policy") {
                text_canary(policy, 8, 2);
            }
        }
        Err(problem) => assert!(problem.starts_with(':'), "{problem}"),
    }
}

/// A line of a journal: what is read is written and read again as the same.
pub fn journal_line(bytes: &[u8]) {
    let mut again = Vec::new();
    match parse(bytes) {
        Ok(Entry::Record(record)) => write_record(&record, &mut again).unwrap(),
        Ok(Entry::Header(header)) => {
            text_canary(&header.version, 10, 3);
            write_header(&header, &mut again).unwrap();
        }
        Err(_) => return,
    }
    assert_eq!(parse(&again[..again.len() - 1]), parse(bytes));
}

/// The first lines of every journal here.
pub const HEADER: &str = r#"{"journal":{"schema":1,"version":"0.1.0","run":1,"file":1,"wall":1795305600000000000,"now":1,"outage":[20000000000,5,10000000000]}}"#;
/// The line of a series.
pub const PLACE: &str = r#"{"place":{"series":0,"now":1,"target":"hq","member":1,"address":"192.0.2.1","probe":"ike","kind":"ike","egress":"default","carrier":"udp","port":500,"interval":1000000000,"timeout":1000000000,"flap":[900000000000,3000,750,12000],"profiles":[["cisco_asa","periodic",10000000000,[2000000000,2000000000,2000000000]]]}}"#;

/// A whole journal, told to the detectors.
pub fn journal(bytes: &[u8]) {
    let input = [HEADER.as_bytes(), b"\n", PLACE.as_bytes(), b"\n", bytes].concat();
    for lenient in [false, true] {
        let rules = Rules { profiles: vec!["cisco_asa,tries=5".parse().unwrap()], ..Rules::default() };
        let mut replay = Replay::new(rules);
        let _ = replay.read(&mut Reader::new("fuzz".into(), Cursor::new(&input), lenient));
        replay.finish();
        for key in replay.before().tallies().keys() {
            text_canary(&key.0, 8, 2);
        }
    }
}

/// What an earlier process knew. The checksum is put right, or hardly an input would come past it.
pub fn state(bytes: &[u8]) {
    let body = bytes.trim_ascii();
    let sum: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = format!("{{\"schema\":1,\"bytes\":{},\"sha256\":\"{sum}\"}}\n", body.len()).into_bytes();
    file.extend_from_slice(body);
    file.push(b'\n');
    let _ = Snapshot::from_bytes(bytes, WALL);
    let Ok((begin, snapshot)) = Snapshot::from_bytes(&file, WALL) else { return };
    let again = snapshot.to_bytes().expect("what was read can be written");
    Snapshot::from_bytes(&again, WALL).expect("what was written can be read");
    let mut budget = Budget::new(vpnprobe::budget::Limits::default(), begin);
    budget.resume(snapshot.budget, begin);
    let knowledge: Knowledge = snapshot.knowledge;
    for kept in &knowledge.series {
        text_canary(&kept.key.target, 8, 2);
    }
    let mut intake = Intake::default();
    intake.resume(knowledge);
    let _ = intake.keep(begin + Duration::from_secs(1));
}

/// The file of an incident, as people and the API are shown it.
pub fn incident(bytes: &[u8]) {
    let Ok(found) = serde_json::from_slice::<Incident>(bytes) else { return };
    for lang in [Lang::En, Lang::Ja] {
        let shown = incident::show(&found, lang);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "a control character: {shown:?}");
    }
    let again = serde_json::to_vec(&found).expect("what was read can be written");
    let back: Incident = serde_json::from_slice(&again).expect("what was written can be read");
    assert_eq!(back.id, found.id);
    text_canary(&found.target, 8, 2);
}

/// A text that somebody wants explained.
pub fn explain(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let meanings = advice::explain(&text);
    assert!(meanings.len() <= 3);
    for lang in [Lang::En, Lang::Ja] {
        let _ = counsel::explained(&meanings, lang);
    }
    if !meanings.is_empty() {
        text_canary(&*text, 24, 0);
    }
}

/// Words of the command line and single values of the configuration: which of them, then the word.
pub fn words(bytes: &[u8]) {
    let Some((which, word)) = bytes.split_first() else { return };
    let Ok(word) = std::str::from_utf8(word) else { return };
    match which % 9 {
        0 => {
            if let Ok(change) = word.parse::<Change>() {
                for profile in vpnprobe::detect::dpd::built_in() {
                    if let Ok(changed) = change.apply(&profile) {
                        assert!(changed.waits.len() <= 1_000_000);
                    }
                }
                text_canary(&change.name, 8, 2);
            }
        }
        1 => drop(word.parse::<Prefix>().map(|prefix| assert_eq!(prefix.to_string().parse(), Ok(prefix)))),
        2 => drop(word.parse::<vpnprobe::probe::ike::Proposal>()),
        3 => drop(word.parse::<vpnprobe::probe::ikev1::Proposal>()),
        4 => drop(word.parse::<vpnprobe::export::client::Url>().map(|url| url.to_string())),
        5 => drop(word.parse::<vpnprobe::config::Rate>()),
        6 => drop(vpnprobe::probe::wireguard::Settings::key(word)),
        7 => drop(vpnprobe::store::wanted::since(word, WALL)),
        _ => drop(vpnprobe::export::http::Format::negotiate(word)),
    }
}

/// A chain of certificates: how many octets the first has (2), the first, and one more. It is judged with
/// and without roots.
pub fn certificate(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let (leaf, other) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    let recorder = Recorder::new(WALL);
    let more: Vec<CertificateDer<'_>> = (!other.is_empty()).then(|| other.into()).into_iter().collect();
    let name = ServerName::try_from("vpn.example.test").unwrap();
    let _ = recorder.verify_server_cert(
        &leaf.into(),
        &more,
        &name,
        &[],
        UnixTime::since_unix_epoch(Duration::ZERO),
    );
    for name in [None, Some("vpn.example.test"), Some("192.0.2.1")] {
        let judgement = recorder.judge(&Roots::None, name, WALL).expect("a chain was seen");
        let mut findings = vpnprobe::sample::Findings::default();
        judgement.note(&mut findings);
        if let Some(issuer) = findings.details.get_text("issuer") {
            // Inside the second attribute, as the first is a country mostly.
            text_canary(issuer, 20, 12);
        }
    }
}

/// Root certificates in PEM.
pub fn roots(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = RootStore::from_pem(text) {
        assert!(!error.to_string().is_empty());
    }
    if text.contains("-----BEGIN CERTIFICATE-----") {
        text_canary(text, 64, 0);
    }
}

/// The document that a daemon answers `vpnprobe ready` with, and what is made of it.
pub fn seen(bytes: &[u8]) {
    use vpnprobe::ready::render::Asked;
    use vpnprobe::ready::teams::Call;
    use vpnprobe::ready::{Question, judge, render, seen::Document};

    static CONFIG: OnceLock<Config> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Config::single("192.0.2.1").unwrap());
    let Ok(document) = serde_json::from_slice::<Document>(bytes) else { return };
    let (Some(target), Some(found)) = (config.targets.first(), document.targets.first()) else { return };
    text_canary(&found.target, 8, 2);
    let profile = "video+sharing".parse().unwrap();
    let question = Question { people: 40, profile, call: Call::Meeting, sending: None, tunnel: None };
    let ready = judge(&question, target, Ok(found));
    let time = Some(document.time.clone());
    let asked = Asked { url: "http://127.0.0.1:10069".to_owned(), answered: true, error: None, time };
    for lang in [Lang::En, Lang::Ja] {
        let _ = render::text(&ready, &asked, WALL, lang);
        let json = render::json(&ready, &asked, WALL, lang).expect("JSON");
        serde_json::from_str::<serde_json::Value>(&json).expect("it is JSON");
    }
}
