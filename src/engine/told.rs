//! What a member's services told of themselves, joined for its one `info` series.
//!
//! Invariant: what one service says never takes the place of what another said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::export::metrics::MemberInfo;
use crate::sample::{Details, Text};

/// Maker and protocol version, as one kind of probe was told.
type Words = (Option<String>, Option<String>);

/// What one member told, by kind, and the address it told it from.
#[derive(Debug, Default)]
struct Member {
    address: Option<IpAddr>,
    words: BTreeMap<&'static str, Words>,
}

/// What every member told, by target and slot.
#[derive(Debug, Default)]
pub struct Told(HashMap<(String, u8), Member>);

impl Told {
    /// Takes the details of an answer in; tells what is known of the member now, if that is news.
    pub fn hear(
        &mut self,
        target: &str,
        member: u8,
        address: Option<IpAddr>,
        kind: &'static str,
        details: &Details,
    ) -> Option<MemberInfo> {
        let text = |key| details.get_text(key).map(str::to_owned);
        let words = (text("vendor"), text("version").or_else(|| text("tls_version")));
        if words == (None, None) {
            return None;
        }
        let known = self.0.entry((target.to_owned(), member)).or_default();
        if known.address != address {
            // Another box has the slot now.
            *known = Member { address, words: BTreeMap::new() };
        }
        let known = &mut known.words;
        let entry = known.entry(kind).or_default();
        let heard = (words.0.or_else(|| entry.0.clone()), words.1.or_else(|| entry.1.clone()));
        if *entry == heard {
            return None;
        }
        *entry = heard;
        let vendors: BTreeSet<&str> = known.values().filter_map(|(vendor, _)| vendor.as_deref()).collect();
        let versions =
            known.iter().filter_map(|(kind, (_, version))| Some(format!("{kind} {}", version.as_ref()?)));
        let join = |words: Vec<String>| (!words.is_empty()).then(|| Text::from(words.join(", ").as_str()));
        Some(MemberInfo {
            address,
            vendor: join(vendors.into_iter().map(str::to_owned).collect()),
            versions: join(versions.collect()),
        })
    }

    /// Forgets a target.
    pub fn forget(&mut self, target: &str) {
        self.0.retain(|(name, _), _| name != target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(key: &'static str, word: &str) -> Details {
        let mut details = Details::default();
        details.text(key, word);
        details
    }

    #[test]
    fn services_add_to_each_other_and_news_are_told_once() {
        let mut told = Told::default();
        let at = Some(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(told.hear("hq", 1, at, "icmp", &Details::default()), None);
        told.hear("hq", 1, at, "ike", &details("version", "2.0")).unwrap();
        told.hear("hq", 1, at, "tls", &details("tls_version", "TLS 1.3")).unwrap();
        let info = told.hear("hq", 1, at, "l2tp", &details("vendor", "xelerance.com")).unwrap();
        assert_eq!(info.vendor.unwrap().as_str(), "xelerance.com");
        assert_eq!(info.versions.unwrap().as_str(), "ike 2.0, tls TLS 1.3");
        assert_eq!(told.hear("hq", 1, at, "ike", &details("version", "2.0")), None);
        let other = Some(IpAddr::from([192, 0, 2, 9]));
        let info = told.hear("hq", 1, other, "ike", &details("version", "2.0")).unwrap();
        assert_eq!((info.vendor, info.versions.unwrap().as_str()), (None, "ike 2.0"));
    }
}
