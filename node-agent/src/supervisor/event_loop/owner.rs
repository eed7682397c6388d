//! The process whose end is the end of the run.

use std::{collections::VecDeque, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::supervisor::{error::SupervisorError, life::Input};

/// Holds on to the owner; none, and an input that says so, when it is gone already.
///
/// # Errors
/// The number is none of a process, or no descriptor is left.
pub(super) fn open(pid: i32, inputs: &mut VecDeque<Input>) -> Result<Option<OwnedFd>, SupervisorError> {
    let wrong = |problem: &str| SupervisorError::Argument { name: "--owner-pid", problem: problem.to_owned() };
    let pid = Pid::from_raw(pid).filter(|pid| pid.as_raw_pid() > 0).ok_or_else(|| wrong("is no process id"))?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(Errno::SRCH) => {
            inputs.push_back(Input::OwnerGone);
            Ok(None)
        }
        Err(source) => Err(SupervisorError::Kernel { operation: "pidfd_open", source }),
    }
}
