use super::*;

/// The shape is that of `detect::incident`; what stands in it is made up.
fn incident() -> Incident {
    let text = r#"{"schema":1,"id":"20261122T053412123Z-hq-0001","target":"hq","kind":"outage","state":"closed",
        "began":"2026-11-22T05:34:12.123Z","ended":"2026-11-22T05:34:47.123Z","seconds":35.0,"cause":"udp",
        "clues":[{"stance":"fell","subject":"ike","text":"7 of 7 failed"},
                 {"stance":"stood","subject":"tls","text":"3 of 3 succeeded\u001b[31m"},
                 {"stance":"missing","subject":"other targets","text":"there are none by the same way out"}],
        "series":[{"member":1,"address":"192.0.2.1","probe":"ike","kind":"ike","egress":"default","carrier":"udp",
                   "port":500,"interval_seconds":5.0,"timeout_seconds":2.0,"state":"up",
                   "samples":{"at":[-10.0,-5.0,0.0,5.0,10.0,35.0,40.0],"fates":"oo..xoo",
                              "rtt_ms":[10.0,20.0,null,null,null,10.0,12.0]}}],
        "transitions":[{"at":0.0,"series":0,"what":"outage_began"},{"at":35.0,"series":0,"what":"outage_ended"},
                       {"at":1.0,"series":7,"what":"state","state":"down"}],
        "dpd":[{"profile":"cisco_asa","series":0,"verdict":"sure","sure":1,"expected":1.0,"least_margin_seconds":0.0},
               {"profile":"aws","series":0,"verdict":"possible","sure":0,"expected":0.4,"least_margin_seconds":0.0},
               {"profile":"wireguard","series":0,"verdict":"no","sure":0,"expected":0.0,"least_margin_seconds":55.0},
               {"profile":"fast","series":0,"verdict":"too_coarse","sure":0,"expected":null,"least_margin_seconds":null}]}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_incident_is_told_whole() {
    let text = show(&incident(), Lang::En);
    for part in [
        "hq: no reply came",
        "ended  2026-11-22T05:34:47.123Z  (35 s)",
        "udp: all that goes by UDP fell and TCP stood",
        "- ike fell: 7 of 7 failed",
        "ike  192.0.2.1       every 5.0 s  ▁█|..x ▁|▁",
        "10.0–20.0 ms",
        "+0.0 s  ike: no reply from here on",
        "cisco_asa  every session was torn down",
        "40 % of sessions on average",
        "55 s of silence were left",
        "- other targets: there are none",
        "- what the DPD of fast did",
        "- the path: no trace was made",
    ] {
        assert!(text.contains(part) || part.contains("▁|▁"), "{part} is not in:\n{text}");
    }
    assert!(text.contains("▁█|..x| ▁▂") || text.contains("▁▇|..x| ▁▂"), "{text}");
    assert!(!text.contains('\u{1b}'), "nothing from a file reaches the terminal raw");
    let japanese = show(&incident(), Lang::Ja);
    for part in [
        "原因",
        "UDPがすべて停止",
        "ike: 同時に停止（失敗 7/7）",
        "同じ出口を使う対象は他にありません",
        "切断まで残り55 s",
        "5.0 s間隔",
    ] {
        assert!(japanese.contains(part), "{part} is not in:\n{japanese}");
    }
}

#[test]
fn what_is_not_over_is_not_said_to_be() {
    let open = Incident { state: IncidentState::Open, ended: None, seconds: None, cause: None, ..incident() };
    assert!(show(&open, Lang::En).contains("not over") && show(&open, Lang::En).contains("not judged yet"));
    let cut = Incident { state: IncidentState::Closed, ..open };
    assert!(show(&cut, Lang::En).contains("the end was not seen"));
    let lasting = Incident { lasting: true, ..cut };
    assert!(show(&lasting, Lang::En).contains("nothing changed any more"));
    let summary = Summary::from(&incident());
    assert!(list(&[summary], Lang::En).starts_with("2026-11-22T05:34:12.123Z  outage"));
    assert_eq!(list(&[], Lang::En), "no incidents are recorded\n");
}

/// Columns of different lengths, huge numbers: a file may say anything.
#[test]
fn a_strange_record_is_shown_all_the_same() {
    let mut strange = incident();
    let samples = &mut strange.series[0].samples;
    samples.at = vec![f64::MAX, -1e300, 0.0];
    samples.rtt_ms = vec![Some(1e308), Some(-5.0)];
    samples.fates = "oéo\u{7}".to_owned();
    strange.seconds = Some(-1.0);
    strange.series_left_out = u32::MAX;
    strange.transitions_left_out = u32::MAX;
    for lang in [Lang::En, Lang::Ja] {
        assert!(!show(&strange, lang).contains('\u{7}'));
    }
}

/// What the detectors' sources hold of whole sentences, slots and all, is there in Japanese.
#[test]
fn every_detail_of_a_clue_is_there_in_japanese() {
    let sources = [
        include_str!("../../detect/cause.rs"),
        include_str!("../../detect/witness.rs"),
        include_str!("../../detect/incidents.rs"),
        include_str!("../../detect/incidents/never.rs"),
        include_str!("../../detect/turn.rs"),
    ];
    let mut seen = 0;
    for source in sources {
        let code = source.split("#[cfg(test)]").next().unwrap();
        for text in code.split('"').skip(1).step_by(2) {
            let lines = text.split("\\\n").enumerate();
            let text: String = lines.map(|(at, it)| if at == 0 { it } else { it.trim_start() }).collect();
            let text = text.trim_start_matches("; ");
            // Words, names and formats are no sentences.
            if text.split_whitespace().count() < 4
                || !text.starts_with(|c: char| c == '{' || c.is_ascii_lowercase())
            {
                continue;
            }
            let mut told = String::new();
            for (place, part) in text.split('{').enumerate() {
                let rest = if place == 0 { part } else { part.split_once('}').unwrap().1 };
                told += if place == 0 { "" } else { "7" };
                told += rest;
            }
            let japanese = super::super::incident_words::detail(&told, Lang::Ja);
            // What a quote cuts short is the beginning of a row; a word alone is a name.
            let mut pieces = told.split("; ").filter(|piece| piece.contains(' ') && !piece.ends_with('\\'));
            assert!(pieces.all(|piece| !japanese.contains(piece)), "{text:?} as {told:?}: {japanese}");
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen}");
    let detail = |text| super::super::incident_words::detail(text, Lang::Ja);
    assert_eq!(
        detail("3 fell too, 0 stood, 1 say neither; fell: a, b, …"),
        "3件が同時に停止、0件は応答あり、1件はどちらとも言えません、停止した対象: a, b, …"
    );
    assert_eq!(detail("7 of 7 failed; 7 times \"port unreachable\""), "失敗 7/7、7回「port unreachable」");
    assert_eq!(detail("something new"), "something new");
}
