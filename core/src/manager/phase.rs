//! How far a manager has come in its term, as a table.

/// How far a manager has come in its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManagerPhase {
    /// It is not appointed, or a member has refused it.
    Idle,
    /// Members are asked to seal.
    Sealing,
    /// The prefix is being installed on the sealed.
    Installing,
    /// It commands.
    Established,
}

/// What happens to a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManagerPhaseEvent {
    /// The authority appoints it for a higher term.
    Appointed,
    /// Enough members have sealed, and the others had their time.
    EnoughSealed,
    /// Enough members have the prefix.
    PrefixTaken,
    /// A member has promised a higher term.
    Refused,
}

/// An event that cannot happen in a phase: a defect of the caller, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("event {event:?} does not belong to phase {phase:?}")]
pub struct WrongManagerEvent {
    /// The phase.
    pub phase: ManagerPhase,
    /// The event.
    pub event: ManagerPhaseEvent,
}

impl ManagerPhase {
    /// Every phase, in the order of a reign.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Sealing, Self::Installing, Self::Established];

    /// The phase after `event`.
    ///
    /// # Errors
    /// [`WrongManagerEvent`] when the event does not belong to this phase.
    pub const fn after(self, event: ManagerPhaseEvent) -> Result<Self, WrongManagerEvent> {
        match next(self, event) {
            Some(phase) => Ok(phase),
            None => Err(WrongManagerEvent { phase: self, event }),
        }
    }
}

impl ManagerPhaseEvent {
    /// Every event.
    pub const ALL: [Self; 4] = [Self::Appointed, Self::EnoughSealed, Self::PrefixTaken, Self::Refused];
}

/// The transition table. A term ends at a higher one alone, its own or another's.
const fn next(phase: ManagerPhase, event: ManagerPhaseEvent) -> Option<ManagerPhase> {
    use ManagerPhase as P;
    use ManagerPhaseEvent as E;
    match (phase, event) {
        (P::Idle | P::Sealing | P::Installing | P::Established, E::Appointed) => Some(P::Sealing),
        (P::Sealing, E::EnoughSealed) => Some(P::Installing),
        (P::Installing, E::PrefixTaken) => Some(P::Established),
        (P::Sealing | P::Installing | P::Established, E::Refused) => Some(P::Idle),
        (P::Idle | P::Sealing | P::Installing | P::Established, _) => None,
    }
}
