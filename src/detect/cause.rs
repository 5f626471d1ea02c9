//! Why a target fell, told from what else fell, and what stood, in the same time.
//!
//! ```text
//!   only the kept flow? ─▶ a refusal? ─▶ everything else too? ─▶ an ICMP error or reset? ─▶ another path?
//!   ─▶ a way out, a member, all of the box? ─▶ which protocols, which ports? ─▶ unknown, and what would have told
//! ```
//!
//! The questions go from what proves itself to what is only a pattern; a cause names the pattern, and
//! the clues say what it rests on.
//! Invariants: silence alone is no cause: a second probe has to stand or to fall with it. A series
//! without evidence, or that was down before, supports nothing.

use std::collections::BTreeSet;

use super::about::AboutRef;
use super::incident::{Cause, Clue, Stance};
use super::turn::Turn;
use super::witness::{Window, Witness};
use crate::sample::{Carrier, Reason};

/// A series of the fallen target, and what it says.
#[derive(Debug)]
pub(super) struct Party<'a> {
    pub about: AboutRef<'a>,
    pub heard: Witness,
}

impl Party<'_> {
    /// Its name among the others of its target.
    fn subject(&self, all: &[Self]) -> String {
        let AboutRef { probe, member, egress, .. } = self.about;
        let mut subject = probe.to_owned();
        if all.iter().any(|other| other.about.member != member) {
            subject += &format!(", member {member}");
        }
        if all.iter().any(|other| other.about.egress != egress) {
            subject += &format!(", egress {egress}");
        }
        subject
    }

    /// The service that answers it: IKE has two ports, and OpenVPN two carriers.
    fn service(&self) -> (&'static str, u16) {
        match self.about.kind {
            kind if kind.starts_with("ike") => ("ike", 0),
            kind if kind.starts_with("openvpn") => ("openvpn", 0),
            kind => (kind, self.about.port),
        }
    }
}

/// What other targets, probed by the same way out, say.
#[derive(Debug, Default)]
pub(super) struct Others<'a> {
    /// Those that fell too.
    pub fell: Vec<&'a str>,
    /// Those that stood.
    pub stood: Vec<&'a str>,
    /// How many others say neither.
    pub silent: usize,
    /// How many there are beyond those that were asked.
    pub not_asked: usize,
    /// Whether all that fell are in the network of the fallen target (IPv4 /24, IPv6 /48).
    pub near: bool,
}

impl Others<'_> {
    fn clue(&self) -> Clue {
        let Self { fell, stood, silent, not_asked, near } = self;
        let stance = match (fell.is_empty(), stood.is_empty()) {
            (true, true) if *silent == 0 => Stance::Missing,
            (true, true) => Stance::NoEvidence,
            (false, true) => Stance::Fell,
            (true, false) => Stance::Stood,
            (false, false) => Stance::Unclear,
        };
        let mut text = match stance {
            Stance::Missing => return clue(stance, "other targets", "there are none by the same way out"),
            _ => format!("{} fell too, {} stood, {silent} say neither", fell.len(), stood.len()),
        };
        if !fell.is_empty() {
            let names: Vec<_> = fell.iter().take(5).copied().collect();
            text += &format!("; fell: {}{}", names.join(", "), if fell.len() > 5 { ", …" } else { "" });
        }
        if *near && !fell.is_empty() {
            text += "; all that fell are in one network, so it may be that network";
        }
        if *not_asked > 0 {
            text += &format!("; {not_asked} more were not asked");
        }
        clue(stance, "other targets", &text)
    }
}

fn clue(stance: Stance, subject: &str, text: &str) -> Clue {
    Clue { stance, subject: subject.to_owned(), text: text.to_owned() }
}

/// Judges. `parties` are the series of the target, the fallen one at `fallen`; `turn` is what traces say
/// of the path to it, if there are any.
pub(super) fn judge(
    parties: &[Party<'_>],
    fallen: usize,
    others: &Others<'_>,
    turn: Option<Turn>,
    window: Window,
) -> (Cause, Vec<Clue>) {
    let mut clues: Vec<_> = parties
        .iter()
        .map(|party| clue(party.heard.stance(), &party.subject(parties), &party.heard.text()))
        .collect();
    clues.extend(turn.map(|turn| turn.clue(window.from)));
    clues.push(others.clue());
    let Some(me) = parties.get(fallen) else { return (Cause::Unknown, clues) };
    match (Scene { parties, me, others, turn }).cause(window.serving) {
        Ok(cause) => (cause, clues),
        Err(missing) => {
            clues.push(clue(Stance::Missing, "what would tell", missing));
            (Cause::Unknown, clues)
        }
    }
}

struct Scene<'a> {
    parties: &'a [Party<'a>],
    me: &'a Party<'a>,
    others: &'a Others<'a>,
    turn: Option<Turn>,
}

