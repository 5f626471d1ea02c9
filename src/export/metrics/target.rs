//! The metrics of one target: its state, its incidents, and what is known about its members.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::{SmallVec, smallvec};

use super::cells::Cells;
use super::families::{Family, Owner, Sink, slot};
use crate::detect::incident::Cause;
use crate::detect::liveness::State;
use crate::diagnose::{Observed, Status, Step, StepReason};
use crate::route::Ways;
use crate::sample::Text;
use crate::time::Timestamp;

/// What is known about a member. Remote text is escaped and capped by [`Text`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberInfo {
    /// Its address; nothing while its name is not resolved.
    pub address: Option<IpAddr>,
    /// Who made it, as it says.
    pub vendor: Option<Text>,
    /// Which protocol versions it speaks.
    pub versions: Option<Text>,
}

impl MemberInfo {
    /// `ipv4`, `ipv6`, or nothing without an address.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self.address {
            Some(IpAddr::V4(_)) => "ipv4",
            Some(IpAddr::V6(_)) => "ipv6",
            None => "",
        }
    }
}

/// The ladder of a target as judged last, and the ways it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    /// What the judgement rests on, in one number: the same number, the same judgement.
    pub print: u64,
    /// The steps, in their order.
    pub steps: Box<[Arc<Told>]>,
    /// The ways, if the kernel was asked.
    pub ways: Option<Arc<Ways>>,
}

impl Ladder {
    /// A step of it.
    pub fn step(&self, step: Step) -> Option<&Told> {
        self.steps.iter().map(|told| &**told).find(|told| told.step == step)
    }
}

/// What is told of one step. Most targets have most of it in common, and share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Told {
    /// Which step.
    pub step: Step,
    /// How it went.
    pub status: Status,
    /// Why.
    pub reason: Option<StepReason>,
    /// For people, in English.
    pub text: Box<str>,
}

/// What was seen inside, all in one round: the round's number, and what each probe saw.
pub type SeenInside = (u64, Arc<Vec<Observed>>);

/// The metrics of one target.
#[derive(Debug)]
pub struct TargetMetrics {
    name: String,
    state: AtomicU8,
    /// Since when, in nanoseconds.
    since: AtomicU64,
    ladder: Mutex<Option<Arc<Ladder>>>,
    inside: Mutex<Option<SeenInside>>,
    /// By cause.
    incidents: Cells,
    /// In the order of their slots.
    members: Mutex<Vec<(u8, Member)>>,
}

#[derive(Debug, Default)]
struct Member {
    info: MemberInfo,
    changes: u32,
}

impl TargetMetrics {
    /// How often a member may tell another vendor or version before the label says `changing`: a peer
    /// must not be able to make series without end.
    pub const MAX_CHANGES: u32 = 16;

    pub(super) fn new(name: &str) -> Self {
        let state = AtomicU8::new(State::Unknown as u8);
        let (name, ladder, inside) = (name.to_owned(), Mutex::default(), Mutex::default());
        let (since, incidents) = (AtomicU64::new(0), Cells::default());
        Self { name, state, since, ladder, inside, incidents, members: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets its state; one that is another than before holds since `since`.
    pub fn set_state(&self, state: State, since: Timestamp) {
        if self.state.swap(state as u8, Relaxed) != state as u8 {
            self.since.store(since.as_nanos(), Relaxed);
        }
    }

    /// Since when it is in that state; nothing while that is unknown.
    pub fn since(&self) -> Option<Timestamp> {
        (self.state() != State::Unknown).then(|| Timestamp::from_nanos(self.since.load(Relaxed)))
    }

    /// Its state.
    pub fn state(&self) -> State {
        let at = usize::from(self.state.load(Relaxed));
        State::ALL.get(at).copied().unwrap_or(State::Unknown)
    }

    /// Counts an incident.
    pub fn incident(&self, cause: Cause) {
        self.incidents.add(cause as u16);
    }

    /// Sets how its steps went.
    pub fn set_ladder(&self, ladder: Arc<Ladder>) {
        *self.ladder.lock().unwrap_or_else(PoisonError::into_inner) = Some(ladder);
    }

    /// How its steps went; nothing before they were judged.
    pub fn ladder(&self) -> Option<Arc<Ladder>> {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what was seen behind its tunnel.
    pub fn set_inside(&self, seen: Option<SeenInside>) {
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// What was seen behind its tunnel; nothing before it was asked.
    pub fn inside(&self) -> Option<SeenInside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what is known about a member, or forgets the member.
    pub fn set_member(&self, member: u8, info: Option<MemberInfo>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(info) = info else {
            members.retain(|(slot, _)| *slot != member);
            return;
        };
        let place = members.partition_point(|(slot, _)| *slot < member);
        if members.get(place).is_none_or(|(slot, _)| *slot != member) {
            // Nearly all targets have one member for ever.
            members.reserve_exact(1);
            members.insert(place, (member, Member::default()));
        }
        let Some((_, known)) = members.get_mut(place) else { return };
        let told = known.info.vendor.is_some() || known.info.versions.is_some();
        if told && (&known.info.vendor, &known.info.versions) != (&info.vendor, &info.versions) {
            known.changes = known.changes.saturating_add(1);
        }
        known.info = info;
    }

    /// The members, by slot.
    pub fn members(&self) -> Vec<(u8, MemberInfo)> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().map(|(slot, member)| (*slot, member.info.clone())).collect()
    }
}

impl Owner for TargetMetrics {
    fn labels(&self) -> SmallVec<[Cow<'_, str>; 4]> {
        smallvec![(&self.name).into()]
    }

    fn collect<S: Sink>(&self, family: Family, out: &mut S) {
        match family {
            Family::TargetState => {
                let state = self.state();
                State::ALL.iter().for_each(|each| out.flag(&[each.as_str()], *each == state));
            }
            Family::StepStatus => {
                let ladder = self.ladder();
                for step in Step::ALL {
                    let judged = ladder.as_ref().and_then(|ladder| ladder.step(*step));
                    let status = judged.map_or(Status::Unknown, |judged| judged.status);
                    for each in Status::ALL {
                        out.flag(&[step.as_str(), each.as_str()], *each == status);
                    }
                }
            }
            Family::Incidents => {
                for cause in Cause::ALL {
                    out.whole(&[cause.as_str()], self.incidents.get(*cause as u16));
                }
            }
            Family::TargetInfo => {
                let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
                for (member, Member { info, changes }) in &*members {
                    let address = info.address.map(|address| address.to_string()).unwrap_or_default();
                    let shown = |text: &Option<Text>| match text {
                        Some(_) if *changes > Self::MAX_CHANGES => "changing".to_owned(),
                        text => text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default(),
                    };
                    let (vendor, versions) = (shown(&info.vendor), shown(&info.versions));
                    out.number(&[&slot(*member), &address, info.family(), &vendor, &versions], 1.0);
                }
            }
            _ => {}
        }
    }
}
