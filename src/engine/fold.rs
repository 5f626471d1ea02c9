//! What comes out of an exchange, folded into everything that wants it.
//!
//! Invariant: what is our own fault, or asked for by hand, or said of a fresh flow only, tells the detectors nothing of
//! the target.

use std::net::IpAddr;

use super::{BY_HAND, Engine, FRESH};
use crate::detect::dpd::Survival;
use crate::detect::{Bearing, Input};
use crate::export::metrics::FlowAge;
use crate::net::{Happening, Tag};
use crate::probe::{Charge, Flow, Form};
use crate::sample::{Outcome, Reason, Report, Sample, SeriesId};
use crate::time::{Clock, Timestamp};

impl Engine {
    /// Folds a result into everything that wants it.
    pub(super) fn done(&mut self, tag: Tag, sent: Option<Timestamp>, done: Timestamp, mut report: Report) {
        let address = self.series.get(tag.series.0 as usize).and_then(Option::as_ref).and_then(|s| s.address);
        if let Some(address) = address {
            self.settle(address, tag.form, &report);
        }
        self.traced(tag.series, report.findings.as_deref(), (sent.unwrap_or(tag.due), done));
        if tag.seq & BY_HAND != 0 {
            if let Some(reply) = self.by_hand.remove(&(tag.series, tag.seq)) {
                reply(
                    address.map(|address| (address, report)).ok_or_else(|| "the target has gone".to_owned()),
                );
            }
            return;
        }
        let Some(series) = self.series.get_mut(tag.series.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let before = report.outcome;
        report.outcome = series.learner.judge(tag.form, before);
        let beside = tag.form.rare && !series.learner.stateful();
        if beside {
            let held = self.held_rare.entry(tag.form.name).or_default();
            held.hear_rare(
                tag.series,
                tag.form.name,
                &series.target.name,
                &series.metrics.key().egress,
                before,
            );
            if let Outcome::Unsent(fault) = before {
                series.metrics.not_sent(fault);
            }
            // Beside the recurring form only what was said counts: its silence may be a limit we met,
            // and its time has the peer's public-key work in it.
            if report.outcome.received() != Some(true) {
                return;
            }
            report.rtt = None;
            report.phases.clear();
        }
        let sample = Sample {
            series: tag.series,
            seq: tag.seq,
            form: tag.form.name,
            due: tag.due,
            sent,
            done,
            report,
        };
        let news = series.metrics.record(&sample);
        self.held.hear(
            tag.series,
            &series.metrics.key().egress,
            &series.egress,
            address,
            sample.report.outcome,
        );
        let mut telling = true;
        if series.spec.kind.flow == Flow::PinnedUdp
            && !tag.form.rare
            && let Some(received) = sample.report.outcome.received()
        {
            series.metrics.set_flow(FlowAge::Pinned, received);
            telling &= series.flows.kept(tag.seq, received);
        }
        if let Some(findings) = &sample.report.findings {
            if let Some(mapped) = findings.mapped {
                let wall = self.driver.clock().wall();
                self.nats.hear(tag.series, &series.metrics, mapped, (tag.due, wall));
            }
            // What another box in the slot says is news, also if the one before said the same.
            if news || series.heard != series.address {
                series.heard = series.address;
                let (target, kind) = (&series.target.name, series.spec.kind.name);
                let told = self.told.hear(target, series.member, series.address, kind, &findings.details);
                if let Some(info) = told {
                    self.registry.target_info(target, series.member, Some(info));
                }
            }
        }
        if beside {
            return;
        }
        if telling {
            series.metrics.remember(&sample);
        }
        self.pairs.observe(&sample);
        let bearing = if telling { Bearing::Target } else { Bearing::Flow };
        let evidence = sample.report.outcome.received().is_some();
        self.collector.take(Input::Sample(&sample, bearing), &mut self.found);
        if evidence {
            self.show(tag.series, sample.due, telling);
        }
        self.heed();
    }

    /// Folds the result of a fresh flow: it tells about the kept one, and is not counted itself.
    pub(super) fn fresh_done(&mut self, tag: Tag, report: &Report, out: &mut Vec<Happening>) {
        let Some(series) = self.series.get_mut(tag.series.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if let Some(fresh) = series.fresh.take() {
            self.driver.close(fresh, out);
        }
        let Some(received) = report.outcome.received() else { return };
        series.metrics.set_flow(FlowAge::Fresh, received);
        if series.flows.fresh(tag.seq & !FRESH, received)
            && let Some(flow) = series.flow
        {
            tracing::warn!(
                target = series.target.name,
                probe = series.spec.name,
                "the kept flow is dead and fresh ones are answered: a firewall or NAT on the way dropped it; \
                 going on with a new source port"
            );
            self.driver.renew(flow);
        }
    }

    /// Tells the budget how the peer took what was opened.
    pub(super) fn settle(&mut self, address: IpAddr, form: &Form, report: &Report) {
        if form.stateless() {
            return;
        }
        let under_load = report.findings.as_ref().is_some_and(|findings| findings.under_load);
        match report.outcome {
            // A box that has enough of our handshakes falls silent. Tunnels and resets go on at their pace:
            // a dead box keeps no state of them, and its return is to be seen.
            Outcome::Lost(_) if !form.charges.contains(&Charge::HalfOpen) => {}
            Outcome::Lost(_) | Outcome::Refused(Reason::FullOrThrottled) => {
                self.budget.back_off(address, form)
            }
            Outcome::Unsent(_) => {}
            _ if under_load => self.budget.back_off(address, form),
            _ => self.budget.relax(address, form),
        }
    }

    /// Brings the metrics of a series up to what its detectors know.
    pub(super) fn show(&self, id: SeriesId, at: Timestamp, watched: bool) {
        let Some(track) = self.collector.track(id) else { return };
        self.with(id, |series| {
            if watched {
                series.metrics.watched(track.watch(), at);
            }
            for ((_, survival), metrics) in track.dpd().zip(series.dpd.iter()) {
                if let Some(margin) = survival.and_then(Survival::margin_now) {
                    metrics.set_margin(margin);
                }
            }
        });
    }
}
