//! The story that the demo's concentrator follows: which fault is on at which time, over and over.
//!
//! ```text
//! 0:00 well · 0:40 IKE silent · 1:30 OpenVPN flaps · 2:50 certificate expired · 3:30 4500 blocked · 4:10 cookies · 5:00
//! ```
//!
//! Invariant: pure; what is on follows from the time since the start alone, so the sentences that are
//! printed and the faults that happen cannot come apart.

use std::fmt;
use std::time::Duration;

use crate::words;

words! {
    /// A service of the concentrator, named as the probe that asks it.
    pub enum Service {
        /// IKE without marker (UDP 500 elsewhere).
        Ike = "ike",
        /// IKE with the non-ESP marker (UDP 4500 elsewhere).
        IkeNatt = "ike_natt",
        /// L2TP over UDP.
        L2tp = "l2tp",
        /// OpenVPN over UDP.
        OpenvpnUdp = "openvpn_udp",
        /// OpenVPN over TCP.
        OpenvpnTcp = "openvpn_tcp",
        /// HTTPS.
        Tls = "tls",
        /// DNS over UDP and TCP.
        Dns = "dns",
    }
}

/// What is wrong with the concentrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// IKE is silent on both ports.
    IkeSilent,
    /// OpenVPN over UDP is silent every other [`FLAP`].
    OpenvpnFlaps,
    /// TLS shows a certificate that has expired.
    CertificateExpired,
    /// Nothing gets through to port 4500.
    NattBlocked,
    /// IKE answers every first message with a cookie.
    Cookies,
}

/// A part of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chapter {
    /// When it begins, from the beginning of the story.
    pub begins: Duration,
    /// What is wrong meanwhile.
    pub fault: Fault,
    /// What people are told as it begins.
    pub sentence: &'static str,
}

/// For how long OpenVPN is silent, and for how long it answers, while it flaps.
pub const FLAP: Duration = Duration::from_secs(5);

/// From one beginning of the story to the next.
pub const LENGTH: Duration = Duration::from_secs(300);

const fn chapter(begins: u64, fault: Fault, sentence: &'static str) -> Chapter {
    Chapter { begins: Duration::from_secs(begins), fault, sentence }
}

/// The chapters, in order; the first begins at once.
pub const CHAPTERS: &[Chapter] = &[
    chapter(0, Fault::None, "all is well: every probe is answered"),
    chapter(
        40,
        Fault::IkeSilent,
        "the concentrator stops answering IKE on both ports for 35 s; watch \
         vpnprobe_probe_failures_total{probe=\"ike\"}, and vpnprobe_probe_up{probe=\"ike\"}, which falls \
         when 20 s of losses make it an outage",
    ),
    chapter(75, Fault::None, "IKE answers again; vpnprobe_probe_up{probe=\"ike\"} believes it after 10 s"),
    chapter(
        90,
        Fault::OpenvpnFlaps,
        "OpenVPN over UDP is silent 5 s, answers 5 s, and so on; watch \
         vpnprobe_probe_failures_total{probe=\"openvpn_udp\"} rise in steps; OpenVPN over TCP is steady",
    ),
    chapter(150, Fault::None, "OpenVPN over UDP is steady again"),
    chapter(
        170,
        Fault::CertificateExpired,
        "the HTTPS certificate has expired: still answered, but of no use; watch \
         vpnprobe_probe_failures_total{probe=\"tls\",reason=\"cert_expired\"} and \
         vpnprobe_tls_certificate_not_after_timestamp_seconds",
    ),
    chapter(200, Fault::None, "the certificate is good again"),
    chapter(
        210,
        Fault::NattBlocked,
        "a firewall drops what goes to IKE's port for clients behind NAT, and nothing else; watch \
         vpnprobe_probe_up{probe=\"ike_natt\"} beside {probe=\"ike\"}",
    ),
    chapter(240, Fault::None, "that port is open again"),
    chapter(
        250,
        Fault::Cookies,
        "the concentrator is under load and answers IKE with a cookie first: no failure; watch \
         vpnprobe_probe_under_load_total{probe=\"ike\"}",
    ),
    chapter(290, Fault::None, "the load is gone; the story begins again in 10 s"),
];

/// Whether the concentrator follows the story, or is well all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Story {
    /// It does, over and over.
    #[default]
    Loop,
    /// It does so once, and is well from then on.
    Once,
    /// It does not.
    None,
}

/// What is on at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    fault: Fault,
    /// How long the chapter has lasted.
    since: Duration,
}

impl Story {
    /// The chapter at that time since the start, and when it began since the start. Without a story:
    /// the first one.
    fn chapter(self, elapsed: Duration) -> (&'static Chapter, Duration) {
        const WELL: &Chapter = &chapter(0, Fault::None, "");
        let rounds = u32::try_from(elapsed.as_nanos() / LENGTH.as_nanos()).unwrap_or(u32::MAX);
        let round = LENGTH.saturating_mul(rounds);
        if self == Self::None || (self == Self::Once && rounds > 0) {
            return (WELL, Duration::ZERO);
        }
        let within = elapsed.saturating_sub(round);
        let chapter = CHAPTERS.iter().rev().find(|chapter| chapter.begins <= within).unwrap_or(WELL);
        (chapter, round.saturating_add(chapter.begins))
    }

