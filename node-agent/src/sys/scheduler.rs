//! The real-time class of the strobe thread (ARCHITECTURE section 5).
//!
//! With ranks on every CPU an ordinary thread waits a scheduler slice before it runs at an announced
//! instant; SCHED_FIFO runs at once. On kernels with RT_GROUP_SCHED a thread in a child group of the cgroup
//! v1 `cpu` hierarchy has no real-time budget and is refused (EPERM, the same answer as for a missing
//! right), so the thread is then moved to the root of that hierarchy and asks again.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::thread::{gettid, set_current_timer_slack};
use thiserror::Error;

use super::first_version::{mount_of, path_of};

/// Real-time priority of the strobe thread: above every ordinary thread, below the kernel's own
/// interrupt threads (50) and watchdogs (99), which must not starve.
pub const STROBE_PRIORITY: FifoPriority = FifoPriority(10);

/// Nanoseconds by which the kernel may delay an ordinary thread's timers. The least that it accepts; the
/// default of 50 µs would be half of a switch. SCHED_FIFO threads have none.
const TIMER_SLACK_NANOSECONDS: NonZeroU64 = NonZeroU64::MIN;

/// A SCHED_FIFO priority, 1 to 99, higher first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FifoPriority(u8);

/// The scheduling class that a thread got. Its [`label`](Scheduler::label) goes to status and metrics.
#[derive(Debug)]
pub enum Scheduler {
    /// The thread is SCHED_FIFO.
    Fifo {
        /// It had to be moved to the root of the cgroup v1 `cpu` hierarchy to get there; a quota of its
        /// former group no longer binds it.
        moved_to_root: bool,
    },
    /// The thread stays in the ordinary class; switches are later by up to a scheduler slice.
    Other {
        /// Why.
        reason: FifoRefused,
    },
}

/// Why a thread is not SCHED_FIFO.
#[derive(Debug, Error)]
pub enum FifoRefused {
    /// The kernel said no, and the thread's place in a cgroup v1 `cpu` hierarchy is not the cause.
    #[error("SCHED_FIFO was refused: run with CAP_SYS_NICE or a sufficient RLIMIT_RTPRIO")]
    NotPermitted {
        /// What the kernel answered.
        source: Errno,
    },
    /// The thread is in a child group of the cgroup v1 `cpu` hierarchy and may not leave it.
    #[error("SCHED_FIFO was refused in the cgroup v1 group {}, and the thread cannot be moved to {}", group, tasks.display())]
    NoBudget {
        /// The thread's group in the `cpu` hierarchy.
        group: String,
        /// The file that would have taken the thread to the root.
        tasks: PathBuf,
        /// Why it did not.
        source: io::Error,
    },
    /// The root that this machine sees has no budget either: it is a container itself, and the group is not the real root.
    #[error("SCHED_FIFO was refused: the cgroup v1 group {} and the root above it have no real-time budget ({} is 0); \
             give this machine one from outside", group, budget.display())]
    NoBudgetAtRoot {
        /// The thread's group in the `cpu` hierarchy, where it is again.
        group: String,
        /// The root's budget.
        budget: PathBuf,
    },
}

/// The cgroup v1 `cpu` hierarchy and the calling thread's place in it.
struct CpuHierarchy {
    mount_point: PathBuf,
    group: String,
}

// === impl CpuHierarchy ===

impl CpuHierarchy {
    /// Takes the thread, which is refused at the root too, back to the group whose share and quota bind it; says why it is refused.
    fn return_refused(self, source: Errno) -> FifoRefused {
        let own = self.mount_point.join(self.group.trim_start_matches('/')).join("tasks");
        if let Err(error) = enter(&own) {
            tracing::warn!(%error, group = self.group, "the thread stays in the root group of the cpu hierarchy");
        }
        let budget = self.mount_point.join("cpu.rt_runtime_us");
        match fs::read_to_string(&budget) {
            Ok(text) if text.trim() == "0" => FifoRefused::NoBudgetAtRoot { group: self.group, budget },
            _ => FifoRefused::NotPermitted { source },
        }
    }
}

