//! What the probes saw in the last hour, against what Teams needs and what a box under load shows.
//!
//! The probes see the way to the concentrator: with a full tunnel it is a part of the way to Teams, with
//! a split tunnel none of it. What is too much on a part is too much on the whole; what is enough on it
//! is only not the obstacle.
//! Invariants: each way (member and egress) is judged on its own and the worst counts; a threshold that
//! these probes are too few for is never met, and missed only where chance is out of the question.

use super::seen::{SeenProbe, SeenTarget};
use super::{Check, Item, Said, Status, render, say, teams};
use crate::config::Tunnel;
use crate::detect::recent::{Loss, Recent, WINDOW};

/// Fewer answers say nothing about round-trip times.
const ANSWERS: u64 = 10;
/// Chance must be less likely than this, over all windows of an hour.
const CHANCE: f64 = 0.01;
/// Windows of 15 s in an hour, none of which shares a probe with another.
const WINDOWS: f64 = 240.0;
/// This share of the windows must be fine for the hour to count as measured.
const MEASURED: f64 = 0.9;
/// From this share of demands for cookies on the box has more half-open handshakes than it likes.
const COOKIES: f64 = 0.05;
/// Handshakes that take this many times as long, and this much longer, in seconds, are a trend.
const SLOWER: (f64, f64) = (2.0, 0.020);
/// A trend takes so many handshakes before and after.
const TREND: u64 = 5;

pub(super) fn judge(tunnel: Tunnel, seen: Result<&SeenTarget, &Said>) -> Vec<Item> {
    let all = [
        Check::State,
        Check::Flapping,
        Check::Rtt,
        Check::Loss,
        Check::Jitter,
        Check::BurstLoss,
        Check::Reordering,
        Check::Cookies,
        Check::ResetOnly,
        Check::HandshakeTime,
    ];
    let one = |check: Check| {
        if tunnel == Tunnel::Split && of_media(check) {
            return Item::new(
                check,
                Status::NotApplicable,
                say(
                    "Split tunnel: the probes do not see the way that people's media take to Teams.",
                    "スプリットトンネルのため、メディアの経路はこの測定では見えません。",
                ),
            );
        }
        match (seen, check) {
            (_, Check::BurstLoss) => too_few(check, "200 ms", "100", "10 %"),
            (_, Check::Reordering) => too_few(check, "15 s", "135", "0.05 %"),
            (Err(why), _) => Item::new(check, Status::Unknown, why.clone()),
            (Ok(target), Check::State) => state(target),
            (Ok(target), Check::Flapping) => flapping(target),
            (Ok(target), Check::Rtt) => worst(check, target, rtt),
            (Ok(target), Check::Loss) => worst(check, target, loss),
            (Ok(target), Check::Jitter) => worst(check, target, jitter),
            (Ok(target), Check::Cookies) => cookies(target),
            (Ok(target), Check::ResetOnly) => reset_only(target),
            (Ok(target), _) => handshake_time(target),
        }
    };
    all.into_iter().map(one).collect()
}

/// Whether it matters to media alone.
const fn of_media(check: Check) -> bool {
    matches!(check, Check::Rtt | Check::Loss | Check::Jitter | Check::BurstLoss | Check::Reordering)
}

/// The thresholds that take more packets than a prober may send to somebody's concentrator.
fn too_few(check: Check, window: &str, rate: &str, limit: &str) -> Item {
    Item::new(
        check,
        Status::NotMeasurable,
        say(
            format!(
                "Not measurable: below {limit} in any {window} takes {rate} packets/s and more; no probe runs faster than 10/s."
            ),
            format!(
                "測定不能: 任意の {window} で {} 未満の判定には毎秒 {rate} パケット以上が必要です(測定は最大毎秒 10)。",
                limit.replace(' ', "")
            ),
        ),
    )
}

fn state(target: &SeenTarget) -> Item {
    let (status, said) = match target.state.as_str() {
        "up" => (Status::Ok, say("It is up now.", "現在、正常に応答しています。")),
        "degraded" => {
            (Status::AtRisk, say("It is degraded now: much is lost.", "現在、パケット損失が多い状態です。"))
        }
        "down" => (Status::NoGo, say("It is down now.", "現在、停止しています。")),
        _ => (
            Status::Unknown,
            say("The daemon does not know yet whether it is up.", "稼働状態がまだ判定されていません。"),
        ),
    };
    Item::new(Check::State, status, said)
}

