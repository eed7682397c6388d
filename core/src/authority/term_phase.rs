//! How far the newest term has come, as a table.

/// How far the newest term has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermPhase {
    /// There is no term of this authority's yet.
    Waiting,
    /// Its record is being written; nobody knows of it.
    Writing,
    /// Its manager is appointed and has not said that it is established.
    Appointed,
    /// Its manager has said so; the record that says so is being written.
    Confirming,
    /// It is established, and the record says so.
    Established,
}

/// What happens to the newest term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermEvent {
    /// A next term is to be: its record goes to the store.
    Begin,
    /// The store has the record.
    Written,
    /// The manager reports the term established.
    Established,
    /// The store has a newer record than this authority knew.
    Overtaken,
}

/// An event that cannot happen in a phase: a defect of the caller, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("event {event:?} does not belong to phase {phase:?}")]
pub struct WrongTermEvent {
    /// The phase.
    pub phase: TermPhase,
    /// The event.
    pub event: TermEvent,
}

impl TermPhase {
    /// Every phase, in the order of a term.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Writing, Self::Appointed, Self::Confirming, Self::Established];

    /// The phase after `event`.
    ///
    /// # Errors
    /// [`WrongTermEvent`] when the event does not belong to this phase.
    pub const fn after(self, event: TermEvent) -> Result<Self, WrongTermEvent> {
        match next(self, event) {
            Some(phase) => Ok(phase),
            None => Err(WrongTermEvent { phase: self, event }),
        }
    }
}

impl TermEvent {
    /// Every event.
    pub const ALL: [Self; 4] = [Self::Begin, Self::Written, Self::Established, Self::Overtaken];
}

/// The transition table. One record is in flight at most: no term begins while one is written.
const fn next(phase: TermPhase, event: TermEvent) -> Option<TermPhase> {
    use TermEvent as E;
    use TermPhase as P;
    match (phase, event) {
        (P::Waiting | P::Appointed | P::Established, E::Begin) => Some(P::Writing),
        (P::Writing, E::Written) => Some(P::Appointed),
        (P::Appointed, E::Established) => Some(P::Confirming),
        (P::Confirming, E::Written) => Some(P::Established),
        (P::Waiting | P::Writing | P::Appointed | P::Confirming | P::Established, E::Overtaken) => Some(P::Waiting),
        (P::Waiting | P::Writing | P::Appointed | P::Confirming | P::Established, _) => None,
    }
}
