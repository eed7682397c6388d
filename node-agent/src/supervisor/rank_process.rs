//! One rank as a process: its stub, its descriptors, its output.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, WaitStatus, kill_process, pidfd_open, pidfd_send_signal},
};

use super::{
    environment::EnvironmentChange,
    error::SupervisorError,
    journal::say,
    limits::{LAST_READ_BYTES, PIECE_BYTES, READ_BYTES},
    output::LineCutter,
    sink::Sink,
};
use crate::supervisor_protocol::{Rank, RankEnd};

const THIS_PROGRAM: &str = "/proc/self/exe";

/// What a rank needs to be forked.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForkInput<'a> {
    pub(super) rank: Rank,
    /// What its lines are told apart by.
    pub(super) name: Option<&'a str>,
    pub(super) cpus: &'a [u16],
    pub(super) command: &'a [OsString],
    pub(super) log_directory: Option<&'a Path>,
    pub(super) wants_pmi: bool,
}

/// A rank's process, from its stub on.
#[derive(Debug)]
pub(super) struct RankProcess {
    pub(super) rank: Rank,
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// Number that the rank's end of its PMI connection has in the rank.
    pub(super) pmi_descriptor: Option<i32>,
    pub(super) streams: Vec<Stream>,
    pub(super) end: Option<RankEnd>,
    control: Option<UnixStream>,
}

/// One of a rank's two output streams.
#[derive(Debug)]
pub(super) struct Stream {
    pipe: Option<File>,
    cutter: LineCutter,
    log: Option<Rc<Log>>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
}

impl RankProcess {
    /// Forks the stub; gives the supervisor's end of its PMI connection too.
    pub(super) fn fork(input: ForkInput<'_>) -> Result<(Self, Option<UnixStream>), SupervisorError> {
        let failed = |source| SupervisorError::Fork { rank: input.rank.0, source };
        let (control, stub_control) = UnixStream::pair().map_err(failed)?;
        control.set_nonblocking(true).map_err(failed)?;
        let (output, output_write) = pipe()?;
        let (error, error_write) = pipe()?;
        let pmi = input.wants_pmi.then(pmi_pair).transpose().map_err(failed)?;
        let child = Command::new(THIS_PROGRAM)
            .args(stub_arguments(input.cpus))
            .args(input.command)
            .stdin(Stdio::from(OwnedFd::from(stub_control)))
            .stdout(Stdio::from(output_write))
            .stderr(Stdio::from(error_write))
            // Each rank leads a process group: a terminal's Ctrl-C comes by the supervisor alone, and an
            // agent without cgroups can stop the rank with its children.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pid = Pid::from_child(&child);
        // The child has not been reaped, so that its process id cannot be another's.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(SupervisorError::kernel("pidfd_open"))?;
        let log = input.log_directory.map(|directory| Log::open(directory, input.rank)).transpose()?.map(Rc::new);
        let cutter = LineCutter::new(input.name);
        let streams = [output, error].map(|pipe| Stream { pipe: Some(File::from(pipe)), cutter: cutter.clone(), log: log.clone() }).into();
        let pmi_descriptor = pmi.as_ref().map(|(_, rank_end)| rank_end.as_raw_fd());
        let process = Self { rank: input.rank, pid, pidfd, pmi_descriptor, streams, end: None, control: Some(control) };
        Ok((process, pmi.map(|(supervisor_end, _)| supervisor_end)))
    }

    /// Lets the stub become the rank. A stub that died meanwhile is left to the reaper.
    pub(super) fn release(&mut self, change: &EnvironmentChange) -> Result<(), SupervisorError> {
        let orders = postcard::to_stdvec(change).map_err(SupervisorError::Orders)?;
        if let Some(control) = &mut self.control {
            // The orders are smaller than the socket's buffer, which is empty: nothing blocks here.
            let _stub_died = control.write_all(&orders);
            let _stub_died = control.shutdown(std::net::Shutdown::Write);
        }
        Ok(())
    }