fn flapping(target: &SeenTarget) -> Item {
    let longest = target
        .probes
        .iter()
        .filter(|probe| probe.kind != "icmp" && probe.kind != "trace")
        .filter_map(|probe| Some((probe.stable_in_seconds?, probe)))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let Some((left, probe)) = longest else {
        return Item::new(
            Check::Flapping,
            Status::Ok,
            say("It does not come and go.", "断続は見られません。"),
        );
    };
    let minutes = (left / 60.0).ceil();
    let said = say(
        format!("{} comes and goes; stable again in {minutes} min if nothing more happens.", probe.probe),
        format!("{} が断続しています。このまま何もなければ {minutes} 分後に安定と見なします。", probe.probe),
    );
    Item { series: Some(series(probe)), ..Item::new(Check::Flapping, Status::AtRisk, said) }
}

fn series(probe: &SeenProbe) -> (String, u8, String) {
    (probe.probe.clone(), probe.member, probe.egress.clone())
}

/// The worst of all ways to the target.
fn worst(check: Check, target: &SeenTarget, judge: fn(&[(&SeenProbe, &Recent)]) -> Item) -> Item {
    let on_the_way = target.probes.iter().filter(|probe| probe.on_the_way());
    let fresh: Vec<_> = on_the_way.filter_map(|probe| Some((probe, probe.fresh()?))).collect();
    let mut ways: Vec<(u8, &str)> =
        fresh.iter().map(|(probe, _)| (probe.member, probe.egress.as_str())).collect();
    ways.sort_unstable();
    ways.dedup();
    let of_way = |way: &(u8, &str)| {
        let mine: Vec<_> = fresh
            .iter()
            .filter(|(probe, _)| (probe.member, probe.egress.as_str()) == *way)
            .copied()
            .collect();
        judge(&mine)
    };
    let rank = |item: &Item| match item.status {
        Status::NoGo => 0,
        Status::AtRisk => 1,
        Status::Unknown => 2,
        Status::NotMeasurable => 3,
        Status::Ok | Status::NotApplicable => 4,
    };
    ways.iter().map(of_way).min_by_key(rank).unwrap_or_else(|| {
        let said = say(
            "No ping and no VPN probe over UDP has had a result in the last minutes.",
            "直近に結果のある測定(ping または UDP の VPN プローブ)がありません。",
        );
        Item::new(check, Status::Unknown, said)
    })
}

/// Of several probes on one way, the fastest answer is the nearest to the way's own time: the rest is the
/// box at work.
fn rtt(way: &[(&SeenProbe, &Recent)]) -> Item {
    let enough = way.iter().filter(|(_, recent)| recent.answers >= ANSWERS);
    let timed = enough.filter_map(|(probe, recent)| Some((probe, *recent, recent.rtt_worst_seconds?)));
    let Some((probe, recent, worst)) = timed.min_by(|one, other| one.2.total_cmp(&other.2)) else {
        let said = say("There are too few answers yet.", "応答がまだ少なすぎます。");
        return Item::new(Check::Rtt, Status::Unknown, said);
    };
    let status = match recent.last.rtt_seconds {
        Some(now) if now > teams::POOR_RTT => Status::NoGo,
        _ if worst >= teams::RTT => Status::AtRisk,
        _ => Status::Ok,
    };
    let (worst_text, mean) = (render::millis(worst), render::millis(recent.rtt_seconds.unwrap_or(worst)));
    let minutes = span(recent);
    let said = say(
        format!(
            "{worst_text} in the worst 5 min, {mean} on average over {minutes} min ({}); below 100 ms is needed all the way to Teams, this is the part to the concentrator.",
            probe.probe
        ),
        format!(
            "最悪の 5 分間で {worst_text}、{minutes} 分間の平均 {mean}({})。Teams までの全区間で 100 ms 未満が必要です(測定は装置までの区間)。",
            probe.probe
        ),
    );
    let item = Item::new(Check::Rtt, status, said).figures(worst, teams::RTT);
    Item { series: Some(series(probe)), ..item }
}

fn span(recent: &Recent) -> f64 {
    (recent.seconds / 60.0).ceil().max(1.0)
}

