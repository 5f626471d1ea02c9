//! `/api/v1/incidents` and `/api/v1/incidents/ID`: what was recorded.
//!
//! | parameter | meaning |
//! |---|---|
//! | `limit` | at most so many, 1 to 1000; 100 if it is missing |
//! | `since` | began at this time or later: RFC 3339, or an age such as `24h` |
//! | `target` | of this target only |
//!
//! Invariant: a parameter that is not understood is refused, never left out: a list that is longer than
//! asked for would be believed.

use std::sync::Arc;

use hyper::{Request, StatusCode};
use serde::Serialize;

use super::probe::parameter;
use super::{Answer, App, json, text};
use crate::store::Summary;
use crate::store::shelf::{Unshown, is_id};
use crate::store::wanted::{Wanted, since};
use crate::time::WallTime;

/// The incidents of a list unless it says how many.
const LIMIT: usize = 100;
/// The most of them.
const MOST: usize = 1000;

/// The answer to a list.
#[derive(Serialize)]
struct List {
    /// The version of this form: 1.
    schema: u32,
    /// When it was made.
    time: WallTime,
    /// How many there are that match.
    total: usize,
    /// The newest of them, the newest first.
    incidents: Vec<Summary>,
}

/// Reads a query, at `now`; the error is for people.
fn read(query: &str, now: WallTime) -> Result<Wanted, String> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !["limit", "since", "target"].contains(&name) {
            return Err("The parameters are limit, since and target.\n".to_owned());
        }
        if parameter(query, name).is_none() {
            return Err(format!("The parameter {name} has no value.\n"));
        }
    }
    let limit = match parameter(query, "limit").map(|text| text.parse()) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=MOST).contains(&limit) => limit,
        Some(_) => return Err(format!("limit must be a number from 1 to {MOST}.\n")),
    };
    let wrong = "since must be a time such as 2026-11-22T05:00:00Z, or an age such as 24h.\n";
    let since = parameter(query, "since").map(|text| since(&text, now).ok_or(wrong)).transpose()?;
    Ok(Wanted { limit, since, target: parameter(query, "target") })
}

impl App {
    pub(super) fn incidents<B>(&self, request: &Request<B>) -> Answer {
        let now = self.registry.clock().wall();
        let wanted = match read(request.uri().query().unwrap_or_default(), now) {
            Ok(wanted) => wanted,
            Err(why) => return text(StatusCode::BAD_REQUEST, &why),
        };
        let (total, incidents) = wanted.of(self.shelf.list());
        json(&List { schema: 1, time: now, total, incidents })
    }

    pub(super) async fn incident(&self, id: &str) -> Answer {
        const NONE: &str = "There is no such incident; /api/v1/incidents lists the ones there are.\n";
        if !is_id(id) {
            return text(StatusCode::NOT_FOUND, NONE);
        }
        let (shelf, id) = (Arc::clone(&self.shelf), id.to_owned());
        // It may come from a disk.
        let reading = tokio::task::spawn_blocking(move || shelf.show(&id));
        match tokio::time::timeout(self.deadline(), reading).await {
            Ok(Ok(Ok(incident))) => json(&incident),
            Ok(Ok(Err(Unshown::None))) => text(StatusCode::NOT_FOUND, NONE),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "The incident cannot be read; see the log.\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_understood_or_refused() {
        let now = WallTime::from_unix_secs(1_795_305_600);
        let wanted = |limit, since, target: Option<&str>| {
            Ok(Wanted { limit, since, target: target.map(str::to_owned) })
        };
        assert_eq!(read("", now), wanted(100, None, None));
        assert_eq!(read("limit=5&target=hq", now), wanted(5, None, Some("hq")));
        let day = Some(WallTime::from_unix_secs(1_795_305_600 - 86_400));
        assert_eq!(read("since=24h", now), wanted(100, day, None));
        assert_eq!(read("since=2026-11-21T00%3A00:00Z", now), wanted(100, day, None));
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit",
            "since=yesterday",
            "since=",
            "target=",
            "target=%zz",
            "state=open",
            "Limit=5",
            "limit=5&x",
        ] {
            assert!(read(wrong, now).is_err(), "{wrong}");
        }
    }
}