    /// The stub's control connection while it is a stub.
    pub(super) fn control(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    /// Reads the stub's report: the error number of an exec that failed.
    pub(super) fn read_report(&mut self) -> Option<i32> {
        let mut report = [0; 4];
        match self.control.as_mut()?.read(&mut report) {
            Ok(4) => Some(i32::from_le_bytes(report)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Ok(_) | Err(_) => {
                self.control = None;
                None
            }
        }
    }

    /// Sends a signal, unless the rank has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.end.is_none() {
            // It can only fail because the process has just ended, which the reaper will tell.
            let _ended = pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Reads what is in its pipes, at most [`LAST_READ_BYTES`] of each.
    pub(super) fn read_the_rest(&mut self, sink: &mut Sink) {
        for stream in &mut self.streams {
            for _ in 0..LAST_READ_BYTES / READ_BYTES {
                stream.carry(sink);
            }
        }
    }

    /// Says something of the rank among its own lines.
    pub(super) fn remark(&mut self, text: &str, sink: &mut Sink) {
        let text = format!("strobe-init: {text}");
        if let Some(stream) = self.streams.last_mut() {
            stream.log(format!("{text}\n").as_bytes());
            sink.push(stream.cutter.whole_line(&text));
        }
    }

    /// Whether all of its output has been read.
    pub(super) fn is_drained(&self) -> bool {
        self.streams.iter().all(|stream| stream.pipe.is_none())
    }
}

impl Stream {
    /// The pipe, while it is open.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads once and passes whole lines on.
    pub(super) fn carry(&mut self, sink: &mut Sink) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = [0; READ_BYTES];
        match pipe.read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.log(&bytes[..count]);
                self.cutter.push(&bytes[..count], |piece| sink.push(piece));
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => {
                self.pipe = None;
                if let Some(piece) = self.cutter.finish() {
                    sink.push(piece);
                }
            }
        }
    }

    fn log(&mut self, bytes: &[u8]) {
        if let Some(log) = &self.log
            && let Err(error) = (&log.file).write_all(bytes)
        {
            say(format_args!("{:?} cannot be written any more: {error}", log.path));
            self.log = None;
        }
    }
}

impl Log {
    fn open(directory: &Path, rank: Rank) -> Result<Self, SupervisorError> {
        let path = directory.join(format!("rank-{}.log", rank.0));
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(SupervisorError::Log { path, source }),
        }
    }
}

/// How a child ended whose status the kernel has told.
pub(super) fn rank_end(status: WaitStatus) -> RankEnd {
    let narrow = |number: i32| u8::try_from(number & 0xff).expect("masked to eight bits");
    match status.terminating_signal() {
        Some(signal) => RankEnd::Signalled(narrow(signal)),
        None => RankEnd::Exited(status.exit_status().map_or(u8::MAX, narrow)),
    }
}

/// Ends what the ranks left behind. The list is this thread's children; it is the only thread.
pub(super) fn kill_orphans() {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    for pid in list.split_ascii_whitespace().filter_map(|text| text.parse().ok()).filter_map(Pid::from_raw) {
        let _ended = kill_process(pid, Signal::KILL);
    }
}

fn stub_arguments(cpus: &[u16]) -> Vec<String> {
    let mut arguments = vec!["stub".to_owned(), "--parent".to_owned(), std::process::id().to_string()];
    if !cpus.is_empty() {
        let list: Vec<String> = cpus.iter().map(ToString::to_string).collect();
        arguments.extend(["--cpus".to_owned(), list.join(",")]);
    }
    arguments.push("--".to_owned());
    arguments
}

fn pipe() -> Result<(OwnedFd, OwnedFd), SupervisorError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(SupervisorError::kernel("pipe2"))?;
    rustix::io::ioctl_fionbio(&read, true).map_err(SupervisorError::kernel("set non-blocking"))?;
    Ok((read, write))
}

/// The supervisor's end and the rank's end, which alone of all descriptors stays open at exec; it is dropped
/// here right after the fork, so that no other rank inherits it.
fn pmi_pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (supervisor_end, rank_end) = UnixStream::pair()?;
    supervisor_end.set_nonblocking(true)?;
    fcntl_setfd(&rank_end, FdFlags::empty())?;
    Ok((supervisor_end, rank_end))
}

const _: () = assert!(READ_BYTES >= PIECE_BYTES);
