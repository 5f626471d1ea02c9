//! `ikev1` (UDP 500) and `ikev1_natt` (UDP 4500, non-ESP marker): phase 1 without credentials.
//!
//! | form | message | what an answer proves | state left |
//! | --- | --- | --- | --- |
//! | `refused` | main mode with one unacceptable transform | daemon speaks `IKEv1` | none |
//! | `main` | main mode with many transforms | configuration, suite, vendor ids | half-open SA |
//! | `aggressive` | aggressive mode, on request only | anyone may take a hash home and guess the key | half-open SA |
//!
//! Invariant: an accepted first message stays half-open at the peer, so the recurring form is one that
//! must be refused. Aggressive mode is in no list of forms.
//! Sources: RFC 2408 §3, §4.5; RFC 2409 §5; RFC 3706 §5.1; RFC 3947 §3.1. RFC 2409's peers answer a
//! refusal with an informational message or with silence: both are common.

mod proposal;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub use proposal::{Proposal, ProposalError};

use super::ike::flight::{Dialogue, Envelope, Flight, Verdict};
use super::ike::offer::{KeyPool, draw_spi};
use super::ike::{HALF_OPEN, vendor};
use super::{Charge, Exchange, Flow, Form, KindInfo, Mismatch, Spec, Start};
use crate::entropy::Draw;
use crate::sample::{Carrier, Outcome, Reason, Report};
use crate::wire::ike::{self as ikev2, ExchangeType, Group, Header, Spi, flags};
use crate::wire::ikev1::{
    Authentication, AttributeType, Message, NotifyType, Payload, Proposal as WireProposal, Transform,
};

/// What the site says of its concentrator.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The suites its clients use; empty if not known.
    pub proposals: Vec<Proposal>,
    /// The identity, for example a group name, that the form `aggressive` asks with.
    pub aggressive_id: Option<String>,
}

static FORMS: &[Form] = &[
    Form { name: "refused", charges: &[], packets: 1, rare: false },
    Form { name: "main", charges: &[Charge::HalfOpen], packets: 1, rare: true },
];

/// Aggressive mode: on request only, in no list. An answer is a finding (`aggressive_mode_answered`).
pub static AGGRESSIVE: Form =
    Form { name: "aggressive", charges: &[Charge::HalfOpen], packets: 1, rare: true };

static REASONS: &[Reason] = &[
    Reason::NoAnswer,
    Reason::PortUnreachable,
    Reason::HostUnreachable,
    Reason::NetUnreachable,
    Reason::AdminProhibited,
    Reason::NoProposalChosen,
    Reason::InvalidSyntax,
    Reason::AuthFailed,
    Reason::WrongFlavour,
    Reason::ProtocolError,
];

/// The kind `ikev1`.
pub static INFO: KindInfo = KindInfo {
    name: "ikev1",
    port: 500,
    interval: Duration::from_secs(5),
    flow: Flow::PinnedUdp,
    carrier: Carrier::Udp,
    forms: |_| FORMS,
    reasons: REASONS,
    phases: &[],
    begin: |spec, mut start| begin(spec, &mut start, false),
};

/// The kind `ikev1_natt`.
pub static INFO_NATT: KindInfo = KindInfo {
    name: "ikev1_natt",
    port: 4500,
    interval: Duration::from_secs(5),
    flow: Flow::PinnedUdp,
    carrier: Carrier::Udp,
    forms: |_| FORMS,
    reasons: REASONS,
    phases: &[],
    begin: |spec, mut start| begin(spec, &mut start, true),
};

/// Suites offered when the site's own are not known, the common ones first.
static BROAD: [&str; 10] = [
    "aes256-sha256-modp2048",
    "aes256-sha1-modp2048",
    "aes128-sha1-modp2048",
    "aes256-sha1-modp1024",
    "aes128-sha1-modp1024",
    "3des-sha1-modp1024",
    "aes256-sha256-ecp256",
    "aes256-sha512-modp2048",
    "aes256-sha1-modp1536",
    "3des-md5-modp1024",
];

/// Methods offered with each suite, each method with all suites before the next.
static METHODS: [Authentication; 5] = [
    Authentication::PRE_SHARED_KEY,
    Authentication::RSA_SIGNATURES,
    Authentication::XAUTH_INIT_PRE_SHARED,
    Authentication::XAUTH_INIT_RSA,
    Authentication::HYBRID_INIT_RSA,
];

