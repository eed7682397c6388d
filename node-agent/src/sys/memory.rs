//! Keeping the strobe thread's pages in memory, so that a switch never waits for a page to be read back.

use std::hint::black_box;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

/// Bytes of stack that [`touch_stack`] faults in. The switching step and the datagram handling of the
/// strobe thread stay far below it; deeper calls would fault a page once and then keep it.
pub const PREPARED_STACK_BYTES: usize = 64 * 1024;

/// Why pages are not locked. The agent runs on; a switch may then wait for a page under memory pressure.
#[derive(Debug, Error)]
pub enum MemoryLockError {
    /// Locking is limited for this process. Locking future pages under a limit would make later
    /// allocations fail once it is reached, so it is not begun.
    #[error("locked memory is limited to {limit_bytes} bytes: run with CAP_IPC_LOCK or without RLIMIT_MEMLOCK")]
    Limited {
        /// The limit in force, in bytes.
        limit_bytes: u64,
    },
    /// The kernel refused.
    #[error("mlockall was refused")]
    Refused {
        /// What the kernel answered.
        source: rustix::io::Errno,
    },
}

/// Locks all pages that this process has touched or will touch, without faulting in untouched ones.
///
/// # Guarantees
/// Memory in use does not grow by the call: pages are locked when they are first touched, so thread stacks
/// that are mostly unused stay unused.
///
/// # Errors
/// [`MemoryLockError`]; nothing is locked then. It is to be reported, not treated as fatal.
pub fn lock_touched_pages() -> Result<(), MemoryLockError> {
    if let Some(limit_bytes) = locking_limit() {
        return Err(MemoryLockError::Limited { limit_bytes });
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(|source| MemoryLockError::Refused { source })
}

/// Touches the next [`PREPARED_STACK_BYTES`] of the calling thread's stack, so that they are in memory
/// (and, after [`lock_touched_pages`], stay there) before the first switch.
#[inline(never)]
pub fn touch_stack() {
    let mut stack = [0_u8; PREPARED_STACK_BYTES];
    black_box(&mut stack);
}

/// The limit of locked memory in bytes, or `None` where this process is free of it.
fn locking_limit() -> Option<u64> {
    let free = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if free { None } else { getrlimit(Resource::Memlock).current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_locked_exactly_where_nothing_limits_it() {
        let limited = locking_limit().is_some();
        assert_eq!(lock_touched_pages().is_err(), limited);
        touch_stack();
        if !limited {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
            assert!(!locked.contains(" 0 kB"), "{locked}");
            rustix::mm::munlockall().unwrap();
        }
    }
}
