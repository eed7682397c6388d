//! The one face of every state machine.

use crate::model::Instant;

/// A state machine that a shell drives.
///
/// *Expected flow:* the shell calls [`Machine::step`] for every input and carries out the effects in the order in which
/// they were emitted; it arms one timer for [`Machine::next_deadline`] and, when that instant is reached, steps with the
/// machine's own timer input.
///
/// *Guarantees:* `step` never blocks, and reads nothing but its arguments and the machine.
pub trait Machine {
    /// What can happen to the machine.
    type Input;
    /// What the machine wants done.
    type Effect;

    /// Takes one input at the instant `now` of the shell's monotonic clock and appends the effects to `out`.
    fn step(&mut self, now: Instant, input: Self::Input, out: &mut Outbox<Self::Effect>);

    /// The next instant at which the machine wants its timer input, if any.
    fn next_deadline(&self) -> Option<Instant>;
}

/// The effects of one or more steps, in order.
///
/// The storage is kept between steps, so that a machine on the strobe path allocates nothing once its outbox has the
/// capacity that its largest step needs.
#[derive(Debug, Clone)]
pub struct Outbox<Effect> {
    effects: Vec<Effect>,
}

impl<Effect> Outbox<Effect> {
    /// An outbox with room for `capacity` effects.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { effects: Vec::with_capacity(capacity) }
    }

    /// Appends one effect.
    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Takes the effects out, in order, and keeps the storage.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.effects.drain(..)
    }

    /// True when no effect waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }
}

impl<Effect> Default for Outbox<Effect> {
    fn default() -> Self {
        Self::with_capacity(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_is_empty_until_something_is_pushed_and_after_it_was_drained() {
        let mut out = Outbox::default();
        assert!(out.is_empty());
        out.push('a');
        out.push('b');
        assert!(!out.is_empty());
        assert_eq!((out.drain().collect::<String>(), out.is_empty()), ("ab".to_owned(), true));
    }
}
