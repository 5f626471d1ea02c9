//! The site's line, both ways, against what people send and receive through it.
//!
//! ```text
//!   full tunnel:            people ══tunnel══▶ line down ─▶ box ─▶ line up ──plain──▶ Teams
//!                           people ◀══tunnel══ line up ◀─ box ◀─ line down ◀──plain── Teams
//!   with another way to the Internet: the tunnel alone; split tunnel: nothing of it
//! ```
//!
//! Invariant: what each person sends and receives is Microsoft's figure; only the tunnel's overhead and
//! the second passage over the line are added.

use super::packets::{Outer, Stream};
use super::teams::Medium;
use super::{Check, Item, Load, Question, Status, render, say};
use crate::config::{Capacity, Rate, Tunnel};

/// Beyond this share of what is free it is a risk: these are means, and traffic comes in bursts.
const RISK: f64 = 0.8;
/// Nobody asks for more.
const MOST: u64 = 100_000_000;

pub(super) fn judge(
    question: &Question,
    capacity: Option<&Capacity>,
    tunnel: Tunnel,
    outer: Option<Outer>,
    loads: &[Load],
) -> [Item; 2] {
    let direction = |check: Check, line: Option<(Rate, Rate)>, key: &str, load: &dyn Fn(u64) -> f64| {
        if tunnel == Tunnel::Split {
            let said = say(
                "Split tunnel: people reach Teams over their own lines, not over this one.",
                "スプリットトンネルのため、Teams の通信はこの回線を通りません(各自の回線を使用)。",
            );
            return Item::new(check, Status::NotApplicable, said);
        }
        let Some((rate, used)) = line else {
            let said = say(
                format!("The line is not declared: add {key} to the target's capacity."),
                format!("回線速度が未設定です。対象の capacity に {key} を追加してください。"),
            );
            return Item::new(check, Status::Unknown, said);
        };
        if outer.is_none() {
            let said = say(
                "What carries people's packets is not declared: add protocol to the target's capacity.",
                "トンネルの方式が未設定です。対象の capacity に protocol を追加してください。",
            );
            return Item::new(check, Status::Unknown, said);
        }
        against(check, question.people, rate, used, load)
    };
    let hairpin = capacity.is_none_or(|capacity| capacity.hairpin);
    let load = |people: u64, down: bool| total(question, loads, people, down, hairpin);
    [
        direction(Check::LineDown, capacity.and_then(|it| it.down), "down", &|people| load(people, true)),
        direction(Check::LineUp, capacity.and_then(|it| it.up), "up", &|people| load(people, false)),
    ]
}

/// Bits per second of so many people on the line, one way.
pub(super) fn total(question: &Question, loads: &[Load], people: u64, down: bool, hairpin: bool) -> f64 {
    let times = |people: u64, bits: f64| as_f64(people) * bits;
    let of = |load: &Load| {
        let senders = match (load.medium, question.sending) {
            (Medium::Audio, _) | (_, None) => people,
            (_, Some(sending)) => people.min(sending.into()),
        };
        // Into the site come what people send, in the tunnel, and what Teams sends them, as it is.
        let (carried, plain) = if down {
            (times(senders, load.up.carried_bits()), times(people, load.down.plain_bits()))
        } else {
            (times(people, load.down.carried_bits()), times(senders, Stream::plain_bits(&load.up)))
        };
        carried + if hairpin { plain } else { 0.0 }
    };
    loads.iter().map(of).sum()
}

fn against(check: Check, people: u32, rate: Rate, used: Rate, load: &dyn Fn(u64) -> f64) -> Item {
    let free = as_f64(rate.less(used).bits());
    let needed = load(people.into());
    let status = match () {
        () if needed > free => Status::NoGo,
        () if needed > free * RISK => Status::AtRisk,
        () => Status::Ok,
    };
    let (holds, calm) = (most(load, free), most(load, free * RISK));
    let share = needed / free * 100.0;
    let (needed_text, free_text) = (render::bits(needed), render::bits(free));
    let said = say(
        format!(
            "{needed_text} are needed, {free_text} are free ({rate}, {used} used by others): {share:.0} %. \
             It holds {holds} people, {calm} within 80 %."
        ),
        format!(
            "必要 {needed_text}、空き {free_text}(回線 {rate}、他の通信 {used})、使用率 {share:.0}%。\
             最大 {holds} 人、80% 以内なら {calm} 人。"
        ),
    );
    Item::new(check, status, said).figures(needed, free).holding(holds)
}

/// The most people whose load is not above `limit`. A load never falls with more people.
fn most(load: &dyn Fn(u64) -> f64, limit: f64) -> u64 {
    let (mut fits, mut beyond) = (0, MOST);
    while fits + 1 < beyond {
        let middle = u64::midpoint(fits, beyond);
        if load(middle) <= limit {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    fits
}

#[expect(clippy::cast_precision_loss, reason = "people and rates stay far below 2^53")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
