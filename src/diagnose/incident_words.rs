//! The words of an incident: a row each, one column a language.
//!
//! Invariant: a cause is told as what was seen, with what it most often is; never as a fault of
//! somebody that the evidence does not show.

use super::text::Lang;
use crate::detect::incident::{Cause, Change, DpdFate, IncidentKind, Stance};
use crate::detect::liveness::State;

/// The fixed words of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Began,
    Ended,
    NotOver,
    EndNotSeen,
    Lasting,
    NeverAnswered,
    Cause,
    NotJudged,
    Seen,
    Legend,
    Changes,
    Dpd,
    Unknown,
    NoPath,
    SamplesLeftOut,
    OpenStill,
    NoIncidents,
}

const fn pick(lang: Lang, en: &'static str, ja: &'static str) -> &'static str {
    match lang {
        Lang::En => en,
        Lang::Ja => ja,
    }
}

pub(super) const fn label(label: Label, lang: Lang) -> &'static str {
    let (en, ja) = match label {
        Label::Began => ("began", "開始"),
        Label::Ended => ("ended", "終了"),
        Label::NotOver => ("not over", "継続中"),
        Label::EndNotSeen => ("the end was not seen", "終わりは観測されていません"),
        Label::Lasting => (
            "closed, though a part is still down: nothing changed any more",
            "一部は停止したままですが、変化がなくなったため記録を閉じました",
        ),
        Label::NeverAnswered => {
            ("nothing of it has answered since it is probed", "プローブ開始以来、一度も応答がありません")
        }
        Label::Cause => ("Cause", "原因"),
        Label::NotJudged => (
            "not judged yet: slower probes are given the time to speak",
            "まだ判定していません（間隔の長いプローブの結果を待っています）",
        ),
        Label::Seen => ("What the probes saw: before | during | after", "プローブの観測: 前 | 最中 | 後"),
        Label::Legend => (
            "▁…█ answered (higher is slower) · c cookie · r refused · x ICMP error or reset · . lost · \
             f lost on the kept flow only · - not sent (our own fault) · a space: nothing recorded",
            "▁…█ 応答（高いほど遅い） · c クッキー要求 · r 拒否 · x ICMPエラー/リセット · . 無応答 · \
             f 維持中のフローのみ無応答 · - 未送信（自分側の都合） · 空白: 記録なし",
        ),
        Label::Changes => ("What changed, from the beginning on", "変化（開始からの時間）"),
        Label::Dpd => {
            ("What dead peer detection did to users' sessions", "DPDが利用者のセッションに与えた影響")
        }
        Label::Unknown => ("What could not be known", "分からなかったこと"),
        Label::NoPath => ("the path: no trace was made", "経路: トレースは行われていません"),
        Label::SamplesLeftOut => (
            "some samples: too many incidents were open at once",
            "一部のサンプル: 同時に発生したインシデントが多すぎました",
        ),
        Label::OpenStill => (
            "what came since: the record is written when it opens, when its cause is judged and when it is over",
            "その後の経過: 記録は発生時、原因の判定時、終了時に書かれます",
        ),
        Label::NoIncidents => ("no incidents are recorded", "記録されたインシデントはありません"),
    };
    pick(lang, en, ja)
}

pub(super) const fn kind(kind: IncidentKind, lang: Lang) -> &'static str {
    let (en, ja) = match kind {
        IncidentKind::Dpd => (
            "a silence that tears sessions down, before it is an outage or without becoming one",
            "障害と判定される前、または障害に至らない無応答で、セッションが切断される",
        ),
        IncidentKind::Refused => ("the service answers and refuses", "サービスは応答するが拒否している"),
        IncidentKind::Outage => ("no reply came", "応答なし（障害）"),
        IncidentKind::Flapping => {
            ("it fell silent and came back again and again", "停止と復旧の繰り返し（フラッピング）")
        }
    };
    pick(lang, en, ja)
}

