//! What is foretold of a session against what a real one does: strongSwan's DPD and OpenVPN's keepalive,
//! with the link cut for lengths around the edge, and vpnprobe probing each second beside them.
//!
//! Random loss is shown, and not judged: a probe is a round trip and a ping goes one way, so at 90 % loss
//! a dozen lost probes in a row look like a cut, and yet a ping may come through.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, Lab, until};

/// Both sessions' timers, shortened. strongSwan: asks after 4 s, again after 1.0, 1.4 and 1.96 s, dead
/// 2.74 s later. OpenVPN: a ping each 3 s, dead after 11 s without.
const CONFIG: &str = "\
dpd_profiles:
  strongswan_lab: {idle: 4s, retry: 1s, tries: 4, backoff: 1.4}
  openvpn_lab: {mode: keepalive, idle: 3s, timeout: 11s}
targets:
  hq:
    address: 203.0.113.10
    dpd: {from: ike, profiles: [strongswan_lab, openvpn_lab]}
    probes: {ike: {interval: 1s, timeout: 1s}}
";
const PROFILES: [&str; 2] = ["strongswan_lab", "openvpn_lab"];
/// The shortest silence that can end each session, and the one that surely does, in seconds.
const EDGES: [(f64, f64); 2] = [(4.36, 8.36), (6.0, 9.0)];
/// Two retransmissions.
const STEPS: [f64; 2] = [1.4 + 1.96, 3.0 + 3.0];
/// From the last packet that can be lost to the teardown, and then some for the probes to be told lost.
const SETTLE: Duration = Duration::from_millis(6500);

/// What is done to the link, in seconds cut and open by turns.
struct Cut {
    name: String,
    plan: Vec<f64>,
    /// While it is cut: the share of packets dropped, in percent.
    percent: u32,
}

/// What was foretold of one session and what it did.
#[expect(clippy::struct_excessive_bools, reason = "a row of a table")]
struct Row {
    cut: String,
    seconds: f64,
    partial: bool,
    random: bool,
    profile: usize,
    sure: bool,
    expected: f64,
    torn_down: bool,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match () {
            () if self.sure => "sure",
            () if self.expected == 0.0 => "no",
            () => "maybe",
        }
    }

    fn near_the_edge(&self) -> bool {
        let (first, last) = EDGES[self.profile];
        let step = STEPS[self.profile];
        !self.partial && !self.random && self.seconds > first - step && self.seconds < last + step
    }
}

/// The cuts: single blackouts in even steps, then holes in a blackout, then random loss.
fn cuts() -> Vec<Cut> {
    let blackout = |tenths: u32| Cut {
        name: format!("{:.1}", f64::from(tenths) / 10.0),
        plan: vec![f64::from(tenths) / 10.0],
        percent: 100,
    };
    let holes = |plan: &[f64]| {
        let name = plan.iter().map(|seconds| format!("{seconds}")).collect::<Vec<_>>().join("/");
        Cut { name, plan: plan.to_vec(), percent: 100 }
    };
    let mut cuts: Vec<Cut> = (0..36).map(|n| blackout(20 + n * 3)).collect();
    for plan in [
        &[3.0, 2.5, 3.0][..],
        &[3.0, 1.5, 3.0, 1.5, 3.0],
        &[6.0, 2.5, 6.0],
        &[5.0, 1.0, 5.0],
        &[7.0, 1.0, 3.0],
        &[2.0, 1.0, 8.0],
        &[4.0, 2.0, 9.0],
        &[5.0, 2.5, 11.0],
        &[12.0, 2.0, 2.0],
        &[2.0, 3.0, 13.0],
    ] {
        cuts.push(holes(plan));
    }
    for percent in [30, 60, 80, 90] {
        cuts.push(Cut { name: format!("12 at {percent} %"), plan: vec![12.0], percent });
    }
    // Not in the order of their length: a slow drift of the machine must not look like an edge.
    let many = cuts.len();
    let mut order: Vec<usize> = (0..many).map(|n| n * 17 % many).collect();
    order.dedup();
    let mut cuts: Vec<Option<Cut>> = cuts.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| cuts[at].take()).collect()
}

/// So many labs at once: they mostly wait.
const LABS: usize = 4;

