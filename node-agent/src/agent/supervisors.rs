//! The supervisors' socket: accepting, one task a connection, messages both ways.

use std::{
    fs::Permissions,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use std::os::fd::OwnedFd;
use tokio::{
    io::unix::AsyncFd,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::AbortHandle,
};

use super::{
    event::Event,
    gang::SupervisorProcess,
    limits::{CONNECTIONS_PER_POD_MAX, HELLO_TIME_MAX, SUPERVISOR_MESSAGES_MAX, SUPERVISORS_BACKLOG},
    mailbox::Mailbox,
    refusals::SupervisorRefusal,
};
use crate::back_off::BackOff;
use crate::cgroup::{CgroupError, CgroupPath, PodUid, cgroup_of, process_of};
use crate::supervisor_protocol::{AgentEndpoint, ProtocolError, ToAgent, ToSupervisor};
use crate::sys::descriptor::register;

/// Names a connection in the life of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConnectionId(u64);

/// Whose connections a socket takes.
#[derive(Debug, Clone)]
pub(super) enum Guard {
    /// Processes of this user, to whom the supervisors belong that the agent starts.
    User(u32),
    /// Processes in this pod, of whatever user.
    Pod(PodUid),
}

/// Where in a pod the other end of a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodProcess {
    /// The pod.
    pub uid: PodUid,
    /// The pod's cgroup.
    pub pod: CgroupPath,
    /// The process's own cgroup, below it: a supervisor's is its container's.
    pub container: CgroupPath,
}

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
    /// Its place in its pod; none where the agent starts the supervisors.
    pub place: Option<PodProcess>,
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

/// Listens at `path` and serves every connection that `guard` lets in, until the returned handle is aborted.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn serve(path: &Path, guard: Guard, mailbox: Mailbox) -> io::Result<AbortHandle> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind_by_folder(&socket, path)?;
    if let Guard::Pod(_) = guard {
        // The pod's user is anybody; who connects is asked of the kernel.
        std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
    }
    listen(&socket, SUPERVISORS_BACKLOG)?;
    let socket = register(socket)?;
    Ok(tokio::spawn(accept_all(socket, guard, mailbox)).abort_handle())
}

/// Binds by a descriptor of the folder: a socket's path has at most 107 bytes, and that of a pod's volume beneath kubelet's folder has
/// more.
fn bind_by_folder(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok(bind(socket, &SocketAddrUnix::new(short.as_path())?)?)
}

