//! The stub: a process that waits, blocked on its standard input, until it may become a rank.
//!
//! It is a fresh execution of `strobe-init`, not a mere fork, so that nothing between fork and exec needs
//! care. Its standard input is its end of a socket pair. It reads its orders up to the end of the stream;
//! no orders means that the supervisor has no use for it. If its program cannot be started it writes the
//! error number back; if it can, its end of the pair closes at exec, which is the sign of success.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use strobe_core::model::CpuIndex;

use super::{arguments::StubArguments, environment::EnvironmentChange, error::SupervisorError, limits::STUB_ORDERS_BYTES};
use crate::sys::affinity;

/// Exit code of a stub that has no orders or whose program cannot be started.
pub const NOT_STARTED: u8 = 127;

/// Becomes the rank; comes back only if that fails.
///
/// # Errors
/// [`SupervisorError`] says why the stub ends; an exec that fails was then already told to the supervisor.
pub fn become_rank(arguments: &StubArguments) -> Result<(), SupervisorError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(SupervisorError::kernel("prctl"))?;
    // The parent may have died before the signal was set; then the stub has another parent already.
    if getppid().map(Pid::as_raw_pid) != Some(arguments.parent) {
        return Err(SupervisorError::Orphaned);
    }
    // Before the wait, so that a rank is where it belongs from the moment that it is released.
    pin(&arguments.cpus)?;
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(SupervisorError::io("dup"))?;
    let mut control = File::from(control);
    let change = read_orders(&mut control)?;
    let error = execute(&arguments.command, &change);
    let number = error.raw_os_error().unwrap_or_default();
    control.write_all(&number.to_le_bytes()).map_err(SupervisorError::io("write"))?;
    Err(SupervisorError::Io { operation: "execve", source: error })
}

fn read_orders(control: &mut File) -> Result<EnvironmentChange, SupervisorError> {
    let mut orders = Vec::new();
    control.take(STUB_ORDERS_BYTES + 1).read_to_end(&mut orders).map_err(SupervisorError::io("read"))?;
    if orders.is_empty() || orders.len() as u64 > STUB_ORDERS_BYTES {
        return Err(SupervisorError::Orphaned);
    }
    postcard::from_bytes(&orders).map_err(|_| SupervisorError::Orphaned)
}

fn pin(cpus: &[u16]) -> Result<(), SupervisorError> {
    if cpus.is_empty() {
        return Ok(());
    }
    let cpus: Vec<CpuIndex> = cpus.iter().copied().map(CpuIndex).collect();
    Ok(affinity::pin(None, &cpus)?)
}

fn execute(command: &[OsString], change: &EnvironmentChange) -> std::io::Error {
    let mut words = command.iter();
    let Some(program) = words.next() else {
        return std::io::ErrorKind::NotFound.into();
    };
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    for name in &change.remove {
        command.env_remove(name);
    }
    command.envs(change.set.iter().map(|(name, value)| (name, value))).exec()
}
