//! What a scrape and the registry cost: `cargo bench --bench scrape [-- TARGETS]`, 10,000 if not said.
//!
//! One ICMP probe a target, a hundred round trips each, with 22 bounds: 25 lines of text a histogram.
//! CPU is that of the encoding thread by the kernel's own count; memory is what the process has resident.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::indexing_slicing, clippy::cast_precision_loss, reason = "figures for people")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use vpnprobe::export::metrics::{Form, Registry, SeriesKey, SeriesMetrics, Step};
use vpnprobe::net::clock::SystemClock;
use vpnprobe::probe::Kind;
use vpnprobe::sample::{Outcome, Report, Sample, SeriesId};
use vpnprobe::time::Timestamp;

const BOUNDS: [f64; 22] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003_2, 0.006_4, 0.010, 0.012_8, 0.025_6, 0.05,
    0.051_2, 0.1, 0.102_4, 0.204_8, 0.409_6, 0.819_2, 1.638_4, 3.276_8, 6.553_6, 13.107_2,
];

fn main() {
    let targets = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(10_000_usize);
    let before = resident();
    let registry = Registry::without_process(Arc::new(SystemClock::start()));
    let series: Vec<_> = (0..targets).map(|at| series(&registry, at)).collect();
    println!("{targets} targets: {:.0} B each when new", per(resident() - before, targets));
    for round in 0..100 {
        series.iter().zip(0..).for_each(|(series, at)| answer(series, rtt(at, round)));
    }
    println!("{targets} targets: {:.0} B each after 100 round trips", per(resident() - before, targets));
    let start = Instant::now();
    for round in 100..110 {
        series.iter().zip(0..).for_each(|(series, at)| answer(series, rtt(at, round)));
    }
    println!("record: {:.0} ns a sample", start.elapsed().as_nanos() as f64 / targets as f64 / 10.0);

    let text = registry.encode_text();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count();
    println!("{lines} lines of {} bytes", text.len() / lines);
    drop(text);
    for (name, form, gzip) in [
        ("text", Form::Text, false),
        ("protobuf, classic and native", Form::Protobuf { classic: true }, false),
        ("protobuf, native", Form::Protobuf { classic: false }, false),
        ("text, gzip", Form::Text, true),
        ("protobuf, native, gzip", Form::Protobuf { classic: false }, true),
    ] {
        for _ in 0..5 {
            scrape(name, &registry, form, gzip, lines);
        }
    }
}

/// One scrape whose pieces are thrown away as a client would take them.
fn scrape(name: &str, registry: &Registry, form: Form, gzip: bool, lines: usize) {
    let before = resident();
    let (start, ran) = (Instant::now(), cpu());
    let mut exposition = registry.expose(form, &[]);
    let mut encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let (mut bytes, mut longest, mut peak) = (0, Duration::ZERO, before);
    loop {
        let step = Instant::now();
        match exposition.step() {
            Step::Chunk(chunk) => match &mut encoder {
                Some(encoder) => {
                    encoder.write_all(&chunk).expect("memory");
                    bytes += std::mem::take(encoder.get_mut()).len();
                }
                None => bytes += chunk.len(),
            },
            Step::More => {}
            Step::End => break,
        }
        longest = longest.max(step.elapsed());
    }
    bytes += encoder.map_or(0, |encoder| encoder.finish().expect("memory").len());
    peak = peak.max(resident());
    let (wall, ran) = (start.elapsed(), cpu().saturating_sub(ran));
    println!(
        "{name}: {bytes} bytes, wall {:.0} ms, CPU {:.0} ms, {:.0} ns a line; longest step {:.1} ms; {} KiB more",
        wall.as_secs_f64() * 1e3,
        ran.as_secs_f64() * 1e3,
        ran.as_nanos() as f64 / lines as f64,
        longest.as_secs_f64() * 1e3,
        (peak - before) / 1024
    );
}

fn series(registry: &Registry, at: usize) -> Arc<SeriesMetrics> {
    let target = format!("vpn-{at:05}");
    let key = SeriesKey { target, member: 1, probe: "icmp".into(), egress: "default".into() };
    registry.series(key, Kind::named("icmp").expect("a kind"), &BOUNDS)
}

/// Somewhere from 5 to 200 ms, with a tenth of jitter that differs from round to round.
fn rtt(at: u64, round: u64) -> Duration {
    let base = 5_000_000 + at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 195_000_000;
    let noise = (at ^ round).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31) % (base / 10);
    Duration::from_nanos(base + noise)
}

fn answer(series: &SeriesMetrics, rtt: Duration) {
    let at = Timestamp::from_secs(1);
    let report = Report::timed(Outcome::OK, rtt);
    series.record(&Sample {
        series: SeriesId(0),
        seq: 0,
        form: "echo",
        due: at,
        sent: Some(at),
        done: at,
        report,
    });
}

fn per(bytes: usize, targets: usize) -> f64 {
    bytes as f64 / targets as f64
}

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
}

/// What this thread has run.
fn cpu() -> Duration {
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    Duration::from_nanos(ran.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds"))
}
