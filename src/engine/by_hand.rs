//! Exchanges that were asked for now, beside the series.
//!
//! Invariant: the budget of the address holds for them too, and each request is answered once.

use std::time::Duration;

use super::{BY_HAND, Engine, Reply};
use crate::net::{Happening, Tag};
use crate::probe::Spec;
use crate::time::Clock;

impl Engine {
    /// Begins one, or says why not.
    pub(super) fn probe(
        &mut self,
        target: &str,
        probe: &str,
        timeout: Duration,
        reply: Reply,
        out: &mut Vec<Happening>,
    ) {
        let now = self.driver.clock().now();
        let ids = self.by_target.get(target).map_or(&[][..], Vec::as_slice);
        let found = ids.iter().find_map(|id| {
            let series = self.series.get(id.0 as usize)?.as_deref()?;
            (series.spec.name == probe && series.address.is_some()).then_some((*id, series))
        });
        let Some((id, series)) = found else {
            return reply(Err("the target's name has not been resolved yet".to_owned()));
        };
        let (Some(address), Some(flow)) = (series.address, series.flow) else {
            return reply(Err("the target's name has not been resolved yet".to_owned()));
        };
        let form = series.learner.form(series.seq);
        if let Err(held) = self.budget.draw(address, form, now) {
            let wait = held.until.since(now).as_secs() + 1;
            return reply(Err(format!("the budget of {address} allows the next one in {wait} s")));
        }
        self.asked += 1;
        let tag = Tag { series: id, seq: BY_HAND | self.asked, due: now, form };
        let spec = Spec { timeout: series.spec.timeout.min(timeout), ..(*series.spec).clone() };
        self.by_hand.insert((id, tag.seq), reply);
        self.driver.begin(flow, tag, &spec, out);
    }
}
