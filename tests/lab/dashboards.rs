//! Every query of every dashboard and rule gives data from a real Prometheus that scrapes the real daemon,
//! with and without native histograms; and a real Alertmanager tells the root of a fault, and nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::harness::{Daemon, Lab, both, until};
use crate::prometheus::{DASHBOARDS, Server, history};

/// Two targets and the yardstick, each on an address (and a budget) of its own, and what cannot be well: an
/// expired certificate and a name that is not resolved. L2TP is silent by design. One profile of dead peer detection is quick, and the
/// damping of flaps is.
const CONFIG: &str = "\
defaults:
  interval: 500ms
  timeout: 400ms
  flap: {half_life: 1m, suppress: 1500}
  dpd_profiles: [quick, cisco_asa, strongswan, openvpn]
dpd_profiles:
  quick: {mode: periodic, idle: 2s, retry: 1s, tries: 3}
egress: {second: {source: 192.0.2.11}}
pairs: {twin: {a: default, b: second}}
budget: {packets_per_second: 300, packets_burst: 400, openvpn_per_minute: 200, tcp_per_minute: 600, tls_per_minute: 200, l2tp_per_minute: 60, half_open_interval: 35s}
targets:
  hq:
    address: 203.0.113.10
    egress: [default, second]
    ike: {proposals: [aes256-sha256-modp2048]}
    tls: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}
    l2tp: {behind_ipsec: true}
    probes:
      ike: {interval: 200ms}
      ike_natt: {}
      icmp: {interval: 100ms, timeout: 90ms}
      tls: {interval: 1s}
      old: {kind: tls, port: 8443, interval: 1s}
      l2tp: {interval: 1s}
      stun: {}
      trace: {interval: 10s, full_interval: 20s, trace: {over: ike}}
  oneway:
    address: 203.0.113.12
    egress: [default, second]
    probes: {icmp: {}}
  yardstick:
    address: \"2001:db8:3::10\"
    probes: {icmp: {}}
    session:
      psk_file: STATE/psk
      local_id: probe.example.test
      remote_id: vpn.example.test
      liveness_interval: 1s
      retransmit: [300ms, 600ms, 1s]
  branch:
    address: 203.0.113.11
    probes: {icmp: {}, openvpn_tcp: {interval: 500ms}}
  unresolved:
    address: nowhere.example.test
    probes: {ike: {}}
";

/// A query of a dashboard or a rule, ready to be run.
struct Query {
    file: String,
    panel: String,
    id: String,
    expression: String,
}

/// All of them: of dashboards with their variables at what they are when one opens it.
fn queries() -> Vec<Query> {
    let mut all = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir(DASHBOARDS).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert_eq!(files.len(), 5, "{files:?}");
    for path in files {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut variables =
            vec![("__rate_interval".to_owned(), "15s".to_owned()), ("__range".to_owned(), "2m".to_owned())];
        for variable in board["templating"]["list"].as_array().unwrap() {
            let value = match (variable["type"].as_str().unwrap(), variable["includeAll"].as_bool()) {
                ("datasource", _) => continue,
                ("custom", _) => variable["current"]["value"].as_str().unwrap(),
                (_, Some(true)) => variable["allValue"].as_str().unwrap(),
                _ => "hq",
            };
            variables.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
        }
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let mut expression = target["expr"].as_str().unwrap().to_owned();
                for (name, value) in &variables {
                    expression = expression.replace(&format!("${name}"), value);
                }
                assert!(!expression.contains('$'), "a variable that nobody sets: {expression}");
                all.push(Query {
                    file: board["uid"].as_str().unwrap().to_owned(),
                    panel: panel["title"].as_str().unwrap().to_owned(),
                    id: target["refId"].as_str().unwrap().to_owned(),
                    expression,
                });
            }
        }
    }
    all
}

/// The rules as Prometheus has them; each is well.
fn rules(prometheus: &Server<'_>) -> Vec<Query> {
    let mut all = Vec::new();
    for group in prometheus.get("/api/v1/rules")["data"]["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["name"].as_str().unwrap().to_owned();
            assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
            let expression = rule["query"].as_str().unwrap().to_owned();
            all.push(Query { file: "rules".into(), panel: name, id: String::new(), expression });
        }
    }
    assert!(all.len() >= 16, "{} rules", all.len());
    all
}

