//! The first exchange of `IKEv2` in all its forms: what we ask, and what each answer means.
//!
//! A box that asks for cookies has enough half-open sessions: what returns the cookie is a KE decoy (another
//! KE is allowed there, §2.6.1), so that none of ours is added. If it stays unanswered it is sent once more, the
//! same (§2.1): that the box takes no more sessions is not to rest on one lost packet.
//!
//! Invariant: COOKIE and `INVALID_KE_PAYLOAD` are each followed at most once, and only when a whole
//! `IKE_SA_INIT` is wanted; a second one of the same kind is a duplicate or a loop, and changes nothing.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::HALF_OPEN;
use super::flight::{Dialogue, Envelope, Verdict};
use super::offer::{self, KeyPool};
use super::proposal::Proposal;
use super::vendor;
use crate::entropy::Draw;
use crate::probe::{Mismatch, Start};
use crate::sample::{Outcome, Reason, Report, Text};
use crate::wire::ike::{
    Body, ExchangeType, Group, Header, Message, Notify, NotifyType, Payload, Spi, Version, flags,
    nat_detection,
};
use crate::wire::ikev1;

/// What the exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Is anyone there: any authentic answer will do.
    Version,
    /// Are the site's proposals accepted.
    Policy,
    /// Is anyone there, asked with a broad offer.
    PolicyAny,
    /// All that can be learnt before authentication.
    Init,
}

/// The initiator's side of `IKE_SA_INIT`.
pub(super) struct Init {
    goal: Goal,
    proposals: Arc<[Proposal]>,
    /// The peer's address and port as we see it.
    peer: SocketAddr,
    /// Ours, if known.
    local: Option<SocketAddr>,
    spi: Spi,
    nonce: Vec<u8>,
    keys: KeyPool,
    /// The group of the last request's KE payload.
    group: Group,
    /// Whether `INVALID_KE_PAYLOAD` was followed.
    regrouped: bool,
    /// The cookie we were asked to return.
    cookie: Option<Vec<u8>>,
    /// Whether the cookie was returned.
    returned: bool,
    /// Whether that was sent once more.
    repeated: bool,
}

impl Init {
    /// The exchange and its first message.
    pub(super) fn new(
        goal: Goal,
        site: &Arc<[Proposal]>,
        envelope: Envelope,
        start: &mut Start<'_>,
    ) -> (Self, Vec<u8>) {
        let proposals = match goal {
            Goal::Version | Goal::PolicyAny => offer::broad(false),
            Goal::Policy | Goal::Init if site.is_empty() => offer::broad(goal == Goal::Init),
            Goal::Policy | Goal::Init => Arc::clone(site),
        };
        let group = if goal == Goal::Init {
            proposals.first().and_then(|proposal| proposal.groups().first()).copied()
        } else {
            offer::decoy_group(&proposals)
        };
        // The version ping carries neither, and asks nothing again.
        let (nonce, keys) = match goal {
            Goal::Version => (Vec::new(), KeyPool::none()),
            _ => (start.entropy.bytes(32), KeyPool::draw(start.entropy)),
        };
        let init = Self {
            goal,
            proposals,
            peer: SocketAddr::new(envelope.peer, envelope.port),
            local: start.local.filter(|local| !local.ip().is_unspecified()),
            spi: offer::draw_spi(start.entropy),
            nonce,
            keys,
            group: group.unwrap_or(Group::MODP_2048),
            regrouped: false,
            cookie: None,
            returned: false,
            repeated: false,
        };
        let first = if goal == Goal::Version { version_ping(init.spi) } else { init.request() };
        (init, first)
    }

