//! Programs of the build: each ends with this recipe, however that ends, or at its time limit, and what it mounts goes with it. So a
//! folder that was left half made has no mounts below it and can be removed.

use std::process::Command;

use rustix::process::getpid;

use crate::enclosure::THIS;
use crate::limits::RDMA_VM_BUILD_STEP;

/// A command that runs the program so.
pub(super) fn contained(program: &str) -> Command {
    let mut command = Command::new(THIS);
    command.args(["enclosed", "--parent", &getpid().to_string(), "--"]);
    command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["timeout", &RDMA_VM_BUILD_STEP.as_secs().to_string(), program]);
    command
}
