//! Whether an agent follows a strobe, as a table.

use crate::message::AgentState;

/// What happens to an agent at its strobe thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentEvent {
    /// A term admitted this life of it.
    Admitted,
    /// The commanded row is known: by a strobe, or when the table came that one had named.
    Commanded,
    /// No lease was renewed for `watchdog`, while the machine was stepped.
    WatchdogExpired,
    /// It was stopped for longer than `suspicion`: its view has gone on without it.
    LeftOut,
}

/// An event that cannot happen in a state: a defect of the switcher, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("event {event:?} does not belong to state {state:?}")]
pub struct WrongAgentEvent {
    /// The state.
    pub state: AgentState,
    /// The event.
    pub event: AgentEvent,
}

impl AgentState {
    /// Every state; an agent begins with the first.
    pub const ALL: [Self; 3] = [Self::Unsealed, Self::Strobed, Self::FreeRunning];

    /// The state after `event`.
    ///
    /// # Errors
    /// [`WrongAgentEvent`] when the event does not belong to this state.
    pub const fn after(self, event: AgentEvent) -> Result<Self, WrongAgentEvent> {
        match next(self, event) {
            Some(state) => Ok(state),
            None => Err(WrongAgentEvent { state: self, event }),
        }
    }
}

impl AgentEvent {
    /// Every event.
    pub const ALL: [Self; 4] = [Self::Admitted, Self::Commanded, Self::WatchdogExpired, Self::LeftOut];
}

/// The transition table. A row is on under a new term until that term's first strobe; only who is admitted can be commanded or left out.
const fn next(state: AgentState, event: AgentEvent) -> Option<AgentState> {
    use AgentEvent as E;
    use AgentState as S;
    match (state, event) {
        (S::Unsealed | S::FreeRunning, E::Admitted) | (S::Strobed, E::WatchdogExpired) => Some(S::FreeRunning),
        (S::Strobed, E::Admitted | E::Commanded) | (S::FreeRunning, E::Commanded) => Some(S::Strobed),
        (S::Strobed | S::FreeRunning, E::LeftOut) => Some(S::Unsealed),
        (S::Unsealed, E::Commanded | E::WatchdogExpired | E::LeftOut) | (S::FreeRunning, E::WatchdogExpired) => None,
    }
}
