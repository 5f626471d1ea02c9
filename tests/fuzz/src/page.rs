//! What a peer says of itself, on its way to metrics, page and JSON: it comes out as text, never as markup,
//! as a control character or as another line.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use askama::Template as _;
use vpnprobe::export::metrics::{MemberInfo, Registry, SeriesKey};
use vpnprobe::export::page::Page;
use vpnprobe::export::status::Status;
use vpnprobe::probe::Kind;
use vpnprobe::sample::{Outcome, Report, Sample, SeriesId, Text};
use vpnprobe::time::{Clock, Timestamp, WallTime};

use crate::{Targets, text_canary};

/// The targets here.
pub const TARGETS: Targets = &[("page", page)];

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(100)
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix_secs(1_795_305_600)
    }
}

/// A registry of one target whose peer calls itself so.
pub fn registry(vendor: &[u8]) -> Registry {
    let registry = Registry::without_process(Arc::new(Stopped));
    let key = SeriesKey { target: "hq".into(), member: 1, probe: "ike".into(), egress: "default".into() };
    let series = registry.series(key, Kind::named("ike").unwrap(), &[0.1]);
    let mut report = Report::timed(Outcome::OK, Duration::from_millis(12));
    report.findings().details.text("vendor", Text::from_bytes(vendor));
    let at = Timestamp::from_secs(1);
    series.record(&Sample {
        series: SeriesId(0),
        seq: 0,
        form: "version",
        due: at,
        sent: Some(at),
        done: at,
        report,
    });
    let info = MemberInfo { address: None, vendor: Some(Text::from_bytes(vendor)), versions: None };
    registry.target_info("hq", 1, Some(info));
    registry
}

/// Any bytes that a peer may call itself.
pub fn page(bytes: &[u8]) {
    static OWN: OnceLock<[usize; 2]> = OnceLock::new();
    let registry = registry(bytes);
    let text = String::from_utf8(registry.encode_text()).expect("the exposition is UTF-8");
    // Of octets, not of characters: what is watched of each comparison would take most of the time.
    let control = |byte: &u8| *byte < b' ' || *byte == 0x7f;
    assert_eq!(text.bytes().filter(control).count(), text.lines().count(), "a control character");
    let beyond_ascii = text.as_bytes().windows(2).filter(|two| two[0] == 0xc2 && two[1] < 0xa0).count();
    assert_eq!(beyond_ascii, 0, "a control character");
    let mut shown = None;
    for line in text.lines() {
        if let Some(labels) = line.strip_prefix("vpnprobe_target_info{") {
            assert!(shown.is_none(), "a second line");
            shown = Some(labels);
        }
        assert!(line.is_empty() || line.starts_with("# ") || line.starts_with("vpnprobe_"), "{line:?}");
    }
    let labels = shown.expect("the line of the target");
    assert!(labels.ends_with("} 1"), "{labels:?}");
    let status = Status::read(&registry, Ok(()), None);
    let html = Page::new(&status, &[]).render().expect("the page");
    // The template has so many of its own.
    let marks = |html: &str| ['<', '>'].map(|mark| html.matches(mark).count());
    let own = OWN.get_or_init(|| {
        let status = Status::read(&self::registry(b""), Ok(()), None);
        marks(&Page::new(&status, &[]).render().expect("the page"))
    });
    assert_eq!(marks(&html), *own, "markup from outside");
    let json = serde_json::to_vec(&status).expect("the status");
    let back: serde_json::Value = serde_json::from_slice(&json).expect("the status is JSON");
    assert_eq!(back["targets"][0]["members"][0]["vendor"].as_str(), Some(Text::from_bytes(bytes).as_str()));
    text_canary(Text::from_bytes(bytes).as_str(), 12, 4);
}
