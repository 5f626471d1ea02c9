//! `http`: one page asked for, and the status it is answered with.
//!
//! ```text
//! GET /path ──▶ ◀── 302, Location: /other (same host)   GET /other ──▶ ◀── 200
//! ```
//! Invariant: a redirect to another host, port or scheme is told and never followed; one to the same host
//! only on the same connection, [`MAX_REDIRECTS`] times at the most. The body is counted as far as it came
//! along, and never kept.
//!
//! RFC 9110 (15: status codes), RFC 9112. A status that is not the expected one is a refusal,
//! `http_status`; a certificate that has something against it is an answer with that reason.

use std::net::IpAddr;
use std::time::Duration;

use super::certificate::Roots;
use super::conversation::{Conversation, MAX_INBOX, Script, Stream};
use super::secure::Secure;
use super::{Charge, Exchange, Flow, Form, KindInfo, Spec, Start};
use crate::sample::{Carrier, Outcome, Phase, Reason, Report, Text};
use crate::wire::http::Head;

/// The most redirects that are followed.
pub const MAX_REDIRECTS: usize = 4;
/// The longest path that is followed.
const MAX_PATH: usize = 2048;

/// What `http` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether it is asked inside TLS.
    pub tls: bool,
    /// What is asked for; begins with `/`.
    pub path: String,
    /// The host asked for, in the request and by SNI, instead of the target's name.
    pub host: Option<String>,
    /// The statuses that are good; any of 200 to 399 if there are none.
    pub status: Vec<u16>,
    /// Whether redirects to the same host are followed.
    pub follow: bool,
    /// Which roots the chain is judged against.
    pub roots: Roots,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: true,
            path: "/".to_owned(),
            host: None,
            status: Vec::new(),
            follow: true,
            roots: Roots::Native,
        }
    }
}

static PLAIN: &[Form] = &[Form { name: "get", charges: &[Charge::TcpConnection], packets: 6, rare: false }];
static SECURE: &[Form] = &[Form {
    name: "get",
    charges: &[Charge::TcpConnection, Charge::TlsHandshake],
    packets: 10,
    rare: false,
}];

/// The kind `http`.
pub static INFO: KindInfo = KindInfo {
    name: "http",
    port: 443,
    interval: Duration::from_secs(60),
    flow: Flow::Fresh,
    carrier: Carrier::Tcp,
    forms: |spec| if spec.settings.http.tls { SECURE } else { PLAIN },
    reasons: &[
        Reason::NoAnswer,
        Reason::PortUnreachable,
        Reason::HostUnreachable,
        Reason::NetUnreachable,
        Reason::AdminProhibited,
        Reason::ConnectionRefused,
        Reason::ConnectionReset,
        Reason::CertExpired,
        Reason::CertNotYetValid,
        Reason::CertNameMismatch,
        Reason::CertUntrusted,
        Reason::TlsAlert,
        Reason::TlsLegacy,
        Reason::HttpStatus,
        Reason::ProtocolError,
    ],
    phases: &[Phase::Connect, Phase::TcpKernel, Phase::Handshake, Phase::FirstByte],
    begin,
};

#[expect(clippy::needless_pass_by_value, reason = "the signature that `KindInfo` gives")]
fn begin(spec: &Spec, start: Start<'_>) -> Box<dyn Exchange> {
    let settings = spec.settings.http.clone();
    let name = settings.host.clone().or_else(|| spec.host.clone());
    let script = Get {
        host: authority(name.as_deref(), start.peer, spec.port, settings.tls),
        bare: name.as_deref().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase(),
        port: spec.port,
        path: settings.path.clone(),
        followed: Vec::new(),
        skip: 0,
        owed: false,
        settings,
    };
    if !script.settings.tls {
        return Box::new(Conversation::new(spec.port, &start, None, script));
    }
    let secure = Secure::new(name, start.peer, script.settings.roots.clone(), &[], start.wall);
    Box::new(match secure {
        Some(secure) => Conversation::new(spec.port, &start, Some(secure), script),
        None => Conversation::broken(spec.port, &start, script),
    })
}

/// What stands in the field `Host` (RFC 9110, 7.2): the port only if it is not the scheme's own.
pub(super) fn authority(name: Option<&str>, peer: IpAddr, port: u16, tls: bool) -> String {
    let host = match (name, peer) {
        (Some(name), _) => name.trim_end_matches('.').to_owned(),
        (None, IpAddr::V4(ip)) => ip.to_string(),
        (None, IpAddr::V6(ip)) => format!("[{ip}]"),
    };
    let usual = if tls { 443 } else { 80 };
    if port == usual { host } else { format!("{host}:{port}") }
}

/// Writes down what a head says of the server: `status`, `reason_phrase`, `server`, `location`,
/// `content_type`, `content_length`.
pub(super) fn note(head: &Head, report: &mut Report) {
    let details = &mut report.findings().details;
    details.number("status", head.status);
    if !head.reason.is_empty() {
        details.text("reason_phrase", Text::from_bytes(&head.reason));
    }
    for (key, name) in [("server", "server"), ("location", "location"), ("content_type", "content-type")] {
        if let Some(value) = head.field(name) {
            details.text(key, Text::from_bytes(value));
        }
    }
    if let Some(length) = head.content_length().and_then(|length| i64::try_from(length).ok()) {
        details.number("content_length", length);
    }
}

