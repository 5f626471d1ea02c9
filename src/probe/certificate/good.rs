//! What was said of chains that were good.
//!
//! A judgement follows from the chain, the name, the roots and the time, and a prober meets the same few chains
//! each minute. A chain that was good stays so until the first certificate of its path expires: till then the
//! same is said again, only the days that are left are counted anew. What was not good is judged each time, and
//! so is everything at a time before the first. The signature of the handshake itself, by which the peer proves
//! that the key is its own, is another one each time and is no part of this.
//!
//! Invariant: what is said is what [`super::judge`] would say. At most [`MOST`] judgements are kept.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use super::{Judgement, Roots, days};
use crate::time::WallTime;

/// The most judgements that are kept; beyond that all of them are forgotten, and kept anew.
const MOST: usize = 4096;

/// A digest of all that a judgement follows from, but the time.
pub(super) type Asked = [u8; 32];

#[derive(Debug)]
struct Good {
    /// When it was judged first.
    since: i64,
    judgement: Judgement,
}

static GOOD: LazyLock<Mutex<HashMap<Asked, Good>>> = LazyLock::new(Mutex::default);

fn kept() -> MutexGuard<'static, HashMap<Asked, Good>> {
    GOOD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is asked about a chain. Each part is told apart from the next by its length.
pub(super) fn asked(chain: &[CertificateDer<'_>], roots: &Roots, name: Option<&str>) -> Asked {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update(bytes.len().to_be_bytes());
        digest.update(bytes);
    };
    match roots {
        Roots::Native => part(b"native"),
        Roots::Pem(store) => part(&store.digest),
        Roots::None => part(b"none"),
    }
    // No name at all is not the empty name.
    part(&[u8::from(name.is_some())]);
    part(name.unwrap_or_default().as_bytes());
    chain.iter().for_each(|certificate| part(certificate));
    digest.finalize().into()
}

/// What was said before, if it is still true.
pub(super) fn again(asked: &Asked, wall: WallTime) -> Option<Judgement> {
    let now = wall.as_unix_secs();
    let mut judgement = {
        let kept = kept();
        let good = kept.get(asked)?;
        let until = good.judgement.leaf.as_ref()?.until;
        (good.since..=until).contains(&now).then(|| good.judgement.clone())?
    };
    if let Some(leaf) = &mut judgement.leaf {
        leaf.days_left = days(leaf.until, now);
    }
    Some(judgement)
}

/// Keeps what is said now if it is good.
pub(super) fn keep(asked: Asked, wall: WallTime, judgement: &Judgement) {
    if judgement.reason.is_some() || judgement.leaf.is_none() {
        return;
    }
    let mut kept = kept();
    if kept.len() >= MOST {
        kept.clear();
    }
    kept.insert(asked, Good { since: wall.as_unix_secs(), judgement: judgement.clone() });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Authority, NAME, NOW};
    use super::super::{Chain, judge};
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn what_is_said_again_is_what_would_be_said() {
        let (root, other) = (Authority::root(), Authority::root());
        let seen = root.server((2026, 11, 1), (2026, 12, 1)).seen();
        let certificates = seen.chain.lock().unwrap().as_ref().unwrap().certificates.clone();
        let chain = Chain { certificates, stapled_ocsp: false };
        let now = NOW.as_unix_secs();
        let mut said_again = 0;
        // Two days on, the last second (it is the 22nd), the next, long after; back, and before its time.
        let times = [0, 2 * DAY, 9 * DAY, 9 * DAY + 1, 90 * DAY, 3 * DAY, 0, -DAY, -30 * DAY];
        for wall in times.map(|after| WallTime::from_unix_secs(now + after)) {
            for roots in [root.roots(), other.roots(), Roots::None] {
                for name in [Some(NAME), Some("other.example.test"), Some(""), None] {
                    let said = seen.judge(&roots, name, wall).unwrap();
                    assert_eq!(said, judge(&chain, &roots, name, wall), "{roots:?} {name:?} {wall:?}");
                    let kept = again(&asked(&chain.certificates, &roots, name), wall);
                    assert!(kept.is_none_or(|kept| kept.reason.is_none() && kept == said));
                    said_again +=
                        usize::from(again(&asked(&chain.certificates, &roots, name), wall).is_some());
                }
            }
        }
        // Its own root or none, its own name or none: at the times from the first on in which it is good.
        assert!(said_again >= 4 * 4, "{said_again}");

        // Here, for who forgets all cannot run beside who remembers: only so many are kept.
        let judgement = seen.judge(&root.roots(), Some(NAME), NOW).unwrap();
        for number in 0..=MOST {
            let mut asked = Asked::default();
            asked.iter_mut().zip(number.to_be_bytes()).for_each(|(to, byte)| *to = byte);
            keep(asked, NOW, &judgement);
            assert!(kept().len() <= MOST);
        }
    }
}
