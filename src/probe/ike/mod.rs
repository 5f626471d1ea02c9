//! Stub.

use std::time::Duration;

use super::{Event, Exchange, Flow, Form, Handled, KindInfo, Mismatch, Spec, Start, Step, Transport};
use crate::sample::{Fault, Outcome, Report};
use crate::time::Timestamp;

/// Settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {}

static FORMS: &[Form] = &[Form { name: "stub", charges: &[], packets: 1, rare: false }];

/// The kind `ike`.
pub static INFO: KindInfo = KindInfo {
    name: "ike",
    port: 500,
    interval: Duration::from_secs(5),
    flow: Flow::PinnedUdp,
    forms: |_| FORMS,
    reasons: &[],
    phases: &[],
    begin,
};

/// The kind `ike_natt`.
pub static INFO_NATT: KindInfo = KindInfo {
    name: "ike_natt",
    port: 4500,
    interval: Duration::from_secs(5),
    flow: Flow::PinnedUdp,
    forms: |_| FORMS,
    reasons: &[],
    phases: &[],
    begin,
};

fn begin(_: &Spec, _: Start<'_>) -> Box<dyn Exchange> {
    Box::new(Stub(false))
}

struct Stub(bool);

impl Exchange for Stub {
    fn transport(&self) -> Transport {
        Transport::Icmp
    }
    fn poll(&mut self, _: Timestamp, _: &mut Vec<u8>) -> Step {
        if std::mem::replace(&mut self.0, true) { Step::End } else { Step::Report(Report::new(Outcome::Unsent(Fault::Internal))) }
    }
    fn handle(&mut self, _: Event<'_>, _: Timestamp) -> Handled {
        Handled::NotMine(Mismatch::Unexpected)
    }
}
