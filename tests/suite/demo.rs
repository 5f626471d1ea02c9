//! The demo: its concentrator against our own exchanges over real loopback sockets, and the whole of it
//! with the daemon. No assertion looks at how long anything took.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use vpnprobe::app::Daemon;
use vpnprobe::config::{Config, Egress};
use vpnprobe::demo::concentrator::{Concentrator, Options, Ports};
use vpnprobe::demo::{config, story};
use vpnprobe::entropy::Generator;
use vpnprobe::net::Driver;
use vpnprobe::net::clock::SystemClock;
use vpnprobe::net::driver::{Happening, Tag};
use vpnprobe::probe::{Form, Spec};
use vpnprobe::sample::{Outcome, Reason, Report, SeriesId};
use vpnprobe::time::Clock as _;
use vpnprobe::wire::openvpn::Keys;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A concentrator on any free ports whose story began so long ago.
fn concentrator(story: story::Story, ago: u64, keys: Keys) -> (Concentrator, Config) {
    let clock = SystemClock::start();
    let options = Options { ports: Ports::ANY, story, keys, ..Options::default() };
    let concentrator =
        Concentrator::start(&options, clock, Duration::from_secs(ago), Box::new(Generator::from_os()))
            .unwrap();
    let loaded = config(HERE, concentrator.ports()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    (concentrator, loaded.config)
}

fn well() -> (Concentrator, Config) {
    concentrator(story::Story::None, 0, Keys::plain())
}

/// Runs every form of every probe once, one after the other; the reports by probe and form.
fn ask(config: &Config, wanted: impl Fn(&Spec, &Form) -> bool) -> BTreeMap<(String, &'static str), Report> {
    let mut driver = Driver::new(SystemClock::start(), Box::new(Generator::from_os())).unwrap();
    let mut reports = BTreeMap::new();
    for spec in &config.targets[0].probes {
        for form in (spec.kind.forms)(spec).iter().filter(|form| wanted(spec, form)) {
            let flow = driver.open(HERE, spec.port, spec.kind.flow, Arc::new(Egress::default()));
            let tag = Tag { series: SeriesId(0), seq: 0, due: driver.clock().now(), form };
            let mut happened = Vec::new();
            driver.begin(flow, tag, spec, &mut happened);
            let report = loop {
                let done = happened.drain(..).find_map(|happening| match happening {
                    Happening::Done { report, .. } => Some(report),
                    _ => None,
                });
                if let Some(report) = done {
                    break report;
                }
                let until = driver.clock().now() + Duration::from_millis(50);
                driver.turn(until, &mut happened).unwrap();
            };
            // What is left to say to the peer (a tunnel closed) goes out.
            while driver.unfinished() > 0 {
                let until = driver.clock().now() + Duration::from_millis(50);
                driver.turn(until, &mut happened).unwrap();
            }
            driver.close(flow, &mut happened);
            reports.insert((spec.name.clone(), form.name), report);
        }
    }
    reports
}

fn text<'a>(
    reports: &'a BTreeMap<(String, &'static str), Report>,
    probe: &str,
    form: &'static str,
    key: &str,
) -> &'a str {
    let report = &reports[&(probe.to_owned(), form)];
    let details = report.findings.as_ref().map(|findings| &findings.details);
    details.and_then(|details| details.get_text(key)).unwrap_or_else(|| panic!("no {key}: {report:?}"))
}

#[test]
fn every_form_of_every_probe_is_answered() {
    let (concentrator, config) = well();
    let reports = ask(&config, |_, _| true);
    for (what, report) in &reports {
        assert_eq!(report.outcome, Outcome::OK, "{what:?}: {report:?}");
        assert!(report.rtt.is_some(), "{what:?}");
    }
    let probes: Vec<&str> = reports.keys().map(|(probe, _)| probe.as_str()).collect();
    for probe in ["ike", "ike_natt", "l2tp", "openvpn_udp", "openvpn_tcp", "tls", "dns"] {
        assert!(probes.contains(&probe), "{probe}");
    }
    for probe in ["ike", "ike_natt"] {
        assert_eq!(text(&reports, probe, "policy", "answer"), "invalid_ke_payload");
        assert_eq!(text(&reports, probe, "version", "answer"), "invalid_major_version");
        assert_eq!(text(&reports, probe, "init", "answer"), "sa");
    }
    concentrator.stop();
}

#[test]
fn a_wrapped_control_channel_is_answered_with_the_key_and_only_with_it() {
    let key = format!(
        "-----BEGIN OpenVPN Static key V1-----\n{}-----END OpenVPN Static key V1-----\n",
        "0123456789abcdef0123456789abcdef\n".repeat(16)
    );
    let keys = Keys::tls_crypt(&key).unwrap();
    let (concentrator, mut config) = concentrator(story::Story::None, 0, keys.clone());
    let openvpn = |spec: &Spec, _: &Form| spec.name.starts_with("openvpn");
    let without = ask(&config, openvpn);
    assert_eq!(without[&("openvpn_udp".to_owned(), "reset")].outcome, Outcome::Lost(Reason::NoAnswer));
    assert_eq!(without[&("openvpn_tcp".to_owned(), "reset")].outcome, Outcome::Refused(Reason::KeyRequired));
    for spec in &mut Arc::make_mut(&mut config.targets[0]).probes {
        Arc::make_mut(&mut Arc::make_mut(spec).settings).openvpn.keys = keys.clone();
    }
    for (what, report) in ask(&config, openvpn) {
        assert_eq!(report.outcome, Outcome::OK, "{what:?}: {report:?}");
    }
    concentrator.stop();
}

