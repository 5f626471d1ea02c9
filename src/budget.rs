//! What a concentrator's address is spared from: one budget over all probes and targets.
//!
//! A naive prober locks itself, and everyone behind the same NAT, out: strongSwan answers the fourth
//! abandoned handshake of an address with a cookie and the sixth with silence. So whatever opens state
//! at a peer is drawn from the account of its address first.
//! Invariants: at most one half-open session at a time, whatever asks for it; no window of a minute has
//! more connections or handshakes than its limit; a form that leaves no state is held back by the
//! packet rate only, never by how the peer behaved.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::probe::{Charge, Form};
use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
/// The longest back-off after a peer asked for mercy.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(600);

/// From here on every further objection is like the last.
const MOST_OBJECTIONS: u32 = 16;

/// The limits of a concentrator's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Packets of all probes together, per second on average.
    pub packets_per_second: u32,
    /// Packets that may go out at once.
    pub packets_burst: u32,
    /// From one half-open IKE session to the next; never more than one at once.
    pub half_open_interval: Duration,
    /// L2TP tunnels in any minute.
    pub l2tp_per_minute: u32,
    /// OpenVPN hard resets in any minute.
    pub openvpn_per_minute: u32,
    /// TCP connections in any minute.
    pub tcp_per_minute: u32,
    /// TLS handshakes in any minute.
    pub tls_per_minute: u32,
    /// WireGuard handshakes in any minute.
    pub wireguard_per_minute: u32,
}

impl Default for Limits {
    /// strongSwan's cookie threshold (3 half-open in 30 s), OpenVPN's connection rate (100 in 10 s) and
    /// ocserv's ban score (a connection each 15 s) are the strictest seen; staying well below them
    /// leaves room for the users behind the same address.
    fn default() -> Self {
        Self {
            packets_per_second: 20,
            packets_burst: 40,
            half_open_interval: Duration::from_secs(60),
            l2tp_per_minute: 2,
            openvpn_per_minute: 15,
            tcp_per_minute: 20,
            tls_per_minute: 6,
            wireguard_per_minute: 12,
        }
    }
}

impl Limits {
    /// How many of a charge are allowed, and in how long.
    #[must_use]
    pub const fn of(&self, charge: Charge) -> (u32, Duration) {
        match charge {
            Charge::HalfOpen => (1, self.half_open_interval),
            Charge::L2tpTunnel => (self.l2tp_per_minute, MINUTE),
            Charge::OpenvpnReset => (self.openvpn_per_minute, MINUTE),
            Charge::TcpConnection => (self.tcp_per_minute, MINUTE),
            Charge::TlsHandshake => (self.tls_per_minute, MINUTE),
            Charge::WireguardHandshake => (self.wireguard_per_minute, MINUTE),
        }
    }
}

/// A slot that has to wait, and until when at the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// When asking again makes sense.
    pub until: Timestamp,
}

/// The accounts of all addresses.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    /// No half-open session before this: a program that was restarted does not know what it left open.
    hold: Timestamp,
    accounts: HashMap<IpAddr, Account, BuildHasherDefault<Quick>>,
}

/// What was drawn, for the process after this one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeptBudget {
    accounts: HashMap<IpAddr, Account>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Account {
    /// Theoretical arrival time of the packet rate (GCRA).
    packets: Timestamp,
    /// None where nothing is sent that opens state.
    gates: BTreeMap<Charge, Gate>,
}

/// Hashes addresses. They come from the configuration and its names, eight a target: nobody can choose
/// enough of them to make it slow.
#[derive(Debug, Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(8) {
            let word = piece.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            // 2^64 over the golden ratio: an odd number whose multiples are spread well.
            self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        // Tables go by the lowest bits and by the highest.
        self.0 ^ self.0 >> 32
    }
}

/// At most so many in any window, and fewer while the peer objects.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Gate {
    /// When the last ones were drawn, as many as the limit at the most.
    times: VecDeque<Timestamp>,
    /// How often in a row the peer objected.
    objections: u32,
}

impl Gate {
    fn free_at(&self, (limit, per): (u32, Duration)) -> Timestamp {
        let limit = limit as usize;
        if limit == 0 {
            return Timestamp::FAR;
        }
        let full = self.times.len().checked_sub(limit).and_then(|first| self.times.get(first));
        let window = full.map_or(Timestamp::ZERO, |oldest| *oldest + per);
        let pause = (per / u32::try_from(limit).unwrap_or(u32::MAX))
            .saturating_mul(1u32.checked_shl(self.objections).unwrap_or(u32::MAX))
            .min(LONGEST_BACK_OFF.max(per));
        let objected = self.times.back().filter(|_| self.objections > 0);
        objected.map_or(window, |last| window.max(*last + pause))
    }

