use super::packets::{Outer, Stream};
use super::seen::{SeenProbe, SeenTarget};
use super::teams::{Call, Medium, Profile, Quality};
use super::*;
use crate::config::{Cipher, Config, Rate};
use crate::detect::recent::{Last, Loss, Mean, Recent, Share, Windows};
use crate::diagnose::Lang;
use crate::time::WallTime;

fn outer(protocol: Protocol, cipher: Option<Cipher>) -> Outer {
    Outer { protocol, cipher, ipv6: false }
}

/// The sizes of packets by hand. Sound: 58 kbit/s in 50 packets/s are 145 bytes.
#[test]
fn packets_grow_as_the_standards_have_it() {
    use Protocol::*;
    let (cbc, gcm) = (Some(Cipher::Cbc), Some(Cipher::Gcm));
    for (protocol, cipher, packet, size) in [
        // RFC 4303: 20 + 8 + IV 16 + (145 + 2, to blocks of 16: 160) + ICV 16.
        (Ipsec, cbc, 145, 220),
        // RFC 3948: 8 more.
        (IpsecNatt, cbc, 145, 228),
        // RFC 4106: 20 + 8 + 8 + IV 8 + (147, to 4: 148) + 16.
        (IpsecNatt, gcm, 145, 208),
        // The largest packet whose padding is the length and the next header alone: 158 + 2 = 160.
        (IpsecNatt, cbc, 158, 228),
        (IpsecNatt, cbc, 159, 244),
        // RFC 3193: 145 + 8 + 8 + 4 = 165; + 2 to blocks of 16: 176; 20 + 8 + 8 + 16 + 176 + 16.
        (L2tpIpsec, cbc, 145, 244),
        // 20 + 8 + 4 + 4 + 16 + 145.
        (OpenvpnUdp, gcm, 145, 197),
        // 20 + 8 + 4 + 20 + 16 + (4 + 145 + 1, to 16: 160).
        (OpenvpnUdp, cbc, 145, 228),
        // 20 + 32 + 2 + 24 + 145.
        (OpenvpnTcp, gcm, 145, 223),
        (Tls, None, 145, 234),
        (Dtls, None, 145, 211),
        (Sstp, None, 145, 234),
        // 20 + 8 + 16 + (145 to 16: 160) + 16.
        (Wireguard, None, 145, 220),
        // Pictures: (1202 to 16: 1216) + 68.
        (IpsecNatt, cbc, 1200, 1284),
    ] {
        assert_eq!(outer(protocol, cipher).size(packet), size, "{protocol} {cipher:?} {packet}");
        let six = Outer { ipv6: true, ..outer(protocol, cipher) };
        assert_eq!(six.size(packet), size + 20, "{protocol}");
    }
}

/// 10 kbit/s of sound at 50 packets/s were 25 bytes each, less than their headers.
#[test]
fn sound_is_spaced_so_that_headers_fit() {
    let packets = |quality| {
        let (up, down) = Stream::both(Medium::Audio, quality, Call::Meeting, None);
        assert_eq!(up, down);
        (up.packets.round(), up.plain)
    };
    assert_eq!(packets(Quality::Recommended), (50.0, 145));
    assert_eq!(packets(Quality::Best), (50.0, 190));
    assert_eq!(packets(Quality::Minimum), (17.0, 75));
}

#[test]
fn profiles_are_words() {
    let profile: Profile = "sharing+video:best".parse().unwrap();
    assert_eq!(profile.media, [Medium::Audio, Medium::Video, Medium::Sharing]);
    assert_eq!(profile.quality, Quality::Best);
    let profile: Profile = "audio".parse().unwrap();
    assert_eq!((&profile.media[..], profile.quality), (&[Medium::Audio][..], Quality::Recommended));
    for (bad, why) in [
        ("", "\"\" is not audio, video or sharing"),
        ("movie", "\"movie\" is not audio, video or sharing"),
        ("audio+", "\"\" is not audio, video or sharing"),
        ("video:high", "\"high\" is not minimum, recommended or best"),
    ] {
        assert_eq!(bad.parse::<Profile>(), Err(why.to_owned()));
    }
}

