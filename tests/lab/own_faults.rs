//! Faults of the network, of this host and of peers, made under a running daemon one by one and in pairs:
//! it goes on, it says the right thing, and when the fault is gone the next probe is answered, or the one
//! after it if that only finds its socket useless: within one interval and one timeout.
//!
//! What it says is read in its journal, with its own times: a loaded machine makes no difference. The table
//! in `own-fault-table.md` is what this test saw, and it fails if that is no longer so; with
//! `VPNPROBE_FAULT_TABLE=write` it is written anew. `VPNPROBE_FAULT=WORDS` runs the rows with these words
//! only, `VPNPROBE_SEED` chooses the pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Instant;

use vpnprobe::detect::liveness::Thresholds;

use crate::harness::{Lab, long, until};

mod bench;
mod relay;
mod rows;

use bench::{Bench, INTERVAL, PROBES, TIMEOUT, between, now};
use rows::{Class, Row, rows};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/own-fault-table.md");

const FLAPS: &str = "vpnprobe_flaps_total";

/// Faults of the list that other tests make, with the file and the test.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("9 a path that takes only small packets", "path.rs", "the_mtu_is_found_told_or_not"),
    ("14 routers that limit their ICMP errors", "path.rs", "limited_routers_are_asked_again_and_never_lose"),
    ("22, 30 a daemon with hardly a descriptor", "own_faults/hosts.rs", "few_descriptors"),
    ("23 receive buffers that overflow", "overflow.rs", "what_the_kernel_drops_is_ours"),
    ("24 all cores busy", "overload.rs", "busy_cores_stops_and_steps_of_the_clock"),
    ("26 steps of the clock", "overload.rs", "busy_cores_stops_and_steps_of_the_clock"),
    ("27 a name that cannot be resolved", "degraded.rs", "a_dead_name"),
    ("28 a disk that is full", "own_faults/hosts.rs", "a_full_disk"),
    ("29 kill -9", "../suite/state.rs", "killed_again_and_again"),
    ("33 a log that nobody reads", "own_faults/hosts.rs", "a_log_that_nobody_reads"),
    ("35, 36 cookies, half-open limits", "calm.rs", "default_probing_of_strongswan"),
    ("37 to 39, 42 what is wrong at the peer", "faults.rs", "table"),
    ("40 TLS that drips, hangs and floods", "isolation.rs", "bad_targets_delay_no_other"),
    ("41 L2TP behind IPsec that is silent, as it should be", "l2tp.rs", "silence_behind_ipsec_is_no_loss"),
];

mod hosts;

/// A concentrator with a daemon that probes it.
fn field() -> Lab {
    Lab::with(&["strongswan", "unbound"])
}

fn words<'a>(row: &'a Row, probe: &str) -> &'a [&'a str] {
    let named = row.says.iter().find(|(name, _)| *name == probe);
    named.or_else(|| row.says.iter().find(|(name, _)| *name == "*")).unwrap().1
}

/// What any probe may say besides where faults meet.
fn together<'a>(faults: &'a [&'a Row]) -> impl Iterator<Item = &'a str> {
    let any = |row: &'a Row| row.says.iter().flat_map(|(_, words)| *words).map(|it| it.trim_end_matches('?'));
    // One of ours that only some feel may be felt by others: without a route a socket is opened anew, for which
    // there may be no descriptor.
    let ours = faults.iter().filter(|row| row.class == Class::Own).flat_map(move |row| any(row));
    // Each call of a thread that is traced takes long, and longer on a busy machine.
    let traced = faults.iter().filter(|row| row.holds.contains(&"calls")).map(|_| "unsent stalled");
    // An error that refuses is lost where echoes are.
    let lost = faults.iter().any(|row| words(row, "icmp").contains(&"lost no_answer"));
    let refused = faults.iter().any(|row| any(row).any(|word| word.starts_with("refused ")));
    ours.chain(traced).chain((lost && refused).then_some("lost no_answer"))
}

/// How often a probe may have changed. One that hears nothing, or a no, for long enough falls and comes back. A
/// fault of ours may hide that; it may also hide that a fresh flow is answered where the kept one is not.
fn changes(faults: &[&Row], probe: &str) -> &'static [f64] {
    let lasts = faults.iter().map(|row| row.lasts).max().unwrap();
    let (own, others): (Vec<&Row>, Vec<&Row>) = faults.iter().partition(|row| row.class == Class::Own);
    let bad = |word: &&str| !word.ends_with('?') && *word != "answered";
    let silent = others.iter().any(|row| words(row, probe).iter().all(bad));
    let hurt = others.iter().any(|row| words(row, probe).iter().any(bad));
    match (lasts >= Thresholds::BLIP.down, own.is_empty()) {
        (true, true) if silent => &[2.0],
        (true, false) if hurt => &[0.0, 2.0],
        _ => &[0.0],
    }
}