/// Whether a series has a value that is a number, or a histogram.
fn has_data(series: &Value) -> bool {
    let number =
        |pair: &Value| pair[1].as_str().is_some_and(|value| value.parse::<f64>().is_ok_and(f64::is_finite));
    series["values"].as_array().is_some_and(|values| values.iter().any(number))
        || series["histograms"].is_array()
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn sleep(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// The example configuration, faster, and with rules that the test may have changed.
fn prometheus_config(rules: &str, alertmanager: bool) -> String {
    let example = std::fs::read_to_string(format!("{DASHBOARDS}/prometheus.yml")).unwrap();
    let config = example
        .replace("_interval: 15s", "_interval: 1s")
        .replace("rules/*.yml", rules)
        // One prober that cannot be scraped.
        .replace("['127.0.0.1:10069']", "['127.0.0.1:10069', '127.0.0.1:1']");
    assert!(config.contains(rules) && config.contains("127.0.0.1:1'") && config.matches(": 1s").count() == 2);
    if alertmanager { config } else { config.split("\nalerting:").next().unwrap().to_owned() }
}

fn psk(lab: &Lab) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(lab.path("psk")).unwrap();
    file.write_all(b"lab-psk\n").unwrap();
}

fn up(daemon: &Daemon<'_>, target: &str, state: &str) -> bool {
    let labels = [format!("target=\"{target}\""), format!("state=\"{state}\"")];
    daemon.metrics().get("vpnprobe_target_state", &[&labels[0], &labels[1]]) == 1.0
}

#[test]
fn every_query_gives_data_with_and_without_native_histograms() {
    let lab = Lab::with(&["strongswan", "openvpn tcp plain", "nginx", "coturn"]);
    lab.script("resolver 203.0.113.10"); // where nobody serves DNS
    for words in [
        "table inet silent",
        "chain inet silent input { type filter hook input priority 0 ; }",
        "rule inet silent input udp dport 1701 drop",
        // One of two ways does not lead to one of the targets.
        "rule inet silent input ip daddr 203.0.113.12 ip saddr 192.0.2.11 drop",
    ] {
        lab.script(&format!("exec conc nft add {words}"));
    }
    lab.script("exec client ip addr add 192.0.2.11/24 dev eth0");
    for words in [
        "table ip stun",
        "chain ip stun out { type nat hook postrouting priority srcnat ; }",
        "rule ip stun out oifname wan udp dport 3478 snat to 198.51.100.1:40000-40999",
    ] {
        lab.script(&format!("exec r1 nft add {words}"));
    }
    psk(&lab);
    let mut daemon = lab.serve(CONFIG);
    daemon.ready();
    until("all are probed", 20, || up(&daemon, "hq", "up") && up(&daemon, "branch", "up"));
    let first = daemon.metrics();
    sleep(18); // until the first windows of 15 s are over
    history(&lab, &["classic", "native"], &first.0, &daemon.metrics().0, 18.0, now());
    let start = now();
    let config = prometheus_config(&format!("{DASHBOARDS}/rules/*.yml"), false);
    let classic = Server::prometheus(&lab, "classic", 9090, &config, false);
    let native = Server::prometheus(&lab, "native", 9091, &config, true);
    sleep(8);

    // Answers are slow, then late.
    for stop in [200, 300, 200, 300, 300, 900] {
        lab.script("freeze strongswan");
        std::thread::sleep(Duration::from_millis(stop));
        lab.script("thaw strongswan");
        std::thread::sleep(Duration::from_millis(100));
    }
    // A stall of our own is no loss.
    kill_process(daemon.pid(), Signal::STOP).unwrap();
    sleep(2);
    kill_process(daemon.pid(), Signal::CONT).unwrap();
    // A firewall says no.
    lab.script("fault port udp dport 500");
    sleep(1);
    lab.script("clear");
    lab.config("serve.yml", "targets: {}\nnonsense: 1\n");
    daemon.request("POST", "/-/reload").unwrap();
    until("the session is up", 60, || daemon.metrics().sum("vpnprobe_session_up", &[]) == Some(1.0));
    sleep(6);
    // The first router answers from another address: another one has taken its place.
    // A trace that waits for a silent hop takes longer than a request may.
    let trace =
        || daemon.request("GET", "/probe?target=hq&module=trace").is_ok_and(|(status, _)| status == 200);
    let mut traced = 0;
    until("the path is well known", 120, || {
        traced += u32::from(trace());
        traced >= 30
    });
    lab.script("exec r1 ip addr add 192.0.2.77/24 dev lan");
    lab.script("exec r1 ip route replace 192.0.2.0/24 dev lan scope link src 192.0.2.77");
    let changes = || daemon.metrics().sum("vpnprobe_path_changes_total", &["target=\"hq\""]);
    until("the path has changed", 30, || trace() && changes().is_some_and(|changes| changes > 0.0));
    // So is a NAT that forgets, and gives other ports from now on.
    lab.script("exec r1 nft flush chain ip stun out");
    lab.script(
        "exec r1 nft add rule ip stun out oifname wan udp dport 3478 snat to 198.51.100.1:50000-50999",
    );
    lab.script("exec r1 conntrack -F");
    let mapped = || daemon.metrics().sum("vpnprobe_nat_mapping_changes_total", &["target=\"hq\""]);
    until("the NAT has forgotten", 10, || mapped().is_some_and(|changes| changes > 0.0));
    until("the MTU is known", 60, || daemon.metrics().sum("vpnprobe_path_mtu_bytes", &[]).is_some());
    sleep(3);
    // And then the line goes.
    lab.script("fault drop");
    until("everything is down", 40, || up(&daemon, "hq", "down") && up(&daemon, "branch", "down"));
    sleep(4);
    lab.script("clear");
    until("everything is up again", 40, || up(&daemon, "branch", "up"));
    sleep(5);

    let mut failures = Vec::new();
    for (name, server) in [("classic", &classic), ("native", &native)] {
        let end = now();
        let all: Vec<Query> = queries().into_iter().chain(rules(server)).collect();
        for Query { file, panel, id, expression } in &all {
            let wrong = match server.query_range(expression, start, end) {
                Ok(series) if series.iter().any(has_data) => continue,
                Ok(_) => "no data".to_owned(),
                Err(error) => error,
            };
            failures.push(format!("{name}: {file}: {panel} {id}: {wrong}\n  {expression}"));
        }
        // The fast probe is judged, and the slow one is not: 9 stands for "not measurable at this probe rate".
        for panel in ["Loss headroom, any 15 s", "Jitter headroom"] {
            let query = all.iter().find(|query| query.panel == panel).unwrap();
            let series = server.query_range(&query.expression, end, end).unwrap();
            let value = |probe: &str| -> f64 {
                let of = |it: &&Value| it["metric"]["target"] == "hq" && it["metric"]["probe"] == probe;
                series.iter().find(of).unwrap()["values"][0][1].as_str().unwrap().parse().unwrap()
            };
            assert!(value("icmp") <= 1.0 && value("tls") == 9.0, "{name}: {panel}: {series:?}");
        }
        let kept = |query: &str| !server.query_range(query, start, end).unwrap().is_empty();
        assert_eq!(kept("vpnprobe_probe_rtt_seconds_bucket"), name == "classic");
        assert_eq!(kept("vpnprobe_probe_rtt_seconds"), name == "native");
        println!("{name}: {} queries", all.len());
    }
    assert!(failures.is_empty(), "{} queries:\n{}", failures.len(), failures.join("\n"));
    draw(&lab, now() - start);
}

/// With `VPNPROBE_PICTURES=FOLDER`: the pictures of the README, by `tests/grafana/draw.mjs`.
fn draw(lab: &Lab, seconds: f64) {
    let Some(folder) = std::env::var_os("VPNPROBE_PICTURES") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grafana/draw.mjs");
    let mut command: Command = lab.command("client", "node");
    command.arg(script).args(["http://127.0.0.1:9090", DASHBOARDS]).arg(folder).arg(format!("{seconds:.0}"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
}

/// The alerts of each message that a webhook got: `"firing VpnprobeDown hq"`.
type Told = Arc<Mutex<Vec<Vec<String>>>>;

/// Takes messages from Alertmanager until the program ends.
fn webhook(lab: &Lab, port: u16) -> Told {
    let listener = lab.within("client", || TcpListener::bind(("127.0.0.1", port)).unwrap());
    let told = Told::default();
    let tell = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap();
            let alerts = message["alerts"].as_array().unwrap().iter().map(|alert| {
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (status, labels) = (word(&alert["status"]), &alert["labels"]);
                format!("{status} {} {}", word(&labels["alertname"]), word(&labels["target"]))
                    .trim_end()
                    .to_owned()
            });
            tell.lock().unwrap().push(alerts.collect());
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    told
}

/// The names of alerts with the target of those that fire and are held back.
fn inhibited(alertmanager: &Server<'_>) -> Vec<String> {
    let alerts = alertmanager.get("/api/v2/alerts?inhibited=true&active=false&silenced=false");
    let mut all: Vec<String> = alerts
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| {
            let word = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", word("alertname"), word("target")).trim_end().to_owned()
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Time runs ten times as fast for the rules and Alertmanager, so that a fault of minutes fits into a test;
/// which alert speaks before which is the same.
#[test]
fn one_fault_is_one_message() {
    let lab = Lab::with(&["strongswan", "openvpn tcp plain"]);
    let rules = std::fs::read_to_string(format!("{DASHBOARDS}/rules/alerts.yml")).unwrap();
    let faster = [
        ("for: 30s", "for: 3s"),
        ("for: 1m", "for: 6s"),
        ("for: 3m", "for: 18s"),
        ("for: 5m", "for: 30s"),
        ("for: 10m", "for: 1m"),
    ];
    let rules = faster.iter().fold(rules, |rules, (slow, fast)| rules.replace(slow, fast));
    lab.config("alerts.rules", &rules);
    std::fs::copy(format!("{DASHBOARDS}/rules/recording.yml"), lab.path("recording.rules")).unwrap();
    let example = std::fs::read_to_string(format!("{DASHBOARDS}/alertmanager.yml")).unwrap();
    let config = example
        .replace("group_wait: 30s", "group_wait: 3s")
        .replace("group_interval: 5m", "group_interval: 3s");
    assert_ne!(config, example);
    let told = webhook(&lab, 9099);
    let mut daemon = lab.serve(
        "defaults: {interval: 500ms, timeout: 400ms}\n\
         budget: {packets_per_second: 200, packets_burst: 400, openvpn_per_minute: 200, tcp_per_minute: 600}\n\
         targets:\n  hq:\n    address: 203.0.113.10\n    probes: {icmp: {}, ike: {}, ike_natt: {}}\n  \
         branch:\n    address: 203.0.113.11\n    probes: {icmp: {}, openvpn_tcp: {interval: 500ms}}\n",
    );
    daemon.ready();
    until("both are up", 20, || up(&daemon, "hq", "up") && up(&daemon, "branch", "up"));
    let alertmanager = Server::alertmanager(&lab, 9093, &config);
    let config = prometheus_config("STATE/*.rules", true).replace(", '127.0.0.1:1'", "");
    let _prometheus = Server::prometheus(&lab, "prometheus", 9090, &config, false);
    sleep(5);

    lab.script("fault drop ip daddr 203.0.113.10");
    let held = ["VpnprobeDpdFailing hq", "VpnprobeHighLoss hq", "VpnprobeProbeFailing hq"];
    until("what follows from a box that is down is held back", 80, || inhibited(&alertmanager) == held);
    sleep(5);
    let messages = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(messages, [["firing VpnprobeConcentratorDown hq"]], "one box down is one message");

    lab.script("clear");
    lab.script("fault drop");
    until("the line goes, and all is held back", 60, || {
        inhibited(&alertmanager).contains(&"VpnprobeConcentratorDown branch".to_owned())
    });
    sleep(5);
    let messages: Vec<String> = told.lock().unwrap().concat();
    assert!(messages.contains(&"firing VpnprobeOwnNetworkDown".to_owned()), "{messages:?}");
    assert!(!messages.iter().any(|alert| alert.contains("branch")), "{messages:?}");
}
