//! `vpnprobe trace`: the way to a host on the flow of its VPN.
//!
//! On a terminal the list grows in place while answers come; elsewhere each line is printed once, when
//! all is known. Invariant: a hop without an answer is shown as `*`, never as loss.

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{UNKNOWN, USAGE, answer, complain};
use crate::config::{Config, Egress, Target};
use crate::detect::path::FirstHop;
use crate::engine::{survey, trace};
use crate::net::clock::SystemClock;
use crate::net::{rights, way};
use crate::probe::trace::overhead::{Inner, inner};
use crate::probe::trace::{carriers, line, mtu_form};
use crate::probe::{Kind, Spec};
use crate::sample::path::{MtuSeen, PathEnd, PathSeen, Way};
use crate::sample::{Outcome, Report};
use crate::time::Clock as _;

/// The arguments of `trace`.
#[derive(Debug, Clone, Args)]
pub struct Trace {
    /// A name or address
    #[arg(value_name = "HOST", required_unless_present = "target", conflicts_with = "target")]
    pub host: Option<String>,
    /// A target of the configuration file, with its keys and its way out
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Whose flow to follow: icmp, or a probe such as ike, ike_natt, l2tp, openvpn_udp, tls [default: ike;
    /// with --target what the configuration says]
    #[arg(long, value_name = "PROBE")]
    pub probe: Option<String>,
    /// Another port than the usual one
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// How far to look
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub max_hops: Option<u8>,
    /// Ask silent hops again and look beyond more of them
    #[arg(long)]
    pub deep: bool,
    /// Search the largest packet that gets through, too, and what it leaves inside a tunnel; takes seconds
    #[arg(long)]
    pub mtu: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// How a path is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// The JSON object; fields are only ever added.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    target: &'a str,
    time: String,
    address: IpAddr,
    outcome: &'static str,
    /// Why nothing was sent, if nothing was.
    fault: Option<&'static str>,
    way: &'a Way,
    first_hop: Option<FirstHop>,
    path: Option<&'a PathSeen>,
    mtu: Option<MtuSeen>,
    /// What the MTU leaves inside each kind of tunnel.
    inner: Vec<Inner>,
}

impl Trace {
    /// Traces, prints, and says with which code to exit: 0 if the destination answered, 1 if not.
    pub fn run(&self, file: &Path) -> u8 {
        let plan = self.plan(file);
        let (config, target, spec) = match plan.and_then(|it| rights::allows(&it.0, &it.1).map(|()| it)) {
            Ok(plan) => plan,
            Err(problem) => {
                complain(&problem);
                return USAGE;
            }
        };
        let addresses = match survey::resolve(&target) {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(problem)) => {
                complain(&problem);
                return UNKNOWN;
            }
            Err(error) => {
                complain(&format!("cannot look names up: {error}"));
                return UNKNOWN;
            }
        };
        let Some(address) = addresses.first().copied() else {
            complain("the name has no address");
            return UNKNOWN;
        };
        let default = Egress::default();
        let egress = target.egress.first().and_then(|name| config.egress.get(name)).unwrap_or(&default);
        let time = SystemClock::start().wall().to_string();
        let live = self.format == Format::Text && std::io::stdout().is_terminal();
        let mut shown = 0;
        let tap = Box::new(move |seen: &PathSeen| {
            if live {
                shown = redraw(seen, shown);
            }
        });
        let forms = (spec.kind.forms)(&spec);
        let form = if self.deep { Some(&crate::probe::trace::DEEP) } else { forms.first() };
        let Some(form) = form else { return UNKNOWN };
        let report = match trace::trace(&config, &spec, form, address, egress, tap) {
            Ok(report) => report,
            Err(error) => {
                complain(&format!("cannot probe from this host: {error}"));
                return UNKNOWN;
            }
        };
        let mtu = match mtu_form(&spec).filter(|_| self.mtu) {
            None => None,
            Some(form) => match trace::trace(&config, &spec, form, address, egress, Box::new(|_| {})) {
                Ok(report) => report.findings.and_then(|findings| findings.mtu),
                Err(error) => {
                    complain(&format!("cannot probe from this host: {error}"));
                    return UNKNOWN;
                }
            },
        };
        let way = way::towards(address, egress);
        let code = match report.outcome {
            Outcome::Answered(_) => 0,
            Outcome::Unsent(_) => UNKNOWN,
            Outcome::Lost(_) | Outcome::Refused(_) => 1,
        };
        let path = report.findings.as_ref().and_then(|findings| findings.path.as_ref());
        let document = Document {
            schema: 1,
            target: self.host.as_deref().unwrap_or(&target.name),
            time,
            address,
            outcome: report.outcome.as_str(),
            fault: fault(&report),
            way: &way,
            first_hop: path.map(|path| FirstHop::of(path, &way)),
            path,
            mtu,
            inner: mtu.map_or_else(Vec::new, |mtu| inner(mtu.bytes, address.is_ipv6())),
        };
        let text = match self.format {
            Format::Text if live => {
                let path = path.map(|path| (redraw(path, usize::MAX), tail(&document, path)));
                path.map_or_else(|| nothing(&document), |(_, tail)| tail)
            }
            Format::Text => {
                path.map_or_else(|| nothing(&document), |path| lines(path) + &tail(&document, path))
            }
            Format::Json => match serde_json::to_string_pretty(&document) {
                Ok(json) => json + "\n",
                Err(error) => {
                    complain(&error.to_string());
                    return UNKNOWN;
                }
            },
        };
        let text = match self.format {
            Format::Text if self.mtu => text + &size(&document),
            _ => text,
        };
        answer(&text, code)
    }