async fn accept_all(socket: AsyncFd<OwnedFd>, guard: Guard, mailbox: Mailbox) {
    let places = match guard {
        Guard::User(_) => Semaphore::MAX_PERMITS,
        Guard::Pod(_) => CONNECTIONS_PER_POD_MAX,
    };
    let places = Arc::new(Semaphore::new(places));
    let mut back_off = BackOff::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(mut guarded) = socket.readable().await else { return };
        let accepted = guarded.try_io(|socket| Ok(accept_with(socket.get_ref(), SocketFlags::CLOEXEC)?));
        match accepted {
            Ok(Ok(connected)) => {
                back_off.reset();
                if let Err(error) = begin(connected, &guard, place, &mailbox).await {
                    mailbox.refusals.supervisor(error.refusal());
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection to the supervisors' socket was refused");
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
    #[error("the process at the other end is gone, or in another PID namespace than this agent's")]
    Gone(#[from] rustix::io::Errno),
    #[error("the process at the other end cannot be placed")]
    Place(#[from] CgroupError),
    #[error("process {process} in cgroup {found} is outside pod {pod}")]
    Outside { process: i32, found: CgroupPath, pod: PodUid },
    #[error("the socket cannot be waited for")]
    Register(#[from] io::Error),
}

impl RefusedConnection {
    const fn refusal(&self) -> SupervisorRefusal {
        match self {
            Self::User { .. } => SupervisorRefusal::WrongUser,
            Self::Outside { .. } => SupervisorRefusal::OutsidePod,
            Self::Gone(_) | Self::Place(_) => SupervisorRefusal::Unplaced,
            Self::Protocol(_) | Self::Register(_) => SupervisorRefusal::SocketFailed,
        }
    }
}

async fn begin(socket: OwnedFd, guard: &Guard, held: OwnedSemaphorePermit, mailbox: &Mailbox) -> Result<(), RefusedConnection> {
    /// One row of names for all sockets of the process.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed));
    let endpoint = AgentEndpoint::new(socket)?;
    let peer = endpoint.peer()?;
    let process = SupervisorProcess::open(peer.pid)?;
    let place = match guard {
        Guard::User(expected) if peer.uid != *expected => return Err(RefusedConnection::User { found: peer.uid, expected: *expected }),
        Guard::User(_) => None,
        Guard::Pod(pod) => Some(place_of(&process, pod)?),
    };
    let endpoint = register(endpoint)?;
    let (outgoing, queue) = mpsc::channel(SUPERVISOR_MESSAGES_MAX);
    // The connection's own messages must follow the event that announces it: the task waits for that.
    let (announced, wait) = tokio::sync::oneshot::channel();
    let conversation = converse(id, endpoint, queue, mailbox.clone(), wait);
    let task = tokio::spawn(async move {
        conversation.await;
        drop(held);
    });
    let connection = Connection { id, process, place, outgoing, task: task.abort_handle() };
    if mailbox.events.send(Event::Supervisor(SupervisorEvent::Connected(connection))).await.is_ok() {
        // A task that has ended already was aborted with its connection.
        let _ended = announced.send(());
    }
    Ok(())
}

/// Where a process is, which must be below its pod. The descriptor means the same process before and after the look, so that the
/// number cannot have become another's meanwhile.
fn place_of(process: &SupervisorProcess, uid: &PodUid) -> Result<PodProcess, RefusedConnection> {
    let number = process_of(process.descriptor.as_fd())?;
    let container = cgroup_of(number)?;
    if process_of(process.descriptor.as_fd())? != number {
        return Err(CgroupError::ProcessGone.into());
    }
    match uid.cgroup_above(&container) {
        Some(pod) => Ok(PodProcess { uid: uid.clone(), pod, container }),
        None => Err(RefusedConnection::Outside { process: process.pid, found: container, pod: uid.clone() }),
    }
}

async fn converse(
    id: ConnectionId,
    mut endpoint: AsyncFd<AgentEndpoint>,
    mut queue: mpsc::Receiver<(ToSupervisor, Option<OwnedFd>)>,
    mailbox: Mailbox,
    announced: tokio::sync::oneshot::Receiver<()>,
) {
    if announced.await.is_err() {
        return;
    }
    if let Err(error) = exchange(id, &mut endpoint, &mut queue, &mailbox).await {
        if error.is_nonsense() {
            mailbox.refusals.supervisor(SupervisorRefusal::Malformed);
        }
        tracing::debug!(connection = id.0, %error, "a supervisor's connection is over");
    }
    drop(endpoint);
    // The receiver is gone only when the agent ends.
    let _agent_ends = mailbox.events.send(Event::Supervisor(SupervisorEvent::Closed { connection: id })).await;
}

/// Moves messages both ways until the connection is over.
async fn exchange(
    id: ConnectionId,
    endpoint: &mut AsyncFd<AgentEndpoint>,
    queue: &mut mpsc::Receiver<(ToSupervisor, Option<OwnedFd>)>,
    mailbox: &Mailbox,
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
                        if mailbox.events.send(Event::Supervisor(event)).await.is_err() {
                            return Err(ProtocolError::Closed);
                        }
                    }
                }
            }
            () = &mut silence, if silent => {
                tracing::warn!(connection = id.0, "a connection said nothing within {HELLO_TIME_MAX:?}; it is closed");
                mailbox.refusals.supervisor(SupervisorRefusal::Silent);
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
    use crate::agent::mailbox::{Inbox, mailbox};

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let (mailbox, Inbox(mut queue)) = mailbox();
        let serving = serve(&path, Guard::User(rustix::process::geteuid().as_raw()), mailbox).unwrap();
        let silent = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&silent, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let Some(Event::Supervisor(SupervisorEvent::Connected(connection))) = queue.recv().await else { panic!("nobody has connected") };
        let patience = HELLO_TIME_MAX * 4;
        let closed = tokio::time::timeout(patience, queue.recv()).await.expect("it is closed in time");
        assert!(matches!(closed, Some(Event::Supervisor(SupervisorEvent::Closed { connection: id })) if id == connection.id), "{closed:?}");
        serving.abort();
    }
}