/// The most transforms in a message: 28 of them stay below 1,200 bytes, so nothing is fragmented.
const MAX_TRANSFORMS: usize = 28;

/// The vendor id of dead peer detection, version 1.0 (RFC 3706 §5.1).
const DPD: [u8; 16] = *b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57\x01\x00";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Refused,
    Main,
    Aggressive,
}

fn begin(spec: &Spec, start: &mut Start<'_>, marker: bool) -> Box<dyn Exchange> {
    let envelope = Envelope { peer: start.peer, port: spec.port, marker };
    let settings = &spec.settings.ikev1;
    let goal = match start.form.name {
        "main" => Goal::Main,
        "aggressive" => Goal::Aggressive,
        _ => Goal::Refused,
    };
    let spi = draw_spi(start.entropy);
    let (exchange, payloads) = match goal {
        Goal::Refused => {
            let transform = Proposal::unacceptable().to_wire(1, Authentication::PRE_SHARED_KEY);
            (ExchangeType::ID_PROT, vec![sa(vec![transform])])
        }
        Goal::Main => {
            let mut payloads = vec![sa(transforms(&suites(settings)))];
            payloads.push(Payload::VendorId(vendor::hashed("RFC 3947")));
            payloads.push(Payload::VendorId(DPD.to_vec()));
            (ExchangeType::ID_PROT, payloads)
        }
        Goal::Aggressive => {
            // The group cannot be negotiated here (RFC 2409 §5): the first suite's, and all that share it.
            let mut suites = suites(settings);
            let group = suites.first().map_or(Group::MODP_1024, |suite| suite.group());
            suites.retain(|suite| suite.group() == group);
            let data = KeyPool::draw(start.entropy).public_value(group);
            let payloads = vec![
                sa(transforms(&suites)),
                Payload::KeyExchange(data),
                Payload::Nonce(start.entropy.bytes(32)),
                identification(settings.aggressive_id.as_deref().unwrap_or("vpnprobe")),
                Payload::VendorId(DPD.to_vec()),
            ];
            (ExchangeType::AGGRESSIVE, payloads)
        }
    };
    let first = Message::phase_1(spi, Spi::ZERO, exchange, payloads).to_bytes();
    Box::new(Flight::new(envelope, start, Phase1 { goal, spi, exchange }, first))
}

fn suites(settings: &Settings) -> Vec<Proposal> {
    if settings.proposals.is_empty() {
        BROAD.iter().filter_map(|suite| suite.parse().ok()).collect()
    } else {
        settings.proposals.clone()
    }
}

fn transforms(suites: &[Proposal]) -> Vec<Transform> {
    let all = METHODS.iter().flat_map(|method| suites.iter().map(|suite| (*suite, *method)));
    (1..=u8::MAX)
        .zip(all)
        .take(MAX_TRANSFORMS)
        .map(|(number, (suite, method))| suite.to_wire(number, method))
        .collect()
}

fn sa(transforms: Vec<Transform>) -> Payload {
    Payload::Sa(vec![WireProposal::phase_1(transforms)])
}

/// An identity by its look: address, user at a domain, domain, else a group name (key id).
fn identification(text: &str) -> Payload {
    let bytes = || text.as_bytes().to_vec();
    let (kind, data) = if let Ok(address) = text.parse::<Ipv4Addr>() {
        (1, address.octets().to_vec())
    } else if let Ok(address) = text.parse::<Ipv6Addr>() {
        (5, address.octets().to_vec())
    } else if text.contains('@') {
        (3, bytes())
    } else if text.contains('.') {
        (2, bytes())
    } else {
        (11, bytes())
    };
    Payload::Identification { kind, protocol: 0, port: 0, data }
}

/// The initiator's side of a first message of phase 1.
#[derive(Debug)]
struct Phase1 {
    goal: Goal,
    spi: Spi,
    exchange: ExchangeType,
}

