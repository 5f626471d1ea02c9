//! Incidents: what was recorded around an outage, a refusal, a spell of flapping or a teardown.
//!
//! ```json
//! {"schema":1,"id":"20261122T053412123Z-hq-0001","target":"hq","kind":"outage","state":"closed",
//!  "began":"2026-11-22T05:34:12.123Z","ended":"2026-11-22T05:34:47.123Z","seconds":35.0,
//!  "cause":"udp","clues":[{"stance":"fell","subject":"ike","text":"…"}],
//!  "series":[{"probe":"ike",…,"samples":{"at":[-4.9,0.1],"fates":"o.","rtt_ms":[12.1,null]}}],
//!  "transitions":[{"at":0.0,"series":0,"what":"outage_began"}],"dpd":[…],"path":null}
//! ```
//!
//! Times inside count in seconds from `began`, by the monotonic clock; only `began` and `ended` are wall
//! times. Fields are only ever added, so all but the first ten may be missing in what was written earlier.
//! Invariant: the size of an incident is bounded, however long it lasts.

use serde::{Deserialize, Serialize};

use super::liveness::State;
use crate::sample::Carrier;
use crate::time::WallTime;
use crate::words;

/// The version of the JSON shape.
pub const SCHEMA: u32 = 1;

words! {
    /// What it is, by the gravest thing that happened in it so far.
    pub enum IncidentKind {
        /// A session was surely torn down, though the outage was too short to be shown as one.
        Dpd = "dpd",
        /// The service answers, and refuses.
        Refused = "refused",
        /// No reply came.
        Outage = "outage",
        /// Service fell silent and came back again and again.
        Flapping = "flapping",
    }
}

words! {
    /// How far it is.
    pub enum Stage {
        /// It has just begun; the cause is not known yet.
        Opened = "opened",
        /// It has become graver than it began: its kind is another one.
        Graver = "graver",
        /// It is fixed what caused it, `unknown` included.
        Decided = "decided",
        /// It is over, and nothing in it changes any more.
        Closed = "closed",
    }
}

words! {
    /// Whether it is over.
    pub enum IncidentState {
        /// It goes on.
        Open = "open",
        /// All is well again, or nothing more is to be learned.
        Closed = "closed",
    }
}

words! {
    /// What caused it. A closed set: it is a metric label. Each is named only where a second piece of
    /// evidence supports it.
    pub enum Cause {
        /// Every target by this way out fell together: our own line, or what all paths share.
        OwnLine = "own_line",
        /// The target fell by this way out only.
        OneEgress = "one_egress",
        /// Every protocol of the box fell, and other targets stood.
        Box = "box",
        /// One address of several fell.
        OneMember = "one_member",
        /// No service of the box answers, and ping does.
        Services = "services",
        /// All that goes by UDP fell, what goes by TCP stood.
        Udp = "udp",
        /// All that goes by TCP fell, what goes by UDP stood.
        Tcp = "tcp",
        /// IKE on UDP port 500 fell, on 4500 it stood.
        Udp500 = "udp_500",
        /// IKE on UDP port 4500 fell, on 500 it stood.
        Udp4500 = "udp_4500",
        /// One service fell silent, and the box answers otherwise.
        OneService = "one_service",
        /// The first flight is answered and nothing after it: full, or throttling.
        FullOrThrottled = "full_or_throttled",
        /// The service answers, and refuses.
        Refused = "refused",
        /// The box says that nothing listens there any more.
        ServiceStopped = "service_stopped",
        /// A filter says that it does not let this pass.
        Filtered = "filtered",
        /// A router says that it has no way there.
        Unreachable = "unreachable",
        /// Only the flow kept open fell: a NAT or firewall on the way dropped it.
        Flow = "flow",
        /// The path became another one as it fell, and load balancing does not explain it.
        PathChanged = "path_changed",
        /// Nothing supports any of the others.
        Unknown = "unknown",
    }
}

words! {
    /// What a clue says of its subject.
    pub enum Stance {
        /// It fell with it.
        Fell = "fell",
        /// It stood.
        Stood = "stood",
        /// Something said "no".
        Refused = "refused",
        /// It became another one.
        Changed = "changed",
        /// Some was lost, some answered.
        Unclear = "unclear",
        /// It was down before.
        DownBefore = "down_before",
        /// Nothing was sent in that time, or nothing is known of the time before.
        NoEvidence = "no_evidence",
        /// There is none, or too few; what would tell is missing.
        Missing = "missing",
    }
}

/// One piece of what the cause was judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clue {
    /// What it says.
    pub stance: Stance,
    /// Of what: a probe, with member and egress where there are several, "path", or "other targets".
    pub subject: String,
    /// In English.
    pub text: String,
}

/// Samples, as columns of the same length, in the order of their due times.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Samples {
    /// When each was due, in seconds from the beginning of the incident; below zero is before it.
    pub at: Vec<f64>,
    /// One character each, as [`Seen`](super::recorder::Seen) spells them: `o` answered, `c` answered
    /// with a cookie, `r` refused by the service, `x` an ICMP error or a reset, `.` lost, `f` lost on the
    /// kept flow while a fresh one was answered, `-` our own fault: no evidence.
    pub fates: String,
    /// The round-trip time in milliseconds, where there is one.
    pub rtt_ms: Vec<Option<f64>>,
}