/// An error of the peer's, with a text for people.
pub(super) fn nonsense(stream: &Stream, text: &str) -> Report {
    let mut report = Report::new(Outcome::Refused(Reason::ProtocolError));
    report.findings().details.text("error", text);
    stream.timed(report)
}

struct Get {
    /// What stands in `Host`.
    host: String,
    /// The name alone, lower case; empty if there is none.
    bare: String,
    port: u16,
    path: String,
    /// What was answered before, `302 /path` each.
    followed: Vec<Text>,
    /// How much of a body is still to come before the next question.
    skip: usize,
    /// Whether the next question waits for that.
    owed: bool,
    settings: Settings,
}

impl Get {
    fn ask(&self, stream: &mut Stream) {
        let version = env!("CARGO_PKG_VERSION");
        stream.ask(
            format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: vpnprobe/{version}\r\nAccept: */*\r\n\r\n",
                self.path, self.host
            )
            .as_bytes(),
        );
    }

    /// Where a redirect leads, if it may be followed.
    fn next(&self, head: &Head, body: usize) -> Option<String> {
        let redirect = matches!(head.status, 301 | 302 | 303 | 307 | 308);
        if !self.settings.follow || !redirect || self.settings.status.contains(&head.status) {
            return None;
        }
        if self.followed.len() >= MAX_REDIRECTS || !head.stays_open() || body > MAX_INBOX {
            return None;
        }
        let location = head.text("location")?;
        let path = match location.split_once("://") {
            None if location.starts_with('/') && !location.starts_with("//") => location,
            None => return None,
            Some((scheme, rest)) => {
                let ours = if self.settings.tls { "https" } else { "http" };
                let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
                let (name, port) = match host.rsplit_once(':') {
                    Some((name, port)) => (name, port.parse().ok()?),
                    None => (host, if self.settings.tls { 443 } else { 80 }),
                };
                let same = scheme.eq_ignore_ascii_case(ours)
                    && port == self.port
                    && (name.eq_ignore_ascii_case(&self.bare) || host.eq_ignore_ascii_case(&self.host));
                if !same {
                    return None;
                }
                rest.get(host.len()..).filter(|path| !path.is_empty()).unwrap_or("/")
            }
        };
        let path = path.split('#').next().unwrap_or(path);
        let good = path.len() <= MAX_PATH && path.chars().all(|c| c.is_ascii_graphic());
        (good && path != self.path).then(|| path.to_owned())
    }

    fn judge(&self, head: &Head, stream: &Stream) -> Report {
        let good = match self.settings.status.as_slice() {
            [] => (200..400).contains(&head.status),
            some => some.contains(&head.status),
        };
        let mut report = stream.secure().map_or(Report::new(Outcome::OK), |secure| secure.certified(None));
        if !good {
            report.outcome = Outcome::Refused(Reason::HttpStatus);
        }
        note(head, &mut report);
        let details = &mut report.findings().details;
        if !self.followed.is_empty() {
            details.list("redirects", self.followed.iter().cloned());
            details.text("path", self.path.as_str());
        }
        let body = stream.inbox.len().saturating_sub(head.length);
        details.number("body_bytes_seen", i64::try_from(body).unwrap_or(i64::MAX));
        let mut report = stream.timed(report);
        report.phases.extend(stream.rtt().map(|took| (Phase::FirstByte, took)));
        report
    }
}

impl Script for Get {
    fn opened(&mut self, stream: &mut Stream) -> Option<Report> {
        self.ask(stream);
        None
    }

    fn received(&mut self, stream: &mut Stream) -> Option<Report> {
        loop {
            let skipped = self.skip.min(stream.inbox.len());
            stream.inbox.drain(..skipped);
            self.skip = self.skip.saturating_sub(skipped);
            if self.skip > 0 {
                return None;
            }
            if std::mem::take(&mut self.owed) {
                stream.inbox.clear();
                self.ask(stream);
            }
            let head = match Head::decode(&stream.inbox) {
                Ok(None) => return None,
                Err(error) => return Some(nonsense(stream, &error.to_string())),
                Ok(Some(head)) => head,
            };
            if (100..200).contains(&head.status) && head.status != 101 {
                // An interim answer: the real one follows (RFC 9110, 15.2).
                stream.inbox.drain(..head.length.min(stream.inbox.len()));
                continue;
            }
            // A redirect whose length cannot be told from what came with its head is not followed.
            let length = head.body_length(stream.inbox.get(head.length..).unwrap_or_default());
            let body = length.ok().flatten().unwrap_or(usize::MAX);
            let Some(path) = self.next(&head, body) else { return Some(self.judge(&head, stream)) };
            self.followed.push(Text::from(format!("{} {path}", head.status).as_str()));
            let whole = head.length.saturating_add(body);
            let skipped = whole.min(stream.inbox.len());
            stream.inbox.drain(..skipped);
            self.skip = whole.saturating_sub(skipped);
            self.path = path;
            self.owed = true;
        }
    }

    fn silent(&mut self, stream: &Stream, mut silence: Report) -> Report {
        let stage = if stream.rtt().is_some() { "head" } else { "first_byte" };
        silence.findings().details.text("waited_for", stage);
        silence
    }
}

#[cfg(test)]
mod tests;