#[test]
fn foretold_and_seen() {
    let cuts = cuts();
    let rows: Vec<Row> = std::thread::scope(|scope| {
        let run = |first: usize| {
            let cuts: Vec<&Cut> = cuts.iter().skip(first).step_by(LABS).collect();
            scope.spawn(move || run(first, &cuts))
        };
        let threads: Vec<_> = (0..LABS).map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let table = table(&rows);
    println!("{table}");
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/dpd.txt"), &table).unwrap();
    judge(&rows, &table);
}

/// Makes these cuts one after the other.
fn run(first: usize, cuts: &[&Cut]) -> Vec<Row> {
    let lab = Lab::with(&["strongswan"]);
    // The kernel's own IPv6 packets through the tunnel would be signs of life beside the pings.
    for role in ["conc", "client"] {
        lab.script(&format!("exec {role} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"));
    }
    lab.script("start openvpn udp plain 3 11");
    lab.script("start swan_client 4 1.0 1.4 3");
    lab.script("start openvpn_client");
    lab.script("exec r1 nft add table inet fault");
    lab.script("exec r1 nft add chain inet fault forward { type filter hook forward priority 0 ; }");
    let mut daemon = lab.serve(CONFIG);
    daemon.ready();
    let mut rows = Vec::new();
    for (n, cut) in cuts.iter().enumerate() {
        up(&lab);
        // All phases of both sessions, against each other and against the probes.
        let phase = ((n * LABS + first) as u64 * 1373) % 4000;
        std::thread::sleep(Duration::from_millis(5000 + phase));
        let (counted, seen) = (counters(&daemon), teardowns(&lab));
        let begun = Instant::now();
        for (turn, seconds) in cut.plan.iter().enumerate() {
            if turn % 2 == 0 {
                if cut.percent == 100 {
                    lab.script("exec r1 nft add rule inet fault forward drop");
                } else {
                    let percent = cut.percent;
                    lab.script(&format!(
                        "exec r1 nft add rule inet fault forward numgen random mod 100 < {percent} drop"
                    ));
                }
            } else {
                lab.script("exec r1 nft flush chain inet fault forward");
            }
            std::thread::sleep(Duration::from_secs_f64(*seconds));
        }
        lab.script("exec r1 nft flush chain inet fault forward");
        let seconds = begun.elapsed().as_secs_f64();
        std::thread::sleep(SETTLE);
        let (counted_now, seen_now) = (counters(&daemon), teardowns(&lab));
        for profile in 0..PROFILES.len() {
            rows.push(Row {
                cut: cut.name.clone(),
                seconds,
                partial: cut.plan.len() > 1,
                random: cut.percent < 100,
                profile,
                sure: counted_now[profile].0 > counted[profile].0,
                expected: (counted_now[profile].1 - counted[profile].1).clamp(0.0, 1.0),
                torn_down: seen_now[profile] > seen[profile],
            });
        }
        eprintln!("{}", lines(&rows[rows.len() - 2..]));
    }
    daemon.stop();
    rows
}

/// Both sessions are up, as their own side sees it.
fn up(lab: &Lab) {
    if !lab.script("swan --list-sas").contains("ESTABLISHED") {
        until("the IKE SA is up", 30, || {
            lab.try_script("swan --initiate --ike lab --timeout 3");
            lab.script("swan --list-sas").contains("ESTABLISHED")
        });
    }
    until("OpenVPN is up again", 40, || {
        let log = lab.read("openvpn_client.log");
        let last = |word: &str| log.rfind(word);
        last("Initialization Sequence Completed") > last("process restarting")
    });
}

/// How often each session has been torn down so far, by its own log.
fn teardowns(lab: &Lab) -> [usize; 2] {
    [
        lab.read("swan_client.log").matches("giving up after 3 retransmits").count(),
        lab.read("openvpn_client.log").matches("Inactivity timeout (--ping-restart), restarting").count(),
    ]
}

/// What vpnprobe counted: sure teardowns and expected ones.
fn counters(daemon: &Daemon<'_>) -> [(f64, f64); 2] {
    let metrics = daemon.metrics();
    PROFILES.map(|profile| {
        let label = format!("profile=\"{profile}\"");
        assert_eq!(metrics.get("vpnprobe_dpd_judged", &[&label]), 1.0);
        (
            metrics.get("vpnprobe_dpd_timeouts_total", &[&label]),
            metrics.get("vpnprobe_dpd_expected_timeouts_total", &[&label]),
        )
    })
}

fn lines(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        writeln!(
            text,
            "{:<16} {:>6.2} {:<15} {:<6} {:>6.3} {}",
            row.cut,
            row.seconds,
            PROFILES[row.profile],
            row.verdict(),
            row.expected,
            if row.torn_down { "torn down" } else { "-" }
        )
        .unwrap();
    }
    text.trim_end().to_owned()
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("cut              took s profile         said   expect seen\n");
    for (profile, name) in PROFILES.iter().enumerate() {
        let mut of: Vec<Row> = rows
            .iter()
            .filter(|row| row.profile == profile)
            .map(|row| Row { cut: row.cut.clone(), ..*row })
            .collect();
        of.sort_by(|a, b| {
            (a.random, a.partial, a.seconds).partial_cmp(&(b.random, b.partial, b.seconds)).unwrap()
        });
        writeln!(text, "{}", lines(&of)).unwrap();
        of.retain(|row| !row.random);
        for verdict in ["sure", "maybe", "no"] {
            let of: Vec<&Row> = of.iter().filter(|row| row.verdict() == verdict).collect();
            let torn = of.iter().filter(|row| row.torn_down).count();
            let (low, high) = interval(&of, 0.05);
            writeln!(
                text,
                "{name} {verdict}: {torn} of {} torn down, {low} to {high} in 95 of 100 runs",
                of.len()
            )
            .unwrap();
        }
        let near = of.iter().filter(|row| row.near_the_edge()).count();
        let partial = of.iter().filter(|row| row.partial).count();
        let torn = of.iter().filter(|row| row.torn_down).count();
        writeln!(
            text,
            "{name}: {} cuts, {near} near the edge, {partial} with partial loss, {torn} torn down, {} not",
            of.len(),
            of.len() - torn
        )
        .unwrap();
    }
    text
}

/// How many are torn down if each is with its own probability: all but `outside` of the distribution.
fn interval(rows: &[&Row], outside: f64) -> (usize, usize) {
    let mut chance = vec![1.0];
    for row in rows {
        let p = if row.sure { 1.0 } else { row.expected };
        let mut next = vec![0.0; chance.len() + 1];
        for (n, c) in chance.iter().enumerate() {
            next[n] += c * (1.0 - p);
            next[n + 1] += c * p;
        }
        chance = next;
    }
    let upto = |limit: f64| {
        let mut sum = 0.0;
        chance
            .iter()
            .take_while(|c| {
                sum += **c;
                sum < limit
            })
            .count()
    };
    (upto(outside / 2.0), upto(1.0 - outside / 2.0).min(rows.len()))
}

fn judge(rows: &[Row], table: &str) {
    for (profile, name) in PROFILES.iter().enumerate() {
        let of: Vec<&Row> = rows.iter().filter(|row| row.profile == profile && !row.random).collect();
        let maybe: Vec<&Row> = of.iter().filter(|row| row.verdict() == "maybe").copied().collect();
        assert!(of.iter().all(|row| !row.sure || row.torn_down), "{name}: a sure one lives\n{table}");
        assert!(
            of.iter().all(|row| row.expected > 0.0 || !row.torn_down),
            "{name}: an impossible one is torn down\n{table}"
        );
        // So wide that chance breaks it once in a thousand runs.
        let (low, high) = interval(&maybe, 0.001);
        let torn = maybe.iter().filter(|row| row.torn_down).count();
        assert!((low..=high).contains(&torn), "{name}: {torn} torn down, not {low} to {high}\n{table}");
        let torn = of.iter().filter(|row| row.torn_down).count();
        assert!(of.len() >= 40 && torn >= 10 && of.len() - torn >= 10, "{table}");
        assert!(of.iter().filter(|row| row.near_the_edge()).count() >= 30, "{table}");
        assert!(of.iter().filter(|row| row.partial).count() >= 10, "{table}");
    }
}
