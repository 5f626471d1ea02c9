mod reference;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::*;
use crate::detect::liveness::State;
use crate::probe::Mismatch;
use crate::sample::{Fault, Outcome, Reason, Report, Sample, SeriesId, Text};
use crate::time::{Timestamp, WallTime};

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO
    }
    fn wall(&self) -> WallTime {
        WallTime::from_unix_secs(1_795_305_600)
    }
}

const BUCKETS: &[f64] = &[0.001, 0.01, 0.1];

fn registry() -> Registry {
    Registry::without_process(Arc::new(Stopped))
}

fn key(probe: &str) -> SeriesKey {
    SeriesKey { target: "hq".into(), member: 1, probe: probe.into(), egress: "default".into() }
}

fn kind(name: &str) -> Kind {
    Kind::named(name).unwrap()
}

fn sample(sent: bool, report: Report) -> Sample {
    let at = Timestamp::from_secs(1);
    Sample {
        series: SeriesId(0),
        seq: 0,
        form: "version",
        due: at,
        sent: sent.then_some(at),
        done: at,
        report,
    }
}

fn text(registry: &Registry) -> String {
    String::from_utf8(registry.encode_text()).unwrap()
}

/// The value of the one line that starts with `name` and has all of `labels`.
fn value(text: &str, name: &str, labels: &str) -> Option<f64> {
    let has = |line: &&str| {
        let (series, _) = line.rsplit_once(' ').unwrap();
        series.split('{').next() == Some(name) && labels.split(',').all(|label| series.contains(label))
    };
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).filter(has).collect();
    assert!(lines.len() <= 1, "{lines:?}");
    lines.first().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// The crate checks names and labels, and that no two are the same.
#[test]
fn every_family_is_well_formed() {
    let registry = prometheus::Registry::new();
    for family in Family::ALL {
        let labels: Vec<_> = [family.scope().labels(), family.extra()].concat();
        let options = prometheus::Opts::new(family.name(), family.help());
        let vector = prometheus::GaugeVec::new(options, &labels).unwrap();
        registry.register(Box::new(vector)).unwrap();
    }
    assert_eq!(Family::sorted().len(), Family::ALL.len());
    assert!(Family::sorted().is_sorted_by(|a, b| a.name() < b.name()));
}

#[test]
fn series_are_there_from_the_start_and_the_unknown_is_not_said() {
    let registry = registry();
    let series = registry.series(key("ike"), kind("ike"), BUCKETS);
    let page = text(&registry);
    assert_eq!(value(&page, "vpnprobe_probes_total", "probe=\"ike\""), Some(0.0));
    assert_eq!(value(&page, "vpnprobe_probe_rtt_seconds_count", "probe=\"ike\""), Some(0.0));
    assert_eq!(value(&page, "vpnprobe_last_attempt_timestamp_seconds", "probe=\"ike\""), Some(0.0));
    for fault in Fault::ALL {
        let label = format!("fault=\"{fault}\"");
        assert_eq!(value(&page, "vpnprobe_probe_unsent_total", &label), Some(0.0));
    }
    for reason in series.kind().reasons {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(value(&page, "vpnprobe_probe_failures_total", &label), Some(0.0));
    }
    assert_eq!(value(&page, "vpnprobe_probe_up", "probe=\"ike\""), None);
    assert_eq!(value(&page, "vpnprobe_tls_certificate_not_after_timestamp_seconds", "probe=\"ike\""), None);
    assert_eq!(value(&page, "vpnprobe_jitter_seconds", "probe=\"ike\""), None);
    for name in [
        "vpnprobe_loss_ratio_count",
        "vpnprobe_loss_run_length_count",
        "vpnprobe_outage_duration_seconds_count",
        "vpnprobe_flaps_total",
        "vpnprobe_flap_penalty",
        "vpnprobe_flapping",
        "vpnprobe_flap_percent_state_change",
    ] {
        assert_eq!(value(&page, name, "probe=\"ike\""), Some(0.0), "{name}");
    }
    assert_eq!(value(&page, "vpnprobe_target_state", "state=\"unknown\""), Some(1.0));
    assert_eq!(value(&page, "vpnprobe_target_state", "state=\"down\""), Some(0.0));
    let target = registry.target("hq");
    assert_eq!(target.since(), None, "nobody knows since when nothing is known");
    for (state, at) in [(State::Down, 100), (State::Down, 200), (State::Up, 300), (State::Up, 400)] {
        target.set_state(state, Timestamp::from_secs(at));
    }
    assert_eq!(target.since(), Some(Timestamp::from_secs(300)), "as long as it stays what it is");
}

