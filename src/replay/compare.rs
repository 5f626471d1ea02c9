//! What a change avoids, and what it brings.
//!
//! A drop is an outage in which every session was torn down. Other timers tear it down at another time,
//! and see other ends of an outage, so drops are matched by the loss that made them.
//! Invariant: each drop of one side is matched with one of the other at most.

use super::tally::{Judged, Span};

/// The difference between two ways to judge the same losses.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<T> {
    /// There before, and not any more.
    pub avoided: Vec<T>,
    /// There before, and now only for some sessions, as luck has it.
    pub doubtful: Vec<T>,
    /// There before and after.
    pub kept: Vec<T>,
    /// Only there after.
    pub added: Vec<T>,
}

/// Compares the drops of two profiles, each in their order.
#[must_use]
pub fn compare(before: &[Judged], after: &[Judged]) -> Difference<Judged> {
    let drops =
        |all: &[Judged]| all.iter().filter(|judged| judged.sure.is_some()).copied().collect::<Vec<_>>();
    let (old, new) = (drops(before), drops(after));
    let mut difference =
        Difference { avoided: Vec::new(), doubtful: Vec::new(), kept: Vec::new(), added: Vec::new() };
    let mut matched = vec![false; old.len()];
    let mut first = 0;
    for drop in new {
        while old.get(first).is_some_and(|old| old.last_loss < drop.began) {
            first += 1;
        }
        // Of several that one outage of the other side covers, the last before it was certain.
        let mut found = None;
        for (at, old) in old.iter().enumerate().skip(first) {
            if old.began > drop.last_loss {
                break;
            }
            let in_time = drop.sure.is_none_or(|sure| old.began <= sure);
            if overlap(old, &drop) && in_time && matched.get(at) == Some(&false) {
                found = Some(at);
            }
        }
        match found.and_then(|at| matched.get_mut(at)) {
            Some(matched) => *matched = true,
            None => difference.added.push(drop),
        }
    }
    let mut first = 0;
    for (drop, matched) in old.into_iter().zip(matched) {
        while after.get(first).is_some_and(|after| after.last_loss < drop.began) {
            first += 1;
        }
        let mut near = after.iter().skip(first).take_while(|after| after.began <= drop.last_loss);
        if matched {
            difference.kept.push(drop);
        } else if near.any(|after| after.sure.is_none() && after.expected > 0.0 && overlap(after, &drop)) {
            difference.doubtful.push(drop);
        } else {
            difference.avoided.push(drop);
        }
    }
    difference
}

fn overlap(one: &Judged, other: &Judged) -> bool {
    one.began <= other.last_loss && other.began <= one.last_loss
}

/// Compares outages: those that begin with the same probe are the same.
#[must_use]
pub fn outages(before: &[Span], after: &[Span]) -> Difference<Span> {
    let began = |all: &[Span]| all.iter().map(|span| span.began).collect::<std::collections::BTreeSet<_>>();
    let (old, new) = (began(before), began(after));
    let (kept, avoided) = before.iter().partition(|span| new.contains(&span.began));
    let added = after.iter().filter(|span| !old.contains(&span.began)).copied().collect();
    Difference { avoided, doubtful: Vec::new(), kept, added }
}