    /// The request as it now has to be; bytewise the same as before but for cookie and KE (§2.6).
    fn request(&self) -> Vec<u8> {
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            payloads.push(Notify::new(NotifyType::COOKIE, cookie.clone()).into());
        }
        let decoy = (self.goal != Goal::Init).then_some(self.group);
        payloads.push(offer::sa(&self.proposals, decoy));
        payloads.push(match decoy {
            Some(group) => self.keys.decoy(group),
            None => self.keys.key_exchange(self.group),
        });
        payloads.push(Body::Nonce(self.nonce.clone()).into());
        payloads.extend(offer::nat_detection_of(self.spi, self.local, self.peer));
        if self.goal == Goal::Init {
            // A gateway says these of itself only to a client that says them (RFC 7383 §2.3, RFC 5685
            // §3); childless SAs it announces unasked (RFC 6023 §3).
            payloads.push(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, []).into());
            payloads.push(Notify::new(NotifyType::REDIRECT_SUPPORTED, []).into());
        }
        Message::init_request(self.spi, payloads).to_bytes()
    }

    fn offered(&self, group: Group) -> bool {
        self.proposals.iter().any(|proposal| proposal.groups().contains(&group))
    }

    /// A report on an answer called `answer`.
    fn report(&self, outcome: Outcome, answer: impl Into<Text>) -> Report {
        let mut report = Report::new(outcome);
        let findings = report.findings();
        findings.under_load = self.cookie.is_some();
        findings.details.text("answer", answer);
        if self.cookie.is_some() {
            findings.details.flag("under_load", true);
        }
        report
    }

    /// What a refusal means: with a goal that any answer fulfils, nothing bad.
    fn refusal(&self, reason: Reason) -> Outcome {
        match self.goal {
            Goal::Version | Goal::PolicyAny => Outcome::OK,
            Goal::Policy | Goal::Init => Outcome::Refused(reason),
        }
    }

    fn cookie(&mut self, cookie: &Notify) -> Verdict {
        if self.cookie.is_some() {
            return Verdict::Nothing;
        }
        self.cookie = Some(cookie.data.clone());
        // RFC 7296 §2.6: 1 to 64 bytes; longer or empty ones are not ours to carry around.
        if self.goal == Goal::Init && (1..=64).contains(&cookie.data.len()) {
            self.goal = Goal::Policy;
            self.group = offer::decoy_group(&self.proposals).unwrap_or(Group::MODP_2048);
            self.returned = true;
            return Verdict::Ask(self.request());
        }
        Verdict::Done(self.report(Outcome::OK, "cookie"))
    }

    fn invalid_ke(&mut self, notify: &Notify) -> Verdict {
        let Some(group) = notify.wanted_group() else {
            return Verdict::Done(self.report(self.refusal(Reason::ProtocolError), "invalid_ke_payload"));
        };
        if self.regrouped && group == self.group {
            return Verdict::Nothing;
        }
        let offered = self.offered(group);
        if self.goal == Goal::Init && offered && !self.regrouped && group != self.group {
            self.regrouped = true;
            self.group = group;
            return Verdict::Ask(self.request());
        }
        let outcome = match self.goal {
            Goal::Init => Outcome::Refused(Reason::ProtocolError),
            Goal::Policy if !offered => Outcome::Answered(Some(Reason::WrongAnswer)),
            _ => Outcome::OK,
        };
        let mut report = self.report(outcome, "invalid_ke_payload");
        report.findings().details.text("group", group.to_string().as_str());
        Verdict::Done(report)
    }

    fn established(&self, message: &Message, chosen: &Proposal) -> Report {
        let mut report = self.report(Outcome::OK, "sa");
        let findings = report.findings();
        findings.half_open_left = Some(HALF_OPEN);
        let details = &mut findings.details;
        details.text("suite", chosen.to_string().as_str());
        details.flag("invalid_ke_followed", self.regrouped);
        let ours = |kind, at: SocketAddr| {
            let hash = nat_detection(self.spi, message.responder, at.ip().to_canonical(), at.port());
            let mut hashes = message.notifies().filter(|notify| notify.kind == kind).peekable();
            // Several hashes mean several addresses of the sender; one that fits is enough (§2.23).
            hashes.peek().is_some().then(|| hashes.any(|notify| notify.data == hash))
        };
        if let Some(fits) = ours(NotifyType::NAT_DETECTION_SOURCE_IP, self.peer) {
            details.flag("nat_peer", !fits);
        }
        if let Some(local) = self.local
            && let Some(fits) = ours(NotifyType::NAT_DETECTION_DESTINATION_IP, local)
        {
            details.flag("nat_local", !fits);
        }
        let says = |kind| message.notify(kind).is_some();
        details.flag("childless", says(NotifyType::CHILDLESS_IKEV2_SUPPORTED));
        details.flag("fragmentation", says(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED));
        details.flag("redirect_supported", says(NotifyType::REDIRECT_SUPPORTED));
        details.flag("multiple_auth", says(NotifyType::MULTIPLE_AUTH_SUPPORTED));
        vendor::record(message.vendor_ids(), details);
        report
    }

    fn other(&self, message: &Message) -> Report {
        let Some(notify) = message.notifies().find(|notify| notify.kind.is_error()) else {
            return self.report(self.refusal(Reason::ProtocolError), "unknown");
        };
        let reason = match notify.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => Reason::NoProposalChosen,
            NotifyType::INVALID_SYNTAX => Reason::InvalidSyntax,
            NotifyType::AUTHENTICATION_FAILED => Reason::AuthFailed,
            NotifyType::INVALID_MAJOR_VERSION => Reason::WrongFlavour,
            _ => Reason::ProtocolError,
        };
        let name = notify.kind.name().map_or_else(|| format!("notify_{}", notify.kind.0), str::to_owned);
        let mut report = self.report(self.refusal(reason), name.as_str());
        // Of use to the version ping: the highest version the peer speaks (§2.5).
        report.findings().details.text("version", message.version.to_string().as_str());
        report
    }

    /// An answer in `IKEv1`: a box that knows nothing newer.
    fn old(&self, message: &[u8]) -> Result<Verdict, Mismatch> {
        let message = ikev1::Message::decode(message).map_err(|_| Mismatch::Malformed)?;
        let name = message.notification().and_then(|notification| notification.kind.name());
        let mut report = self.report(Outcome::Refused(Reason::WrongFlavour), name.unwrap_or("ikev1"));
        report.findings().details.text("version", "1.0");
        Ok(Verdict::Done(report))
    }
}

