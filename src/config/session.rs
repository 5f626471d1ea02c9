//! The block `session` of a target: one real session with it.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::check::Check;
use super::problem::KeyPath;
use super::raw;
use crate::session::{Identity, Plan, Psk};

/// The bounds of the time between liveness checks.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The bounds of each wait for an answer.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// The most transmissions of a request.
const MOST: usize = 10;

/// What the block means, and the same with every default filled in.
pub(super) fn session(
    file: Option<&raw::Session>,
    check: &mut Check<'_>,
    path: &KeyPath,
) -> (Option<Arc<Plan>>, Option<raw::Session>) {
    let Some(file) = file else { return (None, None) };
    let path = path.key("session");
    let psk = psk(file, check, &path);
    let local = identity(file.local_id.as_ref(), "local_id", check, &path);
    if file.local_id.is_none() && !check.left_out(&path.key("local_id")) {
        check.wrong_key(
            &path,
            "\"local_id\" is missing",
            "add an identity that only this vpnprobe uses, for example local_id: probe.example.com",
        );
    }
    let remote = identity(file.remote_id.as_ref(), "remote_id", check, &path);
    let written = file.liveness_interval.as_ref();
    let interval =
        check.duration(&path.key("liveness_interval"), written, INTERVAL).unwrap_or(Plan::INTERVAL);
    let retransmit = retransmit(file, check, &path);
    let shown = raw::Session {
        psk_file: file.psk_file.as_ref().map(|file| check.absolute(file)),
        local_id: file.local_id.clone(),
        remote_id: file.remote_id.clone(),
        liveness_interval: Some(interval.into()),
        retransmit: Some(retransmit.iter().map(|wait| (*wait).into()).collect()),
    };
    let plan = psk.zip(local).map(|(psk, local)| Arc::new(Plan { psk, local, remote, interval, retransmit }));
    (plan, Some(shown))
}

fn psk(file: &raw::Session, check: &mut Check<'_>, path: &KeyPath) -> Option<Psk> {
    let Some(name) = &file.psk_file else {
        if !check.left_out(&path.key("psk_file")) {
            check.wrong_key(
                path,
                "\"psk_file\" is missing",
                "name a file with the pre-shared key alone (chmod 600)",
            );
        }
        return None;
    };
    let path = path.key("psk_file");
    let psk = Psk::from_text(&Zeroizing::new(check.secret(&path, name)?));
    if psk.is_empty() {
        check.wrong(&path, "the file cannot be used: it is empty", "write the pre-shared key into it");
        return None;
    }
    Some(psk)
}

fn identity(written: Option<&String>, key: &str, check: &mut Check<'_>, path: &KeyPath) -> Option<Identity> {
    let text = written?;
    if text.is_empty() || text.len() > 255 || text.contains(char::is_control) {
        check.wrong(
            &path.key(key),
            "must be an identity of 1 to 255 bytes",
            "a name, an address, or name@domain, as the gateway knows it",
        );
        return None;
    }
    Some(Identity::from_text(text))
}

fn retransmit(file: &raw::Session, check: &mut Check<'_>, path: &KeyPath) -> Vec<Duration> {
    let path = path.key("retransmit");
    let Some(written) = &file.retransmit else { return Plan::RETRANSMIT.to_vec() };
    if written.is_empty() || written.len() > MOST {
        check.wrong_key(
            &path,
            format!("must be 1 to {MOST} waits"),
            "one for each transmission, for example [1s, 2s, 4s, 8s]",
        );
    }
    let waits = written.iter().enumerate();
    let waits: Vec<_> =
        waits.filter_map(|(index, wait)| check.duration(&path.item(index), Some(wait), WAIT)).collect();
    if waits.is_empty() { Plan::RETRANSMIT.to_vec() } else { waits }
}
