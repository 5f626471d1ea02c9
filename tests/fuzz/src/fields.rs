//! Mutations of texts that leave them the texts they are: in YAML or JSON a change of any octet mostly makes
//! something else, and nobody looks further.
//!
//! ```text
//! whole   as libFuzzer would
//! field   one word or one line, with room to grow or without
//! words   what stands in words, wherever that is; the skeleton, which is all that is no word, stays
//! ```
//!
//! Invariant: of two fields the separators around them stay, of words their number and their lengths.

use crate::spells;

/// How often a mutation is drawn again that did not keep the skeleton.
const DRAWS: usize = 64;

/// Changes `data[..size]`, an input for the target of this name, to one of at most `most` octets and returns its
/// length: with `change`, which does the same with any octets, in one of the ways above; or does so with one of
/// the `seeds`, while a spell lasts.
pub fn mutate(
    name: &str,
    seeds: &[Vec<u8>],
    (data, size, most): (&mut [u8], usize, usize),
    seed: u32,
    change: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    // Not of 32 bits, as in `frames::mutate`.
    let seed = seed as usize;
    let spell = spells::seed(seeds).filter(|other| other.len() <= most);
    let mut text = spell.map_or_else(|| data[..size].to_vec(), Clone::clone);
    let changed = match seed & 3 {
        0 => false,
        // Certificates are no texts, but have words in them.
        1 if name != "certificate" => field(&mut text, most, seed >> 4, &change),
        _ => words(&mut text, seed >> 4, &change),
    };
    let size = text.len();
    data[..size].copy_from_slice(&text);
    if changed { size } else { change(data, size, most) }
}

/// What may stand in a word.
const fn worded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Changes a word or a line; whether there is one.
fn field(
    text: &mut Vec<u8>,
    most: usize,
    seed: usize,
    change: impl Fn(&mut [u8], usize, usize) -> usize,
) -> bool {
    let separates = |byte: &u8| if seed & 1 == 0 { !worded(*byte) } else { *byte == b'\n' };
    let at = (seed >> 8) % text.len().max(1);
    let Some(from) = text.iter().skip(at).position(|byte| !separates(byte)).map(|far| at + far) else {
        return false;
    };
    let from = text[..from].iter().rposition(separates).map_or(0, |before| before + 1);
    let until = text[from..].iter().position(separates).map_or(text.len(), |far| from + far);
    // Every other time nothing moves.
    let room = if seed & 2 == 0 { until - from } else { most - text.len() + (until - from) };
    let mut field = vec![0; room];
    field[..until - from].copy_from_slice(&text[from..until]);
    let length = change(&mut field, until - from, room).min(room);
    text.splice(from..until, field[..length].iter().copied());
    true
}

/// Changes what stands in words; whether that has been possible. Every other time no single letter: what is a
/// step away is found soon.
fn words(text: &mut [u8], seed: usize, change: impl Fn(&mut [u8], usize, usize) -> usize) -> bool {
    let kept = |(old, new): (&u8, &u8)| old == new || worded(*old) && worded(*new);
    let mut drawn = text.to_vec();
    for _ in 0..DRAWS {
        drawn.copy_from_slice(text);
        if change(&mut drawn, text.len(), text.len()) == text.len()
            && text.iter().zip(&drawn).all(kept)
            && spells::changed(text, &drawn, 1 + 2 * (seed & 1))
        {
            text.copy_from_slice(&drawn);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    const TEXT: &[u8] = b"first: one\nsecond: [two, \"three\"]\n";

    fn all(kind: u32, change: impl Fn(&mut [u8], usize, usize) -> usize) -> BTreeSet<String> {
        let seeds = (kind..4_000_000_000).step_by(1_000_004).filter(|seed| seed & 3 == kind);
        let one = |seed| {
            let mut data = TEXT.to_vec();
            data.resize(64, 0);
            let size = mutate("config", &[], (&mut data, TEXT.len(), 64), seed, &change);
            String::from_utf8(data[..size].to_vec()).unwrap()
        };
        seeds.map(one).collect()
    }

    #[test]
    fn one_word_or_line_changes_and_what_is_around_it_stays() {
        let found = all(1, |bytes, size, most| {
            bytes[..size].make_ascii_uppercase();
            bytes[size..most.min(size + 2)].fill(b'!');
            most.min(size + 2)
        });
        assert!(found.contains("first: ONE\nsecond: [two, \"three\"]\n"), "{found:?}");
        assert!(found.contains("first: one\nsecond: [two, \"THREE!!\"]\n"), "{found:?}");
        assert!(found.contains("first: one\nSECOND: [TWO, \"THREE\"]!!\n"), "{found:?}");
        // Five words and two lines, each with and without room; and the whole, from behind the last of them.
        assert_eq!(found.len(), 15, "{found:?}");
    }

    #[test]
    fn words_change_and_the_skeleton_stays() {
        let draw = Cell::new(0);
        for seed in 0..200 {
            let mut text = TEXT.to_vec();
            let changed = words(&mut text, seed, |bytes, size, _| {
                let at = draw.replace(draw.get() + 7) % (size - 4);
                let by = if draw.get().is_multiple_of(2) { b'x' } else { b':' };
                bytes[at..at + 1 + draw.get() % 4].fill(by);
                size
            });
            let skeleton = |text: &[u8]| {
                text.iter().map(|byte| if worded(*byte) { b'a' } else { *byte }).collect::<Vec<u8>>()
            };
            assert!(changed && text.contains(&b'x'));
            assert_eq!(skeleton(&text), skeleton(TEXT));
            assert!(seed % 2 == 0 || spells::changed(TEXT, &text, 3));
        }
    }

    #[test]
    fn a_text_never_grows_past_what_it_may() {
        let fill = |bytes: &mut [u8], _: usize, most: usize| {
            bytes[..most].fill(b'x');
            most
        };
        for size in 0..=TEXT.len() {
            for most in size.max(1)..50 {
                for seed in 0..32 {
                    let mut data = TEXT[..size].to_vec();
                    data.resize(most, 0);
                    assert!(mutate("config", &[TEXT.to_vec()], (&mut data, size, most), seed, fill) <= most);
                }
            }
        }
    }
}
