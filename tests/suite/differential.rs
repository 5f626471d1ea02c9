//! The codecs against two that others wrote: what ours writes, tshark takes apart to the fields that were
//! meant, with nothing malformed; what scapy builds, ours takes apart to the fields that it was built from.
//!
//! Fields are drawn at random from fixed seeds. A field that one side does not show is not compared, and
//! neither is one that both sides are known to read differently: each such place says so.

mod ours;
mod scapy;
mod tshark;