/// Each fault, as the probes see it: in the middle of its chapter.
#[test]
fn the_story_happens() {
    let lost = Outcome::Lost(Reason::NoAnswer);
    let expired = Outcome::Answered(Some(Reason::CertExpired));
    let recurring = |_: &Spec, form: &Form| !form.rare && form.name != "version";
    for (at, wrong) in [
        (10, &[][..]),
        (55, &[("ike", lost), ("ike_natt", lost)]),
        (90, &[("openvpn_udp", lost)]),
        (180, &[("tls", expired)]),
        (220, &[("ike_natt", lost)]),
        (260, &[]),
    ] {
        let (concentrator, config) = concentrator(story::Story::Loop, at, Keys::plain());
        let reports = ask(&config, recurring);
        for ((probe, _), report) in &reports {
            let fault = wrong.iter().find(|(name, _)| name == probe);
            assert_eq!(report.outcome, fault.map_or(Outcome::OK, |(_, outcome)| *outcome), "{at}: {probe}");
        }
        let loaded = reports[&("ike".to_owned(), "policy")].findings.as_ref();
        assert_eq!(loaded.is_some_and(|findings| findings.under_load), at == 260);
        concentrator.stop();
    }
}

#[test]
fn a_port_that_is_taken_is_replaced_or_named() {
    let taken = UdpSocket::bind((HERE, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let start = |elsewhere| {
        let options = Options { ports: Ports { ike: port, ..Ports::ANY }, elsewhere, ..Options::default() };
        let clock = SystemClock::start();
        Concentrator::start(&options, clock, Duration::ZERO, Box::new(Generator::from_os()))
    };
    assert_ne!(start(true).unwrap().ports().ike, port);
    let error = start(false).unwrap_err().to_string();
    assert!(error.contains(&format!("UDP 127.0.0.1:{port} for IKE")), "{error}");
}

#[test]
fn rubbish_ends_nothing() {
    let (concentrator, config) = well();
    let ports = concentrator.ports();
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    for port in [ports.ike, ports.ike_natt, ports.l2tp, ports.openvpn_udp, ports.dns] {
        for len in 0..200_u8 {
            let bytes: Vec<u8> = (0..len).map(|byte| byte.wrapping_mul(len)).collect();
            socket.send_to(&bytes, (HERE, port)).unwrap();
        }
    }
    for port in [ports.openvpn_tcp, ports.tls, ports.dns] {
        let mut stream = TcpStream::connect((HERE, port)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        drop(stream);
    }
    for (what, report) in ask(&config, |_, form| !form.rare) {
        assert_eq!(report.outcome, Outcome::OK, "{what:?}: {report:?}");
    }
    concentrator.stop();
}

fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// With the daemon: every probe has an answered sample, and what the story tells people to watch is
/// there to be watched.
#[test]
fn the_whole_demo_answers_every_probe() {
    let clock = SystemClock::start();
    let options = Options { ports: Ports::ANY, story: story::Story::None, ..Options::default() };
    let concentrator =
        Concentrator::start(&options, clock, Duration::ZERO, Box::new(Generator::from_os())).unwrap();
    let loaded = config(HERE, concentrator.ports()).unwrap();
    let daemon = Daemon::start(loaded, vec![TcpListener::bind((HERE, 0)).unwrap()]).unwrap();
    let address = daemon.addresses()[0];
    let answered = |metrics: &str, probe: &str| {
        let probe = format!("probe=\"{probe}\"");
        let mut counts = metrics.lines().filter(|line| line.starts_with("vpnprobe_probe_rtt_seconds_count{"));
        counts.any(|line| line.contains(&probe) && !line.ends_with(" 0"))
    };
    let mut missing = vec!["ike", "ike_natt", "l2tp", "openvpn_udp", "openvpn_tcp", "tls", "dns"];
    let mut metrics = String::new();
    for _ in 0..600 {
        metrics = scrape(address);
        missing.retain(|probe| !answered(&metrics, probe));
        if missing.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(missing.is_empty(), "{missing:?} never answered:\n{metrics}");
    for chapter in story::CHAPTERS {
        let words = chapter.sentence.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        for name in words.filter(|word| word.starts_with("vpnprobe_")) {
            assert!(metrics.contains(&format!("\n{name}{{")), "there is no {name}");
        }
    }
    daemon.stop().unwrap();
    concentrator.stop();
}
