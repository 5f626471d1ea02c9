//! What an answer means for the view a resolver gives: inside, outside, or somebody else's.
//!
//! Invariant: only an answer is evidence. What cannot be told (a resolver that fails, or refuses where it
//! should know) stays the ordinary reason.
//!
//! RFC 6761 (6.4: `invalid.` never exists), RFC 1918, RFC 4193, RFC 6598 (addresses of the inside),
//! RFC 5737 (addresses where nobody is).

use std::net::IpAddr;

use crate::sample::{Details, Outcome, Reason};
use crate::words;

words! {
    /// What a good answer is.
    pub enum View {
        /// The name exists.
        Answer = "answer",
        /// The name has inside addresses.
        Inside = "inside",
        /// An inside name, asked outside: it does not exist.
        Leak = "leak",
        /// A random name that cannot exist: it does not.
        Hijack = "hijack",
        /// An address where no resolver is: nobody answers.
        Intercept = "intercept",
    }
}

/// Whether an address is of an inside network.
const fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// What an answer comes to that is `usual` for a name that should exist. `pinned`: the addresses that may
/// be answered are configured, and judged already. Writes down `inside_answer`, `name_leak`,
/// `known_outside`, `hijacked` or `intercepted`.
pub(super) fn judge(
    view: View,
    usual: Outcome,
    addresses: &[IpAddr],
    pinned: bool,
    details: &mut Details,
) -> Outcome {
    let wrong = Outcome::Refused(Reason::WrongAnswer);
    let exists = matches!(usual, Outcome::Answered(_)) || usual == wrong;
    let absent = matches!(usual, Outcome::Refused(Reason::Nxdomain | Reason::Nodata));
    match view {
        View::Answer => usual,
        View::Inside => {
            let inside = !addresses.is_empty() && addresses.iter().all(|address| is_inside(*address));
            if exists {
                details.flag("inside_answer", inside);
            }
            if usual == Outcome::OK && !inside && !pinned { wrong } else { usual }
        }
        View::Leak => {
            // A resolver that will not ask for us does not know the name either.
            let unknown = absent || usual == Outcome::Refused(Reason::DnsRefused);
            if exists || unknown {
                details.flag("known_outside", exists);
                details.flag("name_leak", exists && addresses.iter().any(|address| is_inside(*address)));
            }
            match (exists, unknown) {
                (true, _) => wrong,
                (_, true) => Outcome::OK,
                _ => usual,
            }
        }
        View::Hijack => {
            if exists || absent {
                details.flag("hijacked", exists);
            }
            match (exists, absent) {
                (true, _) => wrong,
                (_, true) => Outcome::OK,
                _ => usual,
            }
        }
        View::Intercept => {
            details.flag("intercepted", true);
            wrong
        }
    }
}
