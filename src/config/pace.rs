//! Whether a target's probes fit the budget of its addresses.
//!
//! A probe that asks for more than the budget can ever grant would only ever be held back; that is a
//! mistake of the file. Several that together ask for more get less than they ask for; that is said.

use std::time::Duration;

use super::check::{Check, short};
use super::problem::KeyPath;
use crate::budget::Limits;
use crate::probe::{Charge, Form, Spec};

/// Reports what the budget can never grant.
pub(super) fn judge(
    specs: &[(Spec, KeyPath)],
    egress: &[String],
    budget: &Limits,
    check: &mut Check<'_>,
    path: &KeyPath,
) {
    for (spec, path) in specs {
        let forms = (spec.kind.forms)(spec);
        let recurring = forms.iter().find(|form| !form.rare);
        for (key, interval, form) in [("interval", spec.interval, recurring)].into_iter().chain(
            forms
                .iter()
                .filter(|form| form.rare)
                .map(|form| ("full_interval", spec.full_interval, Some(form))),
        ) {
            let Some((least, charge)) = form.and_then(|form| least_interval(form, budget)) else { continue };
            if interval < least {
                let path = path.key(key);
                let setting = setting(charge);
                let subject = match check.places.get(&path) {
                    Some(_) => String::new(),
                    None => format!("its default of {} ", short(interval)),
                };
                check.wrong(
                    &path,
                    format!("{subject}is shorter than the {} that budget.{setting} grants", short(least)),
                    &format!("set {key} to {} or more, or change budget.{setting}", short(least)),
                );
            }
        }
    }
    let ways = u32::try_from(egress.len()).unwrap_or(u32::MAX);
    packets(specs, ways, budget, check, path);
    shares(specs, ways, budget, check, path);
}

fn packets(specs: &[(Spec, KeyPath)], ways: u32, budget: &Limits, check: &mut Check<'_>, path: &KeyPath) {
    let rate = |spec: &Spec| {
        let form = (spec.kind.forms)(spec).iter().find(|form| !form.rare && form.stateless());
        form.map_or(0.0, |form| f64::from(form.packets) * f64::from(ways) / spec.interval.as_secs_f64())
    };
    let all: f64 = specs.iter().map(|(spec, _)| rate(spec)).sum();
    if all > f64::from(budget.packets_per_second) + 1e-9 {
        let most = specs.iter().max_by(|a, b| rate(&a.0).total_cmp(&rate(&b.0)));
        let most = most
            .map_or_else(String::new, |(spec, _)| format!("{} alone sends {:.1}; ", spec.name, rate(spec)));
        check.wrong_key(
            path,
            format!(
                "its probes send {all:.1} packets a second, over budget.packets_per_second: {}",
                budget.packets_per_second
            ),
            &format!("{most}lengthen an interval, use fewer ways out, or raise the budget"),
        );
    }
}

/// Warns where several probes share a budget that each of them alone would keep.
fn shares(specs: &[(Spec, KeyPath)], ways: u32, budget: &Limits, check: &mut Check<'_>, path: &KeyPath) {
    for charge in Charge::ALL {
        let per_second = |form: &Form, interval: Duration| {
            f64::from(times(form, *charge)) * f64::from(ways) / interval.as_secs_f64()
        };
        let asked: f64 = specs
            .iter()
            .map(|(spec, _)| {
                let forms = (spec.kind.forms)(spec);
                let recurring = forms.iter().find(|form| !form.rare);
                let rare = forms.iter().filter(|form| form.rare);
                recurring.map_or(0.0, |form| per_second(form, spec.interval))
                    + rare.map(|form| per_second(form, spec.full_interval)).sum::<f64>()
            })
            .sum();
        let (count, window) = budget.of(*charge);
        let granted = f64::from(count) / window.as_secs_f64();
        // The rare forms beside a budget that is used up exactly are not worth a word.
        if asked > granted * 1.05 {
            let setting = setting(*charge);
            check.doubt(
                path,
                format!(
                    "its probes ask for {:.1} exchanges a minute, budget.{setting} grants {:.1}; the rest is held back",
                    asked * 60.0,
                    granted * 60.0
                ),
                "lengthen an interval, use fewer ways out, or raise the budget",
            );
        }
    }
}

/// How often a form is charged so.
fn times(form: &Form, charge: Charge) -> u32 {
    u32::try_from(form.charges.iter().filter(|other| **other == charge).count()).unwrap_or(u32::MAX)
}

/// The shortest interval at which the budget lets this form run, and what limits it.
fn least_interval(form: &Form, budget: &Limits) -> Option<(Duration, Charge)> {
    let spacing = |charge: &Charge| {
        let (count, window) = budget.of(*charge);
        (window / count.max(1) * times(form, *charge), *charge)
    };
    form.charges.iter().map(spacing).max()
}

const fn setting(charge: Charge) -> &'static str {
    match charge {
        Charge::HalfOpen => "half_open_interval",
        Charge::L2tpTunnel => "l2tp_per_minute",
        Charge::OpenvpnReset => "openvpn_per_minute",
        Charge::TcpConnection => "tcp_per_minute",
        Charge::TlsHandshake => "tls_per_minute",
        Charge::WireguardHandshake => "wireguard_per_minute",
    }
}