    /// Whether this can have been so at `at`.
    fn plausible(&self, at: Timestamp) -> bool {
        self.times.iter().all(|time| *time <= at) && self.objections <= MOST_OBJECTIONS
    }

    fn draw(&mut self, now: Timestamp, limit: u32) {
        self.times.push_back(now);
        while self.times.len() > limit as usize {
            self.times.pop_front();
        }
    }
}

impl Budget {
    /// Accounts under these limits. `hold`: no half-open session before it.
    #[must_use]
    pub fn new(limits: Limits, hold: Timestamp) -> Self {
        Self { limits, hold, accounts: HashMap::default() }
    }

    /// What was drawn so far.
    #[must_use]
    pub fn keep(&self) -> KeptBudget {
        KeptBudget {
            accounts: self.accounts.iter().map(|(address, account)| (*address, account.clone())).collect(),
        }
    }

    /// Goes on from what an earlier process had drawn at `at`; what cannot have been so is left out.
    pub fn resume(&mut self, kept: KeptBudget, at: Timestamp) {
        for (address, account) in kept.accounts {
            let packets = account.packets <= at + MINUTE;
            if packets && account.gates.values().all(|gate| gate.plausible(at)) {
                self.accounts.insert(address, account);
            }
        }
    }

    /// Other limits from now on; what has been drawn stays drawn.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Draws what one run of `form` costs, or says when to ask again and draws nothing.
    ///
    /// # Errors
    /// [`Held`] when a limit would be passed.
    pub fn draw(&mut self, address: IpAddr, form: &Form, now: Timestamp) -> Result<(), Held> {
        let limits = &self.limits;
        let account = self.accounts.entry(address).or_default();
        let gap = Duration::from_secs(1) / limits.packets_per_second.max(1);
        let packets = account.packets.max(now) + gap * form.packets;
        let tolerance = gap * limits.packets_burst.max(form.packets);
        let mut free_at = packets - tolerance;
        for charge in form.charges {
            let gate = account.gates.entry(*charge).or_default();
            free_at = free_at.max(gate.free_at(limits.of(*charge)));
            if *charge == Charge::HalfOpen {
                free_at = free_at.max(self.hold);
            }
        }
        if free_at > now {
            return Err(Held { until: free_at });
        }
        account.packets = packets;
        for charge in form.charges {
            account.gates.entry(*charge).or_default().draw(now, limits.of(*charge).0);
        }
        Ok(())
    }

    /// Reads the account of an address, which the next draw will need. The number says nothing.
    #[must_use]
    pub fn fetch(&self, address: IpAddr) -> u64 {
        self.accounts.get(&address).map_or(0, |account| account.packets.as_nanos())
    }

    /// The peer objected to state we opened (a cookie, silence, "full"): twice the pause, to ten minutes.
    pub fn back_off(&mut self, address: IpAddr, form: &Form) {
        self.gates(address, form, |gate| gate.objections = (gate.objections + 1).min(MOST_OBJECTIONS));
    }

    /// The peer answered as usual: the ordinary pause again.
    pub fn relax(&mut self, address: IpAddr, form: &Form) {
        self.gates(address, form, |gate| gate.objections = 0);
    }

    fn gates(&mut self, address: IpAddr, form: &Form, change: impl Fn(&mut Gate)) {
        let Some(account) = self.accounts.get_mut(&address) else { return };
        for charge in form.charges {
            change(account.gates.entry(*charge).or_default());
        }
    }

