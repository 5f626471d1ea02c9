//! The targets' names, looked up again and again beside the probing.
//!
//! Invariant: a failed lookup changes nothing: the last good answer stands.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Shared;
use crate::config::{Address, Target};
use crate::engine::Command;
use crate::net::resolve::{Resolver, retry_after};

/// Looks up the names of all targets, each at the pace of its own time to live, until it is aborted.
pub(super) async fn look_up_names(shared: Arc<Shared>) {
    loop {
        let reloaded = shared.reloaded.notified();
        let resolver = Resolver::from_system();
        let mut lookups = JoinSet::new();
        for target in &shared.config().targets {
            if target.addresses.iter().any(|address| matches!(address, Address::Name(_))) {
                lookups.spawn(look_up(Arc::clone(&shared), Arc::clone(target), resolver.clone()));
            }
        }
        reloaded.await;
    }
}

/// Looks up the names of one target, for ever.
async fn look_up(shared: Arc<Shared>, target: Arc<Target>, resolver: Resolver) {
    let mut failures = 0;
    loop {
        let mut all: Vec<IpAddr> = Vec::new();
        let mut again_in: Option<Duration> = None;
        let mut failed = None;
        for address in &target.addresses {
            match address {
                Address::Ip(ip) => all.push(*ip),
                Address::Name(name) => match resolver.lookup(name, target.family).await {
                    Ok(found) => {
                        all.extend(found.addresses);
                        again_in = Some(again_in.map_or(found.again_in, |known| known.min(found.again_in)));
                    }
                    Err(error) => failed = Some((name, error)),
                },
            }
        }
        match &failed {
            // An answer that is missing a part would end members that are well.
            Some((name, error)) => {
                if failures == 0 {
                    tracing::warn!(
                        target = target.name,
                        "cannot resolve {name}, the last good answer stands: {error}"
                    );
                }
                failures += 1;
            }
            None => {
                if failures > 0 {
                    tracing::info!(target = target.name, "its name is resolved again");
                }
                failures = 0;
                shared.engine.send(Command::Resolved { target: target.name.clone(), addresses: all });
            }
        }
        let pause = if failures > 0 { retry_after(failures) } else { again_in.unwrap_or(retry_after(1)) };
        tokio::time::sleep(pause).await;
    }
}
