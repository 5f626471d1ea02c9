//! What stands behind the block of an owner: the labels that a family has beside it, rendered.
//!
//! Owners have the same ones in the same order nearly always (`reason="no_answer"`, …), so what was rendered
//! for one is kept by its place and taken again for the next.
//!
//! Invariant: what is given back was rendered from exactly the values that are asked for.

/// The rendered extra labels of one family.
#[derive(Debug, Default)]
pub(super) struct Tails {
    kept: Vec<Tail>,
    /// The place of the next metric of the owner.
    next: usize,
}

#[derive(Debug, Default)]
struct Tail {
    values: Vec<Box<str>>,
    rendered: Vec<u8>,
}

impl Tails {
    /// Forgets all: what comes belongs to another family.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.next = 0;
    }

    /// What comes belongs to the next owner.
    #[inline]
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// The labels with these values: as kept, or as `render` writes them.
    #[inline]
    pub(super) fn get(&mut self, values: &[&str], render: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let place = self.next;
        self.next += 1;
        if self.kept.len() <= place {
            self.kept.push(Tail::default());
            self.anew(place, values, render);
        } else if !self.kept.get(place).is_some_and(|tail| tail.is(values)) {
            self.anew(place, values, render);
        }
        self.kept.get(place).map_or(&[], |tail| &tail.rendered)
    }

    #[cold]
    fn anew(&mut self, place: usize, values: &[&str], render: impl FnOnce(&mut Vec<u8>)) {
        if let Some(tail) = self.kept.get_mut(place) {
            tail.values.clear();
            tail.values.extend(values.iter().map(|value| Box::from(*value)));
            tail.rendered.clear();
            render(&mut tail.rendered);
        }
    }
}

impl Tail {
    #[inline]
    fn is(&self, values: &[&str]) -> bool {
        self.values.len() == values.len()
            && self.values.iter().zip(values).all(|(kept, value)| **kept == **value)
    }
}
