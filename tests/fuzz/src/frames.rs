//! The frames that an exchange or a session hears, and a mutation that keeps them whole.
//!
//! ```text
//! input   mode 1 | frames
//! frame   what 1 | length 2 | [source 1 | destination 1 | count 1] | bytes
//! what    00001111  an event
//!         10000000  `count` octets of our last packet, from `source` on, are laid over the bytes from
//!                   `destination` on: how a peer gives our ids back
//! ```
//!
//! Invariant: what is changed inside one frame leaves the others as they were, for its length goes with it.

use crate::spells;

/// How often a mutation is drawn again that did not keep the frames.
const DRAWS: usize = 16;

/// What of a mode's octet says that the peer is blind.
pub const BLIND: u8 = 0x80;
/// What of a frame's first octet says that our own octets are laid over it.
pub const OVERLAY: u8 = 0x80;

/// From where in our last packet, to where in the bytes, and how many octets.
pub type Overlay = (u8, u8, u8);

/// How a peer gives our ids back, for the target of this name; nothing for those that know no overlays.
#[must_use]
pub fn overlays(name: &str) -> &'static [Overlay] {
    match name {
        "probe_icmp" => &[(4, 4, 60), (4, 4, 20)],
        "probe_ike" | "probe_ikev1" => &[(0, 0, 8)],
        "probe_ike_natt" | "probe_ikev1_natt" => &[(4, 4, 8)],
        // The assigned tunnel id, behind the name of a host.
        "probe_l2tp" => &[(58, 4, 2), (0, 0, 0)],
        "probe_openvpn_udp" => &[(1, 14, 8)],
        "probe_openvpn_tcp" => &[(3, 16, 8)],
        "probe_dns" => &[(0, 0, 2), (2, 2, 2)],
        "probe_stun" => &[(8, 8, 12)],
        "probe_sslvpn" => &[(0, 0, 0), (3, 16, 8)],
        "probe_wireguard" => &[(4, 8, 4), (4, 4, 4)],
        "probe_trace" => &[(0, 0, 64), (4, 4, 60)],
        "probe_tcp" | "probe_tls" | "probe_http" | "probe_rdp" => &[(0, 0, 0)],
        _ => &[],
    }
}

/// How a router quotes what we sent, where a reply says less of a target or nothing.
#[must_use]
pub fn quotes(name: &str) -> &'static [Overlay] {
    match name {
        // Nobody can answer without the keys; behind the whole initiation there may be more.
        "probe_wireguard" => &[(0, 0, 148)],
        "probe_trace" => &[(0, 0, 255), (0, 0, 24)],
        _ => &[],
    }
}

/// One thing that happens.
pub struct Frame<'a> {
    /// Which event, and whether something is laid over the bytes.
    pub what: u8,
    /// What is laid over them.
    pub overlay: Option<Overlay>,
    /// What is heard.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The next frame, and what follows it; `overlaid` says whether frames can have an overlay.
    #[must_use]
    pub fn read(input: &'a [u8], overlaid: bool) -> Option<(Self, &'a [u8])> {
        let (&[what, high, low], mut rest) = input.split_first_chunk::<3>()?;
        let mut overlay = None;
        if overlaid && what & OVERLAY != 0 {
            let (&[source, destination, count], after) = rest.split_first_chunk::<3>()?;
            (overlay, rest) = (Some((source, destination, count)), after);
        }
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        Some((Self { what, overlay, bytes }, rest))
    }

    /// All frames, each with what is left before it and after it.
    fn all(input: &'a [u8], overlaid: bool) -> impl Iterator<Item = (&'a [u8], Self, &'a [u8])> {
        let mut rest = input;
        std::iter::from_fn(move || {
            let (frame, after) = Self::read(rest, overlaid)?;
            let before = std::mem::replace(&mut rest, after);
            Some((before, frame, after))
        })
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let [high, low] = u16::try_from(self.bytes.len()).unwrap().to_be_bytes();
        match self.overlay {
            Some((source, destination, count)) => {
                out.extend([self.what | OVERLAY, high, low, source, destination, count]);
            }
            None => out.extend([self.what, high, low]),
        }
        out.extend_from_slice(self.bytes);
    }

    /// Whether the peer chose these octets himself, where our last packet was so long.
    #[must_use]
    pub fn chose(&self, at: usize, count: usize, sent: usize) -> bool {
        self.overlay.is_none_or(|(source, destination, most)| {
            let laid = sent.saturating_sub(source.into()).min(most.into());
            at + count <= usize::from(destination) || usize::from(destination) + laid <= at
        })
    }
}