impl<'a> Scene<'a> {
    fn cause(&self, serving: bool) -> Result<Cause, &'static str> {
        let Self { me, others, .. } = self;
        let turned = matches!(self.turn, Some(Turn::Turned { .. }));
        if me.heard.flow() {
            return Ok(Cause::Flow);
        }
        if serving {
            return match me.heard.said() {
                Some(Reason::FullOrThrottled) => Ok(Cause::FullOrThrottled),
                Some(_) => Ok(Cause::Refused),
                None => Err("it was refused too seldom: the same refusal twice"),
            };
        }
        let (own_fell, own_stood) = self.count(|about| about.egress == me.about.egress);
        if own_fell > 0 && own_stood == 0 && !others.fell.is_empty() && others.stood.is_empty() {
            return Ok(Cause::OwnLine);
        }
        match me.heard.said() {
            Some(Reason::PortUnreachable | Reason::ConnectionRefused) => return Ok(Cause::ServiceStopped),
            Some(Reason::AdminProhibited) => return Ok(Cause::Filtered),
            // Routers say so too while they look for another way.
            Some(Reason::HostUnreachable | Reason::NetUnreachable) if !turned => {
                return Ok(Cause::Unreachable);
            }
            _ => {}
        }
        let (_, stood) = self.count(|about| self.here(about));
        // It takes all that goes that way, or it is not what took one service.
        if stood == 0 && turned {
            return Ok(Cause::PathChanged);
        }
        if turned && matches!(me.heard.said(), Some(Reason::HostUnreachable | Reason::NetUnreachable)) {
            return Ok(Cause::Unreachable);
        }
        if stood == 0 { self.all_fell() } else { self.some_fell() }
    }

    /// By the same way out to the same member.
    fn here(&self, about: AboutRef<'_>) -> bool {
        (about.member, about.egress) == (self.me.about.member, self.me.about.egress)
    }

    fn stance(&self, party: &Party<'_>) -> Stance {
        if std::ptr::eq(party, self.me) { Stance::Fell } else { party.heard.stance() }
    }

    fn of(
        &self,
        stance: Stance,
        which: impl Fn(AboutRef<'a>) -> bool,
    ) -> impl Iterator<Item = &'a Party<'a>> {
        // A trace goes over another probe's protocol and port: it is no second witness of them.
        let witness = |party: &&Party<'_>| party.about.kind != "trace" || std::ptr::eq(*party, self.me);
        let parties = self.parties.iter().filter(witness);
        parties.filter(move |party| self.stance(party) == stance && which(party.about))
    }

    /// How many of those fell, and stood.
    fn count(&self, which: impl Fn(AboutRef<'a>) -> bool) -> (usize, usize) {
        (self.of(Stance::Fell, &which).count(), self.of(Stance::Stood, &which).count())
    }

    /// Nothing here stood: how far does it reach?
    fn all_fell(&self) -> Result<Cause, &'static str> {
        let AboutRef { member, egress, .. } = self.me.about;
        if let (0, 1..) = self.count(|about| about.member == member && about.egress != egress) {
            return Ok(Cause::OneEgress);
        }
        if let (0, 1..) = self.count(|about| about.member != member && about.egress == egress) {
            return Ok(Cause::OneMember);
        }
        if matches!(self.turn, Some(Turn::Doubtful(_))) {
            return Err("more traces before it: they tell another path from load balancing");
        }
        if self.turn.is_some_and(Turn::lost_on_the_way) {
            return Err("the path ends on the way: what it is once it is back tells a change from a loss");
        }
        let carriers: BTreeSet<_> =
            self.of(Stance::Fell, |about| self.here(about)).map(|party| party.about.carrier).collect();
        if carriers.len() < 2 {
            return Err(match self.me.about.carrier {
                Carrier::Udp => "only UDP has evidence: a probe by TCP, or ping, tells the box from a filter",
                Carrier::Tcp => "only TCP has evidence: a probe by UDP, or ping, tells the box from a filter",
                Carrier::Icmp => "only ping has evidence: a probe of a service tells the box from a filter",
            });
        }
        match (self.others.fell.len(), self.others.stood.len()) {
            (fell, stood) if stood > fell => Ok(Cause::Box),
            (_, 0) => Err("no other target has evidence: one tells the box from our own line"),
            _ => Err("as many other targets fell as stood: the box fell, and perhaps what is before it"),
        }
    }

    /// Something here stood: what do those have in common that fell?
    fn some_fell(&self) -> Result<Cause, &'static str> {
        let service = |about: AboutRef<'_>| self.here(about) && about.carrier != Carrier::Icmp;
        let fell: Vec<_> = self.of(Stance::Fell, service).collect();
        let stood: Vec<_> = self.of(Stance::Stood, service).collect();
        if fell.is_empty() {
            return Err("ping fell and services stood: a filter of ICMP, or a limit");
        }
        if stood.is_empty() {
            let here = self.parties.iter().filter(|party| service(party.about));
            let open =
                here.filter(|party| !std::ptr::eq(*party, self.me)).any(|party| party.heard.open_question());
            let missing =
                "ping stood; a service that was not probed in that time, or not clearly, may have stood";
            return if open { Err(missing) } else { Ok(Cause::Services) };
        }
        if fell.iter().any(|party| party.heard.busy()) {
            return Ok(Cause::FullOrThrottled);
        }
        let ike = |party: &Party<'_>, natt: bool| {
            party.service().0 == "ike" && party.about.kind.ends_with("_natt") == natt
        };
        for (natt, cause) in [(false, Cause::Udp500), (true, Cause::Udp4500)] {
            if fell.iter().all(|party| ike(party, natt)) && stood.iter().any(|party| ike(party, !natt)) {
                return Ok(cause);
            }
        }
        let all =
            |parties: &[&Party<'_>], carrier| parties.iter().all(|party| party.about.carrier == carrier);
        let ports: BTreeSet<_> = fell.iter().map(|party| party.about.port).collect();
        for (one, other, cause) in
            [(Carrier::Udp, Carrier::Tcp, Cause::Udp), (Carrier::Tcp, Carrier::Udp, Cause::Tcp)]
        {
            if ports.len() > 1 && all(&fell, one) && all(&stood, other) {
                return Ok(cause);
            }
        }
        let services: BTreeSet<_> = fell.iter().map(|party| party.service()).collect();
        if services.len() == 1 {
            return Ok(Cause::OneService);
        }
        Err("several services fell that neither protocol nor port has apart from those that stood")
    }
}

#[cfg(test)]
mod tests;
