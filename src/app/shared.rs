//! What the tasks of the main thread share, and what the web side asks of it: reload, a probe now, readiness.
//!
//! Invariant: a reload that fails leaves the configuration that runs as it is.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::lockdown::Lockdown;
use super::{ENGINE_SILENCE, Source, notify, summary};
use crate::config::{Config, Loaded, Target};
use crate::engine::{Command, Handle};
use crate::export::http::{self, BoxFuture, ProbeError, ProbeNow, TargetRow};
use crate::export::metrics::Registry;
use crate::net::clock::SystemClock;
use crate::store::Shelf;
use crate::time::{Clock, Timestamp};

/// What the tasks of the main thread share.
pub(super) struct Shared {
    pub(super) source: Source,
    /// What a new configuration has to do with.
    pub(super) lockdown: Option<Lockdown>,
    pub(super) loaded: Mutex<Arc<Loaded>>,
    pub(super) engine: Handle,
    pub(super) registry: Registry,
    pub(super) clock: SystemClock,
    /// The recorded incidents.
    pub(super) shelf: Arc<Shelf>,
    /// When the running configuration was applied.
    pub(super) applied: Mutex<Timestamp>,
    /// A new configuration: the names to look up have changed.
    pub(super) reloaded: Notify,
}

impl Shared {
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::new(self.loaded().config.clone())
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn reload_now(&self) -> Result<(), String> {
        let Source::File(path) = self.source.clone() else {
            return Err("this configuration was made by the program and cannot change".to_owned());
        };
        let mut reloading = vec![sd_notify::NotifyState::Reloading];
        reloading.extend(sd_notify::NotifyState::monotonic_usec_now());
        notify(&reloading);
        let read = move || Config::load(Path::new(&path), crate::config::environment());
        let probing = !self.loaded().config.targets.is_empty();
        let result = match tokio::task::spawn_blocking(read).await {
            // A file that is just being written looks like that, and what is watched must not end by it.
            Ok(Ok(loaded)) if probing && loaded.config.targets.is_empty() => {
                Err("it has no targets any more; stop the service if nothing is to be probed".to_owned())
            }
            Ok(Ok(loaded)) => match self.lockdown.as_ref().map(|lockdown| lockdown.allows(&loaded.config)) {
                Some(Err(problem)) => Err(problem),
                _ => Ok(loaded),
            },
            Ok(Err(problems)) => Err(problems.to_string()),
            Err(_) => Err("reading the configuration panicked; this is a defect of vpnprobe".to_owned()),
        };
        let outcome = match result {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                let config = Arc::new(loaded.config.clone());
                let before = self.config();
                if (&config.state_dir, config.state_max_size) != (&before.state_dir, before.state_max_size) {
                    tracing::warn!("state_dir and state_max_size are heeded at the next start only");
                }
                if config.engine_threads != before.engine_threads {
                    tracing::warn!("engine_threads is heeded at the next start only");
                }
                *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.now();
                tracing::info!("reloaded: {}", summary(&config));
                self.engine.send(Command::Apply(config));
                self.reloaded.notify_waiters();
                self.registry.own().reloaded(Some(self.clock.wall()));
                Ok(())
            }
            Err(problems) => {
                tracing::error!("not reloaded, the old configuration runs on: {problems}");
                self.registry.own().reloaded(None);
                Err(problems)
            }
        };
        notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&summary(&self.config()))]);
        outcome
    }

    /// Whether engine and schedule get on; else what is wrong.
    pub(super) fn well(&self) -> Result<(), String> {
        let now = self.clock.now();
        let silence = now.since(self.engine.turned());
        if self.engine.turned() == Timestamp::ZERO {
            return Err("the engine is starting".to_owned());
        }
        if silence > ENGINE_SILENCE {
            return Err(format!("the engine has done nothing for {} s", silence.as_secs()));
        }
        let loaded = self.loaded();
        let applied = *self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let mut intervals = HashMap::new();
        for target in &loaded.config.targets {
            for spec in &target.probes {
                intervals.insert((target.name.as_str(), spec.name.as_str()), spec.interval);
            }
        }
        let wall = self.clock.wall();
        for series in self.registry.all_series() {
            let key = series.key();
            let Some(interval) = intervals.get(&(key.target.as_str(), key.probe.as_str())) else { continue };
            let patience = *interval * 3;
            if now.since(applied) <= patience {
                continue;
            }
            let since =
                series.last_attempt().map(|at| wall.as_unix_nanos().saturating_sub(at.as_unix_nanos()));
            let patience = i64::try_from(patience.as_nanos()).unwrap_or(i64::MAX);
            if since.is_none_or(|since| since > patience) {
                return Err(format!(
                    "no attempt of probe {} of target {} for three intervals",
                    key.probe, key.target
                ));
            }
        }
        Ok(())
    }
}

impl http::Daemon for Shared {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.reload_now())
    }

    fn probe(
        &self,
        target: &str,
        module: &str,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<ProbeNow, ProbeError>> {
        let (target, module) = (target.to_owned(), module.to_owned());
        Box::pin(async move {
            let loaded = self.loaded();
            let known =
                loaded.config.targets.iter().find(|known| known.name == target).ok_or(ProbeError::Target)?;
            if !known.probes.iter().any(|spec| spec.name == module) {
                return Err(ProbeError::Module);
            }
            let began = self.clock.now();
            let (sender, receiver) = oneshot::channel();
            let reply = Box::new(move |result| {
                let _ = sender.send(result);
            });
            self.engine.send(Command::Probe { target, probe: module, timeout, reply });
            match receiver.await {
                Ok(Ok((address, report))) => {
                    Ok(ProbeNow { address, took: self.clock.now().since(began), report })
                }
                Ok(Err(why)) => Err(ProbeError::NotNow(why)),
                Err(_) => Err(ProbeError::NotNow("the program is ending".to_owned())),
            }
        })
    }

    fn config_text(&self) -> String {
        self.loaded().to_yaml()
    }

    fn ready(&self) -> Result<(), String> {
        self.well()
    }

    fn targets(&self) -> Vec<TargetRow> {
        let row = |target: &Arc<Target>| TargetRow {
            name: target.name.clone(),
            addresses: target.addresses.iter().map(ToString::to_string).collect(),
            vpn: target.vpn.iter().map(ToString::to_string).collect(),
            probes: target.probes.iter().map(|spec| spec.name.clone()).collect(),
        };
        self.loaded().config.targets.iter().map(row).collect()
    }
}
