//! Other processes, as /proc shows them.

use std::{fs, path::Path, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use strobe_core::model::Instant;

use super::clock;

/// A process in one life: numbers are used again, the pair is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    started: u64,
}

impl Process {
    /// The process with that number; none when there is none, or only what its parent has not collected yet.
    pub(super) fn find(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        started(&text).map(|started| Self { pid, started })
    }

    /// This process.
    pub(super) fn this() -> Option<Self> {
        Self::find(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Reads what [`Self::to_line`] wrote.
    pub(super) fn from_line(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// For a file.
    pub(super) fn to_line(self) -> String {
        format!("{} {}\n", self.pid, self.started)
    }

    /// True while this life of it lasts.
    pub(super) fn lives(self) -> bool {
        Self::find(self.pid) == Some(self)
    }

    /// Ends it at once.
    pub(super) fn kill(self) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.lives()) {
            // One that ended meanwhile is what is wanted.
            let _gone = kill_process(pid, Signal::KILL);
        }
    }

    /// Waits until it has ended; false when it has not by `deadline`.
    pub(super) fn wait_for_end(self, deadline: Instant) -> bool {
        let Some(descriptor) = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return true };
        while self.lives() {
            let left = deadline.since(clock::now());
            if left.is_zero() {
                return false;
            }
            // Interrupted, ended or late: the loop looks again in each case.
            let _ready = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timespec(left)));
        }
        true
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or_default()
}

/// The supervisors that are connected, or try to, to a socket in `folder`.
pub(super) fn supervisors(folder: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = pids.filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| serves(&words, folder)));
    ours.filter_map(Process::find).collect()
}

/// True for the command line of a supervisor whose agent's socket lies in `folder`.
fn serves(command_line: &[u8], folder: &Path) -> bool {
    let words: Vec<&str> = command_line.split(|byte| *byte == 0).map(|word| std::str::from_utf8(word).unwrap_or_default()).collect();
    let socket = words.windows(2).find(|pair| pair[0] == "--socket").map(|pair| Path::new(pair[1]));
    words.get(1) == Some(&"run") && socket.is_some_and(|socket| socket.starts_with(folder))
}

/// The start time out of `PID (NAME) STATE …` of proc(5); the name may hold anything. None for a dead process.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let dead = matches!(*fields.first()?, "Z" | "X");
    // Field 22 of the line; the state, field 3, is the first here.
    if dead { None } else { fields.get(19)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let this = Process::this().unwrap();
        assert!(this.lives());
        assert_eq!(Process::from_line(&this.to_line()), Some(this));
        assert!(!Process { started: this.started + 1, ..this }.lives());
        assert_eq!(Process::from_line("12"), None);
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let stat = "12 (a) Z (b) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        assert_eq!(started(stat), Some(777));
        assert_eq!(started(&stat.replace(") S", ") Z")), None);
    }

    #[test]
    fn supervisors_are_known_by_their_socket() {
        let line = |socket: &str| format!("/bin/strobe-init\0run\0--socket\0{socket}\0--gang\0a\0").into_bytes();
        assert!(serves(&line("/run/strobe-1/node-0/agent.sock"), Path::new("/run/strobe-1")));
        assert!(!serves(&line("/run/strobe-12/node-0/agent.sock"), Path::new("/run/strobe-1")));
        assert!(!serves(b"/bin/other\0run\0", Path::new("/run/strobe-1")));
    }
}
