//! Whether a kept flow is condemned: a stateful firewall or NAT on the way has forgotten or blocked it,
//! while a new one would pass.
//!
//! A VPN client keeps its source port, and so do we; but a flow that a middlebox dropped into a hole
//! looks like a dead peer for ever. So after some losses a fresh flow is tried beside the kept one.
//! Invariants: while nothing is lost there is no fresh flow; what the fresh flow shows is never counted
//! as the kept one's; a loss that the fresh flow refutes is no evidence that the peer is down.

/// From how many losses in a row on a fresh flow is tried beside the kept one.
const DOUBT: u32 = 3;
/// After how many answers in a row on fresh flows the kept one is given up for a new one.
const GIVE_UP: u32 = 3;

/// The state of a series' kept flow.
#[derive(Debug, Clone, Default)]
pub struct Flows {
    lost: u32,
    fresh_answers: u32,
    /// The last slot that a fresh flow answered.
    refuted: Option<u64>,
}

impl Flows {
    /// Whether the slot that begins now should also be tried on a fresh flow.
    #[must_use]
    pub fn doubtful(&self) -> bool {
        self.lost >= DOUBT
    }

    /// The kept flow's result in a slot. Tells whether it says anything about the peer.
    pub fn kept(&mut self, seq: u64, received: bool) -> bool {
        if received {
            *self = Self::default();
            return true;
        }
        self.lost = self.lost.saturating_add(1);
        self.refuted != Some(seq)
    }

    /// A fresh flow's result in a slot. Tells whether the kept flow should be given up now.
    pub fn fresh(&mut self, seq: u64, received: bool) -> bool {
        if !received {
            self.fresh_answers = 0;
            return false;
        }
        self.refuted = Some(seq);
        self.fresh_answers += 1;
        let give_up = self.fresh_answers >= GIVE_UP;
        if give_up {
            self.fresh_answers = 0;
        }
        give_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condemned_flow_is_found_out_and_given_up() {
        let mut flows = Flows::default();
        for seq in 0..3 {
            assert!(!flows.doubtful());
            assert!(flows.kept(seq, false), "a first loss is a loss");
        }
        for seq in 3..6 {
            assert!(flows.doubtful());
            assert_eq!(flows.fresh(seq, true), seq == 5);
            assert!(!flows.kept(seq, false), "the fresh flow says that the peer is there");
        }
        assert!(flows.kept(6, true));
        assert!(!flows.doubtful());
    }

    #[test]
    fn a_dead_peer_is_dead_on_every_flow() {
        let mut flows = Flows::default();
        for seq in 0..100 {
            if flows.doubtful() {
                assert!(!flows.fresh(seq, false));
            }
            assert!(flows.kept(seq, false));
        }
    }
}
