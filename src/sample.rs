//! The vocabulary: what one exchange with a target can result in.
//!
//! Three parties never share a word here: the peer (a reply or a refusal), the network (silence and
//! ICMP errors) and ourselves (a [`Fault`]).
//! Invariant: [`Outcome::Unsent`] is no evidence about a target, and no detector may see it as loss.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::time::{Timestamp, WallTime};

pub mod binding;
pub mod path;

/// Declares a closed set of words with their spelling in metrics, JSON and logs.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        $crate::spelt! { $name { $($variant = $word,)+ } }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(deserializer)?;
                let unknown = |()| serde::de::Error::custom(format!("unknown word {word:?}"));
                word.parse().map_err(unknown)
            }
        }
    };
}

/// The spelling of an enumeration, both ways.
#[macro_export]
macro_rules! spelt {
    ($name:ident { $($variant:ident = $word:literal,)+ }) => {
        impl $name {
            /// All of them, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its spelling in metrics, JSON and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();

            fn from_str(word: &str) -> Result<Self, ()> {
                match word { $($word => Ok(Self::$variant),)+ _ => Err(()) }
            }
        }
    };
}

words! {
    /// Why an exchange failed. A closed set: it is a metric label.
    pub enum Reason {
        /// Nothing usable came back in time.
        NoAnswer = "no_answer",
        /// ICMP port unreachable (v4 3/3, v6 1/4): the host is up, nothing listens there.
        PortUnreachable = "port_unreachable",
        /// ICMP host unreachable (v4 3/1, v6 1/3).
        HostUnreachable = "host_unreachable",
        /// ICMP network unreachable (v4 3/0, v6 1/0).
        NetUnreachable = "net_unreachable",
        /// ICMP administratively prohibited (v4 3/9, 3/10, 3/13; v6 1/1, 1/5, 1/6): a filter said so.
        AdminProhibited = "admin_prohibited",
        /// The connection was refused by a reset.
        ConnectionRefused = "connection_refused",
        /// An open connection was reset.
        ConnectionReset = "connection_reset",
        /// None of the offered proposals is accepted, or there is no configuration for our address.
        NoProposalChosen = "no_proposal_chosen",
        /// The peer called our message malformed.
        InvalidSyntax = "invalid_syntax",
        /// The peer refused our credentials.
        AuthFailed = "auth_failed",
        /// A certificate of the chain has expired.
        CertExpired = "cert_expired",
        /// A certificate of the chain is not valid yet.
        CertNotYetValid = "cert_not_yet_valid",
        /// The certificate is for another name.
        CertNameMismatch = "cert_name_mismatch",
        /// The chain does not end at a trusted root.
        CertUntrusted = "cert_untrusted",
        /// The peer ended the handshake with a TLS alert.
        TlsAlert = "tls_alert",
        /// The peer speaks TLS, but nothing as new as TLS 1.2 with ECDHE.
        TlsLegacy = "tls_legacy",
        /// The HTTP status is not the expected one.
        HttpStatus = "http_status",
        /// The answer is authentic and not the expected one.
        WrongAnswer = "wrong_answer",
        /// Another kind of service answers there.
        WrongFlavour = "wrong_flavour",
        /// The name does not exist.
        Nxdomain = "nxdomain",
        /// The name has no record of that type.
        Nodata = "nodata",
        /// The resolver failed.
        Servfail = "servfail",
        /// The resolver refuses to answer us.
        DnsRefused = "dns_refused",
        /// The first step was answered and nothing after it: full, or throttling us.
        FullOrThrottled = "full_or_throttled",
        /// The peer broke the protocol.
        ProtocolError = "protocol_error",
        /// The peer hangs up on whoever lacks its pre-shared key.
        KeyRequired = "key_required",
    }
}

impl Reason {
    /// Whether this is an authentic reply of the service, and so counts as *received* for loss,
    /// outages and dead peer detection. Silence, ICMP errors and resets are not.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        !matches!(
            self,
            Self::NoAnswer
                | Self::PortUnreachable
                | Self::HostUnreachable
                | Self::NetUnreachable
                | Self::AdminProhibited
                | Self::ConnectionRefused
                | Self::ConnectionReset
        )
    }
}

words! {
    /// What went wrong at our own end, so that a sample says nothing about the target. A closed set.
    pub enum Fault {
        /// The budget of the concentrator's address held the slot back.
        Budget = "budget",
        /// The target's name has not been resolved yet.
        Unresolved = "unresolved",
        /// We lack the right to send this.
        Permission = "permission",
        /// A local firewall rule refused the packet (EPERM).
        LocalFirewall = "local_firewall",
        /// The host has no route there, or no address of that family.
        NoRoute = "no_route",
        /// The named egress does not exist or has no address.
        Egress = "egress",
        /// Descriptors, ports, buffers or memory ran out.
        Resource = "resource",
        /// The packet is larger than the local interface takes.
        LocalMtu = "local_mtu",
        /// Our receive buffer overflowed while the answer was due.
        ReceiveOverflow = "receive_overflow",
        /// We were stopped or starved while the answer was due.
        Stalled = "stalled",
        /// A silent first try with a form this member has never answered: proves nothing.
        FormUnproven = "form_unproven",
        /// Silence where silence is the healthy state (L2TP behind IPsec): proves nothing.
        ExpectedSilence = "expected_silence",
        /// The exchange was cancelled by a reload or by the end of the program.
        Cancelled = "cancelled",
        /// A defect of ours; the log has the text.
        Internal = "internal",
    }
}

