//! `vpnprobe init`: a configuration for what answers, with what was seen as comments.
//!
//! Invariant: what is printed loads back; remote text stands in comments only, escaped by
//! [`crate::sample::Text`], and never opens a line.

use std::fmt::Write as _;

use clap::Args;

use super::{UNKNOWN, USAGE, answer, complain};
use crate::config::{Config, Target};
use crate::diagnose::{Lang, Observed, Status, Step, Survey, diagnose, render::millis, text::reason_text};
use crate::engine::survey::{Options, survey};
use crate::sample::{Detail, Outcome, Reason};

/// The arguments of `init`.
#[derive(Debug, Clone, Args)]
pub struct Init {
    /// The concentrator: a name or an address
    #[arg(value_name = "HOST")]
    pub host: String,
    /// What to call it [default: made from the host]
    #[arg(long, value_name = "NAME", value_parser = label)]
    pub name: Option<String>,
    /// Ask also which proposals it accepts, one suite a datagram; takes minutes
    #[arg(long)]
    pub audit: bool,
}

fn label(name: &str) -> Result<String, String> {
    let fits =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if fits { Ok(name.to_owned()) } else { Err("only letters, digits, '.', '_' and '-'".to_owned()) }
}

impl Init {
    /// Looks, prints, and says with which code to exit: 3 if nothing answers.
    pub fn run(&self) -> u8 {
        let config = match Config::single(&self.host) {
            Ok(config) => config,
            Err(problems) => {
                complain(&problems.to_string());
                return USAGE;
            }
        };
        let Some(target) = config.targets.first() else { return UNKNOWN };
        let options = Options { attempts: 3, audit: self.audit, aggressive: false };
        let survey = match survey(&config, target, &options) {
            Ok(survey) => survey,
            Err(error) => {
                complain(&format!("cannot probe from this host: {error}"));
                return UNKNOWN;
            }
        };
        let any = survey.observed.iter().any(service);
        let name = self.name.clone().unwrap_or_else(|| name_of(&self.host));
        answer(&configuration(&survey, target, &name), if any { 0 } else { UNKNOWN })
    }
}

/// A target's name from a host name or address.
fn name_of(host: &str) -> String {
    let fit: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let fit = fit.trim_matches(['.', '-']).to_owned();
    if fit.is_empty() { "vpn".to_owned() } else { fit }
}

/// Whether a VPN service answered.
fn service(seen: &Observed) -> bool {
    let vpn = !matches!(seen.kind.name, "icmp" | "trace" | "tcp" | "dns" | "http" | "rdp" | "stun");
    let wrong = matches!(
        seen.report.outcome.reason(),
        Some(Reason::WrongFlavour | Reason::WrongAnswer | Reason::ProtocolError | Reason::TlsAlert)
    );
    vpn && !wrong && seen.report.outcome.received() == Some(true)
}

/// The configuration for what the survey saw.
#[must_use]
pub fn configuration(survey: &Survey, target: &Target, name: &str) -> String {
    let answered =
        |kinds: &[&str]| survey.observed.iter().any(|seen| kinds.contains(&seen.kind.name) && service(seen));
    let ike = answered(&["ike", "ike_natt"]);
    let ikev1 = answered(&["ikev1", "ikev1_natt"]);
    let openvpn = answered(&["openvpn_udp", "openvpn_tcp"]);
    let tls = answered(&["tls"]);
    let l2tp = answered(&["l2tp"]);
    let mut vpn: Vec<&str> = Vec::new();
    if ike || ikev1 {
        vpn.push(if l2tp { "l2tp-ipsec" } else { "ipsec" });
    }
    if openvpn {
        vpn.push("openvpn");
    }
    let only_tls = tls && vpn.is_empty();
    if only_tls {
        vpn.push("ssl-vpn");
    }
    let mut out = String::new();
    let _ =
        writeln!(out, "# vpnprobe: a first configuration for {}, from what answered.", plain(&survey.host));
    let _ = writeln!(out, "# Seen from here at {}:", survey.time);
    for seen in &survey.observed {
        let _ = writeln!(out, "#   {}", line(seen));
    }
    for step in diagnose(survey, target).steps.iter().filter(|it| it.status != Status::Skipped) {
        if matches!(step.step, Step::Name | Step::Route | Step::Reach) && step.status != Status::Ok {
            let _ = writeln!(out, "# {}: {}", step.step, plain(&step.text(Lang::En)));
        }
    }
    out.push_str("# `vpnprobe config check` finds mistakes, `vpnprobe check --target NAME` tries it.\n\n");
    let _ = writeln!(out, "targets:\n  {}:", quoted(name));
    let _ = writeln!(out, "    # A name (every address behind it is probed), an address, or a list.");
    let _ = writeln!(out, "    address: {}", quoted(&survey.host));
    if vpn.is_empty() {
        out.push_str("    # No VPN answered. Silence is no proof: a filter, or a key that is missing here, looks the\n");
        out.push_str("    # same. Declare what it serves: ipsec, l2tp-ipsec, ssl-vpn, openvpn.\n");
        out.push_str("    vpn: []\n");
    } else {
        if (ike || ikev1) && !l2tp {
            out.push_str(
                "    # If its clients use L2TP, say l2tp-ipsec: from outside IPsec L2TP is rightly silent.\n",
            );
        }
        if only_tls {
            out.push_str(
                "    # TLS answers on 443. Whether that is the VPN or a web server is for you to know.\n",
            );
        }
        let _ = writeln!(out, "    vpn: [{}]", vpn.join(", "));
    }
    proposals(&mut out, survey, "ike", ike);
    proposals(&mut out, survey, "ikev1", ikev1);
    if openvpn && !survey.observed.iter().any(|seen| seen.kind.name.starts_with("openvpn") && served(seen)) {
        out.push_str("    # It hangs up on whoever lacks its key. Name the key file:\n");
        out.push_str("    # openvpn: {tls_crypt_file: /etc/vpnprobe/ta.key}\n");
    }
    let mut probes: Vec<&str> = Vec::new();
    if ikev1 && !l2tp {
        probes.push("ikev1");
    }
    if answered(&["ikev1_natt"]) {
        probes.push("ikev1_natt");
    }
    if tls && !only_tls {
        probes.push("tls");
    }
    if vpn.is_empty() {
        let pings = survey.observed.iter().any(|seen| seen.kind.name == "icmp" && served(seen));
        probes.extend(pings.then_some("icmp"));
    }
    if !probes.is_empty() {
        out.push_str("    # These answer too.\n    probes:\n");
        for probe in probes {
            let _ = writeln!(out, "      {probe}: {{}}");
        }
    }
    out
}