// === impl FifoPriority ===

impl FifoPriority {
    /// A priority, or `None` outside 1 to 99.
    #[must_use]
    pub const fn new(priority: u8) -> Option<Self> {
        if priority >= 1 && priority <= 99 { Some(Self(priority)) } else { None }
    }

    /// The number, 1 to 99.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

// === impl Scheduler ===

impl Scheduler {
    /// `fifo` or `other`, as status, report and metrics say it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Fifo { .. } => "fifo",
            Self::Other { .. } => "other",
        }
    }
}

/// Makes the calling thread SCHED_FIFO if that is possible; its children start in the ordinary class.
///
/// # Expected flow
/// Called once by the strobe thread before its first sleep. Where it stays ordinary, its timer slack is set
/// to the least, so that at least its sleeps are exact.
///
/// # Guarantees
/// Never fails: the outcome says what the thread is.
pub fn become_fifo(priority: FifoPriority) -> Scheduler {
    match try_fifo(priority) {
        Ok(moved_to_root) => Scheduler::Fifo { moved_to_root },
        Err(reason) => {
            if let Err(errno) = set_current_timer_slack(Some(TIMER_SLACK_NANOSECONDS)) {
                tracing::warn!(%errno, "the timer slack of the strobe thread stays at its default");
            }
            Scheduler::Other { reason }
        }
    }
}

fn try_fifo(priority: FifoPriority) -> Result<bool, FifoRefused> {
    match set_fifo(priority) {
        Ok(()) => Ok(false),
        Err(Errno::PERM) => retry_at_root(priority),
        Err(source) => Err(FifoRefused::NotPermitted { source }),
    }
}

fn retry_at_root(priority: FifoPriority) -> Result<bool, FifoRefused> {
    let hierarchy = cpu_hierarchy().filter(|found| found.group != "/");
    let Some(hierarchy) = hierarchy else {
        return Err(FifoRefused::NotPermitted { source: Errno::PERM });
    };
    let tasks = hierarchy.mount_point.join("tasks");
    if let Err(source) = enter(&tasks) {
        return Err(FifoRefused::NoBudget { group: hierarchy.group, tasks, source });
    }
    set_fifo(priority).map(|()| true).map_err(|source| hierarchy.return_refused(source))
}

/// Moves the calling thread into the group of this `tasks` file.
fn enter(tasks: &Path) -> io::Result<()> {
    fs::write(tasks, gettid().as_raw_nonzero().to_string())
}

/// Finds where the v1 `cpu` controller is mounted, if it is, and the calling thread's group in it.
fn cpu_hierarchy() -> Option<CpuHierarchy> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/thread-self/cgroup").ok()?;
    let mount_point = mount_of("cpu", &mounts)?;
    let group = path_of("cpu", &groups)?;
    Some(CpuHierarchy { mount_point: PathBuf::from(mount_point), group: group.to_owned() })
}

/// Asks the kernel for SCHED_FIFO for the calling thread; children are put back into the ordinary class, so
/// that a rank forked from here could never be real-time.
#[allow(unsafe_code)]
fn set_fifo(priority: FifoPriority) -> Result<(), Errno> {
    const CALLING_THREAD: libc::pid_t = 0;
    let parameters = libc::sched_param { sched_priority: libc::c_int::from(priority.0) };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `parameters` lives across the call and has the layout the kernel reads (one int); the call
    // writes no memory of ours. The system call is made directly because musl's wrapper always refuses.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setscheduler, CALLING_THREAD, policy, &raw const parameters) };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    let error = io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_outside_the_kernel_s_range_do_not_exist() {
        assert_eq!(FifoPriority::new(0), None);
        assert_eq!(FifoPriority::new(100), None);
        assert_eq!(FifoPriority::new(99).unwrap().get(), 99);
    }
}
