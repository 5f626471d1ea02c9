//! The status page: one table, rendered here, readable without scripts.
//!
//! Invariant: everything that came from outside is escaped by the template engine; the page loads
//! nothing, and its `Content-Security-Policy` forbids that it could.

use askama::Template;

use super::status::{ProbeStatus, Status};
use crate::detect::incident::Cause;
use crate::sample::{Fault, Reason};
use crate::store::Summary;

/// The policy the page is served with.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; \
                                           base-uri 'none'; form-action 'none'";

/// The page about a status.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="10">
<title>vpnprobe</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.up { color: #187a2f; } .down { color: #c4231b; } .degraded { color: #a65f00; } .unknown { color: #777; }
@media (prefers-color-scheme: dark) { .up { color: #5fd07a; } .down { color: #ff7b72; } .degraded { color: #e3a34a; } }
</style>
</head>
<body>
<h1>vpnprobe {{ status.version }}</h1>
<p>{{ status.time }} · {% if let Some(why) = status.not_ready %}<span class="down">not ready: {{ why }}</span>{% else %}ready{% endif %} ·
<a href="/metrics">metrics</a> · <a href="/api/v1/status">status</a> · <a href="/api/v1/path">paths</a> · <a href="/api/v1/incidents">incidents</a> · <a href="/config">config</a> ·
<a href="/sd">service discovery</a> · <a href="/-/healthy">healthy</a> · <a href="/-/ready">ready</a></p>
{% if !incidents.is_empty() %}
<h2>Latest incidents</h2>
<table>
<tr><th>Began</th><th>Target</th><th>Kind</th><th>Took</th><th>Cause</th></tr>
{% for incident in *incidents %}
<tr><td><a href="/api/v1/incidents/{{ incident.id }}">{{ incident.began }}</a></td><td>{{ incident.target }}</td><td>{{ incident.kind }}</td>
<td class="n">{{ Self::took(incident) }}</td><td>{{ Self::cause(incident) }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% if status.targets.is_empty() %}<p>No target is configured.</p>{% endif %}
{% for target in status.targets %}
<h2>{{ target.target }}: <span class="{{ target.state }}">{{ target.state }}</span>{% if let Some(since) = target.state_since %} since {{ since }}{% endif %}</h2>
{% for member in target.members %}
<p>Member {{ member.member }}: {% if let Some(address) = member.address %}{{ address }}{% else %}address not known yet{% endif %}
{%- if let Some(vendor) = member.vendor %}, {{ vendor }}{% endif %}
{%- if let Some(versions) = member.versions %}, {{ versions }}{% endif %}</p>
{% endfor %}
<table>
<tr><th>Probe</th><th>Member</th><th>Egress</th><th>State</th><th>Since</th><th>Last outcome</th><th>Round trip</th><th>Last attempt</th><th>Sent</th></tr>
{% for probe in target.probes %}
<tr><td>{{ probe.probe }}</td><td class="n">{{ probe.member }}</td><td>{{ probe.egress }}</td>
<td class="{{ probe.state }}">{{ probe.state }}</td><td>{% if let Some(since) = probe.state_since %}{{ since }}{% endif %}</td><td>{{ Self::outcome(probe) }}</td>
<td class="n">{{ Self::rtt(probe) }}</td><td class="n">{{ Self::age(probe) }}</td><td class="n">{{ probe.probes }}</td></tr>
{% endfor %}
</table>
{% endfor %}
</body>
</html>
"#
)]
pub struct Page<'a> {
    status: &'a Status,
    incidents: &'a [Summary],
}

impl<'a> Page<'a> {
    /// The page about this status and these incidents.
    #[must_use]
    pub fn new(status: &'a Status, incidents: &'a [Summary]) -> Self {
        Self { status, incidents }
    }

    fn took(incident: &Summary) -> String {
        incident.seconds.map_or_else(|| "not over".to_owned(), |seconds| format!("{seconds:.0} s"))
    }

    fn cause(incident: &Summary) -> &'static str {
        incident.cause.map_or("not judged yet", Cause::as_str)
    }

    fn outcome(probe: &ProbeStatus) -> String {
        let why = probe.reason.map(Reason::as_str).or(probe.fault.map(Fault::as_str));
        match (probe.outcome, why) {
            (None, _) => "none yet".to_owned(),
            (Some(outcome), None) => outcome.to_owned(),
            (Some(outcome), Some(why)) => format!("{outcome}: {why}"),
        }
    }

    fn rtt(probe: &ProbeStatus) -> String {
        probe.rtt_seconds.map_or_else(String::new, |rtt| format!("{:.3} ms", rtt * 1e3))
    }

    fn age(probe: &ProbeStatus) -> String {
        probe.last_attempt_age_seconds.map_or_else(|| "never".to_owned(), |age| format!("{age:.0} s ago"))
    }
}
