//! Tunnels at once, against what the box can have and what its licence allows.
//!
//! Invariant: each person takes one, whatever goes through it.

use super::{Check, Item, Status, say};
use crate::config::Capacity;

/// Beyond this share of the free tunnels it is a risk: those of people whose connection dropped stay
/// taken until dead peer detection gives them up.
const RISK: f64 = 0.9;

pub(super) fn judge(people: u32, capacity: Option<&Capacity>) -> Item {
    let known = capacity.and_then(|capacity| {
        let most = [
            (capacity.licences, ("licences", "ライセンス数")),
            (capacity.max_sessions, ("sessions at the most", "最大セッション数")),
        ];
        let most = most.into_iter().filter_map(|(most, name)| Some((most?, name))).min()?;
        Some((most, capacity.reserved_sessions))
    });
    let Some(((most, (en, ja)), reserved)) = known else {
        return Item::new(
            Check::Sessions,
            Status::Unknown,
            say(
                "The most tunnels at once are not declared: add max_sessions or licences to the target's capacity.",
                "同時接続数の上限が未設定です。対象の capacity に max_sessions か licences を追加してください。",
            ),
        );
    };
    let free = most.saturating_sub(reserved);
    let status = match () {
        () if people > free => Status::NoGo,
        () if f64::from(people) > f64::from(free) * RISK => Status::AtRisk,
        () => Status::Ok,
    };
    let risk_en = if status == Status::AtRisk {
        " Over 90 %: tunnels of people who dropped stay taken for a while."
    } else {
        ""
    };
    let risk_ja = if status == Status::AtRisk {
        "90% を超えており、切断された利用者の残存セッションで不足するおそれがあります。"
    } else {
        ""
    };
    let said = say(
        format!("{people} tunnels are needed, {free} are free ({most} {en}, {reserved} reserved).{risk_en}"),
        format!("必要な接続数 {people} に対し空き {free}({ja} {most}、予約 {reserved})。{risk_ja}"),
    );
    Item::new(Check::Sessions, status, said).figures(people.into(), free.into()).holding(free.into())
}