pub(super) const fn cause(cause: Cause, lang: Lang) -> &'static str {
    let (en, ja) = match cause {
        Cause::OwnLine => (
            "every target by this way out fell together: look at our own line first, or at what all paths share.",
            "この出口を使う対象がすべて同時に停止しました。まず自社回線、または全経路に共通する部分を確認してください。",
        ),
        Cause::OneEgress => (
            "it fell by this way out only, and stood by another: look at that line.",
            "この出口からのみ停止し、別の出口からは応答していました。その回線を確認してください。",
        ),
        Cause::Box => (
            "everything of the box fell while other targets stood: the box itself, or what is right before it.",
            "他の対象が応答している間に、この装置のすべてが停止しました。装置自体かその直前の機器です。",
        ),
        Cause::OneMember => (
            "one address of several fell, the others stood: that member of the cluster.",
            "複数アドレスのうち1つだけが停止しました。クラスタのその1台です。",
        ),
        Cause::Services => (
            "no service of the box answered, and ping did: the box runs, its VPN services or the way to them do not.",
            "pingは応答しましたが、装置のどのサービスも応答しませんでした。装置は動作中で、VPNサービスかそこへの通信が止まっています。",
        ),
        Cause::Udp => (
            "all that goes by UDP fell and TCP stood: a filter or limit of UDP on the way.",
            "UDPがすべて停止し、TCPは応答していました。経路上のUDPのフィルタか制限です。",
        ),
        Cause::Tcp => (
            "all that goes by TCP fell and UDP stood: a filter of TCP on the way, or the box's TCP services.",
            "TCPがすべて停止し、UDPは応答していました。経路上のTCPのフィルタか、装置のTCPサービスです。",
        ),
        Cause::Udp500 => (
            "UDP port 500 fell and 4500 stood: a filter of that port on the way.",
            "UDP 500番が停止し、4500番は応答していました。経路上のこのポートのフィルタです。",
        ),
        Cause::Udp4500 => (
            "UDP port 4500 fell and 500 stood: a filter of that port on the way. Clients behind NAT need it.",
            "UDP 4500番が停止し、500番は応答していました。経路上のこのポートのフィルタです。NAT配下のクライアントに必要なポートです。",
        ),
        Cause::OneService => (
            "one service fell silent and the box answers otherwise: that service, or a filter of its port.",
            "1つのサービスだけが停止し、装置の他のサービスは応答していました。そのサービスか、そのポートのフィルタです。",
        ),
        Cause::FullOrThrottled => (
            "the first flight is answered and nothing after it: full, or throttling us.",
            "最初のパケットには応答し、その後は無応答です。収容数の上限か、流量制限です。",
        ),
        Cause::Refused => ("the service answers, and refuses.", "サービスは応答しますが、拒否しています。"),
        Cause::ServiceStopped => (
            "the box says that nothing listens on that port: the service has stopped.",
            "そのポートで待ち受けがないと装置が回答しました。サービスが停止しています。",
        ),
        Cause::Filtered => (
            "a filter says that it does not let this pass (administratively prohibited).",
            "フィルタが通信を拒否すると回答しました（管理上の禁止）。",
        ),
        Cause::Unreachable => {
            ("a router says that it has no way there.", "経路がないとルーターが回答しました。")
        }
        Cause::Flow => (
            "only the flow kept open fell and a fresh one was answered: a NAT or firewall on the way dropped its state.",
            "維持していたフローだけが停止し、新しいフローには応答がありました。経路上のNATかファイアウォールが状態を失っています。",
        ),
        Cause::PathChanged => (
            "the path to it became another one as it fell: a change of routes on the way, or a switch to other \
             equipment. Whether that was the cause, or followed from it, cannot be known from here.",
            "停止と同時に経路が別のものに変わりました。途中のルーティングの変更か、別の機器への切り替えです。\
             それが原因か結果かは、ここからは分かりません。",
        ),
        Cause::Unknown => ("nothing supports any one cause.", "どの原因にも裏付けがありません。"),
    };
    pick(lang, en, ja)
}

pub(super) const fn stance(stance: Stance, lang: Lang) -> &'static str {
    let (en, ja) = match stance {
        Stance::Fell => ("fell", "同時に停止"),
        Stance::Stood => ("stood", "応答あり"),
        Stance::Refused => ("was refused", "拒否"),
        Stance::Changed => ("changed", "変化した"),
        Stance::Unclear => ("is unclear", "はっきりしない"),
        Stance::DownBefore => ("was down before", "以前から停止"),
        Stance::NoEvidence => ("has no evidence", "証拠なし"),
        Stance::Missing => ("is missing", "欠けている"),
    };
    pick(lang, en, ja)
}

/// Subjects that are no names.
pub(super) fn subject(subject: &str, lang: Lang) -> Option<&'static str> {
    match subject {
        "NAT mapping" => Some(pick(lang, "NAT mapping", "NATの変換")),
        "path" => Some(pick(lang, "path", "経路")),
        "other targets" => Some(pick(lang, "other targets", "他の対象")),
        "what would tell" => Some(pick(lang, "what would tell", "判定に必要なもの")),
        _ => None,
    }
}

