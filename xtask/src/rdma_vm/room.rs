//! The memory and the space that the machine takes, asked for before it is started.

use std::path::Path;

use anyhow::{Result, ensure};

use super::files::{Files, Shape};
use crate::limits::{RDMA_VM_DISK_BYTES_FREE, RDMA_VM_OVERHEAD_MIB};
use crate::room::{check_space, memory_available};

/// Where programs make cards of their own.
const WIRES: &str = "/dev/net/tun";

/// Whether this machine has the memory and the space for a new one.
///
/// # Errors
/// It has not: then with how much is needed and what there is.
pub(super) fn check_room(files: &Files, shape: &Shape) -> Result<()> {
    ensure!(Path::new(WIRES).exists(), "{WIRES} is not there, by which the emulator makes a wire to the machine");
    let needed = u64::from(shape.memory_mib) + u64::from(RDMA_VM_OVERHEAD_MIB);
    let available = memory_available()? >> 20;
    ensure!(
        available >= needed,
        "the machine needs {needed} MiB of memory and {available} MiB are available: end something, or give it less with --memory"
    );
    check_space(files.folder(), RDMA_VM_DISK_BYTES_FREE, "the machine's disk")
}