    /// Forgets addresses that nothing probes any more and that owe nothing.
    pub fn retain(&mut self, used: impl Fn(&IpAddr) -> bool, now: Timestamp) {
        self.accounts.retain(|address, account| used(address) || account.packets + LONGEST_BACK_OFF > now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static PLAIN: Form = Form { name: "plain", charges: &[], packets: 1, rare: false };
    static HALF_OPEN: Form = Form { name: "init", charges: &[Charge::HalfOpen], packets: 1, rare: true };
    static TLS: Form = Form {
        name: "tls",
        charges: &[Charge::TcpConnection, Charge::TlsHandshake],
        packets: 8,
        rare: false,
    };

    fn peer() -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }

    #[test]
    fn one_half_open_session_at_a_time_over_all_probes() {
        let mut budget = Budget::new(Limits::default(), Timestamp::ZERO);
        let start = Timestamp::from_secs(100);
        assert_eq!(budget.draw(peer(), &HALF_OPEN, start), Ok(()));
        assert_eq!(budget.draw(peer(), &HALF_OPEN, start), Err(Held { until: Timestamp::from_secs(160) }));
        assert_eq!(budget.draw(IpAddr::from([192, 0, 2, 2]), &HALF_OPEN, start), Ok(()));
        assert_eq!(budget.draw(peer(), &HALF_OPEN, Timestamp::from_secs(160)), Ok(()));
    }

    #[test]
    fn a_restart_does_not_open_a_session_at_once() {
        let mut budget = Budget::new(Limits::default(), Timestamp::from_secs(35));
        assert_eq!(
            budget.draw(peer(), &HALF_OPEN, Timestamp::ZERO),
            Err(Held { until: Timestamp::from_secs(35) })
        );
        assert_eq!(budget.draw(peer(), &PLAIN, Timestamp::ZERO), Ok(()));
    }

    #[test]
    fn objections_double_the_pause_up_to_ten_minutes_and_never_touch_stateless_forms() {
        let mut budget = Budget::new(Limits::default(), Timestamp::ZERO);
        budget.draw(peer(), &HALF_OPEN, Timestamp::ZERO).unwrap();
        for pause in [120, 240, 480, 600, 600] {
            budget.back_off(peer(), &HALF_OPEN);
            let held = budget.draw(peer(), &HALF_OPEN, Timestamp::from_secs(1)).unwrap_err();
            assert_eq!(held.until, Timestamp::from_secs(pause));
            assert_eq!(budget.draw(peer(), &PLAIN, Timestamp::from_secs(1)), Ok(()));
        }
        budget.relax(peer(), &HALF_OPEN);
        assert_eq!(budget.draw(peer(), &HALF_OPEN, Timestamp::from_secs(60)), Ok(()));
    }

    #[test]
    fn what_was_drawn_stays_drawn_over_a_restart() {
        let limits = Limits { packets_burst: 1000, ..Limits::default() };
        let mut budget = Budget::new(limits.clone(), Timestamp::ZERO);
        let at = Timestamp::from_secs(100);
        for _ in 0..6 {
            budget.draw(peer(), &TLS, at).unwrap();
        }
        budget.draw(peer(), &HALF_OPEN, at).unwrap();
        budget.back_off(peer(), &HALF_OPEN);
        let kept = serde_json::to_string(&budget.keep()).unwrap();
        for (hold, at) in [(0, at), (135, at)] {
            let mut next = Budget::new(limits.clone(), Timestamp::from_secs(hold));
            next.resume(serde_json::from_str(&kept).unwrap(), at);
            let again = Timestamp::from_secs(101);
            assert_eq!(next.draw(peer(), &TLS, again), Err(Held { until: Timestamp::from_secs(160) }));
            assert_eq!(next.draw(peer(), &HALF_OPEN, again), Err(Held { until: Timestamp::from_secs(220) }));
        }
        let mut next = Budget::new(Limits::default(), Timestamp::ZERO);
        next.resume(serde_json::from_str(&kept).unwrap(), Timestamp::from_secs(50));
        assert_eq!(next.draw(peer(), &TLS, Timestamp::from_secs(51)), Ok(()), "it lies in the future");
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_its_limit(gaps in prop::collection::vec((0u64..20_000, any::<bool>()), 1..300)) {
            let limits = Limits::default();
            let mut budget = Budget::new(limits.clone(), Timestamp::ZERO);
            let (mut now, mut tls, mut packets) = (Timestamp::ZERO, Vec::new(), Vec::new());
            for (gap, heavy) in gaps {
                now = now + Duration::from_millis(gap / if heavy { 1 } else { 500 });
                let form = if heavy { &TLS } else { &PLAIN };
                match budget.draw(peer(), form, now) {
                    Ok(()) => {
                        if heavy { tls.push(now); }
                        packets.extend(std::iter::repeat_n(now, form.packets as usize));
                    }
                    Err(held) => prop_assert!(held.until > now),
                }
            }
            for (i, start) in tls.iter().enumerate() {
                let inside = tls.iter().skip(i).take_while(|t| t.since(*start) < MINUTE).count();
                prop_assert!(inside <= limits.tls_per_minute as usize);
            }
            for (i, start) in packets.iter().enumerate() {
                let inside = packets.iter().skip(i).take_while(|t| t.since(*start) < Duration::from_secs(1)).count();
                prop_assert!(inside <= (limits.packets_per_second + limits.packets_burst) as usize);
            }
        }

        #[test]
        fn what_was_held_is_granted_when_it_was_told_to_come_back(
            draws in prop::collection::vec(0u64..100_000, 1..50)
        ) {
            let mut budget = Budget::new(Limits::default(), Timestamp::from_secs(35));
            let mut now = Timestamp::ZERO;
            for gap in draws {
                now = now + Duration::from_millis(gap);
                for form in [&HALF_OPEN, &TLS, &PLAIN] {
                    if let Err(held) = budget.draw(peer(), form, now) {
                        now = held.until;
                        prop_assert_eq!(budget.draw(peer(), form, now), Ok(()));
                    }
                }
            }
        }
    }
}