/// Details of clues as `detect` words them, with a `{}` where something stands; the longest first where one
/// begins like another.
const DETAILS: &[(&str, &str)] = &[
    ("there are none by the same way out", "同じ出口を使う対象は他にありません"),
    ("{} fell too, {} stood, {} say neither", "{}件が同時に停止、{}件は応答あり、{}件はどちらとも言えません"),
    ("fell: {}", "停止した対象: {}"),
    (
        "all that fell are in one network, so it may be that network",
        "停止した対象はすべて同じネットワークにあるため、そのネットワークの可能性があります",
    ),
    ("{} more were not asked", "ほか{}件は確認していません"),
    ("no probe of it has a result in that time", "その間に結果の出たプローブはありません"),
    ("{} of {} failed, and nothing is known of the time before", "失敗 {}/{}、それ以前のことは分かりません"),
    ("{} of {} failed, and so did all before", "失敗 {}/{}、それ以前もすべて失敗"),
    (
        "{} of {} failed on the flow kept open, and fresh flows were answered",
        "維持していたフローでは失敗 {}/{}、新しいフローには応答あり",
    ),
    ("{} of {} succeeded", "成功 {}/{}"),
    ("{} of {} failed", "失敗 {}/{}"),
    ("{} times \"{}\"", "{}回「{}」"),
    (
        "what fell was removed before it could be judged",
        "停止した系列は、判定の前にプローブ対象から外されました",
    ),
    ("it was refused too seldom: the same refusal twice", "同じ拒否が2回ないため、判定できません"),
    (
        "only UDP has evidence: a probe by TCP, or ping, tells the box from a filter",
        "証拠はUDPだけです。TCPのプローブかpingがあれば、装置の停止とフィルタを区別できます",
    ),
    (
        "only TCP has evidence: a probe by UDP, or ping, tells the box from a filter",
        "証拠はTCPだけです。UDPのプローブかpingがあれば、装置の停止とフィルタを区別できます",
    ),
    (
        "only ping has evidence: a probe of a service tells the box from a filter",
        "証拠はpingだけです。サービスのプローブがあれば、装置の停止とフィルタを区別できます",
    ),
    (
        "no other target has evidence: one tells the box from our own line",
        "他の対象の証拠がありません。他の対象があれば、装置の停止と自社回線の障害を区別できます",
    ),
    (
        "as many other targets fell as stood: the box fell, and perhaps what is before it",
        "他の対象のうち停止したものと応答したものが同程度です。装置、またはその手前が停止した可能性があります",
    ),
    (
        "ping fell and services stood: a filter of ICMP, or a limit",
        "pingだけが停止し、サービスは応答していました。ICMPのフィルタか制限です",
    ),
    (
        "ping stood; a service that was not probed in that time, or not clearly, may have stood",
        "pingは応答しました。その間に明確な結果のないサービスは、応答していた可能性があります",
    ),
    (
        "several services fell that neither protocol nor port has apart from those that stood",
        "複数のサービスが停止しましたが、応答していたものとプロトコルやポートでは区別できません",
    ),
    (
        "nothing of it has ever answered here: a wrong address, port or key in the configuration looks the same as a box that is down",
        "一度も応答がありません。設定のアドレス、ポート、鍵の誤りと、装置の停止は区別できません",
    ),
    (
        "more traces before it: they tell another path from load balancing",
        "停止前のトレースが不足しています。十分にあれば、経路の変更と負荷分散を区別できます",
    ),
    (
        "the path ends on the way: what it is once it is back tells a change from a loss",
        "経路は途中で途切れています。復旧後の経路が分かれば、経路の変更と損失を区別できます",
    ),
    (
        "it is another one {}, path {} before and {} since: last seen as it was {}, first as it is {}",
        "{}別の経路です（以前の経路 {}、現在の経路 {}。以前の経路を最後に確認したのは{}、現在の経路を最初に確認したのは{}）",
    ),
    (
        "{} traces in a row show that, which load balancing does not explain",
        "連続した{}回のトレースで確認。負荷分散では説明できません",
    ),
    (
        "it changed {}, between {} and {}: at another time",
        "{}変わりましたが、{}から{}の間で、停止とは別の時です",
    ),
    ("something new was seen {} {}", "{}新しいものが見えました（{}）"),
    ("load balancing is not ruled out", "負荷分散の可能性があります"),
    ("traced to its end {}, the same as before", "{}、終端まで以前と同じ経路でした"),
    ("no hop of {} answered {}", "{}ホップのいずれも応答なし（{}）"),
    (
        "the same as before up to hop {} of {} routers, nothing answered beyond, {}",
        "{}ホップ目まで以前と同じ（ルーターは全{}台）、その先は応答なし（{}）",
    ),
    ("it was not traced in that time", "その間にトレースは行われていません"),
    ("in its number of hops", "ホップ数が"),
    ("from hop {} on", "{}ホップ目から"),
    ("{} s before it fell", "停止の{}秒前"),
    ("{} s after it fell", "停止の{}秒後"),
    ("{}, at {}: from {} to {}", "{}、{}: {} から {} へ"),
];