/// What one series says about loss in any 15 s.
struct Losses<'a> {
    probe: &'a SeenProbe,
    recent: &'a Recent,
    status: Status,
    ratio: f64,
}

fn losses<'a>(probe: &'a SeenProbe, recent: &'a Recent) -> Losses<'a> {
    let windows = &recent.windows;
    let fine = windows.worst_fine.filter(|_| windows.fine > 0);
    let poor = chance(recent.last.sent, recent.last.lost, teams::POOR_LOSS) < CHANCE;
    let by_window = windows
        .worst
        .map_or(1.0, |worst| chance(worst.sent.into(), worst.lost.into(), teams::LOSS) * WINDOWS);
    // If more than 1 % of all was lost, more than 1 % was lost in some window.
    let proven = by_window < CHANCE || chance(recent.sent, recent.lost, teams::LOSS) < CHANCE;
    let missed = fine.filter(|worst| worst.ratio() >= teams::LOSS);
    let measured = as_f64(windows.fine) >= as_f64(windows.all) * MEASURED && windows.fine > 0;
    let (status, ratio) = match (missed, windows.worst) {
        (Some(missed), _) => (Status::AtRisk, missed.ratio()),
        (None, worst) if proven => (Status::AtRisk, worst.or(fine).map_or(0.0, Loss::ratio)),
        (None, _) if measured => (Status::Ok, fine.map_or(0.0, Loss::ratio)),
        (None, worst) => (Status::NotMeasurable, worst.or(fine).map_or(0.0, Loss::ratio)),
    };
    let status = if poor { Status::NoGo } else { status };
    Losses { probe, recent, status, ratio }
}

