use super::*;
use crate::sample::{Report, SeriesId};

fn sample(seq: u64, at: Timestamp, rtt: Option<u64>) -> Sample {
    let report = match rtt {
        Some(millis) => Report::timed(Outcome::OK, Duration::from_millis(millis)),
        None => Report::new(Outcome::Lost(Reason::NoAnswer)),
    };
    let done = at + Duration::from_millis(rtt.unwrap_or(2000));
    Sample { series: SeriesId(0), seq, form: "version", due: at, sent: Some(at), done, report }
}

/// Plays a series of that interval over so many seconds.
fn played(interval: u64, seconds: u64, rtt: impl Fn(u64) -> Option<u64>) -> Recently {
    let mut recently = Recently::default();
    recently.pace(Duration::from_millis(interval), Duration::from_secs(2));
    for seq in 0..seconds * 1000 / interval {
        let at = seq * interval;
        recently.observe(&sample(seq, Timestamp::from_millis(at), rtt(at)));
    }
    recently
}

#[test]
fn nothing_is_known_before_the_first_evidence() {
    assert_eq!(Recently::default().at(Timestamp::from_secs(10)), None);
}

/// By hand: 10 probes/s are 150 a window; two losses within 15 s are 2 of 150.
#[test]
fn windows_slide_by_a_second() {
    // At 29.9 s and 30 s: no window that stands still on a grid of 15 s has both.
    let recently = played(100, 120, |at| (at != 29_900 && at != 30_000).then_some(20));
    let recent = recently.at(Timestamp::from_secs(120)).unwrap();
    assert_eq!((recent.sent, recent.lost), (1200, 2));
    assert_eq!(recent.windows.worst_fine, Some(Loss { sent: 150, lost: 2 }));
    // Windows end with each second from the 15th on; the 120th has not ended.
    assert_eq!((recent.windows.all, recent.windows.fine), (105, 105));
    assert_eq!(recent.windows.worst, None);
}

#[test]
fn few_probes_make_windows_that_are_not_fine() {
    let recently = played(5000, 600, |at| (!(300_000..315_000).contains(&at)).then_some(20));
    let recent = recently.at(Timestamp::from_secs(600)).unwrap();
    assert_eq!((recent.windows.fine, recent.windows.jitter_fine), (0, 0));
    assert_eq!(recent.windows.worst, Some(Loss { sent: 3, lost: 3 }));
    assert_eq!(recent.windows.jitter_worst_seconds, None);
}

/// By hand: 20, 26, 20, 26 ms: every difference is 6 ms.
#[test]
fn jitter_is_the_mean_difference_in_a_window() {
    let recently = played(250, 60, |at| Some(if at % 500 == 0 { 20 } else { 26 }));
    let recent = recently.at(Timestamp::from_secs(60)).unwrap();
    assert!((recent.windows.jitter_worst_seconds.unwrap() - 0.006).abs() < 1e-6);
    assert!((recent.rtt_seconds.unwrap() - 0.023).abs() < 1e-9);
    assert_eq!(recent.windows.jitter_fine, recent.windows.all);
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let recently = played(1000, 3 * 3600, |at| Some(if at < 3_600_000 { 900 } else { 10 }));
    let recent = recently.at(Timestamp::from_secs(3 * 3600)).unwrap();
    assert!(recent.seconds <= 3900.0 && recent.seconds >= 3600.0, "{}", recent.seconds);
    assert!(recent.sent <= 3900 && recent.rtt_max_seconds.unwrap() < 0.011);
    assert_eq!(recently.at(Timestamp::from_secs(6 * 3600)), None, "silence of our own is no history");
}

#[test]
fn a_trend_compares_the_last_minutes_with_those_before() {
    let recently = played(1000, 3600, |at| Some(if at < 2_700_000 { 10 } else { 40 }));
    let recent = recently.at(Timestamp::from_secs(3599)).unwrap();
    assert!((recent.handshake_before.seconds - 0.010).abs() < 1e-9, "{recent:?}");
    assert!(recent.handshake_now.seconds > 0.030 && recent.handshake_now.count >= 900, "{recent:?}");
}

#[test]
fn demands_for_cookies_and_full_servers_are_counted_where_they_can_be_seen() {
    let mut recently = played(1000, 20, |_| Some(10));
    for (form, cookie, outcome) in [
        ("version", true, Outcome::OK),
        ("policy", true, Outcome::OK),
        ("init", false, Outcome::OK),
        ("tls", false, Outcome::Refused(Reason::FullOrThrottled)),
        ("tls", false, Outcome::OK),
        ("tls", false, Outcome::Lost(Reason::NoAnswer)),
    ] {
        let mut sample = sample(0, Timestamp::from_secs(15), Some(10));
        sample.form = form;
        sample.report.outcome = outcome;
        sample.report.findings().under_load = cookie;
        recently.hear(&sample);
    }
    let recent = recently.at(Timestamp::from_secs(20)).unwrap();
    assert_eq!(recent.cookies, Share { count: 1, of: 2 });
    assert_eq!(recent.reset_only, Share { count: 1, of: 2 });
}

/// 10,000 series are to fit into a few megabytes.
#[test]
fn a_series_takes_less_than_a_kilobyte() {
    assert!(size_of::<Recently>() <= 200, "{}", size_of::<Recently>());
    let hour = played(1000, 3 * 3600, |_| Some(10)).history.buckets;
    assert!(size_of_val(&*hour) <= 13 * 48, "{}", size_of_val(&*hour));
}
