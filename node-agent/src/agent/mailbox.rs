//! How the rest of the process reaches its agent, also before the agent runs: what comes early waits.

use std::{io, path::Path};

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::{
    LeavingReason,
    event::Event,
    limits::EVENTS_MAX,
    refusals::Refusals,
    supervisors::{self, Guard},
};
use crate::cgroup::PodUid;

/// The way in.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(super) events: mpsc::Sender<Event>,
    /// What is refused on the way.
    pub(super) refusals: Refusals,
}

/// What the agent takes from.
#[derive(Debug)]
pub(crate) struct Inbox(pub(super) mpsc::Receiver<Event>);

/// The agent is gone, or going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent ends")]
pub(crate) struct AgentEnds;

/// Both ends for one agent.
pub(crate) fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    (Mailbox { events: sender, refusals: Refusals::new() }, Inbox(receiver))
}

// === impl Mailbox ===

impl Mailbox {
    /// Waits until the authority has asked for a gang with a part in this pod, however long that takes.
    ///
    /// # Errors
    /// [`AgentEnds`].
    pub(crate) async fn await_launch(&self, pod: PodUid) -> Result<(), AgentEnds> {
        let (answer, launched) = oneshot::channel();
        self.events.send(Event::PodAwaited { pod, answer }).await.map_err(|_| AgentEnds)?;
        launched.await.map_err(|_| AgentEnds)
    }

    /// Serves a pod's own socket, until the returned handle is aborted.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn serve_pod(&self, socket: &Path, pod: PodUid) -> io::Result<AbortHandle> {
        supervisors::serve(socket, Guard::Pod(pod), self.clone())
    }

    /// Asks the agent to leave.
    ///
    /// # Errors
    /// [`AgentEnds`] when it has left.
    pub(crate) async fn leave(&self, reason: LeavingReason) -> Result<(), AgentEnds> {
        self.events.send(Event::Leave(reason)).await.map_err(|_| AgentEnds)
    }
}