impl Phase1 {
    fn accepted(&self, message: &Message, transform: &Transform) -> Report {
        let mut report = Report::new(Outcome::OK);
        let findings = report.findings();
        findings.half_open_left = Some(HALF_OPEN);
        let details = &mut findings.details;
        details.text("answer", "sa");
        details.text("suite", Proposal::from_wire(transform).to_string().as_str());
        let method = transform.attribute(AttributeType::AUTHENTICATION);
        if let Some(method) = method.and_then(|method| u16::try_from(method).ok()) {
            details.text("method", Authentication(method).to_string().as_str());
        }
        let in_seconds = transform.attribute(AttributeType::LIFE_TYPE) == Some(1);
        if let (true, Some(lifetime)) = (in_seconds, transform.attribute(AttributeType::LIFE_DURATION)) {
            details.number("lifetime_seconds", lifetime);
        }
        if self.goal == Goal::Aggressive {
            details.flag("aggressive_mode_answered", true);
        }
        let says = |prefix: &str| {
            message.vendor_ids().filter_map(vendor::name).any(|name| name.starts_with(prefix))
        };
        details.flag("nat_traversal", says("NAT-T"));
        details.flag("dead_peer_detection", says("dead peer detection"));
        details.flag("xauth", says("XAUTH"));
        details.flag("fragmentation", says("fragmentation"));
        vendor::record(message.vendor_ids(), details);
        report
    }

    fn refused(&self, kind: NotifyType) -> Report {
        let reason = match kind {
            NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::ATTRIBUTES_NOT_SUPPORTED => Reason::NoProposalChosen,
            NotifyType::PAYLOAD_MALFORMED | NotifyType::BAD_PROPOSAL_SYNTAX => Reason::InvalidSyntax,
            NotifyType::AUTHENTICATION_FAILED
            | NotifyType::INVALID_ID_INFORMATION
            | NotifyType::INVALID_KEY_INFORMATION => Reason::AuthFailed,
            NotifyType::INVALID_MAJOR_VERSION => Reason::WrongFlavour,
            _ => Reason::ProtocolError,
        };
        let outcome = match (self.goal, reason) {
            // Asked to be refused: any refusal proves a daemon that speaks this version.
            (Goal::Refused, reason) if reason != Reason::WrongFlavour => Outcome::OK,
            (_, reason) => Outcome::Refused(reason),
        };
        let mut report = Report::new(outcome);
        let name = kind.name().map_or_else(|| format!("notify_{}", kind.0), str::to_owned);
        report.findings().details.text("answer", name.as_str());
        report
    }
}

impl Dialogue for Phase1 {
    fn spi(&self) -> Spi {
        self.spi
    }

    /// By CKY-I alone: a refusal has a CKY-R and message id of the peer's own making.
    fn expects(&self, header: &Header) -> bool {
        match header.version.major() {
            1 => {
                let informational = header.exchange == ExchangeType::INFORMATIONAL_V1;
                let answer = header.exchange == self.exchange && header.message_id == 0;
                header.flags & flags::ENCRYPTION == 0 && (informational || answer)
            }
            // A box that speaks only IKEv2 says so in IKEv2.
            2 => header.flags & flags::RESPONSE != 0 || header.exchange == ExchangeType::INFORMATIONAL,
            _ => false,
        }
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Verdict, Mismatch> {
        let header = Header::decode(bytes).map_err(|_| Mismatch::Malformed)?;
        if header.version.major() == 2 {
            let message = ikev2::Message::decode(bytes).map_err(|_| Mismatch::Malformed)?;
            let name = message.notifies().next().and_then(|notify| notify.kind.name());
            let mut report = Report::new(Outcome::Refused(Reason::WrongFlavour));
            report.findings().details.text("answer", name.unwrap_or("ikev2"));
            report.findings().details.text("version", "2.0");
            return Ok(Verdict::Done(report));
        }
        let message = Message::decode(bytes).map_err(|_| Mismatch::Malformed)?;
        if header.exchange == ExchangeType::INFORMATIONAL_V1 {
            // Without a notification (a DELETE, say) it answers nothing.
            let notification = message.notification().ok_or(Mismatch::Unexpected)?;
            // Status messages begin at 16384 (RFC 2408 §3.14.1).
            if notification.kind.0 >= 16384 {
                return Ok(Verdict::Nothing);
            }
            return Ok(Verdict::Done(self.refused(notification.kind)));
        }
        if header.responder == Spi::ZERO {
            // Our own message come back, from a reflector: no responder has a zero cookie.
            return Err(Mismatch::Unexpected);
        }
        let transform = message.chosen().ok_or(Mismatch::Malformed)?;
        Ok(Verdict::Done(self.accepted(&message, transform)))
    }

    fn silence(&mut self) -> Report {
        Report::new(Outcome::Lost(Reason::NoAnswer))
    }
}
