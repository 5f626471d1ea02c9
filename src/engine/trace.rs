//! One trace, now, for `vpnprobe trace` and for whoever wants to look while it happens.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::config::{Config, Egress};
use crate::entropy::Generator;
use crate::net::clock::SystemClock;
use crate::net::{Driver, Happening, Tag};
use crate::probe::trace::{Tap, begin_shown};
use crate::probe::{Form, Spec};
use crate::sample::{Fault, Outcome, Report, SeriesId};
use crate::time::{Clock as _, Timestamp};

/// Runs an exchange of a probe of kind `trace` in this form, and shows what it knows to `tap` as that
/// grows. Blocking, at most for half a minute.
///
/// # Errors
/// When this host cannot even wait for events.
pub fn trace(
    config: &Config,
    spec: &Spec,
    form: &'static Form,
    peer: IpAddr,
    egress: &Egress,
    tap: Tap,
) -> io::Result<Report> {
    let clock = SystemClock::start();
    let mut driver = Driver::new(clock, Box::new(Generator::from_os()))?;
    let mut budget = Budget::new(config.budget.clone(), Timestamp::ZERO);
    if budget.draw(peer, form, clock.now()).is_err() {
        return Ok(Report::new(Outcome::Unsent(Fault::Budget)));
    }
    let (kept, port) = spec.flow();
    let flow = driver.open(peer, port, kept, Arc::new(egress.clone()));
    let mut happenings = Vec::new();
    let tag = Tag { series: SeriesId(0), seq: 0, due: clock.now(), form };
    if form.rare {
        driver.begin(flow, tag, spec, &mut happenings);
    } else {
        driver.begin_with(flow, tag, spec.timeout, |start| begin_shown(spec, start, tap), &mut happenings);
    }
    let mut result = None;
    // What answers in protocol may have opened something at the peer, and closes it after its report.
    let mut deadline = Timestamp::FAR;
    while result.is_none() || (!form.stateless() && driver.unfinished() > 0 && clock.now() < deadline) {
        let found = happenings.drain(..).find_map(|happening| match happening {
            Happening::Done { report, .. } => Some(report),
            _ => None,
        });
        if let Some(report) = found {
            result = Some(report);
            deadline = clock.now() + Duration::from_millis(1500);
            continue;
        }
        driver.turn(deadline.min(clock.now() + Duration::from_secs(1)), &mut happenings)?;
    }
    Ok(result.unwrap_or(Report::new(Outcome::Unsent(Fault::Internal))))
}
