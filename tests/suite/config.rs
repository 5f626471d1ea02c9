//! One bad file per mistake, with its exact message; the file we ship; layers; what is shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vpnprobe::cli::config as command;
use vpnprobe::config::{Config, Loaded, Place};

fn load(path: &Path) -> Result<Loaded, String> {
    Config::load(path, []).map_err(|problems| problems.to_string())
}

/// Loads a text as the only file.
fn text(text: &str) -> Result<Loaded, String> {
    with_env(text, &[])
}

fn with_env(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vpnprobe.yml");
    std::fs::write(&path, text).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(&path, variables)
        .map_err(|problems| problems.to_string().replace(directory.path().to_str().unwrap(), ""))
}

fn corpus() -> Vec<PathBuf> {
    let listing = std::fs::read_dir("tests/config").unwrap();
    let mut files: Vec<PathBuf> = listing
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_bad_file_is_refused_with_its_exact_message() {
    let files = corpus();
    assert!(files.len() >= 25, "only {} bad files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let message = match load(file) {
            Ok(_) => "loads without a problem".to_owned(),
            Err(problems) => problems,
        };
        let expected = std::fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        if message != expected.trim_end() {
            wrong.push(format!("{}\nexpected:\n{expected}\nfound:\n{message}\n", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_file_we_ship_says_exactly_the_defaults() {
    let shipped = load(Path::new("config/vpnprobe.yml")).unwrap();
    let built_in = text("").unwrap();
    assert_eq!(shipped.config, built_in.config);
    assert_eq!(shipped.to_yaml(), built_in.to_yaml());
    let config = shipped.config;
    assert_eq!(config.web.listen, ["127.0.0.1:10069".parse().unwrap()]);
    assert_eq!(config.web.probe_timeout, Duration::from_secs(10));
    assert_eq!(config.buckets.first(), Some(&0.001));
    assert_eq!(config.budget.half_open_interval, Duration::from_secs(60));
    assert_eq!(config.egress.keys().collect::<Vec<_>>(), ["default"]);
}

/// Every key of the schema stands in the file we ship, if only in a comment.
#[test]
fn the_file_we_ship_documents_every_key() {
    let shipped = std::fs::read_to_string("config/vpnprobe.yml").unwrap();
    let schema: serde_json::Value = serde_json::from_str(&command::schema()).unwrap();
    let tables = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    let keys = tables.filter_map(|table| table["properties"].as_object()).flat_map(|keys| keys.keys());
    for key in keys {
        let there = shipped.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with(':'))
        });
        assert!(there || key == "kind", "{key} is not documented");
    }
}

/// The file we ship with the `#` taken away: `depth` times from the targets, once from the rest.
fn uncommented(depth: usize) -> String {
    let shipped = std::fs::read_to_string("config/vpnprobe.yml").unwrap();
    let mut lines = Vec::new();
    for line in shipped.lines() {
        if matches!(line, "targets: {}" | "egress: {}" | "sets: {}" | "pairs: {}" | "dpd_profiles: {}") {
            continue;
        }
        let mut line = line.to_owned();
        for _ in 0..depth {
            let bare = line.trim_start();
            let indent = line.len() - bare.len();
            // A comment for people has one space after its `#`; a key has none, or its indentation.
            if let Some(rest) =
                bare.strip_prefix('#').filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "))
            {
                line = format!("{}{rest}", &line[..indent]);
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[test]
fn the_example_in_the_file_we_ship_loads() {
    let loaded = text(&uncommented(1)).unwrap();
    let [target, signin @ ..] = &loaded.config.targets[..] else { panic!("{:?}", loaded.config.targets) };
    let signin: Vec<_> = signin.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(signin, ["login.microsoft.com", "login.microsoftonline.com", "login.windows.net"]);
    let names: Vec<_> = target.probes.iter().map(|probe| probe.name.as_str()).collect();
    assert_eq!(names, ["icmp", "ike", "ike_natt", "openvpn_udp", "portal", "tls", "trace"]);
    assert!(loaded.config.egress.contains_key("wan"));
    assert!(loaded.config.state_dir.is_some());
}

#[test]
fn every_block_in_the_file_we_ship_loads() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
    for (name, text) in [
        ("ta.key", STATIC_KEY),
        ("tc.key", STATIC_KEY),
        ("hq.psk", "not-a-secret\n"),
        ("ca.pem", &certificate),
        ("openvpn-ca.pem", &certificate),
        ("wireguard.key", WIREGUARD_KEY),
        ("wireguard.psk", WIREGUARD_KEY),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let path = directory.path().join("vpnprobe.yml");
    let whole = uncommented(2);
    // One of the three keys at a time; a client key for tls-crypt-v2 needs a server that made it.
    let both: &[&[&str]] = &[
        &["tls_auth_file", "key_direction", "auth:", "tls_crypt_v2_file"],
        &["tls_crypt_file", "tls_crypt_v2_file"],
    ];
    for without in both {
        let there = |line: &&str| !without.iter().any(|key| line.trim_start().starts_with(key));
        let text: Vec<&str> = whole.lines().filter(there).collect();
        std::fs::write(&path, text.join("\n")).unwrap();
        let loaded = load(&path).unwrap();
        let target = &loaded.config.targets[0];
        let ike = target.probes.iter().find(|probe| probe.name == "ike").unwrap();
        assert_eq!(ike.settings.ike.proposals.len(), 1);
        let openvpn = target.probes.iter().find(|probe| probe.name == "openvpn_udp").unwrap();
        assert_ne!(openvpn.settings.openvpn, vpnprobe::probe::openvpn::Settings::default());
        let unread = loaded.warnings.iter().filter(|warning| warning.rule.contains("reads this")).count();
        assert_eq!(unread, 6, "dns, http, ikev1, l2tp, rdp and wireguard are there for show");
        let again = text_in(directory.path(), &loaded.to_yaml());
        assert_eq!(again.config, loaded.config);
    }
}

fn text_in(directory: &Path, text: &str) -> Loaded {
    let path = directory.join("again.yml");
    std::fs::write(&path, text).unwrap();
    load(&path).unwrap()
}

#[test]
fn layers_win_over_each_other_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vpnprobe.yml");
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    std::fs::write(
        &path,
        "defaults: {timeout: 1s, full_interval: 2h}\ntargets: {vpn.example: {address: a.example}}",
    )
    .unwrap();
    std::fs::write(
        directory.path().join("conf.d/10.yml"),
        "defaults: {timeout: 3s}\ntargets: {vpn.example: {family: ipv4}}",
    )
    .unwrap();
    std::fs::write(
        directory.path().join("conf.d/20.yml"),
        "targets: {HQ: {address: b.example, vpn: [ssl-vpn]}}",
    )
    .unwrap();
    std::fs::write(directory.path().join("conf.d/.hidden.yml"), "nonsense").unwrap();
    let variables = [
        ("VPNPROBE__DEFAULTS__FULL_INTERVAL", "3h"),
        ("VPNPROBE__TARGETS__HQ__EGRESS", "[default]"),
        ("VPNPROBE__TARGETS__HQ__MAX_MEMBERS", "2"),
        ("VPNPROBE__WEB__LISTEN_ADDRESS", "[::1]:10069"),
        ("VPNPROBE_LOG", "debug"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(&path, variables).unwrap_or_else(|problems| panic!("{problems}")).config;
    let names: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["HQ", "vpn.example"]);
    assert_eq!(config.targets[0].max_members, 2);
    assert_eq!(config.targets[1].family.as_str(), "ipv4");
    let probe = &config.targets[1].probes[0];
    assert_eq!(probe.timeout, Duration::from_secs(3));
    assert_eq!(probe.full_interval, Duration::from_secs(3 * 3600));
    assert_eq!(config.web.listen, ["[::1]:10069".parse().unwrap()]);
}

#[test]
fn a_problem_of_the_environment_names_the_variable() {
    let problems = with_env(
        "targets: {hq: {address: a.example}}",
        &[
            ("VPNPROBE__DEFAULTS__TIMEOUT", "5"),
            ("VPNPROBE__TARGETS__HQ__COLOUR", "red"),
            ("VPNPROBE__BUDGET", "1"),
        ],
    )
    .unwrap_err();
    assert!(problems.contains("environment variable VPNPROBE__DEFAULTS__TIMEOUT: defaults.timeout: value \"5\": must be a duration; write the unit, for example 5s\n"), "{problems}");
    assert!(problems.contains("environment variable VPNPROBE__TARGETS__HQ__COLOUR: targets.hq.colour: unknown key; expected one of: "), "{problems}");
    assert!(problems.ends_with("3 problems"), "{problems}");
}

#[test]
fn each_file_that_is_not_yaml_is_told_beside_the_mistakes_of_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vpnprobe.yml");
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    std::fs::write(&path, "targets: {hq: {address: [}}").unwrap();
    std::fs::write(directory.path().join("conf.d/a.yml"), "budgets: {}").unwrap();
    let problems = load(&path).unwrap_err();
    assert!(
        problems.contains("vpnprobe.yml:1:") && problems.contains("conf.d/a.yml:1:1: budgets: unknown key"),
        "{problems}"
    );
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let problems = load(Path::new("tests/config/no-such.yml")).unwrap_err();
    assert_eq!(
        problems,
        "tests/config/no-such.yml: cannot be read: No such file or directory (os error 2); name the file with --config.file\n1 problem"
    );
}

/// Not in the corpus, for a repository is UTF-8.
#[test]
fn a_file_in_another_encoding_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vpnprobe.yml");
    std::fs::write(&path, b"targets:\n  hq: {address: vpn.example.com}\n# caf\xe9\n").unwrap();
    let problems = load(&path).unwrap_err();
    assert!(
        problems.ends_with("vpnprobe.yml:3:6: is not UTF-8; save the file in UTF-8\n1 problem"),
        "{problems}"
    );
}

#[test]
fn what_is_shown_loads_again_as_the_same() {
    let shown = text(&uncommented(1)).unwrap();
    let again = text(&shown.to_yaml()).unwrap_or_else(|problems| panic!("{problems}\n{}", shown.to_yaml()));
    assert_eq!(again.config, shown.config);
    assert_eq!(again.to_yaml(), shown.to_yaml());
}

#[test]
fn probes_that_share_a_budget_are_warned_of() {
    let file = "targets: {hq: {address: a.example, vpn: [openvpn], egress: [default, wan]}}\negress: {wan: {interface: eth0}}";
    let warnings = text(file).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    let warning = warnings[0].to_string();
    assert!(warning.ends_with(
        ":1:11: targets.hq: its probes ask for 26.1 exchanges a minute, budget.openvpn_per_minute grants 15.0; the rest is held back; lengthen an interval, use fewer ways out, or raise the budget"
    ), "{warning}");
}

#[test]
fn vpns_stand_for_their_probes() {
    let config = text("targets: {hq: {address: a.example, vpn: [l2tp-ipsec]}, lab: {address: 192.0.2.1}, dns: {address: 192.0.2.53, probes: {dns: }}}").unwrap().config;
    let names = |index: usize| {
        config.targets[index].probes.iter().map(|probe| probe.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names(0), ["dns"]);
    assert_eq!(names(1), ["icmp", "ikev1", "ikev1_natt", "l2tp", "trace"]);
    assert_eq!(names(2), ["icmp", "trace"]);
    assert_eq!(config.targets[1].probes[0].host.as_deref(), Some("a.example"));
    assert_eq!(config.targets[2].probes[0].host, None);
}

#[test]
fn the_fastest_vpn_probe_over_udp_feeds_the_profiles() {
    let loaded = text(
        "targets:\n  a: {address: a.example, vpn: [ipsec], probes: {ike_natt: {interval: 1s}, icmp: {interval: 100ms}}}\n  \
         b: {address: b.example, vpn: [ssl-vpn]}\n  \
         c: {address: c.example, vpn: [ssl-vpn], dpd: {from: icmp, profiles: [mine, cisco_asa]}}\n\
         dpd_profiles: {mine: {mode: keepalive, idle: 10s, timeout: 45s}}",
    )
    .unwrap();
    let [a, b, c] = [0, 1, 2].map(|n| loaded.config.targets[n].dpd.as_ref());
    assert_eq!(a.unwrap().from, "ike_natt");
    assert_eq!(a.unwrap().profiles.len(), vpnprobe::detect::dpd::USUAL.len());
    assert_eq!(b, None);
    let c = c.unwrap();
    assert_eq!((c.from.as_str(), c.profiles.len()), ("icmp", 2));
    assert_eq!(c.profiles[0].waits, [10, 10, 10, 5].map(Duration::from_secs));
    // Only what was asked for is warned of; for the rest the metrics say it.
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    let warning = loaded.warnings[0].to_string();
    assert!(
        warning.ends_with(
            ":4:61: targets.c.dpd.profiles: cisco_asa has no verdict: probe icmp runs every 5s, and 2s or less is needed; shorten its interval, or name a faster probe with \"from\""
        ),
        "{warning}"
    );
    let again = text(&loaded.to_yaml()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(again.config, loaded.config);
}

#[test]
fn one_host_can_be_asked_without_any_file() {
    for host in ["vpn.example.com", "192.0.2.1", "::1"] {
        let config = Config::single(host).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.targets[0].name, host);
        let inside = ["http", "rdp", "stun", "wireguard"];
        let kinds = vpnprobe::probe::Kind::all().filter(|kind| !inside.contains(&kind.name));
        assert_eq!(config.targets[0].probes.len(), kinds.count());
    }
    let problems = Config::single("https://vpn.example.com").unwrap_err().to_string();
    assert_eq!(
        problems,
        "command line: value \"https://vpn.example.com\": must be a host name or an IP address; write the host alone, without \"https://\"\n1 problem"
    );
}

#[test]
fn an_open_key_file_is_warned_of_and_its_content_is_nowhere() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (path, key) = (directory.path().join("vpnprobe.yml"), directory.path().join("ta.key"));
    std::fs::write(&key, STATIC_KEY).unwrap();
    std::fs::write(&path, "targets: {hq: {address: a.example, vpn: [openvpn], openvpn: {tls_auth_file: ta.key, key_direction: 1}}}").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = Config::load(&path, []).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.files().iter().filter(|file| file.ends_with("ta.key")).count(), 1);
    assert_eq!(loaded.warnings.len(), 1);
    let warning = loaded.warnings[0].to_string();
    assert!(warning.contains(":1:62: targets.hq.openvpn.tls_auth_file: the key file is open to others than its owner (mode 0644); chmod 600 "), "{warning}");
    assert!(matches!(loaded.warnings[0].place, Place::File { line: 1, .. }));
    let everything = format!("{loaded:?}{warning}{}", loaded.to_yaml());
    assert!(!everything.contains("c0ffee"), "the key is shown");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Config::load(&path, []).unwrap().warnings, []);
}

/// A WireGuard key of no peer.
const WIREGUARD_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// An OpenVPN static key of no server.
const STATIC_KEY: &str = "-----BEGIN OpenVPN Static key V1-----
c0ffee00000000000000000000000000
c0ffee01000000000000000000000000
c0ffee02000000000000000000000000
c0ffee03000000000000000000000000
c0ffee04000000000000000000000000
c0ffee05000000000000000000000000
c0ffee06000000000000000000000000
c0ffee07000000000000000000000000
c0ffee08000000000000000000000000
c0ffee09000000000000000000000000
c0ffee0a000000000000000000000000
c0ffee0b000000000000000000000000
c0ffee0c000000000000000000000000
c0ffee0d000000000000000000000000
c0ffee0e000000000000000000000000
c0ffee0f000000000000000000000000
-----END OpenVPN Static key V1-----
";

#[test]
fn the_commands_answer_on_their_streams() {
    use command::ConfigCommand::{Check, Schema, Show};
    let run = |command: &command::ConfigCommand, file: &str| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = command::run(command, Path::new(file), &mut out, &mut err);
        (format!("{code:?}"), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (code, out, err) = run(&Check, "config/vpnprobe.yml");
    assert!(code.contains("(0)"), "{code}");
    assert_eq!(out, "config/vpnprobe.yml: ok, 0 targets, 0 probes\n");
    assert!(err.starts_with("warning: config/vpnprobe.yml:"), "{err}");
    let (code, out, err) = run(&Check, "tests/config/doubled_key.yml");
    assert!(code.contains("(2)"), "{code}");
    assert_eq!((out.as_str(), err), ("", std::fs::read_to_string("tests/config/doubled_key.txt").unwrap()));
    let (_, enums, _) = run(&Show { enums: true, profiles: false }, "no such file");
    assert!(enums.contains("reason:") && enums.contains("- cert_expired"), "{enums}");
    let (_, profiles, _) = run(&Show { enums: false, profiles: true }, "no such file");
    for part in ["cisco_asa:\n", "probe_every: 2s\n", "ends_every_session: 14s\n", "Fortinet ta-p/294932"] {
        assert!(profiles.contains(part), "{part:?} is not in:\n{profiles}");
    }
    let (_, schema, _) = run(&Schema, "no such file");
    assert!(schema.contains("the label `target`"), "comments become descriptions");
}

#[test]
fn ten_thousand_targets_load_in_seconds() {
    use std::fmt::Write as _;
    let mut file = "targets:\n  t: &all {address: 192.0.2.1, vpn: [ipsec], family: ipv4}\n".to_owned();
    for n in 0..10_000 {
        writeln!(file, "  t{n}: {{<<: *all, address: 10.{}.{}.1}}", n / 256, n % 256).unwrap();
    }
    let loaded = text(&file).unwrap();
    assert_eq!(loaded.config.targets.len(), 10_001);
}