#[test]
fn a_sample_is_counted_for_what_it_proves() {
    let registry = registry();
    let series = registry.series(key("ike"), kind("ike"), BUCKETS);
    let ms = Duration::from_millis;
    series.record(&sample(true, Report::timed(Outcome::OK, ms(10))));
    series.record(&sample(true, Report::timed(Outcome::Refused(Reason::NoProposalChosen), ms(20))));
    series.record(&sample(true, Report::timed(Outcome::Answered(Some(Reason::CertExpired)), ms(200))));
    series.record(&sample(true, Report::new(Outcome::Lost(Reason::NoAnswer))));
    series.record(&sample(false, Report::new(Outcome::Unsent(Fault::Budget))));
    series.record(&sample(true, Report::new(Outcome::Unsent(Fault::Stalled))));
    series.deferred();
    series.late();
    series.duplicate();
    series.set_up(Some(false));
    let page = text(&registry);
    for (name, labels, expected) in [
        ("vpnprobe_probes_total", "target=\"hq\"", 5.0),
        ("vpnprobe_probe_failures_total", "reason=\"no_proposal_chosen\"", 1.0),
        ("vpnprobe_probe_failures_total", "reason=\"cert_expired\"", 1.0),
        ("vpnprobe_probe_failures_total", "reason=\"no_answer\"", 1.0),
        ("vpnprobe_probe_unsent_total", "fault=\"budget\"", 1.0),
        ("vpnprobe_probe_unsent_total", "fault=\"stalled\"", 1.0),
        ("vpnprobe_budget_deferred_total", "target=\"hq\"", 2.0),
        ("vpnprobe_late_replies_total", "target=\"hq\"", 1.0),
        ("vpnprobe_duplicates_total", "target=\"hq\"", 1.0),
        ("vpnprobe_probe_up", "target=\"hq\"", 0.0),
        // The bound is inclusive: 10 ms is in the bucket of 0.01.
        ("vpnprobe_probe_rtt_seconds_bucket", "le=\"0.01\"", 1.0),
        ("vpnprobe_probe_rtt_seconds_bucket", "le=\"0.1\"", 1.0),
        ("vpnprobe_probe_rtt_seconds_bucket", "le=\"+Inf\"", 2.0),
        ("vpnprobe_probe_rtt_seconds_count", "target=\"hq\"", 2.0),
        ("vpnprobe_probe_rtt_seconds_sum", "target=\"hq\"", 0.21),
    ] {
        assert_eq!(value(&page, name, labels), Some(expected), "{name} {labels}");
    }
    assert_eq!(series.last(), Some((Outcome::Unsent(Fault::Stalled), None)));
}

#[test]
fn findings_are_counted_and_kept_per_form() {
    let registry = registry();
    let series = registry.series(key("tls"), kind("tls"), BUCKETS);
    let mut full = Report::new(Outcome::OK);
    full.findings().under_load = true;
    full.findings().half_open_left = Some(Duration::from_secs(30));
    full.findings().certificate_not_after = Some(WallTime::from_unix_secs(1_800_000_000));
    full.findings().details.text("vendor", "strongSwan");
    series.record(&Sample { form: "full", ..sample(true, full) });
    let mut gentle = Report::new(Outcome::OK);
    gentle.findings().details.text("version", "2.0");
    series.record(&sample(true, gentle));
    series.record(&sample(true, Report::new(Outcome::Lost(Reason::NoAnswer))));
    let page = text(&registry);
    for (name, expected) in [
        ("vpnprobe_probe_under_load_total", 1.0),
        ("vpnprobe_half_open_left_total", 1.0),
        // Kept though the last exchange has failed.
        ("vpnprobe_tls_certificate_not_after_timestamp_seconds", 1_800_000_000.0),
    ] {
        assert_eq!(value(&page, name, "probe=\"tls\""), Some(expected), "{name}");
    }
    let details = series.details();
    assert_eq!(details.get_text("vendor"), Some("strongSwan"));
    assert_eq!(details.get_text("version"), Some("2.0"));
}

#[test]
fn what_is_removed_is_gone_with_the_next_scrape_and_what_is_known_goes_on() {
    let registry = registry();
    let series = registry.series(key("ike"), kind("ike"), BUCKETS);
    let _other = registry.series(key("icmp"), kind("icmp"), BUCKETS);
    series.record(&sample(true, Report::timed(Outcome::OK, Duration::from_millis(1))));
    let again = registry.series(key("ike"), kind("ike"), BUCKETS);
    assert!(Arc::ptr_eq(&series, &again));
    assert!(!Arc::ptr_eq(&series, &registry.series(key("ike"), kind("ike"), &[1.0])));

    registry.remove(&key("icmp"));
    assert!(!text(&registry).contains("probe=\"icmp\""));
    registry.remove_target("hq");
    assert!(!text(&registry).contains("target=\"hq\""));
    // An exchange that ends after its target was removed harms nothing.
    series.record(&sample(true, Report::new(Outcome::OK)));
}