fn question(people: u32, profile: &str) -> Question {
    let profile = profile.parse().unwrap();
    Question { people, profile, call: Call::Meeting, sending: None, tunnel: None }
}

/// A target whose capacity is what the words say.
fn target(capacity: &str) -> Target {
    let text = format!("targets: {{hq: {{address: 192.0.2.1, vpn: [ipsec], capacity: {{{capacity}}}}}}}\n");
    let loaded = Config::load_text(std::path::Path::new("x.yml"), &text, []);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    (*loaded.config.targets[0]).clone()
}

fn declared(capacity: &str) -> Target {
    target(&format!("down: 2Gbps, up: 2Gbps, max_sessions: 1000{capacity}"))
}

fn well() -> SeenTarget {
    SeenTarget { target: "hq".to_owned(), state: "up".to_owned(), probes: vec![probe("ike", 0.1)] }
}

/// A probe of an hour in which nothing was wrong.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn probe(kind: &str, interval: f64) -> SeenProbe {
    let fine = if interval <= 0.14 { 3600 } else { 0 };
    let recent = Recent {
        interval_seconds: interval,
        seconds: 3600.0,
        age_seconds: interval,
        sent: (3600.0 / interval) as u64,
        lost: 0,
        rtt_seconds: Some(0.020),
        rtt_worst_seconds: Some(0.022),
        rtt_max_seconds: Some(0.050),
        answers: (3600.0 / interval) as u64,
        last: Last { sent: (500.0 / interval) as u64, lost: 0, rtt_seconds: Some(0.020) },
        windows: Windows {
            all: 3600,
            fine,
            worst_fine: (fine > 0).then_some(Loss { sent: 150, lost: 0 }),
            worst: (fine == 0).then_some(Loss { sent: (15.0 / interval) as u16, lost: 0 }),
            jitter_fine: fine,
            jitter_worst_seconds: (fine > 0).then_some(0.003),
        },
        cookies: Share { count: 0, of: 60 },
        reset_only: Share::default(),
        handshake_before: Mean { seconds: 0.020, count: 500 },
        handshake_now: Mean { seconds: 0.021, count: 200 },
    };
    SeenProbe {
        probe: kind.to_owned(),
        kind: kind.to_owned(),
        member: 1,
        egress: "default".to_owned(),
        stable_in_seconds: None,
        recent: Some(recent),
    }
}

fn item(ready: &Readiness, check: Check) -> &Item {
    ready.items.iter().find(|item| item.check == check).unwrap()
}

fn statuses(ready: &Readiness, status: Status) -> Vec<Check> {
    ready.items.iter().filter(|item| item.status == status).map(|item| item.check).collect()
}

/// The worked example of the bandwidth table: 500 people in a meeting at the recommended rates receive
/// 29 Mbit/s of sound, 1,279 with a shared screen, and 2,000 of pictures, 2,029 with sound.
#[test]
fn five_hundred_people_receive_what_the_table_says() {
    for (profile, megabits) in [("audio", 29.0), ("sharing", 1279.0), ("video", 2029.0)] {
        let asked = Question { sending: Some(0), ..question(500, profile) };
        let ready = judge(&asked, &declared(""), Ok(&well()));
        let received: f64 = ready.loads.iter().map(|load| 500.0 * load.down.plain_bits() / 1e6).sum();
        assert!((received - megabits).abs() < 0.01, "{profile}: {received}");
    }
}

/// By hand: sound is 58 kbit/s plain and 228 * 8 * 50 = 91.2 kbit/s in ESP with NAT-T. Into the site come
/// 91.2 from the person and 58 from Teams; out of it as much. 500 people: 74.6 Mbit/s each way.
#[test]
fn a_hairpin_passes_the_line_twice() {
    let ready = judge(&question(500, "audio"), &declared(""), Ok(&well()));
    let (down, up) = (item(&ready, Check::LineDown), item(&ready, Check::LineUp));
    assert!((down.value.unwrap() - 74.6e6).abs() < 1.0, "{down:?}");
    assert!((up.value.unwrap() - 74.6e6).abs() < 1.0, "{up:?}");
    // 2 Gbit/s / 149.2 kbit/s.
    assert_eq!(down.holds, Some(13_404));
    let straight = judge(&question(500, "audio"), &declared(", hairpin: false"), Ok(&well()));
    let down = item(&straight, Check::LineDown);
    assert!((down.value.unwrap() - 45.6e6).abs() < 1.0, "{down:?}");
    assert_eq!(down.holds, Some(21_929));
}