/// A series of the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesRecord {
    /// The member's slot.
    pub member: u8,
    /// Its address, if it was known.
    pub address: Option<std::net::IpAddr>,
    /// The probe's name.
    pub probe: String,
    /// The probe's kind.
    pub kind: String,
    /// The way out.
    pub egress: String,
    /// What carries it.
    pub carrier: Carrier,
    /// The port it goes to; 0 if it has none.
    pub port: u16,
    /// From one probe to the next, in seconds.
    pub interval_seconds: f64,
    /// How long an answer may take, in seconds.
    pub timeout_seconds: f64,
    /// Its state when this was written.
    pub state: State,
    /// What was seen of it up to when the incident was noticed, when its cause was judged and when it was
    /// closed, each with the minutes before; in a long one there are holes between.
    pub samples: Samples,
}

/// Something of a series changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Since when, in seconds from the beginning of the incident.
    pub at: f64,
    /// Its place in `series`; nothing for one that is no more.
    pub series: Option<usize>,
    /// What.
    pub what: Change,
    /// The state it came to, for `state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

words! {
    /// What can change.
    pub enum Change {
        /// The state, after hysteresis.
        State = "state",
        /// No reply came any more.
        OutageBegan = "outage_began",
        /// Replies came again.
        OutageEnded = "outage_ended",
        /// The service fell silent, if only for a moment.
        FlapDown = "flap_down",
        /// It came back.
        FlapUp = "flap_up",
        /// Many flaps in a short time.
        FlappingBegan = "flapping_began",
        /// They are long enough ago.
        FlappingEnded = "flapping_ended",
        /// A dead peer detection tore all its sessions down.
        Teardown = "teardown",
        /// The series was removed, or begun anew with another address.
        Removed = "removed",
    }
}

words! {
    /// What a dead peer detection did.
    pub enum DpdFate {
        /// Torn down, whatever its phase.
        Sure = "sure",
        /// Torn down or not, by its phase.
        Possible = "possible",
        /// Not torn down.
        No = "no",
        /// The probes come too seldom to tell.
        TooCoarse = "too_coarse",
        /// Nothing has ever answered: nobody can have had a session.
        NoSession = "no_session",
    }
}

/// What one profile's dead peer detection did in this incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DpdRecord {
    /// The profile's name.
    pub profile: String,
    /// The place in `series` of the one that fed it.
    pub series: Option<usize>,
    /// In a word.
    pub verdict: DpdFate,
    /// Outages that tore down every session.
    pub sure: u64,
    /// Teardowns of a session, averaged over its phase; nothing if too coarse.
    pub expected: Option<f64>,
    /// The least silence that was left before a session of the least favourable phase is torn down.
    pub least_margin_seconds: Option<f64>,
}

/// A recorded outage, refusal, spell of flapping or teardown of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Unique; sorts by time; `A-Z a-z 0-9 . _ -` only, at most 105 of them.
    pub id: String,
    /// The target's name.
    pub target: String,
    /// What it is.
    pub kind: IncidentKind,
    /// Whether it is over.
    pub state: IncidentState,
    /// When the first probe without success was due.
    pub began: WallTime,
    /// When the last of what fell came back.
    pub ended: Option<WallTime>,
    /// From the one to the other.
    pub seconds: Option<f64>,
    /// Its cause; nothing while it is not judged yet.
    pub cause: Option<Cause>,
    /// What the cause was judged by.
    pub clues: Vec<Clue>,
    /// Whether it was closed while a part of the target was still down, since nothing changed any more.
    #[serde(default)]
    pub lasting: bool,
    /// Whether nothing of the target had ever answered when it began: no fall was seen.
    #[serde(default)]
    pub never_answered: bool,
    /// The series of the target.
    #[serde(default)]
    pub series: Vec<SeriesRecord>,
    /// How many more series of the target are left out.
    #[serde(default)]
    pub series_left_out: u32,
    /// Whether samples are left out, since very many incidents are open at once.
    #[serde(default)]
    pub samples_left_out: bool,
    /// What changed, in the order in which it was told.
    #[serde(default)]
    pub transitions: Vec<Event>,
    /// How many more changes are left out.
    #[serde(default)]
    pub transitions_left_out: u32,
    /// What the profiles' dead peer detection did.
    #[serde(default)]
    pub dpd: Vec<DpdRecord>,
    /// What a trace of the path saw; null without one.
    #[serde(default)]
    pub path: Option<serde_json::Value>,
}

impl Incident {
    /// A name for an incident: when it began, whose, and a number of its own.
    #[must_use]
    pub fn id(began: WallTime, target: &str, number: u64) -> String {
        let time = began.to_string().replace(['-', ':', '.'], "");
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let target: String = target.chars().take(64).map(|c| if good(c) { c } else { '_' }).collect();
        format!("{time}-{target}-{number:04}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_file_name_and_sorts_by_time() {
        let at = |secs| WallTime::from_unix_secs(secs);
        let id = Incident::id(at(1_795_305_600), "hq", 7);
        assert_eq!(id, "20261122T000000000Z-hq-0007");
        assert!(id < Incident::id(at(1_795_305_601), "a", 1));
        assert_eq!(Incident::id(at(0), "../é", 1), "19700101T000000000Z-..__-0001");
        assert!(Incident::id(at(0), &"x".repeat(300), u64::MAX).len() <= 105);
    }
}