/// Changes `data[..size]`, an input for the target of this name, to one of at most `most` octets and returns
/// its length: with `change`, which does the same with any octets, now the whole and now the bytes of one
/// frame. While a spell lasts, it begins with a seed. Now and then it puts a frame of one of the `seeds` in the place of that frame, or makes a reply of it
/// with our ids in it, by somebody who sees what we send, or a quotation: else hardly an input would still hold
/// an answer.
pub fn mutate(
    name: &str,
    seeds: &[Vec<u8>],
    (data, size, most): (&mut [u8], usize, usize),
    seed: u32,
    change: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let overlays = overlays(name);
    // Not of 32 bits: libFuzzer would remember what is compared here instead of what the target has compared.
    let seed = seed as usize;
    let mut size = size;
    if let Some(spell) = spells::seed(seeds).filter(|spell| spell.len() <= most) {
        size = spell.len();
        data[..size].copy_from_slice(spell);
        if seed & 3 > 1 && inside(&mut data[..size], !overlays.is_empty(), seed >> 4, &change) {
            return size;
        }
    }
    let pick = |shift: u32, count: usize| (seed >> shift) % count.max(1);
    let frames = data[..size].get(1..).unwrap_or_default();
    let count = Frame::all(frames, !overlays.is_empty()).count();
    let found = Frame::all(frames, !overlays.is_empty()).nth(pick(20, count));
    // Of the frame there has to be room for its head and for an octet.
    let (Some((before, mut frame, after)), true) = (found, seed & 3 != 0 && size + 4 <= most) else {
        return change(data, size, most);
    };
    let mut mode = data[0];
    let (from, until) = (size - before.len(), size - after.len());
    let room = most - (size - (until - from)) - 6;
    let planted = (seed & 0x0c == 0).then(|| seeds.get(pick(5, seeds.len()))?.split_first()).flatten();
    if let Some((first, rest)) = planted
        && let Some((_, other, _)) = Frame::all(rest, !overlays.is_empty()).next()
    {
        (mode, frame) = (*first, other);
    } else if seed & 0x08 != 0 && !overlays.is_empty() {
        mode &= !BLIND;
        let quotes = quotes(name);
        let which = pick(5, overlays.len() + quotes.len());
        (frame.what, frame.overlay) = match overlays.get(which) {
            Some(overlay) => (0, Some(*overlay)),
            // One of the four errors.
            None => ([1, 2, 3, 4][seed >> 16 & 3], quotes.get(which - overlays.len()).copied()),
        };
    }
    if frame.bytes.len() > room {
        return change(data, size, most);
    }
    let mut bytes = vec![0; room];
    let mut length = 0;
    // Most fields have their place: every other time, rather a change that moves nothing.
    for _ in 0..if seed & 0x10 == 0 { 1 } else { 4 } {
        bytes[..frame.bytes.len()].copy_from_slice(frame.bytes);
        length = change(&mut bytes, frame.bytes.len(), room).min(room);
        if length == frame.bytes.len() {
            break;
        }
    }
    frame.bytes = &bytes[..length];
    let mut out = vec![mode];
    out.extend_from_slice(&data[1..from]);
    frame.write(&mut out);
    out.extend_from_slice(&data[until..size]);
    data[..out.len()].copy_from_slice(&out);
    out.len()
}