/// By hand: received pictures are 4,000 kbit/s plain, 4,000 * 1284 / 1200 = 4,280 in the tunnel; sent ones
/// 2,500 and 2,675. Up: 100 people * (91.2 + 4,280) + 100 * 58 + 10 * 2,500 = 467.92 Mbit/s.
#[test]
fn few_may_send_while_all_receive() {
    let asked = Question { sending: Some(10), ..question(100, "video") };
    let ready = judge(&asked, &declared(""), Ok(&well()));
    let up = item(&ready, Check::LineUp).value.unwrap();
    assert!((up - 467.92e6).abs() < 1.0, "{up}");
    // Down: 100 * (91.2 + 58 + 4,000) + 10 * 2,675.
    let down = item(&ready, Check::LineDown).value.unwrap();
    assert!((down - 441.67e6).abs() < 1.0, "{down}");
}

#[test]
fn what_others_use_is_not_free() {
    // 100 Mbit/s less 50 hold 50,000 / 149.2 = 335 people, 268 within 80 %.
    let capacity = ", down: 100Mbps, down_used: 50Mbps";
    let target = target(&format!("up: 2Gbps, max_sessions: 1000{capacity}"));
    for (people, status) in
        [(268, Status::Ok), (269, Status::AtRisk), (335, Status::AtRisk), (336, Status::NoGo)]
    {
        let ready = judge(&question(people, "audio"), &target, Ok(&well()));
        let down = item(&ready, Check::LineDown);
        assert_eq!((down.status, down.holds), (status, Some(335)), "{people}");
        assert!(down.said.en.contains("It holds 335 people, 268 within 80 %"), "{}", down.said.en);
        if status != Status::Ok {
            assert_eq!(ready.deciding().unwrap().check, Check::LineDown);
            assert_eq!(ready.headroom(), Some(335 - i64::from(people)));
        }
    }
}

#[test]
fn the_lesser_of_licence_and_box_counts_less_what_is_reserved() {
    let target = declared(", licences: 250, reserved_sessions: 40");
    for (people, status) in
        [(189, Status::Ok), (190, Status::AtRisk), (210, Status::AtRisk), (211, Status::NoGo)]
    {
        let ready = judge(&question(people, "audio"), &target, Ok(&well()));
        let sessions = item(&ready, Check::Sessions);
        assert_eq!((sessions.status, sessions.holds), (status, Some(210)), "{people}");
        assert!(sessions.said.en.contains("250 licences, 40 reserved"), "{}", sessions.said.en);
    }
}

#[test]
fn a_split_tunnel_takes_sessions_and_nothing_of_the_line() {
    let asked = Question { tunnel: Some(Tunnel::Split), ..question(900, "video+sharing:best") };
    let ready = judge(&asked, &declared(""), Ok(&well()));
    let aside = statuses(&ready, Status::NotApplicable);
    let media = [Check::Rtt, Check::Loss, Check::Jitter, Check::BurstLoss, Check::Reordering];
    assert_eq!(aside, [&[Check::LineDown, Check::LineUp][..], &media[..], &[Check::ResetOnly][..]].concat());
    assert_eq!((ready.verdict, ready.exit_code()), (Verdict::Go, 0));
    assert_eq!((ready.headroom(), ready.deciding().unwrap().check), (Some(100), Check::Sessions));
}

