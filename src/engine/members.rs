//! Which address is which member: sticky slots from 1 on, so that a label keeps its meaning.
//!
//! Invariants: an address keeps its slot while it is known; slot 1 is always there; an answer that
//! leaves an address out once does not end it, for round-robin names show only a part at a time.

use std::net::IpAddr;

/// How many answers in a row must leave an address out to end it.
const FORGET_AFTER: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    address: IpAddr,
    absent: u8,
}

/// The members of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    slots: Vec<Option<Member>>,
    most: usize,
}

impl Members {
    /// No address is known; at most `most` will be.
    #[must_use]
    pub fn new(most: u8) -> Self {
        Self { slots: Vec::new(), most: usize::from(most.max(1)) }
    }

    /// Takes an answer in: all addresses that the target has now. An empty one changes nothing.
    pub fn resolve(&mut self, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            return;
        }
        for slot in &mut self.slots {
            if let Some(member) = slot {
                member.absent = if addresses.contains(&member.address) { 0 } else { member.absent + 1 };
                if member.absent >= FORGET_AFTER {
                    *slot = None;
                }
            }
        }
        for address in addresses {
            if self.iter().any(|(_, known)| known == *address) {
                continue;
            }
            let member = Some(Member { address: *address, absent: 0 });
            // A free slot, a new one, or that of an address the name has just dropped.
            if let Some(free) = self.slots.iter_mut().find(|slot| slot.is_none()) {
                *free = member;
            } else if self.slots.len() < self.most {
                self.slots.reserve_exact(1); // nearly all have one for ever
                self.slots.push(member);
            } else if let Some(stale) = self.slots.iter_mut().find(|slot| slot.is_some_and(|m| m.absent > 0))
            {
                *stale = member;
            }
        }
    }

    /// Each member's slot, from 1 on, and address.
    pub fn iter(&self) -> impl Iterator<Item = (u8, IpAddr)> + '_ {
        self.slots.iter().zip(1u8..).filter_map(|(slot, number)| slot.map(|member| (number, member.address)))
    }

    /// Each slot that has a series: slot 1, and every one that was ever taken.
    pub fn slots(&self) -> impl Iterator<Item = (u8, Option<IpAddr>)> + '_ {
        let most = self.slots.len().max(1);
        (1u8..).take(most).map(|number| {
            let slot = self.slots.get(usize::from(number) - 1).copied().flatten();
            (number, slot.map(|member| member.address))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn addresses_keep_their_slots() {
        let mut members = Members::new(8);
        assert_eq!(members.slots().collect::<Vec<_>>(), [(1, None)]);
        members.resolve(&[ip(1), ip(2)]);
        members.resolve(&[ip(3), ip(2), ip(1)]);
        assert_eq!(members.iter().collect::<Vec<_>>(), [(1, ip(1)), (2, ip(2)), (3, ip(3))]);
    }

    #[test]
    fn one_partial_answer_ends_nobody_and_three_do() {
        let mut members = Members::new(8);
        members.resolve(&[ip(1), ip(2)]);
        members.resolve(&[ip(2)]);
        members.resolve(&[]);
        assert_eq!(members.iter().count(), 2);
        members.resolve(&[ip(2)]);
        members.resolve(&[ip(2)]);
        assert_eq!(members.iter().collect::<Vec<_>>(), [(2, ip(2))]);
        members.resolve(&[ip(9), ip(2)]);
        assert_eq!(members.iter().collect::<Vec<_>>(), [(1, ip(9)), (2, ip(2))]);
    }

    #[test]
    fn there_are_never_more_than_allowed_and_a_moved_host_takes_the_slot_of_its_old_address() {
        let mut members = Members::new(1);
        members.resolve(&[ip(1), ip(2)]);
        assert_eq!(members.iter().collect::<Vec<_>>(), [(1, ip(1))]);
        members.resolve(&[ip(2)]);
        assert_eq!(members.iter().collect::<Vec<_>>(), [(1, ip(2))]);
    }
}