/// The detail of a clue: what has no row stays as it is.
pub(super) fn detail(text: &str, lang: Lang) -> String {
    if lang == Lang::En {
        return text.to_owned();
    }
    if let Some((ja, slots)) = DETAILS.iter().find_map(|(en, ja)| Some((ja, parts(text, en)?))) {
        // What stands at a place may be a phrase of its own; it is shorter than what it stands in.
        let slots: Vec<_> = slots.iter().map(|slot| detail(slot, lang)).collect();
        return fill(ja, &slots);
    }
    match text.split_once("; ") {
        Some((first, rest)) => format!("{}、{}", detail(first, lang), detail(rest, lang)),
        None => text.to_owned(),
    }
}

/// What stands at the places of a pattern, if the text fits it.
fn parts<'a>(text: &'a str, pattern: &str) -> Option<Vec<&'a str>> {
    let mut fixed = pattern.split("{}");
    let mut rest = text.strip_prefix(fixed.next()?)?;
    let mut found = Vec::new();
    let mut fixed = fixed.peekable();
    while let Some(next) = fixed.next() {
        // The last one takes all that is left.
        let (slot, after) =
            if fixed.peek().is_none() { (rest.strip_suffix(next)?, "") } else { rest.split_once(next)? };
        found.push(slot);
        rest = after;
    }
    rest.is_empty().then_some(found)
}

fn fill(pattern: &str, slots: &[String]) -> String {
    let mut fixed = pattern.split("{}");
    let mut text = fixed.next().unwrap_or_default().to_owned();
    for (slot, next) in slots.iter().zip(fixed) {
        text.push_str(slot);
        text.push_str(next);
    }
    text
}

pub(super) const fn change(change: Change, lang: Lang) -> &'static str {
    let (en, ja) = match change {
        Change::State => ("another state", "状態の変化"),
        Change::OutageBegan => ("no reply from here on", "ここから無応答"),
        Change::OutageEnded => ("replies again", "応答が復旧"),
        Change::FlapDown => ("fell silent", "停止"),
        Change::FlapUp => ("came back", "復旧"),
        Change::FlappingBegan => ("flapping", "フラッピング開始"),
        Change::FlappingEnded => ("stable again", "安定"),
        Change::Teardown => ("a dead peer detection tears its sessions down", "DPDがセッションを切断"),
        Change::Removed => ("no longer probed", "プローブ対象から外れた"),
    };
    pick(lang, en, ja)
}

pub(super) const fn state(state: State, lang: Lang) -> &'static str {
    let (en, ja) = match state {
        State::Up => ("up", "正常"),
        State::Degraded => ("degraded", "劣化"),
        State::Down => ("down", "停止"),
        State::Unknown => ("unknown", "不明"),
    };
    pick(lang, en, ja)
}

pub(super) const fn fate(fate: DpdFate, lang: Lang) -> &'static str {
    let (en, ja) = match fate {
        DpdFate::Sure => {
            ("every session was torn down, whatever its phase", "位相によらず全セッションが切断")
        }
        DpdFate::Possible => ("torn down or not, by the phase of the session", "セッションの位相により切断"),
        DpdFate::No => ("no session was torn down", "切断なし"),
        DpdFate::TooCoarse => {
            ("no verdict: the probes come too seldom", "判定不能: プローブの間隔が長すぎます")
        }
        DpdFate::NoSession => (
            "no verdict: nothing has ever answered, so nobody had a session",
            "判定なし: 一度も応答がなく、セッションは存在しません",
        ),
    };
    pick(lang, en, ja)
}

pub(super) fn expected(expected: f64, lang: Lang) -> String {
    match lang {
        Lang::En => format!("{:.0} % of sessions on average", expected * 100.0),
        Lang::Ja => format!("平均で{:.0}%のセッション", expected * 100.0),
    }
}

pub(super) fn margin(margin: &str, lang: Lang) -> String {
    match lang {
        Lang::En => format!("{margin} of silence were left"),
        Lang::Ja => format!("切断まで残り{margin}"),
    }
}

pub(super) fn every(interval: &str, lang: Lang) -> String {
    match lang {
        Lang::En => format!("every {interval}"),
        Lang::Ja => format!("{interval}間隔"),
    }
}

pub(super) fn more(more: usize, lang: Lang) -> String {
    match lang {
        Lang::En => format!("… and {more} more"),
        Lang::Ja => format!("…ほか{more}件"),
    }
}

pub(super) fn coarse(profiles: &str, lang: Lang) -> String {
    match lang {
        Lang::En => format!("what the DPD of {profiles} did: probe more often to know"),
        Lang::Ja => format!("{profiles} のDPDの影響: 知るにはプローブの間隔を短くしてください"),
    }
}

pub(super) fn left_out(series: u32, changes: u32, lang: Lang) -> String {
    match lang {
        Lang::En => format!("what did not fit into the record: {series} series and {changes} changes"),
        Lang::Ja => format!("記録に収まらなかった分: 系列{series}件、変化{changes}件"),
    }
}
