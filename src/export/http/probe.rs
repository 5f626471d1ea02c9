//! `/probe`: one exchange now, answered in `blackbox_exporter`'s names.
//!
//! Invariant: what failed at our own end is no answer about the target. It is 503, so that the scrape
//! fails (`up` is 0) and `probe_success` is not there to be misread.

use std::net::IpAddr;
use std::time::Duration;

use hyper::{Request, StatusCode};
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, Opts, ProtobufEncoder, TextEncoder};

use super::{Answer, App, Format, body, text};
use crate::export::metrics::encode;
use crate::sample::{Outcome, Report};

/// What one exchange said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeNow {
    /// The address it was made with.
    pub address: IpAddr,
    /// From the request to the result.
    pub took: Duration,
    /// The result.
    pub report: Report,
}

/// Why no exchange was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeError {
    /// There is no such target.
    Target,
    /// The target has no such probe.
    Module,
    /// Not now: the budget, an unresolved name, an end of the program. The text is for people.
    NotNow(String),
}

const NO_TARGET: &str =
    "Say which target: /probe?target=NAME&module=PROBE. /sd lists the targets there are.\n";
const UNKNOWN_TARGET: &str = "This target is not in the configuration, and only configured targets are probed. \
                              Add it under `targets:` and reload; /sd lists the ones there are.\n";
const NO_MODULE: &str = "Say which probe of the target: /probe?target=NAME&module=PROBE. \
                         /sd lists the probes of each target.\n";
const UNKNOWN_MODULE: &str = "The target has no probe of this name. Add it under the target's `probes:` and reload; \
                              /sd lists the probes of each target.\n";

impl App {
    pub(super) async fn probe<B>(&self, request: &Request<B>) -> Answer {
        let query = request.uri().query().unwrap_or_default();
        let Some(target) = parameter(query, "target") else {
            return text(StatusCode::BAD_REQUEST, NO_TARGET);
        };
        let Some(row) = self.daemon.targets().into_iter().find(|row| row.name == target) else {
            return text(StatusCode::BAD_REQUEST, UNKNOWN_TARGET);
        };
        let Some(module) = parameter(query, "module") else {
            return text(StatusCode::BAD_REQUEST, NO_MODULE);
        };
        if !row.probes.contains(&module) {
            return text(StatusCode::BAD_REQUEST, UNKNOWN_MODULE);
        }
        let timeout = self.timeout(request);
        // The daemon keeps to the timeout; the second one is for a daemon that does not.
        let probing = tokio::time::timeout(self.deadline(), self.daemon.probe(&target, &module, timeout));
        match probing.await {
            Ok(Ok(now)) => match now.report.outcome {
                Outcome::Unsent(fault) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &format!("Not measured, by a fault at this end: {fault}.\n"),
                ),
                _ => metrics(&now, timeout, Self::format(request)),
            },
            Ok(Err(ProbeError::Target)) => text(StatusCode::BAD_REQUEST, UNKNOWN_TARGET),
            Ok(Err(ProbeError::Module)) => text(StatusCode::BAD_REQUEST, UNKNOWN_MODULE),
            Ok(Err(ProbeError::NotNow(why))) => {
                text(StatusCode::SERVICE_UNAVAILABLE, &format!("Not measured: {why}\n"))
            }
            Err(_) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "Not measured: the exchange has not ended in time.\n")
            }
        }
    }

    /// The scraper's own timeout less half a second for the way, else the configured one; at most
    /// what a request may take.
    fn timeout<B>(&self, request: &Request<B>) -> Duration {
        let said = request.headers().get("x-prometheus-scrape-timeout-seconds");
        let said = said.and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
        let said = said.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let offset = Duration::from_millis(500);
        let timeout = match said {
            // Half of it where the offset would take more than that.
            Some(said) => said.saturating_sub(offset).max(said / 2),
            None => self.probe_timeout,
        };
        timeout.clamp(Duration::from_millis(10), self.limits.request.mul_f64(0.9))
    }
}

/// The first value of a query parameter, percent-decoded; nothing if it is missing, empty or malformed.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let (_, value) =
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    decoded(value).filter(|value| !value.is_empty())
}

/// The values of a query parameter that may be there more than once. Its name may be percent-encoded too, as
/// brackets are by most clients.
pub(super) fn parameters(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| decoded(key).is_some_and(|key| key == name))
        .filter_map(|(_, value)| decoded(value))
        .collect()
}

/// A part of a query, percent-decoded; nothing if it is malformed.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = part.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// The metrics of one exchange, nothing of the daemon's own among them.
fn metrics(now: &ProbeNow, timeout: Duration, format: Format) -> Answer {
    let report = &now.report;
    let mut families = Vec::new();
    let success = f64::from(u8::from(report.outcome == Outcome::OK));
    gauge(&mut families, "probe_success", "1 if the service answered without any objection.", success);
    gauge(&mut families, "probe_duration_seconds", "How long the probe took.", now.took.as_secs_f64());
    gauge(&mut families, "probe_timeout_seconds", "How long an answer could take.", timeout.as_secs_f64());
    let family = if now.address.is_ipv4() { 4.0 } else { 6.0 };
    gauge(&mut families, "probe_ip_protocol", "The version of IP that was used.", family);
    if let Some(rtt) = report.rtt {
        let help = "Time from the first transmission to its authentic answer.";
        gauge(&mut families, "vpnprobe_probe_now_rtt_seconds", help, rtt.as_secs_f64());
    }
    let phases = report.phases.iter().map(|(phase, took)| (vec![phase.as_str()], took.as_secs_f64()));
    let help = "Time that a part of the exchange took.";
    labelled(&mut families, "vpnprobe_probe_now_phase_seconds", help, &["phase"], phases);
    if let Some(at) = report.findings.as_ref().and_then(|findings| findings.certificate_not_after) {
        let help = "When the first certificate of the chain to expire does so.";
        gauge(&mut families, "probe_ssl_earliest_cert_expiry", help, at.as_unix_seconds_f64());
    }
    let reason = report.outcome.reason().map_or("", |reason| reason.as_str());
    let info = [(vec![report.outcome.as_str(), reason], 1.0)].into_iter();
    let help = "How the exchange ended, and why if it failed.";
    labelled(&mut families, "vpnprobe_probe_now_info", help, &["outcome", "reason"], info);
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let content = match format {
        Format::Text => encode(&TextEncoder::new(), &families),
        Format::Protobuf => encode(&ProtobufEncoder::new(), &families),
    };
    body(format.content_type(), content)
}

fn gauge(out: &mut Vec<MetricFamily>, name: &str, help: &str, value: f64) {
    // The names here are constants, which the tests show to be good.
    if let Ok(gauge) = Gauge::new(name, help) {
        gauge.set(value);
        out.extend(gauge.collect());
    }
}

fn labelled<'a>(
    out: &mut Vec<MetricFamily>,
    name: &str,
    help: &str,
    labels: &[&str],
    values: impl Iterator<Item = (Vec<&'a str>, f64)>,
) {
    let Ok(gauges) = GaugeVec::new(Opts::new(name, help), labels) else { return };
    for (labels, value) in values {
        gauges.with_label_values(&labels).set(value);
    }
    out.extend(gauges.collect().into_iter().filter(|family| !family.get_metric().is_empty()));
}