/// Changes the bytes of frames, wherever, and moves none; whether that has been possible. Every other time not
/// of one octet only.
fn inside(
    data: &mut [u8],
    overlaid: bool,
    seed: usize,
    change: impl Fn(&mut [u8], usize, usize) -> usize,
) -> bool {
    let heads = |input: &[u8]| -> Vec<Vec<u8>> {
        let head = |(before, frame, after): (&[u8], Frame<'_>, &[u8])| {
            before[..before.len() - frame.bytes.len() - after.len()].to_vec()
        };
        Frame::all(input.get(1..).unwrap_or_default(), overlaid).map(head).collect()
    };
    let (size, before) = (data.len(), heads(data));
    let mut drawn = data.to_vec();
    for _ in 0..DRAWS {
        drawn.copy_from_slice(data);
        if change(&mut drawn, size, size) == size
            && drawn[..1] == data[..1]
            && spells::changed(data, &drawn, 1 + 2 * (seed & 1))
            && heads(&drawn) == before
        {
            data.copy_from_slice(&drawn);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_inside_frames_leaves_their_heads() {
        let mut input = vec![BLIND];
        Frame { what: 1, overlay: Some((1, 2, 3)), bytes: b"first" }.write(&mut input);
        Frame { what: 2, overlay: None, bytes: b"second" }.write(&mut input);
        let before = all(&input);
        for at in 0..input.len() {
            let mut data = input.clone();
            let changed = inside(&mut data, true, 0, |bytes, size, _| {
                bytes[at] ^= 0x20;
                size
            });
            let after = all(&data);
            assert_eq!(changed, data != input);
            assert_eq!(changed, before.iter().zip(&after).any(|(before, after)| before.2 != after.2));
            for (before, after) in before.iter().zip(&after) {
                assert_eq!((before.0, before.1, before.2.len()), (after.0, after.1, after.2.len()));
            }
        }
    }

    fn all(input: &[u8]) -> Vec<(u8, Option<Overlay>, Vec<u8>)> {
        let found = Frame::all(&input[1..], true);
        found.map(|(_, frame, _)| (frame.what, frame.overlay, frame.bytes.to_vec())).collect()
    }

    #[test]
    fn a_frame_changes_alone_and_its_length_with_it() {
        let mut input = vec![BLIND];
        Frame { what: 1, overlay: Some((1, 2, 3)), bytes: b"first" }.write(&mut input);
        Frame { what: 2, overlay: None, bytes: b"second" }.write(&mut input);
        let before = all(&input);
        let longer = |bytes: &mut [u8], size: usize, most: usize| {
            bytes[size..most.min(size + 2)].fill(b'x');
            most.min(size + 2)
        };
        let mut replies = 0;
        for seed in (1..4_000_000_000).step_by(1_000_003).filter(|seed| seed & 3 != 0) {
            let mut data = input.clone();
            data.resize(64, 0);
            let size = mutate("probe_icmp", &[], (&mut data, input.len(), 64), seed, longer);
            let after = all(&data[..size]);
            assert_eq!(after.len(), 2);
            let changed: Vec<_> = (0..2).filter(|n| before[*n] != after[*n]).collect();
            assert_eq!(changed.len(), 1);
            let (what, overlay, bytes) = &after[changed[0]];
            assert_eq!(*bytes, [&before[changed[0]].2[..], b"xx"].concat());
            if data[0] & BLIND == 0 {
                assert!(what & !OVERLAY == 0 && overlays("probe_icmp").contains(&overlay.unwrap()));
                replies += 1;
            }
        }
        assert!((1000..2000).contains(&replies), "{replies}");
    }

    #[test]
    fn an_input_never_grows_past_what_it_may() {
        let mut input = vec![0];
        Frame { what: 0, overlay: Some((0, 0, 8)), bytes: &[7; 40] }.write(&mut input);
        let fill = |bytes: &mut [u8], _: usize, most: usize| {
            bytes[..most].fill(1);
            most
        };
        for size in 0..=input.len() {
            for most in 1..80 {
                for seed in 0..16 {
                    let mut data = input[..size].to_vec();
                    data.resize(size.max(most), 0);
                    assert!(
                        mutate("probe_ike", &[input.clone()], (&mut data, size, most), seed, fill) <= most
                    );
                }
            }
        }
    }
}
