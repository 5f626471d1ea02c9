//! What opens an incident.
//!
//! Invariant: only a series that was well before can fall; for targets that never were see `never`.

use super::super::collector::{Found, Track};
use super::super::dpd::Verdict;
use super::super::incident::IncidentKind;
use super::super::liveness::State;
use super::super::watch::Transition;
use crate::time::Timestamp;

/// What happened to a series that an incident wants to know.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    Changed(Transition),
    /// All sessions of a profile were torn down.
    TornDown,
    Over(usize, Verdict),
}

impl News {
    pub(super) fn of(found: &Found) -> Option<Self> {
        match found {
            Found::Transition(_, Transition::LossRun(_) | Transition::LossWindow(_))
            | Found::Wanted(_)
            | Found::Incident(..) => None,
            Found::Transition(_, transition) => Some(Self::Changed(*transition)),
            Found::Teardown { sure, .. } => (*sure > 0).then_some(Self::TornDown),
            Found::Verdict { place, verdict, .. } => Some(Self::Over(*place, *verdict)),
        }
    }
}

/// What opens an incident.
pub(super) struct Fall {
    pub(super) kind: IncidentKind,
    /// When the incident began.
    pub(super) began: Timestamp,
    /// The time in which the cause is looked for.
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
}

impl Fall {
    /// The gravest fall in the news of a series that was well before.
    pub(super) fn of(track: &Track, news: &[News]) -> Option<Self> {
        news.iter().filter_map(|news| Self::one(track, *news)).max_by_key(|fall| fall.kind)
    }

    pub(super) fn one(track: &Track, news: News) -> Option<Self> {
        let fall = |kind, since| Some(Self { kind, began: since, since, until: None });
        match news {
            News::Changed(Transition::OutageBegan { since }) if track.answered() => {
                fall(IncidentKind::Outage, since)
            }
            News::Changed(Transition::State {
                from: State::Up | State::Degraded,
                to: State::Down,
                since,
            }) if track.watch().outage().is_none() => fall(IncidentKind::Refused, since),
            News::Changed(Transition::FlappingBegan { .. }) => {
                let (began, _) = track.downs().next()?;
                let (since, until) = track.downs().last()?;
                Some(Self { kind: IncidentKind::Flapping, began, since, until })
            }
            // There is no session with what never answered.
            News::TornDown if track.answered() => {
                let current = track.dpd().filter_map(|(_, survival)| survival?.current());
                fall(
                    IncidentKind::Dpd,
                    current.filter(|verdict| verdict.sure).map(|verdict| verdict.began).max()?,
                )
            }
            News::Over(_, verdict) if verdict.sure && track.answered_before(verdict.began) => {
                let until = Some(verdict.last_loss);
                Some(Self { kind: IncidentKind::Dpd, began: verdict.began, since: verdict.began, until })
            }
            _ => None,
        }
    }
}