    /// What is on at that time since the start.
    #[must_use]
    pub fn at(self, elapsed: Duration) -> Scene {
        let (chapter, began) = self.chapter(elapsed);
        Scene { fault: chapter.fault, since: elapsed.saturating_sub(began) }
    }

    /// The first chapter that begins at `from` or later, and when, both since the start; nothing if
    /// there is none.
    #[must_use]
    pub fn next(self, from: Duration) -> Option<(Duration, &'static Chapter)> {
        if self == Self::None {
            return None;
        }
        let rounds = u32::try_from(from.as_nanos() / LENGTH.as_nanos()).ok()?;
        let starts = (rounds..=rounds.saturating_add(1))
            .filter(|round| self == Self::Loop || *round == 0)
            .flat_map(|round| CHAPTERS.iter().map(move |chapter| (LENGTH * round + chapter.begins, chapter)));
        starts.into_iter().find(|(begins, _)| *begins >= from)
    }
}

impl Scene {
    /// Whether the service does not answer now.
    #[must_use]
    pub fn silences(self, service: Service) -> bool {
        match self.fault {
            Fault::IkeSilent => matches!(service, Service::Ike | Service::IkeNatt),
            Fault::NattBlocked => service == Service::IkeNatt,
            Fault::OpenvpnFlaps => {
                service == Service::OpenvpnUdp && (self.since.as_secs() / FLAP.as_secs()).is_multiple_of(2)
            }
            Fault::None | Fault::CertificateExpired | Fault::Cookies => false,
        }
    }

    /// Whether TLS shows a certificate that has expired.
    #[must_use]
    pub fn certificate_expired(self) -> bool {
        self.fault == Fault::CertificateExpired
    }

    /// Whether IKE asks for cookies.
    #[must_use]
    pub fn under_load(self) -> bool {
        self.fault == Fault::Cookies
    }
}

/// Minutes and seconds, as the story's lines begin.
pub struct Clock(pub Duration);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.as_secs() / 60, self.0.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn silent(at: u64) -> Vec<Service> {
        let scene = Story::Loop.at(secs(at));
        Service::ALL.iter().copied().filter(|service| scene.silences(*service)).collect()
    }

    #[test]
    fn chapters_are_in_order_and_end_before_the_story_begins_again() {
        assert_eq!(CHAPTERS[0].begins, Duration::ZERO);
        assert!(CHAPTERS.is_sorted_by_key(|chapter| chapter.begins));
        assert!(CHAPTERS.iter().all(|chapter| chapter.begins < LENGTH && !chapter.sentence.is_empty()));
    }

    #[test]
    fn each_fault_is_on_in_its_time_only() {
        assert!(silent(0).is_empty() && silent(39).is_empty());
        for at in [40, 74, 340] {
            assert_eq!(silent(at), [Service::Ike, Service::IkeNatt]);
        }
        assert!(silent(75).is_empty());
        for (at, flaps) in [(90, true), (94, true), (95, false), (99, false), (100, true), (149, false)] {
            assert_eq!(silent(at) == [Service::OpenvpnUdp], flaps, "{at}");
        }
        assert_eq!(silent(215), [Service::IkeNatt]);
        let expired = |at| Story::Loop.at(secs(at)).certificate_expired();
        assert!(!expired(169) && expired(170) && expired(199) && !expired(200) && expired(470));
        let load = |at| Story::Loop.at(secs(at)).under_load();
        assert!(!load(249) && load(250) && load(289) && !load(290) && load(550));
    }

    #[test]
    fn chapters_are_told_one_after_the_other_and_again() {
        let mut told = Vec::new();
        let mut from = Duration::ZERO;
        while let Some((begins, _)) = Story::Loop.next(from).filter(|(begins, _)| *begins < LENGTH * 2) {
            told.push(begins);
            from = begins + Duration::from_nanos(1);
        }
        assert_eq!(told.len(), CHAPTERS.len() * 2);
        assert!(told.is_sorted());
        assert_eq!(told.last(), Some(&secs(590)));
    }

    #[test]
    fn a_story_told_once_and_no_story_end_well() {
        assert!(Story::Once.at(secs(50)).silences(Service::Ike));
        assert!(!Story::Once.at(secs(350)).silences(Service::Ike));
        assert_eq!(Story::Once.next(secs(295)), None);
        assert!(!Story::None.at(secs(50)).silences(Service::Ike));
        assert_eq!(Story::None.next(Duration::ZERO), None);
        assert_eq!(Clock(secs(340)).to_string(), "05:40");
    }
}
