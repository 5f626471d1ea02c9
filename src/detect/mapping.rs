//! NAT mappings: whether a pinned flow is seen under another address than before.
//!
//! Invariant: only samples of the same socket of ours are compared; a new socket of our own, or one of
//! which the local address is not known, is no news about a NAT.

use crate::sample::Mapped;

/// One series' mapping.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mapping {
    last: Option<Mapped>,
}

impl Mapping {
    /// Takes note of a sample's mapping; whether a NAT has made another one since the last.
    pub fn observe(&mut self, now: Mapped) -> bool {
        let before = self.last.replace(now);
        before.is_some_and(|before| {
            before.local.is_some() && before.local == now.local && before.address != now.address
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(local: u16, address: u16) -> Mapped {
        Mapped { local: Some(([192, 0, 2, 10], local).into()), address: ([198, 51, 100, 1], address).into() }
    }

    #[test]
    fn only_another_mapping_of_the_same_socket_is_a_change() {
        let mut mapping = Mapping::default();
        assert!(!mapping.observe(mapped(4000, 5000)), "the first");
        assert!(!mapping.observe(mapped(4000, 5000)));
        assert!(mapping.observe(mapped(4000, 5001)), "rebound");
        assert!(!mapping.observe(mapped(4001, 5002)), "our own new socket");
        assert!(mapping.observe(mapped(4001, 5003)));
        let unknown = Mapped { local: None, ..mapped(0, 6000) };
        assert!(!mapping.observe(unknown));
        assert!(!mapping.observe(Mapped { address: ([198, 51, 100, 1], 6001).into(), ..unknown }));
    }
}
