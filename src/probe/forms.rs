//! Which form of a probe works with a member: learned, never assumed.
//!
//! A *gentle* form leaves no state at the peer, but standards let a box stay silent to it. So the
//! silence of a gentle form that a member has never answered proves nothing, until every other form was
//! silent too. A box that answers only a form that opens state is probed with that one, at the pace of
//! the budget.
//!
//! ```text
//!   unproven ── answered ──▶ proven(form) ── 3 × silent ──▶ the others are tried as well
//!      └── every form silent ──▶ dead: silence is loss
//! ```
//!
//! Invariant: with one form only, or with a first form that opens state itself, there is nothing to
//! learn and every silence is loss.

use smallvec::{SmallVec, smallvec};

use super::Form;
use crate::sample::{Fault, Outcome, Reason};

/// From how many silent tries in a row on, the other forms are tried as well.
const DOUBT: u32 = 3;
/// How often a box that answers only a form with state is asked the gentle one again, in slots.
const RETRY_GENTLE: u64 = 12;

#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    answered: bool,
    /// Silent tries since the last answer, or since it was refuted.
    silent: u32,
    /// A form with state was answered after so many of them.
    refuted: bool,
}

/// What a member has been seen to answer.
#[derive(Debug, Clone)]
pub struct Learner {
    forms: &'static [Form],
    memory: SmallVec<[Memory; 2]>,
    current: usize,
}

impl Learner {
    /// Nothing is known yet of `forms`.
    #[must_use]
    pub fn new(forms: &'static [Form]) -> Self {
        // A rare form that opens nothing is no other way to do the same: it finds out something else.
        let apart = forms.iter().position(|form| form.rare && form.stateless()).unwrap_or(forms.len());
        let forms = forms.get(..apart).unwrap_or(forms);
        Self { forms, memory: smallvec![Memory::default(); forms.len()], current: 0 }
    }

    /// Reads what the next slot will need. The number says nothing.
    #[must_use]
    pub fn fetch(&self) -> u64 {
        self.memory(0).silent.into()
    }

    /// Whether there is anything to learn: a gentle first form, and another.
    fn learns(&self) -> bool {
        self.forms.len() > 1 && self.forms.first().is_some_and(Form::stateless)
    }

    fn memory(&self, index: usize) -> Memory {
        self.memory.get(index).copied().unwrap_or_default()
    }

    /// The form for the slot `seq`.
    ///
    /// # Panics
    /// Never: a kind has at least one form.
    #[must_use]
    pub fn form(&self, seq: u64) -> &'static Form {
        let gentle = self.forms.iter().take_while(|form| form.stateless()).count();
        let current = self.memory(self.current);
        let index = if !self.learns() {
            0
        } else if self.current >= gentle {
            if seq.is_multiple_of(RETRY_GENTLE) { 0 } else { self.current }
        } else if current.answered && current.silent < DOUBT {
            self.current
        } else {
            // In doubt the gentle forms take turns: they cost the peer nothing.
            usize::try_from(seq % gentle as u64).unwrap_or(0)
        };
        self.forms.get(index).unwrap_or(&NONE)
    }

    /// A form with state that should be tried beside the slots, because the gentle ones are silent.
    #[must_use]
    pub fn trial(&self) -> Option<&'static Form> {
        let doubtful = |memory: Memory| memory.silent >= if memory.answered { DOUBT } else { 1 };
        if !self.learns() {
            return None;
        }
        let stateful = self.forms.iter().position(|form| !form.stateless())?;
        let silent = (0..stateful).all(|index| doubtful(self.memory(index)));
        (self.current < stateful && silent).then(|| self.forms.get(stateful)).flatten()
    }

    /// Whether the member is probed by a form that opens state, for want of a gentler one.
    #[must_use]
    pub fn stateful(&self) -> bool {
        self.learns() && !self.forms.get(self.current).is_none_or(Form::stateless)
    }

    /// Learns from an outcome of `form`, and says what it is worth: a silence that proves nothing
    /// becomes [`Fault::FormUnproven`].
    pub fn judge(&mut self, form: &Form, outcome: Outcome) -> Outcome {
        let Some(index) = self.forms.iter().position(|other| other.name == form.name) else { return outcome };
        if !self.learns() {
            return outcome;
        }
        match outcome.received() {
            Some(true) => {
                if let Some(memory) = self.memory.get_mut(index) {
                    *memory = Memory { answered: true, silent: 0, refuted: false };
                }
                let current = self.memory(self.current);
                let given_up = current.silent >= DOUBT;
                // The gentlest form that answers is the one to use. An outage may have ended just before a form
                // with state was tried: what used to be answered is given up only if it stays silent after it.
                if index < self.current
                    || !current.answered
                    || given_up && (form.stateless() || current.refuted)
                {
                    self.current = index;
                } else if given_up && let Some(memory) = self.memory.get_mut(self.current) {
                    (memory.silent, memory.refuted) = (0, true);
                }
                outcome
            }
            Some(false) if outcome == Outcome::Lost(Reason::NoAnswer) => {
                if let Some(memory) = self.memory.get_mut(index) {
                    memory.silent = memory.silent.saturating_add(1);
                }
                let proven = self.memory(index).answered;
                // A gentle form that was never answered says nothing while another form answers, or
                // while one has not been tried yet.
                let all_silent = self.memory.iter().all(|memory| memory.silent > 0);
                // While the form that used to be answered is silent too, the others' silence confirms it:
                // an outage is not sampled thinner than good times.
                let current = self.memory(self.current);
                let outage = current.answered && current.silent >= DOUBT;
                if proven || all_silent || outage { outcome } else { Outcome::Unsent(Fault::FormUnproven) }
            }
            // An ICMP error or a reset is an answer of its own kind, whatever the form; a fault of ours
            // is none at all.
            Some(false) | None => outcome,
        }
    }
}