fn served(seen: &Observed) -> bool {
    seen.report.outcome.serving() == Some(true)
}

/// The block of a version of IKE, with the suites that were accepted.
fn proposals(out: &mut String, survey: &Survey, block: &str, answers: bool) {
    if !answers {
        return;
    }
    let mut suites: Vec<String> = Vec::new();
    let mut add = |suite: String| {
        let fits = suite.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if fits && !suite.is_empty() && !suites.contains(&suite) && suites.len() < 8 {
            suites.push(suite);
        }
    };
    for seen in &survey.observed {
        let version = if seen.kind.name.starts_with("ikev1") { "ikev1" } else { "ike" };
        if version != block || !seen.kind.name.starts_with("ike") || seen.form == "aggressive" {
            continue;
        }
        let Some(findings) = &seen.report.findings else { continue };
        if let Some(suite) = findings.details.get_text("suite") {
            add(suite.to_owned());
        }
        if let Some(Detail::List(lines)) = findings.details.get("accepted") {
            // `aes256-sha256: modp2048 ecp256`
            for line in lines {
                add(line.as_str().replace(": ", "-").replace(' ', "-"));
            }
        }
    }
    if suites.is_empty() {
        let example = if block == "ike" { "aes256-sha256-modp2048" } else { "aes256-sha1-modp1024" };
        let _ = writeln!(
            out,
            "    # With the proposals its clients use, a phase 1 mismatch is seen from outside:"
        );
        let _ = writeln!(out, "    # {block}: {{proposals: [{example}]}}");
    } else {
        let _ = writeln!(
            out,
            "    # Accepted here. Keep those that the clients use: a mismatch is then seen from outside."
        );
        let _ = writeln!(out, "    {block}:\n      proposals:");
        for suite in suites {
            let _ = writeln!(out, "        - {suite}");
        }
    }
}

/// What one probe saw, as a comment.
fn line(seen: &Observed) -> String {
    let mut line = format!("{} {} {}", seen.probe, seen.address, seen.report.outcome.as_str());
    match seen.report.outcome {
        Outcome::Unsent(fault) => {
            let _ = write!(line, " ({fault})");
        }
        outcome => {
            if let Some(reason) = outcome.reason() {
                let _ = write!(line, " ({})", reason_text(reason, Lang::En));
            }
        }
    }
    if let Some(rtt) = seen.report.rtt {
        let _ = write!(line, " {}", millis(rtt));
    }
    let details = seen.report.findings.as_ref().map(|findings| &findings.details);
    for key in ["suite", "vendor", "tls_version", "certificate_subject", "subject"] {
        if let Some(text) = details.and_then(|details| details.get_text(key)) {
            let _ = write!(line, " {key}={}", plain(text));
        }
    }
    line
}

/// On one line, whatever it was.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}

/// A YAML double-quoted scalar; JSON's strings are such.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

#[cfg(test)]
mod tests;
