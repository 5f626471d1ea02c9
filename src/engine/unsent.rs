//! What keeps probes from leaving this host, said once.
//!
//! Invariant: one line when the first probe of a way out is held by a fault, one when the last is free
//! again, however many probes there are and however long it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::Egress;
use crate::sample::{Fault, Outcome, SeriesId};

/// Which series are held, by way out and fault.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<(String, Fault), BTreeSet<SeriesId>>);

impl Held {
    /// Takes in how a probe went, and says what is news.
    pub fn hear(
        &mut self,
        series: SeriesId,
        name: &str,
        egress: &Egress,
        address: Option<IpAddr>,
        outcome: Outcome,
    ) {
        match outcome {
            Outcome::Unsent(fault) => {
                let Some(why) = why(fault, egress, address) else { return };
                if self.begins(series, name, fault) {
                    tracing::warn!(
                        fault = fault.as_str(),
                        "egress.{name}: {why}; its probes stay unsent and go on by themselves when that ends"
                    );
                }
            }
            _ if self.0.is_empty() => {}
            _ => {
                if self.ends(series, name) {
                    tracing::info!("egress.{name}: probes leave this host again");
                }
            }
        }
    }

    /// The same for a rare form, of which there is no other sign: whatever the fault is.
    pub fn hear_rare(
        &mut self,
        series: SeriesId,
        form: &'static str,
        target: &str,
        name: &str,
        outcome: Outcome,
    ) {
        match outcome {
            Outcome::Unsent(fault) => {
                if self.begins(series, name, fault) {
                    tracing::warn!(
                        target,
                        fault = fault.as_str(),
                        "egress.{name}: {form} came to nothing by a fault of this host; \
                         it is tried again each full_interval, and its results stay what they were"
                    );
                }
            }
            _ if self.0.is_empty() => {}
            _ => {
                if self.ends(series, name) {
                    tracing::info!("egress.{name}: {form} is done again");
                }
            }
        }
    }

    /// Forgets a series.
    pub fn forget(&mut self, series: SeriesId) {
        self.0.retain(|_, held| {
            held.remove(&series);
            !held.is_empty()
        });
    }

    /// Notes that a series is held by this fault and no other; whether it is the first.
    fn begins(&mut self, series: SeriesId, name: &str, fault: Fault) -> bool {
        self.0.retain(|(_, other), held| *other == fault || !held.remove(&series) || !held.is_empty());
        let held = self.0.entry((name.to_owned(), fault)).or_default();
        held.insert(series) && held.len() == 1
    }

    /// Notes that a series is held no more; whether nothing else holds a probe of that way out.
    fn ends(&mut self, series: SeriesId, name: &str) -> bool {
        let before = self.0.len();
        self.forget(series);
        before > self.0.len() && !self.0.keys().any(|(other, _)| other == name)
    }
}

/// What is to be said of a fault; nothing of those that are about one probe, or said elsewhere.
fn why(fault: Fault, egress: &Egress, address: Option<IpAddr>) -> Option<String> {
    let to = address.map_or_else(String::new, |address| format!(" to {address}"));
    match fault {
        Fault::Egress => {
            let named = [
                egress.interface.as_ref().map(|name| format!("interface {name}")),
                egress.source.map(|source| format!("source {source}")),
                egress.namespace.as_ref().map(|name| format!("network namespace {name}")),
            ];
            let named: Vec<String> = named.into_iter().flatten().collect();
            Some(if named.is_empty() {
                format!("no address of ours to send{to} from")
            } else {
                format!("{} is not there, or has no address to send{to} from", named.join(" or "))
            })
        }
        Fault::NoRoute => Some(format!("no route{to}, or no address of that family")),
        Fault::Permission => Some(format!("this process lacks the right to send{to}")),
        Fault::LocalFirewall => Some(format!("this host's own packet filter refuses what is sent{to}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(n: u32) -> SeriesId {
        SeriesId(n)
    }

    #[test]
    fn a_fault_is_said_once_for_all_probes_of_a_way_out() {
        let mut held = Held::default();
        assert!(held.begins(id(1), "wan", Fault::Egress));
        assert!(!held.begins(id(1), "wan", Fault::Egress), "it goes on");
        assert!(!held.begins(id(2), "wan", Fault::Egress), "it is the same");
        assert!(held.begins(id(3), "lte", Fault::Egress), "another way out");
        assert!(!held.ends(id(1), "wan"), "one is still held");
        assert!(held.ends(id(2), "wan"), "the last is free");
        assert!(!held.ends(id(2), "wan"), "that was said");
        assert!(held.begins(id(2), "wan", Fault::Egress), "again");
    }

    #[test]
    fn another_fault_is_said_and_its_end_once() {
        let mut held = Held::default();
        assert!(held.begins(id(1), "wan", Fault::Egress));
        assert!(held.begins(id(1), "wan", Fault::NoRoute), "the interface is back, its route is not");
        assert!(held.ends(id(1), "wan"));
        assert!(held.begins(id(1), "wan", Fault::NoRoute));
        held.forget(id(1));
        assert!(held.begins(id(2), "wan", Fault::NoRoute), "nothing is kept of a series that is gone");
    }

    #[test]
    fn what_is_missing_is_named() {
        let egress = Egress { interface: Some("tun0".to_owned()), ..Egress::default() };
        let said = why(Fault::Egress, &egress, None).unwrap();
        assert_eq!(said, "interface tun0 is not there, or has no address to send from");
        let to = Some(IpAddr::from([203, 0, 113, 10]));
        assert_eq!(
            why(Fault::NoRoute, &Egress::default(), to).unwrap(),
            "no route to 203.0.113.10, or no address of that family"
        );
        assert_eq!(why(Fault::Budget, &egress, to), None);
    }
}
