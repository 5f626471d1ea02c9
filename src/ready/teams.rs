//! Microsoft Teams: what each person sends and receives, and what the network must hold.
//!
//! Bandwidths: Microsoft's "Prepare your organization's network for Teams" (edition of July 2021), per
//! person, up and down. They are taken as whole IP packets: IP, UDP and RTP headers included.
//! Thresholds: the same page, edition of March 2019 (later ones have no such table), from a client to
//! Microsoft's edge; and what the Call Quality Dashboard calls a poor stream.
//! Invariant: no figure of Microsoft's is rounded or joined with one of our own.

use std::str::FromStr;

use crate::words;

words! {
    /// What is sent and received.
    pub enum Medium {
        /// Sound.
        Audio = "audio",
        /// Pictures of people.
        Video = "video",
        /// A screen.
        Sharing = "sharing",
    }
}

words! {
    /// Which of Microsoft's three columns.
    pub enum Quality {
        /// It works at all.
        Minimum = "minimum",
        /// What Microsoft recommends.
        Recommended = "recommended",
        /// The best there is.
        Best = "best",
    }
}

words! {
    /// What kind of call.
    pub enum Call {
        /// Two people.
        OneToOne = "one-to-one",
        /// A meeting.
        Meeting = "meeting",
    }
}

/// What people do in Teams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The media, each once; sound is always there.
    pub media: Vec<Medium>,
    /// Which of Microsoft's columns.
    pub quality: Quality,
}

/// `MEDIUM[+MEDIUM…][:QUALITY]`: `audio`, `video:best`, `video+sharing:minimum`. Nobody meets without
/// sound: it is added where it is not named.
impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (media, quality) = match text.split_once(':') {
            Some((media, quality)) => (media, Some(quality)),
            None => (text, None),
        };
        let quality = match quality {
            None => Quality::Recommended,
            Some(word) => {
                word.parse().map_err(|()| format!("\"{word}\" is not minimum, recommended or best"))?
            }
        };
        let mut all = vec![Medium::Audio];
        for word in media.split('+') {
            let medium: Medium =
                word.parse().map_err(|()| format!("\"{word}\" is not audio, video or sharing"))?;
            all.push(medium);
        }
        all.sort_unstable();
        all.dedup();
        Ok(Self { media: all, quality })
    }
}

/// Up and down, in kbit/s.
#[must_use]
pub const fn bandwidth(medium: Medium, quality: Quality, call: Call) -> (u32, u32) {
    match (medium, quality, call) {
        (Medium::Audio, Quality::Minimum, _) => (10, 10),
        (Medium::Audio, Quality::Recommended, _) => (58, 58),
        (Medium::Audio, Quality::Best, _) => (76, 76),
        (Medium::Video, Quality::Minimum, Call::OneToOne) => (150, 150),
        (Medium::Video | Medium::Sharing, Quality::Recommended, Call::OneToOne) => (1500, 1500),
        (Medium::Video, Quality::Minimum, Call::Meeting) => (150, 200),
        (Medium::Video, Quality::Recommended, Call::Meeting) => (2500, 4000),
        (Medium::Video | Medium::Sharing, Quality::Best, _) => (4000, 4000),
        (Medium::Sharing, Quality::Minimum, Call::OneToOne) => (200, 200),
        (Medium::Sharing, Quality::Minimum, Call::Meeting) => (250, 250),
        (Medium::Sharing, Quality::Recommended, Call::Meeting) => (2500, 2500),
    }
}

/// Round trip, in seconds: below this from a client to Microsoft's edge.
pub const RTT: f64 = 0.100;
/// Loss in any 15 s: below this share.
pub const LOSS: f64 = 0.01;
/// Jitter in any 15 s, in seconds: below this.
pub const JITTER: f64 = 0.030;
/// A round trip beyond this is a poor stream.
pub const POOR_RTT: f64 = 0.500;
/// Loss beyond this share is a poor stream.
pub const POOR_LOSS: f64 = 0.10;
