//! What the authority knows of a node, as a table.

/// What the authority knows of a node. The agent's death is not the node's: only [`NodeState::Lost`] fails a gang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// No agent of it was ever reached.
    Absent,
    /// Its agent is reached now.
    Reachable,
    /// Its agent was reached once and is not now; its gangs may run.
    Unreachable,
    /// There is proof that no rank lives on it; it may still come back soon.
    Dead,
    /// There is proof, and it was silent for `nodeLost`.
    Lost,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeEvent {
    /// An agent of it is reached.
    Reached,
    /// Its agent is not reached any more.
    Silenced,
    /// There is proof that no rank lives on it (section 2 of the design).
    Proven,
    /// It was silent for `nodeLost` since the proof could count.
    Expired,
    /// It is in service again, with nothing of its earlier life, and its agent is not reached yet.
    Returned,
}

/// An event that cannot happen in a state: a defect of the caller, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("event {event:?} does not belong to node state {state:?}")]
pub struct WrongNodeEvent {
    /// The state.
    pub state: NodeState,
    /// The event.
    pub event: NodeEvent,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Absent, Self::Reachable, Self::Unreachable, Self::Dead, Self::Lost];

    /// True when there is proof that no rank lives on the node.
    #[must_use]
    pub const fn is_proven_dead(self) -> bool {
        matches!(self, Self::Dead | Self::Lost)
    }

    /// The state after `event`.
    ///
    /// # Errors
    /// [`WrongNodeEvent`] when the event does not belong to this state.
    pub const fn after(self, event: NodeEvent) -> Result<Self, WrongNodeEvent> {
        match next(self, event) {
            Some(state) => Ok(state),
            None => Err(WrongNodeEvent { state: self, event }),
        }
    }
}

impl NodeEvent {
    /// Every event.
    pub const ALL: [Self; 5] = [Self::Reached, Self::Silenced, Self::Proven, Self::Expired, Self::Returned];
}

/// The transition table.
const fn next(state: NodeState, event: NodeEvent) -> Option<NodeState> {
    use NodeEvent as E;
    use NodeState as S;
    match (state, event) {
        (S::Absent | S::Reachable | S::Unreachable | S::Dead | S::Lost, E::Reached) => Some(S::Reachable),
        (S::Reachable, E::Silenced) => Some(S::Unreachable),
        (S::Absent | S::Reachable | S::Unreachable, E::Proven) => Some(S::Dead),
        (S::Dead, E::Expired) => Some(S::Lost),
        (S::Dead | S::Lost, E::Returned) => Some(S::Absent),
        (S::Absent | S::Reachable | S::Unreachable | S::Dead | S::Lost, _) => None,
    }
}
