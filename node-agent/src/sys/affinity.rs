//! The CPUs that a thread or process may run on. Pinning is advisory: a rank may reset it by itself
//! (ARCHITECTURE section 5), which is why reading it back is offered too.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use strobe_core::model::CpuIndex;
use thiserror::Error;

/// One more than the highest CPU number that can be named in an affinity; higher ones are refused.
pub const CPU_LIMIT: usize = CpuSet::MAX_CPU;

/// Why an affinity was not set or read.
#[derive(Debug, Error)]
pub enum AffinityError {
    /// The set of CPUs is empty; a thread has to run somewhere.
    #[error("no CPU is named to pin to")]
    Empty,
    /// A CPU beyond [`CPU_LIMIT`].
    #[error("CPU {cpu} is beyond the {CPU_LIMIT} that an affinity can name")]
    BeyondLimit {
        /// The CPU that was asked for.
        cpu: CpuIndex,
    },
    /// The kernel refused to set the affinity: no such thread, or none of the CPUs is usable.
    #[error("the kernel refused to pin {thread:?} to the CPUs")]
    Set {
        /// The thread; `None` is the calling one.
        thread: Option<Pid>,
        /// What the kernel answered.
        source: rustix::io::Errno,
    },
    /// The kernel refused to tell the affinity.
    #[error("the affinity of {thread:?} cannot be read")]
    Read {
        /// The thread; `None` is the calling one.
        thread: Option<Pid>,
        /// What the kernel answered.
        source: rustix::io::Errno,
    },
}

/// Pins a thread (`None`: the calling one) to `cpus`. For a process with one thread, its PID is the thread.
///
/// # Errors
/// [`AffinityError`]; the affinity is unchanged then.
pub fn pin(thread: Option<Pid>, cpus: &[CpuIndex]) -> Result<(), AffinityError> {
    if cpus.is_empty() {
        return Err(AffinityError::Empty);
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        let index = usize::from(cpu.0);
        if index >= CPU_LIMIT {
            return Err(AffinityError::BeyondLimit { cpu });
        }
        set.set(index);
    }
    sched_setaffinity(thread, &set).map_err(|source| AffinityError::Set { thread, source })
}

/// The CPUs that a thread (`None`: the calling one) may run on, ascending.
///
/// # Errors
/// [`AffinityError::Read`] when there is no such thread.
pub fn pinned_to(thread: Option<Pid>) -> Result<Vec<CpuIndex>, AffinityError> {
    let set = sched_getaffinity(thread).map_err(|source| AffinityError::Read { thread, source })?;
    let indices = 0..u16::try_from(CPU_LIMIT).expect("the limit is a few thousand CPUs");
    Ok(indices.filter(|&index| set.is_set(usize::from(index))).map(CpuIndex).collect())
}

/// Takes from a thread the CPUs that are not among `cpus`, and says whether it had any. One that would keep none gets all
/// of `cpus`.
///
/// # Errors
/// [`AffinityError`]: there is no such thread any more, or `cpus` cannot be pinned to.
pub fn confine(thread: Pid, cpus: &[CpuIndex]) -> Result<bool, AffinityError> {
    let allowed = pinned_to(Some(thread))?;
    let kept: Vec<CpuIndex> = allowed.iter().copied().filter(|cpu| cpus.contains(cpu)).collect();
    let escaped = kept.len() < allowed.len();
    if escaped {
        pin(Some(thread), if kept.is_empty() { cpus } else { &kept })?;
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_to_one_of_its_cpus() {
        let worker = std::thread::spawn(|| {
            let all = pinned_to(None).unwrap();
            let last = *all.last().unwrap();
            pin(None, &[last]).unwrap();
            assert_eq!(pinned_to(None).unwrap(), vec![last]);
        });
        worker.join().unwrap();
    }

    #[test]
    fn a_thread_that_has_escaped_is_confined_once() {
        let worker = std::thread::spawn(|| {
            let own = rustix::thread::gettid();
            let all = pinned_to(None).unwrap();
            assert!(!confine(own, &all).unwrap(), "a thread within its CPUs has not escaped");
            let (first, rest) = all.split_first().expect("a thread runs somewhere");
            assert_eq!(confine(own, &[*first]).unwrap(), !rest.is_empty());
            assert_eq!(pinned_to(None).unwrap(), [*first]);
            assert!(!confine(own, &[*first]).unwrap());
            assert!(matches!(confine(own, &[]), Err(AffinityError::Empty)));
        });
        worker.join().unwrap();
    }

    #[test]
    fn empty_and_impossible_sets_are_refused() {
        assert!(matches!(pin(None, &[]), Err(AffinityError::Empty)));
        let cpu = CpuIndex(u16::MAX);
        assert!(matches!(pin(None, &[cpu]), Err(AffinityError::BeyondLimit { .. })));
    }
}
