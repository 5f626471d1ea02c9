//! Whether a VPN's keepalives come often enough for what is on the way to remember its flow.
//!
//! Invariant: only a bound that was proved is compared; between the two nothing is claimed.

use std::time::Duration;

use super::{Note, Said};
use crate::config::{Target, Vpn};
use crate::detect::dpd::{Mode, Profile};
use crate::sample::{Detail, Details};

/// What keeps a NAT's mapping of a session that is idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    /// As administrators call it, or the name of the profile.
    pub name: String,
    /// From one packet to the next.
    pub every: Duration,
}

/// The NAT keepalive of IPsec (RFC 3948, 4: the default).
const NATT: Duration = Duration::from_secs(20);
/// What WireGuard's own documents recommend behind a NAT.
const PERSISTENT: Duration = Duration::from_secs(25);

/// The keepalives of what a target declares.
#[must_use]
pub fn declared(target: &Target) -> Vec<Keepalive> {
    let has = |vpn: &[Vpn]| target.vpn.iter().any(|declared| vpn.contains(declared));
    let mut all = Vec::new();
    if has(&[Vpn::Ipsec, Vpn::L2tpIpsec]) {
        all.push(Keepalive { name: "NAT-T".to_owned(), every: NATT });
    }
    if has(&[Vpn::Openvpn]) {
        let profiles = target.dpd.iter().flat_map(|dpd| dpd.profiles.iter());
        let pings = profiles.filter(|profile| profile.mode == Mode::Keepalive);
        all.extend(pings.map(|Profile { name, idle, .. }| Keepalive { name: name.clone(), every: *idle }));
    }
    if has(&[Vpn::Wireguard]) {
        all.push(Keepalive { name: "PersistentKeepalive".to_owned(), every: PERSISTENT });
    }
    all
}

/// What is to be said of the lifetime that these details tell, if they tell one.
pub(super) fn judge(details: &Details, keepalives: &[Keepalive]) -> Option<Said> {
    let bound = |key| match details.get(key) {
        Some(Detail::Number(secs)) => u64::try_from(*secs).ok(),
        _ => None,
    };
    let (low, high) = (bound("nat_binding_at_least_seconds"), bound("nat_binding_at_most_seconds"));
    let time = match (low, high) {
        (Some(low), Some(high)) => format!("{low}–{high} s"),
        (None, Some(high)) => format!("≤ {high} s"),
        // Without a NAT and without an end there is nothing to say.
        (Some(low), None) if details.is("nat") => format!("≥ {low} s"),
        _ => return None,
    };
    let listed = |which: &dyn Fn(Duration) -> bool| {
        let named = keepalives.iter().filter(|keepalive| which(keepalive.every));
        named.map(|it| format!("{} {} s", it.name, it.every.as_secs_f64())).collect::<Vec<_>>().join(", ")
    };
    let rare = listed(&|every| high.is_some_and(|high| every >= Duration::from_secs(high)));
    if !rare.is_empty() {
        // A packet may be lost: two of them in the time that is sure.
        let safe = low.unwrap_or_default().max(high.unwrap_or_default() / 2) / 2;
        let said = Said::new(Note::NatForgets).with("time", time).with("keepalives", rare);
        return Some(said.with("seconds", safe.max(1).to_string()));
    }
    let held = listed(&|every| low.is_some_and(|low| every <= Duration::from_secs(low)));
    let all = listed(&|_| true);
    Some(if !all.is_empty() && held == all {
        Said::new(Note::NatHolds).with("time", time).with("keepalives", held)
    } else {
        Said::new(Note::NatRemembers).with("time", time)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Lang;
    use super::*;

    fn said(low: Option<u32>, high: Option<u32>, every: &[u64]) -> Option<String> {
        let mut details = Details::default();
        details.flag("nat", true);
        for (key, bound) in [("nat_binding_at_least_seconds", low), ("nat_binding_at_most_seconds", high)] {
            if let Some(bound) = bound {
                details.number(key, bound);
            }
        }
        let keepalives: Vec<_> = every
            .iter()
            .map(|secs| Keepalive { name: "NAT-T".to_owned(), every: Duration::from_secs(*secs) })
            .collect();
        Some(judge(&details, &keepalives)?.text(Lang::En))
    }

    #[test]
    fn a_keepalive_is_compared_with_what_was_proved() {
        let has = |text: Option<String>, part: &str| {
            let text = text.unwrap();
            assert!(text.contains(part), "{text}");
        };
        has(said(Some(24), Some(31), &[20]), "longer than");
        has(said(Some(24), Some(31), &[60]), "set it to 12 s or less");
        has(said(Some(24), Some(31), &[20, 60]), "NAT-T 60 s");
        has(said(Some(24), Some(31), &[28]), "24–31 s");
        has(said(Some(384), None, &[20]), "≥ 384 s");
        has(said(None, Some(6), &[20]), "set it to 1 s or less");
        assert_eq!(said(None, None, &[20]), None);
    }
}
