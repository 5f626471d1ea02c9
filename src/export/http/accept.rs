//! Which exposition format a scraper asked for, and whether compressed (RFC 9110, sections 12.5.1 and
//! 12.5.3).

/// An exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text 0.0.4.
    Text,
    /// Length-delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

impl Format {
    /// Its `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format for an `Accept` header. Protobuf must be asked for by name and rank above text; all
    /// else, also what we cannot make, gets text, which every scraper reads.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        let (mut text, mut protobuf) = (0, 0);
        for range in accept.split(',').take(32) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut quality = 1000;
            let (mut version, mut proto, mut delimited) = (None, false, false);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = thousandths(value),
                    "version" => version = Some(value),
                    "proto" => proto = value == "io.prometheus.client.MetricFamily",
                    "encoding" => delimited = value == "delimited",
                    _ => {}
                }
            }
            match media.as_str() {
                "application/vnd.google.protobuf" if proto && delimited => protobuf = protobuf.max(quality),
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => text = text.max(quality),
                "text/*" | "*/*" => text = text.max(quality),
                _ => {}
            }
        }
        if protobuf > text { Self::Protobuf } else { Self::Text }
    }
}

/// Whether an `Accept-Encoding` header takes gzip. Without one, or by `*` alone, the answer is not
/// compressed: that is always allowed.
pub(super) fn gzip(accept: &str) -> bool {
    accept.split(',').take(32).any(|range| {
        let (coding, parameters) = range.split_once(';').unwrap_or((range, ""));
        let named = ["gzip", "x-gzip"].iter().any(|name| coding.trim().eq_ignore_ascii_case(name));
        let quality = parameters.split(';').find_map(|part| part.split_once('='));
        named && quality.is_none_or(|(_, value)| thousandths(value.trim()) > 0)
    })
}

/// A quality of 0 to 1 in thousandths; what is malformed counts as 0.
fn thousandths(value: &str) -> u32 {
    match value.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, gzip};

    #[test]
    fn gzip_is_taken_by_name_only() {
        for (accept, expected) in [
            ("gzip", true), // Prometheus 2.42, as it sends it
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("", false),
            ("*", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0.0, identity", false),
            ("gzip;q=x", false),
        ] {
            assert_eq!(gzip(accept), expected, "{accept}");
        }
    }

    #[test]
    fn the_format_is_the_one_asked_for() {
        for (accept, format) in [
            // Prometheus 2.42 with --enable-feature=native-histograms, as it sends it.
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Protobuf,
            ),
            // Prometheus 2.42 without it.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Text,
            ),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            // Delimited is the only protobuf we write.
            ("application/vnd.google.protobuf", Format::Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                Format::Text,
            ),
            (
                "application/vnd.google.protobuf; proto=\"io.prometheus.client.MetricFamily\"; encoding=delimited; q=0.4, \
                 text/plain; q=0.5",
                Format::Text,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=7",
                Format::Text,
            ),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }
}