/// A ping may be limited by the box: it counts as bad only where nothing else is asked.
fn loss(way: &[(&SeenProbe, &Recent)]) -> Item {
    let all: Vec<_> = way.iter().map(|(probe, recent)| losses(probe, recent)).collect();
    let spoken = all.iter().any(|it| it.probe.vpn_over_udp());
    let bad = |it: &&Losses<'_>| {
        matches!(it.status, Status::NoGo | Status::AtRisk) && (it.probe.vpn_over_udp() || !spoken)
    };
    let worst_bad = all.iter().filter(bad).max_by(|one, other| {
        (one.status == Status::NoGo, one.ratio)
            .partial_cmp(&(other.status == Status::NoGo, other.ratio))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let good = all.iter().find(|it| it.status == Status::Ok);
    let fastest =
        all.iter().min_by(|one, other| one.recent.interval_seconds.total_cmp(&other.recent.interval_seconds));
    let Some(told) = worst_bad.or(good).or(fastest) else {
        return Item::new(
            Check::Loss,
            Status::Unknown,
            say("There is no result yet.", "結果がまだありません。"),
        );
    };
    let status = if worst_bad.is_some() {
        told.status
    } else if good.is_some() {
        Status::Ok
    } else {
        Status::NotMeasurable
    };
    let Losses { probe, recent, ratio, .. } = told;
    let (name, interval) = (&probe.probe, render::interval(recent.interval_seconds));
    let overall = format!("{} / {}", recent.lost, recent.sent);
    let percent = format!("{:.1} %", ratio * 100.0);
    let said = match status {
        Status::Ok => say(
            format!("{percent} in the worst {WINDOW} s; below 1 % is needed ({name}, {overall} lost)."),
            format!("最悪の {WINDOW} 秒間で {percent}(1% 未満が必要)。{name}、損失 {overall}。"),
        ),
        Status::NotMeasurable => say(
            format!(
                "Not measurable at this probe rate: below 1 % in any {WINDOW} s takes more than 100 probes in them, an interval of 140 ms or less; {name} runs every {interval} (lost {overall})."
            ),
            format!(
                "この測定間隔では測定不能: 任意の {WINDOW} 秒で 1% 未満の判定には 100 を超える測定(間隔 140 ms 以下)が必要です。{name} は {interval} 間隔(損失 {overall})。"
            ),
        ),
        _ => say(
            format!(
                "{percent} in the worst {WINDOW} s, {overall} lost in all ({name}); below 1 % is needed, and beyond 10 % is a poor stream."
            ),
            format!(
                "最悪の {WINDOW} 秒間で {percent}、全体で {overall} 損失({name})。1% 未満が必要で、10% 超は不良です。"
            ),
        ),
    };
    let item = Item::new(Check::Loss, status, said).figures(*ratio, teams::LOSS);
    Item { series: Some(series(probe)), ..item }
}

/// How likely it is that at least `lost` of `sent` are lost if each is with `share`.
pub(super) fn chance(sent: u64, lost: u64, share: f64) -> f64 {
    if lost == 0 {
        return 1.0;
    }
    // Sums what is below: exact to 1e-12. Logarithms, for 0.9 to the power of 10,000 is no double.
    let odds = (share / (1.0 - share)).ln();
    let mut term = as_f64(sent) * (1.0 - share).ln();
    let mut below = 0.0;
    for k in 0..lost.min(sent) {
        below += term.exp();
        term += (as_f64(sent - k) / as_f64(k + 1)).ln() + odds;
    }
    (1.0 - below).max(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "an hour has far fewer probes than 2^53")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// A round trip varies in both directions: below 30 ms it cannot be more than that in one.
fn jitter(way: &[(&SeenProbe, &Recent)]) -> Item {
    let fine = way.iter().filter(|(_, recent)| recent.windows.jitter_fine > 0);
    let timed = fine.filter_map(|(probe, recent)| Some((probe, recent.windows.jitter_worst_seconds?)));
    if let Some((probe, worst)) = timed.min_by(|one, other| one.1.total_cmp(&other.1)) {
        let status = if worst < teams::JITTER { Status::Ok } else { Status::AtRisk };
        let worst_text = render::millis(worst);
        let said = say(
            format!(
                "{worst_text} there and back in the worst {WINDOW} s; below 30 ms one way is needed ({}).",
                probe.probe
            ),
            format!("最悪の {WINDOW} 秒間で往復 {worst_text}(片道 30 ms 未満が必要)。{}。", probe.probe),
        );
        let item = Item::new(Check::Jitter, status, said).figures(worst, teams::JITTER);
        return Item { series: Some(series(probe)), ..item };
    }
    let fastest = way.iter().min_by(|one, other| one.1.interval_seconds.total_cmp(&other.1.interval_seconds));
    let every = fastest.map_or_else(String::new, |(_, recent)| render::interval(recent.interval_seconds));
    let said = say(
        format!(
            "Not measurable at this probe rate: any {WINDOW} s must hold 48 differences, an interval of 300 ms or less; the fastest probe runs every {every}."
        ),
        format!(
            "この測定間隔では測定不能: {WINDOW} 秒間に 48 以上の差分(間隔 300 ms 以下)が必要です。最短の間隔は {every}。"
        ),
    );
    Item::new(Check::Jitter, Status::NotMeasurable, said)
}

fn cookies(target: &SeenTarget) -> Item {
    let ike = |probe: &&SeenProbe| matches!(probe.kind.as_str(), "ike" | "ike_natt");
    if !target.probes.iter().any(|probe| ike(&probe)) {
        let said = say("No IKEv2 probe here.", "IKEv2 のプローブがありません。");
        return Item::new(Check::Cookies, Status::NotApplicable, said);
    }
    let asked = target.probes.iter().filter(ike).filter_map(|probe| Some((probe, probe.fresh()?.cookies)));
    let asked = asked.filter(|(_, cookies)| cookies.of > 0);
    let share = |count: u64, of: u64| as_f64(count) / as_f64(of.max(1));
    let worst = asked
        .max_by(|(_, one), (_, other)| share(one.count, one.of).total_cmp(&share(other.count, other.of)));
    let Some((probe, cookies)) = worst else {
        let said = say(
            "Not measurable: the version ping meets no COOKIE, and no other form was answered in the last hour; set ike.proposals.",
            "測定不能: バージョン確認の問い合わせでは COOKIE は見えません。ike.proposals を設定してください。",
        );
        return Item::new(Check::Cookies, Status::NotMeasurable, said);
    };
    let ratio = share(cookies.count, cookies.of);
    let status = if ratio >= COOKIES { Status::AtRisk } else { Status::Ok };
    let told = format!("{} / {}", cookies.count, cookies.of);
    let said = if status == Status::Ok {
        say(
            format!("COOKIE was demanded in {told} answers ({}).", probe.probe),
            format!("COOKIE の要求は {told} 回です({})。", probe.probe),
        )
    } else {
        say(
            format!(
                "COOKIE was demanded in {told} answers ({}): the box has many half-open handshakes, and many people dialling in make more.",
                probe.probe
            ),
            format!(
                "COOKIE の要求が {told} 回あります({})。装置のハーフオープン接続が多く、一斉接続でさらに増えます。",
                probe.probe
            ),
        )
    };
    let item = Item::new(Check::Cookies, status, said).figures(ratio, COOKIES);
    Item { series: Some(series(probe)), ..item }
}

fn reset_only(target: &SeenTarget) -> Item {
    let openvpn = |probe: &&SeenProbe| matches!(probe.kind.as_str(), "openvpn_udp" | "openvpn_tcp");
    if !target.probes.iter().any(|probe| openvpn(&probe)) {
        let said = say("No OpenVPN probe here.", "OpenVPN のプローブがありません。");
        return Item::new(Check::ResetOnly, Status::NotApplicable, said);
    }
    let all = target.probes.iter().filter(openvpn);
    let tried = all.filter_map(|probe| Some((probe, probe.fresh()?.reset_only)));
    let worst = tried.filter(|(_, share)| share.of > 0).max_by_key(|(_, share)| (share.count, share.of));
    let Some((probe, share)) = worst else {
        let said = say(
            "Not measurable yet: no handshake beyond the reset was tried in the last hour; see full_interval.",
            "まだ測定できません: 直近 1 時間に完全なハンドシェイクの試行がありません(full_interval を参照)。",
        );
        return Item::new(Check::ResetOnly, Status::NotMeasurable, said);
    };
    let told = format!("{} / {}", share.count, share.of);
    let (status, said) = if share.count == 0 {
        (
            Status::Ok,
            say(
                format!(
                    "OpenVPN went on after its answer to the reset in all of {} handshakes ({}).",
                    share.of, probe.probe
                ),
                format!("OpenVPN のハンドシェイク {} 回はすべて継続しています({})。", share.of, probe.probe),
            ),
        )
    } else {
        (
            Status::AtRisk,
            say(
                format!(
                    "OpenVPN answered the reset and nothing more in {told} handshakes ({}): it is full, or throttling.",
                    probe.probe
                ),
                format!(
                    "OpenVPN のハンドシェイク {told} 回がリセット応答のみでした({})。満杯または流量制限です。",
                    probe.probe
                ),
            ),
        )
    };
    Item { series: Some(series(probe)), ..Item::new(Check::ResetOnly, status, said) }
}

fn handshake_time(target: &SeenTarget) -> Item {
    let asked =
        |probe: &&SeenProbe| probe.vpn_over_udp() || matches!(probe.kind.as_str(), "tls" | "openvpn_tcp");
    let known = target.probes.iter().filter(asked).filter_map(|probe| {
        let recent = probe.fresh()?;
        let (before, now) = (recent.handshake_before, recent.handshake_now);
        (before.count >= TREND && now.count >= TREND && before.seconds > 0.0).then_some((
            probe,
            before.seconds,
            now.seconds,
        ))
    });
    let Some((probe, before, now)) =
        known.max_by(|one, other| (one.2 / one.1).total_cmp(&(other.2 / other.1)))
    else {
        let said = say(
            "Not measurable yet: a trend takes half an hour of handshakes.",
            "まだ測定できません: 傾向の判定には約 30 分の履歴が必要です。",
        );
        return Item::new(Check::HandshakeTime, Status::NotMeasurable, said);
    };
    let slower = now >= before * SLOWER.0 && now - before >= SLOWER.1;
    let status = if slower { Status::AtRisk } else { Status::Ok };
    let (before_text, now_text) = (render::millis(before), render::millis(now));
    let hint_en = if slower { ": the box, or the way to it, is under load" } else { "" };
    let hint_ja = if slower { "。装置または経路に負荷がかかっています" } else { "" };
    let said = say(
        format!(
            "{} took {before_text} before and takes {now_text} in the last 15 min{hint_en}.",
            probe.probe
        ),
        format!("{} の応答時間は以前 {before_text}、直近 15 分 {now_text}{hint_ja}。", probe.probe),
    );
    let item = Item::new(Check::HandshakeTime, status, said).figures(now, before);
    Item { series: Some(series(probe)), ..item }
}