#[test]
fn what_is_not_declared_or_not_seen_is_unknown_unless_the_rest_is_too_little() {
    let why = say("nobody answers", "無応答");
    let ready = judge(&question(10, "audio"), &declared(""), Err(&why));
    assert_eq!((ready.verdict, ready.exit_code()), (Verdict::Unknown, 3));
    assert_eq!(item(&ready, Check::Loss).said, why);
    // Capacity is judged all the same.
    assert_eq!(item(&ready, Check::Sessions).status, Status::Ok);
    let ready = judge(&question(2000, "audio"), &declared(""), Err(&why));
    assert_eq!((ready.verdict, ready.exit_code()), (Verdict::NoGo, 1));
    assert_eq!(ready.deciding().unwrap().check, Check::Sessions);

    let bare = Config::single("192.0.2.1").unwrap().targets.remove(0);
    let ready = judge(&question(10, "audio"), &bare, Ok(&well()));
    assert_eq!(ready.verdict, Verdict::Unknown);
    let unknown = statuses(&ready, Status::Unknown);
    assert_eq!(unknown, [Check::Sessions, Check::LineDown, Check::LineUp]);
    assert_eq!(ready.headroom(), None);
}

fn seen(probes: Vec<SeenProbe>) -> Readiness {
    let target = SeenTarget { probes, ..well() };
    judge(&question(10, "audio"), &declared(""), Ok(&target))
}

#[test]
fn a_fast_probe_measures_loss_and_jitter_and_a_slow_one_does_not() {
    let fast = seen(vec![probe("ike", 0.1)]);
    assert_eq!(item(&fast, Check::Loss).status, Status::Ok);
    assert_eq!(item(&fast, Check::Jitter).status, Status::Ok);
    assert_eq!(fast.verdict, Verdict::Go);
    assert_eq!(fast.not_measurable().collect::<Vec<_>>(), [Check::BurstLoss, Check::Reordering]);
    for interval in [0.25, 1.0, 5.0] {
        let slow = seen(vec![probe("ike", interval)]);
        let loss = item(&slow, Check::Loss);
        assert_eq!(loss.status, Status::NotMeasurable, "{interval}");
        assert!(loss.said.en.starts_with("Not measurable at this probe rate"), "{}", loss.said.en);
        assert_eq!(slow.verdict, Verdict::Go);
        assert!(slow.not_measurable().any(|check| check == Check::Loss));
    }
}

fn with(mut probe: SeenProbe, change: impl FnOnce(&mut Recent)) -> SeenProbe {
    change(probe.recent.as_mut().unwrap());
    probe
}

/// At 150 probes a window 1 is 0.67 % and 2 are 1.33 %.
#[test]
fn one_bad_window_is_a_risk() {
    for (lost, status) in [(1, Status::Ok), (2, Status::AtRisk)] {
        let ready = seen(vec![with(probe("ike", 0.1), |it| {
            (it.lost, it.windows.worst_fine) = (lost.into(), Some(Loss { sent: 150, lost }));
        })]);
        assert_eq!(item(&ready, Check::Loss).status, status, "{lost}");
    }
}

/// Three of three by chance: one in a million at 1 %, times 240 windows. Two of three: 0.03 %, times 240.
#[test]
fn a_slow_probe_proves_only_what_cannot_be_chance() {
    for (lost, status) in [(2, Status::NotMeasurable), (3, Status::AtRisk)] {
        let ready = seen(vec![with(probe("ike", 5.0), |it| {
            (it.lost, it.windows.worst) = (lost.into(), Some(Loss { sent: 3, lost }));
        })]);
        assert_eq!(item(&ready, Check::Loss).status, status, "{lost}");
    }
    // 36 of 720 over the hour are no chance at 1 %, though no window proves it.
    let ready = seen(vec![with(probe("ike", 5.0), |it| {
        (it.lost, it.windows.worst) = (36, Some(Loss { sent: 3, lost: 1 }));
    })]);
    assert_eq!(item(&ready, Check::Loss).status, Status::AtRisk);
    // A third lost in the last minutes is a poor stream.
    let ready = seen(vec![with(probe("ike", 5.0), |it| (it.last.lost, it.lost) = (33, 33))]);
    assert_eq!((item(&ready, Check::Loss).status, ready.verdict), (Status::NoGo, Verdict::NoGo));
}