words! {
    /// The parts of an exchange that are timed on their own.
    pub enum Phase {
        /// From the first SYN to the connection.
        Connect = "connect",
        /// The round trip of that connection as the kernel timed it: from the SYN that was answered to its answer.
        /// The driver adds it.
        TcpKernel = "tcp_kernel",
        /// From the first handshake byte to the end of the handshake.
        Handshake = "handshake",
        /// From the request to the first byte of the answer.
        FirstByte = "first_byte",
    }
}

words! {
    /// What carries a probe's packets.
    pub enum Carrier {
        /// ICMP itself.
        Icmp = "icmp",
        /// UDP.
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
    }
}

/// The result of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The service answered. With a reason, the answer is good for the round-trip time and bad for
    /// the user: an expired certificate.
    Answered(Option<Reason>),
    /// An explicit "no": by the service itself, by an ICMP error, or by a reset.
    Refused(Reason),
    /// Nothing usable came back.
    Lost(Reason),
    /// Our own fault: no evidence.
    Unsent(Fault),
}

impl Outcome {
    /// Answered, without any objection.
    pub const OK: Self = Self::Answered(None);

    /// `answered`, `refused`, `lost` or `unsent`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Refused(_) => "refused",
            Self::Lost(_) => "lost",
            Self::Unsent(_) => "unsent",
        }
    }

    /// Why it failed, if it did; the fault's word is not a reason.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Answered(reason) => reason,
            Self::Refused(reason) | Self::Lost(reason) => Some(reason),
            Self::Unsent(_) => None,
        }
    }

    /// Whether an authentic reply came; nothing if the sample is no evidence.
    #[must_use]
    pub const fn received(self) -> Option<bool> {
        match self {
            Self::Answered(_) => Some(true),
            Self::Refused(reason) | Self::Lost(reason) => Some(reason.is_reply()),
            Self::Unsent(_) => None,
        }
    }

    /// Whether the service answered and did not refuse; nothing if the sample is no evidence.
    #[must_use]
    pub const fn serving(self) -> Option<bool> {
        match self {
            Self::Answered(_) => Some(true),
            Self::Refused(_) | Self::Lost(_) => Some(false),
            Self::Unsent(_) => None,
        }
    }
}

/// Whether a character does something other than to be seen: controls, marks and overrides of direction,
/// separators of lines, joiners, tags, and others without a shape.
#[must_use]
pub fn is_wild(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Remote text made harmless: at most 256 bytes, and what [`is_wild`] escaped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// The most bytes a text has.
    pub const MAX: usize = 256;

    /// Makes remote bytes harmless.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut text = String::new();
        for c in String::from_utf8_lossy(bytes.get(..Self::MAX).unwrap_or(bytes)).chars() {
            let piece = if is_wild(c) { c.escape_unicode().to_string() } else { c.to_string() };
            if text.len() + piece.len() > Self::MAX {
                break;
            }
            text.push_str(&piece);
        }
        Self(text)
    }

    /// Lower-case hexadecimal of remote bytes, cut to fit.
    #[must_use]
    pub fn hex(bytes: &[u8]) -> Self {
        use std::fmt::Write as _;
        let mut text = String::new();
        for byte in bytes.iter().take(Self::MAX / 2) {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One thing an answer told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// Words.
    Text(Text),
    /// Several words.
    List(Vec<Text>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

/// What an answer told beyond its outcome, by fixed keys: JSON `details`, never labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details(Vec<(&'static str, Detail)>);

impl Details {
    /// The most items kept; more are dropped.
    pub const MAX: usize = 64;

    /// Adds or replaces a text.
    pub fn text(&mut self, key: &'static str, text: impl Into<Text>) {
        self.put(key, Detail::Text(text.into()));
    }

    /// Adds or replaces a number.
    pub fn number(&mut self, key: &'static str, number: impl Into<i64>) {
        self.put(key, Detail::Number(number.into()));
    }

    /// Adds or replaces a yes or no.
    pub fn flag(&mut self, key: &'static str, flag: bool) {
        self.put(key, Detail::Flag(flag));
    }

    /// Adds or replaces a list, cut at [`Self::MAX`] items.
    pub fn list(&mut self, key: &'static str, items: impl IntoIterator<Item = Text>) {
        self.put(key, Detail::List(items.into_iter().take(Self::MAX).collect()));
    }

    fn put(&mut self, key: &'static str, detail: Detail) {
        if let Some(slot) = self.0.iter_mut().find(|(k, _)| *k == key) {
            slot.1 = detail;
        } else if self.0.len() < Self::MAX {
            self.0.push((key, detail));
        }
    }

    /// What is known under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Detail> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, detail)| detail)
    }

    /// The text under `key`, if it is one.
    #[must_use]
    pub fn get_text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Detail::Text(text)) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Whether `key` is there and true.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Detail::Flag(true)))
    }

    /// Key and value of each item, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Detail)> {
        self.0.iter().map(|(key, detail)| (*key, detail))
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all of `newer` over, which wins where both know.
    pub fn merge(&mut self, newer: &Self) {
        for (key, detail) in newer.iter() {
            self.put(key, detail.clone());
        }
    }
}

impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, detail) in &self.0 {
            map.serialize_entry(key, detail)?;
        }
        map.end()
    }
}

/// A mapping of a NAT, or none: the two ends of one flow of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// Our own address and port, if the flow has them.
    pub local: Option<SocketAddr>,
    /// What the peer saw as the source.
    pub address: SocketAddr,
}

/// What an exchange found out that the rest of the program acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The peer asked for a cookie: it has many half-open sessions, perhaps ours.
    pub under_load: bool,
    /// We leave a half-open session at the peer, which it keeps for about this long.
    pub half_open_left: Option<Duration>,
    /// When the first certificate of the chain to expire does so.
    pub certificate_not_after: Option<WallTime>,
    /// The path that a trace saw.
    pub path: Option<path::PathSeen>,
    /// The MTU of the path, if it was searched.
    pub mtu: Option<path::MtuSeen>,
    /// Under which address and port the peer saw our flow.
    pub mapped: Option<Mapped>,
    /// How long a NAT remembers, as one trial of it showed.
    pub binding: Option<binding::Binding>,
    /// The rest, for people.
    pub details: Details,
}

/// What an exchange reports when it knows its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The result.
    pub outcome: Outcome,
    /// From the first transmission to its answer; only for authentic replies.
    pub rtt: Option<Duration>,
    /// How long each part took, for the kinds that have parts.
    pub phases: Vec<(Phase, Duration)>,
    /// What else came to light; nothing in the ordinary case, so that it costs nothing.
    pub findings: Option<Box<Findings>>,
}

impl Report {
    /// A bare outcome.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self { outcome, rtt: None, phases: Vec::new(), findings: None }
    }

    /// An outcome and its round-trip time.
    #[must_use]
    pub const fn timed(outcome: Outcome, rtt: Duration) -> Self {
        Self { outcome, rtt: Some(rtt), phases: Vec::new(), findings: None }
    }

    /// The findings, made when first asked for.
    pub fn findings(&mut self) -> &mut Findings {
        self.findings.get_or_insert_default()
    }
}

/// Which series of samples: one probe of one member of one target over one egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SeriesId(pub u32);

/// One exchange, from its due time to its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Whose it is.
    pub series: SeriesId,
    /// Counts the slots of the series, unsent ones included.
    pub seq: u64,
    /// The form of the exchange, for example `"version"`.
    pub form: &'static str,
    /// When the schedule wanted it.
    pub due: Timestamp,
    /// When its first packet left, if one did.
    pub sent: Option<Timestamp>,
    /// When its result was known.
    pub done: Timestamp,
    /// The result.
    pub report: Report,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_is_capped_and_escaped() {
        let text = Text::from_bytes(b"a\x1b[31m\n\xff<b>\xe2\x80\xae");
        assert_eq!(text.as_str(), "a\\u{1b}[31m\\u{a}\u{fffd}<b>\\u{202e}");
        let unseen = Text::from("\u{61c}\u{200b}\u{2028}\u{2066}\u{feff}\u{e0041}\u{ad}");
        assert_eq!(unseen.as_str(), r"\u{61c}\u{200b}\u{2028}\u{2066}\u{feff}\u{e0041}\u{ad}");
        assert!(Text::from_bytes(&[b'\n'; 1000]).as_str().len() <= Text::MAX);
        assert_eq!(Text::hex(&[0, 255]).as_str(), "00ff");
    }

    #[test]
    fn our_own_faults_are_no_evidence() {
        for fault in Fault::ALL {
            assert_eq!(Outcome::Unsent(*fault).received(), None);
            assert_eq!(Outcome::Unsent(*fault).serving(), None);
            assert_eq!(Outcome::Unsent(*fault).reason(), None);
        }
    }

    #[test]
    fn refusals_of_the_service_are_received_and_icmp_errors_are_not() {
        assert_eq!(Outcome::Refused(Reason::NoProposalChosen).received(), Some(true));
        assert_eq!(Outcome::Refused(Reason::NoProposalChosen).serving(), Some(false));
        assert_eq!(Outcome::Refused(Reason::PortUnreachable).received(), Some(false));
        assert_eq!(Outcome::Answered(Some(Reason::CertExpired)).received(), Some(true));
    }

    #[test]
    fn words_go_both_ways() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
    }
}
