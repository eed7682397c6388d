//! The supervisors' socket: accepting, one task a connection, messages both ways.

use std::{io, path::Path};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use std::os::fd::OwnedFd;
use tokio::{io::unix::AsyncFd, sync::mpsc, task::AbortHandle};

use super::{
    event::Event,
    gang::SupervisorProcess,
    limits::{HELLO_TIME_MAX, SUPERVISOR_MESSAGES_MAX, SUPERVISORS_BACKLOG},
};
use crate::back_off::BackOff;
use crate::supervisor_protocol::{AgentEndpoint, ProtocolError, ToAgent, ToSupervisor};
use crate::sys::descriptor::register;

/// Names a connection in the life of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConnectionId(u64);

/// What a connection tells the agent.
#[derive(Debug)]
pub(super) enum SupervisorEvent {
    /// A supervisor has connected; it has not said who it is.
    Connected(Connection),
    /// A message, with its descriptor.
    Message {
        /// The connection.
        connection: ConnectionId,
        /// The message.
        message: ToAgent,
        /// The descriptor that came with it.
        descriptor: Option<OwnedFd>,
    },
    /// The connection is over.
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
}

/// The agent's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// The process at the other end, as the kernel knows it.
    pub process: SupervisorProcess,
    outgoing: mpsc::Sender<(ToSupervisor, Option<OwnedFd>)>,
    task: AbortHandle,
}

impl Connection {
    /// Queues a message. False when the supervisor does not read: the connection is of no more use.
    pub(super) fn send(&self, message: ToSupervisor, descriptor: Option<OwnedFd>) -> bool {
        self.outgoing.try_send((message, descriptor)).is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens at `path` and serves every connection of a process of `uid`, until the returned handle is aborted.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn serve(path: &Path, uid: u32, events: mpsc::Sender<Event>) -> io::Result<AbortHandle> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, SUPERVISORS_BACKLOG)?;
    let socket = register(socket)?;
    Ok(tokio::spawn(accept_all(socket, uid, events)).abort_handle())
}

async fn accept_all(socket: AsyncFd<OwnedFd>, uid: u32, events: mpsc::Sender<Event>) {
    let mut next = 0;
    let mut back_off = BackOff::new();
    loop {
        let Ok(mut guard) = socket.readable().await else { return };
        let accepted = guard.try_io(|socket| Ok(accept_with(socket.get_ref(), SocketFlags::CLOEXEC)?));
        match accepted {
            Ok(Ok(connected)) => {
                next += 1;
                back_off.reset();
                if let Err(error) = begin(ConnectionId(next), connected, uid, &events).await {
                    tracing::warn!(%error, "a connection to the supervisors' socket was refused");
                }
            }
            Ok(Err(error)) => {
                // Mostly a lack of descriptors: others must close some first, and the connection waits.
                tracing::warn!(%error, "accepting a supervisor failed");
                tokio::time::sleep(back_off.wait()).await;
            }
            Err(_would_block) => {}
        }
    }
}

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
enum RefusedConnection {
    #[error("the socket failed")]
    Protocol(#[from] ProtocolError),
    #[error("user {found} is not {expected}, whose supervisors this agent serves")]
    User { found: u32, expected: u32 },
    #[error("the process at the other end is gone")]
    Gone(#[from] rustix::io::Errno),
    #[error("the socket cannot be waited for")]
    Register(#[from] io::Error),
}

async fn begin(id: ConnectionId, socket: OwnedFd, uid: u32, events: &mpsc::Sender<Event>) -> Result<(), RefusedConnection> {
    let endpoint = AgentEndpoint::new(socket)?;
    let peer = endpoint.peer()?;
    if peer.uid != uid {
        return Err(RefusedConnection::User { found: peer.uid, expected: uid });
    }
    let process = SupervisorProcess::open(peer.pid)?;
    let endpoint = register(endpoint)?;
    let (outgoing, queue) = mpsc::channel(SUPERVISOR_MESSAGES_MAX);
    // The connection's own messages must follow the event that announces it: the task waits for that.
    let (announced, wait) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(converse(id, endpoint, queue, events.clone(), wait)).abort_handle();
    let connection = Connection { id, process, outgoing, task };
    if events.send(Event::Supervisor(SupervisorEvent::Connected(connection))).await.is_ok() {
        // A task that has ended already was aborted with its connection.
        let _ended = announced.send(());
    }
    Ok(())
}

async fn converse(
    id: ConnectionId,
    mut endpoint: AsyncFd<AgentEndpoint>,
    mut queue: mpsc::Receiver<(ToSupervisor, Option<OwnedFd>)>,
    events: mpsc::Sender<Event>,
    announced: tokio::sync::oneshot::Receiver<()>,
) {
    if announced.await.is_err() {
        return;
    }
    if let Err(error) = exchange(id, &mut endpoint, &mut queue, &events).await {
        tracing::debug!(connection = id.0, %error, "a supervisor's connection is over");
    }
    drop(endpoint);
    // The receiver is gone only when the agent ends.
    let _agent_ends = events.send(Event::Supervisor(SupervisorEvent::Closed { connection: id })).await;
}

/// Moves messages both ways until the connection is over.
async fn exchange(
    id: ConnectionId,
    endpoint: &mut AsyncFd<AgentEndpoint>,
    queue: &mut mpsc::Receiver<(ToSupervisor, Option<OwnedFd>)>,
    events: &mpsc::Sender<Event>,
) -> Result<(), ProtocolError> {
    let silence = tokio::time::sleep(HELLO_TIME_MAX);
    tokio::pin!(silence);
    let mut silent = true;
    loop {
        let interest = if endpoint.get_ref().wants_write() {
            tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE
        } else {
            tokio::io::Interest::READABLE
        };
        tokio::select! {
            ready = endpoint.ready_mut(interest) => {
                let Ok(mut guard) = ready else { return Err(ProtocolError::Closed) };
                guard.get_inner_mut().flush()?;
                let received = guard.get_inner_mut().receive()?;
                match received {
                    None => guard.clear_ready(),
                    Some(received) => {
                        silent = false;
                        let event = SupervisorEvent::Message { connection: id, message: received.message, descriptor: received.descriptor };
                        if events.send(Event::Supervisor(event)).await.is_err() {
                            return Err(ProtocolError::Closed);
                        }
                    }
                }
            }
            () = &mut silence, if silent => {
                tracing::warn!(connection = id.0, "a connection said nothing within {HELLO_TIME_MAX:?}; it is closed");
                return Err(ProtocolError::Closed);
            }
            message = queue.recv() => {
                let Some((message, descriptor)) = message else { return Err(ProtocolError::Closed) };
                endpoint.get_mut().queue(&message, descriptor)?;
                endpoint.get_mut().flush()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::connect;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let (events, mut queue) = mpsc::channel(8);
        let serving = serve(&path, rustix::process::geteuid().as_raw(), events).unwrap();
        let silent = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&silent, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let Some(Event::Supervisor(SupervisorEvent::Connected(connection))) = queue.recv().await else { panic!("nobody has connected") };
        let patience = HELLO_TIME_MAX * 4;
        let closed = tokio::time::timeout(patience, queue.recv()).await.expect("it is closed in time");
        assert!(matches!(closed, Some(Event::Supervisor(SupervisorEvent::Closed { connection: id })) if id == connection.id), "{closed:?}");
        serving.abort();
    }
}
