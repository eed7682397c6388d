//! The memory and the space that the machine takes, asked for before it is started: an emulator that runs out of either dies late and
//! says little.

use std::fs::read_to_string;

use anyhow::{Context, Result, ensure};

use super::files::{Files, Shape};
use crate::limits::{RDMA_VM_DISK_BYTES_FREE, RDMA_VM_OVERHEAD_MIB};

/// Whether this machine has the memory and the space for a new one.
///
/// # Errors
/// It has not: then with how much is needed and what there is.
pub(super) fn check_room(files: &Files, shape: &Shape) -> Result<()> {
    let needed = u64::from(shape.memory_mib) + u64::from(RDMA_VM_OVERHEAD_MIB);
    let text = read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let available = available_mib(&text).context("/proc/meminfo says what is available")?;
    ensure!(
        available >= needed,
        "the machine needs {needed} MiB of memory and {available} MiB are available: end something, or give it less with --memory"
    );
    check_space(files, RDMA_VM_DISK_BYTES_FREE, "the machine's disk")
}

/// Whether there is space for something in the machine's folder.
///
/// # Errors
/// There is not.
pub(super) fn check_space(files: &Files, needed: u64, what: &str) -> Result<()> {
    let disk = files.disk();
    let folder = disk.parent().context("a folder has a name")?;
    let found = rustix::fs::statvfs(folder).with_context(|| format!("ask for the space at {}", folder.display()))?;
    let free = found.f_bavail * found.f_frsize;
    ensure!(
        free >= needed,
        "{what} needs {} MiB and {} has {} MiB free: make space, or choose another place with XDG_CACHE_HOME",
        needed >> 20,
        folder.display(),
        free >> 20
    );
    Ok(())
}

fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_mib() {
        assert_eq!(available_mib("MemTotal:  9 kB\nMemAvailable:   22528000 kB\n"), Some(22000));
        assert_eq!(available_mib("MemTotal:  9 kB\n"), None);
    }
}