    /// The target and the trace of it that was asked for.
    fn plan(&self, file: &Path) -> Result<(Config, Arc<Target>, Spec), String> {
        let config = match &self.host {
            Some(host) => Config::single(host).map_err(|problems| problems.to_string())?,
            None => {
                let loaded = Config::load(file, crate::config::environment());
                loaded.map_err(|problems| problems.to_string())?.config
            }
        };
        let wanted = |target: &&Arc<Target>| self.target.as_ref().is_none_or(|name| target.name == *name);
        let target = config.targets.iter().find(wanted).cloned().ok_or_else(|| {
            format!("{}: no target is named {}", file.display(), self.target.as_deref().unwrap_or_default())
        })?;
        let trace = Kind::named("trace").ok_or("there is no kind trace")?;
        let known = target.probes.iter().find(|spec| spec.kind == trace);
        // A target of the file may have its trace disabled; asked for by hand it runs all the same.
        let mut spec = match known {
            Some(spec) => (**spec).clone(),
            None => Config::single("localhost")
                .ok()
                .and_then(|config| config.targets.first().cloned())
                .and_then(|target| Some((**target.probes.iter().find(|spec| spec.kind == trace)?).clone()))
                .ok_or("there is no kind trace")?,
        };
        let wanted = self.probe.as_deref().or(self.host.as_ref().map(|_| "ike"));
        let settings = &mut Arc::make_mut(&mut spec.settings).trace;
        match wanted {
            None => {}
            Some("icmp") => settings.over = None,
            Some(name) => {
                let kinds: Vec<Kind> = carriers().collect();
                let fits = |spec: &&Arc<Spec>| spec.name == name && kinds.contains(&spec.kind);
                let over = target.probes.iter().find(fits).cloned().ok_or_else(|| {
                    let mut known: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
                    known.push("icmp");
                    format!("{name}: no probe whose flow can be followed; there is: {}", known.join(", "))
                })?;
                settings.over = Some(Box::new((*over).clone()));
            }
        }
        if let (Some(port), Some(over)) = (self.port, &mut settings.over) {
            over.port = port;
        }
        settings.max_hops = self.max_hops.unwrap_or(settings.max_hops);
        Ok((config, target, spec))
    }
}