/// By hand: at least 1 of 2 at 10 % is 1 - 0.81; 3 of 3 at 1 % is 1e-6.
#[test]
fn chance_is_the_binomial_tail() {
    assert!((path::chance(2, 1, 0.1) - 0.19).abs() < 1e-12);
    assert!((path::chance(3, 3, 0.01) - 1e-6).abs() < 1e-12);
    assert!((path::chance(10, 0, 0.01) - 1.0).abs() < 1e-12);
    assert!(path::chance(40_000, 3000, 0.1) > 0.999 && path::chance(40_000, 5000, 0.1) < 1e-9);
}

#[test]
fn a_ping_that_a_box_limits_is_no_loss_of_the_way() {
    let limited = with(probe("icmp", 0.1), |it| {
        (it.lost, it.windows.worst_fine) = (9000, Some(Loss { sent: 150, lost: 50 }));
    });
    let ready = seen(vec![limited.clone(), probe("ike", 5.0)]);
    assert_eq!(item(&ready, Check::Loss).status, Status::NotMeasurable);
    let alone = seen(vec![limited]);
    assert_eq!(item(&alone, Check::Loss).status, Status::AtRisk);
    // One that is well measures for the others.
    let ready = seen(vec![probe("icmp", 0.1), probe("ike", 5.0)]);
    assert_eq!(item(&ready, Check::Loss).status, Status::Ok);
}

#[test]
fn rtt_is_that_of_the_fastest_answer_and_of_the_worst_way() {
    let slow = |kind: &str, seconds: f64| {
        with(probe(kind, 1.0), |it| {
            (it.rtt_worst_seconds, it.last.rtt_seconds) = (Some(seconds), Some(seconds));
        })
    };
    // The box takes its time for IKE; the way does not.
    let ready = seen(vec![slow("ike", 0.300), slow("icmp", 0.020)]);
    assert_eq!(item(&ready, Check::Rtt).status, Status::Ok);
    // A second way is judged on its own.
    let far = SeenProbe { egress: "wan".to_owned(), ..slow("icmp", 0.120) };
    let ready = seen(vec![slow("icmp", 0.020), far]);
    let rtt = item(&ready, Check::Rtt);
    assert_eq!((rtt.status, ready.verdict), (Status::AtRisk, Verdict::AtRisk));
    assert_eq!(rtt.series, Some(("icmp".to_owned(), 1, "wan".to_owned())));
    let ready = seen(vec![slow("icmp", 0.600)]);
    assert_eq!(ready.verdict, Verdict::NoGo);
    // TLS is not on the way of media, old evidence is none, and nine answers are too few.
    for useless in [
        probe("tls", 1.0),
        with(probe("ike", 1.0), |it| it.age_seconds = 400.0),
        with(probe("ike", 1.0), |it| it.answers = 9),
    ] {
        let ready = seen(vec![useless]);
        assert_eq!(item(&ready, Check::Rtt).status, Status::Unknown);
        assert_eq!(ready.exit_code(), 3);
    }
}

