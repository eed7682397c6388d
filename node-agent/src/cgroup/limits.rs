//! Limits of the work on cgroups, each with what happens beyond it.

use std::time::Duration;

/// Bytes of a cgroup's name, as of every file name. A longer one is refused as [`super::CgroupError::InvalidName`].
pub const NAME_BYTES_MAX: usize = 255;

/// Cgroups below one that is listed or removed, itself included. Ranks that may make cgroups could make any number; with
/// more, listing and removal are refused as [`super::CgroupError::TooMany`] and an administrator has to look.
pub const DESCENDANTS_MAX: usize = 4096;

/// Rounds of killing process by process where the kernel has no `cgroup.kill`. Processes that fork faster than that are
/// reported as still there.
pub const KILL_ROUNDS_MAX: usize = 16;

/// Longest wait for the processes of one such round to end.
pub const KILL_ROUND_WAIT: Duration = Duration::from_millis(50);

/// Longest pause between two attempts to remove a cgroup that is empty but still held by an exiting process: the kernel
/// announces such a change at most every 10 ms.
pub const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// Attempts to make a cgroup with those above it, while another process removes one of them as unused. Beyond, the
/// kernel's answer (`ENOENT`) is passed on.
pub const CREATE_ATTEMPTS_MAX: usize = 8;

/// Bytes of a pod's UID at most: those of a label's value, which no UID that an API server gives comes near. A longer one is refused.
pub const POD_UID_BYTES_MAX: usize = 63;