fn fault(report: &Report) -> Option<&'static str> {
    match report.outcome {
        Outcome::Unsent(fault) => Some(fault.as_str()),
        _ => None,
    }
}

/// Draws the path anew over the last drawing of so many lines (all: at the end); how many lines it has now.
fn redraw(seen: &PathSeen, last: usize) -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    // The last drawing before the result is the one that the tap made.
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    let up = if last == usize::MAX { DRAWN.load(Relaxed) } else { last };
    let mut out = std::io::stdout().lock();
    if up > 0 {
        let _ = write!(out, "\x1b[{up}A");
    }
    let text = lines(seen);
    let count = text.lines().count();
    for line in text.lines() {
        let _ = writeln!(out, "{line}\x1b[K");
    }
    let _ = write!(out, "\x1b[J");
    let _ = out.flush();
    DRAWN.store(count, Relaxed);
    count
}

/// The hops, one a line.
fn lines(seen: &PathSeen) -> String {
    let mut out = String::new();
    for hop in &seen.hops {
        // Numbers below each other.
        out.push_str(if hop.ttl < 10 { "   " } else { "  " });
        out.push_str(line(hop).as_str());
        out.push('\n');
    }
    out
}

/// What the path means.
fn tail(document: &Document<'_>, seen: &PathSeen) -> String {
    let over =
        if seen.port == 0 { seen.over.to_owned() } else { format!("{} (port {})", seen.over, seen.port) };
    let end = match seen.end {
        _ if seen.looping => "the packets go in circles: two routers send them to each other".to_owned(),
        PathEnd::Reached => "the destination answered".to_owned(),
        PathEnd::Refused => format!(
            "the last hop refuses it: {}",
            seen.reason.map_or("no reason given", crate::sample::Reason::as_str)
        ),
        PathEnd::Silent => {
            "nothing answers beyond: a filter, a host that is off, or a service that is rightly \
                            silent look the same from here; try --probe icmp"
                .to_owned()
        }
    };
    let mut out = format!(
        "{} over {over}: {end}; {} packets, {:.0} ms\n",
        seen.peer,
        seen.packets,
        seen.took.as_secs_f64() * 1e3
    );
    if let Some(first) = document.first_hop {
        let interface = document.way.interface.as_deref().unwrap_or("an unknown interface");
        out.push_str(&format!("first hop: {first}, through {interface}\n"));
    }
    for address in &seen.unplaced {
        out.push_str(&format!("{address} answered, too, and quotes too little to tell at which hop\n"));
    }
    if seen.hops.iter().any(|hop| hop.answers.is_empty()) {
        out.push_str("*: no answer. Routers limit how often they answer, so this is no loss.\n");
    }
    out
}

/// What the search of the MTU found.
fn size(document: &Document<'_>) -> String {
    let Some(mtu) = document.mtu else {
        return "path MTU: cannot be known from here: not even small packets are answered, neither by the VPN nor \
                to ping, or the answers contradict each other\n"
            .to_owned();
    };
    let why = match (mtu.black_hole, mtu.own_interface, mtu.told_by) {
        (true, ..) => {
            "; larger ones vanish without a word (a black hole: TCP hangs unless its MSS is clamped)"
                .to_owned()
        }
        (_, true, _) => "; this host's interface takes no more".to_owned(),
        (_, _, Some(from)) => format!("; {from} said that it takes no more"),
        _ => String::new(),
    };
    let mut out = format!("path MTU: {} bytes (over {}){why}\n", mtu.bytes, mtu.over);
    for row in &document.inner {
        out.push_str(&format!("  {:<20} inner MTU {}, TCP MSS {}\n", row.tunnel.as_str(), row.mtu, row.mss));
    }
    out
}

fn nothing(document: &Document<'_>) -> String {
    let fault = document.fault.unwrap_or("unknown");
    format!("{}: nothing was sent from this host: {fault}\n", document.address)
}
