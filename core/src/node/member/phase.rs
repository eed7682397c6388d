//! How far a member has come in the term that it sealed last, as a table.

/// How far a member has come in the term that it sealed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberPhase {
    /// This life of the agent has sealed nothing.
    Unsealed,
    /// The promise is being made.
    Sealing,
    /// The promise is made; it waits for the prefix.
    Sealed,
    /// It has the prefix; it waits for the view.
    Installed,
    /// It belongs to the view.
    Admitted,
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberPhaseEvent {
    /// A term asks for its promise: a higher one than it sealed, or any that an earlier life may have sealed too.
    Asked,
    /// The promise is written.
    Promised,
    /// The manager sent the prefix.
    Installed,
    /// The manager's view has this life of it.
    Admitted,
    /// The manager, or it itself, does not count it in any more: it asks to be admitted.
    LeftOut,
}

/// An event that cannot happen in a phase: a defect of the caller, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("event {event:?} does not belong to phase {phase:?}")]
pub struct WrongMemberEvent {
    /// The phase.
    pub phase: MemberPhase,
    /// The event.
    pub event: MemberPhaseEvent,
}

impl MemberPhase {
    /// Every phase, in the order of a term.
    pub const ALL: [Self; 5] = [Self::Unsealed, Self::Sealing, Self::Sealed, Self::Installed, Self::Admitted];

    /// The phase after `event`.
    ///
    /// # Errors
    /// [`WrongMemberEvent`] when the event does not belong to this phase.
    pub const fn after(self, event: MemberPhaseEvent) -> Result<Self, WrongMemberEvent> {
        match next(self, event) {
            Some(phase) => Ok(phase),
            None => Err(WrongMemberEvent { phase: self, event }),
        }
    }
}

impl MemberPhaseEvent {
    /// Every event.
    pub const ALL: [Self; 5] = [Self::Asked, Self::Promised, Self::Installed, Self::Admitted, Self::LeftOut];
}

/// The transition table. Only a manager whose seal was answered installs, admits and leaves out.
const fn next(phase: MemberPhase, event: MemberPhaseEvent) -> Option<MemberPhase> {
    use MemberPhase as P;
    use MemberPhaseEvent as E;
    match (phase, event) {
        (P::Unsealed | P::Sealing | P::Sealed | P::Installed | P::Admitted, E::Asked) => Some(P::Sealing),
        (P::Sealing, E::Promised) => Some(P::Sealed),
        (P::Sealed | P::Installed | P::Admitted, E::Installed) => Some(P::Installed),
        (P::Installed | P::Admitted, E::Admitted) => Some(P::Admitted),
        (P::Sealed | P::Installed | P::Admitted, E::LeftOut) => Some(P::Sealed),
        (P::Unsealed | P::Sealing | P::Sealed | P::Installed | P::Admitted, _) => None,
    }
}