#[test]
fn signs_of_a_box_under_load_are_risks() {
    let cookies = |count| seen(vec![with(probe("ike", 0.1), |it| it.cookies = Share { count, of: 100 })]);
    assert_eq!(item(&cookies(4), Check::Cookies).status, Status::Ok);
    assert_eq!(item(&cookies(5), Check::Cookies).status, Status::AtRisk);
    let unseen = seen(vec![with(probe("ike", 0.1), |it| it.cookies = Share::default())]);
    assert_eq!(item(&unseen, Check::Cookies).status, Status::NotMeasurable);

    let full =
        |count, of| seen(vec![with(probe("openvpn_udp", 0.1), |it| it.reset_only = Share { count, of })]);
    assert_eq!(item(&full(0, 2), Check::ResetOnly).status, Status::Ok);
    assert_eq!(item(&full(1, 2), Check::ResetOnly).status, Status::AtRisk);
    assert_eq!(item(&full(0, 0), Check::ResetOnly).status, Status::NotMeasurable);

    let slower =
        |now| seen(vec![with(probe("ike", 0.1), |it| it.handshake_now = Mean { seconds: now, count: 200 })]);
    // Twice 20 ms, and 20 ms more.
    assert_eq!(item(&slower(0.039), Check::HandshakeTime).status, Status::Ok);
    assert_eq!(item(&slower(0.040), Check::HandshakeTime).status, Status::AtRisk);

    let flapping = seen(vec![SeenProbe { stable_in_seconds: Some(600.0), ..probe("ike", 0.1) }]);
    assert_eq!(item(&flapping, Check::Flapping).status, Status::AtRisk);
    for (state, verdict) in
        [("degraded", Verdict::AtRisk), ("down", Verdict::NoGo), ("unknown", Verdict::Unknown)]
    {
        let target = SeenTarget { state: state.to_owned(), ..well() };
        let ready = judge(&question(10, "audio"), &declared(""), Ok(&target));
        assert_eq!(ready.verdict, verdict, "{state}");
    }
}

#[test]
fn jitter_there_and_back_is_held_against_30_ms() {
    for (seconds, status) in [(0.029, Status::Ok), (0.030, Status::AtRisk)] {
        let ready = seen(vec![with(probe("ike", 0.1), |it| it.windows.jitter_worst_seconds = Some(seconds))]);
        assert_eq!(item(&ready, Check::Jitter).status, status);
    }
}

fn asked() -> render::Asked {
    let time = Some("2026-11-22T00:00:00.000Z".to_owned());
    render::Asked { url: "http://127.0.0.1:10069".to_owned(), answered: true, error: None, time }
}

#[test]
fn the_text_says_it_in_both_languages() {
    let ready = judge(&question(1001, "audio"), &declared(""), Ok(&well()));
    let text = |lang| render::text(&ready, &asked(), WallTime::from_unix_secs(1_795_305_600), lang);
    let english = text(Lang::En);
    for line in [
        "hq  2026-11-22T00:00:00.000Z\n1001 people in a Teams meeting: audio, recommended; full tunnel (ipsec_natt, cbc)\n",
        "\nNG         sessions     1001 tunnels are needed, 1000 are free (1000 sessions at the most, 0 reserved).\n",
        "\n  audio     up   58.0 kbit/s (packets of 145 bytes), 91.2 kbit/s in the tunnel (228 bytes, +57 %)\n",
        "\nVerdict: NO-GO; what decides is sessions; 1 people too many. Not measurable by these probes: burst loss, reordering.\n",
    ] {
        assert!(english.contains(line), "{line}\n{english}");
    }
    let japanese = text(Lang::Ja);
    for line in [
        "1001 人の Teams 会議: 音声(推奨)、フルトンネル(ipsec_natt, cbc)",
        "判定: 不可、決め手: 同時接続数、1 人超過",
    ] {
        assert!(japanese.contains(line), "{line}\n{japanese}");
    }
    assert!(!english.contains(|c: char| c > '\u{2fff}'));
}

#[test]
fn every_sentence_has_two_languages() {
    let why = say("x", "x");
    let seen = [well(), SeenTarget::default()];
    let all = seen.iter().map(Ok).chain([Err(&why)]);
    for seen in all {
        for tunnel in [Tunnel::Full, Tunnel::Split] {
            let asked = Question { tunnel: Some(tunnel), ..question(950, "video") };
            for item in judge(&asked, &declared(""), seen).items {
                assert!(!item.said.en.is_empty() && !item.said.ja.is_empty(), "{item:?}");
                assert_eq!(item.said.en == item.said.ja, item.said == why, "{item:?}");
            }
        }
    }
}

#[test]
fn rates_are_shown_with_three_digits() {
    for (bits, text) in [(58_000.0, "58.0 kbit/s"), (1_279e6, "1.28 Gbit/s"), (467.92e6, "468 Mbit/s")] {
        assert_eq!(render::bits(bits), text);
    }
    assert_eq!(Rate::from_bits(1).less(Rate::from_bits(2)).bits(), 0);
}
