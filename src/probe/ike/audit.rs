//! The proposal audit: which suites the peer accepts, one policy check each.
//!
//! Invariant: one suite is in flight at a time, each is asked at most [`TRIES`] times, and messages
//! leave at least [`PACE`] apart. It stops at once when a peer opens state or says nobody is there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HALF_OPEN;
use super::flight::Envelope;
use super::offer::{self, KeyPool};
use super::proposal::Proposal;
use crate::entropy::Draw;
use crate::probe::{Event, Exchange, Handled, IcmpError, Mismatch, Start, Step, Transport};
use crate::sample::{Outcome, Reason, Report, Text};
use crate::time::Timestamp;
use crate::wire::ike::{Body, ExchangeType, Group, Message, NotifyType, Spi, flags};

static CIPHERS: [&str; 5] = ["aes128", "aes256", "aes128gcm16", "aes256gcm16", "3des"];
static HASHES: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];
static GROUPS: [&str; 9] = [
    "modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "ecp256", "ecp384", "ecp521", "x25519",
];

/// How often each suite is asked, at the most.
const TRIES: u8 = 2;
/// At the most two packets a second.
const PACE: Duration = Duration::from_millis(500);
/// The most packets: every suite asked twice.
pub(super) const PACKETS: u32 = 5 * 4 * 9 * 2;

/// What came of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Accepted,
    Refused,
    /// An answer that decides nothing: a cookie, a complaint.
    Unclear,
    Unanswered,
}

struct Suite {
    /// Cipher and hash: the key it is grouped by in the result.
    family: String,
    group: Group,
    proposal: Proposal,
    spi: Spi,
    tries: u8,
    finding: Finding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To send the current suite at this time.
    Due(Timestamp),
    /// Sent, answer awaited until then.
    Flying(Timestamp),
    /// All known.
    Known,
    Over,
}

/// The audit.
pub(super) struct Audit {
    envelope: Envelope,
    timeout: Duration,
    suites: Vec<Suite>,
    current: usize,
    state: State,
    /// When the last message left.
    sent: Option<Timestamp>,
    rtt: Option<Duration>,
    nonce: Vec<u8>,
    keys: KeyPool,
    under_load: bool,
    opened: bool,
    stopped: Option<Outcome>,
}

impl Audit {
    pub(super) fn new(envelope: Envelope, start: &mut Start<'_>) -> Self {
        let mut suites = Vec::new();
        for cipher in CIPHERS {
            for hash in HASHES {
                let family = format!("{cipher}-{hash}");
                for group in GROUPS {
                    let (Ok(proposal), Some(group)) =
                        (format!("{family}-{group}").parse(), super::proposal::group(group))
                    else {
                        continue;
                    };
                    let spi = offer::draw_spi(start.entropy);
                    let family = family.clone();
                    suites.push(Suite {
                        family,
                        group,
                        proposal,
                        spi,
                        tries: 0,
                        finding: Finding::Unanswered,
                    });
                }
            }
        }
        Self {
            envelope,
            timeout: start.timeout,
            suites,
            current: 0,
            state: State::Due(start.now),
            sent: None,
            rtt: None,
            nonce: start.entropy.bytes(32),
            keys: KeyPool::draw(start.entropy),
            under_load: false,
            opened: false,
            stopped: None,
        }
    }

    fn request(&self, suite: &Suite) -> Vec<u8> {
        let offer = std::slice::from_ref(&suite.proposal);
        let decoy = offer::decoy_group(offer).unwrap_or(Group::MODP_2048);
        let payloads = vec![
            offer::sa(offer, Some(decoy)),
            self.keys.decoy(decoy),
            Body::Nonce(self.nonce.clone()).into(),
        ];
        Message::init_request(suite.spi, payloads).to_bytes()
    }

    /// Goes on to the next suite, or asks the current one again, not before the pace allows.
    fn advance(&mut self, now: Timestamp) {
        let again = self.suites.get(self.current).is_some_and(|suite| {
            suite.tries < TRIES && matches!(suite.finding, Finding::Unanswered | Finding::Unclear)
        });
        if !again {
            self.current += 1;
        }
        self.state = if self.stopped.is_some() || self.current >= self.suites.len() {
            State::Known
        } else {
            State::Due(self.sent.map_or(now, |sent| sent + PACE))
        };
    }

    fn report(&self) -> Report {
        let answered = self.suites.iter().any(|suite| suite.finding != Finding::Unanswered);
        let outcome = match self.stopped {
            Some(outcome) if !answered => outcome,
            None if !answered => Outcome::Lost(Reason::NoAnswer),
            _ => Outcome::OK,
        };
        let mut report = Report::new(outcome);
        report.rtt = self.rtt;
        let findings = report.findings();
        findings.under_load = self.under_load;
        findings.half_open_left = self.opened.then_some(HALF_OPEN);
        let details = &mut findings.details;
        details.text("answer", if answered { "audit" } else { "none" });
        for (key, finding) in [
            ("accepted", Finding::Accepted),
            ("refused", Finding::Refused),
            ("unclear", Finding::Unclear),
            ("unanswered", Finding::Unanswered),
        ] {
            let lines = self.lines(finding);
            if finding != Finding::Unclear || !lines.is_empty() {
                details.list(key, lines);
            }
        }
        if self.under_load {
            details.flag("under_load", true);
        }
        if self.stopped.is_some() || self.opened {
            details.flag("cut_short", true);
        }
        report
    }