#[test]
fn a_peer_that_changes_its_name_makes_no_series_without_end() {
    let registry = registry();
    let info = |vendor: u32| {
        let vendor = Some(Text::from(format!("v{vendor}").as_str()));
        Some(MemberInfo { address: Some([192, 0, 2, 1].into()), vendor, versions: None })
    };
    for vendor in 0..10_000 {
        registry.target_info("hq", 1, info(vendor));
    }
    let page = text(&registry);
    assert_eq!(value(&page, "vpnprobe_target_info", "vendor=\"changing\",family=\"ipv4\""), Some(1.0));
    registry.target_info("hq", 1, None);
    assert!(!text(&registry).contains("vpnprobe_target_info"));
}

#[test]
fn our_own_metrics_tell_the_reload_and_the_strays() {
    let registry = registry();
    registry.own().unmatched(Mismatch::Token);
    registry.own().reloaded(None);
    registry.own().missed_slots(3);
    registry.own().lag(Duration::from_micros(100));
    let page = text(&registry);
    assert_eq!(value(&page, "vpnprobe_unmatched_packets_total", "reason=\"token\""), Some(1.0));
    assert_eq!(value(&page, "vpnprobe_unmatched_packets_total", "reason=\"source\""), Some(0.0));
    assert_eq!(value(&page, "vpnprobe_config_last_reload_successful", ""), Some(0.0));
    let time = "vpnprobe_config_last_reload_success_timestamp_seconds";
    assert_eq!(value(&page, time, ""), Some(1_795_305_600.0));
    registry.own().reloaded(Some(WallTime::from_unix_secs(1_795_305_700)));
    let page = text(&registry);
    assert_eq!(value(&page, "vpnprobe_config_last_reload_successful", ""), Some(1.0));
    assert_eq!(value(&page, time, ""), Some(1_795_305_700.0));
    assert_eq!(value(&page, "vpnprobe_missed_slots_total", ""), Some(3.0));
    assert_eq!(value(&page, "vpnprobe_schedule_lag_seconds_bucket", "le=\"0.0001\""), Some(1.0));
}

/// R16: whatever is recorded meanwhile, one scrape agrees with itself and none goes back.
#[test]
fn a_scrape_is_consistent_while_samples_come_in() {
    let registry = registry();
    let series = registry.series(key("ike"), kind("ike"), BUCKETS);
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut nanos = 0_u64;
            while !stop.load(Relaxed) {
                nanos = (nanos + 1_234_567) % 200_000_000;
                series.record(&sample(true, Report::timed(Outcome::OK, Duration::from_nanos(nanos))));
            }
        });
        let mut before = 0.0;
        for _ in 0..300 {
            let page = text(&registry);
            let count = value(&page, "vpnprobe_probe_rtt_seconds_count", "probe=\"ike\"").unwrap();
            let bucket = |le: &str| value(&page, "vpnprobe_probe_rtt_seconds_bucket", le).unwrap();
            let buckets = ["le=\"0.001\"", "le=\"0.01\"", "le=\"0.1\"", "le=\"+Inf\""].map(bucket);
            assert!(buckets.is_sorted(), "{buckets:?}");
            assert!(buckets[3].total_cmp(&count).is_eq() && count >= before);
            before = count;
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_profile_without_a_verdict_says_so_and_nothing_else() {
    let registry = registry();
    let series = registry.series(key("ike"), kind("ike"), BUCKETS);
    let dpd = series.dpd(["strongswan", "cisco_asa"].into_iter());
    dpd[0].set_judged(true);
    let page = text(&registry);
    let of = |page: &str, name: &str, profile: &str| {
        value(page, name, &format!("probe=\"ike\",profile=\"{profile}\""))
    };
    assert_eq!(of(&page, "vpnprobe_dpd_judged", "strongswan"), Some(1.0));
    assert_eq!(of(&page, "vpnprobe_dpd_timeouts_total", "strongswan"), Some(0.0));
    assert_eq!(of(&page, "vpnprobe_dpd_expected_timeouts_total", "strongswan"), Some(0.0));
    assert_eq!(of(&page, "vpnprobe_dpd_margin_seconds", "strongswan"), None);
    assert_eq!(of(&page, "vpnprobe_dpd_judged", "cisco_asa"), Some(0.0));
    assert_eq!(of(&page, "vpnprobe_dpd_timeouts_total", "cisco_asa"), None);

    dpd[0].add(1, 1.25);
    dpd[0].add(0, 0.5);
    dpd[0].set_margin(Duration::from_millis(165_057));
    // Another set: what stays goes on counting, what is gone is not shown.
    let again = series.dpd(["aws", "strongswan"].into_iter());
    again[1].add(1, 1.0);
    let page = text(&registry);
    assert_eq!(of(&page, "vpnprobe_dpd_timeouts_total", "strongswan"), Some(2.0));
    assert_eq!(of(&page, "vpnprobe_dpd_expected_timeouts_total", "strongswan"), Some(2.75));
    assert_eq!(of(&page, "vpnprobe_dpd_margin_seconds", "strongswan"), Some(165.057));
    assert_eq!(of(&page, "vpnprobe_dpd_judged", "cisco_asa"), None);
}
