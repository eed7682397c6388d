//! The connection to the agent, made again whenever it is lost.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
    process::geteuid,
};

use super::{error::SupervisorError, life::Moment};
use crate::back_off::BackOff;
use crate::supervisor_protocol::{ProtocolError, Received, SupervisorEndpoint, ToAgent, ToSupervisor};

/// The link, standing or waiting for the next try.
#[derive(Debug)]
pub(super) struct AgentLink {
    address: SocketAddrUnix,
    directory: PathBuf,
    endpoint: Option<SupervisorEndpoint>,
    directory_events: OwnedFd,
    back_off: BackOff,
    retry_at: Moment,
}

impl AgentLink {
    /// A link that has not been tried.
    pub(super) fn new(path: &Path) -> Result<Self, SupervisorError> {
        let address = SocketAddrUnix::new(path)
            .map_err(|_| SupervisorError::Argument { name: "--socket", problem: format!("{path:?} is too long for a unix socket") })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        Ok(Self {
            address,
            directory: parent.unwrap_or(Path::new(".")).to_owned(),
            endpoint: None,
            directory_events: inotify::init(flags).map_err(SupervisorError::kernel("inotify_init1"))?,
            back_off: BackOff::new(),
            retry_at: Moment::ZERO,
        })
    }

    /// When the next try is due; none while the link stands.
    pub(super) fn retry_at(&self) -> Option<Moment> {
        self.endpoint.is_none().then_some(self.retry_at)
    }

    /// Tries to connect if that is due; whether the link was made.
    pub(super) fn try_connect(&mut self, now: Moment) -> bool {
        if self.endpoint.is_some() || now < self.retry_at {
            return false;
        }
        // Watching comes before trying: a socket that appears in between is then seen.
        self.watch_directory();
        match self.connect() {
            Ok(endpoint) => {
                self.endpoint = Some(endpoint);
                true
            }
            Err(_absent) => {
                self.wait(now);
                false
            }
        }
    }

    /// The agent wants this supervisor: the next loss of the connection is a first one. A connection alone does not say
    /// so, since an agent that refuses its supervisor accepts it first.
    pub(super) fn welcomed(&mut self) {
        self.back_off.reset();
    }

    /// Something appeared in the socket's directory: the next try is due at once, with short back-off.
    pub(super) fn directory_changed(&mut self, now: Moment) {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.directory_events, &mut space);
        while reader.next().is_ok() {}
        self.retry_at = now;
        self.back_off.reset();
    }

    /// Descriptor that tells of changes in the socket's directory.
    pub(super) fn directory_descriptor(&self) -> BorrowedFd<'_> {
        self.directory_events.as_fd()
    }

    /// Descriptor of the connection and whether it has something to write.
    pub(super) fn connection(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.endpoint.as_ref().map(|endpoint| (endpoint.as_fd(), endpoint.wants_write()))
    }

    /// Drops the connection; the next try waits for the back-off.
    pub(super) fn disconnect(&mut self, now: Moment) {
        self.endpoint = None;
        self.wait(now);
    }

    /// Sends a message; without a connection it is dropped, because the next Hello says it all again.
    pub(super) fn send(&mut self, message: &ToAgent, descriptor: Option<OwnedFd>) -> Result<(), ProtocolError> {
        let Some(endpoint) = &mut self.endpoint else { return Ok(()) };
        endpoint.queue(message, descriptor)?;
        endpoint.flush()
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> Result<(), ProtocolError> {
        self.endpoint.as_mut().map_or(Ok(()), SupervisorEndpoint::flush)
    }

    /// The next message, if one is there.
    pub(super) fn receive(&mut self) -> Result<Option<Received<ToSupervisor>>, ProtocolError> {
        self.endpoint.as_mut().map_or(Ok(None), SupervisorEndpoint::receive)
    }

    fn wait(&mut self, now: Moment) {
        self.retry_at = now + self.back_off.wait();
    }

    fn watch_directory(&self) {
        let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ONLYDIR;
        // A directory that is not there yet is watched at a later try.
        let _absent = inotify::add_watch(&self.directory_events, &self.directory, events);
    }

    fn connect(&self) -> Result<SupervisorEndpoint, ProtocolError> {
        let failed = |operation| move |source| ProtocolError::Socket { operation, source };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("socket"))?;
        connect(&socket, &self.address).map_err(failed("connect"))?;
        let endpoint = SupervisorEndpoint::new(socket)?;
        let uid = endpoint.peer()?.uid;
        // Root, or whoever started this supervisor; in a pod the agent's root is mapped to itself.
        if uid == 0 || uid == geteuid().as_raw() {
            Ok(endpoint)
        } else {
            Err(ProtocolError::Socket { operation: "checking the agent's credentials", source: Errno::PERM })
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::{
        fs::{Mode, chmod},
        net::{bind, listen},
        process::Uid,
        thread::set_thread_res_uid,
    };

    use super::*;

    const NOBODY: u32 = 65534;

    #[test]
    fn an_agent_of_another_user_is_none() {
        if !geteuid().is_root() {
            return eprintln!("not tested here: only root can be another user");
        }
        let directory = tempfile::tempdir().unwrap();
        chmod(directory.path(), Mode::from(0o777)).unwrap();
        let path = directory.path().join("agent.sock");
        let address = SocketAddrUnix::new(&path).unwrap();
        let stranger = std::thread::spawn(move || {
            let nobody = Uid::from_raw(NOBODY);
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
            let agent = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
            bind(&agent, &address).unwrap();
            listen(&agent, 1).unwrap();
            agent
        });
        let _listens = stranger.join().unwrap();
        let mut link = AgentLink::new(&path).unwrap();
        let refused = link.connect();
        assert!(matches!(refused, Err(ProtocolError::Socket { source: Errno::PERM, .. })), "{refused:?}");
        assert!(!link.try_connect(Moment::ZERO));
    }

    #[test]
    fn a_supervisor_that_is_never_welcome_comes_back_ever_more_rarely() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let agent = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&agent, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&agent, 128).unwrap();
        let mut link = AgentLink::new(&path).unwrap();
        let mut now = Moment::ZERO;
        let mut refused = |link: &mut AgentLink| {
            assert!(link.try_connect(now));
            link.disconnect(now);
            let wait = link.retry_at().unwrap() - now;
            now += wait;
            wait
        };
        let mut expected = BackOff::new();
        assert!((0..10).all(|_| refused(&mut link) == expected.wait()));
        link.welcomed();
        assert_eq!(refused(&mut link), BackOff::new().wait());
    }
}
