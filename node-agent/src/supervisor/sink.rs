//! Where the ranks' pieces of output go: standard output or a FIFO, never blocking, never torn.

use std::{
    collections::VecDeque,
    fs::File,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    error::SupervisorError,
    journal::say,
    limits::{PIECE_BYTES, WAITING_OUTPUT_BYTES},
};

/// The sink, with what waits for it in chunks of whole pieces of at most [`PIECE_BYTES`].
#[derive(Debug)]
pub(super) struct Sink {
    target: Option<File>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
}

impl Sink {
    /// Opens a FIFO, or takes standard output for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, SupervisorError> {
        let opened = if path == Path::new("-") { standard_output() } else { open_nonblocking(path) };
        let target = opened.map_err(|source| SupervisorError::Output { path: path.to_owned(), source })?;
        Ok(Self { target: Some(File::from(target)), waiting: VecDeque::new(), waiting_bytes: 0 })
    }

    /// Whether more may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes < WAITING_OUTPUT_BYTES
    }

    /// Whether something waits for the reader.
    pub(super) fn wants_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The descriptor, unless the reader is gone.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.target.as_ref().map(File::as_fd)
    }

    /// Takes a piece; with the reader gone it is dropped (the log files have it).
    pub(super) fn push(&mut self, piece: Vec<u8>) {
        if self.target.is_none() {
            return;
        }
        self.waiting_bytes += piece.len();
        match self.waiting.back_mut() {
            Some(chunk) if chunk.len() + piece.len() <= PIECE_BYTES => chunk.extend(piece),
            _ => self.waiting.push_back(piece),
        }
    }

    /// Writes what the reader takes now. A reader that is gone ends the writing, not the ranks.
    pub(super) fn flush(&mut self) {
        while let (Some(target), Some(chunk)) = (self.target.as_mut(), self.waiting.front_mut()) {
            if !takes_a_chunk(target) {
                return;
            }
            match target.write(chunk) {
                Ok(count) => {
                    self.waiting_bytes -= count;
                    chunk.drain(..count);
                    if chunk.is_empty() {
                        self.waiting.pop_front();
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    say(format_args!("the reader of the ranks' output is gone ({error}); it goes to the log files only"));
                    self.abandon();
                }
            }
        }
    }

    /// Drops what waits, and all that comes.
    pub(super) fn abandon(&mut self) {
        self.target = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}

fn open_nonblocking(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a chunk can be written without blocking: a pipe is ready when it has room for PIPE_BUF bytes.
/// Asked also where O_NONBLOCK could not be had.
fn takes_a_chunk(target: &File) -> bool {
    let mut descriptors = [PollFd::new(target, PollFlags::OUT)];
    poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// A pipe or terminal is opened anew, because O_NONBLOCK belongs to the open file that others share. A file
/// is duplicated, because its position and O_APPEND do too; it never blocks for long. So is a pipe that
/// belongs to another user.
fn standard_output() -> Result<OwnedFd, Errno> {
    let standard = std::io::stdout();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&standard)?.st_mode);
    if matches!(kind, FileType::Fifo | FileType::CharacterDevice)
        && let Ok(opened) = open_nonblocking(Path::new("/proc/self/fd/1"))
    {
        return Ok(opened);
    }
    rustix::io::fcntl_dupfd_cloexec(&standard, 3)
}
