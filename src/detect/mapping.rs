//! NAT mappings: whether a pinned flow is seen under another address than before.
//!
//! Invariant: only answers to the same socket of ours are compared, in the order in which they were asked
//! for; a new socket of our own, or one of which the local address is not known, is no news about a NAT.

use std::net::SocketAddr;

use crate::sample::Mapped;
use crate::time::Timestamp;

/// A NAT has forgotten a mapping of our flow, and made another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebound {
    /// When the question was due that the old one answered last.
    pub before: Timestamp,
    /// When the question was due that the new one answered first.
    pub since: Timestamp,
    /// Under which address and port the peer saw us before.
    pub from: SocketAddr,
    /// Under which it sees us now.
    pub to: SocketAddr,
}

/// One series' mapping.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mapping {
    last: Option<(Timestamp, Mapped)>,
}

impl Mapping {
    /// Takes note of the mapping that the answer to the question due at `at` told; whether a NAT has made
    /// another one since the last.
    pub fn observe(&mut self, at: Timestamp, now: Mapped) -> Option<Rebound> {
        let Some((before, was)) = self.last else {
            self.last = Some((at, now));
            return None;
        };
        if at < before {
            return None; // a late answer tells what has been
        }
        self.last = Some((at, now));
        let changed = was.local.is_some() && was.local == now.local && was.address != now.address;
        changed.then_some(Rebound { before, since: at, from: was.address, to: now.address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(local: u16, address: u16) -> Mapped {
        Mapped { local: Some(([192, 0, 2, 10], local).into()), address: ([198, 51, 100, 1], address).into() }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn only_another_mapping_of_the_same_socket_is_a_change() {
        let mut mapping = Mapping::default();
        assert_eq!(mapping.observe(at(1), mapped(4000, 5000)), None, "the first");
        assert_eq!(mapping.observe(at(2), mapped(4000, 5000)), None);
        let (from, to) = (mapped(0, 5000).address, mapped(0, 5001).address);
        let rebound = Rebound { before: at(2), since: at(3), from, to };
        assert_eq!(mapping.observe(at(3), mapped(4000, 5001)), Some(rebound));
        assert_eq!(mapping.observe(at(4), mapped(4001, 5002)), None, "our own new socket");
        assert!(mapping.observe(at(5), mapped(4001, 5003)).is_some());
        let unknown = Mapped { local: None, ..mapped(0, 6000) };
        assert_eq!(mapping.observe(at(6), unknown), None);
        assert_eq!(
            mapping.observe(at(7), Mapped { address: ([198, 51, 100, 1], 6001).into(), ..unknown }),
            None
        );
    }

    #[test]
    fn an_answer_that_comes_late_changes_nothing() {
        let mut mapping = Mapping::default();
        mapping.observe(at(1), mapped(4000, 5000));
        assert!(mapping.observe(at(3), mapped(4000, 5001)).is_some());
        assert_eq!(mapping.observe(at(2), mapped(4000, 5000)), None);
        assert_eq!(mapping.observe(at(4), mapped(4000, 5001)), None);
    }
}