static NONE: Form = Form { name: "none", charges: &[], packets: 1, rare: false };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Charge;

    static FORMS: &[Form] = &[
        Form { name: "policy", charges: &[], packets: 1, rare: false },
        Form { name: "version", charges: &[], packets: 1, rare: false },
        Form { name: "init", charges: &[Charge::HalfOpen], packets: 1, rare: true },
    ];
    const SILENT: Outcome = Outcome::Lost(Reason::NoAnswer);
    const UNPROVEN: Outcome = Outcome::Unsent(Fault::FormUnproven);

    fn named(name: &str) -> &'static Form {
        FORMS.iter().find(|form| form.name == name).unwrap()
    }

    /// Plays slots against a box that answers only the forms named.
    fn play(
        learner: &mut Learner,
        answers: &[&str],
        slots: std::ops::Range<u64>,
    ) -> Vec<(&'static str, Outcome)> {
        slots
            .flat_map(|seq| {
                let mut seen = vec![learner.form(seq)];
                seen.extend(learner.trial());
                seen.into_iter()
                    .map(|form| {
                        let raw = if answers.contains(&form.name) { Outcome::OK } else { SILENT };
                        (form.name, learner.judge(form, raw))
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn silence_of_a_proven_form_is_loss_at_once() {
        let mut learner = Learner::new(FORMS);
        play(&mut learner, &["policy", "version", "init"], 0..3);
        assert_eq!(learner.form(3).name, "policy");
        assert_eq!(learner.judge(named("policy"), SILENT), SILENT);
    }

    #[test]
    fn a_box_that_answers_only_the_full_form_is_never_called_lost_for_its_gentle_silence() {
        let mut learner = Learner::new(FORMS);
        for (form, outcome) in play(&mut learner, &["init"], 0..50) {
            assert_eq!(outcome, if form == "init" { Outcome::OK } else { UNPROVEN }, "{form}");
        }
        assert!(learner.stateful());
        assert_eq!(learner.form(51).name, "init");
    }

    #[test]
    fn an_outage_is_sampled_in_every_slot() {
        let mut learner = Learner::new(FORMS);
        play(&mut learner, &["policy", "version", "init"], 0..5);
        for (form, outcome) in play(&mut learner, &[], 5..40) {
            assert_eq!(outcome, SILENT, "{form}");
        }
    }

    #[test]
    fn a_dead_box_is_lost_once_every_form_was_silent() {
        let mut learner = Learner::new(FORMS);
        let seen = play(&mut learner, &[], 0..4);
        assert_eq!(seen.first().unwrap().1, UNPROVEN);
        assert_eq!(seen.last().unwrap().1, SILENT);
        assert_eq!(seen.iter().position(|(_, outcome)| *outcome == SILENT), Some(3), "{seen:?}");
    }

    #[test]
    fn the_gentler_form_is_taken_again_when_it_answers() {
        let mut learner = Learner::new(FORMS);
        play(&mut learner, &["init"], 0..10);
        assert!(learner.stateful());
        play(&mut learner, &["version", "init", "policy"], 10..25);
        assert!(!learner.stateful());
    }

    #[test]
    fn a_box_that_changes_its_mind_is_followed() {
        let mut learner = Learner::new(FORMS);
        play(&mut learner, &["policy"], 0..5);
        play(&mut learner, &["version"], 5..12);
        assert_eq!(learner.form(12).name, "version");
        for (form, outcome) in play(&mut learner, &["version"], 12..40) {
            assert_eq!((form, outcome), ("version", Outcome::OK));
        }
    }

    #[test]
    fn the_end_of_an_outage_that_the_full_form_finds_first_changes_nothing() {
        let mut learner = Learner::new(FORMS);
        play(&mut learner, &["policy", "version", "init"], 0..5);
        play(&mut learner, &[], 5..20);
        assert_eq!(learner.judge(named("init"), Outcome::OK), Outcome::OK);
        // Two more that left before the end.
        (0..2).for_each(|_| assert_eq!(learner.judge(named("policy"), SILENT), SILENT));
        assert!(!learner.stateful());
        assert_eq!(play(&mut learner, &["policy", "version", "init"], 20..22), [("policy", Outcome::OK); 2]);
        // A box that answers nothing else from now on is followed all the same.
        play(&mut learner, &["init"], 22..40);
        assert!(learner.stateful());
    }

    #[test]
    fn a_kind_with_state_in_its_first_form_has_nothing_to_learn() {
        static ONLY: &[Form] = &[
            Form { name: "reset", charges: &[Charge::OpenvpnReset], packets: 1, rare: false },
            Form { name: "tls", charges: &[Charge::OpenvpnReset], packets: 9, rare: true },
        ];
        let mut learner = Learner::new(ONLY);
        assert_eq!(learner.judge(&ONLY[0], SILENT), SILENT);
        assert_eq!(learner.form(7).name, "reset");
        assert_eq!(learner.trial(), None);
    }

    #[test]
    fn icmp_errors_are_evidence_whatever_the_form() {
        let mut learner = Learner::new(FORMS);
        let refused = Outcome::Refused(Reason::PortUnreachable);
        assert_eq!(learner.judge(named("version"), refused), refused);
    }
}
