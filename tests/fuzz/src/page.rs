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

/// What there is in a text of octets that it may have only where we have put them.
#[derive(Default)]
struct Tally {
    /// Control characters of ASCII.
    control: usize,
    /// Those beyond, U+0080 to U+009F.
    beyond_ascii: usize,
    /// `<` and `>`.
    marks: [usize; 2],
}

impl Tally {
    /// By a table, with one comparison for eight octets: what is watched of one for each would take most of the
    /// time.
    fn of(text: &str) -> Self {
        static KINDS: [u8; 256] = kinds();
        let (mut found, mut before) = (Self::default(), 0);
        // Not even those that `+` would make for an overflow.
        let add = |count: &mut usize, bit: u8| *count = count.wrapping_add(usize::from(bit & 1));
        let mut take = |byte: u8| {
            let kind = KINDS[usize::from(byte)];
            add(&mut found.control, kind);
            add(&mut found.beyond_ascii, before >> 1 & kind >> 2);
            add(&mut found.marks[0], kind >> 3);
            add(&mut found.marks[1], kind >> 4);
            before = kind;
        };
        let (chunks, rest) = text.as_bytes().as_chunks::<8>();
        for chunk in chunks {
            take(chunk[0]);
            take(chunk[1]);
            take(chunk[2]);
            take(chunk[3]);
            take(chunk[4]);
            take(chunk[5]);
            take(chunk[6]);
            take(chunk[7]);
        }
        rest.iter().for_each(|byte| take(*byte));
        found
    }
}

/// Of each octet: 1 a control character, 2 the first octet of some beyond ASCII, 4 the second, 8 and 16 marks.
const fn kinds() -> [u8; 256] {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    loop {
        kinds[byte as usize] = match byte {
            0..b' ' | 0x7f => 1,
            0xc2 => 2,
            0x80..0xa0 => 4,
            b'<' => 8,
            b'>' => 16,
            _ => 0,
        };
        let Some(next) = byte.checked_add(1) else { return kinds };
        byte = next;
    }
}

/// Any bytes that a peer may call itself.
pub fn page(bytes: &[u8]) {
    static OWN: OnceLock<[usize; 2]> = OnceLock::new();
    let registry = registry(bytes);
    let text = String::from_utf8(registry.encode_text()).expect("the exposition is UTF-8");
    let tally = Tally::of(&text);
    assert_eq!(tally.control, text.lines().count(), "a control character");
    assert_eq!(tally.beyond_ascii, 0, "a control character");
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
    let marks = |html: &str| Tally::of(html).marks;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_in_a_text_is_counted_wherever_it_is() {
        for before in 0..40 {
            let text = format!("{}\n\x7f\u{a0}\u{80}\u{9f}\u{100}<<>é", "a".repeat(before));
            let tally = Tally::of(&text);
            assert_eq!((tally.control, tally.beyond_ascii, tally.marks), (2, 2, [2, 1]), "{text:?}");
        }
    }
}