impl Dialogue for Init {
    fn spi(&self) -> Spi {
        self.spi
    }

    fn expects(&self, header: &Header) -> bool {
        match header.version.major() {
            2 => {
                // Boxes differ in which exchange they answer a version in that they do not know.
                let ping = self.goal == Goal::Version && header.exchange == ExchangeType::INFORMATIONAL;
                (header.exchange == ExchangeType::IKE_SA_INIT || ping)
                    && header.flags & flags::RESPONSE != 0
                    && header.flags & flags::INITIATOR == 0
                    && header.message_id == 0
            }
            1 => header.exchange == ExchangeType::INFORMATIONAL_V1 && header.flags & flags::ENCRYPTION == 0,
            _ => false,
        }
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Verdict, Mismatch> {
        let header = Header::decode(bytes).map_err(|_| Mismatch::Malformed)?;
        if header.version.major() == 1 {
            return self.old(bytes);
        }
        let message = Message::decode(bytes).map_err(|_| Mismatch::Malformed)?;
        if let Some(chosen) = message.proposals().and_then(|proposals| proposals.first()) {
            let chosen = Proposal::from_wire(chosen);
            return Ok(Verdict::Done(self.established(&message, &chosen)));
        }
        if let Some(cookie) = message.notify(NotifyType::COOKIE) {
            return Ok(self.cookie(cookie));
        }
        if let Some(notify) = message.notify(NotifyType::INVALID_KE_PAYLOAD) {
            return Ok(self.invalid_ke(notify));
        }
        if let Some(redirect) = message.notify(NotifyType::REDIRECT) {
            let mut report = self.report(Outcome::OK, "redirect");
            report.findings().details.text("redirect", gateway(&redirect.data));
            return Ok(Verdict::Done(report));
        }
        Ok(Verdict::Done(self.other(&message)))
    }

    fn again(&mut self) -> Option<Vec<u8>> {
        let wanted = self.returned && !self.repeated;
        self.repeated |= wanted;
        wanted.then(|| self.request())
    }

    fn silence(&mut self) -> Report {
        if self.returned {
            // It wanted to know that we are who we say, was told, and takes no session all the same.
            let mut report = self.report(Outcome::OK, "cookie");
            report.findings().details.flag("cookie_unanswered", true);
            report
        } else if self.regrouped {
            // The peer picked a proposal and then no longer answered.
            let mut report = self.report(Outcome::Lost(Reason::FullOrThrottled), "invalid_ke_payload");
            report.findings().details.text("group", self.group.to_string().as_str());
            report
        } else {
            Report::new(Outcome::Lost(Reason::NoAnswer))
        }
    }
}

/// The new gateway of a REDIRECT (RFC 5685 §5): type 1 IPv4, 2 IPv6, 3 FQDN | length | identity | nonce.
fn gateway(data: &[u8]) -> Text {
    let Some(([kind, len], rest)) = data.split_first_chunk() else { return Text::hex(data) };
    let Some(identity) = rest.get(..usize::from(*len)) else { return Text::hex(data) };
    let mut text = String::new();
    let address = match kind {
        1 => <[u8; 4]>::try_from(identity).ok().map(|octets| IpAddr::from(Ipv4Addr::from(octets))),
        2 => <[u8; 16]>::try_from(identity).ok().map(|octets| IpAddr::from(Ipv6Addr::from(octets))),
        _ => return Text::from_bytes(identity),
    };
    match address {
        Some(address) => {
            let _ = write!(text, "{address}");
            text.as_str().into()
        }
        None => Text::hex(identity),
    }
}

/// A bare header of major version 3, which a responder must answer with `INVALID_MAJOR_VERSION` (§2.5).
fn version_ping(spi: Spi) -> Vec<u8> {
    let mut ping = Message::init_request(spi, Vec::<Payload>::new());
    ping.version = Version(0x30);
    ping.to_bytes()
}