    /// A line for each cipher and hash: `aes256-sha256: modp2048 ecp256`. Suites never asked because
    /// the audit was cut short are in no list.
    fn lines(&self, finding: Finding) -> Vec<Text> {
        let mut families: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for suite in self.suites.iter().filter(|suite| suite.tries > 0 && suite.finding == finding) {
            families.entry(&suite.family).or_default().push(suite.group.to_string());
        }
        let lines = families.iter().map(|(family, groups)| format!("{family}: {}", groups.join(" ")));
        lines.map(|line| line.as_str().into()).collect()
    }

    fn received(&mut self, from: std::net::SocketAddr, bytes: &[u8], at: Timestamp) -> Result<(), Mismatch> {
        let (message, header) = self.envelope.open(from, bytes)?;
        let whose = self.suites.iter().position(|suite| suite.spi == header.initiator);
        let index = whose.ok_or(Mismatch::Token)?;
        let fits = header.version.major() == 2
            && header.exchange == ExchangeType::IKE_SA_INIT
            && header.flags & flags::RESPONSE != 0
            && header.flags & flags::INITIATOR == 0
            && header.message_id == 0;
        if !fits {
            return Err(Mismatch::Unexpected);
        }
        let message = Message::decode(message).map_err(|_| Mismatch::Malformed)?;
        let (current, flying) = (self.current, matches!(self.state, State::Flying(_)));
        let sent = self.sent;
        let Some(suite) = self.suites.get_mut(index) else { return Ok(()) };
        if matches!(self.state, State::Known | State::Over) || suite.tries == 0 {
            return Ok(());
        }
        let finding = if message.proposals().is_some() {
            // A real SA where none can be: this peer's reaction costs it state, so ask no more.
            self.opened = true;
            self.stopped = Some(Outcome::OK);
            Finding::Accepted
        } else if message.notify(NotifyType::COOKIE).is_some() {
            self.under_load = true;
            Finding::Unclear
        } else if let Some(notify) = message.notify(NotifyType::INVALID_KE_PAYLOAD) {
            if notify.wanted_group() == Some(suite.group) { Finding::Accepted } else { Finding::Unclear }
        } else if message.notify(NotifyType::NO_PROPOSAL_CHOSEN).is_some() {
            Finding::Refused
        } else {
            Finding::Unclear
        };
        // A late answer to an earlier suite still decides it; a decided suite stays as it is.
        if !matches!(suite.finding, Finding::Accepted | Finding::Refused) {
            suite.finding = finding;
        }
        if index == current && flying {
            if let (None, 1, Some(sent)) = (self.rtt, suite.tries, sent) {
                self.rtt = Some(at.since(sent));
            }
            self.advance(at);
        } else if self.stopped.is_some() {
            self.state = State::Known;
        }
        Ok(())
    }
}

impl Exchange for Audit {
    fn transport(&self) -> Transport {
        self.envelope.transport()
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Step {
        if matches!(self.state, State::Flying(until) if now >= until) {
            self.advance(now);
        }
        match self.state {
            State::Due(at) if now < at => Step::Wait(at),
            State::Flying(until) => Step::Wait(until),
            State::Due(_) => {
                if let Some(suite) = self.suites.get_mut(self.current) {
                    suite.tries += 1;
                }
                if let Some(suite) = self.suites.get(self.current) {
                    self.envelope.seal(&self.request(suite), out);
                }
                self.sent = Some(now);
                self.state = State::Flying(now + self.timeout);
                Step::Send
            }
            State::Known => {
                self.state = State::Over;
                Step::Report(self.report())
            }
            State::Over => Step::End,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Timestamp) -> Handled {
        let running = !matches!(self.state, State::Known | State::Over);
        match event {
            Event::Sent => {
                self.sent = Some(at);
                if let State::Flying(until) = &mut self.state {
                    *until = at + self.timeout;
                }
                Handled::Taken
            }
            Event::Received { from, bytes } => match self.received(from, bytes, at) {
                Ok(()) => Handled::Taken,
                Err(mismatch) => Handled::NotMine(mismatch),
            },
            Event::Icmp { error, quoted, .. } => {
                if !self.suites.iter().any(|suite| self.envelope.quotes(suite.spi, quoted)) {
                    return Handled::NotMine(Mismatch::Token);
                }
                if let (true, IcmpError::Unreachable(reason)) = (running, error) {
                    self.stopped = Some(Outcome::Refused(reason));
                    self.state = State::Known;
                }
                Handled::Taken
            }
            Event::Failed(fault) => {
                if running {
                    self.stopped = Some(Outcome::Unsent(fault));
                    self.state = State::Known;
                }
                Handled::Taken
            }
            Event::Connected | Event::Closed | Event::Reset => Handled::NotMine(Mismatch::Unexpected),
        }
    }
}
