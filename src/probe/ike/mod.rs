//! `ike` (UDP 500) and `ike_natt` (UDP 4500, non-ESP marker): `IKEv2` without credentials.
//!
//! | form | message | what an answer proves | state left |
//! | --- | --- | --- | --- |
//! | `policy` | KE decoy with the site's proposals | daemon, configuration, proposal | none |
//! | `policy_any` | KE decoy with a broad offer | daemon | none |
//! | `version` | header of version 3 | daemon | none |
//! | `init` | a whole `IKE_SA_INIT` | all that, and what the peer is and can | half-open SA |
//! | `audit` | KE decoys, one suite each | which suites are accepted | none |
//!
//! Invariant: only `init` can leave a half-open SA, and it says so.
//! Sources: RFC 7296 §1.2, §1.3, §2.6, §2.21, §2.23; RFC 5685, RFC 6023, RFC 7383.

mod audit;
pub(crate) mod flight;
mod init;
pub(crate) mod offer;
mod proposal;
#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
pub(crate) mod vendor;

use std::sync::Arc;
use std::time::Duration;

pub use proposal::{Proposal, ProposalError};

use super::{Charge, Exchange, Flow, Form, KindInfo, Spec, Start};
use crate::sample::{Carrier, Reason};
use flight::{Envelope, Flight};
use init::{Goal, Init};

/// What the site says of its concentrator.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The proposals its clients use; empty if not known.
    pub proposals: Arc<[Proposal]>,
}

/// How long a responder is taken to keep a half-open SA: strongSwan's `half_open_timeout`.
pub(crate) const HALF_OPEN: Duration = Duration::from_secs(30);

const POLICY: Form = Form { name: "policy", charges: &[], packets: 1, rare: false };
const POLICY_ANY: Form = Form { name: "policy_any", charges: &[], packets: 1, rare: false };
const VERSION: Form = Form { name: "version", charges: &[], packets: 1, rare: false };
/// At the most: the request, again with a cookie, again with another group, once more.
const INIT: Form = Form { name: "init", charges: &[Charge::HalfOpen], packets: 4, rare: true };

static FORMS: &[Form] = &[POLICY, VERSION, INIT];
static FORMS_ANY: &[Form] = &[VERSION, POLICY_ANY, INIT];

/// The proposal audit: on request only, in no list. One suite a datagram, at most two packets a second,
/// so it takes minutes; details `accepted`, `refused`, `unanswered`.
pub static AUDIT: Form = Form { name: "audit", charges: &[], packets: audit::PACKETS, rare: false };

static REASONS: &[Reason] = &[
    Reason::NoAnswer,
    Reason::PortUnreachable,
    Reason::HostUnreachable,
    Reason::NetUnreachable,
    Reason::AdminProhibited,
    Reason::NoProposalChosen,
    Reason::InvalidSyntax,
    Reason::AuthFailed,
    Reason::WrongAnswer,
    Reason::WrongFlavour,
    Reason::FullOrThrottled,
    Reason::ProtocolError,
];

/// The kind `ike`.
pub static INFO: KindInfo = KindInfo {
    name: "ike",
    port: 500,
    interval: Duration::from_secs(5),
    flow: Flow::PinnedUdp,
    carrier: Carrier::Udp,
    forms,
    reasons: REASONS,
    phases: &[],
    begin: |spec, start| begin(spec, start, false),
};

/// The kind `ike_natt`.
pub static INFO_NATT: KindInfo = KindInfo {
    name: "ike_natt",
    port: 4500,
    interval: Duration::from_secs(5),
    flow: Flow::PinnedUdp,
    carrier: Carrier::Udp,
    forms,
    reasons: REASONS,
    phases: &[],
    begin: |spec, start| begin(spec, start, true),
};

fn forms(spec: &Spec) -> &'static [Form] {
    if spec.settings.ike.proposals.is_empty() { FORMS_ANY } else { FORMS }
}

fn begin(spec: &Spec, mut start: Start<'_>, marker: bool) -> Box<dyn Exchange> {
    let envelope = Envelope { peer: start.peer, port: spec.port, marker };
    let proposals = &spec.settings.ike.proposals;
    let goal = match start.form.name {
        "audit" => return Box::new(audit::Audit::new(envelope, &mut start)),
        "policy" => Goal::Policy,
        "policy_any" => Goal::PolicyAny,
        "init" => Goal::Init,
        _ => Goal::Version,
    };
    let (dialogue, first) = Init::new(goal, proposals, envelope, &mut start);
    Box::new(Flight::new(envelope, &start, dialogue, first))
}