/// Makes the faults, waits, and takes them away; what is wrong with what was said.
fn run(bench: &Bench<'_>, faults: &[&Row]) -> Result<(), String> {
    let what: Vec<&str> = faults.iter().map(|row| row.what).collect();
    let what = what.join(" + ");
    let before = bench.daemon.metrics();
    faults.iter().for_each(|row| (row.make)(bench));
    let begun = now();
    std::thread::sleep(faults.iter().map(|row| row.lasts).max().unwrap());
    let ending = now();
    faults.iter().rev().for_each(|row| (row.undo)(bench));
    let ended = now();
    let mut wrong = String::new();
    // It is there, and neither late nor deaf.
    until(&format!("ready after {what}"), 10, || {
        bench.daemon.request("GET", "/-/ready").is_ok_and(|(status, _)| status == 200)
    });
    let after_by = |probe: &str| {
        let heard = bench.heard();
        let mine = heard.into_iter().filter(|it| it.probe == probe && it.due >= ended);
        mine.map(|it| it.word).take(3).collect::<Vec<_>>()
    };
    for probe in PROBES {
        let mut after = Vec::new();
        until(&format!("{probe} goes on after {what}"), 15, || {
            after = after_by(probe);
            after.len() == 3
        });
        // The first finds out that it has to begin anew, at most: the second is within the time as well.
        let first = after[0] == "answered" || after[0].starts_with("unsent ");
        if !first || after[1..].iter().any(|word| word != "answered") {
            writeln!(wrong, "  {probe} after it: {after:?}").unwrap();
        }
    }
    let said = between(&bench.heard(), begun, ending);
    for probe in PROBES {
        let none = BTreeSet::new();
        let said: BTreeSet<&str> = said.get(probe).unwrap_or(&none).iter().map(String::as_str).collect();
        let known = |word: &&str| word.trim_end_matches('?').to_owned();
        let mut may: BTreeSet<String> = faults.iter().flat_map(|row| words(row, probe)).map(known).collect();
        if faults.len() > 1 {
            may.insert("answered".to_owned());
            may.extend(together(faults).map(str::to_owned));
        }
        let foreign: Vec<_> = said.iter().filter(|word| !may.contains(**word)).collect();
        if !foreign.is_empty() {
            writeln!(wrong, "  {probe} said {foreign:?}, besides {may:?}").unwrap();
        }
        let missing: Vec<_> = match faults {
            [row] => words(row, probe)
                .iter()
                .filter(|word| !word.ends_with('?') && !said.contains(**word))
                .collect(),
            _ => Vec::new(),
        };
        if !missing.is_empty() {
            writeln!(wrong, "  {probe} did not say {missing:?}, but {said:?}").unwrap();
        }
    }
    let metrics = bench.daemon.metrics();
    if let [row] = faults {
        for name in row.grows {
            if metrics.get(name, &[]) <= before.get(name, &[]) {
                writeln!(wrong, "  {name} has not grown").unwrap();
            }
        }
    }
    for probe in PROBES {
        let label = format!("probe=\"{probe}\"");
        let changed = || bench.daemon.metrics().get(FLAPS, &[&label]) - before.get(FLAPS, &[&label]);
        let may = changes(faults, probe);
        // That it came back is told after as long again.
        let told = Instant::now() + 2 * Thresholds::BLIP.up;
        while !may.contains(&changed()) && Instant::now() < told {
            std::thread::sleep(INTERVAL);
        }
        if !may.contains(&changed()) {
            writeln!(wrong, "  {probe} changed {} times, not {may:?}", changed()).unwrap();
        }
    }
    for name in ["vpnprobe_outage_duration_seconds_count", "vpnprobe_dpd_timeouts_total"] {
        if metrics.get(name, &[]) > before.get(name, &[]) {
            writeln!(wrong, "  {name} is {}", metrics.get(name, &[])).unwrap();
        }
    }
    eprintln!("{what}: {}", if wrong.is_empty() { "as expected" } else { &wrong });
    if wrong.is_empty() { Ok(()) } else { Err(format!("{what}\n{wrong}")) }
}

/// Each fault alone, in four labs side by side.
#[test]
fn alone() {
    let only = std::env::var("VPNPROBE_FAULT").unwrap_or_default();
    let all = rows();
    let chosen: Vec<&Row> = all.iter().filter(|row| row.what.contains(&only)).collect();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let share = chosen.len().div_ceil(4).max(1);
        let labs = chosen.chunks(share).map(|rows| {
            scope.spawn(move || {
                let lab = field();
                let bench = Bench::new(&lab);
                let wrong: Vec<String> = rows.iter().filter_map(|row| run(&bench, &[row]).err()).collect();
                bench.end();
                wrong
            })
        });
        let labs: Vec<_> = labs.collect();
        labs.into_iter().flat_map(|lab| lab.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {} faults:\n{}", wrong.len(), chosen.len(), wrong.join("\n"));
    if !only.is_empty() {
        return;
    }
    let text = markdown(&all);
    if std::env::var("VPNPROBE_FAULT_TABLE").as_deref() == Ok("write") {
        std::fs::write(TABLE, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(TABLE).unwrap(), text, "VPNPROBE_FAULT_TABLE=write writes it anew");
}

/// Two at a time, whichever chance chooses: four pairs, or fifty in a long run.
#[test]
fn in_pairs() {
    let mut random = std::env::var("VPNPROBE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| now().as_unix_nanos().cast_unsigned());
    println!("VPNPROBE_SEED={random}");
    let all = rows();
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005_u64).wrapping_add(1_442_695_040_888_963_407);
        &all[usize::try_from(random >> 33).unwrap() % all.len()]
    };
    let mut pairs = Vec::new();
    while pairs.len() < if long() { 50 } else { 4 } {
        let (one, other) = (next(), next());
        if one.holds.iter().all(|it| !other.holds.contains(it)) {
            pairs.push([one, other]);
        }
    }
    let lab = field();
    let bench = Bench::new(&lab);
    let wrong: Vec<String> = pairs.iter().filter_map(|pair| run(&bench, pair).err()).collect();
    bench.end();
    assert!(wrong.is_empty(), "{} of {} pairs:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
    println!("{} pairs, all as expected", pairs.len());
}

fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| fault | whose | what vpnprobe says | counted |\n|---|---|---|---|\n");
    for row in rows {
        let mut groups: BTreeMap<&[&str], Vec<&str>> = BTreeMap::new();
        PROBES.iter().for_each(|probe| groups.entry(words(row, probe)).or_default().push(probe));
        let say = |words: &[&str]| {
            let say = |word: &&str| match word.strip_suffix('?') {
                Some(word) => format!("{word} (at times)"),
                None => (*word).to_owned(),
            };
            words.iter().map(say).collect::<Vec<_>>().join(", ")
        };
        let said = if groups.len() == 1 {
            format!("all: {}", say(words(row, "icmp")))
        } else {
            groups
                .iter()
                .map(|(words, who)| format!("{}: {}", who.join(", "), say(words)))
                .collect::<Vec<_>>()
                .join("; ")
        };
        let whose = match row.class {
            Class::Own => "ours",
            Class::Network => "the network's",
            Class::Peer => "the peer's",
        };
        let counted = row.grows.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ");
        writeln!(text, "| {} | {whose} | {said} | {counted} |", row.what).unwrap();
    }
    text.push_str("\n| fault | the test that makes it |\n|---|---|\n");
    for (what, file, test) in ELSEWHERE {
        let path = format!("{}/tests/lab/{file}", env!("CARGO_MANIFEST_DIR"));
        let code = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(code.contains(&format!("fn {test}")), "{file} has no {test}");
        writeln!(text, "| {what} | `{}::{test}` |", file.trim_start_matches("../").trim_end_matches(".rs"))
            .unwrap();
    }
    write!(
        text,
        "\nA probe of each kind every {} ms, timeout {} s. After each fault the first probe that was due was answered, or \
         found its own socket useless and the second was.\n",
        INTERVAL.as_millis(),
        TIMEOUT.as_secs()
    )
    .unwrap();
    text
}
